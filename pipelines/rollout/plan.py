"""The steps of a rollout as values: what each one needs, and what takes it back. Decides everything, does nothing.

The rules, whatever the strategy:

1. Nothing is sent to an engine before it was started, was ready, served the right files and passed the smoke suite.
2. An engine that serves is drained before it is stopped, and stopped only when another one serves or the gate is shut.
3. Every step that changes something says how to take it back; a walk back takes back what was begun, last first.
4. The old engine is stopped last, after the front was seen to answer from the new one: until then going back is quick.
"""

from collections.abc import Collection
from dataclasses import dataclass, field
from enum import StrEnum


class Strategy(StrEnum):
    """How one version takes another's place."""

    BLUE_GREEN = "blue-green"  # both run for a while; the proxy is switched
    RECREATE = "recreate"  # no room for two: the gate is shut meanwhile
    ALIAS_SWAP = (
        "alias-swap"  # both are loaded in one daemon of several models; the name that clients ask for moves
    )


class Do(StrEnum):
    """What a step does."""

    HAND_OVER = "hand over files for"
    CLEAR = "clear"
    STAGE = "stage"
    START = "start"
    READY = "see ready"
    IDENTITY = "prove the files of"
    SMOKE = "smoke-test"
    SWITCH = "switch to"
    CLOSE = "close the gate of"
    FRONT = "ask the front for"
    STILL = "ask the front again for"
    DRAIN = "drain"
    STOP = "stop"


@dataclass(frozen=True)
class Step:
    """One step about one slot. `needs`: steps that must be done before; `undo`: what takes it back, in order."""

    do: Do
    slot: str
    needs: tuple[str, ...] = ()
    undo: tuple["Step", ...] = field(default=())
    keeps: bool = False  # a failure is told and changes nothing: the new version serves already

    @property
    def name(self) -> str:
        """Unique within a plan."""
        return f"{self.do} {self.slot}"


@dataclass(frozen=True)
class Plan:
    """The way from what serves now (`old`, None for nothing) to the other slot."""

    strategy: Strategy
    old: str | None
    new: str
    steps: tuple[Step, ...]

    def step(self, name: str) -> Step:
        """The step of that name."""
        return next(step for step in self.steps if step.name == name)


def other(slot: str | None) -> str:
    """The slot that a candidate goes to."""
    return "green" if slot == "blue" else "blue"


def plan(strategy: Strategy, *, old: str | None, smoke: bool) -> Plan:
    """Return the steps. `old`: the slot that serves now; `smoke`: whether a suite is run on the candidate."""
    new = other(old)
    if strategy is Strategy.RECREATE and old is not None:
        steps = _recreate(old, new, smoke=smoke)
    else:
        steps = _beside(old, new, smoke=smoke)
    return Plan(strategy, old, new, steps)


def _beside(old: str | None, new: str, *, smoke: bool) -> tuple[Step, ...]:
    """Start the new one beside the old one, switch, then let the old one finish; in one daemon: load and unload."""
    ready = _candidate(new, smoke=smoke)
    undo = _restore(old) if old else (Step(Do.CLOSE, new),)
    switch = Step(Do.SWITCH, new, needs=(ready[-1].name,), undo=undo)
    front = Step(Do.FRONT, new, needs=(switch.name,))
    if old is None:
        return (*ready, switch, front)
    drain = Step(Do.DRAIN, old, needs=(front.name,))
    still = Step(Do.STILL, new, needs=(drain.name,))
    stop = Step(Do.STOP, old, needs=(still.name,), keeps=True)
    return (*ready, switch, front, drain, still, stop)


def _recreate(old: str, new: str, *, smoke: bool) -> tuple[Step, ...]:
    """Shut the gate, let the old one finish, and give its memory to the new one."""
    hand_over, clear, stage, start, *checks = _candidate(new, smoke=smoke)
    close = Step(Do.CLOSE, old, needs=(stage.name,), undo=_restore(old))
    drain = Step(Do.DRAIN, old, needs=(close.name,))
    stop = Step(Do.STOP, old, needs=(drain.name,))
    start = Step(start.do, new, needs=(stage.name, stop.name), undo=start.undo)
    switch = Step(Do.SWITCH, new, needs=(checks[-1].name,), undo=(Step(Do.CLOSE, new),))
    front = Step(Do.FRONT, new, needs=(switch.name,))
    return (hand_over, clear, stage, close, drain, stop, start, *checks, switch, front)


def _restore(old: str) -> tuple[Step, ...]:
    """Let requests go to the old engine again: by now it may have been stopped, or have fallen over by itself."""
    return (Step(Do.START, old), Step(Do.READY, old), Step(Do.SWITCH, old))


def _candidate(slot: str, *, smoke: bool) -> list[Step]:
    """Bring an engine to where requests could be sent to it."""
    hand_over = Step(Do.HAND_OVER, slot)
    clear = Step(Do.CLEAR, slot, needs=(hand_over.name,))  # what an earlier rollout could not stop
    stage = Step(Do.STAGE, slot, needs=(clear.name,))
    start = Step(Do.START, slot, needs=(stage.name,), undo=(Step(Do.STOP, slot),))
    ready = Step(Do.READY, slot, needs=(start.name,))
    identity = Step(Do.IDENTITY, slot, needs=(ready.name,))
    steps = [hand_over, clear, stage, start, ready, identity]
    return [*steps, Step(Do.SMOKE, slot, needs=(identity.name,))] if smoke else steps


def back(steps: tuple[Step, ...], begun: Collection[str]) -> tuple[Step, ...]:
    """Return what takes back the steps that were begun, done or not: the last one first."""
    return tuple(undo for step in reversed(steps) if step.name in begun for undo in step.undo)
