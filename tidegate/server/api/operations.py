"""`POST /api/v1/operations/NOUN/VERB`: every command that can be given from elsewhere, made from the command line's tree.

The body holds the command's own parameters, as `/api/v1/openapi.json` types them; the answer is what the command shows
with --json, and what it shows to people. A refusal is a problem document with the command's exit code. Which right a
command demands, and what its paths mean, stands in `tidegate.afar` alone; a command without a line there has no address.
"""

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query
from starlette.responses import JSONResponse, Response

from registry.access import Right
from signing.errors import OperatorError
from tidegate import reference
from tidegate.afar import COMMANDS, Act, Stay
from tidegate.afar_refusals import CommandStaysHere
from tidegate.errors import RequestUnreadable
from tidegate.server.accounts.refusals import TooMany
from tidegate.server.api import schema
from tidegate.server.api.bodies import body_of, parameters_of
from tidegate.server.api.performing import Command, Done, perform
from tidegate.server.api.repeats import HEADER, once
from tidegate.server.guard import Desk, at_desk, needs, router
from tidegate.server.problems import document, headers_of, problem_json, status_of

PREFIX = "/api/v1/operations"
_AT_ONCE = 4  # a command may hash gigabytes; downloads go on beside them
_PATIENCE = 20  # seconds
_QUEUE = 12  # that wait for a place; a process has 40 threads, and the others answer downloads
_PROBLEM = {"content": {"application/problem+json": {"schema": schema.named("Problem")}}}

_FORM = Query(alias="as", description="How the command runs: as with --json, or as for people.")
_places = threading.BoundedSemaphore(_AT_ONCE)
_queue = threading.BoundedSemaphore(_AT_ONCE + _QUEUE)


def commands() -> Iterator[Command]:
    """Every command that can be given from elsewhere, in the order of help."""
    for path, command in reference.commands():
        rule = COMMANDS.get(path)
        if isinstance(rule, Act):
            yield Command(path, command, rule)


def make() -> APIRouter:
    """The door: one address for each command, and one for each that stays and says why."""
    door = router(problem_json, prefix=PREFIX, tags=["operations"])
    door.add_api_route(
        "", _listed, methods=["GET"], operation_id="operations", summary="Every command, and who may give it",
        responses={200: {"content": {"application/json": {"schema": _LISTED}}}, "default": _PROBLEM},
    )  # fmt: skip
    for command in commands():
        _add(door, command)
    for path, rule in COMMANDS.items():
        if isinstance(rule, Stay):
            address = "/" + path.replace(" ", "/")
            door.add_api_route(address, _stays(path, rule), methods=["POST"], include_in_schema=False)
    return door


_LISTED: dict[str, Any] = {
    "type": "object",
    "required": ["items"],
    "properties": {
        "items": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["command", "address", "right", "writes", "stays"],
                "properties": {
                    "command": {"type": "string"},
                    "address": {"type": ["string", "null"]},
                    "right": {"type": ["string", "null"]},
                    "writes": {"type": "boolean"},
                    "stays": {"type": ["string", "null"], "description": "Why it cannot be given here."},
                },
            },
        }
    },
}


@needs(Right.LOOK)
def _listed() -> Response:
    return JSONResponse({"items": [_line(path, rule) for path, rule in COMMANDS.items()]})


def _line(path: str, rule: Act | Stay) -> dict[str, Any]:
    if isinstance(rule, Stay):
        return {"command": path, "address": None, "right": None, "writes": False, "stays": rule.reason}
    address = f"{PREFIX}/{path.replace(' ', '/')}"
    return {
        "command": path,
        "address": address,
        "right": str(rule.right),
        "writes": rule.writes,
        "stays": None,
    }


def _stays(path: str, rule: Stay) -> Callable[[], Response]:
    @needs(Right.OWN)
    def stays() -> Response:
        raise CommandStaysHere(path, rule.reason)

    return stays


