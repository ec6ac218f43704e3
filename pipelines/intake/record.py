"""Files that have arrived become a version: scanned, stored, recorded in one transaction.

The order, so that a crash between any two steps leaves nothing half-done to be seen:
1. scan the files where they wait, and judge their publisher's signature; a blocker, or a publisher who did not
   sign, ends it here;
2. give them their names in the blob store (a crash from here to step 3 leaves blobs that nothing names: garbage
   collection takes them, the same command uses them);
3. one transaction: version, report, provenance statement, signatures and the event that records them; the bill of
   materials, and its event;
4. `index.json` of the OCI layout is written anew from the database. A crash before it is mended by the next call.
"""

import shlex
from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from fnmatch import fnmatchcase
from functools import partial
from typing import Any

from pipelines import bom
from pipelines.decide import standing
from pipelines.evidence import signed_statement
from pipelines.intake.arrival import Arrived
from pipelines.intake.errors import ScanBlocked
from pipelines.intake.provenance import Source, statement_of
from pipelines.model_judging import Judged, judge
from pipelines.model_signatures import believed, demand_signed, ours, publishers_rows
from pipelines.removed import demand_bytes, removed
from pipelines.scan import scan
from pipelines.scan.files import kind_of
from pipelines.scan.reading import quoted
from pipelines.scan.rules import RULES
from pipelines.scan.values import Finding, ScannedFile, ScanResult, Waiver, in_order
from pipelines.signed_files import NAMES as SIGNATURE_NAMES
from pipelines.signed_files import File
from pipelines.workplace import Workplace
from registry.audit import EventKind
from registry.blobs import BlobStore
from registry.decisions import Kind
from registry.entities import Report, Version
from registry.errors import BlobDamaged
from registry.manifests import Licence, Manifest, decode, encode, modelpack, oci_index
from registry.names import Ref
from registry.store import Change
from registry.views import View
from signing.canonical import canonical_bytes, parse_canonical
from signing.digests import sha256_hex
from signing.model_signature import MAX_BUNDLE
from signing.times import rfc3339

REPORT_FORMAT = "tidegate-scan-report/1"
MAX_REPORT = 64 << 20  # bytes


@dataclass(frozen=True)
class Added:
    """What an intake came to. `new` is false when the same files were a version already."""

    version: Version
    new: bool
    scan: ScanResult
    left_out: tuple[str, ...] = ()  # paths at the source that are not part of the version
    signatures: tuple[Judged, ...] = ()  # what came with the files


def record(
    work: Workplace,
    model: str,
    arrived: Sequence[Arrived],
    source: Source,
    *,
    waivers: Sequence[Waiver] = (),
    signature: bytes | None = None,
) -> Added:
    """Make `arrived` a version of `model`, or find the version that it is already.

    The waivers are those that reviewers of this home have signed and that stand now, and `waivers` beside them.

    Args:
        signature: the publisher's, where it does not lie among the files.

    Raises:
        ScanBlocked: with every blocker; the blob store is as it was.
        PublisherRefused: files that a publisher has to have signed, and has not; the blob store is as it was.
        MalformedManifest: paths that cannot stand in one folder on every system.
    """
    files = sorted(arrived, key=lambda item: item.path)
    waivers = (*waivers, *signed_waivers(work, {item.sha256 for item in files}))
    result = scan([_scanned(item, work.blobs) for item in files], waivers=waivers)
    if result.blockers:
        raise ScanBlocked(model, _with_the_way_out(result.blockers, files))
    manifest = decode(
        encode(
            Manifest(
                model=model,
                files=tuple(item.entry for item in files),
                licence=_licence(result),
                upstream=source.upstream,
            )
        )
    )
    signatures = _signatures(work, model, files, signature, left_out=source.left_out)
    for sha256, file in {item.sha256: item.file for item in files if item.file is not None}.items():
        work.blobs.adopt(file, sha256)
    with work.store.change(actor=work.actor, now=work.now) as change:
        held = same_version(change, manifest)
        if held is None:
            version = _record_new(
                change, work, manifest, source, result, waivers=waivers, signatures=signatures
            )
        else:
            version = _record_signatures(change, work, held, signatures)
    republish_index(work)
    return Added(version, held is None, result, source.left_out, tuple(judged for _, judged in signatures))


