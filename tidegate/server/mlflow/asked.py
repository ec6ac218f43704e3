"""What a client asks for, read from its query, its body and its filter; and a search that pages through a list."""

import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any

from fastapi import Depends

from registry import store_pulls
from registry.entities import Version
from registry.errors import NotFound
from registry.store_pages import Asked, Page
from registry.views import View
from signing.canonical import NotCanonical, parse
from tidegate.errors import RequestUnreadable
from tidegate.server.guard import Desk, at_desk
from tidegate.server.mlflow.filters import Comparison
from tidegate.server.pulling import registry_name

USUAL, MOST = 100, 200  # entries of a page
_PAGES = 25  # that one search looks through: with MOST of them, five thousand versions
_MAX_BODY = 64 << 10  # bytes of a question that is posted
VERSION = re.compile(r"[1-9][0-9]{0,8}")
_ALIAS = re.compile(r"[\w-]{1,255}")  # as MLflow has it

AtDesk = Annotated[Desk, Depends(at_desk)]


def required(query: Mapping[str, Any], name: str) -> str:
    """A parameter without which there is no answer. Raises `RequestUnreadable`."""
    value = query.get(name)
    if not isinstance(value, str) or not value:
        raise RequestUnreadable(f"missing value for required parameter {name!r}")
    return value


def model_asked(query: Mapping[str, Any]) -> str:
    """The registry's name of the model that is asked for. Raises `NotFound`, `RequestUnreadable`."""
    return our_name(required(query, "name"))


def alias_asked(query: Mapping[str, Any]) -> str:
    """The alias that is asked for: a tier's name, if there is one. Raises `RequestUnreadable`."""
    alias = required(query, "alias")
    if not _ALIAS.fullmatch(alias):
        raise RequestUnreadable("alias is made of letters, digits, '-' and '_'")
    return alias


def our_name(name: str) -> str:
    """`ns/name` for MLflow's `ns--name`. Raises `NotFound`."""
    namespace, dashes, rest = name.partition("--")
    if not dashes or "/" in name:
        raise NotFound("model", name)
    return registry_name(f"{namespace}/{rest}")


def version_asked(view: View, query: Mapping[str, Any]) -> Version:
    """The version that is asked for by its number. Raises `NotFound`, `RequestUnreadable`."""
    model, text = model_asked(query), required(query, "version")
    if not VERSION.fullmatch(text):
        raise RequestUnreadable("version is a whole number, such as 3; a tier is asked for as an alias")
    found = store_pulls.numbered(view, model, int(text))
    if found is None:
        raise NotFound("version", f"{model}@{text}")
    return found


def most(query: Mapping[str, str]) -> int:
    """How many entries a page has."""
    text = query.get("max_results", "")
    return max(1, min(int(text), MOST)) if re.fullmatch(r"[0-9]{1,9}", text) else USUAL


async def posted(desk: Desk) -> dict[str, Any]:
    """The JSON object that was posted. Raises `RequestUnreadable`."""
    data = bytearray()
    async for block in desk.request.stream():
        data += block
        if len(data) > _MAX_BODY:
            raise RequestUnreadable(f"more than {_MAX_BODY} bytes")
    try:
        found = parse(bytes(data), max_bytes=_MAX_BODY, at="body")
    except NotCanonical as exc:
        raise RequestUnreadable(str(exc)) from exc
    if not isinstance(found, dict):
        raise RequestUnreadable("the body is no JSON object")
    return found


def one_model(conditions: tuple[Comparison, ...]) -> str | None:
    """The model that a filter is about, if about one: then no other version is looked at."""
    named = [one.values[0] for one in conditions if (one.key, one.is_tag, one.how) == ("name", False, "=")]
    try:
        return our_name(named[0]) if named else None
    except NotFound:
        return ""  # of which there is none


def oldest_first(orders: list[str]) -> bool:
    """Which way the list runs. Raises `RequestUnreadable` for an order that it has not."""
    first = orders[0].split() if orders else []
    if not first or first[0] == "name":
        return False
    if first[0] in ("version_number", "creation_timestamp", "last_updated_timestamp"):
        return len(first) == 1 or first[1].upper() != "DESC"
    raise RequestUnreadable("order_by: version_number, creation_timestamp, last_updated_timestamp or name")


def search(
    query: Mapping[str, str],
    page: Callable[[Asked], Page[Any]],
    shown: Callable[[Any], dict[str, Any] | None],
) -> tuple[list[dict[str, Any]], str]:
    """Look through pages until enough was found; a filter that few things fit ends early, with where to go on."""
    wanted, token = most(query), query.get("page_token") or None
    found: list[dict[str, Any]] = []
    for _ in range(_PAGES):
        rows = page(Asked(wanted - len(found), token))
        found += [one for row in rows.rows if (one := shown(row)) is not None]
        token = rows.next
        if token is None or len(found) == wanted:
            break
    return found, token or ""
