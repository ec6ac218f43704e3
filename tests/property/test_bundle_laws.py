"""Laws of the bundle's formats: what is written is read, and hostile bytes raise our refusals and nothing else."""

import contextlib
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines import receipts
from pipelines.bundle import documents as docs
from pipelines.bundle import plan, tables
from pipelines.bundle.media import Medium
from pipelines.bundle.plan import Plan, PlannedVolume
from pipelines.bundle.tables import Chunk, Part, Table
from pipelines.encodings.names import FRAME
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
NONE = docs.Lines("a" * 64, 0, 0)
EMPTY = docs.Export(
    bundle="b", sequence=1, audience="lab", origin="harbour", issued_at="2026-11-20T12:00:00Z", previous=None,
    next_expected_by=None, receipt=None, assumed_received=(), releases=(), documents=(), statements=(), blobs=(),
    assumed=(), bases=(), chunks=NONE, history=NONE, readme="a" * 64, profile="media", withdrawals=(), packer=PACKER,
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
    assert sums == plan.decode_sums(plan.encode_sums(sums), at="x")


@st.composite
def whole_tables(draw: st.DrawFn) -> tuple[docs.Export, Table]:
    """A table with parts of every kind, and the export that it belongs to."""
    held = draw(
        st.lists(sized.filter(lambda one: one.size > 0), max_size=3, unique_by=lambda one: one.sha256)
    )
    names = draw(st.lists(digests, min_size=1, max_size=6, unique=True))
    frame = st.tuples(
        st.sampled_from(["raw", "planes", "delta", "reference"]), st.integers(1, 5000), st.integers()
    )
    stored: dict[int, int] = {}
    blobs: dict[str, list[Part]] = {}
    for blob in names:
        blobs[blob] = []
        for kind, size, seed in draw(st.lists(frame, max_size=5)):
            base = held[seed % len(held)] if held else None
            if kind in ("planes", "delta"):  # whole units, and room to be smaller
                size = min(4 + size // 2 * 2, FRAME)  # noqa: PLW2901 - what the frame really has
            if kind in ("delta", "reference") and (base is None or base.size < size):
                kind = "raw"  # noqa: PLW2901 - nothing is held that it could be made from
            start = 0 if base is None or kind in ("raw", "planes") else seed % (base.size - size + 1)
            of = base.sha256 if base is not None and kind in ("delta", "reference") else None
            if kind == "reference":
                blobs[blob].append(Part(size, kind, base=of, start=start))
                continue
            number, small = abs(seed) % 3, size if kind == "raw" else 1 + size // 2
            blobs[blob].append(
                Part(
                    size,
                    kind,
                    None if kind == "raw" else "bf16",
                    number,
                    stored.get(number, 0),
                    small,
                    of,
                    start,
                )
            )
            stored[number] = stored.get(number, 0) + small
    numbers = {old: new for new, old in enumerate(sorted(stored))}
    blobs = {
        blob: tables.merged(replace(part, chunk=numbers.get(part.chunk, -1)) for part in parts)
        for blob, parts in blobs.items()
    }
    chunks = tuple(Chunk(f"{number:064x}", stored[number]) for number in sorted(stored))
    export = replace(
        EMPTY,
        blobs=tuple(docs.Sized(blob, sum(part.size for part in parts)) for blob, parts in blobs.items()),
        bases=tuple(held),
    )
    return export, Table(chunks, {blob: tuple(parts) for blob, parts in blobs.items()})


def written(export: docs.Export, table: Table) -> tuple[bytes, docs.Export]:
    data = tables.encode_table(table, {blob.sha256: blob.size for blob in export.blobs})
    return data, replace(export, chunks=docs.Lines("a" * 64, len(data), tables.count_lines(table)))


@given(whole_tables())
def test_tables_round_trip(drawn: tuple[docs.Export, Table]) -> None:
    export, table = drawn
    assert table == tables.decode_table(*written(export, table))


@given(whole_tables(), st.data())
def test_a_table_with_a_changed_byte_raises_only_our_refusals(
    drawn: tuple[docs.Export, Table], data: st.DataObject
) -> None:
    lines, export = written(*drawn)
    place = data.draw(st.integers(0, max(len(lines) - 1, 0)))
    changed = lines[:place] + data.draw(st.binary(max_size=3)) + lines[place + 1 :]
    with contextlib.suppress(OperatorError):
        tables.decode_table(changed, export)


@given(whole_tables())
def test_merging_changes_no_byte(drawn: tuple[docs.Export, Table]) -> None:
    _export, table = drawn
    for parts in table.blobs.values():
        once = tables.merged(parts)
        assert once == tables.merged(once)
        assert sum(part.size for part in parts) == sum(part.size for part in once)


chunk_sizes = st.lists(st.integers(1, 64 << 20), min_size=1, max_size=30)
clusters = st.sampled_from([1, 2048, 32 << 10])


@given(chunk_sizes, st.data(), st.integers(64 << 20, 1 << 30), st.integers(0, 1 << 20), clusters)
def test_volumes_hold_every_chunk_once_and_never_overflow(
    sizes: list[int], data: st.DataObject, room: int, small: int, cluster: int
) -> None:
    chunks = [Chunk(f"{number:064x}", size) for number, size in enumerate(sizes)]
    numbers = st.lists(st.integers(0, len(chunks) - 1), max_size=10)
    items = [*data.draw(st.lists(numbers, max_size=5)), list(range(len(chunks)))]
    medium = Medium("m", room, cluster)
    try:
        volumes = plan.split(items, chunks, medium=medium, small=small)
    except OperatorError:
        assert small + max(map(medium.room, sizes)) > room, (
            "one chunk and the documents fit, so it can be done"
        )
        return
    assert list(range(len(chunks))) == sorted(number for volume in volumes for number in volume)
    for volume in volumes:
        assert volume, "no medium is carried empty"
        assert small + sum(medium.room(sizes[number]) for number in volume) <= room
    _whole_items(items, volumes, lambda number: medium.room(sizes[number]), room - small)


def _whole_items(
    items: Sequence[Sequence[int]], volumes: Sequence[Sequence[int]], cost: Callable[[int], int], room: int
) -> None:
    """What would fit on one medium is on one, as far as an item before it has not taken some of its chunks."""
    placed: set[int] = set()
    for item in items:
        fresh = set(item) - placed
        placed |= fresh
        if sum(map(cost, fresh)) <= room:
            assert sum(bool(fresh & set(volume)) for volume in volumes) <= 1


@given(chunk_sizes)
def test_without_a_medium_there_is_one_volume(sizes: list[int]) -> None:
    chunks = [Chunk(f"{number:064x}", size) for number, size in enumerate(sizes)]
    items = [list(range(len(chunks)))]
    assert items == plan.split(items, chunks, medium=None, small=1 << 40)


@given(chunk_sizes, st.integers(1, 5), st.booleans())
def test_plans_round_trip(sizes: list[int], count: int, repairs: bool) -> None:
    names = {f"{number:064x}": size for number, size in enumerate(sizes)}
    volumes = tuple(
        PlannedVolume(index + 1, row := tuple(names)[index::count], sum(names[name] for name in row))
        for index in range(count)
    )
    made = Plan("b", "a" * 64, volumes, (), repairs)
    assert made == plan.decode_plan(plan.encode_plan(made), sizes=names)


def decoders(data: bytes) -> list[Any]:
    return [
        lambda: docs.decode_export(data),
        lambda: docs.decode_release(data),
        lambda: tables.decode_table(data, replace(EMPTY, chunks=docs.Lines("a" * 64, 0, data.count(b"\n")))),
        lambda: plan.decode_plan(data, sizes={}),
        lambda: plan.decode_label(data),
        lambda: plan.decode_sums(data, at="x"),
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
    "base", "releases", "documents", "statements", "blobs", "assumed", "chunks", "withdrawals", "packer", "profile",
    "bases", "history", "readme",
]  # fmt: skip


@given(st.sampled_from(FIELDS), json_values)
def test_a_hostile_field_raises_only_our_refusals(name: str, value: Any) -> None:
    document = json.loads(docs.encode_export(EMPTY))
    assert set(FIELDS) == set(document)
    document[name] = value
    try:
        only_ours(canonical_bytes(document))
    except OperatorError:
        return  # the value has no canonical form, so it never becomes a document


A, B, C = "a" * 64, "b" * 64, "c" * 64
LINES: list[dict[str, Any]] = [
    {"chunk": A, "size": 9},
    {"blob": B, "size": 12, "parts": 3, "bases": [C]},
    {"size": 4, "base": 0, "from": 2},
    {"size": 4, "chunk": 0, "at": 0, "encoding": "raw"},
    {"size": 4, "chunk": 0, "at": 4, "encoding": "delta", "unit": "bf16", "stored": 3, "base": 0, "from": 0},
]
LINED = replace(
    EMPTY, blobs=(docs.Sized(B, 12),), bases=(docs.Sized(C, 9),), chunks=docs.Lines(A, 0, len(LINES))
)


def table_of(lines: list[dict[str, Any]]) -> Table:
    return tables.decode_table(b"".join(canonical_bytes(line) + b"\n" for line in lines), LINED)


def test_the_lines_that_are_made_hostile_below_are_good() -> None:
    assert 3 == len(table_of(LINES).blobs[B])


@given(st.integers(0, len(LINES) - 1), st.data(), json_values)
def test_a_hostile_line_raises_only_our_refusals(number: int, data: st.DataObject, value: Any) -> None:
    lines = [dict(line) for line in LINES]
    lines[number][data.draw(st.sampled_from(sorted({*lines[number], "extension", "unit", "from"})))] = value
    with contextlib.suppress(OperatorError):
        table_of(lines)


PLAN = Plan(
    "b",
    A,
    (PlannedVolume(1, (B,), 9), PlannedVolume(2, (), 9, (C,))),
    (plan.PlannedParity((1,), None, 1, 9, (C,), ()),),
)


def test_the_plan_that_is_made_hostile_below_is_good() -> None:
    assert PLAN == plan.decode_plan(plan.encode_plan(PLAN), sizes={B: 9})


@given(st.sampled_from(["volumes", "parity"]), st.data(), json_values)
def test_a_hostile_plan_raises_only_our_refusals(where: str, data: st.DataObject, value: Any) -> None:
    document = json.loads(plan.encode_plan(PLAN))
    row = document[where][data.draw(st.integers(0, len(document[where]) - 1))]
    row[data.draw(st.sampled_from(sorted(row)))] = value
    with contextlib.suppress(OperatorError):
        plan.decode_plan(canonical_bytes(document), sizes={B: 9})
