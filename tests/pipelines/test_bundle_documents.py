"""The documents of a bundle say where they are wrong, accept what is new, and refuse what they must understand."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipelines.bundle import documents as docs
from pipelines.bundle import plan, tables
from pipelines.bundle.errors import EncodingUnknown, FilesDamaged, FormatTooNew, MalformedBundle
from pipelines.bundle.plan import Plan, PlannedParity, PlannedVolume
from pipelines.bundle.reader import gather
from pipelines.bundle.tables import Chunk, Part, Table
from pipelines.encodings.names import FRAME
from signing.canonical import canonical_bytes
from signing.keys import create_key

A, B, C, D = "a" * 64, "b" * 64, "c" * 64, "d" * 64


@pytest.fixture(scope="module")
def packer(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    info = create_key(tmp_path_factory.mktemp("keys") / "station.pem", passphrase=None)
    value: dict[str, Any] = json.loads(info.public_json)
    return value


@pytest.fixture
def export(packer: dict[str, Any]) -> docs.Export:
    return docs.Export(
        bundle="20261120-02",
        sequence=2,
        audience="lab",
        origin="harbour",
        issued_at="2026-11-20T12:00:00Z",
        previous=A,
        next_expected_by=None,
        receipt=B,
        assumed_received=(docs.AssumedReceived(1, "maria", "she signed for it"),),
        releases=(docs.ShippedRelease("releases/acme/tiny/1.json", A),),
        documents=(docs.ShippedDocument(A, "manifest", "acme/tiny@1", 10),),
        statements=(docs.ShippedStatement(A, "https://slsa.dev/provenance/v1", B),),
        blobs=(docs.Sized(A, 5), docs.Sized(B, 0)),
        assumed=(docs.Sized(C, 9),),
        bases=(docs.Sized(D, 40),),
        chunks=docs.Lines(A, 300, 2),
        history=docs.Lines(B, 200, 1),
        readme=C,
        profile="media",
        withdrawals=(docs.ShippedWithdrawal(B, "leaks"),),
        packer=packer,
    )


def edited(data: bytes, change: Callable[[dict[str, Any]], object]) -> bytes:
    value = json.loads(data)
    change(value)
    return canonical_bytes(value)


def test_an_export_survives_the_round_trip(export: docs.Export) -> None:
    assert export == docs.decode_export(docs.encode_export(export))


def test_a_release_survives_the_round_trip() -> None:
    release = docs.Release("acme/tiny", 3, A, B, None, (C,))
    assert release == docs.decode_release(docs.encode_release(release))
    assert "releases/acme/tiny/3.json" == release.path


EXPORT_FAULTS: list[tuple[str, Callable[[dict[str, Any]], object]]] = [
    ("x.format", lambda d: d.update(format="tidegate-export/2")),
    ("x.bundle", lambda d: d.update(bundle="../etc")),
    ("x.bundle", lambda d: d.update(bundle="A")),
    ("x.sequence", lambda d: d.update(sequence=0)),
    ("x.sequence", lambda d: d.update(sequence=True)),
    ("x.audience", lambda d: d.update(audience="")),
    ("x.origin", lambda d: d.update(origin="a\nb")),
    ("x.issued_at", lambda d: d.update(issued_at="yesterday")),
    ("x.previous", lambda d: d.update(previous="AB")),
    ("x.base", lambda d: d.update(base=[])),
    ("x.base.receipt", lambda d: d["base"].pop("receipt")),
    ("x.base.assumed_received", lambda d: d["base"].update(assumed_received=None)),
    ("x.base.assumed_received[0].sequence", lambda d: d["base"]["assumed_received"][0].update(sequence=0)),
    ("x.base.assumed_received[0].by", lambda d: d["base"]["assumed_received"][0].update(by="a\nb")),
    ("x.profile", lambda d: d.update(profile="zip")),
    ("x.bases[0].size", lambda d: d["bases"][0].update(size=-1)),
    ("x.bases[2]", lambda d: d["bases"][0].update(sha256=A)),
    ("x.history.size", lambda d: d["history"].update(size=None)),
    ("x.readme", lambda d: d.update(readme="x")),
    ("x.releases[0].sha256", lambda d: d["releases"][0].update(sha256=1)),
    ("x.documents[0].size", lambda d: d["documents"][0].update(size=-1)),
    ("x.documents[1]", lambda d: d["documents"].append(d["documents"][0])),
    ("x.statements[0].signature", lambda d: d["statements"][0].pop("signature")),
    ("x.blobs[1].size", lambda d: d["blobs"][1].update(size="0")),
    ("x.blobs[2]", lambda d: d["assumed"][0].update(sha256=A)),
    ("x.chunks.count", lambda d: d["chunks"].pop("count")),
    ("x.withdrawals[0]", lambda d: d.update(withdrawals=[1])),
    ("x.withdrawals", lambda d: d.update(withdrawals={})),
    ("x.packer", lambda d: d["packer"].update(keyid=A)),
    ("x.critical[0]", lambda d: d.update(critical=[1])),
]


@pytest.mark.parametrize(("at", "fault"), EXPORT_FAULTS)
def test_a_fault_is_named_by_its_place(
    export: docs.Export, at: str, fault: Callable[[dict[str, Any]], object]
) -> None:
    with pytest.raises(MalformedBundle) as refusal:
        docs.decode_export(edited(docs.encode_export(export), fault), at="x")
    assert at == refusal.value.at


def test_what_is_new_is_accepted_unless_it_is_critical(export: docs.Export) -> None:
    newer = edited(docs.encode_export(export), lambda d: d.update(parity={"p": 1}))
    assert export == docs.decode_export(newer)
    known = edited(newer, lambda d: d.update(critical=["blobs"]))
    assert export == docs.decode_export(known)
    with pytest.raises(FormatTooNew) as refusal:
        docs.decode_export(edited(newer, lambda d: d.update(critical=["parity", "blobs"])))
    assert ("parity",) == refusal.value.unknown


@pytest.mark.parametrize("change", [{"model": "Acme"}, {"model": ""}, {"ordinal": 0}, {"statements": [A, A]}])
def test_a_faulty_release_is_refused(change: dict[str, Any]) -> None:
    data = docs.encode_release(docs.Release("acme/tiny", 3, A, B, None, (C,)))
    with pytest.raises(MalformedBundle) as refusal:
        docs.decode_release(edited(data, lambda d: d.update(change)))
    assert f"release.{next(iter(change))}" == refusal.value.at


# A is 5 bytes of two chunks, B is empty; C is held and left out, D is held and a base.
CHUNKS = (Chunk(C, 3), Chunk(B, 2))
GOOD: dict[str, list[Part]] = {A: [Part(3, "raw", None, 0, 0, 3), Part(2, "raw", None, 1, 0, 2)], B: []}


def read(
    export: docs.Export, parts: dict[str, list[Part]] | list[Part], chunks: tuple[Chunk, ...] = CHUNKS
) -> Table:
    """Write a table, of A's parts if only a list is given, and read it back."""
    blobs = {A: parts, B: []} if isinstance(parts, list) else parts
    table = Table(chunks, blobs)
    data = tables.encode_table(table, {blob.sha256: blob.size for blob in (*export.blobs, *export.assumed)})
    return tables.decode_table(
        data, replace(export, chunks=docs.Lines(A, len(data), tables.count_lines(table)))
    )


