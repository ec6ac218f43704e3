"""Model signatures on their way: which leave with a version, and what becomes of them where they arrive.

A signature travels as a document of its own, named for who made it and for the version, so that a release that was
published before it was made needs no change. At a site a publisher's signature is judged anew, by the publishers whom
this site believes; the origin's by the key that came with it, which the bundle's own signatures vouch for. Where the
origin sent none, the site signs with its own key: every version can be checked with a tool that is not ours.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import BinaryIO

from pipelines import model_signatures as signatures
from pipelines.bundle.documents import MODEL_SIGNATURE
from pipelines.bundle.errors import MalformedBundle
from pipelines.bundle.reader import Bundle, statement_paths
from pipelines.model_judging import UNCHECKABLE, UNKNOWN_SIGNER, VALID, WRONG, Judged, judge
from pipelines.model_signatures import HOME, ORIGIN, PUBLISHER
from pipelines.signed_files import File, differences, in_words
from pipelines.workplace import Workplace
from registry.audit import EventKind
from registry.entities import ModelSignature, Version
from registry.manifests import Manifest
from registry.store import Change
from registry.views import View
from signing import model_signature as oms
from signing.digests import sha256_hex
from signing.model_signature import ModelSignatureUnreadable, ModelSignatureWrong
from signing.statements import PROVENANCE


def leaving(work: Workplace, view: View, version: Version) -> Iterator[tuple[str, str, bytes]]:
    """Yield (kind, name, bytes) of a version's signatures, and of the keys that ours are checked with."""
    keys = keys_of(work, view)
    for row in view.model_signatures(version.digest):
        data = row.body.encode()
        if sha256_hex(data) != row.digest:
            continue  # it was no text, and nobody could read it
        source = PUBLISHER if row.source == PUBLISHER else ORIGIN
        yield MODEL_SIGNATURE, f"{source}/{version.digest}", data
        if source == ORIGIN and row.signer in keys:
            yield signatures.KEY_DOCUMENT, signatures.key_name(row.signer), keys[row.signer]


def keys_of(work: Workplace, view: View) -> dict[str, bytes]:
    """Keys of origins' signatures by what signature files call them: our own, and those that came here."""
    found = {}
    if signatures.model_signing_key(work.home).exists():
        pem = signatures.public_half(signatures.home_signer(work.home))
        found[oms.hint_of(oms.public_key(pem))] = pem
    for row in view.documents(signatures.KEY_DOCUMENT):
        found[oms.hint_of(oms.public_key(row.body.encode()))] = row.body.encode()
    return found


def arriving(
    work: Workplace, bundle: Bundle, path_of: Callable[[str], Path]
) -> dict[str, list[ModelSignature]]:
    """Judge what a bundle carries; nothing is recorded. Returns rows by the version's digest.

    Args:
        path_of: where a blob's bytes are now.

    Raises:
        MalformedBundle: a signature for no version of the bundle.
    """
    came = [
        bundle.document(one.digest) for one in bundle.export.documents if one.kind == signatures.KEY_DOCUMENT
    ]
    keys = {oms.hint_of(oms.public_key(pem)): pem for pem in came}
    found: dict[str, list[ModelSignature]] = {}
    for shipped in bundle.export.documents:
        if shipped.kind != MODEL_SIGNATURE:
            continue
        source, _, digest = shipped.name.partition("/")
        if source not in (PUBLISHER, ORIGIN) or digest not in bundle.manifests:
            raise MalformedBundle(
                "is a signature for no version of the bundle", at=f"documents/{shipped.digest[:12]}"
            )
        manifest, data = bundle.manifests[digest], bundle.document(shipped.digest)
        files = _files(manifest, path_of)
        if source == PUBLISHER:
            with work.store.view() as view:
                believed = signatures.believed(view, manifest.model)
            judged = judge(data, files, believed, moment=work.now, left_out=_left_out(bundle, digest))
        else:
            judged = judge_home(data, files, keys)
        row = signatures.signature_row(work, digest, data, judged, source=source)
        found.setdefault(digest, []).append(row)
    return found


def record(change: Change, work: Workplace, manifest: Manifest, came: Sequence[ModelSignature]) -> None:
    """Keep what is new about a version that is here, and sign it ourselves where nobody did whom we can check."""
    held = change.model_signatures(manifest.digest)
    known = {row.digest for row in held}
    rows = [row for row in came if row.digest not in known]
    if not any(row.outcome == VALID and row.source in (ORIGIN, HOME) for row in (*held, *rows)):
        rows += [row for row in (signatures.ours(work, manifest),) if row is not None]
    if rows:
        change.record(EventKind.MODEL_SIGNED, manifest.digest, *rows)


def judge_home(data: bytes, files: Mapping[str, File], keys: Mapping[str, bytes]) -> Judged:
    """Judge a home's signature by the keys that are known, in PEM by what signature files call them."""
    hint = ""
    try:
        signature = oms.read(data)
        hint = signature.hint or ""
        if hint not in keys:
            return Judged(UNKNOWN_SIGNER, signature.method, hint, "its key is not here")
        found = differences(oms.verify(signature, oms.public_key(keys[hint])), files)
    except ModelSignatureWrong as exc:
        return Judged(WRONG, "key", hint, exc.problem)
    except ModelSignatureUnreadable as exc:
        return Judged(UNCHECKABLE, "unknown", "", str(exc))
    return Judged(WRONG if found else VALID, "key", hint, in_words(found))


def _files(manifest: Manifest, path_of: Callable[[str], Path]) -> dict[str, File]:
    def opened(sha256: str) -> BinaryIO:
        return path_of(sha256).open("rb")

    return {
        entry.path: File(entry.size, entry.sha256, partial(opened, entry.sha256)) for entry in manifest.files
    }


def _left_out(bundle: Bundle, digest: str) -> tuple[str, ...]:
    """What the origin says that it did not take in of a version's files."""
    told = [one for one in bundle.export.statements if one.predicate == PROVENANCE]
    payloads = (bundle.small[statement_paths(one.digest)[0]] for one in told)
    return signatures.left_out_of(payloads, digest)
