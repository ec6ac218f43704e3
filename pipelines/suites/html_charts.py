"""Small drawings for the report, as inline SVG: an interval on its scale, a difference around zero, a distribution.

Colours are classes of the page's style, so that both colour schemes are served; every drawing has a title that
says the same in words.
"""

import math
from collections.abc import Sequence

from pipelines.suites.html_parts import Markup, joined, tag

WIDTH, MARGIN = 340.0, 14.0
BINS = 30


def _svg(height: float, title: str, *pieces: Markup) -> Markup:
    return tag(
        "svg",
        tag("title", title),
        *pieces,
        viewBox=f"0 0 {WIDTH:.0f} {height:.0f}",
        width=int(WIDTH),
        height=int(height),
        role="img",
    )


def _scale(low: float, high: float, value: float) -> float:
    inside = min(max(value, low), high)
    return MARGIN + (WIDTH - 2 * MARGIN) * (inside - low) / (high - low or 1)


def _axis(low: float, high: float, y: float, marks: Sequence[tuple[float, str]]) -> Markup:
    line = tag("line", x1=MARGIN, x2=WIDTH - MARGIN, y1=y, y2=y, class_="axis")
    labels = [
        tag(
            "text",
            text,
            x=_scale(low, high, value),
            y=y + 17,
            class_="mark",
            text_anchor=_anchor(low, high, value),
        )
        for value, text in marks
    ]
    return joined(line, *labels)


def _anchor(low: float, high: float, value: float) -> str:
    place = _scale(low, high, value)
    return "start" if place < MARGIN + 8 else "end" if place > WIDTH - MARGIN - 8 else "middle"


def _limit(x: float, y: float) -> Markup:
    return tag("line", x1=x, x2=x, y1=y - 9, y2=y + 7, class_="limit")


def share(
    low: float, estimate: float, high: float, *, least: float | None, pinned: float | None, title: str
) -> Markup:
    """Return a share with its interval, what is demanded as a line, and the pinned version's share as a ring.

    The scale ends at 1 and begins at a tenth below everything that is shown; its ends are labelled.
    """
    lowest = min(low, estimate, *(one for one in (least, pinned) if one is not None))
    start, y = max(0.0, math.floor(lowest * 10 - 0.01) / 10), 14.0
    ends = [(start, f"{start:.1f}"), (1.0, "1")]
    if least is not None and 0.1 < (least - start) / (1 - start) < 0.9:
        ends.append((least, f"{least:g}"))
    bar = tag(
        "rect",
        x=_scale(start, 1, low),
        y=y - 4,
        width=max(1.0, _scale(start, 1, high) - _scale(start, 1, low)),
        height=8,
        rx=4,
        class_="interval",
    )
    limit = None if least is None else _limit(_scale(start, 1, least), y)
    ring = None if pinned is None else tag("circle", cx=_scale(start, 1, pinned), cy=y, r=6, class_="pinned")
    dot = tag("circle", cx=_scale(start, 1, estimate), cy=y, r=4, class_="own")
    drawn = joined(_axis(start, 1, y, ends), bar, limit, ring, dot)
    return _svg(34, title, drawn)


def difference(low: float, estimate: float, high: float, *, margin: float | None, title: str) -> Markup:
    """Return candidate minus pinned with its interval around zero, and the margin as a line."""
    reach = max(abs(low), abs(high), (margin or 0) * 1.4, 0.02)
    y = 14.0
    bar = tag(
        "rect",
        x=_scale(-reach, reach, low),
        y=y - 4,
        width=max(1.0, _scale(-reach, reach, high) - _scale(-reach, reach, low)),
        height=8,
        rx=4,
        class_="interval",
    )
    zero = tag("line", x1=WIDTH / 2, x2=WIDTH / 2, y1=y - 7, y2=y + 7, class_="zero")
    limit = None if margin is None else _limit(_scale(-reach, reach, -margin), y)
    dot = tag("circle", cx=_scale(-reach, reach, estimate), cy=y, r=4, class_="own")
    marks = [(-reach, f"{-reach:+.2f}"), (0.0, "level"), (reach, f"{reach:+.2f}")]
    return _svg(34, title, joined(_axis(-reach, reach, y, marks), zero, bar, limit, dot))


def figure(value: float, *, bound: float | None, pinned: float | None, title: str) -> Markup:
    """Return a figure from 0 on, what is demanded as a line, and the pinned version's as a ring."""
    top = 1.15 * max(value, bound or 0, pinned or 0, 1e-9)
    y = 14.0
    bar = tag(
        "rect", x=MARGIN, y=y - 4, width=_scale(0, top, value) - MARGIN, height=8, rx=4, class_="interval"
    )
    limit = None if bound is None else _limit(_scale(0, top, bound), y)
    ring = None if pinned is None else tag("circle", cx=_scale(0, top, pinned), cy=y, r=6, class_="pinned")
    dot = tag("circle", cx=_scale(0, top, value), cy=y, r=4, class_="own")
    return _svg(34, title, joined(_axis(0, top, y, [(0, "0"), (top, _short(top))]), bar, limit, ring, dot))


def distribution(own: Sequence[float], other: Sequence[float], *, unit: str, title: str) -> Markup:
    """Return how often each value was measured: this version above the line, the pinned one below it.

    The highest hundredth is drawn into the last bar, so that one slow request does not hide all others.
    """
    everything = sorted([*own, *other])
    top = everything[max(0, math.ceil(len(everything) * 0.99) - 1)] or 1.0
    y, tall = 46.0, 40.0
    above, below = _bins(own, top), _bins(other, top)
    most = max(*above, *below, 1)
    step = (WIDTH - 2 * MARGIN) / BINS
    bars = [
        tag(
            "rect",
            x=MARGIN + number * step + 0.5,
            y=y - tall * count / most if up else y,
            width=step - 1,
            height=tall * count / most,
            class_="own" if up else "other",
        )
        for up, counts in ((True, above), (False, below))
        for number, count in enumerate(counts)
        if count
    ]
    height = 2 * tall + 24 if other else tall + 24
    base = y + (tall + 2 if other else 0)
    line = tag("line", x1=MARGIN, x2=WIDTH - MARGIN, y1=y, y2=y, class_="axis")
    labels = [
        tag("text", text, x=x, y=base + 13, class_="mark", text_anchor=anchor)
        for text, x, anchor in (("0", MARGIN, "start"), (f"{_short(top)} {unit}", WIDTH - MARGIN, "end"))
    ]
    return _svg(height, title, joined(*bars, line, *labels))


def _short(value: float) -> str:
    """Three figures, never with an exponent where people read times."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _bins(values: Sequence[float], top: float) -> list[int]:
    counts = [0] * BINS
    for value in values:
        counts[min(BINS - 1, int(value / top * BINS))] += 1
    return counts
