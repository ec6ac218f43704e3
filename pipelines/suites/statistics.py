"""The few statistics that a gate needs: pure, exact where that is cheap, and without a numeric library.

Sources: E. B. Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22 (1927);
E. Miller, "Adding Error Bars to Evals", arXiv 2411.00640 (paired differences, clustered standard errors);
Q. McNemar, Psychometrika 12 (1947), the exact form: a sign test on the cases that changed.

All intervals are two-sided at 95 %.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

Z = NormalDist().inv_cdf(0.975)
MOST_CASES = 100_000  # what `cases_needed` looks up to; more is no advice


@dataclass(frozen=True)
class Interval:
    """A share or a difference, between its ends."""

    estimate: float
    low: float
    high: float


@dataclass(frozen=True)
class Pair:
    """One case under both versions: the share of its repeats that were right, 0 to 1, and its cluster."""

    cluster: str
    candidate: float
    baseline: float


def wilson(good: int, counted: int, *, z: float = Z) -> Interval:
    """Return the share `good / counted` with its Wilson score interval; everything from 0 to 1 when nothing was counted."""
    if counted == 0:
        return Interval(0.0, 0.0, 1.0)
    share, square = good / counted, z * z
    middle = (share + square / (2 * counted)) / (1 + square / counted)
    half = (
        z
        / (1 + square / counted)
        * math.sqrt(share * (1 - share) / counted + square / (4 * counted * counted))
    )
    low = 0.0 if good == 0 else max(0.0, middle - half)  # rounding leaves a crumb at the ends
    high = 1.0 if good == counted else min(1.0, middle + half)
    return Interval(share, low, high)


@dataclass(frozen=True)
class Difference(Interval):
    """Candidate minus baseline; `error` is the standard error that the interval was made of."""

    error: float


def paired_difference(pairs: Sequence[Pair], *, z: float = Z) -> Difference:
    """Return candidate minus baseline, averaged over the cases, with a cluster-robust interval.

    The cases of a cluster are not independent questions: their deviations are added before they are squared
    (Miller, section 2.2, on the differences of section 4.2), times C / (C - 1) for few clusters. Two caveats
    widen it: deviations that happen to cancel out within clusters prove nothing, so the plain standard error
    is the least; and where hardly a case changed, the variance of what was seen is no measure of what was not,
    so the half width is at least what that number of cases without any change leaves open (`unseen`).
    """
    count = len(pairs)
    if count == 0:
        return Difference(0.0, -1.0, 1.0, 1.0)
    differences = [pair.candidate - pair.baseline for pair in pairs]
    mean = math.fsum(differences) / count
    clusters: dict[str, float] = {}
    for pair, difference in zip(pairs, differences, strict=True):
        clusters[pair.cluster] = clusters.get(pair.cluster, 0.0) + difference - mean
    robust = math.sqrt(math.fsum(total * total for total in clusters.values())) / count
    if len(clusters) > 1:
        robust *= math.sqrt(len(clusters) / (len(clusters) - 1))
    error = max(robust, _standard_error(differences, mean))
    half = max(z * error, unseen(count, z=z))
    return Difference(mean, max(-1.0, mean - half), min(1.0, mean + half), error)


def unseen(count: int, *, z: float = Z) -> float:
    """Return the share of changed cases that `count` cases without a change do not exclude."""
    return wilson(0, count, z=z).high


def _standard_error(differences: Sequence[float], mean: float) -> float:
    count = len(differences)
    if count < 2:
        return 1.0
    return math.sqrt(math.fsum((each - mean) ** 2 for each in differences) / (count - 1) / count)


def mcnemar_exact(lost: int, won: int) -> float:
    """Return the two-sided p-value of so many lost and won cases, if each were as likely as the other."""
    changed, fewer = lost + won, min(lost, won)
    if changed == 0:
        return 1.0
    term = tail = 1  # binomial coefficients, each from the one before it
    for k in range(fewer):
        term = term * (changed - k) // (k + 1)
        tail += term
    return min(1.0, 2 * tail / (1 << changed))


def cases_for_share(good: int, counted: int, least: float) -> int | None:
    """Return how many cases more bring the Wilson interval's lower end to `least` if the share stays; None: never.

    Never means: the share itself is not above `least`, or it takes more than `MOST_CASES`.
    """
    if counted == 0:
        return _smallest(lambda n: wilson(n, n).low >= least)
    share = good / counted
    if share <= least:
        return None
    found = _smallest(lambda n: wilson(math.floor(share * n), n).low >= least)
    return None if found is None else max(1, found - counted)


def cases_for_margin(found: Difference, counted: int, margin: float) -> int | None:
    """Return how many cases more push a difference's lower end over `-margin` if everything else stays; None: never.

    The error shrinks with the square root of the number of cases, clusters growing in number alike.
    """
    room = found.estimate + margin
    if counted == 0 or room <= 0:
        return None
    spread = Z * found.error * math.sqrt(counted)
    needed = _smallest(lambda n: room > max(spread / math.sqrt(n), unseen(n)))
    return None if needed is None else max(1, needed - counted)


def _smallest(holds: Callable[[int], bool]) -> int | None:
    """The smallest number of cases from which a condition holds, near enough: it is monotone but for rounding."""
    low, high = 0, 1
    while not holds(high):
        if high >= MOST_CASES:
            return None
        low, high = high, min(2 * high, MOST_CASES)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high


def quantile(values: Sequence[int], share: float) -> int | None:
    """Return the smallest value that at least `share` of the values do not exceed; None for no values."""
    if not values:
        return None
    return sorted(values)[max(0, math.ceil(share * len(values) - 1e-9) - 1)]
