"""What people sign: approvals, decisions, the list of people, by keys in files, tokens and cards that everybody knows."""

import base64
import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from registry import approvals_payload, decisions, people
from registry.approvals_payload import Answer
from registry.decisions import Kind, Request
from signing import piv, sshsig, webauthn
from signing.canonical import canonical_bytes, pretty_bytes
from tests.vectors.basics import MOMENT, Files, digest, with_fields, without

APPROVAL, DECISION = approvals_payload.NAMESPACE, decisions.NAMESPACE
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
YEAR = timedelta(days=365)


def seed(name: str) -> bytes:
    return hashlib.sha256(f"tidegate vectors, key of {name}".encode()).digest()


def file_key(name: str) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(seed(name))


def curved(name: str, curve: ec.EllipticCurve) -> ec.EllipticCurvePrivateKey:
    return ec.derive_private_key(int.from_bytes(seed(name)) >> 8, curve)


def same_each_time(digest_of: hashes.HashAlgorithm) -> ec.ECDSA:
    """ECDSA whose number is made of key and message (RFC 6979), so that these files are the same each time."""
    return ec.ECDSA(digest_of, deterministic_signing=True)


# -- three ways to sign ------------------------------------------------------------------------------------------------


def string(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data


def armored(
    message: bytes, namespace: str, blob: bytes, signature: bytes, *, how: str = "sha512", version: int = 1
) -> str:
    """PROTOCOL.sshsig. `signature`: its type and its bytes, each with its length, and what a token adds."""
    fields = (blob, namespace.encode(), b"", how.encode(), signature)
    data = b"SSHSIG" + version.to_bytes(4, "big") + b"".join(map(string, fields))
    text = base64.b64encode(data).decode()
    lines = [text[start : start + 70] for start in range(0, len(text), 70)]
    return "\n".join([sshsig.HEADER, *lines, sshsig.FOOTER, ""])


def covered(message: bytes, namespace: str, how: str = "sha512") -> bytes:
    """What a key signs for a message."""
    parts = (namespace.encode(), b"", how.encode(), hashlib.new(how, message).digest())
    return b"SSHSIG" + b"".join(map(string, parts))


class FileKey:
    """A key in a file."""

    def __init__(self, name: str) -> None:
        self.private = file_key(name)
        self.line = sshsig.public_key_line(self.private, name)

    def sign(self, message: bytes, namespace: str) -> str:
        return sshsig.sign(message, namespace=namespace, private_key=self.private)

    def with_digest(self, message: bytes, namespace: str, how: str) -> str:
        raw = self.private.sign(covered(message, namespace, how))
        blob = base64.b64decode(self.line.split()[1])
        return armored(message, namespace, blob, string(b"ssh-ed25519") + string(raw), how=how)


class Token:
    """A FIDO2 key in software (PROTOCOL.u2f) that signs whatever flags it is told to."""

    application = b"ssh:tidegate"

    def __init__(self, name: str, *, curve: bool = False) -> None:
        self.private = curved(name, ec.SECP256R1()) if curve else file_key(name)
        if isinstance(self.private, Ed25519PrivateKey):
            self.type = b"sk-ssh-ed25519@openssh.com"
            body = string(self.private.public_key().public_bytes_raw())
        else:
            self.type = b"sk-ecdsa-sha2-nistp256@openssh.com"
            point = self.private.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
            body = string(b"nistp256") + string(point)
        self.blob = string(self.type) + body + string(self.application)
        self.line = f"{self.type.decode()} {base64.b64encode(self.blob).decode()} {name}"

    def sign(self, message: bytes, namespace: str, *, flags: int = 5, shown: int | None = None) -> str:
        """`shown`: the flags that a forger puts in place of those that were signed."""
        tail = bytes([flags]) + (7).to_bytes(4, "big")
        inner = hashlib.sha256(covered(message, namespace)).digest()
        data = hashlib.sha256(self.application).digest() + tail + inner
        if isinstance(self.private, Ed25519PrivateKey):
            raw = self.private.sign(data)
        else:
            pair = decode_dss_signature(self.private.sign(data, same_each_time(hashes.SHA256())))
            raw = b"".join(string(part.to_bytes(part.bit_length() // 8 + 1, "big")) for part in pair)
        tail = bytes([flags if shown is None else shown]) + tail[1:]
        return armored(message, namespace, self.blob, string(self.type) + string(raw) + tail)


class Passkey:
    """A passkey in software, with the browser around it (WebAuthn), that says whatever it is told to."""

    kind, key_kind = webauthn.TYPE.encode(), b"sk-ecdsa-sha2-nistp256@openssh.com"

    def __init__(self, name: str, *, host: str = "models.example") -> None:
        self.private, self.host = curved(name, ec.SECP256R1()), host
        point = self.private.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        self.blob = b"".join(map(string, (self.key_kind, b"nistp256", point, host.encode())))
        self.line = f"{self.key_kind.decode()} {base64.b64encode(self.blob).decode()} {name}"

    def client_data(self, message: bytes, namespace: str, **said: Any) -> bytes:
        """What a browser writes, in its order; fields of `said` in place of its own."""
        asked = base64.urlsafe_b64encode(webauthn.challenge(message, namespace)).rstrip(b"=").decode()
        usual = {"type": "webauthn.get", "challenge": asked, "origin": f"https://{self.host}"}
        value = {**usual, "crossOrigin": False, **said}
        return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()

    def data(self, flags: int = 5, extensions: bytes = b"", host: str | None = None) -> bytes:
        """Authenticator data."""
        about = hashlib.sha256((host or self.host).encode()).digest()
        return about + bytes([flags]) + (7).to_bytes(4, "big") + extensions

    def raw(self, data: bytes, client_data: bytes) -> bytes:
        """DER, as a browser hands it over."""
        said = data + hashlib.sha256(client_data).digest()
        return self.private.sign(said, same_each_time(hashes.SHA256()))

    def sign(
        self, message: bytes, namespace: str, *, flags: int = 5, extensions: bytes = b"", **said: Any
    ) -> str:
        return self.packed(namespace, self.client_data(message, namespace, **said), flags, extensions)

    def packed(
        self, namespace: str, client_data: bytes, flags: int = 5, extensions: bytes = b"", **other: Any
    ) -> str:
        """By hand, so that it can be put together wrongly. `other`: `origin`, `shown` flags, `surplus` bytes, `kind`."""
        data = self.data(flags, extensions)
        pair = decode_dss_signature(self.raw(data, client_data))
        numbers = b"".join(string(part.to_bytes(part.bit_length() // 8 + 1, "big")) for part in pair)
        origin = other.get("origin", f"https://{self.host}").encode()
        tail = bytes([other.get("shown", flags)]) + data[33:37]
        inner = string(other.get("kind", self.kind)) + string(numbers) + tail
        inner += b"".join(map(string, (origin, client_data, extensions))) + other.get("surplus", b"")
        return armored(b"", namespace, self.blob, inner)


ISSUER = file_key("who hands cards out")


def named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def usage(*, sign: bool = False, issue: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(sign, False, False, False, False, issue, issue, False, False)


def anchor() -> bytes:
    """DER of the issuer's own certificate."""
    name = named("Harbour cards")
    builder = x509.CertificateBuilder(name, name, ISSUER.public_key(), 1, NOON - YEAR, NOON + 9 * YEAR)
    builder = builder.add_extension(x509.BasicConstraints(True, None), critical=True)
    return (
        builder.add_extension(usage(issue=True), critical=True).sign(ISSUER, None).public_bytes(Encoding.DER)
    )


def revoking(serial: int) -> bytes:
    """DER of the issuer's list with one card in it."""
    entry = x509.RevokedCertificateBuilder(serial, NOON - timedelta(days=2)).build()
    builder = x509.CertificateRevocationListBuilder(
        named("Harbour cards"), NOON - timedelta(days=1), NOON + YEAR
    )
    return builder.add_revoked_certificate(entry).sign(ISSUER, None).public_bytes(Encoding.DER)


class Card:
    """A PIV card in software."""

    def __init__(
        self,
        name: str,
        *,
        curve: type[ec.EllipticCurve] = ec.SECP256R1,
        until: datetime = NOON + YEAR,
        sign: bool = True,
    ) -> None:
        self.private = curved(name, curve())
        public = self.private.public_key()
        builder = x509.CertificateBuilder(named("Harbour cards"), named(name), public, 77, NOON - YEAR, until)
        made = builder.add_extension(usage(sign=sign), critical=True).sign(ISSUER, None)
        self.certificate = piv.certificate_of(made.public_bytes(Encoding.DER))
        self.line = self.certificate.line

    def sign(self, message: bytes, namespace: str) -> str:
        how = hashes.SHA256() if self.private.key_size == 256 else hashes.SHA384()
        raw = self.private.sign(piv.to_be_signed(message, namespace), same_each_time(how))
        return piv.signature_text(self.certificate, raw)


# -- cases -------------------------------------------------------------------------------------------------------------


def case(path: str, payload: bytes, signature: str, public_key: str, **demands: Any) -> Files:
    """A folder: what was signed, the signature, and what whoever checks knows and demands."""
    asked: dict[str, Any] = {"touch": False, "pin": False, "at": None, "anchors": [], "crls": []}
    asked |= {name: value for name, value in demands.items() if not isinstance(value, list)}
    asked |= {
        name: [base64.b64encode(one).decode() for one in value]
        for name, value in demands.items()
        if isinstance(value, list)
    }
    yield f"{path}/payload.json", payload
    yield f"{path}/payload.sig", signature.encode()
    yield f"{path}/check.json", pretty_bytes({"public_key": public_key, **asked})


ANSWER = Answer(
    digest=digest("version"), model="acme/tiny", ordinal=2, tier="team", site="lab",
    evidence=(digest("report"), digest("suite")), reason="läuft seit zwei Wochen im Test", issued_at=NOON,
    expires_at=NOON + timedelta(days=7), nonce="0123456789abcdef" * 2, requested_by="ines",
    shown_sha256=digest("page"), request=digest("request"), policy=digest("policy"),
)  # fmt: skip
OLD = Answer(**{**vars(ANSWER), "shown_sha256": None, "request": None, "policy": None, "requested_by": None})
ALICE, TOKEN, CURVED = FileKey("alice"), Token("alice"), Token("alice", curve=True)
PASSKEY = Passkey("alice")


def approval_vectors() -> Files:
    good = approvals_payload.payload(ANSWER, "alice")
    old = approvals_payload.payload(OLD, "alice")
    no = approvals_payload.payload(Answer(**{**vars(ANSWER), "decision": "reject"}), "alice")
    yield from case("valid/approval/key-in-a-file", good, ALICE.sign(good, APPROVAL), ALICE.line)
    yield from case("valid/approval/rejection", no, ALICE.sign(no, APPROVAL), ALICE.line)
    yield from case("valid/approval/format-1", old, ALICE.sign(old, APPROVAL), ALICE.line)
    yield from case("valid/approval/sha256", good, ALICE.with_digest(good, APPROVAL, "sha256"), ALICE.line)
    both = {"touch": True, "pin": True}
    yield from case("valid/approval/token", good, TOKEN.sign(good, APPROVAL), TOKEN.line, **both)
    yield from case("valid/approval/token-on-a-curve", good, CURVED.sign(good, APPROVAL), CURVED.line, **both)
    touched = TOKEN.sign(good, APPROVAL, flags=1)
    yield from case("valid/approval/token-touched", good, touched, TOKEN.line, touch=True)
    yield from _by_card(good)
    yield from _by_passkey(good, no)
    bad = "refused/PersonSignatureWrong/approval"
    yield from case(f"{bad}/token-not-touched", good, TOKEN.sign(good, APPROVAL, flags=4), TOKEN.line)
    yield from case(f"{bad}/token-without-pin", good, touched, TOKEN.line, **both)
    forged = TOKEN.sign(good, APPROVAL, flags=0, shown=5)
    yield from case(f"{bad}/flags-added-later", good, forged, TOKEN.line)
    yield from case(f"{bad}/file-for-a-token", good, ALICE.sign(good, APPROVAL), ALICE.line, touch=True)
    yield from case(f"{bad}/another-purpose", good, ALICE.sign(good, DECISION), ALICE.line)
    yield from case(f"{bad}/another-key", good, FileKey("bob").sign(good, APPROVAL), ALICE.line)
    yield from case(f"{bad}/another-payload", no, ALICE.sign(good, APPROVAL), ALICE.line)
    bad = "refused/PersonSignatureUncheckable/approval"
    yield from case(f"{bad}/sha1", good, ALICE.with_digest(good, APPROVAL, "sha1"), ALICE.line)
    whole = ALICE.sign(good, APPROVAL)
    yield from case(f"{bad}/cut-off", good, whole.replace(sshsig.FOOTER, ""), ALICE.line)
    blob = base64.b64decode(ALICE.line.split()[1])
    raw = ALICE.private.sign(covered(good, APPROVAL))
    surplus = armored(good, APPROVAL, blob, string(b"ssh-ed25519") + string(raw) + b"\0" * 5)
    yield from case(f"{bad}/more-than-a-signature", good, surplus, ALICE.line)
    later = armored(good, APPROVAL, blob, string(b"ssh-ed25519") + string(raw), version=2)
    yield from case(f"{bad}/version-2", good, later, ALICE.line)
    yield from _unreadable(good, old)


def _by_card(good: bytes) -> Files:
    card, large = Card("alice"), Card("alice", curve=ec.SECP384R1)
    known = {"at": MOMENT, "anchors": [anchor()]}
    yield from case(
        "valid/approval/card", good, card.sign(good, APPROVAL), card.line, touch=True, pin=True, **known
    )
    yield from case("valid/approval/card-p384", good, large.sign(good, APPROVAL), large.line, **known)
    others = {**known, "crls": [revoking(78)]}
    yield from case(
        "valid/approval/card-not-on-the-list", good, card.sign(good, APPROVAL), card.line, **others
    )
    bad = "refused/PersonSignatureWrong/approval"
    yield from case(
        f"{bad}/card-of-nobody", good, card.sign(good, APPROVAL), card.line, touch=True, at=MOMENT
    )
    yield from case(f"{bad}/card-of-another", good, Card("bob").sign(good, APPROVAL), card.line, **known)
    gone = {**known, "crls": [revoking(77)]}
    yield from case(f"{bad}/card-revoked", good, card.sign(good, APPROVAL), card.line, **gone)
    over = Card("alice", until=NOON - timedelta(days=1))
    yield from case(f"{bad}/card-over", good, over.sign(good, APPROVAL), over.line, **known)
    unfit = Card("alice", sign=False)
    yield from case(f"{bad}/card-not-for-signing", good, unfit.sign(good, APPROVAL), unfit.line, **known)
    yield from case(f"{bad}/card-another-purpose", good, card.sign(good, DECISION), card.line, **known)
    value = {**json.loads(card.sign(good, APPROVAL)), "note": ""}
    text = canonical_bytes(value).decode() + "\n"
    yield from case(
        "refused/PersonSignatureUncheckable/approval/card-surplus-field", good, text, card.line, **known
    )


def _by_passkey(good: bytes, other: bytes) -> Files:
    """Signatures made in a browser. All are the key's own work: only what stands around them is wrong."""
    both, key, at = {"touch": True, "pin": True}, PASSKEY, "https://models.example"

    def one(path: str, signature: str, **demands: Any) -> Files:
        return case(path, good, signature, key.line, **demands)

    def saying(**said: Any) -> str:
        return key.sign(good, APPROVAL, **said)

    yield from one("valid/approval/passkey", saying(), **both)
    yield from one("valid/approval/passkey-touched", saying(flags=1), touch=True)
    yield from one("valid/approval/passkey-that-travels", saying(flags=0x1D))
    more = saying(flags=0x85, extensions=b"\xa1\x63uvm\x80", newly="added")
    yield from one("valid/approval/passkey-extensions", more, **both)
    port = key.packed(APPROVAL, key.client_data(good, APPROVAL, origin=f"{at}:8765"), origin=f"{at}:8765")
    yield from one("valid/approval/passkey-another-port", port, **both)

    bad = "refused/PersonSignatureWrong/approval/passkey"
    yield from one(f"{bad}-not-touched", saying(flags=4))
    yield from one(f"{bad}-without-pin", saying(flags=1), **both)
    yield from one(f"{bad}-that-travels-for-a-token", saying(flags=0x1D), **both)
    shown = key.packed(APPROVAL, key.client_data(good, APPROVAL), flags=0, shown=5)
    yield from one(f"{bad}-flags-added-later", shown)
    yield from one(f"{bad}-registering", saying(type="webauthn.create"))
    yield from one(f"{bad}-in-a-frame", saying(crossOrigin=True))
    yield from one(f"{bad}-below-another-page", saying(topOrigin="https://evil.example"))
    for name, origin in (
        ("another-page", "https://evil.example"),
        ("a-page-below", "https://evil.models.example"),
        ("a-page-in-the-open", "http://models.example"),
        ("an-app", "android:apk-key-hash:AAAA"),
    ):
        there = key.packed(APPROVAL, key.client_data(good, APPROVAL, origin=origin), origin=origin)
        yield from one(f"{bad}-{name}", there)
    yield from one(f"{bad}-stating-another-page", saying(origin="https://evil.example"))
    yield from one(f"{bad}-another-payload", key.sign(other, APPROVAL))
    yield from one(f"{bad}-another-purpose", key.packed(APPROVAL, key.client_data(good, DECISION)))

    bad = "refused/PersonSignatureUncheckable/approval/passkey"
    said = key.client_data(good, APPROVAL)
    yield from one(f"{bad}-more-bytes", key.packed(APPROVAL, said, surplus=string(b"")))
    yield from one(f"{bad}-extensions-not-flagged", key.packed(APPROVAL, said, extensions=b"\xa0"))
    yield from one(f"{bad}-flagged-without-extensions", key.packed(APPROVAL, said, flags=0x85))
    yield from one(f"{bad}-with-a-new-key", key.packed(APPROVAL, said, flags=0x45))
    backwards = json.dumps(dict(reversed(json.loads(said).items())), separators=(",", ":")).encode()
    yield from one(f"{bad}-in-another-order", key.packed(APPROVAL, backwards))
    yield from one(f"{bad}-spaced", key.packed(APPROVAL, said.replace(b'":"', b'": "')))
    twice = said[:-1] + b',"crossOrigin":true}'
    yield from one(f"{bad}-a-name-twice", key.packed(APPROVAL, twice))
    yield from one(f"{bad}-too-long", saying(filler="x" * 4096))
    yield from one(f"{bad}-as-a-token", key.packed(APPROVAL, said, kind=key.key_kind))


def _unreadable(good: bytes, old: bytes) -> Files:
    bad, swapped = "refused/ApprovalUnreadable/approval", list(reversed(json.loads(good)["evidence"]))
    changed = {
        "another-format": with_fields(good, format="tidegate-approval/3"),
        "unknown-field": with_fields(good, novelty=1),
        "no-nonce": without(good, "nonce"),
        "nonce-in-capitals": with_fields(good, nonce="0123456789ABCDEF" * 2),
        "ordinal-0": with_fields(good, ordinal=0),
        "evidence-not-sorted": with_fields(good, evidence=swapped),
        "evidence-twice": with_fields(good, evidence=[digest("suite")] * 2),
        "over-before-it-begins": with_fields(good, expires_at=MOMENT),
        "moment-with-fraction": with_fields(good, issued_at="2026-11-20T12:00:00.0Z"),
        "neither-yes-nor-no": with_fields(good, decision="perhaps"),
        "not-bound-to-a-page": with_fields(good, shown_sha256=None),
        "no-reason": with_fields(good, reason=" "),
        "format-1-with-a-decision": with_fields(old, decision="approve"),
        "not-canonical": json.dumps(json.loads(good), sort_keys=True).encode(),
    }
    for name, payload in changed.items():
        yield from case(f"{bad}/{name}", payload, ALICE.sign(payload, APPROVAL), ALICE.line)


DETAILS: Mapping[Kind, tuple[str, dict[str, Any]]] = {
    Kind.WAIVE_FINDING: (digest("file"), {"rule": "pickle-import", "path": "weights.bin"}),
    Kind.ACCEPT_LICENCE: ("llama-3.1", {"text_sha256": None}),
    Kind.QUARANTINE_CASE: ("coding/two-sum", {}),
    Kind.ALLOW_PYTHON: (digest("suite"), {}),
    Kind.APPLY_POLICY: (digest("tiers"), {}),
    Kind.REVOKE: (digest("decision"), {}),
    Kind.BREAK_GLASS: (
        digest("version"),
        {"tier": "team", "model": "acme/tiny", "checks": ["approvals", "suites"], "page_sha256": digest("page")},
    ),
    Kind.REVIEW: (digest("decision"), {"verdict": "objected"}),
    Kind.SET_PERSON: (
        "bob",
        {
            "position": 2, "roles": ["auditor", "steward"], "method": "ssh", "public_key": FileKey("bob").line,
            "active": True, "until": "2027-11-20T12:00:00Z",
        },
    ),
    Kind.FOLLOW_ORIGIN: (digest("root"), {"follow": True}),
    Kind.CARD_ISSUER: (digest("issuer"), {}),
}  # fmt: skip


def decision(kind: Kind) -> bytes:
    subject, details = DETAILS[kind]
    over = None if kind in (Kind.REVOKE, Kind.SET_PERSON) else NOON + YEAR
    return decisions.payload(
        Request(kind, subject, "lab", "alice", "as agreed", NOON, "0123456789abcdef" * 2, over, details)
    )


def decision_vectors() -> Files:
    for kind in Kind:
        payload = decision(kind)
        yield from case(f"valid/decision/{kind}", payload, ALICE.sign(payload, DECISION), ALICE.line)
    glass, person = decision(Kind.BREAK_GLASS), decision(Kind.SET_PERSON)
    facts, about = json.loads(glass)["details"], json.loads(person)["details"]
    changed = {
        "another-format": with_fields(glass, format="tidegate-decision/2"),
        "unknown-field": with_fields(glass, novelty=1),
        "unknown-kind": with_fields(glass, kind="promote-anything"),
        "no-home": without(glass, "home"),
        "subject-is-no-digest": with_fields(glass, subject="acme/tiny"),
        "detail-too-many": with_fields(glass, details={**facts, "also": "this"}),
        "detail-missing": with_fields(glass, details={"tier": "team"}),
        "checks-not-sorted": with_fields(glass, details={**facts, "checks": ["suites", "approvals"]}),
        "role-that-is-none": with_fields(person, details={**about, "roles": ["admin"]}),
        "row-0": with_fields(person, details={**about, "position": 0}),
        "revocation-that-ends": with_fields(decision(Kind.REVOKE), expires_at="2027-11-20T12:00:00Z"),
        "two-slashes": with_fields(decision(Kind.QUARANTINE_CASE), subject="coding/two/sum"),
        "not-canonical": json.dumps(json.loads(glass), sort_keys=True).encode(),
    }
    for name, payload in changed.items():
        place = f"refused/DecisionUnreadable/decision/{name}"
        yield from case(place, payload, ALICE.sign(payload, DECISION), ALICE.line)
    wrong = "refused/PersonSignatureWrong/decision"
    yield from case(f"{wrong}/another-purpose", glass, ALICE.sign(glass, APPROVAL), ALICE.line)


def people_vectors() -> Files:
    first, second = (people.Key("ssh", FileKey(name).line, MOMENT) for name in ("bob", "carla"))
    lost = people.Key("ssh", FileKey("alice").line, "2025-11-20T12:00:00Z", MOMENT)
    card = people.Key("piv", Card("alice").line, MOMENT, "2027-11-20T12:00:00Z")
    entries = (
        people.Entry("alice", ("auditor", "steward"), (lost, card), True, "third floor"),
        people.Entry("bob", ("author",), (first,), False, "left in autumn"),
        people.Entry("carla", ("reviewer",), (second,), True),
    )
    good = people.encode(people.People(7, MOMENT, entries))
    rows = json.loads(good)["people"]
    alice, bob, carla = rows
    yield "valid/people/three.json", good
    yield "valid/people/unknown-fields.json", with_fields(good, novelty=1, people=[{**alice, "room": 3}])
    bad = "refused/PeopleRefused/people"
    changed: dict[str, dict[str, Any]] = {
        "another-format": {"format": "tidegate-people/2"},
        "critical": {"critical": ["novelty"], "novelty": 1},
        "version-0": {"version": 0},
        "nobody": {"people": []},
        "not-by-name": {"people": [bob, alice]},
        "one-name-twice": {"people": [bob, {**carla, "name": "bob"}]},
        "one-key-for-two": {"people": [bob, {**carla, "keys": bob["keys"]}]},
        "keys-not-by-time": {"people": [{**alice, "keys": alice["keys"][::-1]}]},
        "no-keys": {"people": [{**alice, "keys": []}]},
        "role-that-is-none": {"people": [{**alice, "roles": ["admin"]}]},
        "roles-not-sorted": {"people": [{**alice, "roles": ["steward", "auditor"]}]},
        "another-method": {"people": [{**bob, "keys": [{**bob["keys"][0], "method": "piv"}]}]},
        "no-such-key": {"people": [{**bob, "keys": [{**bob["keys"][0], "public_key": "ssh-ed25519 AAAA"}]}]},
        "name-with-a-space": {"people": [{**bob, "name": "bob b"}]},
        "moment-with-zone": {"issued_at": "2026-11-20T12:00:00+00:00"},
    }
    for name, fields in changed.items():
        yield f"{bad}/{name}.json", with_fields(good, **fields)
    yield f"{bad}/not-canonical.json", json.dumps(json.loads(good), sort_keys=True).encode()
