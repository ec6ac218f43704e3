"""The two-person rule against people who would like to get around it."""

import json
import subprocess
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from registry.approvals import (
    LIFE,
    NAMESPACE,
    Answer,
    ApprovalJudgement,
    ApprovalUnreadable,
    Person,
    Refusal,
    Terms,
    decode,
    judge,
    payload,
)
from registry.signed import CardIssuers, Signed
from signing import sshsig
from signing.canonical import canonical_bytes, parse
from signing.digests import sha256_hex
from tests.programs import program
from tests.signing.test_piv import CA, card

NOW = datetime(2026, 11, 20, 12, 0, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
VERSION, OTHER_VERSION = sha256_hex(b"version 2"), sha256_hex(b"version 3")
SCAN, RUN, LATER_RUN = sha256_hex(b"scan"), sha256_hex(b"run"), sha256_hex(b"later run")
KEYS = {
    name: Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32)
    for number, name in enumerate(("anna", "bo", "carla", "dan", "mallory"), start=1)
}
LINES = {name: sshsig.public_key_line(key) for name, key in KEYS.items()}
PEOPLE = [
    Person("anna", LINES["anna"], {"steward"}, NOW - 30 * 24 * HOUR),
    Person("bo", LINES["bo"], {"steward", "validator"}, NOW - 30 * 24 * HOUR),
    Person("carla", LINES["carla"], {"steward"}, NOW - 30 * 24 * HOUR),
    Person("dan", LINES["dan"], {"importer"}, NOW - 30 * 24 * HOUR),
]
PAGE, QUESTION, POLICY = sha256_hex(b"page"), sha256_hex(b"question"), sha256_hex(b"policy")
REQUEST = Answer(
    digest=VERSION,
    model="acme/coder",
    ordinal=2,
    tier="org",
    site="harbour",
    evidence=(SCAN, RUN),
    reason="passed everything, and the team asked for it",
    issued_at=NOW - HOUR,
    expires_at=NOW + 24 * HOUR,
    nonce="00" * 16,
    shown_sha256=PAGE,
    request=QUESTION,
    policy=POLICY,
)


TERMS = Terms(
    digest=VERSION,
    tier="org",
    site="harbour",
    evidence={SCAN, RUN},
    last_evidence_at=NOW - 2 * HOUR,
    needed=2,
    now=NOW,
    excluded={"dan"},
    require_hardware=False,
    policy=POLICY,
    shown={QUESTION: PAGE},
)


def by(person: str, request: Answer = REQUEST, *, key: str | None = None, named: str | None = None) -> Signed:
    """An approval by `person`; signed with the key of `key`, made out to `named`. Each has a nonce of its own."""
    nonce = request.nonce if request.nonce != REQUEST.nonce else sha256_hex(person.encode())[:32]
    data = payload(replace(request, nonce=nonce), named or person)
    return Signed(data, signature_of(data, key or person), person)


def signature_of(data: bytes, person: str, namespace: str = NAMESPACE) -> str:
    return sshsig.sign(data, namespace=namespace, private_key=KEYS[person])


def judged(*approvals: Signed, **changed: Any) -> ApprovalJudgement:
    people, formerly = changed.pop("people", PEOPLE), changed.pop("formerly", ())
    return judge(approvals, people, replace(TERMS, **changed), formerly=formerly)


def reasons(judgement: ApprovalJudgement) -> list[Refusal]:
    return [refused.reason for refused in judgement.refused]


def test_two_stewards_who_looked_at_everything_are_enough() -> None:
    judgement = judged(by("anna"), by("bo"))
    assert judgement.enough
    assert 0 == judgement.missing
    assert {"anna", "bo"} == {counted.person for counted in judgement.counted}
    assert {"passed everything, and the team asked for it"} == {
        one.answer.reason for one in judgement.counted
    }
    assert () == judgement.refused


