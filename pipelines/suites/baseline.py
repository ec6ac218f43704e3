"""The version to compare with: what the tier serves now, measured beside the candidate, and only if that is proven.

An engine under the wanted address proves nothing. It counts as the baseline when the files that it has loaded
were hashed and are the pinned version's, and it renders the pinned chat template: made worse by another one, it would
let any candidate look as good. Else everything that compares is INCONCLUSIVE, and says why.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from pipelines import template_served
from pipelines.engines.endpoint import Endpoint
from pipelines.engines.fingerprint import Fingerprint
from pipelines.suites.judged import MEASURED, NOT_MEASURED, NOTHING_TO_COMPARE, Comparison
from pipelines.suites.look import Looked, changed, look
from pipelines.suites.plan import BASELINE, Side
from pipelines.workplace import Workplace
from registry.contracts import EngineProfile, decode_document
from registry.entities import Version
from registry.manifests import decode
from registry.views import View


@dataclass(frozen=True)
class Pinned:
    """What a tier serves of a model: the version, and the engine profile that it was promoted with."""

    version: Version
    profile: EngineProfile | None
    templates: frozenset[str] | None = None  # how an engine may show the chat template that it is served with


@dataclass(frozen=True)
class Baseline:
    """The pinned version in this run. `looked` is None where no engine was named for it."""

    comparison: Comparison
    version: Version | None = None
    looked: Looked | None = None

    @property
    def side(self) -> Side | None:
        """Whom to ask beside the candidate; None if nobody counts."""
        if self.looked is None or self.comparison.state != MEASURED:
            return None
        return Side(BASELINE, str(self.looked.endpoint), self.looked.model)


def pinned(work: Workplace, view: View, tier: str | None, version: Version) -> Pinned | str:
    """Return what the tier serves beside `version`, or in words why there is nothing to compare with."""
    if tier is None:
        return "the run was made for no tier"
    pin = view.pin(tier, version.model)
    if pin is None:
        return f"{tier} serves no version of {version.model} yet"
    if pin.version == version.digest:
        return f"{tier} serves this very version"
    held = view.version_by_digest(pin.version)
    document = view.document_by_digest(pin.profile) if pin.profile else None
    if held is None:
        return f"{tier} serves a version that is not recorded here"
    profile = decode_document(document.body.encode()) if document else None
    template = template_served.brought(view, pin.companions)
    return Pinned(
        held,
        profile if isinstance(profile, EngineProfile) else None,
        template_served.shown_as(work, decode(held.manifest.encode()), template),
    )


def find_baseline(
    found: Pinned | str,
    endpoint: str | None,
    *,
    seconds: int,
    model_name: str | None,
    fingerprint: Fingerprint | None = None,
) -> Baseline:
    """Look at the engine that is said to serve the pinned version.

    Args:
        found: from `pinned`.
        endpoint: its address; None if nobody named one.
        seconds: for one request.

    Raises:
        EndpointUnusable: an address that we do not speak to.
    """
    where = None if endpoint is None else Endpoint.parse(endpoint)
    if isinstance(found, str):
        return Baseline(Comparison(NOTHING_TO_COMPARE, found))
    name = f"{found.version.model}@{found.version.ordinal}"
    if where is None:
        why = f"{name} is pinned and was not served beside it; name its engine with --baseline-endpoint"
        return Baseline(Comparison(NOT_MEASURED, why), found.version)
    looked = look(
        where,
        decode(found.version.manifest.encode()),
        found.profile,
        seconds=seconds,
        model_name=model_name,
        fingerprint=fingerprint,
    )
    if looked.doubts:
        return Baseline(
            Comparison(NOT_MEASURED, f"the engine of {name}: {'; '.join(looked.doubts)}"),
            found.version,
            looked,
        )
    shown = looked.engine.template_sha256 if looked.engine else None
    if shown is not None and found.templates is not None and shown not in found.templates:
        why = f"the engine of {name} renders another chat template than the one that is pinned"
        return Baseline(Comparison(NOT_MEASURED, why), found.version, looked)
    if not looked.served.proven:
        why = f"nothing proves that {where} serves {name}: {looked.served.why}"
        return Baseline(Comparison(NOT_MEASURED, why), found.version, looked)
    return Baseline(Comparison(MEASURED, f"compared with {name}"), found.version, looked)


def changed_baseline(before: Baseline, *, seconds: int, model_name: str | None) -> Sequence[str]:
    """Look at the pinned version's engine again after the run: what is not the same any more."""
    if before.side is None or before.looked is None:
        return []
    return [
        f"the pinned version's: {doubt}"
        for doubt in changed(before.looked, seconds=seconds, model_name=model_name)
    ]
