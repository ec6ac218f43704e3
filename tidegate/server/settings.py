"""What `server.toml` in a home says: how the doors are reached and whom they believe. Every line may be left out."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from registry.access import parse_grant
from registry.errors import NameUnusable
from registry.names import word
from tidegate.errors import ServerSettingsWrong

FILE = "server.toml"
_WORDS: dict[type, str] = {str: "a text", int: "a whole number", bool: "true or false"}
_MOST = 1 << 20  # of hours, tries and the like: so many hours from now are still a date
_MOST_BYTES = 1 << 40
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class OidcSettings:
    """An identity provider that people sign in with (OpenID Connect, authorization code with PKCE)."""

    issuer: str
    client_id: str
    client_secret_file: Path | None = None
    scopes: tuple[str, ...] = ("openid", "profile", "groups")
    name_claim: str = "preferred_username"
    groups_claim: str = "groups"
    roles: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # group: grants
    certificates: Path | None = None  # PEM of who vouches for the provider's TLS; else the system's


@dataclass(frozen=True)
class FrontedSettings:
    """Identities that a proxy on this machine has checked; believed only over the unix socket."""

    user_header: str | None = None
    groups_header: str | None = None
    certificates: bool = False  # client certificates, as the written nginx configuration passes them on
    roles: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # group: grants
    names: Mapping[str, str] = field(default_factory=dict)  # a certificate's subject, or sha256:HEX: account


@dataclass(frozen=True)
class Limits:
    """How much of what. Tries to sign in are counted in the database, requests a second in the process's memory."""

    sign_in_tries: int = 10  # failures per account and per address in `sign_in_minutes`
    sign_in_minutes: int = 15
    session_hours: int = 12
    idle_minutes: int = 60
    token_requests_per_second: int = 1000
    body_bytes: int = 16 << 20
    stop_seconds: int = 30  # that running downloads have when the process is asked to end


@dataclass(frozen=True)
class ServerSettings:
    """Everything `server.toml` may say."""

    listen: str | None = "127.0.0.1:8765"  # port 0: any free one; None: the socket alone
    socket: Path | None = None
    public_url: str | None = None
    certificate: Path | None = None
    key: Path | None = None
    accelerate: str | None = None
    anonymous: tuple[str, ...] = ()
    default_tier: str | None = None
    otlp: str | None = None
    oidc: OidcSettings | None = None
    fronted: FrontedSettings | None = None
    limits: Limits = Limits()

    @property
    def host(self) -> str:
        """The address that is listened on, without the port."""
        return (self.listen or "").rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        """The TCP port."""
        return int((self.listen or ":0").rpartition(":")[2])


def load(home: Path) -> ServerSettings:
    """Read `server.toml` of a home; without one everything has its default. Raises `ServerSettingsWrong`."""
    path = home / FILE
    try:
        raw = tomllib.loads(path.read_text())
    except FileNotFoundError:
        return ServerSettings()
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError, OSError) as exc:
        raise ServerSettingsWrong(str(path), f"cannot be read ({exc})") from exc
    return _Reader(path).settings(raw)


