"""Finds the volumes of a bundle below the folders that a person named, and reads what is small in them.

Nothing is ever written, no link is followed, nothing but plain files and folders is opened, and every read has a
cap. What is found here is not trusted: `signing.trust` says whether the documents may be believed, `interpret`
whether they fit together, `pipelines.bundle.checks` whether the volumes hold what the documents promise.
"""

import os
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pipelines.bundle import documents, plan, tables
from pipelines.bundle.documents import Export, Release
from pipelines.bundle.errors import (
    BundlesMixed,
    FilesDamaged,
    FormatTooNew,
    MalformedBundle,
    MediumUnreadable,
    NotABundle,
    PlanUntrusted,
)
from pipelines.bundle.history import MAX_HISTORY, Sent
from pipelines.bundle.history import decode as decode_history
from pipelines.bundle.plan import Label, Plan
from pipelines.bundle.tables import Table
from pipelines.errors import BundleRefused
from registry.manifests import MAX_BYTES as MAX_MANIFEST
from registry.manifests import Manifest
from registry.manifests import decode as decode_manifest
from signing.canonical import NotCanonical, parse, pretty_bytes
from signing.digests import sha256_hex
from signing.envelope import MAX_SIGNATURE_FILE, Envelope, SignatureUncheckable, SignatureWrong, verify
from signing.folder import read_inside
from signing.keys import public_key_from_json
from signing.refusals import MetadataTampered, TrustFileMissing
from signing.roots import PEOPLE_PATH

LABEL, SUMS, README, TABLE = "volume.json", "SHA256SUMS", "README.txt", "chunks.jsonl"
PLAN, PLAN_SIGNATURE, HISTORY = "plan.json", "plan.sig.json", "history.jsonl"
TOOL_CONTRACT = "tool-contract"
# The only small files that may differ from volume to volume: what lies where.
OWN_FILES = (LABEL, SUMS, PLAN, PLAN_SIGNATURE)
STORED = ("chunks/", "parity/")  # where everything lies that is no small file
_STORED_FILE = re.compile(r"(?:chunks|parity)/([0-9a-f]{2})/(\1[0-9a-f]{62})(?:\.[a-z0-9]+)?")
MAX_ENTRIES = 500_000  # files and folders of one volume that are listed
MAX_SMALL = 192 << 20  # bytes of all small files of one volume together
_MAX_README = 64 << 10
_CAPS: Mapping[str, int] = {
    LABEL: 4096,
    SUMS: plan.MAX_SUMS,
    README: _MAX_README,
    TABLE: tables.MAX_TABLE,
    HISTORY: MAX_HISTORY,
    PLAN: plan.MAX_PLAN,
    PLAN_SIGNATURE: MAX_SIGNATURE_FILE,
}


@dataclass(frozen=True)
class VolumeFolder:
    """One volume as it lies on a medium."""

    path: Path
    label: Label
    files: Mapping[str, int]  # relative path to bytes, plain files only
    strange: tuple[str, ...]  # links, devices and the like
    refusal: BundleRefused | None = None  # why it is not known which volume this is

    @property
    def name(self) -> str:
        """What to call it in a refusal."""
        return f"volume {self.label.index}" if self.refusal is None else str(self.path)

    def small(self) -> Iterator[str]:
        """Yield the paths of everything that is no chunk and no parity."""
        yield from (path for path in sorted(self.files) if not path.startswith(STORED))

    def read(self, path: str) -> bytes:
        """Return a small file. Raises `FilesDamaged`, naming volume and path."""
        try:
            return read_inside(self.path, path, max_bytes=_CAPS.get(path, MAX_MANIFEST))
        except TrustFileMissing as exc:
            raise FilesDamaged([f"{self.name}, {path}: {exc.problem}"]) from exc
        except MetadataTampered as exc:
            raise FilesDamaged([f"{self.name}, {path}: {exc.problem}"]) from exc


