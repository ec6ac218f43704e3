"""`Idempotency-Key`: a request that is repeated with its key is answered again, and done once.

(draft-ietf-httpapi-idempotency-key-header) A key belongs to an account and to one request: method, address, body.
While the first is at work the second is refused, and so is one whose first was cut off with the process: nobody knows
what became of it but the log. What shows something once is not kept, so it cannot be shown again.
"""

import json
import re
import threading
from collections.abc import Callable

from starlette.responses import Response

from registry.entities import DoorAnswer
from signing.canonical import parse
from signing.digests import sha256_hex
from signing.times import rfc3339
from tidegate.afar_refusals import IdempotencyKeyUsed, RequestAtWork
from tidegate.errors import RequestUnreadable
from tidegate.server.guard import Desk

HEADER = "Idempotency-Key"
REPLAYED = "Idempotency-Replayed"
_KEY = re.compile(r"[\x21-\x7e]{1,128}")
_MOST = 1 << 20  # bytes of an answer that is kept
_LOST = "was answered, and the answer is kept nowhere"
_at_work: set[tuple[str, str, str]] = set()  # home, account, key: of this process
_lock = threading.Lock()


def once(desk: Desk, body: bytes, work: Callable[[], Response], *, keep: bool = True) -> Response:
    """Do the work, or give the answer again that it had under the request's key.

    Raises:
        IdempotencyKeyUsed, RequestAtWork: the key is not free.
        RequestUnreadable: a key that is none.
    """
    key = desk.request.headers.get(HEADER)
    if key is None:
        return work()
    if not _KEY.fullmatch(key):
        raise RequestUnreadable(f"{HEADER}: 1 to 128 printable characters of ASCII, no spaces")
    row = DoorAnswer(
        account=desk.principal.name, key=key, request=_digest(desk, body), status=None, headers="{}", body="",
        at=rfc3339(desk.premises.clock()),
    )  # fmt: skip
    mark = (str(desk.premises.home.path), row.account, key)
    with _lock:
        first = desk.premises.doors.add(row)
        if first:
            _at_work.add(mark)
    if not first:
        return _again(desk, row, mark)
    try:
        answer = _first(desk, row, work)
        # Where this fails the key stays taken: the work was done, and a repetition must not do it again.
        desk.premises.doors.put(_kept(row, answer, keep=keep))
    finally:
        with _lock:
            _at_work.discard(mark)
    return answer


def _first(desk: Desk, row: DoorAnswer, work: Callable[[], Response]) -> Response:
    try:
        return work()
    except BaseException:  # a bug of ours: nothing was answered, so the key is free again
        desk.premises.doors.take(DoorAnswer, row.account, row.key)
        raise


def _again(desk: Desk, row: DoorAnswer, mark: tuple[str, str, str]) -> Response:
    found = desk.premises.doors.get(DoorAnswer, row.account, row.key)
    if found is not None and found.request != row.request:
        raise IdempotencyKeyUsed
    if found is None or found.status is None:
        raise RequestAtWork("is at work" if mark in _at_work or found is None else "was cut off")
    if found.status == 0:
        raise RequestAtWork(_LOST)
    return Response(
        found.body, found.status, {**parse(found.headers.encode(), max_bytes=_MOST), REPLAYED: "true"}
    )


def _kept(row: DoorAnswer, answer: Response, *, keep: bool) -> DoorAnswer:
    body = bytes(answer.body)
    whole = keep and len(body) <= _MOST
    return DoorAnswer(
        account=row.account, key=row.key, request=row.request, at=row.at,
        status=answer.status_code if whole else 0,
        headers=json.dumps({"Content-Type": answer.headers["content-type"]}),
        body=body.decode() if whole else "",
    )  # fmt: skip


def _digest(desk: Desk, body: bytes) -> str:
    url = desk.request.url
    return sha256_hex(f"{desk.request.method} {url.path}?{url.query}\n".encode() + body)
