"""What the operating system gives the doors: addresses to listen on, descriptors, a disk that SQLite can work on."""

import os
import resource
import socket
import stat
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

from registry.home import Home
from tidegate.errors import DoorRefusal
from tidegate.server.settings import ServerSettings

_BACKLOG = 1024
_DESCRIPTORS = 65536  # asked for; the hard limit is what there is
_SILENT_MS = 120_000  # a client that takes nothing of what was sent is given up
# File systems where a lock or shared memory of one machine is unknown to the other. Source: sqlite.org/wal.html
_NETWORKED = frozenset(
    (
        "9p", "afs", "beegfs", "ceph", "cifs", "fuse.ceph", "fuse.glusterfs", "fuse.s3fs", "fuse.sshfs", "glusterfs",
        "gpfs", "lustre", "nfs", "nfs4", "smb3", "smbfs",
    )
)  # fmt: skip


class CannotListen(DoorRefusal):
    """An address that another process has, or that this one may not have."""

    exit_code: ClassVar[int] = 160
    next_step: ClassVar[str] = (
        "Mend what the message names: stop what listens there already (`ss -ltnxp` names it), make the socket's folder, "
        "or name an address of this machine: `tidegate serve --listen HOST:PORT`, or `listen` and `socket` in server.toml."
    )

    def __init__(self, address: str, problem: str) -> None:
        super().__init__(f"cannot listen on {address}: {problem}")
        self.address, self.problem = address, problem


class HomeOnNetwork(DoorRefusal):
    """A SQLite database on a file system that several machines share: two writers would destroy it."""

    exit_code: ClassVar[int] = 161
    next_step: ClassVar[str] = (
        "Move the home to a disk of this machine, or keep its database in PostgreSQL (`tidegate init --database`)."
    )

    def __init__(self, path: str, kind: str) -> None:
        super().__init__(f"{path} is on a network file system ({kind}), where SQLite loses data")
        self.path, self.kind = path, kind


def demand_local(home: Home, mounts: str | None = None) -> None:
    """Raise `HomeOnNetwork` for a SQLite database on a network file system.

    Args:
        mounts: what `/proc/self/mountinfo` says (proc(5)); None: read it.
    """
    if not home.database.startswith("sqlite:///"):
        return
    database = Path(home.database.removeprefix("sqlite:///"))
    if mounts is None:
        mounts = Path("/proc/self/mountinfo").read_text(errors="surrogateescape")
    kind = _file_system(database.resolve(), mounts)
    if kind in _NETWORKED:
        raise HomeOnNetwork(str(database), kind)


def _file_system(path: Path, mounts: str) -> str:
    """The type of the mount that a path is on: the last line of the longest mount point wins."""
    best, kind = -1, ""
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        point = before.split()[4].encode("latin-1", "surrogateescape").decode("unicode_escape")
        if path.is_relative_to(point) and len(point) >= best:
            best, kind = len(point), after.split()[0]
    return kind


def raise_descriptors() -> int:
    """Allow as many open files as the system lets this process have; return how many that is."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    return _DESCRIPTORS if soft == resource.RLIM_INFINITY else soft


def tcp(settings: ServerSettings) -> socket.socket:
    """Listen on the address of the settings. Raises `CannotListen`."""
    assert settings.listen is not None, "asked only when there is an address"
    try:
        kind, _, _, _, address = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.create_server((str(address[0]), settings.port), family=kind, backlog=_BACKLOG)
    except OSError as exc:
        raise CannotListen(settings.listen, exc.strerror or str(exc)) from exc
    listener.setsockopt(
        socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _SILENT_MS
    )  # accepted sockets inherit both
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    return listener


def unix(path: Path) -> socket.socket:
    """Listen on a socket file, in place of one that a process left behind which is gone.

    Only its owner and the group of its folder can open it: who can is believed about who asks (`[fronted]`).

    Raises:
        CannotListen: another process listens there, or the folder cannot be used.
    """
    _clear(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        mask = os.umask(0o177)
        try:
            listener.bind(str(path))
        finally:
            os.umask(mask)
        with suppress(PermissionError):  # only into a group that we are in
            os.chown(path, -1, path.parent.stat().st_gid)
        path.chmod(0o660)
        listener.listen(_BACKLOG)
    except OSError as exc:
        listener.close()
        raise CannotListen(str(path), exc.strerror or str(exc)) from exc
    return listener


def _clear(path: Path) -> None:
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    except OSError as exc:
        raise CannotListen(str(path), exc.strerror or str(exc)) from exc
    if not stat.S_ISSOCK(found.st_mode):
        raise CannotListen(str(path), "another file lies there")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        if probe.connect_ex(str(path)) == 0:
            raise CannotListen(str(path), "another process listens there")
    path.unlink()
