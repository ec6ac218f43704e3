"""The auditor's questions under `tidegate audit`: one command each, each answer proved while it is given."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import click

from registry.names import Ref
from tidegate.cli.doors import Door, pass_app
from tidegate.errors import EvidenceDoubted, PolicyBroken
from tidegate.output import SHORT, show, table
from tidegate.wiring import App

if TYPE_CHECKING:
    from pipelines.questions.proving import Proof
    from pipelines.questions.serving import Allowed, Word


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
_tier_and_model = (click.argument("tier"), click.argument("model"))


def _about_a_pin(function: Any) -> Any:
    for option in reversed((*_tier_and_model, _at)):
        function = option(function)
    return function


def _mark(proofs: "Iterable[Proof]", *more: str | None) -> None:
    """End the command with the refusal's code when anything that was shown does not hold."""
    doubts = [proof.said for proof in proofs if not proof.verified] + [text for text in more if text]
    if doubts:
        raise EvidenceDoubted(doubts)


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

    with app.store.view() as view:
        if tier is not None:
            view.tier(tier)
        found = ask(app.work, view, tier=tier, model=model, at=at)
        names = {row.digest: row.name for row in view.documents()}
    lines = [
        (
            one.pin.tier,
            f"{one.pin.model}@{one.pin.ordinal}",
            one.pin.version[:SHORT],
            names.get(one.pin.profile or "", "-"),
            names.get(one.pin.router or "", "-"),
            one.pin.since,
            one.until or "now",
            "BREAK-GLASS" if one.pin.override else one.pin.kind,
            "VERIFIED" if one.problem is None else "NOT VERIFIED",
        )
        for one in found
    ]
    headings = ("tier", "served", "digest", "engine profile", "router", "from", "until", "by", "in the log")
    text = table(headings, lines, empty="Nothing was served." if at else "Nothing is served.")
    show([one.document() for one in found], text, as_json=app.settings.as_json)
    _mark((), *(one.problem for one in found))


@click.command(cls=Door)
@_about_a_pin
@pass_app
def why(app: App, tier: str, model: str, at: str | None) -> None:
    """Why TIER may serve what it serves of MODEL: the gate's answer and every piece of evidence, verified now.

    \b
    tidegate audit why org acme/coder --at 2026-11-20
    """
    from pipelines.questions.serving import why as ask
    from registry.names import model_name

    with app.store.view() as view:
        found = ask(app.work, view, tier, model_name(model), at=at)
    show(found.document(), _why_text(found), as_json=app.settings.as_json)
    _mark(found.proofs, found.served.problem)


def _why_text(found: "Allowed") -> str:
    pin = found.served.pin
    until = f"until {found.served.until}" if found.served.until else "until now"
    lines = [f"{pin.tier} served {pin.model}@{pin.ordinal} ({pin.version[:SHORT]}) from {pin.since} {until}."]
    if found.overridden:
        lines.append(f"BREAK-GLASS: one person overrode {', '.join(found.overridden)}.")
    rules = found.policy or {}
    lines.append(
        f"The tier's policy then: {rules.get('approvals')} approvals, suites {', '.join(rules.get('suites', [])) or 'none'}."
    )
    answer = found.verdict or "no summary was kept: the pin is of an older release, or a rollback"
    lines += [f"The gate answered: {answer}.", "Evidence, looked at now:"]
    lines += [f"  {proof}" for proof in found.proofs]
    return "\n".join(lines)


@click.command(cls=Door)
@_about_a_pin
@click.option("--pages", is_flag=True, help="Show each page word for word.")
@pass_app
def decided(app: App, tier: str, model: str, at: str | None, *, pages: bool) -> None:
    """Who decided that TIER serves what it serves of MODEL, with which key, and what each of them saw.

    \b
    tidegate audit decided org acme/coder --pages
    """
    from pipelines.questions.serving import decided as ask
    from registry.names import model_name

    with app.store.view() as view:
        found = ask(app.work, view, tier, model_name(model), at=at)
    text = "\n".join(line for word in found for line in _word_lines(word, pages=pages))
    show(
        [word.document() for word in found],
        text or "Nobody's word is on record.",
        as_json=app.settings.as_json,
    )
    _mark(word.proof for word in found)


def _word_lines(word: "Word", *, pages: bool) -> list[str]:
    counted = "counted" if word.counted else "did not count"
    lines = [
        f"{word.at}  {word.person}: {word.decision} ({counted}): {word.reason}",
        f"  {word.how}",
        f"  {word.proof}",
    ]
    if word.shown is None:
        return [*lines, "  What was shown is not on record."]
    if not pages:
        return [*lines, f"  Saw a page of {len(word.shown.splitlines())} lines; --pages shows it."]
    return [*lines, *(f"  | {line}" for line in word.shown.splitlines())]


