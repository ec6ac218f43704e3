"""`tidegate suites`: signed cases that a served model must pass."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from registry.names import Ref
from tidegate.cli.doors import Noun, pass_app
from tidegate.errors import SuiteNotPassed
from tidegate.output import SHORT, show, table
from tidegate.recording import page_of, recorder
from tidegate.suite_lines import Count, evidence_lines, is_local, run_lines, this_machine
from tidegate.wiring import App

if TYPE_CHECKING:
    from securesystemslib.signer import Key

    from registry.entities import Document, Version


_mlflow = click.option(
    "--mlflow", metavar="URL", help="Also record the report as a run of this MLflow server."
)
_experiment = click.option(
    "--experiment", metavar="NAME", default="tidegate", show_default=True, help="The run's experiment there."
)


@click.group(cls=Noun)
def suites() -> None:
    """Validation suites: cases as data, signed, run against the really served model."""


@suites.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False), required=False)
@click.option("--builtin", metavar="NAME", help="A suite that comes with Tidegate, such as tool-basics.")
@pass_app
def add(app: App, folder: Path | None, builtin: str | None) -> None:
    """Check, sign and keep the suite in FOLDER (or a built-in one). Every case must check something."""
    from pipelines.suites.run import add_suite

    if (folder is None) == (builtin is None):
        raise click.UsageError("name a folder, or a built-in suite with --builtin")
    if folder is not None and not folder.exists() and str(folder) in _builtins():
        raise click.UsageError(
            f"there is no folder {folder}; the built-in suite of that name is --builtin {folder}"
        )
    row = add_suite(app.work, _builtin(str(builtin)) if folder is None else folder)
    with app.store.view() as view:
        others = [one.digest[:SHORT] for one in view.documents("suite") if one.name == row.name]
    lines = [f"Suite {row.name} is {row.digest[:SHORT]}."]
    if others := [digest for digest in others if not row.digest.startswith(digest)]:
        lines.append(f"Its name means this one from now on, no longer {', '.join(others)}.")
    show(row.content(), "\n".join(lines), as_json=app.settings.as_json)


def _builtins() -> dict[str, Path]:
    from pipelines.suites import BUILTIN

    return {path.name: path for path in BUILTIN.iterdir() if path.is_dir()}


def _builtin(name: str) -> Path:
    held = _builtins()
    if name not in held:
        raise click.BadParameter(f"the built-in suites are {', '.join(sorted(held))}", param_hint="--builtin")
    return held[name]


@suites.command()
@click.argument("suite")
@pass_app
def adopt(app: App, suite: str) -> None:
    """From now on the name of SUITE (a digest) means this suite here: for one that a bundle brought beside yours.

    A bundle never replaces a suite that this home demands by name; somebody here looks at it and says so.
    """
    from pipelines.suites.run import adopt_suite

    row = adopt_suite(app.work, suite)
    show(
        row.content(), f"Suite {row.name} is {row.digest[:SHORT]} from now on.", as_json=app.settings.as_json
    )


@suites.command("list")
@pass_app
def list_(app: App) -> None:
    """Every suite held here."""
    with app.store.view() as view:
        rows = view.documents("suite")
        meant = {view.meaning("suite", row.name) for row in rows}
    lines = [
        (row.name, row.digest[:SHORT], "this" if row.digest in meant else "-", row.added_at, row.added_by)
        for row in rows
    ]
    text = table(
        ("suite", "digest", "its name means", "since", "by"),
        lines,
        empty="None yet. Next: tidegate suites add --builtin tool-basics",
    )
    show(
        [
            {k: v for k, v in row.content().items() if k != "body"} | {"meant": row.digest in meant}
            for row in rows
        ],
        text,
        as_json=app.settings.as_json,
    )


@suites.command()
@click.argument("suite")
@click.argument("ref")
@click.option(
    "--endpoint",
    metavar="URL",
    help="The served model's OpenAI-compatible address, as http://127.0.0.1:8000/v1. A suite of files needs none.",
)
@click.option(
    "--baseline-endpoint",
    metavar="URL",
    help="Where the version that the tier serves now is served, to be measured beside this one.",
)
@click.option("--tier", help="Measure for this tier: its engine profile is what the run stands for.")
@click.option("--engine", help="Or name the engine profile that serves the model.")
@click.option("--model-name", help="The name to send in requests, if the server wants a certain one.")
@click.option("--baseline-model-name", help="The same for the baseline's server.")
@click.option(
    "--node", help="The kind of machine that is measured, in words; by default this one's, if it is local."
)
@click.option("--resume", is_flag=True, help="Go on with exactly this run if it was killed before its end.")
@click.option(
    "--junit", type=click.Path(path_type=Path, dir_okay=False), help="Also write the results as JUnit XML."
)
@click.option(
    "--html", type=click.Path(path_type=Path, dir_okay=False), help="Also write the report as one HTML page."
)
@_mlflow
@_experiment
@pass_app
def run(
    app: App,
    suite: str,
    ref: str,
    tier: str | None,
    engine: str | None,
    html: Path | None,
    mlflow: str | None,
    experiment: str,
    **given: Any,
) -> None:
    """Run SUITE against the served REF, and keep the signed report. Exits 0 only when it PASSED.

    The report counts for exactly this version, suite, tool contract, engine profile and tier, and only if the
    engine proves which files it serves. What a gate compares with the pinned version needs that one served beside
    it, and proven as well. With --mlflow the kept report is recorded as a run there, too; if that server is away,
    `tidegate suites report DIGEST --mlflow URL` does it later.
    """
    from pipelines.suites.held import writable, write
    from pipelines.suites.run import Settings, run_suite

    if (tier is None) == (engine is None):
        raise click.UsageError("say what is measured: --tier TIER or --engine PROFILE")
    if given["baseline_endpoint"] and tier is None:
        raise click.UsageError("--baseline-endpoint compares with what a tier serves: give --tier")
    for path in (html, given["junit"]):
        writable(path)
    record = recorder(mlflow, experiment)
    about = _about(app, suite, ref, tier, engine)
    endpoint = given.pop("endpoint")
    node = given.pop("node") or (this_machine() if endpoint is None or is_local(endpoint) else "unknown")
    count = Count(suite)
    done = run_suite(
        app.work,
        *about.documents,
        endpoint=endpoint,
        settings=Settings(tier=tier, node=node, **given),
        progress=count,
        vouchers=about.vouchers,
    )
    count.finish()
    body = json.loads(done.report.body)
    if html is not None:
        write(html, page_of(body, done.report.digest))
    recorded = record(done.report.digest, body)
    version = about.documents[1]
    ref = f"{version.model}@{version.ordinal}"
    row = {name: value for name, value in done.report.content().items() if name != "body"}
    show(
        {**row, "report": body, **recorded.document},
        "\n".join([*run_lines(done.report.digest, body, html), *recorded.lines]),
        as_json=app.settings.as_json,
    )
    if done.outcome != "PASSED":
        raise SuiteNotPassed(suite, ref, done.outcome)
    recorded.demand()


@dataclass(frozen=True)
class _About:
    """What a run is about, looked up, and whose word about a suite counts here besides this home's."""

    documents: "tuple[Document, Version, Document, Document]"
    vouchers: "dict[str, Key]"