def _signatures(
    work: Workplace,
    model: str,
    files: Sequence[Arrived],
    signature: bytes | None,
    *,
    left_out: Sequence[str],
) -> list[tuple[bytes, Judged]]:
    """Judge the publisher's signatures that came. Raises `PublisherRefused`."""
    found = [] if signature is None else [signature]
    for item in files:
        if item.path in SIGNATURE_NAMES:
            with item.open(work.blobs) as stream:
                found.append(stream.read(MAX_BUNDLE + 1))
    there = {item.path: File(item.size, item.sha256, partial(item.open, work.blobs)) for item in files}
    with work.store.view() as view:
        who = believed(view, model)
        judged = [judge(data, there, who, moment=work.now, left_out=left_out) for data in found]
        demand_signed(view, model, judged)
    return list(zip(found, judged, strict=True))


def _record_signatures(
    change: Change, work: Workplace, version: Version, signatures: Sequence[tuple[bytes, Judged]]
) -> Version:
    """Keep signatures that are new to a version which was here before."""
    known = {row.digest for row in change.model_signatures(version.digest)}
    fresh = [(data, judged) for data, judged in signatures if sha256_hex(data) not in known]
    if fresh:
        subject = (f"{version.model}@{version.ordinal}", version.digest)
        change.record(EventKind.MODEL_SIGNED, version.digest, *publishers_rows(work, subject, fresh))
    return version


def _record_new(
    change: Change,
    work: Workplace,
    manifest: Manifest,
    source: Source,
    result: ScanResult,
    *,
    waivers: Sequence[Waiver],
    signatures: Sequence[tuple[bytes, Judged]],
) -> Version:
    version = version_row(work, manifest, ordinal=change.next_ordinal(manifest.model), brought_by=source.how)
    report = scan_report(work, manifest.digest, result, waivers=waivers)
    statement = signed_statement(work, statement_of(work, version, manifest, source, report))
    subject = (f"{version.model}@{version.ordinal}", version.digest)
    rows = publishers_rows(work, subject, signatures)
    rows += [row for row in (ours(work, manifest),) if row is not None]
    change.record(EventKind.VERSION_ADDED, manifest.digest, version, report, statement, *rows)
    change.record(EventKind.BOM_MADE, manifest.digest, *bom.rows(work, version, manifest, [report]))
    return version


def version_row(work: Workplace, manifest: Manifest, *, ordinal: int, brought_by: str) -> Version:
    """Return the row of a version whose files are in the blob store; its ModelPack blobs are stored here."""
    body, config = modelpack(manifest, ordinal=ordinal)
    work.blobs.put(config)
    return Version(
        model=manifest.model,
        ordinal=ordinal,
        digest=manifest.digest,
        revision=manifest.revision,
        manifest=encode(manifest).decode(),
        modelpack=work.blobs.put(body),
        size=manifest.size,
        brought_by=brought_by,
        added_at=rfc3339(work.now),
        added_by=work.actor,
    )


def same_version(view: View, manifest: Manifest) -> Version | None:
    """Return the version with exactly these files, if there is one.

    Files from a folder bring no facts of their own, so any version of the model with the same files is theirs.
    Files from a hub bring their commit: the same bytes at another commit are another version.
    """
    for version in view.versions(manifest.model):
        held = decode(version.manifest.encode())
        if held.files == manifest.files and manifest.upstream in (None, held.upstream):
            return version
    return None


def scan_version(blobs: BlobStore, manifest: Manifest, *, waivers: Sequence[Waiver] = ()) -> ScanResult:
    """Scan a version whose files are in the blob store. Raises `NotFound` when one is not."""
    files = [
        ScannedFile(entry.path, entry.size, partial(blobs.open, entry.sha256), entry.sha256)
        for entry in manifest.files
    ]
    return scan(files, waivers=waivers)


def scan_report(
    work: Workplace, digest: str, result: ScanResult, *, waivers: Sequence[Waiver] = ()
) -> Report:
    """Return the report row of a scan of the version with this digest; it is not recorded yet."""
    body = canonical_bytes(
        {
            "format": REPORT_FORMAT,
            "version": digest,
            "scan": result.to_json(),
            "waivers": [
                {name: value for name, value in asdict(waiver).items() if value is not None}
                for waiver in waivers
            ],
            "made_at": rfc3339(work.now),
        }
    )
    return Report(
        digest=sha256_hex(body),
        kind="scan",
        version=digest,
        outcome=outcome(result),
        suite=None,
        contract=None,
        profile=None,
        statement=None,
        body=body.decode(),
        made_at=rfc3339(work.now),
        made_by=work.actor,
    )


def read_scan_report(report: Report) -> ScanResult:
    """Return what a recorded scan found. Raises `NotCanonical`, `MalformedScanResult`, `BlobDamaged`."""
    return ScanResult.from_json(_body(report)["scan"])


def _body(report: Report) -> dict[str, Any]:
    data = report.body.encode()
    if sha256_hex(data) != report.digest:
        raise BlobDamaged(f"report {report.digest[:12]}", expected=report.digest, actual=sha256_hex(data))
    body: dict[str, Any] = parse_canonical(data, max_bytes=MAX_REPORT, at="report")
    return body


