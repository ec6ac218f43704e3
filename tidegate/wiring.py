"""Builds what a command works with: home, store, blobs, station key, clock. The one place that reads the clock."""

import importlib.util
import os
import stat
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from registry import home as homes
from registry.blobs import BlobStore
from registry.errors import HomeUnusable
from registry.home import Home
from signing.canonical import NotCanonical
from tidegate.errors import DatabaseAddressRefused, FileUnreadable, HomeOlder, NotHere
from tidegate.passphrases import Passphrases
from tidegate.settings import Settings

if TYPE_CHECKING:
    from pipelines.workplace import Workplace
    from registry.store import Store


class App:
    """One command's world, built piece by piece as it is asked for."""

    at_machine = True  # whether whoever gives the command may write the home's files anyway

    def __init__(
        self, settings: Settings, *, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self.settings = settings
        self.clock = clock
        self.now = clock()  # the moment the command began; every record of it says this one

    @cached_property
    def home(self) -> Home:
        """The home, read from its settings file."""
        return homes.load(self.settings.home)

    @cached_property
    def store(self) -> "Store":
        """The database, in the shape that this release reads."""
        from registry import store_schema

        store = self.any_store
        found, wanted = store_schema.demand_readable(store), store_schema.newest()
        if found != wanted:
            raise HomeOlder(str(self.home.path), found, wanted)
        _demand_as_founded(self.home, store)
        return store

    @cached_property
    def any_store(self) -> "Store":
        """The database, whatever its shape: for what looks at that first."""
        from registry.store import Store
        from tidegate.keyring import head_signer

        if not self.home.database.startswith("sqlite:///"):
            check_database(self.home.database)
        return Store(self.home.database, sign_head=head_signer(self.home))

    @property
    def blobs(self) -> BlobStore:
        """The blob store."""
        return self.home.blobs

    @cached_property
    def work(self) -> "Workplace":
        """What pipelines work with."""
        from pipelines.workplace import Workplace
        from tidegate.keyring import station_signer, trust_signers

        return Workplace(
            home=self.home,
            store=self.store,
            blobs=self.blobs,
            station=station_signer(self.home),
            actor=self.settings.actor,
            now=self.now,
            stations=trust_signers(self.home) if self.home.is_origin else (),
        )

    def demand(self, role: str) -> None:
        """Raise `NotHere` unless the home is an origin or a site, as asked."""
        if role not in self.home.roles:
            raise NotHere(str(self.home.path), role)

    @cached_property
    def _passphrases(self) -> Passphrases:
        return Passphrases(self.settings.secrets)

    def passphrase(self, key: str, *, confirm: bool = False) -> bytes:
        """Return a key's passphrase or a token's PIN; see `tidegate.passphrases`."""
        return self._passphrases.ask(key, confirm=confirm)

    def named_file(self, name: str) -> Path | None:
        """The file that is meant by a name which can mean something else as well, if there is one."""
        path = Path(name)
        return path if path.is_file() else None

    def close(self) -> None:
        """Give connections back."""
        store = self.__dict__.get("any_store")  # only if it was asked for
        if store is not None:
            store.close()
        tokens = sys.modules.get("signing.tokens")  # only if one was used: a login lasts one command
        if tokens is not None:
            tokens.close_all()


def check_database(url: str) -> None:
    """Refuse what is no PostgreSQL address, and a password that would end up in a file or an argument list."""
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError) as exc:  # the second for a port that is no number
        raise DatabaseAddressRefused("it is not an address") from exc
    if parsed.password is not None or "password" in parsed.query:
        raise DatabaseAddressRefused("it holds a password, which every process list and log would show")
    if parsed.drivername != "postgresql+psycopg":
        raise DatabaseAddressRefused(f"{parsed.drivername!r} is not postgresql+psycopg")
    if importlib.util.find_spec("psycopg") is None:
        raise DatabaseAddressRefused("this installation lacks the extra: pip install 'tidegate[postgres]'")


def _demand_as_founded(home: Home, store: "Store") -> None:
    """Refuse settings that were edited: the profile says how many people must agree, the name what bundles are for.

    Raises:
        HomeUnusable: `tidegate.toml` says something else than the first event of the log.
    """
    from registry.audit import EventKind

    try:
        with store.view() as view:
            made = view.founding()
    except NotCanonical:
        made = None
    if made is None or made.kind != EventKind.HOME_MADE:
        return  # no log to hold it against; `audit verify` says so
    said = {"name": home.name, "roles": list(home.roles), "profile": home.profile}
    then = {"name": made.subject, **made.note}
    for setting, value in said.items():
        if then.get(setting) != value:
            problem = f"{setting} is {value!r}, and the home was made with {then.get(setting)!r}"
            raise HomeUnusable(str(home.path / homes.SETTINGS), problem)


def read_file(path: Path, *, max_bytes: int) -> bytes:
    """Return a file that the person named. Raises `FileUnreadable`."""
    try:
        # O_NONBLOCK: a pipe that somebody left on a medium would make us wait for ever.
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as stream:
            if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                raise FileUnreadable(str(path), "is no plain file")
            data = stream.read(max_bytes + 1)
    except OSError as exc:
        raise FileUnreadable(str(path), exc.strerror or "cannot be read") from exc
    if len(data) > max_bytes:
        raise FileUnreadable(str(path), f"is larger than {max_bytes:,} bytes")
    return data
