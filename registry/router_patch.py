"""What must change in a router contract, and in the engine profile, for a version to work: as a JSON Patch (RFC 6902).

The change is computed, never guessed: nothing is renamed and no alias is invented, because two tools with one schema
may do opposite things. What the router accepts is only ever widened, so that what worked goes on working. A patch is
handed out only after it was applied to the documents and the comparison, made again, passed.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from registry.compatibility import compare
from registry.contracts import (
    EngineProfile,
    MalformedContract,
    RouterContract,
    SurfaceFacts,
    Tool,
    ToolContract,
    decode_document,
    to_json,
)
from registry.inclusion import examine, new_budget
from registry.schema_widening import widened
from registry.schemas import Work
from registry.surface_rules import parser_named, wants, with_parser
from registry.template_rules import WireDigests
from registry.verdicts import Comparison, Verdict
from signing.canonical import NotCanonical, canonical_bytes

Operation = Mapping[str, Any]


@dataclass(frozen=True)
class Patch:
    """Both documents as they must become, the operations that lead there, and the comparison made again."""

    router: RouterContract
    profile: EngineProfile
    operations: tuple[Operation, ...] = field(hash=False)  # on the router contract
    profile_operations: tuple[Operation, ...] = field(hash=False)
    comparison: Comparison

    @property
    def summary(self) -> str:
        """What changes, in one line for a person."""
        parts = []
        if self.operations:
            parts.append(f"router contract {self.router.name!r}: {_said(self.operations, self.router)}")
        if self.profile_operations:
            parts.append(
                f"engine profile {self.profile.name!r}: {_said(self.profile_operations, self.profile)}"
            )
        return "; ".join(parts) or "nothing has to change"

    def to_json(self) -> dict[str, Any]:
        """Return both lists of operations and what they lead to."""
        return {
            "router": {"name": self.router.name, "operations": [dict(item) for item in self.operations]},
            "profile": {
                "name": self.profile.name,
                "operations": [dict(item) for item in self.profile_operations],
            },
            "summary": self.summary,
            "verdict": str(self.comparison.verdict),
        }


def patch_for(
    tool: ToolContract, router: RouterContract, profile: EngineProfile, *, wire: WireDigests | None = None
) -> Patch | None:
    """Return the least change that makes `tool` compatible behind `router` on an engine set up by `profile`.

    None where no change of these two documents does: the version lacks something, or nobody knows.
    """
    if compare(tool, router, profile, wire=wire).verdict is Verdict.INCOMPATIBLE:
        return None
    new_router, new_profile = _router(tool, router), _profile(tool, router, profile)
    operations = difference(to_json(router), to_json(new_router))
    profile_operations = difference(to_json(profile), to_json(new_profile))
    try:
        applied, set_up = (
            decode_document(canonical_bytes(apply(to_json(old), steps)))
            for old, steps in ((router, operations), (profile, profile_operations))
        )
    except (MalformedContract, NotCanonical):  # too large, or nested too deep, to be a contract
        return None
    assert isinstance(applied, RouterContract)
    assert isinstance(set_up, EngineProfile)
    again = compare(tool, applied, set_up, wire=wire)
    return Patch(applied, set_up, operations, profile_operations, again) if again.passed else None


def _router(tool: ToolContract, router: RouterContract) -> RouterContract:
    budget = new_budget()
    called = {router.answering(item.name): item for item in tool.tools}
    known = [
        _answering(called[item.name], item, budget) if item.name in called else item for item in router.tools
    ]
    there = {item.name for item in router.tools}
    new = [
        Tool(item.name, item.input, item.output)
        for item in tool.tools
        if router.answering(item.name) not in there
    ]
    family = tool.emission.family
    accepts = router.accepts if family in router.accepts else (*router.accepts, family)
    roles = router.roles
    if roles is not None and tool.emission.roles is not None:
        roles = tuple(role for role in roles if role in tool.emission.roles)
    return replace(router, accepts=accepts, tools=(*known, *new), roles=roles)


def _answering(called: Tool, answer: Tool, budget: Work) -> Tool:
    """The router's tool, wide enough for what is called and answering only what is expected."""
    output = answer.output
    if called.output is not None and (
        output is None or examine(output, called.output, closed=False, budget=budget)
    ):
        output = called.output
    return replace(answer, input=widened(answer.input, called.input, budget), output=output)


