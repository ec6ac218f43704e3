"""`tidegate models`: versions come in, are looked at, handed over, withdrawn."""

import json
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from registry.names import Ref
from tidegate.cli.doors import Door, Noun, Reason, pass_app
from tidegate.cli.signatures import Hand, signing_options
from tidegate.output import SHORT, progress, show, size, table
from tidegate.wiring import App

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pipelines.intake.record import Added
    from pipelines.materialise import HandedOver
    from pipelines.rescan import Rescanned
    from pipelines.scan import ScanResult, Waiver


@click.group(cls=Noun)
def models() -> None:
    """Model versions: immutable sets of files, each named by its manifest's SHA-256."""


_leave_out = click.option(
    "--leave-out",
    multiple=True,
    metavar="PATTERN",
    help="Files that are not part of the version, as 'original/*'.",
)


@models.command()
@click.argument("source", metavar="hf:NAMESPACE/NAME[@REVISION]")
@click.option(
    "--as", "model", metavar="NAMESPACE/NAME", help="Its name here. Default: the repository's, in lower case."
)
@click.option(
    "--endpoint", metavar="URL", help="The hub's address. Default: HF_ENDPOINT, else huggingface.co."
)
@_leave_out
@pass_app
def fetch(
    app: App,
    source: str,
    model: str | None,
    endpoint: str | None,
    leave_out: tuple[str, ...],
) -> None:
    """Fetch one commit of a model from a Hugging Face hub, scan it, and keep it as a version.

    Runs on the connected side. An interrupted fetch goes on where it stopped when the same command is run again.
    A token is taken from huggingface_hub's own settings (HF_TOKEN or `hf auth login`), never from an argument.
    """
    from pipelines.intake.hub import fetch_hub

    app.demand("origin")
    if not source.startswith("hf:"):
        raise click.BadParameter("write hf:NAMESPACE/NAME or hf:NAMESPACE/NAME@REVISION", param_hint="source")
    repo, _, revision = source.removeprefix("hf:").partition("@")
    with progress(f"fetching {repo}") as bar:
        added = fetch_hub(
            app.work,
            repo,
            revision or None,
            model=model,
            endpoint=endpoint,
            waivers=_signed_waivers(app),
            leave_out=leave_out,
            progress=bar,
            expect=bar.expect,
        )
    _show_added(app, added)


@models.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--as", "model", required=True, metavar="NAMESPACE/NAME", help="The model that this is a version of."
)
@_leave_out
@pass_app
def add(
    app: App,
    folder: Path,
    model: str,
    leave_out: tuple[str, ...],
) -> None:
    """Take the files of FOLDER in as the next version of a model: hashed while copied, scanned, kept.

    The same files again are the same version.
    """
    from pipelines.intake.folder import add_folder

    with progress(f"adding {folder.name}") as bar:
        added = add_folder(
            app.work,
            model,
            folder,
            waivers=_signed_waivers(app),
            leave_out=leave_out,
            progress=bar,
            expect=bar.expect,
        )
    _show_added(app, added)


def _signed_waivers(app: App) -> "Sequence[Waiver]":
    from pipelines.intake.record import signed_waivers

    return signed_waivers(app.work)


def _show_added(app: App, added: "Added") -> None:
    version = added.version
    verb = "is" if added.new else "was already"
    lines = [
        f"{version.model}@{version.ordinal} {verb} {version.digest}",
        f"  {size(version.size)}, revision {version.revision[:SHORT]}",
        *scan_lines(added.scan),
    ]
    lines += [f"  left out: {path}" for path in added.left_out]
    document = {
        **version_document(version),
        "new": added.new,
        "scan": added.scan.to_json(),
        "left_out": list(added.left_out),
    }
    show(document, "\n".join(lines), as_json=app.settings.as_json)


def scan_lines(scan: "ScanResult") -> list[str]:
    """What a scan found, for people."""
    facts = scan.facts
    licence = facts.licence.state.replace("-", " ") + (
        f" ({', '.join(facts.licence.ids)})" if facts.licence.ids else ""
    )
    lines = [
        f"  scan: {', '.join(facts.formats) or 'no weights'}; {facts.parameter_count:,} parameters; licence {licence}"
    ]
    lines += [f"    {': '.join(filter(None, (f.severity, f.path, f.message)))}" for f in scan.findings]
    return lines


