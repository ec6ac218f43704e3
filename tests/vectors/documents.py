"""Exports, releases, manifests, histories, receipts, repair requests, lists of digests."""

import json
from dataclasses import replace
from typing import Any

from pipelines import receipts, repair
from pipelines.bundle import documents, heads, history, plan
from pipelines.bundle.documents import (
    Release,
)
from pipelines.bundle.tables import Table
from pipelines.freshness import State
from pipelines.receipts import Item, Receipt
from pipelines.repair import Request
from registry import manifests
from registry.manifests import FileEntry, Manifest
from signing.canonical import canonical_bytes, pretty_bytes
from signing.envelope import sign
from signing.merkle import consistency_proof, root_of
from tests.vectors import logs
from tests.vectors.basics import (
    HISTORY,
    MOMENT,
    NEW,
    OLD,
    PACKER,
    STATION,
    Files,
    digest,
    export,
    table,
    with_fields,
    without,
)


def export_vectors() -> Files:
    good = documents.encode_export(export(table()))
    first = export(
        Table((), {}), blobs=(), sequence=1, previous=None, receipt=None, assumed_received=(), bases=()
    )
    yield "valid/export/full.json", good
    yield "valid/export/first-and-empty.json", documents.encode_export(replace(first, next_expected_by=None))
    yield "valid/export/unknown-field.json", with_fields(good, novelty={"anything": [1]})
    blob = {"sha256": NEW.sha256, "size": NEW.size, "mode": "0644"}
    yield "valid/export/unknown-field-below.json", with_fields(good, blobs=[blob])
    bad, early = "refused/MalformedBundle/export", "refused/ExportMalformed/export"
    yield f"{early}/another-format.json", with_fields(good, format="tidegate-export/2")
    yield f"{bad}/not-canonical-spaces.json", json.dumps(json.loads(good), sort_keys=True).encode()
    yield f"{bad}/not-canonical-order.json", b'{"zz":1,' + good[1:]
    yield f"{early}/key-twice.json", b'{"assumed":[],' + good[1:]
    yield f"{early}/float.json", good.replace(b'"sequence":3', b'"sequence":3.0')
    yield f"{bad}/number-beyond-2-53.json", good.replace(b'"size":9100', b'"size":9007199254740992')
    yield f"{bad}/digest-in-capitals.json", good.replace(NEW.sha256.encode(), NEW.sha256.upper().encode())
    yield f"{early}/moment-with-fraction.json", good.replace(MOMENT.encode(), b"2026-11-20T12:00:00.0Z")
    yield f"{bad}/control-character.json", with_fields(good, origin="har\nbour")
    yield f"{bad}/bundle-id.json", with_fields(good, bundle="../../etc")
    yield f"{bad}/blob-twice.json", with_fields(good, blobs=[blob, blob])
    yield f"{bad}/carried-and-assumed.json", with_fields(good, assumed=[blob])
    yield (
        f"{bad}/packer-with-another-fingerprint.json",
        with_fields(good, packer={**PACKER, "fingerprint": digest("")}),
    )
    for name in ("blobs", "base", "packer", "readme", "profile"):
        yield f"{bad}/no-{name}.json", without(good, name)
    yield (
        f"{early}/nested-65-deep.json",
        with_fields(good, novelty=0).replace(b'"novelty":0', b'"novelty":' + b"[" * 65 + b"]" * 65),
    )
    yield "refused/FormatTooNew/export/critical.json", with_fields(good, novelty=1, critical=["novelty"])
    yield "refused/ExportMalformed/export/previous-of-the-first.json", with_fields(good, sequence=1)
    climbing = [{"path": "releases/../../1.json", "sha256": digest("x")}]
    yield "refused/ExportMalformed/export/release-path-climbs.json", with_fields(good, releases=climbing)


