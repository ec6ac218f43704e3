"""`tidegate audit export`: the log and everything behind it as a folder that needs no trust in this product."""

from datetime import datetime
from pathlib import Path

import click

from tidegate.cli.doors import Door, pass_app
from tidegate.errors import FolderNotEmpty
from tidegate.output import show
from tidegate.wiring import App


@click.command(cls=Door)
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option("--model", help="Leave out what is about versions of other models.")
@click.option(
    "--since",
    type=click.DateTime(("%Y-%m-%d", "%Y-%m-%dT%H:%M:%SZ")),
    help="Leave out what is about versions that no tier served since then (UTC).",
)
@click.option("--redact", is_flag=True, help="Leave out names, reasons and whatever people signed.")
@pass_app
def export(app: App, folder: Path, model: str | None, since: datetime | None, redact: bool) -> None:
    """Write the log, and what stands behind its lines, into FOLDER for an auditor.

    Example: tidegate audit export /media/auditor/clinic

    The folder is checked without Tidegate: `python3 verify.py audit FOLDER`, or by hand. The log is always whole.
    """
    from pipelines import audit_folder

    if folder.exists() and any(folder.iterdir()):
        raise FolderNotEmpty(str(folder))
    moment = f"{since:%Y-%m-%dT%H:%M:%SZ}" if since else None
    made = audit_folder.export(app.work, folder, audit_folder.Narrowing(model, moment, redact))
    text = (
        f"Wrote {made.files} files and SHA256SUMS to {folder}: {made.size} events.\n"
        + (f"Left out: {made.left_out}.\n" if made.left_out else "")
        + f"Head:    {made.root}\nKey:     {made.log_key}\n"
        "Next:    give the auditor this key by another way than the folder."
    )
    document = {
        "folder": str(folder),
        "files": made.files,
        "size": made.size,
        "root": made.root,
        "verifier_key": made.log_key,
        "left_out": made.left_out,
    }
    show(document, text, as_json=app.settings.as_json)