def version_document(version: Any) -> dict[str, Any]:
    """A version for programs: its row, with the manifest as JSON."""
    return {**version.content(), "manifest": json.loads(version.manifest)}


@models.command("list")
@click.argument("model", required=False)
@pass_app
def list_(app: App, model: str | None) -> None:
    """Every version, or those of one model, and the tiers that serve them."""
    from pipelines.removed import removed
    from registry.errors import NotFound
    from registry.names import model_name

    with app.store.view() as view:
        rows = view.versions(model_name(model) if model else None)
        if model and not rows:
            raise NotFound("model", model)
        serving: dict[str, list[str]] = {}
        for pin in view.pins():
            serving.setdefault(pin.version, []).append(pin.tier)
        gone = {row.version for row in view.withdrawals()}
        away = removed(view, app.blobs)
    lines = [
        (
            f"{row.model}@{row.ordinal}",
            row.digest[:SHORT],
            size(row.size),
            row.added_at,
            row.brought_by,
            ("WITHDRAWN" if row.digest in gone else ", ".join(serving.get(row.digest, ())) or "-")
            + ("; BYTES REMOVED" if row.digest in away else ""),
        )
        for row in rows
    ]
    empty = (
        "No version yet. Next: tidegate models add FOLDER --as NAMESPACE/NAME, or tidegate bundles import DIR"
    )
    text = table(("version", "digest", "size", "since", "by", "served by"), lines, empty=empty)
    document = [
        {
            **version_document(row),
            "served_by": serving.get(row.digest, []),
            "withdrawn": row.digest in gone,
            "bytes_removed": row.digest in away,
        }
        for row in rows
    ]
    show(document, text, as_json=app.settings.as_json)


@models.command("show")
@click.argument("ref")
@pass_app
def show_(app: App, ref: str) -> None:
    """One version: its files, facts, and what stands about it. REF is NAMESPACE/NAME[@ORDINAL|@TIER|@sha256:…]."""
    from pipelines.removed import removed
    from registry.manifests import decode

    with app.store.view() as view:
        row = view.version(Ref.parse(ref))
        binding, gone = view.binding(row.digest), view.withdrawal(row.digest)
        contract = view.document_by_digest(binding.contract) if binding else None
        scans = view.reports(row.digest, "scan")
        serving = [pin.tier for pin in view.pins() if pin.version == row.digest]
        away = removed(view, app.blobs).get(row.digest)
    manifest = decode(row.manifest.encode())
    licence = f"licence {manifest.licence.state.replace('-', ' ')} {' '.join(manifest.licence.ids)}".rstrip()
    scanned = f"scan {scans[-1].outcome} [{scans[-1].digest[:SHORT]}]" if scans else "not scanned here"
    lines = [
        f"{row.model}@{row.ordinal}  {row.digest}",
        f"  revision {row.revision}; {size(row.size)}; by {row.brought_by}",
        f"  {licence}; {scanned}; tool contract {contract.name if contract else 'none'}",
        f"  served by {', '.join(serving) or 'no tier'}" + (f"; WITHDRAWN: {gone.reason}" if gone else ""),
    ]
    lines += [f"  BYTES REMOVED on {away.since} by {away.actor}: {away.reason}"] if away else []
    lines += [f"  {entry.sha256[:SHORT]}  {size(entry.size):>10}  {entry.path}" for entry in manifest.files]
    document = version_document(row) | {
        "bytes_removed": {"since": away.since, "by": away.actor, "reason": away.reason} if away else None,
        "contract": contract.digest if contract else None,
        "scan": scans[-1].outcome if scans else None,
        "served_by": serving,
        "withdrawn": gone.reason if gone else None,
    }
    show(document, "\n".join(lines), as_json=app.settings.as_json)


