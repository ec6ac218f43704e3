"""`tidegate people` and `tidegate tiers`: who may sign, by whose word, and what each tier demands."""

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tidegate.cli.doors import Noun, pass_app
from tidegate.cli.people_carried import COMMANDS
from tidegate.cli.signatures import Hand, signing_options
from tidegate.output import SHORT, say, show, size, table
from tidegate.wiring import App, read_file

if TYPE_CHECKING:
    from pipelines.people import Outcome, Wanted
    from registry.authority import Registered

_KEY_BYTES = 16 << 10


@click.group(cls=Noun)
def people() -> None:
    """The people of this home, the keys they sign with, and what they may do."""


for _command in COMMANDS:
    people.add_command(_command)


@people.command("add")
@click.argument("name")
@click.option(
    "--public-key",
    type=click.Path(path_type=Path, dir_okay=False),
    help="NAME's OpenSSH public key file (.pub).",
)
@click.option(
    "--certificate",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Instead: the certificate of NAME's PIV card (PEM or DER).",
)
@click.option(
    "--role",
    "roles",
    type=click.Choice(["steward", "reviewer", "author", "auditor"]),
    multiple=True,
    default=("steward",),
    show_default=True,
    help="A steward approves; a reviewer waives findings and accepts licences; an author allows Python in suites; "
    "an auditor reads, and reviews what was done with break-glass.",
)
@click.option(
    "--until",
    metavar="MOMENT",
    help="NAME signs until then, and not after: 2027-06-30 or 2027-06-30T12:00:00Z.",
)
@signing_options(optional=True)
@pass_app
def add(
    app: App,
    name: str,
    public_key: Path | None,
    certificate: Path | None,
    roles: tuple[str, ...],
    until: str | None,
    *,
    hand: Hand,
) -> None:
    """Say that NAME signs with this key from now on, with these roles. What NAME had before ends.

    The first steward of a home is registered without a signature. Every change after that is signed by a steward
    (--person, --reason, --key), and by a second one with `tidegate people confirm` as soon as the home has had two:

    \b
        tidegate people add carol --public-key carol.pub --person alice --key ~/.ssh/id_ed25519 --reason 'joins today'
        tidegate people confirm carol --person bob --key ~/.ssh/id_ed25519 --reason 'met her, compared the key'
    """
    from pipelines.people import Wanted, certificate_line, stands_so

    last = _moment(app, until)
    if (public_key is None) == (certificate is None):
        raise click.UsageError("say which key NAME signs with: --public-key FILE, or --certificate FILE")
    if certificate is not None:
        line = certificate_line(read_file(certificate, max_bytes=_KEY_BYTES))
    else:
        assert public_key is not None, "one of the two"
        line = read_file(public_key, max_bytes=_KEY_BYTES).decode(errors="replace")
    wanted = Wanted(name, line, roles, until=last)
    with app.store.view() as view:
        stands = stands_so(app.work, view, wanted)
    if stands is None:
        _change(app, wanted, hand)
        return
    show(_document(stands), f"Nothing to change: {_sentence(stands)}", as_json=app.settings.as_json)


@people.command("confirm")
@click.argument("name")
@click.option("--decision", help="Where several changes of NAME wait: the digest of one, or its start.")
@signing_options()
@pass_app
def confirm(app: App, name: str, decision: str | None, *, hand: Hand) -> None:
    """Sign the change of NAME that waits, as another steward proposed it; look at `tidegate people pending` first."""
    from pipelines.people import pending_of, wanted_of

    with app.store.view() as view:
        waiting = pending_of(app.work, view, name, decision)
    say(f"You sign: {_sentence(waiting.row)}", err=True)
    _change(app, wanted_of(waiting.row), hand)


@people.command("remove")
@click.argument("name")
@signing_options(optional=True)
@pass_app
def remove(app: App, name: str, *, hand: Hand) -> None:
    """Say that NAME has left, or that their key is lost: nothing that they signed counts from now on.

    One steward's signature is enough, and it acts at once.
    """
    from pipelines.people import leaver

    with app.store.view() as view:
        gone = leaver(view, name)
    _change(app, gone, hand)


def _change(app: App, wanted: "Wanted", hand: Hand) -> None:
    from pipelines.people import change_person, propose, set_person
    from registry.decisions import NAMESPACE

    if not hand.given:
        _tell(app, set_person(app.work, wanted))
        return
    signed = hand.signed(
        app,
        lambda reason: propose(app.work, wanted, hand.name, reason=reason),
        namespace=NAMESPACE,
        said=lambda asked: f"the change of {asked['subject']}",
    )
    if signed is not None:
        _tell(app, change_person(app.work, hand.name, payload=signed[0], signature=signed[1]))


