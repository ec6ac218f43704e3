"""What `tidegate suites` does with a kept report at an MLflow server, and says of it.

Apart from the commands because two of them do it. The report is kept before, so a server that is away is told last: the
result is shown, and what came of the run beside it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from signing.canonical import canonical_bytes
from tidegate.settings import mlflow_server

if TYPE_CHECKING:
    from pipelines.suites.mlflow_runs import Recorded, RunNotRecorded


@dataclass(frozen=True)
class Told:
    """What came of it: a run, a refusal, or nothing because nobody asked."""

    recorded: "Recorded | None" = None
    refusal: "RunNotRecorded | None" = None

    @property
    def document(self) -> dict[str, Any]:
        """For programs; empty where nobody asked."""
        if self.recorded is not None:
            return {"mlflow": vars(self.recorded)}
        return {} if self.refusal is None else {"mlflow": {"run": None, "problem": str(self.refusal)}}

    @property
    def lines(self) -> list[str]:
        """For people."""
        if self.refusal is not None:
            return [f"  {self.refusal}"]
        if self.recorded is None:
            return []
        run = self.recorded
        verb = "recorded" if run.new else "was already recorded"
        missing = [f"  without the report itself: {run.missing}"] if run.missing else []
        return [f"  {verb} at MLflow as run {run.run} of {run.experiment}", *missing]

    def demand(self) -> None:
        """Raise `RunNotRecorded` where it was not."""
        if self.refusal is not None:
            raise self.refusal


Recorder = Callable[[str, Mapping[str, Any]], Told]


def recorder(url: str | None, experiment: str) -> Recorder:
    """Return what records a report by its digest and body. The address is looked at now, before an hour's run.

    Raises:
        MlflowUnreachable: it is no address, or this installation cannot speak to one.
    """
    if url is None:
        return lambda _digest, _body: Told()
    if not experiment.strip():
        raise click.BadParameter("an experiment has a name", param_hint="--experiment")
    from pipelines.mlflow_server import MlflowServer
    from pipelines.suites.mlflow_runs import RunNotRecorded, record_run

    server = MlflowServer(mlflow_server(url) or url)

    def record(digest: str, body: Mapping[str, Any]) -> Told:
        # The very bytes that the digest is of, so that whoever downloads them can compare.
        files = {"report.json": canonical_bytes(body), "report.html": page_of(body, digest)}
        try:
            return Told(recorded=record_run(server, digest, body, experiment=experiment, files=files))
        except RunNotRecorded as refusal:
            return Told(refusal=refusal)

    return record


def page_of(body: Mapping[str, Any], digest: str) -> bytes:
    """A report as one HTML page."""
    from pipelines.suites.html import page

    return page(body, digest).encode()
