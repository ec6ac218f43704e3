"""Gates held against results: HELD, FAILED or INCONCLUSIVE, each with a reason that a steward understands. Pure.

A gate has parts (a floor, a margin, a number of lost cases, a bound, a ratio); the worst part decides. What
cannot be decided is INCONCLUSIVE and blocks like a failure, but says what is missing: so many cases more, or
the pinned version beside it. Where there is no other version to compare with, comparing parts demand nothing.

A case that was set aside by decision counts nowhere but for the contract: whether calls can be read is no
matter of taste, and a flaky call is a broken one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from pipelines.suites.format import Suite
from pipelines.suites.gates import Gate, ShareGate, SpeedGate, shown
from pipelines.suites.judged import MEASURED, NOTHING_TO_COMPARE, CaseResult, Comparison
from pipelines.suites.results import Attempt
from pipelines.suites.statistics import (
    Difference,
    Interval,
    Pair,
    cases_for_margin,
    cases_for_share,
    mcnemar_exact,
    paired_difference,
    quantile,
    wilson,
)

HELD, FAILED, INCONCLUSIVE = "HELD", "FAILED", "INCONCLUSIVE"
_WORST = (HELD, INCONCLUSIVE, FAILED)
NAMED = 3  # cases that a reason names; the report has all of them
# A quantile of fewer measurements is one measurement by another name.
MEASUREMENTS = {Fraction(1, 2): 5, Fraction(19, 20): 20}


@dataclass(frozen=True)
class Part:
    """One demand of a gate: its outcome, why in a line, and how many cases more would decide it, if they would."""

    outcome: str
    why: str
    more: int | None = None


@dataclass(frozen=True)
class Compared:
    """A share gate's cases under both versions. `p_value` is McNemar's, exact, two-sided."""

    good: int
    counted: int
    difference: Difference
    p_value: float
    lost: tuple[str, ...]
    won: tuple[str, ...]


@dataclass(frozen=True)
class GateResult:
    """What a gate demanded and what it got.

    Of a share gate `good` of `counted` cases with their interval; of a speed gate `figure` of `counted`
    requests, in the metric's unit, and the pinned version's beside it.
    """

    gate: Gate
    demanded: str
    parts: tuple[Part, ...]
    good: int
    counted: int
    interval: Interval | None = None
    compared: Compared | None = None
    figure: Fraction | None = None
    baseline_figure: Fraction | None = None
    note: str | None = None  # a comparison that demands nothing, and why

    @property
    def metric(self) -> str:
        """The gate's name."""
        return self.gate.metric

    @property
    def outcome(self) -> str:
        """The worst of its parts."""
        return max((part.outcome for part in self.parts), key=_WORST.index)

    @property
    def held(self) -> bool:
        """Whether nothing is left to be wished."""
        return self.outcome == HELD

    @property
    def more(self) -> int | None:
        """How many cases more would decide it, if that is all that is missing."""
        return max((part.more or 0 for part in self.parts if part.outcome == INCONCLUSIVE), default=0) or None

    def reasons(self, outcome: str) -> list[str]:
        """Why it has this outcome, each part's line with the gate's name."""
        return [f"gate {self.metric}: {part.why}" for part in self.parts if part.outcome == outcome]


def weigh(suite: Suite, gate: Gate, cases: Sequence[CaseResult], comparison: Comparison) -> GateResult:
    """Hold one gate against the results of all cases."""
    if isinstance(gate, SpeedGate):
        return _speed(gate, cases, comparison)
    return _share(gate, _counted(suite, gate, cases), comparison)


def _counted(suite: Suite, gate: ShareGate, cases: Sequence[CaseResult]) -> list[CaseResult]:
    wanted = {case.id for case in suite.counted(gate.metric)}
    return [
        result
        for result in cases
        if result.case.id in wanted and not (result.quarantined and gate.judges_cases)
    ]


# -- shares ---------------------------------------------------------------------------------------------


def _share(gate: ShareGate, counted: Sequence[CaseResult], comparison: Comparison) -> GateResult:
    good = sum(result.good(gate.metric) for result in counted)
    compared = _compared(gate, counted) if comparison.state == MEASURED else None
    parts = [_floor(gate, good, len(counted))]
    if gate.compares and comparison.state != NOTHING_TO_COMPARE:
        parts.extend(_against(gate, counted, compared, comparison))
    return GateResult(
        gate,
        _demanded(gate),
        tuple(parts),
        good,
        len(counted),
        interval=wilson(good, len(counted)),
        compared=compared,
        note=_note(gate, comparison),
    )


