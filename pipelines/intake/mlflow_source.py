"""`models fetch mlflow:models:/NAME/VERSION`: a model version of an MLflow registry becomes a version here.

The rules:
1. Number, alias or `latest` are resolved to a number once; what the artifacts are is what comes from then on.
2. An MLflow server lists no digest, and its artifacts can be exchanged under the same number. So every file is
   fetched, hashed while it comes, and the folder is listed once more at the end; a killed run begins again.
3. The files lie behind the server itself. Where it names another store (`s3:`, `file:`), nobody goes there.
4. The world is closed, as with every intake. What MLflow wrote around the model (`MLmodel`, `conda.yaml` and the
   like) is left out and reported: it says how to install and run the model with MLflow. What it says of the
   signature is kept with the provenance, as are the run, its parameters, metrics and tags. A `code` folder is
   refused like any code; nothing of it is ever run.
"""

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pipelines.intake.arrival import Arrived, Meter, full_disk_named, in_parallel, waiting_room
from pipelines.intake.errors import SourceChanged, SourceUnusable
from pipelines.intake.mlflow_account import MAX_MLMODEL, mlmodel_said, run_said, version_said
from pipelines.intake.provenance import Source
from pipelines.intake.record import Added, left_out, record, refuse_names
from pipelines.mlflow_server import ArtifactsElsewhere, MlflowRefused, MlflowServer, MlflowUnreachable
from pipelines.scan.reading import quoted
from pipelines.scan.values import Waiver
from pipelines.workplace import Workplace
from registry.blobs import Progress, copy_hashing, no_progress
from registry.errors import NameUnusable
from registry.manifests import MAX_FILES, MalformedManifest, Upstream, check_path
from registry.names import model_name

SCHEME = "mlflow:"
PACKAGING = (
    *("MLmodel", "conda.yaml", "python_env.yaml", "requirements.txt", "registered_model_meta"),
    *("metadata/*", "input_example.json", "serving_input_example.json", "serving_input_payload.json"),
)
AT_ONCE = 4  # files
MAX_DEPTH = 16  # folders in one another
_VERSION = re.compile(r"[1-9][0-9]{0,8}")
_ALIAS = re.compile(r"[\w-]{1,255}", re.ASCII)
_RUN = re.compile(r"[\w-]{1,64}", re.ASCII)


@dataclass(frozen=True)
class Wanted:
    """What `models:/NAME/VERSION`, `models:/NAME@ALIAS` or `models:/NAME/latest` asks for, and a folder in it."""

    name: str
    version: str | None = None
    alias: str | None = None
    folder: str = ""

    @classmethod
    def parse(cls, uri: str) -> "Wanted":
        """Raises `SourceUnusable`, saying the three forms."""
        scheme, _, rest = uri.partition(":/")
        name, *more = rest.split("/")
        name, at, alias = name.partition("@")
        version = None if at or not more else more.pop(0)
        fits = _ALIAS.fullmatch(alias) if at else version == "latest" or _VERSION.fullmatch(version or "")
        if (
            scheme != "models"
            or not name
            or len(name) > 256
            or not fits
            or any(p in ("", ".", "..") for p in more)
        ):
            problem = (
                "write mlflow:models:/NAME/VERSION, mlflow:models:/NAME@ALIAS or mlflow:models:/NAME/latest"
            )
            raise SourceUnusable(quoted(SCHEME + uri, quotes=False), problem)
        return cls(name, None if version == "latest" else version, alias if at else None, "/".join(more))

    @property
    def local_name(self) -> str:
        """Its name here: `acme--tiny-llm` is `acme/tiny-llm`. Raises `NameUnusable`."""
        namespace, dashes, rest = self.name.lower().partition("--")
        if not dashes:
            rule = "its name there has no namespace, as acme--llm has; say what it is called here: --as NAMESPACE/NAME"
            raise NameUnusable("model", self.name, rule)
        return model_name(f"{namespace}/{rest}")


@dataclass(frozen=True)
class Artifact:
    """One file of the version, and where it lies in the server's store."""

    path: str
    place: str
    size: int  # bytes


