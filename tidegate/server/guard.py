"""Default deny: every endpoint names the right that it demands, and is entered only by who has it.

A router of this module does not take an endpoint without a right, so that nobody can forget one. The caller is
identified first (`accounts.identify`), then the right is looked up, then the endpoint runs; what it refuses is
answered in its protocol's own words.
"""

from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from fastapi import APIRouter
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message

from registry.access import Principal, Right
from signing.errors import OperatorError
from tidegate.afar_refusals import RequestTooLarge
from tidegate.errors import NotAllowed, NotSignedIn, RequestUnreadable
from tidegate.server.accounts.denials import Denial
from tidegate.server.accounts.identify import anonymous, identify
from tidegate.server.accounts.origins import (
    SAFE,
    TOKEN_FIELD,
    TOKEN_HEADER,
    address_of,
    demand_our_name,
    demand_our_page,
    demand_token,
)
from tidegate.server.accounts.refusals import RequestForeign
from tidegate.server.premises import Premises
from tidegate.wiring import App

if TYPE_CHECKING:
    from pipelines.workplace import Workplace
    from registry.entities import DoorSession
    from registry.views import View

Answerer = Callable[[Request, OperatorError], Response]
Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])
_RIGHT = "__tidegate_right__"
_SEND = "change something from that page"
_PATH = 200  # characters of an address that a denial keeps
_FORMS = ("application/x-www-form-urlencoded", "multipart/form-data")
_FIELDS, _FILES = 1000, 8  # of a form
_OPEN_BODY = (
    128 << 10
)  # bytes that are read from whoever shows nothing: what a browser hands over has three parts of 24 KiB


class Desk:
    """What an endpoint works with: who asks, and the home as they see it."""

    def __init__(
        self,
        request: Request,
        premises: Premises,
        principal: Principal,
        session: "DoorSession | None" = None,
    ) -> None:
        self.request, self.premises, self.principal = request, premises, principal
        self.session = session  # the browser's; None for programs

    @cached_property
    def app(self) -> App:
        """Their world: the home, with their name as the actor, at this moment."""
        return self.premises.app(self.principal.name)

    @property
    def work(self) -> "Workplace":
        """What pipelines work with."""
        return self.app.work

    @contextmanager
    def view(self) -> Iterator["View"]:
        """A consistent look at the state. Never held while bytes are sent."""
        with self.premises.store.view() as view:
            yield view

    def may(self, right: Right, tier: str | None = None) -> bool:
        """Whether who asks may."""
        return self.principal.may(right, tier)

    def demand(self, right: Right, tier: str | None = None) -> None:
        """Refuse, and record that, unless who asks may.

        Raises:
            NotSignedIn: nobody has shown who they are.
            NotAllowed: they are known and may not.
        """
        if not self.may(right, tier):
            self.refuse(right, tier)

    def refuse(self, right: Right, tier: str | None = None) -> NoReturn:
        """Record a denial and raise it."""
        self.record_denial(str(right), tier)
        if self.principal.known:
            raise NotAllowed(self.principal.name, str(right), tier)
        raise NotSignedIn(str(right))

    def record_denial(self, right: str, tier: str | None = None, **more: Any) -> None:
        """Say in the log that something was asked for and denied; alike ones of a minute stand in one event.

        Args:
            right: what it took.
            more: further facts for the note; also what tells one kind of denial from another.
        """
        request, known = self.request, self.principal.known
        path = request.url.path[:_PATH]
        route = str(getattr(request.scope.get("route"), "path", path))
        address = address_of(request)
        facts = {"method": request.method, "path": path, "right": str(right), "tier": tier, **more}
        kind = (self.principal.name if known else address, route, right, tier or "", *map(str, more.values()))
        note = {**facts, "how": self.principal.how, "address": address}
        now = self.premises.clock()
        self.premises.denials.add(Denial(self.principal.name, route, known, kind, note), now)


def needs(right: Right) -> Callable[[Endpoint], Endpoint]:
    """Name the right that an endpoint demands; where it is about one tier, the endpoint demands it for that tier too."""

    def mark(endpoint: Endpoint) -> Endpoint:
        setattr(endpoint, _RIGHT, right)
        return endpoint

    return mark


def right_of(endpoint: Callable[..., Any]) -> Right:
    """The right that an endpoint demands."""
    found = getattr(endpoint, _RIGHT, None)
    if found is None:  # a bug of ours, found when the application is built
        raise AssertionError(f"{endpoint!r} names no right: put @needs(Right.…) on it")
    return Right(found)


