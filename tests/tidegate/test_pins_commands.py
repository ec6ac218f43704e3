"""`approve`, `promote`, `pins`, `rollback` as a steward types them."""

import json
import shlex
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from registry.approvals import ApprovalUnreadable
from registry.errors import DocumentRefused, NotFound
from registry.gate import GateClosed
from registry.pins import NothingToRollBackTo
from signing.canonical import canonical_bytes
from signing.keys import KeyMissing
from signing.person_refusals import PersonSignatureUncheckable, PersonSignatureWrong
from signing.times import TimeUnreadable, rfc3339
from tests.tidegate.town import MODEL, Town

REF = f"{MODEL}@1"


class TestWithATokenOrAnyKeyThatSshKeygenKnows:
    """The payload is written out, `ssh-keygen -Y sign` signs it, and both are handed in."""

    @pytest.fixture
    def payload(self, town: Town) -> Path:
        file = town.folder / "to sign.json"
        self.write(town, file)
        return file

    def write(self, town: Town, file: Path, *, tier: str = "team", person: str = "alice") -> Any:
        words = [REF, "--tier", tier, "--person", person, "--reason", "read the report"]
        return town.site.ask("approve", *words, "--write-payload", file)

    def hand_in(self, town: Town, payload: Path, *words: str, ends: int = 0) -> str:
        given = words or (REF, "--tier", "team", "--person", "alice")
        signature = payload.with_name(f"{payload.name}.sig")
        return town.site.type(
            "approve", *given, "--payload", payload, "--signature", signature, ends=ends
        ).output

    def test_the_command_that_is_shown_makes_the_signature_that_is_taken(
        self, town: Town, payload: Path
    ) -> None:
        shown = self.write(town, payload)
        assert shown["asks"] == json.loads(payload.read_bytes())
        command = shlex.split(shown["sign_with"].replace(" KEY ", f" {shlex.quote(str(town.key('alice')))} "))
        subprocess.run(command, check=True, capture_output=True)
        assert "alice approves" in self.hand_in(town, payload)
        town.promote(1, "team")
        assert {"team": 1} == town.serves()

    def test_writing_the_payload_approves_nothing(self, town: Town, payload: Path) -> None:
        assert [] == town.site.ask("audit", "log", "--kind", "approved")
        assert payload.read_bytes() == canonical_bytes(json.loads(payload.read_bytes()))

    def test_handing_it_in_twice_is_one_approval(self, town: Town, payload: Path) -> None:
        sign(town, payload, "alice")
        self.hand_in(town, payload)
        self.hand_in(town, payload)
        assert 1 == len(town.site.ask("audit", "log", "--kind", "approved"))

    def test_another_persons_key_is_refused_at_once(self, town: Town, payload: Path) -> None:
        sign(town, payload, "bob")
        assert "made by another key" in self.hand_in(town, payload, ends=PersonSignatureWrong.exit_code)

    def test_a_signature_for_another_purpose_is_refused(self, town: Town, payload: Path) -> None:
        sign(town, payload, "alice", namespace="git")
        self.hand_in(town, payload, ends=PersonSignatureWrong.exit_code)

    def test_an_edited_payload_is_refused_before_it_is_read(self, town: Town, payload: Path) -> None:
        sign(town, payload, "alice")
        payload.write_bytes(payload.read_bytes().replace(b"team", b"org"))
        self.hand_in(town, payload, ends=PersonSignatureWrong.exit_code)

    def test_signed_bytes_that_are_no_approval_are_refused(self, town: Town, payload: Path) -> None:
        for data in (b"nonsense", b"{}", payload.read_bytes() + b"\n"):
            payload.write_bytes(data)
            sign(town, payload, "alice")
            self.hand_in(town, payload, ends=ApprovalUnreadable.exit_code)
        assert [] == town.site.ask("audit", "log", "--kind", "approved")

    @pytest.mark.parametrize(
        ("words", "named"),
        [
            ((f"{MODEL}@2", "--tier", "team", "--person", "alice"), "approval.digest"),
            ((REF, "--tier", "org", "--person", "alice"), "approval.tier"),
        ],
    )
    def test_a_payload_about_something_else_is_refused(
        self, town: Town, payload: Path, words: tuple[str, ...], named: str
    ) -> None:
        sign(town, payload, "alice")
        assert named in self.hand_in(town, payload, *words, ends=ApprovalUnreadable.exit_code)

    def test_a_payload_for_another_site_or_person_is_refused(self, town: Town, payload: Path) -> None:
        for field, value in (("site", "harbour"), ("person", "bob")):
            changed = json.loads(payload.read_bytes()) | {field: value}
            other = payload.with_name(f"{field}.json")
            other.write_bytes(canonical_bytes(changed))
            sign(town, other, "alice")
            assert f"approval.{field}" in self.hand_in(town, other, ends=ApprovalUnreadable.exit_code)

    def test_a_stale_payload_is_taken_and_does_not_count(self, town: Town, payload: Path) -> None:
        long_ago = datetime.now(UTC) - timedelta(days=30)
        old = json.loads(payload.read_bytes())
        old |= {"issued_at": rfc3339(long_ago), "expires_at": rfc3339(long_ago + timedelta(hours=72))}
        payload.write_bytes(canonical_bytes(old))
        sign(town, payload, "alice")
        assert "does NOT count" in self.hand_in(town, payload)
        town.promote(1, "team", ends=GateClosed.exit_code)

    def test_a_sig_file_that_is_none_is_refused(self, town: Town, payload: Path) -> None:
        payload.with_name(f"{payload.name}.sig").write_text("signed: alice")
        self.hand_in(town, payload, ends=PersonSignatureUncheckable.exit_code)


