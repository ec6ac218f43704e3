"""What every door that serves files asks: which version is meant, may this caller take it, and which files are it.

Apart from the doors because Hub, MLflow, OCI and Ollama have to give one answer; `pipelines.resolving` decides it.
"""

import threading
from collections import OrderedDict
from collections.abc import Mapping

from pipelines.resolving import NotPromoted, Puller, Resolved, resolve
from registry import manifests
from registry.access import Right, tiers_of
from registry.entities import Version
from registry.errors import NameUnusable, NotFound
from registry.manifests import FileEntry, Manifest
from registry.names import model_name
from tidegate.server.guard import Desk

_HELD_FILES = 50_000  # entries of decoded manifests that are kept: some 20 MB


def puller_of(desk: Desk) -> Puller:
    """What who asks may take."""
    return Puller(
        any_version=desk.may(Right.PULL_ANY),
        tiers=tiers_of(desk.principal.grants, Right.PULL),
        default_tier=desk.premises.settings.default_tier,
    )


def pull(desk: Desk, model: str, revision: str) -> Resolved:
    """Say which version a client means. Whoever may not have it is turned away, and that is recorded.

    Raises: what `pipelines.resolving.resolve` raises.
    """
    try:
        with desk.view() as view:
            return resolve(desk.work, view, model, revision, puller_of(desk))
    except NotPromoted as no:
        if no.served_in:
            desk.record_denial(Right.PULL, no.served_in[0])
        else:
            desk.record_denial(Right.PULL_ANY)
        raise


def registry_name(text: str) -> str:
    """The model that a client names, whatever case its upstream writes it in. Raises `NotFound`."""
    try:
        return model_name(text.lower())
    except NameUnusable as exc:
        raise NotFound("model", text) from exc


class _Held:
    """Decoded manifests by digest, the ones used last: a client of a thousand files asks a thousand times."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, tuple[Manifest, Mapping[str, FileEntry]]] = OrderedDict()
        self._files = 0

    def of(self, version: Version) -> tuple[Manifest, Mapping[str, FileEntry]]:
        with self._lock:
            if version.digest in self._kept:
                self._kept.move_to_end(version.digest)
                return self._kept[version.digest]
        manifest = manifests.decode(version.manifest.encode())
        found = manifest, {entry.path: entry for entry in manifest.files}
        with self._lock:
            if version.digest not in self._kept:
                self._kept[version.digest] = found
                self._files += len(manifest.files)
            while self._files > _HELD_FILES and len(self._kept) > 1:
                self._files -= len(self._kept.popitem(last=False)[1][1])
        return found


_held = _Held()


def manifest_of(version: Version) -> Manifest:
    """A version's manifest."""
    return _held.of(version)[0]


def files_of(version: Version) -> Mapping[str, FileEntry]:
    """A version's files by their paths."""
    return _held.of(version)[1]
