"""May this site believe what lies in this folder? TUF from a folder, and the things TUF leaves open.

The rules, in order; each is repeated at its check and has its tests in `tests/signing/test_trust*.py`:

 1. A site trusts one root, installed at enrolment by a fingerprint that two people compared.
 2. The clock may not be more than five minutes behind any time that was ever signed for us.
 3. The whole root chain is there; every root is signed by the one before it and by itself, says exactly what
    was signed, and passes the lint; the one that we trust is among them, byte for byte.
 4. The timestamp is exactly what its key signed, and neither older than nor a twin of the one we remember.
 5. TUF walks snapshot, targets and delegations: versions, lengths, hashes, signatures, expiry.
 6. What lies in the folder is what the walk verified, the list of people too; the delegations pass the lint, and
    no document is older than or a twin of the one we remember while its keys are the same.
 7. The bundle is for this site: the origin knows it, and the export lies under its name.
 8. The export is signed by this site's role, hashed before it is parsed, addressed to us, and not of the future.
 9. One number is one export, and each names the one before it. Missing numbers are reported, not refused; but a
    site that has nothing begins with number 1, or with an export that says that one may begin with it.
10. Every release that the export names is signed for with the same digest by the catalogue (Uptane's split), or,
    relayed, by the catalogue of the origin behind ours, whose root this site was enrolled with too.

Bundles may come in any order. The site's role lists every export that was ever signed for it, so a bundle that
comes after a newer one, whose own metadata is older, expired or signed by keys that were changed since, is judged
by the metadata that this site *remembers*, with the same rules, today's time and today's keys. Nothing of the
bundle's own metadata is kept then, and only an export and releases that are still signed for are taken in. A number
below the highest is always judged so: whoever stole the station's key cannot dress it up with metadata of their own.

A bundle that was accepted before is recognised by its export's digest whatever the metadata says by now:
importing it again changes nothing. If it came in only in part, the rest needs a word that is good today.

A fresh timestamp may come by itself, on paper, for a bundle whose own has run out. It stands in for that one file
and passes every rule; it cannot make another bundle of it (`signing/restamp.py`).

Expiry gates imports and new promotions. It never stops serving: nothing here is asked when a model is served.
No rule opens a socket, and nothing is written but in a temporary folder; the caller keeps `Verified.new_metadata`
and the rest in its own transaction, as `remember` says. Rules 3 to 6 stand in `vouching.py`, rule 9 in `stream.py`.
Private parts of tuf that are used: docs/decisions/0004.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import MappingProxyType

from tuf.api.metadata import Root, Targets

from signing.digests import sha256_hex
from signing.folder import FolderFetcher, read_inside
from signing.memory import Held, Memory, Verified, enrol, enrol_upstream, remember
from signing.profiles import Profile
from signing.refusals import (
    BadRoot,
    BundleUntrusted,
    ClockBehind,
    ExpiredBundle,
    ExportMalformed,
    ForeignBundle,
    ForkedBundle,
    MetadataTampered,
    NotEnrolled,
    NothingToRelay,
    NotInCatalogue,
    OlderBundle,
    ReleaseContradicted,
    RootFingerprintWrong,
    SiteNotReady,
    TooFewSignatures,
    TrustFileMissing,
    UpstreamExpired,
    UpstreamNotEnrolled,
    WrongKey,
)
from signing.roots import open_metadata, profile_of, site_role
from signing.stream import EXPORT_PATH, MAX_DOCUMENT, Export, Seen, judge_sequence, read_export
from signing.upstream import judge_releases, read_upstream, relay_expires, relayable, upstream_files
from signing.vouching import Voucher, vouching, vouching_from_memory
from signing.walk import Place

__all__ = [
    "BadRoot",
    "BundleUntrusted",
    "ClockBehind",
    "ExpiredBundle",
    "ExportMalformed",
    "FolderFetcher",
    "ForeignBundle",
    "ForkedBundle",
    "Memory",
    "MetadataTampered",
    "NotEnrolled",
    "NotInCatalogue",
    "NothingToRelay",
    "OlderBundle",
    "ReleaseContradicted",
    "RootFingerprintWrong",
    "TooFewSignatures",
    "TrustFileMissing",
    "UpstreamExpired",
    "UpstreamNotEnrolled",
    "Verified",
    "WrongKey",
    "enrol",
    "enrol_upstream",
    "find_export",
    "relay_expires",
    "relayable",
    "remember",
    "upstream_files",
    "verify",
]

CLOCK_SLACK = timedelta(minutes=5)
_NEVER_EXPIRED = datetime.min.replace(tzinfo=UTC)


def verify(
    folder: Path,
    memory: Memory,
    *,
    audience: str,
    now: datetime,
    export_path: str | None = None,
    timestamp: bytes | None = None,
) -> Verified:
    """Return what may be believed of the bundle in `folder`, by the rules at the top.

    Args:
        folder: holds `trust/`, `exports/` and `releases/`; only read.
        audience: this site's name.
        now: this computer's clock, aware, UTC.
        export_path: which export this bundle is about; found in `exports/` if left out.
        timestamp: one that came by another way, to stand for the bundle's own: `signing/restamp.py`.

    Raises:
        RestampRefused: `timestamp` is for another bundle.
        BundleUntrusted, SiteNotReady: the concrete refusals of `signing/refusals.py`.
    """
    if memory.origin is None:  # rule 1
        raise NotEnrolled
    if memory.clock_floor is not None and now < memory.clock_floor - CLOCK_SLACK:  # rule 2
        raise ClockBehind(now=now, signed=memory.clock_floor, by="something accepted here")
    path = find_export(folder, audience) if export_path is None else export_path
    when = max(now, memory.clock_floor or now).astimezone(UTC)
    case = _Case(folder, memory, memory.origin, audience, path, when)
    try:
        with vouching(Place(folder, timestamp=timestamp), folder, case.held, when) as voucher:
            return _judge(case, voucher)
    except (OlderBundle, ExpiredBundle, UpstreamExpired, WrongKey, TooFewSignatures) as refusal:
        recalled = _recall(case)
        return _judge_by_memory(case, refusal) if recalled is None else _renewed(case, recalled, refusal)


def _renewed(case: "_Case", recalled: Verified, refusal: BundleUntrusted) -> Verified:
    """Return a bundle that was accepted before with today's word on it: some of it may not have come in yet."""
    try:
        return _judge_by_memory(case, refusal)
    except (BundleUntrusted, SiteNotReady) as why:
        return replace(recalled, outdated=why)


