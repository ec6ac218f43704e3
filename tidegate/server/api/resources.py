"""`GET /api/v1/…`: the registry's state, to read. Lists a page at a time, single things whole."""

from typing import Any

from registry import entities, store_pages
from registry.access import Right
from registry.errors import NotFound
from registry.names import Ref, model_name
from registry.store_pages import LISTINGS, Page
from tidegate.server.api.reading import Given, Resource, door
from tidegate.server.api.rows import brief, page_schema, row_schema, whole
from tidegate.server.guard import Desk

_S, _I = {"type": "string"}, {"type": "integer"}
_MODEL = {
    "type": "object",
    "required": ["model", "newest", "digest", "size", "added_at"],
    "properties": {"model": _S, "newest": _I, "digest": _S, "size": _I, "added_at": _S},
}
_ONE_MODEL = {
    "type": "object",
    "required": ["model", "newest", "served"],
    "properties": {
        "model": _S,
        "newest": row_schema(entities.Version),
        "served": {
            "type": "array",
            "items": row_schema(entities.Pin),
            "description": "What tiers serve of it now.",
        },
    },
}
_FILES = {
    "type": "object",
    "required": ["version", "files"],
    "properties": {
        "version": _S,
        "files": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["path", "size", "sha256"],
                "properties": {"path": _S, "size": _I, "sha256": _S},
            },
        },
    },
}
_GATE = {
    "type": "object",
    "description": "Whether a tier may serve a version, with every reason.",
    "required": ["version", "model", "ordinal", "tier", "open", "promoted", "findings"],
    "properties": {
        "version": _S,
        "model": _S,
        "ordinal": _I,
        "tier": _S,
        "open": {"type": "boolean"},
        "promoted": {"type": "boolean"},
        "findings": {"type": "array", "items": {"type": "object"}},
    },
}
_EVENT = {
    "type": "object",
    "required": ["position", "kind", "subject", "at", "actor", "rows", "note"],
    "properties": {
        "position": _I,
        "kind": _S,
        "subject": _S,
        "at": _S,
        "actor": _S,
        "rows": {"type": "array", "items": {"type": "object"}},
        "note": {"type": "object"},
    },
}
_HEAD = {
    "type": "object",
    "description": "The newest signed head of the log, as a C2SP checkpoint.",
    "required": ["size", "root", "checkpoint"],
    "properties": {"size": _I, "root": _S, "checkpoint": _S},
}
_HOME = {
    "type": "object",
    "required": ["home", "roles", "release", "you", "rights"],
    "properties": {
        "home": _S,
        "roles": {"type": "array", "items": _S},
        "release": _S,
        "you": _S,
        "rights": {"type": "array", "items": _S},
    },
}


def _rows(page: Page[Any]) -> Page[Any]:
    return Page(tuple(brief(row) for row in page.rows), page.next)


def _listed(name: str) -> Any:
    def read(desk: Desk, given: Given) -> Page[Any]:
        where = given.some(LISTINGS[name].filters)
        with desk.view() as view:
            return _rows(
                store_pages.listing(view, name, given.page, where=where, oldest_first=given.oldest_first)
            )

    return read


# In the order of the page that is made of it.
_LISTS = {
    "versions": "Every version of every model.",
    "reports": "What scans and suites found here.",
    "claims": "Evidence that came with bundles; no gate of this home goes by it.",
    "statements": "Signed in-toto statements.",
    "signatures": "OpenSSF Model Signing signatures over versions.",
    "documents": "Contracts, engine profiles, suites, companions, advisories, policy files.",
    "bindings": "Which tool contract a version keeps to.",
    "requests": "What stewards were asked.",
    "approvals": "What stewards answered, signed.",
    "decisions": "What people decided besides, signed.",
    "withdrawals": "Versions that may not serve again.",
    "policies": "Every policy that a tier had.",
    "routers": "Every setting of a tier's router.",
    "rollouts": "Pins carried out to engines.",
    "observations": "What engines were seen to serve.",
    "imports": "Bundles taken in here.",
    "exports": "Bundles made here.",
    "receipts": "What sites said back.",
    "custody": "Media that were read back.",
    "removals": "Versions whose bytes were removed.",
    "witnessed": "Heads of other homes' logs.",
    "cosigned": "Heads of this log that other homes cosigned.",
}


