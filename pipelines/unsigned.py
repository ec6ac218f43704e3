"""A bundle that waits for its officers: packed, divided, and set aside in a hidden folder of the destination.

    .unsigned-<home>-<site>-<bundle>/
        volume-01/packed/chunks/…     chunks and parity, as they will be carried
        documents/<sha256>            every small file that is made before the signing, the plan among them
        unsigned.json                 which document is which; signed by the station

Nothing in it is a bundle: no volume has a label, a list of digests or trust metadata. The signed list is replaced
whole, so a bundle that is given another number (`finishing.redraft`) is the old one or the new one after a crash. What
is read back is what this station wrote, or it is refused.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from pipelines.bundle import plan, tables
from pipelines.bundle.documents import Export, decode_export, decode_release
from pipelines.bundle.plan import Plan
from pipelines.bundle.reader import MAX_SMALL, PLAN, TABLE
from pipelines.bundle.volumes import Layout, settle
from pipelines.errors import BundleRefused
from pipelines.handover import Packed
from pipelines.workplace import Workplace
from registry.home import Home
from signing.canonical import NotCanonical, canonical_bytes, parse, pretty_bytes
from signing.digests import is_sha256, sha256_hex
from signing.durable import sync_directory, write_durably
from signing.envelope import Envelope, SignatureUncheckable, SignatureWrong, sign, verify
from signing.folder import read_inside
from signing.refusals import MetadataTampered, TrustFileMissing

PACKED = "packed"  # what a volume's bundle folder is called until the bundle has its number for good
_FORMAT = "tidegate-unsigned/1"
_TYPE = "application/vnd.tidegate.unsigned+json"
_SEAL = "unsigned.json"
_DOCUMENTS = "documents"


class UnsignedBundleRefused(BundleRefused):
    """An unsigned bundle that cannot be finished, or not yet."""

    exit_code: ClassVar[int] = 217
    next_step: ClassVar[str] = (
        "Not signed yet: `tidegate trust publish FOLDER`, then the same command. Number taken, or contents overtaken: "
        "`tidegate bundles redraft DIR --draft FOLDER` (nothing is packed again). Edited: remove the hidden folder "
        "and repeat `tidegate bundles create`."
    )

    def __init__(self, at: str, problem: str) -> None:
        super().__init__(f"{at}: {problem}")
        self.at, self.problem = at, problem


@dataclass(frozen=True)
class Unsigned:
    """A bundle in its hidden folder."""

    hidden: Path
    packed: Packed
    relayed: frozenset[str]  # paths of release documents that the origin behind this one signs for
    lines: tuple[str, ...]  # of README.txt: what it carries


def place_of(out: Path, home: Home, site: str, bundle: str) -> Path:
    """Return the hidden folder for a bundle."""
    return out / f"{_start(home)}{site}-{bundle}"


def write(work: Workplace, one: Unsigned) -> None:
    """Write documents and list, durably, in place of those that are there. The chunks lie there already."""
    packed = one.packed
    documents = {**packed.shared, PLAN: plan.encode_plan(packed.plan)}
    place = one.hidden / _DOCUMENTS
    place.mkdir(exist_ok=True)
    for data in documents.values():
        write_durably(place / sha256_hex(data), data)
    digests = {path: sha256_hex(data) for path, data in documents.items()}
    sealed = {
        "format": _FORMAT,
        "export": packed.export.path,
        "documents": digests,
        "relayed": sorted(one.relayed),
        "lines": list(one.lines),
        "notes": list(packed.notes),
    }
    envelope = sign(canonical_bytes(sealed), _TYPE, work.station).to_json()
    signature = parse(envelope, max_bytes=MAX_SMALL, at=_SEAL)
    write_durably(one.hidden / _SEAL, pretty_bytes({"sealed": sealed, "signature": signature}))
    for stale in {entry.name for entry in place.iterdir()} - set(digests.values()):
        (place / stale).unlink()


def set_aside(work: Workplace, one: Unsigned, place: Path) -> Unsigned:
    """Write it, and let the folder have its name: from here on no other export removes it."""
    write(work, one)
    settle(one.hidden)
    one.hidden.rename(place)
    sync_directory(place.parent)
    return read(work, place)


def find(work: Workplace, place: Path) -> Path | None:
    """Return the hidden folder of the one bundle that waits at `place`, which may also be that folder itself.

    Raises:
        UnsignedBundleRefused: several wait there.
    """
    top = Path(os.path.realpath(place))
    if (top / _SEAL).is_file():
        return top
    start = _start(work.home)
    with_seal = (
        [one for one in sorted(top.glob(f"{start}*")) if (one / _SEAL).is_file()] if top.is_dir() else []
    )
    if len(with_seal) > 1:
        names = ", ".join(one.name for one in with_seal)
        raise UnsignedBundleRefused(str(place), f"{len(with_seal)} bundles wait here; name one: {names}")
    return with_seal[0] if with_seal else None


def read(work: Workplace, hidden: Path) -> Unsigned:
    """Return the bundle as this station set it aside; the chunks are not looked at.

    Raises:
        UnsignedBundleRefused: something is missing or not what it was.
    """
    try:
        sealed = _sealed(work, hidden)
        documents = {path: _document(hidden, digest) for path, digest in sealed["documents"].items()}
    except (NotCanonical, SignatureWrong, SignatureUncheckable, TrustFileMissing, MetadataTampered) as exc:
        raise UnsignedBundleRefused(hidden.name, f"is not as it was set aside here ({exc})") from exc
    data = documents.pop(PLAN)
    body = documents[sealed["export"]]
    export = decode_export(body, at=sealed["export"])
    table = tables.decode_table(documents[TABLE], export)
    made = plan.decode_plan(data, sizes={chunk.chunk: chunk.size for chunk in table.chunks})
    packed = Packed(
        layout=layout_of(hidden, export, made),
        table=table,
        export=export,
        body=body,
        releases=tuple(decode_release(documents[one.path], at=one.path) for one in export.releases),
        shared=documents,
        notes=tuple(sealed["notes"]),
    )
    return Unsigned(hidden, packed, frozenset(sealed["relayed"]), tuple(sealed["lines"]))


def layout_of(hidden: Path, export: Export, made: Plan) -> Layout:
    """Return the layout of volumes below `hidden` that have the bundle's own name."""
    return Layout(lambda index: volume_of(hidden, index) / export.bundle, made.volumes, made.parity)


