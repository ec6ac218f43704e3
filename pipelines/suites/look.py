"""Looking at an engine before and after it is asked: what it is, whose files it has loaded, does it answer in time."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipelines.engines.endpoint import Endpoint, EngineTrouble
from pipelines.engines.fingerprint import Fingerprint
from pipelines.engines.memory import holds_an_earlier_file
from pipelines.engines.probe import ANY_MODEL, EngineIdentity, Readiness, identify, ready
from pipelines.suites import identity
from pipelines.suites.identity import Served
from registry.contracts import EngineProfile
from registry.manifests import Manifest

SILENT = Fingerprint("unknown")


@dataclass(frozen=True)
class Looked:
    """What was found out before the run. `doubts`: why the run would say nothing about this version."""

    endpoint: Endpoint
    engine: EngineIdentity | None  # None: it did not even say what it is
    served: Served
    mismatch: str | None  # with the profile
    ready: Readiness
    model: str  # what requests ask for
    doubts: tuple[str, ...]
    fingerprint: Fingerprint = SILENT


def look(
    where: Endpoint,
    manifest: Manifest,
    profile: EngineProfile | None,
    *,
    seconds: int,
    model_name: str | None,
    fingerprint: Fingerprint | None = None,
) -> Looked:
    """Look at the engine at an address. Never raises for what it finds.

    Args:
        profile: what the engine ought to be; None where nobody said.
        seconds: for one request.
        model_name: what requests ask for; by default the first model that the engine lists.
        fingerprint: what is known of the engine from whoever started it; else what it says of itself.
    """
    asked = (model_name or "").encode("utf-8", "replace").decode() or None
    try:
        engine = identify(where, model=asked)
    except EngineTrouble as exc:
        silent = Readiness(ready=False, milliseconds=None, why=str(exc))
        nothing = Served(proven=False, why="the engine did not say what it has loaded")
        return Looked(where, None, nothing, None, silent, asked or ANY_MODEL, (str(exc),))
    model = asked or engine.first_model
    mismatch = None if profile is None else identity.profile_mismatch(engine, profile)
    served = identity.hold_against(engine, where, manifest)
    answers = ready(where, seconds=seconds, model=model)
    doubts = [f"profile-mismatch: {mismatch}"] if mismatch else []
    if served.contradicted:
        doubts.append(f"another model is served: {served.why}")
    if profile is not None and (other := identity.other_file(served, profile)) is not None:
        doubts.append(f"another file is served: {other}")
    if not answers.ready:
        doubts.append(f"the engine is not ready: {answers.why}")
    said = Fingerprint(engine.engine, build=engine.version, template_sha256=engine.template_sha256)
    return Looked(where, engine, served, mismatch, answers, model, tuple(doubts), fingerprint or said)


def changed(before: Looked, *, seconds: int, model_name: str | None) -> Sequence[str]:
    """Look at the engine again: what is not the same any more, or does not answer any more."""
    where = before.endpoint
    try:
        after = identify(where, model=model_name)
    except EngineTrouble as exc:
        return [f"the engine was gone after the run: {exc}"]
    doubts = (
        [] if after == before.engine else ["the engine was exchanged or restarted differently during the run"]
    )
    if after.model_path and where.is_local and holds_an_earlier_file(where.port, Path(after.model_path)):
        doubts.append(f"{after.model_path} was replaced during the run")
    answers = ready(where, seconds=seconds, model=before.model)
    return doubts if answers.ready else [*doubts, f"the engine did not answer after the run: {answers.why}"]
