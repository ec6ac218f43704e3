"""`tidegate trust` and `tidegate sites`: who vouches for bundles, and who they are for."""

import json
from pathlib import Path
from typing import Any

import click

from tidegate.cli import ceremonies
from tidegate.cli.doors import Noun, pass_app, passphrase_option
from tidegate.cli.restamp import restamp
from tidegate.output import show, spoken, table
from tidegate.wiring import App, read_file

_ROOT_BYTES = 1 << 20
_IDENTITY_BYTES = 16 << 10


@click.group(cls=Noun)
def trust() -> None:
    """The root that a site trusts, and the keys behind an origin's signatures."""


for _command in (*ceremonies.COMMANDS, restamp):  # those that have a file of their own
    trust.add_command(_command)


@trust.command("show")
@click.argument("folder", required=False, type=click.Path(path_type=Path, file_okay=False))
@pass_app
def show_(app: App, folder: Path | None) -> None:
    """What this home trusts, or what it publishes: roles, people, keys, days left. With FOLDER: one ceremony.

    \b
    tidegate trust show
    tidegate trust show ceremony
    """
    if folder is not None:
        ceremonies.show_folder(app, folder)
        return
    from tidegate import trust_lines

    lines: list[str] = []
    document: dict[str, dict[str, Any]] = {}
    if app.home.is_origin:
        document["origin"], said = trust_lines.origin(app.home, now=app.now)
        lines += said
    if app.home.is_site:
        document |= _site_document(app, lines)
    show(document, "\n".join(lines), as_json=app.settings.as_json)


def _site_document(app: App, lines: list[str]) -> dict[str, dict[str, Any]]:
    """Return what a site trusts by now: the newest root that a bundle brought, after the one that was installed."""
    from pipelines.bundle.opening import remembered
    from tidegate import trust_lines

    with app.store.view() as view:
        enrolment, root = view.enrolment(), remembered(view).root
    if enrolment is None or root is None:
        lines.append("This site trusts nobody yet. Next: tidegate trust enrol ROOT.json --fingerprint …")
        return {}
    installed = trust_lines.root_document(enrolment.root.encode())
    lines.append(f"This site trusts, since {enrolment.since}")
    lines.append(f"  installed: root {installed['version']}, fingerprint {spoken(installed['fingerprint'])}")
    lines += trust_lines.root_lines(root, now=app.now)
    enrolled = {"version": installed["version"], "fingerprint": installed["fingerprint"]}
    return {"site": {**trust_lines.root_document(root), "installed": enrolled, "since": enrolment.since}}


@trust.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@pass_app
def root(app: App, file: Path) -> None:
    """Write this origin's root to FILE, for a site to enrol with; read its fingerprint to the site by telephone."""
    from signing.digests import sha256_hex
    from signing.durable import write_durably
    from signing.repository import TrustRepository

    app.demand("origin")
    data = TrustRepository(app.home.trust).load().roots[-1]
    write_durably(file, data)
    text = f"Wrote {file}.\nFingerprint, to be compared by two people: {spoken(sha256_hex(data))}"
    show({"file": str(file), "fingerprint": sha256_hex(data)}, text, as_json=app.settings.as_json)


@trust.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--fingerprint",
    required=True,
    help="As it was read to you by the origin, over another way than the file came.",
)
@click.option(
    "--upstream",
    is_flag=True,
    help="FILE is the root of the origin behind ours: take its releases when our origin passes them on.",
)
@click.option("--replace", is_flag=True, help="Leave the origin that this site trusts now for this one.")
@pass_app
def enrol(app: App, file: Path, fingerprint: str, *, upstream: bool, replace: bool) -> None:
    """Trust the root in FILE from now on. Done once, by two people who compare the fingerprint.

    A site behind a relaying site is enrolled twice: with the root of the site that packs its bundles, and with
    --upstream with the root of the origin whose models these are.
    """
    from pipelines.enrol import enrol as own
    from pipelines.enrol import enrol_upstream

    app.demand("site")
    root = read_file(file, max_bytes=_ROOT_BYTES)
    if upstream:
        row = enrol_upstream(app.work, root, fingerprint)
        text = f"This site takes releases of the origin with root {row.fingerprint[:16]}… when they are passed on."
        show({"upstream": row.fingerprint, "since": row.since}, text, as_json=app.settings.as_json)
        return
    trusted = own(app.work, root, fingerprint, replace=replace)
    text = f"This site trusts root {trusted.fingerprint[:16]}… from now on.\nNext:    tidegate trust identity FILE, for the origin."
    show({"fingerprint": trusted.fingerprint, "since": trusted.since}, text, as_json=app.settings.as_json)


