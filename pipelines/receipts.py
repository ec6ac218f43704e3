"""Receipts: what a site says back, signed with its station key, and what an origin makes of it.

One file, readable as it is: `{"payload": {…}, "signature": {…}}`, indented JSON; the signature is DSSE over the
payload in canonical form. A receipt names every blob that the site holds, so that the next bundle can leave those
out; it is the only thing that makes the origin do so. The newest receipt alone counts, even where it names fewer
blobs than one before it: a site may have cleaned up.
"""

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.bundle.errors import (
    FormatTooNew,
    MalformedBundle,
    MediumUnreadable,
    ReceiptForeign,
    ReceiptWrong,
)
from pipelines.bundle.fields import Fields
from pipelines.workplace import Workplace
from registry.audit import EventKind
from registry.entities import Receipt as ReceiptRow
from registry.errors import NotFound
from registry.views import View
from signing.canonical import NotCanonical, canonical_bytes, parse, pretty_bytes
from signing.digests import sha256_hex
from signing.envelope import Envelope, SignatureUncheckable, SignatureWrong, sign, verify
from signing.keys import public_key_from_json
from signing.times import rfc3339

FORMAT = "tidegate-receipt/1"
PAYLOAD_TYPE = "application/vnd.tidegate.receipt+json"
MAX_RECEIPT = 64 << 20  # bytes; 100,000 blobs are about 8 MB
_KNOWN = frozenset(
    (
        "format",
        "critical",
        "site",
        "origin",
        "bundle",
        "sequence",
        "export",
        "items",
        "holds",
        "trust",
        "log",
        "made_at",
    )
)


@dataclass(frozen=True)
class Item:
    """What became of one version of the bundle: `imported`, `held` before; and what the local scan said."""

    model: str
    ordinal: int
    digest: str
    outcome: str
    scan: str


@dataclass(frozen=True)
class Receipt:
    """What a site says it took in and holds."""

    site: str
    origin: str
    bundle: str
    sequence: int
    export: str  # SHA-256 of the export document
    items: tuple[Item, ...]
    holds: frozenset[str]  # every blob held
    root_version: int
    log_size: int
    log_root: str | None  # hex; None for an empty log
    made_at: str
    digest: str = ""  # SHA-256 of the file, once there is one


@dataclass(frozen=True)
class Acknowledged:
    """A receipt that was taken in. `already` when it was here before; `newest` when the next bundle builds on it."""

    receipt: Receipt
    already: bool
    newest: bool


def write(receipt: Receipt, work: Workplace) -> bytes:
    """Return the signed file."""
    payload = _payload(receipt)
    envelope = sign(canonical_bytes(payload), PAYLOAD_TYPE, work.station)
    signature = parse(envelope.to_json(), max_bytes=1 << 16, at="signature")
    return pretty_bytes({"payload": payload, "signature": signature})


def read(data: bytes, *, at: str = "receipt") -> tuple[Receipt, bytes, Envelope]:
    """Return the receipt, the bytes that its signature covers, and the signature, unchecked.

    Raises:
        ReceiptWrong: naming the field.
    """
    try:
        top = Fields.at_place(parse(data, max_bytes=MAX_RECEIPT, at=at), at)
        payload = canonical_bytes(top.get("payload"))
        if set(top.value) != {"payload", "signature"} or pretty_bytes(top.value) != data:
            raise ReceiptWrong("not in the form in which receipts are written", at=at)
        fields = Fields.of(payload, at=f"{at}.payload", max_bytes=MAX_RECEIPT, format=FORMAT, known=_KNOWN)
        receipt = _receipt(fields, sha256_hex(data))
        envelope = Envelope.from_json(canonical_bytes(top.get("signature")), at=f"{at}.signature")
    except (NotCanonical, MalformedBundle) as exc:
        raise ReceiptWrong(exc.problem, at=exc.at) from exc
    except FormatTooNew as exc:
        raise ReceiptWrong(f"written by a newer release ({', '.join(exc.unknown)})", at=exc.at) from exc
    return receipt, payload, envelope


def newest(view: View, site: str) -> Receipt | None:
    """Return the acknowledged receipt that the next bundle for `site` builds on; None before the first."""
    found = [read(row.body.encode())[0] for row in view.receipts(site)]
    return max(found, key=lambda receipt: (receipt.sequence, receipt.made_at), default=None)


