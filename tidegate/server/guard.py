"""Default deny: every endpoint names the right that it demands, and is entered only by who has it.

A router of this module does not take an endpoint without a right, so that nobody can forget one. The caller is
identified first (`accounts.identify`), then the right is looked up, then the endpoint runs; what it refuses is
answered in its protocol's own words.
"""

from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from fastapi import APIRouter
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from registry.access import Principal, Right, tiers_of
from signing.errors import OperatorError
from tidegate.errors import NotAllowed, NotSignedIn, RequestUnreadable
from tidegate.server.premises import Premises
from tidegate.wiring import App

if TYPE_CHECKING:
    from pipelines.workplace import Workplace
    from registry.views import View

Answerer = Callable[[Request, OperatorError], Response]
Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])
_RIGHT = "__tidegate_right__"


class Desk:
    """What an endpoint works with: who asks, and the home as they see it."""

    def __init__(self, request: Request, premises: Premises, principal: Principal) -> None:
        self.request, self.premises, self.principal = request, premises, principal

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

    def refuse(self, right: Right, tier: str | None = None) -> None:
        """Record a denial and raise it."""
        from tidegate.server.accounts.denials import record_denial

        record_denial(self, right, tier)
        if self.principal.known:
            raise NotAllowed(self.principal.name, str(right), tier)
        raise NotSignedIn(str(right))


def needs(right: Right) -> Callable[[Endpoint], Endpoint]:
    """Name the right that an endpoint demands; where it is about one tier, the endpoint demands it for that tier too."""

    def mark(endpoint: Endpoint) -> Endpoint:
        setattr(endpoint, _RIGHT, right)
        return endpoint

    return mark


def right_of(endpoint: Callable[..., Any]) -> Right:
    """The right that an endpoint demands."""
    found = getattr(endpoint, _RIGHT, None)
    assert isinstance(found, Right), f"{endpoint!r} names no right: put @needs(Right.…) on it"
    return found


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
            try:
                request.state.desk = await run_in_threadpool(_enter, request, self.right)
                return await handle(request)
            except OperatorError as refusal:
                return self.answer(request, refusal)
            except RequestValidationError as wrong:
                return self.answer(request, RequestUnreadable(_where(wrong)))

        return guarded


def _enter(request: Request, right: Right) -> Desk:
    """Identify who asks, and let them in if they have the right in any tier at all."""
    from tidegate.server.accounts.identify import identify

    premises: Premises = request.app.state.premises
    desk = Desk(request, premises, identify(request, premises))
    if not (desk.may(right) or tiers_of(desk.principal.grants, right)):
        desk.refuse(right)
    return desk


def _where(wrong: RequestValidationError) -> str:
    problems = (
        f"{'.'.join(str(part) for part in problem.get('loc', ()))}: {problem.get('msg', 'is wrong')}"
        for problem in wrong.errors()[:8]
    )
    return "; ".join(problems) or "cannot be read"
