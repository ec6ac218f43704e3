"""`approvals`, `approve`, `reject` and `promote --break-glass` as people type them."""

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from pipelines.break_glass import ReviewRefused
from registry.approval_requests import NotAsShown
from registry.approvals_payload import ApprovalUnreadable
from registry.break_glass import BreakGlassRefused
from registry.errors import NotFound
from registry.gate import GateClosed
from tests.tidegate.town import MODEL, Town
from tidegate.errors import DoctorFoundProblems

REF = f"{MODEL}@1"
ORG = [REF, "--tier", "org"]


@pytest.fixture
def three(town: Town) -> Town:
    """Carla has joined: a third steward."""
    town.join("carla")
    return town


def signed(town: Town, person: str, reason: str = "looked at it") -> list[Any]:
    return ["--person", person, "--reason", reason, "--key", town.key(person)]


class TestTheQuestion:
    def test_what_is_shown_is_what_is_signed(self, town: Town) -> None:
        town.site.as_("ines").type("approvals", "request", *ORG, "--reason", "longer context")
        shown = town.site.type("approvals", "show", *ORG)
        assert "May org of clinic serve" in shown.stdout
        assert "Asked by ines: longer context" in shown.stdout
        town.site.ask("approve", *ORG, *signed(town, "alice"))
        [approved] = town.site.ask("audit", "explain", REF)["approvals"]
        [asked] = town.site.ask("approvals", "list")["requests"]
        assert asked["request"] == approved["request"]
        assert asked["page_sha256"] == sha256(shown.stdout.encode()).hexdigest()
        assert asked["page_sha256"] in shown.stderr
        assert "1 of 2 (alice)" == asked["state"]

    def test_it_names_every_piece_of_evidence_and_what_the_gate_says(self, town: Town) -> None:
        page = town.site.ask("approvals", "show", *ORG)
        assert page["evidence"]
        assert all(digest in page["page"] for digest in page["evidence"])
        assert "ok  scan: " in page["page"]
        assert page["version"] in page["page"]

    def test_looking_changes_nothing(self, town: Town) -> None:
        before = len(town.site.ask("audit", "log"))
        first, second = (town.site.ask("approvals", "show", *ORG) for _ in range(2))
        assert first == second
        assert before == len(town.site.ask("audit", "log"))

    def test_a_request_is_found_by_its_digest(self, town: Town) -> None:
        asked = town.site.ask("approvals", "request", *ORG, "--reason", "x")
        assert asked["page"] == town.site.ask("approvals", "show", asked["digest"][:12])["page"]
        for wrong in ("0" * 12, asked["digest"][:7]):
            town.site.type("approvals", "show", wrong, ends=NotFound.exit_code)

    def test_a_page_that_has_changed_is_not_signed(self, town: Town) -> None:
        read = town.site.ask("approvals", "show", *ORG)["page_sha256"]
        town.site.type("models", "scan", REF)
        words = [*ORG, "--shown", read[:12], *signed(town, "alice")]
        refused = town.site.type("approve", *words, ends=NotAsShown.exit_code)
        assert "the page is" in refused.output
        assert "approvals show" in refused.output
        assert [] == town.site.ask("audit", "log", "--kind", "approved")
        now = town.site.ask("approvals", "show", *ORG)["page_sha256"]
        town.site.type("approve", *ORG, "--shown", now, *signed(town, "alice"))

    def test_who_asks_does_not_approve(self, town: Town) -> None:
        town.site.as_("alice").type("approvals", "request", *ORG, "--reason", "mine")
        found = town.site.as_("bob").ask("approve", *ORG, *signed(town, "alice"))
        assert (False, "alice requested") == (found["counts"], found["why_not"][:15])

    def test_a_ref_needs_its_tier(self, town: Town) -> None:
        assert "--tier" in town.site.type("approvals", "show", REF, ends=2).output

    def test_nothing_waits_at_first(self, town: Town) -> None:
        assert "Nothing waits" in town.site.type("approvals", "list").output
        assert {"requests": [], "break_glass": []} == town.site.ask("approvals", "list")


