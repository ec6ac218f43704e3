"""A version's manifest: the canonical list of its files, whose SHA-256 is the version's identity.

Also the CNCF ModelPack manifest of the same files, so that OCI tools read the store without us.
Sources: DESIGN section 5; modelpack/model-spec `docs/spec.md`.
"""

import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from registry.errors import RegistryRefusal
from registry.names import model_name
from signing.canonical import NotCanonical, canonical_bytes, parse_canonical
from signing.digests import is_sha256, sha256_hex
from signing.errors import OperatorError

FORMAT = "tidegate-manifest/1"
MAX_BYTES = 16 << 20  # a manifest of 100,000 files is about 15 MB
MAX_FILES = 100_000
MAX_PATH = 512  # characters; also what OCI annotations and FAT can carry
LICENCE_STATES = ("stated", "not-stated", "not-readable")

MODELPACK = "application/vnd.cncf.model.manifest.v1+json"
_CONFIG = "application/vnd.cncf.model.config.v1+json"
FILEPATH = "org.cncf.model.filepath"
TITLE = (
    "org.opencontainers.image.title"  # what ORAS names a file by; without it a pull writes names of digests
)


class MalformedManifest(RegistryRefusal):
    """A version's list of files that is not one, or names a file that cannot be served everywhere."""

    exit_code: ClassVar[int] = 86
    next_step: ClassVar[str] = (
        "Do not use this version. Ask the origin's transfer officer to add the files again and ship them anew."
    )

    def __init__(self, problem: str, *, at: str) -> None:
        super().__init__(f"manifest, {at}: {problem}")
        self.problem, self.at = problem, at


@dataclass(frozen=True, order=True)
class FileEntry:
    """One file: POSIX path relative to the version's folder, size in bytes, SHA-256 in hex."""

    path: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Licence:
    """What the files say about their licence. `not-stated` and `not-readable` are different answers."""

    state: str = "not-stated"
    ids: tuple[str, ...] = ()


@dataclass(frozen=True)
class Upstream:
    """Where the files were taken from: `hf://namespace/name` and its 40-hex commit, or a folder (no commit)."""

    uri: str
    commit: str | None = None
    complete: bool = False  # exactly the commit's file set: then the commit is also our revision


@dataclass(frozen=True)
class Manifest:
    """An immutable version's files and facts. `digest` names it everywhere."""

    model: str
    files: tuple[FileEntry, ...]
    licence: Licence = field(default_factory=Licence)
    upstream: Upstream | None = None

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical bytes, 64 hex digits."""
        return sha256_hex(encode(self))

    @property
    def revision(self) -> str:
        """The one 40-hex id that Hugging Face clients see. Source: DESIGN section 5."""
        if self.upstream and self.upstream.complete and self.upstream.commit:
            return self.upstream.commit
        return self.digest[:40]

    @property
    def size(self) -> int:
        """Bytes of all files together."""
        return sum(entry.size for entry in self.files)


def encode(manifest: Manifest) -> bytes:
    """Return the canonical bytes."""
    upstream = manifest.upstream
    return canonical_bytes(
        {
            "format": FORMAT,
            "model": manifest.model,
            "files": [{"path": f.path, "size": f.size, "sha256": f.sha256} for f in manifest.files],
            "licence": {"state": manifest.licence.state, "ids": list(manifest.licence.ids)},
            "upstream": None
            if upstream is None
            else {"uri": upstream.uri, "commit": upstream.commit, "complete": upstream.complete},
        }
    )


def decode(data: bytes) -> Manifest:
    """Read untrusted bytes. Raises `MalformedManifest` and nothing else."""
    try:
        raw = parse_canonical(data, max_bytes=MAX_BYTES, at="$")
        manifest = _manifest(raw)
        again = encode(manifest)
    except NotCanonical as exc:
        raise MalformedManifest(exc.problem, at=exc.at) from exc
    if again != data:
        raise MalformedManifest("holds fields that this reader does not know", at="$")
    return manifest


def check_path(path: object, *, at: str) -> str:
    """Return a path that means the same file on every system we serve. Raises `MalformedManifest`."""
    if not isinstance(path, str) or not path or len(path) > MAX_PATH:
        raise MalformedManifest(f"a path has 1 to {MAX_PATH} characters", at=at)
    if any(ord(letter) < 32 or letter in '\\:*?"<>|\x7f' for letter in path):
        raise MalformedManifest(f"{path!r} has a character that some file system refuses", at=at)
    if any(part in ("", ".", "..") or part.endswith((" ", ".")) for part in path.split("/")):
        raise MalformedManifest(f"{path!r} is not a plain relative path", at=at)
    return path


def _manifest(raw: Any) -> Manifest:
    top = _object(raw, {"format", "model", "files", "licence", "upstream"}, at="$")
    if top["format"] != FORMAT:
        raise MalformedManifest(f"format {top['format']!r}, this reader knows {FORMAT!r}", at="$.format")
    try:
        model = model_name(top["model"] if isinstance(top["model"], str) else "")
    except OperatorError as exc:
        raise MalformedManifest(str(exc), at="$.model") from exc
    return Manifest(
        model=model,
        files=_files(top["files"]),
        licence=_licence(top["licence"]),
        upstream=None if top["upstream"] is None else _upstream(top["upstream"]),
    )


def _files(raw: Any) -> tuple[FileEntry, ...]:
    if not isinstance(raw, list) or not 1 <= len(raw) <= MAX_FILES:
        raise MalformedManifest(f"a list of 1 to {MAX_FILES} files is needed", at="$.files")
    entries: list[FileEntry] = []
    folded: dict[str, str] = {}
    for number, item in enumerate(raw):
        at = f"$.files[{number}]"
        entry = _object(item, {"path", "size", "sha256"}, at=at)
        path = check_path(entry["path"], at=f"{at}.path")
        if type(entry["size"]) is not int or entry["size"] < 0:
            raise MalformedManifest("a size is a whole number of bytes", at=f"{at}.size")
        if not is_sha256(entry["sha256"]):
            raise MalformedManifest("not 64 lower-case hex digits", at=f"{at}.sha256")
        if entries and entries[-1].path >= path:
            raise MalformedManifest(
                "files are not in order of their paths, or one stands twice", at=f"{at}.path"
            )
        other = folded.setdefault(_folded(path), path)
        if other != path:
            raise MalformedManifest(
                f"{path!r} and {other!r} are one file where case or accents are stored otherwise",
                at=f"{at}.path",
            )
        entries.append(FileEntry(path, entry["size"], entry["sha256"]))
    for number, held in enumerate(entries):
        if under := next((folder for folder in _folders(_folded(held.path)) if folder in folded), None):
            raise MalformedManifest(
                f"{held.path!r} needs a folder where {folded[under]!r} is a file",
                at=f"$.files[{number}].path",
            )
    return tuple(entries)


def _folded(path: str) -> str:
    """The path as a file system sees it that ignores case and stores accents in one way."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())


