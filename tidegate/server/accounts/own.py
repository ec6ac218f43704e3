"""`/account`: what is one's own. Where one is signed in, the password, and tokens for programs.

Behind a browser's session alone: a token that could make tokens, or sign its owner out, would outlive being revoked.
"""

from typing import Annotated, Any

from fastapi import Depends, Form
from starlette.responses import Response

from registry.access import Grant, Right, parse_grants
from registry.accounts import Accounts, in_tier
from registry.entities import DoorSession
from registry.errors import NotFound
from signing.errors import OperatorError
from signing.hidden import Hidden
from signing.times import rfc3339
from tidegate.errors import NotAllowed
from tidegate.server.accounts import sessions
from tidegate.server.accounts.keeping import knows_password, set_password
from tidegate.server.accounts.limits import count_try
from tidegate.server.accounts.origins import address_of
from tidegate.server.accounts.refusals import PasswordUnusable, SignInRefused
from tidegate.server.guard import Desk, at_desk, needs
from tidegate.server.pages.look import fresh, page, pages
from tidegate.server.problems import page_headers_of, status_of

doors = pages()

At = Annotated[Desk, Depends(at_desk)]
Text = Annotated[str, Form(max_length=2000)]
_IN_PERSON = "do this with a token"
_WORDS = 12  # hex digits of a session's name that a form carries


@doors.get("/account")
@needs(Right.OWN)
def account_page(desk: At) -> Response:
    """What is one's own."""
    return _page(desk)


@doors.post("/account/password")
@needs(Right.OWN)
def change_password(desk: At, current: Text = "", password: Text = "", again: Text = "") -> Response:
    """Change the password: who sits down at a screen that was left open does not know the one of now."""
    session = in_person(desk)
    doors_, name, now = desk.premises.doors, desk.principal.name, desk.premises.clock()
    try:
        tried = count_try(desk.premises, name, address_of(desk.request))
        if not knows_password(doors_, name, Hidden(current.encode(errors="replace")), active=True):
            desk.record_denial("change the password")
            raise SignInRefused("the password of now is another one")
        tried.right()
        if password != again:
            raise PasswordUnusable("the two new passwords are not the same")
        chosen = Hidden(password.encode(errors="replace"))
        set_password(accounts_of(desk), doors_, name, chosen, now=now, keep=session.id)
    except OperatorError as refusal:
        return refused_here(_page(desk, problem=refusal), refusal)
    return _page(desk, said="The password is changed. Every other browser was signed out.")


@doors.post("/account/sessions/end")
@needs(Right.OWN)
def end_session(desk: At, session: Text = "") -> Response:
    """Sign out in one other browser, or, naming none, everywhere."""
    own, doors_ = in_person(desk), desk.premises.doors
    if not session:
        answer = fresh("/sign-in")
        doors_.end_sessions(own.account)
        sessions.end(desk.request, desk.premises, answer)
        return answer
    for row in doors_.sessions(own.account):
        if row.id[:_WORDS] == session:
            doors_.take(DoorSession, row.id)
            return fresh("/account")
    raise NotFound("session", session[:_WORDS])


@doors.post("/account/tokens")
@needs(Right.OWN)
def make_token(desk: At, label: Text = "", grants: Text = "", tier: Text = "", days: Text = "90") -> Response:
    """Make a token for a program that acts for who asks."""
    lately(desk)
    try:
        made = accounts_of(desk).new_token(
            desk.principal.name, label.strip(), wanted(grants, tier), days=number_of(days)
        )
    except OperatorError as refusal:
        return refused_here(_page(desk, problem=refusal), refusal)
    return _page(desk, token=bytes(made.secret).decode(), token_name=made.row.name)


@doors.post("/account/tokens/revoke")
@needs(Right.OWN)
def revoke_own_token(desk: At, name: Text = "") -> Response:
    """End a token of one's own."""
    in_person(desk)
    accounts_of(desk).revoke_token(name, of=desk.principal.name)
    return fresh("/account")


def in_person(desk: Desk) -> DoorSession:
    """The browser's session. Raises `NotAllowed` for programs."""
    if desk.session is None:
        desk.record_denial(_IN_PERSON)
        raise NotAllowed(desk.principal.name, _IN_PERSON)
    return desk.session


def lately(desk: Desk) -> DoorSession:
    """The browser's session, of who signed in lately. Raises `NotAllowed`, `SignInTooOld`."""
    session = in_person(desk)
    sessions.demand_recent(session, desk.premises.clock())
    return session


def accounts_of(desk: Desk) -> Accounts:
    """The accounts, as somebody changes them who came in by a door."""
    return Accounts(
        desk.premises.store, actor=desk.principal.name, now=desk.premises.clock(), at_machine=False
    )


def wanted(grants: str, tier: str) -> frozenset[Grant]:
    """Grants as a form says them."""
    return in_tier(parse_grants(grants), tier.strip() or None)


def number_of(text: str) -> int:
    """A number of days as a form says it; what is none is refused as 0 days are."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 6 else 0


def refused_here(answer: Response, refusal: OperatorError) -> Response:
    """The page again, with what was wrong on it, under the refusal's status."""
    answer.status_code = status_of(refusal)
    answer.headers.update(page_headers_of(refusal))
    return answer


def _page(desk: Desk, **facts: Any) -> Response:
    name, doors_ = desk.principal.name, desk.premises.doors
    with desk.view() as view:
        tokens = [row for row in view.access_tokens(name) if row.active]
        person = next((row for row in view.people() if row.name == name and row.active), None)
    own = "" if desk.session is None else desk.session.id
    shown = {
        "problem": None,
        "said": "",
        "token": "",
        "token_name": "",
        "tokens": tokens,
        "uses": doors_.last_uses(),
        "now": rfc3339(desk.premises.clock()),
        "sessions": [(row, row.id[:_WORDS], row.id == own) for row in doors_.sessions(name)],
        "person": person,
        "browser": desk.session is not None,
        **facts,
    }
    return page(desk, "account/own.html", **shown)
