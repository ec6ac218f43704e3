"""Whose bytes stay: what a tier serves or could go back to, what is on its way, what a delta will build on."""

from collections.abc import Mapping, Sequence
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.keeping import Facts, Kept, Line, Plan, Stored, Transfer, keep
from registry.pins import NothingToRollBackTo, Served, choose_rollback

MODEL = "acme/coder"
TIERS = ("edge", "team")


def name(text: str) -> str:
    return sha256(text.encode()).hexdigest()


def version(ordinal: int, *, shares: Sequence[str] = (), gone: bool = False, model: str = MODEL) -> Stored:
    """A version with weights of its own and, if said, files of others."""
    files = {f"weights {model} {ordinal}": 1000, **dict.fromkeys(shares, 10)}
    return Stored(
        name(f"{model}@{ordinal}"), model, ordinal, {name(file): size for file, size in files.items()}, gone
    )


def digest(ordinal: int) -> str:
    return version(ordinal).digest


def served(tier: str, *ordinals: int) -> list[Line]:
    return [Line(tier, MODEL, digest(ordinal), ordinal) for ordinal in ordinals]


def plan_of(
    count: int, *, history: Sequence[Line] = (), withdrawn: Sequence[int] = (), **more: object
) -> Plan:
    facts = Facts(
        versions=[version(ordinal) for ordinal in range(1, count + 1)],
        history=history,
        withdrawn={digest(ordinal): "wrong answers" for ordinal in withdrawn},
        **more,  # type: ignore[arg-type]
    )
    return keep(facts)


def why(plan: Plan) -> dict[int, tuple[str, ...]]:
    return {kept.version.ordinal: kept.reasons for kept in plan.kept}


def goes(plan: Plan) -> dict[int, str]:
    return {item.version.ordinal: item.reason for item in plan.removable}


def test_a_tier_keeps_what_it_serves_and_every_version_that_it_could_go_back_to() -> None:
    plan = plan_of(3, history=served("team", 1, 2, 3))
    assert {
        1: ("team could go back to it",),
        2: ("team could go back to it",),
        3: ("served by team",),
    } == why(plan)
    assert {} == goes(plan)


def test_what_was_passed_over_goes_once_every_tier_is_past_it() -> None:
    plan = plan_of(4, history=served("team", 1, 3))
    assert {2: "superseded: never served, and older than what team serves"} == goes(plan)
    assert ("may still be promoted: newer than what team serves",) == why(plan)[4]


def test_a_version_between_two_tiers_may_still_be_promoted_to_the_one_behind() -> None:
    plan = plan_of(3, history=[*served("edge", 3), *served("team", 1)])
    assert ("may still be promoted: newer than what team serves",) == why(plan)[2]


def test_nothing_of_a_model_that_no_tier_serves_goes_by_itself() -> None:
    plan = plan_of(3)
    assert {"may still be promoted: no tier serves the model"} == {
        r for reasons in why(plan).values() for r in reasons
    }
    assert {} == goes(plan)


def test_a_withdrawn_version_goes_unless_a_tier_still_serves_it() -> None:
    plan = plan_of(3, history=served("team", 1, 2), withdrawn=(1, 2, 3))
    assert {2: ("served by team",)} == why(plan)
    assert {1: "withdrawn: wrong answers", 3: "withdrawn: wrong answers"} == goes(plan)


def test_a_bundle_on_its_way_keeps_what_it_carries_also_what_was_withdrawn() -> None:
    """A repair needs the bytes, and without them nothing else of that bundle arrives."""
    way = Transfer("bundle 20261120-01 to lab is not acknowledged", frozenset({digest(1)}), frozenset())
    plan = plan_of(2, withdrawn=(1, 2), transfers=[way])
    assert {1: (way.why,)} == why(plan)
    assert {2} == goes(plan).keys()


def test_a_single_blob_that_a_bundle_on_its_way_builds_on_stays() -> None:
    base = version(1, shares=("tokenizer",))
    way = Transfer("on its way", frozenset(), frozenset({name("tokenizer")}))
    plan = keep(Facts([base], withdrawn={base.digest: "x"}, transfers=[way]))
    assert [{name("weights acme/coder 1"): 1000}] == [dict(item.blobs) for item in plan.removable]


def test_the_newest_version_that_a_site_has_proved_stays_for_the_next_delta() -> None:
    """The site proved 1 to 3; 3 is withdrawn, so the next delta builds on 2, although this home serves 4."""
    proved = {"lab": frozenset(blob for ordinal in (1, 2, 3) for blob in version(ordinal).blobs)}
    plan = plan_of(4, history=served("team", 4), withdrawn=(3,), acknowledged=proved)
    assert ("the next delta for lab builds on it",) == why(plan)[2]
    assert {1, 3} == goes(plan).keys()


def test_files_that_a_kept_version_shares_stay() -> None:
    old, new = version(1, shares=("tokenizer",)), version(2, shares=("tokenizer",))
    plan = keep(Facts([old, new], history=served("team", 2)))
    (item,) = plan.removable
    assert {name("weights acme/coder 1"): 1000} == item.blobs
    assert 1000 == item.bytes


def test_files_that_two_go_with_are_counted_once() -> None:
    gone = {digest(1): "x", digest(2): "x"}
    plan = keep(Facts([version(1, shares=("tokenizer",)), version(2, shares=("tokenizer",))], withdrawn=gone))
    assert [1010, 1000] == [item.bytes for item in plan.removable]


def test_a_version_whose_every_file_belongs_to_one_that_stays_loses_nothing() -> None:
    twin = Stored(name("twin"), MODEL, 1, version(2).blobs)
    plan = keep(Facts([twin, version(2)], history=served("team", 2)))
    assert ("shares all its files with what stays",) == why(plan)[1]