def sign(town: Town, payload: Path, person: str, *, namespace: str = "approval@tidegate") -> None:
    payload.with_name(f"{payload.name}.sig").unlink(missing_ok=True)
    command = ["ssh-keygen", "-Y", "sign", "-n", namespace, "-f", str(town.key(person)), str(payload)]
    subprocess.run(command, check=True, capture_output=True)


class TestApproving:
    @pytest.mark.parametrize(
        "ways",
        [
            [],
            ["--key", "k", "--write-payload", "f"],
            ["--key", "k", "--payload", "f", "--signature", "f.sig"],
            ["--payload", "f"],
            ["--signature", "f.sig"],
        ],
    )
    def test_takes_exactly_one_way_of_signing(self, town: Town, ways: list[str]) -> None:
        words = [REF, "--tier", "team", "--person", "alice", "--reason", "x"]
        assert "Usage" in town.site.type("approve", *words, *ways, ends=2).output

    def test_with_a_key_that_is_not_the_persons_is_refused_at_once(self, town: Town) -> None:
        words = [REF, "--tier", "team", "--person", "alice", "--reason", "x"]
        refusal = town.site.type(
            "approve", *words, "--key", town.key("bob"), ends=PersonSignatureWrong.exit_code
        )
        assert "made by another key" in refusal.output
        assert [] == town.site.ask("audit", "log", "--kind", "approved")

    def test_with_no_key_file_there_is_refused(self, town: Town) -> None:
        words = [REF, "--tier", "team", "--person", "alice", "--reason", "x"]
        town.site.type("approve", *words, "--key", town.folder / "none", ends=KeyMissing.exit_code)

    def test_by_somebody_who_left_is_refused(self, town: Town) -> None:
        town.site.type("people", "remove", "alice", *town.signs("bob"))
        words = [REF, "--tier", "team", "--person", "alice", "--key", town.key("alice")]
        town.site.type("approve", *words, "--reason", "x", ends=NotFound.exit_code)

    def test_says_when_it_does_not_count(self, town: Town) -> None:
        """ines imported it: her signature is kept, and she is told that it will not help."""
        town.join("ines")
        words = [REF, "--tier", "team", "--person", "ines", "--key", town.key("ines"), "--reason", "x"]
        found = town.site.ask("approve", *words)
        assert (False, True) == (found["counts"], "imported" in found["why_not"])


class TestTwoPersonsForTheOrganisation:
    def test_one_is_not_enough_and_two_are(self, town: Town) -> None:
        town.approve(1, "org", "alice")
        town.promote(1, "org", ends=GateClosed.exit_code)
        town.approve(1, "org", "alice")
        town.promote(1, "org", ends=GateClosed.exit_code)
        town.approve(1, "org", "bob")
        town.promote(1, "org")
        assert {"org": 1} == town.serves()

    def test_one_key_belongs_to_one_person(self, town: Town) -> None:
        """The gate counts keys too (`test_approvals.py`); nobody should have to find out there."""
        words = ["people", "add", "carol", "--public-key", town.key("alice").with_suffix(".pub")]
        refused = town.site.type(*words, *town.signs("bob"), ends=DocumentRefused.exit_code)
        assert "alice's already" in refused.output


