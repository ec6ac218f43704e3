"""`chunks.jsonl`: which stored bytes, and which bytes that the site holds already, make which blob. Pure.

Pinned by the export document. First every chunk (a file of stored bytes, named by its SHA-256), then every carried
blob with the parts that cover it from end to end. A part is a *reference* to bytes of a held blob, *raw* bytes of a
chunk, or a *frame*: compact bytes of a chunk, decoded by themselves or against bytes of a held blob. A chunk that
holds frames is small enough to be hashed in memory as a whole before any of it is decoded: docs/decisions/0009.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipelines.bundle.documents import GUARD, Export
from pipelines.bundle.errors import EncodingUnknown, MalformedBundle
from pipelines.bundle.fields import Fields
from pipelines.encodings.names import FRAME, NEEDS_BASE, UNITS, applies
from signing.canonical import NotCanonical, canonical_bytes, parse_canonical

CHUNK = (
    64 << 20
)  # bytes; the largest chunk of raw parts, and the most raw bytes that the frames of one chunk give
COMPACT_CHUNK = 16 << 20  # bytes; the largest chunk that holds a frame
GUARD_CHUNK = (4 << 30) - 1  # bytes; guards want whole files, and FAT32 has no larger ones
_MOST_LOADED = 16 << 30  # bytes that reading chunks for their frames may take beyond twice what there is
MAX_TABLE = 64 << 20  # bytes of chunks.jsonl: frames of some terabytes
MAX_LINE = 1 << 20  # bytes; a blob's line lists its bases
MAX_BASES = 10_000
RAW, REFERENCE = "raw", "reference"
_AT = "chunks.jsonl"
_EXTENSION = frozenset("abcdefghijklmnopqrstuvwxyz0123456789")


@dataclass(frozen=True, slots=True)
class Chunk:
    """A file of stored bytes: its SHA-256, its bytes, and under `guard` the extension that its name ends with."""

    chunk: str
    size: int
    extension: str | None = None

    @property
    def path(self) -> str:
        """Where it lies in its volume."""
        ending = "" if self.extension is None else f".{self.extension}"
        return f"chunks/{self.chunk[:2]}/{self.chunk}{ending}"


@dataclass(frozen=True, slots=True)
class Part:
    """The next `size` bytes of a blob.

    Reference: bytes `[start, start + size)` of the held blob `base`. Otherwise `stored` bytes at `at` of chunk
    number `chunk`; where the encoding needs a base, it is the same range of `base` as for a reference.
    """

    size: int
    encoding: str
    unit: str | None = None
    chunk: int = -1  # index into the table's chunks
    at: int = 0
    stored: int = 0
    base: str | None = None  # SHA-256 of a held blob
    start: int = 0


@dataclass(frozen=True)
class Table:
    """All of `chunks.jsonl`."""

    chunks: tuple[Chunk, ...]
    blobs: Mapping[str, Sequence[Part]]  # by SHA-256, in the export's order

    def chunks_of(self, blob: str) -> set[int]:
        """Return the numbers of the chunks that a blob's parts lie in."""
        return {part.chunk for part in self.blobs[blob] if part.chunk >= 0}


def encode_table(table: Table, sizes: Mapping[str, int]) -> bytes:
    """Return the bytes; `sizes` gives each blob's bytes."""
    return b"".join(canonical_bytes(line) + b"\n" for line in _lines(table, sizes))


def _lines(table: Table, sizes: Mapping[str, int]) -> Iterator[dict[str, Any]]:
    for chunk in table.chunks:
        named = {} if chunk.extension is None else {"extension": chunk.extension}
        yield {"chunk": chunk.chunk, "size": chunk.size, **named}
    for blob, parts in table.blobs.items():
        bases = list(dict.fromkeys(part.base for part in parts if part.base is not None))
        numbers = {base: number for number, base in enumerate(bases)}
        yield {"blob": blob, "size": sizes[blob], "bases": bases, "parts": len(parts)}
        for part in parts:
            line: dict[str, Any] = {"size": part.size}
            if part.base is not None:
                line |= {"base": numbers[part.base], "from": part.start}
            if part.encoding != REFERENCE:
                line |= {"chunk": part.chunk, "at": part.at, "encoding": part.encoding}
            if part.unit is not None:
                line |= {"unit": part.unit, "stored": part.stored}
            yield line


