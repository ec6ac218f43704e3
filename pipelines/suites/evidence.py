"""Taking in another program's log about a version: kept, shown, never a gate's (`pipelines.suites.evidence_logs`)."""

import secrets
from pathlib import Path

from pipelines.suites.evidence_logs import EvidenceUnreadable, ForeignLog, read_log
from pipelines.workplace import Workplace
from registry.audit import EventKind
from registry.entities import Report, Version
from signing.canonical import canonical_bytes
from signing.digests import sha256_hex
from signing.times import rfc3339

KIND, OUTCOME = "evidence", "NOTED"
FORMAT = "tidegate-evidence/1"


def take_evidence(work: Workplace, version: Version, path: Path) -> tuple[Report, ForeignLog]:
    """Read a log and record what it says beside the version. The file itself is not kept; its digest is.

    Raises:
        EvidenceUnreadable: it is no log of a known program, damaged, or too large. Nothing is recorded.
    """
    try:
        log = read_log(path)
    except EvidenceUnreadable as exc:
        raise EvidenceUnreadable(exc.problem, at=f"{path}, {exc.at}") from exc
    body = canonical_bytes(
        {
            "format": FORMAT,
            "run": secrets.token_hex(8),
            "version": {"model": version.model, "ordinal": version.ordinal, "digest": version.digest},
            "log": log.body(),
            "taken_at": rfc3339(work.now),
            "taken_by": work.actor,
        }
    )
    row = Report(
        digest=sha256_hex(body),
        kind=KIND,
        version=version.digest,
        outcome=OUTCOME,
        suite=None,
        contract=None,
        profile=None,
        statement=None,
        body=body.decode(),
        made_at=rfc3339(work.now),
        made_by=work.actor,
    )
    with work.store.change(actor=work.actor, now=work.now) as change:
        change.record(EventKind.EVIDENCE_TAKEN, version.digest, row)
    return row, log