@models.command()
@click.argument("ref")
@pass_app
def scan(app: App, ref: str) -> None:
    """Scan a version's held files again, by today's rules; the finding is kept beside the earlier ones.

    What reviewers of this home have waived (`decisions waive`) blocks no more: what an origin waives counts at the
    origin only.
    """
    from pipelines.intake.record import rescan as do

    report, result = do(app.work, Ref.parse(ref))
    text = "\n".join([f"{ref}: {report.outcome}  [{report.digest[:SHORT]}]", *scan_lines(result)])
    show(
        {"report": report.digest, "outcome": report.outcome, **result.to_json()},
        text,
        as_json=app.settings.as_json,
    )


@models.command()
@click.option(
    "--dry-run", is_flag=True, help="Only say which versions would be scanned, and how much that is."
)
@pass_app
def rescan(app: App, *, dry_run: bool) -> None:
    """Scan every held version whose newest scan is by older rules, and say what changed.

    Safe to repeat: a run that was stopped goes on where it was, and a second run finds nothing to do.
    """
    from pipelines.rescan import outlook, rescan_all

    plan = outlook(app.work)
    lines = [f"{version.model}@{version.ordinal}: scanned by older rules" for version in plan.due]
    done = []
    if not dry_run and plan.due:
        with progress("scanning", plan.size) as bar:
            done = rescan_all(app.work, plan.due, progress=bar)
        lines = [line for item in done for line in _rescan_lines(item)]
    lines += [f"{version.model}@{version.ordinal}: its bytes are not here" for version in plan.without_bytes]
    lines.append(f"{len(done)} of {len(plan.due)} scanned by today's rules; {plan.current} were already")
    document = {
        "due": [version.digest for version in plan.due],
        "current": plan.current,
        "without_bytes": [version.digest for version in plan.without_bytes],
        "scanned": [_rescan_document(item) for item in done],
    }
    show(document, "\n".join(lines), as_json=app.settings.as_json)


def _rescan_lines(item: "Rescanned") -> "Iterator[str]":
    serving = f"; served by {', '.join(item.served_in)}" if item.served_in else ""
    yield f"{item.version.model}@{item.version.ordinal}: {item.outcome}{serving}"
    for sign, findings in (("new", item.new), ("gone", item.gone)):
        for found in findings:
            yield f"    {sign}: {': '.join(filter(None, (found.severity, found.path, found.message)))} [{found.rule}]"


def _rescan_document(item: "Rescanned") -> dict[str, Any]:
    return {
        "version": item.version.digest,
        "outcome": item.outcome,
        "rules_before": item.before.ruleset if item.before else None,
        "served_by": list(item.served_in),
        "new": [dict(vars(found)) for found in item.new],
        "gone": [dict(vars(found)) for found in item.gone],
    }


@models.command()
@click.argument("rule")
@click.argument("file", metavar="FILE|sha256:HEX")
@click.option("--path", help="The file's path in the version. Default: FILE's name.")
@click.option(
    "--days", type=click.IntRange(1, 3650), help="How long it stands. Default: until it is revoked."
)
@signing_options()
@pass_app
def waive(app: App, rule: str, file: str, path: str | None, days: int | None, *, hand: Hand) -> None:
    """Sign that FILE may come in although the scan's RULE is against it: before the intake, for exactly these bytes.

    For a file of a version that is here already: `decisions waive`.
    """
    from pipelines.decide import record_decision, request_decision
    from registry.decisions import NAMESPACE, Kind

    digest, name = _waived_file(rule, file)
    if not (path or name):
        raise click.UsageError("say the file's path in the version with --path")
    expires = app.now + timedelta(days=days) if days else None
    signed = hand.signed(
        app,
        lambda reason: request_decision(
            app.work, Kind.WAIVE_FINDING, digest, hand.name, reason=reason,
            details={"rule": rule, "path": path or name}, expires_at=expires,
        ),
        namespace=NAMESPACE,
        said=lambda asked: f"{asked['details']['rule']} for {asked['details']['path']}",
    )  # fmt: skip
    if signed is None:
        return
    row = record_decision(app.work, hand.name, payload=signed[0], signature=signed[1])
    text = (
        f"{row.person} waived {rule} for the file {digest[:SHORT]} ({path or name}). Take the model in again."
    )
    show(row.content(), text, as_json=app.settings.as_json)


