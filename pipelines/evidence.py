"""Turns what a pipeline found into a signed statement row, ready to be recorded with its event."""

from collections.abc import Mapping
from typing import Any

from pipelines.workplace import Workplace
from registry.entities import Approval, Pin, Statement
from signing import statements
from signing.canonical import parse, pretty_bytes
from signing.digests import sha256_hex
from signing.envelope import sign
from signing.times import from_rfc3339, rfc3339

PAYLOAD_TYPE = "application/vnd.in-toto+json"
_BODY = 1 << 20  # bytes


def signed_statement(work: Workplace, statement: Mapping[str, Any]) -> Statement:
    """Sign an in-toto statement with the station key; the row is not recorded yet.

    The payload is indented JSON, so that a person can read the file that the signature covers.
    """
    payload = pretty_bytes(dict(statement))
    envelope = sign(payload, PAYLOAD_TYPE, work.station)
    return Statement(
        digest=sha256_hex(payload),
        predicate=statement["predicateType"],
        subject=statement["subject"][0]["digest"]["sha256"],
        payload=payload.decode(),
        signature=envelope.to_json().decode(),
        made_at=rfc3339(work.now),
    )


def pin_statement(work: Workplace, pin: Pin, *, previous: Pin | None) -> Statement:
    """Say, signed, what a tier serves from now on and on which evidence."""
    said = statements.pin(
        [(f"{pin.model}@{pin.ordinal}", pin.version)],
        tier=pin.tier,
        model=pin.model,
        position=pin.position,
        kind="rollback" if pin.kind == "rollback" else "promote",
        previous=previous.version if previous else None,
        state={"contract": pin.contract, "profile": pin.profile, "router": pin.router} | _companions(pin),
        evidence=parse(pin.evidence.encode(), max_bytes=_BODY, at="pin.evidence"),
        reason=pin.reason,
        actor=pin.actor,
        at=from_rfc3339(pin.since),
    )
    return signed_statement(work, said)


def _companions(pin: Pin) -> dict[str, str]:
    return {"companions": pin.companions} if pin.companions else {}


def approval_statement(work: Workplace, row: Approval, *, subject: str, fingerprint: str) -> Statement:
    """Say, signed, that this home took in a person's approval; the approval itself carries the person's signature."""
    said = statements.approval(
        [(subject, row.version)],
        request=parse(row.payload.encode(), max_bytes=_BODY, at="approval"),
        payload=row.digest,
        person=row.person,
        fingerprint=fingerprint,
        recorded_at=work.now,
    )
    return signed_statement(work, said)
