"""`/account/passkeys`, `/sign-in/passkey` and `/sign`: what `static/passkey.js` and the account's page talk to.

The script sends forms and gets JSON, refusals too (RFC 9457). Without scripts nobody uses a passkey; reading, renaming
and removing work.
"""

from typing import Annotated, Any

from fastapi import Depends, Form
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from registry.access import Right
from registry.passkeys import Passkeys
from tidegate.errors import RequestUnreadable
from tidegate.server.accounts import passkeys, sessions, signatures
from tidegate.server.accounts.limits import count_try
from tidegate.server.accounts.origins import address_of, demand_our_page, demand_private, safe_path
from tidegate.server.accounts.passkey_refusals import PasskeyRefused, PasskeysNeedAName
from tidegate.server.guard import Desk, at_desk, needs, router
from tidegate.server.pages.look import HEADERS, fresh, page, pages
from tidegate.server.problems import problem_json

doors = pages()
answers = router(problem_json, include_in_schema=False)

At = Annotated[Desk, Depends(at_desk)]
Word = Annotated[str, Form(max_length=2000)]
Long = Annotated[str, Form(max_length=24 << 10)]  # what a browser hands over
_PAGE = "/account/passkeys"
_BY_THE_PROXY = ("fronted", "certificate")  # signed in by it, in this browser
_FIELD, _FIELDS = 16 << 10, 32  # characters of a form's field, and how many there are


def _answer(
    credential: Word, authenticator_data: Long, client_data: Long, signature: Word
) -> passkeys.Answer:
    return passkeys.Answer(credential, authenticator_data, client_data, signature)


Answered = Annotated[passkeys.Answer, Depends(_answer)]


# -- one's own passkeys -----------------------------------------------------------------------------------


@doors.get(_PAGE)
@needs(Right.OWN)
def own_page(desk: At) -> Response:
    """Every passkey of whoever asks, with its OpenSSH line and the way among the people."""
    nameless = None
    try:
        passkeys.site_of(desk.request, desk.premises.settings)
    except PasskeysNeedAName as refusal:
        nameless = refusal
    with desk.view() as view:
        rows = [row for row in view.passkeys(desk.principal.name) if row.active]
        person = next(iter(view.person_history(desk.principal.name)[-1:]), None)
    own = signatures.passkey_of(desk)
    signs = None if own is None else own.credential
    return page(desk, "account/passkeys.html", rows=rows, signs=signs, person=person, problem=nameless)


@doors.post(f"{_PAGE}/rename")
@needs(Right.OWN)
def rename(desk: At, credential: Word, title: Word) -> Response:
    """Call one something else."""
    _own(desk).rename(credential, title)
    return fresh(_PAGE)


@doors.post(f"{_PAGE}/remove")
@needs(Right.OWN)
def remove(desk: At, credential: Word) -> Response:
    """Nobody signs in with it from now on."""
    _own(desk).remove(credential)
    return fresh(_PAGE)


def _own(desk: Desk) -> Passkeys:
    return Passkeys(desk.premises.store, desk.principal.name, desk.premises.clock())


@answers.post(f"{_PAGE}/new")
@needs(Right.OWN)
def ask_new(desk: At) -> Response:
    """What the browser is to make."""
    _demand_person(desk)
    if desk.session is not None:
        sessions.demand_recent(desk.session, desk.premises.clock())
    site = passkeys.site_of(desk.request, desk.premises.settings)
    return _json(passkeys.ask_new(desk.premises, site, desk.principal.name))


@answers.post(_PAGE)
@needs(Right.OWN)
def keep_new(desk: At, id: Word, answer: Long, title: Word) -> Response:  # noqa: A002 - the field's name
    """Keep what the browser made."""
    _demand_person(desk)
    site = passkeys.site_of(desk.request, desk.premises.settings)
    row = passkeys.keep_new(desk.premises, site, desk.principal.name, id, answer, title)
    return _json({"said": f"{row.title} is kept.", "next": _PAGE})


def _demand_person(desk: Desk) -> None:
    """A token that leaked must not turn into a way in that outlives it: a person sits before a page of ours."""
    if desk.session is None and desk.principal.how not in _BY_THE_PROXY:
        raise PasskeyRefused("passkeys are for who signed in in this browser")
    demand_our_page(desk.request, desk.premises.settings, said=True)


# -- signing in -------------------------------------------------------------------------------------------


@answers.post("/sign-in/passkey/new")
@needs(Right.OPEN)
def ask_sign_in(desk: At) -> Response:
    """What the browser is to sign."""
    demand_private(desk.request)
    desk.premises.strangers_pace.demand(address_of(desk.request))
    return _json(passkeys.ask_sign_in(desk.premises, passkeys.site_of(desk.request, desk.premises.settings)))


@answers.post("/sign-in/passkey")
@needs(Right.OPEN)
def sign_in(desk: At, id: Word, answered: Answered, next: Word = "/") -> Response:  # noqa: A002
    """Sign in whose passkey it is."""
    demand_private(desk.request)
    demand_our_page(desk.request, desk.premises.settings, said=True)
    tried = count_try(desk.premises, f"passkey {answered.credential}", address_of(desk.request))
    try:
        site = passkeys.site_of(desk.request, desk.premises.settings)
        account = passkeys.who_signed_in(desk.premises, site, id, answered)
    except PasskeyRefused as refusal:
        desk.record_denial("sign in", why=refusal.args[0][:100])
        raise
    tried.right()
    answer = _json({"said": f"Signed in as {account}.", "next": safe_path(next)})
    sessions.begin(desk.request, desk.premises, answer, account, how="passkey")
    return answer


# -- signing what people sign -----------------------------------------------------------------------------


async def _fields(request: Request) -> dict[str, str]:
    """A form's fields but for the session's token; they are read once."""
    form = await request.form(max_files=0, max_fields=_FIELDS)
    found = {name: value for name, value in form.items() if isinstance(value, str) and name != "csrf"}
    if any(len(value) > _FIELD for value in found.values()):
        raise RequestUnreadable(f"a field has more than {_FIELD} characters")
    return found


@answers.post("/sign/{what}/new")
@needs(Right.OWN)
def ask_signature(desk: At, what: str, said: Annotated[dict[str, str], Depends(_fields)]) -> Response:
    """What the browser is to sign, and the very payload."""
    _demand_person(desk)
    return _json(signatures.ask(desk, what, said))


@answers.post("/sign")
@needs(Right.OWN)
def keep_signature(desk: At, id: Word, answered: Answered) -> Response:  # noqa: A002
    """Take in what was signed."""
    _demand_person(desk)
    return _json({"said": signatures.keep(desk, id, answered)})


def _json(value: dict[str, Any]) -> Response:
    return JSONResponse(value, headers=HEADERS)
