"""Rows of a stream as an origin keeps them, made in memory: what was sent, what came back, what somebody said."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from pipelines import receipts
from pipelines.freshness import State
from pipelines.inventory import inventory, read_runs, write_runs
from registry.entities import Assumption, Export
from registry.entities import Receipt as ReceiptRow
from signing.canonical import canonical_bytes, pretty_bytes
from signing.digests import sha256_hex
from signing.times import rfc3339

START = datetime(2026, 11, 1, tzinfo=UTC)


def blob(name: str) -> str:
    """The SHA-256 of a file with this content."""
    return sha256_hex(name.encode())


def moment(minute: int) -> str:
    """So many minutes after the stream began."""
    return rfc3339(START + timedelta(minutes=minute))


def sent(sequence: int, carried: str, *, leaned: str = "", bases: str = "", at: int = 0) -> Export:
    """A bundle that carried one file per letter, left out those in `leaned` and read those in `bases`."""
    names = {"blobs": carried, "assumed": leaned, "bases": bases}
    body = canonical_bytes(
        {"sequence": sequence}
        | {
            field: [{"sha256": blob(name), "size": ord(name)} for name in names[field]]
            for field in ("blobs", "assumed", "bases")
        }
    )
    return Export(
        site="lab",
        sequence=sequence,
        bundle=f"20261101-{sequence:02d}",
        digest=sha256_hex(body),
        body=body.decode(),
        made_at=moment(at or sequence),
        actor="ines",
    )


def receipt(
    export: Export,
    holds: str,
    *,
    at: int,
    arrived: Iterable[int] = (),
    taken: int | None = None,
    digest_only: bool = False,
    log_size: int = 1,
) -> ReceiptRow:
    """A receipt about a bundle, made at `at` by the site's clock and taken in here at `taken` by ours."""
    digests = frozenset(map(blob, holds))
    said = receipts.Receipt(
        site="lab",
        origin="harbour",
        bundle=export.bundle,
        sequence=export.sequence,
        export=export.digest,
        items=(),
        holds=frozenset() if digest_only else digests,
        root_version=1,
        log_size=log_size,
        log_root="a" * 64,
        made_at=moment(at),
        sequences=read_runs(write_runs({export.sequence, *arrived})) or (),
        freshness=State.FRESH,
        inventory=inventory(digests) if digest_only else None,
    )
    signature = {"payloadType": receipts.PAYLOAD_TYPE, "signatures": [{"keyid": "k", "sig": "AAAA"}]}
    data = pretty_bytes({"payload": receipts._payload(said), "signature": signature})
    return ReceiptRow(
        digest=sha256_hex(data),
        site="lab",
        sequence=export.sequence,
        body=data.decode(),
        taken_at=moment(at if taken is None else taken),
        actor="ines",
    )


def word_for(export: Export, *, at: int, person: str = "maria", reason: str = "signed for") -> Assumption:
    """A person's word that a bundle arrived."""
    return Assumption(
        site="lab",
        sequence=export.sequence,
        export=export.digest,
        person=person,
        reason=reason,
        since=moment(at),
        actor="ines",
    )
