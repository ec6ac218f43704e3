"""Tools and their schemas: arguments that the model writes and the router reads, results the other way round.

What cannot be decided is a finding like what is refused: unknown is no pass.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from registry.contracts import RouterContract, Tool, ToolContract
from registry.inclusion import NotIncluded, clash, examine, new_budget
from registry.schemas import Work
from registry.verdicts import Finding, Verdict


def tools(contract: ToolContract, router: RouterContract) -> Iterator[Finding]:
    """Every tool that the model calls, before the tool that answers it, by its own name or an alias of the router's."""
    budget = new_budget()
    answering = {tool.name: tool for tool in router.tools}
    reached = {router.answering(tool.name) for tool in contract.tools}
    for name in router.required:
        if name not in reached:
            yield Finding(
                "required-tool-missing",
                Verdict.INCOMPATIBLE,
                f"router {router.name!r} requires this tool and the version does not know it",
                "Choose a version that knows the tool, or, where the version calls the same tool by another name, "
                f"say so in `aliases` of router contract {router.name!r}.",
                tool=name,
            )
    for tool in contract.tools:
        answer = answering.get(router.answering(tool.name))
        if answer is None:
            yield _not_routed(tool, router)
            continue
        also = f", its tool {answer.name!r}" if answer.name != tool.name else ""
        yield from arguments(tool, answer, f"router contract {router.name!r}{also}", budget)
        yield from results(replace(answer, name=tool.name), tool, "the tool contract", budget)


def _not_routed(tool: Tool, router: RouterContract) -> Finding:
    return Finding(
        "tool-not-routed",
        Verdict.NEEDS_ROUTER_UPDATE,
        f"the version may call this tool and router {router.name!r} has none of that name",
        f"Add the tool {tool.name!r} to router contract {router.name!r}, and to the router; where it is another name "
        "for one that is there, add it to `aliases` instead.",
        tool=tool.name,
    )


def arguments(producer: Tool, consumer: Tool, who: str, budget: Work) -> Iterator[Finding]:
    """Everything the model may write as arguments must be accepted; `budget`: the steps left for all tools."""
    mend = (
        f"Widen `input` of {producer.name!r} in {who} at this place, in the router first; "
        "`tidegate contracts patch` writes the change."
    )
    sides = _object(producer.input), _object(consumer.input)
    yield from _inclusion("arguments", *sides, producer.name, mend, budget=budget)


def results(producer: Tool, consumer: Tool, who: str, budget: Work) -> Iterator[Finding]:
    """Everything the tool may answer must be what the model was told to expect; `budget` as in `arguments`."""
    if consumer.output is None:
        if producer.output is not None:
            yield Finding(
                "results-undeclared",
                Verdict.COMPATIBLE,
                f"{who} does not say what this tool answers, so results were not compared",
                "State `output` where results should be compared.",
                tool=producer.name,
            )
    elif producer.output is None:
        yield Finding(
            "results-unknown",
            Verdict.UNKNOWN,
            f"{who} declares what this tool answers, and the answering side does not say",
            "State `output` of the tool on the answering side.",
            tool=producer.name,
        )
    else:
        mend = (
            f"Make the tool {producer.name!r} answer only what {who} declares, and say so in `output` of the router "
            "contract; `tidegate contracts patch` writes the change."
        )
        yield from _inclusion("results", producer.output, consumer.output, producer.name, mend, budget=budget)


def _inclusion(
    what: str, producer: Mapping[str, Any], consumer: Mapping[str, Any], tool: str, mend: str, *, budget: Work
) -> Iterator[Finding]:
    """Turn the problems of one pair of schemas into findings; what can never fit is said once and first."""
    # What a model writes is held to its schema; a tool may answer more than its schema names.
    problems = examine(producer, consumer, closed=what == "arguments", budget=budget)
    key = "result" if what == "results" else what
    never = clash(producer, consumer, budget=budget) if problems else None
    if never is not None:
        shown = [p.witness for p in problems if isinstance(p, NotIncluded) and _under(p.path, never)]
        yield Finding(
            f"{what}-disjoint",
            Verdict.INCOMPATIBLE,
            f"nothing that is emitted here is ever accepted ({problems[0].reason})",
            "Choose a version and a router contract that mean the same by this; widening does not mend it.",
            tool=tool,
            path=never,
            witness={"name": tool, key: shown[0]} if shown else None,
        )
    for problem in problems:
        if never is not None and _under(problem.path, never):
            continue
        if isinstance(problem, NotIncluded):
            message = f"{problem.reason} ({problem.rule})"
            rule, verdict = f"{what}-not-accepted", Verdict.NEEDS_ROUTER_UPDATE
            witness = {"name": tool, key: problem.witness}
            yield Finding(rule, verdict, message, mend, tool, problem.path, witness)
        else:
            advice = "Write both schemas so that they can be compared here, or in the same words."
            yield Finding(f"{what}-undecided", Verdict.UNKNOWN, problem.reason, advice, tool, problem.path)


def _under(path: str, top: str) -> bool:
    return path == top or path.startswith(f"{top}/")


def _object(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """Arguments are always an object, whether or not the schema says so."""
    return schema if "type" in schema or "$ref" in schema else {**schema, "type": "object"}
