"""What a run has found so far, kept outside its folder, so that a run that was killed can go on.

`journal.py` says where the file lies and sees that one run alone has it; this is what stands in it.

The first line says what the run is about: suite, contract, sides and engines. A journal of anything else is not
resumed, because its answers are somebody else's. Each line is authenticated with a secret of this home's, and with the
line before it: `failed` edited into `passed`, or a line from elsewhere, ends what is taken over. The lines after it are the results', each synced before the next
are read; half a line at the end is what a killed run leaves, and is dropped. A request that the engine broke off
is not kept: it is no answer, and is asked again.
"""

import hmac
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from pipelines.engines.endpoint import EngineUnreachable
from pipelines.suites.format import Suite
from pipelines.suites.plan import Key, Side, keys
from pipelines.suites.refusals import RunNotResumable
from pipelines.suites.results import MAX_BYTES, Attempt, read_line
from signing.canonical import NotCanonical, canonical_bytes
from signing.digests import sha256_hex

FORMAT = "tidegate-journal/1"
BROKE_OFF = EngineUnreachable.kind


def heading(suite: Suite, sides: Sequence[Side], contract: bytes, fingerprint: str) -> bytes:
    """Return the first line of the journal of such a run."""
    value: dict[str, Any] = {
        "format": FORMAT,
        "suite": suite.digest,
        "contract": sha256_hex(contract),
        "sides": [{"name": side.name, "endpoint": side.endpoint, "model": side.model} for side in sides],
        "engines": sha256_hex(fingerprint.encode()),
    }
    return canonical_bytes(value) + b"\n"


class KeptAnswers:
    """One run's journal, open for writing by one process. `lines` is what it held when it was opened."""

    def __init__(
        self,
        path: Path,
        suite: Suite,
        sides: Sequence[Side],
        contract: bytes,
        fingerprint: str,
        *,
        secret: bytes = b"",
    ) -> None:
        """Begin a journal, or go on with the one that is there.

        Args:
            secret: what lines are authenticated with; nobody who may edit the file knows it.

        Raises:
            RunNotResumable: what is there is about another run, or is no journal.
        """
        first = heading(suite, sides, contract, fingerprint)
        self._stream = _opened(path)
        held = self._stream.read(MAX_BYTES + 1)
        if not held.startswith(first) and not first.startswith(
            held
        ):  # half a first line is a run killed at once
            self._stream.close()
            raise RunNotResumable(path, "it is about another suite, contract, endpoint or engine")
        wanted = set(keys(suite, suite.cases, [side.name for side in sides]))
        self._chain = _Chain(secret, first)
        kept = list(_answers(held[len(first) :], wanted, self._chain))
        self.lines, self.count = b"".join(kept), len(kept)
        self._stream.seek(0)
        if not held.startswith(first):
            self._stream.write(first)
        self._stream.seek(len(first) + len(self.lines) + self.count * (_Chain.LENGTH + 1))
        self._stream.truncate()
        self._sync()

    def add(self, lines: Sequence[bytes]) -> None:
        """Keep results as they came, without their line ends; the seal and requests that broke off are left out."""
        whole = [line for line in lines if (found := _attempt(line)) and found.trouble != BROKE_OFF]
        if whole:
            self._stream.writelines(self._chain.go_on(line) + b" " + line + b"\n" for line in whole)
            self._sync()

    def close(self) -> None:
        """Close the file; it stays until the run is recorded."""
        self._stream.close()

    def _sync(self) -> None:
        self._stream.flush()
        os.fsync(self._stream.fileno())


def _opened(path: Path) -> BinaryIO:
    return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600), "r+b")


class _Chain:
    """Authenticates one line after the other; a line counts only in its place."""

    LENGTH = 64  # bytes before a line: hex digits

    def __init__(self, secret: bytes, first: bytes) -> None:
        self._secret, self._last = secret, sha256_hex(first).encode()

    def of(self, line: bytes) -> bytes:
        """What has to stand before a line that comes next."""
        return hmac.new(self._secret, self._last + line, "sha256").hexdigest().encode()

    def go_on(self, line: bytes) -> bytes:
        """The same; and the line is part of it from now on."""
        self._last = self.of(line)
        return self._last


def _answers(data: bytes, wanted: set[Key], chain: _Chain) -> Iterator[bytes]:
    """Yield the lines, as far as they are whole, ours, of this run, and each about another attempt."""
    for stored in data.split(b"\n")[:-1]:
        code, _, line = stored.partition(b" ")
        found = _attempt(line)
        if found is None or found.key not in wanted or not hmac.compare_digest(code, chain.of(line)):
            return
        chain.go_on(line)
        wanted.discard(found.key)
        yield line + b"\n"


def _attempt(line: bytes) -> Attempt | None:
    try:
        return read_line(line, 0)
    except NotCanonical:
        return None
