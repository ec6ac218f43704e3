"""The home as it was before one event: a view of only what the log had told of by then, word for word.

Whoever has SQL and the station's key can append anything, also with a moment of before. So what was there is told by a
row's place in the log, never by the moment that it claims; a row that no event recorded as it stands is not there.
"""

from collections.abc import Iterable
from typing import TypeVar

from pipelines.questions.recorded import Recorded
from registry.approvals import CLOCK_SKEW
from registry.audit import Entry, EventKind
from registry.entities import (
    Approval,
    ApprovalRequest,
    Decision,
    Document,
    Person,
    Pin,
    Report,
    Row,
    TierPolicy,
    Version,
    Withdrawal,
)
from registry.views import ADDED, View
from signing.times import from_rfc3339, rfc3339

R = TypeVar("R", bound=Row)


class Then(View):
    """Questions about what a promotion is judged by, answered as of before an event.

    Only what is overridden here is of then: the rest of the view is not asked by who judges.
    """

    def __init__(self, view: View, recorded: Recorded, before: int | None) -> None:
        """Args: before: position of the event; None where no event recorded the line, and all counts."""
        super().__init__(view.session)
        self._now, self._recorded, self._before = view, recorded, before

    def moment(self, claimed: str) -> str:
        """When it was judged: as its event says, but never earlier than the gate takes a clock to be behind the log."""
        told = self._now.newest_event(self._before)
        floor = None if told is None else rfc3339(from_rfc3339(told) - CLOCK_SKEW)
        return max(claimed, floor or "")

    def events(
        self,
        *,
        subject: str | None = None,
        kind: str | None = None,
        actor: str | None = None,
        last: int | None = None,
    ) -> list[Entry]:
        """Events of before, in order. Upgrades all: up to which event people were believed is told by a later one."""
        found = self._now.events(subject=subject, kind=kind, actor=actor)
        before = [one for one in found if kind == EventKind.UPGRADED or self._is_before(one.position)]
        return before if last is None else before[-last:]

    def approvals(self, version: str | None = None, tier: str | None = None) -> list[Approval]:
        """Answers of before, in the order in which they were recorded."""
        return self._told(self._now.approvals(version, tier))

    def approval_requests(self, version: str | None = None, tier: str | None = None) -> list[ApprovalRequest]:
        """Requests of before."""
        return self._told(self._now.approval_requests(version, tier))

    def decisions(self, kind: str | None = None, subject: str | None = None) -> list[Decision]:
        """Decisions of before."""
        return self._told(self._now.decisions(kind, subject))

    def documents(self, *kinds: str) -> list[Document]:
        """Documents of before."""
        return self._told(self._now.documents(*kinds))

    def meaning(self, kind: str, name: str) -> str | None:
        """What a name meant: what somebody here had added last under it, else the first that came."""
        held = [row.digest for row in self.documents(kind) if row.name == name]
        added = [
            (entry.position, digest)
            for digest in held
            for entry in self.events(subject=digest)
            if entry.kind in ADDED and "bundle" not in entry.note
        ]
        return max(added)[1] if len(held) > 1 and added else next(iter(held), None)

    def people_recorded(self) -> list[Person]:
        """Rows about people of before."""
        return self._told(self._now.people_recorded())

    def person_history(self, name: str) -> list[Person]:
        """One person's rows of before."""
        return self._told(self._now.person_history(name))

    def reports(self, version: str, kind: str | None = None) -> list[Report]:
        """Reports of before."""
        return self._told(self._now.reports(version, kind))

    def tier_history(self, name: str) -> list[TierPolicy]:
        """Policies of before, whether or not they count."""
        return self._told(self._now.tier_history(name))

    def pin_history(
        self, tier: str | None = None, model: str | None = None, version: str | None = None
    ) -> list[Pin]:
        """Lines of before."""
        return self._told(self._now.pin_history(tier, model, version))

    def version_by_digest(self, digest: str) -> Version | None:
        """A version of before."""
        found = self._now.version_by_digest(digest)
        return next(iter(self._told([found] if found else [])), None)

    def withdrawn(self, version: str) -> str | None:
        """Why a version was withdrawn, as the log told it; None if it was not."""
        told = (
            said
            for entry in self.events(subject=version)
            for label, said in entry.rows
            if label == Withdrawal.label
        )
        return next((str(said["reason"]) for said in told if said["version"] == version), None)

    def _told(self, rows: Iterable[R]) -> list[R]:
        placed = [(place, row) for row in rows if (place := self._recorded.place(row)) is not None]
        before = [one for one in placed if self._is_before(one[0])]
        return [row for _, row in sorted(before, key=lambda one: one[0])]

    def _is_before(self, position: int) -> bool:
        return self._before is None or position < self._before
