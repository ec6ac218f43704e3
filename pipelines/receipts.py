"""Receipts: what a site says back, signed with its station key, and what an origin makes of it.

One file, readable as it is: `{"payload": {…}, "signature": {…}}`, indented JSON; the signature is DSSE over the
payload in canonical form. A full receipt names every blob that the site holds (`holds`), so that the next bundle can
leave those out. A digest-only one, for a reviewer who lets no list of files out, says only which bundles arrived and
one digest over what it holds of them (`inventory`): the origin computes the same over what it sent, and equal digests
prove as much as the list. The third size is a code that is read out (`pipelines.spoken`); it proves nothing.

The newest receipt alone counts, even where it names fewer blobs than one before it: a site may have cleaned up, or
have been restored from a backup. Newest is by the site's own moments, which its log never lets go back.
"""

import os
import stat
from collections.abc import Container, Iterable
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar

from securesystemslib.signer import Key

from pipelines.bundle import heads
from pipelines.bundle.errors import (
    FormatTooNew,
    MalformedBundle,
    MediumUnreadable,
    ReceiptForeign,
    ReceiptWrong,
)
from pipelines.bundle.fields import Fields
from pipelines.bundle.heads import Heads
from pipelines.errors import BundleRefused
from pipelines.freshness import State
from pipelines.inventory import Arrivals, inventory, named, read_runs, spell
from pipelines.letters import Letter, read_letter, seal
from pipelines.witness import Other, Witnessed, owed_by_site, take
from pipelines.workplace import Workplace
from registry.audit import EventKind
from registry.entities import Export
from registry.entities import Receipt as ReceiptRow
from registry.errors import NotFound
from registry.store import Change
from registry.views import View
from signing.canonical import parse
from signing.digests import sha256_hex
from signing.envelope import SignatureUncheckable, SignatureWrong
from signing.keys import public_key_from_json
from signing.times import from_rfc3339, rfc3339

FORMAT = "tidegate-receipt/1"
PAYLOAD_TYPE = "application/vnd.tidegate.receipt+json"
MAX_RECEIPT = 16 << 20  # bytes; 100,000 blobs are about 8 MB
_AHEAD = timedelta(days=1)  # how far a site's clock may stand before ours
_KNOWN = frozenset(
    (
        *("format", "critical", "site", "origin", "bundle", "sequence", "export", "sequences", "freshness"),
        *("items", "holds", "inventory", "trust", "log", "made_at"),
    )
)


class ReceiptInventoryDiffers(BundleRefused):
    """A digest-only receipt whose digest is not the one over what was sent: the site lacks something of it."""

    exit_code: ClassVar[int] = 116
    next_step: ClassVar[str] = (
        "Build on nothing that it says. Ask the site for a full receipt: there, `tidegate receipts write --out FILE`."
    )

    def __init__(self, site: str, *, sequence: int) -> None:
        super().__init__(
            f"receipt of {site} for its bundle {sequence}: the site does not hold exactly what was sent to it"
        )
        self.site, self.sequence = site, sequence


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
    holds: frozenset[str]  # every blob held; of a digest-only receipt, what it proves once it was compared
    root_version: int
    log_size: int
    log_root: str | None  # hex; None for an empty log
    made_at: str
    digest: str = ""  # SHA-256 of the file, once there is one
    sequences: tuple[range, ...] = ()  # numbers of all bundles that arrived; empty: the one above alone
    freshness: State = State.UNKNOWN
    inventory: str | None = None  # of a digest-only receipt; see `pipelines.inventory`
    heads: Heads | None = None  # of the site's log; None: older releases do not say

    @property
    def arrivals(self) -> Arrivals:
        """Every bundle that the site took in."""
        return Arrivals(self.sequences or (range(self.sequence, self.sequence + 1),))


