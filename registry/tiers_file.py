"""`tiers.toml`: all tiers' policies in one file that people write, review and compare. Text in, policies out, and back.

    [tiers.team]
    rank = 2
    mode = "hybrid"
    approvals = 1
    suites = ["files", "contract", "behaviour"]
    memory = "256 GB"
    ...

A field that is left out has its default. A tier that is left out of the file keeps nothing: a file names every tier
that the home has, so that what was reviewed is the whole of it.
"""

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from registry.errors import DocumentRefused
from registry.policy import MAX_BYTES, Policy, from_fields

FORMAT = "tidegate-tiers/1"
MAX_TIERS = 64
_DEFAULTS: dict[str, Any] = {
    "suites": [], "served_first": None, "licence": "stated", "formats": ["gguf", "safetensors"], "max_bytes": None,
    "fresh_days": None, "hardware_keys": False,
}  # fmt: skip
_UNITS = {
    "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40,
}  # fmt: skip
_SIZE = re.compile(r"(\d{1,15})(?:\.(\d{1,3}))? ?([kKMGT]i?B)", re.ASCII)


@dataclass(frozen=True)
class Difference:
    """One field of one tier that differs. None: the tier is not there."""

    tier: str
    field: str
    before: Any
    after: Any

    def __str__(self) -> str:
        if self.field == "tier":
            return f"{self.tier}: {'is new' if self.before is None else 'is taken out'}"
        return f"{self.tier}.{self.field}: {shown(self.before)} becomes {shown(self.after)}"


def read(text: str) -> tuple[Policy, ...]:
    """Read the file. Raises `DocumentRefused`, naming tier and field."""
    if len(text) > MAX_BYTES:
        raise DocumentRefused(f"has more than {MAX_BYTES:,} characters", at="tiers.toml")
    try:
        raw = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as exc:
        raise DocumentRefused(f"is not readable as TOML ({exc})", at="tiers.toml") from exc
    if raw.get("format") != FORMAT or set(raw) != {"format", "tiers"}:
        raise DocumentRefused(
            f'needs format = "{FORMAT}" and [tiers.NAME] tables, and nothing else', at="tiers.toml"
        )
    tables = raw["tiers"]
    if not isinstance(tables, dict) or not 1 <= len(tables) <= MAX_TIERS:
        raise DocumentRefused(f"from 1 to {MAX_TIERS} tiers are needed", at="tiers.toml: tiers")
    found = tuple(_tier(name, table) for name, table in tables.items())
    _hold_together(found)
    return tuple(sorted(found, key=lambda policy: policy.rank))


def write(policies: Sequence[Policy]) -> str:
    """Return the file for these policies, every field written out, so that a person sees what there is to say."""
    lines = [
        "# What each tier demands before it serves a version. See docs/reference/policy.md for every field.",
        f'format = "{FORMAT}"',
    ]
    for policy in policies:
        lines += ["", f"[tiers.{policy.tier}]"]
        for entry in fields(Policy):
            value = getattr(policy, entry.name)
            if entry.name == "tier" or value is None:
                continue
            if entry.name == "max_bytes":
                lines.append(f'memory = "{_memory(value)}"')
            else:
                lines.append(f"{entry.name} = {shown(value)}")
    return "\n".join(lines) + "\n"


def compare(before: Sequence[Policy], after: Sequence[Policy]) -> list[Difference]:
    """Return what changes from one set of policies to another, tier by tier, in the order of the fields."""
    old, new = ({policy.tier: policy for policy in policies} for policies in (before, after))
    found: list[Difference] = []
    for tier in [*old, *(name for name in new if name not in old)]:
        if tier not in old or tier not in new:
            found.append(Difference(tier, "tier", old.get(tier), new.get(tier)))
            continue
        for entry in fields(Policy):
            was, becomes = getattr(old[tier], entry.name), getattr(new[tier], entry.name)
            if was != becomes:
                found.append(
                    Difference(tier, "memory" if entry.name == "max_bytes" else entry.name, was, becomes)
                )
    return found


def shown(value: Any) -> str:
    """Return a value as TOML writes it; what TOML cannot say is said in words."""
    if value is None:
        return "(no limit)"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return f"[{', '.join(map(shown, value))}]"
    return f'"{value}"' if isinstance(value, str) else str(value)


def _tier(name: str, table: Any) -> Policy:
    at = f"tiers.toml: tiers.{name[:64]}"
    if not isinstance(table, dict):
        raise DocumentRefused("is no table", at=at)
    if "tier" in table or "max_bytes" in table:
        raise DocumentRefused(
            "is no field of a policy; the table's name is the tier's, `memory` its size", at=at
        )
    given = dict(table)
    if "memory" in given:
        given["max_bytes"] = _bytes(given.pop("memory"), at=f"{at}.memory")
    return from_fields({**_DEFAULTS, **given, "tier": name}, at=at)


def _bytes(value: Any, *, at: str) -> int:
    match = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if match is None or match[3] not in _UNITS:
        raise DocumentRefused(f'must be a size such as "128 GB", with one of {", ".join(_UNITS)}', at=at)
    thousandths = int(match[1]) * 1000 + int((match[2] or "0").ljust(3, "0"))
    return thousandths * _UNITS[match[3]] // 1000


def _memory(count: int) -> str:
    for unit in ("TB", "GB", "MB", "kB"):
        if count % _UNITS[unit] == 0:
            return f"{count // _UNITS[unit]} {unit}"
    return f"{count // 1000}.{count % 1000:03d} kB"


def _hold_together(policies: Sequence[Policy]) -> None:
    """Refuse tiers that speak of tiers that are not there, or that stand in no order."""
    known: Mapping[str, Policy] = {policy.tier: policy for policy in policies}
    ranks: dict[int, str] = {}
    for policy in policies:
        at = f"tiers.toml: tiers.{policy.tier}"
        if policy.rank in ranks:
            raise DocumentRefused(f"{ranks[policy.rank]} has rank {policy.rank}, too", at=f"{at}.rank")
        ranks[policy.rank] = policy.tier
        first = policy.served_first
        if first is not None and first not in known:
            raise DocumentRefused(f"there is no tier {first!r} in this file", at=f"{at}.served_first")
        if first is not None and known[first].rank >= policy.rank:
            raise DocumentRefused(f"{first} is not below {policy.tier}", at=f"{at}.served_first")
