"""The history of a stream: what a gap held and when it was sent, told by a bundle that came."""

import contextlib
import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.bundle import history
from pipelines.bundle.errors import MalformedBundle
from pipelines.bundle.history import Missing, Sent
from signing.canonical import canonical_bytes
from signing.digests import sha256_hex
from signing.stream import MAX_STEP

SENT = Sent(3, "20261103-03", "c" * 64, "2026-11-03T12:00:00Z", ("acme/tiny@1", "acme/tiny@2"), 2, 4711)
EARLIER = replace(SENT, sequence=1, bundle="20261101-01", export="a" * 64, items=())
digests = st.binary(min_size=32, max_size=32).map(bytes.hex)
words = st.from_regex(r"[a-z0-9][a-z0-9-]{0,20}", fullmatch=True)
lines = st.builds(
    Sent,
    sequence=st.integers(1, 10**6),
    bundle=words,
    export=digests,
    issued_at=st.just("2026-11-03T12:00:00Z"),
    items=st.lists(words.map(lambda name: f"acme/{name}@1"), max_size=4).map(tuple),
    documents=st.integers(0, 10**6),
    bytes=st.integers(0, 1 << 50),
)


@given(st.lists(lines, max_size=5, unique_by=lambda sent: sent.sequence))
def test_what_is_written_is_read(told: list[Sent]) -> None:
    told.sort(key=lambda sent: sent.sequence)
    assert tuple(told) == history.decode(history.encode(told), below=10**6 + 1)


def test_the_first_bundle_of_a_stream_has_an_empty_history() -> None:
    assert b"" == history.encode([])
    assert () == history.decode(b"", below=1)


def test_a_site_learns_what_it_never_got() -> None:
    told = Missing(3, "20261103-03", ("acme/tiny@1", "acme/tiny@2"), "2026-11-03T12:00:00Z")
    assert [Missing(2), told] == history.gaps([EARLIER, SENT], {1: "a" * 64})
    assert [Missing(2)] == history.gaps([EARLIER, SENT], {1: "a" * 64, 3: "c" * 64})


def test_a_number_that_is_missing_is_seen_though_nothing_is_told_of_it() -> None:
    """A late bundle tells of none after it; an export that died told nobody."""
    assert [Missing(2)] == history.gaps([], {1: "a" * 64, 3: "c" * 64})
    assert [] == history.gaps([], {})
    assert MAX_STEP == len(history.gaps([], {10**15: "a" * 64})), "whatever the numbers say"


def test_two_streams_of_one_name_are_seen() -> None:
    """The origin's history says that bundle 3 was another one than this site took in."""
    assert [SENT] == history.forks([EARLIER, SENT], {1: "a" * 64, 3: "b" * 64})
    assert [] == history.forks([EARLIER, SENT], {1: "a" * 64})


def test_a_newer_origin_may_say_more() -> None:
    line = json.loads(history.encode([SENT])) | {"carrier": "post"}
    assert (SENT,) == history.decode(canonical_bytes(line) + b"\n", below=4)


def malformed() -> dict[str, bytes]:
    """Each wrong in one way."""
    whole = history.encode([EARLIER, SENT])
    first, second = whole.splitlines(keepends=True)
    value = json.loads(second)
    changed = {
        "a number of its own bundle": value | {"sequence": 4},
        "number zero": value | {"sequence": 0},
        "a fraction": value | {"bytes": 1.5},
        "negative bytes": value | {"bytes": -1},
        "true for a number": value | {"documents": True},
        "another digest": value | {"export": "C" * 64},
        "a path for an id": value | {"bundle": "../up"},
        "no moment": value | {"issued_at": "yesterday"},
        "items that are no texts": value | {"items": [1]},
        "items that are no list": value | {"items": "acme/tiny@1"},
        "an item that steers a terminal": value | {"items": ["\u001b[2J"]},
        "an empty item": value | {"items": [""]},
        "too many items": value | {"items": ["a@1"] * (history.MAX_ITEMS + 1)},
        "a long item": value | {"items": ["a" * 300]},
        "a list": [value],
    } | {f"no {name}": {k: v for k, v in value.items() if k != name} for name in value}
    return {
        "cut": whole[:-1],
        "no last line end": whole[:-5],
        "an empty line": first + b"\n" + second,
        "the wrong order": second + first,
        "a line twice": first + first,
        "not canonical": first + json.dumps(value).encode() + b"\n",
        "not text": b"\xff\n",
        "deep": b"[" * 100_000 + b"\n",
        "too many lines": b"\n" * (history.MAX_LINES + 1),
        "too many bytes": b" " * (history.MAX_HISTORY + 1),
        **{
            name: first + json.dumps(one, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"
            for name, one in changed.items()
        },
    }  # fmt: skip


@pytest.mark.parametrize("name", malformed())
def test_malformed_history_is_refused(name: str) -> None:
    with pytest.raises(MalformedBundle) as refused:
        history.decode(malformed()[name], below=4)
    assert refused.value.at.startswith("history.jsonl")


@given(st.binary(max_size=200), st.integers(0, 300), st.booleans())
def test_hostile_bytes_raise_only_that(noise: bytes, place: int, alone: bool) -> None:
    whole = history.encode([EARLIER, SENT])
    data = noise if alone else whole[:place] + noise + whole[place:]
    with contextlib.suppress(MalformedBundle):
        history.decode(data, below=4)


def test_every_changed_byte_is_refused_or_says_something_else() -> None:
    """The export document pins the file; the decoder only has to survive whatever it is given."""
    whole = history.encode([SENT])
    for place in range(len(whole)):
        data = whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :]
        assert sha256_hex(data) != sha256_hex(whole)
        try:
            assert (SENT,) != history.decode(data, below=10**9)
        except MalformedBundle:
            continue
