"""The runbooks of docs/how-to/ceremonies.md, typed: officers who never share a machine, and a site that slept through it.

Every officer has a folder of their own, with keys under a passphrase of their own; a courier carries the ceremony's
folder there and one signature back. No officer has a home.
"""

import json
import re
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from registry.errors import NotFound
from signing.drafts import CeremonyUnusable, KeyUnfit, PartialSignatureRefused
from signing.profiles import Profile
from signing.refusals import BadRoot, NoSuchRole, TooFewSigners
from tidegate.cli.root import main

# Finds the passphrase beside the key that it is asked for, as each officer's own agent would.
ASKPASS = """#!/bin/sh
key=${1#*file:}
key=${key% (again)}
cat "$(dirname "$key")/passphrase"
"""


@dataclass
class Officer:
    """A person with keys of their own, on a machine without a home."""

    name: str
    desk: Path
    kinds: tuple[str, ...]
    keys: dict[str, list[Path]] = field(default_factory=dict)  # role to private keys

    def type(self, *words: object, ends: int = 0) -> Result:
        environment = {
            "TIDEGATE_HOME": str(self.desk / "there-is-no-home"),
            "TIDEGATE_ACTOR": self.name,
            "TIDEGATE_PASSPHRASE_FILE": str(self.desk / "passphrase"),
        }
        return typed(environment, *words, ends=ends)

    def make_keys(self, role: str, again: str = "") -> list[Path]:
        """Make one key of each kind for a role; return the public halves."""
        made = []
        for kind in self.kinds:
            file = self.desk / f"{role}{again}-{kind}.pem"
            self.type("keys", "create", file, "--algorithm", kind)
            made.append(file)
        self.keys[role] = made
        return [file.with_suffix(".pub.json") for file in made]

    def sign(self, folder: Path, *roles: str, ends: int = 0) -> Result:
        """Get a copy of the folder, sign in it, and send the signatures back."""
        copy = self.desk / f"copy-of-{folder.name}"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(folder, copy)
        keys = [word for role in roles for key in self.keys[role] for word in ("--key", key)]
        result = self.type("trust", "sign", copy, *keys, ends=ends)
        if ends == 0:
            shutil.copytree(copy / "signatures", folder / "signatures", dirs_exist_ok=True)
        return result


def typed(environment: dict[str, str], *words: object, ends: int = 0) -> Result:
    environment = {"TIDEGATE_ASKPASS": "", "TIDEGATE_PASSPHRASE_FILE": "", **environment}
    result = CliRunner(env=environment).invoke(main, [str(word) for word in words], catch_exceptions=False)
    assert ends == result.exit_code, f"{words} ended with {result.exit_code}:\n{result.output}"
    return result


class Harbour:
    """An origin whose officers are elsewhere, one site, and everybody's desk."""

    def __init__(self, tmp_path: Path, profile: Profile) -> None:
        self.at, self.profile = tmp_path, profile
        self.askpass = tmp_path / "askpass"
        self.askpass.write_text(ASKPASS)
        self.askpass.chmod(0o700)
        self.people: dict[str, Officer] = {}
        self._ceremonies = 0
        self.origin("init", "harbour", "--role", "origin", "--profile", profile, "--officers-elsewhere")
        self.site("init", "clinic", "--role", "site")
        self.site("trust", "identity", tmp_path / "clinic.json")

    def origin(self, *words: object, ends: int = 0) -> Result:
        environment = {"TIDEGATE_HOME": str(self.at / "origin"), "TIDEGATE_ACTOR": "petra"}
        return typed({**environment, "TIDEGATE_ASKPASS": str(self.askpass)}, *words, ends=ends)

    def site(self, *words: object, ends: int = 0) -> Result:
        environment = {"TIDEGATE_HOME": str(self.at / "site"), "TIDEGATE_ACTOR": "sven"}
        return typed(environment, *words, ends=ends)

    def trust_of(self, where: str) -> Any:
        says = {"origin": self.origin, "site": self.site}[where]
        return json.loads(says("trust", "show", "--json").stdout)[where]

    def officer(self, name: str) -> Officer:
        if name not in self.people:
            desk = self.at / name
            desk.mkdir()
            (desk / "passphrase").write_text(f"the passphrase that only {name} knows\n")
            self.people[name] = Officer(name, desk, self.profile.algorithms)
        return self.people[name]

    def folder(self) -> Path:
        self._ceremonies += 1
        return self.at / f"ceremony-{self._ceremonies}"

    def add_keys(self, folder: Path, role: str, *names: str) -> None:
        for name in names:
            for public in self.officer(name).make_keys(role):
                self.origin("trust", "add-key", folder, "--role", role, "--person", name, public)

    def found(self) -> Path:
        """The first ceremony, up to the point where everybody may sign."""
        folder = self.folder()
        self.origin("trust", "init", folder, "--profile", self.profile)
        for role in ("root", "targets", "catalog"):
            self.add_keys(folder, role, "alice", "bob", "carla")
        self.origin("trust", "lint", folder)
        return folder

    def signed(self, folder: Path, *names: str, roles: tuple[str, ...] = ("root", "targets")) -> None:
        for name in names:
            self.officer(name).sign(folder, *roles)
        self.origin("trust", "publish", folder)

    def ship(self) -> Path:
        """An empty bundle for the site, signed by its two officers; each key asks for its own passphrase."""
        out = self.at / "media"
        out.mkdir(exist_ok=True)
        keys = [key for name in ("erin", "frank") for key in self.officer(name).keys["site-clinic"]]
        options = [word for key in keys for word in ("--key", key)]
        return Path(
            json.loads(
                self.origin("bundles", "create", "--to", "clinic", "--out", out, *options, "--json").stdout
            )["volumes"][0]
        )


