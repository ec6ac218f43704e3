"""A bundle is made whole or not at all, checked by hand with sha256sum, and its number is used once."""

import json
import os
import subprocess
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from pipelines.bundle import documents as docs
from pipelines.bundle import tables
from pipelines.bundle.errors import OutputUnusable, ParityImpossible, VolumeTooSmall
from pipelines.encodings import ladder
from pipelines.ship import create_bundle
from registry.audit import EventKind
from registry.entities import Binding
from registry.errors import BlobDamaged, NotFound, SpaceShort
from registry.home import HomeBusy
from registry.names import Ref
from signing.ceremony import TooFewSigners
from signing.digests import sha256_hex
from signing.repository import TrustRepository
from tests.pipelines.gap import World, document_row, make_world, model_files, small_chunks, weights


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> World:
    made = make_world(tmp_path_factory.mktemp("ship") / "world")
    made.add("acme/tiny", model_files())
    made.add("acme/wide", {**model_files(), "model.safetensors": weights(7, 300_000)})
    return made


@pytest.fixture
def gap(made: World, tmp_path: Path) -> World:
    return made.copied(tmp_path / "world")


def read_export(world: World, folder: Path) -> docs.Export:
    return docs.decode_export((folder / f"exports/lab/{world.shipped[-1].sequence}.json").read_bytes())


def test_a_bundle_is_checked_with_sha256sum_alone(gap: World, monkeypatch: pytest.MonkeyPatch) -> None:
    small_chunks(monkeypatch, 10_000)
    medium = gap.ship("acme/wide", volume_bytes=240_000)
    assert 2 <= len(list(medium.iterdir()))
    for volume in medium.iterdir():
        bundle = volume / gap.shipped[-1].bundle
        done = subprocess.run(
            ["sha256sum", "-c", "SHA256SUMS"], cwd=bundle, capture_output=True, text=True, check=True
        )
        listed = {line.rsplit(":", 1)[0] for line in done.stdout.splitlines()}
        assert {"SHA256SUMS"} | listed == {
            path.relative_to(bundle).as_posix() for path in bundle.rglob("*") if path.is_file()
        }
        assert 240_000 >= sum(path.stat().st_size for path in bundle.rglob("*") if path.is_file())
        assert all(name == name.lower() or name in {"SHA256SUMS", "README.txt"} for name in listed)
        text = (bundle / "README.txt").read_text()
        assert "From harbour to lab" in text
        assert "acme/wide@1" in text


def test_parts_of_a_blob_make_the_blob(gap: World, monkeypatch: pytest.MonkeyPatch) -> None:
    small_chunks(monkeypatch, 1000)
    [bundle] = gap.ship("acme/tiny").iterdir()
    lines = [json.loads(line) for line in (bundle / "chunks.jsonl").read_bytes().splitlines()]
    chunks = [line for line in lines if set(line) == {"chunk", "size"}]
    blobs: dict[str, bytes] = {}
    current, parts, size = "", 0, 0
    for line in lines[len(chunks) :]:
        if "blob" in line:
            assert (parts, size) == (0, len(blobs.get(current, b"")))
            current, parts, size = line["blob"], line["parts"], line["size"]
            blobs[current] = b""
            continue
        stored = (
            bundle / "chunks" / chunks[line["chunk"]]["chunk"][:2] / chunks[line["chunk"]]["chunk"]
        ).read_bytes()
        held = memoryview(stored)[line["at"] : line["at"] + line.get("stored", line["size"])]
        out = bytearray(line["size"])
        if line["encoding"] == "raw":
            out[:] = held
        else:
            ladder.decode(line["encoding"], line["unit"], held, memoryview(out))
        blobs[current] += out
        parts -= 1
    for blob in read_export(gap, bundle).blobs:
        assert gap.origin.blobs.read(blob.sha256, max_bytes=10_000) == blobs[blob.sha256]
    assert set(blobs) == {blob.sha256 for blob in read_export(gap, bundle).blobs}