def test_parts_cover_each_blob_from_end_to_end(export: docs.Export) -> None:
    assert Table(CHUNKS, {A: tuple(GOOD[A]), B: ()}) == read(export, GOOD)


def test_parts_of_every_kind_survive_the_round_trip(export: docs.Export) -> None:
    """A reference, a delta, a frame without base, and raw bytes; the chunk of frames holds raw bytes too."""
    larger = replace(export, blobs=(docs.Sized(A, 36), docs.Sized(B, 0)))
    parts = (
        Part(8, "reference", base=D, start=3),
        Part(16, "delta", "bf16", 0, 0, 9, D, 24),
        Part(10, "planes", "bf16", 0, 9, 5),
        Part(2, "raw", None, 0, 14, 2),
    )
    assert Table((Chunk(C, 16),), {A: parts, B: ()}) == read(larger, list(parts), (Chunk(C, 16),))


def test_a_chunk_keeps_its_extension_under_guard_only(export: docs.Export) -> None:
    named = (Chunk(C, 3, "safetensors"), CHUNKS[1])
    assert named == read(replace(export, profile="guard"), GOOD, named).chunks
    assert f"chunks/cc/{C}.safetensors" == named[0].path
    with pytest.raises(MalformedBundle) as refusal:
        read(export, GOOD, named)
    assert "chunks.jsonl line 1.extension" == refusal.value.at


