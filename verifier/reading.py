"""Canonical JSON and the files of a volume: SPEC.md, sections 1, 2 and 9. Reads plain files only, and no more than it must."""

import hashlib
import json
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SMALL = 16 << 20  # bytes of most documents
CAPS = {"volume.json": 4096, "README.txt": 64 << 10, "plan.sig.json": 64 << 10, "chunks.jsonl": 64 << 20}
CAPS |= {"plan.json": 128 << 20, "SHA256SUMS": 64 << 20, "history.jsonl": 8 << 20}
OWN = {"volume.json", "SHA256SUMS", "plan.json", "plan.sig.json"}  # may differ from volume to volume
HEX = re.compile(r"[0-9a-f]{64}")


class Wrong(Exception):
    """What is wrong, in one line."""


def demand(true: object, what: str) -> None:
    if not true:
        raise Wrong(what)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def parse(data: bytes, at: str) -> Any:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        demand(len(dict(pairs)) == len(pairs), f"{at}: a key stands twice")
        return dict(pairs)

    try:
        return json.loads(data.decode("utf-8"), object_pairs_hook=unique)
    except (ValueError, RecursionError) as exc:
        raise Wrong(f"{at}: no JSON ({exc})") from exc


def check_value(value: Any, at: str, depth: int = 1) -> None:
    demand(depth <= 64, f"{at}: nested too deep")
    if isinstance(value, dict):
        demand(all(key.isascii() for key in value), f"{at}: a key that is not ASCII")
    elif isinstance(value, int) and not isinstance(value, bool):
        demand(abs(value) < 1 << 53, f"{at}: a number beyond 2^53-1")
    else:
        demand(value is None or isinstance(value, (bool, str, list)), f"{at}: a number that is not whole")
    for child in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        check_value(child, at, depth + 1)


def canonical(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode(
        errors="replace"
    )


def read(data: bytes, at: str) -> dict[str, Any]:
    """A canonical JSON object."""
    value = parse(data, at)
    check_value(value, at)
    demand(isinstance(value, dict), f"{at}: no object")
    demand(canonical(value) == data, f"{at}: not in canonical form")
    found: dict[str, Any] = value
    return found


def document(data: bytes, at: str, form: str, known: set[str]) -> dict[str, Any]:
    value = read(data, at)
    demand(value.get("format") == form, f"{at}: not {form}")
    demand(set(value.get("critical", [])) <= known, f"{at}: a critical field that this reader does not know")
    return value


def whole(value: Any, at: str, least: int = 0) -> int:
    demand(type(value) is int and value >= least, f"{at}: a whole number from {least} is needed")
    return int(value)


def digest(value: Any, at: str) -> str:
    demand(isinstance(value, str) and HEX.fullmatch(value), f"{at}: 64 lower-case hex digits are needed")
    return str(value)


class Volume:
    """A folder with a volume.json, and its files as they are listed."""

    def __init__(self, path: Path) -> None:
        self.path, self.files = path, dict(self._walk(path, ""))
        self.label = document(
            self.read("volume.json"),
            f"{path}/volume.json",
            "tidegate-volume/1",
            {"format", "critical", "bundle", "index", "of", "plan"},
        )
        sums = self.read("SHA256SUMS")
        lines = [line.partition("  ") for line in sums.decode("utf-8", "replace").splitlines()]
        self.sums = {name: digest(value, f"{path}/SHA256SUMS") for value, _, name in lines}
        again = "".join(f"{self.sums[name]}  {name}\n" for name in sorted(self.sums))
        demand(again.encode() == sums, f"{path}/SHA256SUMS: not in its own form")
        for name, value in self.sums.items():
            if not name.startswith(("chunks/", "parity/")):
                demand(sha256(self.read(name)) == value, f"{path}/{name}: not as SHA256SUMS says")

    def _walk(self, folder: Path, prefix: str) -> Iterator[tuple[str, int]]:
        for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
            info = entry.stat(follow_symlinks=False)
            if stat.S_ISDIR(info.st_mode):
                yield from self._walk(Path(entry.path), f"{prefix}{entry.name}/")
            else:
                demand(stat.S_ISREG(info.st_mode), f"{entry.path}: no plain file")
                yield prefix + entry.name, info.st_size

    def read(self, name: str, start: int = 0, size: int = -1) -> bytes:
        """A small file whole, or `size` bytes of a stored one."""
        demand(name in self.files, f"{self.path}/{name}: missing")
        whole_file = size < 0
        size = self.files[name] if whole_file else size
        demand(not whole_file or size <= CAPS.get(name, SMALL), f"{self.path}/{name}: too large")
        with os.fdopen(os.open(self.path / name, os.O_RDONLY | os.O_NOFOLLOW), "rb") as stream:
            stream.seek(start)
            data = stream.read(size)
        demand(len(data) == size, f"{self.path}/{name}: shorter than it was")
        return data


def volumes_below(folders: list[Path]) -> list[Volume]:
    places = [
        spot.parent
        for top in folders
        for deep in ("", "*/", "volume-*/*/")
        for spot in top.glob(f"{deep}volume.json")
    ]
    found = [Volume(place) for place in dict.fromkeys(places)]
    demand(found, "no folder with a volume.json")
    first = {name: value for name, value in found[0].sums.items() if is_shared(name)}
    for volume in found:
        mine = {name: value for name, value in volume.sums.items() if is_shared(name)}
        demand(mine == first, f"{volume.path}: other documents than {found[0].path}")
    return found


def is_shared(name: str) -> bool:
    return name not in OWN and not name.startswith(("chunks/", "parity/"))
