"""Checks a version's model signatures again, for somebody who asks.

Each kept signature is read again, not believed for its recorded outcome. A certificate is judged at the
moment when the signature came here, unless another one is asked for.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from pipelines import carried_signatures
from pipelines import model_signatures as signatures
from pipelines.model_judging import VALID, WRONG, Believed, Judged, judge
from pipelines.model_signatures import PUBLISHER
from pipelines.publishers import UnknownPublisher
from pipelines.signed_files import File
from pipelines.workplace import Workplace
from registry.entities import ModelSignature
from registry.manifests import decode
from registry.names import Ref
from registry.views import View
from signing.digests import sha256_hex
from signing.model_signature import ModelSignatureWrong
from signing.statements import PROVENANCE
from signing.times import from_rfc3339


@dataclass(frozen=True)
class Checked:
    """One signature and what it comes to now."""

    what: str
    source: str  # publisher, origin, home, or given
    judged: Judged


def check_version(
    work: Workplace,
    ref: Ref,
    *,
    given: bytes | None = None,
    believed: Sequence[Believed] | None = None,
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
        judged = judge(given, files, named, moment=moment or work.now, left_out=left_out)
        return [Checked("the given file", "given", judged)]
    return [_again(row, files, named, keys, moment=moment, left_out=left_out) for row in rows]


def demand_valid(what: str, checked: Sequence[Checked]) -> None:
    """Refuse when a signature does not hold. Raises `ModelSignatureWrong`."""
    wrong = [one for one in checked if one.judged.outcome == WRONG]
    if wrong or (checked and not any(one.judged.outcome == VALID for one in checked)):
        told = wrong or checked
        raise ModelSignatureWrong(
            what, "; ".join(f"{one.what}: {one.judged.outcome}, {one.judged.problem}" for one in told)
        )


def _again(
    row: ModelSignature,
    files: Mapping[str, File],
    named: Sequence[Believed],
    keys: Mapping[str, bytes],
    *,
    moment: datetime | None,
    left_out: Sequence[str],
) -> Checked:
    data, when = row.body.encode(), moment or from_rfc3339(row.since)
    what = f"{row.source}'s [{row.digest[:12]}]"
    if sha256_hex(data) != row.digest and row.outcome == VALID:
        return Checked(what, row.source, Judged(WRONG, row.method, row.signer, "not the bytes that came"))
    if row.source == PUBLISHER:
        return Checked(what, row.source, judge(data, files, named, moment=when, left_out=left_out))
    return Checked(what, row.source, carried_signatures.judge_home(data, files, keys))


def _left_out(view: View, digest: str) -> tuple[str, ...]:
    told = [row.payload.encode() for row in view.statements(digest) if row.predicate == PROVENANCE]
    return signatures.left_out_of(told, digest)