def count_lines(table: Table) -> int:
    """Return how many lines `encode_table` gives."""
    return len(table.chunks) + sum(1 + len(parts) for parts in table.blobs.values())


def decode_table(data: bytes, export: Export) -> Table:
    """Read the table. The bytes have been compared with the digest in `export`.

    Raises:
        MalformedBundle: naming the line.
        EncodingUnknown: a part that is stored in a form which this release does not read.
    """
    lines = data.split(b"\n")
    if lines.pop() != b"" or len(lines) != export.chunks.count:
        raise MalformedBundle(f"{export.chunks.count} whole lines are needed", at=_AT)
    reading = _Reading(lines, export)
    chunks = reading.chunks()
    blobs = {blob.sha256: reading.blob(blob.sha256, blob.size, chunks) for blob in export.blobs}
    reading.finish(chunks)
    return Table(chunks, blobs)


class _Frames:
    """The frames of one blob. A chunk that stands in it several times, as one of zeros may, counts once."""

    def __init__(self) -> None:
        self.given: Counter[int] = Counter()  # chunk number to the bytes that its frames give
        self.goes_on = False  # whether the last frame lies in the chunk of the one before
        self._seen: set[tuple[int, int]] = set()
        self._last = -1

    def add(self, part: Part) -> None:
        """Take the next one."""
        place = part.chunk, part.at
        if place not in self._seen:
            self._seen.add(place)
            self.given[part.chunk] += part.size
        self.goes_on, self._last = part.chunk == self._last, part.chunk


