"""The whole journey through the command line: real weights, a real engine, both databases at the site."""

import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from sqlalchemy import text

from demo.engine import Engine, ask, find_engine
from registry.compatibility import NotCompatible
from registry.gate import GateClosed
from registry.home import load
from registry.names import Ref
from registry.pins import NothingToRollBackTo
from signing.envelope import Envelope, verify
from signing.statements import APPROVAL, IMPORT, PIN
from tests.cli import Prompt
from tests.conftest import NOON
from tests.world import at_work
from tidegate.errors import AuditBroken, SuiteNotPassed

DEMO = Path(__file__).parents[2] / "demo"
MODEL = "demo/tiny-toolcaller"

pytestmark = [pytest.mark.engine]


@pytest.fixture(scope="module")
def engine() -> Engine:
    found = find_engine()
    assert found is not None, "no engine: python -m demo.engine sets one up"
    return found


class Crossing:
    """An origin, a site and a folder that plays the disk."""

    def __init__(self, folder: Path, engine: Engine, database: str | None) -> None:
        self.folder, self.engine = folder, engine
        self.template = folder / "template.jinja"
        self.template.write_bytes((DEMO / "models" / "v1" / "chat_template.jinja").read_bytes())
        self.origin, self.site = Prompt(folder / "origin", "oda"), Prompt(folder / "site", "ines")
        self.origin.type("init", "harbour", "--role", "origin")
        where = ["--database", database] if database else []
        self.site.type("init", "clinic", "--role", "site", "--profile", "officers", *where)
        self._enrol()
        self._agree()

    def _enrol(self) -> None:
        root, identity = self.folder / "root.json", self.folder / "clinic.json"
        fingerprint = self.origin.ask("trust", "root", root)["fingerprint"]
        self.site.type("trust", "enrol", root, "--fingerprint", fingerprint)
        self.site.type("trust", "identity", identity)
        self.origin.type("sites", "add", "clinic", "--identity", identity)
        self.origin.type("suites", "add", "--builtin", "tool-basics")
        for person in ("alice", "bob", "ines"):
            key = Ed25519PrivateKey.generate()
            secret = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
            (self.folder / f"{person}.key").write_bytes(secret)
            public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
            (self.folder / f"{person}.pub").write_bytes(public)
        for person in ("alice", "bob"):
            signed = [] if person == "alice" else self.signs("alice")
            self.site.type("people", "add", person, "--public-key", self.folder / f"{person}.pub", *signed)

    def signs(self, person: str) -> list[object]:
        """The options with which a person signs a decision."""
        return ["--person", person, "--reason", "as agreed", "--key", self.folder / f"{person}.key"]

    def _agree(self) -> None:
        profile = json.loads((DEMO / "contracts" / "engine-profile-hermes.json").read_text())
        with self.engine.serve(DEMO / "models" / "v1", self.folder / "engine.log") as served:
            build = ask(served.base_url.removesuffix("/v1") + "/props")["build_info"]
        file = self.folder / "profile.json"
        file.write_text(json.dumps(profile | {"name": "pinned", "version": build}))
        self.site.type("contracts", "add", file)
        self.site.type("contracts", "add", DEMO / "contracts" / "router-contract-v1.json")
        for tier in ("team", "org"):
            self.site.type("contracts", "set-router", tier, "demo-router-v1", "--engine", "pinned")

    def ship(self, ordinal: int, contract: str = "tool-contract-hermes") -> None:
        ref, medium = f"{MODEL}@{ordinal}", self.folder / f"medium-{ordinal}"
        self.origin.type("models", "add", DEMO / "models" / f"v{ordinal}", "--as", MODEL)
        self.origin.type("contracts", "add", DEMO / "contracts" / f"{contract}.json", "--for", ref)
        self.origin.type("bundles", "create", ref, "--to", "clinic", "--with", "tool-basics", "--out", medium)
        receipt = self.folder / f"receipt-{ordinal}.json"
        self.site.type("bundles", "import", medium, "--receipt", receipt)
        self.origin.type("bundles", "acknowledge", receipt)

    def validate(self, ordinal: int, *tiers: str, ends: int = 0) -> None:
        """Serve a version as an operator would and run the suite, once for each tier: a report speaks of one."""
        served_from = self.folder / f"served-{ordinal}"
        self.site.type("materialise", f"{MODEL}@{ordinal}", served_from)
        flags = ["--jinja", "--chat-template-file", str(self.template)]
        with self.engine.serve(served_from, self.folder / "engine.log", flags) as served:
            for tier in tiers:
                words = ["tool-basics", f"{MODEL}@{ordinal}", "--tier", tier, "--endpoint", served.base_url]
                self.site.as_("vera").type("suites", "run", *words, ends=ends)

    def approve(self, ordinal: int, tier: str, *people: str) -> None:
        for person in people:
            key = self.folder / f"{person}.key"
            words = [
                f"{MODEL}@{ordinal}",
                "--tier",
                tier,
                "--person",
                person,
                "--key",
                key,
                "--reason",
                "seen",
            ]
            self.site.as_(person).type("approve", *words)

    def promote(self, ordinal: int, tier: str, *, ends: int = 0) -> None:
        self.site.as_("bob").type("promote", f"{MODEL}@{ordinal}", "--tier", tier, ends=ends)

    def serves(self) -> dict[str, int]:
        return {pin["tier"]: pin["ordinal"] for pin in self.site.ask("pins")}


