"""Turns what a pipeline found into a signed statement row, ready to be recorded with its event."""

from collections.abc import Mapping, Sequence
from importlib.metadata import version as release_of
from typing import Any

from pipelines.workplace import Workplace
from registry.entities import Approval, Pin, Statement
from signing import statements, summaries
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


def gate_statement(
    work: Workplace, pin: Pin, *, policy: str, inputs: Sequence[str], overridden: Sequence[str]
) -> Statement:
    """Say, signed, that the gate let this set through: the verification summary that stands beside the pin.

    Args:
        policy: SHA-256 of the tier's policy as it was judged by.
        overridden: checks that did not hold, and that one person overrode; the summary is no pass then.
    """
    said = summaries.vsa(
        [(f"{pin.model}@{pin.ordinal}", pin.version)],
        verifier=work.home.name,
        tool_version=release_of("tidegate"),
        resource=f"tidegate://{work.home.name}/{pin.tier}/{pin.model}",
        policy=(f"urn:tidegate:policy:{pin.tier}", policy),
        inputs=inputs,
        passed=not overridden,
        levels=[] if overridden else [f"TIDEGATE_TIER_{pin.tier.upper()}"],
        overridden=overridden,
        at=from_rfc3339(pin.since),
    )
    return signed_statement(work, said)


def approval_statement(work: Workplace, row: Approval, *, subject: str, fingerprint: str) -> Statement:
    """Say, signed, that this home took in a person's answer; the answer itself carries the person's signature."""
    said = statements.approval(
        [(subject, row.version)],
        request=parse(row.payload.encode(), max_bytes=_BODY, at="approval"),
        payload=row.digest,
        person=row.person,
        fingerprint=fingerprint,
        recorded_at=work.now,
        decision=row.decision or "approve",
    )
    return signed_statement(work, said)
