"""Serving: emission, parser, surfaces, roles, context. What needs no schema, only what three documents say.

A demand is met when nobody says no and somebody says yes; nobody's word is unknown, and unknown is no pass.
"""

from collections.abc import Iterator, Mapping

from registry.contracts import EngineProfile, RouterContract, SurfaceFacts, ToolContract
from registry.strict_form import departures
from registry.verdicts import Finding, Verdict, listed


def emission(contract: ToolContract, router: RouterContract) -> Iterator[Finding]:
    """The router is prepared for this way of writing calls."""
    family = contract.emission.family
    if family not in router.accepts:
        yield Finding(
            "emission-not-accepted",
            Verdict.NEEDS_ROUTER_UPDATE,
            f"calls are written as {family!r}; router {router.name!r} is prepared for {listed(router.accepts)}",
            f"Add {family!r} to `accepts` of router contract {router.name!r} once its engine profile parses it.",
        )


def serving(
    contract: ToolContract, profile: EngineProfile | None, router: RouterContract | None
) -> Iterator[Finding]:
    """The engine, set up so, parses the calls and serves the surfaces."""
    family = contract.emission.family
    if profile is None:
        yield Finding(
            "engine-profile-missing",
            Verdict.UNKNOWN,
            f"no engine profile was given, so nobody knows whether calls written as {family!r} are parsed",
            "Name the engine profile that the version will be served with (`--engine PROFILE`).",
        )
        return
    needed, named = contract.emission.parsers.get(profile.engine), parser_named(profile.flags)
    if family not in profile.parses:
        yield Finding(
            "emission-not-parsed",
            Verdict.NEEDS_ROUTER_UPDATE,
            f"calls are written as {family!r}; engine profile {profile.name!r} parses {listed(profile.parses)}, "
            "so they would arrive as plain text with status 200",
            _parser_advice(profile, family, needed),
        )
    elif needed is not None and named not in (None, needed):
        yield Finding(
            "parser-differs",
            Verdict.NEEDS_ROUTER_UPDATE,
            f"the tool contract needs parser {needed!r} of {profile.engine}; engine profile {profile.name!r} runs {named!r}",
            _parser_advice(profile, family, needed),
        )
    for surface in router.surfaces if router else contract.surfaces:
        if surface not in profile.surfaces:
            yield Finding(
                "surface-not-served",
                Verdict.NEEDS_ROUTER_UPDATE,
                f"surface {surface!r} is not served by engine profile {profile.name!r}",
                f"Set {profile.engine} up to serve {surface!r} and add a new engine profile that says so.",
            )


def _parser_advice(profile: EngineProfile, family: str, needed: str | None) -> str:
    """Name the flag to change where the profile has one, and its new value where the tool contract knows it."""
    flags = " ".join(profile.flags[place] for place in _parser_places(profile.flags))
    parser = f"`{needed}`" if needed else "the parser"
    change = (
        f"Change `{flags}` of engine profile {profile.name!r} to {parser} of {profile.engine} {profile.version} "
        f"that reads {family!r}"
        if flags
        else f"Set {profile.engine} {profile.version} of engine profile {profile.name!r} up to read {family!r}"
    )
    return f"{change}, and add it as a new engine profile with {family!r} in `parses`."


def parser_named(flags: tuple[str, ...]) -> str | None:
    """The tool-call parser that an engine's flags name, if they name one."""
    places = list(_parser_places(flags))
    if not places:
        return None
    if len(places) > 1:
        return flags[places[1]]
    text = flags[places[0]]
    for mark in ("=", " "):
        if mark in text:
            return text.partition(mark)[2].strip() or None
    return None


def with_parser(flags: tuple[str, ...], parser: str) -> tuple[str, ...]:
    """The same flags with another tool-call parser; flags that name none stay as they are."""
    places, out = list(_parser_places(flags)), list(flags)
    if len(places) > 1:
        out[places[1]] = parser
    elif places and parser_named(flags) is not None:
        mark = "=" if "=" in out[places[0]] else " "
        out[places[0]] = f"{out[places[0]].partition(mark)[0]}{mark}{parser}"
    return tuple(out)


def _parser_places(flags: tuple[str, ...]) -> Iterator[int]:
    """Where the first flag about a tool parser stands, and its value when that stands apart."""
    for place, flag in enumerate(flags):
        name = flag.partition("=")[0]
        if name.startswith("-") and "parser" in name and "reasoning" not in name and "plugin" not in name:
            yield place
            apart = place + 1 < len(flags) and not flags[place + 1].startswith("-")
            if apart and "=" not in flag and " " not in flag:
                yield place + 1
            return


