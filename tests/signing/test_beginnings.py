"""Where a site that has taken in nothing may begin: docs/decisions/0023."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from signing.ceremony import Profile
from signing.refusals import NotABeginning
from signing.trust import ExportMalformed
from tests.signing.trust_world import Origin, take


@pytest.fixture
def origin() -> Origin:
    return Origin.founded(Profile.SOLO)


def ship(origin: Origin, folder: Path, **said: Any) -> Path:
    return origin.pack(folder, origin.export("alpha", **said))


def test_a_new_site_begins_with_number_one_whatever_it_says(origin: Origin, tmp_path: Path) -> None:
    memory, _ = take(ship(origin, tmp_path / "1", baseline=False), origin.enrolled())
    memory, seen = take(ship(origin, tmp_path / "2", baseline=False), memory)
    assert (2, ()) == (memory.sequence, seen.gap)


def test_a_site_that_lost_its_memory_cannot_be_begun_again_with_what_lies_around(
    origin: Origin, tmp_path: Path
) -> None:
    """Its administrator wipes the home and imports an old disk, from before a version was withdrawn."""
    ship(origin, tmp_path / "1", baseline=True)
    old = ship(origin, tmp_path / "2", baseline=False)
    with pytest.raises(NotABeginning, match="number 2"):
        take(old, origin.enrolled())


def test_the_origin_marks_where_it_may_begin_and_the_gap_is_told(origin: Origin, tmp_path: Path) -> None:
    for number in (1, 2):
        ship(origin, tmp_path / str(number), baseline=False)
    memory, seen = take(ship(origin, tmp_path / "3", baseline=True), origin.enrolled())
    assert (3, (1, 2)) == (memory.sequence, seen.gap)
    after, _ = take(ship(origin, tmp_path / "4", baseline=False), memory)
    assert 4 == after.sequence


def test_a_wiped_tuf_cache_is_no_lost_memory(origin: Origin, tmp_path: Path) -> None:
    memory, _ = take(ship(origin, tmp_path / "1", baseline=True), origin.enrolled())
    after, _ = take(ship(origin, tmp_path / "2", baseline=False), replace(memory, metadata={}))
    assert 2 == after.sequence


def test_a_late_bundle_needs_no_mark(origin: Origin, tmp_path: Path) -> None:
    second = ship(origin, tmp_path / "2")
    late = ship(origin, tmp_path / "3", baseline=False)
    memory, _ = take(ship(origin, tmp_path / "4", baseline=True), origin.enrolled())
    for bundle in (late, second):
        memory, seen = take(bundle, memory)
        assert seen.late


def test_origins_of_before_say_nothing_and_the_gap_is_told_as_it_was(origin: Origin, tmp_path: Path) -> None:
    ship(origin, tmp_path / "1")
    _, seen = take(ship(origin, tmp_path / "2"), origin.enrolled())
    assert (1,) == seen.gap


@pytest.mark.parametrize("said", [0, 1, "true", [], {}])
def test_anything_else_is_not_what_an_export_says(said: object, origin: Origin, tmp_path: Path) -> None:
    with pytest.raises(ExportMalformed, match="baseline"):
        take(ship(origin, tmp_path / "1", baseline=said), origin.enrolled())
