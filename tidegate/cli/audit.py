"""`tidegate audit`: the log, its proof, and the account of one version."""

import click

from registry.names import Ref
from tidegate.cli.doors import Noun, pass_app
from tidegate.errors import AuditBroken
from tidegate.output import show
from tidegate.wiring import App


@click.group(cls=Noun)
def audit() -> None:
    """What happened here, and the proof that nobody changed the record of it."""


@audit.command()
@click.option(
    "--last", type=click.IntRange(min=1), default=50, show_default=True, help="How many events, newest last."
)
@click.option("--subject", help="Only events about this: a version's digest, a tier, a bundle, a person.")
@click.option("--kind", help="Only events of this kind, as the log writes it.")
@pass_app
def log(app: App, last: int, subject: str | None, kind: str | None) -> None:
    """Events in the order in which they happened."""
    with app.store.view() as view:
        entries = view.events(subject=subject, kind=kind, last=last)
    lines = [f"{e.position:>5}  {e.at}  {e.actor:<12} {e.kind:<20} {_brief(e.subject)}" for e in entries]
    document = [
        {
            "position": e.position,
            "at": e.at,
            "actor": e.actor,
            "kind": e.kind,
            "subject": e.subject,
            "note": dict(e.note),
        }
        for e in entries
    ]
    show(document, "\n".join(lines) or "No such event.", as_json=app.settings.as_json)


@audit.command()
@pass_app
def verify(app: App) -> None:
    """Check the log's tree and signatures, and replay it against every table."""
    from tidegate.keyring import log_verifier_key
    from tidegate.verifying import verify as check

    problems = check(app.store, app.home)
    if problems:
        raise AuditBroken(tuple(problems))
    with app.store.view() as view:
        head = view.head()
    assert head is not None, "a home has at least the event of its making"
    key = log_verifier_key(app.home)
    text = (
        f"{head.size} events, every head signed, the log replayed and equal to the tables.\n"
        f"Head:    {head.root}\nKey:     {key}"
    )
    document = {
        "ok": True,
        "size": head.size,
        "root": head.root,
        "checkpoint": head.note,
        "verifier_key": key,
    }
    show(document, text, as_json=app.settings.as_json)


@audit.command()
@click.argument("ref")
@pass_app
def explain(app: App, ref: str) -> None:
    """The whole account of one version: whence, scanned how, by which bundle, judged, approved and served."""
    from pipelines.account import account

    found = account(app.work, Ref.parse(ref))
    show(found.document, found.text, as_json=app.settings.as_json)


def _brief(subject: str) -> str:
    return f"{subject[:16]}…" if len(subject) == 64 else subject
