"""Every denial is an event, and no flood of them fills the log.

The first of its kind is written at once. Those alike (same caller, address where nobody is known, route and right) are
counted for a minute, and written as one event with their number. When more kinds come in a minute than people and
programs make, the rest of that minute is one kind: of one caller who knocks everywhere, and of a thousand addresses.
"""

import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from registry.audit import EventKind
from registry.store import Store

_TOGETHER = timedelta(minutes=1)
_KINDS = 100  # of callers who are known, and as many of those who are not
_OF_ONE = 20  # kinds of one caller


@dataclass(frozen=True)
class Denial:
    """Somebody asked for what they may not do. `alike`: what makes another one of the same kind."""

    actor: str
    subject: str  # the route
    known: bool
    alike: tuple[str, ...]
    note: Mapping[str, Any]


@dataclass
class _Kind:
    since: datetime
    last: Denial
    waiting: int = 0  # counted and not yet written


class Denials:
    """What was denied in the last minute, for the life of the process."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._kinds: dict[tuple[object, ...], _Kind] = {}
        self._due: datetime | None = None  # when the oldest kind's minute is over

    def add(self, denial: Denial, now: datetime) -> None:
        """Record it: now, or with those like it when their minute is over."""
        self.settle(now)
        with self._lock:
            key = self._key(denial)
            kind = self._kinds.get(key)
            if kind is not None:
                kind.last, kind.waiting = denial, kind.waiting + 1
                return
            self._kinds[key] = _Kind(now, denial)
            self._due = self._due or now + _TOGETHER
        self._write(denial, 1, now)

    def settle(self, now: datetime, *, everything: bool = False) -> None:
        """Write what was counted in minutes that are over. Asked with every request; costs nothing most times."""
        if not everything and (self._due is None or now < self._due):
            return
        for denial, count in list(self._over(now, everything=everything)):
            self._write(denial, count, now)

    def _over(self, now: datetime, *, everything: bool) -> Iterator[tuple[Denial, int]]:
        with self._lock:
            over = [key for key, kind in self._kinds.items() if everything or now - kind.since >= _TOGETHER]
            ended = [self._kinds.pop(key) for key in over]
            self._due = min((kind.since + _TOGETHER for kind in self._kinds.values()), default=None)
        yield from ((kind.last, kind.waiting) for kind in ended if kind.waiting)

    def _key(self, denial: Denial) -> tuple[object, ...]:
        key = (denial.known, *denial.alike)
        if key in self._kinds:
            return key
        alike = [other for other in self._kinds if other[0] is denial.known]
        if len(alike) >= _KINDS:
            return key[:1]
        return key[:2] if sum(other[1:2] == key[1:2] for other in alike) >= _OF_ONE else key

    def _write(self, denial: Denial, count: int, now: datetime) -> None:
        with self._store.change(actor=denial.actor, now=now) as change:
            change.record(EventKind.DENIED, denial.subject, note={**denial.note, "count": count})
