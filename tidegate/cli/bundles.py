"""`tidegate bundles`: what crosses the gap. Packed and acknowledged at an origin; inspected and imported at a site."""

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from registry.names import Ref
from tidegate.cli.doors import Noun, pass_app, passphrase_option
from tidegate.cli.transfers import transfer_options
from tidegate.cli.unsigned_bundles import finish, redraft, show_drafted
from tidegate.output import SHORT, progress, say, show, size, table
from tidegate.wiring import App

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from pipelines.bundle.history import Missing
    from pipelines.bundle.media import Medium
    from pipelines.people_carried import Taken
    from pipelines.receive import Imported, Inspection
    from pipelines.ship import Shipped
    from signing.summaries import Transfer


_MOST_MISSING = 10  # bundles that are named one by one


class MediumType(click.ParamType):  # type: ignore[type-arg]  # generic only to the type checker
    """A medium as people name it: dvd, bd25, fat32:64GB, or bytes as 4700000000, 4.7GB (decimal), 4GiB."""

    name = "MEDIUM"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        from pipelines.bundle.errors import MediumUnknown
        from pipelines.bundle.media import Medium, medium

        if isinstance(value, Medium):
            return value
        try:
            return medium(str(value))
        except MediumUnknown as exc:
            self.fail(f"{exc}. {exc.next_step}", param, ctx)


_folders = click.argument(
    "dirs", nargs=-1, required=True, type=click.Path(path_type=Path, file_okay=False), metavar="DIR…"
)


timestamp_option = click.option(
    "--timestamp",
    type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
    metavar="FILE",
    help="A fresh timestamp for a bundle whose own has run out: the file, or - to type the lines from a paper.",
)


@click.group(cls=Noun)
def bundles() -> None:
    """Signed bundles: a folder on each medium, checked before anything of it is believed."""


bundles.add_command(finish)
bundles.add_command(redraft)


