"""May this site believe what lies in this folder? TUF from a folder, and the four things TUF leaves open.

The rules, in order; each is repeated at its check and has its tests in `tests/signing/test_trust.py`:

 1. A site trusts one root, installed at enrolment by a fingerprint that two people compared.
 2. The clock may not be more than five minutes behind any time that was ever signed for us.
 3. The whole root chain is there; every root is signed by the one before it and by itself, says exactly what
    was signed, and passes the lint; the one that we trust is among them, byte for byte.
 4. The timestamp is exactly what its key signed, and neither older than nor a twin of the one we remember.
 5. TUF walks snapshot, targets and delegations: versions, lengths, hashes, signatures, expiry.
 6. What lies in the folder is what the walk verified, and the delegations pass the lint.
 7. The bundle is for this site: the origin knows it, and the export lies under its name.
 8. The export is signed by this site's role, hashed before it is parsed, addressed to us, and not of the future.
 9. The export's number is above all accepted ones, or it is one of them with the same digest; its predecessor
    is the one accepted here. Missing numbers are reported, not refused.
10. Every release that the export names is signed for by the catalogue with the same digest (Uptane's split).

A bundle that was accepted before is recognised by its export's digest even after rules 3 to 5 have turned
against it (older, expired, keys changed since): importing it again changes nothing.

Expiry gates imports and new promotions. It never stops serving: nothing here is asked when a model is served.
No rule opens a socket, and nothing is written but in a temporary folder; the caller keeps `Verified.new_metadata`
and the rest in its own transaction, as `remember` says. Private parts of tuf that are used: docs/decisions/0004.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import MappingProxyType

from tuf.api.metadata import Metadata, Root, Targets, Timestamp

from signing.digests import sha256_hex
from signing.folder import FolderFetcher, read_inside
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
    NotInCatalogue,
    OlderBundle,
    RootFingerprintWrong,
    TooFewSignatures,
    TrustFileMissing,
    WrongKey,
)
from signing.roots import (
    MAX_METADATA,
    Profile,
    check_signatures,
    lint_root,
    lint_targets,
    open_metadata,
    profile_of,
    site_role,
)
from signing.stream import EXPORT_PATH, MAX_DOCUMENT, Export, judge_sequence, read_export
from signing.walk import MAX_NEW_ROOTS, TRUST, walking

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
    "OlderBundle",
    "RootFingerprintWrong",
    "TooFewSignatures",
    "TrustFileMissing",
    "Verified",
    "WrongKey",
    "enrol",
    "find_export",
    "remember",
    "verify",
]

CLOCK_SLACK = timedelta(minutes=5)
_ROOT_FILE = re.compile(r"([1-9][0-9]{0,8})\.root\.json")


@dataclass(frozen=True)
class Memory:
    """What a site remembers between imports, outside of any cache of TUF's."""

    root: bytes | None = None  # the newest trusted root; None before enrolment
    metadata: Mapping[str, bytes] = field(
        default_factory=lambda: MappingProxyType({})
    )  # role to last trusted
    sequence: int | None = None  # highest export number accepted
    export_sha256: str | None = None  # of that export
    accepted: Mapping[int, str] = field(default_factory=lambda: MappingProxyType({}))  # number to digest
    clock_floor: datetime | None = None  # highest signed time ever verified, UTC


@dataclass(frozen=True)
class Verified:
    """A bundle that may be believed, and what to remember once it has been committed."""

    audience: str
    export_path: str
    export_bytes: bytes
    export_sha256: str
    export: Export
    releases: Mapping[str, bytes]  # target path to release document
    root_version: int
    profile: Profile  # `solo` is reported as single-person
    new_metadata: Mapping[str, bytes]  # `root` and every other role that was walked
    signed_time: datetime  # the export's `issued_at`, UTC
    expires: datetime | None  # of the timestamp; None for a recalled bundle
    already: bool  # accepted before: nothing to import
    gap: range  # export numbers that never arrived here

    @property
    def sequence(self) -> int:
        """The export's number."""
        return self.export.sequence


