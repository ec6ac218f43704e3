"""Checks a model signature again, for somebody who asks: a version's kept ones, or a file against a folder.

Of a version, each kept signature is read again, not believed for its recorded outcome. A certificate is judged at the
moment when the signature came here, unless another one is asked for.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pipelines import carried_signatures, closed_world
from pipelines import model_signatures as signatures
from pipelines.model_signatures import PUBLISHER, VALID, Judged
from pipelines.publishers import UnknownPublisher
from pipelines.signed_files import File
from pipelines.workplace import Workplace
from registry.blobs import Progress, no_progress
from registry.entities import ModelSignature, Publisher
from registry.manifests import decode
from registry.names import Ref
from registry.views import View
from signing.digests import sha256_hex
from signing.model_signature import ModelSignatureWrong
from signing.statements import PROVENANCE
from signing.times import from_rfc3339

Believed = Sequence[tuple[Publisher, Sequence[bytes]]]


@dataclass(frozen=True)
class Checked:
    """One signature and what it comes to now."""

    what: str
    source: str  # publisher, origin, home, or given
    judged: Judged


def believe(method: str, material: bytes, crls: Sequence[bytes] = ()) -> Believed:
    """A key or an authority that was named on the spot, believed for whatever it signed."""
    row = Publisher(
        name="given",
        position=1,
        method=method,
        material=material.decode(errors="replace"),
        models="*/*",
        active=True,
        since="",
        actor="",
    )
    return [(row, crls)]


def check_version(
    work: Workplace,
    ref: Ref,
    *,
    given: bytes | None = None,
    believed: Believed | None = None,
    moment: datetime | None = None,
) -> list[Checked]:
    """Check a version's kept signatures, or one that is given.

    Args:
        believed: whom to believe; None for the publishers that are named for the model.
        moment: for certificates; None for when each signature came here, and now for one that is given.

    Raises:
        NotFound: no such version.
        UnknownPublisher: a given signature, and nobody to believe.
    """
    with work.store.view() as view:
        version = view.version(ref)
        manifest = decode(version.manifest.encode())
        rows = view.model_signatures(version.digest)
        named = signatures.believed(view, version.model) if believed is None else believed
        keys = carried_signatures.keys_of(work, view)
        left_out = _left_out(view, version.digest)
    files = signatures.files_of(manifest, work.blobs)
    if given is not None:
        if not named:
            raise UnknownPublisher(f"for {version.model}")
        judged = signatures.judge(given, files, named, moment=moment or work.now, left_out=left_out)
        return [Checked("the given file", "given", judged)]
    return [_again(row, files, named, keys, moment=moment, left_out=left_out) for row in rows]


def check_folder(
    folder: Path,
    data: bytes,
    believed: Believed,
    *,
    moment: datetime,
    progress: Progress = no_progress,
    expect: Progress = no_progress,
) -> tuple[Judged, list[str]]:
    """Check a signature against a folder. Returns what it comes to, and what it does not cover and no version has.

    Raises:
        SourceUnusable: the folder cannot be listed.
    """
    seen = closed_world.look(folder)
    files = closed_world.files_in(folder, seen, progress=progress, expect=expect)
    return signatures.judge(data, files, believed, moment=moment), seen.found


def demand_valid(what: str, checked: Sequence[Checked]) -> None:
    """Refuse when a signature does not hold. Raises `ModelSignatureWrong`."""
    wrong = [one for one in checked if one.judged.outcome == signatures.WRONG]
    if wrong or (checked and not any(one.judged.outcome == VALID for one in checked)):
        told = wrong or checked
        raise ModelSignatureWrong(
            what, "; ".join(f"{one.what}: {one.judged.outcome}, {one.judged.problem}" for one in told)
        )


def _again(
    row: ModelSignature,
    files: Mapping[str, File],
    named: Believed,
    keys: Mapping[str, bytes],
    *,
    moment: datetime | None,
    left_out: Sequence[str],
) -> Checked:
    data, when = row.body.encode(), moment or from_rfc3339(row.since)
    what = f"{row.source}'s [{row.digest[:12]}]"
    if sha256_hex(data) != row.digest and row.outcome == VALID:
        return Checked(
            what, row.source, Judged(signatures.WRONG, row.method, row.signer, "not the bytes that came")
        )
    if row.source == PUBLISHER:
        return Checked(what, row.source, signatures.judge(data, files, named, moment=when, left_out=left_out))
    return Checked(what, row.source, carried_signatures.judge_home(data, files, keys))


def _left_out(view: View, digest: str) -> tuple[str, ...]:
    told = [row.payload.encode() for row in view.statements(digest) if row.predicate == PROVENANCE]
    return signatures.left_out_of(told, digest)
