"""What somebody elsewhere needs to help, in one small file that its owner reads before it leaves the house.

No weights, no documents, no keys, no tokens, no signatures. Names of people, accounts, sites, models and the home stand as
`name-1`, `name-2`, the same one everywhere in the file, so that what happened can still be followed. Nothing is sent.
"""

import importlib.metadata
import io
import json
import platform
import re
import sqlite3
import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from registry.errors import StoreUnusable
from signing.canonical import NotCanonical, parse
from signing.durable import write_durably
from signing.errors import OperatorError
from tidegate import doctor
from tidegate.errors import HomeOlder
from tidegate.wiring import App, read_file

EVENTS = 500  # of the log's newest
LINES = 2000  # of a server's log
_LOG_BYTES = 64 << 20
_LINE_BYTES = 64 << 10
_KEPT = (
    "at",
    "level",
    "event",
    "id",
    "method",
    "route",
    "status",
    "bytes",
    "milliseconds",
    "how",
    "cut",
    "traceback",
)
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]*")

README = """A Tidegate support bundle, made at {at}.

Read it before you hand it on: it is plain text. Names of people, accounts, sites, models and of this home are
replaced (name-1, name-2, …). It holds no weights, documents, keys, tokens or signatures.

versions.json   Tidegate, Python, the system, every installed package
doctor.json     what `tidegate doctor` says
home.json       roles, profile, kind of database, rows in each table, space
events.json     the newest {events} events of the log: number, kind, moment
settings.json   server.toml as it was understood; secrets are files, and only whether they are there is said
expiring.json   what ends soon
log.jsonl       the newest {lines} lines of the server's log, where one was named
"""


def write_support_bundle(app: App, out: Path, *, log: Path | None) -> list[str]:
    """Write the file and return the names of what is in it. What cannot be looked at is said in its place.

    Raises:
        FileUnreadable: the log that was named cannot be read.
    """
    lines = [] if log is None else read_file(log, max_bytes=_LOG_BYTES).splitlines()[-LINES:]
    names = _Names(_known_names(app))
    parts: dict[str, Callable[[], Any]] = {
        "versions.json": _versions,
        "doctor.json": lambda: [asdict(check) for check in doctor.examine(app, deep=False)],
        "home.json": lambda: _home(app),
        "events.json": lambda: _events(app),
        "settings.json": lambda: _settings(app),
        "expiring.json": lambda: _expiring(app),
    }
    files = {"README.txt": README.format(at=_moment(app.now), events=EVENTS, lines=LINES)}
    for name, look in parts.items():
        files[name] = names.hide(json.dumps(_looked(look), indent=2, ensure_ascii=False, default=str)) + "\n"
    if log is not None:
        files["log.jsonl"] = "".join(names.hide(line) + "\n" for line in _log_lines(lines))
    write_durably(out, _packed(files, app.now))
    return list(files)


def _looked(look: Callable[[], Any]) -> Any:
    """A home that is ill is why somebody asks for help: what one part refuses does not stop the others."""
    try:
        return look()
    except OperatorError as refusal:
        return {"refused": type(refusal).__name__, "message": str(refusal), "exit_code": refusal.exit_code}


def _versions() -> dict[str, Any]:
    packages = {found.metadata["Name"]: found.version for found in importlib.metadata.distributions()}
    return {
        "python": platform.python_version(),
        "system": platform.platform(),
        "sqlite": sqlite3.sqlite_version,
        "packages": dict(sorted(packages.items())),
    }


def _home(app: App) -> dict[str, Any]:
    import shutil

    from registry import store_schema

    home = app.home
    space = shutil.disk_usage(home.path)
    with app.store.view() as view:
        rows = {label: sum(len(some) for some in view.recorded_in(table)) for label, table in _tables()}
    return {
        "roles": home.roles,
        "profile": home.profile,
        "database": home.database.partition(":")[0],
        "shape": store_schema.shape(app.any_store),
        "rows": rows,
        "blobs": len(home.blobs.sizes()),
        "blob_bytes": sum(home.blobs.sizes().values()),
        "free_bytes": space.free,
        "disk_bytes": space.total,
    }


def _tables() -> Iterator[tuple[str, Any]]:
    from registry.entities import RECORDED

    yield from ((table.label, table) for table in RECORDED)


def _events(app: App) -> list[dict[str, Any]]:
    with app.store.view() as view:
        return [
            {"position": entry.position, "kind": entry.kind, "at": entry.at}
            for entry in view.events(last=EVENTS)
        ]


def _settings(app: App) -> dict[str, Any]:
    from tidegate.server.settings import load

    found = asdict(load(app.home.path))
    for table in ("oidc", "fronted"):
        if found[table] is not None:
            found[table]["roles"] = f"{len(found[table]['roles'])} groups"
    if found["fronted"] is not None:
        found["fronted"]["names"] = f"{len(found['fronted']['names'])} certificates"
    if found["oidc"] is not None:
        secret = found["oidc"]["client_secret_file"]
        found["oidc"]["client_secret_file"] = (
            "is there" if secret and Path(secret).is_file() else "is not there"
        )
    return found


def _expiring(app: App) -> list[dict[str, Any]]:
    from pipelines.questions.expiring import expiring

    with app.store.view() as view:
        return [
            {"kind": one.kind, "until": one.until, "days": one.days}
            for one in expiring(app.work, view, days=None)
        ]


def _log_lines(lines: Iterable[bytes]) -> Iterator[str]:
    for line in lines:
        try:
            found = parse(line, max_bytes=_LINE_BYTES)
        except NotCanonical:
            continue  # not of this server, and nobody knows what it holds
        if isinstance(found, Mapping):
            yield json.dumps({key: found[key] for key in _KEPT if key in found}, ensure_ascii=False)


def _known_names(app: App) -> list[str]:
    try:
        with app.store.view() as view:
            people = [row.name for row in view.people()] + [row.name for row in view.accounts()]
            return [app.home.name, *people, *(row.name for row in view.sites()), *view.model_names()]
    except (StoreUnusable, HomeOlder):
        return [app.home.name]


class _Names:
    """Gives each known name a number."""

    def __init__(self, known: Iterable[str]) -> None:
        self._numbers = {name: f"name-{number}" for number, name in enumerate(dict.fromkeys(known), start=1)}

    def hide(self, text: str) -> str:
        """The text with every known name replaced, where it stands as a word."""
        return _WORD.sub(lambda match: self._hidden(match[0]), text)

    def _hidden(self, found: str) -> str:
        if found in self._numbers:
            return self._numbers[found]
        return "/".join(self._numbers.get(part, part) for part in found.split("/"))


def _packed(files: Mapping[str, str], now: datetime) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, text in files.items():
            data = text.encode(errors="replace")
            entry = tarfile.TarInfo(f"tidegate-support/{name}")
            entry.size, entry.mtime, entry.mode = len(data), int(now.timestamp()), 0o600
            tar.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


def _moment(now: datetime) -> str:
    from signing.times import rfc3339

    return rfc3339(now)
