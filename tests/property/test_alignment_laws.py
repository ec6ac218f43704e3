"""Laws of spans and alignment: whatever the bytes, every byte is covered once and nothing is raised."""

import io
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save

from pipelines.bundle.alignment import Bases, Extent, align, frames
from pipelines.bundle.spans import Span, spans
from pipelines.encodings.names import UNITS
from pipelines.scan import gguf
from tests.pipelines.hostile import good_gguf
from tests.pipelines.test_bundle_spans import Memory
from tests.property.test_scan_laws import hostile_gguf, hostile_safetensors

pytestmark = pytest.mark.property

kinds = st.sampled_from(["f2", "f4", "u1", "i8"])
shapes = st.lists(st.integers(0, 9), max_size=3).map(tuple) | st.tuples(st.integers(1, 90), st.just(300))
values = st.integers(0, 2)  # few, so that many tensors are equal
arrays = st.builds(lambda shape, kind, value: np.full(shape, value, kind), shapes, kinds, values)
models = st.dictionaries(st.sampled_from("abcdefgh"), arrays, max_size=8).map(save)
blobs = models | hostile_safetensors | hostile_gguf | st.just(good_gguf())


def assert_covers(parts: Sequence[Span] | Sequence[Extent], size: int) -> None:
    reached = 0
    for part in parts:
        assert (part.offset, True) == (reached, part.size > 0)
        reached += part.size
    assert size == reached


def bases_of(held: Sequence[bytes]) -> Bases:
    sources = [Memory(data) for data in held]
    return Bases([(str(n), source, spans(source)) for n, source in enumerate(sources)])


@given(blobs)
def test_spans_cover_any_bytes_in_whole_units(data: bytes) -> None:
    found = spans(Memory(data))
    assert_covers(found, len(data))
    assert all(span.size % UNITS[span.unit] == 0 for span in found)


@settings(max_examples=200)
@given(blobs, st.lists(blobs, max_size=4), st.integers(210, 5000))
def test_extents_and_frames_cover_any_target_and_stay_inside_any_base(
    target: bytes, held: list[bytes], frame: int
) -> None:
    source = Memory(target)
    extents = align(source, spans(source), bases_of(held))
    assert_covers(extents, len(target))
    cut = list(frames(extents, frame=frame))
    assert_covers(cut, len(target))
    for part in [*extents, *cut]:
        assert part.size % UNITS[part.unit] == 0
        assert part.base is None or part.base_offset + part.size <= len(held[int(part.base)])
    assert all(part.size <= frame for part in cut)


@given(models, st.lists(models, max_size=3))
def test_a_held_blob_is_found_whole_beside_any_others(target: bytes, others: list[bytes]) -> None:
    """Every tensor of it, at least; these are small enough to be sampled whole, so equal samples are equal bytes."""
    held, source = [*others, target], Memory(target)
    for span, extent in zip(spans(source), align(source, spans(source), bases_of(held)), strict=True):
        if span.name:
            assert extent.base is not None
            there = held[int(extent.base)][extent.base_offset : extent.base_offset + extent.size]
            assert (True, target[span.offset : span.offset + span.size]) == (extent.alike, there)


units = st.sampled_from(["bf16", "f32", "q4_0", "q6_k", "u8", "bytes"])


@st.composite
def extent_lists(draw: st.DrawFn) -> list[Extent]:
    """Extents without gaps, of any size, beside any place: also such as no alignment would give."""
    found, offset = [], 0
    for _ in range(draw(st.integers(0, 12))):
        size, unit = draw(st.integers(1, 3000)), draw(units)
        base = draw(st.sampled_from([None, "a", "b"]))
        place = 0 if base is None else draw(st.sampled_from([offset, offset + 5]))
        found.append(Extent(offset, size, unit, base, place, base is not None and draw(st.booleans())))
        offset += size
    return found


@given(extent_lists(), st.integers(210, 4000))
def test_frames_keep_every_byte_its_unit_and_its_base(extents: list[Extent], frame: int) -> None:
    def bytewise(parts: Sequence[Extent]) -> list[tuple[str, str | None, int]]:
        return [(p.unit, p.base, p.base_offset + n if p.base else 0) for p in parts for n in range(p.size)]

    cut = list(frames(extents, frame=frame))
    assert_covers(cut, sum(extent.size for extent in extents))
    assert bytewise(extents) == bytewise(cut)
    assert all(part.size <= frame for part in cut)


@given(st.integers(0, 40))
def test_a_gguf_file_is_covered_as_its_header_says(padding: int) -> None:
    data = good_gguf() + bytes(padding % 32)
    header = gguf.read_header(io.BytesIO(data), len(data))
    tensors = {span.name: (span.offset, span.size) for span in spans(Memory(data)) if span.name}
    assert {t.name: (header.data_start + t.begin, t.end - t.begin) for t in header.tensors} == tensors
