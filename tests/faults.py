"""A layer between this process and its disk that can fail, kill, and forget what was never made durable.

`endured` runs something in a child process whose calls that change files are counted: create, write, truncate, fsync,
rename, link, unlink, mkdir, rmdir, chmod, and the commits of the database. At the n-th call one of these happens:

    kill    SIGKILL, a write half done
    cut     the same, and what was not made durable is lost: files are as long as at their last fsync, and
            directories are as at theirs
    zeros   the same, but names stay as they are, and bytes that were not made durable are zeros
    full    from here on the disk is full (ENOSPC)
    io      this one call fails (EIO); reads through `os` are counted for this one

POSIX promises no more than that about a file without `fsync`, or a name whose directory was not synced. The database
syncs its own files below this layer; its commits are taken as durable when they return.
"""

import builtins
import errno
import io
import json
import os
import shutil
import signal
import sqlite3
import stat
import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from sqlalchemy.engine.default import DefaultDialect

from signing.errors import OperatorError

KILLED = ("kill", "cut", "zeros")
FAILING = ("full", "io")
FAULTS = (*KILLED, *FAILING)


def faults_of(step: str) -> tuple[str, ...]:
    """Which faults can happen at a step of `Ending.steps`: death at a read is death at what comes after it."""
    return ("io",) if step.startswith("read ") else FAULTS


_HELPERS = ("signing/durable.py", "registry/blobs.py", "registry/store.py")
_ROOT = str(Path(__file__).parents[1]) + os.sep
_GROWS = frozenset(
    ("create", "write", "mkdir", "link", "rename", "ftruncate", "fsync", "commit")
)  # need space


@dataclass(frozen=True)
class Ending:
    """How the child ended: `code` 0, negative for a signal, 3 for a refusal, 1 for anything that is a bug."""

    code: int
    said: str  # of a refusal or a traceback
    steps: tuple[str, ...]  # of a child that was not killed: each call with the line that made it


def endured(action: Callable[[], object], room: Path, *, fault: str = "", at: int = 0) -> Ending:
    """Run `action` in a child whose `at`-th call (1 is the first) meets the fault.

    Args:
        room: an empty folder on the same file system, for what the layer keeps; it is removed.
    """
    room.mkdir()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = _lived(action, room, Disk(fault, at, room))
        finally:
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    told = room / "told"
    said, steps = json.loads(told.read_bytes()) if told.exists() else ("", [])
    shutil.rmtree(room)
    return Ending(code, said, tuple(steps))


def _lived(action: Callable[[], object], room: Path, disk: "Disk") -> int:
    code, said = 0, ""
    disk.install()
    try:
        action()
    except OperatorError as refusal:
        code, said = 3, f"{type(refusal).__name__}: {refusal}"
    except OSError as exc:  # the command line says it, with the path
        expected = exc.errno in (errno.ENOSPC, errno.EIO)
        code, said = 3 if expected else 1, "".join(traceback.format_exception(exc))
    except BaseException as exc:  # noqa: BLE001 - whatever it is, the test shows it
        code, said = 1, "".join(traceback.format_exception(exc))
    disk.uninstall()
    (room / "told").write_text(json.dumps([said, disk.steps]))
    return code


