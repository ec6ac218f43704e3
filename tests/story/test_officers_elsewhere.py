"""A bundle is packed at the origin and signed by officers who never come there; then it is finished, or refused.

Two of three release managers sign the catalogue and both export officers sign for the site, each on a machine of their
own, in any order, from copies of the ceremony's folder. Somebody edits what waits, and somebody is faster.
"""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from pipelines.bundle.reader import LABEL
from pipelines.unsigned import UnsignedBundleRefused
from signing.digests import sha256_hex
from signing.drafts import CeremonyUnusable, PartialSignatureRefused
from signing.profiles import Profile
from signing.refusals import TooFewSigners
from tests import second_reader
from tests.pipelines.gap import model_files, small_chunks, weights
from tests.story.test_ceremonies import Harbour, with_a_site

VERIFIER = second_reader.VERIFIER / "verify.py"
SIGNERS = (("alice", "catalog"), ("carla", "catalog"), ("erin", "site-clinic"), ("frank", "site-clinic"))
REFUSED = UnsignedBundleRefused.exit_code


@pytest.fixture(scope="module")
def founded(tmp_path_factory: pytest.TempPathFactory) -> Harbour:
    """Officers, a site that has taken its first bundle in, and two versions of a model."""
    made = Harbour(tmp_path_factory.mktemp("elsewhere"), Profile.OFFICERS)
    with_a_site(made)
    for number in (1, 2):
        folder = made.at / f"source-{number}"
        folder.mkdir()
        for name, data in {**model_files(number), "model.safetensors": weights(number, 90_000)}.items():
            (folder / name).write_bytes(data)
        made.origin("models", "add", folder, "--as", "acme/tiny")
    return made


