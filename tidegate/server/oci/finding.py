"""Finds what a digest names within one model, and whether who asks may have it.

A client asks for a blob without saying of which version. So it may have a blob if there is a version that it may
have and that this blob belongs to: a file, the image's configuration, a part of what was attested, a part of
Ollama's image.

What is no file of a version is computed, so nothing but versions can be looked through. A client has such a digest from
a document that it was just given: what is in those is noted, and else only the versions that are served now and the
newest ones are looked at. So a digest that nobody has costs less than a second, however many versions there are.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

from pipelines.bundle.reader import modelpack_config
from pipelines.images.forms import MANIFEST, MAX_MANIFEST, Artifact
from pipelines.images.ollama import MANIFEST as DOCKER_MANIFEST
from pipelines.images.ollama import NotForOllama, OllamaImage, ollama_image
from pipelines.images.papers import papers
from pipelines.resolving import Puller, Resolved, resolve, serving
from registry import store_images, store_pulls
from registry.entities import Version
from registry.errors import NotFound
from registry.views import View
from signing.errors import OperatorError
from tidegate.server.guard import Desk
from tidegate.server.oci.answers import BLOB, IMAGE
from tidegate.server.pulling import files_of, manifest_of, pull, puller_of

T = TypeVar("T")
_LOOKED_AT = 32  # versions
_NOTED = 50_000  # digests; some 10 MB


class _Notes:
    """Which version a digest was given out for. A note is where to look first, and proves nothing."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._versions: OrderedDict[str, str] = OrderedDict()

    def add(self, version: Version, digests: Iterable[str]) -> None:
        with self._lock:
            for digest in digests:
                self._versions[digest] = version.digest
                self._versions.move_to_end(digest)
            while len(self._versions) > _NOTED:
                self._versions.popitem(last=False)

    def version(self, digest: str) -> str | None:
        with self._lock:
            return self._versions.get(digest)


_notes = _Notes()


@dataclass(frozen=True)
class Document:
    """A manifest, whole."""

    data: bytes
    media_type: str
    digest: str  # SHA-256 in hex
    warning: str | None = None


