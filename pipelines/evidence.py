"""Turns what a pipeline found into a signed statement row, ready to be recorded with its event."""

from collections.abc import Mapping
from typing import Any

from pipelines.workplace import Workplace
from registry.entities import Statement
from signing.canonical import pretty_bytes
from signing.digests import sha256_hex
from signing.envelope import sign
from signing.times import rfc3339

PAYLOAD_TYPE = "application/vnd.in-toto+json"


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