def fetch_mlflow(
    work: Workplace,
    uri: str,
    *,
    address: str,
    model: str | None = None,
    waivers: Sequence[Waiver] = (),
    leave_out: Sequence[str] = (),
    signature: bytes | None = None,
    progress: Progress = no_progress,
    expect: Progress = no_progress,
) -> Added:
    """Take a model version of an MLflow registry in as a version.

    Args:
        uri: `models:/NAME/VERSION[/FOLDER]`, `models:/NAME@ALIAS[/FOLDER]` or `models:/NAME/latest[/FOLDER]`.
        address: the MLflow server's.
        model: its name here; None for the one made of `ns--name`.
        leave_out: patterns of files that are not part of the version, besides `PACKAGING`.
        signature: the publisher's, where it does not lie among the files.
        progress: called with the bytes just fetched, from one thread at a time.
        expect: called once, before any progress, with the bytes to come.

    Raises:
        NameUnusable: the model's name here cannot be one; give another with `model`.
        SourceUnusable: the server knows no such version, or keeps its files elsewhere.
        MlflowUnreachable: it does not answer, or not as MLflow does.
        SourceChanged: its artifacts were written to meanwhile.
        ScanBlocked, PublisherRefused, SpaceShort, HomeBusy: as with every intake.
    """
    wanted = Wanted.parse(uri)
    name = model_name(wanted.local_name if model is None else model)
    server = MlflowServer(address)
    with work.home.busy("fetch"), _translated(server, uri):
        found = _resolve(server, wanted)
        root = server.place_of(
            server.ask("model-versions/get-download-uri", name=wanted.name, version=found["version"]).get(
                "artifact_uri"
            )
        )
        seen = list(_walk(server, root, wanted.folder))
        skipped = left_out((item.path for item in seen), (*PACKAGING, *leave_out))
        chosen = [item for item in seen if item.path not in skipped]
        if not chosen:
            raise SourceUnusable(uri, "holds no file that could be part of a model")
        refuse_names(name, [item.path for item in chosen], waivers)
        source = _source(server, wanted, found, root, name=name, skipped=skipped)
        total = sum(item.size for item in chosen)
        work.blobs.demand_space(total)
        expect(total)
        with waiting_room(work.home, "mlflow") as room, full_disk_named(room, total):
            arrived = _fetch_all(server, chosen, room, Meter(progress))
            _demand_same(seen, list(_walk(server, root, wanted.folder)))
            return record(work, name, arrived, source, waivers=waivers, signature=signature)


@contextmanager
def _translated(server: MlflowServer, uri: str) -> Iterator[None]:
    """Say in our words what the server's refusals mean for the operator."""
    asked = quoted(SCHEME + uri, quotes=False)
    try:
        yield
    except MlflowRefused as exc:
        raise SourceUnusable(asked, f"{server.host} says: {exc.message}") from exc
    except ArtifactsElsewhere as exc:
        problem = (
            f"{server.host} keeps the files at {exc}, not behind itself: download them with its own client and use "
            "`tidegate models add FOLDER --as NAMESPACE/NAME`"
        )
        raise SourceUnusable(asked, problem) from exc


def _resolve(server: MlflowServer, wanted: Wanted) -> dict[str, Any]:
    """Rule (1): the model version that is meant now."""
    if wanted.version is not None:
        answer = server.ask("model-versions/get", name=wanted.name, version=wanted.version)
    elif wanted.alias is not None:
        answer = server.ask("registered-models/alias", name=wanted.name, alias=wanted.alias)
    else:
        versions = server.tell("registered-models/get-latest-versions", {"name": wanted.name}).get(
            "model_versions"
        )
        numbered = [
            one for one in versions or [] if isinstance(one, dict) and _is_version(one.get("version"))
        ]
        if not numbered:
            raise MlflowRefused("RESOURCE_DOES_NOT_EXIST", f"{quoted(wanted.name)} has no version")
        answer = {"model_version": max(numbered, key=lambda one: int(one["version"]))}
    found = answer.get("model_version")
    if not isinstance(found, dict) or not _is_version(found.get("version")):
        raise MlflowUnreachable(server.host, "does not answer as an MLflow registry does")
    if found.get("status", "READY") != "READY":
        raise MlflowRefused(
            "INVALID_STATE", f"version {found['version']} is not ready: {found['status']!s:.40}"
        )
    return found


def _is_version(value: object) -> bool:
    return isinstance(value, str) and _VERSION.fullmatch(value) is not None


def _walk(server: MlflowServer, root: str, folder: str) -> Iterator[Artifact]:
    """Yield every file below a folder of the version, by path as the server lists it."""
    start = "/".join(part for part in (root, folder) if part)
    todo, count = [("", 0)], 0
    while todo:
        below, depth = todo.pop()
        for item in server.folder(f"{start}/{below}".rstrip("/")):
            path = below + item.name
            count += 1
            if count > MAX_FILES or depth > MAX_DEPTH:
                raise SourceUnusable(root, f"has more than {MAX_FILES} files, or folders too deep")
            if item.size is None:
                todo.append((f"{path}/", depth + 1))
                continue
            try:
                check_path(path, at="path")
            except MalformedManifest as exc:
                raise SourceUnusable(quoted(path, limit=1024, quotes=False), exc.problem) from exc
            yield Artifact(path, f"{start}/{path}", item.size)


