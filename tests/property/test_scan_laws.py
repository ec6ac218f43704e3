"""Laws of the scan: hostile bytes raise only our refusals, and our reader agrees with the published one."""

import contextlib
import io
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import deserialize
from safetensors.numpy import save

from pipelines.scan import ScanResult, gguf, safetensors, scan
from pipelines.scan.errors import MalformedGguf, MalformedSafetensors, MalformedScanResult, MalformedTemplate
from pipelines.scan.templates import audit
from signing.canonical import canonical_bytes
from tests.pipelines.hostile import files_of, good_gguf, good_model, safetensors_bytes, tensor

pytestmark = pytest.mark.property

Reading = dict[str, tuple[str, tuple[int, ...], int]]  # name to dtype, shape and bytes


def published_reading(data: bytes) -> Reading:
    tensors: list[tuple[str, dict[str, Any]]] = deserialize(data)  # type: ignore[no-untyped-call]
    return {name: (info["dtype"], tuple(info["shape"]), len(info["data"])) for name, info in tensors}


def our_reading(data: bytes) -> Reading:
    header = safetensors.read_header(io.BytesIO(data), len(data))
    return {t.name: (t.dtype, t.shape, t.end - t.begin) for t in header.tensors}


DTYPES = {
    "F64": "f8",
    "F32": "f4",
    "F16": "f2",
    "I64": "i8",
    "I16": "i2",
    "I8": "i1",
    "U8": "u1",
    "BOOL": "?",
}
names = st.text(min_size=1, max_size=20).filter(lambda name: name != "__metadata__" and name.isprintable())
shapes = st.lists(st.integers(0, 4), max_size=4).map(tuple)
arrays = st.builds(lambda shape, kind: np.zeros(shape, DTYPES[kind]), shapes, st.sampled_from(sorted(DTYPES)))
# Not empty: of no tensors and empty metadata, safetensors 0.8.0 writes `{},"__metadata__":{}}`, which none can read.
metadata = st.none() | st.dictionaries(st.text(max_size=5), st.text(max_size=5), min_size=1, max_size=3)


@given(st.dictionaries(names, arrays, max_size=6), metadata)
def test_what_the_published_library_writes_is_read_alike(
    tensors: dict[str, np.ndarray], metadata: dict[str, str] | None
) -> None:
    data = save(tensors, metadata=metadata)
    assert (metadata or {}) == safetensors.read_header(io.BytesIO(data), len(data)).metadata
    assert published_reading(data) == our_reading(data)


small = st.integers(-2, 40)
entries = st.builds(
    tensor, st.sampled_from(["F32", "F16", "U8", "F4", "F99"]), st.lists(small, max_size=3), small, small
)


@given(st.dictionaries(st.sampled_from("abc"), entries, max_size=3), st.integers(0, 40), st.integers(0, 3))
def test_what_we_accept_the_published_library_reads_alike(
    header: dict[str, dict[str, object]], size: int, padding: int
) -> None:
    """We may be stricter, never laxer."""
    data = safetensors_bytes(json.dumps(header).encode() + b" " * padding, bytes(size))
    try:
        ours = our_reading(data)
    except MalformedSafetensors:
        return
    assert published_reading(data) == ours


@given(st.lists(st.integers(0, 6), min_size=1, max_size=5), st.randoms())
def test_tensors_that_tile_are_accepted_by_both_in_any_order(sizes: list[int], chance: Any) -> None:
    entries, end = [], 0
    for number, size in enumerate(sizes):
        entries.append((str(number), tensor("U8", [size], end, end + size)))
        end += size
    chance.shuffle(entries)
    data = safetensors_bytes(dict(entries), bytes(sum(sizes)))
    assert published_reading(data) == our_reading(data)
    assert len(sizes) == len(our_reading(data))


@st.composite
def spoiled(draw: st.DrawFn, good: bytes) -> bytes:
    """A good file with a few bytes changed, cut off or put in."""
    data = bytearray(good)
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, len(data)))
        data[place : place + draw(st.integers(0, 8))] = draw(st.binary(max_size=8))
    return bytes(data)


hostile_safetensors = st.binary(max_size=512) | spoiled(good_model()["model.safetensors"])
hostile_gguf = (
    st.binary(max_size=512)
    | st.binary(max_size=256).map(lambda tail: b"GGUF\x03\0\0\0" + tail)
    | spoiled(good_gguf())
)


@given(hostile_safetensors)
def test_hostile_safetensors_raise_only_our_error(data: bytes) -> None:
    with contextlib.suppress(MalformedSafetensors):
        safetensors.read_header(io.BytesIO(data), len(data))


@given(hostile_gguf)
def test_hostile_gguf_raises_only_our_error(data: bytes) -> None:
    with contextlib.suppress(MalformedGguf):
        gguf.read_header(io.BytesIO(data), len(data))


WORDS = "{{ }} {% %} {# #} if for in set endif macro x .content [' '] | attr ( ) ' ~ + 1 not - <tool_call> \\"
pieces = st.sampled_from([*WORDS.split(), " ", "\n", "\ud800", "{% generation %}", "{% endgeneration %}"])


@given(st.lists(pieces, max_size=40).map("".join) | st.text(max_size=80))
def test_hostile_templates_raise_only_our_error(text: str) -> None:
    with contextlib.suppress(MalformedTemplate):
        audit(text)


paths = st.text(max_size=12) | st.sampled_from(
    [*good_model(), "model.gguf", "x.safetensors.index.json", "a.py", "../x", "LICENSE.txt"]
)


@settings(max_examples=60)
@given(st.dictionaries(paths, hostile_safetensors | hostile_gguf, max_size=5))
def test_no_version_makes_the_scan_fail_and_every_result_can_be_kept(contents: dict[str, bytes]) -> None:
    result = scan(files_of(contents))
    assert result == ScanResult.from_json(json.loads(canonical_bytes(result.to_json())))


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(values, st.sampled_from(["ruleset", "findings", "facts"]))
def test_hostile_results_raise_only_our_error(value: object, field: str) -> None:
    good = scan(files_of({"a.py": b""})).to_json()
    with contextlib.suppress(MalformedScanResult):
        ScanResult.from_json({**good, field: value})
    with contextlib.suppress(MalformedScanResult):
        ScanResult.from_json({**good, "facts": {**good["facts"], "licence": value}})
