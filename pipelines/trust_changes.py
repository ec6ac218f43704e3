"""A ceremony is put in force at its origin: the trust is published and the log says what changed and who signed.

The record is written in the same step as the trust is saved, the trust first: if the process dies in between, the same
ceremony can be published again, changes nothing more, and is recorded then.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from pipelines.handover import keep_published
from pipelines.people_carried import current
from pipelines.shipment_words import demand_publishable, words
from pipelines.workplace import Workplace
from registry import people
from registry.audit import EventKind
from registry.entities import Document
from registry.errors import NotFound
from registry.store import Change
from registry.views import View
from signing import drafts
from signing.digests import sha256_hex
from signing.drafts import CeremonyUnusable, Draft, PartialSignature
from signing.durable import write_durably
from signing.profiles import person_of
from signing.repository import TrustRepository, TrustState
from signing.roots import PEOPLE_PATH
from signing.times import rfc3339

_LINES = 100  # of the words that the log keeps; the documents themselves stay in the trust folder


@dataclass(frozen=True)
class Published:
    """A ceremony in force."""

    state: TrustState
    signers: Mapping[str, tuple[str, ...]]  # role to who signed, as recorded
    again: bool  # it was in force before


def held(work: Workplace) -> TrustState:
    """Return what this origin publishes now: an empty state before its first ceremony."""
    return held_at(TrustRepository(work.home.trust))


def held_at(repository: TrustRepository) -> TrustState:
    """Return the repository's state, an empty one when nothing was ever published there."""
    return repository.load() if (repository.path / "1.root.json").exists() else TrustState(())


def people_to_sign(work: Workplace) -> bytes:
    """Return the next edition of who the people of this origin are. Raises `NotFound`: nobody is registered."""
    with work.store.view() as view:
        held = [
            people.decode(row.body.encode()).version
            for row in view.documents(people.KIND)
            if row.name == work.home.name
        ]
        new = current(work, view, version=max(held, default=0) + 1)
    if not new.people:
        raise NotFound("person", "anybody")
    return people.encode(new)


def put_in_force(work: Workplace, draft: Draft, signatures: Collection[PartialSignature]) -> Published:
    """Verify every signature and every count, publish under the station's snapshot and timestamp, record it.

    Raises:
        CeremonyUnusable: another origin's, its trust has moved on, or its documents do not fit together.
        UnsignedBundleRefused: the number of a bundle that it publishes is taken, or a version was withdrawn since.
        PeopleRefused: the list of people that it publishes is none.
        BadRoot, PartialSignatureRefused, TooFewSigners: as `drafts.finish`; nothing was changed then.
        HomeBusy: a bundle is made at this moment.
    """
    if (draft.origin, str(draft.profile)) != (work.home.name, work.home.profile):
        raise CeremonyUnusable(
            "ceremony.json", f"is of {draft.origin} ({draft.profile}), not of {work.home.name}"
        )
    if PEOPLE_PATH in draft.payloads:
        people.decode(draft.payloads[PEOPLE_PATH])
    repository = TrustRepository(work.home.trust)
    with work.home.busy("export"), work.store.change(actor=work.actor, now=work.now) as change:
        state = held_at(repository)
        demand_publishable(work, change, state, draft)
        again = drafts.in_force(draft, state)
        if not again:
            state = drafts.finish(draft, state, signatures, work.publishers, now=work.now)
            repository.save(state)
        signers = _signers(draft, signatures)
        _keep(work, draft, change)
        note = {
            "kind": draft.kind,
            "changes": words(draft)[:_LINES],
            "signed": {role: list(who) for role, who in signers.items()},
        }
        subject = sha256_hex(state.metadata["targets"])
        if not (again and _recorded(change, subject, note)):
            change.record(EventKind.TRUST_CHANGED, subject, note=note)
    return Published(state, signers, again)


def _recorded(view: View, subject: str, note: Mapping[str, Any]) -> bool:
    """Whether the log tells of these very changes; who signed may have become more since."""
    said = [entry.note for entry in view.events(subject=subject, kind=EventKind.TRUST_CHANGED)]
    return any((one.get("kind"), one.get("changes")) == (note["kind"], note["changes"]) for one in said)


def _signers(draft: Draft, signatures: Collection[PartialSignature]) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for count in drafts.waiting(draft, signatures):
        who = {person_of(count.keys[keyid]) or keyid[:12] for keyid in count.signed}
        found[count.role] = tuple(sorted(who | set(found.get(count.role, ()))))
    return found


def _keep(work: Workplace, draft: Draft, change: Change) -> None:
    """Keep what was signed where the next bundle takes it from: releases, exports, the list of people."""
    keep_published(work, {path: data for path, data in draft.payloads.items() if path != PEOPLE_PATH})
    data = draft.payloads.get(PEOPLE_PATH)
    if data is None:
        return
    place = work.home.trust / PEOPLE_PATH
    place.parent.mkdir(parents=True, exist_ok=True)
    write_durably(place, data)
    row = Document(
        digest=sha256_hex(data),
        kind=people.KIND,
        name=work.home.name,
        body=data.decode(),
        added_at=rfc3339(work.now),
        added_by=work.actor,
    )
    if change.document_by_digest(row.digest) is None:
        change.record(EventKind.TRUST_CHANGED, row.digest, row, note={"people": people.decode(data).version})
