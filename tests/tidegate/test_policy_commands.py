"""`policy`, `decisions` and `gate` as a steward types them."""

import json
from pathlib import Path
from typing import Any

import pytest

from registry.decisions import DecisionUnreadable
from registry.errors import DocumentRefused, NotFound, PolicyBreaksPins, PolicyUnsigned
from tests.tidegate.town import MODEL, Town
from tidegate.errors import PolicyNotClean


def edited(town: Town, old: str, new: str) -> Path:
    """The policy in force, with one change."""
    file = town.folder / "new-tiers.toml"
    text = town.site.type("policy", "show").stdout
    assert old in text
    file.write_text(text.replace(old, new, 1))
    return file


def sign(town: Town, person: str) -> list[object]:
    return ["--person", person, "--reason", "agreed on Monday", "--key", town.key(person)]


class TestPolicy:
    def test_what_is_shown_is_what_is_in_force(self, town: Town) -> None:
        file = town.folder / "tiers.toml"
        file.write_text(town.site.type("policy", "show").stdout)
        assert "Nothing changes" in town.site.type("policy", "diff", file).output

    def test_once_somebody_can_sign_nobody_changes_it_unsigned(self, town: Town) -> None:
        file = edited(town, "approvals = 2", "approvals = 1")
        refused = town.site.ask_refused("policy", "apply", file, ends=PolicyUnsigned.exit_code)
        assert "no steward" in refused["message"]
        one = town.site.ask_refused(
            "policy", "apply", file, *sign(town, "bob"), ends=PolicyUnsigned.exit_code
        )
        assert (
            "asks less of people, so as many stewards sign it as approve now: 2; so far bob" in one["message"]
        )
        assert (
            "org.approvals: 2 becomes 1"
            in town.site.type("policy", "apply", file, *sign(town, "alice")).output
        )
        [org] = [rules for rules in town.site.ask("policy", "show") if rules["tier"] == "org"]
        assert 1 == org["approvals"]
        town.site.type("audit", "verify")
        assert [1, 2, 3] == [
            row["position"] for row in town.site.ask("policy", "history")["changes"] if row["tier"] == "org"
        ]

    def test_its_history_says_who_signed_which_text(self, town: Town) -> None:
        file = edited(town, "approvals = 2", "approvals = 3")
        town.site.type("policy", "apply", file, *sign(town, "alice"))
        first, second = town.site.ask("policy", "history")["files"]
        assert ([], ["alice"], file.read_text()) == (first["signed_by"], second["signed_by"], second["body"])
        assert "alice" in town.site.type("policy", "history").output

    def test_a_signature_is_for_one_text(self, town: Town) -> None:
        town.site.type(
            "policy", "apply", edited(town, "approvals = 2", "approvals = 3"), *sign(town, "alice")
        )
        other = edited(town, "rank = 3", "rank = 4")
        town.site.ask_refused("policy", "apply", other, ends=PolicyUnsigned.exit_code)

    def test_what_would_break_is_shown_and_stops_it(self, serving: Town) -> None:
        file = edited(
            serving,
            'formats = ["gguf", "safetensors"]\nmemory = "256 GB"',
            'formats = ["gguf"]\nmemory = "1 MB"',
        )
        shown = serving.site.type("policy", "diff", file, ends=PolicyNotClean.exit_code).output
        assert f"Would break: team serves {MODEL}@2: formats: holds" in shown
        words = ["policy", "apply", file, *sign(serving, "alice")]
        serving.site.ask_refused(*words, ends=PolicyBreaksPins.exit_code)
        serving.site.type(*words, "--although-it-breaks", f"team:{MODEL}")
        assert {"team": 2} == serving.serves()

    def test_a_suite_that_nobody_has_is_said_beforehand(self, town: Town) -> None:
        file = edited(town, "suites = []", 'suites = ["nobody-has-it"]')
        assert "no suite 'nobody-has-it'" in town.site.type("policy", "check", file).output

    def test_a_tier_is_never_taken_out(self, town: Town) -> None:
        text = town.site.type("policy", "show").stdout
        file = town.folder / "short.toml"
        file.write_text(text[: text.index("[tiers.org]")])
        refused = town.site.ask_refused("policy", "check", file, ends=DocumentRefused.exit_code)
        assert "tiers.org" in refused["message"]

    def test_an_unknown_tier_in_it_is_named(self, town: Town) -> None:
        file = edited(
            town,
            "[tiers.org]",
            '[tiers.rack]\nserved_first = "nowhere"\nrank = 9\napprovals = 1\n[tiers.org]',
        )
        refused = town.site.ask_refused("policy", "check", file, ends=DocumentRefused.exit_code)
        assert "there is no tier 'nowhere'" in refused["message"]

    def test_bytes_that_are_no_text_are_refused(self, town: Town) -> None:
        file = town.folder / "tiers.toml"
        file.write_bytes(b"\xff\xfe")
        town.site.ask_refused("policy", "check", file, ends=DocumentRefused.exit_code)