def _profile(tool: ToolContract, router: RouterContract, profile: EngineProfile) -> EngineProfile:
    family, needed = tool.emission.family, tool.emission.parsers.get(profile.engine)
    flags, parses = profile.flags, profile.parses
    named = parser_named(flags)
    if family not in parses:
        # An engine with a parser among its flags runs one: another one takes its place.
        parses = (family,) if named is not None else (*parses, family)
    if needed is not None and named is not None:
        flags = with_parser(flags, needed)
    missing = tuple(surface for surface in router.surfaces if surface not in profile.surfaces)
    return replace(
        profile,
        parses=parses,
        flags=flags,
        surfaces=(*profile.surfaces, *missing),
        surface=_surface(router, profile),
    )


def _surface(router: RouterContract, profile: EngineProfile) -> dict[str, SurfaceFacts]:
    """What the profile denies and the router's clients use must become possible; what nobody knows stays unknown."""
    out = dict(profile.surface)
    for surface, what in wants(router.surface):
        facts = out.get(surface)
        word, _, choice = what.partition(" ")
        if facts is None:
            continue
        if choice and facts.tool_choice is not None and choice not in facts.tool_choice:
            out[surface] = replace(facts, tool_choice=(*facts.tool_choice, choice))
        elif not choice and getattr(facts, word) is False:
            done: dict[str, Any] = {word: True}
            out[surface] = replace(facts, **done)
    return out


# ------------------------------------------------------------------------------------------------- RFC 6902


def difference(old: Any, new: Any, at: str = "") -> tuple[Operation, ...]:
    """Return the operations that lead from one JSON value to another, at the places that differ."""
    return tuple(_steps(old, new, at))


def _steps(old: Any, new: Any, at: str) -> Iterator[Operation]:
    if isinstance(old, dict) and isinstance(new, dict):
        for name in sorted({*old, *new}):
            place = f"{at}/{_escaped(name)}"
            if name not in new:
                yield {"op": "remove", "path": place}
            elif name not in old:
                yield {"op": "add", "path": place, "value": new[name]}
            else:
                yield from _steps(old[name], new[name], place)
    elif isinstance(old, list) and isinstance(new, list) and len(new) >= len(old):
        for index, item in enumerate(old):
            yield from _steps(item, new[index], f"{at}/{index}")
        yield from ({"op": "add", "path": f"{at}/-", "value": item} for item in new[len(old) :])
    elif canonical_bytes(old) != canonical_bytes(new):
        yield {"op": "replace", "path": at, "value": new}


def apply(document: Any, operations: Sequence[Operation]) -> Any:
    """Return a copy with the operations done: those that `difference` makes (add, remove, replace).

    Raises:
        LookupError: a place that is not there.
    """
    for operation in operations:
        steps = [step.replace("~1", "/").replace("~0", "~") for step in str(operation["path"]).split("/")[1:]]
        document = _done(document, steps, operation)
    return document


def _done(node: Any, steps: Sequence[str], operation: Operation) -> Any:
    if not steps:
        return operation["value"]
    step, rest = steps[0], steps[1:]
    if isinstance(node, list):
        if step == "-" and not rest and operation["op"] == "add":
            return [*node, operation["value"]]
        place = int(step) if step.isdecimal() else len(node)
        return [*node[:place], _done(node[place], rest, operation), *node[place + 1 :]]
    if not isinstance(node, dict):
        raise LookupError(step)  # noqa: TRY004 - a place that is not there, whatever stands in its stead
    if not rest and operation["op"] == "remove":
        if step not in node:
            raise LookupError(step)
        return {name: value for name, value in node.items() if name != step}
    if not rest and operation["op"] == "add":
        return {**node, step: operation["value"]}
    return {**node, step: _done(node[step], rest, operation)}


def _escaped(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")


def _said(operations: Sequence[Operation], document: RouterContract | EngineProfile) -> str:
    names = [tool.name for tool in document.tools] if isinstance(document, RouterContract) else []
    return ", ".join(_one(operation, names) for operation in operations)


def _one(operation: Operation, names: Sequence[str]) -> str:
    steps = str(operation["path"]).split("/")[1:]
    value = operation.get("value")
    shown = canonical_bytes(value).decode() if value is not None else "null"
    if steps[0] == "tools" and steps[1:] == ["-"] and isinstance(value, dict):
        return f"add tool {value['name']!r}"
    if steps[0] == "tools":
        steps = [f"tool {names[int(steps[1])]!r}", *steps[2:]]
    place = "/".join(steps).removesuffix("/-")
    if operation["op"] == "remove":
        return f"remove {place}"
    text = shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}…"
    return f"{operation['op']} {place} {text}"


_SHOWN = 120  # characters of a value in a summary
