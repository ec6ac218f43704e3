"""Whether a log can be shown to people who may not read names: only if a salt hides every one of them.

Apart from `registry.salted` because it is about the whole log: events of older releases hold names and reasons as they
were, and the tree commits to these very bytes.
"""

from collections.abc import Iterable
from typing import ClassVar

from registry.errors import RegistryRefusal

_PLAIN = b'"format":"tidegate-event/1"'


class NamesInTheClear(RegistryRefusal):
    """A log with events of an older release, which hold people's names as they are: it cannot be redacted."""

    exit_code: ClassVar[int] = 47
    next_step: ClassVar[str] = (
        "Export without --redact for readers who may see the names; to others give `tidegate audit prove EVENT` of the "
        "events since then."
    )

    def __init__(self, home: str, count: int) -> None:
        super().__init__(f"the log of {home} holds {count} events that no salt hides")
        self.home, self.count = home, count


def demand_salted(home: str, leaves: Iterable[bytes]) -> None:
    """Raise `NamesInTheClear` if any of these events stands there without salted values."""
    count = sum(_PLAIN in leaf for leaf in leaves)
    if count:
        raise NamesInTheClear(home, count)
