"""`audit verify` on longer logs: in pieces, in several processes, with tiles, with leaves of an older release."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from registry import log_check, store_schema
from registry.audit import Entry, EventKind
from registry.entities import Observation
from registry.home import Home
from registry.log_tree import LogTree
from registry.store import Store
from signing import checkpoint
from signing.merkle import Frontier, leaf_hash
from tests.conftest import NOON
from tests.registry.old_logs import leaf_bytes
from tests.world import at_work, new_home
from tidegate import keyring, verifying

EVENTS = 600


def observation(number: int) -> Observation:
    return Observation(
        tier="team", node=f"node {number}", model="acme/guard", state="SERVES", version="7" * 64,
        body="{}", since="2026-11-20T12:00:00Z", actor="ines",
    )  # fmt: skip


def grow(store: Store, number: int, *, first: int = 0) -> None:
    with store.change(actor="ines", now=NOON) as change:
        for index in range(first, first + number):
            change.record(EventKind.OBSERVED, "team", observation(index))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Home:
    home = new_home(tmp_path_factory.mktemp("long") / "home", name="clinic", now=NOON)
    with at_work(home, actor="ines", now=NOON) as work:
        grow(work.store, EVENTS)
    return home


@contextmanager
def edited(home: Home, *statements: str) -> Iterator[list[str]]:
    """What is found after an edit, which is then taken back."""
    database = Path(home.database.removeprefix("sqlite:///"))
    with closing(sqlite3.connect(database)) as link:
        link.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    good = database.read_bytes()
    try:
        with closing(sqlite3.connect(database)) as link, link:
            for statement in statements:
                link.execute(statement)
        yield found(home)
    finally:
        for side in database.parent.glob(f"{database.name}-*"):
            side.unlink()
        database.write_bytes(good)


def found(home: Home, *, every_signature: bool = False) -> list[str]:
    with at_work(home, actor="auditor", now=NOON) as work:
        return verifying.verify(work.store, home, every_signature=every_signature)


ATTACKS = {
    "a tile's hash": (
        'UPDATE tile SET hashes = zeroblob(8192) WHERE "index" = 1', ["tile 0/1: differs from the events below it"],
    ),
    "a tile's root": (
        "UPDATE tile SET root = 'ab' WHERE \"index\" = 0", ["tile 0/0: differs from the events below it"],
    ),
    "a tile removed": ('DELETE FROM tile WHERE "index" = 1', ["tile 0/1 is missing"]),
    "a tile too many": (
        "INSERT INTO tile VALUES (1, 0, 'ab', zeroblob(8192))", ["tile 1/0: stands beyond the last event"],
    ),
    "an event in the second tile removed": (
        "DELETE FROM event WHERE position = 300", ["event 300 is missing, out of place or unreadable"],
    ),
    "a row in the middle": (
        "UPDATE observation SET state = 'OTHER' WHERE node = 'node 300'", ["state=OTHER where the log has SERVES"],
    ),
    "an opening": (
        "UPDATE event SET openings = replace(openings, 'node 300', 'node 999') WHERE openings LIKE '%node 300%'",
        ["its openings are not those of what was recorded"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_edit_is_named(made: Home, attack: str) -> None:
    statement, named = ATTACKS[attack]
    with edited(made, statement) as problems:
        assert len(problems) <= 2
        for words in named:
            assert any(words in problem for problem in problems), problems
    assert [] == found(made)


def test_a_long_log_is_checked_by_several_processes(made: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verifying, "_MANY", 100)
    with edited(made, "UPDATE observation SET state = 'OTHER' WHERE node = 'node 300'") as problems:
        assert any("state=OTHER where the log has SERVES" in problem for problem in problems)


def test_a_table_that_was_replaced_is_named_as_a_whole(made: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verifying, "_NAMED", 50)
    with edited(made, "UPDATE observation SET state = 'OTHER'") as problems:
        assert ["observation: too many rows differ from the log to be named"] == problems


def test_the_signature_of_every_head_is_checked_when_asked(made: Home) -> None:
    """A head's signature that was spoiled takes nothing away: the next signed head covers the same events."""
    spoil = "UPDATE checkpoint SET note = substr(note, 1, length(note) - 6) || 'AAAA=' || char(10) WHERE size = {}"
    with edited(made, spoil.format(301)) as problems:
        assert [] == problems
        assert ["head 301"] == [problem[:8] for problem in found(made, every_signature=True)]
    with edited(made, spoil.format(256)) as problems:
        assert ["head 256"] == [problem[:8] for problem in problems]


