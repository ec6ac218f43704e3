"""The tables of a bundle: which chunk gives which part of which blob, and which volume holds which chunk. Pure.

`chunks.jsonl` is pinned by the export document. `plan.json` is signed by the packer's key alone, a machine's:
it decides where things lie, never what they are, so that other media need no release officer. `volume.json` says
which volume this is, and `SHA256SUMS` repeats every digest for a person with `sha256sum -c`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pipelines.bundle.documents import Export, Sized
from pipelines.bundle.errors import EncodingUnknown, FilesDamaged, MalformedBundle, VolumeTooSmall
from pipelines.bundle.fields import Fields
from signing.canonical import NotCanonical, canonical_bytes, parse_canonical
from signing.digests import is_sha256, sha256_hex

CHUNK = 64 << 20  # bytes; the largest a chunk may be
MAX_TABLE = 256 << 20  # bytes of chunks.jsonl: about a million lines
MAX_PLAN = 128 << 20
MAX_VOLUMES = 999
MAX_SUMS = 192 << 20
PLAN_FORMAT = "tidegate-plan/1"
VOLUME_FORMAT = "tidegate-volume/1"
PLAN_TYPE = "application/vnd.tidegate.plan+json"
RAW = "raw"


@dataclass(frozen=True, slots=True)
class Chunk:
    """`size` bytes at `offset` of `blob` are the file named `chunk`, its SHA-256."""

    chunk: str
    size: int
    blob: str
    offset: int
    encoding: str = RAW


@dataclass(frozen=True)
class PlannedVolume:
    """What one volume holds: chunk names in order, and their bytes together."""

    index: int  # 1 is the first
    chunks: tuple[str, ...]
    bytes: int


@dataclass(frozen=True)
class Plan:
    """Which volume holds what."""

    bundle: str
    export: str  # SHA-256 of the export document
    readme: str  # SHA-256 of README.txt
    volumes: tuple[PlannedVolume, ...]


@dataclass(frozen=True)
class Label:
    """`volume.json`: which volume this is."""

    bundle: str
    index: int
    of: int
    plan: str  # SHA-256 of plan.json


def pieces(size: int) -> list[tuple[int, int]]:
    """Return (offset, bytes) of each chunk of a blob; none for an empty one."""
    return [(offset, min(CHUNK, size - offset)) for offset in range(0, size, CHUNK)]


def encode_chunks(chunks: Iterable[Chunk]) -> bytes:
    """Return `chunks.jsonl`: one canonical line per chunk."""
    return b"".join(
        canonical_bytes(
            {"chunk": c.chunk, "size": c.size, "blob": c.blob, "offset": c.offset, "encoding": c.encoding}
        )
        + b"\n"
        for c in chunks
    )


def decode_chunks(data: bytes, export: Export) -> dict[str, list[Chunk]]:
    """Return each carried blob's chunks in order.

    The bytes have been compared with the digest in `export`. The chunks must cover every blob of `export.blobs`
    from end to end, once, and nothing else.

    Raises:
        MalformedBundle: naming the line.
        EncodingUnknown: a chunk that is not stored as it is.
    """
    at = "chunks.jsonl"
    lines = data.split(b"\n")
    if lines.pop() != b"" or len(lines) != export.chunks.count:
        raise MalformedBundle(f"{export.chunks.count} whole lines are needed", at=at)
    found: dict[str, list[Chunk]] = {blob.sha256: [] for blob in export.blobs}
    reached = dict.fromkeys(found, 0)
    sizes: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        chunk = _chunk(line, at=f"{at} line {number}")
        if chunk.blob not in found:
            raise MalformedBundle(
                "a chunk of a blob that the bundle does not carry", at=f"{at} line {number}.blob"
            )
        if chunk.offset != reached[chunk.blob]:
            raise MalformedBundle(
                f"the blob goes on at {reached[chunk.blob]}", at=f"{at} line {number}.offset"
            )
        if sizes.setdefault(chunk.chunk, chunk.size) != chunk.size:
            raise MalformedBundle("the same chunk with two sizes", at=f"{at} line {number}.size")
        reached[chunk.blob] += chunk.size
        found[chunk.blob].append(chunk)
    for blob in export.blobs:
        if reached[blob.sha256] != blob.size:
            raise MalformedBundle(
                f"chunks give {reached[blob.sha256]} of the {blob.size} bytes of blob {blob.sha256[:12]}",
                at=at,
            )
    return found


def _chunk(line: bytes, *, at: str) -> Chunk:
    try:
        fields = Fields.at_place(parse_canonical(line, max_bytes=4096, at=at), at)
    except NotCanonical as exc:
        raise MalformedBundle(exc.problem, at=exc.at) from exc
    encoding = fields.text("encoding")
    if encoding != RAW:
        raise EncodingUnknown(encoding, at=at)
    size = fields.whole("size", least=1)
    if size > CHUNK:
        raise MalformedBundle(f"a chunk has at most {CHUNK} bytes", at=f"{at}.size")
    return Chunk(fields.digest("chunk"), size, fields.digest("blob"), fields.whole("offset"))


def assign(blobs: Sequence[Sized], *, volume_bytes: int | None, small: int) -> list[list[int]]:
    """Return for each blob the volume (1 is the first) of each of its chunks: volumes are filled in order.

    Args:
        volume_bytes: the size of a medium; None puts everything on one.
        small: bytes that every volume spends on the documents.

    Raises:
        VolumeTooSmall: not even one chunk would fit beside the documents, or more than 999 volumes are needed.
    """
    largest = max((min(blob.size, CHUNK) for blob in blobs), default=0)
    if volume_bytes is not None and small + largest > volume_bytes:
        raise VolumeTooSmall(volume_bytes, least=small + largest)
    volume, used, placed = 1, small, []
    for blob in blobs:
        row = []
        for _offset, size in pieces(blob.size):
            if volume_bytes is not None and used + size > volume_bytes:
                volume, used = volume + 1, small
            used += size
            row.append(volume)
        placed.append(row)
    if volume > MAX_VOLUMES:
        total = sum(blob.size for blob in blobs)
        raise VolumeTooSmall(volume_bytes or 0, least=small + largest + total // MAX_VOLUMES)
    return placed


def encode_plan(plan: Plan) -> bytes:
    """Return the canonical bytes."""
    volumes = [{"index": v.index, "chunks": list(v.chunks), "bytes": v.bytes} for v in plan.volumes]
    return canonical_bytes(
        {
            "format": PLAN_FORMAT,
            "critical": [],
            "bundle": plan.bundle,
            "export": plan.export,
            "readme": plan.readme,
            "volumes": volumes,
        }
    )


def decode_plan(data: bytes, *, sizes: Mapping[str, int], at: str = "plan.json") -> Plan:
    """Read a plan; its signature is checked elsewhere.

    Args:
        sizes: every chunk of the bundle and its bytes; the volumes must hold each of them exactly once.

    Raises:
        MalformedBundle, FormatTooNew.
    """
    known = {"format", "critical", "bundle", "export", "readme", "volumes"}
    top = Fields.of(data, at=at, max_bytes=MAX_PLAN, format=PLAN_FORMAT, known=known)
    volumes = tuple(
        PlannedVolume(item.whole("index", least=1), item.digests("chunks"), item.whole("bytes"))
        for item in top.items("volumes")
    )
    if not 1 <= len(volumes) <= MAX_VOLUMES or [v.index for v in volumes] != list(range(1, len(volumes) + 1)):
        raise MalformedBundle(
            f"1 to {MAX_VOLUMES} volumes, numbered in order, are needed", at=f"{at}.volumes"
        )
    placed = [chunk for volume in volumes for chunk in volume.chunks]
    if len(placed) != len(sizes) or set(placed) != set(sizes):
        raise MalformedBundle("the volumes do not hold each chunk exactly once", at=f"{at}.volumes")
    for volume in volumes:
        if volume.bytes != sum(sizes[chunk] for chunk in volume.chunks):
            raise MalformedBundle("not the bytes of its chunks", at=f"{at}.volumes[{volume.index - 1}].bytes")
    return Plan(top.text("bundle"), top.digest("export"), top.digest("readme"), volumes)


def encode_label(label: Label) -> bytes:
    """Return the canonical bytes."""
    return canonical_bytes(
        {
            "format": VOLUME_FORMAT,
            "critical": [],
            "bundle": label.bundle,
            "index": label.index,
            "of": label.of,
            "plan": label.plan,
        }
    )


def decode_label(data: bytes, *, at: str = "volume.json") -> Label:
    """Read `volume.json`. Raises `MalformedBundle`, `FormatTooNew`."""
    known = {"format", "critical", "bundle", "index", "of", "plan"}
    top = Fields.of(data, at=at, max_bytes=4096, format=VOLUME_FORMAT, known=known)
    label = Label(
        top.text("bundle", longest=48),
        top.whole("index", least=1),
        top.whole("of", least=1),
        top.digest("plan"),
    )
    if label.index > label.of or label.of > MAX_VOLUMES:
        raise MalformedBundle("a volume's number is at most the number of volumes", at=f"{at}.index")
    return label


def chunk_path(chunk: str) -> str:
    """Return where a chunk lies in its volume."""
    return f"chunks/{chunk[:2]}/{chunk}"


def encode_sums(digests: Mapping[str, str]) -> bytes:
    """Return `SHA256SUMS` (GNU coreutils, text mode) of path to digest, in order of the paths."""
    return "".join(f"{digests[path]}  {path}\n" for path in sorted(digests)).encode()


def decode_sums(data: bytes, *, at: str) -> dict[str, str]:
    """Read `SHA256SUMS` as this product writes it. Raises `FilesDamaged`, naming the line."""
    found: dict[str, str] = {}
    for number, line in enumerate(data.split(b"\n")[:-1], start=1):
        digest, _, path = line.decode("utf-8", "replace").partition("  ")
        if not is_sha256(digest) or not path:
            raise FilesDamaged([f"{at}: line {number} is not a digest and a path"])
        found[path] = digest
    if encode_sums(found) != data:
        raise FilesDamaged([f"{at}: not in the form in which it was written"])
    return found


def plan_of(
    chunks: Iterable[Chunk], volume_of: Mapping[str, int], *, export: Export, readme: str, digest: str
) -> Plan:
    """Return the plan of chunks that have been written.

    Args:
        volume_of: chunk to the volume that holds it.
        readme: SHA-256 of README.txt.
        digest: SHA-256 of the export document.
    """
    held: dict[int, dict[str, int]] = {
        index: {} for index in range(1, max(volume_of.values(), default=1) + 1)
    }
    for chunk in chunks:
        held[volume_of[chunk.chunk]][chunk.chunk] = chunk.size
    volumes = tuple(
        PlannedVolume(index, tuple(sizes), sum(sizes.values())) for index, sizes in sorted(held.items())
    )
    return Plan(export.bundle, digest, readme, volumes)


def label_of(plan: Plan, index: int) -> Label:
    """Return what `volume.json` of one volume says."""
    return Label(plan.bundle, index, len(plan.volumes), sha256_hex(encode_plan(plan)))
