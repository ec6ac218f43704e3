"""Tiles against the tree's definition: every small size, the borders at 256 and 65,536, and the paths of C2SP."""

import hashlib
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signing.canonical import NotCanonical
from signing.merkle import (
    HASH_BYTES,
    consistency_proof,
    inclusion_proof,
    root_of,
    verify_consistency,
    verify_inclusion,
)
from signing.tiles import (
    MAX_ENTRY,
    TiledTree,
    TileName,
    completed_by,
    decode_entries,
    encode_entries,
    entries_of,
    tile_root,
    tiles_of,
)

LARGEST = 66_300  # beyond 256 * 256, so that all of three levels occur


@cache
def leaf(number: int) -> bytes:
    return hashlib.sha256(b"%d" % number).digest()


LEAVES = tuple(leaf(number) for number in range(LARGEST))


@cache
def full(level: int, index: int) -> bytes:
    if level == 0:
        return b"".join(LEAVES[index * 256 : (index + 1) * 256])
    return b"".join(tile_root(full(level - 1, index * 256 + number)) for number in range(256))


class Shelf:
    """Tiles as the format defines them, made from the leaves; it counts what is asked for."""

    def __init__(self, size: int) -> None:
        self.size, self.asked = size, set[TileName]()

    def __call__(self, level: int, index: int, width: int) -> bytes:
        name = TileName(level, index, width)
        assert name in set(tiles_of(self.size))
        self.asked.add(name)
        if width == 256:
            return full(level, index)
        first = range(index * 256, index * 256 + width)
        return b"".join(LEAVES[n] if level == 0 else tile_root(full(level - 1, n)) for n in first)


SIZES = (1, 2, 3, 255, 256, 257, 300, 511, 512, 65_535, 65_536, 65_537, LARGEST)


@pytest.mark.parametrize("size", SIZES)
def test_a_tree_of_tiles_is_the_tree_of_leaves(size: int) -> None:
    tree = TiledTree(Shelf(size), size)
    leaves = LEAVES[:size]
    root = root_of(leaves)
    assert root == tree.root()
    for position in {0, size // 3, size - 1}:
        proof = tree.inclusion(position)
        assert inclusion_proof(leaves, position) == proof
        assert verify_inclusion(leaves[position], index=position, size=size, proof=proof, root=root)
    for old in {1, size // 2, size - 1, size} & set(range(1, size + 1)):
        proof = tree.consistency(old)
        assert consistency_proof(leaves, old) == proof
        assert verify_consistency(
            old_size=old, new_size=size, old_root=tree.root(old), new_root=root, proof=proof
        )


@given(st.data())
def test_any_older_tree_is_read_from_the_tiles_of_now(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 700))
    tree = TiledTree(Shelf(size), size)
    old = data.draw(st.integers(0, size))
    assert root_of(LEAVES[:old]) == tree.root(old)
    assert consistency_proof(LEAVES[:size], old) == tree.consistency(old)
    if old:
        assert inclusion_proof(LEAVES[:old], old - 1) == tree.inclusion(old - 1, old)


def test_a_proof_looks_at_few_tiles() -> None:
    """Three levels hold 16 million events; a proof in a tree of 66,300 needs no more than a tile of each, twice."""
    shelf = Shelf(LARGEST)
    TiledTree(shelf, LARGEST).inclusion(12_345)
    assert len(shelf.asked) <= 6


@pytest.mark.parametrize("ask", ["root", "consistency", "inclusion"])
def test_what_the_tree_has_not_reached_cannot_be_asked(ask: str) -> None:
    tree = TiledTree(Shelf(300), 300)
    with pytest.raises(IndexError):
        tree.root(301) if ask == "root" else tree.consistency(
            2, 301
        ) if ask == "consistency" else tree.inclusion(300)


def test_the_example_of_the_specification() -> None:
    """https://c2sp.org/tlog-tiles says which tiles a tree of 70,000 has."""
    names = list(tiles_of(70_000))
    assert 273 == sum(name.level == 0 and name.width == 256 for name in names)
    assert [TileName(0, 273, 112)] == [name for name in names if name.level == 0 and name.width < 256]
    assert [TileName(1, 0), TileName(1, 1, 17)] == [name for name in names if name.level == 1]
    assert [TileName(2, 0, 1)] == [name for name in names if name.level == 2]
    assert "tile/0/x001/x234/067" == TileName(0, 1_234_067).path
    assert "tile/entries/273.p/112" == list(entries_of(70_000))[-1].path


def test_tiles_become_full_in_the_append_that_fills_them() -> None:
    assert [] == list(completed_by(255))
    assert [(0, 0)] == list(completed_by(256))
    assert [(0, 255), (1, 0)] == list(completed_by(65_536))
    filled = [name for size in range(LARGEST + 1) for name in completed_by(size)]
    assert {(n.level, n.index) for n in tiles_of(LARGEST) if n.width == 256} == set(filled)


tile_names = st.builds(TileName, st.none() | st.integers(0, 63), st.integers(0, 2**55), st.integers(1, 256))


@given(tile_names)
def test_a_path_read_again_is_the_same_tile(name: TileName) -> None:
    assert name == TileName.of_path(name.path)


@pytest.mark.parametrize(
    "path",
    ["", "tile/0/0", "tile/64/000", "tile/00/000", "tile/0/x000/001", "tile/0/000.p/0", "tile/0/000.p/257",
     "tile/0/000.p/256", "tile/0/000.p/01", "tile/0/../000", "tile/0/0001", "/tile/0/000", "tile/0/000\n"],
)  # fmt: skip
def test_another_spelling_of_a_path_is_none(path: str) -> None:
    with pytest.raises(NotCanonical):
        TileName.of_path(path)


@given(st.lists(st.binary(max_size=300), max_size=256))
def test_entries_survive_a_round_trip(entries: list[bytes]) -> None:
    assert tuple(entries) == decode_entries(encode_entries(entries), width=len(entries))


@given(st.binary(max_size=600), st.integers(0, 256))
def test_hostile_bundles_raise_only_our_error(data: bytes, width: int) -> None:
    try:
        entries = decode_entries(data, width=width)
    except NotCanonical:
        return
    assert data == encode_entries(entries)


def test_an_entry_longer_than_the_format_can_say_is_refused() -> None:
    assert MAX_ENTRY + 2 == len(encode_entries([bytes(MAX_ENTRY)]))
    with pytest.raises(NotCanonical, match="65536 bytes"):
        encode_entries([bytes(MAX_ENTRY + 1)])


def test_a_tile_stands_for_its_subtree() -> None:
    assert root_of(LEAVES[:256]) == tile_root(full(0, 0))
    assert HASH_BYTES * 256 == len(full(0, 0))
