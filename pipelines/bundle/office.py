"""What an origin keeps of each bundle that it made: every small file, so that media can be checked, split and mended.

    sent/<site>/<bundle>/   the files that all volumes share, and plan.json with its signature; no chunks

The weights stay in the store; a chunk is made again from them when a repair asks for it.
"""

from collections.abc import Mapping
from pathlib import Path

from pipelines.bundle.errors import NotOurBundle
from registry.home import Home
from signing.durable import sync_directory, write_durably
from signing.folder import read_inside
from signing.refusals import MetadataTampered, TrustFileMissing


def office(home: Home, site: str, bundle: str) -> Path:
    """Return the folder that keeps a bundle's small files."""
    return home.path / "sent" / site / bundle


def keep(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write the files, durably. Doing it again changes nothing."""
    for path, data in files.items():
        place = folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        write_durably(place, data)
    sync_directory(folder)


def kept(folder: Path, path: str, *, max_bytes: int) -> bytes:
    """Return one of them. Raises `NotOurBundle`."""
    try:
        return read_inside(folder, path, max_bytes=max_bytes)
    except (TrustFileMissing, MetadataTampered) as exc:
        raise NotOurBundle(folder.name, problem=f"{path}: {exc.problem}") from exc


def kept_files(folder: Path) -> list[str]:
    """Return the path of every kept file."""
    return sorted(str(place.relative_to(folder)) for place in folder.rglob("*") if place.is_file())
