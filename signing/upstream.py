"""Relay: a site that packs for further sites passes on releases that it did not make.

A relayed bundle carries, beside the packing site's own `trust/`, what that site remembers of the origin behind it
in `upstream/`: its roots, timestamp, snapshot, targets and catalogue. The receiving site was enrolled with both
roots, so the packing site alone can send and withhold, and cannot invent: a release is signed for by its own
catalogue or, under the very same rules, by the upstream's. A number that both sign for means the same bytes.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import MappingProxyType

from tuf.api.metadata import Root, Snapshot, TargetFile, Targets, Timestamp

from signing.memory import Held, Memory
from signing.refusals import (
    BundleUntrusted,
    ExpiredBundle,
    NothingToRelay,
    NotInCatalogue,
    OlderBundle,
    ReleaseContradicted,
    TooFewSignatures,
    UpstreamExpired,
    UpstreamNotEnrolled,
    WrongKey,
)
from signing.roots import CATALOG, open_metadata
from signing.vouching import Voucher, vouching, vouching_from_memory
from signing.walk import Place, Walk, read_target

UPSTREAM = "upstream"  # the folder of a bundle that holds the metadata of the origin behind the packing site
_PASSED_ON = ("timestamp", "snapshot", "targets", CATALOG)


@dataclass(frozen=True)
class Upstream:
    """What the origin behind ours signs for, as far as it may be believed here."""

    releases: Mapping[
        str, TargetFile
    ]  # what it signs for; of expired metadata too, so that it can contradict
    metadata: Mapping[str, bytes]  # to remember: as `Verified.new_metadata`; empty if there is none
    refusal: BundleUntrusted | UpstreamNotEnrolled | None = None  # why nothing may be taken in on its word


def read_upstream(folder: Path, held: Held | None, when: datetime) -> Upstream:
    """Return what the upstream vouches for in this bundle: the newer of what came and what is remembered.

    A bundle that needs nothing of it is not kept out because its time is over: then `refusal` says so.

    Args:
        held: what this site remembers of the upstream; None if it was not enrolled with one.

    Raises:
        MetadataTampered, ForkedBundle, BadRoot, TrustFileMissing: what came is not what anybody signed.
    """
    came = (folder / UPSTREAM).is_dir()
    if held is None:
        return Upstream({}, {}, UpstreamNotEnrolled(UPSTREAM) if came else None)
    refusal: BundleUntrusted | None = None
    if came:
        try:
            with vouching(Place(folder, UPSTREAM), folder, held, when) as voucher:
                return _vouched(voucher)
        except (OlderBundle, ExpiredBundle, WrongKey, TooFewSignatures) as exc:
            refusal = _named(exc)
    if not held.roles:
        return Upstream({}, {}, refusal)
    return _from_memory(folder, held, when)


def _from_memory(folder: Path, held: Held, when: datetime) -> Upstream:
    try:
        with vouching_from_memory(folder, held, when) as voucher:
            return _vouched(voucher)
    except ExpiredBundle as exc:
        return Upstream(_catalogue(held), _kept(held), _named(exc))


def judge_releases(
    named: Mapping[str, str], walk: Walk, upstream: Upstream, folder: Path
) -> tuple[dict[str, bytes], frozenset[str]]:
    """Rule 10. Return the release documents, and which of them the upstream alone signs for.

    Args:
        named: target path to SHA-256, as the export names them.
        walk: over the packing origin's own metadata.

    Raises:
        NotInCatalogue: nobody who may signs for it, or for another digest.
        ReleaseContradicted: both sign, and not for the same bytes.
        UpstreamNotEnrolled, UpstreamExpired, …: only the upstream could sign for it, and is not believed.
    """
    own, found, relayed = walk.signed_digests(CATALOG), {}, set()
    for path, wanted in named.items():
        theirs = upstream.releases.get(path)
        _check_agreement(path, own.get(path), theirs)
        if path in own or (theirs is None and upstream.refusal is None):
            found[path] = walk.release(path, wanted)
        else:
            found[path] = _relayed(path, wanted, upstream, folder)
            relayed.add(path)
    return found, frozenset(relayed)


def _relayed(path: str, wanted: str, upstream: Upstream, folder: Path) -> bytes:
    if isinstance(upstream.refusal, UpstreamNotEnrolled):
        raise UpstreamNotEnrolled(path)
    if upstream.refusal is not None:
        raise upstream.refusal
    listed = upstream.releases[path]
    if listed.hashes.get("sha256") != wanted:
        raise NotInCatalogue(
            path, f"{UPSTREAM} {CATALOG}", problem="signs for another digest than the export names"
        )
    return read_target(folder, path, listed)


def _check_agreement(path: str, own: str | None, theirs: TargetFile | None) -> None:
    digest = None if theirs is None else theirs.hashes.get("sha256")
    if own is not None and digest is not None and own != digest:
        raise ReleaseContradicted(path, packed=own, upstream=digest)


def upstream_files(memory: Memory) -> dict[str, bytes]:
    """Return path to bytes of what a site puts into the bundles that it packs for others.

    A site that is itself behind a relay passes on the first origin's word, not the relay's own catalogue.

    Raises:
        NothingToRelay: this site is not enrolled, or not all that is needed ever came here.
    """
    held = _first_origin(memory)
    if not held.roots:
        raise NothingToRelay("not all roots from the first on came here")
    if absent := [role for role in _PASSED_ON if role not in held.metadata]:
        raise NothingToRelay(f"no {', '.join(absent)} came here")
    passed = Held(held.root, _only(held.metadata, (*_PASSED_ON, *(set(held.metadata) - set(held.roles)))))
    return {f"{UPSTREAM}/{name}": data for name, data in passed.files().items()}


def relay_expires(memory: Memory) -> datetime:
    """Return until when others believe `upstream_files`, UTC: pack after it and they refuse. Raises `NothingToRelay`."""
    held = _first_origin(memory)
    if "timestamp" not in held.metadata:
        raise NothingToRelay("nothing of the origin came here yet")
    documents = [
        open_metadata(Root, held.root, name="root, as remembered").signed,
        open_metadata(Timestamp, held.metadata["timestamp"], name="timestamp, as remembered").signed,
        open_metadata(Snapshot, held.metadata["snapshot"], name="snapshot, as remembered").signed,
        *(
            open_metadata(Targets, held.metadata[role], name=f"{role}, as remembered").signed
            for role in ("targets", CATALOG)
            if role in held.metadata
        ),
    ]
    return min(document.expires for document in documents)


def relayable(memory: Memory) -> dict[str, str]:
    """Return target path to SHA-256 of the releases that `upstream_files` vouches for; empty if of none."""
    held = memory.upstream or memory.origin
    listed = {} if held is None else _catalogue(held)
    return {path: found.hashes["sha256"] for path, found in listed.items() if "sha256" in found.hashes}


def _first_origin(memory: Memory) -> Held:
    held = memory.upstream or memory.origin
    if held is None:
        raise NothingToRelay("this site has not been enrolled with any origin")
    return held


def _only(metadata: Mapping[str, bytes], roles: Iterable[str]) -> Mapping[str, bytes]:
    return MappingProxyType({role: metadata[role] for role in roles})


def _vouched(voucher: Voucher) -> Upstream:
    document = voucher.walk.load(CATALOG)
    releases = {} if document is None else document.targets
    return Upstream(releases, MappingProxyType(voucher.metadata()))


def _kept(held: Held) -> Mapping[str, bytes]:
    return MappingProxyType({"root": held.root, **held.metadata})


def _catalogue(held: Held) -> Mapping[str, TargetFile]:
    data = held.metadata.get(CATALOG)
    return (
        {} if data is None else open_metadata(Targets, data, name=f"{CATALOG}, as remembered").signed.targets
    )


def _named(refusal: BundleUntrusted) -> BundleUntrusted:
    """Say who has to act: an expired word of the upstream is renewed by way of the packing site."""
    if isinstance(refusal, ExpiredBundle):
        return UpstreamExpired(refusal.role, expired=refusal.expired)
    return refusal
