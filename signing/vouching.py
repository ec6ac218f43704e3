"""Rules 3 to 6 of `trust.py`: may the metadata of one origin be believed, wherever it lies?

The same rules hold for three places: `trust/` of a bundle, `upstream/` of a relayed one, and what a site
remembers, which has to vouch for a bundle that comes late.
"""

import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from tuf.api.metadata import Metadata, Root, Targets, Timestamp

from signing.digests import sha256_hex
from signing.lint import lint_root, lint_targets
from signing.memory import Held, chain_entries
from signing.refusals import (
    BadRoot,
    ExpiredBundle,
    ForkedBundle,
    MetadataTampered,
    OlderBundle,
    RestampRefused,
    TooFewSignatures,
    TrustFileMissing,
    WrongKey,
)
from signing.roots import CATALOG, T, check_signatures, open_metadata
from signing.walk import MAX_NEW_ROOTS, Place, Walk, walking

REMEMBERED = "remembered"  # what refusals call metadata that did not come with the bundle
_ROOT_FILE = re.compile(r"([1-9][0-9]{0,8})\.root\.json")


@dataclass(frozen=True)
class Voucher:
    """Metadata that has passed, and the walk that answers for documents. The catalogue is loaded."""

    walk: Walk
    held: Held  # what was remembered before
    roots: tuple[bytes, ...]  # from version 1 to the newest; the newest alone if not all of them are known
    root: Root
    targets: Targets
    expires: datetime  # of the timestamp

    def metadata(self) -> dict[str, bytes]:
        """Return what to remember: `root`, its whole chain if it is known, and every role that was walked.

        Raises:
            OlderBundle, ForkedBundle: a document older than the one remembered, or a twin of it. tuf forgets
                its numbers when the station's key is changed; the people's keys have not changed by that.
        """
        documents = self.walk.documents()
        for role in sorted(set(documents) & set(self.held.roles) - {"timestamp", "snapshot"}):
            delegator = self.root if role == "targets" else self.targets
            _not_before(
                self.walk.place,
                Targets,
                role,
                documents[role],
                remembered=self.held.roles[role],
                delegator=delegator,
            )
        whole = len(self.roots) == self.root.version
        chain = chain_entries(self.roots if whole else self.held.roots)
        return {"root": self.roots[-1], **chain, **documents}


@contextmanager
def vouching(place: Place, documents: Path, held: Held, when: datetime) -> Iterator[Voucher]:
    """Yield a voucher made of the metadata that came to `place`, by rules 3 to 6.

    Args:
        documents: the folder that holds what the metadata signs for.
        when: the time that counts, UTC.

    Raises:
        BundleUntrusted: the concrete refusals of `signing/refusals.py`.
    """
    with _vouching(place, documents, held, walk_roots(place, held.root), when) as voucher:
        yield voucher


@contextmanager
def vouching_from_memory(documents: Path, held: Held, when: datetime) -> Iterator[Voucher]:
    """Yield a voucher made of what is remembered: nothing on the medium can be older or newer than that.

    Raises:
        TrustFileMissing: nothing is remembered.
        ExpiredBundle: its time is over.
    """
    with tempfile.TemporaryDirectory(prefix="tidegate-remembered-") as made:
        place = Place(Path(made), REMEMBERED)
        (place.folder / place.name).mkdir()
        for name, data in held.files().items():
            (place.folder / place.path(name)).write_bytes(data)
        with _vouching(place, documents, held, (held.root,), when) as voucher:
            yield voucher


@contextmanager
def _vouching(
    place: Place, documents: Path, held: Held, roots: tuple[bytes, ...], when: datetime
) -> Iterator[Voucher]:
    root = open_metadata(Root, roots[-1], name="root").signed
    timestamp = _check_timestamp(place, held, root, when)  # rule 4
    if place.timestamp is not None:
        check_fits(place, timestamp)
    with walking(place, documents, held.roles, held.root, when) as walk:
        walk.refresh()  # rule 5
        targets = walk.document("targets")  # rule 6
        if problems := lint_targets(targets, root):
            raise BadRoot(place.path(f"{targets.version}.targets.json"), problems)
        walk.load(CATALOG)
        yield Voucher(walk, held, roots, root, targets, timestamp.expires)


