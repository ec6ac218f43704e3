"""The store keeps its promises on SQLite and on PostgreSQL alike."""

import threading
from datetime import timedelta

import pytest
from sqlalchemy import text

from registry import audit
from registry.audit import EventKind
from registry.entities import Person, Withdrawal
from registry.errors import StoreUnusable
from registry.home import Home
from registry.store import Store
from signing import checkpoint
from signing.merkle import leaf_hash, root_of
from signing.times import rfc3339
from tests.conftest import NOON
from tests.world import at_work
from tidegate import keyring


def person(name: str, position: int = 1) -> Person:
    return Person(
        name=name,
        position=position,
        public_key="ssh-ed25519 AAAA",
        roles="steward",
        active=True,
        since=rfc3339(NOON),
        actor="root",
    )


def differences(home: Home) -> list[str]:
    with at_work(home, actor="auditor", now=NOON) as work, work.store.view() as view:
        return [str(item) for item in audit.compare(view.events(), dict(view.recorded()))]


def test_a_change_and_its_event_are_one(site_home: Home) -> None:
    """A change that fails half-way leaves neither row nor event nor a new head."""
    with at_work(site_home, actor="ines", now=NOON) as work:
        with work.store.view() as view:
            before = (len(view.events()), view.head())
        with pytest.raises(RuntimeError), work.store.change(actor="ines", now=NOON) as change:
            change.record(EventKind.PERSON_SET, "alice", person("alice"))
            raise RuntimeError("the power went")
        with work.store.view() as view:
            assert [] == view.people()
            assert before == (len(view.events()), view.head())


def test_every_head_is_signed_and_covers_the_whole_log(site_home: Home) -> None:
    with at_work(site_home, actor="ines", now=NOON) as work:
        for name in ("alice", "bob", "carol"):
            with work.store.change(actor="ines", now=NOON) as change:
                change.record(EventKind.PERSON_SET, name, person(name))
        with work.store.view() as view:
            leaves = [leaf_hash(data) for _, data in view.leaves()]
            for head in view.checkpoints():
                found = checkpoint.verify(head.note, keyring.log_verifier_key(site_home))
                assert (head.size, root_of(leaves[: head.size])) == (found.size, found.root)
    assert [] == differences(site_home)


@pytest.mark.parametrize(
    ("attack", "expected"),
    [
        ("UPDATE person SET roles = 'steward,admin' WHERE name = 'alice'", "not in the log"),
        ("DELETE FROM person WHERE name = 'alice'", "missing from the table"),
        (
            "INSERT INTO person (id, name, position, public_key, roles, active, since, actor) "
            "VALUES (99, 'mallory', 1, 'k', 'steward', true, '2026-11-20T12:00:00Z', 'root')",
            "not in the log",
        ),
    ],
)
def test_an_administrator_with_sql_is_seen(site_home: Home, attack: str, expected: str) -> None:
    with at_work(site_home, actor="ines", now=NOON) as work:
        with work.store.change(actor="ines", now=NOON) as change:
            change.record(EventKind.PERSON_SET, "alice", person("alice"))
        assert [] == differences(site_home)
        with work.store.engine.begin() as connection:
            connection.execute(text(attack))
    assert any(expected in line for line in differences(site_home))


def test_many_writers_make_one_unbroken_log(site_home: Home) -> None:
    """Eight threads with two stores, as two processes would have, write at once: no gap, no fork, none lost."""
    stores = [Store(site_home.database, sign_head=keyring.head_signer(site_home)) for _ in range(2)]

    def write(number: int) -> None:
        with stores[number % 2].change(actor="ines", now=NOON + timedelta(seconds=number)) as change:
            change.record(EventKind.PERSON_SET, f"p{number}", person(f"p{number}"))

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with stores[0].view() as view:
        assert 8 == len(view.people())
        leaves = view.leaves()
        assert list(range(len(leaves))) == [entry.position for entry in view.events()]
        head = view.head()
        assert head is not None
        assert (len(leaves), root_of([leaf_hash(data) for _, data in leaves]).hex()) == (head.size, head.root)
    for store in stores:
        store.close()


def test_the_database_itself_refuses_what_the_code_would_not_write(site_home: Home) -> None:
    from sqlalchemy.exc import IntegrityError

    bad = Withdrawal(version="too short", reason="r", since=rfc3339(NOON), actor="a")
    with at_work(site_home, actor="ines", now=NOON) as work:
        with pytest.raises(IntegrityError), work.store.change(actor="ines", now=NOON) as change:
            change.record(EventKind.WITHDRAWN, "x", bad)
    assert [] == differences(site_home)


def test_a_database_that_is_away_is_the_operators_matter() -> None:
    store = Store("postgresql+psycopg://nobody@127.0.0.1:1/none", sign_head=lambda _size, _root: "")
    with pytest.raises(StoreUnusable) as refusal, store.view() as view:
        view.people()
    assert "127.0.0.1" in str(refusal.value)
