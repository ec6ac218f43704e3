"""The blob store: whole blobs or none, under their own name, for any number of writers."""

import hashlib
import io
import json
import os
import stat
import threading
from pathlib import Path
from typing import Any

import pytest

from registry.blobs import BlobStore
from registry.errors import BlobDamaged, NotFound, SpaceShort
from signing.digests import BLOCK
from signing.durable import write_durably

WEIGHTS = b"weights" * 1000
NAME = hashlib.sha256(WEIGHTS).hexdigest()


@pytest.fixture
def blobs(tmp_path: Path) -> BlobStore:
    store = BlobStore(tmp_path / "store")
    store.create()
    return store


def everything(store: BlobStore) -> list[str]:
    return sorted(path.relative_to(store.root).as_posix() for path in store.root.rglob("*") if path.is_file())


def damage(store: BlobStore, name: str, data: bytes) -> None:
    store.path(name).chmod(0o644)
    store.path(name).write_bytes(data)


class FailsAfter(io.RawIOBase):
    """A stream that gives some bytes and then an error, as a bad sector does."""

    def __init__(self, data: bytes) -> None:
        self._data: io.BytesIO | None = io.BytesIO(data)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        assert self._data is not None
        count = self._data.readinto(buffer)
        if not count:
            raise OSError(5, "Input/output error")
        return count


def test_an_empty_store_is_an_oci_layout(blobs: BlobStore) -> None:
    assert {"imageLayoutVersion": "1.0.0"} == json.loads((blobs.root / "oci-layout").read_bytes())
    assert [] == json.loads((blobs.root / "index.json").read_bytes())["manifests"]
    assert [] == list(blobs.held())


def test_making_it_again_changes_nothing(blobs: BlobStore) -> None:
    blobs.put(WEIGHTS)
    blobs.write_index(b"{}")
    before = everything(blobs)

    blobs.create()

    assert before == everything(blobs)
    assert b"{}" == (blobs.root / "index.json").read_bytes()


@pytest.mark.parametrize("size", [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 5])
def test_a_stream_is_taken_in_under_its_own_digest(blobs: BlobStore, size: int) -> None:
    data = os.urandom(size)
    seen: list[int] = []

    name, taken = blobs.take(io.BytesIO(data), progress=seen.append)

    assert (hashlib.sha256(data).hexdigest(), size, size) == (name, taken, sum(seen))
    assert data == blobs.read(name, max_bytes=size + 1)
    assert size == blobs.size(name)
    assert [name] == list(blobs.held())


def test_a_held_blob_is_not_written_to_by_anybody(blobs: BlobStore) -> None:
    mode = stat.S_IMODE(blobs.path(blobs.put(WEIGHTS)).stat().st_mode)
    assert 0o444 == mode


def test_a_source_that_breaks_off_leaves_nothing(blobs: BlobStore) -> None:
    before = everything(blobs)
    with pytest.raises(OSError, match="Input/output error"):
        blobs.take(FailsAfter(WEIGHTS))  # type: ignore[arg-type]
    assert before == everything(blobs)


def test_a_writer_that_died_leaves_no_blob(blobs: BlobStore) -> None:
    """What a killed process leaves stands in tmp/ and is never taken for a blob."""
    (blobs.tmp / "4711-dead").write_bytes(WEIGHTS[:100])
    assert [] == list(blobs.held())
    assert not blobs.has(NAME)
    assert NAME == blobs.put(WEIGHTS)
    blobs.verify(NAME)