@trust.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@pass_app
def identity(app: App, file: Path) -> None:
    """Write this site's public key to FILE: with it the origin checks the site's receipts."""
    from signing.durable import write_durably
    from signing.keys import public_key_json

    data = public_key_json(app.work.station)
    write_durably(file, data)
    show(
        json.loads(data),
        f"Wrote {file}.\nFingerprint: {spoken(json.loads(data)['fingerprint'])}",
        as_json=app.settings.as_json,
    )


@click.group(cls=Noun)
def sites() -> None:
    """The sites that this origin ships to."""


@sites.command("add")
@click.argument("name")
@click.option(
    "--identity",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="What the site wrote with `tidegate trust identity`.",
)
@click.option(
    "--key", "keys", multiple=True, metavar="URI|PATH", help="Officers' keys. Default: those in the home."
)
@click.option(
    "--draft", type=click.Path(path_type=Path, file_okay=False), metavar="FOLDER",
    help="Begin the ceremony there, for officers elsewhere; once it is published, repeat without it.",
)  # fmt: skip
@passphrase_option
@pass_app
def add(app: App, name: str, identity: Path, keys: tuple[str, ...], draft: Path | None) -> None:
    """Ship to the site NAME from now on. Signed by the officers who hold the targets role.

    \b
    tidegate sites add clinic --identity clinic.json
    tidegate sites add clinic --identity clinic.json --draft ceremony
    """
    from pipelines.enrol import add_site
    from tidegate.founding import add_site as delegate
    from tidegate.keyring import role_signers

    app.demand("origin")
    if draft is not None:
        ceremonies.begin_site(app, draft, name)
        return
    signers = role_signers(app.home, named=keys, passphrase=app.passphrase)
    row = add_site(
        app.work,
        name,
        read_file(identity, max_bytes=_IDENTITY_BYTES),
        publish=lambda: delegate(app.home, name, signers=signers, now=app.now),
    )
    shown = spoken(json.loads(row.identity)["fingerprint"])
    changed = "\nThis key takes the place of the one that was known before." if row.position > 1 else ""
    text = f"{name} can be shipped to.{changed}\nFingerprint, to be compared with the site's: {shown}\nNext:    tidegate bundles create --to {name} --out DIR REF…"
    show(row.content(), text, as_json=app.settings.as_json)


@sites.command("list")
@pass_app
def list_(app: App) -> None:
    """Every site: what was shipped last, and what it acknowledged."""
    app.demand("origin")
    with app.store.view() as view:
        rows = [(site, view.exports(site.name), view.receipts(site.name)) for site in view.sites()]
    lines = [
        (
            site.name,
            site.since,
            exports[-1].bundle if exports else "-",
            receipts[-1].sequence if receipts else "nothing yet",
        )
        for site, exports, receipts in rows
    ]
    empty = "No site yet. Next: tidegate sites add NAME --identity FILE"
    text = table(("site", "since", "last bundle", "acknowledged up to"), lines, empty=empty)
    document = [
        {
            **site.content(),
            "exports": [{"bundle": e.bundle, "sequence": e.sequence, "made_at": e.made_at} for e in exports],
            "acknowledged": [r.sequence for r in receipts],
        }
        for site, exports, receipts in rows
    ]
    show(document, text, as_json=app.settings.as_json)
