"""`/sign-in` and `/sign-out`: a name and a password, or a one-time code and the password that it lets one choose.

A refusal says neither whether there is such an account nor whether its password was right: an unknown name costs the
same work, is counted and locked the same way, and is recorded the same way.
"""

from typing import Annotated, Any

from fastapi import Depends, Form
from starlette.responses import Response

from registry.access import Right
from registry.accounts import Accounts
from signing.digests import sha256_hex
from signing.errors import OperatorError
from signing.hidden import Hidden
from tidegate.server.accounts import first, sessions
from tidegate.server.accounts.keeping import knows_password, set_password
from tidegate.server.accounts.limits import count_try
from tidegate.server.accounts.origins import address_of, demand_our_page, demand_private, safe_path
from tidegate.server.accounts.passwords import demand_good
from tidegate.server.accounts.refusals import (
    PasswordUnusable,
    RequestForeign,
    SignInInTheClear,
    SignInRefused,
    TooMany,
)
from tidegate.server.guard import Desk, at_desk, needs
from tidegate.server.pages.look import fresh, page, pages
from tidegate.server.problems import page_headers_of, status_of

doors = pages()

At = Annotated[Desk, Depends(at_desk)]
Text = Annotated[str, Form(max_length=2000)]
_NOT = (PasswordUnusable, RequestForeign, SignInInTheClear, SignInRefused, TooMany)


@doors.get("/sign-in")
@needs(Right.OPEN)
def sign_in_page(desk: At, next: str = "/") -> Response:  # noqa: A002 - the name of the parameter
    """The form."""
    if desk.principal.known:
        return fresh(safe_path(next))
    return _form(desk, "account/sign_in.html", next=safe_path(next))


@doors.post("/sign-in")
@needs(Right.OPEN)
def sign_in(desk: At, name: Text = "", password: Text = "", next: Text = "/") -> Response:  # noqa: A002
    """Sign in with a name and a password."""
    typed, secret = name.strip(), Hidden(password.encode(errors="replace"))
    try:
        _demand_sound(desk)
        _check(desk, typed, secret)
        answer = fresh(safe_path(next))
        sessions.begin(desk.request, desk.premises, answer, typed, how="password")
    except _NOT as refusal:
        return _again(desk, "account/sign_in.html", refusal, next=safe_path(next), name=typed[:64])
    return answer


def _check(desk: Desk, name: str, password: Hidden) -> None:
    """Raise `SignInRefused` or `TooMany` unless it is the account's password."""
    with desk.view() as view:
        account = view.account(name)
    named = name if account is not None else None
    try:
        tried = count_try(desk.premises, name, address_of(desk.request))
    except TooMany:
        _denied(desk, named, "too many tries")
        raise
    known = account is not None and account.active
    if not knows_password(desk.premises.doors, name, password, active=known):
        _denied(desk, named, "wrong name or password", typed=name)
        raise SignInRefused("no account has this name and this password")
    tried.right()


def _denied(desk: Desk, account: str | None, why: str, *, typed: str = "") -> None:
    """Record it. What is no account's name stays out of the log: people type passwords into the wrong field."""
    desk.record_denial(
        "sign in", kind=sha256_hex((typed or account or "").encode()), why=why, account=account
    )


@doors.get("/sign-in/first")
@needs(Right.OPEN)
def first_page(desk: At) -> Response:
    """The form in which somebody with a one-time code chooses a password."""
    return _form(desk, "account/first.html")


@doors.post("/sign-in/first")
@needs(Right.OPEN)
def first_sign_in(desk: At, code: Text = "", password: Text = "", again: Text = "") -> Response:
    """Choose a password with a one-time code, and be signed in."""
    try:
        _demand_sound(desk)
        account = _choose(desk, code, Hidden(password.encode(errors="replace")), same=password == again)
        answer = fresh("/")
        sessions.begin(desk.request, desk.premises, answer, account, how="password")
    except _NOT as refusal:
        return _again(desk, "account/first.html", refusal)
    return answer


def _choose(desk: Desk, code: str, password: Hidden, *, same: bool) -> str:
    """Return the account whose password was set. A code is used up by that alone, not by a password that is too short."""
    doors_, now = desk.premises.doors, desk.premises.clock()
    tried = count_try(desk.premises, f"code {sha256_hex(code.encode())}", address_of(desk.request))
    account = first.account_of(doors_, code, now)
    if account is None:
        _denied(desk, None, "wrong code")
        raise SignInRefused("this code is not good: it was used, it ended, or a newer one was made")
    tried.right()
    if not same:
        raise PasswordUnusable("the two passwords are not the same")
    demand_good(password, account)
    if not first.take_code(doors_, code):
        raise SignInRefused("this code was used at this moment")
    set_password(
        Accounts(desk.premises.store, actor=account, now=now, at_machine=False),
        doors_,
        account,
        password,
        now=now,
    )
    return account


@doors.post("/sign-out")
@needs(Right.OPEN)
def sign_out(desk: At) -> Response:
    """End this browser's session."""
    answer = fresh("/sign-in")
    sessions.end(desk.request, desk.premises, answer)
    return answer


def _demand_sound(desk: Desk) -> None:
    """Where a password is typed: a form of ours, over a line that nobody reads along."""
    demand_private(desk.request)
    try:
        demand_our_page(desk.request, desk.premises.settings, said=True)
    except RequestForeign:
        desk.record_denial("sign in from that page")
        raise


def _form(desk: Desk, template: str, **facts: Any) -> Response:
    clear = None
    try:
        demand_private(desk.request)
    except SignInInTheClear as refusal:
        clear = refusal
    settings = desk.premises.settings
    shown = {"problem": clear, "name": "", "next": "/", "oidc": settings.oidc is not None, **facts}
    return page(desk, template, **shown)


def _again(desk: Desk, template: str, refusal: OperatorError, **facts: Any) -> Response:
    answer = _form(desk, template, **(facts | {"problem": refusal}))
    answer.status_code = status_of(refusal)
    answer.headers.update(page_headers_of(refusal))
    return answer
