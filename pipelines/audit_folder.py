"""Writes the audit folder: the whole log, and beside it what stands behind each of its lines, for tools that are not ours.

The folder proves itself: `verifier/verify.py` reads it with nothing of this product, and a person with `sha256sum`,
`ssh-keygen` and `openssl` can. The log is always whole, else it proves nothing; what lies beside it can be narrowed to
some versions, or left out where it names people. Format: airgap-bundles/AUDIT.md.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from pipelines import audit_rows, carried_signatures
from pipelines.audit_readme import readme
from pipelines.model_signatures import HOME, ORIGIN
from pipelines.workplace import Workplace
from registry.entities import RECORDED, Document, ModelSignature, Row
from registry.errors import NotFound
from registry.log_tree import LogTree, log_name
from registry.redaction import demand_salted
from registry.views import View
from signing import checkpoint, cosignature, keys, tlog_proof
from signing.canonical import canonical_bytes, parse, pretty_bytes
from signing.digests import sha256_hex
from signing.tiles import WIDTH, entries_of, tiles_of
from signing.times import rfc3339

FORMAT = "tidegate-audit/1"
SUMS = "SHA256SUMS"
_BODY = 64 << 20  # bytes
_SERVED = ("promoted", "rolled back")  # kinds of event that get a proof file of their own

Files = Iterator[tuple[str, bytes]]


@dataclass(frozen=True)
class Narrowing:
    """What is left out of a folder."""

    model: str | None = None  # only versions of this model
    since: str | None = None  # only versions that some tier served at this moment (RFC 3339) or later
    redact: bool = False  # nothing that names people or holds their words

    def __str__(self) -> str:
        said = [f"versions of other models than {self.model}"] if self.model else []
        said += [f"versions that nothing served since {self.since}"] if self.since else []
        said += ["names, reasons and whatever people signed"] if self.redact else []
        return ", ".join(said)


@dataclass(frozen=True)
class Exported:
    """What was written."""

    size: int  # events
    root: str
    log_key: str
    files: int
    left_out: str | None


def export(work: Workplace, folder: Path, narrowing: Narrowing) -> Exported:
    """Write the folder, which is empty or not there yet.

    Raises:
        NotFound: an empty log, or no such model.
        NamesInTheClear: a redacted folder of a log that cannot be redacted.
    """
    sums: dict[str, str] = {}
    with work.store.view() as view:
        head = view.head()
        if head is None:
            raise NotFound("event in the log of", work.home.name)
        if narrowing.redact:
            demand_salted(work.home.name, (line[5].encode() for line in chain.from_iterable(view.logged())))
        about, versions = _about(work, view, narrowing), _versions(view, narrowing)
        for path, data in _files(work, view, about, versions, redact=narrowing.redact):
            _write(folder, path, data)
            sums[path] = sha256_hex(data)
    lines = "".join(f"{sums[path]}  {path}\n" for path in sorted(sums))
    _write(folder, SUMS, lines.encode())
    return Exported(head.size, head.root, about["log_key"], len(sums), about["left_out"])


def log_key(work: Workplace) -> str:
    """Return the log's key as an auditor writes it: `name+hash+base64`."""
    return checkpoint.verifier_key(
        log_name(work.home.name), _public(work.station.public_key.keyval["public"])
    )


@dataclass(frozen=True)
class _Versions:
    """Every version's digest with its name, and those whose files are written."""

    names: Mapping[str, str]
    wanted: Collection[str]

    def take(self, row: Row) -> bool:
        """Whether a row is about one of these, or about none."""
        version = audit_rows.version_of(row, self.names)
        return version is None or version in self.wanted


def _files(
    work: Workplace, view: View, about: Mapping[str, Any], versions: _Versions, *, redact: bool
) -> Files:
    yield "audit.json", canonical_bytes(dict(about))
    yield "README.txt", readme(about).encode()
    yield from _log(view, redact=redact)
    yield from _heads(view)
    yield from _keys(about)
    yield from _trust(work, view)
    written, signing_keys = set[str](), carried_signatures.keys_of(work, view)
    for row in filter(versions.take, _rows(view)):
        found = chain(
            audit_rows.files_of(row), _bill(row, versions.names), _model_signature(row, signing_keys)
        )
        for path, data in _without_words(found) if redact else found:
            if path not in written:
                written.add(path)
                yield path, data
    if not redact:
        people = view.people_recorded()
        shown = [{**row.content(), "public_key": row.public_key} for row in people]
        yield "people/people.json", pretty_bytes(shown)
        yield "people/allowed_signers", audit_rows.allowed_signers(people)


def _about(work: Workplace, view: View, narrowing: Narrowing) -> dict[str, Any]:
    head, enrolment = view.head(), view.enrolment()
    assert head is not None
    return {
        "format": FORMAT,
        "critical": [],
        "home": work.home.name,
        "profile": work.home.profile,
        "roles": list(work.home.roles),
        "made_at": rfc3339(work.now),
        "size": head.size,
        "root": head.root,
        "log_key": log_key(work),
        "station": parse(keys.public_key_json(work.station), max_bytes=_BODY),
        "witnesses": sorted(set(_witnesses(view))),
        "enrolment": enrolment.fingerprint if enrolment else None,
        "left_out": str(narrowing) or None,
    }


