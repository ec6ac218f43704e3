"""`approve`, `promote`, `pins`, `rollback`: what a tier serves, who said so, and the way back."""

import json
from typing import TYPE_CHECKING, Any

import click

from registry.names import Ref
from tidegate.cli.doors import Door, Reason, pass_app
from tidegate.cli.gate import case_document, gate_page
from tidegate.cli.signatures import Hand, signing_options
from tidegate.output import SHORT, progress, show, table
from tidegate.wiring import App

if TYPE_CHECKING:
    from registry.entities import Approval, Pin


@click.command(cls=Door)
@click.argument("ref")
@click.option("--tier", required=True, help="The tier that it may be promoted to.")
@signing_options()
@pass_app
def approve(app: App, ref: str, tier: str, *, hand: Hand) -> None:
    """Sign that REF may be promoted to TIER, on exactly the evidence that stands now.

    Evidence that comes later (another suite run, a new router contract) makes the approval void. It holds for 72
    hours, and for one promotion.

    \b
    With a key file:  tidegate approve REF --tier T --person P --reason WHY --key FILE
    With a token:     tidegate approve REF --tier T --person P --reason WHY --write-payload FILE
                      ssh-keygen -Y sign -n approval@tidegate -f KEY FILE
                      tidegate approve REF --tier T --person P --payload FILE --signature FILE.sig
    """
    from pipelines.approve import record_approval
    from registry.approvals import NAMESPACE

    app.demand("site")
    parsed = Ref.parse(ref)
    signed = hand.signed(
        app,
        lambda reason: _request(app, parsed, tier, hand.name, reason),
        namespace=NAMESPACE,
        said=lambda asked: (
            f"{asked['model']}@{asked['ordinal']} for {asked['tier']}, on {len(asked['evidence'])} pieces of "
            f"evidence, until {asked['expires_at']}"
        ),
    )
    if signed is not None:
        message, armored = signed
        row = record_approval(app.work, parsed, tier, hand.name, payload=message, signature=armored)
        _show_approval(app, parsed, row)


def _request(app: App, ref: Ref, tier: str, person: str, reason: str) -> bytes:
    from pipelines.approve import request_approval, steward
    from registry import approvals

    with app.store.view() as view:
        steward(view, person)
    _, request = request_approval(app.work, ref, tier, reason=reason)
    return approvals.payload(request, person)


def _show_approval(app: App, ref: Ref, row: "Approval") -> None:
    """What was kept, and whether it counts as things stand."""
    from pipelines.case import case as look

    with app.store.view() as view:
        judged = look(app.work, view, ref, row.tier).approvals
    against = next((item.detail for item in judged.refused if item.approval.digest == row.digest), None)
    said = json.loads(row.payload)
    text = (
        f"{row.person} approves {said['model']}@{said['ordinal']} ({row.version[:SHORT]}) for {row.tier}, "
        f"on {len(said['evidence'])} pieces of evidence, until {said['expires_at']}.\n"
    )
    if against is not None:
        text += f"It does NOT count as things stand: {against}.\n"
    text += f"Next:    tidegate promote {ref} --tier {row.tier} --dry-run"
    document = {
        **row.content(), "evidence": said["evidence"], "counts": against is None, "why_not": against,
    }  # fmt: skip
    show(document, text, as_json=app.settings.as_json)


@click.command(cls=Door)
@click.argument("ref")
@click.option("--tier", required=True, help="The tier that shall serve it.")
@click.option("--reason", type=Reason(), help="Kept in the audit log.")
@click.option(
    "--dry-run", is_flag=True, help="Show the gate and change nothing; exits 0 only if the gate is open."
)
@pass_app
def promote(app: App, ref: str, tier: str, reason: str | None, *, dry_run: bool) -> None:
    """Let TIER serve REF, if every check of the gate holds. Shows all of them, with evidence and next steps."""
    from pipelines.case import case as look
    from pipelines.promote import promote as pin
    from pipelines.promote import same_set
    from registry.gate import GateClosed

    app.demand("site")
    parsed = Ref.parse(ref)
    with app.store.view() as view:
        case = look(app.work, view, parsed, tier)
        served = view.pin(tier, case.version.model)
    if not app.settings.as_json:
        click.echo(gate_page(case))
    if not case.open:
        if app.settings.as_json:
            show(case_document(case, promoted=False), "", as_json=True)
        elif served is not None and same_set(served, case):
            click.echo(
                f"  {tier} serves exactly this already, since {served.since}; there is nothing to promote."
            )
        raise GateClosed(ref, tier, case.findings)
    if not dry_run:
        case = pin(app.work, parsed, tier, reason=reason or "")
    version = case.version
    said = "would be served by" if dry_run else "is now served by"
    text = f"{version.model}@{version.ordinal} ({version.digest[:SHORT]}) {said} {tier}."
    if not dry_run:
        text += (
            f"\nNext:    tidegate rollout {tier} {version.model}, where serving.toml says how it is served"
        )
    show(case_document(case, promoted=not dry_run), text, as_json=app.settings.as_json)


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
    empty = "No tier serves anything. Next: tidegate promote REF --tier TIER --dry-run"
    text = table(
        headings, lines, empty=empty if moment is None else f"No tier had been given anything by {moment}."
    )
    show([pin_document(row) for row in rows], text, as_json=app.settings.as_json)


def pin_document(row: "Pin") -> dict[str, Any]:
    """One line for programs."""
    return {**row.content(), "evidence": json.loads(row.evidence)}


@click.command(cls=Door)
@click.argument("model")
@click.option("--tier", required=True, help="The tier that goes back.")
@click.option("--reason", type=Reason(), required=True, help="Kept in the audit log.")
@pass_app
def rollback(app: App, model: str, tier: str, reason: str) -> None:
    """Return TIER to the last good version of MODEL, with the contract, engine profile and router it had."""
    from pipelines.rollback import roll_back
    from registry.names import model_name

    app.demand("site")
    with progress("reading the version back") as bar:
        done = roll_back(app.work, model_name(model), tier, reason=reason, progress=bar)
    text = f"{tier} serves {model}@{done.pin.ordinal} ({done.pin.version[:SHORT]}) again; it left {model}@{done.left.ordinal}."
    if done.router_restored:
        text += "\nThe tier's router contract and engine profile went back with it."
    text += f"\nNext:    tidegate rollout {tier} {model}, where serving.toml says how it is served"
    document = {**pin_document(done.pin), "left": done.left.version, "router_restored": done.router_restored}
    show(document, text, as_json=app.settings.as_json)
