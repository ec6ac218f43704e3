"""What stands about a version, as MLflow's fields and tags can say it. One look at the registry, then values.

Looks are shared within one request: a page of two hundred versions of one model asks for its pins once.
"""

from dataclasses import dataclass
from typing import Any

from pipelines.resolving import gate_says
from registry import manifests, store_pulls
from registry.entities import Pin, Version, Withdrawal
from registry.views import View
from signing.times import from_rfc3339
from tidegate.server.guard import Desk
from tidegate.server.pulling import puller_of

SERVED, SUPERSEDED, NEW, WITHDRAWN = "served", "superseded", "not promoted", "withdrawn"
# By the names of mlflow.entities.model_registry.ModelVersionStatus, which has no others.
_STATUS = {
    SERVED: "READY",
    SUPERSEDED: "READY",
    NEW: "PENDING_REGISTRATION",
    WITHDRAWN: "FAILED_REGISTRATION",
}


@dataclass(frozen=True)
class Stands:
    """A version and its place in the tiers."""

    version: Version
    pins: tuple[Pin, ...]  # that serve it now, lowest tier first
    once: tuple[str, ...]  # where none serves it: tiers that did
    instead: tuple[Pin, ...]  # what those serve now
    withdrawal: Withdrawal | None

    @property
    def state(self) -> str:
        """In a word."""
        if self.withdrawal is not None:
            return WITHDRAWN
        return SERVED if self.pins else SUPERSEDED if self.once else NEW

    @property
    def moved(self) -> str:
        """When anything about it changed last, as far as tiers go."""
        moments = [self.version.added_at, *(pin.since for pin in self.pins)]
        return max([*moments, self.withdrawal.since] if self.withdrawal else moments)


class Looks:
    """The questions of one request, each asked once."""

    def __init__(self, view: View) -> None:
        self.view = view
        self._tiers = [row.tier for row in view.tiers()]
        self._pins: dict[str, tuple[Pin, ...]] = {}

    def pins(self, model: str) -> tuple[Pin, ...]:
        """What each tier serves of a model now, lowest tier first."""
        if model not in self._pins:
            found = (self.view.pin(tier, model) for tier in self._tiers)
            self._pins[model] = tuple(pin for pin in found if pin is not None)
        return self._pins[model]

    def stands(self, version: Version) -> Stands:
        """What stands about a version."""
        everywhere = self.pins(version.model)
        pins = tuple(pin for pin in everywhere if pin.version == version.digest)
        once = () if pins else tuple(store_pulls.pinned_in(self.view, version.digest))
        instead = tuple(pin for pin in everywhere if pin.tier in once)
        return Stands(version, pins, once, instead, self.view.withdrawal(version.digest))


def gate_word(desk: Desk, view: View, stands: Stands) -> str:
    """What the gate says, in a line: of the tiers that serve it, else of the lowest one that is the caller's."""
    if stands.pins:
        return "; ".join(f"passed for {pin.tier} on {pin.since[:10]}" for pin in stands.pins)
    return gate_says(desk.work, view, stands.version, puller_of(desk))


def version_document(stands: Stands, *, source: str, gate: str | None = None) -> dict[str, Any]:
    """MLflow's ModelVersion. `source`: where its artifacts are; `gate`: see `gate_word`, where somebody asked it."""
    version = stands.version
    manifest = manifests.decode(version.manifest.encode())
    licence = " ".join(manifest.licence.ids) or manifest.licence.state.replace("-", " ")
    tiers = [pin.tier for pin in stands.pins]
    tags = {
        "tidegate.digest": version.digest,
        "tidegate.revision": version.revision,
        "tidegate.licence": licence,
        "tidegate.state": stands.state,
        "tidegate.tiers": " ".join(tiers),
        "tidegate.bytes": str(version.size),
        **({} if gate is None else {"tidegate.gate": gate}),
        **({} if manifest.upstream is None else {"tidegate.upstream": manifest.upstream.uri}),
    }
    where = f"served by {', '.join(tiers)}" if tiers else stands.state
    return {
        "name": mlflow_name(version.model),
        "version": str(version.ordinal),
        "creation_timestamp": milliseconds(version.added_at),
        "last_updated_timestamp": milliseconds(stands.moved),
        "user_id": version.added_by,
        "current_stage": "None",
        "description": f"{version.model}@{version.ordinal}, sha256:{version.digest}, licence {licence}, {where}",
        "source": source,
        "status": _STATUS[stands.state],
        "status_message": _message(stands, gate),
        "tags": tag_list(tags),
        "aliases": tiers,
    }


def _message(stands: Stands, gate: str | None) -> str:
    if stands.withdrawal is not None:
        return f"withdrawn since {stands.withdrawal.since}: {stands.withdrawal.reason}"
    if stands.state == NEW:
        return gate or "no tier serves it yet"
    now = ", ".join(f"{pin.tier} serves {pin.ordinal} since {pin.since}" for pin in stands.instead)
    return f"superseded: {now}" if now else ""


def tag_list(tags: dict[str, str]) -> list[dict[str, str]]:
    """Tags as the protocol writes them."""
    return [{"key": key, "value": value} for key, value in tags.items()]


def mlflow_name(model: str) -> str:
    """`ns/name` as MLflow may call it: `ns--name`, which no model's name holds."""
    return model.replace("/", "--")


def milliseconds(moment: str) -> int:
    """Since 1970, as MLflow counts."""
    return round(from_rfc3339(moment).timestamp() * 1000)
