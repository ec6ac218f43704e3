"""What waits for people: every request with what was said to it, and whether it still asks about what is there."""

from collections.abc import Sequence
from dataclasses import dataclass

from pipelines.approval_page import question
from pipelines.case import Case, case
from pipelines.workplace import Workplace
from registry.approval_requests import NotAsShown, Question, intact, read
from registry.approvals_payload import PROMOTE
from registry.entities import Approval, ApprovalRequest
from registry.errors import NotFound
from registry.keeping import BytesRemoved
from registry.names import Ref
from registry.views import View

_PREFIX = 8  # hex digits of a digest that name a request


@dataclass(frozen=True)
class Waiting:
    """One request as it stands."""

    row: ApprovalRequest
    asked: Question
    state: str
    open: bool  # somebody may still answer it


def waiting(work: Workplace, view: View, rows: Sequence[ApprovalRequest] | None = None) -> list[Waiting]:
    """Every request to promote, oldest first; of one version and tier only the newest can be open.

    A row that was edited is no request any more; `audit verify` names it.

    Args:
        rows: look at these alone, oldest first.
    """
    held = view.approval_requests() if rows is None else rows
    rows = [row for row in held if row.action == PROMOTE and intact(row)]
    newest = {(row.version, row.tier): row.digest for row in rows}
    found = []
    for row in rows:
        asked = read(row)
        if newest[row.version, row.tier] != row.digest:
            found.append(Waiting(row, asked, "asked again since", open=False))
        else:
            state, still = _state(work, view, asked, row.since)
            found.append(Waiting(row, asked, state, open=still))
    return found


def _state(work: Workplace, view: View, asked: Question, since: str) -> tuple[str, bool]:
    settled = _settled(view, asked, since)
    if settled is not None:
        return settled, False
    try:
        found = case(work, view, Ref(asked.model, ordinal=asked.ordinal), asked.tier)
    except BytesRemoved:
        return "its bytes were removed", False
    if found.open:
        return f"{_counted(found)}: ready to promote", True
    if found.approvals.rejections:
        return "rejected by " + ", ".join(no.person for no in found.approvals.rejections), True
    if not question(work, view, found).same_facts(asked):
        return "out of date: ask again", True
    return _counted(found), True


def _settled(view: View, asked: Question, since: str) -> str | None:
    """Why nobody answers any more; an approval serves for one promotion, so after it somebody asks anew."""
    pin = view.pin(asked.tier, asked.model)
    if pin is not None and pin.version == asked.version:
        return "it is served"
    history = view.pin_history(asked.tier, asked.model, asked.version)
    if any(line.kind == PROMOTE and line.since >= since for line in history):
        return "it was served"
    return "withdrawn" if view.withdrawal(asked.version) is not None else None


def _counted(found: Case) -> str:
    judged = found.approvals
    names = ", ".join(one.person for one in judged.counted)
    return f"{len(judged.counted)} of {judged.needed}" + (f" ({names})" if names else "")


def by_digest(view: View, digest: str) -> ApprovalRequest:
    """The one request whose digest begins so. Raises `NotFound`; `NotAsShown` if it is not what was recorded."""
    found = [row for row in view.approval_requests() if row.digest.startswith(digest)]
    if len(found) != 1 or len(digest) < _PREFIX:
        raise NotFound("approval request", digest)
    if not intact(found[0]):
        raise NotAsShown(f"request {digest[:12]}", "its row was edited; `tidegate audit verify` says more")
    return found[0]


def answers(view: View, asked: Question) -> list[Approval]:
    """What was said to a request, oldest first, whether it counts or not."""
    return [row for row in view.approvals(asked.version, asked.tier) if row.request == asked.digest]
