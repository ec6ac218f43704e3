"""A passkey's signature under what a person approves, made in a browser and checked without one.

OpenSSH knows such signatures: in an ordinary SSHSIG, by an `sk-ecdsa` key whose application is the host of the site,
the inner signature has a type of its own and carries what the browser added. The browser's challenge is the very
bytes that an SSHSIG covers, so `ssh-keygen -Y verify` checks them as it checks any other. It looks at less than is
looked at here: where the page was that asked for the signature, in particular.

Sources: openssh-portable PROTOCOL.u2f, "webauthn signatures"; WebAuthn Level 2, sections 5.8.1.1 (how a browser spells
the client data), 6.1 (authenticator data) and 7.2 (what to check)
"""

import re
from base64 import b64encode, urlsafe_b64encode
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from signing.canonical import NotCanonical, parse
from signing.person_refusals import PersonSignatureUncheckable, PersonSignatureWrong
from signing.ssh_keys import SK_P256, Reader, armor, mpint, read_public_key, string, to_be_signed

TYPE = "webauthn-sk-ecdsa-sha2-nistp256@openssh.com"
MAX_CLIENT_DATA, MAX_EXTENSIONS, MAX_ORIGIN = 4 << 10, 1 << 10, 300  # bytes
HEAD = 37  # bytes of authenticator data before its extensions: SHA-256 of the host, flags, counter
ATTESTED, EXTENDED = 0x40, 0x80  # authenticator data holds a new key; it holds extensions
AT = "WebAuthn signature"
_ORIGIN = re.compile(r"(https|http)://([a-z0-9](?:[a-z0-9.-]*[a-z0-9])?)(?::[1-9][0-9]{0,4})?")


@dataclass(frozen=True)
class Page:
    """What a browser adds to a signature: the page that asked, and what the token signed about it."""

    origin: str  # https://models.example, as the signature states it
    client_data: bytes  # JSON as the browser wrote it
    extensions: bytes  # of the authenticator data, CBOR, mostly none


def challenge(payload: bytes, namespace: str) -> bytes:
    """Return what a browser has to be given as its challenge: the bytes an SSHSIG covers, with a SHA-512 of the payload."""
    return to_be_signed(payload, namespace.encode(), b"", b"sha512")


def key_line(x: bytes, y: bytes, host: str, comment: str) -> str:
    """Return the OpenSSH line of a passkey: its point on P-256 (32 bytes each), and the site it is for as application.

    Raises:
        PersonSignatureUncheckable: no point of the curve.
    """
    parts = (SK_P256.encode(), b"nistp256", b"\x04" + x + y, host.encode())
    line = f"{SK_P256} {b64encode(b''.join(map(string, parts))).decode()}"
    read_public_key(line)
    return f"{line} {comment}".rstrip()


def host_of(origin: str) -> str | None:
    """The host of a page whose signatures count: `https://HOST[:PORT]`, and for trials `http://localhost[:PORT]`."""
    found = _ORIGIN.fullmatch(origin) if len(origin) <= MAX_ORIGIN else None
    if found is None or (found[1] == "http" and found[2] != "localhost"):
        return None
    return found[2]


