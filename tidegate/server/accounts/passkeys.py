"""Passkeys: registering one, signing in with one, and checking what a browser answered.

Each question is kept until it is answered, once, within minutes. What somebody signs in with is a signature like any
that people make (`signing.webauthn`), in a namespace of its own: signing in never approves anything. A passkey has
to have been given a PIN, a fingerprint or a face. No attestation is asked for: which make a token is of is not known
here, so nothing rests on it; what the browser sends along is recorded by name.
"""

import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection

from registry.entities import DoorChallenge, Passkey
from registry.passkeys import Passkeys
from signing import sshsig, webauthn
from signing.canonical import canonical_bytes, parse
from signing.errors import OperatorError
from signing.person_refusals import PersonSignatureUncheckable, PersonSignatureWrong
from signing.times import from_rfc3339, rfc3339
from tidegate.server.accounts.passkey_refusals import PasskeyRefused, PasskeysNeedAName
from tidegate.server.accounts.vouching import VOUCHED
from tidegate.server.premises import Premises
from tidegate.server.settings import ServerSettings

SIGN_IN = "sign-in@tidegate"  # what people sign to be let in; no approval, no decision
LIFE = timedelta(minutes=5)  # of a question
_PATIENCE = 300_000  # milliseconds, for a browser
_ES256 = -7  # COSE: ECDSA on P-256 with SHA-256, the one that OpenSSH knows in browsers
_LONGEST = 32 << 10  # bytes of a body that is kept


@dataclass(frozen=True)
class Site:
    """What browsers call us: passkeys are bound to the host, signatures name the origin."""

    origin: str
    host: str


def site_of(request: HTTPConnection, settings: ServerSettings) -> Site:
    """Return what this site is to a browser. Raises `PasskeysNeedAName`."""
    asked = f"{request.url.scheme}://{request.headers.get('host', '')}"
    origin = _plain(settings.public_url or asked)
    host = webauthn.host_of(origin)
    if host is None or _is_address(host):
        raise PasskeysNeedAName(origin)
    return Site(origin, host)


def _plain(url: str) -> str:
    """An origin as browsers spell it: lower case, no port that is the usual one, no slash."""
    try:
        parts = urlsplit(url)
        usual = parts.port in (None, {"https": 443, "http": 80}.get(parts.scheme))
        return f"{parts.scheme}://{parts.hostname}" + ("" if usual else f":{parts.port}")
    except ValueError:
        return url


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


# -- questions --------------------------------------------------------------------------------------------


def keep_question(premises: Premises, kind: str, about: dict[str, Any]) -> str:
    """Keep what was asked; returns the id under which it waits for its one answer."""
    number = secrets.token_urlsafe(24)
    until = rfc3339(premises.clock() + LIFE)
    body = canonical_bytes(about).decode()
    premises.doors.put(DoorChallenge(id=number, kind=kind, body=body, until=until))
    return number


def take_question(premises: Premises, kind: str, number: str) -> dict[str, Any]:
    """Return what was asked, which is over with that. Raises `PasskeyRefused`: it waits no longer."""
    row = premises.doors.take(DoorChallenge, number[:64])
    if row is None or row.kind != kind or premises.clock() >= from_rfc3339(row.until):
        raise PasskeyRefused("the question was answered already, or its five minutes are over")
    about: dict[str, Any] = parse(row.body.encode(), max_bytes=_LONGEST)
    return about


def request_options(site: Site, challenge: bytes, allowed: Sequence[str] = ()) -> dict[str, Any]:
    """What `navigator.credentials.get` is given, in JSON. `allowed`: ids of passkeys; none: whichever the browser has."""
    return {
        "challenge": encoded(challenge),
        "rpId": site.host,
        "allowCredentials": [{"type": "public-key", "id": name} for name in allowed],
        "userVerification": "required",
        "timeout": _PATIENCE,
    }


@dataclass(frozen=True)
class Answer:
    """What a browser handed over, still in base64url."""

    credential: str
    authenticator_data: str
    client_data: str
    signature: str

    def assembled(self, public_key: str, namespace: str) -> str:
        """The armored SSHSIG. Raises `PasskeyRefused`, `PersonSignatureWrong`, `PersonSignatureUncheckable`."""
        return webauthn.assemble(
            public_key,
            namespace,
            authenticator_data=decoded(self.authenticator_data),
            client_data=decoded(self.client_data),
            signature=decoded(self.signature),
        )


def demand_here(made: sshsig.SshSignature, site: Site) -> None:
    """Raise `PasskeyRefused` unless it was made on a page of this very site, with a PIN or fingerprint."""
    if made.origin != site.origin:
        raise PasskeyRefused(f"made on {made.origin}, and this site is {site.origin}")
    if not made.pin_given:
        raise PasskeyRefused("the passkey was given neither PIN nor fingerprint")


# -- registering ------------------------------------------------------------------------------------------


