"""The files of versions, as MLflow's artifact routes give them out."""

from collections.abc import Iterator
from typing import Any

from fastapi.responses import JSONResponse
from starlette.responses import Response

from registry.access import Right
from registry.entities import Version
from registry.errors import NotFound
from tidegate.server.delivery import send_blob
from tidegate.server.guard import Desk, needs
from tidegate.server.mlflow.asked import VERSION, AtDesk, our_name
from tidegate.server.mlflow.refused import ARTIFACTS
from tidegate.server.mlflow.standing import mlflow_name
from tidegate.server.mlflow.words import DENIED, UNKNOWN, said
from tidegate.server.pulling import files_of, pull

_ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts"


def place(desk: Desk, version: Version) -> str:
    """Rules (3) and (4): where a version's artifacts are."""
    base = (desk.premises.settings.public_url or str(desk.request.base_url)).rstrip("/")
    return f"{base}{_ARTIFACTS}/{mlflow_name(version.model)}/{version.ordinal}"


def _taken(desk: Desk, at: str) -> tuple[Version, str]:
    """The version that an artifact's place names, for who may take it, and the path in it."""
    name, _, rest = at.strip("/").partition("/")
    number, _, path = rest.partition("/")
    if not VERSION.fullmatch(number):
        raise NotFound("version", at)
    return pull(desk, our_name(name), number).version, path


@needs(Right.PULL)
def listing(desk: AtDesk) -> Response:
    """Files and folders of one folder of a version.

    A file has none, and what is not there neither, as at MLflow's own server: its client then asks for the bytes, and
    makes an exception of its own of what it is told.
    """
    version, folder = _taken(desk, desk.request.query_params.get("path", ""))
    held = files_of(version)
    return JSONResponse(
        {"files": list(_listed([(path, entry.size) for path, entry in held.items()], folder))}
    )


def _listed(held: list[tuple[str, int]], folder: str) -> Iterator[dict[str, Any]]:
    prefix, folders = f"{folder}/" if folder else "", set()
    for path, size in sorted(held):
        if not path.startswith(prefix):
            continue
        name, below, _ = path.removeprefix(prefix).partition("/")
        if not below:
            yield {"path": name, "is_dir": False, "file_size": str(size)}
        elif name not in folders:
            folders.add(name)
            yield {"path": name, "is_dir": True}


@needs(Right.PULL)
def one(at: str, desk: AtDesk) -> Response:
    """One file of a version."""
    version, path = _taken(desk, at)
    entry = files_of(version).get(path)
    if entry is None:
        return said(404, UNKNOWN, f"{version.model}@{version.ordinal} holds no {path!r}")
    headers = {"X-Tidegate-Version": f"{version.model}@{version.ordinal}"}
    return send_blob(desk, entry.sha256, headers=headers, filename=path.rpartition("/")[2])


@needs(Right.LOOK)
def no_upload() -> Response:
    """Artifacts that somebody wants to store, delete, or have by another way."""
    return said(403, DENIED, ARTIFACTS)
