"""What changed between two documents of one kind, and what that means for those who were prepared for the first.

Two readings of the same pair: `changes` judges, by the rules that also judge a model before a router; `diff` lists
every place that differs, tools by their names, for a person who reviews a revision.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from registry.contracts import Document, Emission, EngineProfile, RouterContract, ToolContract, to_json
from registry.inclusion import new_budget
from registry.surface_rules import wants
from registry.tool_rules import arguments, results
from registry.verdicts import Comparison, Finding, NotComparable, Verdict, worst_first
from signing.canonical import canonical_bytes


def changes(old: Document, new: Document) -> Comparison:
    """Say what a new document means for those who were prepared for the old one.

    For a tool contract that is a router made for the old version; for a router contract or an engine profile,
    the versions served with it.

    Raises:
        NotComparable: documents of two kinds.
    """
    if isinstance(old, ToolContract) and isinstance(new, ToolContract):
        return worst_first(_contract_changes(old, new))
    if isinstance(old, RouterContract) and isinstance(new, RouterContract):
        return worst_first(_router_changes(old, new))
    if isinstance(old, EngineProfile) and isinstance(new, EngineProfile):
        return worst_first(_profile_changes(old, new))
    raise NotComparable(old.format, new.format)


def _contract_changes(old: ToolContract, new: ToolContract) -> Iterator[Finding]:
    if old.emission.family != new.emission.family:
        yield Finding(
            "emission-changed",
            Verdict.NEEDS_ROUTER_UPDATE,
            f"calls were written as {old.emission.family!r} and are now written as {new.emission.family!r}",
            f"Serve it with an engine profile that parses {new.emission.family!r}, and a router prepared for it.",
        )
    else:
        yield from _template_changes(old.emission, new.emission)
    yield from _lost("surface-removed", "surface", old.surfaces, new.surfaces, Verdict.INCOMPATIBLE)
    if new.context < old.context:
        smaller = f"context went from {old.context} to {new.context} tokens; whether a router needs more is not known"
        advice = "Compare with the tier's router contract, which names its least context."
        yield Finding("context-reduced", Verdict.UNKNOWN, smaller, advice)
    before, after = ({tool.name: tool for tool in contract.tools} for contract in (old, new))
    budget = new_budget()
    yield from _lost("tool-removed", "tool", before, after, Verdict.INCOMPATIBLE)
    for name, tool in after.items():
        if name not in before:
            grown, advice = (
                "the model may call this tool, which it did not know before",
                "Add it to the router first.",
            )
            yield Finding("tool-added", Verdict.NEEDS_ROUTER_UPDATE, grown, advice, tool=name)
            continue
        yield from arguments(tool, before[name], "a router contract made for the old one", budget)
        yield from results(before[name], tool, "the new tool contract", budget)
        if tool.description != before[name].description:
            yield _note("description-changed", "the description changed; behaviour may shift", tool=name)


def _template_changes(old: Emission, new: Emission) -> Iterator[Finding]:
    """The same family: only the digests of what the template renders tell whether calls are still written alike."""
    if None not in (old.call_sha256, new.call_sha256) and old.call_sha256 != new.call_sha256:
        yield Finding(
            "calls-rewritten",
            Verdict.UNKNOWN,
            f"calls are still of family {new.family!r}, but the template writes them with other characters",
            "Run the contract suite on the new version with the engine profile that will serve it.",
        )
    elif (old.template_sha256, old.wire_sha256) != (new.template_sha256, new.wire_sha256):
        yield _note("template-changed", "the chat template changed; behaviour may shift")


def _router_changes(old: RouterContract, new: RouterContract) -> Iterator[Finding]:
    update = Verdict.NEEDS_ROUTER_UPDATE
    yield from _lost("family-removed", "family", old.accepts, new.accepts, update)
    before, after = ({tool.name: tool for tool in contract.tools} for contract in (old, new))
    budget = new_budget()
    yield from _lost("tool-removed", "tool", before, after, update)
    advice = "Compare each version that is served, or may be rolled back to, with the new router contract."
    demands = (
        *(f"surface {name!r} is now needed" for name in new.surfaces if name not in old.surfaces),
        *(f"tool {name!r} is now required" for name in new.required if name not in old.required),
        *(
            [f"{new.min_context} tokens of context are now needed"]
            if new.min_context > old.min_context
            else []
        ),
        *(f"role {name!r} is now sent" for name in new.roles or () if name not in (old.roles or ())),
        *(
            f"{what} is now used over {surface!r}"
            for surface, what in wants(new.surface)
            if (surface, what) not in set(wants(old.surface))
        ),
    )
    for demand in demands:
        yield Finding("demand-added", Verdict.UNKNOWN, demand, advice)
    yield from _lost("alias-removed", "alias", old.aliases, {**new.aliases, **after}, update)
    for name in sorted(before.keys() & after.keys()):
        yield from arguments(before[name], after[name], f"router contract {new.name!r}", budget)
        yield from results(after[name], before[name], "the old router contract", budget)


def _profile_changes(old: EngineProfile, new: EngineProfile) -> Iterator[Finding]:
    yield from _lost("family-removed", "family", old.parses, new.parses, Verdict.NEEDS_ROUTER_UPDATE)
    yield from _lost("surface-removed", "surface", old.surfaces, new.surfaces, Verdict.NEEDS_ROUTER_UPDATE)
    if (old.engine, old.version, old.flags) != (new.engine, new.version, new.flags):
        yield _note(
            "engine-changed", "the engine, its version or its flags changed; earlier validation is void"
        )


def _lost(
    rule: str, what: str, old: Iterable[str], new: Iterable[str], verdict: Verdict
) -> Iterator[Finding]:
    kept = set(new)
    for name in old:
        if name not in kept:
            tool = name if what in ("tool", "alias") else ""
            message = f"{what} {name!r} was there before and is not any more"
            yield Finding(
                rule, verdict, message, f"Keep the {what}, or move everything that uses it first.", tool
            )


def _note(rule: str, message: str, tool: str = "") -> Finding:
    return Finding(rule, Verdict.COMPATIBLE, message, "Run the suites again before promoting.", tool=tool)


# ---------------------------------------------------------------------------------------- place by place


@dataclass(frozen=True)
class Change:
    """One place that differs. `at` names fields, and tools by their names; `how` is added, removed or changed."""

    at: tuple[str, ...]
    how: str
    before: Any = field(default=None, hash=False)
    after: Any = field(default=None, hash=False)

    def to_json(self) -> dict[str, Any]:
        """Return the place as a JSON pointer, and the values that there are."""
        pointer = "".join(f"/{step.replace('~', '~0').replace('/', '~1')}" for step in self.at)
        out: dict[str, Any] = {"at": pointer, "how": self.how}
        out |= {"before": self.before} if self.how != "added" else {}
        return out | ({"after": self.after} if self.how != "removed" else {})


@dataclass(frozen=True)
class Diff:
    """What a revision changes, and what that means for those who were prepared for the first document."""

    changes: tuple[Change, ...]
    comparison: Comparison

    def to_json(self) -> dict[str, Any]:
        """Return both readings."""
        return {"changes": [change.to_json() for change in self.changes], **self.comparison.to_json()}


def diff(old: Document, new: Document) -> Diff:
    """Return every place where `new` differs from `old`, in the order of names.

    Raises:
        NotComparable: documents of two kinds.
    """
    meaning = changes(old, new)
    return Diff(tuple(_places((), _by_name(old), _by_name(new))), meaning)


def _by_name(document: Document) -> dict[str, Any]:
    """The document with its tools under their names, so that their order is no change."""
    out = to_json(document)
    if "tools" in out:
        out["tools"] = {tool["name"]: {k: v for k, v in tool.items() if k != "name"} for tool in out["tools"]}
    return out


def _places(at: tuple[str, ...], old: Any, new: Any) -> Iterator[Change]:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for name in sorted({*old, *new}):
            if name not in new:
                yield Change((*at, name), "removed", before=old[name])
            elif name not in old:
                yield Change((*at, name), "added", after=new[name])
            else:
                yield from _places((*at, name), old[name], new[name])
    elif _words(old) and _words(new) and at[-1] != "flags":  # the order of flags means something
        yield from (Change(at, "removed", before=word) for word in old if word not in new)
        yield from (Change(at, "added", after=word) for word in new if word not in old)
    elif canonical_bytes(old) != canonical_bytes(new):
        yield Change(at, "changed", old, new)


def _words(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)
