"""A report as a page and as JUnit: whatever a model said stays text, nothing is loaded, and old reports can be shown."""

import base64
import hashlib
import json
import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.engines.endpoint import Endpoint
from pipelines.engines.probe import EngineIdentity, Readiness
from pipelines.suites import report
from pipelines.suites.baseline import Baseline
from pipelines.suites.html import page
from pipelines.suites.html_parts import escaped, tag
from pipelines.suites.identity import Served
from pipelines.suites.judge import judge
from pipelines.suites.judged import ALONE, Comparison
from pipelines.suites.junit import junit
from pipelines.suites.look import Looked
from registry.entities import Document, Version
from signing.canonical import canonical_bytes
from tests.pipelines.verdicts import BESIDE, answers, first, suite_of

GATES = """
cases.pass_rate = { min = "0.80", interval = "wilson95", vs = "pinned", margin = "0.05", lost_cases_max = 5 }
contract.parse_rate = { min = "1.0" }
perf.ttft_p95_ms = { max = 1500, vs = "pinned", max_ratio = "1.25" }
"""
HOSTILE = """"><script>alert(1)</script><img src=x onerror=alert(2)>' onload='x' \u202e\x00\x1b[31m ]]> &amp; </details></svg>"""


def version(ordinal: int) -> Version:
    return Version(
        model="demo/tiny", ordinal=ordinal, digest=str(ordinal) * 64, revision="0" * 40, manifest="{}",
        modelpack="0" * 64, size=1, brought_by="add", added_at="2026-11-20T12:00:00Z", added_by="ines",
    )  # fmt: skip


def held(kind: str) -> Document:
    return Document(
        digest="d" * 64,
        kind=kind,
        name=f"the-{kind}",
        body="{}",
        added_at="2026-11-20T12:00:00Z",
        added_by="ines",
    )


def body_of(
    words: str = "snow", *, comparison: Comparison = BESIDE, failed: int = 3, pinned_failed: int = 2
) -> dict[str, Any]:
    suite = suite_of(GATES, talk=40, calls=20, settings='streaming = ["yes"]')
    beside = first(10)[10 - pinned_failed :] if comparison is BESIDE else None
    results = answers(
        suite,
        failed=first(failed),
        pinned_failed=beside,
        change=lambda one: replace(
            one,
            content=words,
            messages=("user: Hello", f"assistant: {words}"),
            reasons=(words,) if one.reasons else (),
            ttft_ms=30 + one.repeat,
            output_tokens=12,
        ),
    )
    verdict = judge(suite, results, comparison=comparison, quarantined={"talk-001"})
    looked = Looked(
        Endpoint.parse("http://127.0.0.1:8080"),
        EngineIdentity("llama-server", "b7", "/srv/model.gguf", None, ("m",)),
        Served(proven=True, why=words),
        None,
        Readiness(ready=True, milliseconds=3, why="ok"),
        "m",
        (),
    )
    bound = report.Bound(version(2), held("suite"), held("tool-contract"), held("engine-profile"), "team")
    seen = report.Observed(
        looked,
        Baseline(comparison, version(1) if comparison is BESIDE else None),
        "own",
        8_000,
        [report.Quarantined("talk-001", "e" * 64, "sam", words)],
    )
    made = report.body(
        bound, suite, seen, verdict, run="1", started=datetime(2026, 11, 20, 12, tzinfo=UTC), by="vera"
    )
    read: dict[str, Any] = json.loads(canonical_bytes(made))
    return read


@cache
def page_of(words: str = "snow") -> str:
    return page(body_of(words), "f" * 64)


