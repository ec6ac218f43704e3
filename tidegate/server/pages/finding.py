"""What addresses of pages mean: versions by digest, models by two words; and small facts that several pages show."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Form, Query

from registry import store_attention, store_pages
from registry.entities import Pin, Version
from registry.errors import NotFound
from registry.names import Ref, model_name
from registry.store_attention import RunLine, VersionLine
from registry.views import View
from signing.digests import is_sha256
from tidegate.errors import RequestUnreadable
from tidegate.server.guard import Desk, at_desk

AtDesk = Annotated[Desk, Depends(at_desk)]
Cursor = Annotated[str | None, Query(max_length=1024)]
Words = Annotated[str, Form(max_length=4000)]
_HEX = re.compile(r"[0-9a-f]{6,64}", re.ASCII)
_REASON = 2000  # characters, as on the command line


def held_version(view: View, digest: str) -> Version:
    """The version with this digest, or the beginning of it. Raises `NotFound`."""
    if not is_sha256(digest):
        found = store_attention.version_by_prefix(view, digest) if _HEX.fullmatch(digest) else []
        if len(found) != 1:
            raise NotFound("version", digest)
        digest = found[0].digest
    row = view.version_by_digest(digest)
    if row is None:
        raise NotFound("version", digest)
    return row


def ref_of(version: Version | VersionLine) -> Ref:
    """How commands name it."""
    return Ref(version.model, ordinal=version.ordinal)


def model_of(namespace: str, name: str) -> str:
    """The model's name. Raises `NameUnusable`."""
    return model_name(f"{namespace}/{name}")


def by_digest(view: View, text: str) -> Sequence[VersionLine]:
    """Versions that a search for hex digits means."""
    digits = text.strip().lower().removeprefix("sha256:")
    return store_attention.version_by_prefix(view, digits) if _HEX.fullmatch(digits) else []


def reason(text: str) -> str:
    """Why something is done, as it will be kept. Raises `RequestUnreadable`."""
    said = text.strip()
    if not said or len(said) > _REASON:
        raise RequestUnreadable(f"say why, in 1 to {_REASON:,} characters")
    return said


@dataclass(frozen=True)
class Standing:
    """How a version stands, on one line of a list."""

    line: Version
    tiers: tuple[str, ...]  # that serve it now
    withdrawn: bool
    scan: str | None  # outcome of the newest
    suites: dict[str, str]  # name to the newest outcome


def standings(view: View, versions: Sequence[Version]) -> list[Standing]:
    """How a page of one model's versions stands: a few questions for all of them together."""
    digests = [row.digest for row in versions]
    pins: Sequence[Pin] = store_pages.pins_now(view, model=versions[0].model).rows if versions else ()
    gone = store_attention.withdrawn_among(view, digests)
    runs: dict[str, list[RunLine]] = {}
    for run in store_attention.runs_of(view, *digests):
        runs.setdefault(run.version, []).append(run)
    names = suite_names(view, [run for some in runs.values() for run in some])
    return [
        Standing(
            row,
            tuple(pin.tier for pin in pins if pin.version == row.digest),
            row.digest in gone,
            next((run.outcome for run in reversed(runs.get(row.digest, [])) if run.kind == "scan"), None),
            {names[run.suite]: run.outcome for run in runs.get(row.digest, []) if run.suite},
        )
        for row in versions
    ]


def suite_names(view: View, runs: Sequence[RunLine]) -> dict[str, str]:
    """The names of the suites that were run, by digest."""
    found = {}
    for digest in {run.suite for run in runs if run.suite}:
        row = view.document_by_digest(digest)
        found[digest] = row.name if row else digest[:12]
    return found
