"""`approvals`, `approve`, `reject`: what waits for a person, what exactly they sign, and what was said."""

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import click

from registry.names import Ref
from tidegate.cli.doors import Door, Noun, Reason, pass_app
from tidegate.cli.signatures import Hand, signing_options
from tidegate.output import SHORT, say, show, table
from tidegate.wiring import App

if TYPE_CHECKING:
    from pipelines.open_requests import Waiting
    from registry.approval_requests import Question
    from registry.entities import Approval

_tier = click.option("--tier", required=True, help="The tier that it may be promoted to.")
_shown = click.option(
    "--shown",
    metavar="SHA256",
    help="The page that you have read, as `tidegate approvals show` names it; refused if it is another one now.",
)


@click.group(cls=Noun)
def approvals() -> None:
    """What waits for a steward's signature, and what was said; break-glass and its review."""


@approvals.command()
@click.argument("ref")
@_tier
@click.option(
    "--reason", type=Reason(), required=True, help="Why the tier should serve it; stands on the page."
)
@pass_app
def request(app: App, ref: str, tier: str, reason: str) -> None:
    """Ask the stewards whether TIER may serve REF. Who asks (--actor) cannot approve it.

    The page that they will read is put on record with the evidence of now.

    \b
    tidegate approvals request acme/coder@2 --tier org --reason 'the team wants the longer context'
    """
    from pipelines.approve import ask
    from registry.approval_requests import read

    app.demand("site")
    row = ask(app.work, Ref.parse(ref), tier, reason=reason)
    asked = read(row)
    text = f"{asked.page}\nAsked: {row.digest[:SHORT]}.\n{_next(asked)}"
    show({**row.content(), **_document(asked)}, text, as_json=app.settings.as_json)


@approvals.command("list")
@click.option("--all", "everything", is_flag=True, help="What is settled or out of date, too.")
@pass_app
def list_(app: App, *, everything: bool) -> None:
    """What waits for whom: requests with what was said to each, and break-glass that nobody has reviewed."""
    from pipelines.break_glass import overrides
    from pipelines.open_requests import waiting

    app.demand("site")
    with app.store.view() as view:
        found = [item for item in waiting(app.work, view) if everything or item.open]
        broken = [item for item in overrides(app.work, view) if everything or not item.reviews]
    lines = [
        (item.row.digest[:SHORT], f"{item.asked.model}@{item.asked.ordinal}", item.asked.tier, _by(item), item.row.since, item.state)
        for item in found
    ]  # fmt: skip
    lines += [
        (item.decision.digest[:SHORT], f"{item.pin.model}@{item.pin.ordinal}", item.pin.tier, item.person, item.pin.since, item.said)
        for item in broken
    ]  # fmt: skip
    headings = ("request", "version", "tier", "asked by", "since", "state")
    text = table(headings, lines, empty="Nothing waits. Next: tidegate approvals request REF --tier TIER")
    document = {
        "requests": [{**_document(item.asked), "request": item.row.digest, "since": item.row.since, "state": item.state,
                      "open": item.open} for item in found],
        "break_glass": [item.document() for item in broken],
    }  # fmt: skip
    show(document, text, as_json=app.settings.as_json)


def _by(item: "Waiting") -> str:
    return item.asked.requested_by or "nobody"


@approvals.command("show")
@click.argument("what", metavar="REQUEST|REF")
@click.option("--tier", help="With a REF: the tier.")
@pass_app
def show_(app: App, what: str, tier: str | None) -> None:
    """Print the page that `approve` and `reject` sign, exactly.

    Its SHA-256 is what the signature binds; it stands on stderr, with what was said so far.

    \b
    tidegate approvals show acme/coder@2 --tier org
    tidegate approvals show 4a1c55e0
    """
    from pipelines.open_requests import answers, by_digest
    from registry.approval_requests import read

    if "/" in what:
        app.demand("site")
        if tier is None:
            raise click.UsageError("say for which tier: --tier TIER")
        asked = _open(app, Ref.parse(what), tier)
    else:
        with app.store.view() as view:
            asked = read(by_digest(view, what))
    with app.store.view() as view:
        said = answers(view, asked)
    if not app.settings.as_json:
        say(f"{_said(said)}Page {asked.shown_sha256}\n{_next(asked)}", err=True)
    document = {**_document(asked), "said": [row.content() for row in said]}
    show(document, asked.page.removesuffix("\n"), as_json=app.settings.as_json)


def _open(app: App, ref: Ref, tier: str) -> "Question":
    from pipelines.approve import open_question
    from pipelines.case import case as look

    with app.store.view() as view:
        return open_question(app.work, view, look(app.work, view, ref, tier))


def _said(rows: "list[Approval]") -> str:
    from registry.approvals_payload import decode
    from signing.times import rfc3339

    said = [decode(row.payload.encode()) for row in rows]
    return "".join(
        f"{person}: {answer.decision}, {rfc3339(answer.issued_at)}: {answer.reason}\n"
        for answer, person in said
    )


def _document(asked: "Question") -> dict[str, Any]:
    return {**asked.document(), "digest": asked.digest}


def _next(asked: "Question") -> str:
    if asked.action != "promote":
        return f"Next:    tidegate audit explain {asked.model}@{asked.ordinal}"
    where = f"{asked.model}@{asked.ordinal} --tier {asked.tier} --shown {asked.shown_sha256[:SHORT]}"
    return (
        f"Next:    tidegate approve {where} --person NAME --reason WHY --key FILE   (or: tidegate reject …)"
    )