@pytest.fixture
def crossing(tmp_path: Path, engine: Engine, database: str | None) -> Crossing:
    return Crossing(tmp_path, engine, database)


def test_a_model_goes_the_whole_way_and_back(crossing: Crossing) -> None:
    """Version 1 and 2 are promoted, 3 is refused for what it would break, org goes back to 1, the auditor agrees."""
    for ordinal in (1, 2):
        crossing.ship(ordinal)
        crossing.promote(ordinal, "team", ends=GateClosed.exit_code)
        crossing.validate(ordinal, "team", "org")
        crossing.approve(ordinal, "team", "alice")
        crossing.promote(ordinal, "team")
        crossing.approve(ordinal, "org", "alice")
        crossing.promote(ordinal, "org", ends=GateClosed.exit_code)  # one person is not two
        crossing.approve(ordinal, "org", "bob")
        crossing.promote(ordinal, "org")
    assert {"team": 2, "org": 2} == crossing.serves()

    crossing.ship(3, "tool-contract-xml-function")
    crossing.site.type(
        "contracts", "compare", "demo-xml-function", "demo-router-v1", ends=NotCompatible.exit_code
    )
    crossing.validate(3, "org", ends=SuiteNotPassed.exit_code)
    crossing.approve(3, "org", "alice", "bob")
    crossing.promote(3, "org", ends=GateClosed.exit_code)
    assert {"team": 2, "org": 2} == crossing.serves()

    crossing.site.type("rollback", MODEL, "--tier", "org", "--reason", "wrong units")
    assert {"team": 2, "org": 1} == crossing.serves()
    crossing.site.type("models", "withdraw", f"{MODEL}@1", "--reason", "licence recalled")
    crossing.site.type(
        "rollback", MODEL, "--tier", "team", "--reason", "x", ends=NothingToRollBackTo.exit_code
    )

    with at_work(load(crossing.site.home), actor="auditor", now=NOON) as work, work.store.view() as view:
        digest = view.version(Ref.parse(f"{MODEL}@1")).digest
        said = [row.predicate.removeprefix("urn:tidegate:") for row in view.statements(digest)]
        key = work.station.public_key
        for row in view.statements(digest):
            if row.predicate in (APPROVAL, PIN, IMPORT):
                verify(row.payload.encode(), Envelope.from_json(row.signature.encode()), {key.keyid: key})
    assert ["approval:v1", "approval:v1", "approval:v1", "import:v1", "pin:v1", "pin:v1", "pin:v1"] == sorted(
        kind for kind in said if kind.startswith(("approval", "import", "pin"))
    )
    crossing.site.type("audit", "verify")
    account = crossing.site.ask("audit", "explain", f"{MODEL}@2")
    assert ["team", "org"] == [stretch["tier"] for stretch in account["served"]]
    assert "rollback" == account["served"][1]["left_by"]
    assert {"alice", "bob"} == {approval["person"] for approval in account["approvals"]}
    assert "proven" == account["validations"][0]["identity"]


def test_a_pin_edited_in_the_database_is_caught(crossing: Crossing) -> None:
    crossing.ship(1)
    crossing.validate(1, "team")
    crossing.approve(1, "team", "alice")
    crossing.promote(1, "team")
    crossing.site.type("audit", "verify")

    with (
        at_work(load(crossing.site.home), actor="mallory", now=NOON) as work,
        work.store.engine.begin() as connection,
    ):
        connection.execute(text("UPDATE pin SET actor = 'nobody' WHERE tier = 'team'"))

    refusal = crossing.site.type("audit", "verify", ends=AuditBroken.exit_code)
    assert "pin: a row is not in the log" in refusal.output


def test_the_importer_cannot_approve(crossing: Crossing) -> None:
    """The two-person rule: ines imported it, so her signature does not count, whoever she is else."""
    crossing.ship(1)
    crossing.validate(1, "team")
    crossing.site.type(
        "people", "add", "ines", "--public-key", crossing.folder / "ines.pub", *crossing.signs("alice")
    )
    crossing.site.type("people", "confirm", "ines", *crossing.signs("bob"))
    crossing.approve(1, "team", "ines")
    crossing.promote(1, "team", ends=GateClosed.exit_code)


def test_an_approval_does_not_outlive_the_evidence_that_it_was_given_on(crossing: Crossing) -> None:
    crossing.ship(1)
    crossing.validate(1, "team")
    crossing.approve(1, "team", "alice")
    crossing.validate(1, "team")
    crossing.promote(1, "team", ends=GateClosed.exit_code)
