"""Does a version fit what a tier runs: its memory, its engine's release, its router, and the way back from it."""

from typing import TypeVar

from pipelines import template_served
from pipelines.wire.held import rendered
from pipelines.workplace import Workplace
from registry import contracts, manifests, policy
from registry.compatibility import Comparison, compare
from registry.entities import Document, RouterSetting, Version
from registry.errors import NotFound
from registry.gate_facts import ContractFact, EngineFact, MemoryFact
from registry.router_patch import patch_for
from registry.views import View

T = TypeVar("T")
_UNKNOWN = ContractFact("unknown", (), (), ())


def memory_fact(
    work: Workplace,
    view: View,
    manifest: manifests.Manifest,
    rules: policy.Policy,
    setting: RouterSetting | None,
) -> MemoryFact | None:
    """What weights and cache take, where the tier promises a context."""
    from pipelines.engines.footprint import needed  # noqa: PLC0415 - reads headers; most tiers promise nothing

    if rules.context is None or rules.max_bytes is None:
        return None
    if setting is None:
        return MemoryFact(None, "nobody has said what the tier runs")
    found = needed(
        manifest,
        lambda entry: work.blobs.open(entry.sha256),
        context=rules.context,
        profile=_read(view, setting.profile, contracts.EngineProfile),
        concurrency=rules.concurrency,
    )
    return MemoryFact(found.total, "; ".join(found.how))


def engine_fact(view: View, setting: RouterSetting | None) -> EngineFact | None:
    from pipelines.advising import in_force  # noqa: PLC0415 - the drivers' house, for this one table
    from pipelines.engines import advisories  # noqa: PLC0415

    if setting is None:
        return None
    profile = _read(view, setting.profile, contracts.EngineProfile)
    named = {
        row.digest: [hit.advisory for hit in advisories.hits([found], profile.engine, profile.version)]
        for row, found in in_force(view)
    }
    return EngineFact(
        profile.engine,
        profile.version,
        tuple(
            dict.fromkeys(
                (entry.id, entry.severity, entry.title) for hits in named.values() for entry in hits
            )
        ),
        (setting.profile, *(digest for digest, hits in named.items() if hits)),
    )


def contract_fact(
    work: Workplace,
    view: View,
    version: Version,
    contract: str | None,
    setting: RouterSetting | None,
    *,
    companions: str | None,
) -> ContractFact:
    """What the contract gate says of a version that is served with these companions (digest)."""
    if contract is None:
        step = "Bind one at the origin or here: `tidegate contracts add FILE --for REF`."
        return ContractFact("unknown", ("the version has no tool contract",), (step,), ())
    if setting is None:
        step = "Say what the tier runs: `tidegate contracts set-router TIER ROUTER --engine PROFILE`."
        return ContractFact("unknown", ("the tier has no router contract",), (step,), (contract,))
    return _compared(work, view, version, contract, setting, companions=companions)


def way_back(
    work: Workplace, view: View, version: Version, tier: str, setting: RouterSetting | None
) -> ContractFact | None:
    pinned = view.pin(tier, version.model)
    if pinned is None or pinned.version == version.digest:
        return None
    held = view.version_by_digest(pinned.version)
    if setting is None or pinned.contract is None or held is None:
        return _UNKNOWN
    return _compared(work, view, held, pinned.contract, setting, companions=pinned.companions)


def _compared(
    work: Workplace,
    view: View,
    version: Version,
    contract: str,
    setting: RouterSetting,
    *,
    companions: str | None,
) -> ContractFact:
    """What a version's contract and the chat template that it is served with say, held against what the tier runs."""
    documents = (
        _read(view, contract, contracts.ToolContract),
        _read(view, setting.router, contracts.RouterContract),
        _read(view, setting.profile, contracts.EngineProfile),
    )
    template = template_served.brought(view, companions)
    wire = rendered(work.blobs, manifests.decode(version.manifest.encode()), template=template)
    found: Comparison = compare(*documents, wire=wire)
    steps = [item.next_step for item in found.against if item.next_step]
    patch = patch_for(*documents, wire=wire) if found.against else None
    if patch is not None:  # says all of it in one
        command = f"tidegate contracts patch {version.model}@{version.ordinal} --tier {setting.tier}"
        steps = [f"Change {patch.summary}. `{command}` writes it out."]
    return ContractFact(
        str(found.verdict),
        tuple(item.message for item in found.against),
        tuple(dict.fromkeys(steps)),
        (contract, setting.router, setting.profile),
    )


def _read(view: View, digest: str, kind: type[T]) -> T:
    row: Document | None = view.document_by_digest(digest)
    if row is None:
        raise NotFound("document", digest)
    document = contracts.decode_document(row.body.encode())
    if not isinstance(document, kind):
        raise NotFound(kind.__name__, digest)
    return document
