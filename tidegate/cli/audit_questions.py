"""The auditor's questions under `tidegate audit`: one command each, each answer proved while it is given."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from registry.names import Ref, model_name
from tidegate.cli.doors import Door, pass_app
from tidegate.errors import EvidenceDoubted, PolicyBroken
from tidegate.output import say, show
from tidegate.wiring import App


class Moment(click.ParamType):  # type: ignore[type-arg]  # generic only to the type checker
    """A day (its last second) or a moment in UTC."""

    name = "DATE"

    def __init__(self, *, last: bool = True) -> None:
        self._time = "T23:59:59Z" if last else "T00:00:00Z"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        from signing.times import TimeUnreadable, from_rfc3339, rfc3339

        text = str(value)
        try:
            return rfc3339(from_rfc3339(f"{text}{self._time}" if len(text) == len("2026-11-20") else text))
        except TimeUnreadable:
            self.fail(f"{text!r} is neither 2026-11-20 nor 2026-11-20T08:30:00Z", param, ctx)


_at = click.option(
    "--at", type=Moment(), help="Then, instead of now: 2026-11-20 (its last second) or 2026-11-20T08:30:00Z."
)


def _about_a_pin(function: Any) -> Any:
    for option in reversed((click.argument("tier"), click.argument("model"), _at)):
        function = option(function)
    return function


def _end(doubts: Iterable[str]) -> None:
    """End the command with the refusal's code when anything that was shown does not hold."""
    if found := list(dict.fromkeys(doubts)):
        raise EvidenceDoubted(found)


@click.command(cls=Door)
@click.option("--tier", help="Only this tier.")
@click.option("--model", help="Only this model.")
@_at
@pass_app
def served(app: App, tier: str | None, model: str | None, at: str | None) -> None:
    """What served in each tier on a date, with engine, router and companions, and until when.

    \b
    tidegate audit served --tier org --at 2026-11-20
    """
    from pipelines.questions.serving import served as ask
    from tidegate.audit_lines import served_table

    with app.store.view() as view:
        if tier is not None:
            view.tier(tier)
        found, gone = ask(app.work, view, tier=tier, model=model_name(model) if model else None, at=at)
        documents = (view.document_by_digest(one) for line in found for one in _parts(line.pin))
        names = {row.digest: row.name for row in documents if row is not None}
    text = served_table(found, names, then=at is not None)
    show([one.document() for one in found], text, as_json=app.settings.as_json)
    _end([*(f"{one.proof.said}: {one.problem}" for one in found if one.problem), *gone])


def _parts(pin: Any) -> list[str]:
    return [one for one in (pin.profile, pin.router, pin.companions) if one]


@click.command(cls=Door)
@_about_a_pin
@pass_app
def why(app: App, tier: str, model: str, at: str | None) -> None:
    """Why TIER may serve what it serves of MODEL: the gate's answer and every piece of evidence, verified now.

    \b
    tidegate audit why org acme/coder --at 2026-11-20
    """
    from pipelines.questions.allowing import why as ask
    from tidegate.audit_lines import why_text

    with app.store.view() as view:
        found = ask(app.work, view, tier, model_name(model), at=at)
    show(found.document(), why_text(found), as_json=app.settings.as_json)
    _end(found.doubts)


@click.command(cls=Door)
@_about_a_pin
@click.option("--pages", is_flag=True, help="Show each page word for word.")
@pass_app
def decided(app: App, tier: str, model: str, at: str | None, *, pages: bool) -> None:
    """Who decided that TIER serves what it serves of MODEL, with which key, and what each of them saw.

    \b
    tidegate audit decided org acme/coder --pages
    """
    from pipelines.questions.deciding import decided as ask
    from tidegate.audit_lines import decided_text

    with app.store.view() as view:
        found = ask(app.work, view, tier, model_name(model), at=at)
    show(found.document(), decided_text(found, pages=pages), as_json=app.settings.as_json)
    _end(found.doubts)


@click.command(cls=Door)
@click.argument("ref")
@pass_app
def origin(app: App, ref: str) -> None:
    """Where the bytes of REF came from: publisher, hub, origin, bundle, media, and who took them in.

    \b
    tidegate audit origin acme/coder@2
    """
    from pipelines.questions.whence import whence
    from tidegate.audit_lines import origin_text

    with app.store.view() as view:
        found = whence(app.work, view, Ref.parse(ref))
    show(found.document(), origin_text(found), as_json=app.settings.as_json)
    _end(found.doubts)


