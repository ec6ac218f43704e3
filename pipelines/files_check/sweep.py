"""Reads every byte of every tensor once, on all cores, and tells which tensors hold what no weight may hold.

Workers take the next block of the next file in turn, so a disk still sees one file read from front to back; reading
and numpy's work on a block both leave the interpreter free for the other worker. Memory is one block per worker.
"""

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

from pipelines.files_check.finite import Form, Spoiled, forms_of, locate, numbers, one_value, spoiled
from pipelines.files_check.values import Progress
from pipelines.scan.gguf import TYPES
from pipelines.scan.safetensors import BITS

BLOCK = (
    4 << 20
)  # bytes read at once: much smaller, and the workers wait for each other; larger, and for memory
MAX_WORKERS = 4  # more wait for memory, not for a core
# Type: bytes that belong together. A block never ends inside one.
_GRAIN = {name: max(1, bits // 8) for name, bits in BITS.items()} | {
    name: size for name, _, size in TYPES.values()
}


@dataclass(frozen=True, slots=True)
class Part:
    """One tensor to be read: `begin` and `end` are bytes from the start of the file that `file` names by number."""

    file: int
    name: str
    dtype: str
    begin: int
    end: int


@dataclass
class Seen:
    """What became of one tensor. `value`: the one that all numbers so far have; `varies` once two differ."""

    nans: int = 0
    infinities: int = 0
    first: int | None = None  # number of the first that is not finite
    value: int | None = None
    varies: bool = False


class CutShort(OSError):
    """A file ended before its tensors did: it changed since its header was read."""


@dataclass(frozen=True, slots=True)
class _Piece:
    part: int
    begin: int  # in the file
    size: int


def workers() -> int:
    """How many blocks are worked on at once."""
    return max(1, min(os.cpu_count() or 1, MAX_WORKERS))


def sweep(
    opens: Sequence[Callable[[], BinaryIO]],
    parts: Sequence[Part],
    *,
    progress: Progress,
    crew: int | None = None,
) -> list[Seen]:
    """Read all parts and return what was seen of each, in their order.

    Args:
        opens: one per file; each worker opens its own stream.
        progress: called with the bytes of each block, from one thread at a time.

    Raises:
        OSError: a stream could not be opened or read, or is shorter than its tensors (`CutShort`).
    """
    job = _Sweep(opens, parts, progress)
    threads = [threading.Thread(target=job.work, name=f"sweep-{n}") for n in range(1, crew or workers())]
    for thread in threads:
        thread.start()
    try:
        job.work()
    finally:
        job.stop.set()  # when this worker was interrupted, the others need not go on
        for thread in threads:
            thread.join()
    if job.trouble:
        raise job.trouble[0]
    return job.seen


class _Sweep:
    def __init__(
        self, opens: Sequence[Callable[[], BinaryIO]], parts: Sequence[Part], progress: Progress
    ) -> None:
        self.seen = [Seen() for _ in parts]
        self.stop = threading.Event()
        self.trouble: list[OSError] = []
        self._opens, self._parts, self._progress = opens, parts, progress
        self._next = _blocks(parts)
        self._lock = threading.Lock()

    def work(self) -> None:
        """Take blocks until there are none."""
        import numpy as np  # noqa: PLC0415 - only who reads weights needs it

        buffer = np.empty(BLOCK, np.uint8)
        stream: BinaryIO | None = None
        current = -1
        try:
            while (block := self._take()) is not None:
                if self._parts[block[0].part].file != current:
                    if stream is not None:
                        stream.close()
                    current = self._parts[block[0].part].file
                    stream = self._opens[current]()
                assert stream is not None
                self._read(stream, block, buffer)
        except OSError as exc:
            self.trouble.append(exc)
            self.stop.set()
        finally:
            if stream is not None:
                stream.close()

    def _take(self) -> list[_Piece] | None:
        with self._lock:
            return None if self.stop.is_set() else next(self._next, None)

    def _read(self, stream: BinaryIO, block: list[_Piece], buffer: Any) -> None:
        begin, size = block[0].begin, block[-1].begin + block[-1].size - block[0].begin
        stream.seek(begin)
        _fill(stream, memoryview(buffer)[:size])
        for piece in block:
            self._judge(piece, buffer[piece.begin - begin : piece.begin - begin + piece.size])
        with self._lock:
            self._progress(sum(piece.size for piece in block))

    def _judge(self, piece: _Piece, data: Any) -> None:
        part, seen = self._parts[piece.part], self.seen[piece.part]
        forms = forms_of(part.dtype)
        for form in forms:
            values = numbers(data, form)
            if spoiled(values, form.float):
                with self._lock:
                    _note(seen, locate(values, form.float), (piece.begin - part.begin) // form.stride)
        if not seen.varies:
            value = _common(data, forms)
            with self._lock:
                if value is None or seen.value not in (None, value):
                    seen.varies = True
                seen.value = value


def _common(data: Any, forms: tuple[Form, ...]) -> int | None:
    """Return the one value of a piece, or None. Of quantised blocks: 0 when every scale is 0, else None."""
    if len(forms) == 1 and forms[0].stride == forms[0].float.width:
        return one_value(numbers(data, forms[0]))
    if not forms:
        return one_value(data)
    return 0 if all(one_value(numbers(data, form)) == 0 for form in forms) else None


def _note(seen: Seen, found: Spoiled, offset: int) -> None:
    seen.nans += found.nans
    seen.infinities += found.infinities
    seen.first = min(offset + found.first, seen.first if seen.first is not None else offset + found.first)


def _fill(stream: BinaryIO, view: memoryview) -> None:
    done = 0
    while done < len(view):
        count = stream.readinto(view[done:])  # type: ignore[attr-defined] # every binary stream has it
        if not count:
            raise CutShort(0, "ends before its last tensor")
        done += count


def _blocks(parts: Sequence[Part]) -> Iterator[list[_Piece]]:
    """Yield what is read at once: neighbours together, large tensors in pieces that split no number."""
    block: list[_Piece] = []
    for number, part in enumerate(parts):
        grain = _GRAIN[part.dtype]
        most = BLOCK // grain * grain
        for begin in range(part.begin, part.end, most):
            piece = _Piece(number, begin, min(most, part.end - begin))
            if block and not _joins(block, piece, parts):
                yield block
                block = []
            block.append(piece)
    if block:
        yield block


def _joins(block: list[_Piece], piece: _Piece, parts: Sequence[Part]) -> bool:
    """Whether a piece follows in the same file, all within one read and padding apart at most."""
    last = block[-1]
    return (
        parts[last.part].file == parts[piece.part].file
        and last.begin + last.size <= piece.begin
        and piece.begin + piece.size - block[0].begin <= BLOCK
    )
