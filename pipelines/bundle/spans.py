"""What a blob is made of: tensors in the order of their bytes, and the bytes around them.

Apart from the scan, which judges a file: here a file is never refused. What is not a whole, strict safetensors or
GGUF file is one span of plain bytes, and it travels as such. The layout only proposes where to cut and what to
compare; whatever it says, the spans cover the blob and no decoder depends on it.
"""

import io
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from pipelines.encodings.names import UNITS
from pipelines.scan import gguf, safetensors
from pipelines.scan.errors import MalformedGguf, MalformedSafetensors

BYTES = "bytes"  # the unit of what has no numbers in it that we know
FEW = 1000  # spans, however small, that are worth looking at one by one
# Bytes of a span, on average, where there are more: a publisher could make one of every byte.
LEAST_MEAN = 4096

_SAFETENSORS = {"BF16": "bf16", "F16": "f16", "F32": "f32", "I8": "u8", "U8": "u8"} | {
    dtype: "u8" for dtype in safetensors.BITS if dtype.startswith("F8_")
}
_GGUF = {kind: kind.lower() for kind, _elements, _size in gguf.TYPES.values() if kind.lower() in UNITS}


class Source(Protocol):
    """Bytes that can be read from any place, by several threads at once."""

    @property
    def size(self) -> int:
        """All bytes."""

    def read_into(self, view: memoryview, offset: int) -> None:
        """Fill `view` from `offset` on. Raises `OSError`, or `EOFError` when the bytes end before."""


class FileSource:
    """A blob's file, open for reading; `size` is that of the file when it was opened."""

    def __init__(self, path: str | Path) -> None:
        self._descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        self._size = os.fstat(self._descriptor).st_size

    @property
    def size(self) -> int:
        return self._size

    def read_into(self, view: memoryview, offset: int) -> None:
        while view:
            count = os.preadv(self._descriptor, [view], offset)
            if not count:
                raise EOFError(f"the file ends before byte {offset + len(view)}")
            view, offset = view[count:], offset + count

    def close(self) -> None:
        """Close the file; once more does nothing."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@dataclass(frozen=True, slots=True)
class Span:
    """`size` bytes at `offset`: one tensor, or with name "" a header, padding or anything else.

    `shape` counts rows first, whatever the format's own order is. `unit` names what the bytes consist of; `size` is
    a multiple of the unit's bytes.
    """

    offset: int
    size: int
    unit: str
    name: str = ""
    shape: tuple[int, ...] = ()


def spans(source: Source) -> list[Span]:
    """Return what covers the blob from its first byte to its last, in order, nothing of it empty.

    The header with its length, and padding, are spans of bytes without a name. A file in another format, or one
    that breaks its format anywhere, is a single one of these.

    Raises:
        OSError, EOFError: from the source. Nothing because of what the bytes are.
    """
    try:
        tensors = _tensors(source)
    except (MalformedSafetensors, MalformedGguf):
        tensors = []
    return list(_covering(tensors, source.size))


def worthwhile(source: Source) -> list[Span]:
    """Return the spans, or one span of bytes for a blob that is cut into crumbs: they cost more than they save.

    Raises: as `spans`.
    """
    found = spans(source)
    crumbs = len(found) > FEW + source.size // LEAST_MEAN
    return [Span(0, source.size, BYTES)] if crumbs else found


def _tensors(source: Source) -> list[Span]:
    stream = io.BufferedReader(_Stream(source))
    if stream.peek(len(gguf.MAGIC)).startswith(gguf.MAGIC):
        found = gguf.read_header(stream, source.size)
        return [
            Span(found.data_start + t.begin, t.end - t.begin, _GGUF.get(t.type, BYTES), t.name, t.shape[::-1])
            for t in found.tensors
        ]
    header = safetensors.read_header(stream, source.size)
    return [
        Span(header.data_start + t.begin, t.end - t.begin, _SAFETENSORS.get(t.dtype, BYTES), t.name, t.shape)
        for t in header.tensors
    ]


def _covering(tensors: Iterable[Span], size: int) -> Iterator[Span]:
    """The tensors, in order and apart as the readers promise, with what lies before, between and behind them."""
    reached = 0
    for tensor in tensors:
        if tensor.size:
            if tensor.offset > reached:
                yield Span(reached, tensor.offset - reached, BYTES)
            yield tensor
            reached = tensor.offset + tensor.size
    if size > reached:
        yield Span(reached, size - reached, BYTES)


class _Stream(io.RawIOBase):
    """A source as the header readers take it."""

    def __init__(self, source: Source) -> None:
        self._source, self._position = source, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count = min(len(buffer), max(self._source.size - self._position, 0))
        if count:
            self._source.read_into(memoryview(buffer)[:count], self._position)
        self._position += count
        return count

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._position = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._position}[whence]
        return self._position
