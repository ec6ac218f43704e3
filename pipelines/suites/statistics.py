"""The few statistics that a gate needs: pure, exact where that is cheap, and without a numeric library.

Sources: E. B. Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22 (1927);
E. Miller, "Adding Error Bars to Evals", arXiv 2411.00640 (paired differences, clustered standard errors);
R. G. Newcombe, Statistics in Medicine 17 (1998), 2635-2650, and G. Y. Zou and A. Donner, Statistics in Medicine 27
(2008) (the interval of a difference out of the score intervals of its two parts);
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
    return _score(good / counted, counted, z) if counted else Interval(0.0, 0.0, 1.0)


def _score(share: float, size: float, z: float) -> Interval:
    """Wilson's interval of a share of `size` independent cases; of clustered ones, of fewer."""
    square = z * z
    middle = (share + square / (2 * size)) / (1 + square / size)
    half = z / (1 + square / size) * math.sqrt(share * (1 - share) / size + square / (4 * size * size))
    low = 0.0 if share <= 0 else max(0.0, middle - half)  # rounding leaves a crumb at the ends
    high = 1.0 if share >= 1 else min(1.0, middle + half)
    return Interval(share, min(low, share), max(high, share))


@dataclass(frozen=True)
class Part:
    """The share of cases that were lost, or won, and of how many independent cases that share is worth."""

    share: float
    size: float


@dataclass(frozen=True)
class Difference(Interval):
    """Candidate minus baseline; `error` is its cluster-robust standard error, `lost` and `won` make it up."""

    error: float
    lost: Part
    won: Part


def paired_difference(pairs: Sequence[Pair], *, z: float = Z) -> Difference:
    """Return candidate minus baseline, averaged over the cases, with its interval.

    The cases of a cluster are not independent questions: their deviations are added before they are squared
    (Miller, section 2.2, on the differences of section 4.2), times C / (C - 1) for few clusters; deviations that
    happen to cancel out within clusters prove nothing, so the plain standard error is the least.

    The interval is not that error times 1.96 to both sides: of few changed cases that promises too much, and of
    none it is a point. It is made of the score intervals of lost and of won cases (Newcombe; Zou and Donner), each
    of as many cases as the clusters are worth. So no change at all leaves open what so many cases cannot exclude,
    and a version that won a whole cluster is not called worse because clusters differ.
    """
    count = len(pairs)
    if count == 0:
        return Difference(0.0, -1.0, 1.0, 1.0, Part(0.0, 0.0), Part(0.0, 0.0))
    names = [pair.cluster for pair in pairs]
    changes = [pair.candidate - pair.baseline for pair in pairs]
    mean, robust, plain = _errors(changes, names)
    lost, won = (_part([max(0.0, sign * change) for change in changes], names) for sign in (-1, 1))
    below, above = _reach(lost, won, z), _reach(won, lost, z)
    return Difference(mean, max(-1.0, mean - below), min(1.0, mean + above), max(robust, plain), lost, won)


def _part(values: Sequence[float], clusters: Sequence[str]) -> Part:
    share, robust, plain = _errors(values, clusters)
    worth = (plain / robust) ** 2 if robust > plain > 0 else 1.0  # the design effect's inverse
    return Part(share, len(values) * worth)


def _reach(down: Part, up: Part, z: float) -> float:
    """How far the difference `up - down` may lie below its estimate.

    The two shares exclude each other, so they are correlated a little, as in a multinomial.
    """
    more = _score(down.share, down.size, z).high - down.share
    fewer = up.share - _score(up.share, up.size, z).low
    odds = down.share * up.share / max(1e-12, (1 - down.share) * (1 - up.share))
    return math.sqrt(more * more + fewer * fewer + 2 * min(1.0, math.sqrt(odds)) * more * fewer)


def _errors(values: Sequence[float], clusters: Sequence[str]) -> tuple[float, float, float]:
    """Return the mean, its cluster-robust standard error, and the plain one."""
    count = len(values)
    mean = math.fsum(values) / count
    sums: dict[str, float] = {}
    for value, cluster in zip(values, clusters, strict=True):
        sums[cluster] = sums.get(cluster, 0.0) + value - mean
    robust = math.sqrt(math.fsum(total * total for total in sums.values())) / count
    if len(sums) > 1:
        robust *= math.sqrt(len(sums) / (len(sums) - 1))
    if count == 1:
        return mean, 1.0, 1.0
    plain = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (count - 1) / count)
    return mean, robust, plain


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

    Everything else: the shares of lost and won cases, and what clusters take away, clusters growing in number alike.
    """
    if counted == 0 or found.estimate + margin <= 0:
        return None

    def decided(number: int) -> bool:
        grown = number / counted
        lost, won = (Part(part.share, part.size * grown) for part in (found.lost, found.won))
        return found.estimate - _reach(lost, won, Z) > -margin

    needed = _smallest(decided)
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
