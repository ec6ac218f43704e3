"""The GGUF header, read by ourselves: bounded, strict, and without touching a tensor.

The published Python reader takes 49 bytes that announce 2**60 array elements and then all memory. Here each count
and each length is held against the bytes that are left before anything is allocated or looped over, arrays are
passed over without being kept, and what is kept has a limit of its own.

Little-endian versions 2 and 3. Source: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import BinaryIO

from pipelines.scan.errors import MalformedGguf
from pipelines.scan.reading import Cursor, EndOfFile, quoted

MAGIC = b"GGUF"
MAX_KEYS = 65_536  # real files have fewer than 200
MAX_TENSORS = 131_072
MAX_NAME_BYTES = 1024  # of a key or a tensor; the format says 65535 and 64
MAX_ARRAY_STEPS = (
    2_000_000  # strings and inner arrays walked in one file; large tokenizers have about 800 000
)
MAX_KEPT_TEXT = 1 << 20  # bytes of one text value that is kept
MAX_KEPT_TOTAL = 8 << 20  # bytes of all text values that are kept
MAX_ALIGNMENT = 1 << 20  # bytes
DEFAULT_ALIGNMENT = 32  # bytes

_STRING, _ARRAY = 8, 9
_SCALARS = {
    0: "<B",
    1: "<b",
    2: "<H",
    3: "<h",
    4: "<I",
    5: "<i",
    6: "<f",
    7: "<?",
    10: "<Q",
    11: "<q",
    12: "<d",
}
_BOOL, _UINT32 = 7, 4

# ggml type number: (name, elements in a block, bytes of a block). Source: ggml.h `enum ggml_type`, ggml-common.h.
# Numbers that were withdrawn (4, 5, 31-33, 36-38) or are newer than this table are refused.
TYPES = {
    0: ("F32", 1, 4), 1: ("F16", 1, 2), 2: ("Q4_0", 32, 18), 3: ("Q4_1", 32, 20), 6: ("Q5_0", 32, 22),
    7: ("Q5_1", 32, 24), 8: ("Q8_0", 32, 34), 9: ("Q8_1", 32, 36), 10: ("Q2_K", 256, 84), 11: ("Q3_K", 256, 110),
    12: ("Q4_K", 256, 144), 13: ("Q5_K", 256, 176), 14: ("Q6_K", 256, 210), 15: ("Q8_K", 256, 292),
    16: ("IQ2_XXS", 256, 66), 17: ("IQ2_XS", 256, 74), 18: ("IQ3_XXS", 256, 98), 19: ("IQ1_S", 256, 50),
    20: ("IQ4_NL", 32, 18), 21: ("IQ3_S", 256, 110), 22: ("IQ2_S", 256, 82), 23: ("IQ4_XS", 256, 136),
    24: ("I8", 1, 1), 25: ("I16", 1, 2), 26: ("I32", 1, 4), 27: ("I64", 1, 8), 28: ("F64", 1, 8),
    29: ("IQ1_M", 256, 56), 30: ("BF16", 1, 2), 34: ("TQ1_0", 256, 54), 35: ("TQ2_0", 256, 66),
    39: ("MXFP4", 32, 17), 40: ("NVFP4", 64, 36),
}  # fmt: skip


@dataclass(frozen=True)
class GgufArray:
    """An array that was passed over: the type number of its elements, and how many."""

    element_type: int
    count: int


@dataclass(frozen=True)
class GgufLongText:
    """A text value beyond what is kept: its length in bytes."""

    length: int


GgufValue = str | int | float | bool | GgufArray | GgufLongText


@dataclass(frozen=True)
class GgufTensor:
    """One tensor. `shape` in the file's order, fastest first; `begin` and `end` in bytes from `data_start`."""

    name: str
    type: str
    shape: tuple[int, ...]
    begin: int
    end: int

    @property
    def elements(self) -> int:
        return math.prod(self.shape)


@dataclass(frozen=True)
class GgufHeader:
    """What the header says. `tensors` stand in the order of their bytes; `data_start` is a file offset in bytes."""

    version: int
    metadata: Mapping[str, GgufValue]
    tensors: tuple[GgufTensor, ...]
    alignment: int
    data_start: int


