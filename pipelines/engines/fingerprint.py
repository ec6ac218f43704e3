"""What ran when something was measured: a small document that goes into the report and is compared later.

Only what the engine says or what it was started with; a field that nobody knows is null, never guessed. The same
weights behind another fingerprint are another thing that was measured.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from signing.canonical import canonical_bytes
from signing.digests import sha256_hex


@dataclass(frozen=True)
class Fingerprint:
    """An engine as it ran. `context` in tokens per request; `device` in the engine's own words."""

    format: ClassVar[str] = "tidegate-fingerprint/1"

    engine: str
    build: str | None = None
    flags: tuple[str, ...] | None = None  # None: somebody else started it
    parser: str | None = None  # of tool calls; `template` where the engine derives it from that
    template_sha256: str | None = None
    dtype: str | None = None
    device: str | None = None
    context: int | None = None

    def document(self) -> Mapping[str, Any]:
        """Return the JSON value that reports hold."""
        return {
            "format": self.format,
            "engine": self.engine,
            "build": self.build,
            "flags": None if self.flags is None else list(self.flags),
            "parser": self.parser,
            "template_sha256": self.template_sha256,
            "dtype": self.dtype,
            "device": self.device,
            "context": self.context,
        }

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical bytes, 64 hex digits: equal if and only if everything known is equal."""
        return sha256_hex(canonical_bytes(self.document()))
