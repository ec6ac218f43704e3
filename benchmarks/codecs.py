"""What the encodings cost on one core: bytes of tensor per second of CPU, in this process, without files.

    python -m benchmarks.codecs ours|rivals|zipnn TARGET HELD|-

Prints JSON, one list of measurements. A program, so that each runs in the environment that has its codec, and so that
its memory is not the benchmark's. Each codec gets the same frames: tensors of the target in order, cut to what one
frame holds, with the held tensor of the same name, type and shape beside it.

CPU time of this process, best of some rounds: what else the machine does only ever adds. Every frame that is encoded is
decoded, and compared.
"""

import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import tensors

FRAME = 4 << 20  # bytes
_ROUNDS = 3
_UNITS = {"BF16": "bf16", "F16": "f16", "F32": "f32", "U8": "u8"}
_GGUF = {"q8_0": 34, "q4_k": 144}  # bytes of a block


@dataclass(frozen=True)
class Frame:
    """Bytes to encode, and as many held ones or None."""

    data: Any
    dtype: str
    base: Any = None


@dataclass(frozen=True)
class Measured:
    """One codec on one folder's tensors."""

    codec: str
    raw: int  # bytes
    stored: int  # bytes
    encode: float  # seconds of CPU
    decode: float
    checked: float | None = None  # seconds of CPU to encode and to decode again, as the product does
    encodings: dict[str, int] = field(default_factory=dict)  # frames of each


@dataclass(frozen=True)
class Codec:
    """A way in and out. `encode` returns what `decode` takes."""

    name: str
    encode: Callable[[Frame], Any]
    decode: Callable[[Any, Frame], Any]  # returns the bytes
    size: Callable[[Any], int] = len


def frames(target: Path, held: Path | None) -> list[Frame]:
    """Cut a folder's tensors; the small ones, together under a hundredth of the bytes, are left out."""
    if any(path.suffix == ".gguf" for path in target.iterdir()):
        return _gguf_frames(target, held)
    base = {
        (tensor.name, tensor.dtype, tensor.shape): tensor.data for tensor in (_tensors(held) if held else ())
    }
    found = []
    for tensor in _tensors(target):
        if tensor.dtype in _UNITS and len(tensor.data) >= 1 << 16:
            there = base.get((tensor.name, tensor.dtype, tensor.shape))
            found += _cut(tensor.data, tensor.dtype, there, FRAME)
    return found


def _tensors(folder: Path) -> list[tensors.Tensor]:
    files = sorted(folder.glob("*.safetensors"))
    return [tensor for path in files for tensor in tensors.read(path)[1]]


def _cut(data: Any, dtype: str, base: Any, size: int) -> list[Frame]:
    """Return frames of one tensor; what the site holds already, byte for byte, is a reference and no frame."""
    if base is not None and data == base:
        return []
    return [
        Frame(data[at : at + size], dtype, None if base is None else base[at : at + size])
        for at in range(0, len(data), size)
    ]


def _gguf_frames(target: Path, held: Path | None) -> list[Frame]:
    """Return the blocks of the two files' quantised matrices; both files have the same layout."""
    kind = target.name.rsplit("-", 1)[1]
    size = FRAME // _GGUF[kind] * _GGUF[kind]
    data = tensors.gguf_tensors(target / "model.gguf", kind)
    base = [None] * len(data) if held is None else tensors.gguf_tensors(held / "model.gguf", kind)
    return [frame for pair in zip(data, base, strict=True) for frame in _cut(pair[0], kind, pair[1], size)]


def _ours(*, compact: bool) -> Codec:
    from pipelines.encodings import ladder

    def encode(frame: Frame) -> Any:
        unit = _UNITS.get(frame.dtype, frame.dtype)
        return ladder.encode(memoryview(frame.data), unit, frame.base, compact=compact)

    out = memoryview(bytearray(FRAME))

    def decode(stored: Any, frame: Frame) -> Any:
        unit, filled = _UNITS.get(frame.dtype, frame.dtype), out[: len(frame.data)]
        ladder.decode(stored.encoding, unit, memoryview(stored.data), filled, frame.base)
        return filled

    return Codec("ours, compact" if compact else "ours", encode, decode, lambda stored: len(stored.data))