@click.command(cls=Door)
@click.argument("ref")
@pass_app
def origin(app: App, ref: str) -> None:
    """Where the bytes of REF came from: publisher, hub, origin, bundle, media, and who took them in.

    \b
    tidegate audit origin acme/coder@2
    """
    from pipelines.questions.whence import whence

    with app.store.view() as view:
        found = whence(app.work, view, Ref.parse(ref))
    version = found.version
    lines = [f"{version.model}@{version.ordinal}  {version.digest}"]
    if found.upstream:
        lines.append(f"Upstream    {found.upstream['uri']} at commit {found.upstream['commit'] or 'unknown'}")
    for one in found.fetched:
        claim = f" (claimed with bundle {one['claimed_with']})" if one["claimed_with"] else ""
        lines.append(f"Fetched     {one['finished']} by {one['by']}, {one['sources']} sources{claim}")
    lines += [
        f"Signed      {one['source']}, {one['method']}: {one['signer']}: {one['outcome']}"
        for one in found.signatures
    ]
    if found.bundle:
        one = found.bundle
        lines.append(
            f"Bundle      {one['bundle']} (number {one['sequence']}) of {one['origin']}, signed {one['signed_at']}"
        )
        lines += [f"            {name.replace('_', ' ')}: {said}" for name, said in one["said"].items()]
    lines += [
        f"Medium      {one['volume']} of {one['of']}: {one['outcome']}, serial {one['serial'] or '-'}, read {one['at']} by {one['by']}"
        for one in found.media
    ]
    lines += [
        f"Taken in    {version.added_at} by {version.added_by}",
        *(f"  {proof}" for proof in found.proofs),
    ]
    show(found.document(), "\n".join(lines), as_json=app.settings.as_json)
    _mark(found.proofs)


@click.command(cls=Door)
@click.argument("who", metavar="PERSON|FINGERPRINT")
@pass_app
def touched(app: App, who: str) -> None:
    """What else a person or a key touched: what they signed (proved), and what ran in their name (claimed).

    \b
    tidegate audit touched alice
    tidegate audit touched SHA256:Wb3lh9Mn
    """
    from pipelines.questions.touched import touched as ask

    with app.store.view() as view:
        found = ask(app.work, view, who)
    lines = ["Keys", *(f"  {key.line}" for key in found.keys), "Signed (proved by the signature)"]
    lines += [
        f"  {one.at}  {one.what}: {one.about}: {'VERIFIED' if one.proof.verified else 'NOT VERIFIED'}  [{one.proof.digest[:SHORT]}]"
        for one in found.signed
    ] or ["  nothing"]
    lines.append("Ran in this name (what the shell said, proved by nothing)")
    lines += [f"  {one['at']}  event {one['event']}: {one['kind']}" for one in found.acted] or ["  nothing"]
    show(found.document(), "\n".join(lines), as_json=app.settings.as_json)
    _mark(one.proof for one in found.signed)


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

    with app.store.view() as view:
        found = crossings(view, since=since, until=until)
    if as_csv and not app.settings.as_json:
        click.echo(written(found), nl=False)
        return
    lines = [
        (
            one.date,
            one.direction,
            one.bundle,
            f"{one.source} to {one.destination}",
            one.said.requester or "-",
            one.said.approver or "-",
            one.said.classification or "-",
            one.said.medium or "-",
            f"{len(one.files)} ({', '.join(sorted({file.format for file in one.files}))})"
            if one.files
            else "none",
            one.outcome,
        )
        for one in found
    ]
    headings = (
        "date",
        "way",
        "bundle",
        "from, to",
        "originator",
        "approver",
        "class",
        "medium",
        "files",
        "outcome",
    )
    show(
        [one.document() for one in found],
        table(headings, lines, empty="Nothing crossed."),
        as_json=app.settings.as_json,
    )


@click.command(cls=Door)
@pass_app
def overrides(app: App) -> None:
    """What was let pass by a person's word: waivers, licences, cases set aside, break-glass. All that ever was."""
    from pipelines.questions.overridden import overridden

    with app.store.view() as view:
        found = overridden(app.work, view)
    lines = [
        (
            one.at,
            one.what,
            one.about[:60],
            one.person,
            one.reason,
            one.standing,
            "VERIFIED" if one.verified else "claimed",
        )
        for one in found
    ]
    headings = ("date", "what", "about", "who", "reason", "now", "signature")
    show(
        [one.document() for one in found],
        table(headings, lines, empty="Nothing was overridden."),
        as_json=app.settings.as_json,
    )


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
    """Which roots, roles, keys, certificates and decisions end soon, or have ended; what to do about each."""
    from pipelines.questions.expiring import expiring as ask

    with app.store.view() as view:
        found = ask(app.work, view, days=days)
    lines = [(one.level, one.until, one.days, one.what) for one in found]
    text = table(("", "ends", "days left", "what"), lines, empty=f"Nothing ends within {days} days.")
    steps = dict.fromkeys(one.next_step for one in found)
    text = "\n".join([text, *(f"Next:    {step}" for step in steps)])
    show([one.document() for one in found], text, as_json=app.settings.as_json)


@click.command(cls=Door)
@pass_app
def breaches(app: App) -> None:
    """What breaks policy today: each pin before the gate as it stands now, and what serves against what is pinned.

    Nothing stops serving because of it. Exits 0 only when nothing does break it.
    """
    from pipelines.questions.breaking import breaking

    with app.store.view() as view:
        found = breaking(app.work, view)
    lines = [
        line
        for one in found
        for line in (
            f"{one.tier}: {one.model}{f'@{one.ordinal}' if one.ordinal else ''}: {one.check}: {one.message}",
            f"  Next: {one.next_step}",
        )
    ]
    text = "\n".join(lines) or "Everything that serves keeps to the policy of today."
    show([one.document() for one in found], text, as_json=app.settings.as_json)
    if found:
        raise PolicyBroken(len(found))


QUESTIONS = (served, why, decided, origin, touched, transfers, overrides, expiring, breaches)
