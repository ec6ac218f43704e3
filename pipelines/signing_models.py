"""`models sign`: this home's signature over a version, written out for tools that are not ours.

Every version has one by the home's own key. With a key in a token another one is made and kept beside it, with the
public half as a document, so that sites can check it too.
"""

from securesystemslib.signer import Signer

from pipelines import model_signatures as signatures
from pipelines.model_signatures import HOME, KEY_DOCUMENT, key_name
from pipelines.workplace import Workplace
from registry.audit import EventKind
from registry.entities import Document, ModelSignature, Row
from registry.manifests import decode
from registry.names import Ref
from registry.store import Change
from signing import model_signature as oms
from signing.digests import sha256_hex
from signing.model_signature import ModelSignatureUnreadable
from signing.times import rfc3339


def signed(work: Workplace, ref: Ref, *, signer: Signer | None = None) -> tuple[ModelSignature, bytes]:
    """Return this home's signature over a version, and the public key in PEM; a new one is kept.

    Args:
        signer: an ECDSA key; None for the home's own.

    Raises:
        NotFound: no such version.
        ModelSignatureUnreadable: another kind of key, or a version with no file that the format signs.
    """
    with work.store.change(actor=work.actor, now=work.now) as change:
        version = change.version(ref)
        hand = signer or signatures.home_signer(work.home)
        pem = signatures.public_half(hand)
        hint = oms.hint_of(oms.public_key(pem))
        for row in change.model_signatures(version.digest):
            if row.source == HOME and row.signer == hint:
                return row, pem
        made = signatures.ours(work, decode(version.manifest.encode()), signer=hand)
        if made is None:
            raise ModelSignatureUnreadable("has no file that the format signs", at=str(ref))
        change.record(EventKind.MODEL_SIGNED, version.digest, made, *_key_rows(change, work, pem, hint))
    return made, pem


def _key_rows(change: Change, work: Workplace, pem: bytes, hint: str) -> list[Row]:
    """The key's document, if it is not here yet."""
    if change.document_by_digest(sha256_hex(pem)) is not None:
        return []
    made = Document(
        digest=sha256_hex(pem),
        kind=KEY_DOCUMENT,
        name=key_name(hint),
        body=pem.decode(),
        added_at=rfc3339(work.now),
        added_by=work.actor,
    )
    return [made]