def _folders(path: str) -> Iterator[str]:
    while "/" in path:
        path = path.rpartition("/")[0]
        yield path


def _licence(raw: Any) -> Licence:
    item = _object(raw, {"state", "ids"}, at="$.licence")
    if item["state"] not in LICENCE_STATES:
        raise MalformedManifest(f"one of {', '.join(LICENCE_STATES)}", at="$.licence.state")
    if not isinstance(item["ids"], list) or any(not isinstance(i, str) for i in item["ids"]):
        raise MalformedManifest("a list of texts", at="$.licence.ids")
    return Licence(item["state"], tuple(item["ids"]))


def _upstream(raw: Any) -> Upstream:
    item = _object(raw, {"uri", "commit", "complete"}, at="$.upstream")
    if not isinstance(item["uri"], str) or len(item["uri"]) > MAX_PATH:
        raise MalformedManifest("a short text", at="$.upstream.uri")
    commit = item["commit"]
    if commit is not None and not (
        isinstance(commit, str) and len(commit) == 40 and set(commit) <= set("0123456789abcdef")
    ):
        raise MalformedManifest("40 lower-case hex digits or null", at="$.upstream.commit")
    if not isinstance(item["complete"], bool):
        raise MalformedManifest("true or false", at="$.upstream.complete")
    return Upstream(item["uri"], commit, item["complete"])


def _object(raw: Any, fields: set[str], *, at: str) -> dict[str, Any]:
    if not isinstance(raw, dict) or set(raw) != fields:
        raise MalformedManifest(f"needs exactly the fields {', '.join(sorted(fields))}", at=at)
    return raw


def modelpack(manifest: Manifest, *, ordinal: int) -> tuple[bytes, bytes]:
    """Return (manifest bytes, config bytes) of the ModelPack form: raw layers, one per file.

    The layer digests are the files' own SHA-256, so that one blob serves every protocol with no repacking.
    Source: modelpack/model-spec `docs/spec.md`, `docs/annotations.md`.
    """
    config = canonical_bytes(
        {
            "descriptor": {
                "name": manifest.model,
                "version": str(ordinal),
                "revision": manifest.revision,
                "licenses": list(manifest.licence.ids),
            },
            "config": {},
            "modelfs": {"type": "layers", "diffIds": [f"sha256:{entry.sha256}" for entry in manifest.files]},
        }
    )
    body = canonical_bytes(
        {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "artifactType": MODELPACK,
            "config": _descriptor(_CONFIG, config),
            "layers": [
                {
                    "mediaType": _layer_type(entry.path),
                    "digest": f"sha256:{entry.sha256}",
                    "size": entry.size,
                    "annotations": {FILEPATH: entry.path, TITLE: entry.path},
                }
                for entry in manifest.files
            ],
            "annotations": {TITLE: f"{manifest.model}@{ordinal}"},
        }
    )
    return body, config


def oci_index(entries: Sequence[Mapping[str, Any]]) -> bytes:
    """Return `index.json`. Entries: {"name": "ns/name", "tag": "3", "digest": hex, "size": bytes}.

    Source: OCI image layout, `org.opencontainers.image.ref.name`.
    """
    return canonical_bytes(
        {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": [
                {
                    "mediaType": "application/vnd.oci.image.manifest.v1+json",
                    "artifactType": MODELPACK,
                    "digest": f"sha256:{entry['digest']}",
                    "size": entry["size"],
                    "annotations": {"org.opencontainers.image.ref.name": f"{entry['name']}:{entry['tag']}"},
                }
                for entry in entries
            ],
        }
    )


def _descriptor(media_type: str, data: bytes) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": f"sha256:{sha256_hex(data)}", "size": len(data)}


def _layer_type(path: str) -> str:
    name = path.rsplit("/", 1)[-1].lower()
    if name.endswith((".safetensors", ".gguf")):
        kind = "weight"
    elif name.endswith((".md", ".txt")) or name.startswith(("license", "notice")):
        kind = "doc"
    else:
        kind = "weight.config"
    return f"application/vnd.cncf.model.{kind}.v1.raw"
