"""`tidegate audit prove`, `check-proof`, `witnesses`: one event shown to an auditor, and the other home's log watched."""

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from pipelines.witness import LogForked
from registry.errors import NotFound
from registry.log_proof import OpeningWrong, ProofWrong
from signing.checkpoint import CheckpointSignatureWrong, CheckpointUnreadable
from tests.tidegate.town import DEMO, MODEL, Town


@pytest.fixture
def proof(serving: Town) -> Path:
    """An auditor has the proof of the newest promotion, and the log's key by another way."""
    file = serving.folder / "promotion.tlog-proof"
    position = promoted(serving)
    serving.site.type("audit", "prove", position, "--out", file, "--open", "/rows/0/row/reason")
    return file


def promoted(town: Town) -> int:
    return int(town.site.ask("audit", "log", "--kind", "promoted")[-1]["position"])


def key(town: Town) -> str:
    return str(town.site.ask("audit", "head")["verifier_key"])


def test_an_auditor_sees_the_event_and_only_what_was_opened(serving: Town, proof: Path) -> None:
    shown = serving.origin.ask("audit", "check-proof", proof, "--key", key(serving))
    assert ("promoted", "team") == (shown["event"]["kind"], shown["event"]["rows"][0]["row"]["tier"])
    assert isinstance(shown["event"]["rows"][0]["row"]["reason"], str)
    assert "/actor" in shown["closed"]
    assert b"bob" not in proof.read_bytes()
    assert "/actor stays closed" in serving.site.type("audit", "check-proof", proof).stdout


def test_a_proof_can_be_printed_and_says_which_places_can_be_opened(serving: Town) -> None:
    printed = serving.site.type("audit", "prove", promoted(serving)).stdout
    assert printed.startswith("c2sp.org/tlog-proof@v1\nextra ")
    refusal = serving.site.ask_refused("audit", "prove", 1, "--open", "/nothing", ends=NotFound.exit_code)
    assert "/actor" in refusal["message"]
    serving.site.type("audit", "prove", 99_999, ends=NotFound.exit_code)


def test_another_value_is_no_opening(serving: Town, proof: Path) -> None:
    beside = proof.with_name("promotion.openings.json")
    openings = json.loads(beside.read_text())
    openings[0][2] = "because"
    beside.write_text(json.dumps(openings))
    serving.site.type("audit", "check-proof", proof, ends=OpeningWrong.exit_code)
    for other in ("{", "{}", "[[]]"):
        beside.write_text(other)
        serving.site.type("audit", "check-proof", proof, ends=OpeningWrong.exit_code)


def test_an_event_of_another_place_or_another_log_is_refused(serving: Town, proof: Path) -> None:
    good = proof.read_text()
    position = promoted(serving)
    proof.write_text(good.replace(f"index {position}", f"index {position - 1}"))
    serving.site.type("audit", "check-proof", proof, ends=ProofWrong.exit_code)
    proof.write_text(
        "".join(line for line in good.splitlines(keepends=True) if not line.startswith("extra "))
    )
    refusal = serving.site.ask_refused("audit", "check-proof", proof, ends=ProofWrong.exit_code)
    assert "does not hold the event" in refusal["message"]
    proof.write_text("nothing of the kind")
    serving.site.type("audit", "check-proof", proof, ends=CheckpointUnreadable.exit_code)
    proof.write_text(good)
    serving.origin.type("audit", "check-proof", proof, ends=CheckpointSignatureWrong.exit_code)


def test_a_witness_that_did_not_cosign_is_missed(serving: Town, proof: Path) -> None:
    other = str(serving.origin.ask("audit", "head")["verifier_key"])
    serving.site.type("audit", "check-proof", proof, "--witness", other, ends=CheckpointUnreadable.exit_code)


