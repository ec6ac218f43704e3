"""Laws of the frames' encodings: whatever goes in comes back, and whatever is stored raises our refusal or nothing."""

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.encodings import huffman, ladder, packed, zstd
from pipelines.encodings.names import KNOWN, UNITS, FrameMalformed, applies
from pipelines.encodings.stored import Reader

pytestmark = pytest.mark.property

NUMBERS = ["bf16", "f16", "f32", "u8"]
units = st.sampled_from(["bytes", *NUMBERS])
sizes = st.integers(0, 3000) | st.sampled_from([8192 * 2, 65_536 * 2 + 2, 140_000])


@st.composite
def weights(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """Some bytes and a base: equal, near, sparsely changed or unrelated; smooth, constant or noise."""
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    size = draw(sizes)
    spread = draw(st.sampled_from([0, 1, 20, 30_000]))
    base = (random.standard_normal(size // 2 + 1) * spread).astype("<i2").tobytes()[:size]
    step, share = draw(st.sampled_from([0, 1, 3, 200])), draw(st.sampled_from([0.0, 0.01, 0.4, 1.0]))
    moved = random.integers(-step, step + 1, size) * (random.random(size) < share)
    raw = (np.frombuffer(base, np.uint8) + moved).astype(np.uint8).tobytes()
    return raw, base


@given(weights(), units, st.booleans(), st.booleans())
def test_frames_come_back(pair: tuple[bytes, bytes], unit: str, with_base: bool, compact: bool) -> None:
    raw, base = memoryview(pair[0]), memoryview(pair[1]) if with_base else None
    frame = ladder.encode(raw, unit, base, compact=compact)
    assert len(frame.data) <= len(raw)
    out = bytearray(b"\x5a" * len(raw))
    ladder.decode(frame.encoding, unit, memoryview(frame.data), memoryview(out), base)
    assert raw == out


@given(weights(), st.sampled_from(NUMBERS), st.data())
def test_tampered_frames_are_refused_or_give_bytes(
    pair: tuple[bytes, bytes], unit: str, data: st.DataObject
) -> None:
    raw, base = memoryview(pair[0]), memoryview(pair[1])
    frame = ladder.encode(raw, unit, base, compact=data.draw(st.booleans()))
    stored = bytearray(frame.data)
    for _ in range(data.draw(st.integers(1, 4))):
        if stored:
            place = data.draw(st.integers(0, min(len(stored) - 1, 40)) | st.integers(0, len(stored) - 1))
            stored[place] = data.draw(st.integers(0, 255))
    size = data.draw(st.sampled_from([len(raw), len(raw) + 2, max(0, len(raw) - 4)]))
    encoding = data.draw(st.just(frame.encoding) | st.sampled_from(sorted(KNOWN)))
    if applies(encoding, unit):
        decodes_or_is_refused(encoding, unit, bytes(stored), size, base[:size])


@given(
    st.sampled_from(sorted(KNOWN)),
    st.sampled_from(sorted(UNITS)),
    st.binary(max_size=300),
    st.integers(0, 3000),
)
def test_any_bytes_are_refused_or_give_bytes(encoding: str, unit: str, stored: bytes, size: int) -> None:
    if not unit.startswith("q"):
        decodes_or_is_refused(encoding, unit, stored, size, memoryview(bytes(size)))


@st.composite
def coded_planes(draw: st.DrawFn) -> bytes:
    """A frame in the right grammar: planes of any kind, of right and wrong sizes, packed ones in packed ones."""
    body = draw(st.binary(max_size=60))
    if draw(st.booleans()):
        body = zstd.huffman(np.frombuffer(body * draw(st.integers(1, 9)) or b"x", np.uint8))
    if draw(st.booleans()):
        body = struct.pack("<BI", draw(st.integers(0, 6)), len(body)) + body
    more = draw(coded_planes()) if draw(st.booleans()) else b""
    return (
        struct.pack("<BI", draw(st.integers(0, 6)), len(body) + draw(st.sampled_from([0, 0, 0, 1, 1 << 31])))
        + body
        + more
    )


@given(
    coded_planes(),
    st.sampled_from(["planes", "delta", "sparse", "exponent"]),
    st.sampled_from(NUMBERS),
    st.integers(1, 700),
)
def test_well_formed_nonsense_is_refused_or_gives_bytes(
    stored: bytes, encoding: str, unit: str, count: int
) -> None:
    size = count * UNITS[unit]
    decodes_or_is_refused(encoding, unit, stored, size, memoryview(bytes(size)))


@given(st.binary(min_size=1, max_size=4000), st.sampled_from([1, 3, 15, 255]))
def test_packed_planes_come_back(plane: bytes, mask: int) -> None:
    values = np.frombuffer(plane, np.uint8) & np.uint8(mask)
    for write in (packed.write, huffman.write):
        parts: huffman.Parts = []
        write(values, parts)
        out = np.zeros_like(values)
        reader = Reader(memoryview(b"".join(parts)))
        packed.read(reader, out)
        reader.finish()
        assert np.array_equal(values, out)


def decodes_or_is_refused(encoding: str, unit: str, stored: bytes, size: int, base: memoryview) -> None:
    """Whatever comes out is the same in old memory of any content."""
    answers = []
    for filling in (b"\x00", b"\xff"):
        out = bytearray(filling * size)
        try:
            ladder.decode(encoding, unit, memoryview(stored), memoryview(out), base)
        except FrameMalformed as error:
            answers.append((error.problem, b""))
        else:
            answers.append(("", bytes(out)))
    assert answers[0] == answers[1]
