"""Lists, a page at a time: what doors show of tables that may hold millions of rows.

Keyset paging: a page begins after the last row of the one before, found by an index, so the thousandth page costs what
the first does, and rows that are added meanwhile are neither shown twice nor skipped. There are no totals: counting
costs what the whole list costs. A cursor is opaque to whoever carries it, and belongs to the one list it came from.
Reading only; apart from `registry.views`, whose questions have answers that fit a screen.
"""

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from sqlalchemy import CTE, Integer, Select, exists, literal, tuple_
from sqlalchemy.orm import aliased
from sqlmodel import SQLModel, col, func, select

from registry import entities
from registry.entities import Event, Person, Pin, Publisher, Row, Site, Version
from registry.errors import CursorUnusable
from registry.views import View
from signing.canonical import NotCanonical, canonical_bytes, parse_canonical

MOST = 200  # rows of a page
USUAL = 50
_CURSOR = 1024  # bytes of a cursor; model names have at most 193

T = TypeVar("T")


@dataclass(frozen=True)
class Page(Generic[T]):
    """Some rows of a list, and where the next page begins."""

    rows: tuple[T, ...]
    next: str | None  # the cursor to ask with; None: this was the last page


@dataclass(frozen=True)
class Asked:
    """Which page is wanted: at most `limit` rows (1 to `MOST`) after a cursor, or the first ones."""

    limit: int = USUAL
    after: str | None = None

    @property
    def rows(self) -> int:
        """How many rows, whatever was asked for."""
        return max(1, min(self.limit, MOST))


FIRST = Asked()


@dataclass(frozen=True)
class ModelLine:
    """A model and its newest version."""

    model: str
    newest: int  # the ordinal
    digest: str
    size: int  # bytes of all files
    added_at: str


@dataclass(frozen=True)
class Listing:
    """A table that is listed in the order in which its rows were recorded, and by what it can be narrowed."""

    table: type[Row]
    filters: tuple[str, ...] = ()


# Every filter has an index behind it, or holds for so many rows that the order of the list is the quickest way.
LISTINGS: Mapping[str, Listing] = {
    "versions": Listing(entities.Version, ("model", "brought_by", "revision")),
    "documents": Listing(entities.Document, ("kind",)),
    "bindings": Listing(entities.Binding, ("version",)),
    "reports": Listing(entities.Report, ("version", "kind", "outcome")),
    "claims": Listing(entities.Claim, ("version",)),
    "statements": Listing(entities.Statement, ("subject", "predicate")),
    "routers": Listing(entities.RouterSetting, ("tier",)),
    "policies": Listing(entities.TierPolicy, ("tier",)),
    "approvals": Listing(entities.Approval, ("version", "tier", "person", "decision")),
    "requests": Listing(entities.ApprovalRequest, ("version", "tier", "action")),
    "decisions": Listing(entities.Decision, ("kind", "subject", "person")),
    "pins": Listing(entities.Pin, ("tier", "model", "version", "kind")),
    "withdrawals": Listing(entities.Withdrawal, ("version",)),
    "exports": Listing(entities.Export, ("site", "digest")),
    "receipts": Listing(entities.Receipt, ("site",)),
    "imports": Listing(entities.Import, ("bundle", "digest")),
    "custody": Listing(entities.Custody, ("bundle", "outcome")),
    "removals": Listing(entities.Removal, ("version",)),
    "rollouts": Listing(entities.Rollout, ("tier", "model", "version", "outcome")),
    "observations": Listing(entities.Observation, ("tier", "node", "model", "state")),
    "signatures": Listing(entities.ModelSignature, ("version", "outcome")),
    "witnessed": Listing(entities.WitnessedHead, ("log", "outcome")),
    "cosigned": Listing(entities.CosignedHead, ("witness",)),
}


def listing(
    view: View,
    name: str,
    asked: Asked = FIRST,
    *,
    where: Mapping[str, str | None] | None = None,
    oldest_first: bool = False,
) -> Page[Any]:
    """A page of rows of one of `LISTINGS`, newest first unless it is said otherwise.

    Args:
        where: column to value; a value of None narrows nothing. The columns are those of the listing.

    Raises:
        CursorUnusable: the cursor is not one that a page of this list gave.
    """
    known = LISTINGS[name]
    query: Any = select(known.table)
    for column, value in (where or {}).items():
        assert column in known.filters, f"{name} cannot be narrowed by {column}"
        if value is not None:
            query = query.where(getattr(known.table, column) == value)
    order = f"{name} {'oldest' if oldest_first else 'newest'}"
    return _page(view, query, order, [known.table.id], asked, descending=not oldest_first)  # type: ignore[attr-defined]


def versions(view: View, model: str, asked: Asked = FIRST) -> Page[Version]:
    """A page of a model's versions, newest first. Raises `CursorUnusable`."""
    query = select(Version).where(Version.model == model)
    return _page(view, query, "versions of a model", [Version.ordinal], asked, descending=True)


def events(
    view: View,
    asked: Asked = FIRST,
    *,
    kind: str | None = None,
    subject: str | None = None,
    actor: str | None = None,
    since: str | None = None,
    until: str | None = None,
    oldest_first: bool = False,
) -> Page[Event]:
    """A page of the log, newest first unless it is said otherwise.

    Args:
        since, until: RFC 3339 text, both included. With one of them the order is that of the moments; the clock of
            a home may have stood, so that is not quite the order of the positions.

    Raises:
        CursorUnusable: the cursor is not one that a page of this list gave.
    """
    query: Any = select(Event)
    for column, value in ((Event.kind, kind), (Event.subject, subject), (Event.actor, actor)):
        if value is not None:
            query = query.where(column == value)
    keys: list[Any] = [Event.position]
    if since is not None or until is not None:
        keys.insert(0, Event.at)
        query = query if since is None else query.where(Event.at >= since)
        query = query if until is None else query.where(Event.at <= until)
    order = f"events {len(keys)} {'oldest' if oldest_first else 'newest'}"
    return _page(view, query, order, keys, asked, descending=not oldest_first)


