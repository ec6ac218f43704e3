"""Rebuilds lost chunks from parity. Import it only when something is lost: it needs numpy.

What is computed, and in which order, was decided by `erasures.plan`. A chunk gets its name only after its SHA-256
was found to be that name, so nothing that goes wrong here can pass for the real thing. What turns out unreadable
on the way is added to what is lost, and the rest is planned again. Source: airgap-bundles/parity.md.
"""

import hashlib
import os
import threading
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from pipelines.bundle import erasures, galois
from pipelines.bundle.lanes import PIECE, ParitySet, Reader, Unreadable, overlapping
from pipelines.bundle.stripes import STEP, Sums, stripe_bytes, stripes, threads
from registry.blobs import Progress, no_progress
from signing.durable import sync_directory


@dataclass(frozen=True)
class Rebuilt:
    """What came of it. `unreadable` holds chunks and pieces that turned out bad on the way, and were done without."""

    done: frozenset[str]
    lost: frozenset[str]
    unreadable: frozenset[str]


def rebuild(
    sets: Sequence[ParitySet],
    wanted: Collection[str],
    read: Reader,
    target: Callable[[str], Path],
    *,
    bad: Collection[str] = (),
    progress: Progress = no_progress,
    at_once: int | None = None,
) -> Rebuilt:
    """Rebuild lost chunks as far as parity reaches.

    Args:
        sets: with their pieces, and without a `problem`; those within volumes first, they read less.
        wanted: chunks that are lost; they are never read.
        read: gives bytes of a chunk whose digest was checked, or of a piece (checked here, each before its first
            use); raises `Unreadable`. A piece may have the name of a lost chunk: either file will do.
        target: where a rebuilt chunk goes. The file appears there whole, durable and with the right digest. Until
            then it is written beside that place, under a name that starts with a dot; nothing is left of that.
            Also asked for lost chunks that are not wanted, where parts of them help.
        bad: further chunks and pieces that are known to be bad; saves the attempt to read them.
        progress: told the bytes of lost chunks as they are computed.
        at_once: pieces at once; by default one per core.

    Returns: every chunk of `wanted` is in `done` or in `lost`.
    """
    work = _Rebuilding(sets, frozenset(wanted), read, target, progress, at_once or threads())
    work.bad_chunks = {*wanted, *bad}
    work.bad_pieces = set(bad)
    while work.round():  # something else turned out bad: plan again without it
        pass
    return Rebuilt(frozenset(work.done), frozenset(wanted) - work.done, frozenset(work.unreadable))


class _Blocked(Exception):
    """A block needs what cannot be read."""


