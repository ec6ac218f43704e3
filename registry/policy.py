"""What a tier demands before it serves a version. A policy is a document with a history, like everything else.

People write all tiers' policies into one file (`registry.tiers_file`); what is kept of each tier is this document.
A field that holds its default is left out of the bytes, so that a policy of an older release keeps its digest.
"""

from dataclasses import dataclass, fields, replace
from typing import Any, Literal, cast

from registry.errors import DocumentRefused
from registry.names import word
from signing.canonical import canonical_bytes, parse

FORMAT = "tidegate-policy/1"
MAX_BYTES = 64 << 10
MANUAL, HYBRID, AUTOMATIC = "manual", "hybrid", "automatic"
MODES = (MANUAL, HYBRID, AUTOMATIC)
LICENCES = ("any", "stated", "accepted")
Severity = Literal["blocker", "review", "note"]
SEVERITIES: tuple[Severity, ...] = ("blocker", "review", "note")  # a finding of this weight or more blocks
ADVISORIES = ("block", "warn")
METHODS = ("ssh", "piv")  # in which people sign approvals


@dataclass(frozen=True)
class Policy:
    """One tier's demands. `rank` orders the tiers, lowest first."""

    tier: str
    rank: int
    approvals: int  # distinct people with distinct keys; 0 only in an automatic tier
    suites: tuple[str, ...]  # names; each must have PASSED for exactly what is promoted
    served_first: str | None  # a tier that must have served the version before
    licence: str  # "stated" by the files, "accepted" by a reviewer's decision, or "any"
    formats: tuple[str, ...]  # weight formats that may be served
    max_bytes: int | None  # the tier's memory, in bytes
    fresh_days: int | None  # a site promotes only while its newest bundle is at most this old
    hardware_keys: (
        bool  # approvals by FIDO2 keys with touch and PIN, or PIV cards of a registered issuer, only
    )
    mode: str = MANUAL  # hybrid: staged and validated by itself; automatic: promoted by itself, too
    block: Severity = "blocker"  # scan findings of this weight or more close the gate
    engines: tuple[str, ...] = ()  # engines that may serve here; empty: any
    advisories: str = "block"  # whether an engine version named in an advisory closes the gate
    context: int | None = None  # tokens of context whose cache has to fit into memory beside the weights
    concurrency: int = 1  # requests at a time that the memory has to hold
    report_days: int | None = None  # how old a suite's report may be
    companions: bool = False  # a version without companions may not be promoted
    started_here: bool = (
        False  # reports count only of engines that `validate` started, by the profile's own flags
    )
    approval_methods: tuple[str, ...] = METHODS  # in which approvals may be signed


_FIRST = ("tier", "rank", "approvals", "suites", "served_first", "licence", "formats", "max_bytes", "fresh_days", "hardware_keys")  # fmt: skip
_LATER = {entry.name: entry.default for entry in fields(Policy) if entry.name not in _FIRST}


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
    values = {name: getattr(policy, name) for name in (*_FIRST, *_LATER)}
    kept = {name: value for name, value in values.items() if name in _FIRST or value != _LATER[name]}
    lists = {name: list(value) for name, value in kept.items() if isinstance(value, tuple)}
    return canonical_bytes({"format": FORMAT, **kept, **lists})


def decode(data: bytes) -> Policy:
    """Read a policy's document. Raises `DocumentRefused` and `NotCanonical`, naming the field."""
    raw = parse(data, max_bytes=MAX_BYTES, at="policy")
    needed = {"format", *_FIRST}
    if not isinstance(raw, dict) or raw.get("format") != FORMAT or not needed <= set(raw):
        raise DocumentRefused(f"needs the fields {', '.join(sorted(needed))}, format {FORMAT!r}", at="policy")
    return from_fields({name: value for name, value in raw.items() if name != "format"}, at="policy")


