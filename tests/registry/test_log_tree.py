"""The home's log as tiles: kept when they are full, made when they are not, right in a migrated log too."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import text

from registry import store_schema
from registry.audit import EventKind
from registry.home import Home
from registry.log_tree import LogTree
from registry.store import Store
from registry.views import View
from signing.merkle import inclusion_proof, leaf_hash, root_of, verify_consistency, verify_inclusion
from signing.tiles import decode_entries, entries_of, tiles_of
from tests.conftest import NOON
from tidegate import keyring

EVENTS = 600


def grow(store: Store, number: int) -> None:
    with store.change(actor="ines", now=NOON) as change:
        for _ in range(number):
            change.record(EventKind.SCANNED, "7" * 64)


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """A log of some hundred events, all in a few changes."""
    folder = tmp_path_factory.mktemp("log")
    store = Store(f"sqlite:///{folder / 'log.db'}", sign_head=lambda size, root: f"{size} {root.hex()}")
    store_schema.upgrade(store)
    grow(store, 300)
    grow(store, EVENTS - 300)
    yield store
    store.close()


@contextmanager
def tree_of(store: Store) -> Iterator[tuple[LogTree, View, list[bytes]]]:
    with store.view() as view:
        yield LogTree(view), view, [data for _, data in view.leaves()]


def test_full_tiles_are_kept_with_the_change_that_fills_them(logged: Store) -> None:
    with tree_of(logged) as (tree, view, leaves):
        assert EVENTS == tree.size
        kept = view.tiles(0, 0, 9)
        assert [0, 1] == [tile.index for tile in kept]
        assert b"".join(map(leaf_hash, leaves[:256])) == kept[0].hashes
        assert root_of([leaf_hash(leaf) for leaf in leaves[256:512]]).hex() == kept[1].root


def test_roots_and_proofs_are_those_of_the_leaves(logged: Store) -> None:
    with tree_of(logged) as (tree, view, leaves):
        hashes = [leaf_hash(leaf) for leaf in leaves]
        head = view.head()
        assert head is not None
        assert head.root == tree.root().hex()
        for size in (1, 255, 256, 300, 512, 599):
            assert root_of(hashes[:size]) == tree.root(size)
            proof = tree.consistency(size)
            assert verify_consistency(
                old_size=size, new_size=EVENTS, old_root=tree.root(size), new_root=tree.root(), proof=proof
            )
        for position in (0, 255, 256, 599):
            proof = tree.inclusion(position)
            assert inclusion_proof(hashes, position) == proof
            assert verify_inclusion(
                hashes[position], index=position, size=EVENTS, proof=proof, root=tree.root()
            )


def test_every_tile_and_bundle_can_be_written_out(logged: Store) -> None:
    with tree_of(logged) as (tree, _, leaves):
        for name in tiles_of(tree.size):
            assert name.level is not None
            assert name.width * 32 == len(tree.tile(name.level, name.index, name.width))
        written = [
            entry
            for name in entries_of(tree.size)
            for entry in decode_entries(tree.entries(name.index, name.width), width=name.width)
        ]
        assert leaves == written


def test_a_log_that_never_kept_tiles_gets_them_when_the_home_is_upgraded(logged: Store) -> None:
    with logged.engine.begin() as connection:
        before = connection.execute(text('SELECT level, "index", root, hashes FROM tile')).all()
        connection.execute(text("DELETE FROM tile"))
    with tree_of(logged) as (tree, view, _):
        head = view.head()
        assert head is not None
        assert head.root == tree.root().hex()
    store_schema.upgrade(logged)
    with logged.engine.begin() as connection:
        assert before == connection.execute(text('SELECT level, "index", root, hashes FROM tile')).all()
    assert 2 == len(before)


def test_a_long_event_of_an_older_release_stands_apart(logged: Store) -> None:
    """The format's entries end at 65,535 bytes; releases before the salted leaves knew no such limit."""
    with logged.engine.begin() as connection:
        leaf = connection.execute(text("SELECT leaf FROM event WHERE position = 5")).scalar()
        connection.execute(text("UPDATE event SET leaf = :leaf WHERE position = 5"), {"leaf": "x" * 70_000})
    with tree_of(logged) as (tree, _, _leaves):
        assert b"" == decode_entries(tree.entries(0), width=256)[5]
        assert {5: b"x" * 70_000} == tree.long_leaves(0)
    with logged.engine.begin() as connection:
        connection.execute(text("UPDATE event SET leaf = :leaf WHERE position = 5"), {"leaf": leaf})


def test_a_real_homes_log_reads_the_same(site_home: Home) -> None:
    store = Store(site_home.database, sign_head=keyring.head_signer(site_home))
    with tree_of(store) as (tree, view, leaves):
        head = view.head()
        assert head is not None
        assert (len(leaves), head.root) == (tree.size, tree.root().hex())
    store.close()
