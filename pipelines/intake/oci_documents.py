"""What the documents of an OCI layout say: which image is meant, and how each of its layers holds files. Pure.

Others pack models in three ways, and all of them are read: ModelPack (`vnd.cncf.model`, a file as it is or a tar),
KitOps (`vnd.kitops.modelkit`, tars), and ORAS (any type, a file named by its title, or a folder as tar and gzip).
Sources: OCI image specification 1.1; modelpack/model-spec `docs/spec.md`; kitops `pkg/lib/constants`; oras
`docs`, "io.deis.oras.content.unpack".
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from pipelines.errors import JudgingRefused
from pipelines.images import forms
from pipelines.scan.files import MAX_FILES
from pipelines.scan.reading import quoted
from registry.manifests import FILEPATH, TITLE
from signing.canonical import NotCanonical, parse
from signing.digests import is_sha256

MAX_ENTRIES = 10_000  # of an index
MAX_SIZE = 1 << 45  # bytes of one layer, beyond which a document is not believed
_MAX_INDEX = 4 << 20  # bytes
_MAX_VALUES = 400_000  # in one document
_PAIRS, _KEY, _VALUE = 64, 256, 8 << 10  # annotations of one descriptor; characters
_SHOWN = 8
_UNPACK = "io.deis.oras.content.unpack"
_DOCKER = "application/vnd.docker.distribution.manifest.v2+json"
_PACKED = ("application/vnd.cncf.model.", "application/vnd.kitops.modelkit.")
_IMAGE_LAYER = "application/vnd.oci.image.layer.v1.tar"
_COMPRESSED = {"+gzip": "gzip", "+zstd": "zstd", ".gzip": "gzip", "": None}


class LayoutUnusable(JudgingRefused):
    """An OCI layout, or an image in it, that gives no set of files."""

    exit_code: ClassVar[int] = 181
    next_step: ClassVar[str] = (
        "Name one image of those that the message lists; where the image itself is no good, have its maker pack plain "
        "files anew. `skopeo inspect --raw oci:FOLDER:TAG` shows what it says."
    )

    def __init__(self, place: str, problem: str) -> None:
        super().__init__(f"{place}: {problem}")
        self.place, self.problem = place, problem


@dataclass(frozen=True)
class Descriptor:
    """Bytes that lie in the layout under their digest."""

    media_type: str
    digest: str  # SHA-256 in hex
    size: int  # bytes
    annotations: Mapping[str, str] = field(default_factory=dict)

    @property
    def path(self) -> str:
        """Where they lie in the layout."""
        return f"blobs/sha256/{self.digest}"

    @property
    def name(self) -> str | None:
        """The tag, as an index gives it."""
        return self.annotations.get(forms.REF_NAME)


@dataclass(frozen=True)
class Layer:
    """A layer, and how files are in it."""

    descriptor: Descriptor
    path: str | None  # of the one file that it is; None: an archive
    compression: str | None = None  # of an archive: gzip, zstd or none
    folder: str | None = None  # the folder that an archive was made of, if it says so


@dataclass(frozen=True)
class Image:
    """A model image: its layers in order, and what it says of itself."""

    descriptor: Descriptor
    config: Descriptor
    layers: tuple[Layer, ...]
    kind: str | None  # artifactType
    annotations: Mapping[str, str]


def read_index(data: bytes, *, at: str) -> list[Descriptor]:
    """Return what an index lists. Raises `LayoutUnusable`."""
    raw = _object(_parsed(data, _MAX_INDEX, at), at)
    listed = raw.get("manifests")
    if raw.get("schemaVersion") != 2 or not isinstance(listed, list):
        raise LayoutUnusable(at, "is no image index (schemaVersion 2, a list of manifests)")
    if len(listed) > MAX_ENTRIES:
        raise LayoutUnusable(at, f"lists {len(listed)} images; at most {MAX_ENTRIES} are read")
    return [_descriptor(item, f"{at}, manifests[{number}]") for number, item in enumerate(listed)]


def choose(listed: Sequence[Descriptor], wanted: str | None, *, at: str) -> Descriptor:
    """The image that is meant: by its name in the index or its digest; without either, the only one there is.

    Raises:
        LayoutUnusable: none, or more than one.
    """
    if wanted is None:
        named = [one for one in listed if one.name is not None]
        fitting = named or list(listed)
    else:
        fitting = [one for one in listed if wanted in (one.name, f"sha256:{one.digest}")]
    distinct = {one.digest: one for one in fitting}
    if len(distinct) == 1:
        return next(iter(distinct.values()))
    names = sorted({one.name or f"sha256:{one.digest}" for one in listed})
    told = ", ".join(quoted(name, limit=128, quotes=False) for name in names[:_SHOWN])
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    if wanted is not None and distinct:
        raise LayoutUnusable(
            at, f"{len(distinct)} images are called {quoted(wanted)}; name one by its digest"
        )
    if wanted is not None:
        raise LayoutUnusable(at, f"has no image {quoted(wanted)}; it has {told or 'none'}{more}")
    raise LayoutUnusable(
        at, f"holds {len(distinct)} images; say which (oci:FOLDER:TAG): {told or 'none'}{more}"
    )


def is_index(one: Descriptor) -> bool:
    """Whether it names another index."""
    return one.media_type == forms.INDEX or one.media_type.endswith("manifest.list.v2+json")


def read_image(data: bytes, descriptor: Descriptor, *, at: str) -> Image:
    """Read an image's manifest, whose bytes have been hashed. Raises `LayoutUnusable`."""
    raw = _object(_parsed(data, forms.MAX_MANIFEST, at), at)
    media_type = raw.get("mediaType", descriptor.media_type)
    if raw.get("schemaVersion") != 2 or media_type not in (forms.MANIFEST, _DOCKER):
        raise LayoutUnusable(at, f"is a {quoted(str(media_type), limit=128)}, no image manifest")
    layers = raw.get("layers")
    if not isinstance(layers, list) or not 1 <= len(layers) <= MAX_FILES:
        raise LayoutUnusable(at, f"has no list of 1 to {MAX_FILES} layers")
    kind = raw.get("artifactType")
    return Image(
        descriptor,
        _descriptor(raw.get("config"), f"{at}, config"),
        tuple(
            _layer(_descriptor(item, f"{at}, layers[{number}]"), f"{at}, layers[{number}]")
            for number, item in enumerate(layers)
        ),
        kind if isinstance(kind, str) and len(kind) <= _KEY else None,
        _annotations(raw.get("annotations"), at),
    )


