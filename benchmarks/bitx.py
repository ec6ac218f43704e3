"""A BitX-style delta, written again from its published description, to compare with on the same bytes.

As ZipLLM does it (https://arxiv.org/html/2505.06252v3): a tensor that is held under any name is left out; one with a
held tensor of its name, type and shape is XORed with it; the exponents are one stream, signs and mantissas another;
zstd level 3 in pieces of 1 MiB. What has no base is split the same way without an XOR; what is no float is zstd alone.
GGUF files, which the original does not know, are XORed byte for byte with the held file of their size.

A program (`python -m benchmarks.bitx encode|decode HELD FROM TO`; HELD is `-` for nothing held) and the functions that
the codecs' own measurement calls. Never on a path of the product.
"""

import hashlib
import struct
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zstandard

from benchmarks import tensors

PIECE = 1 << 20  # bytes
_LEVEL = 3
_REFERENCE, _CODED = 0, 1
_SPLITS: dict[
    str, tuple[Any, int, int]
] = {  # safetensors type: (numpy's, bits below the exponent, bits of the exponent)
    "BF16": (np.uint16, 7, 8),
    "F16": (np.uint16, 10, 5),
    "F32": (np.uint32, 23, 8),
}


@dataclass(frozen=True)
class _Part:
    """Some bytes of a file, and what they are compared with."""

    data: Any
    dtype: str
    base: Any = None  # as many bytes, or None
    same: bool = False


def encode_piece(data: Any, dtype: str, base: Any = None) -> bytes:
    """Return one piece of at most `PIECE` bytes, encoded."""
    if dtype not in _SPLITS:
        plain = np.frombuffer(data, np.uint8)
        changed = plain if base is None else plain ^ np.frombuffer(base, np.uint8)
        return _framed([_zstd(changed)])
    number, low, high = _SPLITS[dtype]
    words: Any = np.frombuffer(data, number)
    if base is not None:
        words = words ^ np.frombuffer(base, number)
    exponents = ((words >> low) & ((1 << high) - 1)).astype(np.uint8)
    rest = ((words >> (low + high)) << low) | (words & ((1 << low) - 1))
    return _framed([_zstd(exponents), *(_zstd(plane) for plane in _planes(rest, low + 1))])


def decode_piece(piece: bytes, size: int, dtype: str, base: Any = None) -> bytes:
    """Undo `encode_piece`; `size` in bytes."""
    streams = [np.frombuffer(_plain(stream), np.uint8) for stream in _unframed(piece)]
    if dtype not in _SPLITS:
        whole: Any = streams[0]
        return bytes((whole if base is None else whole ^ np.frombuffer(base, np.uint8)).data)
    number, low, high = _SPLITS[dtype]
    rest = np.zeros(size // number(0).itemsize, number)
    for place, plane in enumerate(streams[1:]):
        rest |= plane.astype(number) << number(8 * place)
    words = (
        ((rest >> low) << (low + high))
        | (streams[0].astype(number) << number(low))
        | (rest & ((1 << low) - 1))
    )
    return bytes((words if base is None else words ^ np.frombuffer(base, number)).astype(number).data)


def _planes(words: Any, bits: int) -> Iterator[Any]:
    for shift in range(0, bits, 8):
        yield ((words >> shift) & 0xFF).astype(np.uint8)


def _zstd(plane: Any) -> bytes:
    return zstandard.ZstdCompressor(level=_LEVEL).compress(plane)


def _plain(stream: bytes) -> bytes:
    return zstandard.ZstdDecompressor().decompress(stream)


def _framed(streams: Sequence[bytes]) -> bytes:
    return bytes([len(streams)]) + b"".join(struct.pack("<I", len(one)) + one for one in streams)


def _unframed(piece: bytes) -> Iterator[bytes]:
    place = 1
    for _ in range(piece[0]):
        (size,) = struct.unpack_from("<I", piece, place)
        yield piece[place + 4 : place + 4 + size]
        place += 4 + size


class _Held:
    """The held files: tensors by content and by name, other files by size."""

    def __init__(self, folder: Path | None) -> None:
        self.contents: dict[bytes, Any] = {}
        self._names: dict[tuple[str, str, tuple[int, ...]], Any] = {}
        self._sizes: dict[int, Any] = {}
        for path in sorted(folder.iterdir()) if folder else ():
            if path.suffix != ".safetensors":
                whole = path.read_bytes()
                self._sizes[len(whole)] = self.contents[hashlib.sha256(whole).digest()] = whole
                continue
            for tensor in tensors.read(path)[1]:
                self.contents[hashlib.sha256(tensor.data).digest()] = tensor.data
                self._names[tensor.name, tensor.dtype, tensor.shape] = tensor.data

    def parts(self, path: Path) -> Iterator[_Part]:
        """What a file to send consists of."""
        if path.suffix != ".safetensors":
            whole = path.read_bytes()
            base = self._sizes.get(len(whole))
            yield _Part(whole, "", base, same=whole == base)
            return
        header, found = tensors.read(path)
        yield _Part(header, "")
        for tensor in found:
            base = self._names.get((tensor.name, tensor.dtype, tensor.shape))
            yield _Part(
                tensor.data, tensor.dtype, base, hashlib.sha256(tensor.data).digest() in self.contents
            )


def _encode(held: Path | None, source: Path, target: Path) -> None:
    """Write each file of `source` as records: kind, size, and the pieces. A reference is its tensor's digest."""
    target.mkdir(parents=True)
    library = _Held(held)
    for path in source.iterdir():
        with (target / path.name).open("xb") as out:
            for part in library.parts(path):
                size = len(part.data)
                if part.same:
                    out.write(struct.pack("<BQ", _REFERENCE, size) + hashlib.sha256(part.data).digest())
                    continue
                out.write(struct.pack("<BQ", _CODED, size))
                for begin in range(0, size, PIECE):
                    base = None if part.base is None else part.base[begin : begin + PIECE]
                    piece = encode_piece(part.data[begin : begin + PIECE], part.dtype, base)
                    out.write(struct.pack("<I", len(piece)) + piece)


def _decode(held: Path | None, source: Path, target: Path, like: Path) -> None:
    """Write each file again. The layout, which a real format would carry in a few KB, is read from `like`."""
    target.mkdir(parents=True)
    library = _Held(held)
    for path in source.iterdir():
        with path.open("rb") as stream, (target / path.name).open("xb") as out:
            for part in library.parts(like / path.name):
                kind, size = struct.unpack("<BQ", stream.read(9))
                if kind == _REFERENCE:
                    out.write(library.contents[stream.read(32)])
                    continue
                for begin in range(0, size, PIECE):
                    base = None if part.base is None else part.base[begin : begin + PIECE]
                    (length,) = struct.unpack("<I", stream.read(4))
                    out.write(decode_piece(stream.read(length), min(PIECE, size - begin), part.dtype, base))


if __name__ == "__main__":
    _word, _held, *_rest = sys.argv[1:]
    _folder = None if _held == "-" else Path(_held)
    (_encode if _word == "encode" else _decode)(_folder, *map(Path, _rest))
