"""What is served against what is pinned: each way of not being as it should be has its own name."""

from datetime import UTC, datetime, timedelta

import pytest

from pipelines.drift import Drift, drift
from registry.entities import Observation, Pin
from signing.canonical import canonical_bytes
from signing.times import rfc3339

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
ONE, TWO = "1" * 64, "2" * 64


def pin(version: str = ONE, *, hours_ago: float = 100, model: str = "demo/tiny") -> Pin:
    return Pin(
        tier="team",
        model=model,
        position=1,
        kind="promote",
        version=version,
        ordinal=int(version[0]),
        contract=None,
        profile=None,
        router=None,
        evidence="[]",
        reason="",
        since=rfc3339(NOON - timedelta(hours=hours_ago)),
        actor="bob",
    )


def seen(
    state: str = "SERVES",
    version: str | None = ONE,
    *,
    hours_ago: float = 1,
    node: str = "box",
    model: str = "demo/tiny",
) -> Observation:
    return Observation(
        tier="team",
        node=node,
        model=model,
        state=state,
        version=version,
        body=canonical_bytes({"why": f"why {state}"}).decode(),
        since=rfc3339(NOON - timedelta(hours=hours_ago)),
        actor="agent",
    )


def judged(pins: list[Pin], observations: list[Observation], **hours: int) -> list[Drift]:
    return drift(pins, observations, now=NOON, hours=hours)


@pytest.mark.parametrize(
    ("observation", "kind", "said"),
    [
        (seen(), "as-pinned", "serves demo/tiny@1"),
        (seen("OTHER", TWO), "other-files", "why OTHER"),
        (seen("OTHER", None), "other-files", "why OTHER"),
        (seen("SERVES", TWO), "other-files", "why SERVES"),
        (seen("OTHER", ONE), "other-set", "why OTHER"),  # the pin's files behind another engine
        (seen("SILENT", None), "silent", "why SILENT"),
        (seen("UNPROVEN", None), "unproven", "why UNPROVEN"),
        (seen(hours_ago=25), "too-old", "last looked at 2026-11-19T11:00:00Z; it was SERVES then"),
        (seen(hours_ago=-1), "too-old", "last looked at 2026-11-20T13:00:00Z"),  # by a clock that runs ahead
        (seen(hours_ago=101), "before-the-pin", "before demo/tiny@1 was pinned"),
    ],
)
def test_each_way_of_drifting_has_its_name(observation: Observation, kind: str, said: str) -> None:
    (found,) = judged([pin()], [observation])
    assert (kind, kind == "as-pinned") == (found.kind, found.ok)
    assert said in found.message
    assert found.ok or "tidegate " in found.next_step


def test_a_pin_that_nobody_was_seen_to_serve_and_an_engine_that_nobody_pinned_are_both_named() -> None:
    found = judged([pin()], [seen(model="demo/stray"), seen("SILENT", None, model="demo/gone")])
    assert [("demo/stray", "not-pinned"), ("demo/tiny", "never-seen")] == [
        (one.model, one.kind) for one in found
    ]
    assert found[1].age is None


def test_every_node_is_judged_by_itself_and_by_its_tiers_own_hours() -> None:
    nodes = [seen(node="a"), seen("SILENT", None, node="b"), seen(node="c", hours_ago=30)]
    assert ["as-pinned", "silent", "too-old"] == [one.kind for one in judged([pin()], nodes)]
    assert ["as-pinned", "silent", "as-pinned"] == [one.kind for one in judged([pin()], nodes, team=48)]
    assert [1.0, 1.0, 30.0] == [one.age for one in judged([pin()], nodes)]
