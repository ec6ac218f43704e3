"""Bounded reading of bytes that nobody vouches for yet: a cursor, JSON within a budget, safe quoting.

Everything here costs memory in proportion to a limit of ours, never to a number that the file states.
"""

import unicodedata
from typing import Any, BinaryIO

from pipelines.scan.errors import MalformedDocument
from signing import canonical

BLOCK = 64 << 10  # bytes read at once
MAX_QUOTE = 160  # characters of foreign text shown in a message

# A JSON value starts with an opening bracket or follows one or a comma. Counting these three bytes bounds the
# number of values before the parser builds them: Python spends at most about 200 bytes on each.
MAX_JSON_VALUES = 1_000_000


class EndOfFile(Exception):
    """A read would pass the end of the file. An internal signal: each reader turns it into its refusal."""


class Cursor:
    """A forward reader over `size` bytes that refuses, before allocating, to go past their end."""

    def __init__(self, stream: BinaryIO, size: int) -> None:
        self._stream, self.size = stream, size
        self._buffer, self._used = b"", 0
        self.position = 0  # bytes consumed

    @property
    def remaining(self) -> int:
        return self.size - self.position

    def take(self, count: int) -> bytes:
        """Return exactly `count` bytes. Raises `EndOfFile`, also when the stream is shorter than stated."""
        if count > self.remaining:
            raise EndOfFile
        parts, missing = [], count
        while missing:
            if self._used == len(self._buffer):
                self._fill(missing)
            piece = self._buffer[self._used : self._used + missing]
            self._used += len(piece)
            missing -= len(piece)
            parts.append(piece)
        self.position += count
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def skip(self, count: int) -> None:
        """Pass over `count` bytes without keeping them. Raises `EndOfFile`."""
        if count > self.remaining:
            raise EndOfFile
        ahead = len(self._buffer) - self._used
        if count <= ahead:
            self._used += count
        elif self._stream.seekable():
            self._stream.seek(count - ahead, 1)
            self._buffer, self._used = b"", 0
        else:
            missing = count
            while missing:
                step = min(missing, BLOCK)
                self.take(step)
                missing -= step
            return
        self.position += count

    def _fill(self, wanted: int) -> None:
        self._buffer, self._used = self._stream.read(max(BLOCK, min(wanted, 1 << 20))), 0
        if not self._buffer:
            raise EndOfFile


def read_at_most(stream: BinaryIO, limit: int) -> bytes:
    """Return up to `limit` bytes from here on, however little each read of the stream gives."""
    parts, missing = [], limit
    while missing and (piece := stream.read(min(missing, 1 << 20))):
        parts.append(piece)
        missing -= len(piece)
    return b"".join(parts)


def parse_json(data: bytes, *, max_bytes: int) -> Any:
    """Return the value of a model's JSON bytes.

    Stricter than JSON readers are: UTF-8 only (a general parser also takes UTF-16 and a byte order mark, and then
    two programs may read two documents), no NUL, a key once, bounded depth and number of values.

    Raises:
        MalformedDocument: with the reason.
    """
    if len(data) > max_bytes:
        raise MalformedDocument(f"more than {max_bytes} bytes", at="document")
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as exc:
        raise MalformedDocument("not UTF-8", at=f"byte {exc.start}") from exc
    if b"\0" in data or data.startswith(b"\xef\xbb\xbf"):
        raise MalformedDocument("a NUL byte or a byte order mark stands in it", at="document")
    values = data.count(b",") + data.count(b"[") + data.count(b"{")
    if values > MAX_JSON_VALUES:
        raise MalformedDocument(f"more than {MAX_JSON_VALUES} values", at="document")
    try:
        return canonical.parse(data, max_bytes=max_bytes)
    except canonical.NotCanonical as exc:
        raise MalformedDocument(quoted(exc.problem, quotes=False), at="document") from exc


def quoted(text: str, *, limit: int = MAX_QUOTE, quotes: bool = True) -> str:
    """Return foreign text fit for a terminal, a page and canonical JSON.

    Control characters, direction marks, unassigned code points and halves of surrogate pairs become escapes, so
    that a file name or a template cannot rewrite the message that warns of it. Long text is cut.
    """
    shown = "".join(letter if _plain(letter) else _escape(letter) for letter in text[:limit])
    shown += "…" if len(text) > limit else ""
    return f"'{shown}'" if quotes else shown


def _plain(letter: str) -> bool:
    return letter == " " or unicodedata.category(letter)[0] not in "CZ"


def _escape(letter: str) -> str:
    number = ord(letter)
    return (
        f"\\x{number:02x}"
        if number < 0x100
        else f"\\u{number:04x}"
        if number < 0x10000
        else f"\\U{number:08x}"
    )
