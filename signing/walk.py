"""One run of tuf's updater over a folder, with our names for what it refuses.

tuf is the authority on freshness, delegation and rollback; this module feeds it, keeps what it verified, and
makes sure that what lies in the folder is what was verified (rules 5, 6 and 10 of `trust.py`). Private parts
of tuf that are used: docs/decisions/0004. The metadata and the documents that it signs for may lie apart: a
late bundle's documents are held against metadata that came with a newer one.
"""

import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from urllib.parse import quote

from tuf.api.exceptions import (
    BadVersionNumberError,
    DownloadError,
    ExpiredMetadataError,
    LengthOrHashMismatchError,
    RepositoryError,
    UnsignedMetadataError,
)
from tuf.api.metadata import (
    TOP_LEVEL_ROLE_NAMES,
    Metadata,
    MetaFile,
    Root,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)
from tuf.ngclient import Updater, UpdaterConfig

from signing.digests import sha256_hex
from signing.errors import OperatorError
from signing.folder import SCHEME, FolderFetcher, read_inside
from signing.profiles import SITE_PREFIX
from signing.refusals import (
    BundleUntrusted,
    ExpiredBundle,
    MetadataTampered,
    NotInCatalogue,
    OlderBundle,
)
from signing.repository import TIMESTAMP_FILE
from signing.roots import CATALOG, MAX_METADATA, PEOPLE_PATH, T, check_signatures, open_metadata
from signing.stream import MAX_DOCUMENT

TRUST = "trust"  # the folder of a bundle that holds the metadata
MAX_NEW_ROOTS = 256  # in one bundle; tuf's own limit, which it applies without a word
_ROLE_FILE = re.compile(r"[a-z]+/(?:[0-9]+\.)?(.+)\.json")
_PROBES = {CATALOG: "releases/0/0/0.json"}  # a path that only this role answers for; sites have their own


@dataclass(frozen=True)
class Place:
    """Where the metadata of one origin lies: `<name>/` below a folder. Refusals call its files by that name."""

    folder: Path
    name: str = TRUST
    timestamp: bytes | None = None  # one that came by itself, for the snapshot that lies here (`restamp.py`)

    def path(self, file: str) -> str:
        """Return the path of a metadata file below the folder."""
        return f"{self.name}/{file}"

    def called(self, role: str) -> str:
        """Return what refusals call a role: `timestamp`, or `upstream timestamp`."""
        return role if self.name == TRUST else f"{self.name} {role}"

    def read(self, file: str, kind: str) -> bytes:
        """Return a metadata file of a TUF type. Raises `TrustFileMissing`, `MetadataTampered` if too large."""
        if file == TIMESTAMP_FILE and self.timestamp is not None:
            return self.timestamp
        limit = MAX_METADATA.get(kind, MAX_METADATA["targets"])
        return read_inside(self.folder, self.path(file), max_bytes=limit)


