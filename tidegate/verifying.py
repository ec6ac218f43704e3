"""`audit verify`: the tree, its signatures, and the log replayed against the tables. Returns every problem.

The newest events and their heads can be cut off together, or a whole new history be signed by whoever holds the
station key: the log alone cannot show that. A head that somebody kept elsewhere can, so such heads are compared too.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from securesystemslib.signer import Key

from pipelines import receipts
from pipelines.bundle.errors import ReceiptWrong
from registry import audit
from registry.entities import Checkpoint
from registry.home import Home
from registry.store import Store
from signing import checkpoint
from signing.canonical import NotCanonical, canonical_bytes
from signing.checkpoint import CheckpointSignatureWrong, CheckpointUnreadable
from signing.envelope import SignatureUncheckable, SignatureWrong
from signing.merkle import EMPTY_ROOT, Frontier, leaf_hash
from tidegate.keyring import log_verifier_key


@dataclass(frozen=True)
class KeptHead:
    """A head of this log that somebody kept where this home cannot reach it."""

    at: str  # whose, for the message
    size: int  # events
    root: bytes  # 32 bytes


def kept_note(note: str, key: str, *, at: str) -> KeptHead:
    """Read a note that `audit head` wrote. Raises `CheckpointUnreadable`, `CheckpointSignatureWrong`."""
    try:
        found = checkpoint.verify(note, key)
    except CheckpointSignatureWrong as refusal:
        name, said = key.partition("+")[0], checkpoint.parse(note).origin
        if said == name:
            raise
        raise CheckpointSignatureWrong(
            name, f"{at} says that it is a head of another log, {said!r}"
        ) from refusal
    return KeptHead(at, found.size, found.root)


def kept_receipt(data: bytes, station: Key, *, at: str) -> KeptHead:
    """Read the head in a receipt that this site signed. Raises `ReceiptWrong`."""
    receipt, letter = receipts.read(data, at=at)
    try:
        letter.check(station, payload_type=receipts.PAYLOAD_TYPE)
    except (SignatureWrong, SignatureUncheckable) as refusal:
        raise ReceiptWrong(f"this home did not sign it ({refusal})", at=f"{at}.signature") from refusal
    root = bytes.fromhex(receipt.log_root) if receipt.log_root else EMPTY_ROOT
    return KeptHead(at, receipt.log_size, root)


def verify(store: Store, home: Home, *, kept: Sequence[KeptHead] = ()) -> list[str]:
    """Return what is wrong, in words; an empty list when everything agrees."""
    with store.view() as view:
        lines = [line for some in view.logged() for line in some]
        leaves, entries = [(line[0], line[5].encode()) for line in lines], []
        for expected, (position, *_, leaf, openings) in enumerate(lines):
            try:
                entries.append(audit.read_leaf(leaf.encode(), openings))
            except NotCanonical:
                return [f"event {expected} is missing, out of place or unreadable"]
            if not position == entries[-1].position == expected:
                return [f"event {expected} is missing, out of place or unreadable"]
        problems, frontier = [], Frontier()
        roots = {0: frontier.root()}
        heads, key = {head.size: head for head in view.checkpoints()}, log_verifier_key(home)
        for position, data in leaves:
            frontier = frontier.append(leaf_hash(data))
            roots[frontier.size] = frontier.root()
            problems += _head_problems(heads.pop(position + 1, None), frontier, key)
        problems += [f"head {size}: stands beyond the last event" for size in heads]
        problems += [problem for head in kept if (problem := _kept_problem(head, roots))]
        columns = [(e.position, e.kind, e.subject, e.at, e.actor) for e in entries]
        if columns != [line[:5] for line in lines]:
            problems.append("event: the columns of the event table differ from what was recorded")
        tables = dict(view.recorded())
        odd = [
            f"{label}: {problem}"
            for label, rows in tables.items()
            for row in rows
            if (problem := _never_recorded(row))
        ]
        problems += odd or [str(item) for item in audit.compare(entries, tables)]
    return problems


def _head_problems(head: Checkpoint | None, frontier: Frontier, key: str) -> list[str]:
    """Hold one signed head against the events that stand before it."""
    if head is None:
        return [f"event {frontier.size - 1} has no signed head"]
    try:
        found = checkpoint.verify(head.note, key)
    except (CheckpointSignatureWrong, CheckpointUnreadable) as refusal:
        return [f"head {head.size}: {refusal}"]
    if (found.size, found.root) != (frontier.size, frontier.root()):
        return [f"head {head.size}: was signed over other events than those that stand before it"]
    if (head.root, head.frontier) != (frontier.root().hex(), frontier.to_hex()):
        return [f"head {head.size}: its columns differ from what was signed"]
    return []


def _never_recorded(row: Mapping[str, Any]) -> str | None:
    """Say which value no event could have carried: SQLite keeps bytes or a fraction in any column."""
    try:
        canonical_bytes(dict(row))
    except NotCanonical as refusal:
        return f"a row holds what was never recorded: {refusal}"
    return None


def _kept_problem(kept: KeptHead, roots: dict[int, bytes]) -> str | None:
    """Say how the log of now fails to contain a head that was kept."""
    if kept.size >= len(roots):
        return f"{kept.at}: {kept.size} events were signed then, {len(roots) - 1} are here: the last ones are gone"
    if roots[kept.size] != kept.root:
        return f"{kept.at}: the first {kept.size} events were others then"
    return None