def enrol(root_bytes: bytes, fingerprint: str) -> Memory:
    """Return the memory of a site that trusts this root from now on.

    Args:
        fingerprint: SHA-256 of the file as read out to a person: any case, spaces, colons and hyphens between.

    Raises:
        RootFingerprintWrong: another file, or not 64 hex digits.
        MetadataTampered, WrongKey, TooFewSignatures: the root does not carry its own signatures.
        BadRoot: the lint found something.
    """
    expected, actual = re.sub(r"[\s:-]", "", fingerprint).lower(), sha256_hex(root_bytes)
    if expected != actual:
        raise RootFingerprintWrong(expected=expected, actual=actual)
    opened = open_metadata(Root, root_bytes, name="root")
    check_signatures(opened, "root", [opened.signed], name="root", surplus=True)
    if problems := lint_root(root_bytes):
        raise BadRoot(f"root {opened.signed.version}", problems)
    return Memory(root=root_bytes)


def verify(
    folder: Path, memory: Memory, *, audience: str, now: datetime, export_path: str | None = None
) -> Verified:
    """Return what may be believed of the bundle in `folder`, by the rules at the top.

    Args:
        folder: holds `trust/`, `exports/` and `releases/`; only read.
        audience: this site's name.
        now: this computer's clock, aware, UTC.
        export_path: which export this bundle is about; found in `exports/` if left out.

    Raises:
        BundleUntrusted, SiteNotReady: the concrete refusals of `signing/refusals.py`.
    """
    if memory.root is None:  # rule 1
        raise NotEnrolled
    if memory.clock_floor is not None and now < memory.clock_floor - CLOCK_SLACK:  # rule 2
        raise ClockBehind(now=now, signed=memory.clock_floor, by="something accepted here")
    path = find_export(folder, audience) if export_path is None else export_path
    try:
        return _verify(folder, memory, memory.root, audience=audience, now=now, path=path)
    except (OlderBundle, ExpiredBundle, WrongKey):
        recalled = _recall(folder, memory, memory.root, audience=audience, path=path)
        if recalled is None:
            raise
        return recalled


def remember(memory: Memory, verified: Verified) -> Memory:
    """Return the memory to keep once the bundle is committed; nothing in it ever goes down."""
    metadata = {role: data for role, data in verified.new_metadata.items() if role != "root"}
    fresh = replace(
        memory, root=verified.new_metadata["root"], metadata=MappingProxyType({**memory.metadata, **metadata})
    )
    if verified.already:
        return fresh
    floor = max(verified.signed_time, memory.clock_floor or verified.signed_time)
    accepted = {**memory.accepted, verified.sequence: verified.export_sha256}
    return replace(
        fresh,
        sequence=verified.sequence,
        export_sha256=verified.export_sha256,
        accepted=MappingProxyType(accepted),
        clock_floor=floor,
    )


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


def _verify(
    folder: Path, memory: Memory, trusted: bytes, *, audience: str, now: datetime, path: str
) -> Verified:
    when = max(now, memory.clock_floor or now).astimezone(UTC)
    root_bytes = _walk_roots(folder, trusted)  # rule 3
    root = open_metadata(Root, root_bytes, name="root").signed
    timestamp = _check_timestamp(folder, memory, root, when)  # rule 4
    with walking(folder, memory.metadata, trusted, when) as walk:
        walk.refresh()  # rule 5
        targets = walk.document("targets")  # rule 6
        if problems := lint_targets(targets, root):
            raise BadRoot(f"{TRUST}/{targets.version}.targets.json", problems)
        _check_audience(targets, audience, path)  # rule 7
        data = walk.target(path, site_role(audience))  # rule 8
        export = read_export(data, at=path)
        _check_export(export, audience, path, now=when)
        digest = sha256_hex(data)
        standing = judge_sequence(  # rule 9
            export, digest, highest=memory.sequence, accepted=_accepted(memory)
        )
        releases = {release: walk.release(release, wanted) for release, wanted in export.releases.items()}
        return Verified(
            audience=audience,
            export_path=path,
            export_bytes=data,
            export_sha256=digest,
            export=export,
            releases=MappingProxyType(releases),
            root_version=root.version,
            profile=_profile(root),
            new_metadata=MappingProxyType({"root": root_bytes, **walk.documents()}),
            signed_time=export.issued_at,
            expires=timestamp.expires,
            already=standing.already,
            gap=standing.gap,
        )


