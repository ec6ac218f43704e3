"""Breaking the glass: what one steward alone may override, and what others say of it afterwards.

Pure. Only what is late or not there yet can be overridden (`Finding.overridable`). What was found against the files, a
withdrawal, a missing origin, a contract that does not fit and somebody's "no" cannot: those are no matter of haste.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import ClassVar

from registry.errors import RegistryRefusal
from registry.gate_facts import Finding

LIFE = timedelta(hours=4)  # between the signature and the promotion


class BreakGlassRefused(RegistryRefusal):
    """The glass cannot be broken over what closes the gate, or nothing closes it, or it was broken with this before."""

    exit_code: ClassVar[int] = 247
    next_step: ClassVar[str] = (
        "Read `tidegate gate REF --tier TIER`: mend what nobody may override, and promote without --break-glass "
        "once the gate is open."
    )

    def __init__(self, ref: str, tier: str, problem: str) -> None:
        super().__init__(f"{ref} for {tier}: {problem}")
        self.ref, self.tier, self.problem = ref, tier, problem


@dataclass(frozen=True)
class Review:
    """What somebody else said of it."""

    digest: str
    person: str
    verdict: str  # upheld, objected
    reason: str
    at: str


def overridden(ref: str, tier: str, findings: Sequence[Finding]) -> list[str]:
    """Return the checks that breaking the glass overrides, sorted. Raises `BreakGlassRefused`."""
    against = [item for item in findings if not item.ok]
    never = [f"{item.check} ({item.message})" for item in against if not item.overridable]
    if never:
        raise BreakGlassRefused(ref, tier, f"nobody may override {'; '.join(never)}")
    if not against:
        raise BreakGlassRefused(ref, tier, "the gate is open: there is nothing to override")
    return sorted(item.check for item in against)


def in_words(reviews: Sequence[Review]) -> str:
    """Return what the reviews come to: one objection outweighs."""
    if not reviews:
        return "NOT REVIEWED"
    verdict = "objected" if any(one.verdict == "objected" for one in reviews) else "upheld"
    names = ", ".join(dict.fromkeys(one.person for one in reviews if one.verdict == verdict))
    return f"OBJECTED TO by {names}" if verdict == "objected" else f"upheld by {names}"