@dataclass(frozen=True)
class Bundle:
    """The documents of a bundle, fitted together. Whether they may be believed is not said here."""

    export: Export
    digest: str  # of the export document
    releases: tuple[Release, ...]
    manifests: Mapping[str, Manifest]  # by digest
    table: Table
    history: tuple[Sent, ...]  # the bundles before this one
    small: Mapping[str, bytes]  # path to bytes of everything that is the same on every volume

    @cached_property
    def chunks(self) -> dict[str, tables.Chunk]:
        """Every chunk by its name."""
        return {chunk.chunk: chunk for chunk in self.table.chunks}

    def chunks_of(self, blob: str) -> set[str]:
        """Return the names of the chunks that a blob's parts lie in."""
        return {self.table.chunks[number].chunk for number in self.table.chunks_of(blob)}

    def blobs_of(self, release: Release) -> set[str]:
        """Return the blobs of a version that this bundle carries."""
        return {entry.sha256 for entry in self.manifests[release.digest].files} & set(self.table.blobs)

    def document(self, digest: str) -> bytes:
        """Return a document of `documents/`."""
        return self.small[document_path(digest)]


def document_path(digest: str) -> str:
    """Return where a small document lies."""
    return f"documents/{digest}.json"


def statement_paths(digest: str) -> tuple[str, str]:
    """Return where a statement and its signature lie."""
    return f"statements/{digest}.json", f"statements/{digest}.sig.json"


def gather(dirs: Sequence[Path]) -> list[VolumeFolder]:
    """Return the volumes of the one bundle that lies in or below these folders, by index.

    Two copies of a volume are both of use: where one is damaged, the other is read. A volume that cannot be told
    apart any more comes with its `refusal`, as long as there is another one.

    Raises:
        NotABundle: nothing there. BundlesMixed: volumes of several bundles.
        MalformedBundle, FormatTooNew, FilesDamaged: there is no volume.json that is one.
        MediumUnreadable: the file system says no.
    """
    found = [_open_volume(path) for path in _candidates(dirs)]
    if not found:
        raise NotABundle([str(path) for path in dirs])
    known = [volume for volume in found if volume.refusal is None]
    if not known and (refusal := found[0].refusal) is not None:
        raise refusal
    if len({volume.label.bundle for volume in known}) > 1:
        raise BundlesMixed(sorted(f"{v.path} (bundle {v.label.bundle})" for v in known))
    return sorted(found, key=lambda volume: (volume.label.index, str(volume.path)))


def _candidates(dirs: Sequence[Path]) -> list[Path]:
    """Folders with a volume.json: the named ones, those in them, and those in their `volume-*` folders."""
    found: dict[str, Path] = {}
    for place in dirs:
        top = Path(os.path.realpath(place))
        if not top.is_dir():
            raise NotABundle([str(place)], "not a folder")
        level = [top] if _has_label(top) else [child for child in _folders(top) if _has_label(child)]
        if not level:
            holders = [child for child in _folders(top) if child.name.startswith("volume-")]
            level = [child for holder in holders for child in _folders(holder) if _has_label(child)]
        found.update((str(path), path) for path in level)
    return list(found.values())


def _folders(path: Path) -> list[Path]:
    try:
        with os.scandir(path) as entries:
            return sorted(Path(entry.path) for entry in entries if entry.is_dir(follow_symlinks=False))
    except OSError as exc:
        raise MediumUnreadable(str(path), exc.strerror or "cannot be listed") from exc


def _has_label(folder: Path) -> bool:
    return os.path.lexists(folder / LABEL)


def _open_volume(path: Path) -> VolumeFolder:
    blank = Label("", 1, 1, "")
    try:
        files, strange = _listing(path)
        data = VolumeFolder(path, blank, files, strange).read(LABEL)
        label = plan.decode_label(data, at=str(path / LABEL))
    except FilesDamaged:
        refusal = FilesDamaged([f"{path / LABEL}: not a plain readable file of this format"])
        return VolumeFolder(path, blank, {}, (), refusal)
    except (MalformedBundle, FormatTooNew, MediumUnreadable) as exc:
        return VolumeFolder(path, blank, {}, (), exc)
    return VolumeFolder(path, label, files, strange)


