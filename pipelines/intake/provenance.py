"""What the origin says of where a version came from: an SLSA provenance statement about the version's digest.

Carried with the version to every site, so it names no path of this machine.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from importlib.metadata import version as release_of
from typing import Any, Literal

from pipelines.workplace import Workplace
from registry.entities import Report, Version
from registry.manifests import Manifest, Upstream
from signing import statements


@dataclass(frozen=True)
class Source:
    """Where files come from. Made when an intake begins: its duration is part of the account."""

    how: Literal["add", "fetch"]
    parameters: Mapping[str, Any]  # what was asked for
    upstream: Upstream | None = None
    left_out: tuple[str, ...] = ()
    listed: Mapping[str, Mapping[str, str]] = field(
        default_factory=dict
    )  # path to digests, as the source lists them
    said: Mapping[str, Any] = field(default_factory=dict)  # the source's own account of the version, bounded
    began: float = field(default_factory=time.monotonic)  # seconds; a stopwatch, no clock


def statement_of(
    work: Workplace, version: Version, manifest: Manifest, source: Source, report: Report
) -> dict[str, Any]:
    """Return the statement, unsigned. Its byproduct is the scan's report, with the licence that it read."""
    made = statements.provenance(
        [(f"{version.model}@{version.ordinal}", version.digest)],
        how=source.how,
        parameters={**source.parameters, "leftOut": list(source.left_out)},
        sources=_dependencies(manifest, source),
        home=work.home.name,
        tool_version=release_of("tidegate"),
        started=work.now,
        finished=work.now + timedelta(seconds=time.monotonic() - source.began),
    )
    if source.said:
        made["predicate"]["buildDefinition"]["resolvedDependencies"][0]["annotations"] = dict(source.said)
    licence = {"state": manifest.licence.state, "ids": list(manifest.licence.ids)}
    made["predicate"]["runDetails"]["byproducts"] = [
        {
            "name": "scan report",
            "digest": {"sha256": report.digest},
            "annotations": {"outcome": report.outcome, "licence": licence},
        }
    ]
    return made


def _dependencies(manifest: Manifest, source: Source) -> list[statements.Source]:
    """The upstream, at its commit if it has one, and each of its files, under the source's digest and under ours."""
    upstream = source.upstream
    if upstream is None:
        return []
    at = f"{upstream.uri}@{upstream.commit}" if upstream.commit else upstream.uri
    files = [
        statements.Source(f"{at}/{entry.path}", {**source.listed.get(entry.path, {}), "sha256": entry.sha256})
        for entry in manifest.files
    ]
    return [statements.Source(at, {"gitCommit": upstream.commit} if upstream.commit else {}), *files]
