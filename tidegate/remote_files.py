"""Files that travel with a command to a server: read here before it, written here after it."""

import base64
import errno
import os
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from signing.durable import write_durably
from tidegate.afar import Act, Way
from tidegate.afar_refusals import ServerAnswerStrange
from tidegate.errors import FileUnreadable, SystemRefused
from tidegate.wiring import read_file

MOST = 12 << 20  # bytes of all files: in base64 they are a third more, and a server reads 16 MiB
_MOST_FILES = 5000


class Packing:
    """Puts paths of one command line into the form in which they travel."""

    def __init__(self) -> None:
        self._left = MOST

    def pack(self, way: Way, value: Any) -> Any:
        """Return what is sent for a parameter that is a path, or several.

        Raises:
            FileUnreadable: it cannot be read, or is too large to travel.
            SystemRefused: what would be written new is there already.
        """
        if isinstance(value, Sequence) and not isinstance(value, str):
            return [self.pack(way, item) for item in value]
        text = str(value)
        path = Path(text)
        if not way.inward:
            return _outward(way, text, path)
        if way is Way.FOLDER or (way is Way.EITHER and path.is_dir()):
            return {"path": _label(text), "files": self._folder(path)}
        if way is Way.MAYBE and not path.is_file():
            return text
        return {"path": _label(text), "content": self._content(path)}

    def _folder(self, folder: Path) -> list[dict[str, str]]:
        if not folder.is_dir():
            raise FileUnreadable(str(folder), "is no folder")
        found: list[dict[str, str]] = []
        for here, folders, names in os.walk(folder):
            folders.sort()
            for name in sorted([*names, *(name for name in folders if (Path(here) / name).is_symlink())]):
                path = Path(here) / name
                if path.is_symlink() or len(found) == _MOST_FILES:
                    raise FileUnreadable(
                        str(path), "is a link" if path.is_symlink() else "is one file too many"
                    )
                found.append({"path": path.relative_to(folder).as_posix(), "content": self._content(path)})
        return found

    def _content(self, path: Path) -> str:
        data = read_file(path, max_bytes=self._left)
        self._left -= len(data)
        return base64.b64encode(data).decode()


def _outward(way: Way, text: str, path: Path) -> str:
    if way is Way.OUT_NEW and path.exists():
        raise SystemRefused(text, os.strerror(errno.EEXIST))
    label = _label(text)
    return f"{label.rstrip('/')}/" if way is Way.OUT_EITHER and path.is_dir() else label


def _label(text: str) -> str:
    """As it was typed, unless that ends with no name."""
    return text if PurePosixPath(text).name not in ("", "..") else str(Path(text).absolute().resolve())


def unpack(url: str, rule: Act, sent: Mapping[str, Any], files: Any) -> None:
    """Write what came back, where the command line said and nowhere else.

    Args:
        sent: the parameters as they travelled.

    Raises:
        ServerAnswerStrange: a file that nobody asked for.
    """
    for item in files if isinstance(files, list) else [files]:
        target, data = _asked_for(rule, sent, item) or (None, b"")
        if target is None:
            raise ServerAnswerStrange(url, "sent a file that nobody asked for; it was not written")
        target.parent.mkdir(parents=True, exist_ok=True)
        write_durably(target, data)


def _asked_for(rule: Act, sent: Mapping[str, Any], item: Any) -> tuple[Path | None, bytes] | None:
    try:
        name, path, content = (item[part] for part in ("parameter", "path", "content"))
        label, way = sent[name], rule.files[name]
        return _target(way, label, PurePosixPath(path)), base64.b64decode(content, validate=True)
    except (KeyError, TypeError, ValueError):
        return None


def _target(way: Way, label: str, path: PurePosixPath) -> Path | None:
    """Where a file that came back goes: the one that was named, one beside it of the same name, or inside the folder."""
    if (
        way.inward
        or path.is_absolute()
        or not path.parts
        or set(path.parts) & {"..", "."}
        or "\0" in str(path)
    ):
        return None
    if label.endswith("/"):
        return Path(label) / path
    named = PurePosixPath(label)
    inside = way is Way.OUT_FOLDER and path.parts[0] == named.name
    beside = len(path.parts) == 1 and (path.name == named.name or path.name.startswith(f"{named.stem}."))
    return Path(label).parent / path if inside or beside else None
