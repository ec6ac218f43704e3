"""What may need somebody, asked in bounded time: the newest rows of each kind, without the texts that they carry.

Apart from `registry.views`, which answers about everything: the first page is drawn for everybody who looks, at homes
with millions of rows. Each question looks at the newest `WITHIN` rows of its table and returns at most `MOST`.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import exists, func, tuple_
from sqlalchemy.orm import aliased
from sqlmodel import col, select

from registry.entities import ApprovalRequest, Observation, Pin, Report, Version, Withdrawal
from registry.views import View

WITHIN = 2_000
MOST = 20


@dataclass(frozen=True)
class FailedRun:
    """A run of a suite that did not pass, and that no later run of it on the same version has answered."""

    digest: str
    model: str
    ordinal: int
    version: str
    outcome: str
    suite: str | None
    made_at: str


@dataclass(frozen=True)
class VersionLine:
    """A version without its manifest."""

    model: str
    ordinal: int
    digest: str
    added_at: str


def failed_runs(view: View) -> Sequence[FailedRun]:
    """Runs that FAILED or stayed INCONCLUSIVE, newest first, of versions that are not withdrawn."""
    later = aliased(Report)
    answered = exists().where(
        col(later.version) == Report.version, col(later.suite) == Report.suite, col(later.id) > col(Report.id)
    )
    columns: Any = (
        Report.digest, Version.model, Version.ordinal, Report.version, Report.outcome, Report.suite, Report.made_at
    )  # fmt: skip
    query: Any = (
        select(*columns)
        .join(Version, col(Version.digest) == Report.version)
        .where(Report.kind == "validation", col(Report.outcome).in_(("FAILED", "INCONCLUSIVE")))
        .where(col(Report.id) > _floor(Report), ~answered, ~_withdrawn(Report.version))
        .order_by(col(Report.id).desc())
        .limit(MOST)
    )
    return [FailedRun(*row) for row in view.session.exec(query)]


def validated_unserved(view: View) -> Sequence[VersionLine]:
    """Versions that passed a suite and that no tier has served, newest first, not withdrawn."""
    passed = exists().where(
        col(Report.version) == Version.digest,
        col(Report.kind) == "validation",
        col(Report.outcome) == "PASSED",
    )
    served = exists().where(col(Pin.version) == Version.digest)
    query: Any = (
        select(Version.model, Version.ordinal, Version.digest, Version.added_at)
        .where(col(Version.id) > _floor(Version), passed, ~served, ~_withdrawn(Version.digest))
        .order_by(col(Version.id).desc())
        .limit(MOST)
    )
    return [VersionLine(*row) for row in view.session.exec(query)]


def newest_observations(view: View) -> list[Observation]:
    """The newest observation of each model at each node, among the newest rows."""
    columns: Any = func.max(Observation.id)
    newest = (
        select(columns)
        .where(col(Observation.id) > _floor(Observation))
        .group_by(Observation.tier, Observation.node, Observation.model)
    )
    query = select(Observation).where(col(Observation.id).in_(newest))
    found = list(view.session.exec(query))
    return sorted(found, key=lambda row: (row.tier, row.node, row.model))


def newest_requests(view: View) -> list[ApprovalRequest]:
    """The newest requests to promote, oldest first: at most a hundred."""
    query = select(ApprovalRequest).order_by(col(ApprovalRequest.id).desc()).limit(100)
    return list(reversed(view.session.exec(query).all()))


def pins_of(view: View, tiers: Sequence[str], models: Sequence[str]) -> list[Pin]:
    """What these tiers serve now of these models (a page of them), by model, and the tiers in their order."""
    newest: list[Any] = []
    for tier in tiers:  # one look into the index for each
        highest: Any = func.max(Pin.position)
        query: Any = select(Pin.tier, Pin.model, highest).where(Pin.tier == tier, col(Pin.model).in_(models))
        newest += view.session.exec(query.group_by(Pin.tier, Pin.model)).all()
    keys = tuple_(col(Pin.tier), col(Pin.model), col(Pin.position))
    rows = [row for some in _chunks(newest) for row in view.session.exec(select(Pin).where(keys.in_(some)))]
    return sorted(rows, key=lambda row: (row.model, tiers.index(row.tier)))


def _chunks(rows: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """Not more in one statement than SQLite takes."""
    for first in range(0, len(rows), 200):
        yield [tuple(row) for row in rows[first : first + 200]]


def version_by_prefix(view: View, prefix: str) -> list[VersionLine]:
    """Versions whose digest begins so: at most `MOST`."""
    columns: Any = (Version.model, Version.ordinal, Version.digest, Version.added_at)
    high = prefix + "g"  # after every hex digit: a range that the index answers
    query: Any = select(*columns).where(Version.digest >= prefix, Version.digest < high).limit(MOST)
    return [VersionLine(*row) for row in view.session.exec(query)]


@dataclass(frozen=True)
class RunLine:
    """A scan or a run of a suite, without what it found."""

    digest: str
    version: str
    kind: str
    outcome: str
    suite: str | None
    contract: str | None
    profile: str | None
    made_at: str
    made_by: str


def runs_of(view: View, *versions: str) -> list[RunLine]:
    """Every scan and run of a suite on these versions (a page of them), oldest first."""
    columns: Any = [getattr(Report, name) for name in RunLine.__dataclass_fields__]
    query: Any = select(*columns).where(col(Report.version).in_(versions)).order_by(Report.id)
    return [RunLine(*row) for row in view.session.exec(query)]


def withdrawn_among(view: View, versions: Collection[str]) -> set[str]:
    """Which of these versions are withdrawn."""
    return set(view.session.exec(select(Withdrawal.version).where(col(Withdrawal.version).in_(versions))))


def _floor(table: Any) -> Any:
    """The id after which the newest rows of a table stand."""
    newest: Any = func.coalesce(func.max(table.id), 0)
    return select(newest - WITHIN).scalar_subquery()


def _withdrawn(digest: Any) -> Any:
    return exists().where(col(Withdrawal.version) == digest)