@bundles.command()
@click.argument("refs", nargs=-1, metavar="REF…")
@click.option("--to", "site", required=True, help="The site that it is for; no other site will take it.")
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), required=True, help="The folder to write to."
)
@click.option(
    "--volume-size",
    type=MediumType(),
    help="The medium: dvd, bd25, bd50, bd100, fat32[:SIZE], exfat[:SIZE], or bytes as 4.7GB. Default: one volume.",
)
@click.option(
    "--parity",
    type=click.IntRange(0, 2),
    default=0,
    show_default=True,
    help="How many volumes may be lost or bad; of a single volume, how many bad files.",
)
@click.option(
    "--profile",
    type=click.Choice(["media", "guard"]),
    default="media",
    show_default=True,
    help="guard: raw bytes under real file endings, for a guard that refuses what it cannot read.",
)
@click.option("--compact", is_flag=True, help="Spend three times the time to save another fifth of a delta.")
@click.option(
    "--self-contained", is_flag=True, help="Leave nothing out and build on nothing, whatever the site holds."
)
@click.option(
    "--baseline",
    is_flag=True,
    help="For a site that was set up anew: it may begin with this bundle, which leaves nothing out.",
)
@click.option(
    "--assume-received",
    "assumed",
    type=click.IntRange(min=1),
    metavar="NUMBER",
    help="Take the site to hold this bundle although no receipt came; recorded, and printed in the bundle.",
)
@click.option("--by", "person", metavar="PERSON", help="Who says so. With --assume-received.")
@click.option("--reason", help="Why. With --assume-received; may be left out after `receipts hear`.")
@click.option(
    "--with",
    "documents",
    multiple=True,
    metavar="NAME",
    help="Also send this suite, profile, contract, set of companions or list of advisories (name or digest).",
)
@click.option(
    "--next-by",
    metavar="DATE",
    help="The day by which the site should have the next bundle, as 2026-11-20; it is shown there.",
)
@transfer_options
@click.option(
    "--key", "keys", multiple=True, metavar="URI|PATH", help="Officers' keys. Default: those in the home."
)
@passphrase_option
@click.option(
    "--draft",
    "ceremony",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="FOLDER",
    help="The officers are elsewhere: pack, set it aside in --out, and begin the ceremony that they sign in FOLDER.",
)
@pass_app
def create(
    app: App,
    refs: tuple[str, ...],
    site: str,
    out: Path,
    volume_size: "Medium | None",
    parity: int,
    profile: str,
    *,
    compact: bool,
    self_contained: bool,
    baseline: bool,
    assumed: int | None,
    person: str | None,
    reason: str | None,
    documents: tuple[str, ...],
    next_by: str | None,
    transfer: "Transfer",
    keys: tuple[str, ...],
    ceremony: Path | None,
) -> None:
    """Pack versions for a site, signed, in one or several volumes.

    What the site has acknowledged is left out, and what is like it is sent as a difference. With no REF the bundle
    carries freshness and withdrawals only.

    \b
    tidegate bundles create acme/coder@2 --to clinic --out media
    tidegate bundles create acme/coder@2 --to clinic --out media --draft ceremony
    """
    from pipelines.ship import Packing, check_shipment, create_bundle, draft_bundle
    from tidegate.keyring import role_signers

    app.demand("origin")
    expected = None if next_by is None else _day(next_by)
    if expected is not None and expected.date() < app.now.date():
        raise click.BadParameter(f"{next_by} is over", param_hint="--next-by")
    if ceremony is not None and keys:
        raise click.UsageError(
            "--draft takes no --key: the officers sign the ceremony with `tidegate trust sign`"
        )
    signers = None if ceremony else role_signers(app.home, named=keys, passphrase=app.passphrase)
    with app.store.view() as view:
        extra = [_document(view, name) for name in documents]
    versions = [Ref.parse(ref) for ref in refs]
    if assumed is not None:
        check_shipment(app.work, site=site, refs=versions, signers=signers, documents=extra)
        _assume(app, site, assumed, person=person, reason=reason)
    elif person is not None or reason is not None:
        raise click.UsageError("--by and --reason belong to --assume-received")
    packing = Packing(
        medium=volume_size,
        parity=parity,
        profile=profile,
        compact=compact,
        self_contained=self_contained,
        baseline=baseline,
        next_expected_by=expected,
        transfer=transfer,
    )
    if signers is None:
        assert ceremony is not None, "signers are left out for a draft alone"
        with progress("packing") as bar:
            drafted = draft_bundle(
                app.work,
                site=site,
                refs=versions,
                out=out,
                ceremony=ceremony,
                documents=extra,
                packing=packing,
                progress=bar,
                expect=bar.expect,
            )
        show_drafted(app, drafted)
        return
    with progress("packing") as bar:
        done = create_bundle(
            app.work,
            site=site,
            refs=versions,
            out=out,
            signers=signers,
            documents=extra,
            packing=packing,
            progress=bar,
            expect=bar.expect,
        )
    show_shipped(app, done, parity)


def show_shipped(app: App, done: "Shipped", parity: int) -> None:
    """Print what was packed."""
    document = {
        "bundle": done.bundle,
        "sequence": done.sequence,
        "digest": done.digest,
        "site": done.site,
        "volumes": [str(folder) for folder in done.folders],
        "bytes": done.bytes,
        "carried": done.carried,
        "stored": done.stored,
        "parity": list(done.parity),
        "left_out": done.left_out,
        "versions": list(done.versions),
        "notes": list(done.notes),
    }
    show(document, shipped_text(done, parity), as_json=app.settings.as_json)


def shipped_text(done: "Shipped", parity: int) -> str:
    """What was packed, for people."""
    lines = [f"Bundle {done.bundle} for {done.site}: {_volumes(len(done.folders))}, {size(done.bytes)}."]
    lines += [f"  {version}" for version in done.versions]
    if not done.versions:
        lines.append("  no versions: it says that all is well until the next one, and what is withdrawn")
    if done.carried:
        share = 100 * done.stored / done.carried
        said = f"{share:.1f} %" if share >= 0.1 else "less than 0.1 %"
        lines.append(f"  {size(done.carried)} of files in {size(done.stored)} of chunks ({said})")
    if done.parity:
        lines.append(_parity_line(done.parity, parity))
    elif parity and done.stored:
        lines.append(f"  parity within the volume: any {_count(parity, 'file')} of it may be bad")
    if done.left_out:
        lines.append(
            f"  left out, because {done.site} has it by receipt or by a person's word: {size(done.left_out)}"
        )
    lines += [f"  {note}" for note in done.notes]
    lines += [f"  {folder}" for folder in done.folders]
    lines.append("Next:    carry every volume to the site; there: tidegate bundles import DIR…")
    return "\n".join(lines)


