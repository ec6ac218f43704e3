"""What `server.toml` means, in words, and what of it would not work: `tidegate server check`. Opens no door."""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from registry.access import parse_grant
from tidegate.errors import ServerSettingsWrong
from tidegate.server.run import tls
from tidegate.server.settings import ServerSettings, is_loopback

_SOON = 30  # days
_LONGEST_SOCKET = 107  # bytes of a socket's path (unix(7))


@dataclass(frozen=True)
class Line:
    """One thing that the settings mean, or one that is wrong with them."""

    setting: str
    text: str
    wrong: bool = False


def explained(settings: ServerSettings, *, tiers: frozenset[str], now: datetime) -> list[Line]:
    """Every setting that does something, in the order of the file; what would not work is marked.

    Args:
        tiers: those that the home has.
    """
    parts = (
        _listening(settings),
        _socket(settings),
        _certificate(settings, now),
        _people(settings, tiers),
        _limits(settings),
    )
    return [line for part in parts for line in part]


def _listening(settings: ServerSettings) -> Iterator[Line]:
    if settings.listen is not None:
        only = (
            "this machine alone can connect" if is_loopback(settings.host) else "other machines can connect"
        )
        yield Line("listen", f"{settings.listen}: {only}")
        if settings.certificate is None and not is_loopback(settings.host):
            yield Line(
                "listen",
                "without a certificate, tokens and models cross the network in the clear, and nobody can sign in "
                "with a browser: name certificate and key, or put nginx in front (`tidegate server nginx`)",
                wrong=True,
            )
    if settings.public_url is None:
        yield Line("public_url", "not set: passkeys and artifact addresses follow what the client asked for")
    else:
        yield Line("public_url", f"{settings.public_url}: what clients and browsers call this server")


def _socket(settings: ServerSettings) -> Iterator[Line]:
    path = settings.socket
    if path is None:
        return
    yield Line("socket", f"{path}: for a proxy on this machine; who can open it is believed about who asks")
    if len(os.fsencode(path)) > _LONGEST_SOCKET:
        yield Line(
            "socket", f"the path is longer than {_LONGEST_SOCKET} bytes, which no socket may be", wrong=True
        )
    elif not path.parent.is_dir():
        yield Line("socket", f"the folder {path.parent} is not there", wrong=True)
    elif path.parent.stat().st_mode & stat.S_IWOTH and not path.parent.stat().st_mode & stat.S_ISVTX:
        yield Line(
            "socket", f"everybody may write to {path.parent}, and put another socket there", wrong=True
        )
    if settings.accelerate is not None:
        yield Line("accelerate", f"{settings.accelerate}: the proxy sends files itself, once they are hashed")


def _certificate(settings: ServerSettings, now: datetime) -> Iterator[Line]:
    if settings.certificate is None:
        return
    try:
        tls(settings)
    except ServerSettingsWrong as refusal:
        yield Line("certificate", str(refusal), wrong=True)
        return
    from cryptography.x509 import load_pem_x509_certificate

    leaf = load_pem_x509_certificate(settings.certificate.read_bytes())
    days = (leaf.not_valid_after_utc - now).days
    left = f"good for {days} more days" if days >= 0 else "ended"
    renew = "; have a new one made, and start the doors again" if days < _SOON else ""
    yield Line("certificate", f"{settings.certificate}: {left}{renew}", wrong=days < _SOON)
    if settings.key is not None and stat.S_IMODE(settings.key.stat().st_mode) & 0o077:
        yield Line("key", f"others than its owner may read {settings.key}: chmod 600", wrong=True)


def _people(settings: ServerSettings, tiers: frozenset[str]) -> Iterator[Line]:
    shown = ", ".join(settings.anonymous)
    yield Line("anonymous", f"who shows nothing is {shown}" if shown else "who shows nothing may do nothing")
    yield from (
        Line("anonymous", f"{text} names the tier {tier!r}, which this home does not have", wrong=True)
        for text in settings.anonymous
        if (tier := parse_grant(text).tier) is not None and tier not in tiers
    )
    if settings.default_tier is not None:
        known = settings.default_tier in tiers
        what = "what `main` means to clients" if known else "which this home does not have"
        yield Line("default_tier", f"{settings.default_tier}: {what}", wrong=not known)
    if settings.oidc is not None:
        yield Line("oidc", f"people sign in at {settings.oidc.issuer}; groups {_groups(settings.oidc.roles)}")
        yield from _missing("oidc.client_secret_file", settings.oidc.client_secret_file)
    if settings.fronted is not None:
        how = [name for name in (settings.fronted.user_header, settings.fronted.groups_header) if name]
        how += ["client certificates"] if settings.fronted.certificates else []
        yield Line("fronted", f"the proxy says who asks: {', '.join(how) or 'nothing yet'}", wrong=not how)


def _groups(roles: object) -> str:
    return ", ".join(sorted(roles)) if isinstance(roles, dict) and roles else "give no rights yet"


def _missing(setting: str, path: Path | None) -> Iterator[Line]:
    if path is not None and not os.access(path, os.R_OK):
        yield Line(setting, f"{path} cannot be read", wrong=True)


def _limits(settings: ServerSettings) -> Iterator[Line]:
    limits = settings.limits
    yield Line(
        "limits",
        f"{limits.sign_in_tries} failed sign-ins in {limits.sign_in_minutes} minutes, sessions of "
        f"{limits.session_hours} hours or {limits.idle_minutes} idle minutes, "
        f"{limits.stop_seconds} seconds for running downloads when told to end",
    )
    if settings.otlp is not None:
        yield Line("otlp", f"traces go to {settings.otlp}")
