"""`/account/all`: accounts and tokens, for administrators. What the command line does at the machine, on pages.

An administrator says who may put forms in. None of it makes an approval count, and nobody changes what they may do
themselves (`registry.accounts`). Passwords are never an administrator's: a one-time code lets people choose their own.
"""

from typing import Annotated, Any

from fastapi import Depends, Form
from starlette.responses import Response

from registry.access import Right, parse_grants
from registry.accounts import OwnAccountKept
from registry.entities import Account
from registry.errors import NotFound
from signing.errors import OperatorError
from signing.times import rfc3339
from tidegate.server.accounts import first
from tidegate.server.accounts.keeping import end_account
from tidegate.server.accounts.limits import locked_for, unlock
from tidegate.server.accounts.own import accounts_of, in_person, lately, number_of, refused_here, wanted
from tidegate.server.guard import Desk, at_desk, needs
from tidegate.server.pages.look import fresh, page, pages

doors = pages("/account/all")

At = Annotated[Desk, Depends(at_desk)]
Text = Annotated[str, Form(max_length=2000)]


@doors.get("")
@needs(Right.ADMINISTER)
def everybody(desk: At) -> Response:
    """Every account."""
    return _list(desk)


@doors.post("")
@needs(Right.ADMINISTER)
def add(desk: At, name: Text = "", grants: Text = "", program: Text = "") -> Response:
    """Make an account, with a one-time code unless it is a program's."""
    lately(desk)
    try:
        row = accounts_of(desk).add(name.strip(), parse_grants(grants))
    except OperatorError as refusal:
        return refused_here(_list(desk, problem=refusal), refusal)
    return (
        fresh(f"/account/all/{row.name}") if program else _one(desk, row.name, code=_new_code(desk, row.name))
    )


@doors.get("/{name}")
@needs(Right.ADMINISTER)
def one(desk: At, name: str) -> Response:
    """One account: what it may do, its tokens, whether it is locked."""
    return _one(desk, name)


@doors.post("/{name}/grants")
@needs(Right.ADMINISTER)
def change_grants(desk: At, name: str, grants: Text = "", revoke: Text = "") -> Response:
    """Let an account do more, or less."""
    in_person(desk) if revoke else lately(desk)
    accounts = accounts_of(desk)
    try:
        (accounts.revoke if revoke else accounts.grant)(name, parse_grants(revoke or grants))
    except OperatorError as refusal:
        return refused_here(_one(desk, name, problem=refusal), refusal)
    return fresh(f"/account/all/{name}")


@doors.post("/{name}/code")
@needs(Right.ADMINISTER)
def give_code(desk: At, name: str) -> Response:
    """Make a one-time code; the password of now goes on until the code is used."""
    if lately(desk).account == name:  # a screen left open would become a way in for good
        raise OwnAccountKept(name)
    return _one(desk, name, code=_new_code(desk, name))


@doors.post("/{name}/unlock")
@needs(Right.ADMINISTER)
def open_lock(desk: At, name: str) -> Response:
    """Forgive an account's failed tries."""
    in_person(desk)
    accounts_of(desk).note(name, "unlocked")
    unlock(desk.premises, name)
    return fresh(f"/account/all/{name}")


@doors.post("/{name}/deactivate")
@needs(Right.ADMINISTER)
def deactivate(desk: At, name: str) -> Response:
    """End an account, its tokens and sessions."""
    in_person(desk)
    end_account(accounts_of(desk), desk.premises.doors, name)
    return fresh("/account/all")


@doors.post("/{name}/tokens")
@needs(Right.ADMINISTER)
def make_token(
    desk: At, name: str, label: Text = "", grants: Text = "", tier: Text = "", days: Text = "90"
) -> Response:
    """Make a token for a program."""
    lately(desk)
    try:
        made = accounts_of(desk).new_token(name, label.strip(), wanted(grants, tier), days=number_of(days))
    except OperatorError as refusal:
        return refused_here(_one(desk, name, problem=refusal), refusal)
    return _one(desk, name, token=bytes(made.secret).decode(), token_name=made.row.name)


@doors.post("/{name}/tokens/revoke")
@needs(Right.ADMINISTER)
def revoke_token(
    desk: At, name: str, token: Annotated[str, Form(alias="name", max_length=200)] = ""
) -> Response:
    """End an account's token."""
    in_person(desk)
    accounts_of(desk).revoke_token(token, of=name)
    return fresh(f"/account/all/{name}")


def _new_code(desk: Desk, name: str) -> str:
    accounts_of(desk).note(name, "one-time code made")
    return bytes(first.new_code(desk.premises.doors, name, desk.premises.clock())).decode()


def _list(desk: Desk, **facts: Any) -> Response:
    with desk.view() as view:
        rows, acting = view.accounts(), {row.name for row in view.people() if row.active}
        tokens = [row.account for row in view.access_tokens() if row.active]
    shown = [(row, row.name in acting, tokens.count(row.name)) for row in rows]
    return page(desk, "account/all.html", **({"problem": None, "rows": shown} | facts))


def _one(desk: Desk, name: str, **facts: Any) -> Response:
    row = _account(desk, name)
    with desk.view() as view:
        tokens = [token for token in view.access_tokens(name) if token.active]
        person = next((one for one in view.people() if one.name == name and one.active), None)
    doors_ = desk.premises.doors
    shown = {
        "problem": None,
        "code": "",
        "token": "",
        "token_name": "",
        "row": row,
        "held": sorted(parse_grants(row.grants)),
        "person": person,
        "tokens": tokens,
        "uses": doors_.last_uses(),
        "signed_in": len(doors_.sessions(name)),
        "locked": -(-locked_for(desk.premises, name) // 60),
        "own": name == desk.principal.name,
        "now": rfc3339(desk.premises.clock()),
        "first_days": first.DAYS,
        **facts,
    }
    return page(desk, "account/one.html", **shown)


def _account(desk: Desk, name: str) -> Account:
    with desk.view() as view:
        found = view.account(name)
    if found is None:
        raise NotFound("account", name)
    return found
