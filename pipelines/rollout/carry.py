"""Carries a pin out: what a tier is pinned to is what its engines serve, after this, or what served before does.

1. settings, pin and documents are read; what is missing is refused before anything is touched
2. one rollout of a model in a tier at a time on this node
3. a rollout that a crash left unfinished is finished first: forth if the pin is still what it carried, else back
4. nothing to do when the proxy speaks by exactly this set and its engine answers
5. the walk; what came of it is recorded with the times that were measured, also when it turned back
"""

import fcntl
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.rollout import journal as journals
from pipelines.rollout import settings
from pipelines.rollout.front import Live, NginxFront, live_from
from pipelines.rollout.hands import EngineHands, driver_of
from pipelines.rollout.journal import BEGUN, FORTH, SERVED, TURNED_BACK, Journal
from pipelines.rollout.plan import Do, Plan, Strategy, plan
from pipelines.rollout.refusals import (
    JournalDamaged,
    RolloutTurnedBack,
    RolloutUnderway,
    StepFailed,
)
from pipelines.rollout.settings import Serving, TierServing
from pipelines.rollout.walk import walk
from pipelines.rollout.wanted import PinnedSet, Wanted, wanted, wanted_set
from pipelines.workplace import Workplace
from registry.audit import EventKind
from registry.blobs import Progress, no_progress
from registry.entities import Rollout
from signing.canonical import canonical_bytes
from signing.errors import OperatorError
from signing.times import rfc3339

ALREADY = "ALREADY"
_LOOK_SECONDS = 30.0  # for the engine that serves already
Say = Callable[[str], None]


def _silence(_text: str) -> None:
    """Say nothing."""


@dataclass(frozen=True)
class Done:
    """How it ended well. `row` is None when there was nothing to do; `notes`: what a person should know."""

    outcome: str  # SERVED, ALREADY
    pinned: PinnedSet
    live: Live
    row: Rollout | None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Preview:
    """What would be done."""

    plan: Plan
    pinned: PinnedSet
    live: Live | None
    unfinished: str | None  # a rollout that a crash left, which would be finished first


@dataclass(frozen=True)
class _Desk:
    """One model in one tier: everything that was read before anything is touched."""

    work: Workplace
    serving: Serving
    tier: TierServing
    model: str
    front: NginxFront
    progress: Progress
    say: Say

    @property
    def folder(self) -> Path:
        return self.work.home.path / "rollouts"

    @property
    def label(self) -> str:
        return settings.label(self.tier.tier, self.model)


def carry_out(
    work: Workplace,
    tier: str,
    model: str,
    *,
    strategy: str | None = None,
    progress: Progress = no_progress,
    say: Say = _silence,
) -> Done:
    """Make the engines of this node serve what the tier is pinned to.

    Args:
        strategy: instead of the one in `serving.toml`.

    Raises:
        ServingMalformed, NotFound, Withdrawn, FrontUnclear, JournalDamaged: nothing was touched.
        RolloutUnderway: another command is at it.
        RolloutTurnedBack: a step failed; what served before serves.
        WayBackBlocked: a step failed, and so did taking it back.
    """
    desk, chosen, want = _read(work, tier, model, strategy, progress=progress, say=say)  # 1
    with _alone(desk):  # 2
        earlier = _finish_earlier(desk, want.pinned)  # 3
        if earlier is not None:
            return earlier
        live = desk.front.live()
        if live is not None and _serves(desk, live, want):  # 4
            return Done(ALREADY, want.pinned, live, None)
        return _roll(desk, chosen, want, live)  # 5


def preview(work: Workplace, tier: str, model: str, *, strategy: str | None = None) -> Preview:
    """Return what `carry_out` would do, touching nothing. Raises as it does before it touches anything."""
    desk, chosen, want = _read(work, tier, model, strategy)
    live = desk.front.live()
    newest = journals.latest(desk.folder, desk.label)
    earlier = journals.reopen(newest, repair=False) if newest else None
    unfinished = earlier.rollout if earlier is not None and earlier.end is None else None
    made = plan(chosen, old=_old(live), smoke=want.suite is not None)
    return Preview(made, want.pinned, live, unfinished)


