"""What OCI clients ask by digest: whose image, whose file. Apart from `registry.store_pulls`: these know no name.

A file is looked for in the text of one model's manifests: the database reads some kilobytes a version for it, and
nothing has to be written for each file of each version.
"""

from collections.abc import Collection

from sqlmodel import col, select
from sqlmodel.sql.expression import SelectOfScalar

from registry.entities import Pin, Version, Withdrawal
from registry.views import View

_AT_ONCE = 100  # versions


def by_image(view: View, model: str, digest: str) -> list[Version]:
    """The versions of a model with this ModelPack manifest (SHA-256 in hex), newest first."""
    query = _of(model).where(Version.modelpack == digest)
    return list(view.session.exec(query.order_by(col(Version.ordinal).desc())))


def holding(view: View, model: str, sha256: str) -> list[Version]:
    """At most a hundred versions of a model with this file (64 hex digits): those that a tier ever served first."""
    query = _of(model).where(col(Version.manifest).contains(f'"sha256":"{sha256}"', autoescape=True))
    served = col(Version.digest).in_(_served(model, None))
    return list(view.session.exec(query.order_by(served.desc(), col(Version.ordinal).desc()).limit(_AT_ONCE)))


def ordinals(view: View, model: str) -> list[int]:
    """Every version's number."""
    return list(view.session.exec(select(Version.ordinal).where(Version.model == model)))


def served_ordinals(view: View, model: str, tiers: Collection[str] | None) -> list[int]:
    """The number of every version that one of the tiers (None: any) serves or once did."""
    query = select(Pin.ordinal).where(Pin.model == model)
    if tiers is not None:
        query = query.where(col(Pin.tier).in_(tiers))
    return list(view.session.exec(query.distinct()))


def withdrawn_ordinals(view: View, model: str) -> set[int]:
    """The numbers of the versions that are withdrawn."""
    gone = select(Withdrawal.version)
    query = select(Version.ordinal).where(Version.model == model, col(Version.digest).in_(gone))
    return set(view.session.exec(query))


def newest(
    view: View, model: str, count: int, *, served: bool, tiers: Collection[str] | None
) -> list[Version]:
    """The newest versions of a model.

    Args:
        count: at most so many.
        served: only what one of `tiers` (None: any) serves or once did.
    """
    query = _of(model).order_by(col(Version.ordinal).desc()).limit(count)
    if served:
        query = query.where(col(Version.digest).in_(_served(model, tiers)))
    return list(view.session.exec(query))


def _of(model: str) -> SelectOfScalar[Version]:
    return select(Version).where(Version.model == model)


def _served(model: str, tiers: Collection[str] | None) -> SelectOfScalar[str]:
    query = select(Pin.version).where(Pin.model == model)
    return query if tiers is None else query.where(col(Pin.tier).in_(tiers))
