"""Reads a tar archive that somebody else packed: plain files and folders, nothing else, in bounded memory.

Our own because the standard library reads an extended header whole, however long it says it is, and follows links,
devices and sparse maps by default. Here each header is 512 bytes, a long name at most 64 KiB, and every kind of
entry that is no file and no folder is refused by name. Nothing is written here.
Sources: POSIX.1-2024 `pax`, "ustar Interchange Format"; GNU tar manual, "Basic Tar Format".
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

BLOCK = 512  # bytes
MAX_EXTRA = 64 << 10  # bytes of one extended header
MAX_SIZE = 1 << 45  # bytes of one file
_MAX_EXTRAS = 4  # extended headers before one entry

_FILES = (b"0", b"\0", b"7")
_FOLDER, _PAX, _PAX_ALL, _LONG_NAME, _LONG_LINK = b"5", b"x", b"g", b"L", b"K"
_KINDS = {
    b"1": "a hard link",
    b"2": "a symbolic link",
    b"3": "a character device",
    b"4": "a block device",
    b"6": "a pipe",
    b"S": "a sparse file",
}


class TarUnusable(Exception):
    """Not an archive of plain files. The intake makes a refusal of it that names the layer."""


class Readable(Protocol):
    """A stream that is read from its first byte to its last."""

    def read(self, size: int, /) -> bytes: ...


@dataclass
class Member:
    """A plain file in the archive. Its bytes are read before the next member is asked for."""

    path: str  # as it stands there, without a leading `./`
    size: int  # bytes
    _source: Readable
    _left: int

    def readinto(self, space: memoryview) -> int:
        """Read some bytes; 0 at the end. Raises `TarUnusable` when the archive ends before."""
        wanted = min(len(space), self._left)
        data = self._source.read(wanted) if wanted else b""
        if wanted and not data:
            raise TarUnusable(f"ends inside {self.path}")
        space[: len(data)] = data
        self._left -= len(data)
        return len(data)

    def skip(self) -> None:
        """Pass over what nobody read."""
        space = memoryview(bytearray(min(self._left, 1 << 20)))
        while self._left:
            self.readinto(space)


def members(source: Readable) -> Iterator[Member]:
    """Yield every file, in order. Folders have no bytes and are passed over. Raises `TarUnusable`."""
    extra: dict[str, str] = {}
    extras = 0
    while (header := _header(source)) is not None:
        kind, size = header[156:157], _number(header[124:136], "size")
        if kind in (_PAX, _PAX_ALL, _LONG_NAME, _LONG_LINK):
            extras += 1
            if extras > _MAX_EXTRAS:
                raise TarUnusable("has more extended headers before one entry than any tool writes")
            extra |= _extended(kind, _body(source, size))
            continue
        path = _path(extra.get("path") or _name(header))
        if kind not in _FILES and kind != _FOLDER:
            raise TarUnusable(f"{path!r} is {_KINDS.get(kind, f'of the unknown kind {kind!r}')}")
        if "size" in extra:
            size = _decimal(extra["size"])
        extra, extras = {}, 0
        if kind == _FOLDER or path.endswith("/"):
            _pad(source, size, skip=True)
            continue
        member = Member(path, size, source, size)
        yield member
        member.skip()
        _pad(source, size)


def _header(source: Readable) -> bytes | None:
    """The next header; None at the end, which two blocks of zeros mark and some tools leave out."""
    header = _exactly(source, BLOCK, may_end=True)
    if not header or not any(header):
        return None
    told = _number(header[148:156], "checksum")
    if told != sum(header[:148]) + sum(header[156:]) + 8 * ord(" "):
        raise TarUnusable("has a header whose checksum is wrong")
    return header


def _body(source: Readable, size: int) -> bytes:
    if size > MAX_EXTRA:
        raise TarUnusable(f"has an extended header of {size} bytes; at most {MAX_EXTRA} are read")
    data = _exactly(source, size)
    _pad(source, size)
    return data


def _pad(source: Readable, size: int, *, skip: bool = False) -> None:
    if skip and size:
        raise TarUnusable("has a folder with bytes of its own")
    _exactly(source, -size % BLOCK)


def _exactly(source: Readable, size: int, *, may_end: bool = False) -> bytes:
    parts, left = [], size
    while left:
        part = source.read(left)
        if not part:
            break
        parts.append(part)
        left -= len(part)
    if left and not (may_end and left == size):
        raise TarUnusable("ends in the middle of an entry")
    return b"".join(parts)


def _extended(kind: bytes, data: bytes) -> dict[str, str]:
    """What an extended header says of the entry behind it: its path, its size."""
    if kind == _LONG_LINK:
        return {}
    if kind == _LONG_NAME:
        return {"path": _text(data.rstrip(b"\0"))}
    found = _records(data)
    if any(key.startswith("GNU.sparse") for key in found):
        raise TarUnusable("has a sparse file")
    if kind == _PAX_ALL and found.keys() & {"path", "size", "linkpath"}:
        raise TarUnusable("has a header that renames every entry")
    return {key: found[key] for key in ("path", "size") if key in found and kind == _PAX}


def _records(data: bytes) -> dict[str, str]:
    """`LENGTH key=value` lines. Values that are no text belong to keys that nobody asks for here."""
    found: dict[str, str] = {}
    while data:
        length, space, _ = data[:8].partition(b" ")
        size = int(length) if space and length.isdigit() else 0
        key, equals, value = data[len(length) + 1 : size - 1].partition(b"=")
        if not equals or size > len(data) or data[size - 1 : size] != b"\n":
            raise TarUnusable("has an extended header that is not one")
        name = key.decode("utf-8", "replace")
        found[name] = _text(value) if name in ("path", "size") else ""
        data = data[size:]
    return found


def _name(header: bytes) -> str:
    name, prefix = (_text(part.split(b"\0", 1)[0]) for part in (header[:100], header[345:500]))
    posix = header[257:263] == b"ustar\0"  # in GNU's own form other things stand where the prefix would
    return f"{prefix}/{name}" if posix and prefix else name


def _path(text: str) -> str:
    while text.startswith("./"):
        text = text[2:]
    return text


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as exc:
        raise TarUnusable("has a name that is not UTF-8") from exc


def _number(field: bytes, what: str) -> int:
    """Octal, or base 256 with the first bit set."""
    if field[0] & 0x80:
        value = int.from_bytes(bytes([field[0] & 0x7F]) + field[1:])
    else:
        digits = field.strip(b" \0")
        if digits.translate(None, b"01234567"):
            raise TarUnusable(f"has a header whose {what} is no number")
        value = int(digits or b"0", 8)
    if value > MAX_SIZE:
        raise TarUnusable(f"has a header whose {what} is {value}")
    return value


def _decimal(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 15 and int(text) <= MAX_SIZE):
        raise TarUnusable("has a size that is no number")
    return int(text)
