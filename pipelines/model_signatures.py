"""Signatures over models: publishers' are judged when their files arrive, ours is written for every version.

What becomes of a publisher's signature:
VALID           somebody who is believed for this model signed exactly these files
WRONG           it was made by nobody whom it names, or over other files
UNKNOWN-SIGNER  nobody who is believed here made it; the files may be what they signed
UNCHECKABLE     a form that is not read, or that needs a network
Only VALID lets files of a named publisher's model in. Whatever the outcome, the file is kept as it came.

A certificate is judged at the moment when its signature was first seen here, which this home's signed log vouches
for: what was valid then stays valid when the certificate is over. Ours is made with the home's own key, a machine
key: it proves that the files are those of the version that this home holds, so that a tool that is not ours can.
"""

import contextlib
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

from securesystemslib.signer import Signer

from pipelines.evidence import signed_statement
from pipelines.model_judging import VALID, Believed, Judged
from pipelines.publishers import PublisherRefused, believed_for, crls_of
from pipelines.signed_files import File
from pipelines.workplace import Workplace
from registry.blobs import BlobStore
from registry.entities import ModelSignature, Row, Statement
from registry.home import Home
from registry.manifests import Manifest
from registry.views import View
from signing import keys
from signing import model_signature as oms
from signing.canonical import NotCanonical
from signing.digests import sha256_hex
from signing.model_signature import ModelSignatureUnreadable
from signing.statements import PROVENANCE, read_statement
from signing.summaries import svr
from signing.times import rfc3339

PUBLISHER, ORIGIN, HOME = "publisher", "origin", "home"  # who signed, as the row says
KEY_DOCUMENT = "model-signing-key"  # kind of document: a key that an origin's signatures are checked with
_KEY_FILE = "model-signing.pem"


def files_of(manifest: Manifest, blobs: BlobStore) -> dict[str, File]:
    """A version's files, opened from the store when they have to be read."""
    return {
        entry.path: File(entry.size, entry.sha256, partial(blobs.open, entry.sha256))
        for entry in manifest.files
    }


def believed(view: View, model: str) -> list[Believed]:
    """Who may sign a model, each with the revocation lists that came for them."""
    return [
        Believed(
            name=row.name,
            method="key" if row.method == "key" else "certificate",
            material=row.material.encode(),
            crls=tuple(crls_of(view, row)),
        )
        for row in believed_for(view, model)
    ]


def demand_signed(view: View, model: str, judged: Sequence[Judged]) -> None:
    """Refuse files of a named publisher's model that they did not sign. Raises `PublisherRefused`."""
    named = [row.name for row in believed_for(view, model)]
    if named and not any(one.outcome == VALID for one in judged):
        problem = (
            "; ".join(f"{one.outcome}: {one.problem}" for one in judged) or "no signature came with the files"
        )
        raise PublisherRefused(model, named, problem)


def publishers_rows(
    work: Workplace, subject: tuple[str, str], arrived: Sequence[tuple[bytes, Judged]]
) -> list[Row]:
    """Rows that keep publishers' signatures: each, and our statement about one that holds.

    Args:
        subject: the version's name and digest.
    """
    rows: list[Row] = []
    for data, judged in arrived:
        said = _said(work, subject, data, judged) if judged.outcome == VALID else None
        rows += [said] if said else []
        rows.append(
            signature_row(
                work, subject[1], data, judged, source=PUBLISHER, statement=said.digest if said else None
            )
        )
    return rows


def signature_row(
    work: Workplace,
    version: str,
    data: bytes,
    judged: Judged,
    *,
    source: str,
    statement: str | None = None,
) -> ModelSignature:
    """The row of a signature file; it is not recorded yet. Bytes that are no text are kept readable as far as they are."""
    return ModelSignature(
        digest=sha256_hex(data),
        version=version,
        source=source,
        method=judged.method,
        signer=judged.signer[:256],
        outcome=judged.outcome,
        body=data.decode(errors="replace"),
        statement=statement,
        since=rfc3339(work.now),
        actor=work.actor,
    )


def _said(work: Workplace, subject: tuple[str, str], data: bytes, judged: Judged) -> Statement:
    assert judged.publisher is not None
    properties = [
        "TIDEGATE_OMS_SIGNATURE_VALID",
        f"TIDEGATE_OMS_SIGNER {judged.signer}",
        f"TIDEGATE_OMS_SIGNATURE sha256:{sha256_hex(data)}",
        *(f"TIDEGATE_OMS_LEFT_OUT {path}" for path in judged.left_out),
    ]
    policy = (f"publisher {judged.publisher.name}", sha256_hex(judged.publisher.material))
    said = svr([subject], verifier=work.home.name, policies=[policy], properties=properties, at=work.now)
    return signed_statement(work, said)


def left_out_of(provenances: Iterable[bytes], digest: str) -> tuple[str, ...]:
    """Return the files of a version's source that its provenance says were not taken in; none where it says nothing.

    Args:
        provenances: payloads of provenance statements, of whatever versions.
    """
    for payload in provenances:
        try:
            read = read_statement(payload)
            said = read.predicate["buildDefinition"]["externalParameters"]["leftOut"]
        except (NotCanonical, KeyError, TypeError):
            continue
        if read.predicate_type == PROVENANCE and read.subjects[0][1] == digest and isinstance(said, list):
            return tuple(path for path in said if isinstance(path, str))
    return ()


def home_signer(home: Home) -> Signer:
    """The home's own key for signatures over models: ECDSA P-256, made when it is first needed."""
    place = home.keys / _KEY_FILE
    if not place.exists():
        with contextlib.suppress(keys.KeyExists):  # another command was quicker
            keys.create_key(place, passphrase=None, algorithm="ecdsa-p256")
    return keys.load_signer(f"file:{place}", passphrase=lambda _uri: b"")


def key_name(hint: str) -> str:
    """What the document of a key is called."""
    return f"key-{hint[:16]}"


def public_half(signer: Signer) -> bytes:
    """The key in PEM, as `model_signing verify key --public_key` takes it."""
    pem: str = signer.public_key.keyval["public"]
    return pem.encode()


def ours(work: Workplace, manifest: Manifest, *, signer: Signer | None = None) -> ModelSignature | None:
    """Return the row of this home's signature over a version; None for one with no file that the format signs."""
    signer = signer or home_signer(work.home)
    files = [(entry.path, entry.sha256) for entry in manifest.files]
    try:
        data = oms.sign(manifest.model.rpartition("/")[2], files, signer)
    except ModelSignatureUnreadable:
        if all(path.partition("/")[0] in oms.IGNORED for path, _ in files):
            return None
        raise
    hint = oms.hint_of(oms.public_key(public_half(signer)))
    return signature_row(work, manifest.digest, data, Judged(VALID, "key", hint, ""), source=HOME)


def model_signing_key(home: Home) -> Path:
    """Where the home's key for models is."""
    return home.keys / _KEY_FILE