def _tell(app: App, done: "Outcome") -> None:
    row, signed = done.row, ", ".join(done.signed_by) or "nobody: there was nobody who could"
    lines = [
        f"{'In force' if done.in_force else 'Not in force yet'}: {_sentence(row)}",
        f"Signed by {signed}.",
    ]
    if not done.in_force:
        lines.append(
            f"Next:    {done.missing} more steward(s): tidegate people confirm {row.name} --person NAME --reason WHY --key FILE"
        )
    document = {**_document(row), "signed_by": list(done.signed_by), "missing": done.missing}
    show(document, "\n".join(lines), as_json=app.settings.as_json)


def _sentence(row: "Registered") -> str:
    if not row.active:
        return f"{row.name} may no longer sign anything."
    until = f", until {row.until}" if row.until else ""
    return f"{row.name} may act as {row.roles} with {_shown_key(row.public_key)}{until}."


def _document(row: "Registered") -> dict[str, Any]:
    return {**vars(row), "method": row.method, "fingerprint": _shown_key(row.public_key)}


def _shown_key(public_key: str) -> str:
    from signing.person_signature import fingerprint

    return fingerprint(public_key)


def _moment(app: App, text: str | None) -> datetime | None:
    from signing.times import TimeUnreadable, from_rfc3339

    if text is None:
        return None
    try:
        moment = from_rfc3339(text if "T" in text else f"{text}T00:00:00Z")
    except TimeUnreadable as exc:
        raise click.UsageError("write --until as 2027-06-30 or 2027-06-30T12:00:00Z") from exc
    if moment <= app.now:
        raise click.UsageError(
            f"--until {text} is over; to take somebody out there is `tidegate people remove`"
        )
    return moment


@people.command("pending")
@pass_app
def pending_(app: App) -> None:
    """Changes of people that wait for more signatures."""
    from pipelines.people import pending

    with app.store.view() as view:
        waiting = pending(app.work, view)
    lines = [
        (
            one.row.name,
            one.row.roles if one.row.active else "leaves",
            _shown_key(one.row.public_key),
            ", ".join(f"{who} ({digest[:SHORT]})" for who, digest in sorted(one.signed.items())),
            one.missing,
            one.until.strftime("%Y-%m-%d"),
        )
        for one in waiting
    ]
    headings = ("name", "role", "key", "signed by", "missing", "waits until")
    document = [
        {**_document(one.row), "signed_by": dict(one.signed), "missing": one.missing, "until": one.row.until}
        for one in waiting
    ]
    show(document, table(headings, lines, empty="Nothing waits."), as_json=app.settings.as_json)


@people.command("list")
@pass_app
def list_(app: App) -> None:
    """Everybody, as they stand now, and by whose word."""
    from pipelines.decide import people as standing
    from registry.authority import signed_by

    with app.store.view() as view:
        rows, found = view.people(), standing(app.work, view)
        people_of = {row.digest: row.person for row in view.decisions("set-person")}
    acting = {row.name for row in found.acting(app.now)}
    words = {name: signed_by(row, people_of) for name, row in found.rows.items()}
    lines = [
        (
            row.name,
            _standing(row.active, row.name in acting, row.roles),
            _shown_key(row.public_key),
            row.since,
            row.until or "-",
            words.get(row.name, "-"),
        )
        for row in rows
    ]
    text = table(
        ("name", "role", "key", "since", "until", "by the word of"),
        lines,
        empty="Nobody yet. Next: tidegate people add NAME --public-key FILE.pub",
    )
    if found.passed_over:
        text += "".join(
            f"\nDoes not count: {row.name}, row {row.position}: {why}." for row, why in found.passed_over
        )
    document = [
        {
            **row.content(),
            "acts": row.name in acting,
            "word": words.get(row.name),
            **_why(found.passed_over, row.name),
        }
        for row in rows
    ]
    show(document, text, as_json=app.settings.as_json)


def _why(passed_over: "list[tuple[Registered, str]]", name: str) -> Mapping[str, Any]:
    """What rows of a person do not count, and why; nothing where all do."""
    found = [{"position": row.position, "problem": why} for row, why in passed_over if row.name == name]
    return {"passed_over": found} if found else {}


def _standing(active: bool, acts: bool, roles: str) -> str:
    if not active:
        return "has left"
    return roles if acts else f"{roles} (over, or not in force)"


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
