"""The two signed documents of a bundle: what a version is (release), and what is shipped to whom (export).

Pure: bytes in, values out, and back. Both are canonical JSON and TUF targets; a release document belongs to the
catalogue and never changes once published, an export document belongs to one site and has a number of its own.
Changing the meaning of a field means a new format number; a new field means nothing to older readers unless its
name stands in `critical`. Published as `airgap-bundles/SPEC.md`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipelines.bundle import heads
from pipelines.bundle.errors import MalformedBundle
from pipelines.bundle.fields import Fields
from pipelines.bundle.heads import Heads
from registry.names import model_name
from signing.canonical import NotCanonical, canonical_bytes, pretty_bytes
from signing.errors import OperatorError
from signing.keys import public_key_from_json
from signing.summaries import NOTHING_SAID, Transfer

EXPORT_FORMAT = "tidegate-export/1"
RELEASE_FORMAT = "tidegate-release/1"
MAX_EXPORT = 16 << 20  # bytes, as in `signing.stream`; 100,000 files are about 10 MB
MAX_RELEASE = 1 << 20
BUNDLE_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,47}")  # a folder name on every file system

# Kinds of small documents that describe a version; every other kind is one of `registry.entities.Document`.
MANIFEST, MODELPACK, MODELPACK_CONFIG = "manifest", "modelpack", "modelpack-config"
MODEL_SIGNATURE = (
    "model-signature"  # its name is SOURCE/DIGEST: publisher or origin, and the version's manifest
)
VERSION_KINDS = (MANIFEST, MODELPACK, MODELPACK_CONFIG, MODEL_SIGNATURE)

_EXPORT_FIELDS = frozenset(
    (
        *("format", "critical", "bundle", "sequence", "audience", "origin", "issued_at", "previous"),
        *("next_expected_by", "base", "releases", "documents", "statements", "blobs", "assumed", "chunks"),
        *("withdrawals", "packer", "profile", "bases", "history", "readme", "transfer", "baseline"),
        "log",
    )
)
# What the chunks may be: `media` allows compact encodings; `guard` has raw bytes under real extensions only,
# because a guard between domains refuses what it cannot read.
MEDIA, GUARD = PROFILES = ("media", "guard")

_RELEASE_FIELDS = frozenset(
    ("format", "critical", "model", "ordinal", "digest", "modelpack", "contract", "statements")
)


@dataclass(frozen=True, slots=True)
class Sized:
    """A blob: its SHA-256 in hex and its size in bytes."""

    sha256: str
    size: int


@dataclass(frozen=True)
class ShippedRelease:
    """A release document in this bundle: its path and SHA-256."""

    path: str
    sha256: str


@dataclass(frozen=True)
class ShippedDocument:
    """A small document in `documents/`."""

    digest: str
    kind: str
    name: str
    size: int


@dataclass(frozen=True)
class ShippedStatement:
    """A statement in `statements/`: digest of its payload, its predicate, SHA-256 of the signature file beside it."""

    digest: str
    predicate: str
    signature: str


@dataclass(frozen=True)
class ShippedWithdrawal:
    """A version, by manifest digest, that may not serve any more."""

    version: str
    reason: str


@dataclass(frozen=True)
class Lines:
    """What a file of lines must be (`chunks.jsonl`, `history.jsonl`): SHA-256, bytes, lines."""

    sha256: str
    size: int
    count: int


@dataclass(frozen=True)
class AssumedReceived:
    """A person's word that the site holds what an earlier bundle carried, though no receipt came back."""

    sequence: int
    by: str
    reason: str


@dataclass(frozen=True)
class Export:
    """What one bundle carries to one site."""

    bundle: str
    sequence: int  # 1 is the first bundle for this site
    audience: str
    origin: str
    issued_at: str
    previous: str | None  # SHA-256 of the export document before this one
    next_expected_by: str | None
    receipt: str | None  # the receipt that proves what is assumed and what deltas build on
    assumed_received: tuple[AssumedReceived, ...]  # where no receipt proves it
    releases: tuple[ShippedRelease, ...]
    documents: tuple[ShippedDocument, ...]
    statements: tuple[ShippedStatement, ...]
    blobs: tuple[Sized, ...]  # carried
    assumed: tuple[Sized, ...]  # needed, left out
    bases: tuple[Sized, ...]  # held blobs that parts of carried ones are made from
    chunks: Lines
    history: Lines
    readme: str  # SHA-256 of README.txt
    profile: str
    withdrawals: tuple[ShippedWithdrawal, ...]
    packer: Mapping[str, Any]  # public key, as `signing.keys.public_key_json` writes it
    transfer: Transfer = NOTHING_SAID  # what people said of the transfer; left out of the bytes if nothing
    baseline: bool | None = None  # a site that has nothing may begin with it; None: older origins do not say
    log: Heads | None = None  # of the origin's log; None: older origins do not say

    @property
    def path(self) -> str:
        """Where it lies in the bundle; also its TUF target path."""
        return export_path(self.audience, self.sequence)

    @property
    def size(self) -> int:
        """Bytes of all blobs that the bundle carries."""
        return sum(blob.size for blob in self.blobs)


