"""Walks over the held files beside the doors' work: what is pinned first, everything again in the course of weeks.

1. At the start, and whenever a pin moves, every file of what is pinned is hashed unless its mark is good.
2. Otherwise the file that was looked at longest ago is read again from the disk, slowly: rot leaves no mark.
"""

import logging
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta

from pipelines.blob_watch import BlobWatch, ReadingStopped, at_once, step_back
from registry.errors import BlobDamaged, NotFound, StoreUnusable
from registry.manifests import decode
from registry.store import Store
from signing.digests import is_sha256
from signing.times import rfc3339

SCRUB_AFTER = timedelta(days=14)  # a file that was read within these is not read again
_SCRUB_SPEED = 32 << 20  # bytes per second: 50 GB in half an hour, a disk's twentieth
_LOOK = 5.0  # seconds between two looks at the pins
_REFILL = 3600.0  # seconds between two looks for files whose turn it is
_log = logging.getLogger("tidegate.blobs")


class Rounds:
    """One thread, for the life of the process."""

    def __init__(
        self, watch: BlobWatch, store: Store, clock: Callable[[], datetime], *, look: float = _LOOK
    ) -> None:
        self._watch, self._store, self._clock, self._look = watch, store, clock, look
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._walk, name="blob-rounds", daemon=True)
        self._newest = 0  # the last pin whose files were looked at
        self._looked = time.monotonic()
        self._queue: list[str] = []
        self._refill = 0.0  # monotonic seconds, when the queue is filled again
        self.waiting = 0  # pinned files that are still to be hashed

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End, within one block of whatever is read."""
        self._stopping.set()
        self._watch.stop()
        self._thread.join()

    def _walk(self) -> None:
        step_back()
        try:
            while not self._stopping.is_set():
                if not self._once():
                    self._stopping.wait(self._look)
        except ReadingStopped:
            pass

    def _once(self) -> bool:
        """Whether there is more to do at once."""
        try:
            self.prove_pinned()
            return self.scrub_one()
        except (StoreUnusable, OSError) as problem:  # whoever asks is told; here it is tried again
            _log.warning("the held files are not looked at now: %s", problem)
            return False

    def prove_pinned(self) -> None:
        """Hash every file of what was pinned since the last look, unless its mark is good."""
        with self._store.view() as view:
            names: dict[str, None] = {}
            for number, manifest in view.pinned_manifests(after=self._newest):
                self._newest = max(self._newest, number)
                names |= {entry.sha256: None for entry in decode(manifest.encode()).files}
        for left, name in zip(range(len(names), 0, -1), names, strict=True):
            self.waiting = left
            self._look_at(name, again=False)
        self.waiting = 0

    def scrub_one(self) -> bool:
        """Read the file again that was looked at longest ago; say whether there was one whose turn it is."""
        if not self._queue and time.monotonic() >= self._refill:
            self._queue = self._due()
            self._refill = time.monotonic() + _REFILL
        if not self._queue:
            return False
        self._look_at(self._queue.pop(), again=True)
        return True

    def _due(self) -> list[str]:
        """Names, the most urgent last."""
        before = rfc3339(self._clock() - SCRUB_AFTER)
        known = ((self._watch.checked_at(name) or "", name) for name in self._watch.blobs.held())
        return [name for at, name in sorted(known, reverse=True) if at < before and is_sha256(name)]

    def _look_at(self, name: str, *, again: bool) -> None:
        try:
            opened = self._watch.open(name)
        except (NotFound, BlobDamaged):  # said to whoever asks for it; a repaired file has another mark
            return
        try:
            self._watch.prove(opened, self._slowly if again else at_once, again=again)
        except BlobDamaged as refusal:
            _log.error("damaged on the disk: %s", refusal)
        finally:
            opened.close()

    def _slowly(self, count: int) -> None:
        """Leave the disk to others, and do not let a pin wait until a large file is read."""
        self._stopping.wait(count / _SCRUB_SPEED)
        if time.monotonic() >= self._looked + self._look:
            self.prove_pinned()
            self._looked = time.monotonic()
