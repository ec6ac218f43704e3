"""Who may what, address by address: every route, every role, one table that was written by hand.

`rights.txt` says what each address demands; an address that it does not list fails, and so does one that demands
another right. Then every role knocks at every address, and is let in or not as the second table here says.
"""

import asyncio
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import fastapi.routing
import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.responses import Response
from starlette.routing import BaseRoute

from registry.access import RIGHTS, Right, Role
from registry.home import Home
from tests import world
from tests.server_world import premises, token
from tidegate.server import guard
from tidegate.server.app import build
from tidegate.server.problems import problem_json

NOW = datetime.now(UTC)
LET_IN = "x-let-in"
PAGE = Path(__file__).resolve().parents[2] / "docs/how-to/access.md"
TABLE = Path(__file__).with_name("rights.txt")

# What each role gives, written out here once more: the code and this have to agree.
GIVES = {
    "viewer": "look pull",
    "importer": "look pull import ask",
    "validator": "look pull pull_any validate ask",
    "steward": "look pull audit ask approve promote roll_back withdraw decide",
    "auditor": "look pull pull_any audit",
    "admin": "look operate administer",
}
# A path that each parameter could have; what stands in EXAMPLES goes before it.
VALUES = {
    "tier": "team", "namespace": "acme", "name": "guard", "digest": "a" * 64, "rest": "x", "at": "x",
    "reference": "team", "what": "approval", "position": "0",
}  # fmt: skip
EXAMPLES = {"/api/models/{rest:path}": "/api/models/a/b/c/d/e", "/v2/{rest:path}": "/v2/x"}


def table() -> dict[tuple[str, str], Right]:
    """(method, path): right."""
    found: dict[tuple[str, str], Right] = {}
    for line in TABLE.read_text().splitlines():
        if line and not line.startswith("#"):
            right, methods, path = line.split()
            for method in methods.split("+"):
                assert (method, path) not in found, f"{method} {path} stands twice"
                found[method, path] = Right[right]
    return found


def routes_of(routes: list[BaseRoute]) -> Iterator[BaseRoute]:
    """Every route, also of routers within."""
    for route in routes:
        inner = getattr(route, "original_router", None)
        if inner is None:
            yield route
        else:
            yield from routes_of(inner.routes)


def guarded(app: FastAPI) -> list[APIRoute]:
    """Every route of the application. One of another kind, which no guard stands before, fails."""
    found = list(routes_of(app.routes))
    strange = [route for route in found if not isinstance(route, guard._Guarded)]
    assert [] == strange, "nothing guards these"
    return [route for route in found if isinstance(route, APIRoute)]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return world.new_home(tmp_path_factory.mktemp("rights") / "site", name="clinic", now=NOW)


@pytest.fixture(scope="module")
def callers(home: Home) -> dict[str, tuple[str, set[Right]]]:
    """Name: (token, rights). Nobody is somebody who is known and has no grant any more."""
    every = {right.name.lower(): right for right in Right}
    known = {Right.OPEN, Right.OWN}
    found = {
        role: (token(home, f"a-{role}", role), known | {every[word] for word in words.split()})
        for role, words in GIVES.items()
    }
    whole = {
        Right.AUDIT,
        Right.WITHDRAW,
        Right.DECIDE,
    }  # about the whole home: a steward of one tier has none of it
    found["steward:org"] = (token(home, "a-warden", "steward:org"), found["steward"][1] - whole)
    found["nobody"] = (token(home, "a-nobody", "viewer"), known)
    with premises(home.path) as at:
        from registry.access import parse_grants
        from registry.accounts import Accounts

        Accounts(at.store, actor="root", now=NOW, at_machine=True).become("a-nobody", parse_grants(""))
    return found


@pytest.fixture(scope="module")
def stubbed(home: Home) -> Iterator[FastAPI]:
    """The whole application, in which whoever is let in gets told where, and nothing is done."""

    async def let_in(*, dependant: Any, **_: Any) -> Response:
        return Response(status_code=204, headers={LET_IN: place_of(dependant.call)})

    with pytest.MonkeyPatch.context() as patch, premises(home.path) as at:
        patch.setattr(fastapi.routing, "run_endpoint_function", let_in)
        yield build(at)


def place_of(endpoint: Callable[..., Any]) -> str:
    return f"{endpoint.__module__}.{endpoint.__qualname__}"


