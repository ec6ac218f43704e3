"""How long rollouts of a model in a tier took, so that "the way back takes about" is a measurement."""

import statistics
from dataclasses import dataclass

from pipelines.rollout.journal import SERVED
from registry.views import View


@dataclass(frozen=True)
class Durations:
    """Whole rollouts that ended well, in milliseconds. `last` is the newest."""

    count: int
    last: int
    median: int
    longest: int

    def __str__(self) -> str:
        measured = "once" if self.count == 1 else f"{self.count} times"
        return f"about {seconds(self.median)} (measured {measured}; the longest took {seconds(self.longest)})"


def durations(view: View, tier: str, model: str) -> Durations | None:
    """Return what was measured, or None when nothing was rolled out well yet."""
    rows = [row for row in view.rollouts(tier, model) if row.outcome == SERVED]
    # The first had nothing to drain: it says little about the way back once there are others.
    took = [row.milliseconds for row in rows if row.left is not None] or [row.milliseconds for row in rows]
    if not took:
        return None
    return Durations(len(took), took[-1], round(statistics.median(took)), max(took))


def seconds(milliseconds: int) -> str:
    """For people: `0.6 s`, `14 s`, `17 min 20 s`."""
    whole = round(milliseconds / 1000)
    if milliseconds < 10_000:
        return f"{milliseconds / 1000:.1f} s"
    return f"{whole} s" if whole < 120 else f"{whole // 60} min {whole % 60} s"