def at_desk(request: Request) -> Desk:
    """The desk of this request, for `Depends`."""
    desk = request.state.desk
    assert isinstance(desk, Desk), "set before every endpoint"
    return desk


def router(answer: Answerer, **options: Any) -> APIRouter:
    """A router whose endpoints are guarded, and whose refusals `answer` puts into its protocol's words."""

    class Guarded(_Guarded):
        def answer(self, request: Request, refusal: OperatorError) -> Response:
            return answer(request, refusal)

    return APIRouter(route_class=Guarded, **options)


class _Guarded(APIRoute):
    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        self.right = right_of(endpoint)
        super().__init__(path, endpoint, **options)

    def answer(self, request: Request, refusal: OperatorError) -> Response:
        raise NotImplementedError

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def guarded(request: Request) -> Response:
            request = _bounded(request, self.right)
            try:
                desk = await run_in_threadpool(_enter, request, self.right)
                # What is open to everybody does nothing in anybody's name: a form from before signing in is fine.
                if desk.session is not None and request.method not in SAFE and self.right is not Right.OPEN:
                    sent = await _token_sent(request)
                    await run_in_threadpool(_demand_token, desk, sent)
                if self.body_field is not None and _is_form(request):
                    await _form(request)  # the framework finds it read, and has no refusal of ours to swallow
                return await handle(request)
            except OperatorError as refusal:
                return self.answer(request, refusal)
            except RequestValidationError as wrong:
                return self.answer(request, RequestUnreadable(_where(wrong)))

        return guarded


def _enter(request: Request, right: Right) -> Desk:
    """Identify who asks, and let them in if they have the right in any tier at all."""
    premises: Premises = request.app.state.premises
    with _as_denial(Desk(request, premises, anonymous(premises)), "be asked by another name"):
        demand_our_name(request, premises.settings)
    premises.denials.settle(premises.clock())
    caller = identify(request, premises)
    desk = Desk(request, premises, caller.principal, caller.session)
    request.state.desk, request.state.csrf = desk, "" if caller.session is None else caller.session.csrf
    if caller.problem is not None and right is not Right.OPEN:
        desk.record_denial(str(right))
        raise caller.problem
    if not desk.principal.may_somewhere(right):
        desk.refuse(right)
    if request.method not in SAFE:
        with _as_denial(desk, _SEND):
            demand_our_page(request, premises.settings, said=caller.session is not None)
    return desk


def _bounded(request: Request, right: Right) -> Request:
    """The same request, its body cut off where it is too long: a form that nobody bounds would fill memory and disk.

    Raises, where the body is read: `RequestTooLarge`.
    """
    premises: Premises = request.app.state.premises
    most = _OPEN_BODY if right is Right.OPEN else premises.settings.limits.body_bytes
    left = most

    async def receive() -> Message:
        nonlocal left
        message = await request.receive()
        left -= len(message.get("body", b""))
        if left < 0:
            raise RequestTooLarge(most)
        return message

    return Request(request.scope, receive)


def _is_form(request: Request) -> bool:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower() in _FORMS


async def _form(request: Request) -> FormData:
    """The form; it is read once. Raises `RequestTooLarge`, `RequestUnreadable`."""
    try:
        return await request.form(max_files=_FILES, max_fields=_FIELDS)
    except UnicodeError as exc:
        raise RequestUnreadable("the form is not in the charset that it names") from exc


async def _token_sent(request: Request) -> str | None:
    """The session's token as a form or a script sends it."""
    sent = request.headers.get(TOKEN_HEADER)
    if sent is None and _is_form(request):
        field = (await _form(request)).get(TOKEN_FIELD)
        sent = field if isinstance(field, str) else None
    return sent


def _demand_token(desk: Desk, sent: str | None) -> None:
    assert desk.session is not None, "asked before"
    with _as_denial(desk, _SEND):
        demand_token(sent, desk.session.csrf)


@contextmanager
def _as_denial(desk: Desk, right: str) -> Iterator[None]:
    try:
        yield
    except RequestForeign:
        desk.record_denial(right)
        raise


def _where(wrong: RequestValidationError) -> str:
    problems = (
        f"{'.'.join(str(part) for part in problem.get('loc', ()))}: {problem.get('msg', 'is wrong')}"
        for problem in wrong.errors()[:8]
    )
    return "; ".join(problems) or "cannot be read"
