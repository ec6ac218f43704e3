import io
import json
import tracemalloc
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save

from pipelines.scan.errors import MalformedSafetensors
from pipelines.scan.safetensors import SafetensorsHeader, TensorInfo, read_header
from tests.pipelines.hostile import F32_PAIR, safetensors_bytes, tensor


def read(data: bytes) -> SafetensorsHeader:
    return read_header(io.BytesIO(data), len(data))


def test_a_file_of_the_published_library_is_read() -> None:
    data = save({"b": np.zeros((2, 3), np.float16), "a": np.ones(4, np.int64)}, metadata={"format": "pt"})
    header = read(data)
    assert {"format": "pt"} == header.metadata
    assert {("a", "I64", (4,)), ("b", "F16", (2, 3))} == {(t.name, t.dtype, t.shape) for t in header.tensors}
    assert len(data) == header.data_start + header.tensors[-1].end


def test_spaces_pad_the_header_and_an_empty_tensor_takes_no_room() -> None:
    raw = json.dumps({"a": F32_PAIR, "none": tensor("F64", [2, 0], 8, 8)}).encode() + b"   "
    header = read(safetensors_bytes(raw, bytes(8)))
    assert (TensorInfo("a", "F32", (2,), 0, 8), TensorInfo("none", "F64", (2, 0), 8, 8)) == header.tensors
    assert 8 + len(raw) == header.data_start


def test_four_bit_elements_share_bytes() -> None:
    assert 3 * 2 == read(safetensors_bytes({"a": tensor("F4", [3, 2], 0, 3)}, bytes(3))).tensors[0].elements


DUPLICATE = b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}'
ATTACKS: dict[str, tuple[bytes, str]] = {
    "length beyond the format": (safetensors_bytes({"a": F32_PAIR}, b"", length=1 << 62), "byte 0"),
    "length beyond the file": (safetensors_bytes({"a": F32_PAIR}, bytes(8), length=4096), "byte 0"),
    "not an object": (safetensors_bytes(b"[]", b""), "byte 8"),
    "space before the object": (safetensors_bytes(b" {}", b""), "byte 8"),
    "tab as padding": (safetensors_bytes(b"{}\t", b""), "byte 11"),
    "duplicate tensor": (safetensors_bytes(DUPLICATE, bytes(8)), "header"),
    "not UTF-8": (safetensors_bytes(b'{"\xff":1}', b""), "header"),
    "UTF-16": (safetensors_bytes(b"{\0}\0" + b"}", b""), "header"),
    "deep nesting": (safetensors_bytes(b'{"a":' * 5000 + b"1" + b"}" * 5000, b""), "header"),
    "unknown dtype": (safetensors_bytes({"a": tensor("F33", [2], 0, 8)}, bytes(8)), "'a'.dtype"),
    "dtype is a list": (safetensors_bytes({"a": {**F32_PAIR, "dtype": ["F32"]}}, bytes(8)), "'a'.dtype"),
    "size is not shape times dtype": (
        safetensors_bytes({"a": tensor("F32", [3], 0, 8)}, bytes(8)),
        "data_offsets",
    ),
    "half a byte": (safetensors_bytes({"a": tensor("F4", [3], 0, 2)}, bytes(2)), "data_offsets"),
    "overlap": (safetensors_bytes({"a": F32_PAIR, "b": F32_PAIR}, bytes(8)), "'b'.data_offsets"),
    "hole": (
        safetensors_bytes({"a": F32_PAIR, "b": tensor("F32", [1], 12, 16)}, bytes(16)),
        "'b'.data_offsets",
    ),
    "beyond the file": (safetensors_bytes({"a": tensor("F32", [4], 0, 16)}, bytes(8)), "'a'.data_offsets"),
    "trailing bytes": (safetensors_bytes({"a": F32_PAIR}, bytes(8) + b"PK\x03\x04"), "end of file"),
    "negative offset": (safetensors_bytes({"a": tensor("F32", [2], -8, 0)}, bytes(8)), "data_offsets"),
    "reversed offsets": (safetensors_bytes({"a": tensor("F32", [2], 8, 0)}, bytes(8)), "data_offsets"),
    "negative size": (safetensors_bytes({"a": tensor("F32", [-2], 0, 8)}, bytes(8)), "'a'.shape"),
    "sizes that overflow": (
        safetensors_bytes({"a": tensor("F32", [1 << 40, 1 << 40], 0, 8)}, bytes(8)),
        "'a'",
    ),
    "huge integer": (safetensors_bytes({"a": tensor("F32", [1 << 64], 0, 8)}, bytes(8)), "'a'.shape"),
    "integer of 5000 digits": (safetensors_bytes(b'{"a":' + b"9" * 5000 + b"}", b""), "header"),
    "true as a size": (safetensors_bytes({"a": {**F32_PAIR, "shape": [True, 2]}}, bytes(8)), "'a'.shape"),
    "a fraction as a size": (safetensors_bytes({"a": {**F32_PAIR, "shape": [2.0]}}, bytes(8)), "'a'.shape"),
    "too many dimensions": (
        safetensors_bytes({"a": {**F32_PAIR, "shape": [2, *[1] * 16]}}, bytes(8)),
        "'a'.shape",
    ),
    "unknown field": (safetensors_bytes({"a": {**F32_PAIR, "run": "me"}}, bytes(8)), "'a'"),
    "tensor is a number": (safetensors_bytes({"a": 1}, b""), "'a'"),
    "metadata of numbers": (safetensors_bytes({"__metadata__": {"a": 1}}, b""), "__metadata__"),
    "metadata is a list": (safetensors_bytes({"__metadata__": []}, b""), "__metadata__"),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_hostile_header_is_refused_at_its_place(attack: str) -> None:
    data, place = ATTACKS[attack]
    with pytest.raises(MalformedSafetensors) as refusal:
        read(data)
    assert place in refusal.value.at


def test_every_truncation_is_refused() -> None:
    data = safetensors_bytes({"a": F32_PAIR, "__metadata__": {"k": "v"}}, bytes(8))
    for length in range(len(data)):
        with pytest.raises(MalformedSafetensors):
            read(data[:length])


def test_a_stream_shorter_than_its_stated_size_is_refused() -> None:
    with pytest.raises(MalformedSafetensors):
        read_header(io.BytesIO(safetensors_bytes({}, b"", length=500)), 4096)


@pytest.mark.parametrize(
    "raw",
    [b'{"a":[' + b"[]," * (5 << 20) + b"[]]}", b'{"a":[' + b'{"b":1},' * (2 << 20) + b"1]}"],
    ids=("lists", "objects"),
)
def test_a_header_of_many_small_values_costs_no_more_than_its_size(raw: bytes) -> None:
    data: Any = safetensors_bytes(raw, b"")
    tracemalloc.start()
    with pytest.raises(MalformedSafetensors, match="values"):
        read(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100 << 20