def volume_of(hidden: Path, index: int) -> Path:
    """Return the folder of one volume."""
    return hidden / f"volume-{index:02d}"


def stored(packed: Packed, index: int) -> Mapping[str, tuple[str, int]]:
    """Return path to (name, bytes) of every chunk and parity piece of one volume."""
    sizes = {chunk.chunk: chunk for chunk in packed.table.chunks}
    pieces = {name: size for one in packed.layout.parity for name, size in one.pieces().items()}
    volume = packed.layout.volumes[index - 1]
    return {
        **{sizes[name].path: (name, sizes[name].size) for name in volume.chunks},
        **{plan.piece_path(name): (name, pieces[name]) for name in volume.parity},
    }


def _start(home: Home) -> str:
    return f".unsigned-{home.name}-"


def _sealed(work: Workplace, hidden: Path) -> dict[str, Any]:
    """Return the signed list. Raises what `read` turns into its refusal."""
    data = read_inside(hidden, _SEAL, max_bytes=MAX_SMALL)
    value = parse(data, max_bytes=MAX_SMALL, at=_SEAL)
    if not isinstance(value, dict) or set(value) != {"sealed", "signature"}:
        raise NotCanonical("sealed and signature are expected", at=_SEAL)
    key = work.station.public_key
    envelope = Envelope.from_json(pretty_bytes(value["signature"]), at=_SEAL)
    verify(canonical_bytes(value["sealed"]), envelope, {key.keyid: key}, payload_type=_TYPE)
    sealed: dict[str, Any] = value["sealed"]
    if sealed["format"] != _FORMAT:
        raise NotCanonical(f"another format than {_FORMAT}", at=_SEAL)
    return sealed


def _document(hidden: Path, digest: str) -> bytes:
    assert is_sha256(digest), "this station signed the list"
    data = read_inside(hidden, f"{_DOCUMENTS}/{digest}", max_bytes=MAX_SMALL)
    if sha256_hex(data) != digest:
        raise MetadataTampered(f"{_DOCUMENTS}/{digest}", "holds other bytes than its name says")
    return data
