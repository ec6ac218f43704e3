"""The commands of `tidegate models` about what its files hold: scanned, scanned anew, waived, seen by others."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from registry.names import Ref
from tidegate.cli.doors import Door, pass_app
from tidegate.output import SHORT, progress, show
from tidegate.wiring import App

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pipelines.rescan import Rescanned
    from pipelines.scan import ScanResult


def scan_lines(scan: "ScanResult") -> list[str]:
    """What a scan found, for people."""
    facts = scan.facts
    licence = facts.licence.state.replace("-", " ") + (
        f" ({', '.join(facts.licence.ids)})" if facts.licence.ids else ""
    )
    lines = [
        f"  scan: {', '.join(facts.formats) or 'no weights'}; {facts.parameter_count:,} parameters; licence {licence}"
    ]
    lines += [f"    {': '.join(filter(None, (f.severity, f.path, f.message)))}" for f in scan.findings]
    return lines


@click.command(cls=Door)
@click.argument("ref")
@pass_app
def scan(app: App, ref: str) -> None:
    """Scan a version's held files again, by today's rules; the finding is kept beside the earlier ones.

    What reviewers of this home have waived (`decisions waive`) blocks no more: what an origin waives counts at the
    origin only.
    """
    from pipelines.intake.record import rescan as do

    report, result = do(app.work, Ref.parse(ref))
    text = "\n".join([f"{ref}: {report.outcome}  [{report.digest[:SHORT]}]", *scan_lines(result)])
    show(
        {"report": report.digest, "outcome": report.outcome, **result.to_json()},
        text,
        as_json=app.settings.as_json,
    )


@click.command(cls=Door)
@click.option(
    "--dry-run", is_flag=True, help="Only say which versions would be scanned, and how much that is."
)
@pass_app
def rescan(app: App, *, dry_run: bool) -> None:
    """Scan every held version whose newest scan is by older rules, and say what changed.

    Safe to repeat: a run that was stopped goes on where it was, and a second run finds nothing to do.
    """
    from pipelines.rescan import outlook, rescan_all

    plan = outlook(app.work)
    lines = [f"{version.model}@{version.ordinal}: scanned by older rules" for version in plan.due]
    done = []
    if not dry_run and plan.due:
        with progress("scanning", plan.size) as bar:
            done = rescan_all(app.work, plan.due, progress=bar)
        lines = [line for item in done for line in _rescan_lines(item)]
    lines += [f"{version.model}@{version.ordinal}: its bytes are not here" for version in plan.without_bytes]
    lines.append(f"{len(done)} of {len(plan.due)} scanned by today's rules; {plan.current} were already")
    document = {
        "due": [version.digest for version in plan.due],
        "current": plan.current,
        "without_bytes": [version.digest for version in plan.without_bytes],
        "scanned": [_rescan_document(item) for item in done],
    }
    show(document, "\n".join(lines), as_json=app.settings.as_json)


def _rescan_lines(item: "Rescanned") -> "Iterator[str]":
    serving = f"; served by {', '.join(item.served_in)}" if item.served_in else ""
    yield f"{item.version.model}@{item.version.ordinal}: {item.outcome}{serving}"
    for sign, findings in (("new", item.new), ("gone", item.gone)):
        for found in findings:
            yield f"    {sign}: {': '.join(filter(None, (found.severity, found.path, found.message)))} [{found.rule}]"


def _rescan_document(item: "Rescanned") -> dict[str, Any]:
    return {
        "version": item.version.digest,
        "outcome": item.outcome,
        "rules_before": item.before.ruleset if item.before else None,
        "served_by": list(item.served_in),
        "new": [dict(vars(found)) for found in item.new],
        "gone": [dict(vars(found)) for found in item.gone],
    }


@click.command("second-opinion", cls=Door)
@click.argument("ref")
@click.argument("file", type=click.Path(path_type=Path))
@pass_app
def second_opinion(app: App, ref: str, file: Path) -> None:
    """Keep what another scanner said of a version: FILE as picklescan, fickling or modelaudit wrote it.

    Evidence for people. It decides nothing, and a clean one changes nothing: each of these has passed files that
    run code.
    """
    from pipelines.second_opinion import MAX_REPORT, take_opinion
    from signing.canonical import parse

    row, opinion = take_opinion(app.work, Ref.parse(ref), file)
    lines = [f"{opinion.tool}: {opinion.verdict}, {opinion.counted} remarks about {opinion.scanned} files"]
    lines += [f"  {': '.join(filter(None, (r.severity, r.place, r.message)))}" for r in opinion.remarks[:20]]
    lines.append(f"  noted beside {ref} [{row.digest[:SHORT]}]; no gate looks at it")
    show(
        parse(row.body.encode(), max_bytes=MAX_REPORT, at="report") | {"report": row.digest},
        "\n".join(lines),
        as_json=app.settings.as_json,
    )