@dataclass
class _Rebuilding:
    sets: Sequence[ParitySet]
    wanted: frozenset[str]
    read: Reader
    target: Callable[[str], Path]
    progress: Progress
    at_once: int
    bad_chunks: set[str] = field(default_factory=set)
    bad_pieces: set[str] = field(default_factory=set)
    done: set[str] = field(default_factory=set)
    unreadable: set[str] = field(default_factory=set)
    _good_pieces: set[str] = field(default_factory=set)
    _whole: frozenset[str] = frozenset()
    _left: dict[str, int] = field(default_factory=dict)  # bytes that a chunk still waits for
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._lanes = [[lane.parts() for lane in one.lanes] for one in self.sets]

    def round(self) -> bool:
        """Plan and do what is planned. Returns whether more turned out bad on the way."""
        before = len(self.unreadable)
        lost = self.bad_chunks - self.done
        plan = erasures.plan(self.sets, self.wanted - self.done, lost, self.bad_pieces)
        self._whole, self._left = plan.whole, dict(plan.writes)
        self._clear()  # of what an earlier run that was killed left behind
        try:
            with ThreadPoolExecutor(self.at_once, thread_name_prefix="rebuild") as pool:
                for one in plan.passes:
                    self._do(pool, one)
        finally:
            self._clear()
        return len(self.unreadable) > before

    def _do(self, pool: ThreadPoolExecutor, one: erasures.Pass) -> None:
        jobs = [pool.submit(self._piece, one.number, *job) for job in _by_piece(one.segments).items()]
        try:
            for job in jobs:
                job.result()
        finally:
            for job in jobs:
                job.cancel()

    def _piece(self, index: int, piece: int, segments: Sequence[erasures.Segment]) -> None:
        sums = Sums(stripe_bytes(self.at_once))
        for segment in segments:
            for low, high in stripes(segment.begin, segment.end, sums.stripe):
                with suppress(_Blocked):
                    self._block(sums, index, piece, segment._replace(begin=low, end=high))

    def _block(self, sums: Sums, index: int, piece: int, segment: erasures.Segment) -> None:
        """Solve one stripe. Raises `_Blocked`."""
        one, (low, high, unknown, use) = self.sets[index], segment
        names = {which: (one.p if which == "p" else one.q)[piece] for which in use}
        for name in names.values():
            self._demand(name, one.piece_bytes(piece), sums.buffer)
        lanes = [[] if number in unknown else lane for number, lane in enumerate(self._lanes[index])]
        sums.gather(lanes, low, high, use, self._chunk)
        for which, name in names.items():
            sums.add_piece(which, name, low - piece * PIECE, high - low, self._piece_bytes)
        for number, data in zip(unknown, _solve(sums, unknown, use, high - low), strict=True):
            for part in overlapping(self._lanes[index][number], low, high):
                self._put(part.chunk, part.offset, data[part.at - low :][: part.size], sums.buffer)

    def _demand(self, name: str, size: int, buffer: memoryview) -> None:
        """Hash a piece before its first use. Raises `_Blocked`."""
        if name in self._good_pieces:
            return
        digest = hashlib.sha256()
        for low, high in stripes(0, size, len(buffer)):
            self._piece_bytes(name, low, buffer[: high - low])
            digest.update(buffer[: high - low])
        if digest.hexdigest() != name:
            self._spoilt(name, self.bad_pieces)
        self._good_pieces.add(name)

    def _piece_bytes(self, name: str, offset: int, view: memoryview) -> None:
        if name in self.bad_pieces:
            raise _Blocked
        try:
            self.read(name, offset, view)
        except Unreadable:
            self._spoilt(name, self.bad_pieces)

    def _chunk(self, name: str, offset: int, view: memoryview) -> None:
        """Read a chunk that was there, or that was rebuilt here, if only in part so far."""
        if name in self.bad_chunks:
            return self._rebuilt(name, offset, view)
        try:
            return self.read(name, offset, view)
        except Unreadable:
            return self._spoilt(name, self.bad_chunks)

    def _spoilt(self, name: str, among: set[str]) -> None:
        with self._lock:
            among.add(name)
            self.unreadable.add(name)
        raise _Blocked

    def _rebuilt(self, name: str, offset: int, view: memoryview) -> None:
        try:
            stream = self._beside(name).open("rb", buffering=0)
        except FileNotFoundError:
            if name not in self.done:
                raise _Blocked from None
            stream = self.target(name).open("rb", buffering=0)  # it became whole meanwhile
        with stream:
            stream.seek(offset)
            while view and (count := stream.readinto(view)):
                view = view[count:]
        if view:
            raise _Blocked

    def _put(self, name: str, offset: int, data: memoryview, buffer: memoryview) -> None:
        handle = os.open(self._beside(name), os.O_WRONLY | os.O_CREAT, 0o644)
        try:
            written = 0
            while written < len(data):
                written += os.pwrite(handle, data[written:], offset + written)
        finally:
            os.close(handle)
        self.progress(len(data))
        with self._lock:
            self._left[name] -= len(data)
            last = not self._left[name]
        if last and name in self._whole:
            self._finish(name, buffer)

    def _finish(self, name: str, buffer: memoryview) -> None:
        """Give a chunk its name if it is what the name says."""
        digest = hashlib.sha256()
        with self._beside(name).open("rb", buffering=0) as stream:
            while count := stream.readinto(buffer):
                digest.update(buffer[:count])
            if digest.hexdigest() != name:
                return  # something that was read is not what it was taken for: lost, and said so
            os.fsync(stream.fileno())
        self.done.add(name)  # before it moves: who finds it gone from here looks there
        place = self.target(name)
        self._beside(name).rename(place)
        sync_directory(place.parent)

    def _beside(self, name: str) -> Path:
        place = self.target(name)
        return place.with_name(f".{place.name}.rebuilding")

    def _clear(self) -> None:
        for name in self._left:
            self._beside(name).unlink(missing_ok=True)


def _by_piece(segments: Sequence[erasures.Segment]) -> dict[int, list[erasures.Segment]]:
    """Cut segments where pieces end: each piece is one thread's work."""
    found: dict[int, list[erasures.Segment]] = defaultdict(list)
    for segment in segments:
        for piece in range(segment.begin // PIECE, -(-segment.end // PIECE)):
            begin, end = max(segment.begin, piece * PIECE), min(segment.end, (piece + 1) * PIECE)
            found[piece].append(segment._replace(begin=begin, end=end))
    return found


def _solve(sums: Sums, unknown: tuple[int, ...], use: erasures.Use, size: int) -> list[memoryview]:
    """Turn what is left of P and Q into the unknown lanes; return their bytes."""
    p, q = sums.octets("p", size), sums.octets("q", size)
    for low in range(0, size, STEP):
        block = slice(low, low + STEP)
        if use == "q":
            galois.one_from_q(unknown[0], q[block])
        elif use == "pq":
            galois.two(unknown[0], unknown[1], p[block], q[block])
    return {"p": [p.data], "q": [q.data], "pq": [p.data, q.data]}[use]