def read_header(stream: BinaryIO, size: int) -> GgufHeader:
    """Read the header of a GGUF file from its first byte on.

    Args:
        stream: at offset 0; nothing behind the tensor table is read.
        size: of the whole file, bytes.

    Raises:
        MalformedGguf: and nothing else but what the stream itself raises.
    """
    reader = _Reader(Cursor(stream, size))
    try:
        return reader.header()
    except EndOfFile as exc:
        raise reader.refusal("the file ends inside this value") from exc


class _Reader:
    def __init__(self, cursor: Cursor) -> None:
        self._cursor = cursor
        self._steps_left = MAX_ARRAY_STEPS
        self._kept_left = MAX_KEPT_TOTAL
        self._where = "start"

    def refusal(self, problem: str) -> MalformedGguf:
        return MalformedGguf(problem, at=f"byte {self._cursor.position} ({self._where})")

    def header(self) -> GgufHeader:
        version, tensor_count, key_count = self._preamble()
        metadata: dict[str, GgufValue] = {}
        for number in range(key_count):
            self._where = f"key {number + 1} of {key_count}"
            key = self._name()
            self._where = f"key {quoted(key)}"
            if key in metadata:
                raise self.refusal("the key stands twice")
            metadata[key] = self._value(key)
        alignment = self._alignment(metadata)
        tensors = self._tensors(tensor_count, alignment)
        end_of_table = self._cursor.position
        data_start = -(-end_of_table // alignment) * alignment
        self._where = "tensor data"
        self._check_layout(tensors, alignment, data_size=self._cursor.size - data_start)
        return GgufHeader(version, metadata, tuple(tensors), alignment, data_start)

    def _preamble(self) -> tuple[int, int, int]:
        self._where = "magic"
        if self._cursor.take(4) != MAGIC:
            raise self.refusal("not a GGUF file")
        self._where = "version"
        version = self._unsigned(4)
        if version not in (2, 3):
            raise self.refusal(f"version {version}; little-endian versions 2 and 3 are read")
        self._where = "counts"
        tensors, keys = self._unsigned(8), self._unsigned(8)
        if tensors > MAX_TENSORS or keys > MAX_KEYS:
            raise self.refusal(
                f"{tensors} tensors and {keys} keys; at most {MAX_TENSORS} and {MAX_KEYS} are read"
            )
        if tensors * 24 + keys * 13 > self._cursor.remaining:  # the least that each of them takes
            raise self.refusal(f"{tensors} tensors and {keys} keys do not fit into the file")
        return version, tensors, keys

    def _unsigned(self, width: int) -> int:
        return int.from_bytes(self._cursor.take(width), "little")

    def _length(self) -> int:
        length = self._unsigned(8)
        if length > self._cursor.remaining:
            raise self.refusal(f"a length of {length} bytes, but only {self._cursor.remaining} follow")
        return length

    def _name(self) -> str:
        length = self._length()
        if not 0 < length <= MAX_NAME_BYTES:
            raise self.refusal(f"a name of {length} bytes; 1 to {MAX_NAME_BYTES} are read")
        return self._text(length)

    def _text(self, length: int) -> str:
        try:
            return self._cursor.take(length).decode("utf-8")
        except UnicodeDecodeError as exc:
            raise self.refusal("text that is not UTF-8") from exc

    def _value(self, key: str) -> GgufValue:
        kind = self._unsigned(4)
        if kind == _STRING:
            return self._kept_text()
        if kind == _ARRAY:
            return self._array(depth=1)
        if kind not in _SCALARS:
            raise self.refusal(f"unknown value type {kind}")
        if key == "general.alignment" and kind != _UINT32:
            raise self.refusal("the alignment must be an unsigned 32-bit integer")
        form = _SCALARS[kind]
        raw = self._cursor.take(struct.calcsize(form))
        if kind == _BOOL and raw not in (b"\0", b"\1"):
            raise self.refusal("a boolean that is neither 0 nor 1")
        value: int | float | bool = struct.unpack(form, raw)[0]
        return value

    def _kept_text(self) -> str | GgufLongText:
        length = self._length()
        if length > MAX_KEPT_TEXT or length > self._kept_left:
            self._cursor.skip(length)
            return GgufLongText(length)
        self._kept_left -= length
        return self._text(length)

    def _array(self, *, depth: int) -> GgufArray:
        """Pass over an array. Two levels at most, so the call depth is two at most."""
        kind, count = self._unsigned(4), self._unsigned(8)
        if kind in _SCALARS:
            width = struct.calcsize(_SCALARS[kind])
            self._check_count(count, width)
            self._cursor.skip(count * width)
        elif kind == _STRING:
            self._check_count(count, 8)
            self._spend(count)
            for _ in range(count):
                self._cursor.skip(self._length())
        elif kind == _ARRAY and depth == 1:
            self._check_count(count, 12)
            self._spend(count)
            for _ in range(count):
                self._array(depth=2)
        else:
            raise self.refusal(
                "arrays nested deeper than 2" if kind == _ARRAY else f"unknown element type {kind}"
            )
        return GgufArray(kind, count)

    def _check_count(self, count: int, width: int) -> None:
        if count * width > self._cursor.remaining:
            raise self.refusal(f"an array of {count} elements does not fit into the file")

    def _spend(self, steps: int) -> None:
        self._steps_left -= steps
        if self._steps_left < 0:
            raise self.refusal(f"more than {MAX_ARRAY_STEPS} texts and inner arrays")

    def _alignment(self, metadata: Mapping[str, GgufValue]) -> int:
        self._where = "key 'general.alignment'"
        value = metadata.get("general.alignment", DEFAULT_ALIGNMENT)
        if not isinstance(value, int) or not 0 < value <= MAX_ALIGNMENT or value & (value - 1):
            raise self.refusal(f"{value} is not a power of two up to {MAX_ALIGNMENT}")
        return value

    def _tensors(self, count: int, alignment: int) -> list[GgufTensor]:
        tensors: list[GgufTensor] = []
        names: set[str] = set()
        for number in range(count):
            self._where = f"tensor {number + 1} of {count}"
            name = self._name()
            self._where = f"tensor {quoted(name)}"
            if name in names:
                raise self.refusal("the tensor name stands twice")
            names.add(name)
            tensors.append(self._tensor(name, alignment))
        tensors.sort(key=lambda tensor: tensor.begin)
        return tensors

    def _tensor(self, name: str, alignment: int) -> GgufTensor:
        dimensions = self._unsigned(4)
        if dimensions > 4:
            raise self.refusal(f"{dimensions} dimensions; at most 4 exist")
        shape = tuple(self._unsigned(8) for _ in range(dimensions))
        number, begin = self._unsigned(4), self._unsigned(8)
        if number not in TYPES:
            raise self.refusal(f"unknown tensor type {number}")
        kind, block, block_bytes = TYPES[number]
        elements = math.prod(shape)
        if not 0 < elements < 1 << 63 or (shape[0] if shape else 1) % block:
            raise self.refusal(f"shape {list(shape)} does not suit {kind}")
        if begin % alignment:
            raise self.refusal(f"offset {begin} is not a multiple of {alignment}")
        return GgufTensor(name, kind, shape, begin, begin + elements // block * block_bytes)

    def _check_layout(self, tensors: list[GgufTensor], alignment: int, *, data_size: int) -> None:
        """No overlap, nothing beyond the file, and no more than padding between tensors and behind the last."""
        reached = 0
        for tensor in tensors:
            self._where = f"tensor {quoted(tensor.name)}"
            if tensor.begin < reached:
                raise self.refusal(f"begins at {tensor.begin}, inside another tensor")
            if tensor.begin - reached >= alignment:
                raise self.refusal(f"{tensor.begin - reached} bytes before it belong to no tensor")
            if tensor.end > data_size:
                raise self.refusal(f"ends at {tensor.end}; the data has {max(data_size, 0)} bytes")
            reached = tensor.end
        self._where = "end of file"
        if data_size - reached >= alignment:
            raise self.refusal(f"{data_size - reached} bytes follow the last tensor")
