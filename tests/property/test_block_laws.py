"""Laws of GGUF block frames: any bytes come back, and hostile ones raise one error and take no memory."""

import contextlib
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.encodings.blocks import decode_blocks, encode_blocks
from pipelines.encodings.blocks_layout import LAYOUTS
from pipelines.encodings.names import UNITS, FrameMalformed

pytestmark = pytest.mark.property

units = st.sampled_from(sorted(LAYOUTS))
# How the base was made from the tensor: each share of the bytes is replaced.
relations = st.sampled_from([None, 0.0, 0.001, 0.05, 0.5, 1.0])


def tensor(unit: str, blocks: int, seed: int) -> np.ndarray:
    """Bytes with fewer and fewer different values from front to back: every kind of coded plane meets some."""
    random = np.random.default_rng(seed)
    return (random.integers(0, 256, blocks * UNITS[unit]) >> random.integers(0, 9)).astype(np.uint8)


def related(raw: np.ndarray, share: float, seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    return np.where(random.random(raw.size) < share, random.integers(0, 256, raw.size), raw).astype(np.uint8)


@given(units, st.integers(1, 400), relations, st.integers(0, 1 << 30))
@settings(deadline=None)
def test_what_goes_in_comes_out(unit: str, blocks: int, share: float | None, seed: int) -> None:
    raw = tensor(unit, blocks, seed)
    base = None if share is None else related(raw, share, seed + 1)
    held = None if base is None else base.data
    frame = encode_blocks(raw.data, unit, held)
    if frame is None:
        return
    assert len(frame.data) < raw.size
    out = np.full(raw.size, 0xA5, np.uint8)
    decode_blocks(frame.encoding, unit, memoryview(frame.data), out.data, held)
    assert raw.tobytes() == out.tobytes()


@given(units, st.integers(1, 40), st.binary(max_size=400), st.booleans())
@settings(deadline=None)
def test_noise_is_refused_or_fills_the_frame(unit: str, blocks: int, stored: bytes, delta: bool) -> None:
    out = bytearray(blocks * UNITS[unit])
    base = memoryview(bytes(len(out))) if delta else None
    with contextlib.suppress(FrameMalformed):
        decode_blocks("blocks-delta" if delta else "blocks", unit, memoryview(stored), memoryview(out), base)


@given(units, st.data(), st.booleans())
@settings(deadline=None)
def test_a_frame_with_other_bytes_in_it_is_refused_or_decodes_to_something(
    unit: str, data: st.DataObject, delta: bool
) -> None:
    """Nothing but the one error, and never more memory than a few times what was asked for."""
    raw = tensor(unit, 200, data.draw(st.integers(0, 100)))
    base = related(raw, 0.05, 7).data if delta else None
    frame = encode_blocks(raw.data, unit, base)
    if frame is None:
        return
    stored = bytearray(frame.data)
    for _ in range(data.draw(st.integers(1, 4))):
        stored[data.draw(st.integers(0, min(len(stored) - 1, 200)))] = data.draw(st.integers(0, 255))
    out = bytearray(raw.size)
    held = base if frame.encoding == "blocks-delta" else None
    tracemalloc.start()
    with contextlib.suppress(FrameMalformed):
        decode_blocks(frame.encoding, unit, memoryview(stored), memoryview(out), held)
    _now, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 32 << 20  # scratch memory, which a thread keeps, is made once
