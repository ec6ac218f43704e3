"""Leaves as releases before the salted ones wrote them: logs that hold such leaves stay readable for ever."""

from registry.audit import Entry
from signing.canonical import canonical_bytes


def leaf_bytes(entry: Entry) -> bytes:
    """The bytes that the tree hashed for an entry: everything in the clear."""
    return canonical_bytes(
        {
            "format": "tidegate-event/1",
            "position": entry.position,
            "kind": entry.kind,
            "subject": entry.subject,
            "at": entry.at,
            "actor": entry.actor,
            "rows": [{"table": label, "row": dict(row)} for label, row in entry.rows],
            "note": dict(entry.note),
        }
    )
