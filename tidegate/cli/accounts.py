"""`tidegate accounts` and `tidegate tokens`: who may use the doors, at the machine itself."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from registry.access import Role, parse_grants
from tidegate.cli.doors import Noun, pass_app
from tidegate.output import show, table
from tidegate.wiring import App

if TYPE_CHECKING:
    from registry.accounts import Accounts
    from registry.entities import AccessToken, Account
    from registry.store_doors import DoorStore

_GRANTS = f"Grants with commas between them: {', '.join(Role)}; for one tier steward:org."
_grants = click.option("--grants", required=True, metavar="GRANTS", help=_GRANTS)


@click.group(cls=Noun)
def accounts() -> None:
    """Accounts: who may use the pages, the API and the clients' doors, and for what.

    An account's name is the person's name. No grant makes an approval count: the key does that is registered for
    the person (`tidegate people`).
    """


@accounts.command()
@click.argument("name")
@_grants
@click.option("--program", is_flag=True, help="NAME is a program: it gets tokens and never signs in.")
@pass_app
def add(app: App, name: str, grants: str, program: bool) -> None:
    """Make an account, and show the one-time code with which NAME chooses a password.

    \b
    The first administrator is made so, at the machine:
        tidegate accounts add ada --grants admin
    """
    row = _accounts(app).add(name, parse_grants(grants))
    code = None if program else _new_code(app, name)
    said = _sentence(row) + _unknown_tiers(app, row)
    text = f"{said}\n{_code_words(name, code)}" if code else said
    show({**row.content(), "code": code}, text, as_json=app.settings.as_json)


@accounts.command()
@click.argument("name")
@_grants
@pass_app
def grant(app: App, name: str, grants: str) -> None:
    """Let NAME do more, from now on."""
    row = _accounts(app).grant(name, parse_grants(grants))
    show(row.content(), _sentence(row) + _unknown_tiers(app, row), as_json=app.settings.as_json)


@accounts.command()
@click.argument("name")
@_grants
@pass_app
def revoke(app: App, name: str, grants: str) -> None:
    """Let NAME do less, from the next request on; tokens of NAME do less with it."""
    row = _accounts(app).revoke(name, parse_grants(grants))
    show(row.content(), _sentence(row), as_json=app.settings.as_json)


@accounts.command()
@click.argument("name")
@pass_app
def deactivate(app: App, name: str) -> None:
    """End an account, its tokens, and every browser that is signed in to it. `accounts add` brings it back."""
    from tidegate.server.accounts.keeping import end_account

    end_account(_accounts(app), _doors(app), name)
    with app.store.view() as view:
        row = view.account(name)
    assert row is not None, "it was ended a line above"
    show(row.content(), f"{name} has ended, with every token and session.", as_json=app.settings.as_json)


@accounts.command()
@click.argument("name")
@click.option(
    "--code", is_flag=True, help="Make a one-time code instead, with which NAME chooses the password."
)
@click.option(
    "--password-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File whose first line is the password. Default: you are asked.",
)
@click.option(
    "--password-fd",
    type=click.IntRange(min=0),
    metavar="N",
    help="An open descriptor whose first line is the password.",
)
@pass_app
def password(app: App, name: str, code: bool, password_file: Path | None, password_fd: int | None) -> None:
    """Set NAME's password, or make a one-time code for NAME. Browsers that are signed in as NAME are signed out.

    You are asked for the password. A script gives it by a file or a descriptor, never as an argument.
    """
    from tidegate.passphrases import Passphrases, Source
    from tidegate.server.accounts.keeping import set_password

    if sum(given is not None for given in (password_file, password_fd, code or None)) > 1:
        raise click.UsageError("give one of --code, --password-file and --password-fd")
    if code:
        made = _new_code(app, name)
        show({"account": name, "code": made}, _code_words(name, made), as_json=app.settings.as_json)
        return
    _accounts(app).demand_active(name)  # before a person is asked for anything
    source = Source(file=password_file, descriptor=password_fd)
    chosen = Passphrases(source).ask(f"the account {name}", confirm=True)
    set_password(_accounts(app), _doors(app), name, chosen, now=app.now)
    show({"account": name}, f"{name} signs in with the new password.", as_json=app.settings.as_json)


@accounts.command()
@click.argument("name")
@pass_app
def unlock(app: App, name: str) -> None:
    """Let NAME sign in again at once, after too many wrong passwords."""
    from tidegate.server.accounts.limits import account_subject

    _accounts(app).note(name, "unlocked")
    _doors(app).forgive(account_subject(name))
    show({"account": name}, f"{name} may try again.", as_json=app.settings.as_json)


@accounts.command("list")
@pass_app
def list_(app: App) -> None:
    """Every account as it stands now, and which of them a person's key stands behind."""
    with app.store.view() as view:
        rows, people = view.accounts(), {row.name for row in view.people() if row.active}
    lines = [
        (
            row.name,
            row.grants.replace(",", ", ") if row.active else "ENDED",
            "yes" if row.name in people else "-",
            row.since,
            row.actor,
        )
        for row in rows
    ]
    text = table(
        ("account", "may", "signs as a person", "since", "by"),
        lines,
        empty="No account yet. Next: tidegate accounts add NAME --grants admin",
    )
    document = [{**row.content(), "person": row.name in people} for row in rows]
    show(document, text, as_json=app.settings.as_json)