@dataclass(frozen=True)
class Release:
    """That a version exists: its number, its identity, and what came with it when it was first shipped."""

    model: str
    ordinal: int
    digest: str  # of the manifest
    modelpack: str  # SHA-256 of the ModelPack manifest
    contract: str | None  # tool contract that it keeps to
    statements: tuple[str, ...]

    @property
    def path(self) -> str:
        """Where it lies in the bundle; also its TUF target path."""
        return release_path(self.model, self.ordinal)


def export_path(site: str, sequence: int) -> str:
    """Return the TUF target path of an export document."""
    return f"exports/{site}/{sequence}.json"


def release_path(model: str, ordinal: int) -> str:
    """Return the TUF target path of a release document."""
    return f"releases/{model}/{ordinal}.json"


def encode_export(export: Export) -> bytes:
    """Return the canonical bytes."""
    return canonical_bytes(
        {
            "format": EXPORT_FORMAT,
            "critical": [],
            "bundle": export.bundle,
            "sequence": export.sequence,
            "audience": export.audience,
            "origin": export.origin,
            "issued_at": export.issued_at,
            "previous": export.previous,
            "next_expected_by": export.next_expected_by,
            "base": {
                "receipt": export.receipt,
                "assumed_received": [
                    {"sequence": a.sequence, "by": a.by, "reason": a.reason} for a in export.assumed_received
                ],
            },
            "profile": export.profile,
            "bases": [{"sha256": b.sha256, "size": b.size} for b in export.bases],
            "history": _lines(export.history),
            "readme": export.readme,
            "releases": [{"path": r.path, "sha256": r.sha256} for r in export.releases],
            "documents": [
                {"digest": d.digest, "kind": d.kind, "name": d.name, "size": d.size} for d in export.documents
            ],
            "statements": [
                {"digest": s.digest, "predicate": s.predicate, "signature": s.signature}
                for s in export.statements
            ],
            "blobs": [{"sha256": b.sha256, "size": b.size} for b in export.blobs],
            "assumed": [{"sha256": b.sha256, "size": b.size} for b in export.assumed],
            "chunks": _lines(export.chunks),
            "withdrawals": [{"version": w.version, "reason": w.reason} for w in export.withdrawals],
            "packer": dict(export.packer),
            **({"transfer": said} if (said := export.transfer.fields()) else {}),
            **({} if export.baseline is None else {"baseline": export.baseline}),
            **({} if export.log is None else {"log": heads.encode(export.log)}),
        }
    )


