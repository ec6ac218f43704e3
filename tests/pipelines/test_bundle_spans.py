import json
import struct
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save, save_file

from pipelines.bundle.spans import FileSource, Span, spans
from pipelines.encodings.names import UNITS
from tests.pipelines.hostile import (
    gguf_bomb,
    gguf_bytes,
    gguf_pair,
    gguf_tensor,
    good_gguf,
    safetensors_bytes,
    tensor,
)


class Memory:
    """Bytes in memory as a source; counts how often it is read, and refuses to read past its end."""

    def __init__(self, data: bytes) -> None:
        self.data, self.reads = data, 0

    @property
    def size(self) -> int:
        return len(self.data)

    def read_into(self, view: memoryview, offset: int) -> None:
        self.reads += 1
        if not 0 <= offset <= offset + len(view) <= len(self.data):
            raise EOFError
        view[:] = self.data[offset : offset + len(view)]


def named(data: bytes) -> list[tuple[str, str, int]]:
    return [(span.name, span.unit, span.size) for span in spans(Memory(data))]


def whole(data: bytes) -> list[Span]:
    return [Span(0, len(data), "bytes")]


def test_a_real_safetensors_file_is_its_header_and_its_tensors_in_the_order_of_their_bytes(
    tmp_path: Path,
) -> None:
    path = tmp_path / "model.safetensors"
    save_file({"z": np.ones((3, 5), "f4"), "a": np.ones(7, "f2"), "ids": np.arange(4)}, path)
    with FileSource(path) as source:
        header, *tensors = spans(source)
        assert path.stat().st_size == source.size
    assert Span(0, header.size, "bytes") == header
    assert path.read_bytes()[:8] == struct.pack("<Q", header.size - 8)
    assert {"z": ("f32", (3, 5), 60), "a": ("f16", (7,), 14), "ids": ("bytes", (4,), 32)} == {
        span.name: (span.unit, span.shape, span.size) for span in tensors
    }
    assert sorted(tensors, key=lambda span: span.offset) == tensors


@pytest.mark.parametrize(
    ("dtype", "unit"),
    [
        ("BF16", "bf16"), ("F16", "f16"), ("F32", "f32"), ("U8", "u8"), ("I8", "u8"), ("F8_E4M3", "u8"),
        ("F8_E5M2", "u8"), ("F8_E8M0", "u8"), ("F4", "bytes"), ("BOOL", "bytes"), ("I64", "bytes"), ("F64", "bytes"),
    ],
)  # fmt: skip
def test_each_dtype_has_its_unit(dtype: str, unit: str) -> None:
    bits = {"BF16": 16, "F16": 16, "F32": 32, "F4": 4, "I64": 64, "F64": 64}.get(dtype, 8)
    size = 16 * bits // 8
    data = safetensors_bytes({"w": tensor(dtype, [2, 8], 0, size)}, bytes(size))
    assert ("w", unit, size) == named(data)[1]


def test_tensors_of_no_bytes_leave_no_span() -> None:
    data = save({"none": np.ones((0, 4), "f4"), "some": np.ones(2, "f4")})
    assert ["", "some"] == [name for name, _unit, _size in named(data)]


def test_a_gguf_file_is_its_header_its_blocks_and_the_padding_between() -> None:
    data = good_gguf()
    header = len(data) - 100  # two numbers, 24 bytes of padding, two blocks of Q8_0
    assert [("", "bytes", header), ("a", "f32", 8), ("", "bytes", 24), ("b", "q8_0", 68)] == named(data)
    assert (2, 32) == spans(Memory(data))[-1].shape  # rows first, as everywhere else


def test_a_gguf_file_of_every_block_type_is_cut_into_whole_blocks() -> None:
    kinds = {0: 4, 1: 2, 2: 18, 3: 20, 6: 22, 7: 24, 8: 34, 10: 84, 11: 110, 12: 144, 13: 176, 14: 210, 30: 2}
    for kind, block in kinds.items():
        elements = {0: 1, 1: 1, 30: 1}.get(kind, 32 if kind < 10 else 256)
        data = gguf_bytes([], [gguf_tensor("w", (elements * 2, 3), kind)], bytes(block * 6))
        name, unit, size = named(data)[-1]
        assert ("w", block * 6, block) == (name, size, UNITS[unit])


def test_other_block_types_and_trailing_padding_are_bytes() -> None:
    data = gguf_bytes([], [gguf_tensor("w", (256,), 16)], bytes(66 + 30))
    assert [("w", "bytes", 66), ("", "bytes", 30)] == named(data)[1:]


