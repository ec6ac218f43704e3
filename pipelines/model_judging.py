"""What a model signature comes to over files that are here: the outcome and who made it. Nothing is recorded.

Apart from `model_signatures` so that a folder is checked without a home: no database is opened, none is imported.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

from pipelines import closed_world
from pipelines.signed_files import File, differences, in_words
from registry.blobs import Progress, no_progress
from signing import model_signature as oms
from signing.model_signature import ModelSignatureUnreadable, ModelSignatureWrong, SignedModel

VALID, WRONG, UNKNOWN_SIGNER, UNCHECKABLE = "VALID", "WRONG", "UNKNOWN-SIGNER", "UNCHECKABLE"


@dataclass(frozen=True)
class Believed:
    """Somebody whose signatures are believed: a key, or certificates of authorities with what they revoked."""

    name: str
    method: oms.Method
    material: bytes  # PEM
    crls: tuple[bytes, ...] = ()  # PEM or DER


@dataclass(frozen=True)
class Judged:
    """What a signature file came to."""

    outcome: str
    method: str  # key, certificate; unknown where it is not readable
    signer: str  # fingerprint of the key, or subject of the certificate
    problem: str  # empty if VALID
    publisher: Believed | None = None  # who made it, if somebody who is believed did
    left_out: tuple[str, ...] = ()  # signed files that were not taken in on purpose


def judge(
    data: bytes,
    files: Mapping[str, File],
    believed: Sequence[Believed],
    *,
    moment: datetime,
    left_out: Collection[str] = (),
) -> Judged:
    """Judge a signature file over files; nothing is recorded.

    Args:
        believed: who may sign them.
        moment: at which certificates have to be valid.
        left_out: paths of the source that were not taken in.
    """
    try:
        signature = oms.read(data)
    except ModelSignatureUnreadable as exc:
        return Judged(UNCHECKABLE, "unknown", "", str(exc))
    try:
        return _judged(signature, files, believed, moment=moment, left_out=left_out)
    except ModelSignatureWrong as exc:
        return Judged(WRONG, signature.method, _named(signature), exc.problem)
    except ModelSignatureUnreadable as exc:
        return Judged(UNCHECKABLE, signature.method, _named(signature), str(exc))


def _judged(
    signature: oms.ModelSignature,
    files: Mapping[str, File],
    believed: Sequence[Believed],
    *,
    moment: datetime,
    left_out: Collection[str],
) -> Judged:
    """Raises `ModelSignatureWrong`, `ModelSignatureUnreadable`."""
    signed, publisher, problem = _who(signature, believed, moment=moment)
    if signed is not None and (found := differences(signed, files, left_out=left_out)):
        raise ModelSignatureWrong("model signature", "; ".join(filter(None, (problem, in_words(found)))))
    signer = _signer(signature)
    if signed is None or publisher is None:
        return Judged(UNKNOWN_SIGNER, signature.method, signer, problem)
    absent = tuple(sorted({one.path for one in signed.resources} & set(left_out)))
    return Judged(VALID, signature.method, signer, "", publisher, absent)


def _who(
    signature: oms.ModelSignature,
    believed: Sequence[Believed],
    *,
    moment: datetime,
) -> tuple[SignedModel | None, Believed | None, str]:
    """What was signed, by whom of those who are believed; else why none of them.

    Raises:
        ModelSignatureWrong: it names its key or certificate falsely, or one that does not hold.
    """
    problem = "nobody who is believed for this model made it"
    for publisher in believed:
        if publisher.method != signature.method:
            continue
        try:
            return _checked(signature, publisher, moment=moment), publisher, ""
        except ModelSignatureWrong as exc:
            problem = f"{publisher.name}: {exc.problem}"
            if publisher.method == "key" and oms.hint_of(_key(publisher)) == signature.hint:
                raise
    if signature.method == "key":
        return None, None, problem
    from signing.model_certificates import signers_key  # noqa: PLC0415 - X.509 is slow to import

    return oms.verify(signature, signers_key(signature.certificates)), None, problem


def _checked(signature: oms.ModelSignature, publisher: Believed, *, moment: datetime) -> SignedModel:
    if publisher.method == "key":
        return oms.verify(signature, _key(publisher))
    from signing.model_certificates import judge as may_sign  # noqa: PLC0415
    from signing.model_certificates import load_anchors, load_crl  # noqa: PLC0415

    anchors = load_anchors(publisher.material, at=publisher.name)
    lists = [load_crl(one, at=publisher.name) for one in publisher.crls]
    return oms.verify(signature, may_sign(signature.certificates, anchors, moment=moment, crls=lists))


def _key(publisher: Believed) -> EllipticCurvePublicKey:
    return oms.public_key(publisher.material, at=publisher.name)


def _signer(signature: oms.ModelSignature) -> str:
    """Who the file says signed. Raises `ModelSignatureUnreadable` where it holds no certificate."""
    if signature.method == "key":
        return signature.hint or "unnamed key"
    from signing.model_certificates import subject_of  # noqa: PLC0415

    return subject_of(signature.certificates)


def _named(signature: oms.ModelSignature) -> str:
    try:
        return _signer(signature)
    except ModelSignatureUnreadable:
        return ""


def check_folder(
    folder: Path,
    data: bytes,
    believed: Sequence[Believed],
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
    return judge(data, files, believed, moment=moment), seen.found
