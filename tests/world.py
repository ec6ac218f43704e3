"""Homes for tests, made exactly as `tidegate init` makes them."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from pipelines.workplace import Workplace
from registry import home as homes
from registry.home import Home
from registry.store import Store
from tidegate import founding, keyring

PASSPHRASE = b"correct horse"


def new_home(
    path: Path,
    *,
    name: str,
    now: datetime,
    roles: tuple[str, ...] = ("site",),
    profile: str = "solo",
    database: str | None = None,
) -> Home:
    """A home with its keys, database and, at an origin, its trust."""
    return founding.found(
        path,
        name=name,
        roles=roles,
        profile=profile,
        database=database,
        passphrase=lambda _key: PASSPHRASE,
        actor="root",
        now=now,
    )


def copied(home: Home, path: Path) -> Home:
    """The same home somewhere else, in a fiftieth of the time that a new one takes; for a home on SQLite."""
    shutil.copytree(home.path, path, symlinks=True)
    return homes.load(path)


@contextmanager
def at_work(home: Home, *, actor: str, now: datetime) -> Iterator[Workplace]:
    """One person at work in a home."""
    store = Store(home.database, sign_head=keyring.head_signer(home))
    try:
        stations = keyring.trust_signers(home)
        yield Workplace(home, store, home.blobs, keyring.station_signer(home), actor, now, stations)
    finally:
        store.close()