def _waived_file(rule: str, file: str) -> tuple[str, str]:
    """The digest of the file that is meant, and its name."""
    from pipelines.scan import RULES
    from signing.digests import file_sha256, is_sha256

    if rule not in RULES or not RULES[rule].waivable:
        known = ", ".join(name for name, entry in RULES.items() if entry.waivable)
        raise click.BadParameter(f"may not be waived; these may: {known}", param_hint="RULE")
    if file.startswith("sha256:"):
        digest = file.removeprefix("sha256:")
        if not is_sha256(digest):
            raise click.BadParameter("write sha256: and 64 lower-case hex digits", param_hint="FILE")
        return digest, ""
    if not Path(file).is_file():
        raise click.BadParameter(f"{file} is no file; write a file's path or sha256:HEX", param_hint="FILE")
    return file_sha256(Path(file)), Path(file).name


@models.command("second-opinion")
@click.argument("ref")
@click.argument("file", type=click.Path(path_type=Path))
@pass_app
def second_opinion(app: App, ref: str, file: Path) -> None:
    """Keep what another scanner said of a version: FILE as picklescan, fickling or modelaudit wrote it.

    Evidence for people. It decides nothing, and a clean one changes nothing: each of these has passed files that
    run code.
    """
    from pipelines.second_opinion import take_opinion

    row, opinion = take_opinion(app.work, Ref.parse(ref), file)
    lines = [f"{opinion.tool}: {opinion.verdict}, {opinion.counted} remarks about {opinion.scanned} files"]
    lines += [f"  {': '.join(filter(None, (r.severity, r.place, r.message)))}" for r in opinion.remarks[:20]]
    lines.append(f"  noted beside {ref} [{row.digest[:SHORT]}]; no gate looks at it")
    show(json.loads(row.body) | {"report": row.digest}, "\n".join(lines), as_json=app.settings.as_json)


@models.command()
@click.argument("ref")
@click.option(
    "--reason",
    type=Reason(),
    required=True,
    help="Kept in the audit log and carried to every site in the next bundle.",
)
@pass_app
def withdraw(app: App, ref: str, reason: str) -> None:
    """Say that a version may not serve again. Tiers that serve it now go on until they are rolled back."""
    from pipelines.promote import withdraw as do

    version, new = do(app.work, Ref.parse(ref), reason=reason)
    with app.store.view() as view:
        serving = [pin for pin in view.pins() if pin.version == version.digest]
    lines = [f"{version.model}@{version.ordinal} {'is' if new else 'was already'} withdrawn."]
    lines += [
        f"Next:    tidegate rollback {version.model} --tier {pin.tier} --reason '…'  ({pin.tier} serves it)"
        for pin in serving
    ]
    document = {"version": version.digest, "new": new, "served_by": [pin.tier for pin in serving]}
    show(document, "\n".join(lines), as_json=app.settings.as_json)


@click.command(cls=Door)
@click.argument("what", metavar="REF|TIER")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--layout", type=click.Choice(["plain", "hf-cache"]), default="plain", show_default=True,
    help="plain: the files themselves. hf-cache: a hub cache for HF_HUB_CACHE, where each tier is a revision.",
)  # fmt: skip
@pass_app
def materialise(app: App, what: str, folder: Path, layout: str) -> None:
    """Hand the files of a version, or of everything that a tier serves, to an engine: verified, in FOLDER.

    No bytes are copied where the file system can clone or link. A withdrawn version is refused.
    """
    from pipelines.materialise import Layout, hand_over

    with progress("verifying") as bar:
        done = hand_over(
            app.work, what, folder.absolute(), layout=Layout(layout), progress=bar, expect=bar.expect
        )
    text = "\n".join(_handed_line(item) for item in done)
    if layout == "hf-cache":
        text += f"\nNext:    HF_HUB_CACHE={folder.absolute()} HF_HUB_OFFLINE=1"
    document = [
        {"version": i.ref, "folder": str(i.folder), "files": i.files, "bytes": i.size, "how": i.how}
        for i in done
    ]
    show(document, text, as_json=app.settings.as_json)


def _handed_line(item: "HandedOver") -> str:
    return f"{item.ref}: {item.files} files, {size(item.size)}, verified, by {item.how}, in {item.folder}"
