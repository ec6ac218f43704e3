"""The log itself: its lines by kind, person, subject and date; and one line with all that proves it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.responses import Response

from registry import log_proof, store_pages
from registry.access import Right
from registry.audit import Entry, EventKind, read_leaf
from registry.entities import Event
from registry.errors import RegistryRefusal
from registry.log_tree import log_name
from registry.salted import salted_places
from registry.store_pages import Asked
from registry.views import View
from signing import tlog_proof
from signing.canonical import NotCanonical, parse
from signing.errors import OperatorError
from signing.merkle import leaf_hash
from tidegate.keyring import log_verifier_key
from tidegate.server.guard import needs
from tidegate.server.pages.audit.frame import Text, audit_page, download, moment, names_of
from tidegate.server.pages.finding import AtDesk, Cursor
from tidegate.server.pages.look import pages

doors = pages()
_PAGE = 50
_LEAF = 1 << 20  # bytes; of an older release
_REASONS = ("reason", "why", "message")


@dataclass(frozen=True)
class Line:
    """One event, and what it was about in words."""

    position: int
    at: str
    actor: str
    kind: str
    subject: str
    name: str | None  # what the subject is called here, if it is a digest
    why: str  # what somebody said with it
    problem: str | None  # it cannot be read, or its columns say something else than the leaf


@doors.get("/audit/timeline")
@needs(Right.AUDIT)
def timeline(
    desk: AtDesk,
    kind: Text = "",
    actor: Text = "",
    subject: Text = "",
    since: Text = "",
    until: Text = "",
    after: Cursor = None,
) -> Response:
    """Lines of the log, newest first."""
    asked = {"kind": kind, "actor": actor, "subject": subject, "since": since, "until": until}
    with desk.view() as view:
        found = store_pages.events(
            view,
            Asked(_PAGE, after),
            kind=kind.strip() or None,
            actor=actor.strip() or None,
            subject=subject.strip() or None,
            since=moment(since, last=False),
            until=moment(until),
        )
        shown = lines(view, found.rows)
    return audit_page(
        desk,
        "timeline.html",
        asked=asked,
        given={name: value for name, value in asked.items() if value},
        kinds=sorted(EventKind),
        lines=shown,
        next=found.next,
        after=after,
    )


def lines(view: View, rows: Sequence[Event]) -> list[Line]:
    """Return events as lines of a page."""
    names = names_of(view, [row.subject for row in rows])
    return [_line(row, names) for row in rows]


def _line(row: Event, names: Mapping[str, str]) -> Line:
    entry, problem = _read(row)
    told = [dict(content) for _, content in entry.rows] + [dict(entry.note)] if entry else []
    said = (one[name] for one in told for name in _REASONS if isinstance(one.get(name), str))
    tiers = sorted({str(one["tier"]) for one in told if one.get("tier")} - {row.subject})
    name = names.get(row.subject)
    if tiers:
        name = f"{name or row.subject} → {', '.join(tiers)}"
    return Line(row.position, row.at, row.actor, row.kind, row.subject, name, next(said, ""), problem)


def _read(row: Event) -> tuple[Entry | None, str | None]:
    """What the leaf says, and what is wrong with the columns beside it."""
    try:
        entry = read_leaf(row.leaf.encode(), row.openings)
    except (NotCanonical, RegistryRefusal) as refusal:
        return None, f"cannot be read: {refusal}"
    said = (entry.position, entry.kind, entry.subject, entry.at, entry.actor)
    stored = (row.position, row.kind, row.subject, row.at, row.actor)
    wrong = [
        f"{there!r}, recorded was {told!r}" for there, told in zip(stored, said, strict=True) if there != told
    ]
    return entry, f"edited: {'; '.join(wrong)}" if wrong else None


@dataclass(frozen=True)
class Opened:
    """One value that stands in the leaf as a salted digest."""

    pointer: str
    value: str
    salt: str


@doors.get("/audit/events/{position}")
@needs(Right.AUDIT)
def event(desk: AtDesk, position: int) -> Response:
    """One line: the leaf, what is opened of it, and its place under the newest signed head, checked now."""
    key = log_verifier_key(desk.premises.home)
    with desk.view() as view:
        row = view.event(position)
        line = lines(view, [row])[0]
        entry, problem = _read(row)
        proof, doubt, opened = _proof(view, row, key)
        size = view.head()
    return audit_page(
        desk,
        "event.html",
        row=row,
        line=line,
        entry=entry,
        leaf=_pretty(row.leaf),
        leaf_bytes=len(row.leaf.encode()),
        leaf_hash=leaf_hash(row.leaf.encode()).hex(),
        proof=proof,
        path=[one.hex() for one in proof.path] if proof else [],
        problems=[one for one in (problem, doubt) if one],
        opened=opened,
        closed=_closed(row, opened),
        key=key,
        log=log_name(desk.premises.home.name),
        last=size.size - 1 if size else 0,
    )


def _proof(view: View, row: Event, key: str) -> tuple[tlog_proof.TlogProof | None, str | None, list[Opened]]:
    """The proof, what is wrong with it, and the opened values that were checked against the leaf."""
    try:
        openings = parse((row.openings or "[]").encode(), max_bytes=log_proof.MAX_OPENINGS, at="openings")
        made = log_proof.prove(view, row.position)
    except (NotCanonical, IndexError, OperatorError) as refusal:
        return None, f"no proof can be made: {refusal}", []
    try:
        log_proof.check(made, key, opened=openings)
    except OperatorError as refusal:
        return made, str(refusal), []
    return made, None, [Opened(str(one[0]), _text(one[2]), str(one[1])) for one in openings]


def _closed(row: Event, opened: Sequence[Opened]) -> list[str]:
    try:
        leaf = parse(row.leaf.encode(), max_bytes=_LEAF, at="event")
    except NotCanonical:
        return []
    return sorted(set(salted_places(leaf)) - {one.pointer for one in opened})


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _pretty(text: str) -> str:
    try:
        return json.dumps(parse(text.encode(), max_bytes=_LEAF, at="event"), indent=2, ensure_ascii=False)
    except NotCanonical:
        return text


@doors.get("/audit/events/{position}/proof")
@needs(Right.AUDIT)
def proof_file(desk: AtDesk, position: int) -> Response:
    """The proof as a file: what `tidegate audit prove` writes."""
    with desk.view() as view:
        data = tlog_proof.write(log_proof.prove(view, position))
    return download(data, f"{position}{tlog_proof.SUFFIX}", "text/plain; charset=utf-8")