@dataclass(frozen=True)
class Heading:
    """When a receipt was made and which bundles had arrived: enough to find the newest without reading every list."""

    made_at: str
    log_size: int
    sequence: int
    digest: str
    arrivals: Arrivals
    row: ReceiptRow

    @property
    def age(self) -> tuple[str, int, int, str]:
        """The newest has the greatest."""
        return self.made_at, self.log_size, self.sequence, self.digest


@dataclass(frozen=True)
class Acknowledged:
    """A receipt that was taken in. `already` when it was here before; `newest` when the next bundle builds on it."""

    receipt: Receipt
    already: bool
    newest: bool
    witnessed: Witnessed | None = None  # what its site's log was found to be; None: it says nothing new of it


def write(receipt: Receipt, work: Workplace) -> bytes:
    """Return the signed file."""
    return seal(work, _payload(receipt), payload_type=PAYLOAD_TYPE)


def read(data: bytes, *, at: str = "receipt") -> tuple[Receipt, Letter]:
    """Return the receipt, and the letter that it came as, its signature unchecked.

    Raises:
        ReceiptWrong: naming the field.
    """
    try:
        letter = read_letter(data, at=at, max_bytes=MAX_RECEIPT, format=FORMAT, known=_KNOWN)
        return _receipt(letter.fields, sha256_hex(data)), letter
    except MalformedBundle as exc:
        raise ReceiptWrong(exc.problem, at=exc.at) from exc
    except FormatTooNew as exc:
        raise ReceiptWrong(f"written by a newer release ({', '.join(exc.unknown)})", at=exc.at) from exc


def newest(view: View, site: str) -> Receipt | None:
    """Return the acknowledged receipt that the next bundle for `site` builds on; None before the first."""
    return newest_of(view.receipts(site), view.exports(site))


def newest_of(rows: Iterable[ReceiptRow], exports: Iterable[Export]) -> Receipt | None:
    """The same, from the rows. What a digest-only receipt proves stands in its `holds`."""
    last = max(map(heading, rows), key=lambda one: one.age, default=None)
    return None if last is None else proved(read(last.row.body.encode())[0], exports)


def heading(row: ReceiptRow) -> Heading:
    """Return the heading of a receipt that was taken in: checked then, so only looked at now."""
    payload = parse(row.body.encode(), max_bytes=MAX_RECEIPT, at="receipt")["payload"]
    runs = read_runs(payload["sequences"]) or ()
    return Heading(payload["made_at"], payload["log"]["size"], row.sequence, row.digest, Arrivals(runs), row)


def proved(receipt: Receipt, exports: Iterable[Export]) -> Receipt:
    """Return the receipt with what it proves in `holds`; a full one says so itself.

    Raises:
        ReceiptInventoryDiffers: a digest-only receipt, and the site lacks something of what was sent to it.
    """
    if receipt.inventory is None:
        return receipt
    sent = [named(row.body).all for row in exports if row.sequence in receipt.arrivals]
    holds = frozenset[str]().union(*sent)
    if inventory(holds) != receipt.inventory:
        raise ReceiptInventoryDiffers(receipt.site, sequence=receipt.sequence)
    return replace(receipt, holds=holds)


def acknowledge(work: Workplace, path: Path) -> Acknowledged:
    """Take in a receipt file. Doing it again changes nothing.

    Raises:
        ReceiptWrong: unreadable, or not signed by the key of the site that it names.
        ReceiptForeign: of a site that is not known here, or about a bundle that was not made here.
        ReceiptInventoryDiffers: digest only, and not of what was sent.
        MediumUnreadable: the file cannot be read.
    """
    data = _read_file(path)
    receipt, letter = read(data, at=path.name)
    with work.store.change(actor=work.actor, now=work.now) as change:
        _check(change, receipt, letter, at=path.name)
        if from_rfc3339(receipt.made_at) > work.now + _AHEAD:
            raise ReceiptWrong(f"made at {receipt.made_at}, which is in the future", at=path.name)
        receipt = proved(receipt, change.exports(receipt.site))
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
        current = last is not None and last.digest == receipt.digest
        witnessed = _witness(change, work, receipt, late=not current)
    return Acknowledged(receipt, already, current, witnessed)