@dataclass
class Disk:
    """Counts calls; at the chosen one the fault happens. Install it in a child process only."""

    fault: str
    at: int
    room: Path
    steps: list[str] = field(default_factory=list)
    _turn: threading.RLock = field(default_factory=threading.RLock)
    _real: dict[str, Any] = field(default_factory=dict)
    _folders: dict[tuple[int, int], int] = field(default_factory=dict)  # (device, inode) to an open handle
    _undo: list[tuple[tuple[int, int], Callable[[], None]]] = field(default_factory=list)
    _files: dict[tuple[int, int], tuple[int, bytes]] = field(default_factory=dict)  # handle, durable bytes
    _stashed: int = 0

    @property
    def _forgets(self) -> bool:
        return self.fault in ("cut", "zeros")

    # -- in and out --------------------------------------------------------------------------------------

    def install(self) -> None:
        """Take the place of the calls."""
        for name in (
            "open", "read", "pread", "preadv", "write", "pwrite", "fsync", "fdatasync", "ftruncate", "rename", "replace", "link", "unlink",
            "remove", "mkdir", "rmdir", "chmod", "lstat",
        ):  # fmt: skip
            self._real[name] = getattr(os, name)
        for name, own in {
            "open": self._open, "read": self._read, "pread": self._pread, "preadv": self._preadv, "write": self._write, "pwrite": self._pwrite, "fsync": self._fsync,
            "fdatasync": self._fsync, "ftruncate": self._ftruncate, "rename": self._rename,
            "replace": self._rename, "link": self._link, "unlink": self._unlink, "remove": self._unlink,
            "mkdir": self._mkdir, "rmdir": self._rmdir, "chmod": self._chmod,
        }.items():  # fmt: skip
            setattr(os, name, own)
        self._real["io.open"], self._real["commit"] = io.open, DefaultDialect.do_commit
        io.open = builtins.open = self._file
        layer = self

        def commit(dialect: DefaultDialect, connection: Any) -> None:
            layer.commit(dialect, connection)

        DefaultDialect.do_commit = commit  # type: ignore[method-assign]

    def uninstall(self) -> None:
        """Give the calls their places back."""
        io.open = builtins.open = self._real["io.open"]
        DefaultDialect.do_commit = self._real["commit"]  # type: ignore[method-assign]
        for name, real in self._real.items():
            if name not in ("io.open", "commit"):
                setattr(os, name, real)

    # -- the n-th call -----------------------------------------------------------------------------------

    def _step(self, kind: str, *, torn: Callable[[], object] | None = None) -> None:
        self.steps.append(f"{kind} {_caller()}")
        number = len(self.steps)
        if number == self.at and self.fault in KILLED:
            if torn is not None:
                torn()
            self._crash()
        if kind == "committed":  # done: nothing of it can fail any more
            return
        if self.fault == "full" and number >= self.at and kind in _GROWS:
            raise self._failure(kind, errno.ENOSPC)
        if self.fault == "io" and number == self.at:
            raise self._failure(kind, errno.EIO)

    def _failure(self, kind: str, number: int) -> Exception:
        if kind.startswith("commit"):
            full = number == errno.ENOSPC
            return sqlite3.OperationalError("database or disk is full" if full else "disk I/O error")
        return OSError(number, os.strerror(number))

    def _crash(self) -> None:
        if self.fault == "cut":
            for _folder, undo in reversed(self._undo):
                with suppress(OSError):  # it was in a folder that is gone as well
                    undo()
        if self._forgets:
            for handle, durable in self._files.values():
                size = os.fstat(handle).st_size
                self._real["ftruncate"](handle, 0)
                self._real["pwrite"](handle, durable, 0)
                if self.fault == "zeros":
                    self._real["ftruncate"](handle, size)
        os.kill(os.getpid(), signal.SIGKILL)

    def commit(self, dialect: DefaultDialect, connection: Any) -> None:
        """Stand between the program and the database's commit."""
        with self._turn:
            self._step("commit")
        self._real["commit"](dialect, connection)
        with self._turn:
            self._step("committed")

    # -- files -------------------------------------------------------------------------------------------

    def _open(self, path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if not flags & (os.O_CREAT | os.O_TRUNC):
            return self._real["open"](path, flags, mode, dir_fd=dir_fd)  # type: ignore[no-any-return]
        with self._turn:
            folder, name = self._place(path, dir_fd)
            there = self._there(folder, name)
            if not there:
                self._step("create")
            handle: int = self._real["open"](path, flags & ~os.O_TRUNC, mode, dir_fd=dir_fd)
            if not there:
                self._changed(folder, lambda: self._real["unlink"](name, dir_fd=folder))
            if flags & os.O_TRUNC and os.fstat(handle).st_size:
                self._dirty(handle)
                self._real["ftruncate"](handle, 0)
            return handle

    def _file(self, file: Any, mode: str = "r", buffering: int = -1, *args: Any, **more: Any) -> Any:
        """What `open` does, with writes that are counted."""
        if not set(mode) & set("wxa+"):
            return self._real["io.open"](file, mode, buffering, *args, **more)
        assert "b" in mode, "text files are not written durably anywhere"
        opener = more.get("opener") or (lambda path, flags: os.open(path, flags, 0o666))
        raw = _Raw(file, mode.replace("b", ""), opener=opener)
        raw.layer = self
        if buffering == 0:
            return raw
        return io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)

    def write_raw(self, raw: "_Raw", data: Any) -> int:
        """Write for a file object."""
        return self._written(raw.fileno(), data, lambda part: io.FileIO.write(raw, part))

    def _write(self, handle: int, data: Any) -> int:
        return self._written(handle, data, lambda part: self._real["write"](handle, part))

    def _pwrite(self, handle: int, data: Any, offset: int) -> int:
        return self._written(handle, data, lambda part: self._real["pwrite"](handle, part, offset))

    def _written(self, handle: int, data: Any, put: Callable[[Any], Any]) -> int:
        with self._turn:
            self._dirty(handle)
            view = memoryview(data)
            self._step("write", torn=lambda: put(view[: len(view) // 2]))
            return put(data)  # type: ignore[no-any-return]

    def _read(self, handle: int, size: int) -> bytes:
        self._reads(handle)
        return self._real["read"](handle, size)  # type: ignore[no-any-return]

    def _pread(self, handle: int, size: int, offset: int) -> bytes:
        self._reads(handle)
        return self._real["pread"](handle, size, offset)  # type: ignore[no-any-return]

    def _preadv(self, handle: int, views: Any, offset: int) -> int:
        self._reads(handle)
        return self._real["preadv"](handle, views, offset)  # type: ignore[no-any-return]

    def _reads(self, handle: int) -> None:
        if stat.S_ISREG(os.fstat(handle).st_mode):
            with self._turn:
                self._step("read")

    def _ftruncate(self, handle: int, size: int) -> None:
        with self._turn:
            self._dirty(handle)
            self._step("ftruncate")
            self._real["ftruncate"](handle, size)

    def _fsync(self, handle: int) -> None:
        with self._turn:
            self._step("fsync")
            info = os.fstat(handle)
            key = info.st_dev, info.st_ino
            if stat.S_ISDIR(info.st_mode):
                self._undo = [entry for entry in self._undo if entry[0] != key]
            elif key in self._files:
                os.close(self._files.pop(key)[0])

    def _dirty(self, handle: int) -> None:
        """Keep what of a file is durable, before the first change since its last fsync."""
        if not self._forgets:
            return
        info = os.fstat(handle)
        key = info.st_dev, info.st_ino
        if key not in self._files and stat.S_ISREG(info.st_mode):
            mine = self._real["open"](f"/proc/self/fd/{handle}", os.O_RDWR | os.O_CLOEXEC)
            # A new file has nothing durable; of an old one, all that was there before this process came.
            self._files[key] = mine, self._real["pread"](mine, info.st_size, 0)

    # -- names -------------------------------------------------------------------------------------------

    def _place(self, path: Any, dir_fd: int | None) -> tuple[int, str]:
        """Return a handle of the folder, which stays open, and the name in it."""
        text = os.fspath(path)
        top, name = os.path.split(text)
        handle = self._real["open"](top or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=dir_fd)
        info = os.fstat(handle)
        known = self._folders.setdefault((info.st_dev, info.st_ino), handle)
        if known != handle:
            os.close(handle)
        return known, name

    def _there(self, folder: int, name: str) -> bool:
        try:
            self._real["lstat"](name, dir_fd=folder)
        except FileNotFoundError:
            return False
        return True

    def _changed(self, folder: int, undo: Callable[[], None]) -> None:
        if self.fault == "cut":
            info = os.fstat(folder)
            self._undo.append(((info.st_dev, info.st_ino), undo))

    def _stash(self, folder: int, name: str) -> Path | None:
        """Keep a name that goes away. Returns where, or None for what is no file."""
        if self.fault != "cut" or not self._there(folder, name):
            return None
        if not stat.S_ISREG(self._real["lstat"](name, dir_fd=folder).st_mode):
            return None
        self._stashed += 1
        place = self.room / str(self._stashed)
        self._real["link"](name, place, src_dir_fd=folder, follow_symlinks=False)
        return place

    def _rename(
        self, src: Any, dst: Any, *, src_dir_fd: int | None = None, dst_dir_fd: int | None = None
    ) -> None:
        with self._turn:
            self._step("rename")
            (before, old), (after, new) = self._place(src, src_dir_fd), self._place(dst, dst_dir_fd)
            stash = self._stash(after, new)
            self._real["rename"](src, dst, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)

            def undo() -> None:
                self._real["rename"](new, old, src_dir_fd=after, dst_dir_fd=before)
                if stash is not None:
                    self._real["link"](stash, new, dst_dir_fd=after)

            self._changed(after, undo)

    def _link(self, src: Any, dst: Any, **more: Any) -> None:
        with self._turn:
            self._step("link")
            folder, name = self._place(dst, more.get("dst_dir_fd"))
            self._real["link"](src, dst, **more)
            self._changed(folder, lambda: self._real["unlink"](name, dir_fd=folder))

    def _unlink(self, path: Any, *, dir_fd: int | None = None) -> None:
        with self._turn:
            folder, name = self._place(path, dir_fd)
            if self._there(folder, name):
                self._step("unlink")
            stash = self._stash(folder, name)
            self._real["unlink"](path, dir_fd=dir_fd)
            if stash is not None:
                self._changed(folder, lambda: self._real["link"](stash, name, dst_dir_fd=folder))

    def _mkdir(self, path: Any, mode: int = 0o777, *, dir_fd: int | None = None) -> None:
        with self._turn:
            folder, name = self._place(path, dir_fd)
            if not self._there(folder, name):
                self._step("mkdir")
            self._real["mkdir"](path, mode, dir_fd=dir_fd)
            self._changed(folder, lambda: self._remove_tree(folder, name))

    def _remove_tree(self, folder: int, name: str) -> None:
        handle = self._real["open"](name, os.O_RDONLY | os.O_DIRECTORY, dir_fd=folder)
        for entry in [found.name for found in os.scandir(handle)]:
            if stat.S_ISDIR(self._real["lstat"](entry, dir_fd=handle).st_mode):
                self._remove_tree(handle, entry)
            else:
                self._real["unlink"](entry, dir_fd=handle)
        os.close(handle)
        self._real["rmdir"](name, dir_fd=folder)

    def _rmdir(self, path: Any, *, dir_fd: int | None = None) -> None:
        with self._turn:
            folder, name = self._place(path, dir_fd)
            self._step("rmdir")
            self._real["rmdir"](path, dir_fd=dir_fd)
            self._changed(folder, lambda: self._real["mkdir"](name, dir_fd=folder))

    def _chmod(self, path: Any, mode: int, **more: Any) -> None:
        with self._turn:
            self._step("chmod")
            self._real["chmod"](path, mode, **more)


class _Raw(io.FileIO):
    """A file whose writes are counted."""

    layer: Disk

    def write(self, data: Any, /) -> int:
        """Write through the layer."""
        return self.layer.write_raw(self, data)


def _caller() -> str:
    """The innermost lines of this product that led here, those of small helpers with the line that asked them."""
    lines: list[str] = []
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and (not lines or lines[-1].startswith(_HELPERS)):
        name = frame.f_code.co_filename
        if name.startswith(_ROOT) and not name.startswith((_ROOT + "tests", _ROOT + ".venv")):
            lines.append(f"{name.removeprefix(_ROOT)}:{frame.f_lineno}")
        frame = frame.f_back
    return " < ".join(lines)
