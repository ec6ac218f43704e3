"""`tidegate audit prove`, `check-proof` and `witnesses`: the log shown to others, and the logs of others watched."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tidegate.cli.doors import Door, pass_app
from tidegate.output import SHORT, show, table
from tidegate.wiring import App, read_file

if TYPE_CHECKING:
    from registry.entities import WitnessedHead
    from registry.log_proof import Shown

_OPENINGS = ".openings.json"


@click.command(cls=Door)
@click.argument("event", type=click.IntRange(min=0))
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the proof to this file; what is opened goes beside it, as <name>.openings.json.",
)
@click.option(
    "--open",
    "pointers",
    multiple=True,
    metavar="POINTER",
    help="Open a value that stands salted in the event, such as /actor or /rows/0/row/reason.",
)
@pass_app
def prove(app: App, event: int, out: Path | None, pointers: tuple[str, ...]) -> None:
    """Prove to somebody outside that event number EVENT stands in the signed log.

    The file holds the event, its audit path and the newest head, cosigned by another home if there is such a head
    (C2SP tlog-proof). Names and free text in it are salted digests; --open shows one of them.

    Example: tidegate audit prove 41 --out 41.tlog-proof --open /actor
    """
    from registry import log_proof
    from signing import tlog_proof
    from signing.canonical import pretty_bytes
    from signing.durable import write_durably

    with app.store.view() as view:
        proof = log_proof.prove(view, event)
        opened = log_proof.openings(view, event, pointers)
    data = tlog_proof.write(proof)
    document: dict[str, Any] = {"event": event, "proof": data.decode(), "openings": opened}
    text = data.decode().rstrip("\n")
    if out is not None:
        write_durably(out, data)
        text = f"Wrote {out} ({len(proof.path)} hashes)."
        if opened:
            beside = _beside(out)
            write_durably(beside, pretty_bytes(opened))
            text += f"\nWrote {beside}: whoever gets it reads {', '.join(pointers)}."
    show(document, text, as_json=app.settings.as_json)


@click.command("check-proof", cls=Door)
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--key", help="The log's verifier key, as `tidegate audit head` shows it; default: this home's."
)
@click.option(
    "--openings",
    type=click.Path(path_type=Path, dir_okay=False),
    help="What opens the event's salted values; default: <name>.openings.json beside FILE, if it is there.",
)
@click.option(
    "--witness",
    "witnesses",
    multiple=True,
    metavar="KEY",
    help="A home that must have cosigned the head, by its verifier key; may be given several times.",
)
@pass_app
def check_proof(
    app: App, file: Path, key: str | None, openings: Path | None, witnesses: tuple[str, ...]
) -> None:
    """Check a proof that `tidegate audit prove` wrote, of any home's log: no home is needed with --key.

    Example: tidegate audit check-proof 41.tlog-proof --key tidegate/clinic+5a7c1b2e+AX…
    """
    from registry import log_proof
    from signing import tlog_proof
    from tidegate.keyring import log_verifier_key

    proof = tlog_proof.read(read_file(file, max_bytes=tlog_proof.MAX_PROOF))
    beside = openings or (_beside(file) if _beside(file).is_file() else None)
    opened = log_proof.read_openings(read_file(beside, max_bytes=log_proof.MAX_OPENINGS)) if beside else []
    shown = log_proof.check(proof, key or log_verifier_key(app.home), opened=opened, witnesses=witnesses)
    document = {
        "event": dict(shown.event),
        "log": shown.head.origin,
        "size": shown.head.size,
        "root": shown.head.root.hex(),
        "closed": list(shown.closed),
        "witnesses": [{"name": name, "at": _moment(at)} for name, at in shown.witnesses],
    }
    show(document, _shown_text(shown), as_json=app.settings.as_json)


@click.command(cls=Door)
@click.option(
    "--accept",
    metavar="HOME",
    help="Go on from that home's log as it is now, although it does not begin with what was seen before.",
)
@click.option("--reason", help="Why; kept in the audit log. Needed with --accept.")
@pass_app
def witnesses(app: App, accept: str | None, reason: str | None) -> None:
    """What is known here of other homes' logs, and which of our heads they cosigned.

    A log that was rewritten or cut off is shown as FORK or ROLLED-BACK until a person says why: a restored backup,
    a home that was set up anew.

    Example: tidegate audit witnesses --accept clinic --reason "disk replaced, backup of Friday restored"
    """
    from pipelines import witness

    if accept is not None:
        if not reason:
            raise click.UsageError("--accept needs --reason")
        witness.accept(app.work, accept, reason=reason)
    with app.store.view() as view:
        states, ours = witness.states(view), view.cosigned()
    seen = [_state(newest, held) for newest, held in states]
    cosigned = [
        {"size": row.size, "root": row.root, "witness": row.witness, "since": row.since} for row in ours
    ]
    lines = [
        (s["log"], s["outcome"], s["size"], s["root"][:SHORT], s["held"] or "nothing", s["since"])
        for s in seen
    ]
    text = table(
        ("log", "found", "events", "root", "held to be true", "since"),
        lines,
        empty="No other home's log was seen.",
    )
    newest = {row.witness: row for row in ours}
    text += "".join(
        f"\n{name} cosigned our first {row.size} events ({row.since})."
        for name, row in sorted(newest.items())
    )
    show({"logs": seen, "cosigned": cosigned}, text, as_json=app.settings.as_json)


def _state(newest: "WitnessedHead", held: "WitnessedHead | None") -> dict[str, Any]:
    return {
        "log": newest.log,
        "outcome": newest.outcome,
        "size": newest.size,
        "root": newest.root,
        "held": None if held is None else held.size,
        "since": newest.since,
    }


def _shown_text(shown: "Shown") -> str:
    event = shown.event
    lines = [
        f"Event {event['position']} of {shown.head.origin} ({shown.head.size} events): {event['kind']}, {event['at']}.",
        *(f"  {pointer} stays closed" for pointer in shown.closed),
        *(f"  {name} cosigned that head ({_moment(at)})" for name, at in shown.witnesses),
        f"Head:    {shown.head.root.hex()}",
    ]
    return "\n".join(lines)


def _moment(seconds: int) -> str:
    from signing.times import rfc3339

    try:
        return rfc3339(datetime.fromtimestamp(seconds, UTC))
    except (ValueError, OverflowError):
        return f"{seconds} s"  # a witness may sign any number


def _beside(file: Path) -> Path:
    return file.with_name(file.name.removesuffix(".tlog-proof") + _OPENINGS)