def _assume(app: App, site: str, sequence: int, *, person: str | None, reason: str | None) -> None:
    """Record a person's word, and say so."""
    from pipelines.baseline import assume_received

    if person is None:
        raise click.UsageError("--assume-received needs --by PERSON")
    word = assume_received(app.work, site, sequence, person=person, reason=reason)
    if word.acknowledged:
        say(f"Number {sequence}: a receipt proves it; no word is needed.", err=True)
    else:
        say(f"Recorded: {person} says that {site} holds number {sequence} ({word.reason}).", err=True)


def _day(text: str) -> "datetime":
    from signing.times import TimeUnreadable, from_rfc3339

    try:
        return from_rfc3339(f"{text}T00:00:00Z")
    except TimeUnreadable as exc:
        raise TimeUnreadable(text) from exc


def _document(view: Any, name: str) -> str:
    from pipelines.agreements import find
    from registry.errors import NotFound

    for kind in ("suite", "companions", "advisories"):
        with contextlib.suppress(NotFound):
            return str(view.document(kind, name).digest)
    try:
        return find(view, name).digest
    except NotFound as exc:
        raise NotFound("suite, companions, contract or profile", name) from exc


@bundles.command()
@_folders
@click.option("--deep", is_flag=True, help="Also read and hash every chunk.")
@timestamp_option
@pass_app
def inspect(app: App, dirs: tuple[Path, ...], *, deep: bool, timestamp: Path | None) -> None:
    """Look at a bundle and write nothing: who signed it, what it holds, what is missing or wrong, what it would take.

    Exits with the code of the first problem; 0 when it could be imported now.
    """
    from pipelines.receive import inspect as look
    from tidegate.cli.restamp import read_timestamp

    app.demand("site")
    fresh = read_timestamp(timestamp)
    with progress("reading") as bar:
        seen = look(app.work, dirs, deep=deep, timestamp=fresh, progress=bar, expect=bar.expect)
    show(inspection_document(seen), inspection_text(seen), as_json=app.settings.as_json)
    if seen.problems:
        raise seen.problems[0]


def _volumes(count: int) -> str:
    return f"{count} volume{'s' if count != 1 else ''}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' if number != 1 else ''}"


def _parity_line(holders: "Sequence[int]", parity: int) -> str:
    """Which volumes hold parity alone, and what that is good for."""
    names = ", ".join(map(str, holders))
    return f"  parity on volume{'s' if len(holders) > 1 else ''} {names}: any {parity} may be lost"


def _missing_lines(missing: "Sequence[Missing]") -> list[str]:
    """Bundles that never arrived here, each with what it held; of many, the newest."""
    more = (
        [f"  never arrived here: {len(missing) - _MOST_MISSING} more"] if len(missing) > _MOST_MISSING else []
    )
    return more + [
        f"  never arrived here: number {one.sequence}, of which nothing is told"
        if one.bundle is None
        else f"  never arrived here: number {one.sequence} ({one.bundle}, sent {one.issued_at}) with "
        f"{', '.join(one.items) or 'no versions'}"
        for one in missing[-_MOST_MISSING:]
    ]


