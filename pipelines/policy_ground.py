"""Which policy each tier truly keeps to: the log's policies walked from the first, each held against who signed for it.

Apart from `pipelines.policies`, which puts policies in force: here nothing is believed that only stands in a table. With
SQL and the station's key anybody could append the policy that asks nobody. So a tier's policy counts where

1. it was written down while nobody here could ever sign as steward: the founding; or
2. it is what a policy file of this home says for the tier, and as many stewards signed exactly this file as its being
   put in force took, each since the policy before it.

A policy that fails is passed over, and the one before it stands on: nothing serves otherwise, and nobody is spared.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from pipelines.people_ground import ground, registered, signed
from pipelines.workplace import Workplace
from registry import authority, policy, tiers_file
from registry.audit import Entry, EventKind
from registry.authority import Ground, Registered
from registry.decisions import Kind
from registry.entities import Decision, Person, TierPolicy
from registry.errors import DocumentRefused, NameUnusable, NotFound
from registry.policy import Policy
from registry.views import View
from signing.canonical import NotCanonical
from signing.person_signature import key_material
from signing.times import from_rfc3339, rfc3339

KIND = "policy"  # a document of this home: a policy file, word for word
_TOLD = (EventKind.TIER_SET, EventKind.POLICY_ADDED, EventKind.PERSON_SET, EventKind.PEOPLE_TAKEN)


@dataclass
class Walked:
    """Where the walk stands."""

    standing: dict[str, Policy] = field(default_factory=dict)
    positions: dict[str, int] = field(default_factory=dict)  # of these rows
    since: str = ""  # when the newest of them was put in force
    passed_over: list[str] = field(default_factory=list)


def standing(work: Workplace, view: View, tier: str) -> TierPolicy:
    """The row of a tier's policy that counts. Raises `NotFound` for a tier that is not there."""
    counts = walked(work, view).positions.get(tier)
    for row in view.tier_history(tier):
        if row.position == counts:
            return row
    raise NotFound("tier", tier)


def walked(work: Workplace, view: View) -> Walked:
    """Walk every policy that the log tells of."""
    return _Walk(work, view).done


class _Walk:
    def __init__(self, work: Workplace, view: View) -> None:
        self.solo = work.home.profile == "solo"
        self.view, self.done = view, Walked()
        self.people: list[
            Registered
        ] = []  # as the log told of them so far: a row that it does not know shifts none
        self.ground: Ground = ground(work, view)
        self.recorded = {(row.name, row.position): row for row in view.people_recorded()}
        self.files = {row.digest: row.body for row in view.documents(KIND)}
        self.rows = {
            (row.tier, row.position): row for tier in view.tiers() for row in view.tier_history(tier.tier)
        }
        told = [entry for kind in _TOLD for entry in view.events(kind=str(kind))]
        for entry in sorted(told, key=lambda one: one.position):
            self._take(entry)

    def _take(self, entry: Entry) -> None:
        for said in (said for label, said in entry.rows if label == Person.label):
            row = self.recorded.get((said["name"], said["position"]))
            self.people += [registered(row)] if row is not None and row.content() == said else []
        rows = [said for label, said in entry.rows if label == TierPolicy.label]
        if not rows:
            return
        stewards = authority.walk(self.people, self.ground)
        at = from_rfc3339(max(entry.at, self.done.since))
        wanted = self._read(rows)
        why = "the table has it otherwise" if wanted is None else None
        if wanted is not None and not stewards.founding:
            why = self._unsigned(entry.subject, wanted, stewards, at)
        if why is None and wanted is not None:
            self.done.standing |= {rules.tier: rules for rules in wanted}
            self.done.positions |= {said["tier"]: said["position"] for said in rows}
            self.done.since = max([self.done.since, *(said["since"] for said in rows)])
            return
        for said in rows:
            place = f"policy {said['position']} of {said['tier']}"
            self.done.passed_over.append(f"{place} (event {entry.position}) does not count: {why}")

    def _read(self, rows: Sequence[Mapping[str, Any]]) -> list[Policy] | None:
        """The policies that an event recorded, from the table, which has their whole text; None if it has others."""
        held = [self.rows.get((said["tier"], said["position"])) for said in rows]
        try:
            found = [policy.decode(row.body.encode()) for row in held if row is not None]
        except (DocumentRefused, NameUnusable, NotCanonical):
            return None
        same = all(
            row is not None and row.content() == said and rules.tier == row.tier
            for row, said, rules in zip(held, rows, found, strict=False)
        )
        return found if same and len(found) == len(rows) else None

    def _unsigned(
        self, digest: str, wanted: Sequence[Policy], stewards: authority.Standing, at: datetime
    ) -> str | None:
        """Why policies do not count; None when they do."""
        if (file := self._file(digest)) is None:
            return "no policy file that is held here says so"
        if any(file.get(rules.tier) != rules for rules in wanted):
            return "the policy file says otherwise"
        needed, names, keys = self._needed(wanted, stewards), set(), set()
        for person, line in self._signers(digest, stewards, at):
            names.add(person)
            keys.add(key_material(line))
        have = min(len(names), len(keys))
        return (
            None
            if have >= needed
            else f"{needed - have} more signature(s) of stewards would have been needed"
        )

    def _file(self, digest: str) -> dict[str, Policy] | None:
        try:
            return {rules.tier: rules for rules in tiers_file.read(self.files[digest])}
        except (KeyError, DocumentRefused, NameUnusable, NotCanonical):
            return None

    def _signers(self, digest: str, stewards: authority.Standing, at: datetime) -> Iterator[tuple[str, str]]:
        people = stewards.signers(at)
        ended = {
            row.subject for row in self.view.decisions(str(Kind.REVOKE)) if self._stands(row, stewards, at)
        }
        for row in self.view.decisions(str(Kind.APPLY_POLICY), digest):
            since = self._stands(row, stewards, at)
            if since is not None and rfc3339(since) >= self.done.since and row.digest not in ended:
                yield row.person, next(one.public_key_line for one in people if one.name == row.person)

    def _stands(self, row: Decision, stewards: authority.Standing, at: datetime) -> datetime | None:
        """When a decision was made that stood at a moment; None for one that did not."""
        request = authority.authentic(signed(row), stewards.signers(at), self.ground, at=at)
        same = request is not None and (str(request.kind), request.subject) == (row.kind, row.subject)
        return request.issued_at if request is not None and same else None

    def _needed(self, wanted: Sequence[Policy], stewards: authority.Standing) -> int:
        return signers_needed(self.done.standing, wanted, len(stewards.stewards), solo=self.solo)


def signers_needed(now: Mapping[str, Policy], wanted: Sequence[Policy], stewards: int, *, solo: bool) -> int:
    """How many stewards sign a policy file: one; as many as it would spare where it asks less of people.

    Args:
        stewards: how many there ever were, also those who were sent away: that spares nobody a signature.
    """

    def kept(rules: Policy) -> Policy:
        return policy.for_one_person(rules) if solo else rules

    spared = [
        kept(now[rules.tier]).approvals
        for rules in wanted
        if rules.tier in now and policy.asks_less_of_people(kept(now[rules.tier]), kept(rules))
    ]
    return max(1, min(max(spared, default=1), stewards))