def test_every_address_stands_in_the_table_with_what_it_demands(home: Home) -> None:
    with premises(home.path) as at:
        found = {
            (method, route.path): route.right  # type: ignore[attr-defined]
            for route in guarded(build(at))
            for method in route.methods or ()
        }
    wanted = table()
    new = [f"{right.name} {m} {p}" for (m, p), right in found.items() if (m, p) not in wanted]
    assert [] == new, "think about each, and add it to rights.txt"
    assert [] == [f"{m} {p}" for m, p in wanted if (m, p) not in found], "remove from rights.txt"
    assert {} == {key: (wanted[key], found[key]) for key in found if wanted[key] is not found[key]}


def test_the_code_gives_each_role_what_is_written_here() -> None:
    assert set(Role) == set(GIVES)
    for role, words in GIVES.items():
        assert set(words.split()) | {"open", "own"} == {right.name.lower() for right in RIGHTS[Role(role)]}


def test_the_page_says_of_each_role_what_it_may() -> None:
    page = PAGE.read_text()
    for role, words in GIVES.items():
        assert f"| {role} | {', '.join(words.split()).replace('_', ' ')} |" in page
    named = {
        word.strip()
        for row in re.findall(r"^\| ([a-z, ]+) \| ", page, re.MULTILINE)
        for word in row.split(",")
    }
    assert {str(right) for right in Right} - {"open", "own"} <= named


def test_no_role_that_manages_accounts_promotes_and_the_other_way_round() -> None:
    deciding = {Right.APPROVE, Right.PROMOTE, Right.ROLL_BACK, Right.WITHDRAW, Right.DECIDE, Right.IMPORT}
    for rights in RIGHTS.values():
        assert not (Right.ADMINISTER in rights and rights & deciding)


@pytest.mark.parametrize("who", ["anonymous", *GIVES, "steward:org", "nobody"])
def test_each_role_is_let_in_where_it_may_and_nowhere_else(
    stubbed: FastAPI, callers: dict[str, tuple[str, set[Right]]], who: str
) -> None:
    secret, rights = callers.get(who, ("", {Right.OPEN}))
    assert [] == asyncio.run(_knock(stubbed, who, secret, rights))


async def _knock(app: FastAPI, who: str, secret: str, rights: set[Right]) -> list[str]:
    """What is not as it should be, at every address."""
    wrong = []
    for route in guarded(app):
        right: Right = route.right  # type: ignore[attr-defined]
        wanted = "let in" if right in rights else "refused" if secret else "asked to sign in"
        for method in sorted(route.methods or ()):
            status, headers = await _ask(app, method, example(route.path), secret)
            said = _said(status, headers, route)
            if said != wanted:
                wrong.append(f"{who} at {method} {route.path} ({right.name}): {said}, {status}")
    return wrong


async def _ask(app: FastAPI, method: str, path: str, secret: str) -> tuple[int, dict[str, str]]:
    """One request as a server hands it over: three thousand of them are too many for a client's own threads."""
    headers = [(b"host", b"clinic")] + ([(b"authorization", f"Bearer {secret}".encode())] if secret else [])
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "scheme": "http",
        "path": path, "raw_path": path.encode(), "query_string": b"", "root_path": "", "headers": headers,
        "client": ("10.0.0.1", 4711), "server": ("clinic", 80), "state": {},
    }  # fmt: skip
    said: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        said.append(message)

    await app(scope, receive, send)
    return said[0]["status"], {name.decode(): value.decode() for name, value in said[0]["headers"]}


def example(path: str) -> str:
    """An address of this route."""
    filled = EXAMPLES.get(path, path)
    for name, value in VALUES.items():
        filled = filled.replace(f"{{{name}}}", value).replace(f"{{{name}:path}}", value)
    return re.sub(r"{[^}]*}", "3", filled)


def _said(status: int, headers: dict[str, str], route: APIRoute) -> str:
    """What a form lacks (422) is only looked at once somebody is let in."""
    if LET_IN in headers:
        return "let in" if headers[LET_IN] == place_of(route.endpoint) else f"let in at {headers[LET_IN]}"
    if status == 422:
        return "let in"
    if status == 401 or headers.get("location", "").startswith("/sign-in?next="):
        return "asked to sign in"
    return "refused" if status == 403 else "something else"


def test_an_address_that_demands_nothing_is_no_address() -> None:
    doors = guard.router(problem_json)
    with pytest.raises(AssertionError, match="names no right"):

        @doors.get("/forgotten")
        def forgotten() -> None: ...
