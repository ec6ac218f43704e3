"""`audit verify`, in pieces of some thousand events: pure functions over what was read, so that several processes share the work.

The replay keeps no row in memory: each row, as recorded and as it stands in its table, is hashed with a key that is
new for every run, and the hashes are added up in 16,384 sums per table. Sums that are equal on both sides hold the same
rows; where they differ, only the rows of those sums are looked at again and named. Who edits a table cannot aim at
equal sums, as the key did not exist then.
"""

import base64
from collections import Counter, defaultdict
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

from registry.audit import Entry, read_leaf
from registry.entities import RECORDED
from registry.views import EventLine, HeadLine
from signing import checkpoint
from signing.canonical import NotCanonical, canonical_again, canonical_bytes, parse_canonical
from signing.checkpoint import CheckpointSignatureWrong, CheckpointUnreadable
from signing.merkle import HASH_BYTES, Frontier, folded, leaf_hash, node_hash
from signing.tiles import TILE_BYTES, tile_root

SIGNED_EVERY = (
    256  # events: how far apart the heads are whose signatures are checked; each covers all before it
)
_SUMS = 1 << 14  # per table
_MAX_LEAF = 1 << 20
_TABLES = {table.label: table for table in RECORDED}

Sums = dict[str, dict[int, int]]  # table's label to number of the sum to sum


class Broken(Exception):
    """The log cannot be read on from here."""


@dataclass(frozen=True)
class Piece:
    """What one piece of the log came to."""

    hashes: bytes  # leaf hashes, 32 bytes each
    roots: tuple[bytes, ...]  # of its full tiles
    findings: tuple[str, ...]
    sums: Sums
    gap: bool = False  # what follows cannot be held against anything
    closed: bool = False  # an event could not be opened, so that the rows it carries are not known


def read_piece(first: int, lines: Sequence[EventLine], key: bytes) -> Piece:
    """Hash and read the events from position `first` on, and add up the rows that they carry."""
    hashes, closed = bytearray(), False
    findings: list[str] = []
    sums: defaultdict[str, Counter[int]] = defaultdict(Counter)
    for number, line in enumerate(lines, start=first):
        data = line[5].encode(errors="surrogatepass")
        try:
            entry = _entry(number, line, data)
        except Broken as broken:
            findings.append(str(broken))
            return Piece(bytes(hashes), (), tuple(findings), {}, gap=True)
        except NotCanonical:
            closed = True
            findings.append(f"event {number}: its openings are not those of what was recorded")
        else:
            if (entry.position, entry.kind, entry.subject, entry.at, entry.actor) != line[:5]:
                findings.append(
                    f"event {number}: the columns of the event table differ from what was recorded"
                )
            for label, row in entry.rows:
                _add(sums[label], canonical_again(row), key)
        hashes += leaf_hash(data)
    full = range(0, len(hashes) - TILE_BYTES + 1, TILE_BYTES)
    roots = tuple(tile_root(bytes(hashes[start : start + TILE_BYTES])) for start in full)
    found = {name: dict(one) for name, one in sums.items()}
    return Piece(bytes(hashes), roots, tuple(findings), found, closed=closed)


def _entry(number: int, line: EventLine, data: bytes) -> Entry:
    """Raises `Broken` for a leaf that is not this position's, `NotCanonical` when only its openings are wrong."""
    broken = Broken(f"event {number} is missing, out of place or unreadable")
    if line[0] != number:
        raise broken
    try:
        entry = read_leaf(data, line[6])
    except NotCanonical:
        if line[6] is None or not _stands_at(number, data):
            raise broken from None
        raise
    if entry.position != number:
        raise broken
    return entry


def _stands_at(number: int, data: bytes) -> bool:
    try:
        raw = parse_canonical(data, max_bytes=_MAX_LEAF)
    except NotCanonical:
        return False
    return isinstance(raw, dict) and raw.get("position") == number


@dataclass(frozen=True)
class HeadCheck:
    """Which heads are signed as they should be."""

    key: str  # the log's verifier key
    newest: int  # size of the newest head
    cosigned: frozenset[int] = field(default_factory=frozenset)
    every: int = SIGNED_EVERY

    def checks(self, size: int) -> bool:
        """Whether this head's signature is checked; of every other one only what it says."""
        return size % self.every == 0 or size == self.newest or size in self.cosigned


