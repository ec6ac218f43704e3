"""What OCI clients ask by digest: whose image, whose file. Apart from `registry.store_pulls`: these know no name.

A file is looked for in the text of one model's manifests: the database reads some kilobytes a version for it, and
nothing has to be written for each file of each version.
"""

from collections.abc import Iterator

from sqlmodel import col, select

from registry.entities import Pin, Version
from registry.views import View

_AT_ONCE = 100  # versions read together; a caller mostly wants the first


def by_image(view: View, model: str, digest: str) -> list[Version]:
    """The versions of a model with this ModelPack manifest (SHA-256 in hex)."""
    query = select(Version).where(Version.model == model, Version.modelpack == digest)
    return list(view.session.exec(query.order_by(col(Version.ordinal).desc())))


def holding(view: View, model: str, sha256: str) -> list[Version]:
    """The versions of a model that have a file with this SHA-256 (64 hex digits), newest first."""
    query = select(Version).where(
        Version.model == model, col(Version.manifest).contains(f'"sha256":"{sha256}"', autoescape=True)
    )
    return list(view.session.exec(query.order_by(col(Version.ordinal).desc())))


def ordinals(view: View, model: str) -> list[int]:
    """Every version's number."""
    return list(view.session.exec(select(Version.ordinal).where(Version.model == model)))


def served_ordinals(view: View, model: str) -> list[tuple[str, int]]:
    """Every (tier, number) of which the tier serves the version or once did."""
    return list(view.session.exec(select(Pin.tier, Pin.ordinal).where(Pin.model == model).distinct()))


def newest_first(view: View, model: str) -> Iterator[Version]:
    """The versions of a model, read a hundred at a time: those that a tier serves now, then all, newest first."""
    pinned = {pin.version for tier in view.tiers() if (pin := view.pin(tier.tier, model)) is not None}
    query = select(Version).where(Version.model == model)
    if pinned:
        yield from list(view.session.exec(query.where(col(Version.digest).in_(pinned))))
    below: int | None = None
    while True:
        part = query if below is None else query.where(Version.ordinal < below)
        found = list(view.session.exec(part.order_by(col(Version.ordinal).desc()).limit(_AT_ONCE)))
        if not found:
            return
        yield from (version for version in found if version.digest not in pinned)
        below = found[-1].ordinal
