"""Fixtures that all tests share: homes of both kinds, on both databases."""

import itertools
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest

from pipelines.workplace import Workplace
from registry.home import Home
from tests import postgres, world
from tests.softhsm import SoftHsm

_numbers = itertools.count()

NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """One server per test process; every test gets a database of its own."""
    with postgres.server() as url:
        yield url


@pytest.fixture(scope="session")
def hsm(tmp_path_factory: pytest.TempPathFactory) -> SoftHsm:
    """One software security module per test process, with the tokens `export` and `card`."""
    return SoftHsm(tmp_path_factory.mktemp("hsm"))


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> str | None:
    """Where a home keeps its tables: None for its own SQLite file, else the URL of an empty PostgreSQL database."""
    if request.param == "sqlite":
        return None
    return new_database(request.getfixturevalue("postgres_server"))


def new_database(server: str) -> str:
    name = f"t{next(_numbers)}"
    with psycopg.connect(server.replace("+psycopg", "") + "/postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
    return f"{server}/{name}"


@pytest.fixture
def site_home(tmp_path: Path, database: str | None) -> Home:
    """A new site, on SQLite and on PostgreSQL."""
    return world.new_home(tmp_path / "site", name="clinic", roles=("site",), database=database, now=NOON)


@pytest.fixture(scope="session")
def founded_harbour(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """Founded once per test process; `workplace` copies it."""
    path = tmp_path_factory.mktemp("harbour") / "home"
    return world.new_home(path, name="harbour", roles=("origin", "site"), now=NOON)


@pytest.fixture
def workplace(founded_harbour: Home, tmp_path: Path) -> Iterator[Workplace]:
    """A new home that is origin and site, on SQLite."""
    home = world.copied(founded_harbour, tmp_path / "home")
    with world.at_work(home, actor="ines", now=NOON) as work:
        yield work
