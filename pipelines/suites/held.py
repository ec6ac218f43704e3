"""A run's report found again by its digest, and checked: what is shown later is what was recorded then."""

from collections.abc import Mapping
from typing import Any

from pipelines.suites.refusals import DocumentAltered
from registry.entities import Report
from registry.errors import NotFound
from registry.views import View
from signing.canonical import NotCanonical, parse_canonical
from signing.digests import sha256_hex

KINDS = ("validation", "evidence")
MAX_BODY = 256 << 20  # bytes
MIN_PREFIX = 8  # hex digits


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
