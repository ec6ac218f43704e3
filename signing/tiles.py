"""The audit log in C2SP tiles: stacks of 256 hashes, bundles of 256 entries, and every proof made of them.

Pure: a tree is given a way to read tiles and asks only for the few that a root or a proof needs, O(log n) of them.
Where the tiles lie, in a database or in a folder on a disc, is the caller's business.

Source: https://c2sp.org/tlog-tiles
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import count

from signing.canonical import NotCanonical
from signing.merkle import (
    EMPTY_ROOT,
    HASH_BYTES,
    consistency_ranges,
    folded,
    inclusion_ranges,
    node_hash,
    perfect_subtrees,
)

HEIGHT = 8  # of the subtree that one tile stands for
WIDTH = 1 << HEIGHT  # hashes of a full tile, entries of a full bundle
TILE_BYTES = WIDTH * HASH_BYTES
MAX_ENTRY = (1 << 16) - 1  # bytes: what the length before an entry can say
_LEVELS = 64 // HEIGHT  # a log of 2**63 leaves has no more
_PATH = re.compile(
    r"tile/(entries|[0-9]|[1-5][0-9]|6[0-3])/((?:x[0-9]{3}/)*[0-9]{3})(?:\.p/([1-9][0-9]{0,2}))?", re.ASCII
)

# (level, index, width) to the tile's hashes, joined: width * 32 bytes.
ReadTile = Callable[[int, int, int], bytes]


@dataclass(frozen=True)
class TileName:
    """Which tile or bundle of entries is meant. A level of None means entries."""

    level: int | None
    index: int
    width: int = WIDTH

    @property
    def path(self) -> str:
        """`tile/<L>/<N>[.p/<W>]`, relative to the log's folder."""
        level = "entries" if self.level is None else str(self.level)
        partial = "" if self.width == WIDTH else f".p/{self.width}"
        return f"tile/{level}/{_index_path(self.index)}{partial}"

    @classmethod
    def of_path(cls, path: str) -> "TileName":
        """Read a path again. Raises `NotCanonical` for any other spelling."""
        match = _PATH.fullmatch(path) if len(path) <= 64 else None
        if match is not None:
            level = None if match[1] == "entries" else int(match[1])
            index = int(match[2].replace("x", "").replace("/", ""))
            name = cls(level, index, WIDTH if match[3] is None else int(match[3]))
            if name.width <= WIDTH and name.path == path:
                return name
        raise NotCanonical("not tile/<level>/<index>[.p/<width>]", at=path[:80])


def tiles_of(size: int) -> Iterator[TileName]:
    """Yield every hash tile of a log of `size` leaves, by level and index; only the last of a level is partial."""
    for level in range(_LEVELS):
        hashes = size >> (HEIGHT * level)
        if not hashes:
            return
        yield from (TileName(level, name.index, name.width) for name in entries_of(hashes))


def entries_of(size: int) -> Iterator[TileName]:
    """Yield every bundle of entries of a log of `size` leaves."""
    for index in range(size // WIDTH):
        yield TileName(None, index)
    if size % WIDTH:
        yield TileName(None, size // WIDTH, size % WIDTH)


def completed_by(size: int) -> Iterator[tuple[int, int]]:
    """Yield (level, index) of each tile that became full when the log reached `size` leaves, lowest level first."""
    for level in count():
        if not size or size % WIDTH:
            return
        size //= WIDTH
        yield level, size - 1


def tile_root(hashes: bytes) -> bytes:
    """Return the root of a full tile: what stands for it in the tile above."""
    row = [hashes[start : start + HASH_BYTES] for start in range(0, len(hashes), HASH_BYTES)]
    while len(row) > 1:
        row = [node_hash(row[left], row[left + 1]) for left in range(0, len(row), 2)]
    return row[0]


def encode_entries(entries: Iterable[bytes]) -> bytes:
    """Return a bundle of entries: each with its length before it, 16 bits, big-endian.

    Raises:
        NotCanonical: an entry of more than 65,535 bytes, which the format cannot say.
    """
    found = bytearray()
    for number, entry in enumerate(entries):
        if len(entry) > MAX_ENTRY:
            raise NotCanonical(
                f"{len(entry)} bytes; an entry has at most {MAX_ENTRY}", at=f"entries[{number}]"
            )
        found += len(entry).to_bytes(2, "big") + entry
    return bytes(found)


def decode_entries(data: bytes, *, width: int) -> tuple[bytes, ...]:
    """Read the `width` entries of a bundle again. Raises `NotCanonical` for anything else."""
    found: list[bytes] = []
    start = 0
    while start < len(data):
        end = start + 2 + int.from_bytes(data[start : start + 2], "big")
        if start + 2 > len(data) or end > len(data) or len(found) == width:
            raise NotCanonical("its lengths do not add up", at=f"entries[{len(found)}]")
        found.append(data[start + 2 : end])
        start = end
    if len(found) != width:
        raise NotCanonical(f"{len(found)} entries; {width} are expected", at="entries")
    return tuple(found)


class TiledTree:
    """A log's tree, read from its tiles: the root at any size up to its own, and both kinds of proof."""

    def __init__(self, read: ReadTile, size: int) -> None:
        """Nothing is read yet.

        Args:
            read: gives a tile's hashes; asked for no tile that a log of `size` leaves does not have.
        """
        self.size = size
        self._read = read
        self._tiles: dict[tuple[int, int], bytes] = {}

    def root(self, size: int | None = None) -> bytes:
        """Return the 32-byte root over the first `size` leaves; over all without one. Raises `IndexError`."""
        size = self._within(size)
        return self._range(0, size) if size else EMPTY_ROOT

    def inclusion(self, position: int, size: int | None = None) -> tuple[bytes, ...]:
        """Return the audit path of a leaf in the tree of the first `size`, lowest sibling first. Raises `IndexError`."""
        size = self._within(size)
        return tuple(self._range(start, end) for start, end in inclusion_ranges(position, size))

    def consistency(self, old: int, new: int | None = None) -> tuple[bytes, ...]:
        """Return the proof that the first `old` leaves begin the first `new`. Raises `IndexError`."""
        new = self._within(new)
        return tuple(self._range(start, end) for start, end in consistency_ranges(old, new))

    def tile(self, level: int, index: int, width: int | None = None) -> bytes:
        """Return the hashes of a tile, full or as far as the tree has come."""
        if (level, index) not in self._tiles:
            width = min(WIDTH, (self.size >> (HEIGHT * level)) - index * WIDTH)
            self._tiles[level, index] = self._read(level, index, width)
        return self._tiles[level, index]

    def _within(self, size: int | None) -> int:
        if size is not None and not 0 <= size <= self.size:
            raise IndexError(f"a tree of {size} inside a tree of {self.size}")
        return self.size if size is None else size

    def _range(self, start: int, end: int) -> bytes:
        return folded([self._node(height, index) for height, index in perfect_subtrees(start, end)])

    def _node(self, height: int, index: int) -> bytes:
        """The root of a perfect subtree: a hash of a tile, or hashed from up to 128 of them."""
        level, above = divmod(height, HEIGHT)
        first = index << above  # counted in hashes of that level
        tile = self.tile(level, first // WIDTH)
        start = first % WIDTH * HASH_BYTES
        return tile_root(tile[start : start + (HASH_BYTES << above)])


def _index_path(index: int) -> str:
    digits = f"{index:03d}"
    digits = digits.zfill(-(-len(digits) // 3) * 3)
    parts = [digits[start : start + 3] for start in range(0, len(digits), 3)]
    return "/".join([*(f"x{part}" for part in parts[:-1]), parts[-1]])
