"""Which transfers crossed: the same columns at both ends, and nothing that a spreadsheet would run."""

import csv
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pipelines.questions.transfers import COLUMNS, Crossing, as_csv, crossings
from pipelines.workplace import Workplace
from registry.home import Home
from registry.views import View
from signing.summaries import Transfer
from tests.pipelines.gap import World, make_world, model_files
from tests.pipelines.test_transfers import SAID


@pytest.fixture
def gap(tmp_path: Path) -> World:
    made = make_world(tmp_path / "world")
    made.add("acme/tiny", model_files())
    return made


@contextmanager
def looking(gap: World, home: Home) -> Iterator[tuple[Workplace, View]]:
    with gap.at(home) as work, work.store.view() as view:
        yield work, view


def at(gap: World, home: Home) -> list[Crossing]:
    with looking(gap, home) as place:
        found, gone = crossings(*place)
    assert [] == gone
    assert all(one.proof.verified for one in found)
    return found


def test_both_ends_have_the_same_columns_filled(gap: World) -> None:
    gap.arrive(gap.ship("acme/tiny", transfer=SAID))
    (left,), (came,) = at(gap, gap.origin), at(gap, gap.site)
    assert (left.said, left.files, left.export) == (came.said, came.files, came.export)
    assert ("out", "acknowledged", "in", "taken in") == (
        left.direction,
        left.outcome,
        came.direction,
        came.outcome,
    )
    (first, *_) = list(came.lines())
    assert {"bo of security", "anna of engineering"} == {first["approver"], first["originator"]}
    assert ("internal", "DVD-R", "M-0017 M-0018") == (
        first["classification"],
        first["medium"],
        first["control_numbers"],
    )


def test_a_transfer_that_nobody_acknowledged_says_so(gap: World) -> None:
    gap.ship("acme/tiny", out="lost")
    gap.arrive(gap.ship("acme/tiny", out="brought", self_contained=True))
    assert ["no receipt yet", "acknowledged"] == [one.outcome for one in at(gap, gap.origin)]


def test_a_bundle_without_versions_is_a_transfer_too(gap: World) -> None:
    gap.ship(transfer=SAID)
    (left,) = at(gap, gap.origin)
    (line,) = left.lines()
    assert "file" not in line
    assert "bo of security" == line["approver"]


def test_only_the_days_that_were_asked_for(gap: World) -> None:
    gap.ship("acme/tiny", out="one")
    gap.ship("acme/tiny", out="two")
    with looking(gap, gap.origin) as place:
        first, second = crossings(*place)[0]
        assert [second] == crossings(*place, since=second.date)[0]
        assert [first] == crossings(*place, until=first.date)[0]
        assert ([], []) == crossings(*place, since="2030-01-01T00:00:00Z")


def test_the_table_reads_back_and_runs_nothing(gap: World) -> None:
    gap.ship("acme/tiny", transfer=Transfer(requester='=cmd|"/c calc"!A1', approver="-2+3", medium="a,b"))
    text = as_csv(at(gap, gap.origin))
    rows = list(csv.DictReader(io.StringIO(text)))
    assert list(COLUMNS) == text.splitlines()[0].split(",")
    assert 4 == len(rows), "one line per file"
    assert {'\'=cmd|"/c calc"!A1'} == {row["originator"] for row in rows}
    assert {("'-2+3", "a,b")} == {(row["approver"], row["medium"]) for row in rows}
