"""A contract may hold hundreds of tools that nobody can compare: the whole comparison ends, and never in a pass."""

import time
from collections.abc import Callable
from typing import Any

import pytest

from registry.compatibility import Verdict, changes, compare
from registry.contract_fields import MAX_BYTES
from registry.contracts import Emission, EngineProfile, RouterContract, Tool, ToolContract, to_json
from registry.inclusion import MAX_STEPS_TOGETHER, Undecided, clash, examine, new_budget
from registry.router_patch import patch_for
from registry.schema_reading import MAX_PATTERNS
from registry.schemas import Work
from signing.canonical import canonical_bytes

TOOLS = 200
SECONDS = 10  # on the processor; on an idle core it is about two
S: dict[str, Any] = {"type": "string"}
PLAIN: dict[str, Any] = {
    "type": "object",
    "properties": {
        "x": {
            "type": ["object", "array", "string"],
            "required": ["z"],
            "maxItems": 1,
            "minLength": 1,
            "maxLength": 300,
        }
    },
    "required": ["x"],
}


def chained(count: int, link: Callable[[dict[str, str]], dict[str, Any]]) -> dict[str, Any]:
    """Each definition made of the next one."""
    made = {f"d{n}": link({"$ref": f"#/$defs/d{n + 1}"}) for n in range(count)}
    return {
        "type": "object",
        "properties": {"x": {"$ref": "#/$defs/d0"}},
        "required": ["x"],
        "additionalProperties": False,
        "$defs": {**made, f"d{count}": S},
    }


HOSTILE: dict[str, Callable[[int], dict[str, Any]]] = {
    "explosion by oneOf": lambda _: chained(30, lambda ref: {"oneOf": [ref, ref]}),
    "objects that double": lambda _: chained(
        30, lambda ref: {"type": "object", "properties": {"a": ref, "b": ref}, "required": ["a", "b"]}
    ),
    "lists that double": lambda _: chained(30, lambda ref: {"type": "array", "minItems": 2, "items": ref}),
    "a large automaton for each tool": lambda number: (
        chained(0, lambda ref: ref)
        | {"$defs": {"d0": {**S, "pattern": f"(([a-z]?){{{200 + number}}}[0-9])$", "maxLength": 900}}}
    ),
}


def contracts(schema: Callable[[int], dict[str, Any]]) -> tuple[ToolContract, RouterContract, EngineProfile]:
    """A model with `TOOLS` tools of this kind, and a router that knows something plainer by their names."""
    names = [f"tool_{number}" for number in range(TOOLS)]
    model = ToolContract(
        name="guard",
        emission=Emission("hermes"),
        surfaces=("chat",),
        tools=tuple(Tool(name, schema(number)) for number, name in enumerate(names)),
        context=8192,
    )
    router = RouterContract(
        name="desk",
        accepts=("hermes",),
        surfaces=("chat",),
        tools=tuple(Tool(name, PLAIN) for name in names),
        required=(),
        min_context=4096,
    )
    profile = EngineProfile("vllm", "vllm", "0.32.0", parses=("hermes",), flags=(), surfaces=("chat",))
    return model, router, profile


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_contract_full_of_hostile_tools_is_given_up_and_never_passes(kind: str) -> None:
    """Neither the comparison nor a patch takes a second for each tool; what was not reached is unknown."""
    model, router, profile = contracts(HOSTILE[kind])
    assert len(canonical_bytes(to_json(model))) < MAX_BYTES
    began = time.process_time()
    comparison = compare(model, router, profile)
    assert time.process_time() - began < SECONDS
    assert {finding.tool for finding in comparison.against} == {tool.name for tool in model.tools}
    given_up = [f for f in comparison.findings if f"given up after {MAX_STEPS_TOGETHER} steps" in f.message]
    assert f"tool_{TOOLS - 1}" in {finding.tool for finding in given_up}
    assert {Verdict.UNKNOWN} == {finding.verdict for finding in given_up}


def test_a_patch_and_a_revision_of_such_a_contract_end_too() -> None:
    model, router, profile = contracts(HOSTILE["objects that double"])
    older = ToolContract("guard", model.emission, ("chat",), router.tools, 8192)
    began = time.process_time()
    assert patch_for(model, router, profile) is None
    assert not changes(older, model).passed
    assert time.process_time() - began < 4 * SECONDS


def test_what_is_written_in_the_same_words_is_seen_without_any_steps() -> None:
    """A revision that leaves most tools alone stays decided, whatever the others cost."""
    spent = Work(0, "nothing is left")
    schema = HOSTILE["explosion by oneOf"](0)
    assert () == examine(schema, {**schema}, budget=spent)
    assert (Undecided("", "nothing is left"),) == examine(schema, PLAIN, budget=spent)
    assert clash(schema, PLAIN, budget=spent) is None


def test_a_comparison_gives_back_the_steps_it_did_not_need() -> None:
    budget = new_budget()
    for _ in range(300):
        assert not examine({**PLAIN, "required": ["x"]}, {**PLAIN, "required": []}, budget=budget)
    assert 0 < MAX_STEPS_TOGETHER - budget.left < MAX_STEPS_TOGETHER // 4
    with budget.part(5) as few:
        few.spend(3)
    with budget.part(5) as more:
        assert 5 == more.left


def test_more_patterns_than_can_be_kept_are_not_compared() -> None:
    """Otherwise each question about a key would compile them all again."""
    keys = {f"^a{{{n % 300}}}b{{{n // 300}}}$": S for n in range(MAX_PATTERNS + 1)}
    many = {"type": "object", "patternProperties": keys}
    assert [Undecided] == [type(problem) for problem in examine(many, PLAIN)]
