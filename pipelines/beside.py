"""One version beside another: what a steward has to know before the first takes the second one's place.

Reads what the home holds and judges nothing: files by their digests, weights by tensor, the chat template line by
line, the tool contracts by the rules that also judge a model before a router, licences, and what the suites measured.
"""

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from pipelines.weights_beside import WeightsBeside
from pipelines.weights_beside import compare as compare_weights
from pipelines.workplace import Workplace
from registry import contracts, manifests
from registry.contract_diff import changes
from registry.contracts import ToolContract
from registry.entities import Report, Version
from registry.errors import BlobDamaged, NotFound
from registry.manifests import FileEntry, Licence, Manifest
from registry.store_attention import RunLine, runs_of
from registry.verdicts import Comparison
from registry.views import View
from signing.canonical import NotCanonical, parse
from signing.digests import sha256_hex

TEMPLATES = ("chat_template.jinja", "tokenizer_config.json")
MOST_TEXT = 256 << 10  # bytes of a text that is compared line by line
MOST_LINES = 400  # of a difference
MOST_BODY = 64 << 20  # bytes of a report
T = TypeVar("T")


@dataclass(frozen=True)
class FileBeside:
    """One path in both versions, or in one of them."""

    path: str
    now: FileEntry | None
    then: FileEntry | None

    @property
    def change(self) -> str:
        """added, removed, changed or same."""
        if self.then is None:
            return "added"
        if self.now is None:
            return "removed"
        return "same" if self.now.sha256 == self.then.sha256 else "changed"


@dataclass(frozen=True)
class TextBeside:
    """A text that differs: its difference by lines, or why there is none."""

    path: str
    lines: tuple[str, ...]
    problem: str = ""


@dataclass(frozen=True)
class ContractBeside:
    """The tool contracts of both, and what the new one means for who was prepared for the old one."""

    now: str | None  # digest
    then: str | None
    names: Mapping[str, str]  # by digest
    said: Comparison | None  # None: one of them has none, or they are the same


@dataclass(frozen=True)
class Measured:
    """One run of a suite, without its cases. `figures` is the report's own document."""

    report: Report
    figures: Mapping[str, Any]

    @property
    def suite(self) -> str:
        """The suite's name."""
        return str(self.figures["suite"]["name"])


@dataclass(frozen=True)
class SuiteBeside:
    """The newest run of one suite on each of both versions."""

    suite: str
    now: Measured | None
    then: Measured | None


@dataclass(frozen=True)
class Beside:
    """Everything, ready to be shown."""

    now: Version
    then: Version | None
    files: tuple[FileBeside, ...]
    weights: WeightsBeside | None
    texts: tuple[TextBeside, ...]
    contract: ContractBeside
    licence: tuple[Licence, Licence | None]
    suites: tuple[SuiteBeside, ...]

    def changed(self, *kinds: str) -> list[FileBeside]:
        """The files that changed so; without a kind, all that are not the same."""
        return [one for one in self.files if (one.change in kinds if kinds else one.change != "same")]


def beside(
    work: Workplace, view: View, now: Version, then: Version | None, *, profile: str | None = None
) -> Beside:
    """Hold a version against another; against nothing, it is shown alone.

    Args:
        profile: runs of suites with this engine profile (digest) are shown before others.
    """
    new = manifests.decode(now.manifest.encode())
    old = None if then is None else manifests.decode(then.manifest.encode())
    files = tuple(_files(new, old))
    return Beside(
        now=now,
        then=then,
        files=files,
        weights=None if old is None else compare_weights(work.blobs, new, old),
        texts=tuple(_texts(work, files)) if old is not None else (),
        contract=_contracts(view, now, then),
        licence=(new.licence, None if old is None else old.licence),
        suites=tuple(_suites(view, now, then, profile)),
    )


def _files(new: Manifest, old: Manifest | None) -> Iterator[FileBeside]:
    mine = {entry.path: entry for entry in new.files}
    theirs = {entry.path: entry for entry in old.files} if old else {}
    for path in sorted(mine.keys() | theirs.keys()):
        yield FileBeside(path, mine.get(path), theirs.get(path))


# -- texts ----------------------------------------------------------------------------------------------


def _texts(work: Workplace, files: tuple[FileBeside, ...]) -> Iterator[TextBeside]:
    """The chat template, and what else says how the model is spoken to, where it differs."""
    for one in files:
        if one.path in TEMPLATES and one.change != "same":
            try:
                old, new = (_lines(work, entry) for entry in (one.then, one.now))
            except (BlobDamaged, NotFound, ValueError) as exc:
                yield TextBeside(one.path, (), str(exc))
                continue
            said = list(difflib.unified_diff(old, new, "pinned now", "this version", lineterm="", n=3))
            more = [f"… {len(said) - MOST_LINES} more lines"] if len(said) > MOST_LINES else []
            yield TextBeside(one.path, (*said[:MOST_LINES], *more))


def _lines(work: Workplace, entry: FileEntry | None) -> list[str]:
    if entry is None:
        return []
    if entry.size > MOST_TEXT:
        raise NotFound("text short enough to be compared by lines", entry.path)
    return work.blobs.read(entry.sha256, max_bytes=MOST_TEXT).decode().splitlines()


# -- contracts ------------------------------------------------------------------------------------------


def _contracts(view: View, now: Version, then: Version | None) -> ContractBeside:
    bound = [None if one is None else view.binding(one.digest) for one in (now, then)]
    new, old = (None if one is None else one.contract for one in bound)
    rows = {digest: view.document_by_digest(digest) for digest in (new, old) if digest}
    names = {digest: row.name for digest, row in rows.items() if row}
    said = None
    if new and old and new != old and len(names) == 2:
        said = changes(*(_contract(rows[digest]) for digest in (old, new)))
    return ContractBeside(new, old, names, said)


def _contract(row: Any) -> ToolContract:
    found = contracts.decode_document(row.body.encode())
    assert isinstance(found, ToolContract), "only such are bound to versions"
    return found


# -- suites ---------------------------------------------------------------------------------------------


def _suites(view: View, now: Version, then: Version | None, profile: str | None) -> Iterator[SuiteBeside]:
    mine, theirs = newest_runs(view, now, profile), newest_runs(view, then, profile) if then else {}
    for name in sorted(mine.keys() | theirs.keys()):
        yield SuiteBeside(name, mine.get(name), theirs.get(name))


def newest_runs(view: View, version: Version, profile: str | None = None) -> dict[str, Measured]:
    """The newest run of each suite on a version, by the suite's name; one with this engine profile before others."""
    best: dict[str, RunLine] = {}
    for run in runs_of(view, version.digest):
        known = best.get(str(run.suite))
        if run.kind == "validation" and (known is None or run.profile == profile or known.profile != profile):
            best[str(run.suite)] = run
    rows = [view.kept(run.digest) for run in best.values()]
    read = [
        Measured(row, figures)
        for row in rows
        if isinstance(row, Report) and (figures := read_report(row)) is not None
    ]
    return {run.suite: run for run in read}


def read_report(row: Report) -> Mapping[str, Any] | None:
    """A report's document; None when its row is not what was recorded (`audit verify` says more)."""
    data = row.body.encode()
    if sha256_hex(data) != row.digest:
        return None
    try:
        found = parse(data, max_bytes=MOST_BODY, at="report")
    except NotCanonical:
        return None
    return found if isinstance(found, Mapping) else None
