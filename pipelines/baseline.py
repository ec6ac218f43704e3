"""What an origin may believe that a site holds: blob by blob, and bundle by bundle.

unknown -> exported -> acknowledged, or assumed on a person's word. The newest receipt proves what it says and
nothing else; an assumption adds what its bundle carried, until a receipt says better. What was merely sent counts
for nothing: so a lost bundle is healed by the next one, which is built on what was acknowledged. `fold` decides,
from rows alone; every bundle is packed against its answer.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

from pipelines.bundle.documents import AssumedReceived
from pipelines.errors import BundleRefused
from pipelines.inventory import Named, named
from pipelines.receipts import Receipt, newest_of, read
from pipelines.spoken import WHOLE
from pipelines.workplace import Workplace
from registry.audit import EventKind
from registry.entities import Assumption, Export
from registry.entities import Receipt as ReceiptRow
from registry.views import View
from signing.times import rfc3339

_NAME = 64  # characters of a person's name
_REASON = 1000  # characters; the export document repeats it
SPOKEN = "spoken receipt"


class State(StrEnum):
    """What is known of a blob, or a bundle, at a site."""

    UNKNOWN = "UNKNOWN"
    EXPORTED = "EXPORTED"
    ASSUMED = "ASSUMED"
    ACKNOWLEDGED = "ACKNOWLEDGED"


class AssumptionRefused(BundleRefused):
    """Nothing stands behind the word that a site received a bundle."""

    exit_code: ClassVar[int] = 112
    next_step: ClassVar[str] = (
        "Look with `tidegate receipts status` which bundles were made for the site; name one of them, a person and "
        "a reason, or have the site read its code to you first (`tidegate receipts hear`)."
    )

    def __init__(self, site: str, *, sequence: int, problem: str) -> None:
        super().__init__(f"bundle {sequence} for {site} cannot be assumed received: {problem}")
        self.site, self.sequence, self.problem = site, sequence, problem


@dataclass(frozen=True)
class Standing:
    """What is known of one bundle."""

    sequence: int
    bundle: str
    state: State
    bytes: int  # of the blobs that it carried
    made_at: str


@dataclass(frozen=True)
class Baseline:
    """What the next bundle for a site may build on, and what not. The three sets share no blob."""

    acknowledged: frozenset[str]
    assumed: frozenset[str]
    exported: frozenset[str]  # sent, and nobody knows what became of it: never built on
    receipt: str | None  # SHA-256 of the receipt that proves what is acknowledged
    assumptions: tuple[AssumedReceived, ...]  # those that count
    bundles: tuple[Standing, ...]  # by number

    @property
    def held(self) -> frozenset[str]:
        """Blobs that may be left out, or be bases."""
        return self.acknowledged | self.assumed

    def state(self, blob: str) -> State:
        """What is known of a blob, by its SHA-256."""
        if blob in self.acknowledged:
            return State.ACKNOWLEDGED
        if blob in self.assumed:
            return State.ASSUMED
        return State.EXPORTED if blob in self.exported else State.UNKNOWN


@dataclass(frozen=True)
class Assuming:
    """What became of a person's word. `acknowledged`: a receipt proves it, so nothing was recorded."""

    sequence: int
    reason: str
    already: bool
    acknowledged: bool


def baseline(view: View, site: str) -> Baseline:
    """Return what the next bundle for `site` may build on. Raises `NotFound` for a site that is not known."""
    view.site(site)
    return fold(view.exports(site), view.receipts(site), view.assumptions(site))


def fold(
    exports: Sequence[Export], receipts: Sequence[ReceiptRow], assumptions: Sequence[Assumption]
) -> Baseline:
    """Return the baseline that the rows of one site come to; the order of the rows means nothing."""
    receipt = newest_of(receipts, exports)
    counting = _counting(receipt, receipts, assumptions, {row.sequence: row.digest for row in exports})
    sent = {row.sequence: named(row.body) for row in exports}
    acknowledged = frozenset[str]() if receipt is None else receipt.holds
    assumed = _carried(sent, (row.sequence for row in counting)) - acknowledged
    words = {row.sequence: AssumedReceived(row.sequence, row.person, row.reason) for row in counting}
    return Baseline(
        acknowledged=acknowledged,
        assumed=assumed,
        exported=_carried(sent, sent) - acknowledged - assumed,
        receipt=None if receipt is None else receipt.digest,
        assumptions=tuple(words[sequence] for sequence in sorted(words)),
        bundles=tuple(
            Standing(
                sequence=row.sequence,
                bundle=row.bundle,
                state=_standing(row.sequence, receipt, words),
                bytes=sum(sent[row.sequence].carried.values()),
                made_at=row.made_at,
            )
            for row in sorted(exports, key=lambda row: row.sequence)
        ),
    )