def find_export(folder: Path, audience: str) -> str:
    """Return the path of the bundle's export document: the highest for this site, else any other's.

    Raises:
        TrustFileMissing: there is none.
    """
    found = [
        (match[1] == audience, int(match[2]), match[0])
        for place in sorted((folder / "exports").glob("*/*.json"))
        if (match := EXPORT_PATH.fullmatch(place.relative_to(folder).as_posix()))
    ]
    if not found:
        raise TrustFileMissing(f"exports/{audience}")
    return max(found)[2]


@dataclass(frozen=True)
class _Case:
    """One bundle before the judge."""

    folder: Path
    memory: Memory
    held: Held  # of the origin
    audience: str
    path: str  # of the export
    when: datetime  # the time that counts: this computer's, or the floor if that is later


def _judge(case: _Case, voucher: Voucher, *, by_memory: bool = False) -> Verified:
    """Rules 7 to 10, by metadata that has passed rules 3 to 6."""
    walk, path = voucher.walk, case.path
    _check_audience(voucher.targets, case.audience, path)  # rule 7
    data = walk.target(path, site_role(case.audience))  # rule 8
    export = read_export(data, at=path)
    _check_export(export, case.audience, path, now=case.when)
    digest, signed = sha256_hex(data), walk.signed_digests(site_role(case.audience))
    seen = _seen(case.memory, _exports(signed, case.audience))
    standing = judge_sequence(export, digest, seen, by_memory=by_memory)  # rule 9
    upstream = read_upstream(case.folder, case.memory.upstream, case.when)
    releases, relayed = judge_releases(export.releases, walk, upstream, case.folder)  # rule 10
    return Verified(
        audience=case.audience,
        export_path=path,
        export_bytes=data,
        export_sha256=digest,
        export=export,
        releases=MappingProxyType(releases),
        root_version=voucher.root.version,
        profile=_profile(voucher.root),
        new_metadata=MappingProxyType(voucher.metadata()),
        signed_time=export.issued_at,
        expires=voucher.expires,
        already=standing.already,
        late=standing.late,
        gap=standing.gap,
        relayed=relayed,
        upstream_metadata=upstream.metadata,
        people=None if by_memory else walk.people(),
    )


