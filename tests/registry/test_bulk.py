"""Large files on their way to the disk: past the page cache where that is possible, whole wherever it is."""

import errno
import fcntl
import hashlib
import io
import itertools
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry import bulk
from registry.blobs import copy_hashing
from registry.bulk import BulkWriter, write_all

WEIGHTS = hashlib.shake_256(b"weights").digest(9 << 20)  # more than two buffers, and a rest


def written(path: Path, blocks: list[bytes], *, at: int = 0) -> bytes:
    with path.open("r+b" if at else "x+b", buffering=0) as file:
        with BulkWriter(file.fileno(), at=at) as writer:
            for block in blocks:
                writer.write(memoryview(block))
        assert not fcntl.fcntl(file.fileno(), fcntl.F_GETFL) & os.O_DIRECT
    return path.read_bytes()


@settings(max_examples=25, deadline=None)
@given(cuts=st.lists(st.integers(0, len(WEIGHTS)), max_size=6), at=st.integers(0, 3 << 20))
def test_what_is_written_is_what_is_there(
    tmp_path_factory: pytest.TempPathFactory, cuts: list[int], at: int
) -> None:
    """However the bytes come, and wherever an earlier run stopped."""
    path = tmp_path_factory.mktemp("bulk") / "blob"
    path.write_bytes(WEIGHTS[:at])
    edges = sorted({at, len(WEIGHTS), *(cut for cut in cuts if cut > at)})
    blocks = [WEIGHTS[low:high] for low, high in itertools.pairwise(edges)]
    if not at:
        path.unlink()
    assert WEIGHTS == written(path, blocks, at=at)


def test_a_file_system_that_knows_no_direct_writes_gets_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = fcntl.fcntl

    def refuse(handle: int, command: int, value: int = 0) -> int:
        if command == fcntl.F_SETFL and value & os.O_DIRECT:
            raise OSError(errno.EINVAL, "Invalid argument")
        return int(real(handle, command, value))

    told: list[tuple[int, int, int]] = []
    monkeypatch.setattr(fcntl, "fcntl", refuse)
    monkeypatch.setattr(os, "posix_fadvise", lambda _handle, *words: told.append(words))
    assert WEIGHTS * 3 == written(tmp_path / "blob", [WEIGHTS] * 3)
    assert {os.POSIX_FADV_DONTNEED} == {advice for _begin, _length, advice in told}


def test_a_direct_write_that_is_refused_is_done_through_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.pwrite

    def picky(handle: int, block: Any, offset: int) -> int:
        if fcntl.fcntl(handle, fcntl.F_GETFL) & os.O_DIRECT:
            raise OSError(errno.EINVAL, "Invalid argument")
        return real(handle, block[:100_000], offset)

    monkeypatch.setattr(os, "pwrite", picky)
    assert WEIGHTS == written(tmp_path / "blob", [WEIGHTS])


def test_a_full_disk_is_said_in_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_arguments: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    for size in (1000, len(WEIGHTS)):
        with pytest.raises(OSError, match="No space"):
            written(tmp_path / f"blob-{size}", [WEIGHTS[:size]])


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    """Two buffers are all that a copy uses, and the next copy uses them again."""

    class Endless(io.RawIOBase):
        left = 400  # reads of a quarter of a MiB

        def readinto(self, buffer: Any) -> int:
            Endless.left -= 1
            return len(buffer) if Endless.left >= 0 else 0

    bulk._spare.clear()
    with (tmp_path / "blob").open("xb", buffering=0) as file:
        _name, size = copy_hashing(Endless(), file.fileno())  # type: ignore[arg-type]
    assert (100 << 20, 2) == (size, len(bulk._spare))


def test_a_descriptor_that_takes_a_few_bytes_at_a_time_still_gets_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda handle, block: real(handle, block[:3]))
    with (tmp_path / "small").open("xb", buffering=0) as file:
        write_all(file.fileno(), memoryview(WEIGHTS[:1000]))
    assert WEIGHTS[:1000] == (tmp_path / "small").read_bytes()