def check_heads(start: Frontier, hashes: bytes, heads: Sequence[HeadLine], how: HeadCheck) -> list[str]:
    """Hold the heads of a piece against its events: one head after each, saying the root that they have."""
    found: list[str] = []
    said = {head[0]: head for head in heads}
    origin = how.key.partition("+")[0]
    for size, peaks in _growing(start, hashes):
        head = said.pop(size, None)
        if head is None:
            found.append(f"event {size - 1} has no signed head")
            continue
        root = folded(peaks)
        if how.checks(size) or not head[3].startswith(_said(origin, size, root)):
            found += _note_problems(head, root, how.key)
        if (head[1], head[2]) != (root.hex(), f"{size}:{b''.join(peaks).hex()}"):
            found.append(f"head {size}: its columns differ from what was signed")
    return [*found, *(f"head {size}: stands beyond the last event" for size in said)]


def _growing(start: Frontier, hashes: bytes) -> Iterator[tuple[int, list[bytes]]]:
    """Yield the size and the peaks after each leaf. Like `Frontier.append`, without an object for each."""
    size, peaks = start.size, list(start.peaks)
    for at in range(0, len(hashes), HASH_BYTES):
        carry, remaining = hashes[at : at + HASH_BYTES], size
        while remaining & 1:
            carry = node_hash(peaks.pop(), carry)
            remaining >>= 1
        peaks.append(carry)
        size += 1
        yield size, peaks


def grown(start: Frontier, hashes: bytes) -> Frontier:
    """Return the tree with these leaf hashes after it."""
    size, peaks = start.size, list(start.peaks)
    for size, peaks in _growing(start, hashes):  # noqa: B007 - the last one is what is wanted
        pass
    return Frontier(size, tuple(peaks))


def _said(origin: str, size: int, root: bytes) -> str:
    return f"{origin}\n{size}\n{base64.b64encode(root).decode()}\n\n"


def _note_problems(head: HeadLine, root: bytes, key: str) -> list[str]:
    try:
        found = checkpoint.verify(head[3], key)
    except (CheckpointSignatureWrong, CheckpointUnreadable) as refusal:
        return [f"head {head[0]}: {refusal}"]
    if (found.size, found.root) != (head[0], root):
        return [f"head {head[0]}: was signed over other events than those that stand before it"]
    return []


def sum_rows(label: str, rows: Sequence[tuple[Any, ...]], key: bytes) -> tuple[dict[int, int], list[str]]:
    """Add up rows of a table. Returns the sums, and which rows hold what no event could have carried."""
    sums: Counter[int] = Counter()
    findings: list[str] = []
    for content in _contents(label, rows):
        try:
            data = canonical_bytes(content)
        except NotCanonical as refusal:  # SQLite keeps bytes or a fraction in any column
            findings.append(f"{label}: a row holds what was never recorded: {refusal}")
        else:
            _add(sums, data, key)
    return dict(sums), findings


def merge(into: Sums, more: Mapping[str, Mapping[int, int]]) -> None:
    """Add sums to sums."""
    for label, sums in more.items():
        mine = into.setdefault(label, {})
        for number, value in sums.items():
            mine[number] = mine.get(number, 0) + value


def differing(recorded: Sums, tables: Sums) -> dict[str, frozenset[int]]:
    """Return the sums of each table that the log and the table do not agree on."""
    found: dict[str, frozenset[int]] = {}
    for label in recorded.keys() | tables.keys():
        log, table = recorded.get(label, {}), tables.get(label, {})
        numbers = frozenset(n for n in log.keys() | table.keys() if log.get(n, 0) != table.get(n, 0))
        if numbers:
            found[label] = numbers
    return found


def recorded_again(
    lines: Sequence[EventLine], key: bytes, wanted: Mapping[str, Container[int]]
) -> list[tuple[str, Mapping[str, Any]]]:
    """Return the recorded rows that fall into the wanted sums."""
    entries = (read_leaf(line[5].encode(), line[6]) for line in lines)
    rows = ((label, row) for entry in entries for label, row in entry.rows if label in wanted)
    return [(label, row) for label, row in rows if _number(_hash(canonical_again(row), key)) in wanted[label]]


def rows_again(
    label: str, rows: Sequence[tuple[Any, ...]], key: bytes, wanted: Container[int]
) -> list[Mapping[str, Any]]:
    """Return the table's rows that fall into the wanted sums."""
    return [row for row in _contents(label, rows) if _number(_hash(canonical_bytes(row), key)) in wanted]


def _contents(label: str, rows: Sequence[tuple[Any, ...]]) -> Iterator[dict[str, Any]]:
    table = _TABLES[label]
    names = tuple(table.model_fields)
    return (table.recorded(dict(zip(names, row, strict=True))) for row in rows)


def _add(sums: Counter[int], data: bytes, key: bytes) -> None:
    hashed = _hash(data, key)
    sums[_number(hashed)] += hashed


def _hash(data: bytes, key: bytes) -> int:
    return int.from_bytes(blake2b(data, key=key, digest_size=HASH_BYTES).digest(), "big")


def _number(hashed: int) -> int:
    return hashed % _SUMS
