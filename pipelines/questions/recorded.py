"""Which event recorded a row, whether the row still says what was recorded, and whether the signed log holds that event.

A table can be edited by whoever has a shell; a leaf under the signed head cannot. So every row that an answer rests on
is looked up among the events about its subject and compared word for word. Only those events are read, never the log
from end to end: the same question costs the same on a large home.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from pipelines import bom
from pipelines.workplace import Workplace
from registry.audit import Entry, EventKind
from registry.entities import Claim, Document, Person, Receipt, Row, Statement, TierPolicy
from registry.errors import NotFound, RegistryRefusal
from registry.log_tree import LogTree, log_name
from registry.names import Ref
from registry.views import View
from signing import checkpoint, statements, summaries
from signing.canonical import NotCanonical, parse
from signing.checkpoint import CheckpointSignatureWrong, CheckpointUnreadable
from signing.merkle import leaf_hash, verify_inclusion

_BYTES = 16 << 20
# Fields of which each names what the event that recorded a row may have been about.
_SUBJECTS = ("version", "subject", "digest", "export", "tier", "name", "site", "log", "root", "fingerprint")
# Fields that say which row it is, of two with the same label; the first set that a row has.
_NAMES = (("digest",), ("tier", "model", "position"), ("name", "position"), ("tier", "position"))


@dataclass(frozen=True)
class Trace:
    """Where a row stands in the log."""

    event: int | None  # that recorded it, or that recorded what it was before somebody edited it
    problem: str | None  # None: it says what was recorded, and the signed log holds that


class Recorded:
    """Looks rows up in the log, from one view."""

    def __init__(self, work: Workplace, view: View) -> None:
        self._work, self._view = work, view
        self._read: dict[tuple[str, str], list[Entry]] = {}
        self._problems: list[str] = []  # of events that cannot be read
        self._places: dict[tuple[str, object], int | None] = {}

    def trace(self, row: Row) -> Trace:
        """Return where a row stands in the log. Never raises for what is wrong with either."""
        content, edited = row.content(), None
        name = _name_of(content)
        for entry in self._about(row):
            for label, said in entry.rows:
                if label == row.label and said == content:
                    return Trace(entry.position, self.lacks(entry.position))
                if label == row.label and edited is None and _name_of(said) == name:
                    edited = Trace(entry.position, _changed(said, content, entry.position))
        return edited or Trace(None, "; ".join(["no event recorded it", *self._problems[:1]]))

    def place(self, row: Row) -> int | None:
        """Return the event that recorded a row word for word; None if none did. The signed head is not looked at."""
        key = (row.label, getattr(row, "id", None))
        if key not in self._places:
            content = row.content()
            told = (one.position for one in self._about(row) if (row.label, content) in one.rows)
            self._places[key] = next(told, None)
        return self._places[key]

    def lacks(self, position: int) -> str | None:
        """Return why the log's newest head does not hold an event, None if it does."""
        if isinstance(self._tree, str):
            return self._tree
        tree, root = self._tree
        try:
            leaf = leaf_hash(self._view.event(position).leaf.encode())
            path = tree.inclusion(position, tree.size)
        except (NotCanonical, IndexError) as refusal:
            return f"event {position} is not under the signed head: {refusal}"
        held = verify_inclusion(leaf, index=position, size=tree.size, proof=path, root=root)
        return None if held else f"event {position} is not in the log that was signed"

    def entries(self, *, subject: str | None = None, kind: EventKind | None = None) -> list[Entry]:
        """Return the events about a subject, or of a kind; none where they cannot be read, which is remembered."""
        asked = (subject or "", str(kind or ""))
        if asked not in self._read:
            try:
                self._read[asked] = self._view.events(subject=subject, kind=str(kind) if kind else None)
            except NotCanonical as refusal:
                self._read[asked] = []
                self._problems.append(f"an event about it cannot be read: {refusal}")
        return self._read[asked]

    def removed(
        self, label: str, entries: Iterable[Entry], rows: Iterable[Row]
    ) -> list[tuple[int, Mapping[str, Any]]]:
        """Return (event, content) of each row that events recorded and that the table does not have any more."""
        here = {_name_of(row.content()) for row in rows}
        return [
            (entry.position, said)
            for entry in entries
            for told, said in entry.rows
            if told == label and _name_of(said) not in here
        ]

    def _about(self, row: Row) -> Iterator[Entry]:
        seen: set[str] = set()
        for subject in self._subjects(row):  # one after the other: mostly the first is the one
            if subject not in seen:
                seen.add(subject)
                yield from self.entries(subject=subject)
        if isinstance(row, TierPolicy) or (isinstance(row, Document) and row.kind == "policy"):
            yield from self.entries(kind=EventKind.POLICY_ADDED)
        elif isinstance(row, Person):
            yield from self.entries(kind=EventKind.PEOPLE_TAKEN)
        elif isinstance(row, Receipt):
            yield from self.entries(kind=EventKind.RECEIPT_TAKEN)

    def _subjects(self, row: Row) -> Iterator[str]:
        for name in _SUBJECTS:
            value = getattr(row, name, None)
            if isinstance(value, str):
                yield value
        if isinstance(row, Statement):
            yield from self._exports(row)
        elif isinstance(row, Claim):
            yield from self._brought_by(row.bundle)
        elif isinstance(row, Document) and row.kind == bom.KIND:
            try:
                yield self._view.version(Ref.parse(row.name)).digest
            except (NotFound, RegistryRefusal):
                return

    def _exports(self, row: Statement) -> Iterator[str]:
        """Export documents with which a statement was recorded: its own, or of the bundles that brought it."""
        if row.predicate in (statements.IMPORT, summaries.EXPORT):
            try:
                yield parse(row.payload.encode(), max_bytes=_BYTES, at="statement")["predicate"]["export"][
                    "sha256"
                ]
            except (NotCanonical, KeyError, TypeError):
                return
        for bundle in dict.fromkeys(claim.bundle for claim in self._view.claims(row.subject)):
            yield from self._brought_by(bundle)

    def _brought_by(self, bundle: str) -> Iterator[str]:
        found = self._view.import_of(bundle)
        if found is not None:
            yield found.digest

    @cached_property
    def _tree(self) -> tuple[LogTree, bytes] | str:
        """The log under its newest head and that head's root, or what is wrong with the head."""
        head = self._view.head()
        if head is None:
            return "the log has no signed head"
        public = Ed25519PublicKey.from_public_bytes(
            bytes.fromhex(self._work.station.public_key.keyval["public"])
        )
        try:
            signed = checkpoint.verify(
                head.note, checkpoint.verifier_key(log_name(self._work.home.name), public)
            )
        except (CheckpointSignatureWrong, CheckpointUnreadable) as refusal:
            return f"the newest head: {refusal}"
        if (signed.size, signed.root.hex()) != (head.size, head.root):
            return "the newest head was signed over another log"
        return LogTree(self._view, head.size), signed.root


def _name_of(content: Mapping[str, Any]) -> tuple[object, ...]:
    """Which row it is, edited or not."""
    for names in _NAMES:
        if all(name in content for name in names):
            return tuple(content[name] for name in names)
    return tuple(sorted((name, str(value)) for name, value in content.items()))


def _changed(said: Mapping[str, Any], content: Mapping[str, Any], event: int) -> str:
    fields = sorted(name for name in {*said, *content} if said.get(name) != content.get(name))
    shown = ", ".join(
        f"{name} is {_brief(content.get(name))}, recorded was {_brief(said.get(name))}" for name in fields
    )
    return f"edited after event {event}: {shown}"


def _brief(value: Any) -> str:
    text = "nothing" if value is None else str(value)
    return text if len(text) <= 40 else f"{text[:24]}…"