def inspection_text(seen: "Inspection") -> str:
    """What was seen, for people."""
    shown = f"volume{'s' if len(seen.present) != 1 else ''} {', '.join(map(str, seen.present))}"
    lines = [f"Bundle {seen.bundle}: {shown} of {seen.of}"]
    if seen.trusted:
        state = "imported here already" if seen.already else "not imported here yet"
        lines.append(
            f"  trusted: root {seen.root_version}, number {seen.sequence} from {seen.origin} to {seen.audience}; {state}"
        )
        signed = f"  signed {seen.issued_at}, good until {seen.expires or '-'}"
        if seen.next_expected_by:
            signed += f"; the next one is expected by {seen.next_expected_by}"
        lines.append(signed)
    else:
        lines.append("  NOT TRUSTED: what follows is only what somebody wrote")
    lines += _missing_lines(seen.missing_bundles)
    lines += [f"  built on a person's word: {word}" for word in seen.assumed_received]
    lines += [f"  NOTE {note}" for note in seen.notes]
    if seen.rebuildable:
        lines.append(f"  {_count(len(seen.rebuildable), 'chunk')} not here, to be rebuilt from parity")
    lines += [
        f"  {item.model}@{item.ordinal}  {item.digest[:SHORT]}  {item.files} files, {size(item.bytes)}{'  (held)' if item.held else ''}"
        for item in seen.items
    ]
    lines += [f"  {kind} {name}  {digest[:SHORT]}" for kind, name, digest in seen.documents]
    lines += [f"  withdraws {version[:SHORT]}: {reason}" for version, reason in seen.withdrawals]
    lines.append(
        f"  carries {size(seen.bytes_carried)} in {size(seen.bytes_stored)} of chunks ({seen.profile or 'unreadable'}), builds on {size(seen.bytes_assumed)} held; needs {size(seen.bytes_needed)}, {size(seen.bytes_free)} free"
    )
    for problem in seen.problems:
        lines += [f"  PROBLEM {problem}", f"       Next: {problem.next_step}"]
    return "\n".join(lines)


def inspection_document(seen: "Inspection") -> dict[str, Any]:
    """The same for programs."""
    return {
        "bundle": seen.bundle,
        "volumes": {
            "present": list(seen.present),
            "of": seen.of,
            "folders": [str(folder) for folder in seen.folders],
        },
        "trusted": seen.trusted,
        "already": seen.already,
        "sequence": seen.sequence,
        "audience": seen.audience,
        "origin": seen.origin,
        "issued_at": seen.issued_at,
        "expires": seen.expires,
        "next_expected_by": seen.next_expected_by,
        "missing_bundles": [vars(one) for one in seen.missing_bundles],
        "notes": list(seen.notes),
        "profile": seen.profile,
        "assumed_received": list(seen.assumed_received),
        "rebuildable": list(seen.rebuildable),
        "root_version": seen.root_version,
        "signed_by": {role: list(keys) for role, keys in seen.signed_by.items()},
        "items": [
            {"model": i.model, "ordinal": i.ordinal, "digest": i.digest, "bytes": i.bytes, "held": i.held}
            for i in seen.items
        ],
        "documents": [
            {"kind": kind, "name": name, "digest": digest} for kind, name, digest in seen.documents
        ],
        "withdrawals": [{"version": version, "reason": reason} for version, reason in seen.withdrawals],
        "bytes": {
            "carried": seen.bytes_carried,
            "stored": seen.bytes_stored,
            "assumed": seen.bytes_assumed,
            "needed": seen.bytes_needed,
            "free": seen.bytes_free,
        },
        "problems": [
            {
                "refused": type(p).__name__,
                "message": str(p),
                "next_step": p.next_step,
                "exit_code": p.exit_code,
            }
            for p in seen.problems
        ],
    }


def _one_after_the_other(take: "Callable[[], Imported]") -> "Imported":
    """Ask for the next medium until all that is needed was seen. Ctrl-C stops; the same command goes on later."""
    from pipelines.bundle.errors import MediumUnreadable, NotABundle, VolumeMissing

    while True:
        try:
            return take()
        except (VolumeMissing, NotABundle, MediumUnreadable) as refusal:
            say(f"{refusal}.", err=True)
        click.prompt(
            "Insert the next medium in the same drive and press Enter",
            default="",
            show_default=False,
            err=True,
        )


