"""Does everything that one schema emits satisfy another: proved, refuted by an example, or undecided.

The door to the comparison of schemas (`registry.schema_engines` says how several engines are weighed). A
refutation is a value that was checked against both schemas as they are written; a proof walks over a form
that covers at least what the producer emits. What is neither is undecided, never a pass.

Bounded on purpose: hostile schemas run out of steps and end undecided. Whoever compares many schemas hands one
`budget` to all the comparisons, so that many hostile ones take no longer together than a few.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from registry import jsoncompat_engine
from registry.schema_engines import (
    MAX_STEPS,
    Engine,
    NotIncluded,
    Opinion,
    Pair,
    Structural,
    Undecided,
    weigh,
)
from registry.schema_flat import Group
from registry.schemas import TooMuchWork, Work

__all__ = ["Included", "NotIncluded", "Undecided", "clash", "engines", "examine", "includes", "new_budget"]

MAX_STEPS_TOGETHER = 400_000  # about two seconds; 200 tools as agents have them take 330_000


@dataclass(frozen=True)
class Included:
    """Every value the producer emits is one the consumer accepts."""


def includes(producer: Any, consumer: Any, *, closed: bool = True) -> Included | NotIncluded | Undecided:
    """Return whether all that `producer` emits satisfies `consumer`: the first refutation, else the first doubt.

    Both are JSON Schemas as decoded JSON, each in the dialect that its `$schema` names (2020-12 without one).
    `closed`: producer objects that declare properties and do not say `additionalProperties` emit no others.
    Never raises for any JSON value.
    """
    problems = examine(producer, consumer, closed=closed)
    refuted = [problem for problem in problems if isinstance(problem, NotIncluded)]
    return (*refuted, *problems, Included())[0]


def examine(
    producer: Any, consumer: Any, *, closed: bool = True, budget: Work | None = None
) -> tuple[NotIncluded | Undecided, ...]:
    """Return every place where inclusion fails or cannot be decided, a bounded number; none: included.

    Takes its steps out of `budget`; without steps only schemas in the same words are still seen to be included.
    """
    with (budget or new_budget()).part(MAX_STEPS) as work:
        pair = Pair(producer, consumer, closed=closed, work=work)
        return weigh(pair, _opinions(pair))


def new_budget() -> Work:
    """Return the steps for all the schemas of one comparison between two documents."""
    return Work(
        MAX_STEPS_TOGETHER,
        f"the comparison was given up after {MAX_STEPS_TOGETHER} steps; this tool was not compared to the end",
    )


def engines() -> tuple[Engine, ...]:
    """Return the engines that are asked here, in this order."""
    second = _second()
    return (Structural(), *([second] if second is not None else []))


def clash(producer: Any, consumer: Any, *, budget: Work | None = None) -> str | None:
    """Return the path of a value that is always emitted and never accepted, or None where none was proved.

    A clash is about one place that both sides name: a property required by the producer, or the whole value.
    A property that one side calls by another name is not a clash; renaming mends it.
    """
    with (budget or new_budget()).part(MAX_STEPS) as work:
        pair = Pair(producer, consumer, work=work)
        try:
            return pair.walk.apart.path(Group.of([pair.emitted]), Group.of([pair.accepted]), "", shared=True)
        except (TooMuchWork, RecursionError):
            return None


@cache
def _second() -> Engine | None:
    return jsoncompat_engine.available()


def _opinions(pair: Pair) -> Iterator[tuple[str, Opinion]]:
    for engine in engines():
        if pair.work.left < 0:  # no witness could be confirmed any more
            return
        yield engine.name, engine.compare(pair)
