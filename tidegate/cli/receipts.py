"""`tidegate receipts`: what a site says back, in three sizes, and what the origin may believe because of it."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tidegate.cli.doors import Noun, pass_app
from tidegate.output import show, size, table
from tidegate.wiring import App

if TYPE_CHECKING:
    from pipelines.baseline import Baseline
    from registry.entities import SpokenReceipt
    from registry.views import View

_SHOWN = 10  # hex digits of a digest, as people compare them
_bundle = click.argument("bundle", required=False)


@click.group(cls=Noun)
def receipts() -> None:
    """What a site says back: full, digest only, or a spoken code; and what each site is known to hold."""


@receipts.command()
@_bundle
@click.option(
    "--digest-only",
    is_flag=True,
    help="Name no file: bundles and digests only, about a kilobyte that a reviewer can read.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="A file, or a folder to write `receipt-SITE-NUMBER.json` in. Default: it is printed.",
)
@pass_app
def write(app: App, bundle: str | None, *, digest_only: bool, out: Path | None) -> None:
    """Write a signed receipt about the newest bundle taken in here, or about BUNDLE (its name or number).

    It says what this site holds now, so it may be written at any time, and never onto a medium that came. At the
    origin: tidegate bundles acknowledge FILE.
    """
    from pipelines import answer
    from pipelines.receipts import write as signed
    from signing.canonical import parse

    app.demand("site")
    with app.store.view() as view:
        receipt = answer.compose(app.work, view, answer.taken_in(view, bundle))
        if digest_only:
            receipt = answer.digest_only(receipt, view)
    data = signed(receipt, app.work)
    file = None if out is None else answer.place_receipt(app.work, out, receipt, data)
    text = data.decode().rstrip("\n")
    if file is not None:
        text = f"Receipt of bundle {receipt.bundle} (number {receipt.sequence}) in {file}, {size(len(data))}."
        text += f"\nNext:    carry it to {receipt.origin}; there: tidegate bundles acknowledge {file.name}"
    document = {
        "bundle": receipt.bundle,
        "sequence": receipt.sequence,
        "file": None if file is None else str(file),
        "bytes": len(data),
        "receipt": parse(data, max_bytes=len(data)) if file is None else None,
    }
    show(document, text, as_json=app.settings.as_json)


@receipts.command()
@_bundle
@pass_app
def speak(app: App, bundle: str | None) -> None:
    """Print sixteen letters to read to the origin: for the newest bundle taken in here, or for BUNDLE."""
    from pipelines import answer, spoken

    app.demand("site")
    with app.store.view() as view:
        row = answer.taken_in(view, bundle)
    code, outcome = spoken.speak(app.work, row)
    lines = [
        f"Bundle {row.bundle}, number {row.sequence}: {outcome}",
        f"  {spoken.grouped(code)}",
        f"Next:    read number and code to the origin; there: tidegate receipts hear {app.home.name} {row.sequence} CODE",
    ]
    document = {"bundle": row.bundle, "sequence": row.sequence, "outcome": outcome, "code": code}
    show(document, "\n".join(lines), as_json=app.settings.as_json)


@receipts.command()
@click.argument("site")
@click.argument("sequence", type=click.IntRange(min=1))
@click.argument("code", nargs=-1, required=True, metavar="CODE…")
@pass_app
def hear(app: App, site: str, sequence: int, code: tuple[str, ...]) -> None:
    """Record the code that SITE read out for its bundle number SEQUENCE; spaces, hyphens and case do not matter.

    It is advice, not proof: the bundle stays unacknowledged until a signed receipt comes. A person may still build on
    it when the next bundle is made: --assume-received NUMBER, then needs no other reason.
    """
    from pipelines import spoken

    app.demand("origin")
    row = spoken.hear(app.work, site, sequence, " ".join(code))
    held = {
        spoken.WHOLE: "all of it is there",
        spoken.PARTIAL: "not all of it is there",
    }[row.outcome]
    lines = [f"{site} says of bundle {sequence}: {row.outcome}, {held}. Recorded; it acknowledges nothing."]
    document = {"site": site, "sequence": sequence, "outcome": row.outcome, "since": row.since}
    show(document, "\n".join(lines), as_json=app.settings.as_json)


@receipts.command()
@click.argument("site", required=False)
@click.option("--enter", is_flag=True, help="At a site: take in what the origin reads out; it is not shown.")
@pass_app
def secret(app: App, site: str | None, *, enter: bool) -> None:
    """Agree on the secret under spoken codes: made here for SITE and shown once, entered there with --enter.

    Say it face to face or over a line that you trust, when the site is enrolled; it never goes onto a medium.
    Making or entering it again replaces the old one.
    """
    from pipelines import spoken

    if enter == (site is not None):
        raise click.UsageError("at the origin name the SITE; at the site say --enter")
    if site is None:
        app.demand("site")
        spoken.enter_secret(app.work, _typed())
        show({"entered": True}, "The secret is kept here.", as_json=app.settings.as_json)
        return
    app.demand("origin")
    made = spoken.make_secret(app.work, site)
    lines = [
        f"The secret with {site}, shown this once:",
        f"  {spoken.grouped(made)}",
        "Next:    read it to the site; there: tidegate receipts secret --enter",
    ]
    show({"site": site, "secret": made}, "\n".join(lines), as_json=app.settings.as_json)


def _typed() -> str:
    """What is typed in a terminal without being shown, or one line of what is piped in."""
    if sys.stdin.isatty():
        return str(click.prompt("The secret, as the origin reads it out", hide_input=True, err=True))
    return sys.stdin.readline()


@receipts.command()
@click.argument("site", required=False)
@pass_app
def status(app: App, site: str | None) -> None:
    """What each site, or SITE, is known to hold: bundle by bundle, and for how many days one is unconfirmed."""
    app.demand("origin")
    with app.store.view() as view:
        names = [view.site(site).name] if site else [row.name for row in view.sites()]
        found = [_status(app, view, name) for name in names]
    text = (
        "\n".join(_text(one) for one in found)
        or "No sites yet. Next: tidegate sites add NAME --identity FILE"
    )
    show({"sites": found}, text, as_json=app.settings.as_json)


def _status(app: App, view: "View", site: str) -> dict[str, Any]:
    from pipelines.baseline import baseline
    from pipelines.receipts import newest

    known, last = baseline(view, site), newest(view, site)
    return {
        "site": site,
        "receipt": None
        if last is None
        else {
            "digest": last.digest,
            "bundle": last.bundle,
            "sequence": last.sequence,
            "made_at": last.made_at,
            "digest_only": last.inventory is not None,
            "freshness": last.freshness.value,
        },
        "restored": known.restored,
        "blobs": {
            "acknowledged": len(known.acknowledged),
            "assumed": len(known.assumed),
            "exported": len(known.exported),
        },
        "bundles": _bundles(app, known, view.spoken_receipts(site)),
    }


def _bundles(app: App, known: "Baseline", spoken: "list[SpokenReceipt]") -> list[dict[str, Any]]:
    from pipelines.baseline import State
    from signing.times import from_rfc3339

    said = {row.sequence: row for row in spoken}
    words = {word.sequence: word for word in known.assumptions}
    found = []
    for one in known.bundles:
        code, word = said.get(one.sequence), words.get(one.sequence)
        waiting = None if one.state is State.ACKNOWLEDGED else (app.now - from_rfc3339(one.made_at)).days
        found.append(
            {
                "sequence": one.sequence,
                "bundle": one.bundle,
                "state": one.state.value,
                "made_at": one.made_at,
                "bytes": one.bytes,
                "lacking": one.lacking,
                "unconfirmed_days": waiting,
                "spoken": None if code is None else {"outcome": code.outcome, "since": code.since},
                "assumed": None if word is None else {"by": word.by, "reason": word.reason},
            }
        )
    return found


def _text(found: dict[str, Any]) -> str:
    last, blobs = found["receipt"], found["blobs"]
    lines = [f"{found['site']}: no receipt yet"]
    if last is not None:
        kind = "digest-only receipt" if last["digest_only"] else "receipt"
        about = f"{kind} {last['digest'][:_SHOWN]} of bundle {last['sequence']}"
        lines = [f"{found['site']}: {about}, made {last['made_at']}, {last['freshness']} then"]
    if found["restored"]:
        lines.append("  It knows of fewer bundles than in an earlier receipt: it was restored from a backup.")
    lines.append(
        f"  {blobs['acknowledged']} blobs acknowledged, {blobs['assumed']} assumed, {blobs['exported']} only sent"
    )
    rows = [
        (one["sequence"], one["bundle"], one["state"], size(one["bytes"]), _waiting(one), _said(one))
        for one in found["bundles"]
    ]
    headings = ("number", "bundle", "state", "bytes", "unconfirmed", "said")
    shown = table(headings, rows, empty="no bundle was made for it yet")
    return "\n".join([*lines, *(f"  {line}" for line in shown.splitlines())])


def _waiting(bundle: dict[str, Any]) -> str:
    days = bundle["unconfirmed_days"]
    return "-" if days is None else f"{days} day{'s' if days != 1 else ''}"


def _said(bundle: dict[str, Any]) -> str:
    said = []
    if bundle["lacking"]:
        said.append(f"lacks {bundle['lacking']} of its blobs")
    if bundle["spoken"]:
        said.append(f"by code: {bundle['spoken']['outcome']}")
    if bundle["assumed"]:
        said.append(f"{bundle['assumed']['by']}: {bundle['assumed']['reason']}")
    return "; ".join(said) or "-"