class TestPromoting:
    def test_a_dry_run_shows_the_gate_and_changes_nothing(self, town: Town) -> None:
        refused = town.site.type("promote", REF, "--tier", "team", "--dry-run", ends=GateClosed.exit_code)
        assert "NO   approvals" in refused.output
        town.approve(1, "team", "alice")
        size = len(town.site.ask("audit", "log"))
        found = town.site.ask("promote", REF, "--tier", "team", "--dry-run")
        assert (True, False) == (found["open"], found["promoted"])
        assert ({}, size) == (town.serves(), len(town.site.ask("audit", "log")))

    def test_with_json_the_refusal_brings_every_finding(self, town: Town) -> None:
        result = town.site.type("promote", REF, "--tier", "team", "--json", ends=GateClosed.exit_code)
        found = json.loads(result.stdout)
        assert (False, False) == (found["open"], found["promoted"])
        against = [finding for finding in found["findings"] if not finding["ok"]]
        assert against
        assert all(finding["next_step"] for finding in against)
        assert "GateClosed" == json.loads(result.stderr)["refused"]

    def test_an_approval_serves_for_one_promotion(self, town: Town) -> None:
        """Version 2 was rolled back for cause: yesterday's signatures do not bring it back."""
        town.serve(1)
        town.serve(2)
        town.site.type("rollback", MODEL, "--tier", "team", "--reason", "wrong units")
        town.promote(2, "team", ends=GateClosed.exit_code)
        assert {"team": 1} == town.serves()
        town.approve(2, "team", "bob")
        town.promote(2, "team")
        assert {"team": 2} == town.serves()


class TestPins:
    def test_are_a_history_that_can_be_asked_about_any_moment(self, serving: Town) -> None:
        history = serving.site.ask("pins", "--history")
        assert [1, 2] == [pin["ordinal"] for pin in history]
        assert [2] == [pin["ordinal"] for pin in serving.site.ask("pins", "--at", history[-1]["since"])]
        assert [] == serving.site.ask("pins", "--at", "2020-01-01")
        assert 2 == serving.site.ask("pins", "--at", "2999-01-01")[0]["ordinal"]

    @pytest.mark.parametrize("moment", ["yesterday", "2026-13-40", "", "2026-11-20T10:00:00"])
    def test_a_date_that_is_none_is_refused(self, town: Town, moment: str) -> None:
        town.site.type("pins", "--at", moment, ends=TimeUnreadable.exit_code)


class TestGoingBack:
    def test_returns_the_whole_set_and_says_what_was_left(self, serving: Town) -> None:
        found = serving.site.ask("rollback", MODEL, "--tier", "team", "--reason", "wrong units")
        first = serving.site.ask("pins", "--history")[0]
        for field in ("version", "contract", "profile", "router"):
            assert first[field] == found[field]
        assert ({"team": 1}, "rollback") == (serving.serves(), found["kind"])

    def test_typed_twice_does_not_go_forward_again(self, serving: Town) -> None:
        words = ["rollback", MODEL, "--tier", "team", "--reason", "wrong units"]
        serving.site.type(*words)
        serving.site.type(*words, ends=NothingToRollBackTo.exit_code)
        assert {"team": 1} == serving.serves()

    def test_with_nothing_earlier_is_refused(self, town: Town) -> None:
        words = ["rollback", MODEL, "--tier", "team", "--reason", "x"]
        town.site.type(*words, ends=NothingToRollBackTo.exit_code)
        town.serve(1)
        town.site.type(*words, ends=NothingToRollBackTo.exit_code)
        assert {"team": 1} == town.serves()

    def test_never_to_a_withdrawn_version(self, serving: Town) -> None:
        serving.site.type("models", "withdraw", REF, "--reason", "licence recalled")
        words = ["rollback", MODEL, "--tier", "team", "--reason", "x"]
        serving.site.type(*words, ends=NothingToRollBackTo.exit_code)

    def test_never_to_damaged_bytes(self, serving: Town) -> None:
        blob = serving.blob(1, "config.json")
        blob.chmod(0o644)
        blob.write_bytes(b"{}")
        words = ["rollback", MODEL, "--tier", "team", "--reason", "x"]
        serving.site.type(*words, ends=NothingToRollBackTo.exit_code)
        assert {"team": 2} == serving.serves()
