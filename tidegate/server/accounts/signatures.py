"""What people sign in a browser, with the passkey that stands for them among the people.

Asking makes the very payload that the command line would have signed; it waits here, word for word, until the browser
brings the signature under it, once and within minutes. It goes in by the same functions as a signature from the
command line, and is judged by nothing else. Each kind is two functions: what is asked, and how the answer is kept.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from pipelines import approve, break_glass, decide, people
from registry import approvals_payload, decisions
from registry.access import Right
from registry.decisions import Kind
from registry.entities import Passkey
from registry.names import Ref
from signing import webauthn
from signing.canonical import parse
from signing.person_refusals import PersonSignatureUncheckable
from signing.ssh_keys import read_public_key
from signing.sshsig import verify
from tidegate.errors import RequestUnreadable
from tidegate.server.accounts.passkey_refusals import PasskeyRefused
from tidegate.server.accounts.passkeys import (
    Answer,
    demand_here,
    keep_question,
    request_options,
    site_of,
    take_question,
)

if TYPE_CHECKING:
    from tidegate.server.guard import Desk

_WAITS = "signature"  # kind of the question that is kept
Said = Mapping[str, str]  # the form's fields


@dataclass(frozen=True)
class Signable:
    """One kind of thing that people sign here."""

    namespace: str
    demand: Callable[["Desk", Said], None]
    ask: Callable[["Desk", Said], bytes]  # the payload
    keep: Callable[["Desk", Said, bytes, str], str]  # payload and signature to what came of it, in a sentence


def passkey_of(desk: "Desk") -> Passkey | None:
    """The passkey of whoever asks that is their key among the people, too; None: they sign elsewhere, if at all."""
    account = desk.principal.name
    with desk.view() as view:
        known = next((one for one in decide.signers(desk.work, view) if one.name == account), None)
        rows = [row for row in view.passkeys(account) if row.active]
    if known is None:
        return None
    try:
        own = read_public_key(known.public_key_line).blob
    except PersonSignatureUncheckable:  # a card
        return None
    return next((row for row in rows if read_public_key(row.public_key).blob == own), None)


def ask(desk: "Desk", what: str, said: Said) -> dict[str, Any]:
    """Return what the browser is to sign, and under which id its answer is awaited.

    Raises:
        RequestUnreadable: no such kind, or a field is missing.
        NotAllowed, NotSignedIn: they may not hand this in.
        PasskeyRefused: no passkey of theirs stands among the people.
        …and whatever stands against it, as on the command line: NotAsShown, NotFound, BreakGlassRefused.
    """
    site, kind = site_of(desk.request, desk.premises.settings), _kind(what)
    kind.demand(desk, said)
    row = passkey_of(desk)
    if row is None:
        raise PasskeyRefused(f"no passkey of {desk.principal.name} is their key among the people here")
    payload = kind.ask(desk, said)
    number = keep_question(
        desk.premises,
        _WAITS,
        {"account": desk.principal.name, "what": what, "said": dict(said), "payload": payload.decode()},
    )
    challenge = webauthn.challenge(payload, kind.namespace)
    return {
        "id": number,
        "publicKey": request_options(site, challenge, [row.credential]),
        "payload": payload.decode(),
    }


def keep(desk: "Desk", number: str, answer: Answer) -> str:
    """Take in the signature under what was asked; returns what came of it, in a sentence.

    Raises:
        PasskeyRefused: the question waits no longer, was put to somebody else, or was answered on another page.
        PersonSignatureWrong, PersonSignatureUncheckable: the passkey did not sign this.
        …and whatever stands against it by now, as on the command line.
    """
    about = take_question(desk.premises, _WAITS, number)
    if about["account"] != desk.principal.name:
        raise PasskeyRefused("the question was put to somebody else")
    kind, payload, row = _kind(about["what"]), about["payload"].encode(), passkey_of(desk)
    kind.demand(desk, about["said"])
    if row is None or row.credential != answer.credential:
        raise PasskeyRefused("another passkey answered than the one that was asked")
    armored = answer.assembled(row.public_key, kind.namespace)
    made = verify(armored, payload, namespace=kind.namespace, public_key_line=row.public_key)
    demand_here(made, site_of(desk.request, desk.premises.settings))
    return kind.keep(desk, about["said"], payload, armored)


def _kind(what: str) -> Signable:
    if what not in KINDS:
        raise RequestUnreadable(f"{what[:40]!r} is nothing that people sign here; {', '.join(KINDS)} are")
    return KINDS[what]


def _field(said: Said, name: str) -> str:
    value = said.get(name, "").strip()
    if not value:
        raise RequestUnreadable(f"{name}: missing")
    return value


def _ref(said: Said) -> Ref:
    return Ref.parse(_field(said, "ref"))


# -- approvals and rejections -----------------------------------------------------------------------------


def _demand_approve(desk: "Desk", said: Said) -> None:
    desk.demand(Right.APPROVE, _field(said, "tier"))


def _ask_approval(desk: "Desk", said: Said) -> bytes:
    # The page has to be named: whoever signs here has looked at it here.
    _, answer = approve.request_approval(
        desk.work, _ref(said), _field(said, "tier"), reason=_field(said, "reason"),
        decision=_decision(said), shown=_field(said, "shown"),
    )  # fmt: skip
    return approvals_payload.payload(answer, desk.principal.name)


def _keep_approval(desk: "Desk", said: Said, payload: bytes, signature: str) -> str:
    row = approve.record_approval(
        desk.work, _ref(said), _field(said, "tier"), desk.principal.name,
        payload=payload, signature=signature, decision=_decision(said),
    )  # fmt: skip
    return f"{row.person} said {row.decision} for {row.tier}."


def _decision(said: Said) -> str:
    word = _field(said, "decision")
    if word not in (approvals_payload.APPROVE, approvals_payload.REJECT):
        raise RequestUnreadable("decision: approve or reject")
    return word


# -- breaking the glass, and its review -------------------------------------------------------------------


def _demand_promote(desk: "Desk", said: Said) -> None:
    desk.demand(Right.PROMOTE, _field(said, "tier"))


def _ask_glass(desk: "Desk", said: Said) -> bytes:
    asked, payload = break_glass.request_break_glass(
        desk.work, _ref(said), _field(said, "tier"), desk.principal.name, reason=_field(said, "reason")
    )
    if not asked.shown_sha256.startswith(_field(said, "shown")):
        raise PasskeyRefused("the page has changed since it was shown")
    return payload


def _keep_glass(desk: "Desk", said: Said, payload: bytes, signature: str) -> str:
    _, pin = break_glass.promote_by_break_glass(
        desk.work, _ref(said), _field(said, "tier"), desk.principal.name, payload=payload, signature=signature
    )
    return f"{pin.tier} serves {pin.model}@{pin.ordinal} by break-glass."


def _ask_review(desk: "Desk", said: Said) -> bytes:
    return break_glass.request_review(
        desk.work, _field(said, "digest"), _field(said, "verdict"), desk.principal.name,
        reason=_field(said, "reason"),
    )  # fmt: skip


def _keep_review(desk: "Desk", said: Said, payload: bytes, signature: str) -> str:
    row = break_glass.record_review(
        desk.work, _field(said, "digest"), desk.principal.name, payload=payload, signature=signature
    )
    return f"{row.person} reviewed it."


# -- other decisions --------------------------------------------------------------------------------------

_ELSEWHERE = (Kind.BREAK_GLASS, Kind.REVIEW, Kind.SET_PERSON)  # have ways of their own


def _demand_decide(desk: "Desk", _said: Said) -> None:
    desk.demand(Right.DECIDE)


def _ask_decision(desk: "Desk", said: Said) -> bytes:
    word, days = _field(said, "kind"), said.get("days", "").strip()
    if word not in {str(kind) for kind in Kind if kind not in _ELSEWHERE}:
        raise RequestUnreadable(f"kind: {word[:40]!r} is no decision that is made here")
    if days and not (days.isascii() and days.isdigit() and 1 <= int(days[:5]) <= 3650):
        raise RequestUnreadable("days: 1 to 3650, or nothing")
    details = parse(said.get("details", "{}").encode(), max_bytes=16 << 10, at="details")
    if not isinstance(details, dict):
        raise RequestUnreadable("details: no object")
    return decide.request_decision(
        desk.work, Kind(word), _field(said, "subject"), desk.principal.name, reason=_field(said, "reason"),
        details=details, expires_at=desk.app.now + timedelta(days=int(days)) if days else None,
    )  # fmt: skip


def _keep_decision(desk: "Desk", _said: Said, payload: bytes, signature: str) -> str:
    row = decide.record_decision(desk.work, desk.principal.name, payload=payload, signature=signature)
    return f"{row.person} decided: {row.kind}."


def _ask_person(desk: "Desk", said: Said) -> bytes:
    with desk.view() as view:
        waiting = people.pending_of(desk.work, view, _field(said, "name"), said.get("change") or None)
    return people.propose(
        desk.work, people.wanted_of(waiting.row), desk.principal.name, reason=_field(said, "reason")
    )


def _keep_person(desk: "Desk", _said: Said, payload: bytes, signature: str) -> str:
    done = people.change_person(desk.work, desk.principal.name, payload=payload, signature=signature)
    waits = f"; {done.missing} more have to sign" if done.missing else " is in force"
    return f"The change of {done.row.name}{waits}."


KINDS: Mapping[str, Signable] = {
    "approval": Signable(approvals_payload.NAMESPACE, _demand_approve, _ask_approval, _keep_approval),
    "break-glass": Signable(decisions.NAMESPACE, _demand_promote, _ask_glass, _keep_glass),
    "review": Signable(decisions.NAMESPACE, _demand_decide, _ask_review, _keep_review),
    "decision": Signable(decisions.NAMESPACE, _demand_decide, _ask_decision, _keep_decision),
    "person": Signable(decisions.NAMESPACE, _demand_decide, _ask_person, _keep_person),
}