def assemble(
    public_key_line: str, namespace: str, *, authenticator_data: bytes, client_data: bytes, signature: bytes
) -> str:
    """Return the armored SSHSIG of what a browser answered; whether it holds, `signing.sshsig.verify` says.

    Args:
        authenticator_data, client_data, signature: as WebAuthn's `AuthenticatorAssertionResponse` has them.

    Raises:
        PersonSignatureUncheckable: a key of another type, or an answer that is cut off or malformed.
        PersonSignatureWrong: the token made it for another site.
    """
    key = read_public_key(public_key_line)
    if key.algorithm != SK_P256:
        raise PersonSignatureUncheckable(f"a passkey is an {SK_P256} key", at="public key")
    if len(authenticator_data) < HEAD:
        raise PersonSignatureUncheckable("authenticator data end too early", at=AT)
    if authenticator_data[:32] != sha256(key.application).digest():
        raise PersonSignatureWrong("the token made it for another site", fingerprint=key.fingerprint)
    try:
        r, s = decode_dss_signature(signature)
    except ValueError as exc:
        raise PersonSignatureUncheckable("no ECDSA signature", at=AT) from exc
    if r <= 0 or s <= 0:
        raise PersonSignatureUncheckable("no ECDSA signature", at=AT)
    origin = _said(client_data).get("origin")
    if not isinstance(origin, str):
        raise PersonSignatureUncheckable("the client data name no origin", at=AT)
    page = (origin.encode(errors="replace"), client_data, authenticator_data[HEAD:])
    inner = string(TYPE.encode()) + string(mpint(r) + mpint(s)) + authenticator_data[32:HEAD]
    return armor(key.blob, namespace.encode(), inner + b"".join(map(string, page)))


def read_page(reader: Reader) -> Page:
    """Read the three strings behind flags and counter. Raises `PersonSignatureUncheckable`."""
    origin, client_data, extensions = reader.string(), reader.string(), reader.string()
    if len(client_data) > MAX_CLIENT_DATA or len(extensions) > MAX_EXTENSIONS or len(origin) > MAX_ORIGIN:
        raise reader.refuse("more about its page than a browser writes")
    if not origin.isascii():
        raise reader.refuse("an origin beyond ASCII")
    return Page(origin.decode(), client_data, extensions)


def covered(page: Page, tail: bytes, challenged: bytes, *, application: bytes, fingerprint: str) -> bytes:
    """Return the bytes that the token signed, after everything around them has been held against what was asked.

    Args:
        tail: the token's flags (one byte) and counter (four).
        challenged: what the challenge has to be, see `challenge`.
        application: of the registered key; the host of the page has to be it, to the letter.

    Raises:
        PersonSignatureUncheckable: not spelt as a browser spells it, or flags that contradict the rest.
        PersonSignatureWrong: another challenge, page or use.
    """
    if tail[0] & ATTESTED or bool(tail[0] & EXTENDED) != bool(page.extensions):
        raise PersonSignatureUncheckable("the flags contradict what is there", at=AT)
    said, wanted = _said(page.client_data), urlsafe_b64encode(challenged).rstrip(b"=").decode()
    problem = _problem(page, said, wanted, application)
    if problem is not None:
        raise PersonSignatureWrong(problem, fingerprint=fingerprint)
    begin = f'{{"type":"webauthn.get","challenge":"{wanted}","origin":"{page.origin}"'
    if not page.client_data.startswith(begin.encode()):
        raise PersonSignatureUncheckable("the client data are not spelt as browsers spell them", at=AT)
    return sha256(application).digest() + tail + page.extensions + sha256(page.client_data).digest()


def _problem(page: Page, said: dict[str, Any], challenge: str, application: bytes) -> str | None:
    """The first thing that is another than it has to be."""
    host = host_of(page.origin)
    checks = {
        "made to register a passkey, not to sign": said.get("type") == "webauthn.get",
        "does not belong to these bytes": said.get("challenge") == challenge,
        "states another page than the browser does": said.get("origin") == page.origin,
        "asked for by a frame within another page": said.get("crossOrigin", False) is False
        and "topOrigin" not in said,
        f"made on the page {page.origin[:80]!r}, and the key is for {application.decode(errors='replace')!r}": (
            host is not None and host.encode() == application
        ),
    }
    return next((problem for problem, right in checks.items() if not right), None)


def _said(client_data: bytes) -> dict[str, Any]:
    try:
        value = parse(client_data, max_bytes=MAX_CLIENT_DATA, at="client data")
    except NotCanonical as exc:
        raise PersonSignatureUncheckable(str(exc), at=AT) from exc
    if not isinstance(value, dict):
        raise PersonSignatureUncheckable("client data are no object", at=AT)
    return value
