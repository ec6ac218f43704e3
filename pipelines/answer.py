"""What a site writes back: a receipt about any bundle that it took in, at any time, from its tables and its store.

Apart from `pipelines.receipts` because that is the format, and this looks around: which bundles arrived, which blobs
are there now, how fresh it all is.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pipelines import witness
from pipelines.bundle.documents import MAX_EXPORT
from pipelines.bundle.errors import OutputUnusable, ReceiptOnMedium
from pipelines.freshness import site_freshness
from pipelines.inventory import inventory, named, read_runs, version_of, write_runs
from pipelines.receipts import Item, Receipt
from pipelines.workplace import Workplace
from registry.entities import Import
from registry.errors import NotFound
from registry.views import View
from signing.canonical import parse
from signing.durable import write_durably
from signing.times import rfc3339

_MAX_METADATA = 64 << 20  # bytes of remembered trust metadata, as `pipelines.bundle.opening` reads it
_LABEL = "volume.json"  # what makes a folder a volume


def taken_in(view: View, name: str | None) -> Import:
    """Return the bundle of that name or number that was taken in here; without a name, the one with the highest number.

    Raises:
        NotFound: no such bundle, or none at all yet.
    """
    imports = view.imports()
    found = [row for row in imports if name is None or name in (row.bundle, str(row.sequence))]
    if not found:
        raise NotFound("imported bundle", name or "at all")
    return found[-1]


def compose(work: Workplace, view: View, row: Import) -> Receipt:
    """Return the full receipt about a bundle: what this site holds now, and what became of the bundle's versions."""
    head, imports = view.head(), view.imports()
    export = parse(row.body.encode(), max_bytes=MAX_EXPORT, at="export")
    return Receipt(
        site=work.home.name,
        origin=export["origin"],
        bundle=row.bundle,
        sequence=row.sequence,
        export=row.digest,
        items=_items(view, row, [release["path"] for release in export["releases"]]),
        holds=frozenset(work.blobs.held()),
        root_version=_root_version(imports[-1]),
        log_size=0 if head is None else head.size,
        log_root=None if head is None else head.root,
        made_at=rfc3339(work.now),
        sequences=read_runs(write_runs(one.sequence for one in imports)) or (),
        freshness=site_freshness(view, work.now).state,
        heads=witness.offer(view, to=export["origin"], known=witness.told_origin(view)),
    )


def digest_only(receipt: Receipt, view: View) -> Receipt:
    """Return the receipt with one digest in place of every name: over what is held of all that the bundles named.

    It tells of the log only how long it is and its root: a reviewer reads every line of it, and proofs cannot be read.
    """
    sent = frozenset[str]().union(*(named(row.body).all for row in view.imports()))
    return replace(
        receipt, items=(), holds=frozenset(), inventory=inventory(sent & receipt.holds), heads=None
    )


def place_receipt(work: Workplace, place: Path, receipt: Receipt, data: bytes) -> Path:
    """Write a receipt to a file, or into a folder. Returns the file.

    Raises:
        ReceiptOnMedium: where volumes lie; media that came are only read.
        OutputUnusable: it cannot be written there.
    """
    name = f"receipt-{receipt.site}-{receipt.sequence}.json"
    return place_answer(work, place / name if place.is_dir() else place, data)


def place_answer(work: Workplace, target: Path, data: bytes) -> Path:
    """Write what goes back to the origin. Returns the file. Raises: as `place_receipt`."""
    folder = target.absolute().parent.resolve()
    if not folder.is_dir():
        raise OutputUnusable(str(target), "its folder is not there")
    demand_plain(target)
    if (medium := _medium(folder, at_home=work.home.path.stat().st_dev)) is not None:
        raise ReceiptOnMedium(str(target), medium=str(medium))
    try:
        write_durably(folder / target.name, data)
    except OSError as exc:
        raise OutputUnusable(str(target), f"cannot be written ({exc.strerror})") from exc
    return target


def demand_plain(target: Path) -> None:
    """Raise `OutputUnusable` for a pipe, a device or a folder: a file would take its place, `/dev/null` for all."""
    if target.exists() and not target.is_file():
        raise OutputUnusable(str(target), "is no plain file")


def _medium(folder: Path, *, at_home: int) -> Path | None:
    """The medium that a folder is on, as far as one can see: inside a volume, beside one, or mounted with one."""
    for place in (folder, *folder.parents):
        if (place / _LABEL).is_file():
            return place
        apart = place.is_mount() and place.stat().st_dev != at_home
        if (place == folder or apart) and next(place.glob(f"*/{_LABEL}"), None) is not None:
            return place
    return None


def _items(view: View, row: Import, releases: Sequence[str]) -> tuple[Item, ...]:
    """The bundle's versions that are visible here."""
    found: list[Item] = []
    for path in releases:
        try:
            version = view.version(version_of(path))
        except NotFound:
            continue  # not visible yet: something that it needs has not come
        scans = [report.outcome for report in view.reports(version.digest, "scan")]
        found.append(
            Item(
                model=version.model,
                ordinal=version.ordinal,
                digest=version.digest,
                outcome="imported" if version.brought_by == row.bundle else "held",
                scan=scans[-1] if scans else "NONE",
            )
        )
    return tuple(found)


def _root_version(row: Import) -> int:
    """The root that this site trusted when it took its newest bundle in; verified then, so only read."""
    roles = parse(row.metadata_body.encode(), max_bytes=_MAX_METADATA, at="remembered trust metadata")
    root = parse(roles["root"].encode(), max_bytes=_MAX_METADATA, at="root")
    return int(root["signed"]["version"])
