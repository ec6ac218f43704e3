"""`audit verify`: the tree, its signatures, and the log replayed against the tables. Returns every problem.

The newest events and their heads can be cut off together, or a whole new history be signed by whoever holds the
station key: the log alone cannot show that. A head that somebody kept elsewhere can, so such heads are compared too,
those that other homes cosigned among them.

The log is read once, some thousand events at a time; a long one is checked by as many processes as there are cores.
"""

import os
import secrets
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any

from securesystemslib.signer import Key

from pipelines import receipts
from pipelines.bundle.errors import ReceiptWrong
from registry import audit, log_check
from registry.entities import RECORDED
from registry.home import Home
from registry.log_check import HeadCheck, Piece, Sums
from registry.store import Store
from registry.views import EventLine, HeadLine, View
from signing import checkpoint
from signing.checkpoint import CheckpointSignatureWrong
from signing.envelope import SignatureUncheckable, SignatureWrong
from signing.merkle import EMPTY_ROOT, HASH_BYTES, MAX_SIZE, Frontier
from signing.tiles import TILE_BYTES, tile_root
from tidegate.keyring import log_verifier_key

_MANY = 20_000  # events from which on starting processes costs less than it saves
_NAMED = 10_000  # rows that are looked at again, at most, to name what differs
_LEVELS = 9  # of tiles; a log of 2**63 events fills no more
_FEW = 10  # tiles that are named, of many


@dataclass(frozen=True)
class KeptHead:
    """A head of this log that somebody kept where this home cannot reach it."""

    at: str  # whose, for the message
    size: int  # events
    root: bytes  # 32 bytes


def kept_note(note: str, key: str, *, at: str) -> KeptHead:
    """Read a note that `audit head` wrote. Raises `CheckpointUnreadable`, `CheckpointSignatureWrong`."""
    try:
        found = checkpoint.verify(note, key)
    except CheckpointSignatureWrong as refusal:
        name, said = key.partition("+")[0], checkpoint.parse(note).origin
        if said == name:
            raise
        raise CheckpointSignatureWrong(
            name, f"{at} says that it is a head of another log, {said!r}"
        ) from refusal
    return KeptHead(at, found.size, found.root)


def kept_receipt(data: bytes, station: Key, *, at: str) -> KeptHead:
    """Read the head in a receipt that this site signed. Raises `ReceiptWrong`."""
    receipt, letter = receipts.read(data, at=at)
    try:
        letter.check(station, payload_type=receipts.PAYLOAD_TYPE)
    except (SignatureWrong, SignatureUncheckable) as refusal:
        raise ReceiptWrong(f"this home did not sign it ({refusal})", at=f"{at}.signature") from refusal
    root = bytes.fromhex(receipt.log_root) if receipt.log_root else EMPTY_ROOT
    return KeptHead(at, receipt.log_size, root)


def verify(
    store: Store, home: Home, *, kept: Sequence[KeptHead] = (), every_signature: bool = False
) -> list[str]:
    """Return what is wrong, in words; an empty list when everything agrees.

    Args:
        kept: heads that must be in the log, beside those that other homes cosigned.
        every_signature: check the signature of every head, not only of the newest, the cosigned and each 256th.
    """
    with store.view() as view:
        newest = view.head()
        size = 0 if newest is None else newest.size
        cosigned = [_cosigned(row.size, row.root, row.witness) for row in view.cosigned()]
        how = HeadCheck(
            log_verifier_key(home),
            newest=size,
            cosigned=frozenset(head.size for head in cosigned),
            every=1 if every_signature else log_check.SIGNED_EVERY,
        )
        with _crew(size) as submit:
            return _Walk(view, how, [*kept, *cosigned], submit).problems()


def _cosigned(size: int, root: str, witness: str) -> KeptHead:
    return KeptHead(f"the head that {witness} cosigned", size, bytes.fromhex(root))


Submit = Callable[..., "Future[Any]"]


@contextmanager
def _crew(size: int) -> Iterator[Submit]:
    """Give what runs a function: here for a short log, in as many processes as there are cores for a long one."""
    if size < _MANY:
        yield _at_once
        return
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
        yield pool.submit


def _at_once(function: Callable[..., Any], *arguments: object) -> "Future[Any]":
    done: Future[Any] = Future()
    done.set_result(function(*arguments))
    return done