def with_a_site(harbour: Harbour) -> None:
    """Founded, one site enrolled, and its first bundle taken in."""
    harbour.signed(harbour.found(), "alice", "bob", "carla")
    folder = harbour.folder()
    identity = ("clinic", "--identity", harbour.at / "clinic.json")
    harbour.origin("sites", "add", *identity, "--draft", folder)
    harbour.add_keys(folder, "site-clinic", "erin", "frank")
    harbour.signed(folder, "alice", "carla", roles=("targets",))
    harbour.origin("sites", "add", *identity)
    root = harbour.at / "root.json"
    print_ = json.loads(harbour.origin("trust", "root", root, "--json").stdout)["fingerprint"]
    harbour.site("trust", "enrol", root, "--fingerprint", print_)
    harbour.site("bundles", "import", harbour.ship())


@pytest.fixture
def harbour(tmp_path: Path) -> Harbour:
    return Harbour(tmp_path, Profile.OFFICERS)


@pytest.mark.parametrize("profile", [Profile.HYBRID, Profile.CNSA2])
def test_a_first_ceremony_a_site_and_a_bundle_with_other_kinds_of_keys(
    profile: Profile, tmp_path: Path
) -> None:
    harbour = Harbour(tmp_path, profile)
    with_a_site(harbour)
    assert profile == harbour.trust_of("site")["profile"]
    said = harbour.origin("trust", "show").stdout
    assert ("stay SHA-256" in said) == (profile is Profile.CNSA2)
    listed = json.loads((harbour.at / "origin/trust/timestamp.json").read_bytes())
    hashes = listed["signed"]["meta"]["snapshot.json"]["hashes"]
    assert ({"sha256", "sha384"} if profile is Profile.CNSA2 else {"sha256"}) == set(hashes)
    assert len(profile.algorithms) == len(listed["signatures"])


def test_in_the_hybrid_profile_one_kind_of_key_and_one_person_are_never_enough(tmp_path: Path) -> None:
    harbour = Harbour(tmp_path, Profile.HYBRID)
    folder = harbour.found()
    harbour.officer("alice").sign(folder, "root", "targets")
    harbour.origin("trust", "publish", folder, ends=TooFewSigners.exit_code)
    for name in (
        "bob",
        "carla",
    ):  # only their classical keys: three of one kind and one of the other reach four
        officer = harbour.officer(name)
        officer.keys = {role: files[:1] for role, files in officer.keys.items()}
        harbour.origin("trust", "publish", folder, ends=TooFewSigners.exit_code)
        officer.sign(folder, "root", "targets")
    for file in (folder / "signatures").glob("*/*.json"):
        if len(file.read_text()) > 2000:  # take the one ML-DSA signature out: three classical ones are left
            file.rename(harbour.at / f"{file.parent.name}-{file.name}")
    harbour.origin("trust", "publish", folder, ends=TooFewSigners.exit_code)
    for file in harbour.at.glob("*-*.json"):
        role, _, name = file.name.partition("-")
        if role in ("root", "targets"):
            file.rename(folder / "signatures" / role / name)
    harbour.origin("trust", "publish", folder)


