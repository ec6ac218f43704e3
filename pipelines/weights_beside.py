"""Which weights differ between two versions, tensor by tensor, within a bounded number of bytes.

Names, types and shapes come from the files' headers and are compared whole. Bytes are compared only where the files
differ, and only as many as the budget allows: a tensor that is too large is looked at in a few blocks. So "changed" is
proven, "same" is proven where all bytes were looked at, and what is left is called "alike in what was looked at".
Nothing is executed; a file that breaks its format is named and not compared.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, Self

from pipelines.scan import gguf, safetensors
from pipelines.scan.errors import MalformedGguf, MalformedSafetensors
from registry.blobs import BlobStore
from registry.errors import BlobDamaged, NotFound
from registry.manifests import FileEntry, Manifest

BUDGET = 24 << 20  # bytes read of each version
MOST_FILES = 256  # weight files of a version
MOST_TENSORS = 16_384
BLOCKS = 4  # of one tensor that is too large to be read whole
_LEAST = 1024  # bytes of one tensor that are looked at, at least

ADDED, REMOVED, RESHAPED, CHANGED, SAME, ALIKE = "added", "removed", "reshaped", "changed", "same", "alike"


@dataclass(frozen=True)
class Tensor:
    """Where one tensor lies: `begin` in bytes from the start of the blob. `shape`: outermost dimension first."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    blob: str  # SHA-256 of the file
    begin: int
    size: int  # bytes

    @property
    def elements(self) -> int:
        """How many numbers it holds."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class TensorBeside:
    """One name in both versions, or in one of them."""

    name: str
    change: str
    now: Tensor | None  # in the version that is looked at
    then: Tensor | None  # in the one that it is held against
    looked: int = 0  # bytes of it that were compared
    moved: float | None = (
        None  # root mean square of the difference, over that of the old values; None: not known
    )

    @property
    def any(self) -> Tensor:
        """The tensor, in whichever version has it."""
        found = self.now or self.then
        assert found is not None, "one of them has it"
        return found


@dataclass(frozen=True)
class WeightsBeside:
    """The whole comparison. `unread`: files that were not compared, each with the reason."""

    tensors: tuple[TensorBeside, ...]
    unread: tuple[str, ...]

    def count(self, change: str) -> int:
        """How many tensors changed so."""
        return sum(one.change == change for one in self.tensors)

    @property
    def differing(self) -> tuple[TensorBeside, ...]:
        """Those that are not the same, in the order of their names."""
        return tuple(one for one in self.tensors if one.change not in (SAME, ALIKE))


def compare(blobs: BlobStore, now: Manifest, then: Manifest, *, budget: int = BUDGET) -> WeightsBeside:
    """Hold the weights of one version against those of another.

    Args:
        budget: bytes that may be read of each version's tensors; headers are read besides.
    """
    unread: list[str] = []
    shared = {entry.sha256 for entry in now.files} & {entry.sha256 for entry in then.files}
    formats = {_format(entry) for one in (now, then) for entry in one.files if _format(entry)}
    new, old = (_tensors(blobs, one, unread, tell=len(formats) > 1) for one in (now, then))
    asked = [
        name for name in new.keys() & old.keys() if _comparable(new[name], old[name]) and not _same_place(new[name], old[name], shared)
    ]  # fmt: skip
    each = max(_LEAST, budget // max(1, len(asked)))
    spare = budget if sum(new[name].size for name in asked) <= budget else each
    with _Readers(blobs) as readers:
        found = [
            _beside(readers, name, new.get(name), old.get(name), shared, most=spare)
            for name in sorted(new.keys() | old.keys(), key=_natural)
        ]
    return WeightsBeside(tuple(found), tuple(unread))


def _natural(name: str) -> list[tuple[int, int, str]]:
    """Layer 2 before layer 10."""
    return [
        (0, int(part), "") if part.isdecimal() and len(part) < 9 else (1, 0, part) for part in name.split(".")
    ]


def _comparable(one: Tensor, other: Tensor) -> bool:
    return (one.dtype, one.shape, one.size) == (other.dtype, other.shape, other.size)


def _same_place(one: Tensor, other: Tensor, shared: set[str]) -> bool:
    """The same bytes of the same file: nothing has to be read."""
    return one.blob in shared and (one.blob, one.begin) == (other.blob, other.begin)


def _beside(
    readers: "_Readers", name: str, now: Tensor | None, then: Tensor | None, shared: set[str], *, most: int
) -> TensorBeside:
    if now is None or then is None:
        return TensorBeside(name, REMOVED if now is None else ADDED, now, then)
    if not _comparable(now, then):
        return TensorBeside(name, RESHAPED, now, then)
    if _same_place(now, then, shared):
        return TensorBeside(name, SAME, now, then, looked=now.size)
    mine, theirs = (b"".join(readers.blocks(one, most)) for one in (now, then))
    if mine != theirs:
        return TensorBeside(name, CHANGED, now, then, len(mine), _moved(now.dtype, mine, theirs))
    return TensorBeside(name, SAME if len(mine) == now.size else ALIKE, now, then, len(mine))


# -- numbers --------------------------------------------------------------------------------------------


def _moved(dtype: str, mine: bytes, theirs: bytes) -> float | None:
    """How far the values moved, in parts of their own size; None for types whose bytes are no plain numbers."""
    import numpy as np  # noqa: PLC0415 - costs a tenth of a second

    new, old = _numbers(np, dtype, mine), _numbers(np, dtype, theirs)
    if new is None or old is None:
        return None
    with np.errstate(all="ignore"):
        before = float(np.sqrt(np.mean(np.square(old))))
        by = float(np.sqrt(np.mean(np.square(new - old))))
    return by / before if before and math.isfinite(by / before) else None


def _numbers(np: Any, dtype: str, data: bytes) -> Any:
    if dtype == "BF16":
        return (np.frombuffer(data, "<u2").astype("<u4") << 16).view("<f4").astype("<f8")
    kind = {"F16": "<f2", "F32": "<f4", "F64": "<f8"}.get(dtype)
    return None if kind is None else np.frombuffer(data, kind).astype("<f8")


# -- reading --------------------------------------------------------------------------------------------


class _Readers:
    """Blobs that are open while tensors are compared."""

    def __init__(self, blobs: BlobStore) -> None:
        self._blobs = blobs
        self._open: dict[str, BinaryIO] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for stream in self._open.values():
            stream.close()

    def blocks(self, tensor: Tensor, most: int) -> Iterator[bytes]:
        """The tensor's bytes, or a few blocks of them evenly over it, each beginning at a whole number."""
        if tensor.blob not in self._open:
            self._open[tensor.blob] = self._blobs.open(tensor.blob)
        stream = self._open[tensor.blob]
        if tensor.size <= most:
            stream.seek(tensor.begin)
            yield stream.read(tensor.size)
            return
        length = max(16, most // BLOCKS & ~15)
        for number in range(BLOCKS):
            at = (tensor.size - length) * number // (BLOCKS - 1) & ~15
            stream.seek(tensor.begin + at)
            yield stream.read(min(length, tensor.size - at))


def _format(entry: FileEntry) -> str:
    """The format of a weight file; empty for any other file."""
    kind = entry.path.rpartition(".")[2]
    return kind if kind in ("safetensors", "gguf") else ""


def _tensors(blobs: BlobStore, manifest: Manifest, unread: list[str], *, tell: bool) -> dict[str, Tensor]:
    """Every tensor of a version by its name, with the file's format before it if that has to be told apart."""
    files = [entry for entry in manifest.files if _format(entry)]
    unread += [f"{entry.path}: more than {MOST_FILES} weight files" for entry in files[MOST_FILES:]]
    found: dict[str, Tensor] = {}
    for entry in files[:MOST_FILES]:
        try:
            with blobs.open(entry.sha256) as stream:
                read = list(_read(stream, entry))
        except (MalformedSafetensors, MalformedGguf, BlobDamaged, NotFound) as exc:
            unread.append(f"{entry.path}: {exc}")
            continue
        if len(found) + len(read) > MOST_TENSORS:
            unread.append(f"{entry.path}: more than {MOST_TENSORS:,} tensors")
            continue
        prefix = f"{_format(entry)}: " if tell else ""
        found |= {prefix + one.name: one for one in read}
    return found


def _read(stream: BinaryIO, entry: FileEntry) -> Iterable[Tensor]:
    if _format(entry) == "gguf":
        header = gguf.read_header(stream, entry.size)
        for one in header.tensors:
            begin = header.data_start + one.begin
            yield Tensor(one.name, one.type, one.shape[::-1], entry.sha256, begin, one.end - one.begin)
        return
    plain = safetensors.read_header(stream, entry.size)
    for tensor in plain.tensors:
        begin, size = plain.data_start + tensor.begin, tensor.end - tensor.begin
        yield Tensor(tensor.name, tensor.dtype, tensor.shape, entry.sha256, begin, size)
