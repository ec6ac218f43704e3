"""The log's leaves, and its replay against the tables."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from registry import audit
from registry.audit import Entry, EventKind, compare, read_leaf
from signing.canonical import NotCanonical
from tests.registry.old_logs import leaf_bytes

PIN_1 = {"tier": "team", "version": "1" * 64, "position": 1}
PIN_2 = {"tier": "team", "version": "2" * 64, "position": 2}
ALICE = {"name": "alice", "active": True}


def entry(position: int, *rows: tuple[str, dict[str, Any]]) -> Entry:
    return Entry(position, EventKind.PROMOTED.value, "team", "2026-11-20T12:00:00Z", "ines", rows, {})


LOG = [entry(0), entry(1, ("pin", PIN_1), ("person", ALICE)), entry(2, ("pin", PIN_2))]
TABLES = {"pin": [PIN_1, PIN_2], "person": [ALICE]}


def found(tables: dict[str, list[dict[str, Any]]], log: list[Entry] = LOG) -> list[tuple[str, str]]:
    return [(difference.table, difference.problem) for difference in compare(log, tables)]


def test_a_leaf_is_read_as_it_was_written() -> None:
    assert LOG == [read_leaf(leaf_bytes(item)) for item in LOG]


@pytest.mark.parametrize(
    "change",
    [{"position": 7}, {"kind": "other"}, {"subject": "org"}, {"at": "2027-01-01T00:00:00Z"}, {"actor": "mallory"},
     {"rows": (("pin", PIN_2),)}, {"note": {"reason": "none"}}],
)  # fmt: skip
def test_every_field_is_part_of_the_leaf(change: dict[str, Any]) -> None:
    assert leaf_bytes(LOG[1]) != leaf_bytes(dataclasses.replace(LOG[1], **change))


def test_when_the_tables_say_what_the_log_says_nothing_is_found() -> None:
    assert [] == found(TABLES)
    assert [] == found({"pin": [PIN_2, PIN_1], "person": [ALICE], "site": []})


@pytest.mark.parametrize(
    ("tables", "expected"),
    [
        ({**TABLES, "pin": [PIN_1]}, [("pin", "missing from the table")]),
        ({**TABLES, "pin": [PIN_1, PIN_2, PIN_2]}, [("pin", "not in the log")]),
        ({**TABLES, "pin": [PIN_1, {**PIN_2, "version": "9" * 64}]},
         [("pin", "not in the log"), ("pin", "missing from the table")]),
        ({**TABLES, "person": []}, [("person", "missing from the table")]),
        ({"pin": [PIN_1, PIN_2]}, [("person", "missing from the table")]),
        ({**TABLES, "withdrawal": [{"version": "1" * 64}]}, [("withdrawal", "not in the log")]),
        ({**TABLES, "person": [{**ALICE, "active": 1}]},
         [("person", "not in the log"), ("person", "missing from the table")]),
    ],
)  # fmt: skip
def test_a_row_edited_added_or_removed_behind_the_logs_back_is_found(
    tables: dict[str, list[dict[str, Any]]], expected: list[tuple[str, str]]
) -> None:
    assert expected == found(tables)


def test_two_equal_rows_are_two() -> None:
    twice = [entry(0, ("pin", PIN_1)), entry(1, ("pin", PIN_1))]
    assert [] == found({"pin": [PIN_1, PIN_1]}, twice)
    assert [("pin", "missing from the table")] == found({"pin": [PIN_1]}, twice)


def test_an_edited_row_is_shown_by_what_was_edited() -> None:
    row = {"tier": "team", "position": 2, "version": "2" * 64, "ordinal": 2, "reason": None}
    edited = {**row, "ordinal": 1}
    log = [entry(0, ("pin", row))]
    strange, missing = compare(log, {"pin": [edited]})
    assert "pin: a row is not in the log: ordinal=1 where the log has 2 (position=2, tier=team)" == str(
        strange
    )
    assert "pin: a row is missing from the table: ordinal=2 where the table has 1" in str(missing)


def test_a_difference_names_the_row() -> None:
    (difference,) = compare(LOG, {**TABLES, "pin": [PIN_1]})
    assert f"pin: a row is missing from the table: position=2, tier=team, version={'2' * 24}" == str(
        difference
    )


@pytest.mark.parametrize(
    "data", [b"", b"{}", b"[]", b"7", b'{"format":"tidegate-event/1"}', leaf_bytes(LOG[0]) + b" ",
             leaf_bytes(LOG[1]).replace(b'"rows":[', b'"rows":[7,')]
)  # fmt: skip
def test_bytes_that_are_no_leaf_raise_only_our_error(data: bytes) -> None:
    """An administrator may write anything into the column; `audit verify` must say so, not fall over."""
    with pytest.raises(NotCanonical):
        read_leaf(data)


def test_every_kind_of_event_has_words_of_its_own() -> None:
    assert len(EventKind) == len({kind.value for kind in audit.EventKind})
    assert all(kind.value == kind.value.lower() for kind in EventKind)


def test_every_kind_of_event_is_emitted_somewhere() -> None:
    house = Path(__file__).resolve().parents[2]
    code = "".join(
        path.read_text()
        for layer in ("registry", "pipelines", "tidegate")
        for path in (house / layer).rglob("*.py")
    )
    assert [] == [kind.name for kind in EventKind if f"EventKind.{kind.name}" not in code]