def _source(
    server: MlflowServer,
    wanted: Wanted,
    found: dict[str, Any],
    root: str,
    *,
    name: str,
    skipped: tuple[str, ...],
) -> Source:
    version = str(found["version"])
    asked = {
        "server": server.host,
        "modelVersion": f"models:/{quoted(wanted.name, quotes=False)}/{version}",
        "alias": wanted.alias,
        "folder": wanted.folder,
        "model": name,
    }
    return replace(
        Source("fetch", asked),
        upstream=Upstream(f"mlflow://{server.host}/{quote(wanted.name, safe='')}/{version}"),
        left_out=skipped,
        said=_said(server, found, root),
    )


def _said(server: MlflowServer, found: dict[str, Any], root: str) -> dict[str, Any]:
    """Rule (4): what is kept of the server's own account of the version."""
    said: dict[str, Any] = {"modelVersion": version_said(found)}
    run = found.get("run_id")
    if isinstance(run, str) and _RUN.fullmatch(run):
        said["run"] = _run(server, run)
    mlmodel = next(
        (one for one in server.folder(root) if one.name == "MLmodel" and one.size is not None), None
    )
    if mlmodel is not None:
        with server.bytes_of(f"{root}/MLmodel") as blocks:
            data = bytearray()
            for block in blocks:
                data += block
                if len(data) > MAX_MLMODEL:
                    break
        said["mlmodel"] = (
            mlmodel_said(bytes(data))
            if len(data) <= MAX_MLMODEL
            else {"unread": f"more than {MAX_MLMODEL} bytes"}
        )
    return said


def _run(server: MlflowServer, run: str) -> dict[str, Any]:
    """The run's own account; a run that was deleted there, or was somebody else's, is no reason to stop."""
    try:
        found = server.ask("runs/get", run_id=run).get("run")
        if not isinstance(found, dict):
            return {"run_id": run, "unread": "the server gives no account of it"}
        identity = found.get("info", {}).get("experiment_id") if isinstance(found.get("info"), dict) else None
        experiment = server.ask("experiments/get", experiment_id=str(identity)).get("experiment")
    except MlflowRefused as exc:
        return {"run_id": run, "unread": exc.message}
    return run_said(found, str(experiment.get("name")) if isinstance(experiment, dict) else None)


def _fetch_all(server: MlflowServer, chosen: Sequence[Artifact], room: Path, meter: Meter) -> list[Arrived]:
    jobs = sorted(enumerate(chosen), key=lambda job: -job[1].size)
    return in_parallel(jobs, partial(_fetch, server, room, meter), workers=AT_ONCE, meter=meter)


def _fetch(server: MlflowServer, room: Path, meter: Meter, job: tuple[int, Artifact]) -> Arrived:
    number, artifact = job
    target = room / str(number)
    with server.bytes_of(artifact.place) as blocks, target.open("xb", buffering=0) as sink:
        sha256, size = copy_hashing(_Body(blocks, artifact.size), sink.fileno(), progress=meter)  # type: ignore[arg-type]
        os.fsync(sink.fileno())
    if size != artifact.size:
        came = "more" if size > artifact.size else f"{size} bytes"
        raise SourceChanged(artifact.path, expected=f"{artifact.size} bytes", actual=came)
    return Arrived(artifact.path, size, sha256, target)


class _Body:
    """A file's blocks as `copy_hashing` reads them: at most one byte more than was listed."""

    def __init__(self, blocks: Iterator[bytes], size: int) -> None:
        self._blocks, self._left, self._rest = blocks, size + 1, memoryview(b"")

    def readinto(self, space: memoryview) -> int:
        if not self._rest:
            self._rest = memoryview(next(self._blocks, b""))
        piece = self._rest[: min(len(space), self._left)]
        space[: len(piece)] = piece
        self._rest = self._rest[len(piece) :]
        self._left -= len(piece)
        return len(piece)


def _demand_same(before: Sequence[Artifact], after: Sequence[Artifact]) -> None:
    """Rule (2): nobody wrote into the folder meanwhile, as far as its listing shows."""
    for item in sorted(set(before) ^ set(after), key=lambda one: one.path):
        raise SourceChanged(
            item.path, expected="part of a version at rest", actual="new, gone or of another size"
        )
