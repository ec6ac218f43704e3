"""`tidegate validate` and `tidegate reconcile`: measuring what a tier demands, and doing what it may do by itself."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from registry.names import Ref
from tidegate.cli.doors import Door, pass_app
from tidegate.errors import SuiteNotPassed
from tidegate.output import SHORT, say, show, table
from tidegate.suite_lines import this_machine
from tidegate.wiring import App

if TYPE_CHECKING:
    from pipelines.validate import Bench

_folder = click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where engines find the files, outside the home. Default: the folder of serving.toml, else HOME-serving.",
)
_program = click.option(
    "--program", help="How the engine is called here. Default: what serving.toml says, else its usual name."
)


@click.command(cls=Door)
@click.argument("ref")
@click.option("--tier", required=True, help="The tier whose suites it has to pass.")
@click.option("--again", is_flag=True, help="Run suites that have a report on exactly this set, too.")
@click.option("--everything", is_flag=True, help="Go on after a suite that did not pass.")
@click.option(
    "--alone",
    is_flag=True,
    help="Do not start the pinned version beside it: what compares is inconclusive then.",
)
@click.option(
    "--context",
    type=click.IntRange(256),
    help="Tokens of one request. Default: serving.toml, else the contract's, at most 8192.",
)
@_folder
@_program
@pass_app
def validate(
    app: App,
    ref: str,
    tier: str,
    folder: Path | None,
    program: str | None,
    context: int | None,
    *,
    again: bool,
    everything: bool,
    alone: bool,
) -> None:
    """Start the engines of TIER's profile for REF, run every suite that TIER demands and has no report on, end them."""
    from dataclasses import replace

    from pipelines.validate import validate as run

    app.demand("site")
    bench = replace(_bench(app, tier, folder, program), beside=not alone)
    if context is not None:
        bench = replace(bench, context=context)
    done = run(app.work, Ref.parse(ref), tier, bench=bench, again=again, everything=everything, say=_say)
    lines = [
        f"  {fact.name}: {fact.outcome} before, on exactly this set [{str(fact.report)[:SHORT]}]"
        for fact in done.standing
    ]
    for name, made in done.runs:
        lines.append(f"  {name}: {made.outcome} [{made.report.digest[:SHORT]}]")
        lines += [f"       {reason}" for reason in made.verdict.reasons[:10]]
    document = {
        "passed": done.passed,
        "runs": [
            {
                "suite": name,
                "outcome": made.outcome,
                "report": made.report.digest,
                "reasons": list(made.verdict.reasons),
            }
            for name, made in done.runs
        ],
        "standing": [
            {"suite": fact.name, "outcome": fact.outcome, "report": fact.report} for fact in done.standing
        ],
    }
    show(document, "\n".join(lines) or f"{tier} demands no suite.", as_json=app.settings.as_json)
    if not done.passed:
        failed = next((name for name, made in done.runs if made.outcome != "PASSED"), "a suite")
        raise SuiteNotPassed(failed, ref, "did not pass")


@click.command(cls=Door)
@click.option("--tier", "tiers", multiple=True, help="Only this tier. Default: all.")
@click.option("--dry-run", is_flag=True, help="Say what waits for whom; do nothing.")
@_folder
@_program
@pass_app
def reconcile(
    app: App, tiers: tuple[str, ...], folder: Path | None, program: str | None, *, dry_run: bool
) -> None:
    """Bring each tier as far as its mode lets it go by itself. For a timer: twice in a row changes nothing.

    manual tiers are only looked at; hybrid ones are scanned and validated; automatic ones are promoted, too, when
    every check of the gate holds.
    """
    from pipelines.reconcile import reconcile as run

    app.demand("site")
    steps = run(
        app.work,
        bench=lambda tier: _bench(app, tier, folder, program),
        clock=app.clock,
        tiers=tiers,
        dry_run=dry_run,
        say=_say,
    )
    lines = [
        (step.tier, step.mode, f"{step.model}@{step.ordinal}", step.state, ", ".join(step.done) or "-")
        for step in steps
    ]
    text = table(
        ("tier", "mode", "version", "state", "done now"), lines, empty="There is nothing to serve yet."
    )
    waiting = [
        f"{step.tier}, {step.model}@{step.ordinal}: {reason}" for step in steps for reason in step.waits_for
    ]
    show(
        [vars(step) for step in steps],
        "\n".join([text, *(f"  waits: {item}" for item in waiting)]),
        as_json=app.settings.as_json,
    )


def _say(text: str) -> None:
    say(f"  … {text}", err=True)


def _bench(app: App, tier: str, folder: Path | None, program: str | None) -> "Bench":
    """Where engines are started: by the options, else by serving.toml, else beside the home."""
    from pipelines.rollout import settings
    from pipelines.validate import Bench

    home = app.home.path
    known: Any = None
    if (home / settings.FILE).exists():
        with app.store.view() as view:
            serving = settings.read(home, tiers=[row.tier for row in view.tiers()])
        folder = folder or serving.folder
        known = serving.tiers.get(tier)
    beside = home.with_name(f"{home.name}-serving")
    words = (program,) if program else (known.program if known else ())
    return Bench(
        folder=folder or beside,
        node=this_machine(),
        context=known.context if known else None,
        program=words,
        environment=known.environment if known else {},
    )
