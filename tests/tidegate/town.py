"""An origin and a site made by typing commands, with two versions across the gap and no engine anywhere.

The tiers of this site demand no suite, so that approving, promoting and going back can be tried in seconds; the
journey on real weights, with a real engine, is `tests/story/test_journey.py`.
"""

import json
import shutil
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from registry import tiers_file
from registry.policy import DEFAULTS
from tests.cli import Prompt

DEMO = Path(__file__).parents[2] / "demo"
MODEL = "demo/tiny-toolcaller"


class Town:
    """Two homes, the people's keys and the files that went back and forth, below one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.origin, self.site = Prompt(folder / "origin", "oda"), Prompt(folder / "site", "ines")

    @property
    def receipt(self) -> Path:
        return self.folder / "receipt.json"

    @property
    def medium(self) -> Path:
        return self.folder / "medium"

    def key(self, person: str) -> Path:
        return self.folder / f"{person}.key"

    def signs(self, person: str) -> list[object]:
        """The options with which a person signs a decision."""
        return ["--person", person, "--reason", "as agreed", "--key", self.key(person)]

    def join(self, person: str, *options: object) -> None:
        """Somebody with a new key joins the site, by the word of both stewards."""
        new_ssh_key(self.key(person))
        key = self.key(person).with_suffix(".pub")
        self.site.type("people", "add", person, "--public-key", key, *options, *self.signs("alice"))
        self.site.type("people", "confirm", person, *self.signs("bob"))

    def approve(self, ordinal: int, tier: str, *people: str) -> None:
        for person in people:
            words = [f"{MODEL}@{ordinal}", "--tier", tier, "--person", person, "--key", self.key(person)]
            self.site.as_(person).type("approve", *words, "--reason", "read the report")

    def promote(self, ordinal: int, tier: str, *, ends: int = 0) -> None:
        self.site.as_("bob").type("promote", f"{MODEL}@{ordinal}", "--tier", tier, ends=ends)

    def serve(self, ordinal: int, tier: str = "team") -> None:
        """Approve and promote."""
        self.approve(ordinal, tier, "alice")
        self.promote(ordinal, tier)

    def serves(self) -> dict[str, int]:
        return {pin["tier"]: pin["ordinal"] for pin in self.site.ask("pins")}

    def blob(self, ordinal: int, path: str) -> Path:
        """A file of a version, in the site's store."""
        manifest = self.site.ask("models", "show", f"{MODEL}@{ordinal}")["manifest"]
        name = next(entry["sha256"] for entry in manifest["files"] if entry["path"] == path)
        return self.site.home / "store" / "blobs" / "sha256" / str(name)


def build(folder: Path) -> Town:
    """Make the town; slow (some seconds), so tests take copies of it."""
    town = Town(folder)
    town.origin.type("init", "harbour", "--role", "origin")
    town.site.type("init", "clinic", "--role", "site", "--profile", "officers")
    root, identity = folder / "root.json", folder / "clinic.json"
    fingerprint = town.origin.ask("trust", "root", root)["fingerprint"]
    town.site.type("trust", "enrol", root, "--fingerprint", fingerprint)
    town.site.type("trust", "identity", identity)
    town.origin.type("sites", "add", "clinic", "--identity", identity)
    _agree(town)  # before anybody is registered who would have to sign a policy
    for person in ("alice", "bob"):
        new_ssh_key(town.key(person))
        signed = [] if person == "alice" else town.signs("alice")
        town.site.type("people", "add", person, "--public-key", town.key(person).with_suffix(".pub"), *signed)
    for ordinal in (1, 2):
        town.origin.type("models", "add", DEMO / "models" / f"v{ordinal}", "--as", MODEL)
        contract = DEMO / "contracts" / "tool-contract-hermes.json"
        town.origin.type("contracts", "add", contract, "--for", f"{MODEL}@{ordinal}")
    refs = [f"{MODEL}@1", f"{MODEL}@2"]
    town.origin.type("bundles", "create", *refs, "--to", "clinic", "--out", town.medium)
    town.site.type("bundles", "import", town.medium, "--receipt", town.receipt)
    return town


def _agree(town: Town) -> None:
    for name in ("engine-profile-hermes", "router-contract-v1"):
        town.site.type("contracts", "add", DEMO / "contracts" / f"{name}.json")
    engine = json.loads((DEMO / "contracts" / "engine-profile-hermes.json").read_text())["name"]
    file = town.folder / "tiers.toml"
    file.write_text(tiers_file.write([replace(rules, suites=(), served_first=None) for rules in DEFAULTS]))
    town.site.type("policy", "apply", file)
    for tier in ("team", "org"):
        town.site.type("contracts", "set-router", tier, "demo-router-v1", "--engine", engine)


def new_ssh_key(path: Path) -> None:
    """A key file and its `.pub` beside it."""
    key = Ed25519PrivateKey.generate()
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    path.chmod(0o600)
    public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    path.with_suffix(".pub").write_bytes(public + b"\n")


def copy(built: Town, folder: Path) -> Town:
    """The same town somewhere else: every test has its own."""
    shutil.copytree(built.folder, folder, symlinks=True)
    return Town(folder)


def tree(folder: Path) -> dict[str, str]:
    """Every file below a folder by its digest. SQLite's own side files and locks are left out: looking makes them."""
    return {
        str(path.relative_to(folder)): sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.endswith(("-wal", "-shm", ".lock"))
    }
