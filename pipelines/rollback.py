"""Goes back to the last version that a tier served and may still serve, with everything that belonged to it.

Works offline and without the gate: the set was judged when it was promoted. What is checked again is what may
have changed since: that it is not withdrawn, and that its bytes are all there and are what their names say.
"""

from dataclasses import dataclass

from pipelines.evidence import pin_statement
from pipelines.promote import not_before, router_row
from pipelines.workplace import Workplace
from registry import manifests, pins
from registry.audit import EventKind
from registry.blobs import Progress, no_progress
from registry.entities import Pin, Row
from registry.errors import BlobDamaged, NotFound
from registry.views import View
from signing.times import rfc3339


@dataclass(frozen=True)
class RolledBack:
    """The line that was left and the new one."""

    left: Pin
    pin: Pin
    router_restored: bool  # the tier's router setting went back with it


def roll_back(
    work: Workplace, model: str, tier: str, *, reason: str, progress: Progress = no_progress
) -> RolledBack:
    """Append the pin that restores the earlier set: version, contract, engine profile, router contract, companions.

    Raises:
        NothingToRollBackTo: no earlier version of the tier may serve.
    """
    with work.store.change(actor=work.actor, now=work.now) as change:
        change.tier(tier)
        history = change.pin_history(tier, model)
        target = pins.choose_rollback(
            tier,
            model,
            [served(line) for line in history],
            withdrawn={row.version for row in change.withdrawals()},
            damaged=_damaged(work, change, history, progress),
        )
        old = next(line for line in history if line.position == target.position)
        pin = Pin(
            tier=tier,
            model=model,
            position=history[-1].position + 1,
            kind="rollback",
            version=old.version,
            ordinal=old.ordinal,
            contract=old.contract,
            profile=old.profile,
            router=old.router,
            companions=old.companions,
            evidence=old.evidence,
            reason=reason,
            since=not_before(rfc3339(work.now), history),
            actor=work.actor,
            override=old.override,  # going back to it makes it nobody else's word
        )
        rows: list[Row] = [pin, pin_statement(work, pin, previous=history[-1])]
        setting = change.router(tier)
        moved = bool(old.router and old.profile) and (
            setting is None or (setting.router, setting.profile) != (old.router, old.profile)
        )
        if moved:
            assert old.router is not None
            assert old.profile is not None
            rows.append(router_row(work, change, tier, router=old.router, profile=old.profile))
        change.record(EventKind.ROLLED_BACK, pin.version, *rows, note={"left": history[-1].version})
    return RolledBack(history[-1], pin, moved)


def preview(view: View, model: str, tier: str) -> Pin:
    """The line of the tier's history that it would go back to, if all bytes of it are whole: those are not read here.

    Raises:
        NothingToRollBackTo: no earlier version of the tier may serve.
    """
    view.tier(tier)
    history = view.pin_history(tier, model)
    gone = {row.version for row in view.withdrawals()}
    target = pins.choose_rollback(
        tier, model, [served(line) for line in history], withdrawn=gone, damaged=set()
    )
    return next(line for line in history if line.position == target.position)


def served(line: Pin) -> pins.Served:
    """A pin as the rule sees it."""
    return pins.Served(
        line.position,
        line.version,
        line.ordinal,
        line.contract,
        line.profile,
        line.router,
        rolled_back=line.kind == "rollback",
    )


def _damaged(work: Workplace, view: View, history: list[Pin], progress: Progress) -> set[str]:
    """Read the candidates' blobs, newest first, until one is whole: only that one can be chosen."""
    damaged: set[str] = set()
    never = {row.version for row in view.withdrawals()} | pins.left_by_rollback([*map(served, history)])
    for line in reversed(history[:-1]):
        if line.version in never or line.version == history[-1].version or line.version in damaged:
            continue
        version = view.version_by_digest(line.version)
        try:
            for entry in manifests.decode(version.manifest.encode()).files if version else ():
                work.blobs.verify(entry.sha256)
                progress(entry.size)
            if version is not None:
                return damaged
        except (BlobDamaged, NotFound):
            pass
        damaged.add(line.version)
    return damaged
