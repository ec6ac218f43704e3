"""What media hold: true byte counts, so that a bundle made for a disc fits on the disc.

A medium is sold in decimal units, loses some to its file system, and gives files whole clusters. Sources: ECMA-337
and ECMA-267 (DVD: the smaller of +R and -R), BD-R physical format (Blu-ray Disc Association, sectors of 2,048
bytes), Microsoft FAT specification 1.03 and exFAT specification 1.00.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath

from pipelines.bundle.errors import MediumUnknown

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_UNITS |= {f"{unit}i": 2 ** (10 * power) for power, unit in enumerate("kmgt", start=1)}
_SIZE = re.compile(r"([0-9]{1,18}(?:\.[0-9]{1,9})?)\s*([kmgt]?i?)b?")


@dataclass(frozen=True)
class Medium:
    """What one medium takes. `room(n)` is what a file of n bytes costs on it."""

    name: str
    bytes: int  # that files can use, together
    cluster: int = 1  # bytes; a file takes whole ones

    def room(self, size: int) -> int:
        """Return the bytes that a file of `size` bytes takes here."""
        return -(-size // self.cluster) * self.cluster

    def documents(self, size: int, paths: Iterable[str]) -> int:
        """Return the most bytes that small files take, `size` bytes together.

        Each ends in a cluster of its own, and each folder takes one, but for chunks' folders: `bytes` is without those.
        """
        places = {place for path in paths for place in (path, *map(str, PurePosixPath(path).parents))}
        return size + (len(places) + _OWN_FILES) * (self.cluster - 1)


_SECTOR = 2048
_OPTICAL = {  # sectors of the user area
    "dvd": 2_295_104,
    "bd25": 12_219_392,
    "bd50": 24_438_784,
    "bd100": 48_878_592,
}
_OWN_FILES = 16  # files that every volume has, whatever is in it, and then some
_FOLDERS = 2 * 256 + 16  # `chunks/00` to `chunks/ff`, the same for parity, what is around them
_LEAST_FILE = 1 << 20  # bytes of a chunk on average, at least: what names take is counted as a share of it
_FAT_ENTRY, _OPTICAL_ENTRY = (
    256,
    4096,
)  # bytes of a chunk's name; in UDF, ISO 9660 and Joliet, with its extents
_OPTICAL_FOLDER = 8192  # bytes of a folder in the three of them
_OPTICAL_OWN = 4 << 20  # bytes of volume structures
_FAT32_MOST = 512 * (2**32 - 1)  # bytes of the largest FAT32 file system with sectors of 512 bytes
_FAT32_TINY, _EXFAT_TINY = 260 << 20, 256 << 20  # bytes, up to which clusters are of 512 bytes and of 4 KiB
_EXFAT_MOST = 128 * 2**50  # bytes; recommended largest exFAT volume: 2**32-11 clusters of 32 MiB


def medium(text: str) -> Medium:
    """Return the medium that a person named: `dvd`, `bd25`, `fat32:64GB`, `4.7GB`, `4700000000`.

    Raises:
        MediumUnknown: neither a name nor a size.
    """
    name, _, size = text.strip().lower().partition(":")
    if name in _OPTICAL and not size:
        whole = _OPTICAL[name] * _SECTOR
        names = whole // _LEAST_FILE * _OPTICAL_ENTRY + _FOLDERS * _OPTICAL_FOLDER
        return Medium(name, whole - names - _OPTICAL_OWN, _SECTOR)
    if name == "fat32":
        whole = min(parse_size(size), _FAT32_MOST) if size else _FAT32_MOST
        # Two tables of 4 bytes for each cluster. What formats a stick takes small clusters, some of it large ones.
        tables = whole // (512 if whole <= _FAT32_TINY else 4096) * 8
        return _with_folders(text, whole - tables - (1 << 20), 32 << 10)
    if name == "exfat":
        whole = parse_size(size) if size else _EXFAT_MOST
        # A table of 4 bytes and a bit for each cluster; its parts begin at whole MiB.
        tables = whole // (4096 if whole <= _EXFAT_TINY else 32 << 10) * 5
        return _with_folders(text, whole - tables - (4 << 20), 128 << 10)
    return Medium(text, parse_size(text))


def _with_folders(name: str, size: int, cluster: int) -> Medium:
    taken = _FOLDERS * cluster + size // _LEAST_FILE * _FAT_ENTRY
    return Medium(name, max(size - taken, 0), cluster)


def parse_size(text: str) -> int:
    """Return bytes: 4700000000, 4.7GB (decimal, as media are sold) or 4GiB. Raises `MediumUnknown`."""
    match = _SIZE.fullmatch(text.strip().lower())
    if match is None or match[2] not in _UNITS:
        raise MediumUnknown(text)
    return int(float(match[1]) * _UNITS[match[2]])
