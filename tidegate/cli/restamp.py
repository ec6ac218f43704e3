"""`tidegate trust restamp`: a fresh timestamp for a bundle that was packed before."""

import sys
from pathlib import Path

import click

from tidegate.cli.doors import Door, pass_app
from tidegate.output import say, show
from tidegate.wiring import App, read_file

_MOST = 16 << 10  # bytes of a timestamp as a file or typed


@click.command("restamp", cls=Door)
@click.argument("bundle")
@click.option("--site", help="Whose bundle, when several sites have one of this name.")
@click.option(
    "--days",
    type=click.IntRange(1, 365),
    help="How long it has to hold. Default: as long as it can, 90 days at most.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The file to write. Default: timestamp-SITE-NUMBER.json in this folder.",
)
@click.option("--paper", is_flag=True, help="Also print it as lines that a person can type in at the site.")
@click.option(
    "--qr",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE.svg",
    help="Also draw it as a QR code; any reader gives the file back.",
)
@pass_app
def restamp(
    app: App,
    bundle: str,
    site: str | None,
    days: int | None,
    out: Path | None,
    *,
    paper: bool,
    qr: Path | None,
) -> None:
    """Make a fresh timestamp for BUNDLE (its name, or a folder with it), whose own ran out or soon will.

    A few hundred bytes, signed by the station for exactly what the bundle carries. At the site:
    tidegate bundles import DIR --timestamp FILE. Refused when keys, people or withdrawals changed since.

    Example: tidegate trust restamp 20261120-07 --paper
    """
    from pipelines.paper import to_paper
    from pipelines.restamp import qr_svg, restamp_bundle
    from signing.durable import write_durably
    from signing.times import rfc3339

    app.demand("origin")
    made = restamp_bundle(app.work, bundle, site=site, days=days)
    place = out or Path(f"timestamp-{made.site}-{made.sequence}.json")
    write_durably(place, made.timestamp)
    lines = to_paper(made.timestamp) if paper else ()
    if qr is not None:
        write_durably(qr, qr_svg(made.timestamp))
    document = {
        "bundle": made.bundle,
        "site": made.site,
        "sequence": made.sequence,
        "version": made.version,
        "expires": rfc3339(made.expires),
        "file": str(place),
        "bytes": len(made.timestamp),
        "qr": None if qr is None else str(qr),
        "paper": list(lines),
    }
    text = [f"Bundle {made.bundle} for {made.site} is good until {rfc3339(made.expires)}.", f"Wrote {place}."]
    text += [f"Drew {qr}."] if qr is not None else []
    text += ["To be typed at the site:", *(f"  {line}" for line in lines)] if lines else []
    text.append(f"Next:    at {made.site}: tidegate bundles import DIR… --timestamp {place.name}")
    show(document, "\n".join(text), as_json=app.settings.as_json)


def read_timestamp(file: Path | None) -> bytes | None:
    """Return what a person gave as `--timestamp`: a file's bytes, or with `-` what is typed until the end of input."""
    if file is None or str(file) != "-":
        return None if file is None else read_file(file, max_bytes=_MOST)
    if sys.stdin.isatty():
        say("Type the lines from the paper; end with an empty line and Ctrl-D.", err=True)
    return sys.stdin.buffer.read(_MOST + 1)