class TestMediaThatTravel:
    """The origin and the site, as they exchange bundles and receipts by hand."""

    @pytest.fixture
    def travelled(self, serving: Town) -> Town:
        serving.origin.type("bundles", "acknowledge", serving.receipt)
        return serving

    def carry(self, town: Town, name: str, *, ends: int = 0) -> Path:
        out, receipt = town.folder / name, town.folder / f"{name}.json"
        create = ["bundles", "create", f"{MODEL}@1", "--to", "clinic", "--out", out, "--self-contained"]
        town.origin.type(*create)
        town.site.type("bundles", "import", out, "--receipt", receipt, ends=ends)
        return receipt

    def test_leave_cosigned_heads_on_both_sides(self, travelled: Town) -> None:
        receipt = self.carry(travelled, "second")
        assert "CONSISTENT" == travelled.origin.ask("bundles", "acknowledge", receipt)["log"]
        ours = travelled.origin.ask("audit", "witnesses")
        assert [("tidegate/clinic", "CONSISTENT")] == [(s["log"], s["outcome"]) for s in ours["logs"]]
        assert {"clinic"} == {head["witness"] for head in ours["cosigned"]}
        theirs = travelled.site.type("audit", "witnesses").stdout
        assert "harbour cosigned our first" in theirs
        travelled.site.type("audit", "verify", "--every-signature")
        travelled.origin.type("audit", "verify")

    def test_prove_an_event_under_a_cosigned_head(self, travelled: Town) -> None:
        self.carry(travelled, "second")
        file = travelled.folder / "1.tlog-proof"
        travelled.site.type("audit", "prove", 1, "--out", file)
        assert 2 == file.read_text().count("\n— tidegate/")

    def test_convict_a_site_whose_log_was_rewritten(self, travelled: Town) -> None:
        """The administrator puts an old database back and goes on: the receipt is taken, and everybody is told."""
        database = travelled.site.home / "registry.db"
        with closing(sqlite3.connect(database)) as link:
            link.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        shutil.copy(database, travelled.folder / "old.db")
        receipt = self.carry(travelled, "second")
        travelled.origin.type("bundles", "acknowledge", receipt)
        for stale in travelled.site.home.glob("registry.db-*"):
            stale.unlink()
        shutil.copy(travelled.folder / "old.db", database)
        receipt = self.carry(travelled, "third")
        refused = travelled.origin.type("bundles", "acknowledge", receipt, ends=LogForked.exit_code)
        assert "does not begin with them" in refused.stderr
        assert "FORK" in travelled.origin.type("audit", "witnesses").stdout
        checks = json.loads(travelled.origin.type("doctor", "--json", ends=100).stdout)
        assert ["other logs"] == [check["check"] for check in checks if not check["ok"]]
        why = ["--accept", "clinic", "--reason", "backup of Friday"]
        assert "ACCEPTED" in travelled.origin.type("audit", "witnesses", *why).stdout
        travelled.origin.type("audit", "witnesses", *why, ends=NotFound.exit_code)
        travelled.origin.type("audit", "witnesses", "--accept", "clinic", ends=2)

    def test_tell_a_site_that_its_origins_log_was_rewritten(self, travelled: Town) -> None:
        database = travelled.origin.home / "registry.db"
        with closing(sqlite3.connect(database)) as link:
            link.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        shutil.copy(database, travelled.folder / "old.db")
        self.carry(travelled, "second")
        for stale in travelled.origin.home.glob("registry.db-*"):
            stale.unlink()
        shutil.copy(travelled.folder / "old.db", database)
        for number in range(12):
            travelled.origin.type("contracts", "add", *self._contract(travelled, number))
        self.carry(travelled, "third", ends=LogForked.exit_code)
        assert "FORK" in travelled.site.type("audit", "witnesses").stdout
        travelled.site.type("audit", "verify")  # this site's own log is as it should be

    def _contract(self, town: Town, number: int) -> list[object]:
        """Something that the origin records."""
        contract = json.loads((DEMO / "contracts" / "router-contract-v1.json").read_text())
        file = town.folder / "contract.json"
        file.write_text(json.dumps({**contract, "name": f"other-{number}"}))
        return [file]
