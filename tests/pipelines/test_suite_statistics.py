"""The gates' statistics against published figures, against figures made by hand, and against their own laws."""

import math
import random
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.suites.statistics import (
    MOST_CASES,
    Pair,
    Z,
    cases_for_margin,
    cases_for_share,
    mcnemar_exact,
    paired_difference,
    quantile,
    wilson,
)

# R. G. Newcombe, "Two-sided confidence intervals for the single proportion", Statistics in Medicine 17 (1998),
# table I, method 3 (the score method).
NEWCOMBE = [
    (81, 263, 0.2553, 0.3662),
    (15, 148, 0.0624, 0.1605),
    (0, 20, 0.0000, 0.1611),
    (1, 29, 0.0061, 0.1718),
]


@pytest.mark.parametrize(("good", "counted", "low", "high"), NEWCOMBE)
def test_wilson_gives_the_published_intervals(good: int, counted: int, low: float, high: float) -> None:
    found = wilson(good, counted)
    assert (low, high) == pytest.approx((found.low, found.high), abs=5e-5)


def test_nothing_counted_says_nothing() -> None:
    assert (0.0, 1.0) == (wilson(0, 0).low, wilson(0, 0).high)


def test_nothing_that_failed_does_not_mean_that_nothing_can() -> None:
    """20 of 20 leaves room for a sixth of failures: the mirror of Newcombe's 0 of 20."""
    assert pytest.approx(1 - 0.1611, abs=5e-5) == wilson(20, 20).low
    assert 1.0 == wilson(20, 20).high


@pytest.mark.parametrize(
    ("lost", "won", "p_value"),
    [(0, 0, 1.0), (5, 0, 0.0625), (6, 0, 0.03125), (3, 0, 0.25), (2, 10, 158 / 4096), (5, 5, 1.0)],
)
def test_mcnemar_is_the_sign_test_on_the_cases_that_changed(lost: int, won: int, p_value: float) -> None:
    """Six lost and none won is the first below 0.05: three lost cases are invisible to a test of significance."""
    assert pytest.approx(p_value) == mcnemar_exact(lost, won)
    assert mcnemar_exact(lost, won) == mcnemar_exact(won, lost)


@given(st.integers(0, 400), st.integers(0, 400))
def test_mcnemar_against_the_sum_written_out(lost: int, won: int) -> None:
    changed = lost + won
    tail = sum((Fraction(math.comb(changed, k), 2**changed) for k in range(min(lost, won) + 1)), Fraction(0))
    assert pytest.approx(float(min(Fraction(1), 2 * tail))) == mcnemar_exact(lost, won)


def pairs(*rows: tuple[str, int, int]) -> list[Pair]:
    return [Pair(cluster, float(candidate), float(baseline)) for cluster, candidate, baseline in rows]


def test_the_error_of_a_paired_difference_by_hand() -> None:
    """100 cases, each its own cluster, 10 lost and 2 won: mean -0.08, sum of squares 12 - 100 * 0.0064 = 11.36."""
    rows = [(str(i), 0, 1) for i in range(10)] + [(str(i), 1, 0) for i in range(10, 12)]
    found = paired_difference(pairs(*rows, *((str(i), 1, 1) for i in range(12, 100))))
    error = math.sqrt(11.36 / 99 / 100)  # also of 100 clusters: sqrt(11.36) / 100 * sqrt(100 / 99)
    assert pytest.approx(-0.08) == found.estimate
    assert pytest.approx(error) == found.error
    lost, won = wilson(10, 100), wilson(2, 100)
    more, fewer = lost.high - 0.10, 0.02 - won.low
    together = math.sqrt(0.10 * 0.02 / (0.90 * 0.98))
    assert pytest.approx(-0.08 - math.sqrt(more**2 + fewer**2 + 2 * together * more * fewer)) == found.low
    assert found.low < -0.08 - 1.959964 * error  # which promises too much


