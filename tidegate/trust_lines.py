"""The trust of a home as `tidegate trust show` says it: who signs for what, with which keys, until when."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from securesystemslib.signer import Key
from tuf.api.metadata import Role, Root

from registry.home import Home
from signing.digests import sha256_hex
from signing.drafts import shown_key
from signing.profiles import STATION_ROLES, Profile, person_of
from signing.repository import TrustRepository, TrustState
from signing.roots import open_metadata, profile_of
from tidegate.output import spoken

_CNSA2 = (
    "cnsa2: every TUF signature is ML-DSA-87, and its documents are listed by SHA-384 too. These parts stay SHA-256",
    "and Ed25519, because their formats know nothing else: the log's tree (RFC 6962) and its checkpoints (C2SP),",
    "statements and receipts of the station, names of blobs, and OpenSSF model signatures.",
)


def origin(home: Home, *, now: datetime) -> tuple[dict[str, Any], list[str]]:
    """Return what an origin publishes, as a document and in words."""
    if not (home.trust / "1.root.json").exists():
        return {"published": False}, ["This origin publishes nothing yet. Next: tidegate trust init FOLDER"]
    state = TrustRepository(home.trust).load()
    document = root_document(state.roots[-1])
    document["sites"] = list(state.sites)
    document["delegations"] = _roles_document(_delegations(state))
    document["valid_until"] = {role: until.isoformat() for role, until in _expiries(state)}
    lines = ["This origin publishes", *root_lines(state.roots[-1], now=now)]
    lines += _role_lines(*_delegations(state))
    lines += [f"  {role} is good for {(until - now).days} more days" for role, until in _expiries(state)]
    lines.append(
        f"  sites: {', '.join(state.sites) or 'none yet. Next: tidegate sites add NAME --identity FILE'}"
    )
    return document, lines + (list(_CNSA2) if home.profile == Profile.CNSA2 else [])


def root_document(data: bytes) -> dict[str, Any]:
    """Return what a root says, for programs."""
    root = open_metadata(Root, data, name="root").signed
    return {
        "fingerprint": sha256_hex(data),
        "version": root.version,
        "profile": profile_of(root),
        "expires": root.expires.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "roles": _roles_document((root.roles, root.keys)),
    }


def root_lines(data: bytes, *, now: datetime) -> list[str]:
    """Return what a root says, for people."""
    root = open_metadata(Root, data, name="root").signed
    return [
        f"  root {root.version} ({profile_of(root)}), fingerprint {spoken(sha256_hex(data))}",
        f"  good for {(root.expires - now).days} more days",
        *_role_lines(root.roles, root.keys),
    ]


def _roles_document(held: tuple[Mapping[str, Role], Mapping[str, Key]]) -> dict[str, Any]:
    roles, keys = held
    return {
        name: {
            "threshold": role.threshold,
            "keys": list(role.keyids),
            "people": {keyid: person_of(keys[keyid]) for keyid in role.keyids},
        }
        for name, role in roles.items()
    }


def _role_lines(roles: Mapping[str, Role], keys: Mapping[str, Key]) -> list[str]:
    lines = []
    for name, role in sorted(roles.items()):
        lines.append(f"  {name}: {role.threshold} of {len(role.keyids)} keys")
        for keyid in role.keyids:
            shown = shown_key(keys[keyid])
            shown = shown.replace("nobody named", "the station", 1) if name in STATION_ROLES else shown
            lines.append(f"    {keyid[:12]}  {shown}")
    return lines


def _delegations(state: TrustState) -> tuple[Mapping[str, Role], Mapping[str, Key]]:
    delegations = state.targets.delegations
    return ({}, {}) if delegations is None else (delegations.roles or {}, delegations.keys)


def _expiries(state: TrustState) -> Iterator[tuple[str, datetime]]:
    for role in sorted(state.metadata):
        yield role, state.opened(role).signed.expires
