"""Companions: the files that travel, are pinned and go back with a model: AGENTS.md, skills, prompts, client policies.

A set of companions is a folder that a person reviews, and the one canonical document that is kept, shipped and pinned:
its SHA-256 is its identity. Everything in it is text. Which names may stand in it is stated here; anything else is
refused, because nobody would look for it there.

Pure. Portable means: the same set serves in every tier; only the endpoint differs, and that is not in it
(`pipelines.client_config` writes it from the pin). So what is bound to one place, a host, an address or somebody's
own folder, is a finding.
"""

import ipaddress
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar
from urllib.parse import urlsplit

from registry.errors import RegistryRefusal
from signing.canonical import NotCanonical, canonical_bytes, parse_canonical
from signing.digests import sha256_hex

FORMAT = "tidegate-companions/1"
KIND = "companions"
MAX_BYTES = 4 << 20  # of all files together
MAX_FILES = 512
NAME = re.compile(r"[a-z][a-z0-9-]{0,62}")

REQUIREMENTS, MANAGED, CONFIG, ENGINE = (
    "requirements.toml",
    "managed_config.toml",
    "config.toml",
    "engine.toml",
)
TOML_FILES = (REQUIREMENTS, MANAGED, CONFIG, ENGINE)
_PART = r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}"
_PATHS = re.compile(
    rf"AGENTS\.md|README\.md|requirements\.toml|managed_config\.toml|config\.toml|engine\.toml|"
    rf"chat_template\.jinja|contract\.json|prompts/{_PART}|skills/{_PART}(?:/{_PART}){{1,4}}"
)
_HOST_PORT = re.compile(r"([A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+):\d{1,5}")
_SHARED_FOLDERS = ("/etc/", "/usr/", "/opt/", "/bin/", "/var/empty")
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


class CompanionsMalformed(RegistryRefusal):
    """A folder or a document that is no set of companions."""

    exit_code: ClassVar[int] = 243
    next_step: ClassVar[str] = "Correct the file at the place named, then add the folder again."

    def __init__(self, problem: str, *, at: str) -> None:
        super().__init__(f"{at}: {problem}")
        self.problem, self.at = problem, at


@dataclass(frozen=True)
class Companions:
    """A set of companions: path to text."""

    name: str
    files: Mapping[str, str]

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical bytes, 64 hex digits."""
        return sha256_hex(encode(self))


@dataclass(frozen=True)
class Bound:
    """Something in a file that holds in one place only: not portable across tiers."""

    path: str
    at: str  # the key in the file, `mcp_servers.docs.identity.url`
    problem: str

    def __str__(self) -> str:
        return f"{self.path}: {self.at}: {self.problem}"


@dataclass(frozen=True)
class Drift:
    """One key that a machine's file has otherwise than the pinned one. None: it is not there."""

    at: str
    pinned: Any
    found: Any

    def __str__(self) -> str:
        if self.found is None:
            return f"{self.at}: pinned as {self.pinned!r}, missing"
        if self.pinned is None:
            return f"{self.at}: {self.found!r}, and nothing is pinned"
        return f"{self.at}: pinned as {self.pinned!r}, found {self.found!r}"


def encode(companions: Companions) -> bytes:
    """Return the canonical bytes."""
    return canonical_bytes({"format": FORMAT, "name": companions.name, "files": dict(companions.files)})


def decode(data: bytes) -> Companions:
    """Read untrusted bytes. Raises `CompanionsMalformed` and nothing else."""
    try:
        raw = parse_canonical(data, max_bytes=2 * MAX_BYTES, at="companions")
    except NotCanonical as exc:
        raise CompanionsMalformed(exc.problem, at=exc.at) from exc
    if not isinstance(raw, dict) or set(raw) != {"format", "name", "files"} or raw["format"] != FORMAT:
        raise CompanionsMalformed(f"not a document of format {FORMAT!r}", at="companions")
    if not isinstance(raw["files"], dict) or not all(isinstance(text, str) for text in raw["files"].values()):
        raise CompanionsMalformed("not an object of path and text", at="companions.files")
    if not isinstance(raw["name"], str):
        raise CompanionsMalformed("not a text", at="companions.name")
    return companions_of(raw["name"], raw["files"])


