"""Numbers of a run as a report holds them: whole numbers and decimal texts, so that the report has one canonical form."""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

from pipelines.suites.gates import Gate, SpeedGate
from pipelines.suites.judged import CaseResult
from pipelines.suites.results import Attempt
from pipelines.suites.statistics import Interval, quantile
from pipelines.suites.weigh import GateResult, measurements

_SHOWN = ("perf.ttft", "perf.seconds", "perf.out_tok_s")
_NAMES = {"perf.ttft": "ttft_ms", "perf.seconds": "milliseconds", "perf.out_tok_s": "tok_s"}


def decimal(number: float | Fraction) -> str:
    """Return four decimals, never `-0.0000`."""
    text = f"{float(number):.4f}"
    return "0.0000" if text == "-0.0000" else text


def gate_figures(gate: GateResult) -> dict[str, Any]:
    """Return what the report says about a gate."""
    found: dict[str, Any] = {
        "metric": gate.metric,
        "demanded": gate.demanded,
        "outcome": gate.outcome,
        "held": gate.held,
        "good": gate.good,
        "counted": gate.counted,
        "why": [part.why for part in gate.parts],
        "more": gate.more,
        "note": gate.note,
        "interval": None if gate.interval is None else _ends(gate.interval),
        "figure": None if gate.figure is None else decimal(gate.figure),
        "pinned_figure": None if gate.baseline_figure is None else decimal(gate.baseline_figure),
        "pinned": None,
    }
    found |= _limits(gate.gate)
    if gate.compared is not None:
        compared = gate.compared
        found["pinned"] = {
            "good": compared.good,
            "counted": compared.counted,
            "difference": _ends(compared.difference),
            "p_value": decimal(compared.p_value),
            "lost": list(compared.lost),
            "won": list(compared.won),
        }
    return found


def _limits(gate: Gate) -> dict[str, Any]:
    """The demand's numbers, for whoever draws them."""
    if isinstance(gate, SpeedGate):
        return {"bound": _or_none(gate.bound), "ratio": _or_none(gate.ratio)}
    return {
        "least": decimal(gate.least),
        "margin": _or_none(gate.margin),
        "lost_cases_max": gate.lost_cases_max,
    }


def _or_none(number: Fraction | None) -> str | None:
    return None if number is None else decimal(number)


def _ends(interval: Interval) -> dict[str, str]:
    return {
        "estimate": decimal(interval.estimate),
        "low": decimal(interval.low),
        "high": decimal(interval.high),
    }


def metrics(cases: Sequence[CaseResult]) -> dict[str, Any]:
    """Return the distributions' corner points of both sides; `pinned` is None where nobody was asked beside."""
    own = [attempt for result in cases for attempt in result.attempts]
    other = [attempt for result in cases for attempt in result.baseline]
    return {"candidate": _side(own), "pinned": _side(other) if other else None}


def _side(attempts: Sequence[Attempt]) -> Mapping[str, Any]:
    found: dict[str, Any] = {
        "requests": len(attempts),
        "without_answer": sum(attempt.trouble is not None for attempt in attempts),
    }
    for metric in _SHOWN:
        values = measurements(metric, attempts)
        found[_NAMES[metric]] = {
            "measured": len(values),
            **{
                name: None if at is None else decimal(Fraction(at, 1000)) if metric == _SHOWN[2] else at
                for name, at in (
                    ("p5", quantile(values, 0.05)),
                    ("p50", quantile(values, 0.5)),
                    ("p95", quantile(values, 0.95)),
                )
            },
        }
    return found