def _rivals() -> list[Codec]:
    import zstandard

    from benchmarks import bitx

    def bitx_encode(frame: Frame) -> list[bytes]:
        return [
            bitx.encode_piece(part.data, part.dtype, part.base)
            for part in _cut(frame.data, frame.dtype, frame.base, bitx.PIECE)
        ]

    def bitx_decode(stored: list[bytes], frame: Frame) -> bytes:
        parts = _cut(frame.data, frame.dtype, frame.base, bitx.PIECE)
        return b"".join(
            bitx.decode_piece(piece, len(part.data), part.dtype, part.base)
            for piece, part in zip(stored, parts, strict=True)
        )

    packer, unpacker = zstandard.ZstdCompressor(level=3), zstandard.ZstdDecompressor()
    return [
        Codec("BitX-style", bitx_encode, bitx_decode, lambda pieces: sum(map(len, pieces))),
        Codec(
            "zstd -3", lambda frame: packer.compress(frame.data), lambda data, _: unpacker.decompress(data)
        ),
    ]


def _zipnn() -> list[Codec]:
    from benchmarks.zipnn_files import codec

    known: dict[str, Any] = {}

    def of(frame: Frame) -> Any:
        return known.setdefault(frame.dtype, codec(frame.dtype))

    return [
        Codec(
            "zipnn",
            lambda frame: of(frame).compress(bytearray(frame.data)),
            lambda data, frame: of(frame).decompress(data),
        )
    ]


def measure(codec: Codec, given: Sequence[Frame]) -> Measured:
    """Encode and decode every frame, compare, and time both."""
    encode, stored = _best(lambda: [codec.encode(frame) for frame in given])
    for frame, one in zip(given, stored, strict=True):
        assert bytes(codec.decode(one, frame)) == bytes(frame.data), codec.name
    decode, _ = _best(
        lambda: [codec.decode(one, frame) is None for frame, one in zip(given, stored, strict=True)]
    )
    named = Counter(one.encoding for one in stored if hasattr(one, "encoding"))
    raw, size = sum(len(frame.data) for frame in given), sum(codec.size(one) for one in stored)
    return Measured(codec.name, raw, size, encode, decode, None, dict(named))


def _measure_ours(given: Sequence[Frame], *, compact: bool) -> Measured:
    """Measure as the product encodes, with its check, and again without it."""
    from pipelines.encodings import ladder

    with_check = measure(_ours(compact=compact), given)
    check = ladder._check  # noqa: SLF001 - the one way to tell the two costs apart without a second ladder
    ladder._check = lambda *_: None  # noqa: SLF001
    try:
        alone, _ = _best(lambda: [_ours(compact=compact).encode(frame) for frame in given])
    finally:
        ladder._check = check  # noqa: SLF001
    return Measured(**{**asdict(with_check), "encode": alone, "checked": with_check.encode})


def _best(work: Callable[[], Any]) -> tuple[float, Any]:
    times = []
    made = None
    for _ in range(_ROUNDS):
        began = time.process_time()
        made = work()
        times.append(time.process_time() - began)
    return min(times), made


def _main(who: str, target: str, held: str) -> list[Measured]:
    given = frames(Path(target), None if held == "-" else Path(held))
    if who == "zipnn":
        return [measure(codec, given) for codec in _zipnn()]
    if who == "rivals":
        return [measure(codec, given) for codec in _rivals()]
    return [_measure_ours(given, compact=compact) for compact in ((False,) if held == "-" else (False, True))]


if __name__ == "__main__":
    print(json.dumps([asdict(one) for one in _main(*sys.argv[1:4])]))