def test_what_a_removal_that_died_left_over_goes_without_another_record() -> None:
    half = Stored(digest(1), MODEL, 1, {name("second shard"): 7}, gone=True)
    plan = keep(Facts([half, version(2)], history=served("team", 2)))
    assert ({}, {name("second shard"): 7}) == (goes(plan), plan.leftovers)


def test_of_a_version_that_is_wanted_again_the_rest_stays() -> None:
    half = Stored(digest(1), MODEL, 1, {name("second shard"): 7}, gone=True)
    plan = keep(Facts([half]))
    assert ((), {}, {}) == (plan.kept, goes(plan), plan.leftovers)


# -- laws ---------------------------------------------------------------------------------------------------

ordinals = st.integers(1, 6)
files = st.sampled_from(["a", "b", "c", "d"])


@st.composite
def worlds(draw: st.DrawFn) -> Facts:
    versions = [
        version(ordinal, shares=draw(st.lists(files, max_size=3)), gone=draw(st.booleans()))
        for ordinal in range(1, 7)
    ]
    history = [
        Line(tier, MODEL, digest(ordinal), ordinal)
        for tier, ordinal in draw(st.lists(st.tuples(st.sampled_from(TIERS), ordinals), max_size=8))
    ]
    blobs = sorted({blob for held in versions for blob in held.blobs})
    transfers = [
        Transfer("on its way", frozenset(map(digest, carried)), frozenset(more))
        for carried, more in draw(
            st.lists(st.tuples(st.sets(ordinals, max_size=2), st.sets(st.sampled_from(blobs), max_size=2)))
        )
    ]
    proved = draw(st.dictionaries(st.sampled_from(["lab", "ward"]), st.frozensets(st.sampled_from(blobs))))
    gone = {digest(ordinal): "x" for ordinal in draw(st.sets(ordinals))}
    return Facts(versions, history, gone, transfers, proved)


def going(plan: Plan) -> set[str]:
    return {blob for item in plan.removable for blob in item.blobs} | set(plan.leftovers)


def after(facts: Facts, plan: Plan) -> list[Stored]:
    """The versions once the plan is carried out."""
    away, recorded = going(plan), {item.version.digest for item in plan.removable}
    return [
        Stored(
            held.digest,
            held.model,
            held.ordinal,
            {blob: size for blob, size in held.blobs.items() if blob not in away},
            held.gone or held.digest in recorded,
        )
        for held in facts.versions
    ]


def lines_of(facts: Facts, tier: str) -> list[Served]:
    lines = [line for line in facts.history if line.tier == tier]
    return [Served(n, line.version, line.ordinal, None, None, None) for n, line in enumerate(lines, start=1)]


@pytest.mark.property
@given(worlds())
def test_what_a_tier_serves_or_would_go_back_to_never_goes(facts: Facts) -> None:
    away = going(keep(facts))
    blobs: Mapping[str, Mapping[str, int]] = {held.digest: held.blobs for held in facts.versions}
    for tier in TIERS:
        lines = lines_of(facts, tier)
        if lines:
            assert not away & blobs[lines[-1].version].keys()
        try:
            target = choose_rollback(tier, MODEL, lines, withdrawn=facts.withdrawn)
        except NothingToRollBackTo:
            continue
        assert not away & blobs[target.version].keys()


@pytest.mark.property
@given(worlds())
def test_what_is_on_its_way_never_goes(facts: Facts) -> None:
    away = going(keep(facts))
    for transfer in facts.transfers:
        assert not away & transfer.blobs
        for held in facts.versions:
            assert held.digest not in transfer.versions or not away & held.blobs.keys()


@pytest.mark.property
@given(worlds())
def test_every_version_with_bytes_is_accounted_for_and_no_byte_twice(facts: Facts) -> None:
    plan = keep(facts)
    listed = [kept.version.digest for kept in plan.kept] + [i.version.digest for i in plan.removable]
    assert sorted(held.digest for held in facts.versions if not held.gone) == sorted(listed)
    each = [blob for item in plan.removable for blob in item.blobs] + list(plan.leftovers)
    assert len(set(each)) == len(each)
    assert all(kept.reasons for kept in plan.kept)


@pytest.mark.property
@given(worlds())
def test_a_second_time_there_is_nothing_left_to_do(facts: Facts) -> None:
    plan = keep(facts)
    again = keep(
        Facts(after(facts, plan), facts.history, facts.withdrawn, facts.transfers, facts.acknowledged)
    )
    assert ((), {}) == (again.removable, again.leftovers)


@pytest.mark.property
@given(worlds())
def test_killed_after_any_number_of_blobs_the_next_run_ends_where_the_first_would_have(facts: Facts) -> None:
    """The record is written first: a version that lost one blob is known as removed."""
    plan = keep(facts)
    whole = {held.digest: dict(held.blobs) for held in after(facts, plan)}
    for item in plan.removable:
        first = next(iter(item.blobs), None)
        if first is None:
            continue
        half = [
            Stored(
                held.digest,
                held.model,
                held.ordinal,
                {blob: size for blob, size in held.blobs.items() if blob != first},
                held.gone or held.digest == item.version.digest,
            )
            for held in facts.versions
        ]
        rest = Facts(half, facts.history, facts.withdrawn, facts.transfers, facts.acknowledged)
        ended = {held.digest: dict(held.blobs) for held in after(rest, keep(rest))}
        assert whole == ended


def test_a_kept_version_says_every_reason() -> None:
    plan = plan_of(1, history=served("team", 1), acknowledged={"lab": frozenset(version(1).blobs)})
    assert (Kept(version(1), ("served by team", "the next delta for lab builds on it")),) == plan.kept
