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
from pipelines.questions.proving import Proof, Prover
from pipelines.workplace import Workplace
from registry.audit import EventKind
from registry.entities import Export as ExportRow
from registry.entities import Import, Row, Version
from registry.views import View
from signing.errors import OperatorError
from signing.summaries import NOTHING_SAID, Transfer, TransferredFile

OUT, IN = "out", "in"
COLUMNS = (
    "date", "direction", "originator", "approver", "file", "format", "sha256", "bytes", "classification", "source",
    "destination", "source_system", "destination_system", "medium", "control_numbers", "bundle", "sequence",
    "recorded_by", "outcome", "evidence",
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
    proof: Proof  # of the row that this is read from

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
            "proof": self.proof.document(),
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
            "evidence": self.proof.mark,
        }
        for one in self.files:
            yield same | {"file": one.name, "format": one.format, "sha256": one.sha256, "bytes": one.size}
        if not self.files:
            yield same


def crossings(
    work: Workplace, view: View, *, since: str | None = None, until: str | None = None
) -> tuple[list[Crossing], list[str]]:
    """Return every transfer, oldest first; and in words each one that the log has and the tables have not.

    Args:
        since, until: moments, RFC 3339 in UTC; both included. What is not verified is there whatever was asked for:
            its date may be what somebody edited.
    """
    prover = Prover(work, view)
    chosen = [
        one
        for one in (*_left(prover, view), *_came(prover, view))
        if not one.proof.verified
        or ((since is None or one.date >= since) and (until is None or one.date <= until))
    ]
    return sorted(chosen, key=lambda one: (one.date, one.direction, one.sequence)), list(_gone(prover, view))


def _gone(prover: Prover, view: View) -> Iterator[str]:
    tables: tuple[tuple[str, Sequence[Row], EventKind], ...] = (
        (ExportRow.label, view.exports(), EventKind.BUNDLE_MADE),
        (Import.label, view.imports(), EventKind.BUNDLE_IMPORTED),
    )
    for label, rows, kind in tables:
        for event, said in prover.recorded.removed(label, prover.recorded.entries(kind=kind), rows):
            yield f"{label} {said['bundle']}, recorded by event {event}, was taken out of the table"


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


def _left(prover: Prover, view: View) -> Iterator[Crossing]:
    newest = {site.name: receipts.newest(view, site.name) for site in view.sites()}
    for row in view.exports():
        said = newest.get(row.site)
        arrived = said is not None and row.sequence in said.arrivals
        outcome = "acknowledged" if arrived else "no receipt yet"
        yield _crossing(view, row, prover.row(row), (row.made_at, OUT, outcome))


def _came(prover: Prover, view: View) -> Iterator[Crossing]:
    for row in view.imports():
        yield _crossing(view, row, prover.row(row), (row.imported_at, IN, "taken in"))


def _crossing(view: View, row: ExportRow | Import, proof: Proof, how: tuple[str, str, str]) -> Crossing:
    date, direction, outcome = how
    export = _read(row)
    readings = [one for one in view.custody(row.bundle) if one.export == row.digest]
    return Crossing(
        date=date,
        direction=direction,
        bundle=row.bundle,
        sequence=row.sequence,
        export=row.digest,
        source=export.origin if export else "unknown",
        destination=export.audience if export else "unknown",
        said=export.transfer if export else NOTHING_SAID,
        files=_files(view, export) if export else (),
        media=tuple(dict.fromkeys(one.serial for one in readings if one.serial)),
        actor=row.actor,
        outcome=outcome,
        proof=proof,
    )


def _read(row: ExportRow | Import) -> Export | None:
    """The export document; None where somebody made it unreadable, which its proof tells."""
    try:
        return docs.decode_export(row.body.encode())
    except OperatorError:
        return None


def _files(view: View, export: Export) -> tuple[TransferredFile, ...]:
    try:
        return tuple(transferred(_versions(view, export)))
    except OperatorError:
        return ()  # a manifest was edited: `audit origin` says which


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