class _Reader:
    """Reads tables, and says where the first wrong line is."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def wrong(self, problem: str) -> ServerSettingsWrong:
        return ServerSettingsWrong(str(self._path), problem)

    def settings(self, raw: dict[str, Any]) -> ServerSettings:
        tables = {
            "oidc": self._table(raw, "oidc"),
            "fronted": self._table(raw, "fronted"),
            "limits": self._table(raw, "limits"),
        }
        values = self._values(raw, ServerSettings, "")
        for name in ("socket", "certificate", "key"):
            values[name] = self._file(values.get(name))
        values["listen"] = values.get("listen", ServerSettings.listen) or None
        found = ServerSettings(
            **values,
            oidc=None if tables["oidc"] is None else self._oidc(tables["oidc"]),
            fronted=None if tables["fronted"] is None else self._fronted(tables["fronted"]),
            limits=Limits(**self._values(tables["limits"] or {}, Limits, "limits.")),
        )
        self._check(found)
        return found

    def _table(self, raw: dict[str, Any], name: str) -> dict[str, Any] | None:
        table = raw.pop(name, None)
        if table is not None and not isinstance(table, dict):
            raise self.wrong(f"[{name}] has to be a table")
        return table

    def _oidc(self, table: dict[str, Any]) -> OidcSettings:
        roles = self._roles(table, "oidc.")
        values = self._values(table, OidcSettings, "oidc.")
        for name in ("client_secret_file", "certificates"):
            values[name] = self._file(values.get(name))
        for name in ("issuer", "client_id"):
            if not values.get(name):
                raise self.wrong(f"oidc.{name} is missing")
        return OidcSettings(**values, roles=roles)

    def _fronted(self, table: dict[str, Any]) -> FrontedSettings:
        roles, names = self._roles(table, "fronted."), table.pop("names", {})
        if not isinstance(names, dict) or not all(isinstance(name, str) for name in names.values()):
            raise self.wrong("fronted.names has to name certificates, each with the account that it lets in")
        return FrontedSettings(**self._values(table, FrontedSettings, "fronted."), roles=roles, names=names)

    def _roles(self, table: dict[str, Any], where: str) -> dict[str, tuple[str, ...]]:
        raw = table.pop("roles", {})
        if not isinstance(raw, dict) or not all(isinstance(grants, list) for grants in raw.values()):
            raise self.wrong(f"{where}roles has to name groups, each with a list of grants")
        return {group: self._grants(grants, f"{where}roles.{group}") for group, grants in raw.items()}

    def _grants(self, texts: list[Any], where: str) -> tuple[str, ...]:
        try:
            return tuple(str(parse_grant(str(text))) for text in texts)
        except NameUnusable as exc:
            raise self.wrong(f"{where}: {exc}") from exc

    def _values(self, table: dict[str, Any], cls: type, where: str) -> dict[str, Any]:
        """Each line by the type of its field; a line that means nothing here is refused."""
        known = {name: str(kind) for name, kind in cls.__annotations__.items()}
        values: dict[str, Any] = {}
        for name, value in table.items():
            if name not in known:
                raise self.wrong(f"{where}{name} is no setting; there are {', '.join(sorted(known))}")
            values[name] = self._value(value, known[name], where + name)
        return values

    def _value(self, value: Any, kind: str, where: str) -> Any:
        if "tuple" in kind:
            if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
                raise self.wrong(f"{where} has to be a list of texts")
            return tuple(value)
        wanted = bool if "bool" in kind else int if "int" in kind else str
        if type(value) is not wanted:
            raise self.wrong(f"{where} has to be {_WORDS[wanted]}")
        most = _MOST_BYTES if where.endswith("_bytes") else _MOST
        if isinstance(value, int) and not isinstance(value, bool) and not 1 <= value <= most:
            raise self.wrong(f"{where} has to be at least 1 and at most {most}")
        return value

    def _file(self, name: str | None) -> Path | None:
        return None if name is None else (self._path.parent / name)

    def _check(self, found: ServerSettings) -> None:
        if found.listen is None and found.socket is None:
            raise self.wrong("listen is empty and there is no socket: nobody could reach the doors")
        if found.listen is not None and not _is_address(found.listen):
            raise self.wrong(f"listen is {found.listen!r}; write host:port")
        if (found.certificate is None) != (found.key is None):
            raise self.wrong("certificate and key belong together")
        if found.public_url is not None and not _is_origin(found.public_url):
            raise self.wrong(f"public_url is {found.public_url!r}; write https://name, without a path")
        if found.accelerate is not None and (found.socket is None or not found.accelerate.startswith("/")):
            raise self.wrong("accelerate is a path such as /tidegate-blobs/, and works over a socket only")
        if found.fronted is not None and found.socket is None:
            raise self.wrong("[fronted] needs a socket: what a proxy says is believed only there")
        self._grants(list(found.anonymous), "anonymous")
        if found.default_tier is not None:
            try:
                word("tier", found.default_tier)
            except NameUnusable as exc:
                raise self.wrong(f"default_tier: {exc}") from exc


def _is_address(text: str) -> bool:
    host, colon, port = text.rpartition(":")
    return bool(host and colon) and port.isdecimal() and int(port) < 65536


def _is_origin(text: str) -> bool:
    try:
        parts = urlsplit(text)
        port_is_fine = parts.port is None or parts.port > 0
    except ValueError:
        return False
    bare = not parts.path.strip("/") and not parts.query and not parts.fragment and "@" not in parts.netloc
    return parts.scheme in ("http", "https") and bool(parts.hostname) and bare and port_is_fine


def is_loopback(host: str | None) -> bool:
    """Whether a name means this machine alone."""
    return host in _LOOPBACK
