"""Makes a tool contract out of what a version's own files say and the tools that it will be given.

How calls are written is read off the chat template (`pipelines.wire`), the context off the scan. What neither says, a
person has to; what a person says against the template is refused, because the contract would describe another model.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from pipelines.errors import JudgingRefused
from pipelines.intake.record import read_scan_report
from pipelines.wire.held import TemplateUnusable, rendered
from pipelines.workplace import Workplace
from registry import manifests
from registry.contracts import SURFACES, Emission, SurfaceFacts, Tool, ToolContract, encode, from_json_text
from registry.entities import Version
from registry.names import Ref
from registry.template_rules import WireDigests
from registry.views import View


class ContractUnfounded(JudgingRefused):
    """A tool contract that would say what nobody knows, or what the version's own files deny."""

    exit_code: ClassVar[int] = 203
    next_step: ClassVar[str] = (
        "Say what is missing with `--family`, `--context` or `--name`, as the model's publisher states it, or leave "
        "out what contradicts the chat template."
    )

    def __init__(self, what: str, problem: str) -> None:
        super().__init__(f"{what}: {problem}")
        self.what, self.problem = what, problem


@dataclass(frozen=True)
class Said:
    """What a person says about a tool contract to be made; None: the version's files are asked."""

    tools: Sequence[Tool]
    name: str | None = None
    family: str | None = None
    context: int | None = None  # tokens
    surfaces: Sequence[str] = SURFACES
    parsers: Mapping[str, str] = field(default_factory=dict)  # by engine


def written_down(said: Said) -> ToolContract:
    """Make a contract of a person's word alone.

    Raises:
        ContractUnfounded: family, context or name are not said.
        MalformedContract: one of them is not written as a contract writes it.
    """
    if said.family is None or said.context is None or said.name is None:
        missing = "family" if said.family is None else "context" if said.context is None else "name"
        raise ContractUnfounded(missing, "not stated, and no version was named whose files could say")
    emission = Emission(said.family, parsers=dict(said.parsers))
    return _checked(ToolContract(said.name, emission, tuple(said.surfaces), tuple(said.tools), said.context))


def derived(work: Workplace, view: View, ref: Ref, said: Said) -> ToolContract:
    """Make the contract of a held version.

    Raises:
        NotFound: no such version.
        TemplateUnusable: it has no chat template, or one that cannot be rendered or writes no call.
        ContractUnfounded: what is said is not what the template writes, or nobody says it.
    """
    version = view.version(ref)
    wire = rendered(work.blobs, manifests.decode(version.manifest.encode()))
    if wire is None:
        raise TemplateUnusable(str(ref), "no file of it holds a chat template")
    if wire.problem is not None:
        raise TemplateUnusable(str(ref), wire.problem)
    if wire.call_sha256 is None or not wire.tools:
        raise TemplateUnusable(str(ref), "its chat template shows the model no tools, or writes no calls")
    family = _family(said, wire)
    context = said.context or _context(view, version)
    if context is None:
        raise ContractUnfounded("context", "neither config.json nor the GGUF header states it")
    emission = Emission(
        family,
        template_sha256=wire.template_sha256,
        wire_sha256=wire.wire_sha256,
        call_sha256=wire.call_sha256,
        roles=wire.roles,
        parsers=dict(said.parsers),
    )
    name = said.name or f"{version.model.rpartition('/')[2]}-{family}"
    surface = {} if wire.parallel else {surface: SurfaceFacts(parallel=False) for surface in said.surfaces}
    return _checked(
        ToolContract(name, emission, tuple(said.surfaces), tuple(said.tools), context, surface=surface)
    )


def _family(said: Said, wire: WireDigests) -> str:
    if wire.family is None:
        if said.family is None:
            raise ContractUnfounded("family", "the template's calls have the marks of no known family")
        return said.family
    if said.family not in (None, wire.family):
        raise ContractUnfounded(
            "family", f"{said.family!r} was stated; the chat template writes {wire.family!r}"
        )
    return wire.family


def _context(view: View, version: Version) -> int | None:
    scans = view.reports(version.digest, "scan")
    return read_scan_report(scans[-1]).facts.context_length if scans else None


def _checked(contract: ToolContract) -> ToolContract:
    """Read it back as strictly as somebody else's: names and counts came from a command line."""
    again = from_json_text(encode(contract))
    assert isinstance(again, ToolContract)
    return again
