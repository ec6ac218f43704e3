"""Which transfers crossed: one line per transfer, in the columns that rules for transfers ask for.

What left is read from the export documents of this home, what came from those of the imports. What people said stands
in the signed export document, so both ends show the same; what the files are is read from the manifests.
"""

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pipelines import receipts
from pipelines.bundle import documents as docs
from pipelines.bundle.documents import Export
from pipelines.bundle.transfers import transferred
from registry.entities import Version
from registry.views import View
from signing.summaries import Transfer, TransferredFile

OUT, IN = "out", "in"
COLUMNS = (
    "date", "direction", "originator", "approver", "file", "format", "sha256", "bytes", "classification", "source",
    "destination", "source_system", "destination_system", "medium", "control_numbers", "bundle", "sequence",
    "recorded_by", "outcome",
)  # fmt: skip
_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet would run


@dataclass(frozen=True)
class Crossing:
    """One bundle that left this home or came to it."""

    date: str  # RFC 3339, UTC: packed, or taken in
    direction: str  # out, in
    bundle: str
    sequence: int
    export: str  # digest of the export document
    source: str
    destination: str
    said: Transfer
    files: tuple[TransferredFile, ...]
    media: tuple[str, ...]  # serial numbers of the media that were read back here
    actor: str  # who packed it, or took it in
    outcome: str

    def document(self) -> dict[str, Any]:
        """The crossing for programs."""
        return {
            "date": self.date,
            "direction": self.direction,
            "bundle": self.bundle,
            "sequence": self.sequence,
            "export": self.export,
            "source": self.source,
            "destination": self.destination,
            "said": self.said.fields(),
            "files": [vars(one) for one in self.files],
            "media": list(self.media),
            "recorded_by": self.actor,
            "outcome": self.outcome,
        }

    def lines(self) -> Iterator[dict[str, object]]:
        """One line per file for a spreadsheet; one without a file for a bundle that carried no version."""
        numbers = self.said.control_numbers or self.media
        same: dict[str, object] = {
            "date": self.date,
            "direction": self.direction,
            "originator": self.said.requester,
            "approver": self.said.approver,
            "classification": self.said.classification,
            "source": self.source,
            "destination": self.destination,
            "source_system": self.said.source_system,
            "destination_system": self.said.destination_system,
            "medium": self.said.medium,
            "control_numbers": " ".join(numbers),
            "bundle": self.bundle,
            "sequence": self.sequence,
            "recorded_by": self.actor,
            "outcome": self.outcome,
        }
        for one in self.files:
            yield same | {"file": one.name, "format": one.format, "sha256": one.sha256, "bytes": one.size}
        if not self.files:
            yield same


def crossings(view: View, *, since: str | None = None, until: str | None = None) -> list[Crossing]:
    """Return every transfer, oldest first.

    Args:
        since, until: moments, RFC 3339 in UTC; both included.
    """
    found = [*_left(view), *_came(view)]
    chosen = [
        one for one in found if (since is None or one.date >= since) and (until is None or one.date <= until)
    ]
    return sorted(chosen, key=lambda one: (one.date, one.direction, one.sequence))


def as_csv(found: Sequence[Crossing]) -> str:
    """Return a table for a spreadsheet, RFC 4180. What would be run as a formula there is quoted as text."""
    stream = io.StringIO(newline="")
    writer = csv.DictWriter(stream, COLUMNS, restval="", lineterminator="\r\n")
    writer.writeheader()
    for crossing in found:
        writer.writerows(
            {name: _harmless(value) for name, value in line.items()} for line in crossing.lines()
        )
    return stream.getvalue()


def _harmless(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def _left(view: View) -> Iterator[Crossing]:
    newest = {site.name: receipts.newest(view, site.name) for site in view.sites()}
    for row in view.exports():
        export = docs.decode_export(row.body.encode())
        said = newest.get(row.site)
        arrived = said is not None and row.sequence in said.arrivals
        outcome = "acknowledged" if arrived else "no receipt yet"
        yield _crossing(view, export, row.digest, (row.made_at, OUT, row.actor, outcome))


def _came(view: View) -> Iterator[Crossing]:
    for row in view.imports():
        export = docs.decode_export(row.body.encode())
        yield _crossing(view, export, row.digest, (row.imported_at, IN, row.actor, "taken in"))


def _crossing(view: View, export: Export, digest: str, how: tuple[str, str, str, str]) -> Crossing:
    date, direction, actor, outcome = how
    readings = [row for row in view.custody(export.bundle) if row.export == digest]
    return Crossing(
        date=date,
        direction=direction,
        bundle=export.bundle,
        sequence=export.sequence,
        export=digest,
        source=export.origin,
        destination=export.audience,
        said=export.transfer,
        files=tuple(transferred(_versions(view, export))),
        media=tuple(dict.fromkeys(row.serial for row in readings if row.serial)),
        actor=actor,
        outcome=outcome,
    )


def _versions(view: View, export: Export) -> list[Version]:
    """The bundle's versions as they are held here; one that never became visible here is left out."""
    named = {release.path for release in export.releases}
    models = {"/".join(path.split("/")[1:3]) for path in named}
    return [
        row
        for model in sorted(models)
        for row in view.versions(model)
        if docs.release_path(row.model, row.ordinal) in named
    ]
