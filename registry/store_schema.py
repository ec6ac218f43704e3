"""Brings a home's database to the shape that this release reads (Alembic), and says which shape it has."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sqlalchemy import Connection, text
from sqlmodel import Session

from registry.audit import EventKind
from registry.errors import StoreUnusable
from registry.log_tree import missing_tiles
from registry.store import CHAIN_LOCK, Store, translated
from registry.views import View

_STEPS = Path(__file__).parent / "migrations"


@dataclass(frozen=True)
class By:
    """Which home is upgraded, by whom and when: what its log says of it."""

    home: str
    actor: str
    now: datetime


def upgrade(store: Store, by: By | None = None) -> str | None:
    """Run every step that the database lacks, in one transaction: stopped at any moment, nothing of it has happened.

    Two at once wait for each other; none runs twice.

    Args:
        by: recorded in the same transaction, unless the database was empty or had this release's shape.

    Returns the shape that was found, None for an empty database.

    Raises:
        StoreUnusable: the database is away, in use, or its disk is full.
    """
    from alembic import command  # noqa: PLC0415 - 0.2 s that only `init` and upgrades pay

    with translated(store.url), store.engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": CHAIN_LOCK})
        found = _shape(connection)
        command.upgrade(_config(connection), "head")
        with Session(connection, join_transaction_mode="rollback_only") as session:
            _backfill(session)
            if by is not None and found not in (None, newest()):
                change = store.change_in(session, actor=by.actor, now=by.now)
                change.record(EventKind.UPGRADED, by.home, note={"from": found, "to": newest()})
    return found


def _backfill(session: Session) -> None:
    """Logs of older releases keep no tiles: make them, so that a proof in an old log is as quick as in a new one."""
    for tile in missing_tiles(View(session)):
        session.add(tile)
        session.flush()


def demand_readable(store: Store) -> str:
    """Return the database's shape: this release's, or an older one that `upgrade` brings here.

    Raises:
        StoreUnusable: there is no database, or it has a shape that this release does not know.
    """
    url = store.engine.url
    where = url.render_as_string(hide_password=True)
    if url.get_backend_name() == "sqlite":  # opening one that is not there, or is empty, would make one
        file = Path(url.database or "")
        if not file.is_file() or not file.stat().st_size:
            raise StoreUnusable(where, "the file is not there, or is empty")
    found = shape(store)
    if found not in _known():
        raise StoreUnusable(
            where, f"has shape {found or 'none'}, which this release does not know ({newest()})"
        )
    return str(found)


def shape(store: Store) -> str | None:
    """The step that the database stands at, or None for an empty one. Raises `StoreUnusable`."""
    with store.view() as view:
        return _shape(view.session.connection())


def _shape(connection: Connection) -> str | None:
    if not connection.dialect.has_table(connection, "alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def newest() -> str:
    """The newest step that this release knows."""
    return max(_known())


def _known() -> set[str]:
    return {path.stem.split("_")[0] for path in (_STEPS / "versions").glob("[0-9]*.py")}


def _config(connection: Connection):  # type: ignore[no-untyped-def]  # noqa: ANN202 - alembic is imported late
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(_STEPS))
    config.attributes["connection"] = connection
    return config