class TestGate:
    def test_one_page_with_every_reason_and_who_can_mend_it(self, town: Town) -> None:
        shown = town.site.type("gate", f"{MODEL}@1", "--tier", "team", ends=89).output
        assert "NOT READY, 1 of 14 checks are against" in shown
        assert "Next (a steward): A steward looks at the evidence" in shown
        document = town.site.ask("gate", f"{MODEL}@1", "--tier", "team", ends=89)
        assert ["approvals"] == [item["check"] for item in document["findings"] if not item["ok"]]

    def test_ready(self, town: Town) -> None:
        town.approve(1, "team", "alice")
        assert "READY" in town.site.type("gate", f"{MODEL}@1", "--tier", "team").output


class TestDecisions:
    @pytest.fixture
    def rita(self, town: Town) -> Town:
        town.join("rita", "--role", "reviewer")
        file = edited(town, 'licence = "stated"\nformats = ["gguf", "safetensors"]\nmemory = "256 GB"',
                      'licence = "accepted"\nformats = ["gguf", "safetensors"]\nmemory = "256 GB"')  # fmt: skip
        town.site.type("policy", "apply", file, *sign(town, "alice"))
        return town

    def closed(self, town: Town) -> list[Any]:
        found = town.site.ask("gate", f"{MODEL}@1", "--tier", "team", ends=89)
        return [item["check"] for item in found["findings"] if not item["ok"]]

    def test_a_licence_is_accepted_by_a_reviewer_and_the_gate_opens(self, rita: Town) -> None:
        assert ["licence", "approvals"] == self.closed(rita)
        [licence] = rita.site.ask("models", "show", f"{MODEL}@1")["manifest"]["licence"]["ids"]
        words = ["decisions", "accept-licence", licence]
        refused = rita.site.ask_refused(*words, *sign(rita, "alice"), ends=DecisionUnreadable.exit_code)
        assert "alice is no reviewer" in refused["message"]
        made = rita.site.ask(*words, *sign(rita, "rita"))
        assert ["approvals"] == self.closed(rita)
        rita.site.type("decisions", "revoke", made["digest"], *sign(rita, "rita"))
        assert ["licence", "approvals"] == self.closed(rita)
        assert "does not stand" in rita.site.type("decisions", "list", "--all").output
        rita.site.type("audit", "verify")

    def test_a_waiver_names_the_file_by_its_bytes(self, rita: Town) -> None:
        words = ["decisions", "waive", "template.url", f"{MODEL}@1", "--path"]
        made = rita.site.ask(*words, "chat_template.jinja", *sign(rita, "rita"), "--days", 30)
        files = rita.site.ask("models", "show", f"{MODEL}@1")["manifest"]["files"]
        assert made["subject"] == next(f["sha256"] for f in files if f["path"] == "chat_template.jinja")
        assert {"rule": "template.url", "path": "chat_template.jinja"} == json.loads(made["payload"])[
            "details"
        ]
        rita.site.ask_refused(*words, "nothing.bin", *sign(rita, "rita"), ends=NotFound.exit_code)

    def test_a_signature_can_be_made_elsewhere(self, rita: Town) -> None:
        file = rita.folder / "decision.json"
        words = ["decisions", "accept-licence", "mit", "--person", "rita"]
        asked = rita.site.ask(*words, "--reason", "read it", "--write-payload", file)
        assert "decision@tidegate" in asked["sign_with"]
        assert "accept-licence" not in {row["kind"] for row in rita.site.ask("decisions", "list")}

    def test_nobody_revokes_what_is_not_there(self, rita: Town) -> None:
        rita.site.ask_refused("decisions", "revoke", "0" * 64, *sign(rita, "rita"), ends=NotFound.exit_code)
