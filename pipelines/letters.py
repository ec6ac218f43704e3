"""Signed files that a site hands to its origin: a receipt, a repair request. One form, made and read here.

`{"payload": {…}, "signature": {…}}`, indented JSON with sorted keys and a final newline, so that a person can read
it and there is one way to write it. The signature is DSSE without payload over the payload's canonical form. What a
letter says, and whose key must have signed it, is its own module's business.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from securesystemslib.signer import Key

from pipelines.bundle.errors import MalformedBundle
from pipelines.bundle.fields import Fields
from pipelines.workplace import Workplace
from signing.canonical import NotCanonical, canonical_bytes, parse, pretty_bytes
from signing.envelope import Envelope, sign, verify

MAX_VALUES = 1_200_000  # JSON values in one: digests, mostly
# Letters that are handed to the wrong command: what each is, and who takes it.
_TAKEN_BY = {
    "tidegate-receipt/1": "a receipt, and `tidegate bundles acknowledge` takes it",
    "tidegate-repair/1": "a repair request, and `tidegate bundles repair` takes it",
}


@dataclass(frozen=True)
class Letter:
    """What was read; the signature is not checked yet."""

    fields: Fields
    payload: bytes  # what the signature covers
    envelope: Envelope

    def check(self, key: Key, *, payload_type: str) -> None:
        """Raise `SignatureWrong` or `SignatureUncheckable` unless this key signed it."""
        verify(self.payload, self.envelope, {key.keyid: key}, payload_type=payload_type)


def seal(work: Workplace, payload: Mapping[str, Any], *, payload_type: str) -> bytes:
    """Return the file, signed by this home's station."""
    envelope = sign(canonical_bytes(dict(payload)), payload_type, work.station)
    signature = parse(envelope.to_json(), max_bytes=1 << 16, at="signature")
    return pretty_bytes({"payload": dict(payload), "signature": signature})


def read_letter(data: bytes, *, at: str, max_bytes: int, format: str, known: Collection[str]) -> Letter:  # noqa: A002 - the field's own name
    """Read untrusted bytes.

    Raises:
        MalformedBundle: not such a letter; another one is told where it belongs.
        FormatTooNew: its `critical` names a field outside `known`.
    """
    try:
        top = Fields.at_place(parse(data, max_bytes=max_bytes, at=at, max_values=MAX_VALUES), at)
        payload = canonical_bytes(top.get("payload"))
        if set(top.value) != {"payload", "signature"} or pretty_bytes(top.value) != data:
            raise MalformedBundle("not in the form in which it was written", at=at)
        said = top.below("payload").text("format")
        if said != format and said in _TAKEN_BY:
            raise MalformedBundle(f"is {_TAKEN_BY[said]}", at=at)
        fields = Fields.of(payload, at=f"{at}.payload", max_bytes=max_bytes, format=format, known=known)
        envelope = Envelope.from_json(canonical_bytes(top.get("signature")), at=f"{at}.signature")
    except NotCanonical as exc:
        raise MalformedBundle(exc.problem, at=exc.at) from exc
    return Letter(fields, payload, envelope)