@bundles.command("import")
@_folders
@click.option(
    "--receipt",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the signed receipt here; never on the medium that came.",
)
@click.option(
    "--collect",
    is_flag=True,
    help="With one drive and many media: copy what is here, then ask for the next one (at a terminal) or say which.",
)
@timestamp_option
@pass_app
def import_(
    app: App, dirs: tuple[Path, ...], receipt: Path | None, *, collect: bool, timestamp: Path | None
) -> None:
    """Take a bundle in: trust, preflight, copy into quarantine while hashing, verify, scan, then all at once.

    Give every volume, in any order. Stopped at any moment, the same command finishes the job. A bundle that was
    imported before changes nothing. The media are only read.
    """
    from pipelines.receive import import_bundle
    from tidegate.cli.restamp import read_timestamp

    app.demand("site")
    fresh = read_timestamp(timestamp)

    def take() -> "Imported":
        with progress("importing") as bar:
            return import_bundle(
                app.work,
                dirs,
                receipt_to=receipt,
                collecting=collect,
                timestamp=fresh,
                progress=bar,
                expect=bar.expect,
            )

    done = _one_after_the_other(take) if collect and sys.stdin.isatty() else take()
    document = {
        "bundle": done.bundle,
        "sequence": done.sequence,
        "digest": done.digest,
        "already": done.already,
        "versions": [vars(item) for item in done.versions],
        "late": done.late,
        "missing": [vars(one) for one in done.missing],
        "rebuilt": done.rebuilt,
        "notes": list(done.notes),
        "bytes": done.bytes,
        "withdrawals": done.withdrawals,
        "receipt": str(done.receipt) if done.receipt else None,
        "beside": [{"kind": kind, "name": name, "digest": digest} for kind, name, digest in done.beside],
        "people": None if done.people is None else vars(done.people),
        "log": None if done.witnessed is None else done.witnessed.outcome,
    }
    show(document, import_text(done), as_json=app.settings.as_json)
    if done.witnessed is not None:
        done.witnessed.demand_whole()


def _people_lines(taken: "Taken | None") -> list[str]:
    """What the list of people changed here; nothing to say if nothing."""
    if taken is None:
        return []
    said = (
        ("may sign here no more", taken.ended),
        ("may sign here from now on", taken.joined),
        ("would be let in if this site followed its origin (`tidegate people follow-origin`)", taken.waiting),
        ("stay as this site's own stewards said", taken.kept),
    )
    return [f"  people: {', '.join(names)} {what}" for what, names in said if names]


def import_text(done: "Imported") -> str:
    """What an import came to, for people."""
    if done.already and done.bytes:
        lines = [f"Bundle {done.bundle} was imported before; {size(done.bytes)} that were missing are back."]
    elif done.already:
        lines = [f"Bundle {done.bundle} was imported before; nothing changed."]
    else:
        lines = [f"Imported bundle {done.bundle} (number {done.sequence}): {size(done.bytes)} copied."]
    lines += [
        f"  {item.model}@{item.ordinal}  {item.digest[:SHORT]}  {item.outcome}, scan {item.scan}"
        for item in done.versions
    ]
    if done.withdrawals:
        count = f"{done.withdrawals} version{'s' if done.withdrawals != 1 else ''}"
        lines.append(f"  {count} withdrawn; see `tidegate models list`")
    lines += _people_lines(done.people)
    if done.late and not done.already:
        lines.append("  A later bundle was here first; nothing that it brought was lowered.")
    if done.rebuilt:
        lines.append(f"  {_count(done.rebuilt, 'chunk')} rebuilt from parity")
    lines += [f"  NOTE {note}" for note in done.notes]
    if done.missing:
        lines += [*_missing_lines(done.missing), "  Tell the origin."]
    for kind, name, digest in done.beside:
        use = f"tidegate suites adopt {digest[:SHORT]}" if kind == "suite" else "tidegate contracts add FILE"
        lines.append(
            f"  {kind} {name} {digest[:SHORT]} lies beside the one that this name means here, and replaces nothing. To use it: {use}"
        )
    if done.receipt:
        lines.append(
            f"Receipt in {done.receipt}; at the origin: tidegate bundles acknowledge {done.receipt.name}"
        )
    elif not done.already:
        lines.append("Next:    tidegate receipts write --out FILE, for the origin")
    return "\n".join(lines)