def companions_of(name: str, files: Mapping[str, str]) -> Companions:
    """Put texts together to a set. Raises `CompanionsMalformed`, naming the file."""
    if not NAME.fullmatch(name):
        raise CompanionsMalformed("a-z, 0-9 and '-', beginning with a letter, at most 63", at="name")
    if not files:
        raise CompanionsMalformed("there is no file in it", at="companions")
    if len(files) > MAX_FILES or sum(len(text) for text in files.values()) > MAX_BYTES:
        raise CompanionsMalformed(f"more than {MAX_FILES} files or {MAX_BYTES:,} characters", at="companions")
    for path, text in files.items():
        if not _PATHS.fullmatch(path) or ".." in path.split("/"):
            raise CompanionsMalformed(
                "no companion is called so; see `tidegate companions add --help`", at=path[:200]
            )
        if path in TOML_FILES:
            read_toml(text, at=path)
    found = Companions(name, dict(sorted(files.items())))
    try:
        encode(found)
    except NotCanonical as exc:
        raise CompanionsMalformed(exc.problem, at=exc.at) from exc
    return found


def read_toml(text: str, *, at: str) -> dict[str, Any]:
    """Read a TOML file of a set. Raises `CompanionsMalformed`."""
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as exc:
        raise CompanionsMalformed(f"not readable as TOML ({exc})", at=at) from exc


def bound_to_a_place(companions: Companions) -> list[Bound]:
    """Return what in the policy files would not hold in another tier."""
    found = []
    for path in (REQUIREMENTS, MANAGED, CONFIG):
        if path in companions.files:
            values = read_toml(companions.files[path], at=path)
            found += [
                Bound(path, at, problem)
                for at, value in leaves(values)
                if (problem := _place_in(value)) is not None
            ]
    return found


def drift(pinned: str, found: str, *, at: str) -> list[Drift]:
    """Compare a machine's file with the pinned one, key by key. Raises `CompanionsMalformed` for one that is no TOML."""
    wanted = dict(leaves(read_toml(pinned, at=f"pinned {at}")))
    there = dict(leaves(read_toml(found, at=at)))
    return [
        Drift(key, wanted.get(key), there.get(key))
        for key in sorted(wanted.keys() | there.keys())
        if wanted.get(key) != there.get(key)
    ]


def leaves(value: Any, at: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every value that is no table, with its dotted key; a list of plain values is one value."""
    if isinstance(value, dict):
        for name, item in value.items():
            yield from leaves(item, f"{at}.{name}" if at else str(name))
    elif isinstance(value, list) and any(isinstance(item, dict) for item in value):
        for number, item in enumerate(value):
            yield from leaves(item, f"{at}[{number}]")
    else:
        yield at, value


def _place_in(value: Any) -> str | None:
    if isinstance(value, list):
        return next((problem for item in value if (problem := _place_in(item)) is not None), None)
    if not isinstance(value, str):
        return None
    if "://" in value:
        return _host_in_url(value)
    if value.startswith(("/", "~")) and not value.startswith(_SHARED_FOLDERS):
        return f"{value!r} is a folder of one machine"
    return f"{value!r} is the address of one host" if _is_address(value) else None


def _is_address(value: str) -> bool:
    match = _HOST_PORT.fullmatch(value)
    try:
        return not ipaddress.ip_address(match[1] if match else value).is_loopback
    except ValueError:
        return match is not None  # a name with a port


def _host_in_url(value: str) -> str | None:
    try:
        host = urlsplit(value).hostname
    except ValueError:
        return f"{value!r} is no readable URL"
    return None if host is None or host in _LOOPBACK else f"{value!r} names the host {host}"
