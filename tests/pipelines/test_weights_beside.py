"""Two versions' weights held against each other: what is said to have changed has, and nothing is said that was not read."""

import struct
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.weights_beside import (
    ADDED,
    ALIKE,
    CHANGED,
    REMOVED,
    RESHAPED,
    SAME,
    WeightsBeside,
    compare,
)
from registry.blobs import BlobStore
from registry.manifests import FileEntry, Manifest
from signing.canonical import canonical_bytes

Tensors = Mapping[str, tuple[str, list[int], bytes]]  # name: type, shape, bytes


def packed(tensors: Tensors) -> bytes:
    """A safetensors file."""
    header: dict[str, object] = {}
    body = b""
    for name, (dtype, shape, data) in tensors.items():
        header[name] = {
            "dtype": dtype,
            "shape": shape,
            "data_offsets": [len(body), len(body) + len(data)],
        }
        body += data
    text = canonical_bytes(header)
    return struct.pack("<Q", len(text)) + text + body


@pytest.fixture(scope="module")
def blobs(tmp_path_factory: pytest.TempPathFactory) -> BlobStore:
    store = BlobStore(tmp_path_factory.mktemp("blobs"))
    store.create()
    return store


def version(blobs: BlobStore, *files: bytes, ending: str = "safetensors") -> Manifest:
    entries = tuple(
        FileEntry(f"part-{number}.{ending}", len(data), blobs.put(data)) for number, data in enumerate(files)
    )
    return Manifest("acme/guard", entries)


def floats(*values: float) -> bytes:
    return struct.pack(f"<{len(values)}f", *values)


def changes(found: WeightsBeside) -> dict[str, str]:
    return {one.name: one.change for one in found.tensors}


def test_each_tensor_is_said_to_be_what_it_is(blobs: BlobStore) -> None:
    old = {
        "kept": ("F32", [2], floats(1, 2)),
        "tuned": ("F32", [2], floats(3, 4)),
        "grown": ("F32", [1], floats(5)),
        "gone": ("F32", [1], floats(6)),
    }
    new = {
        "kept": ("F32", [2], floats(1, 2)),
        "tuned": ("F32", [2], floats(3, 3)),
        "grown": ("F32", [2], floats(5, 5)),
        "come": ("F32", [1], floats(6)),
    }
    found = compare(blobs, version(blobs, packed(new)), version(blobs, packed(old)))
    assert {
        "kept": SAME, "tuned": CHANGED, "grown": RESHAPED, "gone": REMOVED, "come": ADDED,
    } == changes(found)  # fmt: skip
    [tuned] = [one for one in found.tensors if one.name == "tuned"]
    assert tuned.moved == pytest.approx(0.2)  # |(0, -1)| of |(3, 4)|


def test_tensors_are_found_again_in_another_shard(blobs: BlobStore) -> None:
    one, two = {"a": ("F32", [1], floats(1))}, {"b": ("F32", [1], floats(2))}
    found = compare(blobs, version(blobs, packed(one), packed(two)), version(blobs, packed({**two, **one})))
    assert {"a": SAME, "b": SAME} == changes(found)


def test_what_is_too_large_to_read_is_never_called_the_same(blobs: BlobStore) -> None:
    """A few blocks are read of each: a change in them is proven, and what they do not show stays open."""
    quiet = bytearray(1 << 16)
    inside = bytearray(quiet)
    inside[20_000] = 1  # between the blocks
    at_end = bytearray(quiet)
    at_end[-1] = 1
    old = {name: ("U8", [1 << 16], bytes(quiet)) for name in ("inside", "at end", "untouched")}
    new = {
        "inside": ("U8", [1 << 16], bytes(inside)),
        "at end": ("U8", [1 << 16], bytes(at_end)),
        "untouched": ("U8", [1 << 16], bytes(quiet)),
    }
    few = compare(blobs, version(blobs, packed(new)), version(blobs, packed(old)), budget=12_288)
    assert {"inside": ALIKE, "at end": CHANGED, "untouched": ALIKE} == changes(few)
    assert all(one.looked <= 4096 for one in few.tensors)
    whole = compare(blobs, version(blobs, packed(new)), version(blobs, packed(old)))
    assert {"inside": CHANGED, "at end": CHANGED, "untouched": SAME} == changes(whole)


def test_a_file_that_breaks_its_format_is_named(blobs: BlobStore) -> None:
    whole = version(blobs, packed({"a": ("F32", [1], floats(1))}))
    found = compare(blobs, version(blobs, b"\xff" * 64), whole)
    assert {"a": REMOVED} == changes(found)
    [said] = found.unread
    assert said.startswith("part-0.safetensors: ")
    gone = Manifest("acme/guard", (FileEntry("w.safetensors", 9, "0" * 64),))
    assert compare(blobs, gone, whole).unread


def test_layer_two_stands_before_layer_ten(blobs: BlobStore) -> None:
    names = {f"layers.{number}.w": ("F32", [1], floats(number)) for number in (10, 2, 1)}
    found = compare(blobs, version(blobs, packed(names)), version(blobs, packed({})))
    assert ["layers.1.w", "layers.2.w", "layers.10.w"] == [one.name for one in found.tensors]


def test_the_demonstrations_models_differ_in_every_tensor_and_not_from_themselves(blobs: BlobStore) -> None:
    models = Path(__file__).parents[2] / "demo" / "models"
    one, two = (
        version(blobs, (models / name / "model.gguf").read_bytes(), ending="gguf") for name in ("v1", "v2")
    )
    assert {SAME} == set(changes(compare(blobs, one, one)).values())
    found = compare(blobs, two, one)
    assert {CHANGED} == set(changes(found).values())
    assert all(one.moved is not None and 0 < one.moved < 2 for one in found.tensors)


@pytest.mark.property
@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(st.text("abc.9", min_size=1, max_size=6), st.binary(min_size=1, max_size=64), max_size=5),
    st.dictionaries(st.text("abc.9", min_size=1, max_size=6), st.binary(min_size=1, max_size=64), max_size=5),
    st.integers(1, 4096),
)
def test_nothing_that_differs_is_called_the_same(
    blobs: BlobStore, one: dict[str, bytes], other: dict[str, bytes], budget: int
) -> None:
    new, old = (
        version(blobs, packed({name: ("U8", [len(data)], data) for name, data in some.items()}))
        for some in (one, other)
    )
    for item in compare(blobs, new, old, budget=budget).tensors:
        mine, theirs = one.get(item.name), other.get(item.name)
        if mine is None or theirs is None:
            assert item.change == (ADDED if theirs is None else REMOVED)
        elif len(mine) != len(theirs):
            assert item.change == RESHAPED
        else:
            assert (item.change in (SAME, ALIKE)) == (mine == theirs)
