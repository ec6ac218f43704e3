"""Signatures by PIV cards: real ones through a security module, and cards in software for every way to be wrong."""

import base64
import contextlib
import json
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from signing import certificates, piv, tokens
from signing.errors import OperatorError
from signing.person_refusals import PersonSignatureUncheckable, PersonSignatureWrong
from signing.tokens import TokenUnusable
from tests.programs import program
from tests.softhsm import PIN, SoftHsm

NAMESPACE = "approval@tidegate"
MESSAGE = b'{"action":"promote"}'
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
YEAR = timedelta(days=365)
RSA = rsa.generate_private_key(65537, 2048)
WEAK = rsa.generate_private_key(65537, 1024)


def named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def usage(*, sign: bool = False, issue: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(sign, False, False, False, False, issue, issue, False, False)


@dataclass
class Issuer:
    """Who hands cards out."""

    name: str
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    above: "Issuer | None" = None
    may_issue: bool = True
    until: datetime = NOON + 10 * YEAR

    @property
    def certificate(self) -> x509.Certificate:
        constraints = x509.BasicConstraints(self.may_issue, None)
        issuer = self.above or self
        return issuer.sign(
            self.name, self.key.public_key(), constraints, usage(issue=True), until=self.until, serial=1
        )

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)

    def sign(
        self,
        name: str,
        public: Any,
        *extensions: x509.ExtensionType,
        since: datetime = NOON - YEAR,
        until: datetime = NOON + YEAR,
        serial: int = 77,
    ) -> x509.Certificate:
        builder = x509.CertificateBuilder(named(self.name), named(name), public, serial, since, until)
        for extension in extensions:
            builder = builder.add_extension(extension, critical=True)
        return builder.sign(self.key, hashes.SHA256())

    def revokes(
        self,
        *entries: x509.RevokedCertificate,
        made: datetime = NOON - timedelta(days=1),
        until: datetime = NOON + timedelta(days=6),
    ) -> bytes:
        builder = x509.CertificateRevocationListBuilder(named(self.name), made, until)
        for entry in entries:
            builder = builder.add_revoked_certificate(entry)
        return builder.sign(self.key, hashes.SHA256()).public_bytes(Encoding.PEM)


def entry(on: datetime, *extensions: x509.ExtensionType, serial: int = 77) -> x509.RevokedCertificate:
    builder = x509.RevokedCertificateBuilder(serial, on)
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    return builder.build()


CA = Issuer("Harbour cards")


@dataclass
class Card:
    """A card in software: a key, and the certificate that was made for it."""

    key: Any
    certificate: x509.Certificate

    @property
    def line(self) -> str:
        return "x509 " + base64.b64encode(self.certificate.public_bytes(Encoding.DER)).decode()

    def sign(self, message: bytes = MESSAGE, namespace: str = NAMESPACE) -> str:
        signed = piv.to_be_signed(message, namespace)
        if isinstance(self.key, rsa.RSAPrivateKey):
            raw = self.key.sign(signed, padding.PKCS1v15(), hashes.SHA256())
        else:
            digest = hashes.SHA384() if self.key.curve.name == "secp384r1" else hashes.SHA256()
            raw = self.key.sign(signed, ec.ECDSA(digest))
        return piv.signature_text(piv.read_certificate(self.line), raw)


def card(key: Any = None, issuer: Issuer = CA, until: datetime = NOON + YEAR) -> Card:
    key = key or ec.generate_private_key(ec.SECP256R1())
    made = issuer.sign("Alice", key.public_key(), usage(sign=True), until=until)
    return Card(key, made)


ALICE = card(ec.derive_private_key(0xA11CE, ec.SECP256R1()))
SIGNED = ALICE.sign()


def check(
    of: Card,
    *,
    text: str | None = None,
    anchors: tuple[bytes, ...] = (CA.pem,),
    crls: tuple[bytes, ...] = (),
    at: datetime | None = NOON,
) -> piv.CardSignature:
    return piv.verify(
        text or of.sign(), MESSAGE, namespace=NAMESPACE, public_key=of.line, at=at, anchors=anchors, crls=crls
    )


