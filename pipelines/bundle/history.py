"""`history.jsonl`: what bundles came before this one, so that a site can say which of them it never got.

One canonical JSON line per earlier bundle of the stream, oldest first; the export document pins the file. A site
that hears nothing back from anybody still learns from it what a gap in the numbers held and when it was sent. The
newest `KEPT` bundles are told: a heartbeat stays a few kilobytes. Pure.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from pipelines.bundle.documents import BUNDLE_ID, VERSION_KINDS, decode_export
from pipelines.bundle.errors import MalformedBundle
from pipelines.bundle.fields import Fields
from pipelines.inventory import version_of
from registry.entities import Export
from signing.canonical import NotCanonical, canonical_bytes, parse_canonical
from signing.stream import MAX_STEP

HISTORY = "history.jsonl"
KEPT = 200  # bundles that a history tells of
MAX_HISTORY = 8 << 20  # bytes
MAX_LINE = 1 << 20
MAX_LINES = 10_000
MAX_ITEMS = 100  # versions named on a line; a bundle of more says so with an ellipsis
MORE = "…"


@dataclass(frozen=True)
class Sent:
    """One earlier bundle."""

    sequence: int
    bundle: str
    export: str  # SHA-256 of its export document
    issued_at: str
    items: tuple[str, ...]  # `model@ordinal`
    documents: int
    bytes: int  # of the blobs that it carried


@dataclass(frozen=True)
class Missing:
    """A bundle that never arrived here: its number, what it held, when it was sent, as far as anybody told."""

    sequence: int
    bundle: str | None = None
    items: tuple[str, ...] = ()
    issued_at: str | None = None


def of(rows: Iterable[Export]) -> tuple[Sent, ...]:
    """Return the history that the next bundle carries, from the bundles that were made for one site."""
    newest = sorted(rows, key=lambda row: row.sequence)[-KEPT:]
    return tuple(_sent(row) for row in newest)


def encode(history: Sequence[Sent]) -> bytes:
    """Return the file: empty for the first bundle of a stream."""
    return b"".join(
        canonical_bytes(
            {
                "sequence": sent.sequence,
                "bundle": sent.bundle,
                "export": sent.export,
                "issued_at": sent.issued_at,
                "items": list(sent.items),
                "documents": sent.documents,
                "bytes": sent.bytes,
            }
        )
        + b"\n"
        for sent in history
    )


def decode(data: bytes, *, below: int, at: str = HISTORY) -> tuple[Sent, ...]:
    """Read the file. The bytes have been compared with the digest in the export document.

    Args:
        below: the number of the bundle that brings it; what came before has a lower one.

    Raises:
        MalformedBundle: naming the line and the field.
    """
    if len(data) > MAX_HISTORY or data.count(b"\n") > MAX_LINES:
        raise MalformedBundle(f"more than {MAX_HISTORY} bytes or {MAX_LINES} lines", at=at)
    lines = data.split(b"\n")
    if lines.pop() != b"":
        raise MalformedBundle("the last line does not end", at=at)
    found: list[Sent] = []
    for number, line in enumerate(lines, start=1):
        sent = _line(line, at=f"{at} line {number}")
        least = found[-1].sequence + 1 if found else 1
        if not least <= sent.sequence < below:
            raise MalformedBundle(
                f"a number from {least} to {below - 1} is needed", at=f"{at} line {number}.sequence"
            )
        found.append(sent)
    return tuple(found)


def gaps(history: Sequence[Sent], accepted: Mapping[int, str]) -> list[Missing]:
    """Return the bundles up to the highest known that never arrived here, lowest first; at most `MAX_STEP`.

    The numbers alone show the gap. What it held is told by the history, unless that of a late bundle is too old, or
    the number was used up by an export that died.

    Args:
        accepted: number to export digest of every bundle that was taken in.
    """
    told = {sent.sequence: sent for sent in history}
    highest = max((*accepted, *told), default=0)
    absent = (number for number in range(1, highest + 1) if number not in accepted)
    return [
        Missing(number, told[number].bundle, told[number].items, told[number].issued_at)
        if number in told
        else Missing(number)
        for number in islice(absent, MAX_STEP)
    ]


def forks(history: Sequence[Sent], accepted: Mapping[int, str]) -> list[Sent]:
    """Return the bundles that the origin remembers otherwise than this site took them in: two streams, one name."""
    return [sent for sent in history if accepted.get(sent.sequence, sent.export) != sent.export]


def _sent(row: Export) -> Sent:
    export = decode_export(row.body.encode())
    items = [str(version_of(release.path)) for release in export.releases]
    if len(items) > MAX_ITEMS:
        items = [*items[: MAX_ITEMS - 1], MORE]
    return Sent(
        sequence=row.sequence,
        bundle=row.bundle,
        export=row.digest,
        issued_at=export.issued_at,
        items=tuple(items),
        documents=sum(document.kind not in VERSION_KINDS for document in export.documents),
        bytes=export.size,
    )


def _line(line: bytes, *, at: str) -> Sent:
    try:
        top = Fields.at_place(parse_canonical(line, max_bytes=MAX_LINE, at=at), at)
    except NotCanonical as exc:
        raise MalformedBundle(exc.problem, at=exc.at) from exc
    bundle, items = top.text("bundle"), top.texts("items")
    if not BUNDLE_ID.fullmatch(bundle):
        raise MalformedBundle("a bundle id is lower-case letters, digits and '-'", at=f"{at}.bundle")
    if len(items) > MAX_ITEMS or not all(0 < len(item) <= 256 and item.isprintable() for item in items):
        raise MalformedBundle(f"at most {MAX_ITEMS} names of versions are needed", at=f"{at}.items")
    return Sent(
        sequence=top.whole("sequence", least=1),
        bundle=bundle,
        export=top.digest("export"),
        issued_at=top.moment("issued_at"),
        items=tuple(items),
        documents=top.whole("documents"),
        bytes=top.whole("bytes"),
    )
