"""One run of tuf's updater over a folder, with our names for what it refuses.

tuf is the authority on freshness, delegation and rollback; this module feeds it, keeps what it verified, and
makes sure that what lies in the folder is what was verified (rules 5, 6 and 10 of `trust.py`). Private parts
of tuf that are used: docs/decisions/0004.
"""

import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
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
from signing.refusals import (
    BundleUntrusted,
    ExpiredBundle,
    MetadataTampered,
    NotInCatalogue,
    OlderBundle,
)
from signing.roots import CATALOG, MAX_METADATA, T, check_signatures, open_metadata
from signing.stream import MAX_DOCUMENT

TRUST = "trust"  # the folder of a bundle that holds the metadata
MAX_NEW_ROOTS = 256  # in one bundle; tuf's own limit, which it applies without a word
_ROLE_FILE = re.compile(rf"{TRUST}/(?:[0-9]+\.)?(.+)\.json")


class Walk:
    """Rules 5 and 6: one run of tuf's updater, and the documents that it verified."""

    def __init__(
        self, folder: Path, remembered: Mapping[str, bytes], trusted: bytes, when: datetime, cache: Path
    ) -> None:
        self._folder, self._cache = folder, cache
        for role, data in remembered.items():
            (cache / f"{quote(role, '')}.json").write_bytes(data)
        self.fetcher = FolderFetcher(folder, max_bytes=max(MAX_METADATA.values()))
        self._updater = Updater(
            str(cache),
            f"{SCHEME}:///{TRUST}/",
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

    def refresh(self) -> None:
        self._updater.refresh()
        self._verified["timestamp"] = self._cached("timestamp")
        stamp = open_metadata(Timestamp, self._verified["timestamp"], name="timestamp").signed
        self._same("snapshot", stamp.snapshot_meta)

    def document(self, role: str) -> Targets:
        """Return targets or a delegated role that the walk has loaded, if the folder holds the same."""
        snapshot = open_metadata(Snapshot, self._verified["snapshot"], name="snapshot").signed
        self._same(role, snapshot.meta[f"{role}.json"])
        return open_metadata(Targets, self._verified[role], name=role).signed

    def target(self, path: str, role: str) -> bytes:
        """Return a document's bytes, hashed, that `role` and no other signed for."""
        found = self._found(path, role)
        if "sha256" not in found.hashes or found.length > MAX_DOCUMENT:
            raise MetadataTampered(path, "listed without a SHA-256, or larger than any such document")
        data = read_inside(self._folder, path, max_bytes=found.length)
        try:
            found.verify_length_and_hashes(data)
        except LengthOrHashMismatchError as exc:
            raise MetadataTampered(path, "not the bytes that were signed") from exc
        return data

    def release(self, path: str, wanted: str) -> bytes:
        """Rule 10. Return a release document that catalogue and export name by the same digest."""
        listed = self._found(path, CATALOG).hashes.get("sha256")
        if listed != wanted:
            raise NotInCatalogue(path, CATALOG, problem="signs for another digest than the export names")
        return self.target(path, CATALOG)

    def documents(self) -> dict[str, bytes]:
        return dict(self._verified)

    def role_asked_last(self) -> tuple[str, str]:
        """Return path and role of the file that tuf was looking at."""
        name = self.fetcher.asked[-1] if self.fetcher.asked else TRUST
        match = _ROLE_FILE.fullmatch(name)
        return name, match[1] if match else name

    def delegator(self, role: str) -> Root | Targets:
        if role in TOP_LEVEL_ROLE_NAMES:
            return open_metadata(Root, self._cached("root"), name="root").signed
        return open_metadata(Targets, self._cached("targets"), name="targets").signed

    def _found(self, path: str, role: str) -> TargetFile:
        if path in self.document("targets").targets:
            raise NotInCatalogue(path, role, problem="does not sign for it, targets does")
        snapshot = open_metadata(Snapshot, self._verified["snapshot"], name="snapshot").signed
        if f"{role}.json" not in snapshot.meta:
            raise NotInCatalogue(path, role, problem="has signed nothing yet")
        if self._updater.get_targetinfo(path) is None:
            raise NotInCatalogue(path, role)
        found = self.document(role).targets.get(path)
        if found is None:
            raise NotInCatalogue(path, role)
        return found

    def _cached(self, role: str) -> bytes:
        return (self._cache / f"{quote(role, '')}.json").read_bytes()

    def _same(self, role: str, meta: MetaFile) -> None:
        """Rule 6: a copy that tuf took from memory must lie in the folder too, unchanged."""
        if role in self._verified:
            return
        name = f"{TRUST}/{meta.version}.{role}.json"
        data = read_inside(self._folder, name, max_bytes=MAX_METADATA.get(role, MAX_METADATA["targets"]))
        if data != self._cached(role) or meta.hashes is None or meta.hashes.get("sha256") != sha256_hex(data):
            raise MetadataTampered(name, "not the bytes that were signed")
        self._verified[role] = data


@contextmanager
def walking(folder: Path, remembered: Mapping[str, bytes], trusted: bytes, when: datetime) -> Iterator[Walk]:
    """Yield a walk whose refusals come out as ours."""
    with tempfile.TemporaryDirectory(prefix="tidegate-trust-") as cache:
        walk = Walk(folder, remembered, trusted, when, Path(cache))
        try:
            yield walk
        except (RepositoryError, DownloadError) as exc:
            raise _translated(exc, walk, folder) from exc


def _translated(exc: Exception, walk: Walk, folder: Path) -> OperatorError:
    """Return our refusal for tuf's, naming the file that it was looking at."""
    name, role = walk.role_asked_last()
    if isinstance(exc.__cause__, OperatorError):  # what our own fetcher said
        return exc.__cause__
    if isinstance(exc, (UnsignedMetadataError, ExpiredMetadataError)):
        data = read_inside(folder, name, max_bytes=MAX_METADATA["targets"])
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
        raise ExpiredBundle(role, expired=opened.signed.expires)
    check_signatures(opened, role, [walk.delegator(role)], name=name)
