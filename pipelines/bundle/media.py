"""What media hold: true byte counts, so that a bundle made for a disc fits on the disc.

A medium is sold in decimal units, loses some to its file system, and gives files whole clusters. Sources: ECMA-337
and ECMA-267 (DVD: the smaller of +R and -R), BD-R physical format (Blu-ray Disc Association, sectors of 2,048
bytes), Microsoft FAT specification 1.03 and exFAT specification 1.00.
"""

import re
from dataclasses import dataclass

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


_SECTOR = 2048
_OPTICAL = {  # sectors of the user area
    "dvd": 2_295_104,
    "bd25": 12_219_392,
    "bd50": 24_438_784,
    "bd100": 48_878_592,
}
_UDF = 16 << 20  # bytes for volume structures and some thousand file entries
_FAT32_MOST = 512 * (2**32 - 1)  # bytes of the largest FAT32 file system with sectors of 512 bytes
_EXFAT_MOST = 128 * 2**50  # bytes; recommended largest exFAT volume: 2**32-11 clusters of 32 MiB


def medium(text: str) -> Medium:
    """Return the medium that a person named: `dvd`, `bd25`, `fat32:64GB`, `4.7GB`, `4700000000`.

    Raises:
        MediumUnknown: neither a name nor a size.
    """
    name, _, size = text.strip().lower().partition(":")
    if name in _OPTICAL and not size:
        return Medium(name, _OPTICAL[name] * _SECTOR - _UDF, _SECTOR)
    if name == "fat32":
        whole = min(parse_size(size), _FAT32_MOST) if size else _FAT32_MOST
        tables = whole // (32 << 10) * 8  # two tables of 4 bytes for each cluster
        return Medium(text, max(whole - tables - (4 << 20), 0), 32 << 10)
    if name == "exfat":
        whole = parse_size(size) if size else _EXFAT_MOST
        tables = whole // (128 << 10) * 5  # a table of 4 bytes and a bit for each cluster, generously
        return Medium(text, max(whole - tables - (32 << 20), 0), 128 << 10)
    return Medium(text, parse_size(text))


def parse_size(text: str) -> int:
    """Return bytes: 4700000000, 4.7GB (decimal, as media are sold) or 4GiB. Raises `MediumUnknown`."""
    match = _SIZE.fullmatch(text.strip().lower())
    if match is None or match[2] not in _UNITS:
        raise MediumUnknown(text)
    return int(float(match[1]) * _UNITS[match[2]])
