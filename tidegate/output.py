"""What a command prints: text for people, one JSON document for programs, progress on stderr.

It goes to the terminal, or to whoever runs the command for somebody elsewhere (`Kept`): never to the process's own
output by another way, so that commands of several people can run in one process and none sees another's words.
"""

import json
import shutil
import sys
import textwrap
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import click

from signing.errors import OperatorError

SHORT = 12  # hex digits of a digest shown to people


class Sink:
    """Where the words of a command go: to the terminal."""

    quiet = False  # whether nobody watches while it works

    def echo(self, text: str, *, err: bool, nl: bool) -> None:
        """Take words that stand before or beside the answer."""
        click.echo(text, err=err, nl=nl)

    def show(self, document: Any, text: str, *, as_json: bool) -> None:
        """Take the answer, in both its forms."""
        self.echo(_json(document, sort_keys=True) if as_json else plain(text), err=False, nl=True)


class Kept(Sink):
    """Keeps the words of one command for whoever asked for it from elsewhere."""

    quiet = True

    def __init__(self) -> None:
        self.document: Any = None
        self.preface, self.notes = "", ""  # what stood before the answer, and what went to stderr
        self.text: str | None = None  # the answer for people; None: nothing was shown

    def echo(self, text: str, *, err: bool, nl: bool) -> None:
        words = text + ("\n" if nl else "")
        if err:
            self.notes += words
        else:
            self.preface += words

    def show(self, document: Any, text: str, *, as_json: bool) -> None:
        self.document, self.text = document, plain(text)


# Per thread and task: a command's words go where that command was begun.
_sink: ContextVar[Sink] = ContextVar("sink", default=Sink())  # noqa: B039 - the terminal has no state


@contextmanager
def to(sink: Sink) -> Iterator[None]:
    """Let the words of the block go there."""
    before = _sink.set(sink)
    try:
        yield
    finally:
        _sink.reset(before)


def say(text: str, *, err: bool = False, nl: bool = True) -> None:
    """Print words beside the answer of a command."""
    _sink.get().echo(text, err=err, nl=nl)


class Bar:
    """Bytes done, rate and time left, on stderr; shown only once the work has taken a second.

    Called from several threads with the bytes just done. On something that is no terminal it says one line
    every ten seconds, so that a log shows that the work goes on.
    """

    def __init__(self, label: str, total: int | None) -> None:
        self.label, self.total, self.done = label, total, 0
        self._lock = threading.Lock()
        self._began = time.monotonic()
        self._terminal = sys.stderr.isatty()
        self._next = float("inf") if _sink.get().quiet else self._began + 1
        self._shown = False

    def __call__(self, count: int) -> None:
        with self._lock:
            self.done += count
            now = time.monotonic()
            if now >= self._next:
                self._next = now + (0.2 if self._terminal else 10)
                self._show(now)

    def expect(self, total: int) -> None:
        """Say how many bytes there are in all, once that is known."""
        self.total = total

    def finish(self) -> None:
        """Leave the line."""
        if self._shown and self._terminal:
            click.echo("", err=True)

    def _show(self, now: float) -> None:
        self._shown = True
        rate = self.done / (now - self._began)
        text = f"{self.label}: {size(self.done)}"
        if self.total:
            left = max(0, self.total - self.done) / rate if rate else 0
            text += f" of {size(self.total)}, {size(int(rate))}/s, {duration(left)} left"
        else:
            text += f", {size(int(rate))}/s"
        click.echo(f"\r{text:<72}" if self._terminal else text, err=True, nl=not self._terminal)


@contextmanager
def progress(label: str, total: int | None = None) -> Iterator[Bar]:
    """A bar for the time of a block."""
    bar = Bar(label, total)
    try:
        yield bar
    finally:
        bar.finish()


def size(count: int) -> str:
    """1,234 bytes as people say it: decimal units, as media are sold."""
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.2f} TB"


def duration(seconds: float) -> str:
    """Seconds as people say them."""
    whole = int(seconds + 0.5)
    if whole < 60:
        return f"{whole} s"
    return (
        f"{whole // 60} min {whole % 60} s" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60} min"
    )


def spoken(fingerprint: str) -> str:
    """64 hex digits in groups of eight, as two people read them to each other."""
    return " ".join(fingerprint[at : at + 8] for at in range(0, len(fingerprint), 8))


def table(headings: Sequence[str], rows: Iterable[Sequence[object]], *, empty: str) -> str:
    """Columns as wide as they need to be; `empty` says what to do when there is nothing."""
    lines = [[str(cell) for cell in row] for row in rows]
    if not lines:
        return empty
    widths = [max(len(line[column]) for line in [list(headings), *lines]) for column in range(len(headings))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in [[heading.upper() for heading in headings], *lines]
    )


# Control characters, marks of direction and letters that are not seen: what came from a medium, an engine or an
# argument must not steer the reader's terminal, nor show a sentence in another order than it has.
_STEERING = [code for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\t"]
_HIDDEN = (0x61C, 0xFEFF, *range(0x200B, 0x2010), *range(0x2028, 0x202F), *range(0x2060, 0x206A))
_UNSEEN = {code: f"\\x{code:02x}" for code in _STEERING} | {code: f"\\u{code:04x}" for code in _HIDDEN}
_UNSEEN_IN_JSON = {
    code: f"\\u{code:04x}" for code in (*range(127, 160), *_HIDDEN)
}  # the others JSON escapes itself


def plain(text: str) -> str:
    """The text with control characters spelled out, and what no terminal can encode replaced."""
    return text.translate(_UNSEEN).encode(errors="replace").decode()


def show(document: Any, text: str, *, as_json: bool) -> None:
    """Print the one or the other."""
    _sink.get().show(document, text, as_json=as_json)


def show_refusal(refusal: OperatorError, *, as_json: bool) -> None:
    """Say what was refused and what to do next, on stderr."""
    name = type(refusal).__name__
    show_refused(name, str(refusal), refusal.next_step, refusal.exit_code, as_json=as_json)


def show_refused(name: str, message: str, next_step: str, exit_code: int, *, as_json: bool) -> None:
    """The same of a refusal that was made elsewhere."""
    if as_json:
        document = {"refused": name, "message": message, "next_step": next_step, "exit_code": exit_code}
        click.echo(_json(document, sort_keys=False), err=True)
    else:
        click.echo(
            plain(f"{_folded('Refused: ', message)}\n{_folded('Next:    ', next_step)}"),
            err=True,
        )


def _json(document: Any, *, sort_keys: bool) -> str:
    return json.dumps(document, ensure_ascii=False, indent=2, sort_keys=sort_keys).translate(_UNSEEN_IN_JSON)


def _folded(heading: str, text: str) -> str:
    """A paragraph as wide as the terminal, its further lines below the first; a log gets whole lines."""
    if not sys.stderr.isatty():
        return heading + text
    width, indent = max(40, shutil.get_terminal_size().columns), " " * len(heading)
    first, *others = text.split("\n")
    lines = textwrap.wrap(
        first, width, initial_indent=heading, subsequent_indent=indent, break_long_words=False
    )
    return "\n".join([*lines, *others])