def walk_roots(place: Place, trusted: bytes) -> tuple[bytes, ...]:
    """Rule 3. Return the chain of roots, or the trusted one alone when the bundle knows only older ones."""
    anchor = open_metadata(Root, trusted, name="the root that this site remembers").signed
    chain = _root_chain(place, limit=anchor.version + MAX_NEW_ROOTS)
    previous: Root | None = None
    for number, data in enumerate(chain, start=1):
        name = place.path(f"{number}.root.json")
        opened = open_metadata(Root, data, name=name)
        root = opened.signed
        if previous is None:
            _check_own_signatures(opened, name=name)
        else:
            check_signatures(opened, "root", [previous, root], name=name)
        if root.version != number:
            raise MetadataTampered(name, f"is root {root.version}")
        if number == anchor.version and data != trusted:
            raise WrongKey(name, "root", problem="not the root that this site was enrolled with")
        if number > anchor.version and (problems := lint_root(data, previous=chain[number - 2])):
            raise BadRoot(name, problems)
        previous = root
    return tuple(chain) if len(chain) >= anchor.version else (trusted,)


def _check_own_signatures(opened: "Metadata[Root]", *, name: str) -> None:
    """The first root vouches for itself, whosesoever it is: one that does not was changed on the way."""
    try:
        check_signatures(opened, "root", [opened.signed], name=name)
    except (WrongKey, TooFewSignatures) as exc:
        raise MetadataTampered(name, "is not signed by the keys that it names itself") from exc


def _root_chain(place: Place, *, limit: int) -> Sequence[bytes]:
    names = [found.name for found in sorted((place.folder / place.name).glob("*.root.json"))]
    numbers = {int(match[1]) for name in names if (match := _ROOT_FILE.fullmatch(name))}
    if len(numbers) > limit:
        raise MetadataTampered(place.name, f"{len(numbers)} roots; at most {limit} are walked")
    return [place.read(f"{number}.root.json", "root") for number in range(1, max(numbers, default=1) + 1)]


def _check_timestamp(place: Place, held: Held, root: Root, when: datetime) -> Timestamp:
    """Rule 4, and the expiry of the two documents that TUF would not name."""
    name = place.path("timestamp.json")
    data = place.read("timestamp.json", "timestamp")
    opened = open_metadata(Timestamp, data, name=name)
    check_signatures(opened, "timestamp", [root], name=name)
    if "timestamp" in held.metadata:
        last = held.metadata["timestamp"]
        _not_before(place, Timestamp, "timestamp", data, remembered=last, delegator=root)
    for role, signed in (("root", root), ("timestamp", opened.signed)):
        if signed.is_expired(when):
            raise ExpiredBundle(place.called(role), expired=signed.expires)
    return opened.signed


def check_fits(place: Place, timestamp: Timestamp) -> None:
    """Pass a timestamp that came by itself, if the snapshot that it stands for lies here. Raises `RestampRefused`."""
    meta = timestamp.snapshot_meta
    try:
        data = place.read(f"{meta.version}.snapshot.json", "snapshot")
    except TrustFileMissing as exc:
        raise RestampRefused(f"the fresh timestamp is for another bundle: snapshot {meta.version}") from exc
    if meta.hashes is None or meta.hashes.get("sha256") != sha256_hex(data):
        raise RestampRefused(f"the fresh timestamp is for another snapshot {meta.version} than lies here")


def _not_before(
    place: Place, kind: type[T], role: str, data: bytes, *, remembered: bytes, delegator: Root | Targets
) -> None:
    """Refuse a document older than the one remembered, or another one of the same number.

    After a change of keys the numbers may start anew (TUF 5.3.11); then rule 9 alone holds the line.
    """
    if data == remembered:
        return
    last = open_metadata(kind, remembered, name=f"the {role} that this site remembers")
    if not delegator.get_verification_result(role, last.signed_bytes, last.signatures):
        return
    version, before = open_metadata(kind, data, name=place.called(role)).signed.version, last.signed.version
    if version < before:
        raise OlderBundle(place.called(role), found=version, remembered=before)
    if version == before:
        raise ForkedBundle(
            f"{place.called(role)} {before}", found=sha256_hex(data), remembered=sha256_hex(remembered)
        )
