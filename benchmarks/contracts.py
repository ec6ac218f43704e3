"""How fast schemas are compared, and how long the worst of them can take.

`python -m benchmarks.contracts` prints one figure a line: the corpus of schema pairs, a contract of forty
tools as agents have them against a router that is a little older, and the slowest hostile schema.
"""

import json
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from registry.compatibility import compare
from registry.contracts import Emission, EngineProfile, RouterContract, Tool, ToolContract
from registry.inclusion import engines, includes

CORPUS = Path(__file__).parent.parent / "tests" / "registry" / "schema_pairs"
TOOLS = 40
TEXT: dict[str, Any] = {"type": "string"}


def main() -> None:
    """Print the figures."""
    write = sys.stdout.write
    write(f"engines: {', '.join(engine.name for engine in engines())}\n")
    pairs = corpus()
    includes(*pairs[0])
    spent = [timed(partial(includes, *pair)) for pair in pairs]
    write(f"corpus: {len(pairs)} pairs, {len(pairs) / sum(spent):.0f} comparisons/s, ")
    write(f"median {sorted(spent)[len(spent) // 2] * 1000:.2f} ms, slowest {max(spent) * 1000:.0f} ms\n")
    contract, router, profile = forty_tools()
    best = min(timed(lambda: compare(contract, router, profile)) for _ in range(5))
    write(f"contract of {TOOLS} tools: {best * 1000:.1f} ms, {TOOLS / best:.0f} tools/s, ")
    write(f"verdict {compare(contract, router, profile).verdict}\n")
    worst = {name: timed(partial(both_ways, schema)) for name, schema in hostile().items()}
    slowest = max(worst, key=lambda name: worst[name])
    write(f"hostile: {len(worst)} schemas both ways, slowest {worst[slowest] * 1000:.0f} ms ({slowest})\n")


def timed(work: Callable[[], Any]) -> float:
    """Return seconds on the processor."""
    began = time.process_time()
    work()
    return time.process_time() - began


def corpus() -> list[tuple[Any, Any]]:
    """Return every pair of the corpus."""
    cases = [case for path in sorted(CORPUS.glob("*.json")) for case in json.loads(path.read_text())]
    return [(case["producer"], case["consumer"]) for case in cases]


def tool(number: int, *, newer: bool) -> Tool:
    """Return one tool with a dozen arguments, nested and by reference; the newer form has one change."""
    edit = {"type": "object", "properties": {"old": TEXT, "new": TEXT}, "required": ["old", "new"]}
    arguments: dict[str, Any] = {
        "path": {**TEXT, "pattern": "^/[A-Za-z0-9_./-]*$"},
        "mode": {"enum": ["read", "write", "append", *(["patch"] if newer and number % 10 == 0 else [])]},
        "limit": {"type": "integer", "minimum": 1, "maximum": 100 if newer else 500},
        "cursor": {"anyOf": [{**TEXT, "maxLength": 64}, {"type": "null"}], "default": None},
        "edits": {"type": "array", "items": {"$ref": "#/$defs/Edit"}, "maxItems": 20},
        "filter": {"$ref": "#/$defs/Filter"},
        "tags": {"type": "array", "items": TEXT, "uniqueItems": True},
        "dry_run": {"type": "boolean", "default": False},
    }
    either = {
        "anyOf": [
            {"type": "object", "properties": {"all": {"type": "array", "items": {"$ref": "#/$defs/Filter"}}}},
            {"type": "object", "properties": {"field": TEXT, "value": TEXT}, "required": ["field", "value"]},
        ]
    }
    schema = {
        "type": "object",
        "properties": arguments,
        "required": ["path", "mode"],
        "additionalProperties": False,
        "$defs": {"Edit": edit, "Filter": either},
    }
    return Tool(f"tool_{number}", schema, output=TEXT)


def forty_tools() -> tuple[ToolContract, RouterContract, EngineProfile]:
    """Return a model's contract and a router and an engine for it; four tools need a router update."""
    names = range(TOOLS)
    contract = ToolContract(
        name="guard",
        emission=Emission("hermes"),
        surfaces=("chat",),
        tools=tuple(tool(n, newer=True) for n in names),
        context=8192,
    )
    router = RouterContract(
        name="desk",
        accepts=("hermes",),
        surfaces=("chat",),
        tools=tuple(tool(n, newer=False) for n in names),
        required=(),
        min_context=4096,
    )
    profile = EngineProfile(
        name="vllm", engine="vllm", version="0.32.0", parses=("hermes",), flags=(), surfaces=("chat",)
    )
    return contract, router, profile


def hostile() -> dict[str, Any]:
    """Return schemas that ask for more than any comparison should take."""
    two = {f"d{n}": {"anyOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(40)}
    pattern = "^[ab]*{}[ab]{{{}}}$"
    return {
        "a reference that explodes": {"$ref": "#/$defs/d0", "$defs": {**two, "d40": TEXT}},
        "an automaton that explodes": {**TEXT, "pattern": "^[ab]*a[ab]{40}$"},
        "patterns at once": {"allOf": [{"pattern": pattern.format("ab"[n % 2], n + 8)} for n in range(9)]},
        "a pattern that backtracks": {**TEXT, "pattern": "^(([a-z])+.)+[A-Z]([a-z])+$"},
        "many values": {"enum": [f"value {n}" for n in range(100_000)]},
        "many keys": {"type": "object", "properties": {f"k{n}": TEXT for n in range(5_000)}},
        "steps": {"type": "number", "allOf": [{"multipleOf": 1 + n / 997} for n in range(60)]},
    }


def both_ways(schema: Any) -> None:
    """Compare a schema with a plain one as producer and as consumer."""
    plain = {"type": "object", "properties": {"z": {"const": 1}}, "required": ["z"]}
    for producer, consumer in ((schema, plain), (TEXT, schema)):
        includes(producer, consumer)


if __name__ == "__main__":
    main()
