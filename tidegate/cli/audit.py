"""`tidegate audit`: the log, its proof, and the account of one version."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from registry.names import Ref
from tidegate.cli import audit_log
from tidegate.cli.audit_export import export
from tidegate.cli.audit_questions import QUESTIONS
from tidegate.cli.doors import Noun, pass_app
from tidegate.errors import AuditBroken
from tidegate.output import SHORT, show, table
from tidegate.wiring import App, read_file

if TYPE_CHECKING:
    from registry.audit import Entry

_NOTE_BYTES = 1 << 20
_RECEIPT_BYTES = 64 << 20


@click.group(cls=Noun)
def audit() -> None:
    """What happened here, and the proof that nobody changed the record of it."""


for _command in (export, *QUESTIONS):  # those that have a file of their own
    audit.add_command(_command)


@audit.command()
@click.option(
    "--last", type=click.IntRange(min=1), default=50, show_default=True, help="How many events, newest last."
)
@click.option("--subject", help="Only events about this: a version's digest, a tier, a bundle, a person.")
@click.option("--kind", help="Only events of this kind, as the log writes it.")
@pass_app
def log(app: App, last: int, subject: str | None, kind: str | None) -> None:
    """Events in the order in which they happened."""
    from pipelines.agreements import KINDS

    with app.store.view() as view:
        entries = view.events(subject=subject, kind=kind, last=last)
        names = {row.digest: f"{row.model}@{row.ordinal}" for row in view.versions()}
        names |= {row.digest: f"{row.kind} {row.name}" for row in view.documents("suite", *KINDS.values())}
        names |= {row.digest: f"bundle {row.bundle}" for row in view.imports()}
        names |= {row.digest: f"bundle {row.bundle}" for row in view.exports()}
    lines = [(e.position, e.at, e.actor, e.kind, _about(e, names)) for e in entries]
    document = [
        {
            "position": e.position,
            "at": e.at,
            "actor": e.actor,
            "kind": e.kind,
            "subject": e.subject,
            "note": dict(e.note),
        }
        for e in entries
    ]
    text = table(("event", "at", "who", "what", "about"), lines, empty="No such event.")
    show(document, text, as_json=app.settings.as_json)


@audit.command()
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Also write the signed head to this file, to be kept where this home cannot reach it.",
)
@pass_app
def head(app: App, out: Path | None) -> None:
    """The newest signed head of the log: size, root, and the key that signed it.

    Keep it elsewhere, on paper or on a medium. Later, `tidegate audit verify --kept-head FILE` shows that the log
    of then still stands at the beginning of the log of now.
    """
    from signing.durable import write_durably

    found = _head(app)
    if out is not None:
        write_durably(out, found["checkpoint"].encode())
    lines = [f"{found['size']} events", f"Head:    {found['root']}", f"Key:     {found['verifier_key']}"]
    lines += [f"Wrote {out}."] if out else []
    show(found, "\n".join(lines), as_json=app.settings.as_json)


@audit.command()
@click.option(
    "--kept-head",
    "heads",
    type=click.Path(path_type=Path, dir_okay=False),
    multiple=True,
    help="A head that `tidegate audit head --out` wrote earlier: the log must still begin with it.",
)
@click.option(
    "--receipt",
    "receipts",
    type=click.Path(path_type=Path, dir_okay=False),
    multiple=True,
    help="A receipt of this site, as the origin kept it: the head in it must be in the log.",
)
@click.option("--every-signature", is_flag=True, help="Check the signature of every head, not of each 256th.")
@pass_app
def verify(app: App, heads: tuple[Path, ...], receipts: tuple[Path, ...], *, every_signature: bool) -> None:
    """Check the log's tree and signatures, and replay it against every table.

    The log alone cannot show that its newest events were cut off together with their signed heads. A head that was
    kept elsewhere can: heads that other homes cosigned are held against the log without being asked for; give others
    with --kept-head, or a receipt from the origin with --receipt.
    """
    from pipelines.people import passed_over
    from tidegate.keyring import log_verifier_key, station_signer
    from tidegate.verifying import kept_note, kept_receipt
    from tidegate.verifying import verify as check

    key, station = log_verifier_key(app.home), station_signer(app.home).public_key
    kept = [
        kept_note(read_file(file, max_bytes=_NOTE_BYTES).decode(errors="replace"), key, at=file.name)
        for file in heads
    ]
    kept += [
        kept_receipt(read_file(file, max_bytes=_RECEIPT_BYTES), station, at=file.name) for file in receipts
    ]
    problems = check(app.store, app.home, kept=kept, every_signature=every_signature)
    with app.store.view() as view:
        problems += passed_over(app.work, view)
    if problems:
        raise AuditBroken(tuple(problems))
    found = _head(app)
    text = (
        f"{found['size']} events under signed heads, the log replayed and equal to the tables.\n"
        + "".join(f"Begins with the {item.size} events of {item.at}.\n" for item in kept)
        + f"Head:    {found['root']}\nKey:     {found['verifier_key']}"
    )
    compared = [{"file": item.at, "size": item.size, "root": item.root.hex()} for item in kept]
    show({"ok": True, **found, "kept": compared}, text, as_json=app.settings.as_json)


def _head(app: App) -> dict[str, Any]:
    from registry.errors import NotFound
    from tidegate.keyring import log_verifier_key

    with app.store.view() as view:
        newest = view.head()
    if newest is None:
        raise NotFound("event in the log of", app.home.name)
    return {
        "size": newest.size,
        "root": newest.root,
        "checkpoint": newest.note,
        "verifier_key": log_verifier_key(app.home),
    }


@audit.command()
@click.argument("ref")
@pass_app
def explain(app: App, ref: str) -> None:
    """The whole account of one version: whence, scanned how, by which bundle, judged, approved and served."""
    from pipelines.account import account

    found = account(app.work, Ref.parse(ref))
    show(found.document, found.text, as_json=app.settings.as_json)


for command in (audit_log.prove, audit_log.check_proof, audit_log.witnesses):
    audit.add_command(command)


def _about(entry: "Entry", names: Mapping[str, str]) -> str:
    """What an event was about, by name where the digest has one, and the tier that it concerned."""
    digest = len(entry.subject) == 64
    subject = names.get(entry.subject) or (f"{entry.subject[:SHORT]}…" if digest else entry.subject)
    tiers = {str(row["tier"]) for _, row in entry.rows if "tier" in row} - {entry.subject}
    return " ".join((subject, "→", ", ".join(sorted(tiers)))) if tiers else subject
