"""`tidegate suites`: signed cases that a served model must pass."""

import json
import sys
from pathlib import Path

import click

from registry.names import Ref
from tidegate.cli.doors import Noun, pass_app
from tidegate.errors import SuiteNotPassed
from tidegate.output import SHORT, show, table
from tidegate.wiring import App

_SHOWN_CASES = 10


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
    row = add_suite(app.work, _builtin(str(builtin)) if folder is None else folder)
    show(row.content(), f"Suite {row.name} is {row.digest[:SHORT]}.", as_json=app.settings.as_json)


def _builtin(name: str) -> Path:
    from pipelines.suites import BUILTIN

    held = {path.name: path for path in BUILTIN.iterdir() if path.is_dir()}
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
    required=True,
    metavar="URL",
    help="The served model's OpenAI-compatible address, as http://127.0.0.1:8000/v1.",
)
@click.option("--tier", help="Measure for this tier: its engine profile is what the run stands for.")
@click.option("--engine", help="Or name the engine profile that serves the model.")
@click.option("--model-name", help="The name to send in requests, if the server wants a certain one.")
@click.option(
    "--junit", type=click.Path(path_type=Path, dir_okay=False), help="Also write the results as JUnit XML."
)
@pass_app
def run(
    app: App,
    suite: str,
    ref: str,
    endpoint: str,
    tier: str | None,
    engine: str | None,
    model_name: str | None,
    junit: Path | None,
) -> None:
    """Run SUITE against the served REF, and keep the signed report. Exits 0 only when it PASSED.

    The report counts for exactly this version, suite, tool contract and engine profile, and only if the engine
    proves which files it serves.
    """
    from pipelines.enrol import origin_keys
    from pipelines.suites.run import run_suite
    from registry.errors import NotFound

    if (tier is None) == (engine is None):
        raise click.UsageError("say what is measured: --tier TIER or --engine PROFILE")
    with app.store.view() as view:
        document, version = view.document("suite", suite), view.version(Ref.parse(ref))
        binding, setting = view.binding(version.digest), view.router(tier) if tier else None
        if binding is None:
            raise NotFound("tool contract of", ref)
        if tier is not None and setting is None:
            raise NotFound("router setting of tier", tier)
        contract = view.document("tool-contract", binding.contract)
        profile = view.document("engine-profile", setting.profile if setting else str(engine))
        vouchers = origin_keys(view)
    done = run_suite(
        app.work,
        document,
        version,
        contract,
        profile,
        endpoint=endpoint,
        model_name=model_name,
        junit=junit,
        progress=_say_case,
        vouchers=vouchers,
    )
    verdict = done.verdict
    ref = f"{version.model}@{version.ordinal}"
    lines = [
        f"{suite} on {ref}: {verdict.outcome}, {verdict.passed} of {len(verdict.cases)} cases",
        f"  files served: {done.served.state} ({done.served.why})",
        f"  report {done.report.digest[:SHORT]}, signed by this home",
        *(f"  {reason}" for reason in verdict.reasons),
        *_not_passed([result.case.id for result in verdict.cases if result.attempts and not result.passed]),
    ]
    body = {name: value for name, value in done.report.content().items() if name != "body"}
    show({**body, "report": json.loads(done.report.body)}, "\n".join(lines), as_json=app.settings.as_json)
    if verdict.outcome != "PASSED":
        raise SuiteNotPassed(suite, ref, verdict.outcome)


def _not_passed(names: list[str]) -> list[str]:
    """The cases by name, as many as fit a screen; the report holds them all."""
    if not names:
        return []
    more = f" and {len(names) - _SHOWN_CASES} more" if len(names) > _SHOWN_CASES else ""
    return [f"  not passed: {', '.join(names[:_SHOWN_CASES])}{more}"]


def _say_case(done: int, total: int) -> None:
    """The count, on a terminal: a log keeps the result."""
    if sys.stderr.isatty():
        click.echo(f"\rcase {done} of {total}", err=True, nl=done == total)
