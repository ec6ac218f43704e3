"""`tidegate policy`: what tiers demand, in one file that people write, review, rehearse and sign."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tidegate.cli.doors import Noun, pass_app
from tidegate.cli.signatures import Hand, signing_options
from tidegate.errors import PolicyNotClean
from tidegate.output import SHORT, show, table
from tidegate.wiring import App, read_file

if TYPE_CHECKING:
    from pipelines.policies import Rehearsal

_file = click.argument("file", type=click.Path(path_type=Path, dir_okay=False))


@click.group(cls=Noun)
def policy() -> None:
    """The policy of all tiers (tiers.toml): written, checked, rehearsed, put in force."""


@policy.command("show")
@pass_app
def show_(app: App) -> None:
    """The policy in force, as a tiers.toml to edit."""
    from pipelines.policies import in_force
    from registry.tiers_file import write

    app.demand("site")
    with app.store.view() as view:
        rules = in_force(app.work, view)
    show([vars(rule) for rule in rules], write(rules).rstrip(), as_json=app.settings.as_json)


@policy.command()
@_file
@pass_app
def check(app: App, file: Path) -> None:
    """Say whether FILE can be put in force here, and which names in it mean nothing here yet."""
    found = _rehearse(app, _text(file))
    tiers = ", ".join(rules.tier for rules in found.policies)
    lines = [
        f"A policy for {tiers} ({found.digest[:SHORT]}).",
        *(f"  Note: {text}." for text in found.unknown),
    ]
    show(_document(found), "\n".join(lines), as_json=app.settings.as_json)


@policy.command()
@_file
@pass_app
def diff(app: App, file: Path) -> None:
    """What FILE would change, and which pinned versions it would break. Exits 193 if it would break any."""
    found = _rehearse(app, _text(file))
    lines = [str(item) for item in found.differences] or ["Nothing changes."]
    lines += [f"Would break: {item}" for item in found.broken]
    lines += [f"Note: {text}." for text in found.unknown]
    show(_document(found), "\n".join(lines), as_json=app.settings.as_json)
    if found.broken:
        raise PolicyNotClean(len(found.broken))


@policy.command()
@_file
@click.option(
    "--although-it-breaks",
    "although",
    metavar="TIER:MODEL",
    multiple=True,
    help="A pinned version that may stay although the new policy would not let it in. It goes on serving.",
)
@signing_options(optional=True)
@pass_app
def apply(app: App, file: Path, although: tuple[str, ...], *, hand: Hand) -> None:
    """Put FILE in force, signed by a steward. What tiers serve now goes on serving.

    Before anybody is registered who could sign (`tidegate people add`), no signature is asked for.
    """
    from pipelines.decide import record_decision, request_decision
    from pipelines.policies import apply_policy, demand_whole
    from registry.decisions import NAMESPACE, Kind

    text = _text(file)
    found = _rehearse(app, text)
    demand_whole(found, although)  # before anybody signs
    if hand.given:
        signed = hand.signed(
            app,
            lambda reason: request_decision(
                app.work, Kind.APPLY_POLICY, found.digest, hand.name, reason=reason
            ),
            namespace=NAMESPACE,
            said=lambda asked: f"the policy file {asked['subject'][:SHORT]}",
        )
        if signed is None:
            return
        record_decision(app.work, hand.name, payload=signed[0], signature=signed[1])
    done = apply_policy(app.work, text, although=although)
    lines = ["Nothing changes: it is in force already."]
    if done.differences:
        lines = [*map(str, done.differences), f"In force: {done.digest[:SHORT]}."]
        lines += [f"Goes on serving, and would not be let in now: {item}" for item in done.broken]
    show(_document(done), "\n".join(lines), as_json=app.settings.as_json)


@policy.command()
@pass_app
def history(app: App) -> None:
    """Every policy file that was put in force, who signed it, and every change of a tier; `--json` has the texts."""
    with app.store.view() as view:
        files = view.documents("policy")
        changes = [row for tier in view.tiers() for row in view.tier_history(tier.tier)]
        signed = {
            row.digest: [one.person for one in view.decisions("apply-policy", row.digest)] for row in files
        }
    lines = [
        (row.since, row.tier, row.position, row.actor) for row in sorted(changes, key=lambda row: row.since)
    ]
    text = table(("since", "tier", "its policy's number", "by"), lines, empty="This home is no site.")
    written = [(row.added_at, row.digest[:SHORT], ", ".join(signed[row.digest]) or "nobody") for row in files]
    if written:
        text = f"{table(('file of', 'digest', 'signed by'), written, empty='')}\n\n{text}"
    document = {
        "files": [{**row.content(), "body": row.body, "signed_by": signed[row.digest]} for row in files],
        "changes": [row.content() for row in changes],
    }
    show(document, text, as_json=app.settings.as_json)


def _text(file: Path) -> str:
    from registry.errors import DocumentRefused
    from registry.policy import MAX_BYTES

    try:
        return read_file(file, max_bytes=MAX_BYTES).decode()
    except UnicodeDecodeError as exc:
        raise DocumentRefused(f"is not UTF-8 ({exc.reason})", at=str(file)) from exc


def _rehearse(app: App, text: str) -> "Rehearsal":
    from pipelines.policies import rehearse

    app.demand("site")
    with app.store.view() as view:
        return rehearse(app.work, view, text)


def _document(found: "Rehearsal") -> dict[str, Any]:
    return {
        "digest": found.digest,
        "policies": [vars(rules) for rules in found.policies],
        "differences": [str(item) for item in found.differences],
        "breaks": [
            {"pin": item.name, "ordinal": item.ordinal, "reasons": item.reasons} for item in found.broken
        ],
        "unknown": found.unknown,
    }