def assume_received(
    work: Workplace, site: str, sequence: int, *, person: str, reason: str | None = None
) -> Assuming:
    """Record a person's word that `site` received a bundle of which no receipt came back.

    Args:
        reason: why the person believes so; None when the site read its code out: that is the reason then.

    Raises:
        NotFound: no such site.
        AssumptionRefused: no such bundle was made for it, no name, or neither a reason nor a spoken receipt.
    """
    with work.store.change(actor=work.actor, now=work.now) as change:
        before = baseline(change, site)
        row = next((row for row in change.exports(site) if row.sequence == sequence), None)
        if row is None:
            raise AssumptionRefused(site, sequence=sequence, problem="no such bundle was made here")
        if any(one.sequence == sequence and one.state is State.ACKNOWLEDGED for one in before.bundles):
            return Assuming(sequence, reason or "", already=True, acknowledged=True)
        why = _reason(change, row, person=person, reason=reason)
        if any(one.sequence == sequence for one in before.assumptions):
            return Assuming(sequence, why, already=True, acknowledged=False)
        word = Assumption(
            site=site,
            sequence=sequence,
            export=row.digest,
            person=person,
            reason=why,
            since=rfc3339(work.now),
            actor=work.actor,
        )
        note = {"site": site, "bundle": row.bundle, "person": person}
        change.record(EventKind.ASSUMED, row.digest, word, note=note)
    return Assuming(sequence, why, already=False, acknowledged=False)


def _counting(
    receipt: Receipt | None,
    rows: Sequence[ReceiptRow],
    assumptions: Iterable[Assumption],
    made: Mapping[int, str],
) -> list[Assumption]:
    """The assumptions that no receipt has replaced.

    A receipt replaces those of bundles up to its own, whether it names them or not: the site knew better. So it does
    with all that were made before it when it knows of fewer bundles than an earlier receipt: the site was restored
    from a backup, and nobody's word from before then is worth anything.
    """
    mine = [row for row in assumptions if made.get(row.sequence) == row.export]
    if receipt is None:
        return mine
    taken = next(row.taken_at for row in rows if row.digest == receipt.digest)
    earlier = [read(row.body.encode())[0] for row in rows if row.digest != receipt.digest]
    restored = any(not _covers(receipt, one) for one in earlier)
    return [
        row
        for row in mine
        if not receipt.arrived(row.sequence)
        and (row.since > taken or (row.sequence > receipt.highest and not restored))
    ]


def _covers(receipt: Receipt, earlier: Receipt) -> bool:
    """Say whether every bundle that had arrived then has arrived still."""
    return receipt.arrived(earlier.sequence) and all(
        any(run.start in mine and run.stop - 1 in mine for mine in receipt.sequences)
        for run in earlier.sequences
    )


def _carried(sent: Mapping[int, Named], sequences: Iterable[int]) -> frozenset[str]:
    return frozenset(blob for sequence in sequences for blob in sent[sequence].carried)


def _standing(sequence: int, receipt: Receipt | None, words: Mapping[int, AssumedReceived]) -> State:
    if receipt is not None and receipt.arrived(sequence):
        return State.ACKNOWLEDGED
    return State.ASSUMED if sequence in words else State.EXPORTED


def _reason(view: View, export: Export, *, person: str, reason: str | None) -> str:
    """Return the reason on one line, as the export document repeats it."""
    said = " ".join((reason or "").split())
    heard = any(
        row.export == export.digest and row.outcome == WHOLE for row in view.spoken_receipts(export.site)
    )
    problem = None
    if not (person.isprintable() and 1 <= len(person.strip()) <= _NAME):
        problem = f"the person's name must be on one line, at most {_NAME} characters"
    elif len(said) > _REASON or not said.isprintable():
        problem = f"the reason must be at most {_REASON:,} printable characters"
    elif not (said or heard):
        problem = "no reason was given, and the site read out no code that says so"
    if problem is not None:
        raise AssumptionRefused(export.site, sequence=export.sequence, problem=problem)
    return said or SPOKEN
