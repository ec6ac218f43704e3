"""`tidegate people` and `tidegate tiers`: who may approve, and what each tier demands."""

from pathlib import Path

import click

from tidegate.cli.doors import Noun, pass_app
from tidegate.output import show, size, table
from tidegate.wiring import App, read_file

_KEY_BYTES = 16 << 10


@click.group(cls=Noun)
def people() -> None:
    """The people of this home, the keys they sign with, and what they may do."""


@people.command("add")
@click.argument("name")
@click.option(
    "--key",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="OpenSSH public key file (.pub).",
)
@click.option(
    "--role",
    "roles",
    type=click.Choice(["steward", "reviewer", "author"]),
    multiple=True,
    default=("steward",),
    show_default=True,
    help="A steward approves; a reviewer waives findings and accepts licences; an author allows Python in suites.",
)
@pass_app
def add(app: App, name: str, key: Path, roles: tuple[str, ...]) -> None:
    """Say that NAME signs with this key from now on. A new key replaces the old one."""
    from pipelines.people import set_person

    row = set_person(
        app.work, name, public_key=read_file(key, max_bytes=_KEY_BYTES).decode(errors="replace"), roles=roles
    )
    show(
        row.content(),
        f"{name} may act as {row.roles} with {row.public_key.split()[0]}.",
        as_json=app.settings.as_json,
    )


@people.command("remove")
@click.argument("name")
@pass_app
def remove(app: App, name: str) -> None:
    """Say that NAME has left: approvals they signed no longer count."""
    from pipelines.people import retire_person

    row = retire_person(app.work, name)
    show(row.content(), f"{name} may no longer sign anything.", as_json=app.settings.as_json)


@people.command("list")
@pass_app
def list_(app: App) -> None:
    """Everybody, as they stand now."""
    from signing.sshsig import fingerprint

    with app.store.view() as view:
        rows = view.people()
    lines = [
        (row.name, row.roles if row.active else "has left", fingerprint(row.public_key), row.since)
        for row in rows
    ]
    text = table(
        ("name", "role", "key", "since"),
        lines,
        empty="Nobody yet. Next: tidegate people add NAME --key FILE.pub",
    )
    show([row.content() for row in rows], text, as_json=app.settings.as_json)


@click.group(cls=Noun)
def tiers() -> None:
    """The tiers of this home and what each demands before it serves a version."""


@tiers.command("list")
@pass_app
def list_tiers(app: App) -> None:
    """Every tier, lowest first."""
    from registry.policy import decode

    with app.store.view() as view:
        rules = [decode(row.body.encode()) for row in view.tiers()]
    lines = [
        (
            r.tier,
            r.mode,
            r.approvals,
            ", ".join(r.suites) or "-",
            r.served_first or "-",
            size(r.max_bytes) if r.max_bytes else "-",
            r.fresh_days or "-",
        )
        for r in rules
    ]
    headings = ("tier", "mode", "approvals", "suites", "served first in", "at most", "fresh days")
    text = table(headings, lines, empty="This home is no site: it serves nothing.")
    if app.home.profile == "solo" and rules:
        text += "\nThis is a single-person home: one approval is enough everywhere, and every report says so."
    show([vars(r) for r in rules], text, as_json=app.settings.as_json)


@tiers.command("show")
@click.argument("tier")
@pass_app
def show_tier(app: App, tier: str) -> None:
    """A tier's policy as the document that is kept of it; `tidegate policy show` has all of them to edit."""
    import json

    with app.store.view() as view:
        document = json.loads(view.tier(tier).body)
    show(document, json.dumps(document, indent=2), as_json=app.settings.as_json)
