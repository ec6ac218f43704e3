"""What a tier's engines truly serve: each is asked, and the files that it has loaded are hashed.

Apart from `pipelines.drift`, which judges what was seen here. Looks and records, changes nothing else. What an
engine says of itself is believed only where bytes prove it.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.engines.driver import driver_for
from pipelines.engines.endpoint import EngineTrouble
from pipelines.engines.launch import Slot
from pipelines.engines.probe import EngineIdentity, identify, ready
from pipelines.rollout import settings
from pipelines.rollout.front import Live, NginxFront
from pipelines.rollout.refusals import FrontUnclear
from pipelines.rollout.settings import Place, Serving, TierServing
from pipelines.rollout.wanted import PinnedSet, engine_profile, held
from pipelines.suites.identity import WEIGHTS, Served, hold_against, profile_mismatch
from pipelines.workplace import Workplace
from registry import manifests
from registry.audit import EventKind
from registry.contracts import EngineProfile
from registry.entities import Observation, Pin, Version
from registry.errors import NotFound
from registry.names import word
from registry.views import View
from signing.canonical import canonical_bytes
from signing.digests import file_sha256
from signing.errors import OperatorError
from signing.times import rfc3339

SERVES, OTHER, SILENT, UNPROVEN = "SERVES", "OTHER", "SILENT", "UNPROVEN"
_READY_SECONDS = 60.0
_FORMAT = "tidegate-observation/1"


@dataclass(frozen=True)
class Seen:
    """One look at what answers for a model. `version`: digest, only where files proved it."""

    model: str
    state: str
    version: str | None
    why: str
    facts: dict[str, Any]


def observe(work: Workplace, tier: str, *, node: str | None = None) -> list[Observation]:
    """Look at every model that `serving.toml` places in the tier on this node, and record what was seen.

    Args:
        node: what to call this node instead of what `serving.toml` does.

    Raises:
        ServingMalformed, NotFound: nothing was looked at.
    """
    with work.store.view() as view:
        view.tier(tier)
        serving = settings.read(work.home.path, tiers={row.tier for row in view.tiers()})
        ours = serving.tier(tier)
    name = word("node", node) if node else ours.node
    seen = [_look(work, serving, ours, place) for place in ours.models.values()]
    rows = [_row(work, tier, name, one) for one in seen]
    with work.store.change(actor=work.actor, now=work.now) as change:
        for row in rows:
            change.record(EventKind.OBSERVED, tier, row)
    return rows


def _row(work: Workplace, tier: str, node: str, seen: Seen) -> Observation:
    return Observation(
        tier=tier,
        node=node,
        model=seen.model,
        state=seen.state,
        version=seen.version,
        body=canonical_bytes({"format": _FORMAT, "why": seen.why, **seen.facts}).decode(),
        since=rfc3339(work.now),
        actor=work.actor,
    )


def _look(work: Workplace, serving: Serving, tier: TierServing, place: Place) -> Seen:
    """What serves one model: which slot the proxy uses, whether it answers, which files are behind it."""
    front = NginxFront(tier.nginx, tier.tier, place.model, place.listen)
    try:
        live = front.live()
    except FrontUnclear as exc:
        return Seen(place.model, UNPROVEN, None, str(exc), {})
    if live is None or live.closed:
        why = "the gate is shut" if live else "nothing was rolled out here"
        return Seen(place.model, SILENT, None, why, {})
    answer = ready(front.endpoint, seconds=_READY_SECONDS, model=place.model)
    if not answer.ready:
        return Seen(place.model, SILENT, None, f"no answer through the proxy: {answer.why}", _facts(live))
    folder = serving.slot_folder(tier.tier, place.model, live.slot)
    return _behind(work, tier, Slot(live.slot, folder, live.host, live.port), live, place.model)


def _facts(live: Live) -> dict[str, Any]:
    return {"slot": live.slot, "port": live.port, "rollout": live.rollout, "set": live.set}


def _behind(work: Workplace, tier: TierServing, slot: Slot, live: Live, model: str) -> Seen:
    """Ask the engine itself, and hold its files against the pin's; name the version that they are of instead."""
    with work.store.view() as view:
        pin, versions = view.pin(tier.tier, model), view.versions(model)
        profile = _pinned_profile(view, pin)
    try:
        engine = identify(slot.endpoint, model=model)
    except EngineTrouble as exc:
        return Seen(model, SILENT, None, str(exc), _facts(live))
    facts = _facts(live) | {"engine": engine.engine, "build": engine.version, "path": engine.model_path}
    pinned = next((row for row in versions if pin and row.digest == pin.version), None)
    served = _held_against(tier, slot, engine, pinned, profile)
    facts["files"] = [{"path": entry.path, "sha256": entry.sha256} for entry in served.files]
    if not served.proven:
        other = _whose(engine, versions) if served.contradicted else None
        if other is None:
            return Seen(model, OTHER if served.contradicted else UNPROVEN, None, served.why, facts)
        wanted = f"{model}@{pin.ordinal}" if pin else "nothing"
        return Seen(model, OTHER, other.digest, f"serves {model}@{other.ordinal}; pinned is {wanted}", facts)
    assert pinned is not None
    assert pin is not None
    mismatch = profile_mismatch(engine, profile) if profile else None
    if mismatch is None and live.set != PinnedSet.of(pin).digest:
        mismatch = (
            "the pinned files, and not the contract, router, engine profile and companions pinned with them"
        )
    return Seen(model, OTHER if mismatch else SERVES, pinned.digest, mismatch or served.why, facts)


def _held_against(
    tier: TierServing,
    slot: Slot,
    engine: EngineIdentity,
    pinned: Version | None,
    profile: EngineProfile | None,
) -> Served:
    if pinned is None:
        return Served(proven=False, why="nothing is pinned", contradicted=True)
    manifest = manifests.decode(pinned.manifest.encode())
    known = _by_driver(tier, slot, profile, manifest) if profile else None
    return known or hold_against(engine, slot.endpoint, manifest)


def _pinned_profile(view: View, pin: Pin | None) -> EngineProfile | None:
    try:
        return engine_profile(held(view, "engine profile", pin.profile)) if pin and pin.profile else None
    except NotFound:
        return None


def _whose(engine: EngineIdentity, versions: list[Version]) -> Version | None:
    """The held version whose weights lie where the engine says that it loaded from: for naming a stranger."""
    path = Path(engine.model_path or "")
    if not path.is_absolute():
        return None
    try:
        files = [path] if path.is_file() else [item for item in path.iterdir() if item.name.endswith(WEIGHTS)]
        loaded = {file_sha256(item) for item in files}
    except OSError:
        return None
    for version in reversed(versions):
        entries = manifests.decode(version.manifest.encode()).files
        weights = {entry.sha256 for entry in entries if entry.path.endswith(WEIGHTS)}
        if loaded and loaded <= weights:
            return version
    return None


def _by_driver(
    tier: TierServing, slot: Slot, profile: EngineProfile, manifest: manifests.Manifest
) -> Served | None:
    """The driver knows more of an engine that it started; None where there is no driver or nothing is staged."""
    try:
        driver = driver_for(profile, program=tier.program, environment=tier.environment)
        return driver.identity(slot, manifest)
    except OperatorError:
        return None
