"""Scores of a run as small charts, and where weights moved: the reports' own drawings, and bars."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipelines.suites import html_charts
from pipelines.suites.html_parts import Markup, joined
from pipelines.weights_beside import CHANGED, TensorBeside
from tidegate.server.pages import svg
from tidegate.server.pages.svg import Bar

_MOST_BARS = 24
_MOST_LAYERS = 256
_LAYER = re.compile(r"((?:[\w.]+\.)?(?:layers|blk|h|blocks)\.)([0-9]{1,4})\.(.+)", re.ASCII)


@dataclass(frozen=True)
class Score:
    """One gate of a run: what was demanded, what was measured, and the picture of it."""

    metric: str
    outcome: str
    share: str | None  # the estimate in per cent
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
        share=f"{float(share['estimate']):.1%}" if share else None,
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
    """Where the weights moved: layers across, kinds of tensors down, and a bar for each tensor outside the layers.

    Of a version in two formats only the one with more tensors is drawn: the other holds the same weights.
    """
    known = {
        _name(one.name): one.moved
        for one in _one_format(tensors)
        if one.change == CHANGED and one.moved is not None
    }
    if not known:
        return None
    top = max(known.values()) or 1.0
    cells: dict[str, dict[int, float]] = {}
    rest: list[Bar] = []
    for name, by in known.items():
        match = _LAYER.fullmatch(name)
        if match:
            cells.setdefault(match[3], {})[int(match[2])] = by
        elif len(rest) < _MOST_BARS:
            rest.append(Bar(_short(name), by / top, f"{by:.1%}"))
    layers = max((layer for row in cells.values() for layer in row), default=-1) + 1
    drawn = []
    if 0 < layers <= _MOST_LAYERS:
        rows = {
            _short(kind): [row.get(layer) for layer in range(layers)] for kind, row in sorted(cells.items())
        }
        drawn.append(
            svg.cells(rows, top, title=f"How far each tensor of {layers} layers moved, at most {top:.1%}")
        )
    if rest:
        drawn.append(svg.bars(rest, title="How far each tensor outside the layers moved"))
    return joined(*drawn) if drawn else None


def _one_format(tensors: Sequence[TensorBeside]) -> Sequence[TensorBeside]:
    groups: dict[str, list[TensorBeside]] = {}
    for one in tensors:
        groups.setdefault(one.name.partition(": ")[0] if ": " in one.name else "", []).append(one)
    return max(groups.values(), key=len, default=[])


def _name(name: str) -> str:
    return name.rpartition(": ")[2]


def _short(name: str) -> str:
    return name if len(name) <= 36 else f"…{name[-35:]}"
