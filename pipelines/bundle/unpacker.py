"""Turns the parts of a blob back into bytes: the other way round from `packer`.

A chunk that holds frames is read, hashed and found to be what its name says before any of it is decoded, and one such
chunk of a blob is in memory at a time. Raw bytes and references are moved as they are.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path

from pipelines.bundle import tables
from pipelines.bundle.crew import Spare, scratch
from pipelines.bundle.errors import MalformedBundle
from pipelines.bundle.lanes import Unreadable
from pipelines.bundle.shelf import Shelf, Spot, first_good, read_at
from pipelines.bundle.tables import RAW, REFERENCE, Part, Table
from pipelines.encodings.names import FrameMalformed
from registry.errors import BlobDamaged

PIECE = 4 << 20  # bytes of raw parts and references that are moved at once


@dataclass(frozen=True)
class Stock:
    """What blobs are made from: the table of their parts, the stored files, the held blobs."""

    table: Table
    shelf: Shelf
    held: Callable[[str], Path]  # where a held blob's bytes are


def pieces(part: Part) -> Iterator[Part]:
    """Cut what is not decoded into pieces; a frame is one piece."""
    if part.encoding not in (RAW, REFERENCE):
        yield part
        return
    for done in range(0, part.size, PIECE):
        size = min(PIECE, part.size - done)
        raw = part.encoding == RAW
        yield Part(
            size,
            part.encoding,
            None,
            part.chunk,
            part.at + done * raw,
            size * raw,
            part.base,
            part.start + done,
        )


def runs(parts: Sequence[Part]) -> Iterator[tuple[Part, bool]]:
    """Yield each part, and whether it is a frame after which the next frame lies in another chunk.

    One chunk is in memory at a time: one that the frames come back to is read again (`tables` bounds how often).
    """
    framed = [number for number, part in enumerate(parts) if part.encoding not in (RAW, REFERENCE)]
    following = dict(pairwise(framed))
    for number, part in enumerate(parts):
        after = following.get(number)
        yield part, after is None or parts[after].chunk != part.chunk


Spent = tuple[bytearray, bytearray | None]  # buffers of a piece, and of a chunk after its last piece


class Unpacker:
    """Hands the parts of a blob to the crew, with each chunk of frames read and hashed before its first frame."""

    def __init__(self, stock: Stock, crew: ThreadPoolExecutor, spare: Spare) -> None:
        self._stock, self._crew, self._spare = stock, crew, spare
        self._loaded = Spare(tables.COMPACT_CHUNK)

    def steps(self, parts: Sequence[Part]) -> Iterator[Callable[[], tuple[memoryview, Spent]]]:
        """Yield a job for each piece, in order. The jobs raise `Unreadable`."""
        loading: Future[bytearray] | None = None
        for part, ends in runs(parts):
            if part.encoding in (RAW, REFERENCE):
                for piece in pieces(part):
                    yield partial(self._plain, piece)
                continue
            # Submitted before the jobs that wait for it, to a crew that works in order: nobody waits for ever.
            loading = loading or self._crew.submit(self._load, part.chunk)
            yield partial(self._frame, part, loading, ends=ends)
            loading = None if ends else loading

    def give_back(self, spent: Spent) -> None:
        """Take back the buffers that a job used."""
        self._spare.give(spent[0])
        self._loaded.give(spent[1])

    def _load(self, number: int) -> bytearray:
        buffer = self._loaded.take()
        first_good(self._stock.shelf, self._stock.table.chunks[number], buffer)
        return buffer

    def _frame(self, part: Part, loading: "Future[bytearray]", *, ends: bool) -> tuple[memoryview, Spent]:
        buffer, stored = self._spare.take(), loading.result()
        view = bytes_of(self._stock, part, memoryview(stored), None, buffer)
        return view, (buffer, stored if ends else None)

    def _plain(self, piece: Part) -> tuple[memoryview, Spent]:
        buffer, spot = self._spare.take(), None
        if piece.chunk >= 0:
            spot = self._stock.shelf.spots(self._stock.table.chunks[piece.chunk].chunk)[0]
        return bytes_of(self._stock, piece, None, spot, buffer), (buffer, None)


def bytes_of(
    stock: Stock, piece: Part, stored: memoryview | None, spot: Spot | None, buffer: bytearray
) -> memoryview:
    """Return the bytes that a piece gives, in `buffer`. Raises `Unreadable`."""
    view = memoryview(buffer)[: piece.size]
    if piece.encoding == REFERENCE:
        assert piece.base is not None
        _read_held(stock, piece.base, view, piece.start)
    elif piece.encoding == RAW:
        assert spot is not None
        read_at(spot.path, view, piece.at)
    else:
        assert stored is not None
        _decode(stock, piece, stored, view)
    return view


def _read_held(stock: Stock, base: str, view: memoryview, start: int) -> None:
    """Fill `view` from a held blob. Raises `BlobDamaged`: it is this site's own disk that does not give it."""
    path = stock.held(base)
    try:
        read_at(path, view, start)
    except Unreadable as exc:
        raise BlobDamaged(str(path), expected=base, actual=str(exc)) from exc


def _decode(stock: Stock, piece: Part, stored: memoryview, out: memoryview) -> None:
    from pipelines.encodings import ladder  # noqa: PLC0415 - numpy, only where there are frames

    assert piece.unit is not None
    base = None
    if piece.base is not None:
        base = memoryview(scratch())[: piece.size]
        _read_held(stock, piece.base, base, piece.start)
    frame = stored[piece.at : piece.at + piece.stored]
    try:
        ladder.decode(piece.encoding, piece.unit, frame, out, base)
    except FrameMalformed as exc:
        raise MalformedBundle(
            f"a frame that its chunk vouches for: {exc.problem}", at="chunks.jsonl"
        ) from exc
