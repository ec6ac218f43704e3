"""What a tier demands before it serves a version. A policy is a document with a history, like everything else."""

from dataclasses import dataclass, replace
from typing import Any

from registry.errors import DocumentRefused
from registry.names import word
from signing.canonical import canonical_bytes, parse

FORMAT = "tidegate-policy/1"
MAX_BYTES = 64 << 10
_FIELDS = {
    "format", "tier", "rank", "approvals", "suites", "served_first", "licence", "formats", "max_bytes", "fresh_days", "hardware_keys",
}  # fmt: skip


@dataclass(frozen=True)
class Policy:
    """One tier's demands. `rank` orders the tiers, lowest first."""

    tier: str
    rank: int
    approvals: int  # distinct people with distinct keys
    suites: tuple[str, ...]  # names; each must have PASSED for exactly what is promoted
    served_first: str | None  # a tier that must have served the version before
    licence: str  # "stated", or "any"
    formats: tuple[str, ...]  # weight formats that may be served
    max_bytes: int | None  # of all files; the tier's memory
    fresh_days: int | None  # a site promotes only while its newest bundle is at most this old
    hardware_keys: bool  # approvals by FIDO2 keys with touch and PIN only


DEFAULTS: tuple[Policy, ...] = tuple(
    Policy(
        tier=tier,
        rank=rank,
        approvals=approvals,
        suites=("tool-basics",),
        served_first=served_first,
        licence="stated",
        formats=("gguf", "safetensors"),
        max_bytes=max_bytes,
        fresh_days=90,
        hardware_keys=False,
    )
    for tier, rank, approvals, served_first, max_bytes in (
        ("edge", 1, 1, None, 128 * 10**9),
        ("team", 2, 1, None, 256 * 10**9),
        ("org", 3, 2, "team", None),
    )
)


def encode(policy: Policy) -> bytes:
    """Return the canonical bytes."""
    return canonical_bytes(
        {
            "format": FORMAT,
            "tier": policy.tier,
            "rank": policy.rank,
            "approvals": policy.approvals,
            "suites": list(policy.suites),
            "served_first": policy.served_first,
            "licence": policy.licence,
            "formats": list(policy.formats),
            "max_bytes": policy.max_bytes,
            "fresh_days": policy.fresh_days,
            "hardware_keys": policy.hardware_keys,
        }
    )


def decode(data: bytes) -> Policy:
    """Read a policy that a person wrote. Raises `DocumentRefused` and `NotCanonical`, naming the field."""
    raw = parse(data, max_bytes=MAX_BYTES, at="policy")
    if not isinstance(raw, dict) or set(raw) != _FIELDS or raw["format"] != FORMAT:
        raise DocumentRefused(
            f"needs exactly the fields {', '.join(sorted(_FIELDS))}, format {FORMAT!r}", at="policy"
        )
    return Policy(
        tier=word("tier", _text(raw, "tier")),
        rank=_number(raw, "rank", least=1),
        approvals=_number(raw, "approvals", least=1),
        suites=_texts(raw, "suites"),
        served_first=None if raw["served_first"] is None else word("tier", _text(raw, "served_first")),
        licence=_choice(raw, "licence", ("stated", "any")),
        formats=_texts(raw, "formats"),
        max_bytes=None if raw["max_bytes"] is None else _number(raw, "max_bytes", least=1),
        fresh_days=None if raw["fresh_days"] is None else _number(raw, "fresh_days", least=1),
        hardware_keys=_flag(raw, "hardware_keys"),
    )


def for_one_person(policy: Policy) -> Policy:
    """Return the policy as a single-person home keeps it: one approval, and every report says so."""
    return replace(policy, approvals=1)


def _text(raw: dict[str, Any], field: str) -> str:
    if not isinstance(raw[field], str):
        raise DocumentRefused("must be a text", at=f"policy.{field}")
    return str(raw[field])


def _number(raw: dict[str, Any], field: str, *, least: int) -> int:
    if type(raw[field]) is not int or raw[field] < least:
        raise DocumentRefused(f"must be a whole number from {least}", at=f"policy.{field}")
    return int(raw[field])


def _texts(raw: dict[str, Any], field: str) -> tuple[str, ...]:
    if not isinstance(raw[field], list) or any(not isinstance(item, str) for item in raw[field]):
        raise DocumentRefused("must be a list of texts", at=f"policy.{field}")
    return tuple(raw[field])


def _choice(raw: dict[str, Any], field: str, choices: tuple[str, ...]) -> str:
    if raw[field] not in choices:
        raise DocumentRefused(f"must be one of {', '.join(choices)}", at=f"policy.{field}")
    return str(raw[field])


def _flag(raw: dict[str, Any], field: str) -> bool:
    if not isinstance(raw[field], bool):
        raise DocumentRefused("must be true or false", at=f"policy.{field}")
    return bool(raw[field])
