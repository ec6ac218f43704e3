"""The home's audit log as a tree of tiles: roots, proofs and tiles of it, reading O(log n) rows.

A full tile is kept in the transaction that completes it; a partial one is made from the leaves, or from the roots of
the tiles below, whenever it is asked for. A kept tile is a copy: a missing one is made again from what is below it,
and whether every kept one is right is for `audit verify` to say.
"""

from collections.abc import Iterator, Sequence

from registry.entities import Tile
from registry.views import View
from signing.canonical import NotCanonical
from signing.merkle import leaf_hash
from signing.tiles import MAX_ENTRY, WIDTH, TiledTree, completed_by, encode_entries, tile_root


def log_name(home: str) -> str:
    """Return the origin line of the checkpoints of a home, by the home's name."""
    return f"tidegate/{home}"


class LogTree(TiledTree):
    """The tree as it stands in one view: `size`, `root`, `inclusion`, `consistency`, `tile`, `entries`."""

    def __init__(self, view: View, size: int | None = None) -> None:
        """Take the log as it stands, or as it stood at an earlier size."""
        head = view.head() if size is None else None
        super().__init__(self._hashes, (head.size if head else 0) if size is None else size)
        self._view = view

    def entries(self, index: int, width: int = WIDTH) -> bytes:
        """Return a bundle of entries (C2SP): the leaves' bytes, each with its length before it.

        A leaf of an older release that is longer than the format can say stands as an empty entry; see `long_leaves`.
        """
        leaves = self._leaves(index * WIDTH, width)
        return encode_entries(leaf if len(leaf) <= MAX_ENTRY else b"" for leaf in leaves)

    def long_leaves(self, index: int, width: int = WIDTH) -> dict[int, bytes]:
        """Return the leaves of a bundle that stand as empty entries in it, by position."""
        leaves = self._leaves(index * WIDTH, width)
        return {index * WIDTH + n: leaf for n, leaf in enumerate(leaves) if len(leaf) > MAX_ENTRY}

    def _hashes(self, level: int, index: int, width: int) -> bytes:
        kept = self._view.tiles(level, index, index) if width == WIDTH else []
        if kept:
            return kept[0].hashes
        if level == 0:
            return b"".join(map(leaf_hash, self._leaves(index * WIDTH, width)))
        first = index * WIDTH
        roots = dict(self._view.tile_roots(level - 1, first, width))
        return b"".join(
            bytes.fromhex(roots[n]) if n in roots else tile_root(self._hashes(level - 1, n, WIDTH))
            for n in range(first, first + width)
        )

    def _leaves(self, first: int, count: int) -> Sequence[bytes]:
        found = self._view.leaves(first, count)
        if [position for position, _ in found] != list(range(first, first + count)):
            raise NotCanonical(f"not every event from {first} to {first + count - 1} is here", at="log")
        return [leaf for _, leaf in found]


def completed_tiles(view: View, size: int) -> Iterator[Tile]:
    """Yield each tile that became full when the log reached `size` leaves, lowest first, for the caller to keep.

    Nothing after 255 events of 256; the 256th reads the leaves of its tile, the 65,536th 256 roots besides. A higher
    tile is made once the caller has kept the ones below it.
    """
    for level, index in completed_by(size):
        yield _made(view, level, index, size)


def missing_tiles(view: View) -> Iterator[Tile]:
    """Yield each full tile that a log of an older release does not keep, lowest level first, for the caller to keep."""
    head = view.head()
    size = head.size if head else 0
    level, full = 0, size // WIDTH
    while full:
        for start in range(0, full, WIDTH):
            here = dict(view.tile_roots(level, start, min(WIDTH, full - start)))
            for index in range(start, min(start + WIDTH, full)):
                if index not in here:
                    yield _made(view, level, index, size)
        level, full = level + 1, full // WIDTH


def _made(view: View, level: int, index: int, size: int) -> Tile:
    hashes = LogTree(view, size).tile(level, index)
    return Tile(level=level, index=index, root=tile_root(hashes).hex(), hashes=hashes)