@click.command(cls=Door)
@click.argument("who", metavar="PERSON|KEY")
@pass_app
def touched(app: App, who: str) -> None:
    """What else a person or a key touched: what they signed (proved), and what ran in their name (claimed).

    A key is named by its fingerprint as `tidegate people list` shows it, or by the id of a trust key; the beginning
    is enough.

    \b
    tidegate audit touched alice
    tidegate audit touched SHA256:Wb3lh9Mn
    """
    from pipelines.questions.touched import touched as ask
    from tidegate.audit_lines import touched_text

    with app.store.view() as view:
        found = ask(app.work, view, who)
    show(found.document(), touched_text(found), as_json=app.settings.as_json)
    _end(found.doubts)


@click.command(cls=Door)
@click.option("--since", type=Moment(last=False), help="From this day on.")
@click.option("--until", type=Moment(), help="Up to this day.")
@click.option("--csv", "as_csv", is_flag=True, help="One line per file, for a spreadsheet.")
@pass_app
def transfers(app: App, since: str | None, until: str | None, *, as_csv: bool) -> None:
    """Which transfers crossed: date, originator, approver, files, formats, classification, systems, medium.

    \b
    tidegate audit transfers --since 2026-10-01 --csv > transfers.csv
    """
    from pipelines.questions.transfers import as_csv as written
    from pipelines.questions.transfers import crossings
    from tidegate.audit_lines import transfers_table

    if as_csv and app.settings.as_json:
        raise click.UsageError("--csv and --json name two forms; give one")
    with app.store.view() as view:
        found, gone = crossings(app.work, view, since=since, until=until)
    if as_csv:
        say(written(found), nl=False)
    else:
        document = [one.document() for one in found]
        show(document, transfers_table(found), as_json=app.settings.as_json)
    _end([*(one.proof.doubt for one in found if not one.proof.verified), *gone])


@click.command(cls=Door)
@pass_app
def overrides(app: App) -> None:
    """What was let pass by a person's word: waivers, licences, cases set aside, break-glass. All that ever was.

    \b
    tidegate audit overrides
    """
    from pipelines.questions.overridden import overridden
    from tidegate.audit_lines import overrides_table

    with app.store.view() as view:
        found, gone = overridden(app.work, view)
    show([one.document() for one in found], overrides_table(found), as_json=app.settings.as_json)
    _end([*(one.proof.doubt for one in found if not one.proof.verified), *gone])


@click.command(cls=Door)
@click.option(
    "--days",
    type=click.IntRange(min=0),
    default=180,
    show_default=True,
    help="What ends within so many days.",
)
@pass_app
def expiring(app: App, days: int) -> None:
    """Which roots, roles, keys, certificates and decisions end soon, or have ended; what to do about each.

    \b
    tidegate audit expiring --days 90
    """
    from pipelines.questions.expiring import expiring as ask
    from tidegate.audit_lines import expiring_text

    with app.store.view() as view:
        found = ask(app.work, view, days=days)
    show([one.document() for one in found], expiring_text(found, days), as_json=app.settings.as_json)


@click.command(cls=Door)
@pass_app
def breaches(app: App) -> None:
    """What breaks policy today: each pin before the gate as it stands now, and what serves against what is pinned.

    Nothing stops serving because of it. Exits 0 only when nothing does break it.

    \b
    tidegate audit breaches
    """
    from pipelines.questions.breaking import breaking
    from tidegate.audit_lines import breaches_text

    with app.store.view() as view:
        found = breaking(app.work, view)
    show([one.document() for one in found], breaches_text(found), as_json=app.settings.as_json)
    if found:
        raise PolicyBroken(len(found))


@click.command(cls=Door)
@click.argument("model")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="The file to write; it must not be there yet.",
)
@pass_app
def report(app: App, model: str, out: Path) -> None:
    """A page about MODEL to print or to file: whence, who decided, what served, every piece of evidence verified now.

    The page asks nothing of the network and runs nothing. It is written also when something does not hold; then it
    says so, and the command does not end with 0.

    \b
    tidegate audit report acme/coder --out coder.html
    """
    from pipelines.questions.reporting import report as ask
    from pipelines.report_page import page
    from pipelines.suites.held import write_new

    with app.store.view() as view:
        found = ask(app.work, view, model_name(model))
    write_new(out, page(found).encode())
    document = {"model": found.model, "written": str(out), "doubts": found.doubts}
    show(document, f"Wrote {out}.", as_json=app.settings.as_json)
    _end(found.doubts)


QUESTIONS = (
    served, why, decided, origin, touched, transfers, overrides, expiring, breaches, report,
)  # fmt: skip
