"""Statements: the published shapes, one byte form, and documents from strangers."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signing import statements
from signing.canonical import NotCanonical, canonical_bytes, pretty_bytes
from signing.digests import sha256_hex
from signing.statements import Source, Statement, read_statement, statement

AT = datetime(2026, 11, 20, 8, 30, tzinfo=UTC)
MANIFEST, SUITE, REPORT = sha256_hex(b"manifest"), sha256_hex(b"suite"), sha256_hex(b"report")
SUBJECTS = [("acme/coder:2", MANIFEST)]


def fetched() -> dict[str, Any]:
    return statements.provenance(
        SUBJECTS,
        how="fetch",
        parameters={"repository": "hf:acme/coder", "revision": "main"},
        sources=[Source("hf://acme/coder", {"gitCommit": "ab" * 20})],
        home="origin",
        tool_version="0.1.0",
        started=AT,
        finished=AT,
    )


def validated(outcome: statements.Outcome = "PASSED") -> tuple[dict[str, Any], dict[str, Any]]:
    return statements.validation(
        SUBJECTS,
        outcome=outcome,
        configuration=[("suite", SUITE)],
        passed=["answers", "calls the right tool"],
        warned=[],
        failed=[],
        metrics={"seed": 7, "parsed_per_million": 1_000_000},
        report=REPORT,
        made_by="bo",
        made_at=AT,
    )


def approved() -> dict[str, Any]:
    return statements.approval(
        SUBJECTS,
        request={"tier": "org"},
        payload=REPORT,
        person="anna",
        fingerprint="SHA256:abc",
        recorded_at=AT,
    )


def pinned() -> dict[str, Any]:
    return statements.pin(
        SUBJECTS,
        tier="org",
        model="acme/coder",
        position=1,
        kind="promote",
        previous=None,
        state={"contract": SUITE, "profile": None},
        evidence=[REPORT],
        reason="first",
        actor="anna",
        at=AT,
    )


def brought_in() -> dict[str, Any]:
    return statements.imported(
        SUBJECTS,
        bundle="20261120-07",
        sequence=7,
        export=REPORT,
        trust={"root": 1},
        size=5,
        actor="dan",
        at=AT,
    )


MAKERS: list[tuple[Callable[[], dict[str, Any]], str]] = [
    (fetched, "https://slsa.dev/provenance/v1"),
    (lambda: validated()[0], "https://in-toto.io/attestation/test-result/v0.1"),
    (lambda: validated()[1], "urn:tidegate:validation-run:v1"),
    (approved, "urn:tidegate:approval:v1"),
    (pinned, "urn:tidegate:pin:v1"),
    (brought_in, "urn:tidegate:import:v1"),
]


@pytest.mark.parametrize(("make", "kind"), MAKERS)
def test_every_statement_is_read_again_in_either_form(make: Callable[[], dict[str, Any]], kind: str) -> None:
    made = make()
    expected = Statement(kind, (("acme/coder:2", MANIFEST),), made["predicate"])
    assert expected == read_statement(pretty_bytes(made)) == read_statement(canonical_bytes(made))


def test_provenance_has_the_fields_that_slsa_demands() -> None:
    predicate = fetched()["predicate"]
    assert "urn:tidegate:fetch:v1" == predicate["buildDefinition"]["buildType"]
    assert {"repository": "hf:acme/coder", "revision": "main"} == predicate["buildDefinition"][
        "externalParameters"
    ]
    assert "urn:tidegate:home:origin" == predicate["runDetails"]["builder"]["id"]
    assert "2026-11-20T08:30:00Z" == predicate["runDetails"]["metadata"]["finishedOn"]


def test_an_inconclusive_run_is_no_pass_for_anybody() -> None:
    result, run = validated("INCONCLUSIVE")
    assert "FAILED" == result["predicate"]["result"]
    assert "INCONCLUSIVE" == run["predicate"]["outcome"]
    assert [{"name": "suite", "digest": {"sha256": SUITE}}] == result["predicate"]["configuration"]


def test_a_statement_about_nothing_or_without_one_byte_form_is_not_made() -> None:
    with pytest.raises(NotCanonical, match=r"statement\.subject: "):
        statement("urn:x", [], {})
    with pytest.raises(NotCanonical, match=r"subject\[1\]\.digest"):
        statement("urn:x", [*SUBJECTS, ("b", MANIFEST.upper())], {})
    with pytest.raises(NotCanonical, match=r"predicate\.rate"):
        statement("urn:x", SUBJECTS, {"rate": 0.5})


def test_unknown_fields_and_other_digests_are_ignored() -> None:
    made = pinned() | {"later": 1}
    made["subject"][0] = {"digest": {"sha256": MANIFEST, "sha512": "ab" * 64}, "mediaType": "x"}
    assert (("", MANIFEST),) == read_statement(canonical_bytes(made)).subjects


@pytest.mark.parametrize(
    ("field", "value", "place"),
    [
        ("_type", "https://in-toto.io/Statement/v0.1", r"envelope\._type"),
        ("predicateType", "", r"envelope\.predicateType"),
        ("predicateType", 1, r"envelope\.predicateType"),
        ("predicate", None, r"envelope\.predicate"),
        ("predicate", [], r"envelope\.predicate"),
        ("subject", [], r"envelope\.subject"),
        ("subject", {}, r"envelope\.subject"),
        ("subject", ["name"], r"envelope\.subject\[0\]\.digest"),
        ("subject", [{"name": "a", "digest": {"sha512": "ab" * 64}}], r"envelope\.subject\[0\]\.digest"),
        ("subject", [{"name": "a", "digest": {"sha256": "ab"}}], r"envelope\.subject\[0\]\.digest"),
        ("subject", [{"name": 1, "digest": {"sha256": MANIFEST}}], r"envelope\.subject\[0\]\.name"),
    ],
)
def test_another_shape_is_refused_with_the_place(field: str, value: object, place: str) -> None:
    with pytest.raises(NotCanonical, match=place):
        read_statement(json.dumps(pinned() | {field: value}).encode(), at="envelope")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"null",
        b"\xff",
        b'{"_type":1}',
        b'{"_type":1,"_type":1}',
        b"[" * 100_000,
        b" " * (17 << 20),
    ],
    ids=("empty", "list", "null", "not UTF-8", "number", "twice", "deep", "large"),
)
def test_what_is_no_statement_is_refused(data: bytes) -> None:
    with pytest.raises(NotCanonical):
        read_statement(data)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=10,
)


@pytest.mark.property
@given(st.sampled_from(["_type", "subject", "predicate", "predicateType"]), JSON, st.binary(max_size=60))
def test_hostile_documents_meet_only_our_refusal(field: str, value: object, junk: bytes) -> None:
    changed = json.dumps(pinned() | {field: value}).encode()
    shallow = json.dumps(pinned() | {"subject": [value, {"name": value, "digest": value}]}).encode()
    for data in (junk, changed, shallow):
        try:
            found = read_statement(data)
        except NotCanonical:
            continue
        assert found.subjects
