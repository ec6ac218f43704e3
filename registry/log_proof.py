"""One event shown to somebody who has no access here: its place in the signed log, and as much of it as is opened.

The proof carries the leaf, in which names and free text stand as salted digests. What opens them is a file of its
own, so that whoever shows an event decides value by value what is read.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from registry import salted
from registry.errors import NotFound, RegistryRefusal
from registry.log_tree import LogTree
from registry.salted import Opening
from registry.views import View
from signing import cosignature
from signing.canonical import NotCanonical, parse, parse_canonical
from signing.checkpoint import Checkpoint
from signing.tlog_proof import TlogProof

MAX_OPENINGS = 4 << 20  # bytes
_MAX_LEAF = 1 << 20  # bytes; of an older release


class ProofWrong(RegistryRefusal):
    """A proof that does not show what it should: the event does not stand there under the head that was signed."""

    exit_code: ClassVar[int] = 248
    next_step: ClassVar[str] = (
        "Believe nothing that this file says. Ask for a new proof of the event, and for the log's key by another way."
    )

    def __init__(self, index: int, problem: str) -> None:
        super().__init__(f"proof of event {index}: {problem}")
        self.index, self.problem = index, problem


class OpeningWrong(RegistryRefusal):
    """A value that was given as what stands salted in an event, and is not what was recorded."""

    exit_code: ClassVar[int] = 249
    next_step: ClassVar[str] = (
        "Believe none of the opened values. Ask whoever showed the event for its openings again."
    )

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem


@dataclass(frozen=True)
class Shown:
    """An event whose place in the log was proved."""

    event: Mapping[str, Any]  # the leaf, with what was opened in place
    head: Checkpoint
    closed: tuple[str, ...]  # JSON pointers of what stays a digest
    witnesses: tuple[tuple[str, int], ...]  # (name, POSIX seconds) of cosignatures that were checked and hold


def prove(view: View, position: int) -> TlogProof:
    """Return the proof of an event, under the newest head that another home cosigned, else under the newest.

    Raises:
        NotFound: no such event.
    """
    leaf = view.event(position).leaf.encode()
    newest = view.head()
    covering = [(row.size, row.note) for row in view.cosigned() if row.size > position]
    if newest is None or (newest.size <= position and not covering):
        raise NotFound("signed head over event", str(position))
    size, note = covering[-1] if covering else (newest.size, newest.note)
    return TlogProof(position, LogTree(view, size).inclusion(position), note, leaf)


def openings(view: View, position: int, pointers: Sequence[str]) -> list[Opening]:
    """Return what opens these values of an event.

    Raises:
        NotFound: no such event, or nothing salted at one of the places.
    """
    text = view.event(position).openings
    found = parse_canonical((text or "[]").encode(), max_bytes=MAX_OPENINGS, at=f"event {position}.openings")
    known = {opening[0]: opening for opening in found}
    for pointer in pointers:
        if pointer not in known:
            raise NotFound(f"salted value (there are {', '.join(sorted(known)) or 'none'}) at", pointer)
    return [known[pointer] for pointer in pointers]


def check(
    proof: TlogProof, key: str, *, opened: Sequence[Opening] = (), witnesses: Sequence[str] = ()
) -> Shown:
    """Return the event that a proof shows, if everything about it holds.

    Args:
        key: the log's verifier key, had by another way than the proof.
        opened: what somebody gave as the event's salted values.
        witnesses: verifier keys of homes that must have cosigned the head.

    Raises:
        ProofWrong, OpeningWrong: as named.
        CheckpointUnreadable, CheckpointSignatureWrong: the head, or a cosignature.
    """
    if proof.extra is None:
        raise ProofWrong(proof.index, "it does not hold the event")
    head = proof.proves(proof.extra, key)
    if head is None:
        raise ProofWrong(proof.index, "the event does not stand there in the log that was signed")
    try:
        event = parse(proof.extra, max_bytes=_MAX_LEAF, at="event")
        event = salted.unseal(event, list(opened))
    except NotCanonical as exc:
        raise OpeningWrong(str(exc)) from exc
    seen = tuple(
        (witness.partition("+")[0], cosignature.verify(proof.note, witness)) for witness in witnesses
    )
    return Shown(event, head, tuple(salted.salted_places(event)), seen)


def read_openings(data: bytes) -> list[Opening]:
    """Read a file of openings. Raises `OpeningWrong`."""
    try:
        found = parse(data, max_bytes=MAX_OPENINGS, at="openings")
    except NotCanonical as exc:
        raise OpeningWrong(str(exc)) from exc
    if not isinstance(found, list):
        raise OpeningWrong("openings: not a list")
    return found
