"""Keeping lists of bad engine releases, and asking which of this home's profiles they name."""

from pipelines.engines import advisories
from pipelines.engines.advisories import Advisories
from pipelines.workplace import Workplace
from registry.audit import EventKind
from registry.entities import Document
from registry.views import View
from signing.canonical import NotCanonical, canonical_bytes, parse
from signing.digests import sha256_hex
from signing.times import rfc3339


def add_advisories(work: Workplace, data: bytes) -> Document:
    """Take a list in. The same one again is no change; of one name the highest serial that was added here counts.

    Raises:
        MalformedAdvisories: naming the place; also where its serial is not above the one that counts: it would be kept and
            change nothing.
    """
    found = advisories.decode(_canonical(data))
    body = advisories.encode(found)
    with work.store.change(actor=work.actor, now=work.now) as change:
        row = change.document_by_digest(sha256_hex(body))
        if row is None or row.digest not in _added_here(change):
            _demand_newer(change, found)
        if row is None:
            row = Document(
                digest=sha256_hex(body),
                kind=advisories.KIND,
                name=found.name,
                body=body.decode(),
                added_at=rfc3339(work.now),
                added_by=work.actor,
            )
            change.record(EventKind.ADVISORIES_ADDED, row.digest, row)
        elif row.digest not in _added_here(change):
            change.record(
                EventKind.ADVISORIES_ADDED, row.digest
            )  # a bundle brought it; now it is this home's, too
    return row


def in_force(view: View) -> list[tuple[Document, Advisories]]:
    """The lists that count, oldest first: of each name the newest that was added here, and the newest that a bundle brought.

    A bundle takes nothing out of force that somebody here has added: whoever can send bundles could unblock an engine
    with an empty list of the highest serial.
    """
    here = _added_here(view)
    newest: dict[tuple[str, bool], tuple[Document, Advisories]] = {}
    for row in view.documents(advisories.KIND):
        found = advisories.decode(row.body.encode())
        key = found.name, row.digest in here
        if key not in newest or found.serial > newest[key][1].serial:
            newest[key] = row, found
    return list(newest.values())


def _demand_newer(view: View, found: Advisories) -> None:
    here = _added_here(view)
    for row, held in in_force(view):
        if row.digest in here and held.name == found.name and held.serial >= found.serial:
            problem = f"{found.serial}, and {held.serial} of {held.name!r} counts here; write a higher one"
            raise advisories.MalformedAdvisories(problem, at="serial")


def _added_here(view: View) -> set[str]:
    added = view.events(kind=EventKind.ADVISORIES_ADDED)
    return {entry.subject for entry in added if "bundle" not in entry.note}


def _canonical(data: bytes) -> bytes:
    """People write JSON with any spacing; what is kept and shipped has one form."""
    try:
        return canonical_bytes(parse(data, max_bytes=advisories.MAX_BYTES))
    except NotCanonical as exc:
        raise advisories.MalformedAdvisories(exc.problem, at=exc.at) from exc
