"""What each tier may do by itself: look for newer versions, scan and validate them, promote what the gate lets in.

No scheduler: a timer of the system calls it. One pass brings every tier as far as it may go and says what waits for
whom; a second pass right after it changes nothing. Two at once on one home: the second is refused. Two servers on one
database may both measure; the promotion itself is judged inside the transaction that pins, so it happens once.

    manual      nothing is done; what waits is said
    hybrid      the newest version is scanned and validated; people approve and promote
    automatic   and it is promoted when every check of the gate holds

A version that a rollback left is never taken up again by itself, nor is the set changed that it restored: somebody had
a reason.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from pipelines.case import Case, case, rules_of
from pipelines.intake.record import rescan
from pipelines.promote import promote, same_set
from pipelines.removed import removed
from pipelines.rollback import served
from pipelines.validate import Bench, stands, validate
from pipelines.workplace import Workplace
from registry import pins, policy
from registry.gate import GateClosed
from registry.names import Ref
from registry.views import View
from signing.errors import OperatorError

# What people and suites still have to say is no reason against measuring.
_LATER = ("approvals", "lower tier")


@dataclass(frozen=True)
class Step:
    """One tier and one model after a pass."""

    tier: str
    model: str
    mode: str
    ordinal: int
    done: tuple[str, ...]  # what was done in this pass
    state: str  # "serves it", "promoted", "waits", "refused"
    waits_for: tuple[str, ...]  # what is against it, and who can mend that


def reconcile(
    work: Workplace,
    *,
    bench: Callable[[str], Bench],
    tiers: Sequence[str] = (),
    clock: Callable[[], datetime],
    dry_run: bool = False,
    say: Callable[[str], None] = lambda _text: None,
) -> list[Step]:
    """Bring tiers as far as their mode lets them go, lowest tier first.

    Args:
        bench: where engines of a tier are started for a validation.
        tiers: only these; by default all.
        clock: what it is now: a validation may take hours, and what ran out meanwhile counts no more.
        dry_run: say what is and what waits; do nothing.

    Raises:
        NotFound: no such tier. HomeBusy: another pass is under way.
    """
    with work.home.busy("reconcile"):
        return [
            _step(replace(work, now=clock()), tier, ref, bench, clock=clock, dry_run=dry_run, say=say)
            for tier in _tiers(work, tiers)
            for ref in _newest(work, tier)
        ]


def _tiers(work: Workplace, wanted: Sequence[str]) -> list[str]:
    with work.store.view() as view:
        for name in wanted:
            view.tier(name)
        return [row.tier for row in view.tiers() if not wanted or row.tier in wanted]


def _newest(work: Workplace, tier: str) -> list[Ref]:
    """Of each model the newest version that may come into question in a tier; none below what it serves."""
    with work.store.view() as view:
        gone = {row.version for row in view.withdrawals()}
        without = removed(view, work.blobs)
        by_model: dict[str, list[tuple[int, str]]] = {}
        for model, ordinal, digest in view.version_columns():
            if digest not in gone and digest not in without:
                by_model.setdefault(model, []).append((ordinal, digest))
        found = [(model, _in_question(view, tier, model, held)) for model, held in by_model.items()]
    return [Ref(model, ordinal=ordinal) for model, ordinal in found if ordinal is not None]


def _in_question(view: View, tier: str, model: str, held: Sequence[tuple[int, str]]) -> int | None:
    """The ordinal of the newest version that no rollback left and that is not older than what the tier serves."""
    history = view.pin_history(tier, model)
    left = pins.left_by_rollback([served(line) for line in history])
    ordinals = [ordinal for ordinal, digest in held if digest not in left]
    newest = max(ordinals, default=None)
    return None if newest is None or (history and newest < history[-1].ordinal) else newest


def _step(
    work: Workplace,
    tier: str,
    ref: Ref,
    bench: Callable[[str], Bench],
    *,
    clock: Callable[[], datetime],
    dry_run: bool,
    say: Callable[[str], None],
) -> Step:
    done: list[str] = []
    with work.store.view() as view:
        mode = rules_of(work, view, tier).mode
    found, pinned = _look(work, ref, tier)
    if not pinned and mode != policy.MANUAL and not dry_run:
        done += _scan(work, found)
        found, _ = _look(work, ref, tier)
        done += _measure(work, found, tier, bench, say)
        work = replace(work, now=clock())
        found, _ = _look(work, ref, tier)
        if mode == policy.AUTOMATIC and found.open:
            done += _promote(work, ref, tier)
            found, pinned = _look(work, ref, tier)
    state = (
        "promoted" if "promoted" in done else "serves it" if pinned else "ready" if found.open else "waits"
    )
    against = [] if pinned else [item for item in found.findings if not item.ok]
    return Step(
        tier=tier,
        model=ref.model,
        mode=mode,
        ordinal=found.version.ordinal,
        done=tuple(done),
        state=state,
        waits_for=tuple(f"{item.check} ({item.who}): {item.message}" for item in against),
    )


def _look(work: Workplace, ref: Ref, tier: str) -> tuple[Case, bool]:
    """The gate's answer, and whether there is nothing to do: the tier serves exactly this set, or went back to this version.

    A rollback restored a whole set. What has been said since of its companions or its router is what was left: it is
    not put under the same version by itself.
    """
    with work.store.view() as view:
        found = case(work, view, ref, tier)
        pin = view.pin(tier, ref.model)
        if pin is None:
            return found, False
        went_back = pin.kind == "rollback" and pin.version == found.version.digest
        return found, went_back or same_set(pin, found)


def _scan(work: Workplace, found: Case) -> list[str]:
    """Scan a version that was never scanned here, or by older rules."""
    if found.scan is not None and not found.scan.outdated:
        return []
    rescan(work, Ref(found.version.model, ordinal=found.version.ordinal))
    return ["scanned"]


def _measure(
    work: Workplace, found: Case, tier: str, bench: Callable[[str], Bench], say: Callable[[str], None]
) -> list[str]:
    """Validate, unless something stands against the version that no suite can change."""
    hopeless = [
        item
        for item in found.findings
        if not item.ok and item.check not in _LATER and not item.check.startswith("suite ")
    ]
    if hopeless or all(stands(fact) for fact in found.suites):
        return []
    ref = Ref(found.version.model, ordinal=found.version.ordinal)
    try:
        result = validate(work, ref, tier, bench=bench(tier), say=say)
    except OperatorError as refusal:
        return [f"validation refused: {refusal}"]
    return [f"suite {name}: {run.outcome}" for name, run in result.runs]


def _promote(work: Workplace, ref: Ref, tier: str) -> list[str]:
    try:
        promote(work, ref, tier, reason="automatic: every check of the gate holds")
    except GateClosed:  # something changed between the look and the transaction
        return []
    return ["promoted"]
