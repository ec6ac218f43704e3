"""Does a tool contract still describe the version: what its chat template renders, against what the contract says.

The facts are found by `pipelines.wire`; here they are only compared.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from registry.contracts import ToolContract
from registry.verdicts import Finding, Verdict

_DERIVE = "Make the tool contract anew from the version's own template: `tidegate contracts derive REF --tools FILE`."


@dataclass(frozen=True)
class WireDigests:
    """What a chat template renders for one fixed dialogue.

    `wire_sha256` is of the whole text, `call_sha256` of the part that is a call, `family` the one family of wire
    formats whose marks stand in it; None where it could not be told. `roles`: those whose words reach the text.
    `tools`: the tool that was offered stands in the text; `parallel`: two calls of one answer do. `variant` names how
    much of the dialogue the template takes. With a `problem` everything else is unknown.
    """

    wire_sha256: str | None = None
    call_sha256: str | None = None
    family: str | None = None
    roles: tuple[str, ...] = ()
    problem: str | None = None
    template_sha256: str | None = None
    tools: bool = False
    parallel: bool = False
    variant: str | None = None


def template(contract: ToolContract, wire: WireDigests) -> Iterator[Finding]:
    """What was compared must be what this version's template renders."""
    said = contract.emission
    if wire.problem is not None:
        yield Finding(
            "template-not-rendered",
            Verdict.UNKNOWN,
            f"the chat template cannot be rendered, so nobody knows what the version emits: {wire.problem}",
            "Choose a version with a chat template that renders, or have its publisher mend it.",
        )
        return
    if contract.tools and not wire.tools:
        yield Finding(
            "template-without-tools",
            Verdict.INCOMPATIBLE,
            "the chat template does not show the model the tools that it is offered",
            "Choose a version whose template renders tools; no configuration of the router mends it.",
        )
    # Whoever states the digest of these very calls has looked at them, and may call them what they like.
    described = said.call_sha256 is not None and said.call_sha256 == wire.call_sha256
    if not described and wire.family is not None and wire.family != said.family:
        yield Finding(
            "family-contradicted",
            Verdict.UNKNOWN,
            f"the tool contract says that calls are written as {said.family!r}; the chat template writes {wire.family!r}",
            _DERIVE,
        )
    elif said.call_sha256 is not None and said.call_sha256 != wire.call_sha256:
        yield Finding(
            "calls-not-described",
            Verdict.UNKNOWN,
            "the chat template writes calls with other characters than the tool contract was made for, so it does "
            "not describe this version",
            _DERIVE,
        )
    elif said.wire_sha256 is not None and said.wire_sha256 != wire.wire_sha256:
        yield Finding(
            "prompt-not-described",
            Verdict.UNKNOWN,
            "the chat template writes calls as the tool contract says and the dialogue around them otherwise, so the "
            "contract was made for another template",
            _DERIVE,
        )
    if any(facts.parallel for facts in contract.surface.values()) and not wire.parallel:
        yield Finding(
            "parallel-not-rendered",
            Verdict.UNKNOWN,
            "the tool contract says that several calls come in one answer; the chat template does not write two",
            _DERIVE,
        )
