"""Homes watch each other's logs: each bundle and each receipt carries a signed head and the proof that the log only grew.

What comes is held against the newest head that was seen before. A log that grew is cosigned with the station key, and
the cosignature goes back with whatever travels next; a log that was rewritten, or that lost its end, is recorded as
that, cosigned no more, and told to everybody who looks. Models are never held back for it: see
docs/decisions/0024-a-forked-log-holds-nothing-back.md.
"""

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from securesystemslib.signer import Key

from pipelines.bundle.heads import MAX_PROOFS, Head, Heads
from pipelines.errors import BundleRefused
from pipelines.workplace import Workplace
from registry.audit import EventKind
from registry.entities import CosignedHead, WitnessedHead
from registry.errors import NotFound
from registry.log_tree import LogTree, log_name
from registry.store import Change
from registry.views import View
from signing import checkpoint, cosignature
from signing.canonical import canonical_bytes, parse
from signing.checkpoint import Checkpoint, CheckpointSignatureWrong, CheckpointUnreadable
from signing.merkle import MAX_SIZE, verify_consistency


class Outcome(StrEnum):
    """What a head of another home's log was found to be."""

    FIRST = "FIRST"  # nothing to hold it against
    CONSISTENT = "CONSISTENT"  # it begins with the head that was seen before
    ACCEPTED = "ACCEPTED"  # a person said to go on from it, although it does not
    UNPROVEN = "UNPROVEN"  # it came without a proof, from a home that could not know which one was needed
    FORK = "FORK"  # it does not begin with it: something that was there is another thing now
    ROLLED_BACK = "ROLLED-BACK"  # it is shorter than it: the log lost its end


OWED_BY_ORIGIN = range(
    MAX_SIZE
)  # an origin keeps what it sent, so it can prove from any head that came from it
_OLDER = 16  # bundles, whatever the site named since
_NEWEST = 4  # receipts that are looked at for the newest head that a site holds
_MAX_BODY = 64 << 20  # bytes of a letter that was taken in, or of a bundle's document
HELD = (Outcome.FIRST, Outcome.CONSISTENT, Outcome.ACCEPTED)  # what the next head has to begin with
BROKEN = (Outcome.FORK, Outcome.ROLLED_BACK)


class LogForked(BundleRefused):
    """The other home's log is not the one that it was: an event that stood in it is gone or another. All else was taken in."""

    exit_code: ClassVar[int] = 233
    next_step: ClassVar[str] = (
        "Tell the security officers of both homes, and keep this medium. `tidegate audit witnesses` shows both heads; "
        "once it is known why, `tidegate audit witnesses --accept HOME --reason TEXT` goes on from the new log."
    )

    def __init__(self, log: str, *, held: Head, offered: Head) -> None:
        super().__init__(
            f"{log}: its first {held.size} events were {held.root[:16]}…, and its log of {offered.size} events now "
            f"does not begin with them"
        )
        self.log, self.held, self.offered = log, held, offered


class LogRolledBack(BundleRefused):
    """The other home's log lost its newest events: it was restored from an old copy, or cut off. All else was taken in."""

    exit_code: ClassVar[int] = 234
    next_step: ClassVar[str] = (
        "Ask there whether a backup was restored. If so, `tidegate audit witnesses --accept HOME --reason TEXT` goes on "
        "from what is there now; if not, tell the security officers of both homes and keep this medium."
    )

    def __init__(self, log: str, *, held: Head, offered: Head) -> None:
        super().__init__(f"{log}: {held.size} events were signed before, {offered.size} are there now")
        self.log, self.held, self.offered = log, held, offered


@dataclass(frozen=True)
class Other:
    """The home at the other end, and the station key that signs its log and its letters."""

    name: str
    key: Key

    @property
    def log(self) -> str:
        """The origin line of its log."""
        return log_name(self.name)

    @property
    def public(self) -> Ed25519PublicKey:
        """The key itself. Raises `CheckpointUnreadable`: not an Ed25519 key."""
        return _public(self.key)


@dataclass(frozen=True)
class Witnessed:
    """What came of looking at another home's head."""

    log: str
    outcome: Outcome
    held: Head | None  # what it was held against
    offered: Head

    def demand_whole(self) -> None:
        """Raise `LogForked` or `LogRolledBack`; called once everything else is done."""
        if self.held is None or self.outcome not in BROKEN:
            return
        if self.outcome is Outcome.FORK:
            raise LogForked(self.log, held=self.held, offered=self.offered)
        raise LogRolledBack(self.log, held=self.held, offered=self.offered)