def _shown(name: str) -> str:
    """A name as it may stand in a sentence: a line of its own, or a colour, is not for a stranger to write."""
    text = os.fsencode(name).decode("utf-8", "backslashreplace")
    return text if text.isprintable() else text.encode("unicode_escape").decode("ascii")


def _listing(top: Path) -> tuple[dict[str, int], tuple[str, ...]]:
    files: dict[str, int] = {}
    strange: list[str] = []
    todo, seen = [(top, "")], 0
    while todo:
        folder, prefix = todo.pop()
        children = 0
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    seen, children = seen + 1, children + 1
                    if seen > MAX_ENTRIES:
                        raise MalformedBundle(f"more than {MAX_ENTRIES} files", at=str(top))
                    relative = prefix + _shown(entry.name)
                    info = entry.stat(follow_symlinks=False)
                    if stat.S_ISDIR(info.st_mode):
                        todo.append((Path(entry.path), relative + "/"))
                    elif stat.S_ISREG(info.st_mode):
                        files[relative] = info.st_size
                    else:
                        strange.append(relative)
        except OSError as exc:
            raise MediumUnreadable(str(folder), exc.strerror or "cannot be listed") from exc
        if not children and prefix:
            strange.append(prefix)  # the writer leaves no empty folder
    return files, tuple(sorted(strange))


@dataclass(frozen=True)
class SmallFiles:
    """What was read of one volume's small files; the bytes of those that all volumes share are not kept."""

    volume: VolumeFolder
    own: Mapping[str, bytes]  # path to bytes, of `OWN_FILES`
    listed: Mapping[str, str]  # path to SHA-256: all of SHA256SUMS
    problems: tuple[str, ...]  # what is not as SHA256SUMS says

    @property
    def shared(self) -> dict[str, str]:
        """Path to SHA-256 of what must be the same on every volume."""
        return {
            path: digest
            for path, digest in self.listed.items()
            if path not in OWN_FILES and not path.startswith(STORED)
        }

    def read_shared(self) -> dict[str, bytes]:
        """Return path to bytes of what all volumes share. Raises `FilesDamaged`."""
        return {path: _listed_bytes(self.volume, path, digest) for path, digest in self.shared.items()}


def read_small(volume: VolumeFolder) -> SmallFiles:
    """Read every small file of a volume and hold it against the list beside it.

    Files that no list names are the business of `checks`.
    """
    if volume.refusal is not None:
        return SmallFiles(volume, {}, {}, (str(volume.refusal),))
    if sum(volume.files[path] for path in volume.small()) > MAX_SMALL:
        raise MalformedBundle(f"more than {MAX_SMALL} bytes of documents", at=volume.name)
    problems: list[str] = []
    own: dict[str, bytes] = {}
    try:
        listed = plan.decode_sums(volume.read(SUMS), at=f"{volume.name}, {SUMS}")
    except FilesDamaged as exc:
        return SmallFiles(volume, own, {}, exc.problems)
    for path, expected in listed.items():
        if path.startswith(STORED):
            match = _STORED_FILE.fullmatch(path)
            if match is None or match[2] != expected:
                problems.append(f"{volume.name}, {SUMS}: lists {path} as another file than its name says")
            continue
        try:
            data = _listed_bytes(volume, path, expected)
        except FilesDamaged as exc:
            problems += exc.problems
            continue
        if path in OWN_FILES:
            own[path] = data
    return SmallFiles(volume, own, listed, tuple(problems))


def _listed_bytes(volume: VolumeFolder, path: str, expected: str) -> bytes:
    data = volume.read(path)
    if sha256_hex(data) != expected:
        raise FilesDamaged([f"{volume.name}, {path}: not the bytes that {SUMS} lists"])
    return data