class _Reading:
    """Reads the lines one after the other and keeps count of what the chunks are used for."""

    def __init__(self, lines: Sequence[bytes], export: Export) -> None:
        self._lines, self._next = lines, 0
        self._held = {blob.sha256: blob.size for blob in (*export.bases, *export.assumed)}
        self._guard = export.profile == GUARD
        self._used: Counter[int] = Counter()  # chunk number to how often
        self._framed: set[int] = set()
        self._carried = export.size
        self._loaded = 0  # bytes read for frames: a chunk whole, whenever they come to it

    def chunks(self) -> tuple[Chunk, ...]:
        found: dict[str, Chunk] = {}
        while self._next < len(self._lines) and self._lines[self._next].startswith(b'{"chunk"'):
            line = self._line()
            chunk = Chunk(line.digest("chunk"), line.whole("size", least=1), self._extension(line))
            if chunk.chunk in found:
                raise MalformedBundle("stands twice", at=f"{line.at}.chunk")
            if chunk.size > (GUARD_CHUNK if self._guard else CHUNK):
                raise MalformedBundle("more bytes than a chunk may have", at=f"{line.at}.size")
            found[chunk.chunk] = chunk
        return tuple(found.values())

    def _extension(self, line: Fields) -> str | None:
        if "extension" not in line.value:
            return None
        extension = line.text("extension", longest=16)
        if not self._guard or not _EXTENSION.issuperset(extension):
            raise MalformedBundle("not an extension, or not in this profile", at=f"{line.at}.extension")
        return extension

    def blob(self, sha256: str, size: int, chunks: Sequence[Chunk]) -> tuple[Part, ...]:
        head = self._line()
        if head.digest("blob") != sha256 or head.whole("size") != size:
            raise MalformedBundle(f"blob {sha256[:12]} of {size} bytes is next in the export", at=head.at)
        bases = self._bases(head)
        parts, reached = [], 0
        frames = _Frames()
        for _number in range(head.whole("parts")):
            line = self._line()
            part = self._part(line, bases, chunks)
            reached += part.size
            parts.append(part)
            if part.encoding not in (REFERENCE, RAW):
                frames.add(part)
                self._loaded += 0 if frames.goes_on else chunks[part.chunk].size
        self._framed |= frames.given.keys()
        if any(given > CHUNK for given in frames.given.values()):
            raise MalformedBundle(f"the frames of a chunk give more than {CHUNK} bytes", at=head.at)
        if reached != size:
            raise MalformedBundle(f"its parts give {reached} of {size} bytes", at=head.at)
        return tuple(parts)

    def _bases(self, head: Fields) -> list[str]:
        bases = list(head.digests("bases"))
        if len(bases) > MAX_BASES:
            raise MalformedBundle(f"more than {MAX_BASES}", at=f"{head.at}.bases")
        for base in bases:
            if base not in self._held:
                raise MalformedBundle(f"{base[:12]} is no base of this bundle", at=f"{head.at}.bases")
        return bases

    def _part(self, line: Fields, bases: Sequence[str], chunks: Sequence[Chunk]) -> Part:
        size = line.whole("size", least=1)
        base, start = self._range(line, bases, size)
        if "chunk" not in line.value:
            if base is None:
                raise MalformedBundle("neither a chunk nor a base", at=line.at)
            return Part(size, REFERENCE, base=base, start=start)
        encoding, unit, stored = self._encoding(line, size)
        if (base is not None) != (encoding in NEEDS_BASE):
            raise MalformedBundle(f"{encoding} {'needs a' if base is None else 'has no'} base", at=line.at)
        number, at = line.whole("chunk"), line.whole("at")
        if number >= len(chunks) or at + stored > chunks[number].size:
            raise MalformedBundle("outside of its chunk", at=line.at)
        self._used[number] += 1
        return Part(size, encoding, unit, number, at, stored, base, start)

    def _range(self, line: Fields, bases: Sequence[str], size: int) -> tuple[str | None, int]:
        if "base" not in line.value:
            return None, 0
        number, start = line.whole("base"), line.whole("from")
        if number >= len(bases) or start + size > self._held[bases[number]]:
            raise MalformedBundle("outside of its base", at=line.at)
        return bases[number], start

    def _encoding(self, line: Fields, size: int) -> tuple[str, str | None, int]:
        encoding = line.text("encoding")
        if encoding == RAW:
            return RAW, None, size
        unit = line.text("unit")
        if not applies(encoding, unit):
            raise EncodingUnknown(f"{encoding} {unit}", at=line.at)
        if self._guard:
            raise MalformedBundle("a compact encoding under profile guard", at=f"{line.at}.encoding")
        stored = line.whole("stored", least=1)
        whole = size % UNITS[unit] == 0 or encoding == "zstd"
        if size > FRAME or stored >= size or not whole:
            problem = f"a frame gives at most {FRAME} bytes of whole units, and is smaller than they"
            raise MalformedBundle(problem, at=line.at)
        return encoding, unit, stored

    def finish(self, chunks: Sequence[Chunk]) -> None:
        if self._next != len(self._lines):
            raise MalformedBundle("lines after the last blob", at=f"{_AT} line {self._next + 1}")
        for number, chunk in enumerate(chunks, start=1):
            if number - 1 in self._framed and chunk.size > COMPACT_CHUNK:
                raise MalformedBundle("too large to hold frames", at=f"{_AT} line {number}.size")
            if not self._used[number - 1]:
                raise MalformedBundle("no part lies in it", at=f"{_AT} line {number}.chunk")
        stored = sum(chunk.size for chunk in chunks)
        if self._loaded > _MOST_LOADED + 2 * (self._carried + stored):
            raise MalformedBundle(f"{self._loaded} bytes would have to be read for its frames", at=_AT)

    def _line(self) -> Fields:
        at = f"{_AT} line {self._next + 1}"
        if self._next == len(self._lines):
            raise MalformedBundle("missing", at=at)
        try:
            fields = Fields.at_place(parse_canonical(self._lines[self._next], max_bytes=MAX_LINE, at=at), at)
        except NotCanonical as exc:
            raise MalformedBundle(exc.problem, at=exc.at) from exc
        self._next += 1
        return fields


def merged(parts: Iterable[Part]) -> list[Part]:
    """Return the same parts with neighbours that simply go on made one: references, and raw bytes of one chunk."""
    found: list[Part] = []
    for part in parts:
        last = found[-1] if found else None
        if last is not None and _goes_on(last, part):
            stored = last.stored + part.stored
            found[-1] = Part(
                last.size + part.size, last.encoding, None, last.chunk, last.at, stored, last.base, last.start
            )
        else:
            found.append(part)
    return found


def _goes_on(last: Part, part: Part) -> bool:
    if last.encoding != part.encoding:
        return False
    if part.encoding == REFERENCE:
        return last.base == part.base and last.start + last.size == part.start
    return part.encoding == RAW and last.chunk == part.chunk and last.at + last.stored == part.at
