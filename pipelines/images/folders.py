"""Lays versions out as images on disk: an OCI image layout, or the folder that Ollama keeps its models in.

Both hold blobs under their SHA-256 and small documents that point at them, and both may hold other images already.
So blobs come first and what points at them last: stopped in between, nothing is named that is not there.
Sources: OCI image specification 1.1 `image-layout.md`; ollama/ollama `manifest/paths.go`, `types/model/name.go`.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.bundle.reader import modelpack_config
from pipelines.images import forms
from pipelines.images.ollama import ollama_image
from pipelines.images.papers import papers
from pipelines.placing import fill, holds
from registry.blobs import BlobStore
from registry.entities import Version
from registry.manifests import MODELPACK, FileEntry, decode
from registry.views import View
from signing.canonical import NotCanonical, parse
from signing.durable import sync_directory, write_durably

# Where `ollama pull` would ask for a newer one: a host of this name within the site, never Ollama's own registry.
HOST = "tidegate"
_LAYOUT = b'{"imageLayoutVersion":"1.0.0"}'
_MAX_INDEX = 4 << 20  # bytes


@dataclass(frozen=True)
class Placement:
    """One version as it will lie there."""

    ref: str
    files: tuple[FileEntry, ...]  # of the version, that become blobs
    small: Mapping[str, bytes]  # SHA-256 in hex to bytes: the other blobs
    heads: Mapping[str, bytes]  # path to bytes: what points at them, written last
    listed: tuple[Mapping[str, Any], ...] = ()  # for the index of an OCI layout


@dataclass(frozen=True)
class Form:
    """A kind of folder: where a blob lies in it, and what shows that a folder is of this kind."""

    blob: Callable[[str], str]
    mark: str
    name: str

    def problem(self, folder: Path) -> str | None:
        """Why nothing can be added to a folder; None where it can, or where there is none yet."""
        if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
            return "is not a folder"
        if not folder.exists() or not any(folder.iterdir()) or (folder / self.mark).exists():
            return None if self is not OCI else _index_problem(folder)
        return f"holds other files, and is no {self.name}"


OCI = Form(lambda sha256: f"blobs/sha256/{sha256}", "oci-layout", "OCI layout")
OLLAMA = Form(lambda sha256: f"blobs/sha256-{sha256}", "manifests", "folder of Ollama's models")


def oci_placement(view: View, blobs: BlobStore, version: Version, tiers: Sequence[str]) -> Placement:
    """The version's image, named by its number and its tiers, and what was attested of it, referring to it."""
    image = blobs.read(version.modelpack, max_bytes=forms.MAX_MANIFEST)
    config = modelpack_config(image, at=version.modelpack)
    small = {version.modelpack: image, config: blobs.read(config, max_bytes=forms.MAX_MANIFEST)}
    about = papers(view, blobs, version)
    for paper in about:
        small |= {**paper.blobs, paper.digest: paper.manifest}
    named = [
        {
            **forms.describe(forms.MANIFEST, image, {forms.REF_NAME: f"{version.model}:{tag}"}),
            "artifactType": MODELPACK,
        }
        for tag in (str(version.ordinal), *tiers)
    ]
    listed = (*named, *(paper.descriptor() for paper in about))
    return Placement(_ref(version), decode(version.manifest.encode()).files, small, {}, listed)


def ollama_placement(blobs: BlobStore, version: Version, tiers: Sequence[str]) -> Placement:
    """The version's image under `tidegate/NAMESPACE/NAME`, by its number and its tiers. Raises `NotForOllama`."""
    image = ollama_image(blobs, decode(version.manifest.encode()), _ref(version))
    heads = {
        f"manifests/{HOST}/{version.model}/{tag}": image.manifest for tag in (str(version.ordinal), *tiers)
    }
    return Placement(_ref(version), image.files, image.small, heads)


def lay_out(blobs: BlobStore, form: Form, placements: Sequence[Placement], folder: Path) -> list[str]:
    """Write everything; blobs have been verified. Returns for each the way its files took, as `placing.fill` says."""
    ways = []
    for one in placements:
        unique = {entry.sha256: (entry, folder / form.blob(entry.sha256)) for entry in one.files}
        missing = [(entry, path) for entry, path in unique.values() if not holds(blobs, entry, path)]
        ways.append(fill(blobs, missing))
        for sha256, data in one.small.items():
            _write(folder / form.blob(sha256), data)
    (folder / form.blob("x")).parent.mkdir(parents=True, exist_ok=True)
    sync_directory((folder / form.blob("x")).parent)
    for one in placements:
        for path, data in one.heads.items():
            _write(folder / path, data)
    if form is OCI:
        _write(folder / "oci-layout", _LAYOUT)
        _write(folder / "index.json", _index(folder, [item for one in placements for item in one.listed]))
    return ways


def _write(path: Path, data: bytes) -> None:
    """Replace a small file, unless it says the same already."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if (
        path.is_symlink()
        or not path.is_file()
        or path.stat().st_size != len(data)
        or path.read_bytes() != data
    ):
        write_durably(path, data)


def _index(folder: Path, ours: Sequence[Mapping[str, Any]]) -> bytes:
    """The index with our images in it: a name that was there moves, everything else stays."""
    names = {_name(item) for item in ours}
    digests = {item["digest"] for item in ours}
    others = [
        item
        for item in _listed(folder)
        if (_name(item) not in names if _name(item) else item.get("digest") not in digests)
    ]
    return forms.index([*others, *ours])


def _index_problem(folder: Path) -> str | None:
    try:
        _listed(folder)
    except NotCanonical as exc:
        return f"is an OCI layout whose index.json cannot be read ({exc})"
    return None


def _listed(folder: Path) -> list[dict[str, Any]]:
    """What the layout that is there lists. Raises `NotCanonical`."""
    path = folder / "index.json"
    if not path.exists():
        return []
    with path.open("rb") as stream:
        found = parse(os.read(stream.fileno(), _MAX_INDEX + 1), max_bytes=_MAX_INDEX, at="index.json")
    listed = found.get("manifests") if isinstance(found, dict) else None
    if not isinstance(listed, list) or not all(isinstance(item, dict) for item in listed):
        raise NotCanonical("has no list of manifests", at="index.json")
    forms.index(listed)  # what cannot be written again is said before anything is laid out
    return listed


def _name(item: Mapping[str, Any]) -> str | None:
    annotations = item.get("annotations")
    name = annotations.get(forms.REF_NAME) if isinstance(annotations, dict) else None
    return name if isinstance(name, str) else None


def _ref(version: Version) -> str:
    return f"{version.model}@{version.ordinal}"
