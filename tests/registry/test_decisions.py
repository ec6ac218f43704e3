"""Decisions of people: which stand, and every way in which one does not."""

import contextlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from registry.approvals import Person
from registry.decisions import (
    NAMESPACE,
    DecisionUnreadable,
    Kind,
    Request,
    decode,
    payload,
    standing,
)
from registry.signed import CardIssuers, Signed
from signing.canonical import canonical_bytes, parse
from signing.sshsig import public_key_line, sign
from tests.signing.test_piv import Card, Issuer, card, entry

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
KEYS = {
    name: Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32)
    for number, name in enumerate(("rita", "sam"), 1)
}
ROLES = {"rita": ("reviewer",), "sam": ("steward",)}
PEOPLE = [
    Person(name, public_key_line(key), ROLES[name], NOW - timedelta(days=1)) for name, key in KEYS.items()
]
LICENCE = Request(
    Kind.ACCEPT_LICENCE, "apache-2.0", "clinic", "rita", "read by the legal office", NOW, "0" * 32,
    details={"text_sha256": None},
)  # fmt: skip


def signed(request: Request = LICENCE, *, key: str | None = None, namespace: str = NAMESPACE) -> Signed:
    data = payload(request)
    return Signed(
        data, sign(data, namespace=namespace, private_key=KEYS[key or request.person]), request.person
    )


def count(
    *rows: Signed, people: list[Person] = PEOPLE, now: datetime = NOW, home: str = "clinic"
) -> list[str]:
    return [found.subject for found in standing(rows, people, kind=Kind.ACCEPT_LICENCE, home=home, now=now)]


def test_a_reviewers_decision_stands() -> None:
    assert ["apache-2.0"] == count(signed())


@pytest.mark.parametrize(
    "row",
    [
        signed(replace(LICENCE, person="sam")),  # a steward reviews nothing
        signed(key="sam"),  # somebody else's key
        signed(namespace="approval@tidegate"),  # a signature made for something else
        signed(replace(LICENCE, home="harbour")),  # carried over from another home
        signed(replace(LICENCE, issued_at=NOW + timedelta(hours=1))),  # not made yet
        signed(replace(LICENCE, issued_at=NOW - timedelta(days=2))),  # before rita signed here
        signed(replace(LICENCE, expires_at=NOW)),  # over
        replace(signed(), person="sam"),  # handed in under another name
        replace(signed(), payload=signed().payload.replace(b"apache-2.0", b"anything-0")),  # edited
    ],
)
def test_what_does_not_stand(row: Signed) -> None:
    assert [] == count(row)


def test_who_has_left_has_decided_nothing() -> None:
    assert [] == count(signed(), people=PEOPLE[1:])


def test_a_decision_ends_by_itself() -> None:
    row = signed(replace(LICENCE, expires_at=NOW + timedelta(days=1)))
    assert ["apache-2.0"] == count(row)
    assert [] == count(row, now=NOW + timedelta(days=1))


def revoked(by: str) -> Signed:
    return signed(
        Request(Kind.REVOKE, signed().digest, "clinic", by, "withdrawn by the legal office", NOW, "1" * 32)
    )


def test_one_with_the_same_right_revokes_it_and_nobody_else() -> None:
    assert [] == count(signed(), revoked("rita"))
    assert ["apache-2.0"] == count(signed(), revoked("sam"))


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"format": "tidegate-decision/2"}, "decision.format"),
        ({"kind": "promote"}, "decision.kind"),
        ({"kind": "allow-python"}, "decision.subject"),
        ({"kind": "quarantine-case"}, "decision.subject"),
        ({"kind": "waive-finding", "subject": "a" * 64}, "decision.details"),
        ({"details": {"text_sha256": 7}}, "decision.details.text_sha256"),
        ({"details": []}, "decision.details"),
        ({"issued_at": "yesterday"}, "decision.issued_at"),
        ({"expires_at": 7}, "decision.expires_at"),
        ({"expires_at": ""}, "decision.expires_at"),
        ({"reason": " "}, "decision.reason"),
        ({"mood": "good"}, "decision"),
    ],
)
def test_a_payload_that_cannot_be_meant_is_refused_by_field(changes: dict[str, Any], place: str) -> None:
    edited = parse(payload(LICENCE), max_bytes=1 << 16) | changes
    with pytest.raises(DecisionUnreadable) as refusal:
        decode(canonical_bytes(edited))
    assert place == refusal.value.at


@pytest.mark.property
@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    with contextlib.suppress(DecisionUnreadable):
        assert payload(decode(data)) == data


@pytest.mark.property
@given(st.text(min_size=1, max_size=40).filter(str.strip), st.sampled_from([None, "a" * 64]))
def test_what_is_written_is_read(reason: str, text: str | None) -> None:
    try:
        data = payload(replace(LICENCE, reason=reason, details={"text_sha256": text}))
    except ValueError:  # half a surrogate pair has no canonical form
        return
    assert payload(decode(data)) == data


class TestByACard:
    """rita signs with her card; its issuer is registered here."""

    CA = Issuer("Clinic cards")

    def row(self, held: Card) -> Signed:
        data = payload(LICENCE)
        return Signed(data, held.sign(data, NAMESPACE), "rita")

    def count(self, held: Card, *crls: bytes, now: datetime = NOW) -> int:
        people = [Person("rita", held.line, ("reviewer",), NOW - timedelta(days=1))]
        cards = CardIssuers((self.CA.pem,), crls)
        rows = [self.row(held)]
        return len(standing(rows, people, kind=Kind.ACCEPT_LICENCE, home="clinic", now=now, cards=cards))

    def test_it_stands_also_when_the_card_has_ended_since(self) -> None:
        held = card(issuer=self.CA, until=NOW + timedelta(days=1))
        assert 1 == self.count(held)
        assert 1 == self.count(held, now=NOW + timedelta(days=9))

    def test_it_falls_when_the_card_was_revoked_before(self) -> None:
        held = card(issuer=self.CA)
        week = {"made": NOW - timedelta(hours=1), "until": NOW + timedelta(days=7)}
        assert 1 == self.count(held, self.CA.revokes(**week))
        assert 0 == self.count(held, self.CA.revokes(entry(NOW - timedelta(days=1)), **week))

    def test_it_falls_when_the_card_was_not_valid_then(self) -> None:
        assert 0 == self.count(card(issuer=self.CA, until=NOW - timedelta(days=1)))
