"""`/sign-in/oidc`: away to the identity provider, and back."""

from typing import Annotated
from urllib.parse import urlsplit

from fastapi import Depends, Form
from starlette.requests import Request
from starlette.responses import Response

from registry.access import Right
from tidegate.server.accounts import oidc, sessions
from tidegate.server.accounts.origins import address_of, demand_our_page, demand_private, safe_path
from tidegate.server.accounts.passkey_refusals import IdentityRefused
from tidegate.server.accounts.passkeys import LIFE
from tidegate.server.accounts.vouching import vouched
from tidegate.server.guard import Desk, at_desk, needs
from tidegate.server.pages.look import fresh, page, pages

doors = pages()

At = Annotated[Desk, Depends(at_desk)]
Text = Annotated[str, Form(max_length=2000)]
COOKIE = "__Host-tidegate-oidc"  # ties the answer to the browser that asked
_LONGEST = 128  # characters of it that are looked at


@doors.post("/sign-in/oidc")
@needs(Right.OPEN)
def leave(desk: At, next: Text = "/") -> Response:  # noqa: A002 - the field's name
    """Send the browser to the provider. A form and no link: no page elsewhere begins a sign-in here."""
    demand_private(desk.request)
    demand_our_page(desk.request, desk.premises.settings, said=True)
    desk.premises.strangers_pace.demand(address_of(desk.request))
    going = oidc.leave(desk.premises, _origin(desk), safe_path(next))
    host = urlsplit(going.address).hostname
    answer = page(desk, "account/leaving.html", address=going.address, host=host)
    answer.set_cookie(
        COOKIE, going.cookie, max_age=int(LIFE.total_seconds()), path="/", secure=True, httponly=True, samesite="lax"
    )  # fmt: skip
    return answer


@doors.get(oidc.BACK)
@needs(Right.OPEN)
def come_back(desk: At, request: Request) -> Response:
    """Sign in whom the provider named."""
    demand_private(request)
    cookie = request.cookies.get(COOKIE, "")[:_LONGEST]
    said = {name: request.query_params.getlist(name)[0] for name in request.query_params}
    try:
        person, going = oidc.come_back(desk.premises, _origin(desk), said, cookie)
        roles = desk.premises.settings.oidc.roles if desk.premises.settings.oidc else {}
        grants = vouched(desk.premises, person.name, person.groups, roles)
    except IdentityRefused as refusal:
        desk.record_denial("sign in", why=str(refusal)[:100])
        raise
    answer = fresh(safe_path(going))
    sessions.begin(request, desk.premises, answer, person.name, how="oidc", grants=grants)
    answer.delete_cookie(COOKIE, path="/", secure=True, httponly=True, samesite="lax")
    return answer


def _origin(desk: Desk) -> str:
    """This site, as the provider knows it."""
    settings = desk.premises.settings
    own = f"{desk.request.url.scheme}://{desk.request.headers.get('host', '')}"
    return (settings.public_url or own).rstrip("/")