def test_a_steward_may_sign_the_payload_with_ssh_keygen_alone(tmp_path: Path) -> None:
    new = [program("ssh-keygen"), "-q", "-t", "ecdsa", "-b", "256", "-N", "", "-f", "key"]
    subprocess.run(new, cwd=tmp_path, check=True)
    data = payload(approval(nonce="44" * 16), "carla")
    (tmp_path / "payload").write_bytes(data)
    command = [program("ssh-keygen"), "-q", "-Y", "sign", "-f", "key", "-n", NAMESPACE, "payload"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    carla = Person("carla", (tmp_path / "key.pub").read_text(), {"steward"}, NOW - HOUR)
    signed = Signed(data, (tmp_path / "payload.sig").read_text(), "carla")
    assert judged(by("anna"), signed, people=[PEOPLE[0], carla]).enough


def test_one_is_not_two() -> None:
    judgement = judged(by("anna"))
    assert not judgement.enough
    assert 1 == judgement.missing


def test_a_home_of_one_person_uses_the_same_rule() -> None:
    assert judged(by("anna"), needed=1).enough
    assert judged(needed=0).enough


def test_more_evidence_than_asked_for_does_no_harm() -> None:
    assert judged(by("anna"), by("bo"), evidence={SCAN}).enough
    assert judged(by("anna"), by("bo"), evidence=set(), last_evidence_at=None).enough


def two_keys_one_name() -> ApprovalJudgement:
    people = [*PEOPLE, replace(PEOPLE[0], public_key_line=LINES["mallory"])]
    return judged(by("anna"), by("anna", replace(REQUEST, nonce="11" * 16), key="mallory"), people=people)


def one_key_two_names() -> ApprovalJudgement:
    people = [*PEOPLE, Person("mallory", LINES["anna"], {"steward"}, NOW - 24 * HOUR)]
    return judged(by("anna"), by("mallory", key="anna"), people=people)


def names_that_look_alike() -> ApprovalJudgement:
    people = [*PEOPLE, Person("Anna", LINES["mallory"], {"steward"}, NOW - 24 * HOUR)]
    return judged(by("anna"), by("Anna", key="mallory"), people=people)


def shared_nonce() -> ApprovalJudgement:
    same = replace(REQUEST, nonce="22" * 16)
    return judged(by("anna", same), by("bo", same))


def signature_over_another_payload() -> ApprovalJudgement:
    seen, swapped = by("bo", replace(REQUEST, tier="edge")), by("bo")
    return judged(by("anna"), Signed(swapped.payload, seen.signature, "bo"))


def signature_from_another_namespace() -> ApprovalJudgement:
    data = by("bo").payload
    return judged(by("anna"), Signed(data, signature_of(data, "bo", namespace="git"), "bo"))


def a_letter_instead_of_an_approval() -> ApprovalJudgement:
    data = b"I approve of everything. Bo"
    return judged(by("anna"), Signed(data, signature_of(data, "bo"), "bo"))


def approval(**changed: Any) -> Answer:
    return replace(REQUEST, **changed)


# As older releases made it: bound to no page. LATE: made after everything else.
OLD = approval(shown_sha256=None, request=None, policy=None)
LATE = approval(issued_at=NOW - timedelta(minutes=1))


def rejection(person: str, at: datetime = NOW - HOUR / 2, **changed: Any) -> Signed:
    """A "no" by this person."""
    return by(person, approval(decision="reject", issued_at=at, expires_at=NOW + 90 * 24 * HOUR, **changed))


ATTACKS: dict[str, tuple[Callable[[], ApprovalJudgement], Refusal]] = {
    "anna approves twice": (
        lambda: judged(by("anna"), by("anna", approval(nonce="11" * 16))),
        Refusal.SAME_PERSON,
    ),
    "the same approval is handed in twice": (lambda: judged(by("anna"), by("anna")), Refusal.NONCE_USED),
    "anna approves with a second key": (two_keys_one_name, Refusal.SAME_PERSON),
    "anna registers her key under a second name": (one_key_two_names, Refusal.SAME_KEY),
    "anna registers herself again as Anna": (names_that_look_alike, Refusal.SAME_PERSON),
    "mallory is not registered": (lambda: judged(by("anna"), by("mallory")), Refusal.UNKNOWN_PERSON),
    "dan is no steward": (lambda: judged(by("anna"), by("dan"), excluded=()), Refusal.NOT_STEWARD),
    "mallory signs in bo's name": (
        lambda: judged(by("anna"), by("bo", key="mallory")),
        Refusal.SIGNATURE_WRONG,
    ),
    "anna's payload is handed in by bo": (
        lambda: judged(by("anna"), by("bo", named="anna")),
        Refusal.OTHER_PERSON,
    ),
    "the payload is swapped after signing": (signature_over_another_payload, Refusal.SIGNATURE_WRONG),
    "a signature made for git is reused": (signature_from_another_namespace, Refusal.SIGNATURE_WRONG),
    "the signature is junk": (
        lambda: judged(by("anna"), replace(by("bo"), signature="junk")),
        Refusal.SIGNATURE_UNCHECKABLE,
    ),
    "bo signed a letter": (a_letter_instead_of_an_approval, Refusal.UNREADABLE),
    "an approval of version 3": (
        lambda: judged(by("anna"), by("bo", approval(digest=OTHER_VERSION))),
        Refusal.OTHER_SUBJECT,
    ),
    "an approval for the edge tier": (
        lambda: judged(by("anna"), by("bo", approval(tier="edge"))),
        Refusal.OTHER_SUBJECT,
    ),
    "an approval for another site": (
        lambda: judged(by("anna"), by("bo", approval(site="airfield"))),
        Refusal.OTHER_SUBJECT,
    ),
    "an approval of another action": (
        lambda: judged(by("anna"), by("bo", approval(action="rollback"))),
        Refusal.OTHER_SUBJECT,
    ),
    "an approval that ran out a second ago": (
        lambda: judged(by("anna"), by("bo", approval(expires_at=NOW))),
        Refusal.EXPIRED,
    ),
    "a blanket approval": (
        lambda: judged(by("anna"), by("bo", approval(expires_at=NOW + LIFE))),
        Refusal.TOO_LONG,
    ),
    "an approval dated ahead": (
        lambda: judged(by("anna"), by("bo", approval(issued_at=NOW + HOUR))),
        Refusal.FROM_THE_FUTURE,
    ),
    "bo approved before the last report": (
        lambda: judged(by("anna"), by("bo", approval(issued_at=NOW - 3 * HOUR))),
        Refusal.BEFORE_EVIDENCE,
    ),
    "bo did not see the newest report": (
        lambda: judged(
            by("anna", approval(evidence=(SCAN, RUN, LATER_RUN))), by("bo"), evidence={RUN, LATER_RUN}
        ),
        Refusal.EVIDENCE_MISSING,
    ),
    "bo validated it himself": (lambda: judged(by("anna"), by("bo"), excluded={"Bo"}), Refusal.TOOK_PART),
    "bo asked for it himself": (
        lambda: judged(by("anna"), by("bo", approval(requested_by="bo"))),
        Refusal.TOOK_PART,
    ),
    "bo became steward after he signed": (
        lambda: judged(by("anna"), by("bo"), people=[PEOPLE[0], replace(PEOPLE[1], since=NOW)]),
        Refusal.BEFORE_ROLE,
    ),
    "bo has left": (lambda: judged(by("anna"), by("bo"), people=PEOPLE[:1]), Refusal.UNKNOWN_PERSON),
    "bo's time was over a second ago": (
        lambda: judged(by("anna"), by("bo"), people=[PEOPLE[0], replace(PEOPLE[1], until=NOW)]),
        Refusal.TIME_OVER,
    ),
    "bo approved under an older policy": (
        lambda: judged(by("anna"), by("bo", approval(policy=OTHER_VERSION))),
        Refusal.OTHER_POLICY,
    ),
    "bo was shown another page": (
        lambda: judged(by("anna"), by("bo", approval(shown_sha256=OTHER_VERSION))),
        Refusal.NOT_AS_SHOWN,
    ),
    "bo answered a request that nobody recorded": (
        lambda: judged(by("anna"), by("bo", approval(request=OTHER_VERSION))),
        Refusal.NOT_AS_SHOWN,
    ),
    "the page on record was edited": (
        lambda: judged(by("anna", OLD), by("bo"), shown={QUESTION: OTHER_VERSION}),
        Refusal.NOT_AS_SHOWN,
    ),
    "bo rejected it, two others did not, and his approval is older": (
        lambda: judged(
            by("anna"),
            by("bo"),
            rejection("bo", NOW - HOUR / 2),
            by("carla", LATE),
            by("dan", LATE),
            people=[*PEOPLE[:3], replace(PEOPLE[3], roles={"steward"})],
            needed=4,
            excluded=(),
        ),
        Refusal.REJECTED_SINCE,
    ),
    "one nonce for both": (shared_nonce, Refusal.NONCE_USED),
    "an approval from the last promotion": (
        lambda: judged(by("anna"), by("bo", approval(nonce="33" * 16)), spent={"33" * 16}),
        Refusal.NONCE_USED,
    ),
}


@pytest.mark.parametrize("attack", sorted(ATTACKS))
def test_no_way_around_the_second_person(attack: str) -> None:
    attempt, reason = ATTACKS[attack]
    judgement = attempt()
    assert [reason] == reasons(judgement)
    assert 1 == judgement.missing
    assert not judgement.enough
    assert str(judgement.refused[0]).startswith(judgement.refused[0].approval.person)


def test_a_file_key_is_not_enough_where_hardware_is_demanded() -> None:
    judgement = judged(by("anna"), by("bo"), require_hardware=True)
    assert [Refusal.SIGNATURE_WRONG] * 2 == reasons(judgement)
    assert "hardware key is demanded" in judgement.refused[0].detail


def test_what_an_older_release_made_is_still_read() -> None:
    assert judged(by("anna", OLD), by("bo", OLD)).enough
    assert b"tidegate-approval/1" in payload(OLD, "anna")
    assert (OLD, "anna") == decode(payload(OLD, "anna"))


def test_a_rejection_is_no_thing_of_older_releases() -> None:
    with pytest.raises(ApprovalUnreadable, match=r"approval\.decision"):
        replace(OLD, decision="reject")


def piv_bo() -> tuple[Person, Signed]:
    made = card()
    data = by("bo").payload
    return replace(PEOPLE[1], public_key_line=made.line), Signed(data, made.sign(data, NAMESPACE), "bo")


def test_a_card_counts_like_a_key() -> None:
    bo, signed = piv_bo()
    assert judged(by("anna"), signed, people=[PEOPLE[0], bo]).enough


def test_a_tier_says_which_ways_of_signing_it_takes() -> None:
    bo, signed = piv_bo()
    people = [PEOPLE[0], bo]
    assert [Refusal.OTHER_METHOD] == reasons(judged(by("anna"), signed, people=people, methods=("ssh",)))
    assert [Refusal.OTHER_METHOD] == reasons(judged(by("anna"), signed, people=people, methods=("piv",)))


def test_a_card_is_hardware_only_with_a_registered_issuer() -> None:
    bo, signed = piv_bo()
    strict: dict[str, Any] = {"people": [bo], "needed": 1, "require_hardware": True, "require_pin": True}
    assert [Refusal.SIGNATURE_WRONG] == reasons(judged(signed, **strict))
    assert judged(signed, **strict, cards=CardIssuers(anchors=(CA.pem,))).enough


class TestRejections:
    def test_one_blocks_whatever_the_approvals_are(self) -> None:
        judgement = judged(by("anna"), by("bo"), rejection("carla"))
        assert (2, 0, False) == (len(judgement.counted), judgement.missing, judgement.enough)
        [no] = judgement.rejections
        assert "carla rejected it on 2026-11-20T11:30:00Z" in str(no)

    def test_its_maker_takes_it_back_by_approving_later(self) -> None:
        judgement = judged(by("anna"), rejection("carla"), by("carla", LATE))
        assert judgement.enough

    def test_an_approval_of_before_takes_nothing_back(self) -> None:
        assert not judged(by("anna"), by("carla"), rejection("carla")).enough
        at_once = approval(issued_at=NOW - HOUR / 2)
        assert not judged(by("anna"), by("carla", at_once), rejection("carla")).enough

    def test_two_others_take_it_back_and_one_does_not(self) -> None:
        assert not judged(by("anna", LATE), by("bo"), rejection("carla")).enough
        assert judged(by("anna", LATE), by("bo", LATE), rejection("carla")).enough
        again = approval(issued_at=LATE.issued_at, nonce="11" * 16)
        assert not judged(by("anna", LATE), by("anna", again), by("bo"), rejection("carla")).enough

    def test_two_names_with_one_key_are_not_two_others(self) -> None:
        people = [*PEOPLE, Person("mallory", LINES["anna"], {"steward"}, NOW - 24 * HOUR)]
        lifted = judged(
            by("anna", LATE), by("mallory", LATE, key="anna"), rejection("carla"), people=people, needed=1
        )
        assert lifted.rejections

    def test_used_up_approvals_have_taken_it_back_for_good(self) -> None:
        spent = {sha256_hex(name.encode())[:32] for name in ("anna", "bo")}
        judgement = judged(by("anna", LATE), by("bo", LATE), rejection("carla"), spent=spent)
        assert ((), 2) == (judgement.rejections, judgement.missing)

    def test_it_ends_with_its_time(self) -> None:
        short = by("carla", approval(decision="reject", expires_at=NOW))
        assert judged(by("anna"), by("bo"), short).enough

    def test_new_evidence_or_another_policy_does_not_end_it(self) -> None:
        changed: dict[str, Any] = {"evidence": {LATER_RUN}, "last_evidence_at": NOW, "policy": OTHER_VERSION}
        assert judged(rejection("carla"), **changed).rejections

    def test_it_outlives_its_makers_stay_key_and_role(self) -> None:
        carla, rest = PEOPLE[2], [*PEOPLE[:2]]
        for people in (rest, [*rest, replace(carla, public_key_line=LINES["mallory"])],
                       [*rest, replace(carla, roles={"auditor"})], [*rest, replace(carla, until=NOW - HOUR)]):  # fmt: skip
            assert judged(rejection("carla"), people=people, formerly=[carla]).rejections

    def test_who_brought_it_in_may_still_say_no(self) -> None:
        assert judged(by("anna"), by("bo"), rejection("carla"), excluded={"carla"}).rejections

    @pytest.mark.parametrize("where", [{"digest": OTHER_VERSION}, {"tier": "team"}, {"site": "airfield"}])
    def test_it_is_about_one_version_tier_and_site(self, where: dict[str, Any]) -> None:
        judgement = judged(by("anna"), by("bo"), rejection("carla", **where))
        assert judgement.enough
        assert [Refusal.OTHER_SUBJECT] == reasons(judgement)

    def test_nobody_says_no_in_anothers_name_or_without_the_role(self) -> None:
        forged = rejection("carla")
        forged = replace(forged, signature=signature_of(forged.payload, "mallory"))
        judgement = judged(by("anna"), by("bo"), forged, rejection("dan"))
        assert judgement.enough
        assert {Refusal.SIGNATURE_WRONG, Refusal.NOT_STEWARD} == set(reasons(judgement))


def test_a_third_good_approval_makes_up_for_a_bad_one() -> None:
    judgement = judged(by("anna"), by("mallory"), by("carla"))
    assert judgement.enough
    assert [Refusal.UNKNOWN_PERSON] == reasons(judgement)


def test_a_clock_that_is_a_little_ahead_is_forgiven() -> None:
    ahead = approval(issued_at=NOW + timedelta(minutes=4))
    assert judged(by("anna", ahead), by("bo", ahead)).enough


def test_a_new_key_of_the_same_person_counts() -> None:
    people = [replace(PEOPLE[0], public_key_line=LINES["mallory"]), *PEOPLE]
    assert judged(by("anna"), by("bo"), people=people).enough
    assert judged(by("anna", key="mallory"), by("bo"), people=people).enough


@pytest.mark.property
@given(
    st.permutations([by("anna"), by("anna", approval(nonce="11" * 16)), by("bo"), by("mallory"), by("dan")])
)
def test_the_order_of_approvals_changes_nothing(approvals: list[Signed]) -> None:
    assert judged(*sorted(approvals, key=lambda one: one.digest)) == judged(*approvals)


def test_a_payload_comes_back_as_it_was() -> None:
    asked = approval(requested_by="team")
    assert (asked, "anna") == decode(payload(asked, "anna"))
    assert payload(asked, "anna") == payload(approval(requested_by="team", evidence=(RUN, SCAN, RUN)), "anna")


@pytest.mark.parametrize(
    ("field", "value", "place"),
    [
        ("format", "tidegate-approval/3", "approval.format"),
        ("format", "tidegate-approval/1", "unknown fields"),
        ("format", ["tidegate-approval/2"], "approval.format"),
        ("decision", "maybe", "approval.decision"),
        ("decision", None, "approval.decision"),
        ("shown_sha256", None, "approval.shown_sha256"),
        ("request", "abc", "approval.request"),
        ("policy", [POLICY], "approval.policy"),
        ("person", "", "approval.person"),
        ("person", 1, "approval.person"),
        ("action", " ", "approval.action"),
        ("digest", "abc", "approval.digest"),
        ("digest", VERSION.upper(), "approval.digest"),
        ("model", None, "approval.model"),
        ("ordinal", 0, "approval.ordinal"),
        ("ordinal", True, "approval.ordinal"),
        ("ordinal", "1", "approval.ordinal"),
        ("tier", ["org"], "approval.tier"),
        ("evidence", VERSION, "approval.evidence"),
        ("evidence", [[]], "approval.evidence"),
        ("evidence", [RUN, RUN], "approval.evidence"),
        ("reason", "", "approval.reason"),
        ("requested_by", "", "approval.requested_by"),
        ("requested_by", {}, "approval.requested_by"),
        ("issued_at", "yesterday", "approval.issued_at"),
        ("issued_at", None, "approval.issued_at"),
        ("issued_at", "2026-1-2T03:04:05Z", "approval.issued_at"),
        ("expires_at", "2020-01-01T00:00:00Z", "approval.expires_at"),
        ("nonce", "short", "approval.nonce"),
        ("surprise", 1, "surprise"),
    ],
)
def test_a_payload_that_says_something_else_is_unreadable(field: str, value: object, place: str) -> None:
    raw = parse(payload(REQUEST, "anna"), max_bytes=1 << 16) | {field: value}
    with pytest.raises(ApprovalUnreadable, match=place):
        decode(canonical_bytes(raw))


def test_only_the_one_spelling_of_a_payload_is_read() -> None:
    with pytest.raises(ApprovalUnreadable, match="canonical form"):
        decode(payload(REQUEST, "anna") + b"\n")
    raw = parse(payload(REQUEST, "anna"), max_bytes=1 << 16)
    del raw["reason"]
    with pytest.raises(ApprovalUnreadable, match="reason"):
        decode(canonical_bytes(raw))


def test_a_request_that_could_not_be_read_again_is_not_made() -> None:
    with pytest.raises(ApprovalUnreadable, match=r"approval\.reason"):
        approval(reason=" ")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.property
@given(
    st.sampled_from(sorted(parse(payload(REQUEST, "anna"), max_bytes=1 << 16))), JSON, st.binary(max_size=60)
)
def test_hostile_payloads_meet_only_our_refusal(field: str, value: object, junk: bytes) -> None:
    raw = parse(payload(REQUEST, "anna"), max_bytes=1 << 16) | {field: value}
    for data in (junk, json.dumps(raw, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()):
        try:
            request, person = decode(data)
        except ApprovalUnreadable:
            continue
        assert data == payload(request, person)