class Reader(HTMLParser):
    """What a browser would find: elements, attributes, text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes.extend(attrs)
        self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes.extend(attrs)

    def handle_endtag(self, tag: str) -> None:
        assert tag == self.open.pop(), "elements are closed in their order"

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def test_the_verdict_stands_first_then_the_gates_then_what_was_lost() -> None:
    said = page_of()
    places = [
        said.index(word)
        for word in ("INCONCLUSIVE", ">Gates<", "Lost: ", "Times and lengths", "All 60 cases")
    ]
    assert places == sorted(places)
    words = " ".join(Reader(said).words)
    assert "demo/tiny@1" in words
    assert "set aside" in words


def test_what_a_model_says_is_text_and_hidden_characters_are_shown() -> None:
    reader = Reader(page_of(HOSTILE))
    assert not {"script", "img", "iframe", "link", "a", "form", "object"} & set(reader.tags)
    assert sorted(set(Reader(page_of()).tags)) == sorted(set(reader.tags))
    assert not [
        name for name, _ in reader.attributes if name.startswith("on") or name in ("src", "href", "style")
    ]
    words = "".join(reader.words)
    assert "<script>alert(1)</script>" in words
    assert {"U+202E", "U+0000", "U+001B"} <= set(re.findall(r"U\+[0-9A-F]{4}", words))
    assert "\u202e" not in page_of(HOSTILE)


def test_the_page_loads_nothing_and_its_policy_allows_nothing_but_its_own_style() -> None:
    said = page_of()
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', said)
    assert policy is not None
    style = re.search(r"<style>(.*?)</style>", said, re.DOTALL)
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert f"default-src &#x27;none&#x27;; style-src &#x27;sha256-{digest}&#x27;" in policy[1]
    assert "http://" not in said
    assert "https://" not in said
    assert "url(" not in style[1]
    assert "@import" not in style[1]


def test_each_share_gate_is_drawn_with_its_words_for_those_who_do_not_see_it() -> None:
    reader = Reader(page_of())
    assert (
        reader.tags.count("svg") == reader.tags.count("title") - 1 + 3
    )  # the page's title; the legend needs none


def test_a_report_from_before_tiers_and_baselines_is_shown_too() -> None:
    body = body_of(comparison=ALONE)
    old = {
        key: value
        for key, value in body.items()
        if key
        in [
            "format",
            "run",
            "version",
            "suite",
            "contract",
            "profile",
            "outcome",
            "reasons",
            "identity",
            "engine",
            "settings",
            "counts",
            "started",
            "milliseconds",
            "made_by",
        ]
    }
    gate = {"metric": "cases.pass_rate", "least": "1.0", "good": 57, "counted": 60, "held": False}
    attempt = {"outcome": "passed", "reasons": [], "milliseconds": 5, "content": "ok", "calls": ["f {}"]}
    case = {"id": "a", "cluster": "talk", "outcome": "passed", "attempts": [attempt]}
    said = page(old | {"gates": [gate], "cases": [case]}, "f" * 64)
    assert "57 of 60 cases" in "".join(Reader(said).words)
    assert ET.fromstring(junit(old | {"gates": [gate], "cases": [case]})) is not None


@settings(max_examples=40, deadline=None)
@given(st.text(max_size=60))
def test_no_text_becomes_markup(text: str) -> None:
    reader = Reader(str(tag("p", text, class_=text)))
    assert (["p"], 1) == (
        [name for name in reader.tags if name != "span"],
        len(reader.attributes) - reader.tags.count("span"),
    )
    assert "<" not in re.sub(r"</?span[^<>]*>", "", escaped(text))


# -- JUnit ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", ["snow", HOSTILE])
def test_junit_has_a_case_for_each_case_and_each_gate_and_is_xml_whatever_was_said(words: str) -> None:
    suite = ET.fromstring(junit(body_of(words))).find("testsuite")
    assert suite is not None
    assert ("63", "3", "1") == (suite.get("tests"), suite.get("failures"), suite.get("skipped"))
    assert 63 == len(suite.findall("testcase"))
    gates = [case for case in suite.findall("testcase") if str(case.get("classname")).endswith(".gates")]
    failed = [case.get("name") for case in gates if case.find("failure") is not None]
    assert ["cases.pass_rate"] == failed


# -- size -------------------------------------------------------------------------------------------------


def test_transcripts_have_a_bound_and_changed_cases_keep_theirs_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(report, "MAX_TRANSCRIPTS", 400)
    body = body_of("x" * 60)
    told = [case["id"] for case in body["cases"] if case["attempts"][0]["messages"]]
    assert told
    assert set(told) <= set(body["lost"] + body["won"])
    assert "talk-039" in page(body, "f" * 64)
