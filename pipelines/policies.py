"""Putting a policy file in force: what would change, which pinned versions it would break, and who said so.

1. Read the file strictly; it names every tier of the home.
2. Rehearse: judge each pinned version by the old policy and by the new one; what only the new one closes would break.
3. Where somebody may sign (a steward is registered), a steward's signed decision about exactly this text has to stand,
   made since the policy that it takes the place of is in force: an old one brings no old policy back.
4. Record the text and the changed tiers in one transaction. What serves goes on serving.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from pipelines import policy_ground
from pipelines.case import case, rules_of
from pipelines.decide import ever_signed_as, people, standing
from pipelines.policy_ground import KIND, signers_needed, walked
from pipelines.workplace import Workplace
from registry import policy, tiers_file
from registry.approvals import STEWARD
from registry.audit import EventKind
from registry.decisions import Kind
from registry.entities import Document, Pin, TierPolicy
from registry.errors import DocumentRefused, NotFound, PolicyBreaksPins, PolicyUnsigned
from registry.names import Ref
from registry.policy import Policy
from registry.store import Change
from registry.tiers_file import Difference
from registry.views import View
from signing.digests import sha256_hex
from signing.times import from_rfc3339, rfc3339

NAME = "tiers.toml"
# A policy is about what comes; what was approved and served on the way up is history.
_PAST = ("approvals", "lower tier")


@dataclass(frozen=True)
class Broken:
    """A pinned version that the new policy would not let in, with the reasons that the old one did not have."""

    tier: str
    model: str
    ordinal: int
    reasons: tuple[str, ...]

    @property
    def name(self) -> str:
        """How it is named on the command line."""
        return f"{self.tier}:{self.model}"

    def __str__(self) -> str:
        return f"{self.tier} serves {self.model}@{self.ordinal}: {'; '.join(self.reasons)}"


@dataclass(frozen=True)
class Rehearsal:
    """What a policy file would do here. `unknown`: names in it that mean nothing here yet, such as a suite."""

    digest: str
    policies: tuple[Policy, ...]
    differences: tuple[Difference, ...]
    broken: tuple[Broken, ...]
    unknown: tuple[str, ...]


def in_force(work: Workplace, view: View) -> tuple[Policy, ...]:
    """Every tier's policy of now, lowest first."""
    rows = [policy_ground.standing(work, view, row.tier) for row in view.tiers()]
    return tuple(policy.decode(row.body.encode()) for row in rows)


def rehearse(work: Workplace, view: View, text: str) -> Rehearsal:
    """Say what a policy file would change and break. Nothing is recorded.

    Raises:
        DocumentRefused: naming tier and field; also for a file that leaves out a tier of this home.
    """
    wanted, now = tiers_file.read(text), in_force(work, view)
    for missing in sorted({rules.tier for rules in now} - {rules.tier for rules in wanted}):
        raise DocumentRefused(
            "this home has the tier and the file does not name it; a tier's history stays, so it is never taken out",
            at=f"tiers.toml: tiers.{missing}",
        )
    return Rehearsal(
        digest=sha256_hex(text.encode()),
        policies=wanted,
        differences=tuple(tiers_file.compare(now, wanted)),
        broken=tuple(_broken(work, view, wanted)),
        unknown=tuple(_unknown(view, wanted)),
    )


def apply_policy(work: Workplace, text: str, *, although: Collection[str] = ()) -> Rehearsal:
    """Put a policy file in force. The same one again changes nothing.

    Args:
        although: `TIER:MODEL` of pinned versions that may stay although the new policy would not let them in.

    Raises:
        DocumentRefused: see `rehearse`. PolicyUnsigned, PolicyBreaksPins: nothing was changed.
    """
    with work.store.change(actor=work.actor, now=work.now) as change:
        found = rehearse(work, change, text)
        rows = _changed(work, change, found.policies)
        held = change.document_by_digest(found.digest) is not None
        if held and not rows:
            return found
        _demand_signed(work, change, found)
        demand_whole(found, although)
        document = Document(
            digest=found.digest, kind=KIND, name=NAME, body=text, added_at=rfc3339(work.now), added_by=work.actor
        )  # fmt: skip
        new = [] if held else [document]
        note = {"tiers": [row.tier for row in rows]}
        change.record(EventKind.POLICY_ADDED, found.digest, *new, *rows, note=note)
    return found


