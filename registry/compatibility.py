"""Do a model's tool calls work behind this engine and this router: computed, not declared.

Every rule yields findings; the verdict is the worst of them. Arguments: the model produces, the router
consumes. Results: the router produces, the model's contract says what it expects. A finding says where, by
which rule, shows an example that was checked where there is one, and says what to do.

The rules: `registry.surface_rules` (how calls are written, parsed and served), `registry.tool_rules` (schemas),
`registry.template_rules` (is the contract still about this version).
"""

from registry import surface_rules, template_rules, tool_rules
from registry.contract_diff import changes
from registry.contracts import Document, EngineProfile, RouterContract, ToolContract
from registry.template_rules import WireDigests
from registry.verdicts import Comparison, Finding, NotComparable, NotCompatible, Verdict, worst_first

__all__ = [
    "Comparison",
    "Finding",
    "NotComparable",
    "NotCompatible",
    "Verdict",
    "changes",
    "compare",
    "compare_documents",
]


def compare(
    contract: ToolContract,
    router: RouterContract,
    profile: EngineProfile | None,
    *,
    wire: WireDigests | None = None,
) -> Comparison:
    """Say whether a version with this contract may serve behind this router, on an engine set up by `profile`.

    Without a profile nobody knows whether calls are parsed: at best `UNKNOWN`.
    What each rule yields stands in `tests/registry/test_compatibility.py`, one case per rule.

    Args:
        wire: what the version's own chat template renders (`pipelines.wire`). None: that was not looked at.
    """
    return worst_first(
        surface_rules.emission(contract, router),
        surface_rules.serving(contract, profile, router),
        surface_rules.needs(contract, router),
        surface_rules.roles(contract, router),
        surface_rules.surface_facts(contract, router, profile),
        surface_rules.strict_form(contract, router),
        template_rules.template(contract, wire) if wire is not None else (),
        tool_rules.tools(contract, router),
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
        return worst_first(
            surface_rules.serving(pair[0], pair[1], None), surface_rules.strict_form(pair[0], None)
        )
    raise NotComparable(first.format, second.format)