def differences(small: SmallFiles, lead: SmallFiles) -> list[str]:
    """Return what is not the same on a volume as on the one whose documents are believed."""
    mine, theirs = small.shared, lead.shared
    return [
        f"{small.volume.name}, {path}: not the same as on {lead.volume.name}"
        for path in sorted(set(mine) | set(theirs))
        if mine.get(path) != theirs.get(path)
    ]


def interpret(small: Mapping[str, bytes], export_path: str) -> Bundle:
    """Fit the documents together: everything that the export document pins must be there, byte for byte.

    Args:
        small: what every volume has, of `SmallFiles.read_shared`.
        export_path: which of them is the export document.

    Raises:
        MalformedBundle, FormatTooNew, EncodingUnknown: naming document and field.
        MalformedManifest: a version's manifest is not one.
    """
    data = _part(small, export_path)
    export = documents.decode_export(data, at=export_path)
    digest = sha256_hex(data)
    releases = tuple(_release(small, shipped.path, shipped.sha256) for shipped in export.releases)
    for document in export.documents:
        _pinned(small, document_path(document.digest), document.digest, size=document.size)
    for statement in export.statements:
        payload, signature = statement_paths(statement.digest)
        _pinned(small, payload, statement.digest)
        _pinned(small, signature, statement.signature)
    _pinned(small, README, export.readme)
    table = tables.decode_table(_pinned(small, TABLE, export.chunks.sha256, size=export.chunks.size), export)
    lines = _pinned(small, HISTORY, export.history.sha256, size=export.history.size)
    sent = decode_history(lines, below=export.sequence, at=HISTORY)
    manifests = {release.digest: _manifest(small, release, export) for release in releases}
    return Bundle(export, digest, releases, manifests, table, sent, small)


def _part(small: Mapping[str, bytes], path: str) -> bytes:
    if path not in small:
        raise MalformedBundle("missing from the bundle", at=path)
    return small[path]


def _pinned(small: Mapping[str, bytes], path: str, sha256: str, *, size: int | None = None) -> bytes:
    data = _part(small, path)
    if sha256_hex(data) != sha256:
        raise MalformedBundle(f"is not the file {sha256[:12]} that the export document names", at=path)
    if size is not None and len(data) != size:
        raise MalformedBundle(f"the export document says {size} bytes", at=path)
    return data


def _release(small: Mapping[str, bytes], path: str, sha256: str) -> Release:
    release = documents.decode_release(_pinned(small, path, sha256), at=path)
    if release.path != path:
        raise MalformedBundle(f"says that it is {release.path}", at=path)
    return release


def _manifest(small: Mapping[str, bytes], release: Release, export: Export) -> Manifest:
    """The manifest of a release, with every file of it carried or assumed, and its ModelPack form beside it."""
    shipped = {document.digest: document.kind for document in export.documents}
    wanted = [release.digest, release.modelpack, *([release.contract] if release.contract else [])]
    for digest in wanted:
        if digest not in shipped:
            raise MalformedBundle(
                f"names document {digest[:12]}, which the export does not ship", at=release.path
            )
    if release.contract is not None and shipped[release.contract] != TOOL_CONTRACT:
        raise MalformedBundle(
            f"its tool contract {release.contract[:12]} is shipped as {shipped[release.contract]}",
            at=release.path,
        )
    manifest = decode_manifest(small[document_path(release.digest)])
    if manifest.model != release.model:
        raise MalformedBundle(f"its manifest is of {manifest.model}", at=release.path)
    config = modelpack_config(small[document_path(release.modelpack)], at=release.path)
    if config not in shipped:
        raise MalformedBundle(f"its ModelPack configuration {config[:12]} is not shipped", at=release.path)
    known = {blob.sha256: blob.size for blob in (*export.blobs, *export.assumed)}
    for number, entry in enumerate(manifest.files):
        if known.get(entry.sha256) != entry.size:
            raise MalformedBundle(
                f"{entry.path} ({entry.sha256[:12]}, {entry.size} bytes) is neither carried nor assumed",
                at=f"{release.path}, manifest.files[{number}]",
            )
    return manifest


