"""Salted values in the log: what a leaf shows, what opens it, and every false opening."""

import json
import secrets
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry import salted
from registry.audit import Entry, EventKind, Leaf, read_leaf, seal
from signing.canonical import NotCanonical, canonical_bytes
from signing.tiles import MAX_ENTRY
from tests.registry.old_logs import leaf_bytes

VERSION = "7" * 64
PIN = {
    "tier": "team",
    "model": "acme/guard",
    "position": 1,
    "version": VERSION,
    "reason": "Mr Miller from ward 7 asked for it",
    "since": "2026-11-20T12:00:00Z",
    "actor": "ines",
    "contract": None,
}
ENTRY = Entry(
    3, EventKind.PROMOTED.value, VERSION, "2026-11-20T12:00:00Z", "ines", (("pin", PIN),),
    {"carrier": "K. Bote", "where": "/media/ines/stick", "gate": ["ONE-MUST-CARRY"], "versions": [VERSION], "bytes": 7},
)  # fmt: skip


def sealed(entry: Entry = ENTRY) -> Leaf:
    return seal(entry, salt=lambda: secrets.token_bytes(16))


def test_a_leaf_shows_what_happened_and_hides_who_and_why() -> None:
    shown = sealed().data.decode()
    for readable in ("team", "acme/guard", VERSION, "promoted", "2026-11-20T12:00:00Z", "ONE-MUST-CARRY"):
        assert readable in shown
    for hidden in ("ines", "Miller", "Bote", "stick"):
        assert hidden not in shown


def test_whoever_has_the_openings_reads_the_event_as_it_was() -> None:
    leaf = sealed()
    assert ENTRY == read_leaf(leaf.data, leaf.openings)


def test_the_same_event_is_hidden_otherwise_each_time() -> None:
    """Else a name could be looked for by its digest."""
    assert sealed().data != sealed().data


def test_a_person_that_an_event_is_about_is_hidden_too() -> None:
    row = {"name": "alice", "public_key": "ssh-ed25519 AAAA alice@ward7", "roles": "steward", "active": True}
    leaf = sealed(Entry(0, "person set", "alice", "2026-11-20T12:00:00Z", "root", (("person", row),), {}))
    assert b"alice" not in leaf.data
    assert "alice" == read_leaf(leaf.data, leaf.openings).subject


def test_a_tier_that_an_event_is_about_stays_readable() -> None:
    leaf = sealed(Entry(0, "router set", "team", "2026-11-20T12:00:00Z", "root", (("pin", PIN),), {}))
    assert "team" == json.loads(leaf.data)["subject"]


def test_what_is_keyed_by_names_is_hidden_as_a_whole() -> None:
    leaf = sealed(Entry(0, "x", VERSION, "2026-11-20T12:00:00Z", "root", (), {"counts": {"alice": 1}}))
    assert b"alice" not in leaf.data
    assert {"counts": {"alice": 1}} == read_leaf(leaf.data, leaf.openings).note


def test_one_value_can_be_opened_without_the_others() -> None:
    leaf = sealed()
    openings = {pointer: (salt, value) for pointer, salt, value in json.loads(leaf.openings)}
    salt, value = openings["/rows/0/row/reason"]
    shown = json.loads(leaf.data)["rows"][0]["row"]["reason"]
    assert {"salted": salted.digest(bytes.fromhex(salt), value)} == shown
    assert set(openings) == set(salted.salted_places(json.loads(leaf.data)))


def bent(leaf: Leaf, number: int, part: int, value: Any) -> str:
    openings = json.loads(leaf.openings)
    openings[number][part] = value
    return canonical_bytes(openings).decode()


@pytest.mark.parametrize(
    ("part", "value"),
    [(0, "/subject"), (0, "/rows/7/row/reason"), (0, ""), (0, 7), (0, "/rows/00/row/reason"), (0, "/actor/x"),
     (1, "00" * 16), (1, "zz" * 16), (1, ""), (1, None), (2, "mallory"), (2, 7)],
)  # fmt: skip
def test_a_false_opening_is_found(part: int, value: Any) -> None:
    """An administrator who writes another name beside the leaf does not change what was recorded."""
    leaf = sealed()
    with pytest.raises(NotCanonical):
        read_leaf(leaf.data, bent(leaf, 0, part, value))


@pytest.mark.parametrize("openings", [None, "[]", "{}", "[7]", "nonsense", "[[]]"])
def test_an_event_without_its_openings_is_not_read_as_if_it_were_whole(openings: str | None) -> None:
    with pytest.raises(NotCanonical):
        read_leaf(sealed().data, openings)


def test_an_opening_cannot_stand_in_twice() -> None:
    leaf = sealed()
    openings = json.loads(leaf.openings)
    openings[1] = openings[0]
    with pytest.raises(NotCanonical):
        read_leaf(leaf.data, canonical_bytes(openings).decode())


def test_leaves_of_older_releases_stay_readable_and_need_no_openings() -> None:
    old = leaf_bytes(ENTRY)
    assert ENTRY == read_leaf(old)
    with pytest.raises(NotCanonical):
        read_leaf(old, "[]")


@pytest.mark.parametrize(("rows", "words"), [(0, 9_000), (200, 10), (500, 10), (4_000, 10), (1, 90_000)])
def test_a_leaf_never_becomes_longer_than_an_entry_may_be(rows: int, words: int) -> None:
    """What would be too long is salted in larger pieces, and opened from them."""
    note = {"versions": [VERSION] * (words // 10), "said": "word " * words}
    entry = Entry(0, "x", VERSION, "2026-11-20T12:00:00Z", "root", (("pin", PIN),) * rows, note)
    leaf = sealed(entry)
    assert len(leaf.data) <= MAX_ENTRY
    assert entry == read_leaf(leaf.data, leaf.openings)


def test_a_pin_stays_readable_beside_a_note_that_is_too_long() -> None:
    entry = Entry(
        0, "x", VERSION, "2026-11-20T12:00:00Z", "root", (("pin", PIN),), {"gate": ["x" * 99] * 900}
    )
    leaf = sealed(entry)
    assert len(leaf.data) <= MAX_ENTRY
    assert b"acme/guard" in leaf.data


words = st.text(max_size=8).filter(lambda text: not any("\ud800" <= letter <= "\udfff" for letter in text))
keys = st.text("abc/~ ", max_size=3)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys | st.just("salted"), inner, max_size=2),
    max_leaves=6,
)
records = st.dictionaries(keys, values, max_size=3)


@given(records, st.lists(st.tuples(st.sampled_from(["pin", "person"]), records), max_size=3), words, words)
def test_any_event_is_read_as_it_was_sealed(
    note: dict[str, Any], rows: list[tuple[str, dict[str, Any]]], subject: str, actor: str
) -> None:
    entry = Entry(0, "x", subject, "2026-11-20T12:00:00Z", actor, tuple(rows), note)
    leaf = sealed(entry)
    assert entry == read_leaf(leaf.data, leaf.openings)


@given(st.binary(max_size=200) | st.just(sealed().data), st.text(max_size=60))
def test_hostile_bytes_raise_only_our_error(data: bytes, openings: str) -> None:
    with pytest.raises(NotCanonical):
        read_leaf(data, openings)