def outcome(result: ScanResult) -> str:
    """One word for a scan: FAILED with a blocker, WARNED where a person has to look or has waived, else PASSED."""
    severities = {finding.severity for finding in result.findings}
    if "blocker" in severities:
        return "FAILED"
    return "WARNED" if severities & {"review", "waived"} else "PASSED"


def republish_index(work: Workplace) -> None:
    """Write `index.json` anew from the database, unless it says the same already. Only versions whose bytes are here.

    The writers' lock is held meanwhile, so that of two commands the later one's versions are in the later file.
    """
    with work.store.change(actor=work.actor, now=work.now) as change:
        gone = removed(change, work.blobs)
        entries = [
            {
                "name": version.model,
                "tag": str(version.ordinal),
                "digest": version.modelpack,
                "size": work.blobs.size(version.modelpack),
            }
            for version in change.versions()
            if version.digest not in gone
        ]
        data = oci_index(entries)
        if (work.blobs.root / "index.json").read_bytes() != data:
            work.blobs.write_index(data)


def left_out(paths: Iterable[str], patterns: Sequence[str]) -> tuple[str, ...]:
    """Return the paths that one of the patterns matches, case and all; `*` also matches `/`."""
    return tuple(path for path in paths if any(fnmatchcase(path, pattern) for pattern in patterns))


def refuse_names(model: str, paths: Sequence[str], waivers: Sequence[Waiver]) -> None:
    """Refuse names that the scan will refuse, before 60 GB have been moved for them.

    With a waiver for a name at hand it does not decide: waivers name files by SHA-256, which is not known yet.

    Raises:
        ScanBlocked: with one finding for each such name.
    """
    rule = "file.not-allowed"
    found = [
        Finding(
            rule=rule,
            severity=RULES[rule].severity,
            path=quoted(path, limit=1024, quotes=False),
            at="",
            message="this name is not on the list of what a model needs",
            next_step=RULES[rule].next_step,
        )
        for path in paths
        if kind_of(path) is None
    ]
    if found and not any(waiver.rule == rule for waiver in waivers):
        raise ScanBlocked(model, in_order(found))


def _scanned(item: Arrived, blobs: BlobStore) -> ScannedFile:
    return ScannedFile(item.path, item.size, partial(item.open, blobs), item.sha256)


def _licence(result: ScanResult) -> Licence:
    return Licence(result.facts.licence.state, result.facts.licence.ids)


def rescan(work: Workplace, ref: Ref, *, waivers: Sequence[Waiver] = ()) -> tuple[Report, ScanResult]:
    """Scan a held version by today's rules and keep what was found. Raises `NotFound`, `BytesRemoved`.

    What reviewers here have signed counts as long as it stands: revoked or over, it blocks again. An origin's
    waivers do not travel: each site gives its own.
    """
    with work.store.view() as view:
        version = view.version(ref)
        demand_bytes(work, view, version)
        earlier = view.reports(version.digest, "scan")
    manifest = decode(version.manifest.encode())
    waivers = (*waivers, *signed_waivers(work, {entry.sha256 for entry in manifest.files}))
    with work.home.using_store():
        result = scan_version(work.blobs, manifest, waivers=waivers)
    report = scan_report(work, version.digest, result, waivers=waivers)
    if report.digest not in {row.digest for row in earlier}:
        with work.store.change(actor=work.actor, now=work.now) as change:
            change.record(EventKind.SCANNED, version.digest, report)
    return report, result


def signed_waivers(work: Workplace, files: Collection[str] | None = None) -> tuple[Waiver, ...]:
    """Return the waivers that stand here and now; with `files` (SHA-256), only those about one of these."""
    with work.store.view() as view:
        found = standing(work, view, Kind.WAIVE_FINDING)
    return tuple(
        Waiver(
            rule=str(one.details["rule"]),
            sha256=one.subject,
            by=one.person,
            reason=one.reason,
            path=str(one.details["path"]),
            decision=one.digest,
        )
        for one in found
        if files is None or one.subject in files
    )


def _with_the_way_out(blockers: Sequence[Finding], files: Sequence[Arrived]) -> list[Finding]:
    """Say under each finding that may be waived how a reviewer would, for exactly these bytes."""
    digests = {item.path: item.sha256 for item in files}
    told = []
    for found in blockers:
        step = found.next_step
        if RULES[found.rule].waivable and found.path in digests:
            path = shlex.quote(found.path)
            step += f" `tidegate decisions waive {found.rule} sha256:{digests[found.path]} --path {path}`"
        told.append(replace(found, next_step=step))
    return told