class TestRejecting:
    def test_blocks_and_says_who_and_why(self, three: Town) -> None:
        three.approve(1, "org", "alice", "bob")
        found = three.site.ask("reject", *ORG, *signed(three, "carla", "calls its tools twice"))
        assert "reject" == found["decision"]
        refused = three.site.as_("bob").type("promote", *ORG, ends=GateClosed.exit_code)
        assert "NO   rejections: carla rejected it on" in refused.output
        assert "calls its tools twice" in refused.output
        assert "REJECTED carla" in three.site.type("audit", "explain", REF).output
        assert {} == three.serves()

    def test_an_approval_handed_in_as_a_rejection_is_refused(self, town: Town, tmp_path: Path) -> None:
        file = tmp_path / "payload.json"
        words = [*ORG, "--person", "alice"]
        town.site.type("approve", *words, "--reason", "x", "--write-payload", file)
        message = file.read_bytes()
        from signing.sshsig import load_private, sign

        key = load_private(town.key("alice"), passphrase=lambda *_: b"")
        signature = tmp_path / "payload.sig"
        signature.write_text(sign(message, namespace="approval@tidegate", private_key=key))
        handed = [*words, "--payload", file, "--signature", signature]
        refused = town.site.type("reject", *handed, ends=ApprovalUnreadable.exit_code)
        assert "approval.decision" in refused.output
        town.site.type("approve", *handed)


class TestBreakingTheGlass:
    def broken(self, town: Town) -> str:
        words = ["promote", *ORG, "--break-glass", *signed(town, "carla", "outage 4711")]
        done = town.site.as_("carla").type(*words)
        assert "on carla's word alone" in done.stdout
        assert "Nobody has reviewed it" in done.stderr
        [item] = town.site.ask("approvals", "list")["break_glass"]
        return str(item["decision"])

    def test_is_shouted_until_somebody_else_has_reviewed_it(self, three: Town) -> None:
        three.site.type("promote", *ORG, ends=GateClosed.exit_code)
        digest = self.broken(three)
        assert {"org": 1} == three.serves()
        for words in (["pins"], ["models", "list"], ["approvals", "list"]):
            assert "BREAK-GLASS" in three.site.type(*words).stderr
        gate = three.site.type("gate", *ORG, ends=GateClosed.exit_code)
        assert "BREAK-GLASS" in gate.stderr
        doctor = three.site.type("doctor", ends=DoctorFoundProblems.exit_code)
        assert "PROBLEM  break-glass" in doctor.output
        words = ["approvals", "review", digest[:12], "--verdict", "upheld"]
        refused = three.site.type(*words, *signed(three, "carla"), ends=ReviewRefused.exit_code)
        assert "carla broke the glass" in refused.output
        three.site.type(*words, *signed(three, "bob", "the outage was real"))
        assert "BREAK-GLASS" not in three.site.type("models", "list").stderr

    def test_is_shown_for_ever(self, three: Town) -> None:
        digest = self.broken(three)
        words = ["approvals", "review", digest, "--verdict", "objected"]
        three.site.type(*words, *signed(three, "bob", "there was no outage"))
        said = "BREAK-GLASS by carla, OBJECTED TO by bob"
        for look in (["pins", "--history"], ["audit", "explain", REF], ["approvals", "list", "--all"]):
            assert said in three.site.type(*look).output
        [line] = three.site.ask("pins", "--history")
        assert digest == line["override"]
        assert ["approvals"] == line["break_glass"]["checks"]
        [review] = line["break_glass"]["reviews"]
        assert ("bob", "there was no outage") == (review["person"], review["reason"])

    def test_never_past_a_withdrawal(self, three: Town) -> None:
        three.site.type("models", "withdraw", REF, "--reason", "leaks prompts")
        words = ["promote", *ORG, "--break-glass", *signed(three, "carla")]
        refused = three.site.type(*words, ends=BreakGlassRefused.exit_code)
        assert "leaks prompts" in refused.output
        assert {} == three.serves()

    @pytest.mark.parametrize(
        "words",
        [["--break-glass"], ["--break-glass", "--dry-run"], ["--key", "k"], ["--person", "carla"]],
    )
    def test_a_signature_and_the_flag_belong_together(self, town: Town, words: list[str]) -> None:
        assert "Usage" in town.site.type("promote", *ORG, *words, ends=2).output

    def test_with_a_token_the_bytes_are_written_first(self, three: Town, tmp_path: Path) -> None:
        file = tmp_path / "break.json"
        words = ["promote", *ORG, "--break-glass", "--person", "carla"]
        shown = three.site.ask(*words, "--reason", "outage", "--write-payload", file)
        assert "break-glass" == shown["asks"]["kind"] == json.loads(file.read_bytes())["kind"]
        assert {} == three.serves()