def from_fields(raw: dict[str, Any], *, at: str) -> Policy:
    """Read a policy from its fields. Raises `DocumentRefused`, naming the field, also for one that is unknown."""
    given = _Fields({**_LATER, **raw}, at)
    given.demand_known()
    policy = Policy(
        tier=word("tier", given.text("tier")),
        rank=given.number("rank", least=1),
        approvals=given.number("approvals", least=0),
        suites=given.texts("suites"),
        served_first=None if given["served_first"] is None else word("tier", given.text("served_first")),
        licence=given.choice("licence", LICENCES),
        formats=given.texts("formats"),
        max_bytes=given.optional_number("max_bytes"),
        fresh_days=given.optional_number("fresh_days"),
        hardware_keys=given.flag("hardware_keys"),
        mode=given.choice("mode", MODES),
        block=cast("Severity", given.choice("block", SEVERITIES)),
        engines=given.texts("engines"),
        advisories=given.choice("advisories", ADVISORIES),
        context=given.optional_number("context"),
        concurrency=given.number("concurrency", least=1),
        report_days=given.optional_number("report_days"),
        companions=given.flag("companions"),
        started_here=given.flag("started_here"),
        approval_methods=given.some_of("approval_methods", METHODS),
    )
    if policy.approvals == 0 and policy.mode != AUTOMATIC:
        raise DocumentRefused(
            f"nobody approves, and the mode is {policy.mode}: at least 1, unless the mode is {AUTOMATIC}",
            at=f"{at}.approvals",
        )
    if policy.mode == AUTOMATIC and not policy.suites:
        raise DocumentRefused("promoted by itself, and nothing is measured: name a suite", at=f"{at}.suites")
    return policy


def for_one_person(policy: Policy) -> Policy:
    """Return the policy as a single-person home keeps it: one approval at most, and every report says so."""
    return replace(policy, approvals=min(1, policy.approvals))


def asks_less_of_people(before: Policy, after: Policy) -> bool:
    """Whether fewer people, or weaker keys, would be enough to approve under the new policy."""
    methods = set(after.approval_methods) - set(before.approval_methods)
    return (
        after.approvals < before.approvals
        or (before.hardware_keys and not after.hardware_keys)
        or bool(methods)
    )


class _Fields:
    """The fields of a policy as they were written, each checked as it is taken."""

    def __init__(self, raw: dict[str, Any], at: str) -> None:
        self.raw, self.at = raw, at

    def __getitem__(self, name: str) -> Any:
        return self.raw[name]

    def demand_known(self) -> None:
        known = {*_FIRST, *_LATER}
        wrong = sorted(known ^ set(self.raw), key=lambda name: (name in known, name))
        for name in wrong:  # a name that means nothing first: it is often the one that is missing, misspelt
            problem = "is missing" if name in known else "is no field of a policy"
            raise DocumentRefused(problem, at=f"{self.at}.{name}")

    def text(self, name: str) -> str:
        if not isinstance(self.raw[name], str):
            raise DocumentRefused("must be a text", at=f"{self.at}.{name}")
        return str(self.raw[name])

    def number(self, name: str, *, least: int) -> int:
        if type(self.raw[name]) is not int or not least <= self.raw[name] < 2**53:
            raise DocumentRefused(f"must be a whole number from {least}", at=f"{self.at}.{name}")
        return int(self.raw[name])

    def optional_number(self, name: str) -> int | None:
        return None if self.raw[name] is None else self.number(name, least=1)

    def texts(self, name: str) -> tuple[str, ...]:
        value = self.raw[name]
        if not isinstance(value, list | tuple) or any(
            not isinstance(item, str) or not item for item in value
        ):
            raise DocumentRefused("must be a list of texts", at=f"{self.at}.{name}")
        if len(set(value)) != len(value):
            raise DocumentRefused("names one twice", at=f"{self.at}.{name}")
        return tuple(value)

    def some_of(self, name: str, choices: tuple[str, ...]) -> tuple[str, ...]:
        found = self.texts(name)
        if not found or not set(found) <= set(choices):
            raise DocumentRefused(f"must name at least one of {', '.join(choices)}", at=f"{self.at}.{name}")
        return tuple(one for one in choices if one in found)

    def choice(self, name: str, choices: tuple[str, ...]) -> str:
        if self.raw[name] not in choices:
            raise DocumentRefused(f"must be one of {', '.join(choices)}", at=f"{self.at}.{name}")
        return str(self.raw[name])

    def flag(self, name: str) -> bool:
        if not isinstance(self.raw[name], bool):
            raise DocumentRefused("must be true or false", at=f"{self.at}.{name}")
        return bool(self.raw[name])
