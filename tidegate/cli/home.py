"""`tidegate init`, `upgrade` and `doctor`: a home is made, brought to this release, and looked over."""

import click

from registry.home import PROFILES, ROLES
from tidegate import doctor as looking
from tidegate import upgrading
from tidegate.cli.doors import Door, pass_app, passphrase_option
from tidegate.errors import DoctorFoundProblems
from tidegate.output import show
from tidegate.wiring import App, check_database


@click.command(cls=Door)
@click.argument("name")
@click.option(
    "--role", "roles", type=click.Choice(ROLES), multiple=True, required=True,
    help="origin: fetches and packs. site: receives and serves. Give both for a home that does both.",
)  # fmt: skip
@click.option(
    "--profile", type=click.Choice(PROFILES), default="solo", show_default=True,
    help="solo: one person holds every key, and every report says so. officers: root and catalog 2 of 3, site 2 of 2. "
    "hybrid: the same people with a classical and an ML-DSA key each, 4 of 6 and 3 of 4. cnsa2: ML-DSA-87 alone.",
)  # fmt: skip
@click.option(
    "--database",
    metavar="URL",
    help="postgresql+psycopg://USER@HOST/NAME. Default: an SQLite file in the home.",
)
@click.option(
    "--officers-elsewhere", is_flag=True,
    help="Make no officers' keys here: they come from a ceremony, `tidegate trust init FOLDER`.",
)  # fmt: skip
@passphrase_option
@pass_app
def init(
    app: App,
    name: str,
    roles: tuple[str, ...],
    profile: str,
    database: str | None,
    *,
    officers_elsewhere: bool,
) -> None:
    """Make a home called NAME: its database, blob store, keys and trust.

    \b
    On the connected side:     tidegate init harbour --role origin
    On the disconnected side:  tidegate init clinic --role site
    """
    from tidegate.founding import found

    if database is not None:
        check_database(database)
    home = found(
        app.settings.home,
        name=name,
        roles=roles,
        profile=profile,
        database=database,
        passphrase=lambda key: app.passphrase(key, confirm=True),
        actor=app.settings.actor,
        now=app.now,
        officers_elsewhere=officers_elsewhere,
    )
    next_step = "tidegate trust enrol ROOT.json --fingerprint …"
    if home.is_origin:
        next_step = "tidegate models fetch hf:NAMESPACE/NAME"
        if officers_elsewhere:
            next_step = "tidegate trust init FOLDER"
    show(
        {"home": str(home.path), "name": name, "roles": list(roles), "profile": profile},
        f"Made {' and '.join(roles)} {name} in {home.path} ({profile}).\nNext:    {next_step}",
        as_json=app.settings.as_json,
    )


@click.command(cls=Door)
@click.option("--plan", is_flag=True, help="Only say what would be done; change nothing.")
@pass_app
def upgrade(app: App, *, plan: bool) -> None:
    """Bring a home of an older release to this one, once, after the new release was installed.

    Stop whatever works in the home and back it up first: an older release reads it no more. It happens as a whole or
    not at all; stopped at any moment, or on a full disk, the home is as it was, and the same command finishes the job.
    Every record stays, word for word.
    """
    done = upgrading.look(app) if plan else upgrading.upgrade(app)
    if done.found == done.wanted:
        text = f"{app.home.name} is of this release already (shape {done.found})."
    elif plan:
        text = f"{app.home.name} would go from shape {done.found} to {done.wanted}.\nNext:    back the home up, then tidegate upgrade"
    else:
        text = f"{app.home.name} went from shape {done.found} to {done.wanted}.\nNext:    tidegate doctor"
    document = {
        "home": str(app.home.path),
        "found": done.found,
        "wanted": done.wanted,
        "upgraded": done.upgraded,
    }
    show(document, text, as_json=app.settings.as_json)


@click.command(cls=Door)
@click.option("--deep", is_flag=True, help="Also read every blob and compare it with its name.")
@pass_app
def doctor(app: App, *, deep: bool) -> None:
    """Look the home over: what is wrong with it, and what to do about each thing."""
    findings = looking.examine(app, deep=deep)
    problems = [finding for finding in findings if not finding.ok]
    lines = [
        f"{'ok     ' if finding.ok else 'PROBLEM'}  {finding.check}: {finding.message}"
        + (f"\n         Next: {finding.next_step}" if not finding.ok else "")
        for finding in findings
    ]
    document = [
        {"check": f.check, "ok": f.ok, "message": f.message, "next_step": None if f.ok else f.next_step}
        for f in findings
    ]
    show(document, "\n".join(lines), as_json=app.settings.as_json)
    if problems:
        raise DoctorFoundProblems(len(problems))