def test_an_officer_reads_what_is_signed_and_compares_it(harbour: Harbour) -> None:
    folder = harbour.found()
    said = harbour.officer("bob").sign(folder, "root").stdout
    assert "You sign this:" in said
    assert re.search(r"root: in +carla ed25519 ([0-9a-f]{8} ){7}[0-9a-f]{8}", said)
    assert "officers" in said
    shown = json.loads(harbour.origin("trust", "show", folder, "--json").stdout)
    assert [] == shown["lacking"]
    assert {"root": 1, "targets": 0} == {one["role"]: len(one["signed"]) for one in shown["signatures"]}
    assert "bob" not in re.findall(
        r"may still sign:\n +(\w+)", harbour.origin("trust", "show", folder).stdout
    )
    harbour.origin("trust", "publish", folder, ends=TooFewSigners.exit_code)
    assert not list((harbour.at / "origin/trust").iterdir())


def test_an_origin_without_a_ceremony_says_what_to_do_next(harbour: Harbour) -> None:
    assert "tidegate trust init FOLDER" in harbour.origin("trust", "show").stdout
    assert "tidegate trust init FOLDER" in harbour.origin("doctor", ends=100).stdout
    folder = harbour.folder()
    for wrong in ("root=5", "station=3/5", "root=0/3"):
        assert "root=3/5" in harbour.origin("trust", "init", folder, "--threshold", wrong, ends=2).stderr
    harbour.origin("trust", "init", folder, "--threshold", "root=1/3", ends=KeyUnfit.exit_code)
    harbour.origin("trust", "init", folder, "--profile", "solo", ends=CeremonyUnusable.exit_code)
    assert not folder.exists()


def test_what_a_newcomer_types_too_early(harbour: Harbour) -> None:
    harbour.signed(harbour.found(), "alice", "bob", "carla")
    nothing = harbour.origin("trust", "rotate", harbour.folder(), ends=2).stderr
    assert "--renew" in nothing
    early = harbour.origin(
        "trust", "rotate", harbour.folder(), "--renew", "catalog", ends=NoSuchRole.exit_code
    )
    assert "nothing was signed for catalog yet" in early.stderr
    alone = harbour.origin(
        "sites", "add", "clinic", "--identity", harbour.at / "clinic.json", ends=TooFewSigners.exit_code
    )
    assert "--draft FOLDER" in alone.stderr


def test_one_person_counts_once_whatever_kinds_of_keys_they_have(harbour: Harbour) -> None:
    folder = harbour.folder()
    harbour.origin("trust", "init", folder)
    desk = harbour.officer("alice").desk
    for kind, ends in (("ed25519", 0), ("ml-dsa-65", KeyUnfit.exit_code)):
        harbour.officer("alice").type("keys", "create", desk / f"{kind}.pem", "--algorithm", kind)
        words = ["--role", "root", "--person", "alice", desk / f"{kind}.pub.json"]
        harbour.origin("trust", "add-key", folder, *words, ends=ends)


def test_a_courier_who_edits_the_folder_is_found_by_the_next_who_looks(harbour: Harbour) -> None:
    folder = harbour.found()
    harbour.officer("alice").sign(folder, "root", "targets")
    honest = (folder / "documents/1.root.json").read_text()
    (folder / "documents/1.root.json").write_text(re.sub(r'("threshold": ?)2', r"\g<1>1", honest))
    harbour.officer("bob").sign(folder, "root", ends=CeremonyUnusable.exit_code)
    harbour.origin("trust", "publish", folder, ends=CeremonyUnusable.exit_code)
    (folder / "documents/1.root.json").write_text(honest)
    (folder / "ceremony.json").write_text(
        (folder / "ceremony.json").read_text().replace("root 1, valid", "root 7, valid")
    )
    harbour.officer("bob").sign(folder, "root", ends=CeremonyUnusable.exit_code)


def test_a_signature_of_another_ceremony_counts_nowhere(harbour: Harbour) -> None:
    first, second = harbour.found(), harbour.folder()
    harbour.officer("alice").sign(first, "root", "targets")
    shutil.copytree(first, second)
    harbour.origin("trust", "rotate", harbour.folder(), "--renew", "root", ends=53)  # there is no root yet
    shutil.rmtree(second / "signatures")
    harbour.add_keys(second, "root", "dora")
    shutil.copytree(first / "signatures", second / "signatures")
    refused = harbour.origin("trust", "publish", second, ends=PartialSignatureRefused.exit_code)
    assert "another document" in refused.stderr
    harbour.origin("trust", "add-key", second, "--role", "root", "--person", "eve",
                   harbour.officer("eve").make_keys("root")[0], ends=CeremonyUnusable.exit_code)  # fmt: skip


