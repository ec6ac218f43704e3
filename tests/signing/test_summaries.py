"""Statements that sum up: the shapes of SVR, VSA and reference as published, and the columns of a transfer."""

from datetime import UTC, datetime
from typing import Any

import pytest

from signing import summaries
from signing.canonical import NotCanonical, pretty_bytes
from signing.digests import sha256_hex
from signing.statements import read_statement
from signing.summaries import Transfer, TransferredFile

AT = datetime(2026, 11, 21, 8, 30, tzinfo=UTC)
MANIFEST, POLICY, REPORT = sha256_hex(b"manifest"), sha256_hex(b"policy"), sha256_hex(b"report")
SUBJECTS = [("acme/coder@2", MANIFEST)]


def gate(**more: Any) -> dict[str, Any]:
    said: dict[str, Any] = {
        "verifier": "bank",
        "tool_version": "0.5.0",
        "resource": "tidegate://bank/org/acme/coder",
        "policy": ("urn:tidegate:policy:org", POLICY),
        "inputs": [REPORT],
        "passed": True,
        "levels": ["TIDEGATE_TIER_ORG"],
        "at": AT,
    }
    return summaries.vsa(SUBJECTS, **said | more)


def looked_at(**more: Any) -> dict[str, Any]:
    said: dict[str, Any] = {"verifier": "hq", "policies": [], "properties": ["TIDEGATE_OMS_VALID"], "at": AT}
    return summaries.svr(SUBJECTS, **said | more)


def bill() -> dict[str, Any]:
    listed = [("urn:tidegate:document:1", REPORT, "application/vnd.cyclonedx+json")]
    return summaries.reference(SUBJECTS, attester="hq", references=listed)


def left() -> dict[str, Any]:
    transfer = Transfer(
        requester="anna", approver="bo", classification="internal", control_numbers=("A-1", "A-2")
    )
    return summaries.exported(
        SUBJECTS,
        bundle="20261121-01",
        sequence=1,
        export=REPORT,
        origin="hq",
        destination="bank",
        files=[TransferredFile("acme/coder@2/model.safetensors", "safetensors", MANIFEST, 7)],
        volumes=2,
        size=1000,
        transfer=transfer,
        actor="cy",
        at=AT,
    )


def test_what_was_checked_is_said_as_svr_says_it() -> None:
    said = looked_at()
    assert "https://in-toto.io/attestation/svr/v0.2" == said["predicateType"]
    assert {
        "verifier": {"id": "urn:tidegate:verifier:v1:hq", "policies": []},
        "timeCreated": "2026-11-21T08:30:00Z",
        "properties": ["TIDEGATE_OMS_VALID"],
    } == said["predicate"]
    with_policy = looked_at(policies=[("p", POLICY)])
    assert [{"name": "p", "digest": {"sha256": POLICY}}] == with_policy["predicate"]["verifier"]["policies"]


def test_the_gates_answer_has_every_field_that_slsa_needs() -> None:
    said = gate()["predicate"]
    needed = {"verifier", "timeVerified", "resourceUri", "policy", "verificationResult", "verifiedLevels"}
    assert needed <= set(said)
    assert ("PASSED", "1.0") == (said["verificationResult"], said["slsaVersion"])
    assert [{"digest": {"sha256": REPORT}}] == said["inputAttestations"]


def test_what_one_person_overrode_stands_in_the_answer_for_ever() -> None:
    said = gate(overridden=["approvals"])["predicate"]
    assert ["approvals"] == said[summaries.OVERRIDDEN]
    assert summaries.OVERRIDDEN not in gate()["predicate"]


def test_a_reference_says_where_what_and_of_which_type() -> None:
    said = bill()
    (listed,) = said["predicate"]["references"]
    assert {"downloadLocation", "digest", "mediaType"} == set(listed)
    assert "urn:tidegate:home:hq" == said["predicate"]["attester"]["id"]


def test_a_transfer_says_what_was_said_and_nothing_for_what_was_not() -> None:
    said = left()
    read = read_statement(pretty_bytes(said)).predicate
    assert ("hq", "bank", 2) == (read["source"], read["destination"], read["volumes"])
    assert {
        "requester": "anna",
        "approver": "bo",
        "classification": "internal",
        "control_numbers": ["A-1", "A-2"],
    } == read["transfer"]
    assert ["safetensors"] == [one["format"] for one in read["files"]]


@pytest.mark.parametrize("subjects", [[], [("x", "not a digest")]])
def test_a_summary_is_about_something(subjects: list[tuple[str, str]]) -> None:
    with pytest.raises(NotCanonical):
        summaries.svr(subjects, verifier="hq", policies=[], properties=[], at=AT)