@click.group(cls=Noun)
def tokens() -> None:
    """Tokens: what programs show at the doors instead of signing in."""


@tokens.command()
@click.argument("account")
@click.option("--label", required=True, help="What it is for; the token's name is ACCOUNT/LABEL.")
@_grants
@click.option("--tier", help="Bind the grants that name no tier to this one.")
@click.option("--days", type=int, default=90, show_default=True, help="Days until it ends, 1 to 730.")
@pass_app
def create(app: App, account: str, label: str, grants: str, tier: str | None, days: int) -> None:
    """Make a token that acts for ACCOUNT, and show it once.

    It may do what is granted here and what the account may at that moment, whichever is less.

    \b
        tidegate tokens create ci --label nightly --grants viewer --tier team --days 30
    """
    from registry.accounts import in_tier

    made = _accounts(app).new_token(account, label, in_tier(parse_grants(grants), tier), days=days)
    secret = bytes(made.secret).decode()
    text = (
        f"{secret}\n\n"
        f"{made.row.name} may {made.row.grants} until {made.row.until}. This is the only time that it is shown.\n"
        "Next:    hand it to the program: HF_TOKEN, MLFLOW_TRACKING_TOKEN, or `Authorization: Bearer ...`"
    )
    show({**made.row.content(), "token": secret}, text, as_json=app.settings.as_json)


@tokens.command("list")
@click.option("--account", help="Those of one account.")
@pass_app
def list_tokens(app: App, account: str | None) -> None:
    """Every token that has not been revoked: what it may do, until when, and when it was last used."""
    from signing.times import rfc3339

    with app.store.view() as view:
        rows = [row for row in view.access_tokens(account) if row.active]
    used, now = _doors(app).last_uses(), rfc3339(app.now)
    lines = [
        (
            row.name,
            row.grants,
            row.until if row.until > now else "ENDED",
            used.get(row.digest, "never"),
            row.since,
            row.actor,
        )
        for row in rows
    ]
    empty = "No token. Next: tidegate tokens create ACCOUNT --label LABEL --grants viewer"
    text = table(("token", "may", "until", "last used", "since", "by"), lines, empty=empty)
    show([_token(row, used) for row in rows], text, as_json=app.settings.as_json)


@tokens.command("revoke")
@click.argument("name", metavar="ACCOUNT/LABEL")
@pass_app
def revoke_token(app: App, name: str) -> None:
    """End a token, from the next request on."""
    row = _accounts(app).revoke_token(name)
    show(row.content(), f"{name} is no good any more.", as_json=app.settings.as_json)


def _accounts(app: App) -> "Accounts":
    from registry.accounts import Accounts

    return Accounts(app.store, actor=app.settings.actor, now=app.now, at_machine=app.at_machine)


def _doors(app: App) -> "DoorStore":
    from registry.store_doors import DoorStore

    return DoorStore(app.store)


def _new_code(app: App, name: str) -> str:
    from tidegate.server.accounts.first import new_code

    _accounts(app).note(name, "one-time code made")
    return bytes(new_code(_doors(app), name, app.now)).decode()


def _code_words(name: str, code: str) -> str:
    return (
        f"One-time code: {code}\n"
        f"Next:    give it to {name}, who chooses a password with it at /sign-in/first within two days."
    )


def _sentence(row: "Account") -> str:
    return f"{row.name} may {row.grants.replace(',', ', ') or 'do nothing'}, since {row.since}."


def _unknown_tiers(app: App, row: "Account") -> str:
    """A note on tiers that there are none of, or not yet: a policy may bring them later."""
    with app.store.view() as view:
        known = {tier.tier for tier in view.tiers()}
    named = {grant.tier for grant in parse_grants(row.grants) if grant.tier} - known
    return "".join(f"\nNote:    this home has no tier {tier} (yet)." for tier in sorted(named))


def _token(row: "AccessToken", used: dict[str, str]) -> dict[str, Any]:
    return {**row.content(), "last_used": used.get(row.digest)}
