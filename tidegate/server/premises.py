"""One home, opened for the life of the process, and one command's world (`App`) for each request made of it."""

from collections.abc import Callable
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.blob_watch import BlobWatch
from registry.blobs import BlobStore
from registry.home import Home
from registry.store_doors import DoorStore
from tidegate.passphrases import Source
from tidegate.server.accounts.denials import Denials
from tidegate.server.accounts.pace import Pace
from tidegate.server.settings import ServerSettings
from tidegate.settings import Settings
from tidegate.wiring import App

if TYPE_CHECKING:
    from pipelines.workplace import Workplace
    from registry.store import Store

_STRANGERS = 10  # requests a second


class Premises:
    """What all requests share: the database's connections, the station's key, the settings."""

    def __init__(self, app: App, settings: ServerSettings) -> None:
        """Take over an app whose home is to be served; it is closed with the premises."""
        self._app = app
        self.settings = settings
        self.clock = app.clock

    @property
    def home(self) -> Home:
        """The home."""
        return self._app.home

    @property
    def store(self) -> "Store":
        """The database."""
        return self._app.store

    @cached_property
    def doors(self) -> DoorStore:
        """What the doors remember."""
        return DoorStore(self.store)

    @property
    def blobs(self) -> BlobStore:
        """The blob store."""
        return self.home.blobs

    @cached_property
    def watch(self) -> BlobWatch:
        """Which of its files were hashed, and are still the same."""
        return BlobWatch(self.blobs, self.doors, self.clock)

    @cached_property
    def denials(self) -> Denials:
        """What was denied in the last minute."""
        return Denials(self.store)

    @cached_property
    def pace(self) -> Pace:
        """How many requests a second each known caller sends."""
        return Pace(self.settings.limits.token_requests_per_second)

    @cached_property
    def strangers_pace(self) -> Pace:
        """How many requests a second that write something come from each address that nobody is known at."""
        return Pace(_STRANGERS)

    @cached_property
    def token_minutes(self) -> dict[str, str]:
        """The minute in which each token was last used, by its digest."""
        return {}

    def app(self, actor: str, *, as_json: bool = True) -> "Visit":
        """Somebody's world for one request: the shared home and database, their name, the moment of now."""
        return Visit(self._app, actor, as_json=as_json)

    def close(self) -> None:
        """Give connections back."""
        if "watch" in self.__dict__:  # only if it was asked for
            self.watch.close()
        if "denials" in self.__dict__:
            self.denials.settle(self.clock(), everything=True)
        self._app.close()


class Visit(App):
    """An app that shares what the process has opened, and closes none of it."""

    at_machine = False

    def __init__(self, host: App, actor: str, *, as_json: bool) -> None:
        settings = Settings(home=host.settings.home, actor=actor, as_json=as_json, secrets=_NOBODY)
        super().__init__(settings, clock=host.clock)
        self._host = host
        self.brought: frozenset[Path] = frozenset()  # files that came with the request

    @cached_property
    def home(self) -> Home:
        return self._host.home

    @cached_property
    def store(self) -> "Store":
        return self._host.store

    @cached_property
    def any_store(self) -> "Store":
        return self._host.any_store

    @cached_property
    def work(self) -> "Workplace":
        from dataclasses import replace

        return replace(self._host.work, actor=self.settings.actor, now=self.now)

    def passphrase(self, key: str, *, confirm: bool = False) -> bytes:
        from tidegate.errors import PassphraseMissing

        raise PassphraseMissing(key)

    def named_file(self, name: str) -> Path | None:
        """Only what the request brought: whoever asks from elsewhere names no file of this machine."""
        return Path(name) if Path(name) in self.brought else None

    def close(self) -> None:
        pass


_NOBODY = Source(file=None, descriptor=None, program=None)

Clock = Callable[[], datetime]
