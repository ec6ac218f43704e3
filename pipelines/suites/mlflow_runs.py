"""A kept validation report as a run of an MLflow server: figures, parameters, digests as tags, the report itself.

After the report is kept, never before: MLflow is where people look, not where evidence is. The same report is one run,
however often it is sent, so a run that could not be recorded is recorded later by the same words.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar

from pipelines.errors import JudgingRefused
from pipelines.mlflow_server import ArtifactsElsewhere, MlflowRefused, MlflowServer, MlflowUnreachable
from signing.times import from_rfc3339

EXPERIMENT = "tidegate"
MAX_METRICS = 1000  # of one message; MLflow's own limit
MAX_VALUE = 5_000  # characters of a parameter or a tag; MLflow takes 6,000 and 8,000
_REPORT = "tidegate.report"


class RunNotRecorded(JudgingRefused):
    """The report is kept and signed here; the MLflow server did not take its run."""

    exit_code: ClassVar[int] = 180
    next_step: ClassVar[str] = (
        "Mend what the message names, and send the kept report: `tidegate suites report DIGEST --mlflow URL`. "
        "Nothing has to be measured again."
    )

    def __init__(self, digest: str, problem: str) -> None:
        super().__init__(f"report {digest[:12]} is kept, and MLflow has no run of it: {problem}")
        self.digest, self.problem = digest, problem


@dataclass(frozen=True)
class Recorded:
    """The run. `new` is false when the server had it already; `missing`: why the report is not attached."""

    run: str
    experiment: str
    new: bool
    missing: str | None = None


def record_run(
    server: MlflowServer,
    digest: str,
    body: Mapping[str, Any],
    *,
    experiment: str = EXPERIMENT,
    files: Mapping[str, bytes],
) -> Recorded:
    """Record a report as a run of an experiment, which is made if it is not there.

    Args:
        digest: of the report, 64 hex digits.
        body: the report.
        files: what is attached, by name.

    Raises:
        RunNotRecorded: the server is away or refuses; nothing here has changed.
    """
    try:
        where = _experiment(server, experiment)
        held = _held(server, where, digest)
        if held is not None:
            return Recorded(held, experiment, new=False)
        run, store = _begin(server, where, digest, body)
        missing = _attach(server, store, files)
        server.tell("runs/update", {"run_id": run, "status": "FINISHED", "end_time": _ended(body)})
    except MlflowRefused as exc:
        raise RunNotRecorded(digest, f"{server.host} says: {exc.message}") from exc
    except MlflowUnreachable as exc:
        raise RunNotRecorded(digest, str(exc)) from exc
    return Recorded(run, experiment, new=True, missing=missing)


def _experiment(server: MlflowServer, name: str) -> str:
    """The experiment's id. Two that make it at once both find it."""
    try:
        return _id(server, _by_name(server, name))
    except MlflowRefused as exc:
        if exc.code != "RESOURCE_DOES_NOT_EXIST":
            raise
    try:
        return _id(server, server.tell("experiments/create", {"name": name}))
    except MlflowRefused as exc:
        if exc.code != "RESOURCE_ALREADY_EXISTS":
            raise
    return _id(server, _by_name(server, name))


def _by_name(server: MlflowServer, name: str) -> Mapping[str, Any]:
    found = server.ask("experiments/get-by-name", experiment_name=name).get("experiment")
    if not isinstance(found, dict):
        return {}
    if found.get("lifecycle_stage") == "deleted":
        raise MlflowRefused(
            "INVALID_STATE", f"experiment {name!r} was deleted there; restore it or name another"
        )
    return found


def _id(server: MlflowServer, found: Mapping[str, Any], key: str = "experiment_id") -> str:
    value = found.get(key)
    if not isinstance(value, str) or not value:
        raise MlflowUnreachable(server.host, f"names no {key.replace('_', ' ')}")
    return value


def _held(server: MlflowServer, experiment: str, digest: str) -> str | None:
    """The run of this report that the server has already, whole."""
    wanted = f"tags.`{_REPORT}` = '{digest}' and attributes.status = 'FINISHED'"
    query = {"experiment_ids": [experiment], "filter": wanted, "max_results": 1}
    runs = server.tell("runs/search", query).get("runs")
    if not isinstance(runs, list) or not runs:
        return None
    return _id(server, _info(runs[0]), "run_id")


