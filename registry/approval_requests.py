"""What people are asked: one version for one tier, as a document that also holds the page they are shown.

Pure. The document holds no moment: the same question about the same facts has one digest, so that asking twice is asking
once, and so that what was put before a person can be made again and compared.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

from registry import entities
from registry.errors import RegistryRefusal
from signing.canonical import canonical_bytes, parse_canonical
from signing.digests import sha256_hex

FORMAT = "tidegate-approval-request/1"
MAX_BYTES = 16 << 20  # of a document
BREAK_GLASS = "break-glass"  # the action of a request that one person answers alone
# Apart from these a request stays what it was: they say who asked, and in which words.
_WORDS = ("requested_by", "reason", "page")


class NotAsShown(RegistryRefusal):
    """What a person looked at is not what stands there now, or is not on record."""

    exit_code: ClassVar[int] = 246
    next_step: ClassVar[str] = (
        "Look again with `tidegate approvals show`, and sign what it shows; what was signed before does not count."
    )

    def __init__(self, about: str, problem: str) -> None:
        super().__init__(f"{about}: {problem}")
        self.about, self.problem = about, problem


@dataclass(frozen=True)
class Question:
    """What is asked, on which facts, and the page that says so in words."""

    action: str
    home: str
    version: str  # digest
    model: str
    ordinal: int
    tier: str
    policy: str  # digest of the tier's policy
    evidence: Sequence[str]  # digests, sorted
    set: Mapping[str, str | None]  # what would be pinned: contract, profile, router, companions
    serves: str | None  # digest of the version that the tier serves of this model
    checks: Mapping[str, bool]  # what the gate says of everything but approvals
    rejections: Sequence[str]  # digests of those that stand
    requested_by: str | None = None  # None: nobody asked; who signs opened it
    reason: str | None = None
    page: str = field(default="", repr=False)  # text with its last line ended

    @property
    def shown_sha256(self) -> str:
        """SHA-256 of the page in UTF-8: what an approval binds."""
        return sha256_hex(self.page.encode())

    @property
    def body(self) -> bytes:
        """The canonical bytes of the document."""
        return canonical_bytes(self.document())

    def document(self) -> dict[str, Any]:
        """The document."""
        return {"format": FORMAT, "page_sha256": self.shown_sha256, **vars(self)}

    @property
    def digest(self) -> str:
        """SHA-256 of the document."""
        return sha256_hex(self.body)

    def same_facts(self, other: "Question") -> bool:
        """Whether both ask the same about the same facts, in whatever words and whoever asks."""
        names = [entry.name for entry in fields(self) if entry.name not in _WORDS]
        return all(getattr(self, name) == getattr(other, name) for name in names)


def read(row: entities.ApprovalRequest) -> Question:
    """Read a recorded request that is `intact`: its bytes were written by `Question.body`."""
    raw = _parsed(row)
    return Question(**{entry.name: raw[entry.name] for entry in fields(Question)})


def intact(row: entities.ApprovalRequest) -> bool:
    """Whether a row still is what was recorded under its digest."""
    return sha256_hex(row.body.encode()) == row.digest


def shown(rows: Sequence[entities.ApprovalRequest]) -> dict[str, str]:
    """The digest of each recorded request, with the SHA-256 of its page. An edited row showed nobody anything."""
    return {row.digest: read(row).shown_sha256 for row in rows if intact(row)}


def _parsed(row: entities.ApprovalRequest) -> dict[str, Any]:
    raw: dict[str, Any] = parse_canonical(row.body.encode(), max_bytes=MAX_BYTES, at="approval request")
    return raw
