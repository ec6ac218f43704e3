"""The one interface over everything that compares two schemas, and the rule by which opinions are weighed.

An engine looks at a `Pair` and gives an `Opinion`. A refutation counts only when its witness passes
`Pair.confirms`, whoever found it: the producer's schema as written accepts the value, closed as producers
are, the consumer's refuses it, and the `jsonschema` library agrees on both. A confirmed witness beats every
opinion. A proof counts only from the structural engine, whose rules stand in this repository; others are
asked for counter-examples, and their silence is not evidence.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

from registry import schema_oracle
from registry.schema_flat import Group
from registry.schema_judge import judge
from registry.schema_nodes import Keys, Node
from registry.schema_places import Place
from registry.schema_reading import read
from registry.schema_walk import Walk
from registry.schemas import UNSURE, TooMuchWork, Work, misshapen, value_key

MAX_STEPS = 200_000  # well under a second of work
MAX_CANDIDATES = 12  # values tried for one place


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


@dataclass(frozen=True)
class Opinion:
    """What an engine found: nothing wrong and that is a proof (`proved`), places, or neither."""

    problems: tuple[NotIncluded | Undecided, ...] = ()
    proved: bool = False


class Pair:
    """Two schemas under comparison, the steps left for it, and the check that every witness has to pass.

    `closed`: producer objects that declare keys and do not say `additionalProperties` emit no others.
    Methods may raise `TooMuchWork` or `RecursionError`.
    """

    def __init__(
        self, producer: Any, consumer: Any, *, closed: bool = True, work: Work | None = None
    ) -> None:
        self.producer, self.consumer, self.closed = producer, consumer, closed
        self.work, self.keys = work or Work(MAX_STEPS), Keys()

    @cached_property
    def emitted(self) -> Node:
        return read(self.producer, self.keys, self.work)

    @cached_property
    def accepted(self) -> Node:
        return read(self.consumer, self.keys, self.work)

    @cached_property
    def walk(self) -> Walk:
        return Walk(self.keys, self.work, closed=self.closed)

    @property
    def in_the_same_words(self) -> bool:
        return value_key(self.producer) == value_key(self.consumer) and misshapen(self.producer) is None

    def confirms(self, value: Any) -> bool:
        """Whether the value is a witness, however doubtful parts are read."""
        return (
            judge(self.accepted, value, self.work) is False
            and judge(self.emitted, value, self.work) is True
            and self.walk.examples.emits(Group.of([self.emitted]), value)
            and schema_oracle.accepts(self.producer, value, self.work) is True
            and schema_oracle.accepts(self.consumer, value, self.work) is False
        )


class Engine(Protocol):
    """Something that compares schemas. `compare` never raises for well-formed JSON."""

    name: str

    def compare(self, pair: Pair) -> Opinion: ...


class Structural:
    """Our own engine: walks both schemas side by side. Always there."""

    name = "structural"

    def compare(self, pair: Pair) -> Opinion:
        found: list[NotIncluded | Undecided] = []
        try:
            if pair.in_the_same_words:
                return Opinion(proved=True)
            places = pair.walk.places(Group.of([pair.emitted]), Group.of([pair.accepted]), "")
            for place in places:
                found.append(_judged(place, pair))  # noqa: PERF401 -- what was found stays when steps run out
        except (TooMuchWork, RecursionError):
            found.append(Undecided("", pair.work.reason))
        problems = tuple({_identity(problem): problem for problem in found}.values())
        return Opinion(problems, proved=not problems)


def _judged(place: Place, pair: Pair) -> NotIncluded | Undecided:
    for value in place.candidates[:MAX_CANDIDATES]:
        if pair.confirms(value):
            return NotIncluded(place.path, place.rule, place.reason, value)
    doubt = "" if place.rule == UNSURE else "; no example of it could be confirmed"
    return Undecided(place.path, f"{place.reason}{doubt}")


def _identity(problem: NotIncluded | Undecided) -> tuple[Any, ...]:
    return (problem.path, problem.reason, isinstance(problem, Undecided))


def weigh(pair: Pair, opinions: Iterable[tuple[str, Opinion]]) -> tuple[NotIncluded | Undecided, ...]:
    """Return what stands against inclusion after every engine has spoken; nothing: it is proved.

    `opinions` are asked for one after the other, the structural engine's first; the others only until a
    refutation is confirmed.
    """
    problems: list[NotIncluded | Undecided] = []
    proved = False
    for name, opinion in opinions:
        if name == Structural.name:
            problems, proved = list(opinion.problems), opinion.proved
        else:
            problems = [*_confirmed(pair, opinion), *problems]
        if any(isinstance(problem, NotIncluded) for problem in problems):
            return tuple(problems)
    if not problems and not proved:
        return (Undecided("", "no engine could prove it"),)
    return tuple(problems)


def _confirmed(pair: Pair, opinion: Opinion) -> list[NotIncluded]:
    try:
        return [p for p in opinion.problems if isinstance(p, NotIncluded) and pair.confirms(p.witness)]
    except (TooMuchWork, RecursionError):
        return []
