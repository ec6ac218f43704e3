"""What served in a tier on a date, and until when: the tier's own lines, each held against the log."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from pipelines.questions.proving import Proof, Prover
from pipelines.questions.reading import texts
from pipelines.workplace import Workplace
from registry.audit import Entry, EventKind
from registry.entities import Pin
from registry.errors import NotFound
from registry.views import View


@dataclass(frozen=True)
class Served:
    """One line of a tier's history, and until when it held."""

    pin: Pin
    until: str | None  # None: it still does
    proof: Proof  # of the line itself
    gone: tuple[str, ...]  # lines that the log has of this tier and model and the table has not

    @property
    def problem(self) -> str | None:
        """Why the line is not proved; None when it is."""
        return "; ".join([*self.proof.problems, *self.gone]) or None

    def document(self) -> dict[str, Any]:
        """The line for programs."""
        content = {**self.pin.content(), "evidence": evidence_of(self.pin)}
        return {**content, "until": self.until, "event": self.proof.event, "problem": self.problem}


def served(
    work: Workplace, view: View, *, tier: str | None = None, model: str | None = None, at: str | None = None
) -> tuple[list[Served], list[str]]:
    """Return what each tier served of each model at a moment, or serves now; and what the table does not tell any more.

    Args:
        at: RFC 3339, UTC. None: now.

    Returns: the lines; and in words each line of the log that was taken out of the table.
    """
    prover = Prover(work, view)
    gone = missing_lines(prover, view, tier=tier, model=model)
    return list(_served(prover, view, gone, tier=tier, model=model, at=at)), [text for _, text in gone]


def served_once(
    prover: Prover, view: View, tier: str, model: str, *, at: str | None = None
) -> tuple[Served, list[Pin]]:
    """Return the one line that a question is about, and every line before and after it.

    Raises:
        NotFound: no such tier, or nothing served then.
    """
    view.tier(tier)
    gone = missing_lines(prover, view, tier=tier, model=model)
    found = list(_served(prover, view, gone, tier=tier, model=model, at=at))
    if not found:
        raise NotFound("pin", f"{tier} of {model}" + (f" at {at}" if at else ""))
    return found[0], view.pin_history(tier, model)


def history(prover: Prover, view: View, model: str) -> list[Served]:
    """Return every line that any tier ever had of a model, by tier, oldest first."""
    gone = missing_lines(prover, view, model=model)
    rows = sorted(view.pin_history(model=model), key=lambda row: (row.tier, row.position))
    found: list[Served] = []
    for tier, group in groupby(rows, key=lambda row: row.tier):
        lines = list(group)
        missing = tuple(text for place, text in gone if place == (tier, model))
        found += [
            Served(row, _until(lines, row), prover.row(row), missing if row is lines[-1] else ())
            for row in lines
        ]
    return found


def evidence_of(pin: Pin) -> list[str]:
    """The digests that a line rests on; none where somebody made the list unreadable."""
    return texts(pin.evidence)


def missing_lines(
    prover: Prover, view: View, *, tier: str | None = None, model: str | None = None
) -> list[tuple[tuple[str, str], str]]:
    """Return ((tier, model), words) of each pin that events recorded and that its table does not have any more."""
    rows = view.pin_history(tier, model)
    told = prover.recorded.removed(Pin.label, _entries(prover, view, model), rows)
    return [
        (
            (str(said["tier"]), str(said["model"])),
            _gone_line(event, said),
        )
        for event, said in told
        if tier in (None, said["tier"]) and model in (None, said["model"])
    ]


def _gone_line(event: int, said: Mapping[str, Any]) -> str:
    place = f"line {said['position']} of {said['tier']} ({said['model']}@{said['ordinal']}, {said['since']})"
    return f"{place}, recorded by event {event}, was taken out of the table"


def _entries(prover: Prover, view: View, model: str | None) -> Iterator[Entry]:
    """The events that pinned anything, of one model if it is named."""
    if model is None:
        yield from prover.recorded.entries(kind=EventKind.PROMOTED)
        yield from prover.recorded.entries(kind=EventKind.ROLLED_BACK)
        return
    for version in view.versions(model):
        yield from prover.recorded.entries(subject=version.digest)


def _served(
    prover: Prover,
    view: View,
    gone: Sequence[tuple[tuple[str, str], str]],
    *,
    tier: str | None,
    model: str | None,
    at: str | None,
) -> Iterator[Served]:
    rows = sorted(view.pin_history(tier, model), key=lambda row: (row.tier, row.model, row.position))
    for place, group in groupby(rows, key=lambda row: (row.tier, row.model)):
        lines = list(group)
        then = [row for row in lines if at is None or row.since <= at]
        if then:
            missing = tuple(text for where, text in gone if where == place)
            yield Served(then[-1], _until(lines, then[-1]), prover.row(then[-1]), missing)


def _until(lines: Sequence[Pin], row: Pin) -> str | None:
    return next((line.since for line in lines if line.position > row.position), None)
