"""What people are asked, the exact page that they sign, and their answers: approve or reject, signed by their own key.

Nothing is kept between making what is signed and taking it in: the bytes travel in the form, and the signature over
them is what counts (`pipelines.approve`). So a passkey in the browser and a key on another machine go the same way.
"""

import base64
import binascii
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated

from fastapi import Form
from starlette.responses import Response

from pipelines.approve import keep_question, open_question, record_approval, request_approval, signer
from pipelines.case import case
from pipelines.open_requests import answers, by_digest, waiting
from pipelines.workplace import Workplace
from registry import store_attention
from registry.access import Right
from registry.approval_requests import Question, read
from registry.approvals_payload import APPROVE, MAX_PAYLOAD, NAMESPACE, REJECT, Answer, decode, payload
from registry.entities import Approval, ApprovalRequest
from registry.errors import NotFound
from registry.keeping import BytesRemoved
from registry.names import Ref
from registry.views import View
from signing.times import rfc3339
from tidegate.errors import RequestUnreadable
from tidegate.server.accounts.signatures import passkey_of
from tidegate.server.guard import Desk, needs
from tidegate.server.pages.finding import AtDesk, reason
from tidegate.server.pages.look import HEADERS, fresh, page, pages

doors = pages()
_LIFE = timedelta(days=90)  # of a rejection, as on the command line
_SIGNATURE = 16 << 10  # characters
_TEXT = MAX_PAYLOAD * 4 // 3 + 8  # characters of a payload in base64


@dataclass(frozen=True)
class Word:
    """What one person said, and whether it counts as things stand."""

    row: Approval
    answer: Answer
    why_not: str | None  # None: it counts


@dataclass(frozen=True)
class Scene:
    """A request as it stands at this moment."""

    row: ApprovalRequest
    asked: Question
    state: str
    open: bool  # somebody may still answer it
    current: bool  # its page is what would be signed now
    words: tuple[Word, ...]
    counted: int
    needed: int


@doors.get("/requests")
@needs(Right.LOOK)
def requests(desk: AtDesk) -> Response:
    """What people were asked lately, newest first."""
    with desk.view() as view:
        found = list(reversed(waiting(desk.work, view, store_attention.newest_requests(view))))
    return page(desk, "steward/requests.html", found=found)


@doors.get("/requests/{digest}")
@needs(Right.LOOK)
def request(desk: AtDesk, digest: str) -> Response:
    """One request: the page, who has said what, and the form to answer."""
    with desk.view() as view:
        scene = _scene(desk.work, view, digest)
        person, problem = _person(desk, view, scene)
    return page(
        desk,
        "steward/request.html",
        scene=scene,
        asked=scene.asked,
        person=person,
        problem=problem,
        own_passkey=passkey_of(desk) if person and desk.session else None,
    )


def _scene(work: Workplace, view: View, digest: str) -> Scene:
    row = by_digest(view, digest)
    asked = read(row)
    rows = view.approval_requests(row.version, row.tier)
    one = next((item for item in waiting(work, view, rows) if item.row.digest == row.digest), None)
    if one is None:  # one that a person answers alone, by breaking the glass
        raise NotFound("request to promote", digest)
    try:
        found = case(work, view, _ref(asked), asked.tier)
    except BytesRemoved:
        words = tuple(_word(item, {}) for item in answers(view, asked))
        return Scene(row, asked, one.state, one.open, current=False, words=words, counted=0, needed=0)
    judged = found.approvals
    refused = {item.approval.digest: item.detail for item in judged.refused}
    return Scene(
        row,
        asked,
        one.state,
        one.open,
        current=open_question(work, view, found).digest == asked.digest,
        words=tuple(_word(item, refused) for item in answers(view, asked)),
        counted=len(judged.counted),
        needed=judged.needed,
    )


def _word(row: Approval, refused: dict[str, str]) -> Word:
    answer, _ = decode(row.payload.encode())
    return Word(row, answer, refused.get(row.digest))