def _demanded(gate: ShareGate) -> str:
    parts = [f"at least {gate.written}" + (" with the interval's lower end" if gate.interval else "")]
    if gate.margin is not None:
        parts.append(f"less than {shown(gate.margin)} behind the pinned version")
    if gate.lost_cases_max is not None:
        parts.append(f"at most {gate.lost_cases_max} cases lost")
    return ", ".join(parts)


def _note(gate: Gate, comparison: Comparison) -> str | None:
    if gate.compares and comparison.state == NOTHING_TO_COMPARE:
        return f"compared with nothing: {comparison.why}"
    return None


def _floor(gate: ShareGate, good: int, counted: int) -> Part:
    if not counted:
        return Part(INCONCLUSIVE, "every case that it counts is set aside by decision")
    if not gate.interval:
        held = Fraction(good, counted) >= gate.least
        return Part(HELD if held else FAILED, f"{good} of {counted} cases, at least {gate.written} demanded")
    found, least = wilson(good, counted), float(gate.least)
    said = (
        f"{found.estimate:.2f} of {counted} cases, interval {found.low:.2f}-{found.high:.2f}, "
        f"needs {gate.written}"
    )
    if found.low >= least:
        return Part(HELD, said)
    if found.high < least:
        return Part(FAILED, said)
    return _undecided(said, cases_for_share(good, counted, least))


def _undecided(said: str, more: int | None) -> Part:
    if more is None:
        return Part(INCONCLUSIVE, f"{said}: more cases like these would not decide it")
    return Part(INCONCLUSIVE, f"{said}: collect about {_about(more)} more", more)


