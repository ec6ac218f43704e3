"""Makes a fresh timestamp at the origin for a bundle that it packed, from what it kept of it.

The bytes on whatever medium comes back are not looked at: only the bundle's number is read there, if a folder is
named. A bundle that does not tell of every withdrawal is not revived: the site would take it for the newest word,
and go on serving what was withdrawn since, or even take it in.
"""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pipelines.bundle import reader
from pipelines.bundle.documents import decode_export
from pipelines.bundle.errors import NotOurBundle
from pipelines.bundle.office import office
from pipelines.workplace import Workplace
from registry.audit import EventKind
from registry.entities import Export as ExportRow
from registry.views import View
from signing.refusals import RestampRefused
from signing.repository import TrustRepository
from signing.restamp import read_carried, restamp
from signing.times import rfc3339

MOST_QR = 2331  # bytes that the largest QR code holds at error correction M, ISO/IEC 18004 table 7


@dataclass(frozen=True)
class Revived:
    """A fresh timestamp for a bundle."""

    bundle: str
    site: str
    sequence: int
    timestamp: bytes
    version: int
    expires: datetime


def restamp_bundle(
    work: Workplace, named: str, *, site: str | None = None, days: int | None = None
) -> Revived:
    """Sign anew that what a bundle says is still good; recorded before the timestamp leaves.

    Args:
        named: the bundle's name, such as `20261120-07`, or a folder with a volume of it.
        site: whose bundle, when several sites have one of this name.
        days: how long it has to hold; None: as long as it can, 90 days at most.

    Raises:
        NotOurBundle: not made here, or not kept here.
        RestampRefused: withdrawn or changed since, or it cannot hold that long.
        HomeBusy: bundles are written at this home by another command.
    """
    with work.home.busy("export"):
        repository = TrustRepository(work.home.trust)
        state = repository.load()
        with work.store.view() as view:
            row = _find(view, _bundle_name(named), site)
            _demand_standing(view, row)
        folder = office(work.home, row.site, row.bundle)
        path = decode_export(row.body.encode()).path
        carried = read_carried(folder, row.site)
        made = restamp(state, carried, path, work.publishers, now=work.now, days=days)
        repository.save(made.state)
        note = {
            "site": row.site,
            "bundle": row.bundle,
            "timestamp": made.version,
            "expires": rfc3339(made.expires),
        }
        with work.store.change(actor=work.actor, now=work.now) as change:
            change.record(EventKind.RESTAMPED, row.digest, note=note)
    return Revived(row.bundle, row.site, row.sequence, made.timestamp, made.version, made.expires)


def qr_svg(data: bytes) -> bytes:
    """Return a QR code of the timestamp, as SVG: any reader gives the file back.

    Raises:
        RestampRefused: too long for a code that a telephone reads, or the package that draws it is not here.
    """
    try:
        import segno  # noqa: PLC0415 - only origins have it, and only this needs it
    except ImportError as exc:
        raise RestampRefused(
            "drawing a code takes the package segno (pip install 'tidegate[origin]'); paper and file do without"
        ) from exc
    if len(data) > MOST_QR:
        raise RestampRefused(f"{len(data)} bytes are more than a QR code holds: carry it as a file (--out)")
    text: str = segno.make_qr(data, error="m").svg_inline(scale=4, omitsize=False)
    return text.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1).encode()


def _bundle_name(named: str) -> str:
    if not Path(named).is_dir():
        return named
    return reader.gather([Path(named)])[0].label.bundle


def _find(view: View, bundle: str, site: str | None) -> ExportRow:
    sites = [one.name for one in view.sites()] if site is None else [view.site(site).name]
    rows = [row for name in sites for row in view.exports(name) if row.bundle == bundle]
    if not rows:
        raise NotOurBundle(bundle, problem="was not made here")
    if len(rows) > 1:
        raise RestampRefused(
            f"several sites have a bundle {bundle}: say which with --site ({', '.join(r.site for r in rows)})"
        )
    return rows[0]


def _demand_standing(view: View, row: ExportRow) -> None:
    """A site that takes this bundle for the newest must know of every withdrawal, whatever the bundle brings."""
    told = {gone.version for gone in decode_export(row.body.encode()).withdrawals}
    for gone in view.withdrawals():
        if gone.version not in told:
            version = view.version_by_digest(gone.version)
            name = gone.version[:12] if version is None else f"{version.model}@{version.ordinal}"
            raise RestampRefused(f"{name} was withdrawn since: pack a bundle that says so")
