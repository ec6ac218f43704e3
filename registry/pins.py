"""Where a rollback leads: a rule on a tier's history. Values in, values out.

Only ever back: a version that a rollback left is not chosen by the next one. Typed twice, or by two people at once,
`rollback` must not return to what was wrong, nor be a way forward past the gate; forward leads only a promotion.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import ClassVar

from registry.errors import RegistryRefusal


class NothingToRollBackTo(RegistryRefusal):
    """No earlier version of the model that the tier served may serve again."""

    exit_code: ClassVar[int] = 88
    next_step: ClassVar[str] = (
        "Promote a version that passes the gate, or take the model out of service at the engines; "
        "`tidegate pins --history` shows everything that the tier has served."
    )

    def __init__(self, tier: str, model: str, *, passed_over: Sequence[str], ever: bool = True) -> None:
        reasons = f" ({'; '.join(passed_over)})" if passed_over else ""
        reasons = reasons if ever else ": it never served any; `tidegate pins` shows what it serves"
        super().__init__(f"{tier} has no earlier version of {model} to go back to{reasons}")
        self.tier, self.model, self.passed_over = tier, model, tuple(passed_over)


@dataclass(frozen=True)
class Served:
    """One line of a tier's history of one model: the whole set that was pinned."""

    position: int
    version: str  # manifest digest
    ordinal: int
    contract: str | None
    profile: str | None
    router: str | None
    rolled_back: bool = False  # a rollback led to this line, not a promotion


def left_by_rollback(history: Sequence[Served]) -> set[str]:
    """Return the versions that a rollback left and that no promotion has brought back since; oldest line first."""
    left: set[str] = set()
    for before, line in zip((None, *history), history, strict=False):
        if line.rolled_back and before is not None:
            left.add(before.version)
        elif not line.rolled_back:
            left.discard(line.version)
    return left


def choose_rollback(
    tier: str,
    model: str,
    history: Sequence[Served],
    *,
    withdrawn: Collection[str],
    damaged: Collection[str] = (),
) -> Served:
    """Return the line a tier goes back to: the newest earlier one of another version that may still serve.

    Args:
        history: every pin of one model in one tier, oldest first.
        withdrawn: digests that may not be served again.
        damaged: digests whose files are not all in the blob store.

    Raises:
        NothingToRollBackTo: no earlier line qualifies; names the ones passed over and why.
    """
    passed_over: list[str] = []
    if history:
        current, left = history[-1], left_by_rollback(history)
        for line in reversed(history[:-1]):
            if line.version == current.version:
                continue
            if line.version in withdrawn:
                passed_over.append(f"{line.ordinal} is withdrawn")
            elif line.version in left:
                passed_over.append(f"{line.ordinal} was left by a rollback")
            elif line.version in damaged:
                passed_over.append(f"{line.ordinal} is not whole in the store")
            else:
                return line
    raise NothingToRollBackTo(tier, model, passed_over=list(dict.fromkeys(passed_over)), ever=bool(history))
