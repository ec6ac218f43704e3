"""Reading a folder that somebody else filled: ordinary files inside it, no links, never more than asked for.

Every path component is opened relative to the one before it without following links, so neither `..`, nor a
link, nor a folder exchanged while we read leads out. A device or a pipe is refused before it is read.
"""

import contextlib
import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from urllib.parse import unquote, urlsplit

from tuf.api.exceptions import DownloadError, DownloadHTTPError
from tuf.ngclient.fetcher import FetcherInterface

from signing.refusals import MetadataTampered, TrustFileMissing

SCHEME = "bundle"  # of the URLs that tuf asks for; never leaves this process
_BLOCK = 1 << 16  # bytes


def read_inside(folder: Path, relative: str, *, max_bytes: int) -> bytes:
    """Return the bytes of one regular file below `folder`.

    Args:
        relative: `/`-separated, no empty, `.` or `..` parts, no backslash, no zero byte.

    Raises:
        TrustFileMissing: not there, not a regular file, behind a link, or the medium cannot be read.
        MetadataTampered: longer than `max_bytes`, or the path is not one that a bundle has.
    """
    parts = relative.split("/")
    if any(part in ("", ".", "..") or "\\" in part or "\0" in part for part in parts):
        raise MetadataTampered(relative, "not a path inside the bundle")
    try:
        with _opened(folder, parts) as descriptor:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise TrustFileMissing(relative, "not a regular file")
            data = _read_at_most(descriptor, max_bytes + 1)
    except (FileNotFoundError, NotADirectoryError) as exc:
        raise TrustFileMissing(relative) from exc
    except (OSError, UnicodeEncodeError) as exc:  # ELOOP: a link; EIO: a bad sector
        raise TrustFileMissing(relative, f"cannot be read ({getattr(exc, 'strerror', None) or exc})") from exc
    if len(data) > max_bytes:
        raise MetadataTampered(relative, f"longer than the {max_bytes} bytes that it may have")
    return data


class FolderFetcher(FetcherInterface):
    """What tuf fetches with: `bundle:///trust/1.root.json` is a file below the folder. Opens no socket."""

    def __init__(
        self, folder: Path, *, max_bytes: int, apart: Mapping[str, bytes] = MappingProxyType({})
    ) -> None:
        """Fetch from `folder`, but for the relative paths in `apart`: these came by another way."""
        self._folder, self._max_bytes, self._apart = folder, max_bytes, apart
        self.asked: list[str] = []  # relative paths in the order tuf asked for them

    def _fetch(self, url: str) -> Iterator[bytes]:
        """Return the file in one piece; it is read here and now, so that `fetch` sees every refusal."""
        parts = urlsplit(url)
        if parts.scheme != SCHEME or parts.netloc:
            raise DownloadError(f"{url} is not inside the bundle")
        relative = unquote(parts.path).lstrip("/")
        self.asked.append(relative)
        if relative in self._apart:
            return iter((self._apart[relative],))
        try:
            data = read_inside(self._folder, relative, max_bytes=self._max_bytes)
        except TrustFileMissing as exc:
            raise DownloadHTTPError(str(exc), 404) from exc  # how tuf learns that there is no newer root
        return iter((data,))


@contextlib.contextmanager
def _opened(folder: Path, parts: list[str]) -> Iterator[int]:
    """Yield a descriptor of the last part, opened without following any link below `folder`."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK  # a pipe must not make us wait
    current = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for number, part in enumerate(parts):
            kind = 0 if number == len(parts) - 1 else os.O_DIRECTORY
            below = os.open(part, flags | kind, dir_fd=current)
            os.close(current)
            current = below
        yield current
    finally:
        os.close(current)


def _read_at_most(descriptor: int, count: int) -> bytes:
    blocks = []
    while count > 0 and (block := os.read(descriptor, min(_BLOCK, count))):
        blocks.append(block)
        count -= len(block)
    return b"".join(blocks)