def _person(desk: Desk, view: View, scene: Scene) -> tuple[str | None, str | None]:
    """The name under which who looks may answer, or why they may not."""
    name = desk.principal.name
    if not desk.may(Right.APPROVE, scene.asked.tier):
        return None, f"Your account has no grant to approve in {scene.asked.tier}."
    try:
        signer(desk.work, view, name)
    except NotFound:
        return None, (
            f"Nobody called {name} is registered with a key here, so nothing that {name} signs would count. "
            "Two stewards register people: `tidegate people add`."
        )
    if scene.asked.requested_by == name:
        return name, "You asked for it, so your approval will not count; a rejection would."
    return name, None


# -- answering ------------------------------------------------------------------------------------------


@doors.post("/requests/{digest}/prepare")
@needs(Right.APPROVE)
def prepared(
    desk: AtDesk, digest: str, decision: Annotated[str, Form()], why: Annotated[str, Form(alias="reason")]
) -> Response:
    """Make exactly what is to be signed, and show it."""
    if decision not in (APPROVE, REJECT):
        raise RequestUnreadable("say whether you approve or reject")
    row, asked = _asked(desk, digest)
    person = desk.principal.name
    with desk.view() as view:
        signer(desk.work, view, person)
    life = None if decision == APPROVE else _LIFE
    found, answer = request_approval(
        desk.work, _ref(asked), asked.tier, reason=reason(why), decision=decision, life=life, shown=asked.shown_sha256
    )  # fmt: skip
    keep_question(desk.work, found)
    message = payload(answer, person)
    return page(
        desk,
        "steward/sign.html",
        row=row,
        asked=asked,
        answer=answer,
        person=person,
        message=message.decode(),
        encoded=base64.b64encode(message).decode(),
        namespace=NAMESPACE,
        until=rfc3339(answer.expires_at),
        filename=_filename(answer),
    )


@doors.post("/requests/{digest}/payload")
@needs(Right.APPROVE)
def payload_file(
    desk: AtDesk,
    digest: str,
    encoded: Annotated[str, Form(alias="payload", max_length=_TEXT)],
) -> Response:
    """The bytes to sign, as a file for another machine."""
    _asked(desk, digest)
    message = _decoded(encoded)
    answer, _ = decode(message)  # only what is an answer is handed out
    headers = {**HEADERS, "Content-Disposition": f'attachment; filename="{_filename(answer)}"'}
    return Response(message, headers=headers, media_type="application/octet-stream")


@doors.post("/requests/{digest}/answer")
@needs(Right.APPROVE)
def answered(
    desk: AtDesk,
    digest: str,
    encoded: Annotated[str, Form(alias="payload", max_length=_TEXT)],
    signature: Annotated[str, Form(max_length=_SIGNATURE)],
) -> Response:
    """Take in what was signed; it is checked before it is kept."""
    row, asked = _asked(desk, digest)
    message = _decoded(encoded)
    decision = decode(message)[0].decision
    record_approval(
        desk.work,
        _ref(asked),
        asked.tier,
        desk.principal.name,
        payload=message,
        signature=signature.replace("\r\n", "\n").strip() + "\n",
        decision=decision,
    )
    return fresh(f"/requests/{row.digest}")


def _asked(desk: Desk, digest: str) -> tuple[ApprovalRequest, Question]:
    """The request, if who asks may answer it."""
    with desk.view() as view:
        row = by_digest(view, digest)
    desk.demand(Right.APPROVE, row.tier)
    return row, read(row)


def _filename(answer: Answer) -> str:
    return f"{answer.decision}-{answer.tier}-{answer.digest[:12]}.json"


def _ref(asked: Question) -> Ref:
    return Ref(asked.model, ordinal=asked.ordinal)


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as exc:
        raise RequestUnreadable("what was signed is not in base64") from exc