@pytest.mark.parametrize("extension", ["", ".", "a/b", "..", "EXE", "a" * 17, "\u00e4"])
def test_an_extension_is_a_plain_word(export: docs.Export, extension: str) -> None:
    with pytest.raises(MalformedBundle):
        read(replace(export, profile="guard"), GOOD, (Chunk(C, 3, extension), CHUNKS[1]))


RAW3, RAW2 = GOOD[A]


@pytest.mark.parametrize(
    ("parts", "at"),
    [
        ([RAW3], "chunks.jsonl line 3"),
        ([RAW3, Part(1, "raw", None, 1, 0, 1)], "chunks.jsonl line 3"),
        ([RAW3, RAW2, RAW2], "chunks.jsonl line 3"),
        ([RAW3, Part(2, "raw", None, 1, 1, 2)], "chunks.jsonl line 5"),
        ([RAW3, Part(2, "raw", None, 2, 0, 2)], "chunks.jsonl line 5"),
        ([RAW3, Part(0, "raw", None, 1, 0, 0)], "chunks.jsonl line 5.size"),
        ([Part(5, "reference", base=D, start=0)], "chunks.jsonl line 1.chunk"),
        ([RAW3, Part(2, "reference", base=D, start=39)], "chunks.jsonl line 5"),
        ([RAW3, Part(2, "reference", base=A, start=0)], "chunks.jsonl line 3.bases"),
        ([RAW3, Part(2, "reference")], "chunks.jsonl line 5"),
        ([RAW3, Part(2, "delta", "bf16", 1, 0, 2)], "chunks.jsonl line 5"),
        ([RAW3, Part(2, "planes", "bf16", 1, 0, 2, D, 0)], "chunks.jsonl line 5"),
        ([RAW3, Part(2, "raw", None, 1, 0, 2, D, 0)], "chunks.jsonl line 5"),
        ([RAW3, Part(2, "planes", "bf16", 1, 0, 0)], "chunks.jsonl line 5.stored"),
        ([RAW3, Part(1, "planes", "bf16", 1, 0, 2), Part(1, "raw", None, 1, 0, 1)], "chunks.jsonl line 5"),
    ],
)
def test_a_table_that_does_not_is_refused(export: docs.Export, parts: list[Part], at: str) -> None:
    with pytest.raises(MalformedBundle) as refusal:
        read(export, parts)
    assert at == refusal.value.at


@pytest.mark.parametrize(
    ("chunks", "at"),
    [
        ((CHUNKS[0], Chunk(C, 2)), "chunks.jsonl line 2.chunk"),
        ((CHUNKS[0], Chunk(B, 0)), "chunks.jsonl line 2.size"),
        ((CHUNKS[0], Chunk(B, tables.CHUNK + 1)), "chunks.jsonl line 2.size"),
        ((*CHUNKS, Chunk(D, 1)), "chunks.jsonl line 3.chunk"),
    ],
)
def test_chunks_that_cannot_be_are_refused(export: docs.Export, chunks: tuple[Chunk, ...], at: str) -> None:
    with pytest.raises(MalformedBundle) as refusal:
        read(export, GOOD, chunks)
    assert at == refusal.value.at


def test_another_blob_or_another_order_is_refused(export: docs.Export) -> None:
    for wrong in ({B: [], A: GOOD[A]}, {A: GOOD[A]}, {**GOOD, C: []}, {A: GOOD[A], C: []}):
        with pytest.raises(MalformedBundle):
            read(export, wrong)


def test_what_a_hostile_frame_may_claim_is_bounded(export: docs.Export) -> None:
    """A frame gives at most 4 MiB; the frames of a chunk give at most 64 MiB; a chunk of frames has at most 16 MiB."""

    def framed(count: int, size: int, chunk: int) -> None:
        larger = replace(export, blobs=(docs.Sized(A, count * size), docs.Sized(B, 0)))
        parts = [Part(size, "planes", "u8", 0, number, 1) for number in range(count)]
        read(larger, parts, (Chunk(C, chunk),))

    framed(16, FRAME, 16)
    for count, size, chunk in ((1, FRAME + 1, 1), (17, FRAME, 17), (1, FRAME, tables.COMPACT_CHUNK + 1)):
        with pytest.raises(MalformedBundle):
            framed(count, size, chunk)


def test_guard_has_no_compact_encoding(export: docs.Export) -> None:
    with pytest.raises(MalformedBundle) as refusal:
        read(replace(export, profile="guard"), [RAW3, Part(2, "planes", "bf16", 1, 0, 2)])
    assert "chunks.jsonl line 5.encoding" == refusal.value.at


