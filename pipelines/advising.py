"""Keeping lists of bad engine releases, and asking which of this home's profiles they name."""

from pipelines.engines import advisories
from pipelines.workplace import Workplace
from registry.audit import EventKind
from registry.entities import Document
from signing.digests import sha256_hex
from signing.times import rfc3339


def add_advisories(work: Workplace, data: bytes) -> Document:
    """Take a list in. The same one again is no change; of one name the highest serial counts.

    Raises:
        MalformedAdvisories: naming the place.
    """
    found = advisories.decode(data)
    body = advisories.encode(found)
    with work.store.change(actor=work.actor, now=work.now) as change:
        row = change.document_by_digest(sha256_hex(body))
        if row is None:
            row = Document(
                digest=sha256_hex(body),
                kind=advisories.KIND,
                name=found.name,
                body=body.decode(),
                added_at=rfc3339(work.now),
                added_by=work.actor,
            )
            change.record(EventKind.ADVISORIES_ADDED, row.digest, row)
    return row
