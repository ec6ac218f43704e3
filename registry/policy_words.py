"""A tier's policy as sentences, each with the checks of the gate that hold a version to it. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass

from registry.policy import AUTOMATIC, HYBRID, METHODS, Policy

_MODES = {
    AUTOMATIC: "What comes is validated and promoted by itself when the gate is open.",
    HYBRID: "What comes is staged and validated by itself; a person promotes it.",
}
_LICENCES = {
    "any": "Any licence will do, also none.",
    "stated": "The files state their licence.",
    "accepted": "The files state their licence, and a reviewer has accepted it here.",
}
_WEIGHTS = {
    "blocker": "stops what is dangerous",
    "review": "stops also what somebody has to look at",
    "note": "stops at every finding",
}


@dataclass(frozen=True)
class Demand:
    """One sentence, and the gate's checks that enforce it (`suite` means every check that begins so)."""

    said: str
    checks: tuple[str, ...] = ()

    def enforced_by(self, check: str) -> bool:
        """Whether a finding of this check is about this demand."""
        return any(check == name or check.startswith(f"{name} ") for name in self.checks)


def demands(policy: Policy) -> list[Demand]:
    """Return everything that a tier demands, in the order of the gate; what holds in every tier last."""
    return [*own(policy), *EVERYWHERE]


def own(policy: Policy) -> Iterator[Demand]:
    """Yield what this tier demands by its policy."""
    if policy.mode in _MODES:
        yield Demand(_MODES[policy.mode])
    if policy.fresh_days is not None:
        yield Demand(f"The newest bundle is at most {policy.fresh_days} days old.", ("freshness",))
    yield Demand(f"This home's own scan {_WEIGHTS[policy.block]}.", ("scan",))
    yield Demand(_LICENCES[policy.licence], ("licence",))
    yield Demand(f"Weights come as {_listed(policy.formats, 'or')}.", ("formats",))
    if policy.max_bytes is not None or policy.context is not None:
        yield Demand(_memory(policy), ("memory",))
    yield Demand(_engine(policy), ("engine",))
    if policy.companions:
        yield Demand("The files that go with the model are there.", ("companions",))
    yield Demand(_suites(policy), ("suite",))
    if policy.served_first:
        yield Demand(f"Tier {policy.served_first} has served it first.", ("lower tier",))
    yield Demand(_approvals(policy), ("approvals", "rejections"))


def _memory(policy: Policy) -> str:
    room = "the tier's memory" if policy.max_bytes is None else f"{policy.max_bytes:,} bytes"
    if policy.context is None:
        return f"Weights fit into {room}."
    many = f" for {policy.concurrency} requests at a time" if policy.concurrency > 1 else ""
    return f"Weights, and {policy.context:,} tokens of context{many}, fit into {room}."


def _engine(policy: Policy) -> str:
    named = (
        f"The engine is {_listed(policy.engines, 'or')}"
        if policy.engines
        else "Any engine that is set may serve"
    )
    found = "closes the gate" if policy.advisories == "block" else "is shown and closes nothing"
    return f"{named}; an advisory about its release {found}."


def _suites(policy: Policy) -> str:
    if not policy.suites:
        return "No suite has to be run."
    named = "Suite" if len(policy.suites) == 1 else "Suites"
    said = f"{named} {_listed(policy.suites)} passed here, in this tier, on exactly what would serve"
    if policy.started_here:
        said += ", on an engine that was started here"
    return said + (f", at most {policy.report_days} days ago." if policy.report_days is not None else ".")


def _approvals(policy: Policy) -> str:
    if not policy.approvals:
        return "Nobody is asked; a signed no still stops it."
    people = "One person has" if policy.approvals == 1 else f"{policy.approvals} people have"
    how = " with hardware keys, touched and unlocked," if policy.hardware_keys else ""
    ways = f" (only {_listed(policy.approval_methods, 'or')})" if policy.approval_methods != METHODS else ""
    return f"{people} signed a yes{how} after the last evidence{ways}, and no signed no stands."


def _listed(names: tuple[str, ...], word: str = "and") -> str:
    head, last = names[:-1], names[-1] if names else "nothing"
    return f"{', '.join(head)} {word} {last}" if head else last


EVERYWHERE = (
    Demand("A withdrawn version never serves again.", ("withdrawn",)),
    Demand("It came in a verified bundle, or was taken in here under a signed statement.", ("trust",)),
    Demand("What it emits the engine profile parses and the tier's router accepts.", ("contract",)),
    Demand("There is a way back to what is pinned now.", ("way back",)),
)