@pytest.mark.parametrize(("encoding", "unit"), [("lzma", "bytes"), ("planes", "q4_k"), ("blocks", "bf16")])
def test_an_encoding_that_is_not_known_is_refused_by_name(
    export: docs.Export, encoding: str, unit: str
) -> None:
    with pytest.raises(EncodingUnknown) as refusal:
        read(export, [RAW3, Part(2, encoding, unit, 1, 0, 2)])
    assert (f"{encoding} {unit}", "chunks.jsonl line 5") == (refusal.value.encoding, refusal.value.at)


SIZES = {B: 2, C: 3}
ONE, TWO = PlannedVolume(1, (C,), 3), PlannedVolume(2, (B,), 2)


def planned(*volumes: PlannedVolume, parity: tuple[PlannedParity, ...] = (), repairs: bool = False) -> bytes:
    return plan.encode_plan(Plan("b", A, volumes, parity, repairs))


def test_a_plan_places_each_chunk_once() -> None:
    assert (ONE, TWO) == plan.decode_plan(planned(ONE, TWO), sizes=SIZES).volumes
    for bad in (
        (ONE,),
        (TWO, ONE),
        (ONE, TWO, PlannedVolume(3, (B,), 2)),
        (ONE, PlannedVolume(2, (A,), 2)),
        (ONE, PlannedVolume(2, (B,), 3)),
        (ONE, PlannedVolume(2, (B,), 2, (D,))),
        (),
    ):
        with pytest.raises(MalformedBundle):
            plan.decode_plan(planned(*bad), sizes=SIZES)


def test_a_plan_of_repairs_places_some_chunks_and_none_twice() -> None:
    assert plan.decode_plan(planned(ONE, repairs=True), sizes=SIZES).repairs
    for bad in ((ONE, PlannedVolume(2, (C,), 3)), (PlannedVolume(1, (D,), 3),)):
        with pytest.raises(MalformedBundle):
            plan.decode_plan(planned(*bad, repairs=True), sizes=SIZES)


ACROSS = PlannedParity((1, 2), None, 2, 3, (D,), ())
THREE = (ONE, TWO, PlannedVolume(3, (), 3, (D,)))


def test_parity_is_over_volumes_of_its_plan() -> None:
    assert (ACROSS,) == plan.decode_plan(planned(*THREE, parity=(ACROSS,)), sizes=SIZES).parity
    within = PlannedParity((), 1, 1, 3, (D,), ())
    only = PlannedVolume(1, (C, B), 8, (D,))
    with pytest.raises(MalformedBundle):  # 5 bytes are two slices of 3
        plan.decode_plan(planned(only, parity=(within,)), sizes=SIZES)
    within = replace(within, lanes=2)
    assert (within,) == plan.decode_plan(planned(only, parity=(within,)), sizes=SIZES).parity


@pytest.mark.parametrize(
    "change",
    [
        {"across": ()}, {"within": 1}, {"across": (1, 4)}, {"across": (1, 1)}, {"across": (1,)}, {"lanes": 3},
        {"length": 2}, {"length": 4}, {"length": 1 << 50}, {"p": ()}, {"p": (D, D)}, {"q": (D, C)}, {"p": (C,)},
    ],
)  # fmt: skip
def test_parity_that_does_not_fit_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(MalformedBundle):
        plan.decode_plan(planned(*THREE, parity=(replace(ACROSS, **change),)), sizes=SIZES)


@pytest.mark.parametrize(("index", "of"), [(2, 1), (1, 1000), (0, 1)])
def test_a_label_has_a_number_within_the_plan(index: int, of: int) -> None:
    with pytest.raises(MalformedBundle):
        plan.decode_label(plan.encode_label(plan.Label("b", index, of, A)))


@pytest.mark.parametrize(
    "data", [b"x", b"x\n", f"{A} *f\n".encode(), f"{A}  b\n{A}  a\n".encode(), b"\xff\n"]
)
def test_sums_in_another_form_are_refused(data: bytes) -> None:
    with pytest.raises(FilesDamaged):
        plan.decode_sums(data, at="SHA256SUMS")


def test_a_label_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "bundle").mkdir()
    (tmp_path / "real.json").write_bytes(plan.encode_label(plan.Label("b", 1, 1, A)))
    (tmp_path / "bundle" / "volume.json").symlink_to("../real.json")
    with pytest.raises(FilesDamaged):
        gather([tmp_path])