def _about(number: int) -> int:
    """Two figures, rounded up: more would be a promise."""
    step = 1
    while number > 100 * step:
        step *= 10
    return -(-number // step) * step


def _compared(gate: ShareGate, counted: Sequence[CaseResult]) -> Compared:
    paired = [result for result in counted if result.paired]
    pairs = [
        Pair(result.case.cluster, float(result.good(gate.metric)), float(result.baseline_good(gate.metric)))
        for result in paired
    ]
    lost = tuple(
        result.case.id for result, pair in zip(paired, pairs, strict=True) if pair.candidate < pair.baseline
    )
    won = tuple(
        result.case.id for result, pair in zip(paired, pairs, strict=True) if pair.candidate > pair.baseline
    )
    return Compared(
        good=sum(pair.baseline > 0 for pair in pairs),
        counted=len(pairs),
        difference=paired_difference(pairs),
        p_value=mcnemar_exact(len(lost), len(won)),
        lost=lost,
        won=won,
    )


def _against(
    gate: ShareGate, counted: Sequence[CaseResult], compared: Compared | None, comparison: Comparison
) -> list[Part]:
    if compared is None:
        return [Part(INCONCLUSIVE, f"compares with the pinned version: {comparison.why}")]
    missing = len(counted) - compared.counted
    if missing:
        return [
            Part(
                INCONCLUSIVE,
                f"compares with the pinned version, and there are {missing} {_cases(missing)} without an answer of one",
            )
        ]
    parts = [] if gate.margin is None else [_margin(gate.margin, compared)]
    if gate.lost_cases_max is not None:
        few = len(compared.lost) <= gate.lost_cases_max
        said = f"{len(compared.lost)} {_cases(len(compared.lost))} lost that the pinned version gets right{_named(compared.lost)}"
        parts.append(Part(HELD if few else FAILED, f"{said}, at most {gate.lost_cases_max} allowed"))
    return parts


def _cases(number: int) -> str:
    return "case" if number == 1 else "cases"


def _named(names: Sequence[str]) -> str:
    if not names:
        return ""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f" ({', '.join(names[:NAMED])}{more})"


def _margin(margin: Fraction, compared: Compared) -> Part:
    found, allowed = compared.difference, float(margin)
    said = (
        f"{_ahead(found.estimate)} the pinned version over {compared.counted} cases, interval "
        f"{found.low:+.2f} to {found.high:+.2f}, may be less than {shown(margin)} behind"
    )
    if found.low > -allowed:
        return Part(HELD, said)
    if found.high <= -allowed:
        return Part(FAILED, said)
    return _undecided(said, cases_for_margin(found, compared.counted, allowed))


def _ahead(difference: float) -> str:
    if abs(difference) < 0.005:
        return "level with"
    return f"{abs(difference):.2f} {'ahead of' if difference > 0 else 'behind'}"


# -- speeds ---------------------------------------------------------------------------------------------


def _speed(gate: SpeedGate, cases: Sequence[CaseResult], comparison: Comparison) -> GateResult:
    own = measurements(gate.metric, [attempt for result in cases for attempt in result.attempts])
    other = measurements(gate.metric, [attempt for result in cases for attempt in result.baseline])
    figure, pinned = _figure(gate, own), _figure(gate, other)
    parts = []
    if figure is None:
        parts.append(_too_few(gate, len(own), "requests"))
    elif gate.bound is not None:
        within = figure >= gate.bound if gate.more_is_better else figure <= gate.bound
        side = "at least" if gate.more_is_better else "at most"
        parts.append(
            Part(
                HELD if within else FAILED,
                f"{shown(figure)} over {len(own)} requests, {side} {shown(gate.bound)} demanded",
            )
        )
    if gate.ratio is not None and figure is not None and comparison.state != NOTHING_TO_COMPARE:
        if comparison.state == MEASURED and pinned is None:
            parts.append(_too_few(gate, len(other), "requests to the pinned version"))
        else:
            parts.append(_ratio(gate, figure, pinned, comparison))
    return GateResult(
        gate,
        gate.written,
        tuple(parts) or (Part(HELD, "demands nothing without another version"),),
        0,
        len(own),
        figure=figure,
        baseline_figure=pinned if comparison.state == MEASURED else None,
        note=_note(gate, comparison),
    )


def _ratio(gate: SpeedGate, figure: Fraction, pinned: Fraction | None, comparison: Comparison) -> Part:
    ratio = gate.ratio or Fraction(1)
    if comparison.state != MEASURED or pinned is None:
        return Part(INCONCLUSIVE, f"compares with the pinned version: {comparison.why}")
    found = figure / pinned
    within = found >= ratio if gate.more_is_better else found <= ratio
    side = "at least" if gate.more_is_better else "at most"
    return Part(
        HELD if within else FAILED,
        f"{shown(figure)} against {shown(pinned)} of the pinned version, {float(found):.2f} times, "
        f"{side} {shown(ratio)} allowed",
    )


def _share_of(metric: str) -> Fraction:
    return Fraction(19, 20) if "_p95" in metric else Fraction(1, 2)


def _figure(gate: SpeedGate, values: Sequence[int]) -> Fraction | None:
    """The metric's quantile in its own unit, never 0: what takes no time at all was measured as less than one unit."""
    share = _share_of(gate.metric)
    if len(values) < MEASUREMENTS[share]:
        return None
    thousandths = max(1, quantile(values, float(share)) or 0)
    return Fraction(thousandths) if gate.metric.endswith("_ms") else Fraction(thousandths, 1000)


def _too_few(gate: SpeedGate, measured: int, what: str) -> Part:
    needed = MEASUREMENTS[_share_of(gate.metric)]
    said = f"{measured} {what} measured, {needed} are needed for this figure"
    return Part(INCONCLUSIVE, f"{said}: collect {needed - measured} more", needed - measured)


def measurements(metric: str, attempts: Sequence[Attempt]) -> list[int]:
    """Return what a speed metric is made of, one value per answered request.

    Milliseconds for times; thousandths of a token per second for `perf.out_tok_s_p50`, from the first token to
    the last where answers were streamed, over the whole answer where none was.
    """
    answered = [attempt for attempt in attempts if attempt.trouble is None]
    if metric.startswith("perf.ttft"):
        return [attempt.ttft_ms for attempt in answered if attempt.ttft_ms is not None]
    if metric.startswith("perf.seconds"):
        return [attempt.milliseconds for attempt in answered]
    streamed = [attempt for attempt in answered if attempt.ttft_ms is not None]
    return [rate for attempt in streamed or answered if (rate := _rate(attempt)) is not None]


def _rate(attempt: Attempt) -> int | None:
    tokens = attempt.output_tokens or 0
    first = attempt.ttft_ms is not None
    spent = attempt.milliseconds - (attempt.ttft_ms or 0)
    return (tokens - first) * 1_000_000 // spent if tokens > first and spent > 0 else None