def test_cases_of_one_cluster_that_fall_together_are_one_observation() -> None:
    """10 clusters of 10, one of them lost whole: deviations add to -9 there and 1 elsewhere, (81 + 9) * 10 / 9 = 100."""
    rows = [("0", 0, 1)] * 10 + [(str(i // 10), 1, 1) for i in range(10, 100)]
    together = paired_difference(pairs(*rows))
    apart = paired_difference(
        [Pair(str(i), row.candidate, row.baseline) for i, row in enumerate(pairs(*rows))]
    )
    assert pytest.approx(math.sqrt(100) / 100) == together.error
    assert together.estimate == apart.estimate
    assert together.error > 3 * apart.error


def test_deviations_that_cancel_out_within_a_cluster_prove_nothing() -> None:
    """One lost and one won in every cluster: the robust error alone would be zero."""
    rows = [row for i in range(20) for row in ((str(i), 0, 1), (str(i), 1, 0))]
    found = paired_difference(pairs(*rows))
    assert 0 == found.estimate
    assert found.low < -0.29


def test_a_run_without_a_change_is_evidence_only_of_its_length() -> None:
    few = paired_difference(pairs(*[("a", 1, 1)] * 15))
    many = paired_difference(pairs(*[("a", 1, 1)] * 200))
    assert few.low < -0.2 < -0.02 < many.low < 0
    assert pytest.approx(-wilson(0, 200).high) == many.low
    assert 58 == cases_for_margin(few, 15, 0.05)
    assert (
        paired_difference(pairs(*[("a", 1, 1)] * 73)).low
        > -0.05
        > paired_difference(pairs(*[("a", 1, 1)] * 72)).low
    )


def test_a_version_that_wins_a_whole_cluster_is_not_worse_for_that() -> None:
    """226 cases in 6 clusters: one of 36 is won whole, one case is lost elsewhere. The clusters differ widely, for the better."""
    rows = [("sums", 1, 0)] * 36 + [("files", 0, 1)] + [("abcde"[i % 5], 1, 1) for i in range(189)]
    found = paired_difference(pairs(*rows))
    assert found.estimate - Z * found.error < -0.05  # the interval of the mean alone
    assert 0 < found.low < found.estimate
    assert found.won.size < 10  # 36 cases of one cluster are worth few, the others many
    assert found.lost.size > 150


def one_run(chance: random.Random, *, lost: float, won: float) -> list[Pair]:
    """200 cases in 20 clusters of uneven difficulty: the chances differ between clusters and are as given on average."""
    made = []
    for cluster in range(20):
        hard = chance.choice((0.0, 0.5, 1.5, 2.0))
        for _ in range(10):
            drawn = chance.random()
            if drawn < lost * hard:
                made.append(Pair(str(cluster), 0.0, 1.0))
            elif drawn < (lost + won) * hard:
                made.append(Pair(str(cluster), 1.0, 0.0))
            else:
                made.append(Pair(str(cluster), 1.0, 1.0))
    return made


@pytest.mark.parametrize(("lost", "won"), [(0.05, 0.0), (0.08, 0.03), (0.12, 0.07)])
def test_a_version_that_is_worse_by_the_margin_is_seldom_called_no_worse(lost: float, won: float) -> None:
    """The share of runs whose lower end lies above the truth, of 600 seeded runs: promised are 2.5 %."""
    chance = random.Random(20_261_120)
    wrong = sum(
        paired_difference(one_run(chance, lost=lost, won=won)).low > -(lost - won) for _ in range(600)
    )
    assert wrong / 600 < 0.035


def test_no_pair_says_nothing() -> None:
    found = paired_difference([])
    assert (-1.0, 1.0) == (found.low, found.high)
    assert cases_for_margin(found, 0, 0.05) is None


@given(
    st.lists(
        st.tuples(st.sampled_from("abcde"), st.floats(0, 1, width=32), st.floats(0, 1, width=32)), max_size=60
    )
)
def test_laws_of_the_paired_difference(rows: list[tuple[str, float, float]]) -> None:
    found = paired_difference([Pair(*row) for row in rows])
    swapped = paired_difference([Pair(cluster, right, left) for cluster, left, right in rows])
    assert -1 <= found.low <= found.estimate <= found.high <= 1
    assert pytest.approx((-found.high, -found.low)) == (swapped.low, swapped.high)
    if rows:
        assert found.high - found.low > 0


@given(st.integers(0, 500), st.integers(1, 500))
def test_laws_of_wilson(good: int, counted: int) -> None:
    good = min(good, counted)
    found, mirrored = wilson(good, counted), wilson(counted - good, counted)
    assert 0 <= found.low <= found.estimate <= found.high <= 1
    assert pytest.approx((1 - mirrored.high, 1 - mirrored.low)) == (found.low, found.high)
    assert wilson(2 * good, 2 * counted).high - wilson(2 * good, 2 * counted).low < found.high - found.low


@given(st.integers(1, 400), st.integers(1, 400), st.sampled_from([0.5, 0.75, 0.8, 0.9, 0.95]))
def test_as_many_cases_more_as_are_said_do_decide_it(good: int, counted: int, least: float) -> None:
    """Promise: with so many more of the same kind, the lower end is there; and not before, but for rounding."""
    good = min(good, counted)
    if wilson(good, counted).low >= least:
        return
    more = cases_for_share(good, counted, least)
    if more is None:
        assert (
            good / counted <= least or wilson(math.floor(good / counted * MOST_CASES), MOST_CASES).low < least
        )
        return
    then = counted + more
    slack = 1 / then  # one case, because a share of whole cases is rounded down
    assert wilson(math.floor(good / counted * then), then).low >= least - slack
    before = counted + more // 2
    assert wilson(math.floor(good / counted * before), before).low < least + 2 / before


def test_the_figures_of_the_handbook() -> None:
    """0.82 of 200 has the interval 0.76-0.87, and needs 1,387 more to show 0.80."""
    found = wilson(164, 200)
    assert ("0.76", "0.87") == (f"{found.low:.2f}", f"{found.high:.2f}")
    assert 1387 == cases_for_share(164, 200, 0.8)
    assert cases_for_share(160, 200, 0.8) is None
    assert pytest.approx(1.959964, abs=1e-6) == Z


@given(st.lists(st.integers(0, 50), min_size=1, max_size=80), st.sampled_from([0.05, 0.5, 0.95, 1.0]))
def test_a_quantile_is_the_smallest_value_that_so_many_do_not_exceed(values: list[int], share: float) -> None:
    found = quantile(values, share)
    assert found in values
    assert sum(value <= found for value in values) >= share * len(values) - 1e-9
    assert sum(value < found for value in values) < share * len(values) + 1e-9


def test_no_value_has_no_quantile() -> None:
    assert quantile([], 0.5) is None