def decode_export(data: bytes, *, at: str = "export") -> Export:
    """Read an export document.

    Raises:
        MalformedBundle: naming the field.
        FormatTooNew: it names a critical field that this release does not know.
    """
    top = Fields.of(data, at=at, max_bytes=MAX_EXPORT, format=EXPORT_FORMAT, known=_EXPORT_FIELDS)
    bundle = top.text("bundle")
    if not BUNDLE_ID.fullmatch(bundle):
        raise MalformedBundle("a bundle id is lower-case letters, digits and '-'", at=f"{at}.bundle")
    if top.text("profile") not in PROFILES:
        raise MalformedBundle(f"one of {', '.join(PROFILES)} is needed", at=f"{at}.profile")
    base = top.below("base")
    export = Export(
        bundle=bundle,
        sequence=top.whole("sequence", least=1),
        audience=top.text("audience"),
        origin=top.text("origin"),
        issued_at=top.moment("issued_at"),
        previous=top.digest_or_none("previous"),
        next_expected_by=None if top.get("next_expected_by") is None else top.moment("next_expected_by"),
        receipt=base.digest_or_none("receipt"),
        assumed_received=tuple(
            AssumedReceived(a.whole("sequence", least=1), a.text("by"), a.text("reason"))
            for a in base.items("assumed_received")
        ),
        releases=tuple(ShippedRelease(r.text("path"), r.digest("sha256")) for r in top.items("releases")),
        documents=tuple(_document(item) for item in top.items("documents")),
        statements=tuple(
            ShippedStatement(s.digest("digest"), s.text("predicate"), s.digest("signature"))
            for s in top.items("statements")
        ),
        blobs=_blobs(top, "blobs"),
        assumed=_blobs(top, "assumed"),
        bases=_blobs(top, "bases"),
        chunks=_read_lines(top.below("chunks")),
        history=_read_lines(top.below("history")),
        readme=top.digest("readme"),
        profile=top.text("profile"),
        withdrawals=tuple(
            ShippedWithdrawal(w.digest("version"), w.text("reason")) for w in top.items("withdrawals")
        ),
        packer=_packer(top),
        transfer=_transfer(top.below("transfer")) if "transfer" in top.value else NOTHING_SAID,
        baseline=top.flag("baseline") if "baseline" in top.value else None,
        log=heads.decode(top.below("log")) if "log" in top.value else None,
    )
    _unique([r.path for r in export.releases], at=f"{at}.releases")
    _unique([d.digest for d in export.documents], at=f"{at}.documents")
    _unique([s.digest for s in export.statements], at=f"{at}.statements")
    _unique([b.sha256 for b in (*export.blobs, *export.assumed)], at=f"{at}.blobs")
    _unique([b.sha256 for b in (*export.blobs, *export.bases)], at=f"{at}.bases")
    _unique([w.version for w in export.withdrawals], at=f"{at}.withdrawals")
    return export


def encode_release(release: Release) -> bytes:
    """Return the canonical bytes."""
    return canonical_bytes(
        {
            "format": RELEASE_FORMAT,
            "critical": [],
            "model": release.model,
            "ordinal": release.ordinal,
            "digest": release.digest,
            "modelpack": release.modelpack,
            "contract": release.contract,
            "statements": list(release.statements),
        }
    )


def decode_release(data: bytes, *, at: str = "release") -> Release:
    """Read a release document. Raises `MalformedBundle`, `FormatTooNew`."""
    top = Fields.of(data, at=at, max_bytes=MAX_RELEASE, format=RELEASE_FORMAT, known=_RELEASE_FIELDS)
    try:
        model = model_name(top.text("model"))
    except MalformedBundle:
        raise
    except OperatorError as exc:
        raise MalformedBundle(str(exc), at=f"{at}.model") from exc
    return Release(
        model=model,
        ordinal=top.whole("ordinal", least=1),
        digest=top.digest("digest"),
        modelpack=top.digest("modelpack"),
        contract=top.digest_or_none("contract"),
        statements=top.digests("statements"),
    )


def _lines(lines: Lines) -> dict[str, Any]:
    return {"sha256": lines.sha256, "size": lines.size, "count": lines.count}


def _read_lines(fields: Fields) -> Lines:
    return Lines(fields.digest("sha256"), fields.whole("size"), fields.whole("count"))


def _document(item: Fields) -> ShippedDocument:
    return ShippedDocument(item.digest("digest"), item.text("kind"), item.text("name"), item.whole("size"))


def _blobs(top: Fields, name: str) -> tuple[Sized, ...]:
    return tuple(Sized(item.digest("sha256"), item.whole("size")) for item in top.items(name))


def _packer(top: Fields) -> Mapping[str, Any]:
    key = top.below("packer")
    try:
        public_key_from_json(pretty_bytes(key.value), at=key.at)
    except NotCanonical as exc:
        raise MalformedBundle(exc.problem, at=exc.at) from exc
    return key.value


def _transfer(said: Fields) -> Transfer:
    names = ("requester", "approver", "classification", "source_system", "destination_system", "medium")
    texts = {name: said.text(name) for name in names if name in said.value}
    return Transfer(**texts, control_numbers=tuple(said.texts("control_numbers", optional=True)))


def _unique(names: list[str], *, at: str) -> None:
    seen: set[str] = set()
    for number, name in enumerate(names):
        if name in seen:
            raise MalformedBundle(f"{name} stands twice", at=f"{at}[{number}]")
        seen.add(name)
