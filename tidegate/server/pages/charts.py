"""Scores of a run as small charts, and where weights moved: the reports' own drawings, and bars."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipelines.suites import html_charts
from pipelines.suites.html_parts import Markup
from pipelines.suites.statistics import wilson
from pipelines.weights_beside import CHANGED, TensorBeside
from tidegate.server.pages import svg
from tidegate.server.pages.svg import Bar

_MOST_BARS = 48


@dataclass(frozen=True)
class Score:
    """One gate of a run: what was demanded, what was measured, and the picture of it."""

    metric: str
    outcome: str
    demanded: str
    measured: str
    pinned: str | None  # what the version pinned then came to, in the same run
    lost: Sequence[str]
    won: Sequence[str]
    picture: Markup | None
    difference: Markup | None


def scores(figures: Mapping[str, Any]) -> list[Score]:
    """Every gate of a validation report."""
    return [_score(gate) for gate in figures["gates"]]


def _score(gate: Mapping[str, Any]) -> Score:
    pinned = gate["pinned"] or {}
    share = gate["interval"]
    counted = f"{gate['good']} of {gate['counted']}" if share else gate["figure"] or "not measured"
    beside = f"{pinned['good']} of {pinned['counted']}" if pinned else gate["pinned_figure"]
    return Score(
        metric=gate["metric"],
        outcome=gate["outcome"],
        demanded=gate["demanded"],
        measured=counted,
        pinned=beside,
        lost=pinned.get("lost", ()),
        won=pinned.get("won", ()),
        picture=_picture(gate, beside),
        difference=_difference(gate),
    )


def _picture(gate: Mapping[str, Any], beside: str | None) -> Markup | None:
    also = f"; the version pinned then {beside}" if beside else ""
    share, pinned = gate["interval"], gate["pinned"]
    if share:
        low, estimate, high = (float(share[name]) for name in ("low", "estimate", "high"))
        said = f"{gate['metric']}: {estimate:.1%}, 95% interval {low:.1%} to {high:.1%}{also}"
        other = pinned["good"] / pinned["counted"] if pinned and pinned["counted"] else None
        least = None if gate.get("least") is None else float(gate["least"])
        return html_charts.share(low, estimate, high, least=least, pinned=other, title=said)
    if gate["figure"] is not None:
        bound = None if gate.get("bound") is None else float(gate["bound"])
        other = None if gate["pinned_figure"] is None else float(gate["pinned_figure"])
        said = f"{gate['metric']}: {gate['figure']}{also}"
        return html_charts.figure(float(gate["figure"]), bound=bound, pinned=other, title=said)
    return None


def _difference(gate: Mapping[str, Any]) -> Markup | None:
    if not gate["pinned"]:
        return None
    low, estimate, high = (float(gate["pinned"]["difference"][name]) for name in ("low", "estimate", "high"))
    margin = None if gate.get("margin") is None else float(gate["margin"])
    said = f"Difference to the version pinned then: {estimate:+.3f}, 95% interval {low:+.3f} to {high:+.3f}"
    return html_charts.difference(low, estimate, high, margin=margin, title=said)


def moved(tensors: Sequence[TensorBeside]) -> Markup | None:
    """Where the weights moved: a bar for each changed tensor whose numbers can be read, at most some dozens."""
    known = [(one, one.moved) for one in tensors if one.change == CHANGED and one.moved is not None]
    if not known:
        return None
    top = max(by for _, by in known) or 1.0
    chosen = sorted(known, key=lambda pair: -pair[1])[:_MOST_BARS]
    kept = {one.name for one, _ in chosen}
    lines = [Bar(_short(one.name), by / top, f"{by:.1%}") for one, by in known if one.name in kept]
    return svg.bars(lines, title="How far each tensor moved, in parts of its own size (root mean square)")


def _short(name: str) -> str:
    return name if len(name) <= 44 else f"…{name[-43:]}"


def interval(good: int, counted: int) -> tuple[float, float]:
    """A share's 95% interval (Wilson)."""
    found = wilson(good, counted)
    return float(found.low), float(found.high)
