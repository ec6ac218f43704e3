"""A home: one folder that is an origin, a site, or both. Says where everything in it is.

tidegate.toml      name, roles, database, profile: read at the start of every command
registry.db        the database, unless tidegate.toml names a PostgreSQL one
store/             blobs, an OCI image layout
quarantine/        bytes that have arrived and are trusted by nobody yet
keys/              station.pem (this machine's own key) and, at an origin, the role keys (encrypted)
trust/             at an origin: the TUF metadata it publishes
.reserve           space set aside, so that `tidegate gc` works on a full disk
.*.lock            who is at work; the kernel holds the locks, the files are only their names
"""

import fcntl
import json
import os
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from registry import reserve
from registry.blobs import BlobStore
from registry.errors import HomeUnusable, RegistryRefusal
from registry.names import word
from signing.durable import write_durably

SETTINGS = "tidegate.toml"
FORMAT = 1
ROLES = ("origin", "site")
PROFILES = ("solo", "officers", "hybrid", "cnsa2")


class HomeBusy(RegistryRefusal):
    """Another command holds the lock for this work."""

    exit_code: ClassVar[int] = 87
    next_step: ClassVar[str] = "Wait for the other command to end, or stop it; then run this one again."

    def __init__(self, home: str, work: str) -> None:
        super().__init__(f"{home}: another command is at work on {work}")
        self.home, self.work = home, work


@dataclass(frozen=True)
class Home:
    """Where things are, and who this home is."""

    path: Path
    name: str
    roles: tuple[str, ...]
    database: str  # URL, never with a password
    profile: str

    @property
    def is_origin(self) -> bool:
        """Whether it packs bundles."""
        return "origin" in self.roles

    @property
    def is_site(self) -> bool:
        """Whether it receives bundles."""
        return "site" in self.roles

    @property
    def blobs(self) -> BlobStore:
        """The blob store."""
        return BlobStore(self.path / "store")

    @property
    def quarantine(self) -> Path:
        """Where arrived bytes wait; on the blob store's file system, so that adopting one is a rename."""
        return self.path / "quarantine"

    @property
    def keys(self) -> Path:
        """Private keys, mode 0700."""
        return self.path / "keys"

    @property
    def station_key(self) -> Path:
        """This machine's own key: signs log heads, statements, receipts; at an origin also snapshot and timestamp."""
        return self.keys / "station.pem"

    @property
    def trust(self) -> Path:
        """The TUF metadata that this origin publishes."""
        return self.path / "trust"

    @contextmanager
    def busy(self, work: str) -> Iterator[None]:
        """Hold the lock for one kind of long work, and the store as it is. Raises `HomeBusy` at once.

        The locks are the kernel's: they end with the process, however that ends.
        """
        with self._locked(work, fcntl.LOCK_EX, said=work), self.using_store():
            yield

    @contextmanager
    def using_store(self) -> Iterator[None]:
        """Hold the store as it is: any number of commands may, and nothing is removed meanwhile. Raises `HomeBusy`."""
        with self._locked("store", fcntl.LOCK_SH, said="freeing space"):
            yield

    @contextmanager
    def store_alone(self) -> Iterator[None]:
        """Be the only one who uses the store. Raises `HomeBusy` at once when any command does."""
        with self._locked("store", fcntl.LOCK_EX, said="the blob store"):
            yield

    def store_in_use(self) -> bool:
        """Say whether any command uses the store at this moment."""
        try:
            with self.store_alone():
                return False
        except HomeBusy:
            return True

    @contextmanager
    def _locked(self, name: str, how: int, *, said: str) -> Iterator[None]:
        handle = os.open(self.path / f".{name}.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            try:
                fcntl.flock(handle, how | fcntl.LOCK_NB)
            except BlockingIOError as exc:
                raise HomeBusy(str(self.path), said) from exc
            yield
        finally:
            os.close(handle)


def make(path: Path, *, name: str, roles: tuple[str, ...], profile: str, database: str | None = None) -> Home:
    """Make the folders and write `tidegate.toml`; the caller makes keys and database.

    Raises:
        HomeUnusable: there is a home already, or the folder holds other things.
    """
    word("home", name)
    if (path / SETTINGS).exists():
        raise HomeUnusable(str(path), "is a home already")
    if path.exists() and any(path.iterdir()):
        raise HomeUnusable(str(path), "is not empty; a home is made in a new or empty folder")
    path.mkdir(parents=True, exist_ok=True)
    home = Home(path, name, roles, database or f"sqlite:///{path / 'registry.db'}", profile)
    for folder in (home.quarantine, home.trust):
        folder.mkdir()
    home.keys.mkdir(mode=0o700)
    home.blobs.root.mkdir()
    home.blobs.create()
    reserve.set_aside(path)
    return home


def write_settings(home: Home) -> None:
    """Write `tidegate.toml`. The last step of making a home: what has no settings file is not a home yet."""
    own = f"sqlite:///{home.path / 'registry.db'}"
    lines = [
        f"format = {FORMAT}",
        f"name = {json.dumps(home.name)}",
        f"roles = {json.dumps(list(home.roles))}",
        f"profile = {json.dumps(home.profile)}  # solo: one person holds every key, and every report says so",
    ]
    if home.database != own:
        lines.append(
            f"database = {json.dumps(home.database)}  # no password here: libpq finds it in ~/.pgpass"
        )
    write_durably(home.path / SETTINGS, ("\n".join(lines) + "\n").encode())


def load(path: Path) -> Home:
    """Read a home's settings. Raises `HomeUnusable`, naming the field."""
    try:
        raw = tomllib.loads((path / SETTINGS).read_text())
    except FileNotFoundError as exc:
        raise HomeUnusable(
            str(path), f"is not a home: it has no {SETTINGS}. `tidegate init` makes one"
        ) from exc
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError, OSError) as exc:
        raise HomeUnusable(str(path / SETTINGS), f"cannot be read ({exc})") from exc
    unknown = set(raw) - {"format", "name", "roles", "profile", "database"}
    if unknown:
        raise HomeUnusable(str(path / SETTINGS), f"has unknown settings: {', '.join(sorted(unknown))}")
    if raw.get("format") != FORMAT:
        raise HomeUnusable(
            str(path / SETTINGS), f"format is {raw.get('format')!r}; this release reads {FORMAT}"
        )
    roles = raw.get("roles")
    if not isinstance(roles, list) or not roles or any(role not in ROLES for role in roles):
        raise HomeUnusable(str(path / SETTINGS), f"roles must be some of {', '.join(ROLES)}")
    if raw.get("profile") not in PROFILES:
        raise HomeUnusable(str(path / SETTINGS), f"profile must be one of {', '.join(PROFILES)}")
    if not isinstance(raw.get("name"), str):
        raise HomeUnusable(str(path / SETTINGS), "name must be a text")
    database = raw.get("database", f"sqlite:///{path / 'registry.db'}")
    if not isinstance(database, str):
        raise HomeUnusable(str(path / SETTINGS), "database must be an address")
    return Home(path, word("home", raw["name"]), tuple(roles), database, raw["profile"])
