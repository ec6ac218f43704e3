"""`serving.toml`: what runs where on this node, as people write and review it. Strict: what is not known is refused.

Apart from the home's own settings because it is another person's file: whoever runs the engines and the proxy.
Tiers are held against the registry where a command uses them; here only the file itself is judged.
"""

import math
import re
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipelines.rollout.plan import Strategy
from pipelines.rollout.refusals import ServingMalformed
from registry.errors import NameUnusable
from registry.names import model_name, word
from signing.digests import sha256_hex

FILE = "serving.toml"
FORMAT = "tidegate-serving/1"
MAX_BYTES = 256 << 10
RUNNERS = ("process", "systemd")
_HOST = re.compile(r"[A-Za-z0-9.:-]{1,253}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,100}")
_MAX_SECONDS = 7 * 24 * 3600


@dataclass(frozen=True)
class Address:
    """Host and TCP port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True)
class Place:
    """Where one model is served: the address that clients know, and the ports of its two slots.

    None, both of them, where the model is served by the tier's daemon alone.
    """

    model: str
    listen: Address
    blue: int | None
    green: int | None

    def port(self, slot: str) -> int | None:
        """The port of `blue` or `green`."""
        return self.blue if slot == "blue" else self.green


@dataclass(frozen=True)
class Nginx:
    """How the proxy is told. `includes`: the folder of the files that a rollout rewrites, one per model."""

    includes: Path
    test: tuple[str, ...]
    reload: tuple[str, ...]


@dataclass(frozen=True)
class TierServing:
    """One tier on this node. All times in seconds; `context` in tokens."""

    tier: str
    node: str
    strategy: Strategy
    runner: str
    host: str  # where engines listen; the loopback, unless somebody has a reason
    drain_seconds: float
    ready_seconds: float
    stop_seconds: float
    retry_after: int
    context: int
    smoke: str  # name of a suite; empty: none is run
    observe_hours: int  # an observation older than this is drift
    program: tuple[str, ...]  # how the engine is called here; empty: its usual name
    environment: Mapping[str, str]
    systemctl: tuple[str, ...]
    nginx: Nginx
    models: Mapping[str, Place]
    daemon: int | None = None  # port of the tier's daemon of several models

    def port(self, model: str, slot: str, strategy: Strategy) -> int:
        """Where a slot's engine is asked; with `alias-swap`, the daemon. Raises `ServingMalformed` if nobody said."""
        at = f"{FILE}: tiers.{self.tier}"
        if strategy is Strategy.ALIAS_SWAP:
            if self.daemon is None:
                raise ServingMalformed(f"is missing, and {strategy} needs it", at=f"{at}.daemon")
            return self.daemon
        port = self.place(model).port(slot)
        if port is None:
            raise ServingMalformed(f"is missing, and {strategy} needs it", at=f"{at}.models.{model}.{slot}")
        return port

    def place(self, model: str) -> Place:
        """Raises `ServingMalformed` when the file does not say where the model is served."""
        if model not in self.models:
            raise ServingMalformed(
                f"does not say where {model} is served", at=f"{FILE}: tiers.{self.tier}.models"
            )
        return self.models[model]


@dataclass(frozen=True)
class Serving:
    """The whole file. `folder`: where engines find weights; outside the home, which no engine may read."""

    folder: Path
    tiers: Mapping[str, TierServing] = field(default_factory=dict)

    def tier(self, name: str) -> TierServing:
        """Raises `ServingMalformed` when the file says nothing of the tier."""
        if name not in self.tiers:
            known = ", ".join(sorted(self.tiers)) or "none"
            raise ServingMalformed(f"says nothing of tier {name} (it has: {known})", at=f"{FILE}: tiers")
        return self.tiers[name]

    @property
    def store(self) -> Path:
        """Folders of files, named by the digest of the version."""
        return self.folder / "store"

    def slot_name(self, tier: str, model: str, slot: str) -> str:
        """The slot's folder, and the instance of its systemd unit."""
        return f"{label(tier, model)}--{slot}"

    def daemon_folder(self, tier: str) -> Path:
        """What belongs to the process of a tier's daemon of several models. No slot's folder is called so."""
        return self.folder / "slots" / f"{tier}--daemon"

    def slot_folder(self, tier: str, model: str, slot: str) -> Path:
        """What belongs to one engine process."""
        return self.folder / "slots" / self.slot_name(tier, model, slot)


def label(tier: str, model: str) -> str:
    """One word for a model in a tier: names of files, upstreams and units."""
    return f"{tier}--{model.replace('/', '--')}"


def variable(tier: str, model: str) -> str:
    """The same, as nginx allows in the names of variables; different models never share one."""
    name = label(tier, model)
    return f"{re.sub(r'[^a-z0-9]', '_', name)}_{sha256_hex(name.encode())[:8]}"


