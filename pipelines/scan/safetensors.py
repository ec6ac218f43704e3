"""The safetensors header, read by ourselves: bounded, strict, and without touching a tensor.

The published reader accepts a duplicate tensor name (seen with 0.8.0) and other readers accept more; two programs
then load two models from one file. Here the header has one meaning or is refused: unique names, known dtypes,
sizes that follow from shape and dtype, and ranges that tile the data exactly to the end of the file.

Source: https://github.com/huggingface/safetensors#format
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

from pipelines.scan.errors import MalformedDocument, MalformedSafetensors
from pipelines.scan.reading import Cursor, EndOfFile, parse_json, quoted

MAX_HEADER_BYTES = 100 << 20  # beyond this a length is nonsense: the format itself stops at 100 000 000
MAX_READ_BYTES = 32 << 20  # what we read; 100 000 tensors take about 12 MiB and the process has 256 MiB
MAX_DIMENSIONS = 16

BITS = {  # per element; safetensors 0.8.0, `Dtype`
    "BOOL": 8, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "U8": 8, "I8": 8,
    "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
    "I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32, "F32": 32,
    "C64": 64, "F64": 64, "I64": 64, "U64": 64,
}  # fmt: skip


@dataclass(frozen=True)
class TensorInfo:
    """One tensor: where its bytes lie. `begin` and `end` count bytes from `data_start`."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int

    @property
    def elements(self) -> int:
        return math.prod(self.shape)


@dataclass(frozen=True)
class SafetensorsHeader:
    """What the header says. `tensors` stand in the order of their bytes; `data_start` is a file offset in bytes."""

    tensors: tuple[TensorInfo, ...]
    metadata: Mapping[str, str]
    data_start: int


def read_header(stream: BinaryIO, size: int) -> SafetensorsHeader:
    """Read the header of a safetensors file from its first byte on.

    Args:
        stream: at offset 0; only the header is read.
        size: of the whole file, bytes.

    Raises:
        MalformedSafetensors: and nothing else but what the stream itself raises.
    """
    cursor = Cursor(stream, size)
    try:
        length = int.from_bytes(cursor.take(8), "little")
        _check_length(length, available=cursor.remaining)
        raw = cursor.take(length)
    except EndOfFile as exc:
        raise MalformedSafetensors("the file ends here", at=f"byte {cursor.position}") from exc
    document = _parse(raw)
    metadata = _metadata(document.pop("__metadata__", {}))
    tensors = [_tensor(name, entry) for name, entry in document.items()]
    tensors.sort(key=lambda tensor: (tensor.begin, tensor.end))
    _check_tiling(tensors, data_size=cursor.remaining)
    return SafetensorsHeader(tuple(tensors), metadata, data_start=cursor.position)


def _check_length(length: int, *, available: int) -> None:
    at = "byte 0 (header length)"
    if length > MAX_HEADER_BYTES:
        raise MalformedSafetensors(f"{length} bytes; the format allows at most {MAX_HEADER_BYTES}", at=at)
    if length > available:
        raise MalformedSafetensors(f"{length} bytes, but only {available} follow", at=at)
    if length > MAX_READ_BYTES:
        raise MalformedSafetensors(f"{length} bytes; at most {MAX_READ_BYTES} are read", at=at)


def _parse(raw: bytes) -> dict[str, Any]:
    if not raw.startswith(b"{"):
        raise MalformedSafetensors("the header does not start with '{'", at="byte 8")
    text = raw.rstrip(b" ")  # the format's only padding; other white space is not
    if not text.endswith(b"}"):
        raise MalformedSafetensors("the header does not end with '}' and spaces", at=f"byte {8 + len(raw)}")
    try:
        document = parse_json(text, max_bytes=MAX_READ_BYTES)
    except MalformedDocument as exc:
        raise MalformedSafetensors(f"{exc.problem} ({exc.at})", at="header") from exc
    if not isinstance(document, dict):  # pragma: no cover - what starts with '{' is an object
        raise MalformedSafetensors("not an object", at="header")
    return document


def _metadata(value: Any) -> dict[str, str]:
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise MalformedSafetensors("not an object from text to text", at="__metadata__")
    return value


def _tensor(name: str, entry: Any) -> TensorInfo:
    at = f"tensor {quoted(name)}"
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise MalformedSafetensors("must have exactly dtype, shape and data_offsets", at=at)
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in BITS:
        raise MalformedSafetensors(f"unknown dtype {quoted(str(dtype))}", at=f"{at}.dtype")
    if not _sizes(shape) or len(shape) > MAX_DIMENSIONS:
        raise MalformedSafetensors(f"not a list of at most {MAX_DIMENSIONS} sizes", at=f"{at}.shape")
    if not _sizes(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise MalformedSafetensors("not [begin, end] with begin <= end", at=f"{at}.data_offsets")
    begin, end = offsets
    bits = math.prod(shape) * BITS[dtype]
    if bits != (end - begin) * 8:
        problem = f"{end - begin} bytes, but shape and dtype need {bits} bits"
        raise MalformedSafetensors(problem, at=f"{at}.data_offsets")
    return TensorInfo(name, dtype, tuple(shape), begin, end)


def _sizes(value: Any) -> bool:
    """Whether this is a list of integers from 0 below 2**63; `true` is an int to Python and is none here."""
    return isinstance(value, list) and all(type(item) is int and 0 <= item < 1 << 63 for item in value)


def _check_tiling(tensors: list[TensorInfo], *, data_size: int) -> None:
    """Every byte of data belongs to exactly one tensor: no overlap, no hole, nothing behind the last."""
    reached = 0
    for tensor in tensors:
        at = f"tensor {quoted(tensor.name)}.data_offsets"
        if tensor.begin < reached:
            raise MalformedSafetensors(f"begins at {tensor.begin}, inside another tensor", at=at)
        if tensor.begin > reached:
            raise MalformedSafetensors(f"{tensor.begin - reached} bytes before it belong to no tensor", at=at)
        if tensor.end > data_size:
            raise MalformedSafetensors(f"ends at {tensor.end}; the data has {data_size} bytes", at=at)
        reached = tensor.end
    if reached != data_size:
        raise MalformedSafetensors(f"{data_size - reached} bytes follow the last tensor", at="end of file")
