"""What an auditor types into one box, looked up by index: digests and beginnings of digests, bundles, names of people.

Apart from `registry.views`, whose questions name one kind of thing: here a text may be any of them. Every question
returns at most `MOST` rows, and none of the long texts that the rows carry.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlmodel import col, select

from registry import entities
from registry.entities import Account, Event, Export, Import, ModelSignature, Person, Pin, Row, Version
from registry.views import View

MOST = 20
# Column that names a row to people, for each table that is named by digest. In the order in which they are shown.
_NAMED: Mapping[type[Row], str] = {
    Version: "model",
    entities.Document: "name",
    entities.Report: "outcome",
    entities.Approval: "person",
    entities.ApprovalRequest: "requested_by",
    entities.Decision: "person",
    entities.Statement: "predicate",
}


@dataclass(frozen=True)
class Named:
    """A row that is named by a digest."""

    label: str  # of its table
    digest: str
    name: str
    kind: str  # of a document, report or decision; a version's ordinal; else the digest again


def by_prefix(view: View, prefix: str) -> list[Named]:
    """Return what is kept under a digest, or under one that begins so (hex, lower case)."""
    found: list[Named] = []
    for table, name in _NAMED.items():
        digest: Any = col(table.digest)  # type: ignore[attr-defined]
        kind: Any = getattr(table, "ordinal" if table is Version else "kind", digest)
        query: Any = select(digest, getattr(table, name), kind)
        rows = view.session.exec(query.where(digest >= prefix, digest < prefix + "g").limit(MOST))
        found += [Named(table.label, row[0], str(row[1]), str(row[2])) for row in rows]
    return found[:MOST]


def bundles(view: View, text: str) -> list[tuple[str, str, str, str]]:
    """Return (label, bundle, moment, digest of the export document) of bundles of this name, or of this document."""
    found: list[tuple[str, str, str, str]] = []
    for table, moment in ((Import, Import.imported_at), (Export, Export.made_at)):
        columns: Any = (table.bundle, moment, table.digest)
        query: Any = select(*columns).where((col(table.bundle) == text) | (col(table.digest) == text))
        found += [(table.label, *row) for row in view.session.exec(query.limit(MOST))]
    return found


def people(view: View, beginning: str) -> list[str]:
    """Return names of people that begin so."""
    query: Any = select(Person.name).distinct().where(*_begins(Person.name, beginning)).limit(MOST)
    return list(view.session.exec(query))


def accounts(view: View, beginning: str) -> list[str]:
    """Return names of accounts that begin so."""
    query: Any = select(Account.name).distinct().where(*_begins(Account.name, beginning)).limit(MOST)
    return list(view.session.exec(query))


def acted(view: View, name: str) -> bool:
    """Whether anything was recorded in this name."""
    return view.session.exec(select(Event.position).where(Event.actor == name).limit(1)).first() is not None


def signatures_by(view: View, signer: str) -> list[ModelSignature]:
    """Return the signatures over files by keys whose name begins so, oldest first."""
    query = select(ModelSignature).where(*_begins(ModelSignature.signer, signer))
    return list(view.session.exec(query.order_by(col(ModelSignature.id))))


def until(view: View, pin: Pin) -> str | None:
    """Return when a line of a tier's history was followed by the next one; None: it stands."""
    query = select(Pin.since).where(Pin.tier == pin.tier, Pin.model == pin.model, Pin.position > pin.position)
    return view.session.exec(query.order_by(col(Pin.position)).limit(1)).first()


def _begins(column: Any, text: str) -> tuple[Any, ...]:
    """A range, which an index answers; the last character of Unicode stands after all others."""
    return column >= text, column < text + "\U0010ffff"
