"""`tidegate advisories`: engine releases that may not serve, and why; lists travel in bundles."""

from pathlib import Path

import click

from tidegate.cli.doors import Noun, pass_app
from tidegate.output import SHORT, show, table
from tidegate.wiring import App, read_file


@click.group(cls=Noun)
def advisories() -> None:
    """Lists of engine releases that may not serve. The gate reads the newest issue of each."""


@advisories.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@pass_app
def add(app: App, file: Path) -> None:
    """Take the list in FILE in. Send it to sites with `bundles create --with NAME`."""
    from pipelines.advising import add_advisories
    from pipelines.engines.advisories import MAX_BYTES

    row = add_advisories(app.work, read_file(file, max_bytes=MAX_BYTES))
    show(row.content(), f"Advisories {row.name} are {row.digest[:SHORT]}.", as_json=app.settings.as_json)


@advisories.command("list")
@pass_app
def list_(app: App) -> None:
    """Every advisory in force, and the engine profiles here that it names."""
    from pipelines.advising import in_force
    from pipelines.engines import advisories as lists
    from registry.contracts import EngineProfile, decode_document

    with app.store.view() as view:
        held = [found for _, found in in_force(view)]
        documents = [decode_document(row.body.encode()) for row in view.documents("engine-profile")]
    profiles = [document for document in documents if isinstance(document, EngineProfile)]
    entries = [(found, entry) for found in held for entry in found.entries]
    named = {
        entry.id: [
            profile.name
            for profile in profiles
            if entry.id in {hit.advisory.id for hit in lists.hits([found], profile.engine, profile.version)}
        ]
        for found, entry in entries
    }
    lines = [
        (
            entry.id,
            entry.engine,
            entry.severity,
            entry.title,
            ", ".join(named[entry.id]) or "-",
            f"{found.name} {found.serial}",
        )
        for found, entry in entries
    ]
    headings = ("advisory", "engine", "severity", "what", "names here", "list")
    text = table(headings, lines, empty="None. Next: tidegate advisories add FILE")
    document = [
        {"id": entry.id, "engine": entry.engine, "severity": entry.severity, "title": entry.title, "url": entry.url,
         "list": found.name, "serial": found.serial, "profiles": named[entry.id]}
        for found, entry in entries
    ]  # fmt: skip
    show(document, text, as_json=app.settings.as_json)