def offer(view: View, *, to: str, known: Iterable[int]) -> Heads | None:
    """Return what to tell another home of this log; None before the first event.

    Args:
        to: the other home's name.
        known: sizes of heads of this log that it may hold, newest last: it gets a proof from the last few of them.
    """
    newest = view.head()
    if newest is None:
        return None
    tree = LogTree(view)
    sizes = sorted({size for size in known if 0 < size <= newest.size})[-MAX_PROOFS:]
    held = _held(view, log_name(to))
    mark = None if held is None else Head(held.size, held.root)
    cosigned = None
    if held is not None and held.cosignature is not None:
        cosigned = cosignature.with_line(held.note, held.cosignature)
    proofs = {size: tuple(node.hex() for node in tree.consistency(size)) for size in sizes}
    return Heads(newest.note, proofs, mark, cosigned)


def take(
    change: Change,
    work: Workplace,
    other: Other,
    heads: Heads,
    *,
    brought: Mapping[str, Any],
    late: bool,
    owed: Container[int],
) -> Witnessed | None:
    """Judge and record what another home told of its log and of ours. Taking the same again changes nothing.

    Args:
        brought: what it came with, for the record.
        late: something newer of that home was taken in before: a shorter log is then no wonder.
        owed: sizes of its log that the home knows we may hold. Where it then brings no proof, it has none.

    Returns: None for a late head that says nothing new.
    """
    if heads.cosigned is not None:
        _take_cosigned(change, work, other, heads.cosigned)
    before = _held(change, other.log)
    offered = checkpoint.parse(heads.checkpoint)
    if late and before is not None and offered.size < before.size:
        return None
    outcome = Outcome.UNPROVEN
    if _signed(heads.checkpoint, other):
        outcome = judge(before, offered, heads.proofs, owed=owed)
    mark = None if before is None else Head(before.size, before.root)
    found = Witnessed(other.log, outcome, mark, Head(offered.size, offered.root.hex()))
    if not _recorded(change, found):
        _record(change, work, found, heads, brought)
    return found


def judge(
    before: WitnessedHead | None,
    offered: Checkpoint,
    proofs: Mapping[int, Sequence[str]],
    *,
    owed: Container[int],
) -> Outcome:
    """Say what a signed head is, given the head of the same log that was held to be true before."""
    if before is None:
        return Outcome.FIRST
    if offered.size < before.size:
        return Outcome.ROLLED_BACK
    if offered.size > before.size and before.size not in proofs:
        return Outcome.FORK if before.size in owed else Outcome.UNPROVEN
    grew = verify_consistency(
        old_size=before.size,
        new_size=offered.size,
        old_root=bytes.fromhex(before.root),
        new_root=offered.root,
        proof=[bytes.fromhex(node) for node in proofs.get(before.size, ())]
        if offered.size > before.size
        else (),
    )
    return Outcome.CONSISTENT if grew else Outcome.FORK


def accept(work: Workplace, name: str, *, reason: str) -> WitnessedHead:
    """Go on from the newest head of a log that does not begin with the one before: a person's word, recorded.

    Raises:
        NotFound: no head of that home's log was found broken since the last one that was held to be true.
    """
    log = log_name(name)
    with work.store.change(actor=work.actor, now=work.now) as change:
        rows = change.witnessed(log)
        if not rows or rows[-1].outcome not in BROKEN:
            raise NotFound("broken log of", name)
        last = rows[-1]
        row = WitnessedHead(
            log=log,
            size=last.size,
            root=last.root,
            note=last.note,
            outcome=Outcome.ACCEPTED,
            body=canonical_bytes({"reason": reason}).decode(),
            cosignature=None,
            since=change.now,
            actor=change.actor,
        )
        change.record(
            EventKind.WITNESSED, log, row, note={"log": log, "outcome": row.outcome, "reason": reason}
        )
    return row


def states(view: View) -> list[tuple[WitnessedHead, WitnessedHead | None]]:
    """Return for each log its newest head, and the newest that was held to be true."""
    newest = {row.log: row for row in view.witnessed()}
    return [(newest[log], _held(view, log)) for log in sorted(newest)]


def told_site(view: View, site: str) -> list[int]:
    """Return the sizes of this origin's heads that a site may hold: the newest that it named, and those sent since.

    Some older ones beside them: a site that was restored from a backup holds such a one, and has no quarrel with us.
    """
    named = max(
        (_seen(row.body, "payload", "log", "heads") or 0 for row in view.receipts(site)[-_NEWEST:]), default=0
    )
    sent = [_sent(row.body) or 0 for row in view.exports(site)[-MAX_PROOFS:]]
    return [named, *(size for size in sent if size > named), *sent[-_OLDER:]]


