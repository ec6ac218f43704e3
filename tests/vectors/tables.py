"""Chunk tables and plans, with the stored files that their parity is over."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from securesystemslib.signer import CryptoSigner

from pipelines.bundle import documents, plan, tables
from pipelines.bundle.documents import (
    Sized,
)
from pipelines.bundle.plan import Plan, PlannedParity, PlannedVolume
from pipelines.bundle.tables import Chunk, Part, Table
from signing.canonical import canonical_bytes
from signing.envelope import sign
from tests.vectors.basics import EMPTY, NEW, OLD, STATION, Files, digest, export, signer, table


def table_case(place: str, found: Mapping[str, Any], rows: list[dict[str, Any]]) -> Files:
    """`export.json` and `chunks.jsonl`; what the export says of the lines is made to fit."""
    data = b"".join(canonical_bytes(row) + b"\n" for row in rows)
    chunks = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "count": len(rows)}
    yield f"{place}/chunks.jsonl", data
    yield f"{place}/export.json", canonical_bytes({**found, "chunks": chunks})


def table_vectors() -> Files:
    whole = table()
    good = json.loads(documents.encode_export(export(whole)))
    rows = [
        json.loads(line)
        for line in tables.encode_table(whole, {NEW.sha256: 9100, EMPTY.sha256: 0}).splitlines()
    ]
    yield from table_case("valid/table/every-kind", good, rows)
    yield from table_case("valid/table/no-blobs", {**good, "blobs": []}, [])
    yield from table_case("valid/table/unknown-fields", good, [{**row, "novelty": 1} for row in rows])
    raw = [{"chunk": digest("g"), "size": 9100, "extension": "safetensors"}]
    raw += [
        {"blob": NEW.sha256, "size": 9100, "bases": [], "parts": 1},
        {"at": 0, "chunk": 0, "encoding": "raw", "size": 9100},
    ]
    carried = [{"sha256": NEW.sha256, "size": NEW.size}]
    guard = {**good, "profile": "guard", "blobs": carried}
    yield from table_case("valid/table/guard", guard, raw)
    bad = "refused/MalformedBundle/table"
    changes: dict[str, tuple[int, dict[str, Any]]] = {
        "chunk-twice": (1, {"chunk": digest("chunk 0")}),
        "chunk-of-no-bytes": (2, {"size": 0}),
        "chunk-too-large-for-frames": (0, {"size": (16 << 20) + 1}),
        "extension-in-media": (0, {"extension": "json"}),
        "another-blob": (3, {"blob": OLD.sha256}),
        "another-size": (3, {"size": 9101}),
        "base-that-is-none": (3, {"bases": [OLD.sha256[::-1]]}),
        "too-few-parts": (3, {"parts": 4}),
        "too-many-parts": (3, {"parts": 2**53 - 1}),
        "gap": (4, {"size": 99}),
        "reference-behind-its-base": (4, {"from": 8901}),
        "base-number": (4, {"base": 1}),
        "delta-behind-its-base": (5, {"from": 5001}),
        "frame-behind-its-chunk": (5, {"at": 2001}),
        "chunk-number": (5, {"chunk": 3}),
        "frame-larger-than-it-gives": (5, {"stored": 4001}),
        "frame-with-a-base-too-many": (6, {"base": 0, "from": 0}),
        "raw-with-a-base": (7, {"base": 0, "from": 0}),
        "raw-behind-its-chunk": (7, {"at": 1}),
        "negative": (7, {"at": -1}),
    }
    for name, (number, fields) in changes.items():
        yield from table_case(
            f"{bad}/{name}", good, [*rows[:number], {**rows[number], **fields}, *rows[number + 1 :]]
        )
    yield from table_case(f"{bad}/surplus-line", good, [*rows, rows[-1]])
    yield from table_case(
        f"{bad}/unused-chunk", good, [rows[0], {"chunk": digest("unused"), "size": 1}, *rows[1:]]
    )
    yield from table_case(f"{bad}/frame-above-4-MiB", {**good, "blobs": [{"sha256": NEW.sha256, "size": (4 << 20) + 2}]}, [
        rows[0], {**rows[3], "size": (4 << 20) + 2, "parts": 1}, {**rows[6], "size": (4 << 20) + 2, "chunk": 0, "at": 0},
    ])  # fmt: skip
    frames = {"chunk": 0, "encoding": "zstd", "unit": "bytes", "size": 4 << 20, "stored": 100}
    many = [{"at": 100 * number, **frames} for number in range(17)]
    bomb = {**good, "blobs": [{"sha256": NEW.sha256, "size": 17 * (4 << 20)}]}
    head = {"blob": NEW.sha256, "size": 17 * (4 << 20), "bases": [], "parts": 17}
    yield from table_case(f"{bad}/frames-of-a-chunk-give-too-much", bomb, [rows[0], head, *many])
    yield from table_case("valid/table/one-frame-often", bomb, [rows[0], head, *[many[0]] * 17])
    frame = [{"at": 0, "chunk": 0, "encoding": "zstd", "unit": "bytes", "size": 9100, "stored": 500}]
    yield from table_case(f"{bad}/frame-in-guard", guard, [*raw[:2], *frame])
    for name, unknown in (
        ("encoding", {"encoding": "lzma"}),
        ("unit", {"unit": "q9_9"}),
        ("of-that-unit", {"unit": "bytes"}),
    ):
        changed = [*rows[:6], {**rows[6], **unknown}, *rows[7:]]
        yield from table_case(f"refused/EncodingUnknown/table/{name}", good, changed)


def stored_bytes(name: str, size: int) -> bytes:
    return hashlib.shake_256(name.encode()).digest(size)


def xor(lanes: list[bytes], length: int, *, q: bool) -> bytes:
    """P, or Q by Horner's rule; the arithmetic of parity.md once more."""
    total = [0] * length
    for lane in reversed(lanes):
        if q:
            total = [(value << 1) ^ (0x11D if value & 0x80 else 0) for value in total]
        total = [value ^ byte for value, byte in zip(total, lane.ljust(length, b"\0"), strict=True)]
    return bytes(total)


