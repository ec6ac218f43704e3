"""Laws of the bundle's formats: what is written is read, and hostile bytes raise our refusals and nothing else."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines import receipts
from pipelines.bundle import documents as docs
from pipelines.bundle import tables
from signing.canonical import canonical_bytes
from signing.errors import OperatorError

pytestmark = pytest.mark.property

digests = st.binary(min_size=32, max_size=32).map(bytes.hex)
texts = st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=20)
sized = st.builds(docs.Sized, digests, st.integers(0, 1 << 40))
PACKER = {
    "fingerprint": "x",
    "keyid": "y",
    "keytype": "ed25519",
    "scheme": "ed25519",
    "keyval": {"public": "00"},
}
EMPTY = docs.Export(
    "b", 1, "lab", "harbour", "2026-11-20T12:00:00Z", None, None, None, (), (), (), (), (),
    docs.ChunkTable("a" * 64, 0, 0), (), PACKER,
)  # fmt: skip
json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-10, 1 << 60) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.builds(
        docs.Release,
        st.just("a/b"),
        st.integers(1, 10**9),
        digests,
        digests,
        st.none() | digests,
        st.just(()),
    )
)
def test_releases_round_trip(release: docs.Release) -> None:
    assert release == docs.decode_release(docs.encode_release(release))


@given(st.dictionaries(texts, digests, max_size=9))
def test_sums_round_trip(sums: dict[str, str]) -> None:
    assert sums == tables.decode_sums(tables.encode_sums(sums), at="x")


@given(st.lists(sized, max_size=6), st.integers(64 << 20, 1 << 33), st.integers(0, 1 << 20))
def test_volumes_never_overflow_and_are_filled_in_order(
    blobs: list[docs.Sized], volume_bytes: int, small: int
) -> None:
    try:
        placed = tables.assign(blobs, volume_bytes=volume_bytes, small=small)
    except OperatorError:
        return
    used: dict[int, int] = {}
    order = []
    for blob, row in zip(blobs, placed, strict=True):
        for (_offset, size), volume in zip(tables.pieces(blob.size), row, strict=True):
            used[volume] = used.get(volume, small) + size
            order.append(volume)
    assert all(total <= volume_bytes for total in used.values())
    assert order == sorted(order)
    assert list(used) == list(range(1, len(used) + 1))


@given(st.integers(0, 1 << 40))
def test_pieces_cover_a_blob(size: int) -> None:
    reached = 0
    for offset, piece in tables.pieces(size):
        assert offset == reached
        assert 1 <= piece <= tables.CHUNK
        reached += piece
    assert reached == size


def decoders(data: bytes) -> list[Any]:
    return [
        lambda: docs.decode_export(data),
        lambda: docs.decode_release(data),
        lambda: tables.decode_chunks(data, EMPTY),
        lambda: tables.decode_plan(data, sizes={}),
        lambda: tables.decode_label(data),
        lambda: tables.decode_sums(data, at="x"),
        lambda: receipts.read(data),
    ]


def only_ours(data: bytes) -> None:
    for decode in decoders(data):
        try:
            decode()
        except OperatorError:
            continue


@given(st.binary(max_size=300))
def test_hostile_bytes_raise_only_our_refusals(data: bytes) -> None:
    only_ours(data)


@given(json_values)
def test_hostile_values_raise_only_our_refusals(value: Any) -> None:
    only_ours(
        json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode(
            "utf-8", "replace"
        )
    )


FIELDS = [
    "format", "critical", "bundle", "sequence", "audience", "origin", "issued_at", "previous", "next_expected_by",
    "base", "releases", "documents", "statements", "blobs", "assumed", "chunks", "withdrawals", "packer",
]  # fmt: skip


@given(st.sampled_from(FIELDS), json_values)
def test_a_hostile_field_raises_only_our_refusals(name: str, value: Any) -> None:
    document = json.loads(docs.encode_export(EMPTY))
    document[name] = value
    try:
        only_ours(canonical_bytes(document))
    except OperatorError:
        return  # the value has no canonical form, so it never becomes a document


@given(st.sampled_from(["size", "chunk", "blob", "offset", "encoding"]), json_values)
def test_a_hostile_chunk_line_raises_only_our_refusals(name: str, value: Any) -> None:
    line = {"chunk": "a" * 64, "size": 1, "blob": "b" * 64, "offset": 0, "encoding": "raw", name: value}
    try:
        only_ours(canonical_bytes(line) + b"\n")
    except OperatorError:
        return