def owed_by_site(view: View, site: str, sequence: int) -> set[int]:
    """Return the sizes of a site's log that bundles up to this one told it that we hold."""
    told = (_seen(row.body, "log") for row in view.exports(site) if row.sequence <= sequence)
    return {size for size in told if size is not None}


def told_origin(view: View) -> list[int]:
    """Return the sizes of this site's heads that its origin may hold: the one that it last named, and those told since.

    A receipt is written after a head was witnessed, and tells the head that the log had then.
    """
    named = [_seen(row.body, "log") for row in view.imports()[-1:]]
    told = [entry.position + 1 for entry in view.events(kind=EventKind.WITNESSED, last=MAX_PROOFS)]
    return [size for size in (*named, *told) if size is not None]


def _seen(body: str, *way: str) -> int | None:
    """The size of the head that a letter's writer holds of our log. It was checked when it came; so only read."""
    said = parse(body.encode(), max_bytes=_MAX_BODY, at="letter")
    for step in (*way, "seen", "size"):
        said = said.get(step) if isinstance(said, dict) else None
    return said if type(said) is int else None


def _sent(body: str) -> int | None:
    """The size of the head of ours that an export document told."""
    said = parse(body.encode(), max_bytes=_MAX_BODY, at="export").get("log")
    return checkpoint.parse(said["checkpoint"]).size if said else None


def _signed(note: str, other: Other) -> bool:
    try:
        checkpoint.verify(note, checkpoint.verifier_key(other.log, other.public))
    except (CheckpointSignatureWrong, CheckpointUnreadable):
        return False
    return True


def _held(view: View, log: str) -> WitnessedHead | None:
    rows = [row for row in view.witnessed(log) if row.outcome in HELD]
    return rows[-1] if rows else None


def _recorded(view: View, found: Witnessed) -> bool:
    """Whether the log's newest row says this already, or the head is the very one that is held."""
    if found.outcome is Outcome.CONSISTENT and found.held == found.offered:
        return True
    rows = view.witnessed(found.log)
    return bool(rows) and (rows[-1].size, rows[-1].root, rows[-1].outcome) == (
        found.offered.size,
        found.offered.root,
        found.outcome,
    )


def _record(
    change: Change, work: Workplace, found: Witnessed, heads: Heads, brought: Mapping[str, Any]
) -> None:
    path = heads.proofs.get(found.held.size, ()) if found.held else ()
    against = None if found.held is None else {"size": found.held.size, "root": found.held.root}
    body = {"against": against, "path": list(path), "brought": dict(brought)}
    row = WitnessedHead(
        log=found.log,
        size=found.offered.size,
        root=found.offered.root,
        note=heads.checkpoint,
        outcome=found.outcome,
        body=canonical_bytes(body).decode(),
        cosignature=_cosign(work, heads.checkpoint) if found.outcome in HELD else None,
        since=change.now,
        actor=change.actor,
    )
    change.record(EventKind.WITNESSED, found.log, row, note={"log": found.log, "outcome": found.outcome})


def _cosign(work: Workplace, note: str) -> str:
    def sign(message: bytes) -> bytes:
        return bytes.fromhex(work.station.sign(message).signature)

    name, public = log_name(work.home.name), _public(work.station.public_key)
    return cosignature.cosign(note, name, public, sign, at=int(work.now.timestamp()))


def _take_cosigned(change: Change, work: Workplace, other: Other, note: str) -> None:
    """Keep a head of ours that the other home cosigned, if both signatures hold. `audit verify` looks for it from then on."""
    own = checkpoint.verifier_key(log_name(work.home.name), _public(work.station.public_key))
    try:
        head = checkpoint.verify(note, own)
        cosignature.verify(note, cosignature.cosigner_key(other.log, other.public))
    except (CheckpointSignatureWrong, CheckpointUnreadable):
        return
    root = head.root.hex()
    if any((row.size, row.root, row.witness) == (head.size, root, other.name) for row in change.cosigned()):
        return
    row = CosignedHead(
        size=head.size, root=root, note=note, witness=other.name, since=change.now, actor=change.actor
    )
    change.record(EventKind.COSIGNED, root, row, note={"witness": other.name, "size": head.size})


def _public(key: Key) -> Ed25519PublicKey:
    if key.keytype != "ed25519":
        raise CheckpointUnreadable(f"a log is signed with Ed25519, not {key.keytype}", at="station key")
    return Ed25519PublicKey.from_public_bytes(bytes.fromhex(key.keyval["public"]))
