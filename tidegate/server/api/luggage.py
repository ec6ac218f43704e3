"""What paths mean when a command runs for somebody elsewhere: bytes that came with the request, or go with the answer.

Everything lies in one room of the request's own, a folder that is gone when the answer is made. What the caller calls
a file is a label: it is shown again in what the command says, and opened nowhere.
"""

import base64
import binascii
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from tidegate.afar import Way
from tidegate.afar_refusals import RequestTooLarge
from tidegate.errors import RequestUnreadable

MOST_FILES = 5000  # of a folder
MOST_OUT = 64 << 20  # bytes of all files in one answer
_LABEL = 1000  # characters
_NAME = 200  # bytes of one name


class Room:
    """The folder of one request."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._labels: dict[str, str] = {}  # our path: what the caller calls it
        self._out: dict[str, Path] = {}  # by parameter: the folder that is looked through afterwards
        self.brought: set[Path] = set()

    def take(self, parameter: str, way: Way, value: Any) -> Any:
        """Return what the command gets for a parameter that is a path. Raises `RequestUnreadable`."""
        if isinstance(value, list):
            return [self._one(f"{parameter}.{at}", way, item) for at, item in enumerate(value)]
        return self._one(parameter, way, value)

    def _one(self, parameter: str, way: Way, value: Any) -> str:
        if way is Way.MAYBE and isinstance(value, str):
            return value
        if not way.inward:
            return self._place(parameter, way, _label(value, parameter))
        if not isinstance(value, dict) or not set(value) <= {"path", "content", "files"}:
            raise RequestUnreadable(f"{parameter}: give {{path, content}}, the content in base64")
        label = _label(value.get("path"), parameter)
        place = self._folder / "in" / parameter / _name(label, parameter)
        place.parent.mkdir(parents=True)
        if "files" in value and way in (Way.FOLDER, Way.EITHER):
            self._unpack(place, value["files"], parameter)
        elif way is Way.FOLDER:
            raise RequestUnreadable(f"{parameter}: give {{path, files}}, each file with path and content")
        else:
            place.write_bytes(_bytes(value.get("content"), parameter))
        self.brought.add(place)
        self._labels[str(place)] = label
        return str(place)

    def _unpack(self, place: Path, files: Any, parameter: str) -> None:
        place.mkdir()
        if not isinstance(files, list) or len(files) > MOST_FILES:
            raise RequestUnreadable(f"{parameter}: files is a list of at most {MOST_FILES}")
        for item in files:
            if not isinstance(item, dict) or set(item) != {"path", "content"}:
                raise RequestUnreadable(f"{parameter}: each file has a path and a content")
            path = place / _inside(item["path"], parameter)
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                with path.open("xb") as sink:
                    sink.write(_bytes(item["content"], parameter))
            except OSError as exc:
                raise RequestUnreadable(
                    f"{parameter}: {item['path']!r} stands in the way of another"
                ) from exc

    def _place(self, parameter: str, way: Way, label: str) -> str:
        folder = self._out[parameter] = self._folder / "out" / parameter
        folder.mkdir(parents=True)
        if way is Way.OUT_EITHER and label.endswith("/"):
            self._labels[str(folder)] = label.rstrip("/")
            return str(folder)
        place = folder / _name(label, parameter)
        self._labels[str(place)] = label
        self._labels[f"{folder}/"] = label[: label.rindex(place.name)]  # what is written beside it
        return str(place)

    def said(self, value: Any) -> Any:
        """What a command said, with the caller's own words for their files."""
        if isinstance(value, str):
            for ours in sorted(self._labels, key=len, reverse=True):
                value = value.replace(ours, self._labels[ours])
            return value
        if isinstance(value, Mapping):
            return {name: self.said(item) for name, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.said(item) for item in value]
        return value

    def written(self) -> list[dict[str, str]]:
        """Every file that the command wrote: for which parameter, its path below that one's folder, its bytes."""
        left, found = MOST_OUT, []
        for parameter, folder in self._out.items():
            for path in sorted(folder.rglob("*")):
                if path.is_file() and not path.is_symlink():
                    left -= path.stat().st_size
                    if left < 0:
                        raise RequestTooLarge(MOST_OUT)
                    content = base64.b64encode(path.read_bytes()).decode()
                    name = path.relative_to(folder).as_posix()
                    found.append({"parameter": parameter, "path": name, "content": content})
        return found


@contextmanager
def room() -> Iterator[Room]:
    """A room for the time of one request."""
    folder = Path(tempfile.mkdtemp(prefix="tidegate-request-"))
    try:
        yield Room(folder)
    finally:
        shutil.rmtree(folder)


def _label(value: Any, parameter: str) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= _LABEL or "\0" in value:
        raise RequestUnreadable(f"{parameter}: say what the file is called, in at most {_LABEL} characters")
    return value


def _name(label: str, parameter: str) -> str:
    """The last part of a label: endings of names mean something to some commands, what stands before never does."""
    name = PurePosixPath(label).name
    if name in ("", "..") or len(name.encode(errors="replace")) > _NAME:
        raise RequestUnreadable(f"{parameter}: {label[:80]!r} ends with no name of a file")
    return name


def _inside(path: Any, parameter: str) -> PurePosixPath:
    label = _label(path, parameter)
    parts = label.split("/")
    if (
        any(part in ("", ".", "..") or len(part.encode(errors="replace")) > _NAME for part in parts)
        or len(parts) > 32
    ):
        raise RequestUnreadable(f"{parameter}: {label[:80]!r} is no path below a folder")
    return PurePosixPath(label)


def _bytes(content: Any, parameter: str) -> bytes:
    if not isinstance(content, str):
        raise RequestUnreadable(f"{parameter}: the content is missing")
    try:
        return base64.b64decode(content.encode(), validate=True)
    except (binascii.Error, UnicodeEncodeError) as exc:
        raise RequestUnreadable(f"{parameter}: the content is not base64") from exc
