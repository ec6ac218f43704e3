"""FRESH, DUE, STALE: a courier who does not come is noticed, and nothing is stopped for it."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.freshness import State, freshness

NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
DAY = timedelta(days=1)


def judged(*, days: float, promised: float | None = 7, good: float | None = 30) -> State:
    """So many days after an import that promised the next one, with metadata that is good for a while."""
    return freshness(
        NOON + days * DAY,
        next_expected_by=None if promised is None else NOON + promised * DAY,
        expires=None if good is None else NOON + good * DAY,
        last_import=NOON,
    ).state


@pytest.mark.parametrize(
    ("days", "state"),
    [(0, "FRESH"), (6.9, "FRESH"), (7, "DUE"), (29.9, "DUE"), (30, "STALE"), (400, "STALE")],
)
def test_a_site_that_hears_nothing_more(days: float, state: str) -> None:
    assert state == judged(days=days)


def test_without_a_promise_only_the_signatures_run_out() -> None:
    assert State.FRESH is judged(days=29, promised=None)
    assert State.STALE is judged(days=30, promised=None)
    assert State.FRESH is judged(days=900, promised=None, good=None)


def test_a_promise_that_is_kept_late_is_no_excuse_for_old_signatures() -> None:
    assert State.STALE is judged(days=31, promised=60)


def test_before_the_first_bundle_nobody_can_say() -> None:
    found = freshness(NOON, next_expected_by=None, expires=None, last_import=None)
    assert (State.UNKNOWN, False) == (found.state, found.late)


def test_a_clock_set_back_does_not_make_old_news_fresh() -> None:
    """Whoever stops the courier could also turn the clock back."""
    found = freshness(NOON - DAY, next_expected_by=NOON + DAY, expires=None, last_import=NOON)
    assert State.UNKNOWN is found.state
    assert "set it right" in found.text


def test_the_words_say_since_when_and_what_to_do() -> None:
    found = freshness(
        NOON + 9 * DAY, next_expected_by=NOON + 7 * DAY, expires=NOON + 30 * DAY, last_import=NOON
    )
    assert found.late
    assert (
        "the last bundle came in 9 days ago, and the next one was expected by 2026-11-27T12:00:00Z; ask for it"
        == found.text
    )


@given(st.floats(0, 1000), st.floats(0, 1000), st.none() | st.floats(0, 500), st.none() | st.floats(0, 500))
def test_it_only_ever_gets_worse(
    days: float, more: float, promised: float | None, good: float | None
) -> None:
    order = [State.FRESH, State.DUE, State.STALE]
    first = judged(days=days, promised=promised, good=good)
    later = judged(days=days + more, promised=promised, good=good)
    assert order.index(first) <= order.index(later)