def read(home: Path, *, tiers: Collection[str]) -> Serving:
    """Read `serving.toml` of a home.

    Args:
        tiers: those that the registry knows.

    Raises:
        ServingMalformed: naming the field; also for a folder inside the home and a tier that nobody knows.
    """
    path = home / FILE
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except FileNotFoundError as exc:
        raise ServingMalformed(
            "there is no such file; write one, as docs/reference/serving-toml.md shows: it says what is served where",
            at=str(path),
        ) from exc
    except OSError as exc:
        raise ServingMalformed(f"cannot be read ({exc.strerror})", at=str(path)) from exc
    serving = decode(data)
    if serving.folder.resolve().is_relative_to(home.resolve()):
        raise ServingMalformed("lies inside the home, which no engine may read", at=f"{FILE}: folder")
    for name in serving.tiers:
        if name not in tiers:
            known = ", ".join(sorted(tiers))
            raise ServingMalformed(
                f"no such tier in this home; there are {known}", at=f"{FILE}: tiers.{name}"
            )
    return serving


def decode(data: bytes) -> Serving:
    """Read the file's bytes. Raises `ServingMalformed` and nothing else."""
    if len(data) > MAX_BYTES:
        raise ServingMalformed(f"more than {MAX_BYTES} bytes", at=FILE)
    try:
        raw = tomllib.loads(data.decode())
    except (ValueError, RecursionError) as exc:  # TOML and UTF-8 errors are ValueErrors
        raise ServingMalformed(f"is not TOML ({str(exc)[:200]})", at=FILE) from exc
    top = _Table(raw, FILE)
    top.exactly({"format", "folder", "tiers"})
    if raw.get("format") != FORMAT:
        raise top.wrong("format", f"this release reads {FORMAT!r}")
    tiers = {name: _tier(name, top.table("tiers").table(name)) for name in top.table("tiers").raw}
    _demand_own_ports(tiers)
    return Serving(top.path("folder"), tiers)


class _Table:
    """A TOML table that knows where it stands, so that every refusal says so."""

    def __init__(self, raw: Any, at: str) -> None:
        if not isinstance(raw, dict):
            raise ServingMalformed("must be a table", at=at)
        self.raw, self.at = raw, at

    def wrong(self, name: str, problem: str) -> ServingMalformed:
        return ServingMalformed(problem, at=f"{self.at}: {name}" if self.at == FILE else f"{self.at}.{name}")

    def exactly(self, needed: set[str], optional: Collection[str] = ()) -> None:
        """Refuse fields that are missing, and those that nobody knows: a slip of the pen is not a setting."""
        for name in sorted(set(self.raw) - needed - set(optional)):
            raise self.wrong(name, "is not a setting; look at its spelling")
        for name in sorted(needed - set(self.raw)):
            raise self.wrong(name, "is missing")

    def table(self, name: str) -> "_Table":
        at = f"{self.at}: {name}" if self.at == FILE else f"{self.at}.{name}"
        return _Table(self.raw[name], at)

    def text(self, name: str, default: str | None = None) -> str:
        value = self.raw.get(name, default)
        if not isinstance(value, str) or len(value) > 4096 or not value.isprintable():
            raise self.wrong(name, "must be a text on one line")
        return value

    def choice(self, name: str, choices: Collection[str], default: str | None = None) -> str:
        value = self.text(name, default)
        if value not in choices:
            raise self.wrong(name, f"must be one of {', '.join(choices)}")
        return value

    def seconds(self, name: str, default: float) -> float:
        value = self.raw.get(name, default)
        if type(value) not in (int, float) or not math.isfinite(value) or not 0 < value <= _MAX_SECONDS:
            raise self.wrong(name, "must be seconds, more than 0 and at most a week")
        return float(value)

    def number(self, name: str, default: int | None = None, *, least: int = 1, most: int = 1 << 31) -> int:
        value = self.raw.get(name, default)
        if type(value) is not int or not least <= value <= most:
            raise self.wrong(name, f"must be a number from {least} to {most}")
        return value

    def path(self, name: str) -> Path:
        value = self.text(name)
        unsafe = set(value) & set("\"'`$\\;{}%#*?[ ")  # it stands in nginx.conf and in units, unquoted
        if not value.startswith("/") or ".." in value.split("/") or unsafe:
            raise self.wrong(name, "must be an absolute path of plain characters, without '..' or spaces")
        return Path(value)

    def words(self, name: str, default: list[str] | None = None) -> tuple[str, ...]:
        value = self.raw.get(name, default)
        if not isinstance(value, list) or not all(
            isinstance(item, str) and item and len(item) < 4096 and item.isprintable() for item in value
        ):
            raise self.wrong(name, 'must be a list of words, as ["nginx", "-t"]')
        return tuple(value)

    def program(self, name: str, default: list[str]) -> tuple[str, ...]:
        value = self.words(name, default)
        if not value:
            raise self.wrong(name, "must name a program")
        return value