@pytest.mark.parametrize("failing", ["fsync", "rename"])
def test_an_error_of_the_disk_at_the_last_step_leaves_no_blob(
    blobs: BlobStore, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    def fail(*_args: object, **_named: object) -> None:
        raise OSError(28, "No space left on device")

    before = everything(blobs)
    with monkeypatch.context() as patch:
        if failing == "fsync":
            patch.setattr(os, "fsync", fail)
        else:
            patch.setattr(Path, "rename", fail)
        with pytest.raises(OSError, match="No space left"):
            blobs.put(WEIGHTS)
    assert before == everything(blobs)
    assert NAME == blobs.put(WEIGHTS)


def test_a_blob_is_durable_before_it_has_its_name(blobs: BlobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[str] = []
    fsync, rename = os.fsync, Path.rename

    def noted_fsync(handle: int) -> None:
        steps.append("fsync")
        fsync(handle)

    def noted_rename(path: Path, to: Path) -> Path:
        steps.append("rename")
        return rename(path, to)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(Path, "rename", noted_rename)

    blobs.take(io.BytesIO(WEIGHTS))

    assert ["fsync", "rename", "fsync"] == steps  # the bytes, the name, the folder


def test_many_writers_of_one_blob_make_one_blob(blobs: BlobStore) -> None:
    barrier = threading.Barrier(8)
    names: list[str] = []

    def write(number: int) -> None:
        barrier.wait()
        names.append(blobs.put(WEIGHTS) if number % 2 else blobs.take(io.BytesIO(WEIGHTS))[0])

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [NAME] * 8 == names
    assert [NAME] == list(blobs.held())
    assert [] == list(blobs.tmp.iterdir())
    blobs.verify(NAME)


@pytest.mark.parametrize("damaged", [b"", WEIGHTS[:-1], WEIGHTS + b"!", b"W" + WEIGHTS[1:]])
def test_a_damaged_blob_is_named_with_both_digests(blobs: BlobStore, damaged: bytes) -> None:
    blobs.put(WEIGHTS)
    damage(blobs, NAME, damaged)
    for look in (lambda: blobs.verify(NAME), lambda: blobs.read(NAME, max_bytes=10**6)):
        with pytest.raises(BlobDamaged) as refusal:
            look()
        assert (NAME, hashlib.sha256(damaged).hexdigest()) == (refusal.value.expected, refusal.value.actual)
        assert str(blobs.path(NAME)) == refusal.value.path


def test_a_small_read_never_returns_a_part(blobs: BlobStore) -> None:
    blobs.put(WEIGHTS)
    with pytest.raises(BlobDamaged):
        blobs.read(NAME, max_bytes=10)


def test_what_is_not_held_is_not_found(blobs: BlobStore) -> None:
    for look in (
        lambda: blobs.size(NAME),
        lambda: blobs.open(NAME),
        lambda: blobs.verify(NAME),
        lambda: blobs.read(NAME, max_bytes=1),
    ):
        with pytest.raises(NotFound, match=NAME):
            look()


def test_space_is_demanded_before_the_work(blobs: BlobStore) -> None:
    blobs.demand_space(1)
    with pytest.raises(SpaceShort) as refusal:
        blobs.demand_space(10**18)
    assert 10**18 == refusal.value.needed
    assert f"{refusal.value.needed - refusal.value.free:,} short" in str(refusal.value)


def test_a_small_file_is_replaced_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "index.json"
    write_durably(file, b"old")

    def fail(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(OSError, match="No space left"):
            write_durably(file, b"new and longer")
    assert [file] == list(tmp_path.iterdir())
    assert b"old" == file.read_bytes()
    write_durably(file, b"new", mode=0o600)
    assert (b"new", 0o600) == (file.read_bytes(), stat.S_IMODE(file.stat().st_mode))


def test_blobs_are_taken_away_by_name_and_nothing_else_is(blobs: BlobStore, tmp_path: Path) -> None:
    name = blobs.put(WEIGHTS)
    other = blobs.put(b"stays")
    treasure = tmp_path / "treasure"
    treasure.write_bytes(b"mine")
    blobs.path("a" * 64).symlink_to(treasure)
    blobs.path("b" * 64).mkdir()
    blobs.path("notes.txt").write_text("mine")
    assert {name: len(WEIGHTS), other: 5} == blobs.sizes()
    blobs.remove([name, "a" * 64, "b" * 64, "c" * 64, "notes.txt", f"../../../{treasure.name}", name])
    assert {other: 5} == blobs.sizes()
    assert treasure.exists()
    assert blobs.path("a" * 64).is_symlink()
    assert blobs.path("b" * 64).is_dir()
    assert blobs.path("notes.txt").exists()
