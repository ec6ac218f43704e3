"""Taking a suite in: read strictly, signed by this home. Only what was taken in so is ever run."""

from collections.abc import Mapping
from pathlib import Path

from securesystemslib.signer import Key

from pipelines.evidence import PAYLOAD_TYPE, signed_statement
from pipelines.suites import report
from pipelines.suites.format import KIND, Suite, load, pack, unpack
from pipelines.workplace import Workplace
from registry.audit import EventKind
from registry.entities import Document, Row
from signing.canonical import NotCanonical
from signing.digests import sha256_hex
from signing.envelope import Envelope, SignatureUncheckable, SignatureWrong, verify
from signing.times import rfc3339


def add_suite(work: Workplace, folder: Path) -> Document:
    """Take a suite in: read it strictly, sign that this home did, record both. Doing it again changes nothing.

    From now on its name means this suite here.

    Raises:
        SuiteMalformed: naming file, line and field.
    """
    suite = load(folder)
    return _keep(work, suite, pack(suite))


def adopt_suite(work: Workplace, name: str) -> Document:
    """Take in a suite that a bundle brought: from now on its name means this one here.

    Args:
        name: its digest, or the start of it; or its name, which changes nothing but that this home vouches for it.

    Raises:
        NotFound: no such suite is held. SuiteMalformed: naming file, line and field.
    """
    with work.store.view() as view:
        body = view.document(KIND, name).body.encode()
    return _keep(work, unpack(body), body)


def _keep(work: Workplace, suite: Suite, body: bytes) -> Document:
    digest = sha256_hex(body)
    with work.store.view() as view:
        held = view.document_by_digest(digest)
        meant = view.meaning(KIND, suite.name) == digest
    vouched = held is not None and vouched_for(work, held, {})
    if held is not None and vouched and meant:
        return held
    row = held or Document(
        digest=digest,
        kind=KIND,
        name=suite.name,
        body=body.decode(),
        added_at=rfc3339(work.now),
        added_by=work.actor,
    )
    rows: list[Row] = [] if held else [row]
    if not vouched:
        said = report.suite_statement(suite, digest, home=work.home.name, by=work.actor)
        rows.append(signed_statement(work, said))
    with work.store.change(actor=work.actor, now=work.now) as change:
        change.record(EventKind.SUITE_ADDED, digest, *rows)
    return row


def vouched_for(work: Workplace, suite: Document, vouchers: Mapping[str, Key]) -> bool:
    """Whether a statement about this suite verifies with the station's key or one of `vouchers` (by key id)."""
    own = work.station.public_key
    keys = {own.keyid: own, **vouchers}
    with work.store.view() as view:
        rows = view.statements(suite.digest)
    for row in rows:
        if row.predicate != report.SUITE_VOUCHED:
            continue
        try:
            envelope = Envelope.from_json(row.signature.encode())
            verify(row.payload.encode(), envelope, keys, payload_type=PAYLOAD_TYPE)
            found = report.vouched_digest(row.payload.encode())
        except (NotCanonical, SignatureWrong, SignatureUncheckable):
            continue
        if found == suite.digest:
            return True
    return False