@click.command(cls=Door)
@click.argument("ref")
@_tier
@_shown
@signing_options()
@pass_app
def approve(app: App, ref: str, tier: str, shown: str | None, *, hand: Hand) -> None:
    """Sign that REF may be promoted to TIER, on exactly the page that `approvals show` prints.

    Evidence that comes later (another suite run, a new router contract, a new policy) makes the approval void. It holds
    for 72 hours, and for one promotion.

    \b
    With a key file:  tidegate approve REF --tier T --person P --reason WHY --key FILE
    With a token:     tidegate approve REF --tier T --person P --reason WHY --write-payload FILE
                      ssh-keygen -Y sign -n approval@tidegate -f KEY FILE
                      tidegate approve REF --tier T --person P --payload FILE --signature FILE.sig
    """
    _answer(app, Ref.parse(ref), tier, "approve", hand, shown=shown)


@click.command(cls=Door)
@click.argument("ref")
@_tier
@_shown
@click.option(
    "--days", type=click.IntRange(1, 3650), default=90, show_default=True, help="How long it stands."
)
@signing_options()
@pass_app
def reject(app: App, ref: str, tier: str, shown: str | None, days: int, *, hand: Hand) -> None:
    """Sign that REF must not be promoted to TIER. It blocks, whoever else approves, and break-glass does not get past it.

    It ends after --days, when you approve later, or when two other stewards do. New evidence does not end it.

    \b
    tidegate reject acme/coder@2 --tier org --person carla --reason 'calls tools twice' --key carla.key
    """
    _answer(app, Ref.parse(ref), tier, "reject", hand, shown=shown, life=timedelta(days=days))


def _answer(
    app: App,
    ref: Ref,
    tier: str,
    decision: str,
    hand: Hand,
    *,
    shown: str | None,
    life: timedelta | None = None,
) -> None:
    from pipelines.approve import keep_question, record_approval
    from registry.approvals_payload import NAMESPACE

    app.demand("site")
    asked: list[Question] = []

    def make(reason: str) -> bytes:
        found, message = _payload(app, ref, tier, decision, hand, reason=reason, shown=shown, life=life)
        asked.append(found)
        if not app.settings.as_json:
            say(found.page)
        return message

    signed = hand.signed(
        app,
        make,
        namespace=NAMESPACE,
        said=lambda told: (
            f"to {told['decision']} {told['model']}@{told['ordinal']} for {told['tier']}, on {len(told['evidence'])} pieces "
            f"of evidence, until {told['expires_at']}"
        ),
    )
    if signed is None:
        keep_question(app.work, asked[0])
        return
    message, signature = signed
    row = record_approval(
        app.work, ref, tier, hand.name, payload=message, signature=signature, decision=decision
    )
    _show_answer(app, ref, row)


def _payload(
    app: App, ref: Ref, tier: str, decision: str, hand: Hand, *, reason: str, shown: str | None, life: timedelta | None
) -> "tuple[Question, bytes]":  # fmt: skip
    from pipelines.approve import request_approval, signer
    from registry.approvals_payload import payload

    with app.store.view() as view:
        signer(app.work, view, hand.name)
    asked, answer = request_approval(
        app.work, ref, tier, reason=reason, decision=decision, life=life, shown=shown
    )
    return asked, payload(answer, hand.name)


def _show_answer(app: App, ref: Ref, row: "Approval") -> None:
    """What was kept, and whether it counts as things stand."""
    from pipelines.case import case as look
    from registry.approvals_payload import decode
    from signing.times import rfc3339

    with app.store.view() as view:
        judged = look(app.work, view, ref, row.tier).approvals
    against = next((item.detail for item in judged.refused if item.approval.digest == row.digest), None)
    answer, _ = decode(row.payload.encode())
    verb = "rejects" if row.decision == "reject" else "approves"
    text = (
        f"{row.person} {verb} {answer.model}@{answer.ordinal} ({row.version[:SHORT]}) for {row.tier}, "
        f"on {len(answer.evidence)} pieces of evidence, until {rfc3339(answer.expires_at)}.\n"
    )
    if against is not None:
        text += f"It does NOT count as things stand: {against}.\n"
    text += f"Next:    tidegate gate {ref} --tier {row.tier}"
    document = {
        **row.content(), "evidence": list(answer.evidence), "counts": against is None, "why_not": against,
    }  # fmt: skip
    show(document, text, as_json=app.settings.as_json)


@approvals.command()
@click.argument("digest")
@click.option(
    "--verdict", type=click.Choice(["upheld", "objected"]), required=True, help="What you say of it."
)
@signing_options()
@pass_app
def review(app: App, digest: str, verdict: str, *, hand: Hand) -> None:
    """Say, signed, whether a break-glass was right: its DIGEST, or the start of it. Not by who broke the glass.

    It stays shown for ever beside what it is about; what was objected to is not undone by that: roll back, or withdraw.

    \b
    tidegate approvals review 9f31c2aa --verdict upheld --person bob --reason 'the outage was real' --key bob.key
    """
    from pipelines.break_glass import record_review, request_review
    from registry.decisions import NAMESPACE, decode

    app.demand("site")
    signed = hand.signed(
        app,
        lambda reason: request_review(app.work, digest, verdict, hand.name, reason=reason),
        namespace=NAMESPACE,
        said=lambda told: f"break-glass {told['subject'][:SHORT]}: {told['details']['verdict']}",
    )
    if signed is None:
        return
    row = record_review(app.work, digest, hand.name, payload=signed[0], signature=signed[1])
    said = decode(row.payload.encode()).details["verdict"]
    text = f"{row.person} reviewed break-glass {row.subject[:SHORT]}: {said}."
    show(row.content(), text, as_json=app.settings.as_json)
