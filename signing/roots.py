"""What key metadata must look like before anybody believes it: exact form, honest signatures.

Shared by the ceremony that makes a root and the site that receives one, so that both hold the same line. TUF
re-encodes a document before it checks the signature, which lets bytes change where nobody looks; that is closed
here (docs/decisions/0004). What the keys in it must be like is `signing.lint`'s.
"""

import re
from collections.abc import Mapping, Sequence
from typing import TypeVar

from securesystemslib.exceptions import UnverifiedSignatureError
from securesystemslib.signer import Key, Signature
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root, Snapshot, Targets, Timestamp

from signing.canonical import NotCanonical, parse
from signing.profiles import PROFILE_FIELD, SITE_PREFIX, Profile
from signing.refusals import MetadataTampered, TooFewSignatures, WrongKey

T = TypeVar("T", Root, Timestamp, Snapshot, Targets)

MAX_METADATA: Mapping[str, int] = {  # bytes, by TUF type
    "root": 512_000,
    "timestamp": 16_384,
    "snapshot": 2_000_000,
    "targets": 5_000_000,
}
CATALOG = "catalog"
PEOPLE_PATH = "identities/people.json"  # the one target of the top-level role; a new edition takes its place
SITE_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")  # a DNS label, RFC 1123
_KEYID = re.compile(r"[0-9a-f]{64}")
_HEX = re.compile(r"(?:[0-9a-f]{2})+")


def site_role(site: str) -> str:
    """Return the name of the role that signs what is shipped to `site`."""
    return SITE_PREFIX + site


def role_paths(role: str) -> list[str]:
    """Return the target paths that a delegated role answers for, as TUF patterns."""
    if role == CATALOG:
        return ["releases/*/*/*"]
    return [f"exports/{role.removeprefix(SITE_PREFIX)}/*"]


def open_metadata(kind: type[T], data: bytes, *, name: str) -> "Metadata[T]":
    """Return the metadata of bytes that are exactly what the ceremony writes, signatures unchecked.

    Args:
        name: what to call the document in a refusal, such as `trust/timestamp.json`.

    Raises:
        MetadataTampered: too large, not JSON, not metadata of this kind, or the same value spelt otherwise
            (a date with a space, a signature in capitals): TUF would not notice such a change.
    """
    try:
        parse(data, max_bytes=MAX_METADATA[kind.type], at=name)
        metadata: Metadata[T] = Metadata[T].from_bytes(data)
        exact = metadata.to_bytes() == data and bool(metadata.signed_bytes)
    except NotCanonical as exc:
        raise MetadataTampered(name, exc.problem) from exc
    except RepositoryError as exc:
        raise MetadataTampered(name, f"does not read as {kind.type} metadata") from exc
    if metadata.signed.type != kind.type:
        raise MetadataTampered(name, f"is {metadata.signed.type} metadata, not {kind.type}")
    if not exact or metadata.unrecognized_fields or not all(map(_plain, metadata.signatures.values())):
        raise MetadataTampered(name, "is not spelt as it was signed")
    return metadata


def check_signatures(
    metadata: "Metadata[T]",
    role: str,
    delegators: Sequence[Root | Targets],
    *,
    name: str,
    surplus: bool = False,
) -> None:
    """Pass when each delegator's threshold for `role` is met and nothing else claims to be a signature.

    Args:
        delegators: whose keys count; a root is checked against the one before it and against itself.
        surplus: leave other signatures alone; for a root whose bytes are known and whose forerunner is not.

    Raises:
        MetadataTampered: a signature by a right key that does not belong to these bytes, or a surplus one.
        WrongKey: no right key signed at all.
        TooFewSignatures: some did.
    """
    payload, signatures = metadata.signed_bytes, metadata.signatures
    results = [delegator.get_verification_result(role, payload, signatures) for delegator in delegators]
    good = {keyid for result in results for keyid in result.signed}
    known: list[Key] = [key for result in results for key in (result.signed | result.unsigned).values()]
    strangers = set(signatures) - {key.keyid for key in known}
    for keyid in sorted(set(signatures) - strangers - good):
        raise MetadataTampered(name, f"the signature by key {keyid[:12]} does not belong to these bytes")
    for keyid in sorted(strangers):
        if any(_fits(key, signatures[keyid], payload) for key in known):
            raise MetadataTampered(name, f"a signature names key {keyid[:12]}, and another key made it")
    for result in results:
        if not result.signed:
            raise WrongKey(name, role)
        if not result.verified:
            raise TooFewSignatures(name, role, have=len(result.signed), need=result.threshold)
    for keyid in () if surplus else sorted(strangers):
        raise MetadataTampered(name, f"also signed by key {keyid[:12]}, which may not sign as {role}")


def profile_of(root: Root) -> Profile | None:
    """Return the profile that a root states, None if it states none that is known."""
    stated = root.unrecognized_fields.get(PROFILE_FIELD)
    return Profile(stated) if stated in tuple(Profile) else None


def _plain(signature: Signature) -> bool:
    texts = (signature.keyid, signature.signature)
    if signature.unrecognized_fields or not all(isinstance(text, str) for text in texts):
        return False
    return bool(_KEYID.fullmatch(signature.keyid) and _HEX.fullmatch(signature.signature))


def _fits(key: Key, signature: Signature, payload: bytes) -> bool:
    try:
        key.verify_signature(Signature(key.keyid, signature.signature), payload)
    except UnverifiedSignatureError:
        return False
    return True
