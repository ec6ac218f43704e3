"""GGUF blocks: what a frame is worth, and what stored bytes may not do."""

import struct

import numpy as np
import pytest

from pipelines.encodings.blocks import decode_blocks, encode_blocks
from pipelines.encodings.blocks_layout import LAYOUTS
from pipelines.encodings.names import FRAME, UNITS, Encoded, FrameMalformed, unit_bytes

BLOCK_TYPES = sorted(LAYOUTS)


def tensor(unit: str, blocks: int, seed: int = 1) -> bytes:
    """Valid blocks: the scales of neighbours are close to each other, as those of a tensor are."""
    random = np.random.default_rng(seed)
    raw = random.integers(0, 256, (blocks, UNITS[unit]), dtype=np.uint8)
    for field in LAYOUTS[unit]:
        if field.kind == "half":
            scales = np.abs(random.normal(0.01, 0.001, (blocks, 1))).astype("<f2")
            raw[:, field.start : field.start + 2] = scales.view(np.uint8)
    return raw.tobytes()


def fine_tuned(base: bytes, unit: str, seed: int = 2) -> bytes:
    """The same blocks after a little training: one packed byte in twenty is another by one step."""
    random = np.random.default_rng(seed)
    raw = np.frombuffer(base, np.uint8).copy()
    places = random.random(raw.size) < 0.05
    raw[places] += random.choice(np.array([1, 255], np.uint8), int(places.sum()))
    return raw.tobytes()


def opened(frame: Encoded, unit: str, size: int, base: bytes | None = None) -> bytes:
    out = bytearray(size)
    held = None if base is None else memoryview(base)
    decode_blocks(frame.encoding, unit, memoryview(frame.data), memoryview(out), held)
    return bytes(out)


@pytest.mark.parametrize("unit", BLOCK_TYPES)
def test_a_fine_tune_costs_a_fraction_where_the_base_is_held(unit: str) -> None:
    base = tensor(unit, 3000)
    raw = fine_tuned(base, unit)
    frame = encode_blocks(memoryview(raw), unit, memoryview(base))
    assert frame is not None
    assert "blocks-delta" == frame.encoding
    assert len(frame.data) < 0.5 * len(raw)
    assert raw == opened(frame, unit, len(raw), base)


@pytest.mark.parametrize("unit", BLOCK_TYPES)
def test_without_a_base_the_scales_still_give(unit: str) -> None:
    raw = tensor(unit, 3000)
    frame = encode_blocks(memoryview(raw), unit, None)
    assert frame is not None
    assert "blocks" == frame.encoding
    assert raw == opened(frame, unit, len(raw))


@pytest.mark.parametrize("unit", BLOCK_TYPES)
def test_a_base_that_has_nothing_in_common_is_not_used(unit: str) -> None:
    """Subtracting an unrelated tensor only adds its noise: the frame stands on its own, or stays raw."""
    raw, other = tensor(unit, 3000, seed=5), tensor(unit, 3000, seed=6)
    frame = encode_blocks(memoryview(raw), unit, memoryview(other))
    alone = encode_blocks(memoryview(raw), unit, None)
    assert frame is not None
    assert alone is not None
    assert len(frame.data) <= len(alone.data)


@pytest.mark.parametrize("unit", BLOCK_TYPES)
def test_the_largest_frame_fits_the_scratch_memory(unit: str) -> None:
    blocks = FRAME // UNITS[unit]
    base = tensor(unit, blocks)
    raw = fine_tuned(base, unit)
    for held in (None, base):
        frame = encode_blocks(memoryview(raw), unit, None if held is None else memoryview(held))
        assert frame is not None
        assert raw == opened(frame, unit, len(raw), held if frame.encoding == "blocks-delta" else None)


def test_bytes_that_are_no_whole_blocks_stay_raw() -> None:
    base = tensor("q4_k", 20)
    for size in (0, 1, 143, 145, 20 * 144 - 1):
        assert encode_blocks(memoryview(base)[:size], "q4_k", None) is None
        assert encode_blocks(memoryview(base)[:size], "q4_k", memoryview(base)[:size]) is None


def test_noise_stays_raw() -> None:
    noise = np.random.default_rng(3).integers(0, 256, 144 * 100, dtype=np.uint8).tobytes()
    assert encode_blocks(memoryview(noise), "q4_k", None) is None


def refuse(encoding: str, unit: str, stored: bytes, size: int, base: bytes | None = None) -> str:
    out = bytearray(size)
    held = None if base is None else memoryview(base)
    with pytest.raises(FrameMalformed) as refused:
        decode_blocks(encoding, unit, memoryview(stored), memoryview(out), held)
    return refused.value.problem


def test_a_frame_must_be_whole_blocks_of_a_known_type() -> None:
    assert "no frame" in refuse("blocks", "q4_k", b"", 143)
    assert "no frame" in refuse("blocks", "q4_k", b"", 0)
    assert "no frame" in refuse("blocks", "bf16", b"", 144)
    assert "no frame" in refuse("blocks", "q9_x", b"", 144)
    assert "no frame" in refuse("blocks", "q4_k", b"", FRAME + 144 * 100 - FRAME % 144)


def test_a_delta_needs_a_base_of_its_own_size() -> None:
    assert "base" in refuse("blocks-delta", "q4_k", b"", 144)
    assert "base" in refuse("blocks-delta", "q4_k", b"", 144, bytes(288))
    assert "no such encoding" in refuse("planes", "q4_k", b"", 144)


@pytest.mark.parametrize("unit", BLOCK_TYPES)
def test_a_cut_frame_and_one_with_more_behind_it_are_refused(unit: str) -> None:
    base = tensor(unit, 300)
    raw = fine_tuned(base, unit)
    frame = encode_blocks(memoryview(raw), unit, memoryview(base))
    assert frame is not None
    whole = bytes(frame.data)
    for end in (0, 1, 4, len(whole) // 2, len(whole) - 1):
        refuse("blocks-delta", unit, whole[:end], len(raw), base)
    assert "left over" in refuse("blocks-delta", unit, whole + b"\0", len(raw), base)


def test_a_plane_cannot_claim_more_than_the_frame_has_room_for() -> None:
    """A zstd frame that states another size than its plane's is refused before it is opened."""
    bomb = bytes.fromhex("28b52ffd") + b"\xa0" + struct.pack("<I", 1 << 30) + b"\x02\x00\x00\x00"
    stored = struct.pack("<BI", 2, len(bomb)) + bomb
    assert "zstd" in refuse("blocks", "q8_0", stored, 34 * 10)


def test_every_byte_of_a_block_belongs_to_one_field() -> None:
    for unit, fields in LAYOUTS.items():
        covered = sorted(place for field in fields for place in range(field.start, field.start + field.size))
        assert list(range(unit_bytes(unit))) == covered