def _layer(one: Descriptor, at: str) -> Layer:
    title = one.annotations.get(FILEPATH) or one.annotations.get(TITLE)
    base = one.media_type.partition(";")[0].strip()
    packed = _archive(base, title, unpack=one.annotations.get(_UNPACK) == "true")
    if packed is not None:
        return Layer(one, None, packed[0], title)
    if not title:
        raise LayoutUnusable(at, f"is a {quoted(base, limit=128)} and says no file name (annotation {TITLE})")
    return Layer(one, title)


def _archive(base: str, title: str | None, *, unpack: bool) -> tuple[str | None] | None:
    """The compression of an archive, in a tuple; None for a file as it is."""
    stem, tar, ending = base.rpartition(".tar")
    if not tar or ending not in _COMPRESSED:
        return None
    # ORAS gives single files the type of an image's layer, and folders the same type with gzip.
    is_plain_file = base == _IMAGE_LAYER and title is not None and not unpack
    known = base.startswith((*_PACKED, _IMAGE_LAYER, "application/vnd.docker.image.rootfs.diff")) or unpack
    return (_COMPRESSED[ending],) if known and stem and not is_plain_file else None


def _parsed(data: bytes, max_bytes: int, at: str) -> Any:
    try:
        return parse(data, max_bytes=max_bytes, at=at, max_values=_MAX_VALUES)
    except NotCanonical as exc:
        raise LayoutUnusable(at, exc.problem) from exc


def _descriptor(raw: Any, at: str) -> Descriptor:
    item = _object(raw, at)
    media_type, digest, size = item.get("mediaType"), item.get("digest"), item.get("size")
    if not isinstance(media_type, str) or not 1 <= len(media_type) <= _KEY:
        raise LayoutUnusable(at, "has no media type")
    if not isinstance(digest, str) or not is_sha256(digest.removeprefix("sha256:")) or ":" not in digest:
        raise LayoutUnusable(at, "has no sha256 digest; others are not read")
    if type(size) is not int or not 0 <= size <= MAX_SIZE:
        raise LayoutUnusable(at, "has no size in bytes")
    return Descriptor(
        media_type, digest.removeprefix("sha256:"), size, _annotations(item.get("annotations"), at)
    )


def _annotations(raw: Any, at: str) -> dict[str, str]:
    if raw is None:
        return {}
    found = _object(raw, f"{at}, annotations")
    if len(found) > _PAIRS:
        raise LayoutUnusable(at, f"has {len(found)} annotations; at most {_PAIRS} are read")
    for key, value in found.items():
        if not isinstance(value, str) or len(key) > _KEY or len(value) > _VALUE:
            raise LayoutUnusable(at, f"has an annotation {quoted(key, limit=64)} that is no short text")
    return found


def _object(raw: Any, at: str) -> dict[str, Any]:
    if not isinstance(raw, dict):
        raise LayoutUnusable(at, "is no JSON object")
    return raw
