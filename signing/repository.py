"""The origin's TUF metadata as a value, and as a folder that survives a crash.

File names follow TUF's consistent snapshots: `1.root.json`, `7.catalog.json`, ..., and `timestamp.json`, which is
written last. Whatever happens before that rename, the folder still reads as the state before; older versions stay.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from tuf.api.metadata import Metadata, Root, Snapshot, Targets, Timestamp

from signing.durable import write_durably
from signing.folder import read_inside
from signing.refusals import TrustFileMissing
from signing.roots import CATALOG, MAX_METADATA, open_metadata, site_role

TIMESTAMP_FILE = "timestamp.json"
_ROOT_FILE = re.compile(r"([1-9][0-9]{0,8})\.root\.json")


@dataclass(frozen=True)
class TrustState:
    """Everything signed so far: the whole root chain and the current document of every other role."""

    roots: tuple[bytes, ...]  # version 1 first, no gaps
    metadata: Mapping[str, bytes] = field(default_factory=lambda: MappingProxyType({}))  # role to bytes

    @property
    def root(self) -> Root:
        """The newest root."""
        return open_metadata(Root, self.roots[-1], name=f"{len(self.roots)}.root.json").signed

    @property
    def targets(self) -> Targets:
        """The current top-level targets. Raises `TrustFileMissing` before there are any."""
        signed = self.opened("targets").signed
        assert isinstance(signed, Targets)
        return signed

    @property
    def sites(self) -> tuple[str, ...]:
        """The names of all sites that have been added, in order of addition."""
        delegations = self.targets.delegations
        roles = delegations.roles or {} if delegations else {}
        return tuple(name.removeprefix(site_role("")) for name in roles if name != CATALOG)

    def opened(self, role: str) -> "Metadata[Targets] | Metadata[Snapshot] | Metadata[Timestamp]":
        """Return the current document of a role other than root. Raises `TrustFileMissing`, `MetadataTampered`."""
        if role not in self.metadata:
            raise TrustFileMissing(f"{role}.json", "has not been signed yet")
        if role == "timestamp":
            return open_metadata(Timestamp, self.metadata[role], name=TIMESTAMP_FILE)
        if role == "snapshot":
            return open_metadata(Snapshot, self.metadata[role], name="snapshot.json")
        return open_metadata(Targets, self.metadata[role], name=f"{role}.json")

    def files(self, *, site: str | None = None) -> dict[str, bytes]:
        """Return file name to bytes.

        Args:
            site: leave out what is for other sites: this is what a bundle's `trust/` holds.
        """
        found = {f"{number}.root.json": data for number, data in enumerate(self.roots, start=1)}
        for role, data in self.metadata.items():
            foreign = role.startswith(site_role("")) and site is not None and role != site_role(site)
            if role != "timestamp" and not foreign:
                found[f"{self.opened(role).signed.version}.{role}.json"] = data
        if "timestamp" in self.metadata:  # last, so that a reader of the folder never sees it too early
            found[TIMESTAMP_FILE] = self.metadata["timestamp"]
        return found


class TrustRepository:
    """A folder that holds a `TrustState`. One writer at a time; readers need no lock."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def load(self) -> TrustState:
        """Return the state.

        Raises:
            TrustFileMissing: there is none, or a file of it is gone.
            MetadataTampered: a file is not metadata any more.
        """
        numbers = sorted(
            int(match[1])
            for place in self.path.glob("*.root.json")
            if (match := _ROOT_FILE.fullmatch(place.name))
        )
        if numbers != list(range(1, len(numbers) + 1)) or not numbers:
            raise TrustFileMissing(str(self.path / f"{_first_gap(numbers)}.root.json"))
        roots = tuple(self._read(f"{number}.root.json", "root") for number in numbers)
        if not (self.path / TIMESTAMP_FILE).exists():
            return TrustState(roots)
        found = {"timestamp": self._read(TIMESTAMP_FILE, "timestamp")}
        stamp = open_metadata(Timestamp, found["timestamp"], name=TIMESTAMP_FILE).signed
        name = f"{stamp.snapshot_meta.version}.snapshot.json"
        found["snapshot"] = self._read(name, "snapshot")
        for file, meta in open_metadata(Snapshot, found["snapshot"], name=name).signed.meta.items():
            found[file.removesuffix(".json")] = self._read(f"{meta.version}.{file}", "targets")
        return TrustState(roots, MappingProxyType(found))

    def save(self, state: TrustState) -> None:
        """Write what is new; files that are there with the same bytes are left alone."""
        self.path.mkdir(parents=True, exist_ok=True)
        for name, data in state.files().items():
            place = self.path / name
            if not place.is_file() or place.read_bytes() != data:
                write_durably(place, data)

    def _read(self, name: str, kind: str) -> bytes:
        return read_inside(self.path, name, max_bytes=MAX_METADATA[kind])


def _first_gap(numbers: list[int]) -> int:
    present = set(numbers)
    return next(number for number in range(1, len(numbers) + 2) if number not in present)