def needs(contract: ToolContract, router: RouterContract) -> Iterator[Finding]:
    """What the router cannot do without and no configuration brings."""
    for surface in router.surfaces:
        if surface not in contract.surfaces:
            yield Finding(
                "surface-missing",
                Verdict.INCOMPATIBLE,
                f"router {router.name!r} needs surface {surface!r}; the version offers {listed(contract.surfaces)}",
                "Choose a version whose tool contract offers this surface.",
            )
    if contract.context < router.min_context:
        yield Finding(
            "context-too-small",
            Verdict.INCOMPATIBLE,
            f"context of {contract.context} tokens; router {router.name!r} needs {router.min_context}",
            "Choose a version with a larger context, or a router contract made for a smaller one.",
        )


def roles(contract: ToolContract, router: RouterContract) -> Iterator[Finding]:
    """The template takes every role that the router's clients write in; one that it drops is dropped silently."""
    taken = contract.emission.roles
    for role in router.roles or ():
        if taken is None:
            yield Finding(
                "roles-unknown",
                Verdict.UNKNOWN,
                f"router {router.name!r} sends messages of role {role!r}, and the tool contract names no roles",
                "Make the tool contract anew from the version's template: `tidegate contracts derive REF --tools FILE`.",
            )
        elif role not in taken:
            yield Finding(
                "role-not-taken",
                Verdict.NEEDS_ROUTER_UPDATE,
                f"router {router.name!r} sends messages of role {role!r}; the chat template takes {listed(taken)}",
                f"Have the router write such messages in a role that the template takes, and take {role!r} out of "
                f"`roles` of router contract {router.name!r}.",
            )


Want = tuple[str, str]  # (surface, what is used): ("chat", "parallel"), ("chat", "tool_choice named")


def wants(surface: Mapping[str, SurfaceFacts]) -> Iterator[Want]:
    """What is used of each surface; a `false` is no demand."""
    for name, facts in surface.items():
        yield from ((name, what) for what in ("streaming", "parallel", "strict") if getattr(facts, what))
        yield from ((name, f"tool_choice {choice}") for choice in facts.tool_choice or ())


def offers(surface: Mapping[str, SurfaceFacts], want: Want) -> bool | None:
    """Whether that is said to be done; None: nothing was said about it."""
    facts = surface.get(want[0])
    if facts is None:
        return None
    word, _, choice = want[1].partition(" ")
    if choice:
        return None if facts.tool_choice is None else choice in facts.tool_choice
    said: bool | None = getattr(facts, word)
    return said


def surface_facts(
    contract: ToolContract, router: RouterContract, profile: EngineProfile | None
) -> Iterator[Finding]:
    """Parallel calls, streaming, named choices: what the router's clients use, the version and its engine do."""
    for want in wants(router.surface):
        surface, what = want
        model, engine = offers(contract.surface, want), offers(profile.surface, want) if profile else None
        if model is False:
            yield Finding(
                "surface-fact-refused",
                Verdict.INCOMPATIBLE,
                f"router {router.name!r} uses {what} over {surface!r}; the tool contract says that the version does not",
                "Choose a version that does, or a router contract whose clients do without.",
            )
        elif profile is not None and engine is False:
            yield Finding(
                "surface-fact-not-served",
                Verdict.NEEDS_ROUTER_UPDATE,
                f"router {router.name!r} uses {what} over {surface!r}; engine profile {profile.name!r} says that the "
                "engine does not",
                f"Set {profile.engine} up so that it does and add a new engine profile that says so, or take it out of "
                f"`surface` of router contract {router.name!r}.",
            )
        elif model is None and engine is None:
            yield Finding(
                "surface-fact-unknown",
                Verdict.UNKNOWN,
                f"router {router.name!r} uses {what} over {surface!r}, and neither the tool contract nor the engine "
                "profile says whether that works",
                "Run the contract suite, then state what it shows under `surface` of the engine profile.",
            )


def strict_form(contract: ToolContract, router: RouterContract | None) -> Iterator[Finding]:
    """Whoever says `strict` of a surface has tools written so that strict mode takes them."""
    sides: list[tuple[ToolContract | RouterContract, str]] = [(contract, "the tool contract")]
    sides += [(router, f"router contract {router.name!r}")] if router is not None else []
    for document, who in sides:
        surfaces = [name for name, facts in document.surface.items() if facts.strict]
        for tool in document.tools if surfaces else ():
            for departure in departures(tool.input):
                yield Finding(
                    "strict-form-refused" if departure.known else "strict-form-unknown",
                    Verdict.NEEDS_ROUTER_UPDATE if departure.known else Verdict.UNKNOWN,
                    f"{who} says `strict` of {listed(surfaces)}, and strict mode does not take `input` of this tool: "
                    f"{departure.problem} ({departure.rule})",
                    f"Write `input` of {tool.name!r} in strict form at this place in {who} (every object with "
                    "`additionalProperties` false and every property required; an optional one may be null), or take "
                    "`strict` out of its `surface`.",
                    tool.name,
                    departure.path,
                )
