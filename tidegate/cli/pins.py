"""`promote`, `pins`, `rollback`: what a tier serves, and the way back."""

import json
from typing import TYPE_CHECKING, Any

import click

from registry.names import Ref
from tidegate.cli.doors import Door, Reason, pass_app
from tidegate.cli.gate import case_document, gate_page
from tidegate.cli.signatures import Hand, signing_options
from tidegate.output import SHORT, progress, say, show, table
from tidegate.wiring import App

if TYPE_CHECKING:
    from pipelines.break_glass import Override
    from pipelines.case import Case
    from registry.entities import Pin


@click.command(cls=Door)
@click.argument("ref")
@click.option("--tier", required=True, help="The tier that shall serve it.")
@click.option(
    "--dry-run", is_flag=True, help="Show the gate and change nothing; exits 0 only if the gate is open."
)
@click.option(
    "--break-glass",
    is_flag=True,
    help="Promote on your signed word alone, past what is only late or missing. Loud, reviewed, shown for ever.",
)
@signing_options(only_with="break_glass")
@pass_app
def promote(app: App, ref: str, tier: str, *, dry_run: bool, break_glass: bool, hand: Hand) -> None:
    """Let TIER serve REF, if every check of the gate holds. Shows all of them, with evidence and next steps.

    --break-glass overrides missing approvals and suites, the tier below, the age of the newest bundle and an engine's
    advisories; never what was found against the files, nor somebody's rejection.

    \b
    tidegate promote acme/coder@2 --tier org --reason 'for everybody'
    tidegate promote acme/coder@2 --tier org --break-glass --person carla --reason 'outage 4711' --key carla.key
    """
    app.demand("site")
    parsed = Ref.parse(ref)
    if break_glass and dry_run:
        raise click.UsageError("--dry-run shows the gate; leave --break-glass out")
    if break_glass:
        _break_glass(app, parsed, tier, hand)
    else:
        _promote(app, parsed, tier, hand.reason or "", dry_run=dry_run)


def _promote(app: App, ref: Ref, tier: str, reason: str, *, dry_run: bool) -> None:
    from pipelines.case import case as look
    from pipelines.promote import promote as pin
    from pipelines.promote import same_set
    from registry.gate import GateClosed

    with app.store.view() as view:
        case = look(app.work, view, ref, tier)
        served = view.pin(tier, case.version.model)
    if not app.settings.as_json:
        say(gate_page(case))
    if not case.open:
        if app.settings.as_json:
            show(case_document(case, promoted=False), "", as_json=True)
        elif served is not None and same_set(served, case):
            say(f"  {tier} serves exactly this already, since {served.since}; there is nothing to promote.")
        raise GateClosed(str(ref), tier, case.findings)
    if not dry_run:
        case = pin(app.work, ref, tier, reason=reason)
    _show_promoted(app, case, promoted=not dry_run)


def _show_promoted(app: App, case: "Case", *, promoted: bool, how: str = "") -> None:
    version, tier = case.version, case.tier
    said = "is now served by" if promoted else "would be served by"
    text = f"{version.model}@{version.ordinal} ({version.digest[:SHORT]}) {said} {tier}{how}."
    if promoted:
        text += (
            f"\nNext:    tidegate rollout {tier} {version.model}, where serving.toml says how it is served"
        )
    show(case_document(case, promoted=promoted), text, as_json=app.settings.as_json)


def _break_glass(app: App, ref: Ref, tier: str, hand: Hand) -> None:
    """Show the page, have it signed, pin on it."""
    from pipelines.break_glass import promote_by_break_glass, request_break_glass
    from registry.decisions import NAMESPACE

    def make(reason: str) -> bytes:
        asked, message = request_break_glass(app.work, ref, tier, hand.name, reason=reason)
        if not app.settings.as_json:
            say(asked.page)
        return message

    signed = hand.signed(
        app,
        make,
        namespace=NAMESPACE,
        said=lambda told: (
            f"to break the glass for {told['details']['model']} in {told['details']['tier']}, past "
            f"{', '.join(told['details']['checks'])}, until {told['expires_at']}"
        ),
    )
    if signed is not None:
        case, _ = promote_by_break_glass(
            app.work, ref, tier, hand.name, payload=signed[0], signature=signed[1]
        )
        _show_promoted(app, case, promoted=True, how=f", on {hand.name}'s word alone")


@click.command(cls=Door)
@click.option(
    "--at", metavar="DATE", help="What was served then: 2026-11-20 (its last second) or 2026-11-20T08:30:00Z."
)
@click.option("--history", is_flag=True, help="Every line ever pinned, oldest first.")
@pass_app
def pins(app: App, at: str | None, *, history: bool) -> None:
    """What each tier serves, now or at any moment."""
    from pipelines.break_glass import overrides
    from signing.times import from_rfc3339, rfc3339

    moment = None
    if at is not None:
        moment = rfc3339(from_rfc3339(f"{at}T23:59:59Z" if len(at) == 10 else at))
    with app.store.view() as view:
        rows = view.pin_history() if history else view.pins(at=moment)
        broken = {
            (item.pin.tier, item.pin.model, item.pin.position): item for item in overrides(app.work, view)
        }
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
            _remark(row, broken.get((row.tier, row.model, row.position)), withdrawn=row.version in gone),
        )
        for row in rows
    ]
    headings = ("tier", "serves", "digest", "by", "since", "who", "reason")
    empty = "No tier serves anything. Next: tidegate promote REF --tier TIER --dry-run"
    text = table(
        headings, lines, empty=empty if moment is None else f"No tier had been given anything by {moment}."
    )
    documents = [pin_document(row, broken=broken.get((row.tier, row.model, row.position))) for row in rows]
    show(documents, text, as_json=app.settings.as_json)


def _remark(row: "Pin", broken: "Override | None", *, withdrawn: bool) -> str:
    said = "WITHDRAWN" if withdrawn else row.reason
    return said if broken is None else f"{broken.said}: {said}"


def pin_document(row: "Pin", *, broken: "Override | None" = None) -> dict[str, Any]:
    """One line for programs."""
    document = {**row.content(), "evidence": json.loads(row.evidence)}
    return document if broken is None else {**document, "break_glass": broken.document()}


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