@bundles.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@pass_app
def acknowledge(app: App, file: Path) -> None:
    """Take a site's receipt in: what it holds is left out of the next bundle."""
    from pipelines.baseline import baseline
    from pipelines.receipts import acknowledge as take

    app.demand("origin")
    done = take(app.work, file)
    receipt = done.receipt
    lines = [
        f"{receipt.site} holds bundle {receipt.bundle} (number {receipt.sequence}) and {len(receipt.holds)} blobs."
    ]
    if done.already:
        lines = [f"This receipt was taken in before. {lines[0]}"]
    with app.store.view() as view:
        known = {one.sequence: one for one in baseline(view, receipt.site).bundles}
    lacking = known[receipt.sequence].lacking if receipt.sequence in known else 0
    if lacking:
        lines.append(
            f"  It lacks {_count(lacking, 'file')} of that bundle; the next one brings what is missing."
        )
    if not done.newest:
        lines.append("  A newer receipt of that site is here already; the next bundle builds on that one.")
    document = {
        "site": receipt.site,
        "bundle": receipt.bundle,
        "sequence": receipt.sequence,
        "holds": len(receipt.holds),
        "already": done.already,
        "newest": done.newest,
        "digest": receipt.digest,
        "log": None if done.witnessed is None else done.witnessed.outcome,
    }
    show(document, "\n".join(lines), as_json=app.settings.as_json)
    if done.witnessed is not None:
        done.witnessed.demand_whole()


@bundles.command("list")
@pass_app
def list_(app: App) -> None:
    """Every bundle made here or imported here, and every medium that was read back."""
    with app.store.view() as view:
        made, taken, media = view.exports(), view.imports(), view.custody()
    lines = [("made for " + row.site, row.bundle, row.sequence, row.made_at, row.actor) for row in made]
    lines += [("imported", row.bundle, row.sequence, row.imported_at, row.actor) for row in taken]
    text = table(("what", "bundle", "number", "at", "who"), lines, empty="None yet.")
    read_back = [
        (
            r.bundle,
            f"{r.volume} of {r.of}",
            r.outcome,
            r.serial or "-",
            r.seal or "-",
            r.carrier or "-",
            r.since,
        )
        for r in media
    ]
    if read_back:
        headings = ("read back", "volume", "outcome", "serial", "seal", "carrier", "at")
        text += "\n\n" + table(headings, read_back, empty="")
    document = {
        "media": [
            {
                "bundle": r.bundle,
                "volume": r.volume,
                "of": r.of,
                "outcome": r.outcome,
                "serial": r.serial,
                "seal": r.seal,
                "carrier": r.carrier,
                "at": r.since,
                "by": r.actor,
            }
            for r in media
        ],
        "made": [
            {"site": r.site, "bundle": r.bundle, "sequence": r.sequence, "at": r.made_at, "by": r.actor}
            for r in made
        ],
        "imported": [
            {"bundle": r.bundle, "sequence": r.sequence, "at": r.imported_at, "by": r.actor} for r in taken
        ],
    }
    show(document, text, as_json=app.settings.as_json)


@bundles.command()
@_folders
@click.option("--serial", help="What is printed on the medium.")
@click.option("--seal", help="The number of the seal that it travels under.")
@click.option("--carrier", help="Who carries it.")
@pass_app
def verify(
    app: App, dirs: tuple[Path, ...], serial: str | None, seal: str | None, carrier: str | None
) -> None:
    """Read a written medium back, every byte, and record what it is, who carries it and whether all was there.

    At the origin it must be a bundle that was made there; at a site, one that the site may believe.
    """
    from pipelines.bundle.reader import gather
    from pipelines.custody import Medium, verify_media

    if (serial or seal) and (count := len(gather(dirs))) > 1:
        raise click.UsageError(
            f"--serial and --seal are of one medium, and here are {count} volumes: name each folder by itself"
        )
    with progress("reading back") as bar:
        found = verify_media(
            app.work, dirs, medium=Medium(serial, seal, carrier), progress=bar, expect=bar.expect
        )
    lines = [
        f"Bundle {one.bundle}, volume {one.volume} of {one.of}: {one.outcome}, {size(one.bytes)} read"
        for one in found
    ]
    document = [
        {
            "bundle": one.bundle,
            "volume": one.volume,
            "of": one.of,
            "folder": str(one.folder),
            "outcome": one.outcome,
            "bytes": one.bytes,
        }
        for one in found
    ]
    show({"volumes": document}, "\n".join(lines), as_json=app.settings.as_json)


