"""A node for rollouts in tests: pins made by hand, `serving.toml`, and a real nginx on free ports.

Who may pin what is `test_promote`'s story; here a pin is a fact.
"""

import contextlib
import json
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from pipelines.agreements import add_document
from pipelines.intake.folder import add_folder
from pipelines.rollout import settings, units
from pipelines.workplace import Workplace
from registry.audit import EventKind
from registry.entities import Pin
from registry.home import Home
from registry.names import Ref
from signing.times import rfc3339
from tests import world
from tests.conftest import NOON
from tests.programs import program

DEMO = Path(__file__).parents[1] / "demo"
MODEL = "demo/tiny-toolcaller"
PROFILE = json.loads((DEMO / "contracts" / "engine-profile-hermes.json").read_text())


def free_ports(count: int) -> list[int]:
    """Ports that were free a moment ago, all different."""
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def home_with_two_versions(folder: Path) -> Home:
    """A home that holds versions 1 and 2 of the demonstration's model; built once, copied for each test."""
    home = world.new_home(folder / "home", name="clinic", roles=("origin", "site"), now=NOON)
    with world.at_work(home, actor="ines", now=NOON) as work:
        for version in ("v1", "v2"):
            add_folder(work, MODEL, DEMO / "models" / version)
    return home


@contextlib.contextmanager
def copied(built: Home, folder: Path) -> Iterator[Workplace]:
    """Somebody at work in a copy of a home."""
    with world.at_work(world.copied(built, folder), actor="ines", now=NOON) as work:
        yield work


def toml(value: object) -> str:
    """A value as TOML writes it on one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name} = {toml(item)}" for name, item in value.items()) + "}"
    return json.dumps(value)


class Node:
    """One serving node of a home: its `serving.toml`, its folder, and what is pinned there."""

    def __init__(self, work: Workplace, folder: Path, *, profile: dict[str, object] | None = None) -> None:
        self.work, self.folder = work, folder
        self.front, self.blue, self.green = free_ports(3)
        self.includes = folder / "includes"
        self.includes.mkdir(parents=True)
        self.minutes = 0
        self._documents(profile or {})

    def _documents(self, profile: dict[str, object]) -> None:
        rows = {}
        for name in ("tool-contract-hermes", "router-contract-v1"):
            data = (DEMO / "contracts" / f"{name}.json").read_bytes()
            rows[name] = add_document(self.work, data)[0].digest
        self.contract, self.router = rows["tool-contract-hermes"], rows["router-contract-v1"]
        self.profile = self.add_profile(profile)

    def add_profile(self, changes: dict[str, object]) -> str:
        """Take an engine profile in, the demonstration's with changes; return its digest."""
        return add_document(self.work, json.dumps(PROFILE | changes).encode())[0].digest

    def at(self) -> Workplace:
        """The home a minute later, each time."""
        self.minutes += 1
        return replace(self.work, now=self.work.now + timedelta(minutes=self.minutes))

    def pin(self, ordinal: int, *, tier: str = "team", companions: str | None = None) -> Pin:
        """From now on the tier is to serve this version."""
        work = self.at()
        with work.store.change(actor="bob", now=work.now) as change:
            version = change.version(Ref(MODEL, ordinal=ordinal))
            row = Pin(
                tier=tier,
                model=MODEL,
                position=len(change.pin_history(tier, MODEL)) + 1,
                kind="promote",
                version=version.digest,
                ordinal=ordinal,
                contract=self.contract,
                profile=self.profile,
                router=self.router,
                companions=companions,
                evidence="[]",
                reason="test",
                since=rfc3339(work.now),
                actor="bob",
            )
            change.record(EventKind.PROMOTED, version.digest, row)
        return row

    def write_settings(self, **changes: object) -> None:
        """Write `serving.toml`; a change of None leaves the field out."""
        fields: dict[str, object] = {
            "node": "box",
            "strategy": "blue-green",
            "smoke": "",
            "drain_seconds": 60,
            "ready_seconds": 60,
            "stop_seconds": 5,
            "context": 2048,
        } | changes
        lines = [f"{name} = {toml(value)}" for name, value in fields.items() if value is not None]
        text = "\n".join(
            [
                'format = "tidegate-serving/1"',
                f"folder = {json.dumps(str(self.folder / 'serving'))}",
                "[tiers.team]",
                *lines,
                "[tiers.team.nginx]",
                f"includes = {json.dumps(str(self.includes))}",
                *self.commands(),
                f"[tiers.team.models.{json.dumps(MODEL)}]",
                f'listen = "127.0.0.1:{self.front}"',
                f"blue = {self.blue}",
                f"green = {self.green}",
            ]
        )
        (self.work.home.path / settings.FILE).write_text(text)

    def commands(self) -> list[str]:
        """How the proxy is tested and told; without one, every order is obeyed."""
        return ['test = ["true"]', 'reload = ["true"]']

    def serving(self) -> settings.Serving:
        """The settings as they are read."""
        return settings.read(self.work.home.path, tiers={"team", "org", "edge"})


class NginxNode(Node):
    """The same with a real nginx in front, by the configuration that Tidegate writes."""

    def __init__(self, work: Workplace, folder: Path, *, profile: dict[str, object] | None = None) -> None:
        super().__init__(work, folder, profile=profile)
        self.program = program("nginx")
        self.conf = folder / "nginx.conf"

    def words(self, *more: str) -> list[str]:
        own = f"pid {self.folder}/nginx.pid; error_log {self.folder}/error.log;"
        return [self.program, "-p", str(self.folder), "-c", str(self.conf), "-g", own, *more]

    def commands(self) -> list[str]:
        return [
            f"test = {json.dumps(self.words('-t', '-q'))}",
            f"reload = {json.dumps(self.words('-s', 'reload'))}",
        ]

    @contextlib.contextmanager
    def proxy(self) -> Iterator[None]:
        """Run nginx until the block ends; its master is ours, and takes its workers with it."""
        made = units.files(self.serving(), self.work.home.path, program="tidegate")
        self.conf.write_text(made["nginx.conf"])
        for name, text in made.items():
            if name.startswith("includes/"):
                (self.includes / Path(name).name).write_text(text)
        foreground = self.words()
        foreground[foreground.index("-g") + 1] += " daemon off;"
        process = subprocess.Popen(foreground, stdin=subprocess.DEVNULL)
        try:
            self._wait(process)
            yield
        finally:
            process.terminate()  # at once: the workers end too
            process.wait(20)

    def _wait(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            assert process.poll() is None, (self.folder / "error.log").read_text()
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.front), 1):
                return
            time.sleep(0.02)
        raise AssertionError("nginx does not listen")