def test_the_same_bytes_twice_are_one_chunk(gap: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under guard nothing is compressed, and still what repeats is stored once."""
    small_chunks(monkeypatch, 1000)
    monkeypatch.setattr(tables, "GUARD_CHUNK", 1000)
    zeros = {**model_files(), "tokenizer.json": b"{" + b" " * 30_000 + b"}", "README.md": b""}
    gap.add("acme/zeros", zeros)
    medium = gap.ship("acme/zeros", profile="guard")
    [bundle] = medium.iterdir()
    lines = (bundle / "chunks.jsonl").read_text().splitlines()
    assert len(list((bundle / "chunks").rglob("*/*"))) < sum('"encoding"' in line for line in lines)
    assert ["imported"] == [item.outcome for item in gap.receive(medium).versions]
    assert gap.site.blobs.has("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")


def test_exports_are_numbered_and_chained(gap: World) -> None:
    folders = [next(gap.ship("acme/tiny", out=name).iterdir()) for name in ("one", "two")]
    first, second = (
        docs.decode_export((f / f"exports/lab/{n}.json").read_bytes()) for n, f in enumerate(folders, 1)
    )
    assert (1, None, 2) == (first.sequence, first.previous, second.sequence)
    assert sha256_hex(docs.encode_export(first)) == second.previous
    with gap.at(gap.origin) as work, work.store.view() as view:
        assert [sha256_hex(docs.encode_export(first)), sha256_hex(docs.encode_export(second))] == [
            row.digest for row in view.exports("lab")
        ]


@pytest.mark.parametrize(
    "step", ["handover.write_documents", "handover.keep", "handover.record", "ship.reveal"]
)
def test_a_crash_after_signing_uses_the_number_up(
    gap: World, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """Never two contents under one number: the site would have to take the second for a fork."""

    def crash(*_args: object, **_options: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(f"pipelines.{step}", crash)
        with pytest.raises(KeyboardInterrupt):
            gap.ship("acme/tiny")
    assert [] == list((gap.base / "medium").iterdir())
    medium = gap.ship("acme/wide")
    assert 2 == gap.shipped[-1].sequence
    assert [1] == [one.sequence for one in gap.receive(medium).missing]


def test_a_crash_before_signing_leaves_nothing(gap: World, monkeypatch: pytest.MonkeyPatch) -> None:
    state = sorted(gap.origin.trust.iterdir())
    leftover = gap.base / "medium" / ".partial-harbour-lab-20261120-01" / "volume-01"
    leftover.mkdir(parents=True)
    (leftover / "x").write_text("of an export that was killed")
    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", _full)
        with pytest.raises(SpaceShort):
            gap.ship("acme/tiny")
    assert state == sorted(gap.origin.trust.iterdir())
    assert [] == list((gap.base / "medium").iterdir())
    gap.ship("acme/tiny")
    assert 1 == gap.shipped[-1].sequence


def _full(*_args: object) -> None:
    raise OSError(28, "No space left on device")


def test_a_rotten_blob_does_not_leave_the_building(gap: World, monkeypatch: pytest.MonkeyPatch) -> None:
    with gap.at(gap.origin) as work, work.store.view() as view:
        files = json.loads(view.version(Ref("acme/wide")).manifest)["files"]
    for size in (tables.CHUNK, 1000):
        small_chunks(monkeypatch, size)
        for entry in [entry for entry in files if entry["path"] == "model.safetensors"]:
            place = gap.origin.blobs.path(entry["sha256"])
            data = place.read_bytes()
            place.chmod(0o644)
            for wrong in (data[:-1], data + b"x", bytes([data[0] ^ 1]) + data[1:]):
                place.write_bytes(wrong)
                with pytest.raises(BlobDamaged):
                    gap.ship("acme/wide")
            place.write_bytes(data)
    gap.ship("acme/wide")


def test_a_bundle_never_replaces_what_is_there(gap: World, tmp_path: Path) -> None:
    gap.ship("acme/tiny")
    (gap.base / "medium" / "20261120-02").mkdir()
    with pytest.raises(OutputUnusable):
        gap.ship("acme/tiny")
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputUnusable):
        gap.ship("acme/tiny", out=str(tmp_path / "file"))


@pytest.mark.parametrize(
    ("refs", "options", "refused"),
    [
        (("acme/none",), {}, NotFound),
        (("acme/tiny",), {"documents": ["ab" * 32]}, NotFound),
        (("acme/tiny",), {"signers": []}, TooFewSigners),
        (("acme/tiny",), {"volume_bytes": 1000}, VolumeTooSmall),
        (("acme/tiny",), {"profile": "guard", "parity": 1}, ParityImpossible),
    ],
)
def test_what_cannot_be_shipped_is_said_before_anything_is_written(
    gap: World, refs: tuple[str, ...], options: Mapping[str, Any], refused: type[Exception]
) -> None:
    state = sorted(gap.origin.trust.iterdir())
    with pytest.raises(refused):
        gap.ship(*refs, **options)
    medium = gap.base / "medium"
    assert not medium.exists() or [] == list(medium.iterdir())
    assert state == sorted(gap.origin.trust.iterdir())


def test_a_medium_that_is_too_small_is_said_at_once(gap: World, monkeypatch: pytest.MonkeyPatch) -> None:
    class Usage:
        free = 1000

    monkeypatch.setattr("pipelines.ship.shutil.disk_usage", lambda _path: Usage)
    with pytest.raises(SpaceShort):
        gap.ship("acme/tiny")


def test_an_unknown_site_and_two_exports_at_once_are_refused(gap: World) -> None:
    with gap.at(gap.origin) as work:
        with pytest.raises(NotFound):
            create_bundle(work, site="ward", refs=[Ref("acme/tiny")], out=gap.base / "m", signers=gap.officer)
        with gap.origin.busy("export"), pytest.raises(HomeBusy):
            create_bundle(work, site="lab", refs=[Ref("acme/tiny")], out=gap.base / "m", signers=gap.officer)


def test_a_published_release_stays_what_it_is(gap: World) -> None:
    """A contract bound after the first bundle does not change the release document; the note says so."""
    first = next(gap.ship("acme/tiny", out="first").iterdir())
    contract = document_row(b'{"a":1}', kind="suite", name="a")
    with gap.at(gap.origin) as work, work.store.change(actor="ines", now=work.now) as change:
        change.record(EventKind.SUITE_ADDED, contract.digest, contract)
        version = change.version(Ref("acme/tiny"))
        row = Binding(
            version=version.digest, position=1, contract=contract.digest, since=change.now, actor="ines"
        )
        change.record(EventKind.CONTRACT_BOUND, version.digest, row)
    second = next(gap.ship("acme/tiny", out="second").iterdir())
    path = "releases/acme/tiny/1.json"
    assert (first / path).read_bytes() == (second / path).read_bytes()
    assert "bound to" in gap.shipped[-1].notes[0]
    gap.receive(second)


def test_the_catalogue_is_not_needed_for_what_it_has_signed(gap: World) -> None:
    gap.ship("acme/tiny", out="first")
    state = TrustRepository(gap.origin.trust).load()
    before = state.opened("catalog").signed.version
    gap.ship("acme/tiny", out="second")
    assert before == TrustRepository(gap.origin.trust).load().opened("catalog").signed.version


def test_when_the_next_one_is_expected_travels_along(gap: World) -> None:
    due = gap.now + timedelta(days=30)
    [bundle] = gap.ship("acme/tiny", next_expected_by=due).iterdir()
    assert "2026-12-20T" in str(read_export(gap, bundle).next_expected_by)


def test_an_empty_bundle_carries_freshness(gap: World) -> None:
    """Nothing new: the number rises, the signatures are of today, and the site may go on promoting."""
    gap.receive(gap.ship("acme/tiny", out="first"))
    imported = gap.receive(gap.ship(out="second"))
    assert (2, False, 0, ()) == (imported.sequence, imported.already, imported.bytes, imported.versions)