@bundles.command()
@_folders
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), required=True, help="The folder to write to."
)
@click.option("--volume-size", type=MediumType(), help="The other medium, as for `bundles create`.")
@click.option(
    "--parity", type=click.IntRange(0, 2), default=0, show_default=True, help="As for `bundles create`."
)
@pass_app
def resplit(app: App, dirs: tuple[Path, ...], out: Path, volume_size: "Medium | None", parity: int) -> None:
    """Divide a bundle anew for other media. The signed documents stay; no officer's key is needed.

    Works at the origin that packed it, from any folders that hold all of its chunks.
    """
    from pipelines.resplit import resplit as divide

    app.demand("origin")
    with progress("dividing") as bar:
        done = divide(
            app.work, dirs, out=out, medium=volume_size, parity=parity, progress=bar, expect=bar.expect
        )
    lines = [f"Bundle {done.bundle}: {_volumes(len(done.folders))}, {size(done.bytes)}."]
    if done.parity:
        lines.append(_parity_line(done.parity, parity))
    lines += [f"  {folder}" for folder in done.folders]
    lines.append("Next:    carry every volume to the site; what it has of other media counts too")
    document = {
        "bundle": done.bundle,
        "volumes": [str(folder) for folder in done.folders],
        "parity": list(done.parity),
        "bytes": done.bytes,
    }
    show(document, "\n".join(lines), as_json=app.settings.as_json)


@bundles.command("repair-request")
@_folders
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="The file to write; it goes back to the origin.",
)
@pass_app
def repair_request(app: App, dirs: tuple[Path, ...], out: Path) -> None:
    """Write a small signed file that names exactly the chunks which are not here and cannot be rebuilt."""
    from pipelines.answer import place_answer
    from pipelines.repair import write_request

    app.demand("site")
    with progress("reading") as bar:
        request, data = write_request(app.work, dirs, progress=bar, expect=bar.expect)
    place_answer(app.work, out, data)
    text = (
        f"{_count(len(request.chunks), 'chunk')} of bundle {request.bundle} asked for in {out}.\n"
        f"Next:    at the origin: tidegate bundles repair {out.name} --out FOLDER"
    )
    document = {"bundle": request.bundle, "sequence": request.sequence, "chunks": list(request.chunks)}
    show({**document, "file": str(out)}, text, as_json=app.settings.as_json)


@bundles.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), required=True, help="The folder to write to."
)
@click.option("--volume-size", type=MediumType(), help="The medium, as for `bundles create`.")
@pass_app
def repair(app: App, file: Path, out: Path, volume_size: "Medium | None") -> None:
    """Answer a site's repair request with a volume of just the chunks that it names, under the same number."""
    from pipelines.repair import MAX_REQUEST, read_request
    from pipelines.repair import repair as answer
    from tidegate.wiring import read_file

    app.demand("origin")
    request = read_request(app.work, read_file(file, max_bytes=MAX_REQUEST), at=file.name)
    with progress("packing") as bar:
        done = answer(app.work, request, out=out, medium=volume_size, progress=bar, expect=bar.expect)
    lines = [
        f"Repair of bundle {request.bundle} for {request.site}: {_count(len(request.chunks), 'chunk')}, {size(done.bytes)}."
    ]
    lines += [f"  {folder}" for folder in done.folders]
    lines.append(
        "Next:    at the site: tidegate bundles import with this folder and the media that came before"
    )
    document = {
        "bundle": request.bundle,
        "site": request.site,
        "chunks": len(request.chunks),
        "bytes": done.bytes,
        "volumes": [str(folder) for folder in done.folders],
    }
    show(document, "\n".join(lines), as_json=app.settings.as_json)