def test_a_fork_is_found_by_a_kept_head_wherever_it_begins(made: Home) -> None:
    with at_work(made, actor="ines", now=NOON) as work:
        with work.store.view() as view:
            tree = LogTree(view)
            kept = [
                verifying.KeptHead(f"at {size}", size, tree.root(size))
                for size in (1, 255, 256, 300, 512, tree.size)
            ]
            false = [verifying.KeptHead(f"no {size}", size, b"\x07" * 32) for size in (1, 300, tree.size)]
            gone = verifying.KeptHead("later", tree.size + 1, tree.root())
        assert [] == verifying.verify(work.store, made, kept=kept)
        problems = verifying.verify(work.store, made, kept=[*false, gone])
    assert ["no 1", "no 300", f"no {tree.size}", "later"] == [problem.split(":")[0] for problem in problems]
    assert "the last ones are gone" in problems[-1]


def test_a_log_of_an_older_release_verifies_and_grows(tmp_path: Path) -> None:
    """Its leaves show everything, it keeps no tiles and no openings; after the upgrade new leaves stand beside them."""
    home = new_home(tmp_path / "home", name="clinic", now=NOON)
    database = Path(home.database.removeprefix("sqlite:///"))
    _write_old_log(database, home, events=300)
    store = Store(home.database, sign_head=keyring.head_signer(home))
    store_schema.upgrade(store)
    grow(store, 300, first=300)
    with store.view() as view:
        assert [0, 1] == [tile.index for tile in view.tiles(0, 0, 9)]
        assert {"ines"} == {entry.actor for entry in view.events()}
    store.close()
    assert [] == found(home)


def _write_old_log(database: Path, home: Home, *, events: int) -> None:
    frontier, sign = Frontier(), keyring.head_signer(home)
    with closing(sqlite3.connect(database)) as link, link:
        for table in ("event", "checkpoint", "tierpolicy", "tile"):
            link.execute(f"DELETE FROM {table}")
        for number in range(events):
            row = observation(number)
            entry = Entry(
                number, "observed", "team", "2026-11-20T12:00:00Z", "ines", ((row.label, row.content()),), {}
            )
            leaf = leaf_bytes(entry)
            frontier = frontier.append(leaf_hash(leaf))
            root = frontier.root()
            link.execute(
                "INSERT INTO event (position, kind, subject, at, actor, leaf) VALUES (?, 'observed', 'team', ?, 'ines', ?)",
                (number, entry.at, leaf.decode()),
            )
            link.execute(
                "INSERT INTO checkpoint VALUES (?, ?, ?, ?)",
                (frontier.size, root.hex(), frontier.to_hex(), sign(frontier.size, root)),
            )
            link.execute(
                "INSERT INTO observation (tier, node, model, state, version, body, since, actor)"
                " VALUES ('team', ?, 'acme/guard', 'SERVES', ?, '{}', ?, 'ines')",
                (row.node, row.version, row.since),
            )


def test_pieces_of_any_size_grow_the_same_tree() -> None:
    hashes = b"".join(leaf_hash(b"%d" % number) for number in range(700))
    whole = log_check.grown(Frontier(), hashes)
    for cut in (1, 255, 256, 511):
        half = log_check.grown(Frontier(), hashes[: cut * 32])
        assert whole == log_check.grown(half, hashes[cut * 32 :])


def test_a_head_that_another_key_signed_is_named(made: Home) -> None:
    with at_work(made, actor="ines", now=NOON) as work, work.store.view() as view:
        size, root = 256, LogTree(view).root(256)
    forged = checkpoint.sign_checkpoint("tidegate/clinic", size, root, Ed25519PrivateKey.generate())
    with edited(made, f"UPDATE checkpoint SET note = '{forged}' WHERE size = 256") as problems:
        assert ["head 256: checkpoint by tidegate/clinic: no signature by this key"] == problems


def test_a_home_on_either_database_is_read_in_pieces(site_home: Home) -> None:
    """Events and heads are streamed side by side, from one snapshot."""
    with at_work(site_home, actor="ines", now=NOON) as work:
        grow(work.store, 300)
        assert [] == verifying.verify(work.store, site_home, every_signature=True)
        with work.store.change(actor="ines", now=NOON) as change:
            change.session.add(observation(999))  # past the log's back
        problems = verifying.verify(work.store, site_home)
    assert 1 == len(problems)
    assert problems[0].startswith("observation: a row is not in the log")
    assert "node=node 999" in problems[0]