def _info(run: object) -> Mapping[str, Any]:
    info = run.get("info") if isinstance(run, dict) else None
    return info if isinstance(info, dict) else {}


def _begin(server: MlflowServer, experiment: str, digest: str, body: Mapping[str, Any]) -> tuple[str, object]:
    """Make the run with its figures; return its id and where the server keeps its artifacts."""
    started = _milliseconds(body["started"])
    made = server.tell(
        "runs/create",
        {
            "experiment_id": experiment,
            "run_name": f"{body['suite']['name']} on {body['version']['model']}@{body['version']['ordinal']}",
            "start_time": started,
            "tags": _pairs(tags(digest, body)),
        },
    )
    info = _info(made.get("run"))
    run = _id(server, info, "run_id")
    stamped = [
        {"key": key, "value": value, "timestamp": started, "step": 0} for key, value in metrics(body).items()
    ]
    figures = {"run_id": run, "metrics": stamped[:MAX_METRICS], "params": _pairs(parameters(body))}
    server.tell("runs/log-batch", figures)
    return run, info.get("artifact_uri")


def _attach(server: MlflowServer, store: object, files: Mapping[str, bytes]) -> str | None:
    try:
        place = server.place_of(store)
    except ArtifactsElsewhere as exc:
        return f"{server.host} keeps artifacts at {exc}, not behind itself"
    for name, data in files.items():
        server.put(f"{place}/{name}", data)
    return None


def metrics(body: Mapping[str, Any]) -> dict[str, float]:
    """The report's figures by the names that MLflow draws them under."""
    made = {"passed": float(body["outcome"] == "PASSED"), "milliseconds": float(body["milliseconds"])}
    made |= {f"cases/{name}": float(count) for name, count in body["counts"].items()}
    for gate in body["gates"]:
        made[f"gate/{gate['metric']}/held"] = float(gate["held"])
        if gate["figure"] is not None:
            made[f"gate/{gate['metric']}"] = float(gate["figure"])
    for side, found in body["metrics"].items():
        made |= dict(_speeds(side, found or {}))
    return made


def _speeds(side: str, found: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    for name, value in found.items():
        if not isinstance(value, dict):
            yield f"{side}/{name}", float(value)
            continue
        for point, number in value.items():
            if number is not None:
                yield f"{side}/{name}/{point}", float(number)


def parameters(body: Mapping[str, Any]) -> dict[str, str]:
    """What was measured, and how."""
    engine = body["engine"] or {}
    made = {
        "model": body["version"]["model"],
        "version": body["version"]["ordinal"],
        "suite": body["suite"]["name"],
        "contract": body["contract"]["name"],
        "profile": body["profile"]["name"],
        "tier": body["tier"] or "none",
        "node": body["node"],
        "engine": engine.get("kind", "none"),
        "engine_version": engine.get("version") or "unknown",
        **body["settings"],
    }
    return {key: str(value)[:MAX_VALUE] for key, value in made.items()}


def tags(digest: str, body: Mapping[str, Any]) -> dict[str, str]:
    """What the run is about, by digest: how it is found again from either side."""
    version = body["version"]
    note = f"{body['outcome']}. {' '.join(body['reasons'])}\n\nReport {digest}, kept and signed by Tidegate."
    return {
        _REPORT: digest,
        "tidegate.outcome": body["outcome"],
        "tidegate.version": version["digest"],
        "tidegate.model": f"{version['model']}@{version['ordinal']}",
        "tidegate.suite": body["suite"]["digest"],
        "tidegate.contract": body["contract"]["digest"],
        "tidegate.profile": body["profile"]["digest"],
        "tidegate.identity": body["identity"]["state"],
        "mlflow.source.name": "tidegate suites run",
        "mlflow.source.type": "JOB",
        "mlflow.user": body["made_by"],
        "mlflow.note.content": note[:MAX_VALUE],
    }


def _pairs(found: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"key": key, "value": value} for key, value in found.items()]


def _milliseconds(moment: str) -> int:
    when: datetime = from_rfc3339(moment)
    return round(when.timestamp() * 1000)


def _ended(body: Mapping[str, Any]) -> int:
    return _milliseconds(body["started"]) + int(body["milliseconds"])