def test_a_site_sleeps_through_every_runbook_and_wakes_with_one_bundle(harbour: Harbour) -> None:
    """Yearly signature, a lost key, a person who leaves, the station's key: four roots in one bundle."""
    with_a_site(harbour)
    assert 1 == harbour.trust_of("site")["version"]

    yearly = harbour.folder()
    harbour.origin("trust", "rotate", yearly, "--renew", "root", "--renew", "targets")
    harbour.signed(yearly, "bob", "carla")

    lost = harbour.folder()
    keys = harbour.trust_of("origin")["roles"]["root"]["people"]
    old = next(keyid for keyid, person in keys.items() if person == "bob")
    (new,) = harbour.officer("bob").make_keys("root", again="-new")
    harbour.origin("trust", "rotate", lost, "--replace", f"{old[:12]}={new}")
    harbour.signed(lost, "alice", "carla", roles=("root",))
    assert old not in harbour.trust_of("origin")["roles"]["root"]["keys"]

    leaving = harbour.folder()
    harbour.origin("trust", "rotate", leaving, "--retire", "alice")
    harbour.origin("trust", "lint", leaving, ends=BadRoot.exit_code)  # two of three are left
    harbour.officer("bob").sign(leaving, "root", ends=BadRoot.exit_code)
    for role in ("root", "targets", "catalog"):
        harbour.add_keys(leaving, role, "dora")
    harbour.signed(leaving, "bob", "carla")
    for role in harbour.trust_of("origin")["roles"].values():
        assert "alice" not in role["people"].values()

    station = harbour.folder()
    before = harbour.trust_of("origin")["roles"]["timestamp"]["keys"]
    harbour.origin("trust", "rotate", station, "--replace-station")
    harbour.signed(station, "bob", "dora", roles=("root",))
    assert before != harbour.trust_of("origin")["roles"]["timestamp"]["keys"]

    harbour.site("bundles", "import", harbour.ship())
    assert 5 == harbour.trust_of("site")["version"]
    assert harbour.trust_of("origin")["fingerprint"] == harbour.trust_of("site")["fingerprint"]
    harbour.origin("audit", "verify")
    kinds = [one["kind"] for one in json.loads(harbour.origin("audit", "log", "--json").stdout)]
    assert 6 == kinds.count("trust changed")


def test_a_ceremony_that_the_trust_has_overtaken_is_not_published(harbour: Harbour) -> None:
    with_a_site(harbour)
    early, late = harbour.folder(), harbour.folder()
    for folder in (early, late):
        harbour.origin("trust", "rotate", folder, "--renew", "targets")
    harbour.signed(early, "alice", "bob", roles=("targets",))
    harbour.origin("trust", "publish", early)  # again: nothing more happens
    for name in ("alice", "bob"):
        harbour.officer(name).sign(late, "targets")
    if (late / "documents/3.targets.json").read_bytes() != (early / "documents/3.targets.json").read_bytes():
        harbour.origin("trust", "publish", late, ends=CeremonyUnusable.exit_code)
    harbour.ship()  # the timestamp moves on; a ceremony that was begun before it still fits


def test_the_list_of_people_is_signed_by_officers_elsewhere_and_rides_in_the_next_bundle(
    harbour: Harbour,
) -> None:
    with_a_site(harbour)
    harbour.origin("people", "publish", "--draft", harbour.folder(), ends=NotFound.exit_code)
    key = harbour.at / "pia"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    harbour.origin("people", "add", "pia", "--public-key", f"{key}.pub", "--role", "steward")
    folder = harbour.folder()
    said = harbour.origin("people", "publish", "--draft", folder).stdout
    assert "targets vouches for identities/people.json" in said
    harbour.signed(folder, "bob", "carla", roles=("targets",))
    bundle = harbour.ship()
    assert (folder / "targets/identities/people.json").read_bytes() == (
        bundle / "identities/people.json"
    ).read_bytes()
    harbour.site("bundles", "import", bundle)
    harbour.origin("audit", "verify")


def test_a_key_is_shown_alike_from_its_private_and_its_public_half(tmp_path: Path) -> None:
    (tmp_path / "passphrase").write_text("six words would be better\n")
    alice = Officer("alice", tmp_path, ("ed25519",))
    made = json.loads(alice.type("keys", "create", tmp_path / "a.pem", "--json").stdout)
    for name, out in ((tmp_path / "a.pem", tmp_path / "again.json"), (tmp_path / "a.pub.json", None)):
        options = [] if out is None else ["--out", out]
        assert made == json.loads(alice.type("keys", "show", name, *options, "--json").stdout)
    assert (tmp_path / "a.pub.json").read_bytes() == (tmp_path / "again.json").read_bytes()
    assert b"ENCRYPTED" in (tmp_path / "a.pem").read_bytes()
