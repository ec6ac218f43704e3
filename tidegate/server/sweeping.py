"""Every ten minutes forgets what the doors remember and nobody can use any more: ended sessions, questions, tries, answers.

None of it would let anybody in: whoever reads a row looks at its end too. It is swept so that the tables stay as small
as what goes on.
"""

import logging
import threading
from datetime import timedelta

from signing.errors import OperatorError
from signing.times import rfc3339
from tidegate.server.premises import Premises

ANSWERS_KEPT = timedelta(
    days=1
)  # a request that is repeated with its Idempotency-Key within it is not done again
_EVERY = 600.0  # seconds
_log = logging.getLogger("tidegate.doors")


def sweep(premises: Premises) -> None:
    """Forget what has ended by now."""
    now, window = premises.clock(), timedelta(minutes=premises.settings.limits.sign_in_minutes)
    premises.doors.sweep(
        now=rfc3339(now), tries_before=rfc3339(now - window), answers_before=rfc3339(now - ANSWERS_KEPT)
    )


class Sweeping:
    """One thread, for the life of the process."""

    def __init__(self, premises: Premises, *, every: float = _EVERY) -> None:
        self._premises, self._every = premises, every
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._go, name="sweeping", daemon=True)

    def start(self) -> None:
        """Begin; the first sweep is ten minutes away."""
        self._thread.start()

    def stop(self) -> None:
        """End."""
        self._stopping.set()
        self._thread.join()

    def _go(self) -> None:
        while not self._stopping.wait(self._every):
            try:
                sweep(self._premises)
            except OperatorError as problem:  # the database is busy or away: next time it may not be
                _log.warning("what has ended is not swept now: %s", problem)
