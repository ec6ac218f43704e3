"""The auditor's questions as typed: answered with 0 when all of it holds, with 196 when anything does not."""

import base64
import csv
import hashlib
import io
import json
import re
import sqlite3
from html.parser import HTMLParser
from pathlib import Path

import pytest

from pipelines.questions.expiring import NEXT
from pipelines.suites.held import ReportUnwritable
from registry.errors import NotFound
from tests.command_lines import in_backticks, problems
from tests.tidegate.town import MODEL, Town, tree
from tidegate.errors import DoctorFoundProblems, EvidenceDoubted, PolicyBroken

V2 = f"{MODEL}@2"
QUESTIONS: list[list[str]] = [
    ["served"], ["why", "team", MODEL], ["decided", "team", MODEL], ["origin", V2], ["touched", "alice"], ["transfers"],
    ["overrides"], ["expiring"], ["breaches"],
]  # fmt: skip
HOSTILE = """"><script>alert(1)</script><img src=x onerror=alert(2)>\u202e' </svg></title>"""


def sql(town: Town, statement: str) -> None:
    """What an administrator with a shell can do."""
    with sqlite3.connect(town.site.home / "registry.db") as database:
        assert database.execute(statement).rowcount > 0, "the attack has to hit something"


class Page(HTMLParser):
    """What a browser would find."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_every_question_is_answered_and_looking_changes_nothing(serving: Town) -> None:
    before = tree(serving.folder)
    auditor = serving.site.as_("audra")
    for words in QUESTIONS:
        assert auditor.type("audit", *words).stdout
        auditor.ask("audit", *words)
    assert before == tree(serving.folder)


def test_what_served_on_a_date(serving: Town) -> None:
    (now,) = serving.site.ask("audit", "served", "--tier", "team", "--model", MODEL)
    assert (2, None, None) == (now["ordinal"], now["until"], now["problem"])
    assert [now] == serving.site.ask("audit", "served", "--at", "2999-01-01")
    assert [] == serving.site.ask("audit", "served", "--at", "2020-01-01")
    serving.site.type("audit", "why", "team", MODEL, "--at", "2020-01-01", ends=NotFound.exit_code)
    serving.site.type("audit", "decided", "team", MODEL, "--at", "2020-01-01", ends=NotFound.exit_code)


def test_what_came_with_the_bundle_is_shown_and_counts_for_nothing(serving: Town) -> None:
    account = serving.site.ask("audit", "explain", V2)
    claimed = {claim["statement"] for claim in account["claims"]}
    assert claimed, "the bundle brought statements"
    found = serving.site.ask("audit", "why", "team", MODEL)
    assert not claimed & {proof["digest"] for proof in found["evidence"]}
    fetched = serving.site.ask("audit", "origin", V2)["fetched"]
    assert claimed >= {one["statement"] for one in fetched}
    assert all(one["claimed_with"] for one in fetched)


def test_the_pages_that_people_saw_are_shown_word_for_word(serving: Town) -> None:
    assert (
        f"| May team of clinic serve {V2}?"
        in serving.site.type("audit", "decided", "team", MODEL, "--pages").stdout
    )
    assert "| May team" not in serving.site.type("audit", "decided", "team", MODEL).stdout


def test_a_break_glass_is_loud_in_every_answer(serving: Town) -> None:
    words = [f"{MODEL}@2", "--tier", "org", "--break-glass", *serving.signs("bob")]
    serving.site.as_("bob").type("promote", *words)
    assert "BREAK-GLASS promote" in serving.site.type("audit", "served", "--tier", "org").stdout
    assert "one person overrode approvals" in serving.site.type("audit", "why", "org", MODEL).stdout
    assert "NOT REVIEWED" in serving.site.type("audit", "overrides").stdout
    (found, *_) = serving.site.ask("audit", "breaches", ends=PolicyBroken.exit_code)
    assert ("break-glass", "org") == (found["check"], found["tier"])
    decision = serving.site.ask("audit", "why", "org", MODEL)["served"]["override"]
    review = [decision[:12], "--verdict", "objected", *serving.signs("alice")]
    serving.site.as_("alice").type("approvals", "review", *review)
    assert "objected by alice" in serving.site.type("audit", "overrides").stdout


def test_what_breaks_policy_today_ends_with_its_own_code(serving: Town) -> None:
    serving.site.type("models", "withdraw", V2, "--reason", "poisoned")
    result = serving.site.type("audit", "breaches", ends=PolicyBroken.exit_code)
    assert "withdrawn" in result.stdout
    assert "breaks the policy of today" in result.stderr
    assert "team" in serving.serves(), "it serves on"


class TestSomebodyWasAtTheTables:
    @pytest.mark.parametrize(
        ("statement", "words"),
        [
            ("update pin set reason = 'x'", ["served"]),
            ("delete from pin where ordinal = 2", ["served"]),
            ("delete from pin", ["served"]),
            ("update report set body = replace(body, ':', ': ')", ["why", "team", MODEL]),
            ("update approval set made_at = '2026-01-01T00:00:00Z'", ["decided", "team", MODEL]),
            ("update version set added_by = 'nobody'", ["origin", V2]),
            ("update decision set subject = 'carol'", ["touched", "alice"]),
            (
                "update import set imported_at = '2020-01-01T00:00:00Z'",
                ["transfers", "--since", "2026-01-01"],
            ),
            ("update import set body = replace(body, 'harbour', 'hafen')", ["transfers", "--csv"]),
            ("delete from import", ["transfers"]),
            ("delete from decision", ["overrides"]),
        ],
    )
    def test_the_answer_names_it_and_ends_with_196(
        self, serving: Town, statement: str, words: list[str]
    ) -> None:
        sql(serving, statement)
        result = serving.site.type("audit", *words, ends=EvidenceDoubted.exit_code)
        assert "is not verified" in result.stderr
        if "--csv" not in words:
            refusal = serving.site.ask_refused("audit", *words, ends=EvidenceDoubted.exit_code)
            assert "EvidenceDoubted" == refusal["refused"]

    def test_an_approval_that_was_taken_out_is_named(self, serving: Town) -> None:
        sql(serving, "delete from approval")
        for words in (["why", "team", MODEL], ["decided", "team", MODEL], ["touched", "alice"]):
            serving.site.type("audit", *words, ends=EvidenceDoubted.exit_code)


class TestTransfers:
    def test_the_table_for_a_spreadsheet(self, serving: Town) -> None:
        (mine, theirs) = (
            list(csv.DictReader(io.StringIO(home.type("audit", "transfers", "--csv").stdout)))
            for home in (serving.origin, serving.site)
        )
        same = ("file", "format", "sha256", "bytes", "bundle", "sequence", "source", "destination")
        assert [[row[name] for name in same] for row in mine] == [
            [row[name] for name in same] for row in theirs
        ]
        assert {("out", "VERIFIED")} == {(row["direction"], row["evidence"]) for row in mine}

    def test_one_form_at_a_time(self, serving: Town) -> None:
        serving.site.type("audit", "transfers", "--csv", "--json", ends=2)


class TestTouched:
    def test_the_officers_key_of_the_origin(self, serving: Town) -> None:
        root = json.loads((serving.origin.home / "trust" / "1.root.json").read_text())
        keyid = root["signed"]["roles"]["root"]["keyids"][0]
        for home in (serving.origin, serving.site):
            found = home.ask("audit", "touched", keyid[:12])
            assert "root" in found["trust_keys"][0]["roles"]
            assert "root, version 1" in {one["document_name"] for one in found["trust_signed"]}

    def test_nobody(self, serving: Town) -> None:
        serving.site.type("audit", "touched", "nobody", ends=NotFound.exit_code)


class TestReport:
    def made(self, town: Town, *, ends: int = 0) -> str:
        file = town.folder / "page.html"
        town.site.type("audit", "report", MODEL, "--out", file, ends=ends)
        return file.read_text()

    def test_it_runs_nothing_and_asks_for_nothing_whatever_people_typed(self, serving: Town) -> None:
        serving.site.type("rollback", MODEL, "--tier", "team", "--reason", HOSTILE)
        text = self.made(serving)
        found = Page(text)
        assert not {"script", "img", "link", "iframe", "object", "form", "a"} & set(found.tags)
        assert not [
            name for name, _ in found.attributes if name.startswith("on") or name in ("src", "href", "style")
        ]
        assert not re.search(r"url\(|@import|https?://", text.split("</style>")[0])
        assert "<script>alert(1)</script>" in "".join(found.texts)
        assert "\u202e" not in text

    def test_its_policy_names_the_one_style(self, serving: Town) -> None:
        text = self.made(serving)
        style = re.search(r"<style>(.*?)</style>", text, re.DOTALL)
        assert style is not None
        digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
        assert f"style-src &#x27;sha256-{digest}&#x27;" in text

    def test_it_tells_the_way_of_each_version(self, serving: Town) -> None:
        text = self.made(serving)
        assert 2 == text.count("<svg")
        assert "The way of demo/tiny-toolcaller@2: Added from a folder → Bundle" in text
        assert "Approved → Pinned in team" in text
        assert "NOT VERIFIED" not in text
        head = serving.site.ask("audit", "head")
        assert head["root"] in text

    def test_it_never_takes_the_place_of_a_file(self, serving: Town) -> None:
        file = serving.folder / "page.html"
        file.write_text("mine")
        serving.site.type("audit", "report", MODEL, "--out", file, ends=ReportUnwritable.exit_code)
        assert "mine" == file.read_text()
        away = serving.folder / "away.html"
        away.symlink_to(serving.folder / "elsewhere.html")
        serving.site.type("audit", "report", MODEL, "--out", away, ends=ReportUnwritable.exit_code)
        assert not (serving.folder / "elsewhere.html").exists()

    def test_what_does_not_hold_is_on_the_page_and_in_the_exit_code(self, serving: Town) -> None:
        sql(serving, "update report set body = replace(body, ':', ': ')")
        text = self.made(serving, ends=EvidenceDoubted.exit_code)
        assert "its bytes are not what was recorded" in text
        assert "NOT VERIFIED" in text.split("</h1>")[1][:200]

    def test_a_model_that_never_was_here(self, serving: Town, tmp_path: Path) -> None:
        file = tmp_path / "page.html"
        serving.site.type("audit", "report", "acme/none", "--out", file, ends=NotFound.exit_code)
        assert not file.exists()

    def test_an_origin_has_a_page_too(self, serving: Town, tmp_path: Path) -> None:
        serving.origin.type("audit", "report", MODEL, "--out", tmp_path / "page.html")
        assert "Shipped → " in (tmp_path / "page.html").read_text()


def test_doctor_warns_of_what_is_near_its_end(serving: Town) -> None:
    sql(serving, "update person set until = '2026-11-30T00:00:00Z' where name = 'bob'")
    found = {
        check["check"]: check
        for check in serving.site.ask("doctor", ends=DoctorFoundProblems.exit_code)
        if not check["ok"]
    }
    assert "bob's key" in found["expiry"]["message"]


def test_an_approval_that_is_made_to_end_soon_makes_no_home_ill(serving: Town) -> None:
    serving.approve(2, "team", "bob")
    ends = {one["kind"]: one["level"] for one in serving.site.ask("audit", "expiring")}
    assert "URGENT" == ends["approval"]
    assert "expiry" in {check["check"] for check in serving.site.ask("doctor") if check["ok"]}


def test_what_to_do_about_an_ending_is_a_command_that_there_is() -> None:
    assert [] == [wrong for step in NEXT.values() for line in in_backticks(step) for wrong in problems(line)]