def pins_now(
    view: View,
    asked: Asked = FIRST,
    *,
    tier: str | None = None,
    model: str | None = None,
    at: str | None = None,
) -> Page[Pin]:
    """A page of what tiers serve now, or served at a moment (RFC 3339 text), by tier and model.

    Raises:
        CursorUnusable: the cursor is not one that a page of this list gave.
    """
    query = _standing(Pin, "tier", "model", at=at)
    query = query if tier is None else query.where(Pin.tier == tier)
    query = query if model is None else query.where(Pin.model == model)
    return _page(view, query, "pins now", [Pin.tier, Pin.model], asked)


def people(view: View, asked: Asked = FIRST) -> Page[Person]:
    """A page of people as each stands now, by name. Raises `CursorUnusable`."""
    return _page(view, _standing(Person, "name"), "people", [Person.name], asked)


def sites(view: View, asked: Asked = FIRST) -> Page[Site]:
    """A page of the sites that this origin ships to, by name. Raises `CursorUnusable`."""
    return _page(view, _standing(Site, "name"), "sites", [Site.name], asked)


def publishers(view: View, asked: Asked = FIRST) -> Page[Publisher]:
    """A page of publishers as each stands now, by name. Raises `CursorUnusable`."""
    return _page(view, _standing(Publisher, "name"), "publishers", [Publisher.name], asked)


def models(view: View, asked: Asked = FIRST, *, search: str | None = None) -> Page[ModelLine]:
    """A page of models by name, each with its newest version.

    Args:
        search: only models whose name holds this text. Every name is looked at then, and no version of it.

    Raises:
        CursorUnusable: the cursor is not one that a page of this list gave.
    """
    begin = _read_cursor(asked.after, "models", [str])[0] if asked.after else ""
    names = _model_names(begin, most=None if search else asked.rows + 1)
    newest = (
        select(func.max(Version.ordinal))
        .where(Version.model == names.c.model)
        .correlate(names)
        .scalar_subquery()
    )
    columns: list[Any] = [Version.model, Version.ordinal, Version.digest, Version.size, Version.added_at]
    query: Any = (
        select(*columns)
        .select_from(names)
        .join(Version, (col(Version.model) == names.c.model) & (col(Version.ordinal) == newest))
        .order_by(names.c.model)
        .limit(asked.rows + 1)
    )
    if search:
        query = query.where(names.c.model.contains(search.lower(), autoescape=True))
    found = [ModelLine(*row) for row in view.session.exec(query)]
    return _cut(found, asked, "models", lambda line: [line.model])


def _model_names(begin: str, *, most: int | None) -> CTE:
    """Models' names after `begin`, one look into the index for each: DISTINCT would read every version.

    Args:
        most: how many are wanted; SQLite would make all of them, whatever LIMIT stands outside.
    """
    place: Any = literal(1).label("place")
    first = select(func.min(Version.model).label("model"), place).where(Version.model > begin)
    names = first.cte("names", recursive=True)
    other = aliased(Version)
    following = select(func.min(other.model)).where(col(other.model) > names.c.model).scalar_subquery()
    rest = select(following, names.c.place + 1).where(names.c.model.is_not(None))
    return names.union_all(rest if most is None else rest.where(names.c.place < most))


def _standing(table: type[Any], *keys: str, at: str | None = None) -> Any:
    """The last row of every key: the table's positions say which one that is; up to a moment, if one is given."""
    later = aliased(table)
    same = [getattr(later, key) == getattr(table, key) for key in keys]
    if at is not None:
        same.append(later.since <= at)
    found = select(table).where(~exists().where(*same, later.position > table.position))
    return found if at is None else found.where(table.since <= at)


def _page(
    view: View,
    query: Select[Any],
    order: str,
    keys: Sequence[Any],
    asked: Asked,
    *,
    descending: bool = False,
) -> Page[Any]:
    if asked.after is not None:
        kinds = [int if isinstance(column.type, Integer) else str for column in keys]
        values = _read_cursor(asked.after, order, kinds)
        here = tuple_(*keys)
        query = query.where(here < tuple_(*values) if descending else here > tuple_(*values))
    ordered = query.order_by(*(column.desc() if descending else column for column in keys))
    rows: list[SQLModel] = list(view.session.exec(ordered.limit(asked.rows + 1)))  # type: ignore[call-overload]
    return _cut(rows, asked, order, lambda row: [getattr(row, column.key) for column in keys])


def _cut(rows: list[Any], asked: Asked, order: str, key: Any) -> Page[Any]:
    """One row more than was asked for says that there is a next page."""
    shown = rows[: asked.rows]
    return Page(tuple(shown), _cursor(order, key(shown[-1])) if len(rows) > len(shown) else None)


def _cursor(order: str, values: Sequence[str | int]) -> str:
    return base64.urlsafe_b64encode(canonical_bytes([order, *values])).decode().rstrip("=")


def _read_cursor(text: str, order: str, kinds: Sequence[type]) -> list[Any]:
    try:
        raw = base64.b64decode(text.encode() + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
        found = parse_canonical(raw, max_bytes=_CURSOR, at="cursor")
    except (binascii.Error, UnicodeEncodeError, NotCanonical) as exc:
        raise CursorUnusable from exc
    if not isinstance(found, list) or [order, *kinds] != [*found[:1], *map(type, found[1:])]:
        raise CursorUnusable
    if "\0" in str(found[1]):  # PostgreSQL knows no such text
        raise CursorUnusable
    return found[1:]
