"""Drawings that pages share, as inline SVG: sizes in numbers, colours by class, every drawing with its title in words.

Built on the same writer as the reports' charts, so that no text becomes markup. No attribute is a style.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from pipelines.suites.html_parts import Markup, tag
from signing.times import from_rfc3339

WIDTH = 860.0
_LABEL = 108.0  # where lanes begin
_LANE = 34.0


def drawing(width: float, height: float, title: str, *pieces: Markup | None, kind: str = "chart") -> Markup:
    """Return a whole drawing; `title` says in words what it shows."""
    return tag(
        "svg",
        tag("title", title),
        *pieces,
        viewBox=f"0 0 {width:.0f} {height:.0f}",
        width=int(width),
        height=int(height),
        role="img",
        class_=kind,
    )


def words(x: float, y: float, text: str, *, kind: str | None = None, anchor: str | None = None) -> Markup:
    """Return a text with its baseline at `y`."""
    return tag("text", text, x=x, y=y, class_=kind, text_anchor=anchor)


@dataclass(frozen=True)
class Span:
    """What a lane shows from one moment to another; `until` None: to now."""

    since: str
    until: str | None
    label: str
    kind: str = "served"


@dataclass(frozen=True)
class Lane:
    """One line of a picture over time."""

    name: str
    spans: Sequence[Span]


def lanes(lines: Sequence[Lane], now: datetime, *, title: str) -> Markup:
    """Return what stood when, a line for each tier, from the first moment to now."""
    starts = [from_rfc3339(span.since) for line in lines for span in line.spans]
    first = min(starts, default=now)
    whole = max((now - first).total_seconds(), 1.0)

    def place(moment: datetime) -> float:
        return _LABEL + (WIDTH - _LABEL) * max(0.0, min(1.0, (moment - first).total_seconds() / whole))

    pieces: list[Markup] = []
    for number, line in enumerate(lines):
        y = number * _LANE + 4
        pieces += [
            tag("rect", x=_LABEL, y=y, width=WIDTH - _LABEL, height=_LANE - 8, rx=4, class_="lane"),
            words(0, y + 17, line.name, kind="strong"),
        ]
        for span in line.spans:
            begin, end = (
                place(from_rfc3339(span.since)),
                place(from_rfc3339(span.until) if span.until else now),
            )
            pieces += _span(span, begin, max(end, begin + 3), y)
    bottom = len(lines) * _LANE + 14
    ends = (words(_LABEL, bottom, _day(first)), words(WIDTH, bottom, "now", anchor="end"))
    return drawing(WIDTH, bottom + 6, title, *pieces, *ends)


def _span(span: Span, begin: float, end: float, y: float) -> list[Markup]:
    now = " now" if span.until is None else ""
    box = _hinted(
        f"{span.label}, {span.since} to {span.until or 'now'}",
        x=begin,
        y=y,
        width=end - begin,
        height=_LANE - 8,
        rx=4,
        class_=span.kind + now,
    )
    fits = end - begin > 9 * len(span.label) + 10
    return [box, words(begin + 8, y + 17, span.label, kind="in" + now)] if fits else [box]


def _hinted(hint: str, **attributes: str | float | None) -> Markup:
    """A rectangle that says what it is when it is pointed at."""
    return tag("g", tag("title", hint), tag("rect", **attributes))


def _day(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M UTC")


@dataclass(frozen=True)
class Bar:
    """One line of a bar chart; `share` of the longest, 0 to 1."""

    name: str
    share: float
    said: str
    kind: str = "own"


def bars(lines: Sequence[Bar], *, title: str, label: float = 300.0, width: float = WIDTH) -> Markup:
    """Return horizontal bars with their names before and what they say behind them."""
    room = width - label - 90
    pieces: list[Markup] = []
    for number, line in enumerate(lines):
        y = number * 20.0
        length = max(1.5, room * min(1.0, line.share))
        pieces += [
            words(0, y + 14, line.name, kind="strong"),
            tag("rect", x=label, y=y + 4, width=length, height=12, rx=2, class_=line.kind),
            words(label + length + 8, y + 14, line.said),
        ]
    return drawing(width, len(lines) * 20 + 4, title, *pieces)


def cells(rows: Mapping[str, Sequence[float | None]], top: float, *, title: str) -> Markup:
    """Return a table of squares: the stronger, the larger the value; what has none is an outline.

    Args:
        rows: by name, the values from left to right; all of one length.
        top: the value that is drawn at full strength.
    """
    count = max((len(row) for row in rows.values()), default=0)
    label = 220.0
    wide, high = min(34.0, (WIDTH - label) / max(count, 1)), 17.0
    pieces: list[Markup] = []
    for number, (name, row) in enumerate(rows.items()):
        y = number * high
        pieces.append(words(0, y + 12, name, kind="strong"))
        for place, value in enumerate(row):
            pieces.append(
                _hinted(
                    f"{name}, layer {place}: {'not changed' if value is None else f'{value:.2%}'}",
                    x=label + place * wide,
                    y=y + 1,
                    width=wide - 2,
                    height=high - 3,
                    rx=2,
                    class_="none" if value is None else None,
                    fill_opacity=None if value is None else f"{0.08 + 0.92 * min(1.0, value / top):.2f}",
                )
            )
    bottom = len(rows) * high + 13
    ends = [
        words(label, bottom, "0"),
        words(label + count * wide - 2, bottom, f"layer {count - 1}", anchor="end"),
    ]
    return drawing(
        WIDTH, bottom + 6, title, *pieces, *(ends if count > 1 else ends[:1]), kind="chart grid-cells"
    )