@pytest.fixture
def harbour(founded: Harbour, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Harbour:
    small_chunks(monkeypatch, 20_000)
    shutil.copytree(founded.at, tmp_path / "h")
    made = Harbour.__new__(Harbour)
    made.__dict__.update(founded.__dict__ | {"at": tmp_path / "h", "askpass": tmp_path / "h" / "askpass"})
    made.people = {
        name: replace(
            one,
            desk=made.at / name,
            keys={role: [made.at / name / key.name for key in keys] for role, keys in one.keys.items()},
        )
        for name, one in founded.people.items()
    }
    return made


def drafted(harbour: Harbour, *words: object, name: str = "c1", out: str = "out") -> dict[str, Any]:
    """Pack the second version, or what is said, for officers elsewhere."""
    asked = words or ("acme/tiny@2",)
    done = harbour.origin(
        "bundles", "create", *asked, "--to", "clinic", "--out", harbour.at / out,
        "--draft", harbour.at / name, "--json",
    )  # fmt: skip
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def signed(harbour: Harbour, name: str = "c1", who: tuple[tuple[str, str], ...] = SIGNERS) -> None:
    for person, role in who:
        harbour.officer(person).sign(harbour.at / name, role)


def published(harbour: Harbour, name: str = "c1") -> None:
    signed(harbour, name)
    harbour.origin("trust", "publish", harbour.at / name)


def finished(harbour: Harbour, out: str = "out") -> dict[str, Any]:
    found: dict[str, Any] = json.loads(harbour.origin("bundles", "finish", harbour.at / out, "--json").stdout)
    return found


def refused(harbour: Harbour, *words: object) -> str:
    """What an unsigned bundle's refusal says; the words must name a next step that is a command."""
    said = harbour.origin(*words, ends=REFUSED).stderr
    assert "tidegate bundles redraft" in said
    return said


def files_of(folder: Path) -> Mapping[str, str]:
    return {
        path.relative_to(folder).as_posix(): sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_four_officers_on_four_machines_sign_a_bundle_that_the_site_takes(harbour: Harbour) -> None:
    waits = drafted(harbour, "acme/tiny@2", "--classification", "restricted", "--requester", "J. Abe")
    assert {"catalog", "site-clinic"} == set(waits["roles"])
    said = harbour.officer("frank").sign(harbour.at / "c1", "site-clinic").stdout
    version = json.loads(harbour.origin("models", "show", "acme/tiny@2", "--json").stdout)
    assert re.search(rf"acme/tiny@2, SHA-256 {version['digest']}: 4 files, [0-9,]+ bytes; new in", said)
    assert "classification: restricted" in said
    assert f"Bundle {waits['bundle']}: number 2 for clinic, from harbour" in said
    assert "acme/tiny@2" in (harbour.at / "c1/WHAT.txt").read_text()

    signed(harbour, who=(SIGNERS[0],))
    harbour.origin("trust", "publish", harbour.at / "c1", ends=TooFewSigners.exit_code)
    signed(harbour, who=(SIGNERS[1], SIGNERS[2]))
    said = harbour.origin("trust", "publish", harbour.at / "c1").stdout
    assert "tidegate bundles finish" in said
    assert "alice, carla" in said
    assert "erin, frank" in said

    done = finished(harbour)
    [folder] = map(Path, done["volumes"])
    assert [waits["bundle"]] == [path.name for path in (harbour.at / "out").iterdir()]
    subprocess.run(["sha256sum", "--quiet", "-c", "SHA256SUMS"], cwd=folder, check=True)
    print_ = harbour.trust_of("origin")["fingerprint"]
    asked = [
        "bundle",
        folder,
        "--site",
        "clinic",
        "--root-fingerprint",
        print_,
        "--reader",
        second_reader.READER,
    ]
    seen = subprocess.run([sys.executable, VERIFIER, *asked], capture_output=True, text=True, check=False)
    assert 0 == seen.returncode, seen.stdout + seen.stderr
    harbour.site("bundles", "inspect", folder, "--deep")
    harbour.site("bundles", "import", folder)
    assert "acme/tiny" in harbour.site("models", "list").stdout
    for say in (harbour.origin, harbour.site):
        say("audit", "verify")
    harbour.origin("bundles", "verify", folder)
    kinds = [one["kind"] for one in json.loads(harbour.origin("audit", "log", "--json").stdout)]
    assert 2 == kinds.count("bundle made")
    assert files_of(folder) == files_of(Path(finished(harbour)["volumes"][0]))  # again: nothing happens


def test_what_waits_survives_other_bundles_and_is_no_bundle(harbour: Harbour) -> None:
    waits = Path(
        drafted(harbour, "acme/tiny@1", "acme/tiny@2", "--volume-size", "200kB", "--parity", "1")["waits_in"]
    )
    before = files_of(waits)
    assert not list(waits.rglob(LABEL))
    assert not list(waits.rglob("SHA256SUMS"))
    assert ".unsigned-harbour-clinic-" in waits.name
    harbour.site("bundles", "inspect", harbour.at / "out", ends=20)
    drafted(harbour, "acme/tiny@1", out="elsewhere", name="c2")
    options = [
        word
        for person, role in SIGNERS
        for key in harbour.officer(person).keys[role]
        for word in ("--key", key)
    ]
    harbour.origin("bundles", "create", "--to", "clinic", "--out", harbour.at / "out", *options)
    assert before == files_of(waits)


def test_several_volumes_with_parity_are_finished_and_one_may_be_lost(harbour: Harbour) -> None:
    drafted(harbour, "acme/tiny@1", "acme/tiny@2", "--volume-size", "200kB", "--parity", "1")
    published(harbour)
    folders = [Path(place) for place in finished(harbour)["volumes"]]
    assert len(folders) > 2
    shutil.rmtree(folders[0])
    harbour.site("bundles", "import", *folders[1:])


def test_nothing_is_finished_before_it_is_signed(harbour: Harbour) -> None:
    waits = Path(drafted(harbour)["waits_in"])
    before = files_of(waits)
    assert "is not signed yet" in refused(harbour, "bundles", "finish", harbour.at / "out")
    signed(harbour)
    assert "tidegate trust publish FOLDER" in refused(harbour, "bundles", "finish", waits)
    assert before == files_of(waits)
    assert "no bundle waits here" in refused(harbour, "bundles", "finish", harbour.at / "site")
    harbour.origin("trust", "publish", harbour.at / "c1")
    finished(harbour)


def test_another_bundle_takes_the_number_and_nothing_is_packed_again(harbour: Harbour) -> None:
    waits = Path(drafted(harbour)["waits_in"])
    chunks = files_of(waits / "volume-01")
    signed(harbour)
    faster = harbour.ship()
    said = refused(harbour, "trust", "publish", harbour.at / "c1")
    assert "number 2 is taken by another bundle; the next one is 3" in said
    assert "is taken" in refused(harbour, "bundles", "finish", harbour.at / "out")
    again = json.loads(
        harbour.origin(
            "bundles", "redraft", harbour.at / "out", "--draft", harbour.at / "c2", "--json"
        ).stdout
    )
    assert 3 == again["sequence"]
    assert chunks == files_of(Path(again["waits_in"]) / "volume-01")
    harbour.origin("trust", "publish", harbour.at / "c1", ends=REFUSED)
    shutil.copytree(harbour.at / "c1/signatures", harbour.at / "c2/signatures")
    harbour.origin("trust", "publish", harbour.at / "c2", ends=PartialSignatureRefused.exit_code)
    shutil.rmtree(harbour.at / "c2/signatures")
    published(harbour, "c2")
    [folder] = finished(harbour)["volumes"]
    harbour.site("bundles", "import", folder)  # the later one first: the site waits for number 2
    harbour.site("bundles", "import", faster)
    harbour.origin("audit", "verify")


def test_a_catalogue_that_moved_on_takes_another_ceremony_and_no_packing(harbour: Harbour) -> None:
    drafted(harbour, "acme/tiny@1", name="c1", out="first")
    published(harbour)
    harbour.site("bundles", "import", *finished(harbour, "first")["volumes"])
    waits = Path(drafted(harbour, name="c2")["waits_in"])
    signed(harbour, "c2")
    harbour.origin("trust", "rotate", harbour.at / "r", "--renew", "catalog")
    signed(harbour, "r", SIGNERS[:2])
    harbour.origin("trust", "publish", harbour.at / "r")
    harbour.origin("trust", "publish", harbour.at / "c2", ends=CeremonyUnusable.exit_code)
    harbour.origin("bundles", "redraft", waits, "--draft", harbour.at / "c3")
    published(harbour, "c3")
    said = refused(harbour, "bundles", "redraft", harbour.at / "out", "--draft", harbour.at / "c4")
    assert "is signed as it is" in said
    harbour.site("bundles", "import", *finished(harbour)["volumes"])


def test_a_version_that_was_withdrawn_meanwhile_does_not_leave_unsaid(harbour: Harbour) -> None:
    drafted(harbour)
    signed(harbour)
    harbour.origin("models", "withdraw", "acme/tiny@2", "--reason", "leaks")
    assert "acme/tiny@2 was withdrawn" in refused(harbour, "trust", "publish", harbour.at / "c1")
    harbour.origin("bundles", "redraft", harbour.at / "out", "--draft", harbour.at / "c2")
    said = harbour.officer("erin").sign(harbour.at / "c2", "site-clinic").stdout
    assert re.search(r"withdrawn: SHA-256 [0-9a-f]{64} \(leaks\)", said)


def test_what_was_edited_while_it_waited_is_never_shipped(harbour: Harbour) -> None:
    waits = Path(drafted(harbour)["waits_in"])
    published(harbour)
    chunks = [path for path in (waits / "volume-01").rglob("*") if path.is_file()]
    documents = [path for path in (waits / "documents").iterdir() if path.is_file()]
    for name in (chunks[0].name, *(place.name for place in documents), "unsigned.json"):
        place = next(waits.rglob(name))
        honest = place.read_bytes()
        place.write_bytes(honest.replace(b"a", b"b", 1) if b"a" in honest else honest[:-1] + b"\0")
        refused(harbour, "bundles", "finish", harbour.at / "out")
        place = next(waits.rglob(name))  # a volume's folder has its name by now
        place.unlink()
        refused(harbour, "bundles", "finish", harbour.at / "out")
        place.write_bytes(honest)
    link = next(waits.rglob(chunks[0].name)).parent
    link.rename(harbour.at / "taken-out")
    link.symlink_to(harbour.at / "taken-out")
    assert "is a link" in refused(harbour, "bundles", "finish", harbour.at / "out")
    link.unlink()
    (harbour.at / "taken-out").rename(link)
    (waits / "volume-01" / "stray").write_text("somebody's")
    (link / "stray").write_text("somebody's")
    harbour.site("bundles", "import", *finished(harbour)["volumes"])


def test_what_waits_is_found_by_its_folder_where_several_wait(harbour: Harbour) -> None:
    first = Path(drafted(harbour)["waits_in"])
    copy = first.with_name(first.name.replace("-02", "-99"))
    shutil.copytree(first, copy)
    said = refused(harbour, "bundles", "finish", harbour.at / "out")
    assert "2 bundles wait here" in said
    published(harbour)
    harbour.origin("bundles", "finish", copy)
    assert "is in the way" in refused(harbour, "bundles", "finish", first)


def test_a_folder_that_says_other_words_is_signed_by_nobody(harbour: Harbour) -> None:
    """The export is signed for by its digest; what explains it has to be what it names."""
    drafted(harbour)
    folder = harbour.at / "c1"
    [manifest] = (folder / "evidence/manifests").iterdir()
    stated = json.loads((folder / "ceremony.json").read_text())
    honest = manifest.read_bytes()
    manifest.write_bytes(honest.replace(b'"size":', b'"size":1', 1))
    harbour.officer("erin").sign(folder, "site-clinic", ends=CeremonyUnusable.exit_code)
    stated["evidence"][f"manifests/{manifest.name}"] = sha256_hex(manifest.read_bytes())
    (folder / "ceremony.json").write_text(json.dumps(stated, indent=2, sort_keys=True))
    said = harbour.officer("erin").sign(folder, "site-clinic", ends=CeremonyUnusable.exit_code).stderr
    assert "the folder does not hold the file" in said
    manifest.write_bytes(honest)
    other = folder / "targets/exports/clinic/9.json"
    other.write_bytes((folder / "targets/exports/clinic/2.json").read_bytes())
    stated["evidence"][f"manifests/{manifest.name}"] = sha256_hex(honest)
    stated["payloads"]["exports/clinic/9.json"] = sha256_hex(other.read_bytes())
    (folder / "ceremony.json").write_text(json.dumps(stated, indent=2, sort_keys=True))
    harbour.officer("erin").sign(folder, "site-clinic", ends=CeremonyUnusable.exit_code)
    harbour.origin("trust", "publish", folder, ends=CeremonyUnusable.exit_code)


def test_create_without_the_officers_says_that_they_may_be_elsewhere(harbour: Harbour) -> None:
    said = harbour.origin(
        "bundles",
        "create",
        "acme/tiny@2",
        "--to",
        "clinic",
        "--out",
        harbour.at / "out",
        ends=TooFewSigners.exit_code,
    ).stderr
    assert "--draft FOLDER" in said
    key = harbour.officer("erin").keys["site-clinic"][0]
    harbour.origin("bundles", "create", "--to", "clinic", "--out", harbour.at / "out", "--draft", harbour.at / "c",
                   "--key", key, ends=2)  # fmt: skip
    (harbour.at / "c").mkdir()
    (harbour.at / "c/x").write_text("somebody's")
    harbour.origin("bundles", "create", "--to", "clinic", "--out", harbour.at / "out", "--draft", harbour.at / "c",
                   ends=CeremonyUnusable.exit_code)  # fmt: skip
    assert not (harbour.at / "out").exists()


def test_an_empty_bundle_is_signed_elsewhere_too(harbour: Harbour) -> None:
    assert ["site-clinic"] == drafted(harbour, "--next-by", "2099-01-01")["roles"]
    signed(harbour, who=SIGNERS[2:])
    harbour.origin("trust", "publish", harbour.at / "c1")
    harbour.site("bundles", "import", *finished(harbour)["volumes"])
