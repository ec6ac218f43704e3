"""What a tier demands: a document that a person writes, refused field by field."""

import dataclasses
import json
from typing import Any

import pytest

from registry import policy
from registry.errors import DocumentRefused, NameUnusable
from registry.policy import DEFAULTS, decode, encode, for_one_person
from signing.canonical import NotCanonical, canonical_bytes

ORG = DEFAULTS[2]


def edited(**changes: Any) -> bytes:
    return canonical_bytes({**json.loads(encode(ORG)), **changes})


@pytest.mark.parametrize("rules", DEFAULTS, ids=lambda rules: rules.tier)
def test_a_policy_is_read_as_it_was_written(rules: policy.Policy) -> None:
    assert rules == decode(encode(rules))


def test_the_tiers_as_they_come() -> None:
    assert ["edge", "team", "org"] == [rules.tier for rules in sorted(DEFAULTS, key=lambda rules: rules.rank)]
    assert (2, "team", None) == (ORG.approvals, ORG.served_first, ORG.max_bytes)
    assert all(rules.suites and rules.licence == "stated" for rules in DEFAULTS)


def test_one_person_alone_needs_one_approval_and_everything_else() -> None:
    assert dataclasses.replace(ORG, approvals=1) == for_one_person(ORG)


def test_a_person_may_write_it_with_spaces() -> None:
    assert ORG == decode(json.dumps(json.loads(encode(ORG)), indent=4).encode())


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"format": "tidegate-policy/2"}, "policy"),
        ({"mood": "good"}, "policy.mood"),
        ({"tier": 7}, "policy.tier"),
        ({"rank": 0}, "policy.rank"),
        ({"rank": True}, "policy.rank"),
        ({"approvals": 0}, "policy.approvals"),
        ({"approvals": "2"}, "policy.approvals"),
        ({"suites": "tool-basics"}, "policy.suites"),
        ({"suites": [1]}, "policy.suites"),
        ({"licence": "some"}, "policy.licence"),
        ({"formats": {}}, "policy.formats"),
        ({"max_bytes": 0}, "policy.max_bytes"),
        ({"fresh_days": -1}, "policy.fresh_days"),
        ({"hardware_keys": "false"}, "policy.hardware_keys"),
        ({"approval_methods": []}, "policy.approval_methods"),
        ({"approval_methods": ["ssh", "webauthn"]}, "policy.approval_methods"),
        ({"approval_methods": "ssh"}, "policy.approval_methods"),
    ],
)
def test_a_policy_that_cannot_be_meant_is_refused_by_field(changes: dict[str, Any], place: str) -> None:
    with pytest.raises(DocumentRefused) as refusal:
        decode(edited(**changes))
    assert place == refusal.value.at


@pytest.mark.parametrize("licence", [["stated"], {"stated": 1}])
def test_a_value_of_the_wrong_shape_is_refused_too(licence: object) -> None:
    with pytest.raises(DocumentRefused):
        decode(edited(licence=licence))


def test_no_approval_at_all_cannot_be_written() -> None:
    with pytest.raises(DocumentRefused):
        decode(edited(approvals=0))


@pytest.mark.parametrize("field", ["tier", "served_first"])
def test_tiers_keep_the_rule_of_names(field: str) -> None:
    with pytest.raises(NameUnusable):
        decode(edited(**{field: "latest"}))


@pytest.mark.parametrize("data", [b"", b"[]", b"7", encode(ORG)[:-1], b" " * (policy.MAX_BYTES + 1)])
def test_other_bytes_are_no_policy(data: bytes) -> None:
    with pytest.raises((DocumentRefused, NotCanonical)):
        decode(data)
