"""What a suite's gate measured of one version after the other, as inline SVG."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipelines.suites.html_parts import Markup, tag
from tidegate.server.pages.svg import drawing, words

_WIDTH = 430.0  # two beside each other
_LEFT, _TOP, _HIGH = 46.0, 8.0, 78.0


@dataclass(frozen=True)
class Point:
    """What one version came to."""

    ordinal: int
    low: float
    estimate: float
    high: float
    held: bool


@dataclass(frozen=True)
class Track:
    """One gate over the versions, oldest first."""

    name: str
    points: list[Point]

    def add(self, ordinal: int, gate: Mapping[str, Any]) -> None:
        """Add what a run measured."""
        low, estimate, high = (float(gate["interval"][name]) for name in ("low", "estimate", "high"))
        self.points.append(Point(ordinal, low, estimate, high, gate["outcome"] == "HELD"))


def tracks(track: Track) -> Markup:
    """Return points with their 95% intervals, joined by a line; what did not hold is marked."""
    points = track.points
    step = (_WIDTH - _LEFT - 10) / max(len(points), 1)

    def x_of(number: int) -> float:
        return _LEFT + step * (number + 0.5)

    said = ", ".join(f"@{one.ordinal} {one.estimate:.1%}" for one in points)
    line = " ".join(
        f"{'L' if number else 'M'}{x_of(number):.1f} {_y(one.estimate):.1f}"
        for number, one in enumerate(points)
    )
    pieces: list[Markup] = [_scale(share) for share in (0.0, 0.5, 1.0)]
    pieces.append(tag("path", d=line, class_="go"))
    for number, one in enumerate(points):
        pieces.append(_point(one, x_of(number)))
    return drawing(_WIDTH, _TOP + _HIGH + 26, f"{track.name}, with 95% intervals: {said}", *pieces)


def _scale(share: float) -> Markup:
    y = _y(share)
    return tag(
        "g",
        tag("line", x1=_LEFT, y1=y, x2=_WIDTH, y2=y, class_="grid"),
        words(_LEFT - 8, y + 4, f"{share:.0%}", anchor="end"),
    )


def _point(one: Point, x: float) -> Markup:
    high, low = _y(one.high), _y(one.low)
    return tag(
        "g",
        tag("title", f"@{one.ordinal}: {one.estimate:.1%}, 95% interval {one.low:.1%} to {one.high:.1%}"),
        tag("rect", x=x - 5, y=high, width=10, height=max(low - high, 2.0), rx=3, class_="interval"),
        tag("circle", cx=x, cy=_y(one.estimate), r=4.5, class_="own" if one.held else "bad"),
        words(x, _TOP + _HIGH + 20, f"@{one.ordinal}", kind="strong", anchor="middle"),
    )


def _y(share: float) -> float:
    return _TOP + _HIGH * (1 - max(0.0, min(1.0, share)))