def _about(app: App, suite: str, ref: str, tier: str | None, engine: str | None) -> _About:
    from pipelines.enrol import origin_keys
    from registry.errors import NotFound

    with app.store.view() as view:
        document, version = view.document("suite", suite), view.version(Ref.parse(ref))
        binding, setting = view.binding(version.digest), view.router(tier) if tier else None
        if binding is None:
            raise NotFound("tool contract of", ref)
        if tier is not None and setting is None:
            raise NotFound("router setting of tier", tier)
        contract = view.document("tool-contract", binding.contract)
        profile = view.document("engine-profile", setting.profile if setting else str(engine))
        return _About((document, version, contract, profile), dict(origin_keys(view)))


@suites.command()
@click.argument("digest")
@click.option("--html", type=click.Path(path_type=Path, dir_okay=False), help="Write it as one HTML page.")
@click.option("--junit", type=click.Path(path_type=Path, dir_okay=False), help="Write it as JUnit XML.")
@_mlflow
@_experiment
@pass_app
def report(
    app: App, digest: str, html: Path | None, junit: Path | None, mlflow: str | None, experiment: str
) -> None:
    """Show a run's report again, by its digest (eight digits or more), and write it as a page or as JUnit XML.

    The page is one file that loads nothing and runs nothing: it can be carried, mailed and kept. With --mlflow the
    report becomes a run of that server; one that is there already is found, not made again.
    """
    from pipelines.suites.held import find_report, write
    from pipelines.suites.junit import junit as junit_of

    with app.store.view() as view:
        row, body = find_report(view, digest)
    if row.kind == "evidence":
        if html or junit or mlflow:
            raise click.UsageError("a log that was taken in as evidence has no page or run of its own")
        show(body, "\n".join(evidence_lines(row.digest, body)), as_json=app.settings.as_json)
        return
    if html is not None:
        write(html, page_of(body, row.digest))
    if junit is not None:
        write(junit, junit_of(body))
    recorded = recorder(mlflow, experiment)(row.digest, body)
    lines = [*run_lines(row.digest, body, html), *recorded.lines]
    show({**body, **recorded.document}, "\n".join(lines), as_json=app.settings.as_json)
    recorded.demand()


