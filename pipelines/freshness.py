"""How old is what this site knows? FRESH, DUE or STALE: shown everywhere, and it stops nothing.

A courier who stops coming cannot be told from an attacker who stops him. So the origin says in every bundle by when
the next one should be there, and its signed metadata has an end; a site compares both with its clock. Serving is
never asked (DESIGN section 8). The rule is pure; `site_freshness` feeds it from the tables.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from pipelines.bundle.documents import MAX_EXPORT
from pipelines.bundle.fields import Fields
from registry.views import View
from signing.canonical import parse
from signing.times import from_rfc3339, rfc3339

_MAX_METADATA = 64 << 20  # bytes of remembered trust metadata, as `pipelines.bundle.opening` reads it
_CLOCK_SLACK = timedelta(minutes=5)  # as in `signing.trust`


class State(StrEnum):
    """The four answers."""

    FRESH = "FRESH"
    DUE = "DUE"  # the next bundle should have come
    STALE = "STALE"  # what vouches for the last one has run out
    UNKNOWN = "UNKNOWN"  # nothing came yet, or the clock cannot be right


@dataclass(frozen=True)
class Freshness:
    """An answer, and why, in one line."""

    state: State
    text: str

    @property
    def late(self) -> bool:
        """Whether somebody has to be told."""
        return self.state in (State.DUE, State.STALE)


def freshness(
    now: datetime,
    *,
    next_expected_by: datetime | None,
    expires: datetime | None,
    last_import: datetime | None,
) -> Freshness:
    """Judge what a site knows. All moments know their zone.

    Args:
        next_expected_by: what the newest bundle promised; None when it promised nothing.
        expires: the end of the newest timestamp that was verified here.
        last_import: when the newest bundle came in; None before the first.
    """
    if last_import is None:
        return Freshness(State.UNKNOWN, "no bundle has come in yet")
    if now < last_import - _CLOCK_SLACK:
        return Freshness(
            State.UNKNOWN, f"the clock stands before the last import ({rfc3339(last_import)}); set it right"
        )
    last = f"the last bundle came in {_ago(now - last_import)}"
    if expires is not None and now >= expires:
        return Freshness(
            State.STALE,
            f"{last}, and its signatures were good until {rfc3339(expires)}; ask for a new bundle",
        )
    if next_expected_by is None:
        return Freshness(State.FRESH, f"{last}; no next one was promised")
    if now >= next_expected_by:
        return Freshness(
            State.DUE, f"{last}, and the next one was expected by {rfc3339(next_expected_by)}; ask for it"
        )
    return Freshness(State.FRESH, f"{last}; the next one is expected by {rfc3339(next_expected_by)}")


def site_freshness(view: View, now: datetime) -> Freshness:
    """Judge this site by the newest bundle that it took in, whatever came in later with a lower number.

    Raises:
        NotCanonical, MalformedBundle: its own row was changed; `audit verify` says more.
    """
    imports = view.imports()
    if not imports:
        return freshness(now, next_expected_by=None, expires=None, last_import=None)
    export = _fields(imports[-1].body, max_bytes=MAX_EXPORT, at="export")
    return freshness(
        now,
        next_expected_by=None
        if export.get("next_expected_by") is None
        else _moment(export, "next_expected_by"),
        expires=_expiry(imports[-1].metadata_body),
        last_import=from_rfc3339(imports[-1].imported_at),
    )


def _expiry(metadata: str) -> datetime | None:
    """When the timestamp role's signature ends; verified when the row was recorded, so only read here."""
    roles = _fields(metadata, max_bytes=_MAX_METADATA, at="remembered trust metadata")
    if "timestamp" not in roles.value:
        return None
    timestamp = _fields(str(roles.get("timestamp")), max_bytes=_MAX_METADATA, at="timestamp")
    return _moment(timestamp.below("signed"), "expires")


def _fields(text: str, *, max_bytes: int, at: str) -> Fields:
    return Fields.at_place(parse(text.encode(), max_bytes=max_bytes, at=at), at)


def _moment(fields: Fields, name: str) -> datetime:
    return from_rfc3339(fields.moment(name))


def _ago(past: timedelta) -> str:
    days = max(0, past.days)
    return "today" if days == 0 else "a day ago" if days == 1 else f"{days} days ago"
