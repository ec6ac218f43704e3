"""The documents of a bundle say where they are wrong, accept what is new, and refuse what they must understand."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipelines.bundle import documents as docs
from pipelines.bundle import tables
from pipelines.bundle.errors import (
    EncodingUnknown,
    FilesDamaged,
    FormatTooNew,
    MalformedBundle,
    VolumeTooSmall,
)
from pipelines.bundle.reader import gather
from signing.canonical import canonical_bytes
from signing.keys import create_key

A, B, C = "a" * 64, "b" * 64, "c" * 64


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
        releases=(docs.ShippedRelease("releases/acme/tiny/1.json", A),),
        documents=(docs.ShippedDocument(A, "manifest", "acme/tiny@1", 10),),
        statements=(docs.ShippedStatement(A, "https://slsa.dev/provenance/v1", B),),
        blobs=(docs.Sized(A, 5), docs.Sized(B, 0)),
        assumed=(docs.Sized(C, 9),),
        chunks=docs.ChunkTable(A, 300, 2),
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


GOOD = [tables.Chunk(C, 3, A, 0), tables.Chunk(B, 2, A, 3)]


def table(chunks: list[tables.Chunk], export: docs.Export) -> dict[str, list[tables.Chunk]]:
    return tables.decode_chunks(tables.encode_chunks(chunks), export)


def test_chunks_cover_each_blob_from_end_to_end(export: docs.Export) -> None:
    assert {A: GOOD, B: []} == table(GOOD, export)


@pytest.mark.parametrize(
    ("chunks", "at"),
    [
        ([GOOD[1], GOOD[0]], "chunks.jsonl line 1.offset"),
        ([GOOD[0], tables.Chunk(B, 2, A, 4)], "chunks.jsonl line 2.offset"),
        ([GOOD[0], tables.Chunk(B, 1, A, 3)], "chunks.jsonl"),
        ([GOOD[0], tables.Chunk(B, 9, A, 3)], "chunks.jsonl"),
        ([GOOD[0], tables.Chunk(C, 2, A, 3)], "chunks.jsonl line 2.size"),
        ([GOOD[0], tables.Chunk(B, 2, C, 0)], "chunks.jsonl line 2.blob"),
        ([GOOD[0], tables.Chunk(B, 0, A, 3)], "chunks.jsonl line 2.size"),
        ([GOOD[0], tables.Chunk(B, tables.CHUNK + 1, A, 3)], "chunks.jsonl line 2.size"),
        ([GOOD[0]], "chunks.jsonl"),
    ],
)
def test_a_table_that_does_not_is_refused(export: docs.Export, chunks: list[tables.Chunk], at: str) -> None:
    with pytest.raises(MalformedBundle) as refusal:
        table(chunks, export)
    assert at == refusal.value.at


def test_an_encoding_that_is_not_known_is_refused_by_name(export: docs.Export) -> None:
    with pytest.raises(EncodingUnknown) as refusal:
        table([GOOD[0], tables.Chunk(B, 2, A, 3, "zstd")], export)
    assert ("zstd", "chunks.jsonl line 2") == (refusal.value.encoding, refusal.value.at)


SIZES = {B: 2, C: 3}


def plan(*volumes: tables.PlannedVolume) -> bytes:
    return tables.encode_plan(tables.Plan("b", A, A, volumes))


def test_a_plan_places_each_chunk_once() -> None:
    good = (tables.PlannedVolume(1, (C,), 3), tables.PlannedVolume(2, (B,), 2))
    assert good == tables.decode_plan(plan(*good), sizes=SIZES).volumes
    for bad in (
        (good[0],),
        (good[1], good[0]),
        (*good, tables.PlannedVolume(3, (B,), 2)),
        (good[0], tables.PlannedVolume(2, (A,), 2)),
        (good[0], tables.PlannedVolume(2, (B,), 3)),
        (),
    ):
        with pytest.raises(MalformedBundle):
            tables.decode_plan(plan(*bad), sizes=SIZES)


@pytest.mark.parametrize(("index", "of"), [(2, 1), (1, 1000), (0, 1)])
def test_a_label_has_a_number_within_the_plan(index: int, of: int) -> None:
    with pytest.raises(MalformedBundle):
        tables.decode_label(tables.encode_label(tables.Label("b", index, of, A)))


@pytest.mark.parametrize(
    "data", [b"x", b"x\n", f"{A} *f\n".encode(), f"{A}  b\n{A}  a\n".encode(), b"\xff\n"]
)
def test_sums_in_another_form_are_refused(data: bytes) -> None:
    with pytest.raises(FilesDamaged):
        tables.decode_sums(data, at="SHA256SUMS")


def test_a_volume_that_cannot_hold_one_chunk_says_what_would_do() -> None:
    with pytest.raises(VolumeTooSmall) as refusal:
        tables.assign([docs.Sized(A, 500)], volume_bytes=1000, small=600)
    assert 1100 == refusal.value.least
    with pytest.raises(VolumeTooSmall):
        tables.assign([docs.Sized(A, 10**12)], volume_bytes=80 << 20, small=600)


def test_a_label_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "bundle").mkdir()
    (tmp_path / "real.json").write_bytes(tables.encode_label(tables.Label("b", 1, 1, A)))
    (tmp_path / "bundle" / "volume.json").symlink_to("../real.json")
    with pytest.raises(FilesDamaged):
        gather([tmp_path])