def _in_order(
    submit: Submit, function: Callable[..., Any], arguments: Iterable[tuple[Any, ...]]
) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Yield (arguments, result) in order, a few in work at a time, so that memory stays bounded."""
    waiting: deque[tuple[tuple[Any, ...], Future[Any]]] = deque()
    for one in arguments:
        waiting.append((one, submit(function, *one)))
        if len(waiting) > 2 * (os.cpu_count() or 1):
            given, done = waiting.popleft()
            yield given, done.result()
    for given, done in waiting:
        yield given, done.result()


class _Heads:
    """The signed heads in order, handed out up to a size."""

    def __init__(self, view: View) -> None:
        self._heads = (head for some in view.heads() for head in some)
        self._next = next(self._heads, None)

    def up_to(self, size: int) -> list[HeadLine]:
        found: list[HeadLine] = []
        while self._next is not None and self._next[0] <= size:
            found.append(self._next)
            self._next = next(self._heads, None)
        return found


class _Walk:
    """One walk over the log, and then over the tables."""

    def __init__(self, view: View, how: HeadCheck, kept: Sequence[KeptHead], submit: Submit) -> None:
        self._view, self._how, self._kept, self._submit = view, how, kept, submit
        self._key = secrets.token_bytes(HASH_BYTES)  # of the sums of rows, new for every run
        self._found: list[str] = []
        self._gap = self._closed = False
        self._frontier = Frontier()
        self._recorded: Sums = {}
        self._roots = {0: EMPTY_ROOT}  # at the sizes of kept heads
        self._tiles = _Tiles(view)

    def problems(self) -> list[str]:
        """What is wrong, in words."""
        for _, findings in _in_order(self._submit, log_check.check_heads, self._pieces()):
            self._found += findings
        if self._gap:
            return self._found
        self._found += self._tiles.beyond()
        self._found += [problem for head in self._kept if (problem := self._kept_problem(head))]
        return self._found if self._closed else [*self._found, *self._replay()]

    def _pieces(self) -> Iterator[tuple[Frontier, bytes, list[HeadLine], HeadCheck]]:
        """Read the log to its end; yield what its heads are to be held against."""
        heads = _Heads(self._view)
        for _, piece in _in_order(self._submit, log_check.read_piece, self._lines()):
            self._found += piece.findings
            self._gap, self._closed = piece.gap, self._closed or piece.closed
            if piece.gap:
                return
            start = self._frontier
            self._frontier = self._grow(start, piece)
            yield start, piece.hashes, heads.up_to(self._frontier.size), self._how
        yield self._frontier, b"", heads.up_to(MAX_SIZE), self._how

    def _lines(self) -> Iterator[tuple[int, Sequence[EventLine], bytes]]:
        first = 0
        for lines in self._view.logged():
            yield first, lines, self._key
            first += len(lines)

    def _grow(self, start: Frontier, piece: Piece) -> Frontier:
        log_check.merge(self._recorded, piece.sums)
        self._found += self._tiles.problems(piece)
        frontier = log_check.grown(start, piece.hashes)
        for head in self._kept:
            if start.size < head.size <= frontier.size:
                until = (head.size - start.size) * HASH_BYTES
                self._roots[head.size] = log_check.grown(start, piece.hashes[:until]).root()
        return frontier

    def _kept_problem(self, kept: KeptHead) -> str | None:
        """Say how the log of now fails to contain a head that was kept."""
        size = self._frontier.size
        if kept.size > size:
            return f"{kept.at}: {kept.size} events were signed then, {size} are here: the last ones are gone"
        if self._roots[kept.size] != kept.root:
            return f"{kept.at}: the first {kept.size} events were others then"
        return None

    def _replay(self) -> list[str]:
        """Hold what the events recorded against what the tables hold."""
        tables: Sums = {}
        odd: list[str] = []
        for (label, *_), (sums, findings) in _in_order(self._submit, log_check.sum_rows, self._rows()):
            log_check.merge(tables, {label: sums})
            odd += findings
        return odd or self._differences(log_check.differing(self._recorded, tables))

    def _rows(self) -> Iterator[tuple[str, Sequence[tuple[Any, ...]], bytes]]:
        for table in RECORDED:
            for rows in self._view.recorded_in(table):
                yield table.label, rows, self._key

    def _differences(self, wanted: dict[str, frozenset[int]]) -> list[str]:
        """Look again at the rows of the sums that differ, and name what does."""
        if not wanted:
            return []
        recorded: list[tuple[str, Mapping[str, Any]]] = []
        tables: dict[str, list[Mapping[str, Any]]] = {}
        for lines in self._view.logged():
            recorded += log_check.recorded_again(lines, self._key, wanted)
            if len(recorded) > _NAMED:
                break
        for table in RECORDED:
            if table.label not in wanted:
                continue
            rows = tables.setdefault(table.label, [])
            for some in self._view.recorded_in(table):
                rows += log_check.rows_again(table.label, some, self._key, wanted[table.label])
        if len(recorded) + sum(map(len, tables.values())) > _NAMED:
            return [f"{label}: too many rows differ from the log to be named" for label in sorted(wanted)]
        entry = audit.Entry(0, "", "", "", "", tuple(recorded), {})
        return [str(item) for item in audit.compare([entry], tables)]


class _Tiles:
    """The kept tiles, held against the events as the walk comes past them."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._open = [
            bytearray() for _ in range(_LEVELS)
        ]  # roots of full tiles, waiting to fill a tile above
        self._full = [0] * _LEVELS  # tiles of each level so far

    def problems(self, piece: Piece) -> list[str]:
        found: list[str] = []
        for number, root in enumerate(piece.roots):
            hashes = piece.hashes[number * TILE_BYTES : (number + 1) * TILE_BYTES]
            found += self._check(0, hashes, root)
        return found

    def _check(self, level: int, hashes: bytes, root: bytes) -> list[str]:
        index = self._full[level]
        self._full[level] += 1
        kept = self._view.tiles(level, index, index)
        found = [] if kept else [f"tile {level}/{index} is missing"]
        if kept and (kept[0].hashes, kept[0].root) != (hashes, root.hex()):
            found = [f"tile {level}/{index}: differs from the events below it"]
        above = self._open[level]
        above += root
        if len(above) == TILE_BYTES:
            self._open[level] = bytearray()
            found += self._check(level + 1, bytes(above), tile_root(bytes(above)))
        return found

    def beyond(self) -> list[str]:
        """Tiles that stand for events that there are none of."""
        return [
            f"tile {level}/{tile.index}: stands beyond the last event"
            for level in range(_LEVELS)
            for tile in self._view.tiles(level, self._full[level], MAX_SIZE)[:_FEW]
        ]
