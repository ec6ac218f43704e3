"""What is served against what is pinned: everything that is not as it should be, each with its name and a next step.

Pure: pins and newest observations in, findings out. An engine that says nothing, or that nobody has looked at for
too long, is drift as much as one that serves other files: nobody knows what it does.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import ClassVar

from pipelines.errors import JudgingRefused
from registry.entities import Observation, Pin
from signing.canonical import parse
from signing.times import from_rfc3339

DEFAULT_HOURS = 24
_MAX_BODY = 1 << 20


class Drifted(JudgingRefused):
    """What the engines serve is not what is pinned, or nobody knows what they serve."""

    exit_code: ClassVar[int] = 225
    next_step: ClassVar[str] = (
        "Follow the step under each line; `tidegate rollout TIER MODEL` makes the engines serve what is pinned."
    )

    def __init__(self, count: int, where: str) -> None:
        super().__init__(f"{where}: {count} {'thing is' if count == 1 else 'things are'} not as pinned")
        self.count, self.where = count, where


@dataclass(frozen=True)
class Drift:
    """One model at one node (`node` empty: at none). `age`: hours since it was looked at, None for never."""

    tier: str
    node: str
    model: str
    kind: str  # as-pinned, other-files, other-set, silent, unproven, too-old, before-the-pin, never-seen, not-pinned
    message: str
    next_step: str
    age: float | None

    @property
    def ok(self) -> bool:
        """Whether the engine was seen to serve the pin, and lately."""
        return self.kind == "as-pinned"


def drift(
    pins: Sequence[Pin],
    observations: Sequence[Observation],
    *,
    now: datetime,
    hours: Mapping[str, int] | None = None,
) -> list[Drift]:
    """Judge every pinned model, and everything that was seen without a pin.

    Args:
        pins: the newest of each model in each tier.
        observations: the newest of each model at each node.
        hours: by tier, how old an observation may be.
    """
    allowed = hours or {}
    by_model: dict[tuple[str, str], list[Observation]] = {}
    for seen in observations:
        by_model.setdefault((seen.tier, seen.model), []).append(seen)
    found: list[Drift] = []
    for pin in pins:
        seen_here = by_model.pop((pin.tier, pin.model), [])
        limit = timedelta(hours=allowed.get(pin.tier, DEFAULT_HOURS))
        found += [_judge(pin, seen, now, limit) for seen in seen_here] or [_never(pin)]
    for rest in by_model.values():
        found += [_unpinned(seen, now) for seen in rest if seen.state != "SILENT"]
    return sorted(found, key=lambda one: (one.tier, one.model, one.node))


def _judge(pin: Pin, seen: Observation, now: datetime, limit: timedelta) -> Drift:
    ref = f"{pin.model}@{pin.ordinal}"
    look = f"Run `tidegate agent {pin.tier}` on node {seen.node}."
    carry = f"Run `tidegate rollout {pin.tier} {pin.model}` on node {seen.node}."
    why = _why(seen)
    at = from_rfc3339(seen.since)
    if seen.since < pin.since:
        kind, message = (
            "before-the-pin",
            f"last looked at {seen.since}, before {ref} was pinned at {pin.since}",
        )
        return _drift(seen, now, kind=kind, message=message, step=f"{carry} Then: {look}")
    if now - at > limit or at > now:
        kind, message = "too-old", f"last looked at {seen.since}; it was {seen.state} then"
        return _drift(seen, now, kind=kind, message=message, step=look)
    if seen.state == "SERVES" and seen.version == pin.version:
        return _drift(seen, now, kind="as-pinned", message=f"serves {ref}", step="")
    others = "other-set" if seen.version == pin.version else "other-files"
    kind = {"SILENT": "silent", "UNPROVEN": "unproven"}.get(seen.state, others)
    return _drift(seen, now, kind=kind, message=why or f"does not serve {ref}", step=carry)


def _drift(seen: Observation, now: datetime, *, kind: str, message: str, step: str) -> Drift:
    age = (now - from_rfc3339(seen.since)).total_seconds() / 3600
    return Drift(seen.tier, seen.node, seen.model, kind, message, step, age)


def _never(pin: Pin) -> Drift:
    step = f"Place it in serving.toml, run `tidegate rollout {pin.tier} {pin.model}`, then `tidegate agent {pin.tier}`."
    message = f"{pin.model}@{pin.ordinal} is pinned, and no node was seen to serve it"
    return Drift(pin.tier, "", pin.model, "never-seen", message, step, None)


def _unpinned(seen: Observation, now: datetime) -> Drift:
    message = f"is served ({seen.state}) and nothing is pinned: {_why(seen)}"
    step = f"Stop that engine on node {seen.node}, or promote what it serves."
    return _drift(seen, now, kind="not-pinned", message=message, step=step)


def _why(seen: Observation) -> str:
    body = parse(seen.body.encode(), max_bytes=_MAX_BODY, at="observation")
    return str(body.get("why", "")) if isinstance(body, dict) else ""
