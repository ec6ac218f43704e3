"""Where a run writes down what it has found so far, so that a run that was killed goes on where it was.

One folder below the home's `runs/` for each combination of suite, version, contract, profile, tier and engines.
A run that ends, however it ends, is in the report, and its folder goes. The lock is the kernel's.
"""

import fcntl
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from pipelines.errors import JudgingRefused
from signing.canonical import canonical_bytes
from signing.digests import sha256_hex

RUNS = "runs"
_JOURNAL, _LOCK = "journal.jsonl", "lock"


class RunUnderWay(JudgingRefused):
    """Exactly this run is going on already: two would write into one journal and disturb each other's times."""

    exit_code: ClassVar[int] = 212
    next_step: ClassVar[str] = "Wait for the other run to end, or stop it; then run this one again."

    def __init__(self, suite: str, ref: str) -> None:
        super().__init__(f"suite {suite} on {ref}: the same run is under way")
        self.suite, self.ref = suite, ref


@dataclass(frozen=True)
class Journal:
    """The file, and whether an earlier run left something in it that this one goes on with."""

    path: Path
    resumed: bool


@contextmanager
def journal(
    home: Path, about: Sequence[str | None], *, resume: bool, said: tuple[str, str]
) -> Iterator[Journal]:
    """Hold the run's journal; it is gone afterwards, but for a block that is left by an exception.

    Args:
        about: everything that tells this run from others.
        resume: go on with what an earlier run left; else that is removed first.
        said: suite and version, for the refusal.

    Raises:
        RunUnderWay: another process holds it.
    """
    folder = home / RUNS / sha256_hex(canonical_bytes(list(about)))[:16]
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            raise RunUnderWay(*said) from exc
        path = folder / _JOURNAL
        if not resume:
            path.unlink(missing_ok=True)
        yield Journal(path, resumed=path.exists())
        shutil.rmtree(folder)
    finally:
        os.close(handle)
