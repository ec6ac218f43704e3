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
from pipelines.receipts import Heading, heading, proved, read
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
    lacking: int  # of an acknowledged one: its blobs that the site does not hold (yet, or any more)
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
    restored: bool = (
        False  # the newest receipt knows of fewer bundles than one before: the site lost its memory
    )

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
    headings = sorted(map(heading, receipts), key=lambda one: one.age)
    newest = headings[-1] if headings else None
    restored = newest is not None and not all(newest.arrivals.cover(one.arrivals) for one in headings)
    made = {row.sequence: row.digest for row in exports}
    counting = _counting(newest, assumptions, made, restored=restored)
    words = {row.sequence: AssumedReceived(row.sequence, row.person, row.reason) for row in counting}
    sent = {row.sequence: named(row.body) for row in exports}
    acknowledged = frozenset[str]()
    if newest is not None:
        acknowledged = proved(read(newest.row.body.encode())[0], exports).holds
    assumed = _carried(sent, words) - acknowledged
    return Baseline(
        acknowledged=acknowledged,
        assumed=assumed,
        exported=_carried(sent, sent) - acknowledged - assumed,
        receipt=None if newest is None else newest.digest,
        assumptions=tuple(words[sequence] for sequence in sorted(words)),
        bundles=tuple(
            _standing(row, sent[row.sequence], newest, words, acknowledged)
            for row in sorted(exports, key=lambda row: row.sequence)
        ),
        restored=restored,
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
    newest: Heading | None, assumptions: Iterable[Assumption], made: Mapping[int, str], *, restored: bool
) -> list[Assumption]:
    """The assumptions that no receipt has replaced: one that the site wrote after they were said knows better.

    A receipt replaces those of bundles up to its own, whether it names them or not: the site knew better. So it does
    with all that were said before it when the site was restored: nobody's word from before then is worth anything.
    """
    mine = [row for row in assumptions if made.get(row.sequence) == row.export]
    if newest is None:
        return mine
    return [
        row
        for row in mine
        if row.sequence not in newest.arrivals
        and (
            row.since > newest.row.taken_at
            or (row.sequence > newest.arrivals.highest and row.since > newest.made_at and not restored)
        )
    ]


def _carried(sent: Mapping[int, Named], sequences: Iterable[int]) -> frozenset[str]:
    return frozenset(blob for sequence in sequences for blob in sent[sequence].carried)


def _standing(
    row: Export,
    sent: Named,
    newest: Heading | None,
    words: Mapping[int, AssumedReceived],
    acknowledged: frozenset[str],
) -> Standing:
    arrived = newest is not None and row.sequence in newest.arrivals
    state = State.ASSUMED if row.sequence in words else State.EXPORTED
    return Standing(
        sequence=row.sequence,
        bundle=row.bundle,
        state=State.ACKNOWLEDGED if arrived else state,
        bytes=sum(sent.carried.values()),
        lacking=len(frozenset(sent.carried) - acknowledged) if arrived else 0,
        made_at=row.made_at,
    )


def _reason(view: View, export: Export, *, person: str, reason: str | None) -> str:
    """Return the reason on one line, as the export document repeats it."""
    said = " ".join((reason or "").split())
    codes = [row.outcome for row in view.spoken_receipts(export.site) if row.export == export.digest]
    heard = codes[-1:] == [WHOLE]  # what the site read out last
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
