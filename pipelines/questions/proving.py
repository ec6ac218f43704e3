"""Every piece of evidence looked at again: is it still what was recorded, who signed it, and does the log hold it.

An answer that only repeats what a table says would be worth as much as the table. So each piece that an answer rests on
is proved while the question is answered: its bytes hash to the digest that it is named by, its signature is by the key
that was registered, and the event that recorded it is a leaf under the newest signed head.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, singledispatchmethod

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from securesystemslib.signer import Key

from pipelines.decide import card_issuers
from pipelines.enrol import origin_keys
from pipelines.evidence import PAYLOAD_TYPE
from pipelines.workplace import Workplace
from registry import approvals_payload, decisions
from registry.audit import Entry
from registry.entities import (
    Approval,
    ApprovalRequest,
    Decision,
    Document,
    Person,
    Report,
    Row,
    Statement,
    Version,
)
from registry.log_tree import LogTree
from registry.views import View
from signing import checkpoint, envelope, person_signature
from signing.canonical import NotCanonical
from signing.checkpoint import CheckpointSignatureWrong, CheckpointUnreadable
from signing.digests import sha256_hex
from signing.envelope import Envelope, SignatureUncheckable, SignatureWrong
from signing.errors import OperatorError
from signing.merkle import leaf_hash, verify_inclusion
from signing.person_signature import PersonSignature
from signing.times import from_rfc3339


@dataclass(frozen=True)
class Proof:
    """One piece of evidence as it stands now."""

    digest: str
    kind: (
        str  # scan report, suite report, statement, approval, rejection, decision, request, document, version
    )
    said: str  # what it is, in words
    signed_by: str  # person or home, with the key; empty for what is not signed by itself
    event: int | None  # that recorded it
    problems: tuple[str, ...]

    @property
    def verified(self) -> bool:
        """Whether it is what was recorded, signed as it says, and in the log."""
        return not self.problems

    def document(self) -> dict[str, object]:
        """The proof for programs."""
        return vars(self) | {"problems": list(self.problems), "verified": self.verified}

    def __str__(self) -> str:
        mark = "VERIFIED    " if self.verified else "NOT VERIFIED"
        by = f", signed by {self.signed_by}" if self.signed_by else ""
        event = f", event {self.event}" if self.event is not None else ""
        why = f": {'; '.join(self.problems)}" if self.problems else ""
        return f"{mark} {self.said} [{self.digest[:12]}]{by}{event}{why}"


@dataclass(frozen=True)
class _Found:
    """What one kind of piece says of itself."""

    kind: str
    said: str
    subjects: tuple[str, ...]  # whose events may have recorded it
    signed_by: str = ""
    problems: tuple[str, ...] = ()


class Prover:
    """Proves pieces of evidence from one view."""

    def __init__(self, work: Workplace, view: View) -> None:
        self._work, self._view = work, view
        self._entries: dict[str, list[Entry]] = {}
        self._proofs: dict[str, Proof] = {}

    def prove(self, digest: str) -> Proof:
        """Return what is known of a digest that an answer rests on. Never raises for what is wrong with it."""
        if digest not in self._proofs:
            row = self._view.kept(digest)
            self._proofs[digest] = self._missing(digest) if row is None else self._proved(digest, row)
        return self._proofs[digest]

    def signature(self, row: Approval | Decision) -> PersonSignature:
        """Check a person's signature with a key that was registered for them when they signed.

        Raises:
            PersonSignatureWrong, PersonSignatureUncheckable: no such key made it.
        """
        namespace = approvals_payload.NAMESPACE if isinstance(row, Approval) else decisions.NAMESPACE
        keys = [one for one in self._view.person_history(row.person) if one.since <= row.made_at]
        first: OperatorError | None = None
        for person in reversed(keys):
            try:
                return self._signature(row, namespace, person)
            except (
                person_signature.PersonSignatureWrong,
                person_signature.PersonSignatureUncheckable,
            ) as exc:
                first = first or exc
        raise first or person_signature.PersonSignatureWrong(f"{row.person} had no key here then")

    def in_log(self, position: int) -> str | None:
        """Return why the log's newest head does not hold an event, None if it does."""
        tree = self._tree
        if isinstance(tree, str):
            return tree
        leaf = self._view.event(position).leaf.encode()
        try:
            held = verify_inclusion(
                leaf_hash(leaf),
                index=position,
                size=tree.size,
                proof=tree.inclusion(position, tree.size),
                root=self._root,
            )
        except NotCanonical as refusal:
            return str(refusal)
        return None if held else f"event {position} is not in the log that was signed"

    def _signature(self, row: Approval | Decision, namespace: str, person: Person) -> PersonSignature:
        cards = card_issuers(self._work, self._view)
        return person_signature.verify(
            row.signature,
            row.payload.encode(),
            namespace=namespace,
            public_key=person.public_key,
            at=from_rfc3339(row.made_at),
            anchors=cards.anchors,
            crls=cards.crls,
        )

    def _missing(self, digest: str) -> Proof:
        return Proof(digest, "unknown", "not held here", "", None, ("nothing is recorded under this digest",))

    def _proved(self, digest: str, row: Row) -> Proof:
        found = self._look(row)
        event = next(self._recording(digest, found.subjects), None)
        problems = list(found.problems)
        if event is None:
            problems.append("no event recorded it")
        elif (why := self.in_log(event)) is not None:
            problems.append(why)
        return Proof(digest, found.kind, found.said, found.signed_by, event, tuple(problems))

    def _recording(self, digest: str, subjects: Sequence[str]) -> Iterator[int]:
        for subject in dict.fromkeys(subjects):
            if subject not in self._entries:
                self._entries[subject] = self._view.events(subject=subject)
            for entry in self._entries[subject]:
                if any(content.get("digest") == digest for _label, content in entry.rows):
                    yield entry.position

    @cached_property
    def _root(self) -> bytes:
        head = self._view.head()
        return bytes.fromhex(head.root) if head else b""

    @cached_property
    def _tree(self) -> LogTree | str:
        """The log under its newest head, or what is wrong with that head."""
        head = self._view.head()
        if head is None:
            return "the log has no signed head"
        name = f"tidegate/{self._work.home.name}"
        public = Ed25519PublicKey.from_public_bytes(bytes.fromhex(self._station.keyval["public"]))
        try:
            signed = checkpoint.verify(head.note, checkpoint.verifier_key(name, public))
        except (CheckpointSignatureWrong, CheckpointUnreadable) as refusal:
            return str(refusal)
        if (signed.size, signed.root) != (head.size, self._root):
            return "the newest head was signed over another log"
        return LogTree(self._view, head.size)

    @property
    def _station(self) -> Key:
        return self._work.station.public_key

    @cached_property
    def _homes(self) -> dict[str, Key]:
        """Keys that sign statements: this home's, and those of the origins whose bundles were accepted here."""
        return {**origin_keys(self._view), self._station.keyid: self._station}

    @singledispatchmethod
    def _look(self, row: Row) -> _Found:
        raise AssertionError(f"nothing is named by digest in {row.label}")

    @_look.register
    def _(self, row: Report) -> _Found:
        suite = self._view.document_by_digest(row.suite or "")
        kind = "scan report" if row.kind == "scan" else f"report of suite {suite.name if suite else '?'}"
        said = f"{kind}: {row.outcome}, {row.made_at} by {row.made_by}"
        problems = _hashed(row.body, row.digest)
        signed_by = ""
        if row.statement is not None:
            statement = self._view.statement(row.statement)
            if statement is None:
                problems = (*problems, "its signed statement is gone")
            else:
                look = self._look(statement)
                signed_by, problems = look.signed_by, (*problems, *look.problems)
                if row.digest not in statement.payload and row.kind != "evidence":
                    problems = (*problems, "its signed statement names another report")
        return _Found("report", said, (row.version, row.digest), signed_by, problems)

    @_look.register
    def _(self, row: Statement) -> _Found:
        said = f"statement {row.predicate}, {row.made_at}"
        problems = _hashed(row.payload, row.digest)
        subjects = (row.subject, row.digest)
        try:
            keyid = envelope.verify(
                row.payload.encode(),
                Envelope.from_json(row.signature.encode()),
                self._homes,
                payload_type=PAYLOAD_TYPE,
            )
        except (SignatureWrong, SignatureUncheckable, NotCanonical) as refusal:
            return _Found("statement", said, subjects, "", (*problems, str(refusal)))
        whose = "this home" if keyid == self._station.keyid else "its origin"
        return _Found("statement", said, subjects, f"{whose} (key {keyid[:12]})", problems)

    @_look.register
    def _(self, row: Approval) -> _Found:
        kind = "rejection" if row.decision == approvals_payload.REJECT else "approval"
        said = f"{kind} by {row.person} for {row.tier}, {row.made_at}"
        return self._signed(row, kind, said, (row.version,))

    @_look.register
    def _(self, row: Decision) -> _Found:
        said = f"decision {row.kind} by {row.person}, {row.made_at}"
        return self._signed(row, "decision", said, (row.subject, row.digest))

    @_look.register
    def _(self, row: ApprovalRequest) -> _Found:
        said = f"request by {row.requested_by} for {row.tier}, {row.since}"
        return _Found("request", said, (row.version, row.digest), "", _hashed(row.body, row.digest))

    @_look.register
    def _(self, row: Document) -> _Found:
        said = f"{row.kind} {row.name}, taken in {row.added_at} by {row.added_by}"
        return _Found("document", said, (row.digest,), "", _hashed(row.body, row.digest))

    @_look.register
    def _(self, row: Version) -> _Found:
        said = f"{row.model}@{row.ordinal}, taken in {row.added_at} by {row.added_by}"
        return _Found("version", said, (row.digest,), "", _hashed(row.manifest, row.digest))

    def _signed(self, row: Approval | Decision, kind: str, said: str, subjects: tuple[str, ...]) -> _Found:
        problems = _hashed(row.payload, row.digest)
        try:
            made = self.signature(row)
        except (
            person_signature.PersonSignatureWrong,
            person_signature.PersonSignatureUncheckable,
        ) as refusal:
            return _Found(kind, said, subjects, "", (*problems, str(refusal)))
        return _Found(kind, said, subjects, f"{row.person} ({described(made)})", problems)


def described(made: PersonSignature) -> str:
    """How a signature was made, in words: its key, and whether a token was touched and given its PIN."""
    how = [made.fingerprint, "hardware key" if made.hardware else "key in a file"]
    how += [word for word, true in (("touched", made.touched), ("PIN given", made.pin_given)) if true]
    return ", ".join(how)


def _hashed(text: str, digest: str) -> tuple[str, ...]:
    return () if sha256_hex(text.encode()) == digest else ("its bytes are not what was recorded",)