def _read(
    work: Workplace,
    tier: str,
    model: str,
    strategy: str | None,
    *,
    progress: Progress = no_progress,
    say: Say = _silence,
) -> tuple[_Desk, Strategy, Wanted]:
    with work.store.view() as view:
        view.tier(tier)
        serving = settings.read(work.home.path, tiers={row.tier for row in view.tiers()})
        ours = serving.tier(tier)
        place = ours.place(model)
        want = wanted(view, tier, model, smoke=ours.smoke)
    chosen = Strategy(strategy) if strategy else ours.strategy
    for slot in ("blue", "green"):
        ours.port(model, slot, chosen)
    driver_of(serving, ours, want.profile, daemon=chosen is Strategy.ALIAS_SWAP)
    front = NginxFront(ours.nginx, tier, model, place.listen)
    return _Desk(work, serving, ours, model, front, progress, say), chosen, want


@contextmanager
def _alone(desk: _Desk) -> Iterator[None]:
    """Hold the lock; the kernel's, so that it ends with the process. Raises `RolloutUnderway` at once."""
    desk.folder.mkdir(exist_ok=True)
    handle = os.open(desk.folder / f".{desk.label}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            raise RolloutUnderway(desk.tier.tier, desk.model) from exc
        yield
    finally:
        os.close(handle)


def _finish_earlier(desk: _Desk, now_pinned: PinnedSet) -> Done | None:
    """Take up what a crash left; return it if it carried what is pinned now.

    A walk back that a failure led to is refused like any other; one that the pin asked for is not.
    """
    newest = journals.latest(desk.folder, desk.label)
    journal = journals.reopen(newest) if newest else None
    if journal is None:
        return None
    if journal.end is not None:
        _record_once(desk, journal)  # it crashed between the end of the walk and its record
        return None
    carried = _carried(journal)
    desk.say(f"finishing rollout {journal.rollout}, which was cut off")
    journal.take_up(desk.work.actor)
    moved = carried != now_pinned
    if moved and journal.turned is None:
        journal.turn(f"the tier was pinned to {now_pinned.ref} meanwhile")
    hands, made = _hands(desk, journal)
    walk(made, journal, hands, tier=desk.tier.tier, model=desk.model)
    row = _record_once(desk, journal)
    if moved:
        return None
    return _ended(desk, journal, hands, row)


def _roll(desk: _Desk, strategy: Strategy, want: Wanted, live: Live | None) -> Done:
    pinned = want.pinned
    header = {
        "tier": desk.tier.tier,
        "model": desk.model,
        "node": desk.tier.node,
        "strategy": str(strategy),
        "smoke": desk.tier.smoke,
        "set": pinned.document(),
        "old": live.document() if live is not None and not live.closed else None,
        "since": rfc3339(desk.work.now),
        "actor": desk.work.actor,
    }
    journal = journals.create(desk.folder, desk.label, header, salt=secrets.token_hex(3))
    hands, made = _hands(desk, journal)
    walk(made, journal, hands, tier=desk.tier.tier, model=desk.model)
    row = _record_once(desk, journal)
    return _ended(desk, journal, hands, row)


def _ended(desk: _Desk, journal: Journal, hands: EngineHands, row: Rollout) -> Done:
    if row.outcome != SERVED:
        serves = f"{hands.old.ref} serves" if hands.old else "nothing serves; the gate is shut"
        raise RolloutTurnedBack(desk.tier.tier, desk.model, why=journal.turned or "", serves=serves)
    return Done(SERVED, hands.wanted.pinned, desk.front.live() or hands.new, row, _notes(journal))


def _hands(desk: _Desk, journal: Journal) -> tuple[EngineHands, Plan]:
    """Rebuild what a journal's rollout works with, whether it begins or is taken up."""
    header = journal.header
    pinned, old = _carried(journal), live_from(header["old"]) if header["old"] else None
    with desk.work.store.view() as view:
        want = wanted_set(view, pinned, smoke=header["smoke"])
    strategy = Strategy(header["strategy"])
    made = plan(strategy, old=old.slot if old else None, smoke=bool(header["smoke"]))
    new = Live(
        slot=made.new,
        host=desk.tier.host,
        port=desk.tier.port(desk.model, made.new, strategy),
        closed=False,
        rollout=journal.rollout,
        ref=pinned.ref,
        version=pinned.version,
        set=pinned.digest,
        profile=pinned.profile or "",
    )
    hands = EngineHands(
        desk.work, desk.serving, desk.tier, want, desk.front, old, new, strategy, desk.progress, desk.say
    )
    return hands, made


def _carried(journal: Journal) -> PinnedSet:
    """The set that a journal's rollout carries. Raises `JournalDamaged` for a header that no rollout writes."""
    header = journal.header
    texts = ("tier", "model", "node", "strategy", "smoke", "since", "actor")
    pinned = PinnedSet.read(header.get("set"))
    old = header.get("old")
    if (
        pinned is None
        or not all(isinstance(header.get(name), str) for name in texts)
        or (old is not None and live_from(old) is None)
        or header["strategy"] not in list(Strategy)
    ):
        raise JournalDamaged(str(journal.path), "its first line is not what a rollout writes")
    return pinned


def _old(live: Live | None) -> str | None:
    return live.slot if live is not None and not live.closed else None


def _serves(desk: _Desk, live: Live, want: Wanted) -> bool:
    """Whether this set is what the proxy speaks by, and its engine answers: then there is nothing to carry out."""
    if live.closed or live.set != want.pinned.digest:
        return False
    hands = EngineHands(desk.work, desk.serving, desk.tier, want, desk.front, None, live, desk.tier.strategy)
    slot = hands.slot(live.slot)
    try:
        desk.front.answers(live)
        driver = hands.driver(live.slot)
        hands.runner(driver).look(slot)
        found = driver.ready(slot, seconds=min(_LOOK_SECONDS, desk.tier.ready_seconds))
        return (
            found.ready and driver.where(slot).port == live.port
        )  # a daemon may have given it another since
    except (StepFailed, OperatorError):
        return False


def _notes(journal: Journal) -> tuple[str, ...]:
    """What a person should hear of a rollout that went well."""
    return tuple(
        f"{line.step}: {line.said}"
        for line in journal.lines
        if line.state == journals.FAILED or line.said.startswith("NOT SEEN IDLE")
    )


def _record_once(desk: _Desk, journal: Journal) -> Rollout:
    """Record what came of a rollout, unless that is done."""
    with desk.work.store.change(actor=desk.work.actor, now=desk.work.now) as change:
        for row in change.rollouts(desk.tier.tier, desk.model):
            if row.rollout == journal.rollout:
                return row
        pinned, old = _carried(journal), journal.header["old"]
        row = Rollout(
            rollout=journal.rollout,
            tier=desk.tier.tier,
            model=desk.model,
            strategy=journal.header["strategy"],
            version=pinned.version,
            left=old["version"] if old else None,
            outcome=journal.end or TURNED_BACK,
            milliseconds=journal.worked,
            body=canonical_bytes(_body(journal)).decode(),
            since=journal.header["since"],
            actor=journal.header["actor"],
        )
        change.record(EventKind.ROLLED_OUT, pinned.version, row, note={"outcome": row.outcome})
    return row


def _body(journal: Journal) -> dict[str, Any]:
    """The rollout's own account: every step with what it said and how long it took."""
    steps: list[dict[str, Any]] = []
    begun = 0
    for line in journal.lines:
        if line.state == BEGUN:
            begun = line.ms
            continue
        took = line.ms - begun
        steps.append({"way": line.way, "step": line.step, "state": line.state, "ms": took, "said": line.said})
    return {
        "format": journals.FORMAT,
        **journal.header,
        "steps": steps,
        "crashes": journal.crashes,
        "why": journal.turned,
        "switch_ms": _took(steps, Do.SWITCH),
        "closed_ms": _closed(journal),
    }


def _took(steps: list[dict[str, Any]], do: Do) -> int | None:
    found = [step["ms"] for step in steps if step["way"] == FORTH and step["step"].startswith(f"{do} ")]
    return found[-1] if found else None


def _closed(journal: Journal) -> int | None:
    """Milliseconds between shutting the gate and opening it again; None when it never was shut."""
    shut = [line.ms for line in journal.lines if line.way == FORTH and line.step.startswith(f"{Do.CLOSE} ")]
    opened = [line.ms for line in journal.lines if line.step.startswith(f"{Do.SWITCH} ")]
    return opened[-1] - shut[0] if shut and opened else None
