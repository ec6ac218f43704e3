"""The state of the doors: sessions, password hashes, tries, challenges, answers, marks. Changed in place.

None of it is recorded in the log: what matters of it is an event (`signed in`, `denied`), the rest is worth
nothing tomorrow. Losing all of it signs everybody out and has blobs hashed again, nothing more.
"""

from collections.abc import Sequence
from typing import TypeVar

from sqlalchemy import delete, func, inspect, update
from sqlmodel import SQLModel, col, select

from registry.entities import (
    BlobSeen,
    DoorAnswer,
    DoorChallenge,
    DoorSecret,
    DoorSession,
    DoorTry,
    TokenUse,
)
from registry.store import Store

Kept = TypeVar("Kept", DoorSecret, DoorSession, DoorChallenge, DoorAnswer, BlobSeen, TokenUse)


class DoorStore:
    """Small questions and changes, each in a transaction of its own."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def get(self, table: type[Kept], *key: str) -> Kept | None:
        """The row with this primary key."""
        with self._store.state(write=False) as session:
            return session.get(table, key)

    def put(self, *rows: Kept) -> None:
        """Keep the rows, in place of those with the same keys."""
        with self._store.state(write=True) as session:
            for row in rows:
                session.merge(row)

    def add(self, row: Kept) -> bool:
        """Keep a row unless there is one with its key; say whether it was kept."""
        with self._store.state(write=True) as session:
            if session.get(type(row), _key_of(row)) is not None:
                return False
            session.add(row)
            return True

    def take(self, table: type[Kept], *key: str) -> Kept | None:
        """Remove the row with this key and return it: who comes second gets None."""
        with self._store.state(write=True) as session:
            row = session.get(table, key)
            if row is not None:
                session.delete(row)
            return row

    def sessions(self, account: str) -> Sequence[DoorSession]:
        """Every session of an account, newest first."""
        query = select(DoorSession).where(DoorSession.account == account)
        with self._store.state(write=False) as session:
            return list(session.exec(query.order_by(col(DoorSession.began).desc())))

    def end_challenges(self, kind: str, body: str) -> None:
        """Take back every question of a kind that is about the same."""
        ended = delete(DoorChallenge).where(col(DoorChallenge.kind) == kind, col(DoorChallenge.body) == body)
        with self._store.state(write=True) as session:
            session.connection().execute(ended)

    def touch_session(self, name: str, seen: str) -> None:
        """Note a session's last use, unless it ended meanwhile."""
        used = update(DoorSession).where(col(DoorSession.id) == name).values(seen=seen)
        with self._store.state(write=True) as session:
            session.connection().execute(used)

    def end_sessions(self, account: str, *, but: str = "") -> None:
        """Sign an account out everywhere, or everywhere but in one session."""
        ended = delete(DoorSession).where(col(DoorSession.account) == account, col(DoorSession.id) != but)
        with self._store.state(write=True) as session:
            session.connection().execute(ended)

    def tried(self, subject: str, at: str) -> int:
        """Count something for a limit, and return the number by which `take_back` knows it."""
        row = DoorTry(subject=subject, at=at)
        with self._store.state(write=True) as session:
            session.add(row)
            session.flush()
            assert row.id is not None, "given by the database"
            return row.id

    def take_back(self, *numbers: int) -> None:
        """Not to have counted these."""
        with self._store.state(write=True) as session:
            session.connection().execute(delete(DoorTry).where(col(DoorTry.id).in_(numbers)))

    def tries(self, subject: str, since: str) -> int:
        """How often it was counted since a moment, that one included."""
        query = select(func.count()).where(DoorTry.subject == subject, DoorTry.at >= since)
        with self._store.state(write=False) as session:
            return session.exec(query).one()

    def newest_tries(self, subject: str, since: str, *, most: int) -> list[str]:
        """When it was counted since a moment: the newest first, at most so many."""
        query = select(DoorTry.at).where(DoorTry.subject == subject, DoorTry.at >= since)
        newest = query.order_by(col(DoorTry.at).desc(), col(DoorTry.id).desc()).limit(most)
        with self._store.state(write=False) as session:
            return list(session.exec(newest))

    def forgive(self, subject: str) -> None:
        """Begin to count anew."""
        with self._store.state(write=True) as session:
            session.connection().execute(delete(DoorTry).where(col(DoorTry.subject) == subject))

    def last_uses(self) -> dict[str, str]:
        """When each token was last shown, by its digest."""
        with self._store.state(write=False) as session:
            return {row.digest: row.last_used for row in session.exec(select(TokenUse))}

    def seen(self) -> Sequence[BlobSeen]:
        """Every mark."""
        with self._store.state(write=False) as session:
            return list(session.exec(select(BlobSeen)))

    def sweep(self, *, now: str, tries_before: str, answers_before: str) -> None:
        """Remove what has ended."""
        ended = (
            delete(DoorSession).where(col(DoorSession.until) < now),
            delete(DoorChallenge).where(col(DoorChallenge.until) < now),
            delete(DoorTry).where(col(DoorTry.at) < tries_before),
            delete(DoorAnswer).where(col(DoorAnswer.at) < answers_before),
        )
        with self._store.state(write=True) as session:
            for statement in ended:
                session.connection().execute(statement)


def _key_of(row: SQLModel) -> tuple[object, ...]:
    return tuple(getattr(row, column.name) for column in inspect(type(row)).primary_key)
