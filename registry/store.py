"""The registry's state: the only place that speaks SQL, on SQLite and on PostgreSQL alike.

A change happens in one transaction under one writer's lock: rows are appended, the event that records them
becomes a leaf of the RFC 6962 tree, the new head is signed, all of it is committed or none. Reads see a
consistent snapshot. Measured reasons for the locks: research `stack.md` section 3.
"""

import secrets
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from sqlalchemy import Engine, create_engine, event, make_url, text
from sqlalchemy.exc import DatabaseError, OperationalError
from sqlalchemy.pool import ConnectionPoolEntry
from sqlmodel import Session, col, select

from registry.audit import Entry, EventKind, seal
from registry.entities import Checkpoint, Event, Row
from registry.errors import StoreUnusable
from registry.log_tree import completed_tiles
from registry.salted import SALT_BYTES
from registry.views import View
from signing.merkle import Frontier, leaf_hash
from signing.tiles import MAX_ENTRY
from signing.times import rfc3339

# Signs (tree size, root) as a checkpoint note; made from the home's log key by the wiring.
HeadSigner = Callable[[int, bytes], str]

CHAIN_LOCK = 0x7469646567617465  # "tidegate": the advisory lock that makes one writer at a time


def _salt() -> bytes:
    return secrets.token_bytes(SALT_BYTES)


class Change(View):
    """One transaction that appends rows and the events that record them."""

    def __init__(self, session: Session, *, actor: str, now: datetime, sign_head: HeadSigner) -> None:
        super().__init__(session)
        self.actor = actor
        self.now = rfc3339(now)
        self._sign_head = sign_head

    def record(
        self, kind: EventKind, subject: str, *rows: Row, note: Mapping[str, Any] | None = None
    ) -> None:
        """Append rows and the event that carries their content. Nothing is visible before the commit."""
        head = self._head()
        entry = Entry(
            position=head.size,
            kind=kind.value,
            subject=subject,
            at=self.now,
            actor=self.actor,
            rows=tuple((row.label, row.content()) for row in rows),
            note=note or {},
        )
        leaf = seal(entry, salt=_salt)
        if len(leaf.data) > MAX_ENTRY:  # a bug of ours: recorded, no C2SP reader could take the log any more
            raise AssertionError(f"the event {kind} has {len(leaf.data)} bytes; a leaf holds {MAX_ENTRY}")
        self.session.add_all(rows)
        self.session.add(
            Event(
                position=entry.position,
                kind=entry.kind,
                subject=subject,
                at=entry.at,
                actor=entry.actor,
                leaf=leaf.data.decode(),
                openings=leaf.openings,
            )
        )
        self._grow(head.append(leaf_hash(leaf.data)))

    def _grow(self, frontier: Frontier) -> None:
        """Keep the tree's new head, signed, and the tiles that it completes."""
        note = self._sign_head(frontier.size, frontier.root())
        self.session.add(
            Checkpoint(size=frontier.size, root=frontier.root().hex(), frontier=frontier.to_hex(), note=note)
        )
        self.session.flush()
        for tile in completed_tiles(self, frontier.size):
            self.session.add(tile)
            self.session.flush()  # the next one is read from it

    def _head(self) -> Frontier:
        last = self.session.exec(select(Checkpoint).order_by(col(Checkpoint.size).desc()).limit(1)).first()
        return Frontier() if last is None else Frontier.from_hex(last.frontier)


class Store:
    """The database of one home."""

    def __init__(self, url: str, *, sign_head: HeadSigner) -> None:
        """Open; nothing is read yet.

        Args:
            url: `sqlite:///PATH` or `postgresql+psycopg://…` without a password (libpq finds it).
        """
        self.url = url
        self._sign_head = sign_head
        self._writer = threading.Lock()  # SQLite's own busy handler is unfair: 3.5 s tails without this
        self.engine = _engine(url)

    def close(self) -> None:
        """Give all connections back."""
        self.engine.dispose()

    @contextmanager
    def change(self, *, actor: str, now: datetime) -> Iterator[Change]:
        """One transaction: commits when the block ends, rolls back when it raises."""
        with self._writer, translated(self.url), self._session(write=True) as session:
            if self.engine.dialect.name == "postgresql":
                session.connection().execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": CHAIN_LOCK})
            yield self.change_in(session, actor=actor, now=now)
            session.commit()

    def change_in(self, session: Session, *, actor: str, now: datetime) -> Change:
        """A change within a transaction that somebody else commits."""
        return Change(session, actor=actor, now=now, sign_head=self._sign_head)

    @contextmanager
    def view(self) -> Iterator[View]:
        """A consistent look at the state."""
        with translated(self.url), self._session(write=False) as session:
            yield View(session)

    @contextmanager
    def state(self, *, write: bool) -> Iterator[Session]:
        """One transaction over what is recorded nowhere, for `registry.store_doors` alone."""
        with translated(self.url), self._session(write=write) as session:
            if not write:
                yield session
                return
            with self._writer:
                yield session
                session.commit()

    @contextmanager
    def _session(self, *, write: bool) -> Iterator[Session]:
        engine = self.engine.execution_options(tidegate_write=write)
        if self.engine.dialect.name == "postgresql" and not write:
            # A view is one snapshot. A change is READ COMMITTED: it must see what the holder of the lock wrote.
            engine = engine.execution_options(isolation_level="REPEATABLE READ")
        with Session(engine, expire_on_commit=False) as session:
            yield session


def _engine(url: str) -> Engine:
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        return _sqlite(url)
    # Without server-side prepared statements we also work behind PgBouncer's transaction pooling.
    return create_engine(url, connect_args={"prepare_threshold": None})


def _sqlite(url: str) -> Engine:
    engine = create_engine(url, connect_args={"timeout": 30})

    @event.listens_for(engine, "connect")
    def _prepare(connection: Any, _entry: ConnectionPoolEntry) -> None:
        connection.isolation_level = None  # we say BEGIN ourselves, below
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Any) -> None:
        write = connection.get_execution_options().get("tidegate_write", True)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")

    return engine


@contextmanager
def translated(url: str) -> Iterator[None]:
    """A database that is away, full or no database is the operator's matter; every other SQL error is a bug of ours."""
    try:
        yield
    except DatabaseError as exc:
        if type(exc) not in (DatabaseError, OperationalError):  # SQLite says "malformed" with the base class
            raise
        where = make_url(url).render_as_string(hide_password=True)
        raise StoreUnusable(where, str(exc.orig).strip()) from exc
