"""Do a model's tool calls work behind this engine and this router: computed, not declared.

Every rule yields findings; the verdict is the worst of them. Arguments: the model produces, the router
consumes. Results: the router produces, the model's contract says what it expects. A finding says where, by
which rule, shows an example that was checked where there is one, and says what to do.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, ClassVar

from registry.contracts import Document, EngineProfile, RouterContract, Tool, ToolContract
from registry.inclusion import NotIncluded, clash, examine
from signing.errors import OperatorError


class Verdict(StrEnum):
    """From best to worst, in the order written here; only the first is a pass.

    `UNKNOWN` is worse than a needed router update, because nobody knows that a configuration mends it, and
    better than `INCOMPATIBLE`, so that a doubt never hides a certainty.
    """

    COMPATIBLE = "compatible"
    NEEDS_ROUTER_UPDATE = "needs-router-update"
    UNKNOWN = "unknown"
    INCOMPATIBLE = "incompatible"

    @property
    def severity(self) -> int:
        """0 for a pass, more for worse."""
        return list(Verdict).index(self)


@dataclass(frozen=True)
class Finding:
    """One thing that a rule found.

    `tool` is empty where no tool is concerned; `path` is a JSON pointer into that tool's schema on the
    producing side. `witness` is a checked example: `{"name", "arguments"}` or `{"name", "result"}`.
    """

    rule: str
    verdict: Verdict
    message: str
    next_step: str
    tool: str = ""
    path: str = ""
    witness: Mapping[str, Any] | None = field(default=None, hash=False)

    def to_json(self) -> dict[str, Any]:
        """Return text only, fit for canonical JSON: a witness with a fraction is kept as its JSON text."""
        witness = (
            None if self.witness is None else json.dumps(self.witness, sort_keys=True, ensure_ascii=False)
        )
        return {
            "rule": self.rule,
            "verdict": str(self.verdict),
            "tool": self.tool,
            "path": self.path,
            "message": self.message,
            "witness": witness,
            "next_step": self.next_step,
        }


@dataclass(frozen=True)
class Comparison:
    """What was found between documents; with no findings they fit."""

    findings: tuple[Finding, ...]

    @property
    def verdict(self) -> Verdict:
        """The worst of the findings."""
        found = (finding.verdict for finding in self.findings)
        return max(found, key=lambda verdict: verdict.severity, default=Verdict.COMPATIBLE)

    @property
    def passed(self) -> bool:
        """Whether the verdict is `COMPATIBLE`; notes may remain."""
        return self.verdict is Verdict.COMPATIBLE

    def require(self) -> None:
        """Raise `NotCompatible` unless this passed."""
        if not self.passed:
            raise NotCompatible(self)

    def to_json(self) -> dict[str, Any]:
        """Return the verdict and the findings, worst first as they stand, fit for canonical JSON."""
        return {"verdict": str(self.verdict), "findings": [finding.to_json() for finding in self.findings]}


class NotComparable(OperatorError):
    """Two documents between which there is no question to answer."""

    exit_code: ClassVar[int] = 44
    next_step: ClassVar[str] = (
        "Compare a tool contract with a router contract or an engine profile, or two documents of one kind."
    )

    def __init__(self, first: str, second: str) -> None:
        super().__init__(f"{first} and {second}: nothing to compare")
        self.first, self.second = first, second


class NotCompatible(OperatorError):
    """A comparison that was required to pass and did not."""

    exit_code: ClassVar[int] = 80
    next_step: ClassVar[str] = "Do what the findings say, router or engine profile first, then compare again."

    def __init__(self, comparison: Comparison) -> None:
        worst = comparison.findings[0]
        more = len([finding for finding in comparison.findings if finding.verdict.severity]) - 1
        also = f" (and {more} more)" if more else ""
        where = f"{worst.tool}{worst.path}: " if worst.tool else ""
        super().__init__(f"{comparison.verdict}: {where}{worst.message}{also}")
        self.comparison = comparison


def compare(contract: ToolContract, router: RouterContract, profile: EngineProfile | None) -> Comparison:
    """Say whether a version with this contract may serve behind this router, on an engine set up by `profile`.

    Without a profile nobody knows whether calls are parsed: at best `UNKNOWN`.
    What each rule yields stands in `tests/registry/test_compatibility.py`, one case per rule.
    """
    return _comparison(
        (*_emission(contract, router), *_serving(contract, profile, router), *_needs(contract, router)),
        _tools(contract, router),
    )


def compare_documents(first: Document, second: Document, profile: EngineProfile | None = None) -> Comparison:
    """Compare whatever two documents somebody names.

    Two of one kind: what changed from `first` to `second`, for those who were prepared for `first`. A tool
    contract with a router contract or an engine profile, in either order: whether they fit.

    Raises:
        NotComparable: an engine profile with a router contract.
    """
    pair = (first, second) if isinstance(first, ToolContract) else (second, first)
    if type(first) is type(second):
        return changes(first, second)
    if isinstance(pair[0], ToolContract) and isinstance(pair[1], RouterContract):
        return compare(pair[0], pair[1], profile)
    if isinstance(pair[0], ToolContract) and isinstance(pair[1], EngineProfile):
        return _comparison(_serving(pair[0], pair[1], None))
    raise NotComparable(first.format, second.format)


def changes(old: Document, new: Document) -> Comparison:
    """Say what a new document means for those who were prepared for the old one.

    For a tool contract that is a router made for the old version; for a router contract or an engine profile,
    the versions served with it.

    Raises:
        NotComparable: documents of two kinds.
    """
    if isinstance(old, ToolContract) and isinstance(new, ToolContract):
        return _comparison(_contract_changes(old, new))
    if isinstance(old, RouterContract) and isinstance(new, RouterContract):
        return _comparison(_router_changes(old, new))
    if isinstance(old, EngineProfile) and isinstance(new, EngineProfile):
        return _comparison(_profile_changes(old, new))
    raise NotComparable(old.format, new.format)


def _comparison(*parts: Iterable[Finding]) -> Comparison:
    found = [finding for part in parts for finding in part]
    return Comparison(tuple(sorted(found, key=lambda finding: -finding.verdict.severity)))


# ------------------------------------------------------------------------------------ a model and its place


def _emission(contract: ToolContract, router: RouterContract) -> Iterator[Finding]:
    family = contract.emission.family
    if family not in router.accepts:
        yield Finding(
            "emission-not-accepted",
            Verdict.NEEDS_ROUTER_UPDATE,
            f"calls are written as {family!r}; router {router.name!r} is prepared for {_listed(router.accepts)}",
            f"Add {family!r} to `accepts` of router contract {router.name!r} once its engine profile parses it.",
        )


def _serving(
    contract: ToolContract, profile: EngineProfile | None, router: RouterContract | None
) -> Iterator[Finding]:
    family = contract.emission.family
    if profile is None:
        yield Finding(
            "engine-profile-missing",
            Verdict.UNKNOWN,
            f"no engine profile was given, so nobody knows whether calls written as {family!r} are parsed",
            "Name the engine profile that the version will be served with.",
        )
        return
    if family not in profile.parses:
        yield Finding(
            "emission-not-parsed",
            Verdict.NEEDS_ROUTER_UPDATE,
            f"calls are written as {family!r}; engine profile {profile.name!r} parses {_listed(profile.parses)}, "
            "so they would arrive as plain text with status 200",
            _parser_advice(profile, family),
        )
    for surface in router.surfaces if router else contract.surfaces:
        if surface not in profile.surfaces:
            yield Finding(
                "surface-not-served",
                Verdict.NEEDS_ROUTER_UPDATE,
                f"surface {surface!r} is not served by engine profile {profile.name!r}",
                f"Set {profile.engine} up to serve {surface!r} and add a new engine profile that says so.",
            )


def _parser_advice(profile: EngineProfile, family: str) -> str:
    """Name the flag to change where the profile has one; the names of parsers change with every release."""
    flags = " ".join(flag for flag in _parser_flags(profile.flags))
    change = (
        f"Change `{flags}` of engine profile {profile.name!r} to the parser of {profile.engine} {profile.version} "
        f"that reads {family!r}"
        if flags
        else f"Set {profile.engine} {profile.version} of engine profile {profile.name!r} up to read {family!r}"
    )
    return f"{change}, and add it as a new engine profile with {family!r} in `parses`."


def _parser_flags(flags: tuple[str, ...]) -> Iterator[str]:
    for place, flag in enumerate(flags):
        if flag.startswith("-") and "parser" in flag and "reasoning" not in flag:
            yield flag
            apart = place + 1 < len(flags) and not flags[place + 1].startswith("-")
            if apart and "=" not in flag and " " not in flag:
                yield flags[place + 1]


def _needs(contract: ToolContract, router: RouterContract) -> Iterator[Finding]:
    for surface in router.surfaces:
        if surface not in contract.surfaces:
            yield Finding(
                "surface-missing",
                Verdict.INCOMPATIBLE,
                f"router {router.name!r} needs surface {surface!r}; the version offers {_listed(contract.surfaces)}",
                "Choose a version whose tool contract offers this surface.",
            )
    if contract.context < router.min_context:
        yield Finding(
            "context-too-small",
            Verdict.INCOMPATIBLE,
            f"context of {contract.context} tokens; router {router.name!r} needs {router.min_context}",
            "Choose a version with a larger context, or a router contract made for a smaller one.",
        )


def _tools(contract: ToolContract, router: RouterContract) -> Iterator[Finding]:
    emitted = {tool.name: tool for tool in contract.tools}
    answered = {tool.name: tool for tool in router.tools}
    for name in router.required:
        if name not in emitted:
            yield Finding(
                "required-tool-missing",
                Verdict.INCOMPATIBLE,
                f"router {router.name!r} requires this tool and the version does not know it",
                "Choose a version that knows the tool; no configuration teaches it.",
                tool=name,
            )
    for name, tool in emitted.items():
        if name not in answered:
            yield Finding(
                "tool-not-routed",
                Verdict.NEEDS_ROUTER_UPDATE,
                f"the version may call this tool and router {router.name!r} has none of that name",
                f"Add the tool {name!r} to router contract {router.name!r}, and to the router.",
                tool=name,
            )
        else:
            yield from _arguments(tool, answered[name], f"router contract {router.name!r}")
            yield from _results(answered[name], tool, "the tool contract")


def _arguments(producer: Tool, consumer: Tool, who: str) -> Iterator[Finding]:
    """Everything the model may write as arguments must be accepted."""
    mend = f"Widen `input` of {producer.name!r} in {who} at this place, in the router first."
    yield from _inclusion("arguments", _object(producer.input), _object(consumer.input), producer.name, mend)


def _results(producer: Tool, consumer: Tool, who: str) -> Iterator[Finding]:
    """Everything the tool may answer must be what the model was told to expect."""
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
        mend = f"Make the tool {producer.name!r} answer only what {who} declares."
        yield from _inclusion("results", producer.output, consumer.output, producer.name, mend)


def _inclusion(
    what: str, producer: Mapping[str, Any], consumer: Mapping[str, Any], tool: str, mend: str
) -> Iterator[Finding]:
    """Turn the problems of one pair of schemas into findings; what can never fit is said once and first."""
    problems = examine(producer, consumer)
    key = "result" if what == "results" else what
    never = clash(producer, consumer) if problems else None
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


def _listed(names: Iterable[str]) -> str:
    return ", ".join(repr(name) for name in names) or "none"


# ------------------------------------------------------------------------------------------- old and new


def _contract_changes(old: ToolContract, new: ToolContract) -> Iterator[Finding]:
    if old.emission.family != new.emission.family:
        yield Finding(
            "emission-changed",
            Verdict.NEEDS_ROUTER_UPDATE,
            f"calls were written as {old.emission.family!r} and are now written as {new.emission.family!r}",
            f"Serve it with an engine profile that parses {new.emission.family!r}, and a router prepared for it.",
        )
    elif old.emission.template_sha256 != new.emission.template_sha256:
        yield _note("template-changed", "the chat template changed; behaviour may shift")
    yield from _lost("surface-removed", "surface", old.surfaces, new.surfaces, Verdict.INCOMPATIBLE)
    if new.context < old.context:
        smaller = f"context went from {old.context} to {new.context} tokens; whether a router needs more is not known"
        advice = "Compare with the tier's router contract, which names its least context."
        yield Finding("context-reduced", Verdict.UNKNOWN, smaller, advice)
    before, after = ({tool.name: tool for tool in contract.tools} for contract in (old, new))
    yield from _lost("tool-removed", "tool", before, after, Verdict.INCOMPATIBLE)
    for name, tool in after.items():
        if name not in before:
            grown, advice = (
                "the model may call this tool, which it did not know before",
                "Add it to the router first.",
            )
            yield Finding("tool-added", Verdict.NEEDS_ROUTER_UPDATE, grown, advice, tool=name)
            continue
        yield from _arguments(tool, before[name], "a router contract made for the old one")
        yield from _results(before[name], tool, "the new tool contract")
        if tool.description != before[name].description:
            yield _note("description-changed", "the description changed; behaviour may shift", tool=name)


def _router_changes(old: RouterContract, new: RouterContract) -> Iterator[Finding]:
    update = Verdict.NEEDS_ROUTER_UPDATE
    yield from _lost("family-removed", "family", old.accepts, new.accepts, update)
    before, after = ({tool.name: tool for tool in contract.tools} for contract in (old, new))
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
    )
    for demand in demands:
        yield Finding("demand-added", Verdict.UNKNOWN, demand, advice)
    for name in sorted(before.keys() & after.keys()):
        yield from _arguments(before[name], after[name], f"router contract {new.name!r}")
        yield from _results(after[name], before[name], "the old router contract")


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
            tool = name if what == "tool" else ""
            message = f"{what} {name!r} was there before and is not any more"
            yield Finding(
                rule, verdict, message, f"Keep the {what}, or move everything that uses it first.", tool
            )


def _note(rule: str, message: str, tool: str = "") -> Finding:
    return Finding(rule, Verdict.COMPATIBLE, message, "Run the suites again before promoting.", tool=tool)
