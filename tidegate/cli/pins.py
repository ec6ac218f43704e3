"""`approve`, `promote`, `pins`, `rollback`: what a tier serves, who said so, and the way back."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from registry.names import Ref
from tidegate.cli.doors import Door, pass_app, passphrase_option
from tidegate.output import SHORT, progress, show, table
from tidegate.wiring import App

if TYPE_CHECKING:
    from pipelines.promote import Case
    from registry.entities import Pin
    from registry.gate import Finding


@click.command(cls=Door)
@click.argument("ref")
@click.option("--tier", required=True, help="The tier that it may be promoted to.")
@click.option("--person", required=True, help="Your name as `tidegate people list` shows it.")
@click.option(
    "--key",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="Your OpenSSH private key file.",
)
@click.option("--reason", required=True, help="Why; it is signed with the approval and kept.")
@passphrase_option
@pass_app
def approve(app: App, ref: str, tier: str, person: str, key: Path, reason: str) -> None:
    """Sign that REF may be promoted to TIER, on exactly the evidence that stands now.

    Evidence that comes later (another suite run, a new router contract) makes the approval void. It holds for 72 hours.
    """
    from pipelines.promote import record_approval, request_approval
    from registry.approvals import NAMESPACE, payload
    from signing.sshsig import load_private, sign

    with app.store.view() as view:
        known = {row.name for row in view.people() if row.active}
    if person not in known:
        from registry.errors import NotFound

        raise NotFound("person", person)
    case, request = request_approval(app.work, Ref.parse(ref), tier, reason=reason)
    message = payload(request, person)
    private = load_private(key, passphrase=app.passphrase)
    signature = sign(message, namespace=NAMESPACE, private_key=private)
    row = record_approval(app.work, request, person, signature, message)
    version = case.version
    text = (
        f"{person} approves {version.model}@{version.ordinal} ({version.digest[:SHORT]}) for {tier}, "
        f"on {len(request.evidence)} pieces of evidence, until {json.loads(message)['expires_at']}.\n"
        f"Next:    tidegate promote {ref} --tier {tier} --dry-run"
    )
    show({**row.content(), "evidence": list(request.evidence)}, text, as_json=app.settings.as_json)


@click.command(cls=Door)
@click.argument("ref")
@click.option("--tier", required=True, help="The tier that shall serve it.")
@click.option("--reason", default="", help="Kept in the audit log.")
@click.option(
    "--dry-run", is_flag=True, help="Show the gate and change nothing; exits 0 only if the gate is open."
)
@pass_app
def promote(app: App, ref: str, tier: str, reason: str, *, dry_run: bool) -> None:
    """Let TIER serve REF, if every check of the gate holds. Shows all of them, with evidence and next steps."""
    from pipelines.promote import case as look
    from pipelines.promote import promote as pin
    from registry.gate import GateClosed

    parsed = Ref.parse(ref)
    with app.store.view() as view:
        case = look(app.work, view, parsed, tier)
    if not app.settings.as_json:
        click.echo(gate_text(case.findings))
    if not case.open:
        if app.settings.as_json:
            show(case_document(case, promoted=False), "", as_json=True)
        raise GateClosed(ref, tier, case.findings)
    if not dry_run:
        case = pin(app.work, parsed, tier, reason=reason)
    version = case.version
    said = "would be served by" if dry_run else "is now served by"
    text = f"{version.model}@{version.ordinal} ({version.digest[:SHORT]}) {said} {tier}."
    show(case_document(case, promoted=not dry_run), text, as_json=app.settings.as_json)


def gate_text(findings: Sequence["Finding"]) -> str:
    """Every finding on a line, its next step below it."""
    lines = []
    for finding in findings:
        evidence = (
            f"  [{', '.join(digest[:SHORT] for digest in finding.evidence)}]" if finding.evidence else ""
        )
        lines.append(f"  {'yes' if finding.ok else 'NO '}  {finding.check}: {finding.message}{evidence}")
        if not finding.ok:
            lines.append(f"       Next: {finding.next_step}")
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
        "findings": [
            {
                "check": f.check,
                "ok": f.ok,
                "message": f.message,
                "next_step": f.next_step,
                "evidence": list(f.evidence),
            }
            for f in case.findings
        ],
    }


@click.command(cls=Door)
@click.option(
    "--at", metavar="DATE", help="What was served then: 2026-11-20 (its last second) or 2026-11-20T08:30:00Z."
)
@click.option("--history", is_flag=True, help="Every line ever pinned, oldest first.")
@pass_app
def pins(app: App, at: str | None, *, history: bool) -> None:
    """What each tier serves, now or at any moment."""
    from signing.times import from_rfc3339, rfc3339

    moment = None
    if at is not None:
        moment = rfc3339(from_rfc3339(f"{at}T23:59:59Z" if len(at) == 10 else at))
    with app.store.view() as view:
        rows = view.pin_history() if history else view.pins(at=moment)
        gone = {row.version for row in view.withdrawals()}
    if history and moment is not None:
        rows = [row for row in rows if row.since <= moment]
    lines = [
        (
            row.tier,
            f"{row.model}@{row.ordinal}",
            row.version[:SHORT],
            row.kind,
            row.since,
            row.actor,
            "WITHDRAWN" if row.version in gone else row.reason,
        )
        for row in rows
    ]
    headings = ("tier", "serves", "digest", "by", "since", "who", "reason")
    text = table(
        headings, lines, empty="No tier serves anything. Next: tidegate promote REF --tier TIER --dry-run"
    )
    show([pin_document(row) for row in rows], text, as_json=app.settings.as_json)


def pin_document(row: "Pin") -> dict[str, Any]:
    """One line for programs."""
    return {**row.content(), "evidence": json.loads(row.evidence)}


@click.command(cls=Door)
@click.argument("model")
@click.option("--tier", required=True, help="The tier that goes back.")
@click.option("--reason", required=True, help="Kept in the audit log.")
@pass_app
def rollback(app: App, model: str, tier: str, reason: str) -> None:
    """Return TIER to the last good version of MODEL, with the contract, engine profile and router it had."""
    from pipelines.rollback import roll_back
    from registry.names import model_name

    with progress("reading the version back") as bar:
        done = roll_back(app.work, model_name(model), tier, reason=reason, progress=bar)
    text = f"{tier} serves {model}@{done.pin.ordinal} ({done.pin.version[:SHORT]}) again; it left {model}@{done.left.ordinal}."
    if done.router_restored:
        text += f"\nThe tier's router contract and engine profile went back with it: set the engines to {str(done.pin.profile)[:SHORT]}."
    document = {**pin_document(done.pin), "left": done.left.version, "router_restored": done.router_restored}
    show(document, text, as_json=app.settings.as_json)
