"""Does everything that one schema emits satisfy another: proved, refuted by an example, or undecided.

`examine` walks both schemas side by side and collects the places where the producer's side is not seen to
lie inside the consumer's. Each place comes with suggested values; one that the `jsonschema` library finds
valid for the producer and invalid for the consumer is a refutation. A place without one is undecided, never
a pass. The proof walks over a form that covers at least what the producer emits (`registry.schema_merge`),
so `Included` holds; the refutation is checked against the schemas as they were given, so it holds too.

Bounded on purpose: hostile schemas run out of steps and end undecided.
"""

from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from registry import schema_values as values
from registry.schema_merge import producer_view
from registry.schema_walk import Place, Walk
from registry.schemas import UNSURE, Schema, TooMuchWork, Work, misshapen, normalise, value_key

MAX_STEPS = 400_000  # about a second of work
MAX_PROBLEMS = 24  # places reported for one pair of schemas
MAX_CANDIDATES = 10  # values tried for one place


@dataclass(frozen=True)
class Included:
    """Every value the producer emits is one the consumer accepts."""


@dataclass(frozen=True)
class NotIncluded:
    """The producer emits `witness`, the consumer refuses it; both checked.

    `path` is a JSON pointer into the producer's schema with references followed (`/properties/city`, empty
    for the whole), `rule` the keyword that is not met, `reason` a sentence's end for a person.
    """

    path: str
    rule: str
    reason: str
    witness: Any = field(hash=False)


@dataclass(frozen=True)
class Undecided:
    """Neither proved nor refuted; `path` as in `NotIncluded`."""

    path: str
    reason: str


def includes(producer: Any, consumer: Any) -> Included | NotIncluded | Undecided:
    """Return whether all that `producer` emits satisfies `consumer`: the first refutation, else the first doubt.

    Both are JSON Schemas as decoded JSON. Producer objects that declare properties and do not say
    `additionalProperties` count as closed. Never raises for any JSON value.
    """
    problems = examine(producer, consumer)
    refuted = [problem for problem in problems if isinstance(problem, NotIncluded)]
    return (*refuted, *problems, Included())[0]


def examine(producer: Any, consumer: Any) -> tuple[NotIncluded | Undecided, ...]:
    """Return every place where inclusion fails or cannot be decided, at most `MAX_PROBLEMS`; none: included."""
    work, found = Work(MAX_STEPS), list[NotIncluded | Undecided]()
    try:
        if value_key(producer) == value_key(consumer) and misshapen(producer) is None:
            return ()
        emitted, accepted = normalise(producer, work), normalise(consumer, work)
        view = producer_view(emitted, work)
        for place in islice(Walk(work).places(view, accepted, ""), MAX_PROBLEMS):
            found.append(_judge(place, emitted, view, accepted, work))
    except (TooMuchWork, RecursionError):
        found.append(Undecided("", "the schemas are too large or too deeply nested to compare in full"))
    return tuple(dict.fromkeys(found))


def clash(producer: Any, consumer: Any) -> str | None:
    """Return the path of a value that is always emitted and never accepted, or None where none was proved.

    A clash is about one place that both sides name: a property required by the producer, or the whole value.
    A property that one side calls by another name is not a clash; renaming mends it.
    """
    work = Work(MAX_STEPS)
    try:
        view = producer_view(normalise(producer, work), work)
        return Walk(work).clash(view, normalise(consumer, work), "")
    except (TooMuchWork, RecursionError):
        return None


def _judge(
    place: Place, emitted: Schema, view: Schema, accepted: Schema, work: Work
) -> NotIncluded | Undecided:
    """Let the library decide: a witness is valid for the producer as written and closed, and refused."""
    for value in place.candidates[:MAX_CANDIDATES]:
        refused = values.surely_rejected(accepted, value, work)
        if (
            refused
            and values.surely_fits(emitted, value, work)
            and not values.surely_rejected(view, value, work)
        ):
            return NotIncluded(place.path, place.rule, place.reason, value)
    doubt = "" if place.rule == UNSURE else "; no example of it could be confirmed"
    return Undecided(place.path, f"{place.reason}{doubt}")