class Shelf:
    """One model as one caller sees it. Every method raises what `pipelines.resolving.resolve` raises."""

    def __init__(self, desk: Desk, model: str) -> None:
        self.desk, self.model, self.blobs = desk, model, desk.premises.blobs

    def tagged(self, tag: str, *, for_ollama: bool = False) -> Document:
        """The image that a tag means. Raises `NotForOllama`."""
        found = pull(self.desk, self.model, tag)
        return self._ollama(found) if for_ollama else self._image(found)

    def manifest(self, digest: str) -> Document:
        """The image or artifact with this digest (hex). Raises `NotFound`."""
        found = self._image_by(digest)
        if found is not None:
            return self._image(found)
        return self._search(IMAGE, digest, lambda view, version: self._computed(view, version, digest))

    def referrers(self, digest: str) -> list[Artifact]:
        """What refers to the image with this digest (hex); nothing refers to anything else."""
        found = self._image_by(digest)
        if found is None:
            return []
        with self.desk.view() as view:
            made = papers(view, self.blobs, found.version)
        _notes.add(found.version, (digest for paper in made for digest in (paper.digest, *paper.blobs)))
        return made

    def has_file(self, digest: str) -> bool:
        """Whether this (hex) is a file that the caller may have."""
        with self.desk.view() as view:
            held = store_images.holding(view, self.model, digest)
            versions = [row for row in held if any(e.sha256 == digest for e in files_of(row).values())]
            chosen = self._quietly(view, versions)
        return chosen is not None and self._pull(chosen) is not None

    def small(self, digest: str) -> bytes:
        """A blob that is no file of a version (hex). Raises `NotFound`."""
        return self._search(BLOB, digest, lambda view, version: self._small(view, version, digest))

    def tags(self) -> list[str]:
        """Tiers and numbers by which the caller gets a version, in the order of their letters. Raises `NotFound`."""
        with self.desk.view() as view:
            if not store_pulls.holds_model(view, self.model):
                raise NotFound("model", self.model)
            if self._puller.any_version:
                numbers = store_images.ordinals(view, self.model)
            else:
                numbers = store_images.served_ordinals(view, self.model, self._puller.tiers)
            gone = store_images.withdrawn_ordinals(view, self.model)
            tiers = [row.tier for row in view.tiers() if self._puller.admitted(row.tier)]
            pins = [pin for tier in tiers if (pin := view.pin(tier, self.model)) is not None]
        found = [pin.tier for pin in pins if pin.ordinal not in gone]
        return sorted(found + [str(number) for number in numbers if number not in gone])

    @cached_property
    def _puller(self) -> Puller:
        return puller_of(self.desk)

    def _image_by(self, digest: str) -> Resolved | None:
        with self.desk.view() as view:
            chosen = self._quietly(view, store_images.by_image(view, self.model, digest))
        return None if chosen is None else self._pull(chosen)

    def _pull(self, version: Version) -> Resolved:
        return pull(self.desk, self.model, f"sha256:{version.digest}")

    def _quietly(self, view: View, versions: Sequence[Version]) -> Version | None:
        """The first of them that the caller may have, else the first: asking for that one says why not."""
        if len(versions) < 2:
            return next(iter(versions), None)
        return next((version for version in versions if self._may(view, version)), versions[0])

    def _may(self, view: View, version: Version) -> bool:
        try:
            resolve(self.desk.work, view, self.model, f"sha256:{version.digest}", self._puller)
        except OperatorError:
            return False
        return True

    def _image(self, found: Resolved) -> Document:
        digest = found.version.modelpack
        data = self.blobs.read(digest, max_bytes=MAX_MANIFEST)
        _notes.add(found.version, [modelpack_config(data, at=digest)])
        return Document(data, MANIFEST, digest, found.warning)

    def _ollama(self, found: Resolved) -> Document:
        image = self._for_ollama(found.version)
        _notes.add(found.version, (image.digest, *image.small))
        return Document(image.manifest, DOCKER_MANIFEST, image.digest, found.warning)

    def _for_ollama(self, version: Version) -> OllamaImage:
        return ollama_image(self.blobs, manifest_of(version), f"{version.model}@{version.ordinal}")

    def _search(self, what: str, digest: str, look: Callable[[View, Version], T | None]) -> T:
        """What `look` finds first among the versions that the caller may have. Raises `NotFound`."""
        with self.desk.view() as view:
            for version in self._likely(view, digest):
                found = look(view, version) if self._may(view, version) else None
                if found is not None:
                    return found
        raise NotFound(what, f"sha256:{digest}")

    def _likely(self, view: View, digest: str) -> Iterator[Version]:
        """The version that the digest was given out for, those that are served now, the newest."""
        first = [_notes.version(digest), *(pin.version for pin in serving(view, self.model, self._puller))]
        for one in dict.fromkeys(first):
            version = view.version_by_digest(one) if one is not None else None
            if version is not None and version.model == self.model:
                yield version
        anything = self._puller.any_version
        tiers = None if anything else self._puller.tiers
        newest = store_images.newest(view, self.model, _LOOKED_AT, served=not anything, tiers=tiers)
        yield from (version for version in newest if version.digest not in first)

    def _computed(self, view: View, version: Version, digest: str) -> Document | None:
        for paper in papers(view, self.blobs, version):
            if paper.digest == digest:
                _notes.add(version, paper.blobs)
                return Document(paper.manifest, MANIFEST, digest)
        try:
            image = self._for_ollama(version)
        except NotForOllama:
            return None
        return Document(image.manifest, DOCKER_MANIFEST, digest) if image.digest == digest else None

    def _small(self, view: View, version: Version, digest: str) -> bytes | None:
        image = self.blobs.read(version.modelpack, max_bytes=MAX_MANIFEST)
        if digest == version.modelpack:
            return image
        if digest == modelpack_config(image, at=version.modelpack):
            return self.blobs.read(digest, max_bytes=MAX_MANIFEST)
        for paper in papers(view, self.blobs, version):
            if digest in (paper.digest, *paper.blobs):
                return paper.blobs.get(digest, paper.manifest)
        try:
            return self._for_ollama(version).small.get(digest)
        except NotForOllama:
            return None
