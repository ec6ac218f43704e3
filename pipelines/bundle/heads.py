"""What two homes tell each other of their logs, in an export document and in a receipt: heads, proofs, cosignatures.

Pure: the `log` object in and out. Nothing of it is believed by reading it; `pipelines.witness` judges. A reader of an
older release does not know these fields and leaves them alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pipelines.bundle.errors import MalformedBundle
from pipelines.bundle.fields import Fields
from signing.checkpoint import CheckpointUnreadable, parse

MAX_NOTE = 16 << 10  # characters: a head with many signature lines has some hundred each
MAX_PROOFS = 64  # a site that sends no receipts and missed more bundles than that cannot be proved to
MAX_PATH = 2 * 63  # hashes of a consistency proof


@dataclass(frozen=True)
class Head:
    """A head of a log, unsigned: how many events, and the root over them in hex."""

    size: int
    root: str


@dataclass(frozen=True)
class Heads:
    """What one home tells another."""

    checkpoint: str  # the sender's newest signed head, as a note
    proofs: Mapping[int, tuple[str, ...]] = field(
        default_factory=dict
    )  # from an older size to it, hashes in hex
    seen: Head | None = None  # the newest head of the receiver's log that the sender holds to be true
    cosigned: str | None = None  # that head as a note, with the sender's cosignature


def encode(heads: Heads) -> dict[str, Any]:
    """Return the fields."""
    said: dict[str, Any] = {
        "checkpoint": heads.checkpoint,
        "proofs": [{"from": size, "path": list(path)} for size, path in sorted(heads.proofs.items())],
    }
    if heads.seen is not None:
        said["seen"] = {"size": heads.seen.size, "root": heads.seen.root}
    if heads.cosigned is not None:
        said["cosigned"] = heads.cosigned
    return said


def decode(fields: Fields) -> Heads:
    """Read the fields. Raises `MalformedBundle`, naming the field."""
    proofs: dict[int, tuple[str, ...]] = {}
    for item in fields.items("proofs"):
        path = item.digests("path", repeated=True)
        if len(proofs) == MAX_PROOFS or len(path) > MAX_PATH:
            raise MalformedBundle(f"at most {MAX_PROOFS} proofs of {MAX_PATH} hashes are read", at=item.at)
        proofs[item.whole("from", least=1)] = path
    seen = fields.below("seen") if "seen" in fields.value else None
    return Heads(
        checkpoint=_note(fields, "checkpoint"),
        proofs=proofs,
        seen=None if seen is None else Head(seen.whole("size", least=1), seen.digest("root")),
        cosigned=_note(fields, "cosigned") if "cosigned" in fields.value else None,
    )


def _note(fields: Fields, name: str) -> str:
    found = fields.get(name)
    if not isinstance(found, str) or len(found) > MAX_NOTE:
        raise MalformedBundle(
            f"a signed note of at most {MAX_NOTE} characters is needed", at=f"{fields.at}.{name}"
        )
    try:
        parse(found)
    except CheckpointUnreadable as exc:
        raise MalformedBundle(str(exc), at=f"{fields.at}.{name}") from exc
    return found
