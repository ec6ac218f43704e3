"""tiers.toml: what people write is read as it is meant, compared field by field, and refused by tier and field."""

import contextlib
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.errors import DocumentRefused, NameUnusable
from registry.policy import ADVISORIES, DEFAULTS, LICENCES, MODES, SEVERITIES, Policy
from registry.tiers_file import compare, read, write

TEAM = """
format = "tidegate-tiers/1"

[tiers.team]
rank = 2
mode = "automatic"
approvals = 0
suites = ["files", "contract"]
memory = "1.5 TB"
engines = ["vllm"]
context = 32768
"""


def test_what_comes_with_a_home_is_written_and_read_back() -> None:
    assert DEFAULTS == read(write(DEFAULTS))


def test_what_is_left_out_has_its_default() -> None:
    [team] = read(TEAM)
    assert ("automatic", 0, 1_500_000_000_000, 32768, 1) == (
        team.mode, team.approvals, team.max_bytes, team.context, team.concurrency,
    )  # fmt: skip
    assert ("stated", "blocker", "block", None) == (
        team.licence,
        team.block,
        team.advisories,
        team.served_first,
    )


@pytest.mark.parametrize(
    ("old", "new", "place"),
    [
        ("rank = 2", "rank = 0", "tiers.team.rank"),
        ("rank = 2", "", "tiers.team.rank"),
        ("rank = 2", "rank = 2\nmood = 1", "tiers.team.mood"),
        ("rank = 2", "rank = 2\nmax_bytes = 1", "tiers.team"),
        ('"automatic"', '"sometimes"', "tiers.team.mode"),
        ('"automatic"', '"manual"', "tiers.team.approvals"),
        ('["files", "contract"]', "[]", "tiers.team.suites"),
        ('["files", "contract"]', '["files", "files"]', "tiers.team.suites"),
        ('"1.5 TB"', '"1.5 PB"', "tiers.team.memory"),
        ('"1.5 TB"', "15", "tiers.team.memory"),
        ("rank = 2", 'rank = 2\nserved_first = "edge"', "tiers.team.served_first"),
        ("rank = 2", 'rank = 2\nserved_first = "team"', "tiers.team.served_first"),
        ("[tiers.team]", "[tiers]", "tiers.rank"),
        ("tiers/1", "tiers/2", "tiers.toml"),
        ("[tiers.team]", "[[tiers.team", "tiers.toml"),
        ("[tiers.team]", "[tiers.edge]\nrank = 2\napprovals = 1\n[tiers.team]", "tiers.team.rank"),
    ],
)
def test_a_mistake_is_refused_by_tier_and_field(old: str, new: str, place: str) -> None:
    with pytest.raises(DocumentRefused) as refusal:
        read(TEAM.replace(old, new))
    assert refusal.value.at.endswith(place)


def test_a_tier_needs_a_name_that_works_everywhere() -> None:
    with pytest.raises(NameUnusable):
        read(TEAM.replace("[tiers.team]", '[tiers."a/b"]'))


def test_differences_are_said_field_by_field() -> None:
    after = (
        *DEFAULTS[:1],
        replace(DEFAULTS[1], approvals=2, max_bytes=None),
        replace(DEFAULTS[2], tier="rack"),
    )
    assert [
        "team.approvals: 1 becomes 2",
        "team.memory: 256000000000 becomes (no limit)",
        "org: is taken out",
        "rack: is new",
    ] == [str(item) for item in compare(DEFAULTS, after)]


_sizes = st.one_of(st.none(), st.integers(1, 10**15))
_words = st.lists(st.from_regex(r"[a-z][a-z0-9-]{0,8}", fullmatch=True), unique=True, max_size=3).map(tuple)
_policies = st.builds(
    Policy,
    tier=st.just("team"),
    rank=st.integers(1, 9),
    approvals=st.integers(1, 5),
    suites=_words,
    served_first=st.none(),
    licence=st.sampled_from(LICENCES),
    formats=_words,
    max_bytes=_sizes,
    fresh_days=st.one_of(st.none(), st.integers(1, 999)),
    hardware_keys=st.booleans(),
    mode=st.sampled_from(MODES[:2]),
    block=st.sampled_from(SEVERITIES),
    engines=_words,
    advisories=st.sampled_from(ADVISORIES),
    context=st.one_of(st.none(), st.integers(1, 10**7)),
    concurrency=st.integers(1, 99),
    report_days=st.one_of(st.none(), st.integers(1, 999)),
    companions=st.booleans(),
    started_here=st.booleans(),
    approval_methods=st.sampled_from([("ssh",), ("piv",), ("ssh", "piv")]),
)


@pytest.mark.property
@given(_policies)
def test_whatever_is_written_is_read(rules: Policy) -> None:
    assert (rules,) == read(write([rules]))


@pytest.mark.property
@given(st.text(max_size=300))
def test_any_text_is_read_or_refused(text: str) -> None:
    found: Any = None
    with contextlib.suppress(DocumentRefused, NameUnusable):
        found = read(text)
    assert found is None or found