_TIER_FIELDS = {
    "runner", "host", "drain_seconds", "ready_seconds", "stop_seconds", "retry_after", "context", "smoke",
    "observe_hours", "program", "environment", "systemctl", "daemon",
}  # fmt: skip


def _tier(name: str, table: _Table) -> TierServing:
    try:
        word("tier", name)
    except NameUnusable as exc:
        raise ServingMalformed(str(exc), at=table.at) from exc
    table.exactly({"node", "strategy", "nginx", "models"}, _TIER_FIELDS)
    models = table.table("models")
    strategy = Strategy(table.choice("strategy", [str(one) for one in Strategy]))
    if strategy is Strategy.ALIAS_SWAP and "daemon" not in table.raw:
        raise table.wrong("daemon", f"is missing, and {strategy} needs it: the port of the daemon")
    alone = strategy is not Strategy.ALIAS_SWAP
    return TierServing(
        tier=name,
        node=_node(table),
        strategy=strategy,
        runner=table.choice("runner", RUNNERS, "process"),
        host=_host(table, table.text("host", "127.0.0.1"), "host"),
        drain_seconds=table.seconds("drain_seconds", 600),
        ready_seconds=table.seconds("ready_seconds", 1800),
        stop_seconds=table.seconds("stop_seconds", 30),
        retry_after=table.number("retry_after", 60, most=86400),
        context=table.number("context", 8192),
        smoke=table.text("smoke", "smoke"),
        observe_hours=table.number("observe_hours", 24, most=24 * 366),
        program=table.words("program", []),
        environment=_environment(table),
        systemctl=table.program("systemctl", ["systemctl"]),
        nginx=_nginx(table.table("nginx")),
        models={model: _place(model, models.table(model), alone=alone) for model in models.raw},
        daemon=table.number("daemon", most=65535) if "daemon" in table.raw else None,
    )


def _node(table: _Table) -> str:
    try:
        return word("node", table.text("node"))
    except NameUnusable as exc:
        raise table.wrong("node", str(exc)) from exc


def _host(table: _Table, host: str, name: str) -> str:
    if not _HOST.fullmatch(host):
        raise table.wrong(name, "must be a host's name or address")
    return host


def _environment(table: _Table) -> Mapping[str, str]:
    if "environment" not in table.raw:
        return {}
    inner = table.table("environment")
    for name in inner.raw:
        if not _VARIABLE.fullmatch(name):
            raise inner.wrong(name[:100], "cannot be the name of a variable")
    return {name: inner.text(name) for name in inner.raw}


def _nginx(table: _Table) -> Nginx:
    table.exactly({"includes"}, ("test", "reload"))
    return Nginx(
        includes=table.path("includes"),
        test=table.program("test", ["nginx", "-t"]),
        reload=table.program("reload", ["nginx", "-s", "reload"]),
    )


def _place(model: str, table: _Table, *, alone: bool) -> Place:
    """`alone`: each slot is a process with a port of its own."""
    try:
        model_name(model)
    except NameUnusable as exc:
        raise ServingMalformed(str(exc), at=table.at) from exc
    slots = ("blue", "green")
    needed = alone or any(name in table.raw for name in slots)
    table.exactly({"listen", *slots} if needed else {"listen"})
    host, _, port = table.text("listen").rpartition(":")
    if not port.isascii() or not port.isdigit() or not 1 <= int(port[:6]) <= 65535:
        raise table.wrong("listen", "must be HOST:PORT, as 127.0.0.1:8080")
    listen = Address(_host(table, host.removeprefix("[").removesuffix("]"), "listen"), int(port))
    blue, green = (table.number(name, most=65535) if needed else None for name in slots)
    return Place(model, listen, blue, green)


def _demand_own_ports(tiers: Mapping[str, TierServing]) -> None:
    """Two engines on one port: the second would not start, or answer for the first."""
    taken: dict[int, str] = {}
    for tier in tiers.values():
        here = f"tiers.{tier.tier}"
        wanted = [(tier.daemon, f"{here}.daemon")]
        for place in tier.models.values():
            ports = (place.listen.port, place.blue, place.green)
            wanted += [(port, f"{here}.models.{place.model}") for port in ports]
        for port, at in wanted:
            if port in taken:
                raise ServingMalformed(f"port {port} is taken by {taken[port]}", at=f"{FILE}: {at}")
            if port is not None:
                taken[port] = at
