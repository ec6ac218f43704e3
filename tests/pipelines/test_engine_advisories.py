"""Lists of bad engine releases: read strictly, compared carefully, and not knowing counts as bad."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.advising import add_advisories, in_force
from pipelines.engines.advisories import (
    BLOCK,
    WARN,
    Advisories,
    Advisory,
    MalformedAdvisories,
    Range,
    decode,
    encode,
    hits,
)
from pipelines.workplace import Workplace
from signing.canonical import canonical_bytes

CODE = Advisory(
    "CVE-2026-22807", "vllm", (Range("0.10.1", "0.14"),), BLOCK, "runs a repository's code", "https://example.org/a"
)  # fmt: skip
LATER = replace(CODE, id="CVE-2026-27893", versions=(Range("0.10.1", "0.18"),))
GGUF = replace(CODE, id="CVE-2026-27940", engine="llama.cpp", versions=(Range(None, "b8146"),))
SLOW = replace(CODE, id="SLOW-1", severity=WARN, versions=(Range("0.31", None),))
LIST = Advisories("tidegate", 3, (CODE, LATER, GGUF, SLOW))


def ids(engine: str, version: str | None, *documents: Advisories) -> list[str]:
    return [hit.advisory.id for hit in hits(documents or (LIST,), engine, version)]


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("0.10.0", []),
        ("0.10.1", ["CVE-2026-22807", "CVE-2026-27893"]),
        ("0.10.1rc1", []),
        ("0.13.9.post1", ["CVE-2026-22807", "CVE-2026-27893"]),
        ("0.14.0rc2", ["CVE-2026-22807", "CVE-2026-27893"]),
        ("0.14", ["CVE-2026-27893"]),
        ("0.14.0", ["CVE-2026-27893"]),
        ("v0.14.0+cpu", ["CVE-2026-27893"]),
        ("0.18.0.dev17", ["CVE-2026-27893"]),
        ("0.18", []),
        ("0.32.0+cpu", ["SLOW-1"]),
        ("1.0", ["SLOW-1"]),
    ],
)
def test_vllm_releases_are_ordered_as_their_makers_order_them(version: str, expected: list[str]) -> None:
    assert expected == ids("vllm", version)


@pytest.mark.parametrize(
    ("version", "bad"),
    [("b8145", True), ("b8145-abc123", True), ("b8146", False), ("b11434-0f3a", False), ("b0-unknown", True)],
)
@pytest.mark.parametrize("engine", ["llama.cpp", "llama-server", "llama-cpp"])
def test_llama_cpp_builds_are_numbers_under_every_name_of_the_engine(
    engine: str, version: str, bad: bool
) -> None:
    assert bad == bool(ids(engine, version))


@pytest.mark.parametrize("version", [None, "", "nightly", "main-0f3a", "b7", "0.5.0-dev", "1.2.3.4.5.6.7"])
def test_a_release_that_cannot_be_compared_is_inside_what_is_blocked(version: str | None) -> None:
    """`0.5.0-dev` says nothing about builds; a build number says nothing about vLLM's releases."""
    engine = "llama-server" if version == "0.5.0-dev" else "vllm"
    found = hits((LIST,), engine, version)
    assert found
    assert {BLOCK} == {hit.advisory.severity for hit in found}, (
        "a warning about nobody knows what helps nobody"
    )
    assert all("cannot be compared" in hit.why for hit in found)


def test_other_engines_and_engines_without_advisories_are_left_alone() -> None:
    assert [] == ids("transformers", None)
    assert [] == ids("llama-cpp-python", "0.1")


def test_a_newer_issue_of_a_list_takes_the_place_of_the_older_one_in_any_order() -> None:
    withdrawn = Advisories("tidegate", 4, (SLOW,))
    mine = Advisories("clinic", 1, (replace(CODE, id="OURS-1"),))
    for documents in ((LIST, withdrawn, mine), (mine, withdrawn, LIST)):
        assert ["OURS-1"] == ids("vllm", "0.12", *documents)


def test_what_blocks_comes_first() -> None:
    both = Advisories("x", 1, (replace(SLOW, id="A", versions=(Range(None, "9"),)), replace(CODE, id="B")))
    assert ["B", "A"] == ids("vllm", "0.12", both)


def document(**changes: Any) -> bytes:
    return canonical_bytes(json.loads(encode(LIST)) | changes)


def entry(**changes: Any) -> bytes:
    return document(entries=[json.loads(encode(LIST))["entries"][0] | changes])


@pytest.mark.parametrize(
    "data",
    [
        b"", b"[]", b"{}", b'{"format":"tidegate-advisories/1"}', document(format="tidegate-advisories/2"),
        document(serial=0), document(serial=True), document(serial="1"), document(name="Mixed Case"), document(more=1),
        document(entries={}), document(entries=[7]), encode(replace(LIST, entries=(CODE, CODE))),
        entry(severity="meh"), entry(url="http://plain"), entry(url="https://a b"), entry(title=""),
        entry(title="two\nlines"), entry(title="x" * 501), entry(id="a b"), entry(engine="VLLM"), entry(versions=[]),
        entry(versions=[{"from": "0.1"}]), entry(versions=[{"from": "nightly", "below": None}]),
        entry(versions=[{"from": "0.2", "below": "0.1"}]), entry(versions=[{"from": "0.1", "below": "0.1.0"}]),
        entry(versions=[{"from": "b7", "below": "0.1"}]), entry(versions=[{"from": 1, "below": None}]),
        encode(LIST) + b"\n", b"\xff" + encode(LIST),
    ],
)  # fmt: skip
def test_a_list_that_is_not_exactly_one_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedAdvisories):
        decode(data)


releases = st.one_of(
    st.lists(st.integers(0, 40), min_size=1, max_size=4).map(lambda parts: ".".join(map(str, parts))),
    st.integers(0, 20_000).map(lambda number: f"b{number}"),
)


@pytest.mark.property
@settings(deadline=None)
@given(st.lists(st.tuples(releases | st.none(), releases | st.none()), min_size=1, max_size=4), releases)
def test_what_is_written_is_read_again_and_every_release_gets_an_answer(
    spans: list[tuple[str | None, str | None]], version: str
) -> None:
    one = replace(CODE, versions=tuple(Range(*span) for span in spans))
    written = encode(Advisories("x", 1, (one,)))
    try:
        found = decode(written)
    except MalformedAdvisories:
        return  # a range that ends before it begins
    assert written == encode(found)
    for span in spans:
        if span[0] is not None:
            assert hits((found,), "vllm", span[0]), "a range holds its own beginning"
    assert len(hits((found,), "vllm", version)) <= 1


@pytest.mark.property
@settings(deadline=None)
@given(st.binary(max_size=200))
def test_no_bytes_do_more_than_be_refused(data: bytes) -> None:
    with pytest.raises(MalformedAdvisories):
        decode(data)


def test_an_issue_that_would_be_kept_and_change_nothing_is_refused(workplace: Workplace) -> None:
    add_advisories(workplace, encode(LIST))
    add_advisories(workplace, encode(LIST))  # the same one again is no change
    for serial in (LIST.serial, LIST.serial - 1):
        with pytest.raises(MalformedAdvisories, match=f"serial: {serial}, and 3 .* write a higher one"):
            add_advisories(workplace, encode(replace(LIST, serial=serial, entries=(CODE,))))
    add_advisories(workplace, encode(replace(LIST, serial=4, entries=(CODE,))))
    with workplace.store.view() as view:
        assert [(4, (CODE,))] == [(found.serial, found.entries) for _, found in in_force(view)]