def _judge_by_memory(case: _Case, refusal: BundleUntrusted) -> Verified:
    """Return the bundle if the metadata that this site remembers signs for it; else say what is wrong with it.

    Args:
        refusal: what its own metadata met; raised again if this site has nothing better to say.
    """
    listed = _remembered(case)
    if listed is None:
        raise refusal
    found = sha256_hex(read_inside(case.folder, case.path, max_bytes=MAX_DOCUMENT))
    if found != listed:
        _demand_own_word(case)
        raise ForkedBundle(case.path, found=found, remembered=listed) from refusal
    with vouching_from_memory(case.folder, case.held, case.when) as voucher:
        return _judge(case, voucher, by_memory=True)


def _remembered(case: _Case) -> str | None:
    """Return the digest that the remembered role of this site signs for under the export's path, if it does."""
    data = case.held.metadata.get(site_role(case.audience))
    if data is None or "timestamp" not in case.held.metadata:
        return None
    role = open_metadata(Targets, data, name="the role of this site, as remembered").signed
    listed = role.targets.get(case.path)
    return None if listed is None else listed.hashes.get("sha256")


def _demand_own_word(case: _Case) -> None:
    """Tell a second history from damage: its own metadata, of whatever time, must sign for the export at least.

    Raises:
        MetadataTampered, WrongKey, …: what a bundle of no known history deserves.
    """
    with vouching(Place(case.folder), case.folder, Held(case.held.root), _NEVER_EXPIRED) as voucher:
        voucher.walk.target(case.path, site_role(case.audience))


def _check_audience(targets: Targets, audience: str, path: str) -> None:
    """Rule 7."""
    roles = (targets.delegations.roles or {}) if targets.delegations else {}
    match = EXPORT_PATH.fullmatch(path)
    if match is None:
        raise MetadataTampered(path, "not the path of an export")
    if match[1] != audience or site_role(audience) not in roles:
        raise ForeignBundle(audience, found=match[1] if match[1] != audience else "sites of another origin")


def _check_export(export: Export, audience: str, path: str, *, now: datetime) -> None:
    """Rule 8."""
    if export.audience != audience:
        raise ForeignBundle(audience, found=export.audience)
    if path != f"exports/{audience}/{export.sequence}.json":
        raise ExportMalformed(f"{path}.sequence", f"says {export.sequence}, and the path another number")
    if export.issued_at > now + CLOCK_SLACK:
        raise ClockBehind(now=now, signed=export.issued_at, by=path)


def _exports(signed: Mapping[str, str], audience: str) -> dict[int, str]:
    """Return number to digest of this site's exports among signed paths."""
    matches = {path: EXPORT_PATH.fullmatch(path) for path in signed}
    return {int(match[2]): signed[path] for path, match in matches.items() if match and match[1] == audience}


def _seen(memory: Memory, signed: Mapping[int, str]) -> Seen:
    """Return what is known of the stream, the last export also when only its digest was kept."""
    last = (
        {}
        if memory.sequence is None or memory.export_sha256 is None
        else {memory.sequence: memory.export_sha256}
    )
    return Seen(memory.sequence or 0, {**memory.accepted, **last}, memory.awaited, signed)


def _recall(case: _Case) -> Verified | None:
    """Return a bundle accepted before, known by its export's digest; None if this is not one."""
    match = EXPORT_PATH.fullmatch(case.path)
    if match is None or match[1] != case.audience:
        return None
    seen = _seen(case.memory, {})
    try:
        data = read_inside(case.folder, case.path, max_bytes=MAX_DOCUMENT)
        if seen.accepted.get(int(match[2])) != sha256_hex(data):
            return None
        export = read_export(data, at=case.path)
        releases = {}
        for release, wanted in export.releases.items():
            releases[release] = read_inside(case.folder, release, max_bytes=MAX_DOCUMENT)
            if sha256_hex(releases[release]) != wanted:
                return None
    except BundleUntrusted:
        return None
    root = open_metadata(Root, case.held.root, name="the root that this site remembers").signed
    return Verified(
        audience=case.audience,
        export_path=case.path,
        export_bytes=data,
        export_sha256=sha256_hex(data),
        export=export,
        releases=MappingProxyType(releases),
        root_version=root.version,
        profile=_profile(root),
        new_metadata=MappingProxyType({"root": case.held.root, **case.held.metadata}),
        signed_time=export.issued_at,
        expires=None,
        already=True,
        late=False,
        gap=judge_sequence(export, sha256_hex(data), seen).gap,
    )


def _profile(root: Root) -> Profile:
    return profile_of(root) or Profile.OFFICERS
