"""Brings a home's database to the shape that this release reads (Alembic), and says which shape it has."""

from pathlib import Path

from sqlalchemy import Connection, text
from sqlmodel import Session

from registry.errors import StoreUnusable
from registry.log_tree import missing_tiles
from registry.store import CHAIN_LOCK, Store
from registry.views import View

_STEPS = Path(__file__).parent / "migrations"


def upgrade(store: Store) -> None:
    """Run every step that the database lacks. Two at once wait for each other; none runs twice."""
    from alembic import command  # noqa: PLC0415 - 0.2 s that only `init` and upgrades pay

    with store.engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": CHAIN_LOCK})
        command.upgrade(_config(connection), "head")
        _backfill(connection)


def _backfill(connection: Connection) -> None:
    """Logs of older releases keep no tiles: make them, so that a proof in an old log is as quick as in a new one."""
    with Session(connection, join_transaction_mode="rollback_only") as session:
        for tile in missing_tiles(View(session)):
            session.add(tile)
            session.flush()


def demand_current(store: Store) -> None:
    """Raise `StoreUnusable` unless the database has exactly the shape that this release reads."""
    url = store.engine.url
    where = url.render_as_string(hide_password=True)
    if url.get_backend_name() == "sqlite":  # opening one that is not there, or is empty, would make one
        file = Path(url.database or "")
        if not file.is_file() or not file.stat().st_size:
            raise StoreUnusable(where, "the file is not there, or is empty")
    found, wanted = shape(store), newest()
    if found != wanted:
        raise StoreUnusable(where, f"has shape {found or 'none'}, this release reads {wanted}")


def shape(store: Store) -> str | None:
    """The step that the database stands at, or None for an empty one. Raises `StoreUnusable`."""
    with store.view() as view:
        connection = view.session.connection()
        if not connection.dialect.has_table(connection, "alembic_version"):
            return None
        return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def newest() -> str:
    """The newest step that this release knows."""
    return max(path.stem.split("_")[0] for path in (_STEPS / "versions").glob("[0-9]*.py"))


def _config(connection: Connection):  # type: ignore[no-untyped-def]  # noqa: ANN202 - alembic is imported late
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(_STEPS))
    config.attributes["connection"] = connection
    return config
