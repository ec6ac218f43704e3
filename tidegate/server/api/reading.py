"""What the resources have in common: their parameters, pages with links to the next one, answers with an ETag."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from fastapi import APIRouter, Request
from starlette.responses import Response

from registry.access import Right
from registry.store_pages import MOST, USUAL, Asked, Page
from signing.digests import sha256_hex
from signing.times import from_rfc3339, rfc3339
from tidegate.errors import RequestUnreadable
from tidegate.server.api import schema
from tidegate.server.guard import Desk, needs, router
from tidegate.server.problems import problem_json

PREFIX = "/api/v1"
_LONGEST = 500  # characters of a parameter
PROBLEM = {
    "description": "Refused.",
    "content": {"application/problem+json": {"schema": schema.named("Problem")}},
}
_TEXT = {"type": "string", "minLength": 1, "maxLength": _LONGEST, "pattern": r"^[^\u0000-\u001f\u007f]+$"}
_MOMENT = {"type": "string", "format": "date-time", "maxLength": 40}
_PAGING: dict[str, dict[str, Any]] = {
    "limit": {"type": "integer", "minimum": 1, "maximum": MOST, "default": USUAL},
    "after": {
        "type": "string",
        "minLength": 1,
        "maxLength": 2000,
        "description": "From the `next` of the page before.",
    },
}
_KINDS: dict[str, dict[str, Any]] = {
    "since": _MOMENT,
    "until": _MOMENT,
    "order": {"type": "string", "enum": ["newest", "oldest"], "default": "newest"},
    **_PAGING,
}
_PATH: dict[str, dict[str, Any]] = {
    "digest": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
    "position": {"type": "integer", "minimum": 0, "maximum": 2**53},
    "ordinal": {"type": "integer", "minimum": 1, "maximum": 2**31 - 1},
}

Read = Callable[[Desk, "Given"], Any]


@dataclass(frozen=True)
class Given:
    """The parameters of one request, by name; a list's page among them."""

    values: Mapping[str, str]

    def get(self, name: str) -> str | None:
        """A parameter, if it was given."""
        return self.values.get(name)

    def __getitem__(self, name: str) -> str:
        return self.values[name]

    def some(self, names: Sequence[str]) -> dict[str, str | None]:
        """Several at once."""
        return {name: self.get(name) for name in names}

    def moment(self, name: str) -> str | None:
        """A moment, in the form that the tables have."""
        text = self.get(name)
        return None if text is None else rfc3339(from_rfc3339(text))

    @property
    def page(self) -> Asked:
        """Which page is wanted."""
        return Asked(_whole("limit", self.get("limit") or str(USUAL), 1, MOST), self.get("after"))

    @property
    def oldest_first(self) -> bool:
        """Whether the list begins with what is oldest."""
        order = self.get("order") or "newest"
        if order not in ("newest", "oldest"):
            raise RequestUnreadable("order: newest or oldest")
        return order == "oldest"


@dataclass(frozen=True)
class Resource:
    """An address that is read."""

    path: str
    right: Right
    summary: str
    answer: dict[str, Any]  # JSON Schema
    read: Read
    parameters: tuple[str, ...] = ()
    required: tuple[str, ...] = ()
    paged: bool = False


def door(resources: Sequence[Resource]) -> APIRouter:
    """A router that answers to these."""
    found = router(problem_json, prefix=PREFIX, tags=["resources"])
    for resource in resources:
        found.add_api_route(
            resource.path,
            _endpoint(resource),
            methods=["GET"],
            operation_id=_id(resource.path),
            summary=resource.summary,
            description=f"Needs the right to {resource.right}.",
            responses={
                200: {
                    "description": "It is this.",
                    "content": {"application/json": {"schema": resource.answer}},
                },
                304: {"description": "It is what If-None-Match says."},
                "default": PROBLEM,
            },
            openapi_extra={"parameters": _described(resource)},
        )
    return found


def _id(path: str) -> str:
    return "-".join(["get", *(part.strip("{}") for part in path.split("/") if part)])


def _described(resource: Resource) -> list[dict[str, Any]]:
    names = [part[1:-1] for part in resource.path.split("/") if part.startswith("{")]
    query = (*resource.parameters, *(_PAGING if resource.paged else ()))
    return [
        *({"name": name, "in": "path", "required": True, "schema": _PATH.get(name, _TEXT)} for name in names),
        *(
            {
                "name": name,
                "in": "query",
                "required": name in resource.required,
                "schema": _KINDS.get(name, _TEXT),
            }
            for name in query
        ),
    ]


def _endpoint(resource: Resource) -> Callable[[Request], Response]:
    @needs(resource.right)
    def read(request: Request) -> Response:
        desk: Desk = request.state.desk
        found = resource.read(desk, _given(resource, request))
        return _paged(request, found) if resource.paged else answer(request, found)

    return read


def _given(resource: Resource, request: Request) -> Given:
    """Every parameter, checked: none that means nothing here, none twice, none that no text holds."""
    known = {*resource.parameters, *(_PAGING if resource.paged else ())}
    values: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        if name not in known or name in values:
            raise RequestUnreadable(
                f"{name[:80]!r} {'is given twice' if name in values else 'is no parameter here'}"
            )
        values[name] = value
    values |= {name: str(value) for name, value in request.path_params.items()}
    for name, value in values.items():
        _check(name, value)
    for name in resource.required:
        if name not in values:
            raise RequestUnreadable(f"{name} is missing")
    return Given(values)


def _check(name: str, value: str) -> None:
    kind = _PATH.get(name, {})
    if kind.get("type") == "integer":
        _whole(name, value, kind["minimum"], kind["maximum"])
    elif name == "digest" and (len(value) != 64 or set(value) - set("0123456789abcdef")):
        raise RequestUnreadable("digest: 64 lower-case hex digits")
    elif not 0 < len(value) <= (2000 if name == "after" else _LONGEST) or any(
        ord(sign) < 32 or ord(sign) == 127 for sign in value
    ):
        raise RequestUnreadable(f"{name}: a text of 1 to {_LONGEST} characters")


def _whole(name: str, text: str, least: int, most: int) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= 16 and least <= int(text) <= most):
        raise RequestUnreadable(f"{name}: a whole number from {least} to {most}")
    return int(text)


def _paged(request: Request, page: Page[Any]) -> Response:
    following = None
    if page.next is not None:
        query = [(name, value) for name, value in request.query_params.multi_items() if name != "after"]
        following = f"{request.url.path}?{urlencode([*query, ('after', page.next)])}"
    found = answer(request, {"items": list(page.rows), "next": following})
    if following is not None:
        found.headers["Link"] = f'<{following}>; rel="next"'  # RFC 8288
    return found


def answer(request: Request, document: Any) -> Response:
    """A document with its ETag; nothing but that when it is what the caller has already."""
    body = json.dumps(document, ensure_ascii=False, allow_nan=False).encode()
    headers = {"ETag": f'"{sha256_hex(body)[:32]}"', "Cache-Control": "private, no-cache"}
    known = request.headers.get("if-none-match", "")
    if headers["ETag"] in [tag.strip().removeprefix("W/") for tag in known.split(",")]:
        return Response(status_code=304, headers=headers)
    return Response(body, headers=headers, media_type="application/json")
