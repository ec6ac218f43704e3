"""Promoting, withdrawing, saying what a tier's router speaks: ask the rule, append in one transaction.

A promotion judges inside the transaction that pins, on the state that it will change.
"""

from collections.abc import Sequence

from pipelines.case import Case, approval_digests, case
from pipelines.evidence import gate_statement, pin_statement
from pipelines.workplace import Workplace
from registry.audit import EventKind
from registry.entities import Pin, RouterSetting, Version, Withdrawal
from registry.gate import GateClosed
from registry.names import Ref
from registry.store import Change
from registry.views import View
from signing.canonical import canonical_bytes
from signing.times import rfc3339


def promote(work: Workplace, ref: Ref, tier: str, *, reason: str) -> Case:
    """Pin a version to a tier if the gate is open. What is pinned so already is not pinned again.

    But for what was pinned by break-glass: with the gate open it gets a line of its own, as any other.

    Raises:
        GateClosed: with every finding; nothing was changed.
        BytesRemoved: its bytes are not here any more.
        HomeBusy: bytes are being removed at this moment.
    """
    # Nobody removes bytes meanwhile.
    with work.home.using_store(), work.store.change(actor=work.actor, now=work.now) as change:
        found = case(work, change, ref, tier)
        if not found.open:
            raise GateClosed(str(ref), tier, found.findings)
        pinned = change.pin(tier, found.version.model)
        if pinned is None or pinned.override is not None or not same_set(pinned, found):
            append_pin(work, change, found, kind="promote", reason=reason)
    return found


def same_set(pin: Pin, found: Case) -> bool:
    """Whether what is pinned is what would be pinned."""
    wanted = (found.version.digest, found.contract, found.profile, found.router, found.companions)
    return wanted == (pin.version, pin.contract, pin.profile, pin.router, pin.companions)


def append_pin(
    work: Workplace, change: Change, found: Case, *, kind: str, reason: str, override: str | None = None
) -> Pin:
    """Append the line that says what the tier serves from now on; `override` is the break-glass that it rests on."""
    version = found.version
    history = change.pin_history(found.tier, version.model)
    rests_on = [override] if override else []
    evidence = [*found.evidence, *approval_digests(found.approvals), *rests_on]
    pin = Pin(
        tier=found.tier,
        model=version.model,
        position=len(history) + 1,
        kind=kind,
        version=version.digest,
        ordinal=version.ordinal,
        contract=found.contract,
        profile=found.profile,
        router=found.router,
        companions=found.companions,
        evidence=canonical_bytes(evidence).decode(),
        reason=reason,
        since=not_before(rfc3339(work.now), history),
        actor=work.actor,
        override=override,
    )
    said = pin_statement(work, pin, previous=history[-1] if history else None)
    passed_over = [finding.check for finding in found.against] if override else []
    answer = gate_statement(work, pin, policy=found.policy, inputs=evidence, overridden=passed_over)
    gate_note = {"gate": [finding.check for finding in found.findings]}
    change.record(EventKind.PROMOTED, version.digest, pin, said, answer, note=gate_note)
    return pin


def not_before(now: str, history: Sequence[Pin]) -> str:
    """The moment of a new line: never before the line that it follows, whatever the clock says. The event keeps that."""
    return max(now, history[-1].since) if history else now


def withdraw(work: Workplace, ref: Ref, *, reason: str) -> tuple[Version, bool]:
    """Say that a version may not serve again. Returns it, and whether that is new."""
    with work.store.change(actor=work.actor, now=work.now) as change:
        version = change.version(ref)
        if change.withdrawal(version.digest) is not None:
            return version, False
        row = Withdrawal(version=version.digest, reason=reason, since=rfc3339(work.now), actor=work.actor)
        change.record(EventKind.WITHDRAWN, version.digest, row)
    return version, True


def router_row(work: Workplace, view: View, tier: str, *, router: str, profile: str) -> RouterSetting:
    """The next line of a tier's router history, not recorded yet."""
    last = view.router(tier)
    return RouterSetting(
        tier=tier,
        position=last.position + 1 if last else 1,
        router=router,
        profile=profile,
        since=rfc3339(work.now),
        actor=work.actor,
    )