def test_a_gguf_file_of_metadata_alone_is_one_span() -> None:
    data = gguf_bytes([gguf_pair("general.architecture", "clip")])
    assert whole(data) == spans(Memory(data))


def test_an_empty_blob_has_no_span() -> None:
    assert [] == spans(Memory(b""))


NOT_TENSORS: dict[str, bytes] = {
    "json": b'{"model_type": "qwen3"}',
    "text": b"GGU",
    "a gap between tensors": safetensors_bytes(
        {"a": tensor("U8", [2], 0, 2), "b": tensor("U8", [2], 3, 5)}, bytes(5)
    ),
    "tensors that overlap": safetensors_bytes(
        {"a": tensor("U8", [4], 0, 4), "b": tensor("U8", [3], 2, 5)}, bytes(5)
    ),
    "bytes behind the last tensor": safetensors_bytes({"a": tensor("U8", [4], 0, 4)}, bytes(5)),
    "a tensor beyond the end": safetensors_bytes({"a": tensor("U8", [1 << 40], 0, 1 << 40)}, bytes(5)),
    "a shape that lies": safetensors_bytes({"a": tensor("F32", [2], 0, 4)}, bytes(4)),
    "a name that stands twice": safetensors_bytes(
        b'{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}',
        bytes(1),
    ),
    "a header of all memory": struct.pack("<Q", 1 << 62) + b"{}",
    "a header just over the limit": struct.pack("<Q", (100 << 20) + 1) + b"{}",
    "a header nested without end": safetensors_bytes(b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", b""),
    "a header that is not UTF-8": safetensors_bytes(b'{"\xff":1}', b""),
    "the bomb of 49 bytes": gguf_bomb(),
    "2**64 tensors": gguf_bytes(counts=((1 << 64) - 1, (1 << 64) - 1)),
    "blocks that overlap": gguf_bytes([], [gguf_tensor("a"), gguf_tensor("b")], bytes(8)),
}


@pytest.mark.parametrize("case", NOT_TENSORS)
def test_what_is_no_whole_model_file_is_one_span_of_bytes(case: str) -> None:
    data, started = NOT_TENSORS[case], time.process_time()
    tracemalloc.start()
    found = spans(Memory(data))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert whole(data) == found
    assert peak < 4 << 20
    assert time.process_time() - started < 2


def test_every_truncation_is_one_span_of_bytes() -> None:
    for good in (save({"w": np.ones(3, "f4")}), good_gguf()):
        for length in range(1, len(good)):
            assert whole(good[:length]) == spans(Memory(good[:length]))


def test_the_tensors_themselves_are_not_read() -> None:
    source = Memory(save({"w": np.ones(4 << 20, "f4")}))
    assert 2 == len(spans(source))
    assert source.reads <= 4


def test_a_source_that_cannot_be_read_is_no_file_of_bytes() -> None:
    class Torn(Memory):
        def read_into(self, view: memoryview, offset: int) -> None:
            raise OSError(5, "Input/output error")

    with pytest.raises(OSError, match="Input/output"):
        spans(Torn(bytes(100)))


def test_a_file_is_read_exactly_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "blob"
    path.write_bytes(bytes(range(100)))
    view = memoryview(bytearray(10))
    with FileSource(path) as source:
        source.read_into(view, 90)
        assert bytes(range(90, 100)) == view
        with pytest.raises(EOFError, match="before byte 101"):
            source.read_into(view, 91)
        path.write_bytes(bytes(5))  # shortened behind our back
        assert 100 == source.size
        with pytest.raises(EOFError):
            source.read_into(view, 0)
    with pytest.raises(OSError, match="descriptor"):
        source.read_into(view, 0)
    source.close()


def test_a_link_in_place_of_a_blob_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"x")
    (tmp_path / "blob").symlink_to("secret")
    with pytest.raises(OSError, match="symbolic links"):
        FileSource(tmp_path / "blob")


def test_a_model_of_many_thousand_experts_is_read_in_linear_time() -> None:
    """Twice the tensors take about twice the time."""

    def seconds(count: int) -> float:
        header = {f"experts.{n}.down_proj": tensor("BF16", [2], 4 * n, 4 * n + 4) for n in range(count)}
        data = safetensors_bytes(json.dumps(header).encode(), bytes(4 * count))
        started = time.process_time()
        assert count + 1 == len(spans(Memory(data)))
        return time.process_time() - started

    assert seconds(20_000) < 6 * seconds(10_000) + 0.2