def _walk_roots(folder: Path, trusted: bytes) -> bytes:
    """Rule 3. Return the newest root, or the trusted one when the bundle knows only older ones."""
    anchor = open_metadata(Root, trusted, name="the root that this site remembers").signed
    chain = _root_chain(folder, limit=anchor.version + MAX_NEW_ROOTS)
    previous: Root | None = None
    for number, data in enumerate(chain, start=1):
        name = f"{TRUST}/{number}.root.json"
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
    return chain[-1] if len(chain) > anchor.version else trusted


def _check_own_signatures(opened: "Metadata[Root]", *, name: str) -> None:
    """The first root vouches for itself, whosesoever it is: one that does not was changed on the way."""
    try:
        check_signatures(opened, "root", [opened.signed], name=name)
    except (WrongKey, TooFewSignatures) as exc:
        raise MetadataTampered(name, "is not signed by the keys that it names itself") from exc


def _root_chain(folder: Path, *, limit: int) -> list[bytes]:
    names = [place.name for place in sorted((folder / TRUST).glob("*.root.json"))]
    numbers = {int(match[1]) for name in names if (match := _ROOT_FILE.fullmatch(name))}
    if len(numbers) > limit:
        raise MetadataTampered(TRUST, f"{len(numbers)} roots; at most {limit} are walked")
    return [
        read_inside(folder, f"{TRUST}/{number}.root.json", max_bytes=MAX_METADATA["root"])
        for number in range(1, max(numbers, default=1) + 1)
    ]


def _check_timestamp(folder: Path, memory: Memory, root: Root, when: datetime) -> Timestamp:
    """Rule 4, and the expiry of the two documents that TUF would not name."""
    name = f"{TRUST}/timestamp.json"
    data = read_inside(folder, name, max_bytes=MAX_METADATA["timestamp"])
    opened = open_metadata(Timestamp, data, name=name)
    check_signatures(opened, "timestamp", [root], name=name)
    remembered = memory.metadata.get("timestamp")
    if remembered is not None and remembered != data:
        last = open_metadata(Timestamp, remembered, name="the timestamp that this site remembers")
        # After a change of keys the numbers start anew (TUF 5.3.11); then rule 9 alone holds the line.
        if root.get_verification_result("timestamp", last.signed_bytes, last.signatures):
            if opened.signed.version < last.signed.version:
                raise OlderBundle("timestamp", found=opened.signed.version, remembered=last.signed.version)
            if opened.signed.version == last.signed.version:
                raise ForkedBundle(
                    f"timestamp {last.signed.version}",
                    found=sha256_hex(data),
                    remembered=sha256_hex(remembered),
                )
    for role, signed in (("root", root), ("timestamp", opened.signed)):
        if signed.is_expired(when):
            raise ExpiredBundle(role, expired=signed.expires)
    return opened.signed


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


def _accepted(memory: Memory) -> dict[int, str]:
    """Return everything accepted, the last one also when only its digest was kept."""
    last = (
        {}
        if memory.sequence is None or memory.export_sha256 is None
        else {memory.sequence: memory.export_sha256}
    )
    return {**memory.accepted, **last}


def _recall(folder: Path, memory: Memory, trusted: bytes, *, audience: str, path: str) -> Verified | None:
    """Return a bundle accepted before, known by its export's digest; None if this is not one."""
    match = EXPORT_PATH.fullmatch(path)
    if match is None or match[1] != audience:
        return None
    try:
        data = read_inside(folder, path, max_bytes=MAX_DOCUMENT)
        if _accepted(memory).get(int(match[2])) != sha256_hex(data):
            return None
        export = read_export(data, at=path)
        releases = {}
        for release, wanted in export.releases.items():
            releases[release] = read_inside(folder, release, max_bytes=MAX_DOCUMENT)
            if sha256_hex(releases[release]) != wanted:
                return None
    except BundleUntrusted:
        return None
    root = open_metadata(Root, trusted, name="the root that this site remembers").signed
    return Verified(
        audience=audience,
        export_path=path,
        export_bytes=data,
        export_sha256=sha256_hex(data),
        export=export,
        releases=MappingProxyType(releases),
        root_version=root.version,
        profile=_profile(root),
        new_metadata=MappingProxyType({"root": trusted, **memory.metadata}),
        signed_time=export.issued_at,
        expires=None,
        already=True,
        gap=range(0),
    )


def _profile(root: Root) -> Profile:
    return profile_of(root) or Profile.OFFICERS
