"""One box for everything: what a text means is found out by its form, and everything that it means is shown."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from starlette.responses import Response

from pipelines.questions.touched import fingerprint_of
from registry import store_pages, store_search
from registry.access import Right
from registry.errors import NameUnusable, NotFound
from registry.names import Ref
from registry.store_pages import Asked
from registry.views import View
from signing.digests import is_sha256
from tidegate.server.guard import Desk, needs
from tidegate.server.pages.audit.frame import Text, audit_page, digest_href
from tidegate.server.pages.finding import AtDesk
from tidegate.server.pages.look import pages

doors = pages()
_HEX = re.compile(r"(?:sha256:)?([0-9a-f]{6,64})", re.ASCII)
_NUMBER = re.compile(r"#?([0-9]{1,12})", re.ASCII)
_DAYS = re.compile(r"(\d{4}-\d\d-\d\d)(?:\s*(?:\.\.|to|\s)\s*(\d{4}-\d\d-\d\d))?", re.ASCII)
_WORD = re.compile(r"[\w.@:+/-]{1,100}")
_KEY = re.compile(r"(?:SHA256|MD5):\S{8,}|[0-9a-f]{8,64}", re.ASCII)


@dataclass(frozen=True)
class Hit:
    """Something that the text means."""

    kind: str
    title: str
    detail: str
    href: str
    digest: str | None = None


@doors.get("/audit/search")
@needs(Right.AUDIT)
def search(desk: AtDesk, q: Text = "") -> Response:
    """Everything that a text may mean here."""
    wanted = q.strip()
    with desk.view() as view:
        hits = list(dict.fromkeys(_hits(desk, view, wanted))) if wanted else []
    return audit_page(desk, "search.html", q=wanted, hits=hits)


def _hits(desk: Desk, view: View, text: str) -> Iterator[Hit]:
    if match := _DAYS.fullmatch(text):
        yield _days(match[1], match[2] or match[1])
        return
    if match := _NUMBER.fullmatch(text):
        yield from _event(view, int(match[1]))
    if match := _HEX.fullmatch(text.lower()):
        yield from _digests(desk, view, match[1])
    yield from _versions(view, text)
    yield from _bundles(view, text)
    if _WORD.fullmatch(text):
        yield from _people(view, text)
        yield from _keys(view, text)
        for line in store_pages.models(view, Asked(10), search=text.partition("@")[0]).rows:
            yield Hit("Model", line.model, f"newest is @{line.newest}", f"/audit/models/{line.model}")


def _days(first: str, last: str) -> Hit:
    said = f"the log of {first}" if first == last else f"the log from {first} to {last}"
    return Hit(
        "Days", said.capitalize(), "every event in order", f"/audit/timeline?since={first}&until={last}"
    )


def _event(view: View, position: int) -> Iterator[Hit]:
    head = view.head()
    if head is not None and position < head.size:
        row = view.event(position)
        yield Hit(
            "Event", f"Event {position}: {row.kind}", f"{row.at}, {row.actor}", f"/audit/events/{position}"
        )


def _digests(desk: Desk, view: View, digits: str) -> Iterator[Hit]:
    for one in store_search.by_prefix(view, digits):
        kind = f"{one.name}@{one.kind}" if one.label == "version" else f"{one.kind} {one.name}"
        title = kind if one.label in ("version", "document", "report", "decision") else one.name or one.label
        yield Hit(one.label.capitalize(), title, "", digest_href(one.label, one.digest), one.digest)
    for row in store_pages.listing(view, "versions", Asked(3), where={"revision": digits}).rows:
        title = f"{row.model}@{row.ordinal}"
        yield Hit("Version", title, "by its revision", digest_href("version", row.digest), row.digest)
    if is_sha256(digits) and desk.premises.blobs.has(digits):
        size = desk.premises.blobs.size(digits)
        yield Hit(
            "Bytes", "A file in the store", f"{size:,} bytes", f"/audit/timeline?subject={digits}", digits
        )
    if is_sha256(digits) and store_pages.events(view, Asked(1), subject=digits).rows:
        yield Hit("Log", "Events about this digest", "", f"/audit/timeline?subject={digits}", digits)


def _versions(view: View, text: str) -> Iterator[Hit]:
    try:
        ref = Ref.parse(text)
        row = view.version(ref)
    except (NameUnusable, NotFound):
        return
    if text != ref.model:
        title = f"{row.model}@{row.ordinal}"
        yield Hit(
            "Version", title, f"taken in {row.added_at}", digest_href("version", row.digest), row.digest
        )


def _bundles(view: View, text: str) -> Iterator[Hit]:
    for label, bundle, at, digest in store_search.bundles(view, text):
        way = "came" if label == "import" else "left"
        where = f"/audit/transfers?way={'in' if label == 'import' else 'out'}&bundle={bundle}"
        yield Hit("Bundle", bundle, f"{way} {at}", where, digest)


def _people(view: View, text: str) -> Iterator[Hit]:
    names = dict.fromkeys(store_search.people(view, text), "Person")
    accounts = store_search.accounts(view, text)
    for name in (*names, *(name for name in accounts if name not in names)):
        kind = names.get(name, "Account")
        detail = "with an account" if kind == "Person" and name in accounts else ""
        yield Hit(kind, name, detail, f"/audit/people/{name}")
    if text not in names and text not in accounts and store_search.acted(view, text):
        yield Hit("Name", text, "events say that it ran in this name", f"/audit/people/{text}")


def _keys(view: View, text: str) -> Iterator[Hit]:
    if not _KEY.fullmatch(text):
        return
    from urllib.parse import quote

    for row in view.people_recorded():
        found = fingerprint_of(row.public_key)
        if found.startswith(text):
            yield Hit(
                "Key",
                found,
                f"of {row.name}, since {row.since}",
                f"/audit/touched?who={quote(found, safe='')}",
            )