def modelpack_config(data: bytes, *, at: str) -> str:
    """Return the SHA-256 of the configuration that a ModelPack manifest names. Raises `MalformedBundle`."""
    try:
        value = parse(data, max_bytes=MAX_MANIFEST, at=f"{at}, modelpack")
    except NotCanonical as exc:
        raise MalformedBundle(exc.problem, at=exc.at) from exc
    config = value.get("config") if isinstance(value, dict) else None
    digest = config.get("digest") if isinstance(config, dict) else None
    if not isinstance(digest, str) or not digest.startswith("sha256:"):
        raise MalformedBundle("no configuration digest", at=f"{at}, modelpack.config.digest")
    return digest.removeprefix("sha256:")


class Plans:
    """Reads the plans that the volumes of a bundle bring. The same bytes are read once, however many bring them."""

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle
        self._key = public_key_from_json(pretty_bytes(dict(bundle.export.packer)))
        self._sizes = {chunk.chunk: chunk.size for chunk in bundle.table.chunks}
        self._read: dict[tuple[str, str], Plan] = {}  # by the SHA-256 of plan and signature

    def read(self, small: SmallFiles) -> Plan:
        """Return the plan of a volume, signed by the packer that the export names, with the label that fits it.

        Raises:
            MalformedBundle, FormatTooNew, PlanUntrusted: naming the volume.
        """
        volume, name = small.volume, small.volume.name
        if absent := [path for path in (PLAN, PLAN_SIGNATURE) if path not in small.own]:
            raise MalformedBundle("missing from the bundle", at=f"{name}, {absent[0]}")
        seen = sha256_hex(small.own[PLAN]), sha256_hex(small.own[PLAN_SIGNATURE])
        if seen not in self._read:
            self._read[seen] = self._decode(small.own[PLAN], small.own[PLAN_SIGNATURE], name)
        found, label = self._read[seen], volume.label
        fitting = plan.Label(found.bundle, label.index, len(found.volumes), seen[0])
        if label.index > len(found.volumes) or label != fitting:
            raise MalformedBundle("is not what the plan says of this volume", at=f"{name}, {LABEL}")
        return found

    def _decode(self, data: bytes, signature: bytes, name: str) -> Plan:
        try:
            envelope = Envelope.from_json(signature, at=PLAN_SIGNATURE)
            verify(data, envelope, {self._key.keyid: self._key}, payload_type=plan.PLAN_TYPE)
        except NotCanonical as exc:
            raise MalformedBundle(exc.problem, at=f"{name}, {exc.at}") from exc
        except (SignatureWrong, SignatureUncheckable) as exc:
            raise PlanUntrusted(f"{name}: {exc}") from exc
        found = plan.decode_plan(data, sizes=self._sizes, at=f"{name}, {PLAN}")
        if found.bundle != self._bundle.export.bundle or found.export != self._bundle.digest:
            raise MalformedBundle(f"is the plan of bundle {found.bundle}", at=f"{name}, {PLAN}")
        return found


def read_plan(small: SmallFiles, bundle: Bundle) -> Plan:
    """Return the plan that one volume brings. Raises: as `Plans.read`."""
    return Plans(bundle).read(small)


def declared(bundle: Bundle) -> set[str]:
    """Return the path of every small file that the bundle's documents account for, trust metadata apart."""
    export = bundle.export
    paths = {*OWN_FILES, README, TABLE, HISTORY, export.path}
    paths.update({PEOPLE_PATH} & bundle.small.keys())  # the trust walk decides whether it may lie here
    paths.update(release.path for release in export.releases)
    paths.update(document_path(document.digest) for document in export.documents)
    for statement in export.statements:
        paths.update(statement_paths(statement.digest))
    return paths
