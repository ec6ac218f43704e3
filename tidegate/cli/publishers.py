"""`tidegate publishers`: whose signatures on models are believed."""

from pathlib import Path

import click

from tidegate.cli.doors import Noun, pass_app
from tidegate.output import SHORT, show, table
from tidegate.wiring import App, read_file

_MATERIAL = 1 << 20  # bytes of PEM
_CRL = 16 << 20  # bytes of a revocation list
_file = click.Path(path_type=Path, dir_okay=False)


@click.group(cls=Noun)
def publishers() -> None:
    """Publishers whose signatures (OpenSSF Model Signing) are believed, and on which models.

    Once a publisher is named for a model, its versions come in with a valid signature of theirs or not at all.
    """


@publishers.command()
@click.argument("name")
@click.option("--models", required=True, metavar="PATTERN", help="What they may sign, as 'acme/*'.")
@click.option("--public-key", type=_file, help="Their key in PEM: ECDSA on P-256, P-384 or P-521.")
@click.option(
    "--certificate-chain", type=_file, help="Certificates of the authorities behind theirs, in PEM."
)
@pass_app
def add(app: App, name: str, models: str, public_key: Path | None, certificate_chain: Path | None) -> None:
    """Believe a publisher from now on. Compare the fingerprint with them over another channel first.

    Example: tidegate publishers add acme --models 'acme/*' --public-key acme.pem
    """
    from pipelines.publishers import fingerprint, set_publisher

    if (public_key is None) == (certificate_chain is None):
        raise click.UsageError("give --public-key FILE or --certificate-chain FILE")
    place = public_key or certificate_chain
    assert place is not None
    row = set_publisher(
        app.work,
        name,
        method="key" if public_key else "certificate",
        material=read_file(place, max_bytes=_MATERIAL),
        models=models,
    )
    text = f"{row.name} is believed on {row.models}\n  {row.method} {fingerprint(row)}"
    document = row.content() | {"fingerprint": fingerprint(row)}
    show(document, text, as_json=app.settings.as_json)


@publishers.command()
@click.argument("name")
@pass_app
def remove(app: App, name: str) -> None:
    """Believe a publisher no longer. What came in with their signature stays."""
    from pipelines.publishers import retire_publisher

    row = retire_publisher(app.work, name)
    show(row.content(), f"{row.name} is not believed any more.", as_json=app.settings.as_json)


@publishers.command()
@click.argument("name")
@click.argument("file", type=_file)
@pass_app
def revocations(app: App, name: str, file: Path) -> None:
    """Take in an authority's revocation list, PEM or DER: certificates on it sign nothing here.

    Nothing is fetched; lists are carried in. Every list that was ever taken in counts.
    """
    from pipelines.publishers import add_crl

    row = add_crl(app.work, name, read_file(file, max_bytes=_CRL))
    text = f"{name}: revocation list {row.digest[:SHORT]} counts from now on."
    show({"publisher": name, "digest": row.digest}, text, as_json=app.settings.as_json)


@publishers.command("list")
@pass_app
def list_(app: App) -> None:
    """Every publisher as they stand now."""
    from pipelines.publishers import fingerprint

    with app.store.view() as view:
        rows = view.publishers()
    lines = [
        (row.name, row.models, row.method, fingerprint(row)[:SHORT], row.since if row.active else "REMOVED")
        for row in rows
    ]
    empty = (
        "No publisher yet. Next: tidegate publishers add NAME --models 'namespace/*' --public-key FILE.pem"
    )
    text = table(("publisher", "models", "method", "fingerprint", "since"), lines, empty=empty)
    document = [row.content() | {"fingerprint": fingerprint(row)} for row in rows]
    show(document, text, as_json=app.settings.as_json)
