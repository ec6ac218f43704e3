"""The narrow questions of those who pull: none of them reads a table from end to end, however large it grows.

Apart from `registry.views` because these stand in the way of every file that a client fetches: each is one walk down
an index. Hex prefixes are asked for as ranges, which both databases answer from an index where LIKE reads everything.
"""

from collections.abc import Collection

from sqlalchemy import func
from sqlmodel import col, select

from registry.entities import Pin, Removal, Version
from registry.views import View

_AFTER_HEX = "g"  # sorts behind every hex digit


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


def next_model(view: View, after: str, tiers: Collection[str] | None = None) -> str | None:
    """The first model's name behind `after`; with `tiers`, of those that one of them ever served."""
    if tiers is None:
        query = select(func.min(Version.model)).where(Version.model > after)
        return view.session.exec(query).one()
    found: list[str | None] = [
        view.session.exec(select(func.min(Pin.model)).where(Pin.tier == tier, Pin.model > after)).one()
        for tier in sorted(tiers)
    ]
    return min((name for name in found if name is not None), default=None)
