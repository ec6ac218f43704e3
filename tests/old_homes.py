"""Homes of releases before this one, as `tests/homes/` keeps them: taken out, put on PostgreSQL, and at their own time."""

import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command

from registry import store_schema
from tests.cli import Prompt
from tidegate import wiring

HOMES = Path(__file__).parent / "homes"
SHAPE = "0003"
MODEL = "demo/tiny-toolcaller"


class Clock:
    """The day after the homes were frozen; a minute passes with every command."""

    def __init__(self) -> None:
        self.now = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        self.now += timedelta(minutes=1)
        return self.now


class OldTown:
    """The origin, its site, somebody alone, and everything that was on its way between them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.origin, self.site = Prompt(folder / "origin", "oda"), Prompt(folder / "site", "ines")
        self.desk = Prompt(folder / "desk", "dora")

    @property
    def homes(self) -> tuple[Prompt, ...]:
        return self.origin, self.site, self.desk

    def signs(self, person: str) -> list[object]:
        return ["--person", person, "--reason", "as agreed", "--key", self.folder / f"{person}.key"]

    def upgrade(self) -> None:
        for prompt in self.homes:
            prompt.type("upgrade")


def unpack(folder: Path) -> OldTown:
    """Take the frozen homes out."""
    folder.mkdir()
    with tarfile.open(HOMES / f"shape-{SHAPE}.tar.xz") as tar:
        tar.extractall(folder, filter="tar")
    return OldTown(folder)


@contextmanager
def at_their_time(patch: pytest.MonkeyPatch) -> Iterator[Clock]:
    """Every command of the block runs on the homes' own days: their signatures do not last for ever."""
    clock = Clock()
    defaults = wiring.App.__init__.__kwdefaults__
    assert defaults is not None
    with patch.context() as within:
        within.setitem(defaults, "clock", clock)
        yield clock


def move(home: Path, url: str) -> None:
    """Put a home's rows into an empty PostgreSQL database in the old shape, and have the home keep them there."""
    there = sa.create_engine(url)
    with there.begin() as connection:
        command.upgrade(store_schema._config(connection), SHAPE)
    here = sa.create_engine(f"sqlite:///{home / 'registry.db'}")
    with here.connect() as source, there.begin() as target:
        shape = sa.MetaData()
        shape.reflect(target)
        for table in shape.tables.values():
            if table.name != "alembic_version":
                _pour(source, target, table)
    here.dispose()
    there.dispose()
    (home / "registry.db").unlink()
    settings = home / "tidegate.toml"
    settings.write_text(f'{settings.read_text()}database = "{url}"\n')


def _pour(source: sa.Connection, target: sa.Connection, table: sa.Table) -> None:
    rows = [dict(row) for row in source.execute(sa.text(f'SELECT * FROM "{table.name}"')).mappings()]
    if rows:
        kinds = {column.name: column.type.python_type for column in table.columns}
        target.execute(table.insert(), [{name: _as(kinds[name], row[name]) for name in row} for row in rows])
    if "id" in table.columns:
        next_one = f"SELECT setval(pg_get_serial_sequence('{table.name}', 'id'), (SELECT coalesce(max(id), 0) + 1 FROM \"{table.name}\"), false)"
        target.execute(sa.text(next_one))


def _as(kind: type, value: object) -> object:
    return bool(value) if kind is bool and value is not None else value  # SQLite has no truth values


def killed_at(statement: int, action: Callable[[], object]) -> bool:
    """Run `action` in a child that dies (SIGKILL) before its so-manieth SQL statement; whether it got that far."""
    import os
    import signal

    child = os.fork()
    if child == 0:
        left = [statement]

        @sa.event.listens_for(sa.Engine, "before_cursor_execute")
        def _count(*_: object) -> None:
            left[0] -= 1
            if not left[0]:
                os.kill(os.getpid(), signal.SIGKILL)

        try:
            action()
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
