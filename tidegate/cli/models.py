"""`tidegate models`: versions come in, are looked at, handed over, withdrawn."""

import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from registry.names import Ref
from tidegate.cli import model_signatures, scans
from tidegate.cli.doors import Door, Noun, Reason, pass_app
from tidegate.output import SHORT, progress, show, size, table
from tidegate.settings import mlflow_server
from tidegate.wiring import App

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pipelines.intake.record import Added
    from pipelines.materialise import HandedOver
    from pipelines.scan import Waiver


@click.group(cls=Noun)
def models() -> None:
    """Model versions: immutable sets of files, each named by its manifest's SHA-256."""


for _command in (scans.scan, scans.rescan, scans.second_opinion, *model_signatures.COMMANDS):
    models.add_command(_command)


_leave_out = click.option(
    "--leave-out",
    multiple=True,
    metavar="PATTERN",
    help="Files that are not part of the version, as 'original/*'.",
)

_signature = click.option(
    "--signature",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The publisher's signature over the files (OpenSSF Model Signing), where it does not lie among them.",
)


@models.command()
@click.argument("source", metavar="hf:NAMESPACE/NAME[@REVISION]|mlflow:models:/NAME/VERSION")
@click.option(
    "--as", "model", metavar="NAMESPACE/NAME", help="Its name here. Default: the repository's, in lower case."
)
@click.option(
    "--endpoint", metavar="URL", help="The hub's address. Default: HF_ENDPOINT, else huggingface.co."
)
@click.option(
    "--tracking-uri", metavar="URL", help="The MLflow server's address. Default: MLFLOW_TRACKING_URI."
)
@_leave_out
@_signature
@pass_app
def fetch(
    app: App,
    source: str,
    model: str | None,
    endpoint: str | None,
    tracking_uri: str | None,
    leave_out: tuple[str, ...],
    signature: Path | None,
) -> None:
    """Fetch a model from a Hugging Face hub or an MLflow registry, scan it, and keep it as a version.

    Runs on the connected side. An interrupted fetch from a hub goes on where it stopped when the same command is run
    again. From MLflow: models:/NAME/VERSION, models:/NAME@ALIAS or models:/NAME/latest, with its run as provenance.
    A token is taken from the client's own settings (HF_TOKEN or `hf auth login`; MLFLOW_TRACKING_TOKEN), never from
    an argument.
    """
    app.demand("origin")
    scheme, colon, what = source.partition(":")
    if not colon or scheme not in ("hf", "mlflow"):
        raise click.BadParameter(
            "write hf:NAMESPACE/NAME, hf:NAMESPACE/NAME@REVISION or mlflow:models:/NAME/VERSION",
            param_hint="source",
        )
    with progress(f"fetching {what}") as bar:
        take = _from_hub(what, endpoint) if scheme == "hf" else _from_mlflow(what, tracking_uri)
        added = take(
            app.work,
            model=model,
            waivers=_signed_waivers(app),
            leave_out=leave_out,
            signature=model_signatures.read_signature(signature),
            progress=bar,
            expect=bar.expect,
        )
    _show_added(app, added)


def _from_hub(what: str, endpoint: str | None) -> "Callable[..., Added]":
    from pipelines.intake.hub import fetch_hub

    repo, _, revision = what.partition("@")
    return partial(fetch_hub, repo=repo, revision=revision or None, endpoint=endpoint)


def _from_mlflow(what: str, tracking_uri: str | None) -> "Callable[..., Added]":
    from pipelines.intake.mlflow_source import fetch_mlflow

    address = mlflow_server(tracking_uri)
    if address is None:
        raise click.UsageError("say where the MLflow server is: --tracking-uri URL, or MLFLOW_TRACKING_URI")
    return partial(fetch_mlflow, uri=what, address=address)


@models.command()
@click.argument("folder", metavar="FOLDER|oci:FOLDER[:TAG]", type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--as", "model", required=True, metavar="NAMESPACE/NAME", help="The model that this is a version of."
)
@_leave_out
@_signature
@pass_app
def add(
    app: App,
    folder: Path,
    model: str,
    leave_out: tuple[str, ...],
    signature: Path | None,
) -> None:
    """Take the files of FOLDER in as the next version of a model: hashed while copied, scanned, kept.

    The same files again are the same version. With oci: the folder is an OCI layout, and what comes in are the files of
    one image in it (ModelPack, KitOps, or made with ORAS); the tag may be a digest.
    """
    with progress(f"adding {folder.name}") as bar:
        added = _adding(folder)(
            work=app.work,
            model=model,
            waivers=_signed_waivers(app),
            leave_out=leave_out,
            signature=model_signatures.read_signature(signature),
            progress=bar,
            expect=bar.expect,
        )
    _show_added(app, added)


def _adding(folder: Path) -> "Callable[..., Added]":
    from pipelines.intake.folder import add_folder
    from pipelines.intake.oci_layout import SCHEME, add_layout

    if str(folder).startswith(SCHEME):
        return partial(add_layout, source=str(folder).removeprefix(SCHEME))
    return partial(add_folder, folder=folder)


def _signed_waivers(app: App) -> "Sequence[Waiver]":
    from pipelines.intake.record import signed_waivers

    return signed_waivers(app.work)


def _show_added(app: App, added: "Added") -> None:
    version = added.version
    verb = "is" if added.new else "was already"
    lines = [
        f"{version.model}@{version.ordinal} {verb} {version.digest}",
        f"  {size(version.size)}, revision {version.revision[:SHORT]}",
        *scans.scan_lines(added.scan),
    ]
    lines += model_signatures.signature_lines(added.signatures)
    lines += [f"  left out: {path}" for path in added.left_out]
    document = {
        **version_document(version),
        "new": added.new,
        "scan": added.scan.to_json(),
        "left_out": list(added.left_out),
        "signatures": [{"outcome": one.outcome, "signer": one.signer} for one in added.signatures],
    }
    show(document, "\n".join(lines), as_json=app.settings.as_json)


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


# What a person does with the folder.
_NEXT = {
    "hf-cache": "HF_HUB_CACHE={folder} HF_HUB_OFFLINE=1",
    "ollama": "OLLAMA_MODELS={folder} ollama serve, then ollama run tidegate/{name}",
    "oci": "skopeo copy oci:{folder}:{name} DESTINATION",
}


@click.command(cls=Door)
@click.argument("what", metavar="REF|TIER")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--layout", type=click.Choice(["plain", "hf-cache", "ollama", "oci"]), default="plain", show_default=True,
    help="plain: the files themselves. hf-cache: a hub cache for HF_HUB_CACHE, where each tier is a revision. "
    "ollama: a folder for OLLAMA_MODELS. oci: an OCI image layout, with what was attested.",
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
    if layout in _NEXT:
        model, _, ordinal = done[0].ref.partition("@")
        text += "\nNext:    " + _NEXT[layout].format(folder=folder.absolute(), name=f"{model}:{ordinal}")
    document = [
        {"version": i.ref, "folder": str(i.folder), "files": i.files, "bytes": i.size, "how": i.how}
        for i in done
    ]
    show(document, text, as_json=app.settings.as_json)


def _handed_line(item: "HandedOver") -> str:
    how = item.how if item.how == "already there" else f"by {item.how}"
    return f"{item.ref}: {item.files} files, {size(item.size)}, verified, {how}, in {item.folder}"
