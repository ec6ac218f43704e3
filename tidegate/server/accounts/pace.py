"""How many requests a second each known caller may send.

Counted in the process's memory: a limit that wrote to the database would cost more than it saves.
"""

import threading
import time
from collections import OrderedDict

from tidegate.server.accounts.refusals import TooMany

_REMEMBERED = 4096  # callers whose pace is kept at one time
_BURST = 2  # seconds' worth of requests that may come at once


class Pace:
    """Requests per second of each known caller: a bucket that fills at that rate."""

    def __init__(self, per_second: int) -> None:
        self._rate, self._most = per_second, per_second * _BURST
        self._left: OrderedDict[str, tuple[float, float]] = (
            OrderedDict()
        )  # caller: requests left, when that was
        self._lock = threading.Lock()

    def demand(self, caller: str) -> None:
        """Let one request through. Raises `TooMany`."""
        now = time.monotonic()
        with self._lock:
            left, since = self._left.pop(caller, (self._most, now))
            left = min(self._most, left + (now - since) * self._rate)
            self._left[caller] = (max(0.0, left - 1), now)
            if len(self._left) > _REMEMBERED:
                self._left.popitem(last=False)
        if left < 1:
            raise TooMany(f"{caller} sends more than {self._rate} requests a second", wait=1)
