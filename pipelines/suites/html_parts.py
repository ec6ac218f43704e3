"""Writing HTML so that no text can become markup: a text is escaped unless it is `Markup`, and only `tag` makes that.

Everything that a model, an engine or a suite said goes through here. Characters that are invisible or that turn
the reading direction are shown by their number, so that a transcript reads as it is.
"""

import html
import re

_HIDDEN = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff]"
)
_VOID = frozenset({"meta", "br", "line", "rect", "circle", "path"})


class Markup(str):
    """A piece of HTML that is finished."""

    __slots__ = ()


Piece = str | int | Markup | None


def escaped(text: str) -> Markup:
    """Return a text as HTML shows it, hidden characters made visible."""
    shown = html.escape(text, quote=True)
    return Markup(_HIDDEN.sub(lambda match: f'<span class="odd">U+{ord(match[0]):04X}</span>', shown))


def joined(*pieces: Piece) -> Markup:
    """Return pieces one after the other; texts and numbers escaped, None left out."""
    return Markup(
        "".join(
            piece if isinstance(piece, Markup) else escaped(str(piece))
            for piece in pieces
            if piece is not None
        )
    )


def tag(name: str, /, *pieces: Piece, **attributes: str | float | None) -> Markup:
    """Return an element. An attribute's trailing `_` falls away and `_` is `-` otherwise; None leaves it out."""
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(_attribute(value), quote=True)}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in _VOID:
        return Markup(f"<{name}{written}/>")
    return Markup(f"<{name}{written}>{joined(*pieces)}</{name}>")


def _attribute(value: str | float) -> str:
    text = f"{value:.1f}" if isinstance(value, float) else str(value)
    return _HIDDEN.sub("\ufffd", text)


def rows(*lines: Markup) -> Markup:
    """Return elements one below the other."""
    return Markup("\n".join(lines))


def table(headings: tuple[str, ...], lines: list[Markup], *, class_: str | None = None) -> Markup:
    """Return a table of finished rows."""
    head = tag("tr", *(tag("th", heading, scope="col") for heading in headings))
    return tag(
        "div",
        tag("table", tag("thead", head), tag("tbody", rows(*lines)), class_=class_),
        class_="wide",
    )
