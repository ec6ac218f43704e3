"""The bits say what numpy says: for random bytes of each type, cut into pieces of any size."""

import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.files_check import sweep as sweeping
from pipelines.files_check.finite import BLOCKS, PLAIN, forms_of, locate, numbers, one_value, spoiled
from pipelines.files_check.sweep import Part, Seen, sweep

pytestmark = pytest.mark.property


def as_numpy_says(dtype: str, data: bytes) -> Any:
    """Which numbers are NaN and which are infinite, by conversion: the way that the product does not take."""
    raw = np.frombuffer(data, np.uint8)
    match dtype:
        case "F64" | "F32" | "F16":
            values: Any = np.frombuffer(
                data, f"f{dtype[1:]}".replace("64", "8").replace("32", "4").replace("16", "2")
            )
        case "C64":
            values = np.frombuffer(data, "f4")
        case "BF16":
            values = (np.frombuffer(data, "u2").astype("u4") << 16).view("f4")
        case "F8_E5M2":
            values = (raw.astype("u2") << 8).view("f2")
        case "F8_E4M3":
            values = np.where((raw & 0x7F) == 0x7F, np.nan, 0.0)
        case "F8_E8M0":
            values = np.where(raw == 0xFF, np.nan, 0.0)
        case _:
            values = np.where(raw == 0x80, np.nan, 0.0)
    return np.isnan(values), np.isinf(values)


@pytest.mark.parametrize("dtype", sorted(PLAIN))
@given(data=st.binary(min_size=8, max_size=256), special=st.booleans())
def test_every_plain_type_is_read_as_numpy_reads_it(dtype: str, data: bytes, special: bool) -> None:
    kind = PLAIN[dtype]
    data = data[: len(data) // 8 * 8]
    if special:  # random bytes rarely have all exponent bits set
        data = kind.ones.to_bytes(kind.width, "little") + data[kind.width :]
    nan, infinite = as_numpy_says(dtype, data)
    values = numbers(np.frombuffer(data, np.uint8), forms_of(dtype)[0])
    bad = nan | infinite
    assert bool(bad.any()) == spoiled(values, kind)
    if bad.any():
        found = locate(values, kind)
        assert (nan.sum(), infinite.sum(), bad.argmax()) == (found.nans, found.infinities, found.first)


@pytest.mark.parametrize("dtype", sorted(PLAIN))
def test_every_pattern_of_a_narrow_type_and_the_edges_of_a_wide_one(dtype: str) -> None:
    kind = PLAIN[dtype]
    top = 1 << (kind.width * 8 - 1)
    edges = {kind.ones + step for step in (-1, 0, 1)} | {0, 1, top - 1, top, 2 * top - 1}
    patterns = range(1 << (kind.width * 8)) if kind.width < 3 else edges | {(top | edge) for edge in edges}
    for pattern in patterns:
        if not 0 <= pattern < 2 * top:
            continue
        data = pattern.to_bytes(kind.width, "little") * (2 if dtype == "C64" else 1)
        nan, infinite = as_numpy_says(dtype, data)
        values = numbers(np.frombuffer(data, np.uint8), forms_of(dtype)[0])
        assert bool((nan | infinite).any()) == spoiled(values, kind), hex(pattern)


HALVES = sorted(name for name, forms in BLOCKS.items() if all(form.float.width == 2 for form in forms))


@pytest.mark.parametrize("dtype", HALVES)
@given(data=st.data())
@settings(max_examples=20)
def test_the_scales_of_quantised_blocks_are_read_as_numpy_reads_them(dtype: str, data: st.DataObject) -> None:
    stride = BLOCKS[dtype][0].stride
    blocks = np.frombuffer(data.draw(st.binary(min_size=stride, max_size=stride)) * 3, np.uint8).reshape(
        3, -1
    )
    for form in BLOCKS[dtype]:
        halves = blocks[:, form.start : form.start + 2].copy().view("f2")
        values = numbers(np.ascontiguousarray(blocks).reshape(-1), form)
        assert bool((~np.isfinite(halves)).any()) == spoiled(values, form.float)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=12))
def test_one_value_means_one_value(items: list[int]) -> None:
    expected = items[0] if len(set(items)) == 1 else None
    assert expected == one_value(np.array(items, np.uint16))


@given(
    sizes=st.lists(st.integers(0, 40), min_size=1, max_size=8),
    dtypes=st.lists(st.sampled_from(["BF16", "F32", "F8_E5M2", "I8", "Q8_0"]), min_size=8, max_size=8),
    block=st.integers(34, 200),
    crew=st.integers(1, 3),
    data=st.data(),
)
@settings(max_examples=60, deadline=None)
def test_however_a_file_is_cut_each_tensor_is_seen_the_same(
    sizes: list[int], dtypes: list[str], block: int, crew: int, data: st.DataObject
) -> None:
    """Reading all at once by one worker, and in small blocks by several, give one answer; each byte is read once."""
    parts, place = [], 5
    for number, (count, dtype) in enumerate(zip(sizes, dtypes, strict=False)):
        size = count * {"BF16": 2, "F32": 4, "F8_E5M2": 1, "I8": 1, "Q8_0": 34}[dtype]
        parts.append(Part(0, f"t{number}", dtype, place, place + size))
        place += size + number % 3
    content = bytes(data.draw(st.sampled_from([0, 0x7F, 0xFF, 0x3C])) for _ in range(3)) * (place + 1)
    content = content[:place]

    def seen(size: int, workers: int) -> tuple[list[Seen], int]:
        told: list[int] = []
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sweeping, "BLOCK", size)
            found = sweep([lambda: io.BytesIO(content)], parts, progress=told.append, crew=workers)
        return [
            Seen(s.nans, s.infinities, s.first, None if s.varies else s.value, s.varies) for s in found
        ], sum(told)

    whole, read = seen(1 << 20, 1)
    assert (whole, read) == seen(block, crew)
    assert read == sum(part.end - part.begin for part in parts)


def test_a_file_that_ends_early_is_an_error_whoever_reads_it() -> None:
    parts = [Part(0, "t", "F32", 0, 1 << 22)]
    with pytest.raises(sweeping.CutShort):
        sweep([lambda: io.BytesIO(bytes(1 << 21))], parts, progress=lambda _count: None, crew=3)