def _log(view: View, *, redact: bool) -> Files:
    """The log as C2SP tiles, a proof for every event that changed what serves, and what opens the salted values."""
    tree, head = LogTree(view), view.head()
    assert head is not None
    yield "log/checkpoint", head.note.encode()
    for tile in tiles_of(tree.size):
        assert tile.level is not None
        yield f"log/{tile.path}", tree.tile(tile.level, tile.index)
    for bundle in entries_of(tree.size):
        yield f"log/{bundle.path}", tree.entries(bundle.index, bundle.width)
        for position, leaf in tree.long_leaves(bundle.index, bundle.width).items():
            yield f"log/long/{position}", leaf
    for entry in (entry for kind in _SERVED for entry in view.events(kind=kind)):
        leaf, path = view.event(entry.position).leaf.encode(), tree.inclusion(entry.position)
        proof = tlog_proof.write(tlog_proof.TlogProof(entry.position, path, head.note, leaf))
        yield f"log/proofs/{entry.position}{tlog_proof.SUFFIX}", proof
    if not redact:
        yield from _openings(view)


def _openings(view: View) -> Files:
    """`log/openings/<n>.jsonl`: the openings of the events of entry bundle n, one line for each that has any."""
    number, lines = 0, list[bytes]()
    for position, *_, opened in chain.from_iterable(view.logged()):
        if position // WIDTH != number:
            yield from _lines(number, lines)
            number, lines = position // WIDTH, []
        if opened:
            openings = parse(opened.encode(), max_bytes=_BODY)
            lines.append(canonical_bytes({"position": position, "openings": openings}) + b"\n")
    yield from _lines(number, lines)


def _lines(number: int, lines: list[bytes]) -> Files:
    if lines:
        yield f"log/openings/{number}.jsonl", b"".join(lines)


def _heads(view: View) -> Files:
    """Our heads that others cosigned, and heads of others that were held against what was seen of them before."""
    for cosigned in view.cosigned():
        yield f"log/cosigned/{cosigned.size}-{cosigned.witness}", cosigned.note.encode()
    for number, row in enumerate(view.witnessed(), start=1):
        note = cosignature.with_line(row.note, row.cosignature) if row.cosignature else row.note
        yield f"log/witnessed/{number}-{row.outcome}", note.encode()


def _witnesses(view: View) -> Iterator[str]:
    """The cosigners' keys: a site's is the one that it was added with, an origin's the one in the newest bundle of it."""
    known = {site.name: parse(site.identity.encode(), max_bytes=_BODY) for site in view.sites()}
    for taken in view.imports():
        export = parse(taken.body.encode(), max_bytes=_BODY)
        known[export["origin"]] = export["packer"]
    for name in {row.witness for row in view.cosigned()} & set(known):
        yield cosignature.cosigner_key(log_name(name), _public(known[name]["keyval"]["public"]))


def _keys(about: Mapping[str, Any]) -> Files:
    yield "keys/station.pub.json", pretty_bytes(about["station"])
    station = _public(about["station"]["keyval"]["public"])
    yield "keys/station.pem", station.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def _trust(work: Workplace, view: View) -> Files:
    """What this home publishes as an origin, and what a site remembers of its origin."""
    if work.home.is_origin:
        for path in sorted(work.home.trust.glob("*.json")):
            yield f"trust/published/{path.name}", path.read_bytes()
    if (enrolment := view.enrolment()) is not None:
        yield "trust/enrolled.root.json", enrolment.root.encode()
    if imports := view.imports():
        remembered = parse(imports[-1].metadata_body.encode(), max_bytes=_BODY)
        for name, text in remembered.items() if isinstance(remembered, dict) else ():
            if isinstance(text, str):
                yield f"trust/remembered/{name}.json", text.encode()


def _versions(view: View, narrowing: Narrowing) -> _Versions:
    """Raises `NotFound`: no version of that model."""
    rows = view.version_columns()
    wanted = {digest for model, _, digest in rows if narrowing.model in (None, model)}
    if narrowing.model is not None and not wanted:
        raise NotFound("model", narrowing.model)
    if narrowing.since is not None:
        served = {pin.version for pin in view.pins(at=narrowing.since)}
        wanted &= served | {pin.version for pin in view.pin_history() if pin.since >= narrowing.since}
    return _Versions({digest: f"{model}@{ordinal}" for model, ordinal, digest in rows}, wanted)


def _rows(view: View) -> Iterator[Row]:
    for table in RECORDED:
        names = list(table.model_fields)
        for columns in chain.from_iterable(view.recorded_in(table)):
            yield table.model_construct(**dict(zip(names, columns, strict=True)))


def _bill(row: Row, versions: Mapping[str, str]) -> Files:
    if isinstance(row, Document) and row.kind == "ml-bom":
        for digest in (digest for digest, name in versions.items() if name == row.name):
            yield f"versions/{digest}/bom.json", row.body.encode()


def _model_signature(row: Row, known: Mapping[str, bytes]) -> Files:
    """The signature that this home or its origin made over a version, and the key to check it with, by plain names."""
    if isinstance(row, ModelSignature) and row.source in (HOME, ORIGIN) and row.signer in known:
        yield f"versions/{row.version}/model.sig", row.body.encode()
        yield f"versions/{row.version}/model.pem", known[row.signer]


def _without_words(found: Files) -> Files:
    """What holds nobody's name or words: versions and their signatures."""
    yield from ((path, data) for path, data in found if path.startswith("versions/"))


def _public(hexadecimal: str) -> Ed25519PublicKey:
    return Ed25519PublicKey.from_public_bytes(bytes.fromhex(hexadecimal))


def _write(folder: Path, path: str, data: bytes) -> None:
    place = folder / path
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(data)