def _witness(change: Change, work: Workplace, receipt: Receipt, *, late: bool) -> Witnessed | None:
    if receipt.heads is None:
        return None
    site = Other(receipt.site, _identity(change, receipt.site))
    brought = {"receipt": receipt.digest, "sequence": receipt.sequence}
    owed = owed_by_site(change, receipt.site, receipt.sequence)
    return take(change, work, site, receipt.heads, brought=brought, late=late, owed=owed)


def _identity(view: View, site: str) -> Key:
    return public_key_from_json(view.site(site).identity.encode(), at=f"identity of {site}")


def _check(view: View, receipt: Receipt, letter: Letter, *, at: str) -> None:
    try:
        key = _identity(view, receipt.site)
    except NotFound as exc:
        raise ReceiptForeign(
            receipt.site, sequence=receipt.sequence, problem="no such site is known here"
        ) from exc
    try:
        letter.check(key, payload_type=PAYLOAD_TYPE)
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
    if strange := next((run for run in receipt.sequences if not _all_made(run, made)), None):
        problem = f"it says that {spell([strange])} arrived, and not all of that was made here"
        raise ReceiptForeign(receipt.site, sequence=receipt.sequence, problem=problem)


def _all_made(run: range, made: Container[int]) -> bool:
    """The first number that was not made ends the question, however long the run says it is."""
    return all(sequence in made for sequence in run)


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
    said: dict[str, Any] = {"inventory": receipt.inventory}
    if receipt.inventory is None:
        said = {"holds": sorted(receipt.holds), "items": [vars(item) for item in receipt.items]}
    return {
        "format": FORMAT,
        "critical": [],
        "site": receipt.site,
        "origin": receipt.origin,
        "bundle": receipt.bundle,
        "sequence": receipt.sequence,
        "sequences": spell(receipt.arrivals.runs),
        "export": receipt.export,
        **said,
        "freshness": receipt.freshness.value,
        "trust": {"root": receipt.root_version},
        "log": {
            "size": receipt.log_size,
            "root": receipt.log_root,
            **({} if receipt.heads is None else {"heads": heads.encode(receipt.heads)}),
        },
        "made_at": receipt.made_at,
    }


def _receipt(top: Fields, digest: str) -> Receipt:
    log, full = top.below("log"), "inventory" not in top.value
    if not full and {"holds", "items"} & set(top.value):
        raise MalformedBundle("a digest-only receipt names nothing else", at=f"{top.at}.inventory")
    return Receipt(
        site=top.text("site"),
        origin=top.text("origin"),
        bundle=top.text("bundle"),
        sequence=top.whole("sequence", least=1),
        export=top.digest("export"),
        items=tuple(_item(item) for item in top.items("items")) if full else (),
        holds=frozenset(top.digests("holds") if full else ()),
        root_version=top.below("trust").whole("root", least=1),
        log_size=log.whole("size"),
        log_root=log.digest_or_none("root"),
        made_at=top.moment("made_at"),
        digest=digest,
        sequences=_sequences(top),
        freshness=_freshness(top),
        inventory=None if full else top.digest("inventory"),
        heads=heads.decode(log.below("heads")) if "heads" in log.value else None,
    )


def _item(item: Fields) -> Item:
    return Item(
        item.text("model"),
        item.whole("ordinal", least=1),
        item.digest("digest"),
        item.text("outcome"),
        item.text("scan"),
    )


def _sequences(top: Fields) -> tuple[range, ...]:
    runs = read_runs(top.text("sequences"))
    if runs is None or not any(top.whole("sequence") in run for run in runs):
        raise MalformedBundle(
            "numbers such as 1-41 43 are needed, this one among them", at=f"{top.at}.sequences"
        )
    return runs


def _freshness(top: Fields) -> State:
    try:
        return State(top.text("freshness"))
    except ValueError as exc:
        raise MalformedBundle(f"one of {', '.join(State)} is needed", at=f"{top.at}.freshness") from exc
