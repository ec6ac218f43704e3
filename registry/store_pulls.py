"""The narrow questions of those who pull: none of them reads a table from end to end, however large it grows.

Apart from `registry.views` because these stand in the way of every file that a client fetches: each is one walk down
an index. Hex prefixes are asked for as ranges, which both databases answer from an index where LIKE reads everything.
"""

from collections.abc import Collection
from typing import Any

from sqlalchemy import exists, func, literal
from sqlalchemy.orm import aliased, defer
from sqlmodel import col, select

from registry.entities import Pin, Removal, Version, Withdrawal
from registry.views import View

_AFTER_HEX = "g"  # sorts behind every hex digit
_UNREAD = defer(Version.manifest)  # type: ignore[arg-type]  # a column, which SQLModel types by what it holds


def holds_model(view: View, model: str) -> bool:
    """Whether there is any version of a model."""
    found = view.session.exec(select(Version.id).where(Version.model == model).limit(1))
    return found.first() is not None


def numbered(view: View, model: str, ordinal: int) -> Version | None:
    """The version with this number."""
    return view.session.exec(
        select(Version).where(Version.model == model, Version.ordinal == ordinal)
    ).first()


def by_revision(view: View, model: str, revision: str) -> list[Version]:
    """The versions that Hugging Face clients know by this commit (40 hex), newest first.

    More than one where the same upstream commit was taken in twice and something else about it differs.
    """
    query = select(Version).where(Version.revision == revision, Version.model == model)
    return list(view.session.exec(query.order_by(col(Version.ordinal).desc())))


def by_digest_prefix(view: View, model: str, prefix: str) -> list[Version]:
    """At most two versions of a model whose digest begins so (hex): two say that the prefix is too short."""
    query = select(Version).where(
        Version.digest >= prefix, Version.digest < prefix + _AFTER_HEX, Version.model == model
    )
    return list(view.session.exec(query.order_by(Version.digest).limit(2)))


def pinned_in(view: View, digest: str) -> list[str]:
    """The tiers that serve a version or once did, the one that came to it last first."""
    query = select(Pin.tier, func.max(Pin.id)).where(Pin.version == digest).group_by(Pin.tier)
    return [tier for tier, _ in view.session.exec(query.order_by(func.max(Pin.id).desc()))]


def removals_of(view: View, digest: str) -> list[Removal]:
    """When a version's bytes were removed here, oldest first."""
    query = select(Removal).where(Removal.version == digest)
    return list(view.session.exec(query.order_by(col(Removal.id))))


def models_after(view: View, after: str, *, tiers: Collection[str] | None, most: int) -> list[str]:
    """The first `most` models' names behind `after`; with `tiers`, of those that one of them ever served."""
    if tiers is None:
        return _names(view, Version, after, most)
    found = {name for tier in tiers for name in _names(view, Pin, after, most, tier=tier)}
    return sorted(found)[:most]


def _names(view: View, table: type[Any], after: str, most: int, **same: str) -> list[str]:
    """One look into the index for each name: DISTINCT would read every row."""

    def first_behind(other: Any, name: Any) -> Any:
        narrowed = [getattr(other, column) == value for column, value in same.items()]
        return select(func.min(other.model).label("model")).where(other.model > name, *narrowed)

    place: Any = literal(1).label("place")
    names = first_behind(table, after).add_columns(place).cte("names", recursive=True)
    following = first_behind(aliased(table), names.c.model).scalar_subquery()
    more = select(following, names.c.place + 1).where(names.c.model.is_not(None), names.c.place < most)
    query: Any = select(names.union_all(more).c.model)
    return [name for name in view.session.exec(query) if name is not None]


def newest_first(
    view: View, model: str, *, tiers: Collection[str] | None, up_to: int | None = None, limit: int
) -> list[Version]:
    """Versions of a model that are not withdrawn, the highest number first, without their manifests.

    Args:
        tiers: only what one of these serves or once did; None: all versions.
        up_to: the highest number wanted.
    """
    not_withdrawn = ~exists().where(col(Withdrawal.version) == col(Version.digest))
    query = select(Version).options(_UNREAD).where(Version.model == model, not_withdrawn)
    if tiers is not None:
        query = query.where(col(Version.ordinal).in_(_pinned(view, model, tiers, up_to=up_to, limit=limit)))
    if up_to is not None:
        query = query.where(Version.ordinal <= up_to)
    return list(view.session.exec(query.order_by(col(Version.ordinal).desc()).limit(limit)))


def _pinned(view: View, model: str, tiers: Collection[str], *, up_to: int | None, limit: int) -> list[int]:
    numbers: set[int] = set()
    for tier in tiers:
        query = select(Pin.ordinal).where(Pin.tier == tier, Pin.model == model)
        if up_to is not None:
            query = query.where(Pin.ordinal <= up_to)
        numbers.update(view.session.exec(query.distinct().order_by(col(Pin.ordinal).desc()).limit(limit)))
    return sorted(numbers, reverse=True)[:limit]