def acknowledge(work: Workplace, path: Path) -> Acknowledged:
    """Take in a receipt file. Doing it again changes nothing.

    Raises:
        ReceiptWrong: unreadable, or not signed by the key of the site that it names.
        ReceiptForeign: of a site that is not known here, or about a bundle that was not made here.
        MediumUnreadable: the file cannot be read.
    """
    data = _read_file(path)
    receipt, payload, envelope = read(data, at=path.name)
    with work.store.change(actor=work.actor, now=work.now) as change:
        _check(change, receipt, payload, envelope, at=path.name)
        already = any(row.digest == receipt.digest for row in change.receipts(receipt.site))
        if not already:
            row = ReceiptRow(
                digest=receipt.digest,
                site=receipt.site,
                sequence=receipt.sequence,
                body=data.decode(),
                taken_at=rfc3339(work.now),
                actor=work.actor,
            )
            note = {"site": receipt.site, "bundle": receipt.bundle, "holds": len(receipt.holds)}
            change.record(EventKind.RECEIPT_TAKEN, receipt.export, row, note=note)
        last = newest(change, receipt.site)
    return Acknowledged(receipt, already, newest=last is not None and last.digest == receipt.digest)


def _check(view: View, receipt: Receipt, payload: bytes, envelope: Envelope, *, at: str) -> None:
    try:
        identity = view.site(receipt.site).identity
    except NotFound as exc:
        raise ReceiptForeign(
            receipt.site, sequence=receipt.sequence, problem="no such site is known here"
        ) from exc
    key = public_key_from_json(identity.encode(), at=f"identity of {receipt.site}")
    try:
        verify(payload, envelope, {key.keyid: key}, payload_type=PAYLOAD_TYPE)
    except (SignatureWrong, SignatureUncheckable) as exc:
        raise ReceiptWrong(f"{receipt.site} did not sign it ({exc})", at=f"{at}.signature") from exc
    made = {row.sequence: row.digest for row in view.exports(receipt.site)}
    if made.get(receipt.sequence) != receipt.export:
        problem = (
            "another bundle has that number here"
            if receipt.sequence in made
            else "no such bundle was made here"
        )
        raise ReceiptForeign(receipt.site, sequence=receipt.sequence, problem=problem)


def _read_file(path: Path) -> bytes:
    try:
        # O_NONBLOCK: a pipe that a courier left on a medium would make us wait for ever.
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as stream:
            if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                raise MediumUnreadable(str(path), "is no plain file")
            data = stream.read(MAX_RECEIPT + 1)
    except OSError as exc:
        raise MediumUnreadable(str(path), exc.strerror or "cannot be read") from exc
    if len(data) > MAX_RECEIPT:
        raise ReceiptWrong(f"more than {MAX_RECEIPT} bytes", at=path.name)
    return data


def _payload(receipt: Receipt) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "critical": [],
        "site": receipt.site,
        "origin": receipt.origin,
        "bundle": receipt.bundle,
        "sequence": receipt.sequence,
        "export": receipt.export,
        "items": [
            {"model": i.model, "ordinal": i.ordinal, "digest": i.digest, "outcome": i.outcome, "scan": i.scan}
            for i in receipt.items
        ],
        "holds": sorted(receipt.holds),
        "trust": {"root": receipt.root_version},
        "log": {"size": receipt.log_size, "root": receipt.log_root},
        "made_at": receipt.made_at,
    }


def _receipt(top: Fields, digest: str) -> Receipt:
    holds: Sequence[str] = top.digests("holds")
    log = top.below("log")
    return Receipt(
        site=top.text("site"),
        origin=top.text("origin"),
        bundle=top.text("bundle"),
        sequence=top.whole("sequence", least=1),
        export=top.digest("export"),
        items=tuple(
            Item(
                i.text("model"),
                i.whole("ordinal", least=1),
                i.digest("digest"),
                i.text("outcome"),
                i.text("scan"),
            )
            for i in top.items("items")
        ),
        holds=frozenset(holds),
        root_version=top.below("trust").whole("root", least=1),
        log_size=log.whole("size"),
        log_root=log.digest_or_none("root"),
        made_at=top.moment("made_at"),
        digest=digest,
    )
