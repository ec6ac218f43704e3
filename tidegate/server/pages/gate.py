"""A version before a tier's gate: every finding with its evidence, what would be pinned, and the promotion itself."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Form
from starlette.responses import Response

from pipelines.approve import ask
from pipelines.case import Case, case
from pipelines.promote import promote, same_set
from registry.access import Right
from registry.entities import Document, Pin, Report, Row, Statement
from registry.views import View
from tidegate.server.guard import needs
from tidegate.server.pages.finding import AtDesk, held_version, reason, ref_of
from tidegate.server.pages.look import fresh, page, pages

doors = pages()
_PARTS = ("version", "contract", "profile", "router", "companions")


@dataclass(frozen=True)
class Piece:
    """One piece of evidence that a finding rests on."""

    digest: str
    what: str
    when: str | None
    who: str | None
    outcome: str | None


@dataclass(frozen=True)
class Part:
    """One part of the set that a tier serves: what is pinned, and what would be."""

    name: str
    now: str | None  # digest
    then: str | None
    now_name: str
    then_name: str

    @property
    def moves(self) -> bool:
        """Whether it would change."""
        return self.now != self.then


@doors.get("/gate/{tier}/{digest}")
@needs(Right.LOOK)
def gate(desk: AtDesk, tier: str, digest: str) -> Response:
    """The dry run: what the gate says, and what a promotion would change."""
    with desk.view() as view:
        row = held_version(view, digest)
        found = case(desk.work, view, ref_of(row), tier)
        pinned = view.pin(tier, row.model)
        evidence = {one.check: [_piece(view, digest) for digest in one.evidence] for one in found.findings}
        parts = set_parts(view, pinned, found)
        request = next(reversed(view.approval_requests(row.digest, tier)), None)
        tiers = [one.tier for one in view.tiers()]
    return page(
        desk,
        "steward/gate.html",
        case=found,
        tier=tier,
        tiers=tiers,
        pinned=pinned,
        served=pinned is not None and pinned.override is None and same_set(pinned, found),
        evidence=evidence,
        against=[one for one in found.findings if not one.ok],
        holds=[one for one in found.findings if one.ok],
        set_parts=parts,
        request=request,
        links=_link,
    )


@doors.post("/gate/{tier}/{digest}/promote")
@needs(Right.PROMOTE)
def promoted(desk: AtDesk, tier: str, digest: str, why: Annotated[str, Form(alias="reason")]) -> Response:
    """Promote it, if the gate is open at that moment."""
    desk.demand(Right.PROMOTE, tier)
    with desk.view() as view:
        row = held_version(view, digest)
    promote(desk.work, ref_of(row), tier, reason=reason(why))
    return fresh(f"/tiers/{tier}/{row.model}?done=promoted")


@doors.post("/gate/{tier}/{digest}/ask")
@needs(Right.ASK)
def asked(desk: AtDesk, tier: str, digest: str, why: Annotated[str, Form(alias="reason")]) -> Response:
    """Put it before the stewards."""
    desk.demand(Right.ASK, tier)
    with desk.view() as view:
        row = held_version(view, digest)
    request = ask(desk.work, ref_of(row), tier, reason=reason(why))
    return fresh(f"/requests/{request.digest}")


def set_parts(view: View, pinned: Pin | None, wanted: Case | Pin) -> list[Part]:
    """What is pinned beside what would be, part by part."""
    found = []
    for name in _PARTS:
        now = getattr(pinned, name) if pinned else None
        then = _digest(wanted, name)
        found.append(Part(name, now, then, _named(view, now), _named(view, then)))
    return found


def _digest(wanted: Case | Pin, name: str) -> str | None:
    value = getattr(wanted, name)
    return value if value is None or isinstance(value, str) else value.digest


def _named(view: View, digest: str | None) -> str:
    if digest is None:
        return "none"
    row = view.document_by_digest(digest)
    if row is not None:
        return row.name
    version = view.version_by_digest(digest)
    return f"@{version.ordinal}" if version else "unknown here"


def _piece(view: View, digest: str) -> Piece:
    row = view.kept(digest)
    return Piece(
        digest,
        _what(view, row),
        getattr(row, "made_at", None) or getattr(row, "added_at", None) or getattr(row, "since", None),
        getattr(row, "made_by", None) or getattr(row, "added_by", None) or getattr(row, "person", None),
        row.outcome if isinstance(row, Report) else None,
    )


def _what(view: View, row: Row | None) -> str:
    if row is None:
        return "not held here"
    if isinstance(row, Document):
        return f"{row.kind.replace('-', ' ')} {row.name}"
    if isinstance(row, Report):
        suite = view.document_by_digest(row.suite) if row.suite else None
        return f"report of suite {suite.name}" if suite else f"report of the {row.kind}"
    if isinstance(row, Statement):
        return f"statement {row.predicate}"
    return row.label


def _link(piece: Piece) -> str:
    return (
        f"/reports/{piece.digest}"
        if piece.what.startswith("report of suite")
        else f"/evidence/{piece.digest}"
    )
