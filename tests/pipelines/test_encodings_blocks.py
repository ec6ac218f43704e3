"""GGUF blocks: what a frame is worth, and what stored bytes may not do."""

import itertools
import struct

import numpy as np
import pytest

from pipelines.encodings.blocks import decode_blocks, encode_blocks
from pipelines.encodings.blocks_layout import LAYOUTS
from pipelines.encodings.names import FRAME, UNITS, Encoded, FrameMalformed, unit_bytes
from tests.pipelines import plain_blocks

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


@pytest.mark.parametrize("unit", BLOCK_TYPES)
@pytest.mark.parametrize("related", [True, False])
def test_the_published_page_says_what_the_code_does(unit: str, related: bool) -> None:
    """A decoder written from `encodings-blocks.md` opens our frames, those of wild scales too."""
    base = tensor(unit, 400)
    raw = fine_tuned(base, unit)
    raw = raw[: len(raw) // 2] + base[len(raw) // 2 :]
    held = base if related else None
    frame = encode_blocks(memoryview(raw), unit, None if held is None else memoryview(held))
    assert frame is not None
    assert ("blocks-delta" if related else "blocks") == frame.encoding
    assert raw == plain_blocks.decode(unit, bytes(frame.data), len(raw), held)


@pytest.mark.parametrize("unit", ["q4_k", "q5_k"])
def test_scales_that_are_no_numbers_sort_alike_on_both_sides(unit: str) -> None:
    """Zero, infinite, NaN (quiet and signalling) and subnormal scales: nothing warns, everything comes back."""
    base = bytearray(tensor(unit, 64))
    wild = [0, 0x8000, 0x7C00, 0xFC00, 0x7E00, 0x7C01, 0xFD55, 1]
    for block, (d, dmin) in enumerate(itertools.product(wild, wild)):
        base[block * UNITS[unit] : block * UNITS[unit] + 4] = struct.pack("<2H", d, dmin)
    raw = fine_tuned(bytes(base), unit)
    frame = encode_blocks(memoryview(raw), unit, memoryview(base))
    assert frame is not None
    assert "blocks-delta" == frame.encoding
    assert raw == opened(frame, unit, len(raw), bytes(base))
    assert raw == plain_blocks.decode(unit, bytes(frame.data), len(raw), bytes(base))


def test_gaps_may_not_lead_out_of_their_plane() -> None:
    def body(count: int, steps: bytes, values: bytes) -> bytes:
        planes = b"".join(struct.pack("<BI", 1, len(plane)) + plane for plane in (steps, values))
        whole = struct.pack("<I", count) + planes
        return struct.pack("<BI", 6, len(whole)) + whole

    good = struct.pack("<BIB", 0, 1, 0) * 2  # the two planes of `d`
    out = bytearray(34 * 4)  # 128 bytes of numbers
    decode_blocks(
        "blocks", "q8_0", memoryview(good + body(2, b"\x05\x79", b"\x00\x01")), memoryview(out), None
    )
    assert (255, 1) == (out[2 + 5], out[-1])
    for steps, values in ((b"\x05\x7a", b"\0\0"), (b"\xff", b""), (b"\x05\xff", b"\0"), (b"\x05", b"\0\0")):
        refuse("blocks", "q8_0", good + body(len(steps), steps, values), 34 * 4)
    assert "gaps" in refuse("blocks", "q8_0", good + body(65, b"\0" * 65, b"\0" * 65), 34 * 4)
    assert "gaps" in refuse("blocks", "q8_0", good + body(0, b"", b""), 34 * 4)