@suites.command()
@click.argument("suite")
@click.option("--version", "ref", metavar="REF", help="Only runs on this version.")
@click.option("--all", "everything", is_flag=True, help="Cases that never flipped, too.")
@pass_app
def flips(app: App, suite: str, ref: str | None, *, everything: bool) -> None:
    """How often each case of SUITE flips: the same question, version and engine profile, another outcome.

    A flaky case still counts. Setting one aside is a person's decision: `tidegate decisions quarantine`.
    """
    from pipelines.decide import standing
    from pipelines.suites.flips import count_flips, past_bodies
    from registry.decisions import Kind

    with app.store.view() as view:
        document = view.document("suite", suite)
        version = view.version(Ref.parse(ref)).digest if ref else None
        bodies = past_bodies(view, document.digest, version=version)
        aside = {one.subject for one in standing(app.work, view, Kind.QUARANTINE_CASE)}
    found = count_flips(bodies)
    lines = [
        (
            one.case,
            one.asked,
            one.right,
            one.flipped,
            one.rate,
            one.runs,
            _aside(document.name, one.case, aside),
        )
        for one in found
        if one.flaky or everything
    ]
    headings = ("case", "answers", "right", "flipped", "rate", "runs", "set aside")
    runs = f"{len(bodies)} whole runs of {document.name}"
    text = table(headings, lines, empty=f"No case flipped in {runs}.")
    show(
        [vars(one) | {"rate": one.rate, "flaky": one.flaky} for one in found],
        text,
        as_json=app.settings.as_json,
    )


def _aside(suite: str, case: str, subjects: set[str]) -> str:
    return "by decision" if f"{suite}/{case}" in subjects else "-"


@suites.command()
@click.argument("ref")
@click.argument("file", type=click.Path(path_type=Path))
@pass_app
def evidence(app: App, ref: str, file: Path) -> None:
    """Take in another program's log about REF: Inspect AI (.json, .eval) or lm-evaluation-harness (results, samples).

    It is kept and shown beside this home's own reports. No gate looks at it: nothing proves which files answered.
    """
    from pipelines.suites.evidence import take_evidence

    with app.store.view() as view:
        version = view.version(Ref.parse(ref))
    row, _ = take_evidence(app.work, version, file)
    body = json.loads(row.body)
    show(body, "\n".join(evidence_lines(row.digest, body)), as_json=app.settings.as_json)