def _add(door: APIRouter, command: Command) -> None:
    @needs(command.rule.right)
    def operate(
        desk: Annotated[Desk, Depends(at_desk)],
        body: Annotated[bytes, Depends(body_of)],
        form: Annotated[Literal["json", "text"], _FORM] = "json",
    ) -> Response:
        given = parameters_of(body)
        demand(desk, command, given)
        if not (
            command.rule.writes or command.rule.secret
        ):  # asked again, it is read again; nothing is kept for it
            return _answer(desk, command, given, form)
        return once(desk, body, lambda: _answer(desk, command, given, form), keep=not command.rule.secret)

    what = schema.description(command.command)
    door.add_api_route(
        "/" + command.path.replace(" ", "/"),
        operate,
        methods=["POST"],
        operation_id=command.path.replace(" ", "-"),
        summary=what.split("\n\n")[0].replace("\n", " "),
        description=f"{what}\n\nNeeds the right to {command.rule.right}.",
        responses={
            200: {
                "content": {"application/json": {"schema": schema.named("Answer")}},
                "description": "It is done.",
            },
            "default": {**_PROBLEM, "description": "Refused."},
        },
        openapi_extra={
            "requestBody": {"content": {"application/json": {"schema": schema.request_schema(command)}}},
            "parameters": [_KEY],
        },
    )


_KEY = {
    "name": HEADER,
    "in": "header",
    "required": False,
    "description": "Repeat a request with its key, and it is done once.",
    "schema": {"type": "string", "pattern": "^[!-~]{1,128}$"},
}


def demand(desk: Desk, command: Command, given: Mapping[str, Any]) -> None:
    """Refuse what the caller may not do: the right for the tier that is named, and what single parameters ask for.

    Raises:
        NotAllowed, NotSignedIn, RequestUnreadable, CommandStaysHere
    """
    rule = command.rule
    tier = given.get(rule.tier) if rule.tier else None
    if rule.tier and not isinstance(tier, str):
        raise RequestUnreadable(f"{rule.tier} is missing, or no text")
    desk.demand(rule.right, tier)
    for name, right in rule.also.items():
        if given.get(name) is not None:
            desk.demand(right)
    for name, reason in rule.withheld.items():
        if given.get(name) is not None:
            raise CommandStaysHere(f"{command.path} --{name.replace('_', '-')}", reason)


def _answer(desk: Desk, command: Command, given: Mapping[str, Any], form: str) -> Response:
    visit = desk.premises.app(desk.principal.name, as_json=form == "json")
    try:
        with _place():
            done = perform(command, given, visit)
    except RequestUnreadable as refusal:
        return problem_json(desk.request, refusal)
    said = {
        "command": command.path, "exit_code": done.exit_code, "document": done.document, "preface": done.preface,
        "text": done.text, "notes": done.notes, "files": done.files,
    }  # fmt: skip
    if done.refusal is not None:
        return _refused(desk, done, done.refusal, said)
    if done.usage is not None:
        return _not_understood(desk, command, done, said)
    return _json(said, 200)


@contextmanager
def _place() -> Iterator[None]:
    """Wait for one's turn. Raises `TooMany`."""
    busy = "too many commands are at work at this moment"
    if not _queue.acquire(blocking=False):
        raise TooMany(busy, wait=5)
    try:
        if not _places.acquire(timeout=_PATIENCE):
            raise TooMany(busy, wait=5)
        try:
            yield
        finally:
            _places.release()
    finally:
        _queue.release()


def _refused(desk: Desk, done: Done, refusal: OperatorError, said: Mapping[str, Any]) -> Response:
    status = status_of(refusal)
    problem = document(refusal, status, instance=desk.request.url.path) | {"detail": done.message}
    answer = _json({**said, **problem}, status, "application/problem+json")
    answer.headers.update(headers_of(refusal))
    return answer


def _not_understood(desk: Desk, command: Command, done: Done, said: Mapping[str, Any]) -> Response:
    """Exit code 2: a command line that cannot be meant."""
    problem = {
        "type": "tag:tidegate,2026:refusal:Usage",
        "title": "Usage",
        "status": 400,
        "detail": done.message,
        "instance": desk.request.url.path,
        "exit_code": done.exit_code,
        "next_step": f"See `tidegate {command.path} --help`.",
        "usage": done.usage,
    }
    return _json({**said, **problem}, 400, "application/problem+json")


def _json(content: Mapping[str, Any], status: int, kind: str = "application/json") -> Response:
    return Response(json.dumps(content, ensure_ascii=False, allow_nan=False), status, media_type=kind)


doors = make()
