"""`tidegate gate`: one page that says whether a version may serve in a tier: what holds, what does not, who can do what."""

from typing import TYPE_CHECKING, Any

import click

from registry.names import Ref
from tidegate.banner import show_banner
from tidegate.cli.doors import Door, pass_app
from tidegate.output import SHORT, show
from tidegate.wiring import App

if TYPE_CHECKING:
    from pipelines.case import Case


@click.command(cls=Door)
@click.argument("ref")
@click.option("--tier", required=True, help="The tier that it may be promoted to.")
@pass_app
def gate(app: App, ref: str, tier: str) -> None:
    """Say whether REF may be promoted to TIER, with every reason. Changes nothing; exits 89 while something is against it."""
    from pipelines.case import case as look
    from registry.gate import GateClosed

    app.demand("site")
    with app.store.view() as view:
        case = look(app.work, view, Ref.parse(ref), tier)
    show(case_document(case, promoted=False), gate_page(case), as_json=app.settings.as_json)
    if not case.open:
        show_banner(app)  # a refusal would keep it quiet
        raise GateClosed(ref, tier, case.findings)


def gate_page(case: "Case") -> str:
    """Ready or not; every finding on a line; below those against it, what to do and who can."""
    version = case.version
    against = [finding for finding in case.findings if not finding.ok]
    state = (
        "READY" if not against else f"NOT READY, {len(against)} of {len(case.findings)} checks are against"
    )
    lines = [f"{version.model}@{version.ordinal} ({version.digest[:SHORT]}) for {case.tier}: {state}"]
    for finding in case.findings:
        evidence = (
            f"  [{', '.join(digest[:SHORT] for digest in finding.evidence)}]" if finding.evidence else ""
        )
        lines.append(f"  {'ok ' if finding.ok else 'NO '}  {finding.check}: {finding.message}{evidence}")
        if not finding.ok:
            lines.append(f"       Next ({finding.who}): {finding.next_step}")
    return "\n".join(lines)


def case_document(case: "Case", *, promoted: bool) -> dict[str, Any]:
    """The gate's answer for programs."""
    return {
        "version": case.version.digest,
        "model": case.version.model,
        "ordinal": case.version.ordinal,
        "tier": case.tier,
        "open": case.open,
        "promoted": promoted,
        "findings": [{**vars(finding), "evidence": list(finding.evidence)} for finding in case.findings],
    }