class Walk:
    """Rules 5 and 6: one run of tuf's updater, and the documents that it verified."""

    def __init__(
        self,
        place: Place,
        documents: Path,
        remembered: Mapping[str, bytes],
        trusted: bytes,
        *,
        when: datetime,
        cache: Path,
    ) -> None:
        self.place, self._documents, self._cache = place, documents, cache
        for role, data in remembered.items():
            (cache / f"{quote(role, '')}.json").write_bytes(data)
        apart = {} if place.timestamp is None else {place.path(TIMESTAMP_FILE): place.timestamp}
        self.fetcher = FolderFetcher(place.folder, max_bytes=max(MAX_METADATA.values()), apart=apart)
        self._updater = Updater(
            str(cache),
            f"{SCHEME}:///{place.name}/",
            fetcher=self.fetcher,
            config=UpdaterConfig(
                max_root_rotations=MAX_NEW_ROOTS,
                root_max_length=MAX_METADATA["root"],
                timestamp_max_length=MAX_METADATA["timestamp"],
                snapshot_max_length=MAX_METADATA["snapshot"],
                targets_max_length=MAX_METADATA["targets"],
                prefix_targets_with_hash=False,
            ),
            bootstrap=trusted,
        )
        # docs/decisions/0004: tuf reads the clock itself and offers no other way to say what time it is
        self._updater._trusted_set.reference_time = when  # noqa: SLF001
        self._verified: dict[str, bytes] = {}
        self._opened: dict[str, Targets] = {}

    def refresh(self) -> None:
        self._updater.refresh()
        self._verified["timestamp"] = self._cached("timestamp")
        stamp = open_metadata(Timestamp, self._verified["timestamp"], name="timestamp").signed
        self._same("snapshot", stamp.snapshot_meta)

    def document(self, role: str) -> Targets:
        """Return targets or a delegated role that the walk has loaded, if the folder holds the same."""
        if role not in self._opened:
            self._same(role, self._snapshot().meta[f"{role}.json"])
            self._opened[role] = open_metadata(Targets, self._verified[role], name=role).signed
        return self._opened[role]

    def load(self, role: str) -> Targets | None:
        """Return what a delegated role signs for, loaded now if it was not; None if it has signed nothing yet."""
        targets = self.document("targets")
        delegated = (targets.delegations.roles or {}) if targets.delegations else {}
        if role not in delegated or not self._has_signed(role):
            return None
        probe = _PROBES.get(role, f"exports/{role.removeprefix(SITE_PREFIX)}/0.json")
        if probe in targets.targets:
            raise NotInCatalogue(probe, role, problem="does not sign for it, targets does")
        self._updater.get_targetinfo(probe)
        return self.document(role)

    def signed_digests(self, role: str) -> dict[str, str]:
        """Return target path to SHA-256 of all that a delegated role signs for."""
        document = self.load(role)
        listed = {} if document is None else document.targets
        return {path: found.hashes["sha256"] for path, found in listed.items() if "sha256" in found.hashes}

    def target(self, path: str, role: str) -> bytes:
        """Return a document's bytes, hashed, that `role` and no other signed for."""
        return read_target(self._documents, path, self._found(path, role))

    def release(self, path: str, wanted: str) -> bytes:
        """Rule 10. Return a release document that catalogue and export name by the same digest."""
        listed = self._found(path, CATALOG).hashes.get("sha256")
        if listed != wanted:
            raise NotInCatalogue(path, CATALOG, problem="signs for another digest than the export names")
        return self.target(path, CATALOG)

    def people(self) -> bytes | None:
        """Return who the people are, as targets signs for it; None if it signs for nobody.

        Raises:
            MetadataTampered: other bytes than the signed ones, or a list that nobody signed.
            TrustFileMissing: signed for, and not here.
        """
        listed = self.document("targets").targets.get(PEOPLE_PATH)
        if listed is not None:
            return read_target(self._documents, PEOPLE_PATH, listed)
        if os.path.lexists(self._documents / PEOPLE_PATH):
            raise MetadataTampered(PEOPLE_PATH, "lies here, and targets does not sign for it")
        return None

    def documents(self) -> dict[str, bytes]:
        return dict(self._verified)

    def role_asked_last(self) -> tuple[str, str]:
        """Return path and role of the file that tuf was looking at."""
        name = self.fetcher.asked[-1] if self.fetcher.asked else self.place.name
        match = _ROLE_FILE.fullmatch(name)
        return name, match[1] if match else name

    def delegator(self, role: str) -> Root | Targets:
        if role in TOP_LEVEL_ROLE_NAMES:
            return open_metadata(Root, self._cached("root"), name="root").signed
        return open_metadata(Targets, self._cached("targets"), name="targets").signed

    def _found(self, path: str, role: str) -> TargetFile:
        if path in self.document("targets").targets:
            raise NotInCatalogue(path, role, problem="does not sign for it, targets does")
        if not self._has_signed(role):
            raise NotInCatalogue(path, role, problem="has signed nothing yet")
        if self._updater.get_targetinfo(path) is None:
            raise NotInCatalogue(path, role)
        found = self.document(role).targets.get(path)
        if found is None:
            raise NotInCatalogue(path, role)
        return found

    def _has_signed(self, role: str) -> bool:
        return f"{role}.json" in self._snapshot().meta

    def _snapshot(self) -> Snapshot:
        return open_metadata(Snapshot, self._verified["snapshot"], name="snapshot").signed

    def _cached(self, role: str) -> bytes:
        return (self._cache / f"{quote(role, '')}.json").read_bytes()

    def _same(self, role: str, meta: MetaFile) -> None:
        """Rule 6: a copy that tuf took from memory must lie in the folder too, unchanged."""
        if role in self._verified:
            return
        file = f"{meta.version}.{role}.json"
        data = self.place.read(file, role)
        if data != self._cached(role) or meta.hashes is None or meta.hashes.get("sha256") != sha256_hex(data):
            raise MetadataTampered(self.place.path(file), "not the bytes that were signed")
        self._verified[role] = data


def read_target(documents: Path, path: str, listed: TargetFile) -> bytes:
    """Return a document's bytes, hashed. Raises `MetadataTampered`, `TrustFileMissing`."""
    if "sha256" not in listed.hashes or listed.length > MAX_DOCUMENT:
        raise MetadataTampered(path, "listed without a SHA-256, or larger than any such document")
    data = read_inside(documents, path, max_bytes=listed.length)
    try:
        listed.verify_length_and_hashes(data)
    except LengthOrHashMismatchError as exc:
        raise MetadataTampered(path, "not the bytes that were signed") from exc
    return data


@contextmanager
def walking(
    place: Place, documents: Path, remembered: Mapping[str, bytes], trusted: bytes, when: datetime
) -> Iterator[Walk]:
    """Yield a walk whose refusals come out as ours.

    Args:
        documents: the folder that holds what the metadata signs for; may be another than the metadata's.
        remembered: role to the metadata last trusted.
        trusted: the root to begin with.
    """
    with tempfile.TemporaryDirectory(prefix="tidegate-trust-") as cache:
        walk = Walk(place, documents, remembered, trusted, when=when, cache=Path(cache))
        try:
            yield walk
        except (RepositoryError, DownloadError) as exc:
            raise _translated(exc, walk) from exc


def _translated(exc: Exception, walk: Walk) -> OperatorError:
    """Return our refusal for tuf's, naming the file that it was looking at."""
    name, role = walk.role_asked_last()
    if isinstance(exc.__cause__, OperatorError):  # what our own fetcher said
        return exc.__cause__
    if isinstance(exc, (UnsignedMetadataError, ExpiredMetadataError)):
        data = read_inside(walk.place.folder, name, max_bytes=MAX_METADATA["targets"])
        try:
            if role == "snapshot":
                _look_again(open_metadata(Snapshot, data, name=name), role, walk, name=name, exc=exc)
            else:
                _look_again(open_metadata(Targets, data, name=name), role, walk, name=name, exc=exc)
        except BundleUntrusted as refusal:
            return refusal
    if isinstance(exc, BadVersionNumberError):
        return OlderBundle(f"{name} ({exc})")
    return MetadataTampered(name, str(exc) or "not the bytes that were signed")


def _look_again(opened: "Metadata[T]", role: str, walk: Walk, *, name: str, exc: RepositoryError) -> None:
    """Find out for ourselves what tuf says in a sentence only: which time is over, how many signed."""
    if isinstance(exc, ExpiredMetadataError):
        raise ExpiredBundle(walk.place.called(role), expired=opened.signed.expires)
    check_signatures(opened, role, [walk.delegator(role)], name=name)