STORED = {
    hashlib.sha256(data).hexdigest(): data
    for data in (stored_bytes(f"stored {n}", 100 + 37 * n) for n in range(5))
}


def parity_set(
    rows: list[list[str]], within: int | None, length: int
) -> tuple[PlannedParity, dict[str, bytes]]:
    whole = [b"".join(STORED[name] for name in row) for row in rows]
    lanes = (
        whole if within is None else [whole[0][at : at + length] for at in range(0, len(whole[0]), length)]
    )
    p, q = (xor(lanes, length, q=second) for second in (False, True))
    pieces = {hashlib.sha256(data).hexdigest(): data for data in (p, q)}
    across = tuple(range(1, len(rows) + 1)) if within is None else ()
    one, two = pieces
    return PlannedParity(across, within, len(lanes), length, (one,), (two,)), pieces


def plan_case(
    place: str, made: Plan, *, by: CryptoSigner = STATION, kept: Mapping[str, bytes] | None = None
) -> Files:
    """A plan with its signature, every label, the table that it is about, and the stored files."""
    names = list(STORED)
    parts = {
        NEW.sha256: tuple(
            Part(len(STORED[name]), tables.RAW, None, number, 0, len(STORED[name]))
            for number, name in enumerate(names)
        )
    }
    found = Table(tuple(Chunk(name, len(STORED[name])) for name in names), parts)
    blob = Sized(NEW.sha256, sum(map(len, STORED.values())))
    about = export(found, blobs=(blob,), bases=())
    body = documents.encode_export(about)
    whole = replace(made, export=hashlib.sha256(body).hexdigest()) if made.export == "" else made
    data = plan.encode_plan(whole)
    yield f"{place}/export.json", body
    yield f"{place}/chunks.jsonl", tables.encode_table(found, {blob.sha256: blob.size})
    yield f"{place}/plan.json", data
    yield f"{place}/plan.sig.json", sign(data, plan.PLAN_TYPE, by).to_json()
    yield f"{place}/volume.json", plan.encode_label(plan.label_of(whole, 1))
    for name, stored in (kept or {}).items():
        yield f"{place}/stored/{name}", stored


def volume(index: int, chunks: list[str], pieces: Mapping[str, bytes] = {}) -> PlannedVolume:
    size = sum(len(STORED[chunk]) for chunk in chunks) + sum(map(len, pieces.values()))
    return PlannedVolume(index, tuple(chunks), size, tuple(pieces))


def plan_vectors() -> Files:
    a, b, c, d, e = STORED
    across, over = parity_set([[a, b], [c], [d, e]], None, len(STORED[d]) + len(STORED[e]))
    rows = [volume(1, [a, b]), volume(2, [c]), volume(3, [d, e])]
    p, q = ({name: data} for name, data in over.items())
    good = Plan("20261120-03", "", (*rows, volume(4, [], p), volume(5, [], q)), (across,))
    inside, slices = parity_set([[a, b, c, d, e]], 1, 300)
    yield from plan_case("valid/plan/across", good, kept={**STORED, **over})
    within = Plan("20261120-03", "", (volume(1, [a, b, c, d, e], slices),), (inside,))
    yield from plan_case("valid/plan/within", within, kept={**STORED, **slices})
    yield from plan_case("valid/plan/no-parity", Plan("20261120-03", "", tuple(rows)))
    yield from plan_case("valid/plan/repair", Plan("20261120-03", "", (volume(1, [b]),), (), True))
    bad = "refused/MalformedBundle/plan"
    yield from plan_case(f"{bad}/chunk-missing", Plan("20261120-03", "", tuple(rows[:2])))
    yield from plan_case(f"{bad}/chunk-twice", Plan("20261120-03", "", (*rows, volume(4, [a]))))
    yield from plan_case(f"{bad}/another-bundle", replace(good, bundle="20261120-04"))
    yield from plan_case(f"{bad}/another-export", replace(good, export=digest("another")))
    yield from plan_case(
        f"{bad}/bytes", replace(good, volumes=(replace(rows[0], bytes=0), *good.volumes[1:]))
    )
    yield from plan_case(
        f"{bad}/numbers", replace(good, volumes=(replace(rows[0], index=2), *good.volumes[1:]))
    )
    yield from plan_case(f"{bad}/lanes", replace(good, parity=(replace(across, lanes=2),)))
    yield from plan_case(f"{bad}/length", replace(good, parity=(replace(across, length=across.length + 1),)))
    yield from plan_case(f"{bad}/both-across-and-within", replace(good, parity=(replace(across, within=1),)))
    yield from plan_case(
        f"{bad}/volume-that-is-not-there", replace(good, parity=(replace(across, across=(1, 2, 9)),))
    )
    yield from plan_case(f"{bad}/volume-in-two-sets", replace(good, parity=(across, across)))
    yield from plan_case(f"{bad}/piece-on-no-volume", replace(good, volumes=(*rows, volume(4, [], p))))
    yield from plan_case("refused/PlanUntrusted/plan/strange-key", good, by=signer("a stranger"))
