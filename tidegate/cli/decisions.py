"""`tidegate decisions`: what people sign besides approvals, and which of it stands."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from registry.names import Ref
from tidegate.cli.doors import Noun, pass_app
from tidegate.cli.signatures import Hand, signing_options
from tidegate.output import SHORT, say, show, table
from tidegate.wiring import App

if TYPE_CHECKING:
    from registry.decisions import Kind

_days = click.option(
    "--days", type=click.IntRange(1, 3650), help="How long it stands. Default: until it is revoked."
)


@click.group(cls=Noun)
def decisions() -> None:
    """Signed decisions of people: findings waived, licences accepted, cases set aside, Python allowed."""


@decisions.command("list")
@click.option("--all", "everything", is_flag=True, help="Those that no longer stand, too.")
@pass_app
def list_(app: App, *, everything: bool) -> None:
    """Every decision that stands, by kind."""
    from pipelines.decide import standing
    from registry.decisions import Kind

    with app.store.view() as view:
        rows = view.decisions()
        kinds = [kind for kind in Kind if kind is not Kind.REVOKE]
        alive = {found.digest: found for kind in kinds for found in standing(app.work, view, kind)}
    shown = [row for row in rows if everything or row.digest in alive]
    lines = [
        (row.kind, _short(row.subject), row.person, row.made_at, _until(alive.get(row.digest)), row.digest[:SHORT])
        for row in shown
    ]  # fmt: skip
    headings = ("decision", "about", "by", "made", "until", "digest")
    text = table(headings, lines, empty="Nobody has decided anything here.")
    document = [{**row.content(), "stands": row.digest in alive} for row in shown]
    show(document, text, as_json=app.settings.as_json)


def _until(found: Any) -> str:
    if found is None:
        return "does not stand"
    return found.expires_at.strftime("%Y-%m-%d") if found.expires_at else "it is revoked"


def _short(subject: str) -> str:
    return subject[:SHORT] if len(subject) == 64 else subject


@decisions.command()
@click.argument("rule")
@click.argument("what", metavar="REF|FILE|sha256:HEX")
@click.option("--path", help="The file's path in the version. Default: FILE's name.")
@_days
@signing_options()
@pass_app
def waive(app: App, rule: str, what: str, path: str | None, days: int | None, *, hand: Hand) -> None:
    """Let a scan's finding RULE about one file block no more: for exactly these bytes, under this path.

    The file is one of a version held here (REF and --path), one that is still to come in (FILE), or named by its
    SHA-256. The finding stays listed. Scan the version again afterwards (`tidegate models scan`), or take it in.
    """
    from pipelines.scan import RULES
    from registry.decisions import Kind

    if rule not in RULES or not RULES[rule].waivable:
        known = ", ".join(name for name, entry in RULES.items() if entry.waivable)
        raise click.BadParameter(f"may not be waived; these may: {known}", param_hint="RULE")
    digest, name = _waived_file(app, what, path)
    if not (path or name):
        raise click.UsageError("say the file's path in the version with --path")
    _decide(app, Kind.WAIVE_FINDING, digest, hand, days, details={"rule": rule, "path": path or name})


def _waived_file(app: App, what: str, path: str | None) -> tuple[str, str]:
    """The digest of the file that is meant, and its name where that is known."""
    from registry.errors import NotFound
    from registry.manifests import decode
    from signing.digests import file_sha256, is_sha256

    if what.startswith("sha256:"):
        if not is_sha256(what.removeprefix("sha256:")):
            raise click.BadParameter("write sha256: and 64 lower-case hex digits", param_hint="FILE")
        return what.removeprefix("sha256:"), ""
    if (file := app.named_file(what)) is not None:
        return file_sha256(file), file.name
    if "@" not in what:
        raise click.BadParameter(
            f"{what} is no file; write a file's path, a version (namespace/name@3) or sha256:HEX",
            param_hint="WHAT",
        )
    with app.store.view() as view:
        manifest = decode(view.version(Ref.parse(what)).manifest.encode())
    if not path:
        raise click.UsageError(
            f"say which file of {what} is meant: --path PATH; `tidegate models show` lists them"
        )
    entry = next((entry for entry in manifest.files if entry.path == path), None)
    if entry is None:
        raise NotFound(f"file of {what}", path)
    return entry.sha256, entry.path


@decisions.command("accept-licence")
@click.argument("licence")
@_days
@signing_options()
@pass_app
def accept_licence(app: App, licence: str, days: int | None, *, hand: Hand) -> None:
    """Accept LICENCE (its SPDX id, such as apache-2.0) for versions that state it."""
    from pipelines.scan.spdx import licence_id
    from registry.decisions import Kind

    if licence_id(licence) is None:
        say(f"Note: {licence} is no licence that is known here; look at its spelling.", err=True)
    _decide(app, Kind.ACCEPT_LICENCE, licence.lower(), hand, days, details={"text_sha256": None})


@decisions.command()
@click.argument("suite")
@click.argument("case")
@_days
@signing_options()
@pass_app
def quarantine(app: App, suite: str, case: str, days: int | None, *, hand: Hand) -> None:
    """Set CASE of SUITE aside: it is run and reported, and gates nothing."""
    from pipelines.suites.format import unpack
    from registry.decisions import Kind
    from registry.errors import NotFound

    with app.store.view() as view:
        held = unpack(view.document("suite", suite).body.encode())
    if case not in {one.id for one in held.cases}:
        raise NotFound(f"case of {held.name}", case)
    _decide(app, Kind.QUARANTINE_CASE, f"{held.name}/{case}", hand, days)


@decisions.command("allow-python")
@click.argument("suite")
@_days
@signing_options()
@pass_app
def allow_python(app: App, suite: str, days: int | None, *, hand: Hand) -> None:
    """Let the Python checks of SUITE run, as it is held now (another digest needs another decision)."""
    from registry.decisions import Kind

    with app.store.view() as view:
        digest = view.document("suite", suite).digest
    _decide(app, Kind.ALLOW_PYTHON, digest, hand, days)


@decisions.command()
@click.argument("digest")
@signing_options()
@pass_app
def revoke(app: App, digest: str, *, hand: Hand) -> None:
    """End a decision (its DIGEST, or the start of it) from now on."""
    from registry.decisions import Kind
    from registry.errors import NotFound

    with app.store.view() as view:
        found = [row.digest for row in view.decisions() if row.digest.startswith(digest)]
    if len(found) != 1 or len(digest) < 8:
        raise NotFound("decision", digest)
    _decide(app, Kind.REVOKE, found[0], hand, None)


def _decide(
    app: App,
    kind: "Kind",
    subject: str,
    hand: Hand,
    days: int | None,
    *,
    details: Mapping[str, Any] | None = None,
) -> None:
    from pipelines.decide import record_decision, request_decision
    from registry.decisions import NAMESPACE, decode

    expires: datetime | None = app.now + timedelta(days=days) if days else None
    signed = hand.signed(
        app,
        lambda reason: request_decision(
            app.work, kind, subject, hand.name, reason=reason, details=details, expires_at=expires
        ),
        namespace=NAMESPACE,
        said=lambda asked: f"{asked['kind']} {_short(asked['subject'])}",
    )
    if signed is None:
        return
    payload, armored = signed
    row = record_decision(app.work, hand.name, payload=payload, signature=armored)
    request = decode(row.payload.encode())
    text = f"{row.person} decided: {row.kind} {_short(row.subject)} ({row.digest[:SHORT]}). {request.reason}"
    show(row.content(), text, as_json=app.settings.as_json)
