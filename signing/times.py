"""Moments as text: one spelling, UTC, whole seconds, so that text order is time order."""

from datetime import UTC, datetime
from typing import ClassVar

from signing.errors import OperatorError

FORM = "%Y-%m-%dT%H:%M:%SZ"  # RFC 3339, the one form that TUF and in-toto documents use


class TimeUnreadable(OperatorError):
    """Text that is not a moment in UTC."""

    exit_code: ClassVar[int] = 83
    next_step: ClassVar[str] = "Write the moment as 2026-11-20T08:30:00Z (UTC), or a day as 2026-11-20."

    def __init__(self, text: str) -> None:
        super().__init__(f"{text!r} is not a moment in UTC")
        self.text = text


def rfc3339(moment: datetime) -> str:
    """Return `2026-11-20T08:30:00Z`. The moment must know its zone; fractions of a second are dropped."""
    assert moment.tzinfo is not None, "a moment without a zone"
    return moment.astimezone(UTC).strftime(FORM)


def from_rfc3339(text: str) -> datetime:
    """Return the aware moment. Raises `TimeUnreadable` for any other spelling."""
    try:
        moment = datetime.strptime(text, FORM).replace(tzinfo=UTC)
    except (ValueError, TypeError) as exc:
        raise TimeUnreadable(str(text)) from exc
    if moment.strftime(FORM) != text:  # strptime also takes `2026-1-2T3:4:5Z` and digits of other scripts
        raise TimeUnreadable(text)
    return moment


def whole_second(moment: datetime) -> datetime:
    """Return the moment as it will be read back after having been written."""
    return from_rfc3339(rfc3339(moment))
