"""Safetensors and GGUF files as lists of tensors, written in the order that the benchmark wants.

Apart because the published writers sort the tensors themselves, and a benchmark of re-ordered files must not.
The files that are read here were made by the benchmark: nothing is checked.
"""

import json
import mmap
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

ALIGNMENT = 32  # bytes, GGUF's default
_VERSION = 3
_UINT32, _STRING = 4, 8  # GGUF's numbers of the types of a value
GGML_TYPES = {"f32": 0, "q8_0": 8, "q4_k": 12}


@dataclass(frozen=True)
class Tensor:
    """One tensor and its bytes. `shape` with the slowest dimension first."""

    name: str
    dtype: str  # as safetensors spells it ("BF16"), or a GGML type ("q4_k")
    shape: tuple[int, ...]
    data: Any  # a buffer; of a read file, a view of its map

    def renamed(self, name: str) -> "Tensor":
        """The same bytes under another name."""
        return replace(self, name=name)


def read(path: Path) -> tuple[bytes, list[Tensor]]:
    """Return a safetensors file's header, and its tensors in the order of their bytes."""
    with path.open("rb") as stream:
        view = memoryview(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ))
    start = 8 + int.from_bytes(view[:8], "little")
    header = json.loads(bytes(view[8:start]))
    header.pop("__metadata__", None)
    entries = sorted(header.items(), key=lambda item: item[1]["data_offsets"])
    return bytes(view[:start]), [_tensor(view[start:], name, entry) for name, entry in entries]


def _tensor(data: memoryview, name: str, entry: Mapping[str, Any]) -> Tensor:
    begin, end = entry["data_offsets"]
    return Tensor(name, entry["dtype"], tuple(entry["shape"]), data[begin:end])


def write(path: Path, tensors: Sequence[Tensor]) -> None:
    """Write a safetensors file with the tensors in this order."""
    entries: dict[str, object] = {"__metadata__": {"format": "pt"}}
    place = 0
    for tensor in tensors:
        size = len(tensor.data)
        entries[tensor.name] = {
            "dtype": tensor.dtype,
            "shape": tensor.shape,
            "data_offsets": [place, place + size],
        }
        place += size
    header = json.dumps(entries, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    with path.open("xb") as target:
        target.write(struct.pack("<Q", len(header)) + header)
        for tensor in tensors:
            target.write(tensor.data)


def write_gguf(path: Path, metadata: Mapping[str, str | int], tensors: Sequence[Tensor]) -> None:
    """Write a little-endian GGUF file of version 3; every tensor begins at a multiple of `ALIGNMENT` bytes.

    Source: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
    """
    head = b"GGUF" + struct.pack("<IQQ", _VERSION, len(tensors), len(metadata))
    head += b"".join(_text(key) + _value(value) for key, value in metadata.items())
    place = 0
    for tensor in tensors:
        shape = tensor.shape[::-1]  # the fastest dimension first
        head += _text(tensor.name) + struct.pack(f"<I{len(shape)}Q", len(shape), *shape)
        head += struct.pack("<IQ", GGML_TYPES[tensor.dtype], place)
        place += _padded(len(tensor.data))
    with path.open("xb") as target:
        target.write(head.ljust(_padded(len(head)), b"\0"))
        for tensor in tensors:
            target.write(tensor.data)
            target.write(bytes(_padded(len(tensor.data)) - len(tensor.data)))


def _padded(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


def _text(text: str) -> bytes:
    return struct.pack("<Q", len(text.encode())) + text.encode()


def _value(value: str | int) -> bytes:
    if isinstance(value, str):
        return struct.pack("<I", _STRING) + _text(value)
    return struct.pack("<II", _UINT32, value)


def gguf_tensors(path: Path, kind: str) -> list[Any]:
    """Return the bytes of a GGUF file's tensors of one type, as views of its map."""
    from pipelines.scan import gguf

    with path.open("rb") as stream:
        view = memoryview(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ))
        header = gguf.read_header(stream, len(view))
    data = view[header.data_start :]
    return [data[one.begin : one.end] for one in header.tensors if one.type.lower() == kind]


def as_float32(tensor: Tensor) -> Any:
    """The values of a BF16 or F32 tensor as a flat numpy array."""
    import numpy as np

    if tensor.dtype == "F32":
        return np.frombuffer(tensor.data, np.float32)
    return (np.frombuffer(tensor.data, np.uint16).astype(np.uint32) << 16).view(np.float32)
