"""One value, one byte string; and reading bytes that somebody else wrote."""

import json
from typing import Any

import pytest

from signing.canonical import (
    MAX_DEPTH,
    MAX_INTEGER,
    NotCanonical,
    canonical_bytes,
    parse,
    parse_canonical,
    pretty_bytes,
)


def nested(depth: int) -> bytes:
    return b"[" * depth + b"]" * depth


def test_keys_are_sorted_and_nothing_is_spaced() -> None:
    assert b'{"a":[true,null,-1],"b":"\xc3\xa4"}' == canonical_bytes({"b": "ä", "a": [True, None, -1]})


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        # RFC 8785 section 3.2.2.2: the short escapes, \u00xx in lower case for the rest of C0, and nothing else
        ("\b\t\n\f\r", rb'"\b\t\n\f\r"'),
        ('"\\/', b'"\\"\\\\/"'),
        ("\x00\x1f", rb'"\u0000\u001f"'),
        ("\x7f\u2028", b'"\x7f\xe2\x80\xa8"'),
        ("\U0001f30a", b'"\xf0\x9f\x8c\x8a"'),
        (2**53 - 1, b"9007199254740991"),
    ],
)
def test_text_and_numbers_are_spelled_as_rfc_8785_says(value: Any, expected: bytes) -> None:
    assert expected == canonical_bytes(value)


def test_the_pretty_form_is_the_same_value() -> None:
    value = {"files": [{"path": "ä", "size": 1}]}
    assert value == json.loads(pretty_bytes(value))
    assert pretty_bytes(value).endswith(b"}\n")


@pytest.mark.parametrize(
    ("value", "place"),
    [
        ({"files": [{}, {"size": 1.5}]}, "$.files[1].size"),
        ({"a": {"ä": 1}}, "$.a"),
        ({"a": [0, {1: 2}]}, "$.a[1]"),
        ([2**53], "$[0]"),
        ([-(2**53)], "$[0]"),
        ({"x": "\ud800"}, "$.x"),
        ({"x": b"bytes"}, "$.x"),
        ({"x": (1, 2)}, "$.x"),
        (float("nan"), "$"),
    ],
)
def test_what_has_no_single_form_is_refused_by_place(value: Any, place: str) -> None:
    for encode in (canonical_bytes, pretty_bytes):
        with pytest.raises(NotCanonical) as refusal:
            encode(value)
        assert place == refusal.value.at


def test_a_value_that_holds_itself_is_refused_not_followed() -> None:
    value: list[Any] = []
    value.append(value)
    with pytest.raises(NotCanonical, match="nested deeper"):
        canonical_bytes(value)


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b'{"a":1,"a":2}', "'a' stands twice"),
        (b'{"b":{"a":1,"\\u0061":2}}', "'a' stands twice"),
        (b"[NaN]", "NaN is not JSON"),
        (b"[-Infinity]", "-Infinity is not JSON"),
        (b"[1e999]", "beyond what a reader can hold"),
        (b'"\\ud800"', "half of a surrogate pair"),
        (b'{"\\udc00":1}', "half of a surrogate pair"),
        (b'"\xff"', "not readable as JSON"),
        (b'"\xed\xa0\x80"', "not readable as JSON"),
        ("[]".encode("utf-16"), "not readable as JSON"),
        ("[1]".encode("utf-32-le"), "not readable as JSON"),
        (b"\xef\xbb\xbf[]", "not readable as JSON"),
        (b"", "not readable as JSON"),
        (b"{}{}", "not readable as JSON"),
        (b"[" + b"9" * 5000 + b"]", "not readable as JSON"),
    ],
)
def test_hostile_json_is_refused_by_name(data: bytes, problem: str) -> None:
    with pytest.raises(NotCanonical, match=problem) as refusal:
        parse(data, max_bytes=10_000, at="export")
    assert str(refusal.value).startswith("export: ")


def test_a_document_one_byte_too_long_is_refused_and_not_sliced() -> None:
    assert [] == parse(b"[]", max_bytes=2)
    with pytest.raises(NotCanonical, match="3 bytes; at most 2 are read"):
        parse(b"[] ", max_bytes=2)


def test_depth_is_bounded_at_any_depth() -> None:
    assert parse(nested(MAX_DEPTH - 1), max_bytes=10**6)
    for depth in (MAX_DEPTH + 1, 5_000, 400_000):
        with pytest.raises(NotCanonical):
            parse(nested(depth), max_bytes=10**6)


@pytest.mark.parametrize(
    "data",
    [b'{"b":1,"a":2}', b'{"a": 1}', b"[1.0]", b'"\\u0061"', b"[1]\n", b"\xef\xbb\xbf[]", b"-0", b"1e3"],
)
def test_a_second_spelling_of_a_value_is_refused(data: bytes) -> None:
    with pytest.raises(NotCanonical):
        parse_canonical(data, max_bytes=100)


def test_the_place_in_a_document_is_named_after_the_document() -> None:
    with pytest.raises(NotCanonical) as refusal:
        parse_canonical(b'{"files":[{"size":1.5}]}', max_bytes=100, at="manifest")
    assert "manifest.files[0].size" == refusal.value.at
    with pytest.raises(NotCanonical) as refusal:
        parse_canonical(str([2 * MAX_INTEGER]).encode(), max_bytes=100, at="manifest")
    assert "manifest[0]" == refusal.value.at
