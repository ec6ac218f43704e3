"""A run's report found again by its digest, and checked: what is shown later is what was recorded then."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from pipelines.errors import JudgingRefused
from pipelines.suites.refusals import DocumentAltered
from registry.entities import Report
from registry.errors import NotFound
from registry.views import View
from signing.canonical import NotCanonical, parse_canonical
from signing.digests import sha256_hex

KINDS = ("validation", "evidence")
MAX_BODY = 256 << 20  # bytes
MIN_PREFIX = 8  # hex digits


class ReportUnwritable(JudgingRefused):
    """A page or a JUnit file cannot be written where it was asked for. The report itself is kept."""

    exit_code: ClassVar[int] = 213
    next_step: ClassVar[str] = (
        "Name a file in a folder that exists and is yours to write; `tidegate suites report DIGEST --html FILE` "
        "writes the page of a run that is over."
    )

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"{path}: {problem}")
        self.path, self.problem = path, problem


def writable(path: Path | None) -> None:
    """Look before an hour's run whether its page can be written afterwards. Raises `ReportUnwritable`."""
    if path is None:
        return
    if not path.parent.is_dir() or path.is_dir():
        raise ReportUnwritable(str(path), "there is no such folder, or it is one itself")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise ReportUnwritable(str(path), "may not be written")


def write(path: Path, data: bytes) -> None:
    """Write a page or a JUnit file. Raises `ReportUnwritable`."""
    writable(path)
    try:
        path.write_bytes(data)
    except OSError as exc:
        raise ReportUnwritable(str(path), exc.strerror or str(exc)) from exc


def write_new(path: Path, data: bytes) -> None:
    """Write a page that takes no file's place. Raises `ReportUnwritable`."""
    if path.exists() or path.is_symlink():
        raise ReportUnwritable(str(path), "is there already; a page never takes the place of a file")
    writable(path)
    try:
        with path.open("xb") as stream:
            stream.write(data)
    except OSError as exc:
        raise ReportUnwritable(str(path), exc.strerror or str(exc)) from exc


def find_report(view: View, digest: str) -> tuple[Report, Mapping[str, Any]]:
    """Return a run's report, or a log taken in as evidence, with its body.

    Args:
        digest: of the report, or its first digits, eight or more.

    Raises:
        NotFound: none, or more than one begins so. DocumentAltered: its bytes are not the recorded ones.
    """
    wanted = digest.lower()
    rows = [
        row
        for version in sorted({row.digest for row in view.versions()})
        for row in view.reports(version)
        if row.kind in KINDS and row.digest.startswith(wanted)
    ]
    if len(rows) != 1 or len(wanted) < MIN_PREFIX:
        raise NotFound("report", digest)
    row = rows[0]
    data = row.body.encode()
    actual = sha256_hex(data)
    if actual != row.digest:
        raise DocumentAltered("report", row.digest[:12], expected=row.digest, actual=actual)
    try:
        body = parse_canonical(data, max_bytes=MAX_BODY, at="report")
    except NotCanonical as exc:
        raise DocumentAltered(
            "report", f"{row.digest[:12]} ({exc})", expected=row.digest, actual=actual
        ) from exc
    return row, body