def _list(name: str, path: str, summary: str) -> Resource:
    known = LISTINGS[name]
    return Resource(
        path, Right.LOOK, summary, page_schema(row_schema(known.table)), _listed(name),
        parameters=(*known.filters, "order"), paged=True,
    )  # fmt: skip


def _by_digest(path: str, table: type[entities.Row]) -> Resource:
    def read(desk: Desk, given: Given) -> Any:
        with desk.view() as view:
            row = view.kept(given["digest"])
        if not isinstance(row, table):
            raise NotFound(table.label, given["digest"])
        return whole(row)

    schema = row_schema(table, all_of_it=True)
    return Resource(f"/{path}/{{digest}}", Right.LOOK, f"One {table.label}, whole.", schema, read)


def _home(desk: Desk, _given: Given) -> Any:
    from importlib.metadata import version

    home = desk.premises.home
    return {
        "home": home.name,
        "roles": list(home.roles),
        "release": version("tidegate"),
        "you": desk.principal.name,
        "rights": sorted(str(right) for right in Right if desk.may(right)),
    }


def _models(desk: Desk, given: Given) -> Page[Any]:
    with desk.view() as view:
        page = store_pages.models(view, given.page, search=given.get("search"))
    return Page(tuple(vars(line) for line in page.rows), page.next)


def _name(given: Given) -> str:
    return model_name(f"{given['namespace']}/{given['name']}")


def _model(desk: Desk, given: Given) -> Any:
    name = _name(given)
    with desk.view() as view:
        newest = view.version(Ref(name))
        served = store_pages.pins_now(view, store_pages.Asked(store_pages.MOST), model=name).rows
    return {"model": name, "newest": brief(newest), "served": [brief(pin) for pin in served]}


def _versions(desk: Desk, given: Given) -> Page[Any]:
    with desk.view() as view:
        page = store_pages.versions(view, _name(given), given.page)
    if not page.rows and given.get("after") is None:
        raise NotFound("model", _name(given))
    return _rows(page)


def _numbered(desk: Desk, given: Given) -> Any:
    with desk.view() as view:
        return whole(view.version(Ref(_name(given), ordinal=int(given["ordinal"]))))


def _version(desk: Desk, given: Given) -> entities.Version:
    with desk.view() as view:
        row = view.version_by_digest(given["digest"])
    if row is None:
        raise NotFound("version", given["digest"])
    return row


def _files(desk: Desk, given: Given) -> Any:
    from registry.manifests import decode

    row = _version(desk, given)
    return {"version": row.digest, "files": [vars(file) for file in decode(row.manifest.encode()).files]}


def _gate(desk: Desk, given: Given) -> Any:
    from pipelines.case import case
    from tidegate.cli.gate import case_document

    row = _version(desk, given)
    desk.app.demand("site")
    with desk.view() as view:
        found = case(desk.work, view, Ref(row.model, ordinal=row.ordinal), given["tier"])
    return case_document(found, promoted=False)


def _pins(desk: Desk, given: Given) -> Page[Any]:
    with desk.view() as view:
        return _rows(store_pages.pins_now(view, given.page, **given.some(("tier", "model"))))


def _tiers(desk: Desk, _given: Given) -> Any:
    with desk.view() as view:
        return {"items": [whole(row) for row in view.tiers()]}


def _tier(desk: Desk, given: Given) -> Any:
    with desk.view() as view:
        return whole(view.tier(given["tier"]))


def _standing(read: Any) -> Any:
    def listed(desk: Desk, given: Given) -> Page[Any]:
        with desk.view() as view:
            return _rows(read(view, given.page))

    return listed


def _events(desk: Desk, given: Given) -> Page[Any]:
    since, until = given.moment("since"), given.moment("until")
    asked = given.some(("kind", "subject", "actor"))
    with desk.view() as view:
        page = store_pages.events(
            view, given.page, **asked, since=since, until=until, oldest_first=given.oldest_first
        )
    return Page(tuple(_event_document(row) for row in page.rows), page.next)