def ask_new(premises: Premises, site: Site, account: str) -> dict[str, Any]:
    """What `navigator.credentials.create` is given, and the id of the question."""
    challenge = secrets.token_bytes(32)
    with premises.store.view() as view:
        known = [row.credential for row in view.passkeys(account) if row.active]
    about = {"account": account, "challenge": encoded(challenge)}
    person = sha256(f"{premises.home.name}/{account}".encode()).digest()
    options = {
        "rp": {"id": site.host, "name": f"Tidegate {premises.home.name}"},
        "user": {"id": encoded(person), "name": account, "displayName": account},
        "challenge": about["challenge"],
        "pubKeyCredParams": [{"type": "public-key", "alg": _ES256}],
        "authenticatorSelection": {"residentKey": "required", "userVerification": "required"},
        "excludeCredentials": [{"type": "public-key", "id": name} for name in known],
        "attestation": "none",
        "timeout": _PATIENCE,
    }
    return {"id": keep_question(premises, "new passkey", about), "publicKey": options}


def keep_new(premises: Premises, site: Site, account: str, number: str, answer: str, title: str) -> Passkey:
    """Verify a registration and keep the passkey.

    Args:
        answer: the browser's `RegistrationResponseJSON`.

    Raises:
        PasskeyRefused: it does not answer this question, or not as it was asked.
        PasskeyUnfit: known already, too many, or an unusable title.
    """
    about = take_question(premises, "new passkey", number)
    if about["account"] != account:
        raise PasskeyRefused("the question was put to somebody else")
    credential, x, y, note = _verified(site, decoded(about["challenge"]), answer)
    line = webauthn.key_line(x, y, site.host, f"{account}@{site.host}")
    return Passkeys(premises.store, account, premises.clock()).add(credential, line, title, note=note)


def _verified(site: Site, challenge: bytes, answer: str) -> tuple[str, bytes, bytes, dict[str, Any]]:
    """The new credential's id and point, and what to say of it."""
    from webauthn import verify_registration_response
    from webauthn.helpers import decode_credential_public_key
    from webauthn.helpers.cose import COSEAlgorithmIdentifier
    from webauthn.helpers.decode_credential_public_key import DecodedEC2PublicKey
    from webauthn.helpers.exceptions import WebAuthnException
    from webauthn.helpers.structs import AttestationFormat, CredentialDeviceType

    try:
        found = verify_registration_response(
            credential=parse(answer.encode(), max_bytes=_LONGEST),
            expected_challenge=challenge,
            expected_rp_id=site.host,
            expected_origin=site.origin,
            require_user_verification=True,
            supported_pub_key_algs=[COSEAlgorithmIdentifier.ECDSA_SHA_256],
        )
        key = decode_credential_public_key(found.credential_public_key)
    except (WebAuthnException, OperatorError, *_STUMBLES) as wrong:
        raise PasskeyRefused(f"the registration does not hold ({wrong})"[:300]) from wrong
    if not isinstance(key, DecodedEC2PublicKey) or len(key.x) != 32 or len(key.y) != 32:
        raise PasskeyRefused("the passkey is of another kind than ES256")
    copied = found.credential_device_type is CredentialDeviceType.MULTI_DEVICE
    note = {"attestation": AttestationFormat(found.fmt).value, "may_be_copied": copied, "origin": site.origin}
    return encoded(found.credential_id), key.x, key.y, note


# What the library that reads registrations, and the one below it, raise for bytes that are none.
_STUMBLES = (ValueError, TypeError, KeyError, AttributeError, IndexError, OverflowError, EOFError)


# -- signing in -------------------------------------------------------------------------------------------


def ask_sign_in(premises: Premises, site: Site) -> dict[str, Any]:
    """What a browser is asked to let somebody in, and the id of the question; it says itself who that is."""
    payload = {"home": premises.home.name, "nonce": secrets.token_hex(16), "sign in at": site.origin}
    challenge = webauthn.challenge(canonical_bytes(payload), SIGN_IN)
    number = keep_question(premises, "sign in", payload)
    return {"id": number, "publicKey": request_options(site, challenge)}


def who_signed_in(premises: Premises, site: Site, number: str, answer: Answer) -> str:
    """Return the account whose passkey answered.

    Raises:
        PasskeyRefused: nobody's passkey, or not over this question, on this site, with PIN or fingerprint.
    """
    payload = canonical_bytes(take_question(premises, "sign in", number))
    with premises.store.view() as view:
        row = view.passkey(answer.credential)
        account = None if row is None else view.account(row.account)
    if row is None or account is None or not (row.active and account.active):
        raise PasskeyRefused("no account has this passkey")
    if account.actor == VOUCHED:  # what they may do is the provider's to say, each time
        raise PasskeyRefused(f"{account.name} signs in with the identity provider")
    try:
        armored = answer.assembled(row.public_key, SIGN_IN)
        made = sshsig.verify(armored, payload, namespace=SIGN_IN, public_key_line=row.public_key)
    except (PersonSignatureWrong, PersonSignatureUncheckable) as wrong:
        raise PasskeyRefused(str(wrong)) from wrong
    demand_here(made, site)
    return account.name


def encoded(data: bytes) -> str:
    """Base64url without padding, as WebAuthn writes bytes in JSON."""
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def decoded(text: str) -> bytes:
    """The bytes again. Raises `PasskeyRefused`."""
    try:
        data = urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except ValueError as wrong:
        raise PasskeyRefused("the browser's answer is not in base64url") from wrong
    if encoded(data) != text:
        raise PasskeyRefused("the browser's answer is not in base64url")
    return data