@pytest.mark.parametrize(
    "key",
    [ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP384R1()), RSA],
    ids=("p256", "p384", "rsa"),
)
def test_a_card_with_a_registered_issuer_counts(key: Any) -> None:
    found = check(card(key))
    assert "CN=Harbour cards" == found.issuer
    assert "CN=Alice" == found.certificate.subject
    assert NOON + YEAR == found.certificate.until


def test_without_an_anchor_or_a_moment_nobody_vouches() -> None:
    assert check(ALICE, anchors=()).issuer is None
    assert check(ALICE, at=None).issuer is None
    assert check(ALICE, anchors=(Issuer("Harbour cards").pem,)).issuer is None, "same name, another key"
    assert check(ALICE, anchors=(Issuer(CA.name, CA.key, may_issue=False).pem,)).issuer is None
    assert check(ALICE, anchors=(Issuer(CA.name, CA.key, until=NOON - YEAR / 2).pem,)).issuer is None


def test_a_signature_belongs_to_one_message_purpose_and_certificate() -> None:
    renewed = card(ALICE.key, until=NOON + 2 * YEAR)
    for text, said in (
        (ALICE.sign(b"another"), "these bytes"),
        (ALICE.sign(namespace="decision@tidegate"), "these bytes"),
        (renewed.sign(), "another certificate"),
        (card().sign(), "another certificate"),
        (with_field("certificate", card().line.split()[1]), "another certificate"),
    ):
        with pytest.raises(PersonSignatureWrong, match=said):
            check(ALICE, text=text)


def test_a_certificate_counts_only_between_its_dates() -> None:
    for at in (NOON - YEAR - timedelta(seconds=1), NOON + YEAR + timedelta(seconds=1)):
        with pytest.raises(PersonSignatureWrong, match="valid from 2025-11-20 to 2027-11-20"):
            check(ALICE, at=at)
    for at in (NOON - YEAR, NOON + YEAR):
        check(ALICE, at=at)