def demand_whole(found: Rehearsal, although: Collection[str]) -> None:
    """Raise `PolicyBreaksPins` for every pinned version that would break and is not named."""
    if left := [item for item in found.broken if item.name not in set(although)]:
        raise PolicyBreaksPins([f"{item} [--although-it-breaks {item.name}]" for item in left])


def _demand_signed(work: Workplace, view: View, found: Rehearsal) -> None:
    """Where a steward could ever sign, one has to; before anybody is registered there is nobody to ask.

    A file that asks less of people takes as many as it would spare: else one steward could do away with the second.
    """
    if not ever_signed_as(work, view, STEWARD):
        return
    signed = [one for one in standing(work, view, Kind.APPLY_POLICY) if one.subject == found.digest]
    since = from_rfc3339(walked(work, view).since)
    late = [one for one in signed if one.request.issued_at >= since]
    people, needed = sorted({one.person for one in late}), _signers_needed(work, view, found)
    if min(len(people), len({one.fingerprint for one in late})) < needed:
        raise PolicyUnsigned(found.digest, earlier=bool(signed), signed=people, needed=needed)


def _signers_needed(work: Workplace, view: View, found: Rehearsal) -> int:
    now, ever = {rules.tier: rules for rules in in_force(work, view)}, len(people(work, view).stewards)
    return signers_needed(now, found.policies, ever, solo=work.home.profile == "solo")


def _as_kept(work: Workplace, rules: Policy) -> Policy:
    return policy.for_one_person(rules) if work.home.profile == "solo" else rules


def _changed(work: Workplace, change: Change, wanted: Sequence[Policy]) -> list[TierPolicy]:
    known, now = {row.tier: row for row in change.tiers()}, in_force(work, change)
    return [
        TierPolicy(
            tier=rules.tier,
            position=known[rules.tier].position + 1 if rules.tier in known else 1,
            rank=rules.rank,
            body=policy.encode(rules).decode(),
            since=rfc3339(work.now),
            actor=work.actor,
        )
        for rules in wanted
        if rules not in now
    ]


def _broken(work: Workplace, view: View, wanted: Sequence[Policy]) -> list[Broken]:
    new = {rules.tier: rules for rules in wanted}
    judged = [(pin, _only_new(work, view, pin, new[pin.tier])) for pin in view.pins() if pin.tier in new]
    return [Broken(pin.tier, pin.model, pin.ordinal, reasons) for pin, reasons in judged if reasons]


def _only_new(work: Workplace, view: View, pin: Pin, rules: Policy) -> tuple[str, ...]:
    """What closes the gate for a pinned version under the new policy and did not under the old one."""
    ref = Ref(pin.model, ordinal=pin.ordinal)
    now = rules_of(work, view, pin.tier)
    rules = _as_kept(work, rules)
    if rules == now:
        return ()
    before = case(work, view, ref, pin.tier, rules=now)
    known = {(finding.check, finding.message) for finding in before.findings if not finding.ok}
    after = case(work, view, ref, pin.tier, rules=rules).findings
    return tuple(
        f"{finding.check}: {finding.message}"
        for finding in after
        if not finding.ok and finding.check not in _PAST and (finding.check, finding.message) not in known
    )


def _unknown(view: View, wanted: Sequence[Policy]) -> list[str]:
    """Suites that the file demands and nobody here has."""
    missing = []
    for name in dict.fromkeys(name for rules in wanted for name in rules.suites):
        try:
            view.document("suite", name)
        except NotFound:
            missing.append(
                f"no suite {name!r} is held here; until it is, nothing passes a tier that demands it"
            )
    return missing
