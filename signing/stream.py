"""The stream of exports to one site: what an export document says, and whether it is its turn.

TUF numbers its own metadata and forgets when a key is rotated or a cache is wiped. This number is the
site's own: kept outside TUF, never lowered, one digest per number. Numbers may arrive in any order.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any

from signing.canonical import NotCanonical, parse
from signing.digests import is_sha256
from signing.refusals import ExportMalformed, ForkedBundle, NotABeginning, OlderBundle
from signing.times import TimeUnreadable, from_rfc3339

FORMAT = "tidegate-export/1"
MAX_DOCUMENT = 16 << 20  # bytes of one export or release document
EXPORT_PATH = re.compile(r"exports/([a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)/([1-9][0-9]{0,14})\.json")
_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]*"
MAX_STEP = 10_000  # numbers that may be missing at once; a thief could else use them all up, or fill memory
RELEASE_PATH = re.compile(rf"releases/{_NAME}/{_NAME}/[1-9][0-9]{{0,14}}\.json")


@dataclass(frozen=True)
class Export:
    """The part of an export document that trust looks at; the rest is the bundle's business."""

    audience: str
    sequence: int  # 1, 2, 3 … per site
    previous: str | None  # SHA-256 of the export before it, 64 hex; None for the first
    issued_at: datetime  # UTC
    releases: Mapping[str, str]  # target path to SHA-256
    baseline: bool | None = None  # whether a site that has nothing may begin with it; None: older origins


@dataclass(frozen=True)
class Seen:
    """What a site knows of the stream, besides the export that it looks at."""

    highest: int  # the highest number accepted here, 0 before the first
    accepted: Mapping[int, str]  # number to digest of exports accepted here
    awaited: Mapping[int, str]  # missing number to the digest that the accepted export after it names
    signed: Mapping[int, str]  # number to digest of every export that the site's role signs for now


@dataclass(frozen=True)
class Standing:
    """Where an export stands in the stream that this site has seen."""

    already: bool
    late: bool  # below the highest, and new here
    gap: tuple[int, ...]  # numbers below the highest that are missing still, lowest first; at most `MAX_STEP`


def read_export(data: bytes, *, at: str) -> Export:
    """Return what an authenticated export document says. Unknown fields are left to others.

    Raises:
        ExportMalformed: naming the field, `exports/a/3.json.releases[1].sha256`.
    """
    try:
        value = parse(data, max_bytes=MAX_DOCUMENT, at=at)
    except NotCanonical as exc:
        raise ExportMalformed(at, exc.problem) from exc
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        raise ExportMalformed(f"{at}.format", f"not {FORMAT}")
    sequence, previous = value.get("sequence"), value.get("previous")
    if type(sequence) is not int or sequence < 1:
        raise ExportMalformed(f"{at}.sequence", "not a whole number from 1")
    if (previous is not None) != (sequence > 1) or (previous is not None and not is_sha256(previous)):
        raise ExportMalformed(f"{at}.previous", "null for the first export, 64 hex digits for all others")
    if not isinstance(value.get("audience"), str):
        raise ExportMalformed(f"{at}.audience", "not a text")
    try:
        issued_at = from_rfc3339(value.get("issued_at", ""))
    except TimeUnreadable as exc:
        raise ExportMalformed(f"{at}.issued_at", str(exc)) from exc
    baseline = value.get("baseline")
    if not isinstance(baseline, bool | None):
        raise ExportMalformed(f"{at}.baseline", "neither true nor false")
    releases = _releases(value.get("releases"), at=at)
    return Export(value["audience"], sequence, previous, issued_at, releases, baseline)


def judge_sequence(export: Export, digest: str, seen: Seen, *, by_memory: bool = False) -> Standing:
    """Return where this export stands.

    Args:
        digest: SHA-256 of the export's bytes.
        by_memory: the metadata that this site remembers vouches for the export, so it may come late.

    Raises:
        ForkedBundle: another export was accepted under a number, or another one precedes it or follows it.
        OlderBundle: a number below the highest, and only metadata that may be older vouches for it.
        ExportMalformed: a number more than `MAX_STEP` beyond the highest.
        NotABeginning: nothing was accepted here yet, and this export is for a site that goes on.
    """
    number = export.sequence
    _check_line(export, digest, seen)
    if number > 1 and not seen.highest and export.baseline is False:  # docs/decisions/0023
        raise NotABeginning(number)
    if number in seen.accepted:
        return Standing(already=True, late=False, gap=_missing(seen, number))
    if number <= seen.highest and not by_memory:
        raise OlderBundle("export", found=number, remembered=seen.highest)
    if number - seen.highest > MAX_STEP:
        raise ExportMalformed(
            f"export {number}.sequence", f"more than {MAX_STEP} beyond {seen.highest}, the last one here"
        )
    return Standing(already=False, late=number < seen.highest, gap=_missing(seen, number))


def _check_line(export: Export, digest: str, seen: Seen) -> None:
    """One number is one export, and each names the one before it: else somebody tells two histories."""
    number = export.sequence
    line = {**seen.awaited, **seen.accepted}
    if line.get(number, digest) != digest:
        raise ForkedBundle(f"export {number}", found=digest, remembered=line[number])
    before = line.get(number - 1, seen.signed.get(number - 1))
    if before is not None and before != export.previous:
        raise ForkedBundle(
            f"the export before number {number}", found=str(export.previous), remembered=before
        )
    for other in sorted(line.keys() & seen.signed.keys()):
        if line[other] != seen.signed[other]:
            raise ForkedBundle(f"export {other}", found=seen.signed[other], remembered=line[other])


def _missing(seen: Seen, number: int) -> tuple[int, ...]:
    """Bounded, because it goes into the log: whoever signs exports could leave out as many as they like."""
    missing = (n for n in range(1, max(number, seen.highest)) if n not in seen.accepted and n != number)
    return tuple(islice(missing, MAX_STEP))


def _releases(value: Any, *, at: str) -> dict[str, str]:
    if not isinstance(value, list):
        raise ExportMalformed(f"{at}.releases", "not a list")
    found: dict[str, str] = {}
    for number, item in enumerate(value):
        place = f"{at}.releases[{number}]"
        path = item.get("path") if isinstance(item, dict) else None
        if not isinstance(path, str) or RELEASE_PATH.fullmatch(path) is None or path in found:
            raise ExportMalformed(f"{place}.path", "not the path of a release, or there twice")
        if not is_sha256(item.get("sha256")):
            raise ExportMalformed(f"{place}.sha256", "not 64 hex digits")
        found[path] = item["sha256"]
    return found