def untold(good: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """What one home may not tell another of its log, by name."""
    proof = {"from": 3, "path": [digest("hash")]}
    return {
        "from-0": {"proofs": [{**proof, "from": 0}]},
        "65-proofs": {"proofs": [{**proof, "from": size} for size in range(1, 66)]},
        "path-of-127": {"proofs": [{**proof, "path": [digest("hash")] * 127}]},
        "seen-nothing": {"seen": {"size": 0, "root": digest("root")}},
        "no-signature": {"checkpoint": good["checkpoint"].partition("\n\n")[0] + "\n"},
        "hyphen-for-the-dash": {"checkpoint": good["checkpoint"].replace("\N{EM DASH}", "-")},
        "cosigned-is-no-note": {"cosigned": "yes"},
        "too-long": {"checkpoint": good["checkpoint"] + "\N{EM DASH} x AAAAAAAA\n" * 1300},
    }


def heads_vectors() -> Files:
    """Logs that two homes watch for each other, in exports and receipts; and what else an export may say of itself."""
    seen = heads.Head(3, root_of(logs.HASHES[:3]).hex())
    proofs = {3: tuple(one.hex() for one in consistency_proof(logs.HASHES, 3))}
    full = heads.encode(heads.Heads(logs.head(), proofs, seen, logs.cosigned(logs.head(3))))
    first = heads.encode(heads.Heads(logs.head()))
    good = json.loads(documents.encode_export(export(table())))
    receipt = json.loads(dict(receipt_vectors())["valid/receipt/full.json"])["payload"]

    def both(verdict: str, name: str, value: dict[str, Any]) -> Files:
        place = {"valid": "valid/export", "refused": "refused/MalformedBundle/export"}[verdict]
        yield f"{place}/log-{name}.json", canonical_bytes({**good, "log": value})
        place = {"valid": "valid/receipt", "refused": "refused/ReceiptWrong/receipt"}[verdict]
        payload = {**receipt, "log": {**receipt["log"], "heads": value}}
        yield f"{place}/log-{name}.json", signed(payload, receipts.PAYLOAD_TYPE)

    yield from both("valid", "full", full)
    yield from both("valid", "first", first)
    for name, change in untold(full).items():
        yield from both("refused", name, {**full, **change})
    said = dict.fromkeys(("requester", "approver", "classification", "medium"), "words")
    more = {"baseline": True, "transfer": {**said, "control_numbers": ["17"]}}
    yield "valid/export/baseline-and-transfer.json", canonical_bytes({**good, **more})
    bad = "refused/MalformedBundle/export"
    yield (
        "refused/ExportMalformed/export/baseline-in-words.json",
        canonical_bytes({**good, "baseline": "yes"}),
    )
    yield f"{bad}/transfer-without-words.json", canonical_bytes({**good, "transfer": {"requester": ""}})
    gone = [{"version": digest("withdrawn"), "reason": "words"}]
    yield f"{bad}/withdrawn-twice.json", canonical_bytes({**good, "withdrawals": gone * 2})


def release_vectors() -> Files:
    good = documents.encode_release(
        Release("acme/tiny", 2, digest("manifest"), digest("modelpack"), None, (digest("s"),))
    )
    yield "valid/release/no-contract.json", good
    yield "valid/release/contract.json", with_fields(good, contract=digest("contract"), novelty=True)
    yield "refused/MalformedBundle/release/ordinal-0.json", with_fields(good, ordinal=0)
    yield "refused/MalformedBundle/release/model-climbs.json", with_fields(good, model="../tiny")
    yield (
        "refused/MalformedBundle/release/statement-twice.json",
        with_fields(good, statements=[digest("s")] * 2),
    )
    yield "refused/FormatTooNew/release/critical.json", with_fields(good, critical=["novelty"])
    entry = FileEntry("config.json", 40, OLD.sha256)
    manifest = manifests.encode(
        Manifest("acme/tiny", (entry, FileEntry("model.safetensors", 9100, NEW.sha256)))
    )
    yield "valid/manifest/two-files.json", manifest
    bad = "refused/MalformedManifest/manifest"
    for name, path in (
        ("climbs", "../x"),
        ("stream", "a:b"),
        ("trailing-dot", "a."),
        ("absolute", "/a"),
        ("backslash", "a\\b"),
    ):
        files = [{"path": path, "size": 40, "sha256": OLD.sha256}]
        yield f"{bad}/{name}.json", with_fields(manifest, files=files)
    same = [{"path": path, "size": 40, "sha256": OLD.sha256} for path in ("A.json", "a.json")]
    yield f"{bad}/one-file-without-case.json", with_fields(manifest, files=same)
    yield f"{bad}/unknown-field.json", with_fields(manifest, novelty=1)


def history_vectors() -> Files:
    good = history.encode(HISTORY)
    first, second = good.splitlines(keepends=True)
    yield "valid/history/two.jsonl", good
    yield "valid/history/empty.jsonl", b""
    yield "valid/history/unknown-field.jsonl", with_fields(first[:-1], novelty=1) + b"\n" + second
    yield "refused/MalformedBundle/history/order.jsonl", second + first
    yield "refused/MalformedBundle/history/twice.jsonl", first + first
    yield "refused/MalformedBundle/history/no-last-newline.jsonl", good[:-1]
    yield "refused/MalformedBundle/history/of-the-future.jsonl", with_fields(first[:-1], sequence=3) + b"\n"


def signed(payload: Any, kind: str) -> bytes:
    envelope = sign(canonical_bytes(payload), kind, STATION)
    return pretty_bytes({"payload": payload, "signature": json.loads(envelope.to_json())})


def receipt_vectors() -> Files:
    item = Item("acme/tiny", 2, digest("manifest"), "imported", "PASSED")
    full = Receipt(
        site="lab", origin="harbour", bundle="20261120-03", sequence=3, export=digest("export 3"), items=(item,),
        holds=frozenset((OLD.sha256, NEW.sha256)), root_version=1, log_size=7, log_root=digest("log"), made_at=MOMENT,
        sequences=(range(1, 2), range(3, 4)), freshness=State.FRESH,
    )  # fmt: skip
    brief = replace(full, items=(), holds=frozenset(), inventory=digest("inventory"))
    payload, short = receipts._payload(full), receipts._payload(brief)
    kind = receipts.PAYLOAD_TYPE
    yield "valid/receipt/full.json", signed(payload, kind)
    yield "valid/receipt/digest-only.json", signed(short, kind)
    yield "valid/receipt/unknown-field.json", signed({**payload, "novelty": 1}, kind)
    bad = "refused/ReceiptWrong/receipt"
    yield f"{bad}/critical.json", signed({**payload, "critical": ["novelty"]}, kind)
    yield f"{bad}/both-sizes.json", signed({**payload, "inventory": digest("inventory")}, kind)
    yield f"{bad}/neither-size.json", signed({key: short[key] for key in short if key != "inventory"}, kind)
    yield f"{bad}/other-spacing.json", json.dumps(json.loads(signed(payload, kind))).encode()
    yield f"{bad}/runs-that-touch.json", signed({**payload, "sequences": "1-2 3"}, kind)
    yield f"{bad}/not-among-its-runs.json", signed({**payload, "sequences": "1-2"}, kind)
    yield f"{bad}/freshness.json", signed({**payload, "freshness": "ROTTEN"}, kind)
    yield f"{bad}/surplus.json", pretty_bytes({**json.loads(signed(payload, kind)), "note": 1})
    two = json.loads(signed(payload, kind))
    two["signature"]["signatures"] *= 2
    yield f"{bad}/two-signatures.json", pretty_bytes(two)
    asked = repair._payload(
        Request("lab", "harbour", "20261120-03", 3, digest("export 3"), (digest("chunk 0"),), MOMENT)
    )
    yield "valid/repair-request/one-chunk.json", signed(asked, repair.PAYLOAD_TYPE)
    bad = "refused/RepairRequestWrong/repair-request"
    yield f"{bad}/chunk-twice.json", signed({**asked, "chunks": [digest("chunk 0")] * 2}, repair.PAYLOAD_TYPE)
    yield f"{bad}/critical.json", signed({**asked, "critical": ["novelty"]}, repair.PAYLOAD_TYPE)
    yield (
        f"{bad}/no-moment.json",
        signed({key: asked[key] for key in asked if key != "made_at"}, repair.PAYLOAD_TYPE),
    )


def sums_vectors() -> Files:
    good = plan.encode_sums(
        {"README.txt": digest("a"), "chunks/00/x": digest("b"), "volume.json": digest("c")}
    )
    one, two, three = good.splitlines(keepends=True)
    yield "valid/sums/three", good
    yield "refused/FilesDamaged/sums/order", one + three + two
    yield "refused/FilesDamaged/sums/twice", one + one + two
    yield "refused/FilesDamaged/sums/binary-mode", good.replace(b"  ", b" *")
    yield "refused/FilesDamaged/sums/no-last-newline", good[:-1]
    yield "refused/FilesDamaged/sums/capitals", good.replace(one[:64], one[:64].upper())