@pytest.mark.parametrize(
    ("extensions", "said"),
    [
        ((), "not for digital signatures"),
        ((usage(),), "not for digital signatures"),
        ((usage(sign=True), x509.BasicConstraints(True, None)), "an issuer's"),
        (
            (usage(sign=True), x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")),
            "1.2.3.4",
        ),
    ],
)
def test_a_certificate_for_something_else_is_refused(
    extensions: tuple[x509.ExtensionType, ...], said: str
) -> None:
    other = Card(ALICE.key, CA.sign("Alice", ALICE.key.public_key(), *extensions))
    with pytest.raises(PersonSignatureWrong, match=said):
        check(other, anchors=(), at=None)


def test_keys_of_other_kinds_are_refused() -> None:
    for key in (WEAK, ec.generate_private_key(ec.SECP521R1()), ed25519.Ed25519PrivateKey.generate()):
        with pytest.raises(PersonSignatureUncheckable, match="neither"):
            piv.read_certificate(card(key).line)


YESTERDAY, TOMORROW = NOON - timedelta(days=1), NOON + timedelta(days=1)
STOLEN = x509.CRLReason(x509.ReasonFlags.key_compromise)
LEFT = x509.CRLReason(x509.ReasonFlags.affiliation_changed)


@pytest.mark.parametrize(
    ("named_there", "counts"),
    [
        ((entry(YESTERDAY),), False),
        ((entry(YESTERDAY, LEFT),), False),
        ((entry(YESTERDAY, serial=78),), True),
        ((entry(TOMORROW, LEFT),), True),
        ((entry(TOMORROW, STOLEN),), False),
        ((entry(TOMORROW, STOLEN, x509.InvalidityDate(YESTERDAY)),), False),
        ((entry(TOMORROW, STOLEN, x509.InvalidityDate(TOMORROW)),), True),
        ((entry(TOMORROW, LEFT, x509.InvalidityDate(YESTERDAY)),), False),
    ],
    ids=("revoked", "left", "another card", "left later", "stolen, since when is unknown", "stolen before", "stolen after", "left before"),
)  # fmt: skip
def test_a_carried_list_takes_cards_out(
    named_there: tuple[x509.RevokedCertificate, ...], counts: bool
) -> None:
    carried = CA.revokes(*named_there)
    if counts:
        assert check(ALICE, crls=(carried,)).issuer is not None
        return
    with pytest.raises(PersonSignatureWrong, match="revoked CN=Alice"):
        check(ALICE, crls=(carried,))


def test_a_list_that_ran_out_cannot_bring_a_card_back() -> None:
    old = CA.revokes(made=NOON - timedelta(days=30), until=NOON - timedelta(days=23))
    with pytest.raises(PersonSignatureWrong, match="ended on 2026-10-28"):
        check(ALICE, crls=(old,))
    assert check(ALICE, crls=(old, CA.revokes())).issuer is not None
    # Nor can a newer list forget what an older one said.
    with pytest.raises(PersonSignatureWrong, match="revoked"):
        check(ALICE, crls=(CA.revokes(entry(YESTERDAY), made=NOON - timedelta(days=2)), CA.revokes()))


def test_a_list_of_somebody_else_says_nothing() -> None:
    assert check(ALICE, crls=(Issuer("Another house").revokes(entry(YESTERDAY)),)).issuer is not None
    with pytest.raises(PersonSignatureUncheckable, match="not signed by CN=Harbour cards"):
        check(ALICE, crls=(CA.revokes(), Issuer("Harbour cards").revokes(entry(YESTERDAY))))


def test_a_revoked_issuer_takes_its_cards_along() -> None:
    top = Issuer("Harbour root")
    middle = Issuer("Harbour cards 2", above=top)
    bob = card(issuer=middle)
    both = (middle.pem, top.pem)
    assert check(bob, anchors=both).issuer == check(bob, anchors=(middle.pem,)).issuer == "CN=Harbour cards 2"
    assert check(bob, anchors=(top.pem,)).issuer is None, "the one in the middle is not registered"
    with pytest.raises(PersonSignatureWrong, match="revoked CN=Harbour cards 2"):
        check(bob, anchors=both, crls=(top.revokes(entry(YESTERDAY, serial=1)),))


def with_field(name: str, value: object) -> str:
    return json.dumps(json.loads(SIGNED) | {name: value})


@pytest.mark.parametrize(
    "text",
    [
        "", "{", "[]", "{}", "x" * 20_000, SIGNED[:-9], SIGNED + SIGNED,
        with_field("format", "tidegate-piv-signature/2"), with_field("signature", ""),
        with_field("signature", "AA"), with_field("signature", 7), with_field("certificate", None),
        with_field("surplus", 1),
    ],
)  # fmt: skip
def test_what_is_no_signature_of_a_card_is_refused(text: str) -> None:
    with pytest.raises(PersonSignatureUncheckable):
        piv.verify(text, MESSAGE, namespace=NAMESPACE, public_key=ALICE.line)


@pytest.mark.parametrize(
    "line", ["", "x509", "x509 AAAA", "x509 ====", "x509 AAAA BBBB", "x509 " + "A" * 20_000]
)
def test_what_is_no_certificate_is_refused(line: str) -> None:
    with pytest.raises(PersonSignatureUncheckable):
        piv.verify(SIGNED, MESSAGE, namespace=NAMESPACE, public_key=line)


def test_anchors_and_lists_are_bounded_and_decoded() -> None:
    for anchors, crls in (
        ((b"junk",), ()), ((CA.pem,), (b"junk",)), ((CA.pem + CA.pem[:-9],), (b"",)),
        ((CA.pem,) * 65, ()), ((b"\x30" * 17_000,), ()), ((CA.pem,), (bytes(17 << 20),)),
    ):  # fmt: skip
        with pytest.raises(PersonSignatureUncheckable):
            check(ALICE, anchors=anchors, crls=crls)


@pytest.mark.property
@given(
    st.text(max_size=60) | st.dictionaries(st.sampled_from(["format", "certificate", "signature"]), st.text())
)
def test_any_text_as_a_signature_meets_our_refusal_only(text: str | dict[str, str]) -> None:
    with pytest.raises(OperatorError):
        piv.verify(
            text if isinstance(text, str) else json.dumps(text),
            MESSAGE,
            namespace=NAMESPACE,
            public_key=ALICE.line,
        )


DER = ALICE.certificate.public_bytes(Encoding.DER)
LIST = CA.revokes(entry(YESTERDAY, STOLEN))
DECODERS: tuple[Callable[[bytes], object], ...] = (piv.certificate_of, certificates.load_list)


@pytest.mark.property
@given(st.integers(0, len(DER) - 1), st.integers(0, 255), st.sampled_from(DECODERS))
def test_a_damaged_certificate_or_list_meets_our_refusal_only(
    place: int, value: int, decode: Callable[[bytes], object]
) -> None:
    whole = DER if decode is piv.certificate_of else x509.load_pem_x509_crl(LIST).public_bytes(Encoding.DER)
    place %= len(whole)
    with contextlib.suppress(PersonSignatureUncheckable):
        decode(whole[:place] + bytes([value]) + whole[place + 1 :])


class TestInASecurityModule:
    @pytest.fixture(autouse=True)
    def logged_out(self) -> Iterator[None]:
        yield
        tokens.close_all()

    @pytest.mark.parametrize("kind", ["EC:prime256v1", "EC:secp384r1", "rsa:2048"])
    def test_a_card_signs(self, hsm: SoftHsm, kind: str) -> None:
        name, identity = f"sign-{kind[-4:]}", kind[-2:].encode().hex()
        hsm.make(name, kind, token="card", identity=identity)
        uri = hsm.uri(name, token="card")
        with pytest.raises(TokenUnusable, match="no certificate"):
            piv.sign(MESSAGE, namespace=NAMESPACE, uri=uri, passphrase=lambda _: PIN)
        public = tokens.open_key(uri, passphrase=lambda _: PIN).public_key
        made = CA.sign("Alice", public, usage(sign=True))
        hsm.keep_certificate(name, made.public_bytes(Encoding.DER), identity)
        text = piv.sign(MESSAGE, namespace=NAMESPACE, uri=uri, passphrase=lambda _: PIN)
        assert 1 == len(text.splitlines())
        assert "CN=Harbour cards" == check(Card(None, made), text=text).issuer

    def test_a_certificate_of_another_key_is_noticed(self, hsm: SoftHsm) -> None:
        hsm.make("mixed", "EC:prime256v1", token="card", identity="77")
        hsm.keep_certificate("mixed", DER, "77")
        with pytest.raises(TokenUnusable, match="another key's"):
            piv.sign(
                MESSAGE, namespace=NAMESPACE, uri=hsm.uri("mixed", token="card"), passphrase=lambda _: PIN
            )


def test_openssl_checks_a_signature_by_hand(tmp_path: Path) -> None:
    """The lines of docs/how-to/keys.md, run as they stand there."""
    page = Path(__file__).parents[2] / "docs" / "how-to" / "keys.md"
    recipe = page.read_text().split("<!-- by hand -->")[1].split("```")[1].removeprefix("bash\n")
    program("openssl")
    (tmp_path / "payload.json").write_bytes(MESSAGE)
    (tmp_path / "payload.json.piv.json").write_text(SIGNED)
    done = subprocess.run(
        ["bash", "-e"], input=recipe, cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert "Verified OK" in done.stdout
    shown = piv.read_certificate(ALICE.line).fingerprint.removeprefix("x509:")
    assert shown in done.stdout.replace(":", "").lower()
    (tmp_path / "payload.json").write_bytes(MESSAGE + b" ")
    done = subprocess.run(["bash"], input=recipe, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "Verified OK" not in done.stdout
