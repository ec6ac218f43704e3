"""Where a rollback leads."""

import pytest

from registry.pins import NothingToRollBackTo, Served, choose_rollback

MODEL = "qwen/qwen3-8b"


def history(*ordinals: int) -> list[Served]:
    return [
        Served(position, str(ordinal) * 64, ordinal, f"contract {ordinal}", "profile", f"router {position}")
        for position, ordinal in enumerate(ordinals, start=1)
    ]


def digest(ordinal: int) -> str:
    return str(ordinal) * 64


def back(*ordinals: int, withdrawn: tuple[int, ...] = (), damaged: tuple[int, ...] = ()) -> Served:
    return choose_rollback(
        "team",
        MODEL,
        history(*ordinals),
        withdrawn=set(map(digest, withdrawn)),
        damaged=set(map(digest, damaged)),
    )


@pytest.mark.parametrize(
    ("served", "withdrawn", "damaged", "expected"),
    [
        ((1, 2), (), (), 1),
        ((1, 2, 3), (), (), 2),
        ((1, 2, 3), (2,), (), 1),
        ((1, 2, 3), (), (2,), 1),
        ((1, 2, 3), (3,), (), 2),  # what is left may be withdrawn: that is why one goes back
        ((1, 2, 2), (), (), 1),  # pinned again with another router: still the same version
        ((1, 2, 1), (), (), 2),  # the older one was promoted again
        ((3, 1), (), (), 3),  # history decides, not the number
    ],
)
def test_a_tier_returns_to_the_newest_other_version_that_may_serve(
    served: tuple[int, ...], withdrawn: tuple[int, ...], damaged: tuple[int, ...], expected: int
) -> None:
    assert expected == back(*served, withdrawn=withdrawn, damaged=damaged).ordinal


def test_the_whole_set_comes_back_as_it_was_last_served() -> None:
    """Version 1 was served twice, with two routers: the later one is the one that worked last."""
    assert history(1, 1, 2)[1] == back(1, 1, 2)


@pytest.mark.parametrize(
    ("served", "withdrawn", "damaged", "reasons"),
    [
        ((), (), (), ()),
        ((1,), (), (), ()),
        ((2, 2), (), (), ()),
        ((1, 2, 3), (1, 2), (), ("2 is withdrawn", "1 is withdrawn")),
        ((1, 2, 1, 3), (1,), (2,), ("1 is withdrawn", "2 is not whole in the store")),
    ],
)
def test_when_nothing_qualifies_each_one_passed_over_is_named(
    served: tuple[int, ...], withdrawn: tuple[int, ...], damaged: tuple[int, ...], reasons: tuple[str, ...]
) -> None:
    with pytest.raises(NothingToRollBackTo) as refusal:
        back(*served, withdrawn=withdrawn, damaged=damaged)
    assert reasons == refusal.value.passed_over
    assert all(reason in str(refusal.value) for reason in reasons)


def test_the_history_is_looked_at_and_never_changed() -> None:
    lines = history(1, 2, 3)
    choose_rollback("team", MODEL, tuple(lines), withdrawn=frozenset({digest(2)}))
    assert history(1, 2, 3) == lines


def serving(*line: str) -> list[Served]:
    """A history from words: "+2" was promoted, "-1" is where a rollback led."""
    return [
        Served(position, digest(int(word[1:])), int(word[1:]), None, None, None, rolled_back=word[0] == "-")
        for position, word in enumerate(line, start=1)
    ]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (("+1", "+2", "+3", "-2"), 1),  # a second rollback goes one further back
        (
            ("+1", "+2", "-1", "+2"),
            1,
        ),  # promoted again with new approvals: the way back is the same as before
        (("+1", "+2", "-1", "+3"), 1),  # what was wrong is passed over
        (("+1", "+2", "+1", "+3", "-1"), 2),  # 2 was left by a promotion, not by a rollback
    ],
)
def test_a_rollback_only_ever_leads_back(line: tuple[str, ...], expected: int) -> None:
    assert expected == choose_rollback("team", MODEL, serving(*line), withdrawn=()).ordinal


@pytest.mark.parametrize(
    "line", [("+1", "+2", "-1"), ("+1", "+2", "+1", "-2"), ("+1", "+2", "-1", "+2", "-1")]
)
def test_typed_twice_it_does_not_return_to_what_was_wrong(line: tuple[str, ...]) -> None:
    """And it is no way forward past the gate: that would take approvals, which the first promotion used up."""
    with pytest.raises(NothingToRollBackTo, match="was left by a rollback"):
        choose_rollback("team", MODEL, serving(*line), withdrawn=())