def _event_document(row: entities.Event) -> dict[str, Any]:
    from registry.audit import read_leaf

    entry = read_leaf(row.leaf.encode(), row.openings)
    rows = [{"table": label, "row": dict(content)} for label, content in entry.rows]
    return {**vars(entry), "rows": rows, "note": dict(entry.note)}


def _event(desk: Desk, given: Given) -> Any:
    with desk.view() as view:
        return _event_document(view.event(int(given["position"])))


def _head(desk: Desk, _given: Given) -> Any:
    with desk.view() as view:
        head = view.head()
    if head is None:
        raise NotFound("event in the log of", desk.premises.home.name)
    return {"size": head.size, "root": head.root, "checkpoint": head.note}


_WHOLE_TIER = row_schema(entities.TierPolicy, all_of_it=True)
_TIERS = {
    "type": "object",
    "required": ["items"],
    "properties": {"items": {"type": "array", "items": _WHOLE_TIER}},
}
_VERSION = row_schema(entities.Version, all_of_it=True)
_PERSON, _SITE = row_schema(entities.Person), row_schema(entities.Site)
_PUBLISHER = row_schema(entities.Publisher)
_IN_MODEL = "/models/{namespace}/{name}"

RESOURCES: tuple[Resource, ...] = (
    Resource("", Right.LOOK, "This home, and who you are to it.", _HOME, _home),
    Resource("/models", Right.LOOK, "Models by name.", page_schema(_MODEL), _models, ("search",), paged=True),
    Resource(_IN_MODEL, Right.LOOK, "One model: its newest version, and where it is served.", _ONE_MODEL, _model),
    Resource(
        f"{_IN_MODEL}/versions", Right.LOOK, "A model's versions, newest first.",
        page_schema(row_schema(entities.Version)), _versions, paged=True,
    ),
    Resource(f"{_IN_MODEL}/versions/{{ordinal}}", Right.LOOK, "A version by its number.", _VERSION, _numbered),
    Resource("/versions/{digest}", Right.LOOK, "A version by its digest.", _VERSION, lambda d, g: whole(_version(d, g))),
    Resource("/versions/{digest}/files", Right.LOOK, "The files of a version.", _FILES, _files),
    Resource(
        "/versions/{digest}/gate", Right.LOOK, "Whether a tier may serve a version.", _GATE, _gate, ("tier",), ("tier",)
    ),
    Resource(
        "/pins", Right.LOOK, "What tiers serve now.", page_schema(row_schema(entities.Pin)), _pins,
        ("tier", "model"), paged=True,
    ),
    Resource("/tiers", Right.LOOK, "The tiers, lowest first.", _TIERS, _tiers),
    Resource("/tiers/{tier}", Right.LOOK, "What a tier demands.", _WHOLE_TIER, _tier),
    Resource("/people", Right.LOOK, "People as they stand now.", page_schema(_PERSON), _standing(store_pages.people), paged=True),
    Resource("/sites", Right.LOOK, "Sites that are shipped to.", page_schema(_SITE), _standing(store_pages.sites), paged=True),
    Resource(
        "/publishers", Right.LOOK, "Whose signatures on models are believed.", page_schema(_PUBLISHER),
        _standing(store_pages.publishers), paged=True,
    ),
    Resource(
        "/events", Right.AUDIT, "The log.", page_schema(_EVENT), _events,
        ("kind", "subject", "actor", "since", "until", "order"), paged=True,
    ),
    Resource("/events/{position}", Right.AUDIT, "One line of the log.", _EVENT, _event),
    Resource("/log/head", Right.AUDIT, "The log's newest signed head.", _HEAD, _head),
    _list("pins", "/pins/history", "What tiers served, and since when."),
    *(_list(name, f"/{name}", summary) for name, summary in _LISTS.items()),
    _by_digest("reports", entities.Report),
    _by_digest("statements", entities.Statement),
    _by_digest("approvals", entities.Approval),
    _by_digest("requests", entities.ApprovalRequest),
    _by_digest("decisions", entities.Decision),
    _by_digest("documents", entities.Document),
)  # fmt: skip

doors = door(RESOURCES)
