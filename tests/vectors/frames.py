"""Frames: what the encoder makes, what is written by hand, and what is hostile."""

import hashlib
import struct
from typing import Any

import numpy as np

from pipelines.encodings import ladder
from signing.canonical import pretty_bytes
from tests.vectors.basics import VECTORS, Files


def noise(seed: int, count: int) -> "np.ndarray[Any, np.dtype[np.float32]]":
    return np.random.Generator(np.random.PCG64(seed)).standard_normal(count).astype("<f4") * np.float32(0.02)


def numbers(unit: str, count: int, step: float, share: float = 1.0) -> bytes:
    """Weights, `step` away from those of step 0; only a `share` of them."""
    moved = noise(1, count)
    moved[: int(count * share)] += np.float32(step) * noise(2, count)[: int(count * share)]
    if unit == "bf16":
        return (moved.view("<u4") >> 16).astype("<u2").tobytes()
    if unit in ("f16", "f32"):
        return moved.astype("<f2" if unit == "f16" else "<f4").tobytes()
    raw = np.clip(moved * 1000 + 128, 0, 255).astype(np.uint8)
    return raw.tobytes() if unit == "u8" else _blocks(unit, raw)


def _blocks(unit: str, raw: "np.ndarray[Any, np.dtype[np.uint8]]") -> bytes:
    """Bytes that pass for GGUF blocks: the upper byte of each half is that of a small number."""
    width, halves = {
        "q8_0": (34, (0,)),
        "q4_k": (144, (0, 2)),
        "q5_k": (176, (0, 2)),
        "q6_k": (210, (208,)),
        "q3_k": (110, (108,)),
    }[unit]
    blocks = raw[: len(raw) // width * width].reshape(-1, width).copy()
    for half in halves:
        blocks[:, half + 1] = 0x2C
    return blocks.tobytes()


ENCODED: dict[str, tuple[str, int, float, float, bool]] = {  # unit, elements, step, share, compact
    "planes-bf16": ("bf16", 2000, 0, 1, False),
    "planes-f16": ("f16", 2000, 0, 1, False),
    "planes-f32": ("f32", 1000, 0, 1, False),
    "planes-u8": ("u8", 4000, 0, 1, False),
    "delta-bf16": ("bf16", 2000, 0.03, 1, False),
    "delta-f32": ("f32", 1000, 0.03, 1, False),
    "delta-u8": ("u8", 4000, 0.1, 1, False),
    "sparse-bf16": ("bf16", 3000, 0.5, 0.01, False),
    "sparse-f32": ("f32", 1500, 0.5, 0.01, False),
    "exponent-bf16": ("bf16", 24_000, 0.03, 1, True),
    "exponent-f32": ("f32", 1000, 0.003, 1, True),
    "blocks-q8_0": ("q8_0", 6000, 0, 1, False),
    "blocks-q4_k": ("q4_k", 6000, 0, 1, False),
    "blocks-delta-q8_0": ("q8_0", 6000, 0.01, 1, False),
    "blocks-delta-q3_k": ("q3_k", 6000, 0.01, 1, False),
    "blocks-delta-q4_k": ("q4_k", 6000, 0.01, 1, False),
    "blocks-delta-q5_k": ("q5_k", 6000, 0.01, 1, False),
    "blocks-delta-q6_k": ("q6_k", 6000, 0.01, 1, False),
}


def plane(kind: int, body: bytes) -> bytes:
    return struct.pack("<BI", kind, len(body)) + body


def frame_case(  # noqa: PLR0917 - each of them is a file of the case
    place: str, encoding: str, unit: str, stored: bytes, raw: bytes, base: bytes | None = None
) -> Files:
    about = {"encoding": encoding, "unit": unit, "size": len(raw), "sha256": hashlib.sha256(raw).hexdigest()}
    yield f"{place}/frame.json", pretty_bytes(about)
    yield f"{place}/stored.bin", stored
    if base is not None:
        yield f"{place}/base.bin", base
    if place.startswith("valid"):
        yield f"{place}/raw.bin", raw


def encoded_frames() -> Files:
    """Frames of the product's encoder; their stored bytes stay what they were when they were first made."""
    text = b'{"vocab": {"a": 0, "b": 1}}\n' * 40
    kept = VECTORS / "valid/frame/zstd-bytes/stored.bin"
    stored = kept.read_bytes() if kept.exists() else bytes(ladder.encode(memoryview(text), "bytes").data)
    yield from frame_case("valid/frame/zstd-bytes", "zstd", "bytes", stored, text)
    for name, (unit, count, step, share, compact) in ENCODED.items():
        encoding = name.rpartition("-")[0]
        base = numbers(unit, count, 0) if encoding not in ("planes", "blocks") else None
        raw = numbers(unit, count, step, share)
        kept = VECTORS / f"valid/frame/{name}/stored.bin"
        if kept.exists():
            stored = kept.read_bytes()
        else:
            found = ladder.encode(
                memoryview(raw), unit, None if base is None else memoryview(base), compact=compact
            )
            assert found.encoding == encoding, (name, found.encoding)
            stored = bytes(found.data)
        yield from frame_case(f"valid/frame/{name}", encoding, unit, stored, raw, base)


def plain_frames() -> Files:
    """Frames written by hand: every kind of plane that needs no zstd."""
    ones = plane(0, b"\x7f") + plane(0, b"\x00")
    yield from frame_case("valid/frame/planes-bf16-constant", "planes", "bf16", ones, _rotated(0x7F00) * 20)
    held = np.arange(100, 132, dtype="<u2")
    moved = (held + 1).astype("<u2").tobytes()
    step = plane(0, b"\x00") + plane(0, b"\x02")  # fold(1) is 2
    yield from frame_case("valid/frame/delta-bf16-constant", "delta", "bf16", step, moved, held.tobytes())
    same = plane(0, b"\x00")
    yield from frame_case(
        "valid/frame/sparse-bf16-nothing-changed", "sparse", "bf16", same, held.tobytes(), held.tobytes()
    )
    bitmap = plane(1, b"\x01\x00\x00\x80") + plane(0, b"\x00") + plane(1, b"\x01\x02")  # -1 and 1
    few = held.copy()
    few[0], few[31] = few[0] - 1, few[31] + 1
    yield from frame_case(
        "valid/frame/sparse-bf16-two", "sparse", "bf16", bitmap, few.tobytes(), held.tobytes()
    )
    nibbles = plane(1, bytes([0x21, 0xF3] + [0x00] * 14)) + plane(
        0, b"\xc8"
    )  # 1, 2, 3, escape: 200, then zeros
    folded = [1, 2, 3, 200, *[0] * 28]
    changed = [(int(was) + ((f >> 1) ^ -(f & 1))) % 65536 for was, f in zip(held, folded, strict=True)]
    raw = np.array(changed, "<u2").tobytes()
    packed = plane(0, b"\x00") + plane(5, nibbles)
    yield from frame_case("valid/frame/exponent-bf16-packed", "exponent", "bf16", packed, raw, held.tobytes())
    blocks = bytes(34 * 20)
    gaps = (
        struct.pack("<I", 3) + plane(1, bytes([2, 255, 0])) + plane(1, b"\x01\x00")
    )  # values 1 at 2, -1 at 258
    body = bytearray(32 * 20)
    body[2], body[258] = 1, 255
    raw = b"".join(b"\x00\x00" + bytes(body[at : at + 32]) for at in range(0, len(body), 32))
    whole = plane(0, b"\x00") + plane(0, b"\x00") + plane(6, gaps)
    yield from frame_case("valid/frame/blocks-delta-q8_0-gaps", "blocks-delta", "q8_0", whole, raw, blocks)


def _rotated(value: int) -> bytes:
    """An element whose rotated form is `value`."""
    return (((value >> 1) | (value & 1) << 15) & 0xFFFF).to_bytes(2, "little")


MAGIC = b"\x28\xb5\x2f\xfd"


def hostile_frames() -> Files:
    held, size = bytes(range(64)), 64
    raw_block = (
        MAGIC + b"\x20\x40" + struct.pack("<I", 64 << 3 | 1)[:3] + held
    )  # one segment, 64 bytes stated
    cases: dict[str, tuple[str, str, bytes, bytes | None]] = {
        "empty": ("planes", "bf16", b"", None),
        "plane-cut": ("planes", "bf16", plane(0, b"\x00") + plane(1, bytes(32))[:-1], None),
        "plane-longer-than-the-frame": ("planes", "bf16", plane(0, b"\x00") + struct.pack("<BI", 1, 2**32 - 1) + bytes(9), None),
        "plane-of-another-length": ("planes", "bf16", plane(0, b"\x00") + plane(1, bytes(31)), None),
        "bytes-behind": ("planes", "bf16", plane(0, b"\x00") * 2 + b"\x00", None),
        "plane-kind-7": ("planes", "bf16", plane(0, b"\x00") + plane(7, b"\x00"), None),
        "packed-outside-of-exponent": ("delta", "bf16", plane(0, b"\x00") + plane(5, plane(0, b"\x00")), held),
        "packed-in-packed": ("exponent", "bf16", plane(0, b"\x00") + plane(5, plane(5, plane(0, b"\x00"))), held),
        "bitmap-names-one-too-many": ("sparse", "f32", plane(0, b"\xff") + plane(0, b"\x00") * 4, bytes(60)),
        "stored-as-long-as-raw": ("zstd", "bytes", bytes(64), None),
        "no-whole-elements": ("planes", "f32", plane(0, b"\x00") * 4, None),
        "base-too-short": ("delta", "bf16", plane(0, b"\x00") * 2, held[:-2]),
        "zstd-states-4-GiB": ("zstd", "bytes", MAGIC + b"\xa0" + struct.pack("<I", 2**32 - 1) + b"\x01\x00\x00", None),
        "zstd-states-nothing": ("zstd", "bytes", MAGIC + b"\x00\x58" + b"\x03\x02\x00\x00", None),
        "zstd-with-a-dictionary": ("zstd", "bytes", MAGIC + b"\x21\x07\x40" + b"\x03\x02\x00\x00", None),
        "zstd-with-a-checksum": ("zstd", "bytes", MAGIC + b"\x24\x40" + b"\x03\x02\x00\x00" + bytes(4), None),
        "zstd-two-frames": ("zstd", "bytes", (MAGIC + b"\x20\x40" + b"\x03\x02\x00\x00") * 2, None),
        "zstd-skippable-first": ("zstd", "bytes", b"\x50\x2a\x4d\x18\x00\x00\x00\x00" + MAGIC + b"\x20\x40\x03\x02\x00\x00", None),
        "zstd-cut": ("zstd", "bytes", raw_block[:40], None),
        "gaps-step-behind-the-end": ("blocks-delta", "q8_0", plane(0, b"\x00") * 2 + plane(6, struct.pack("<I", 1) + plane(1, b"\xfe") + plane(0, b"\x00")), bytes(68)),
        "gaps-that-end-with-a-leap": ("blocks-delta", "q8_0", plane(0, b"\x00") * 2 + plane(6, struct.pack("<I", 1) + plane(1, b"\xff")), bytes(680)),
    }  # fmt: skip
    for name, (encoding, unit, stored, under) in cases.items():
        count = {"bitmap-names-one-too-many": 60, "no-whole-elements": 63}.get(name, 64)
        if unit == "q8_0":
            count = len(under or b"")
        yield from frame_case(
            f"refused/FrameMalformed/frame/{name}", encoding, unit, stored, bytes(count or size), under
        )
