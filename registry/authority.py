"""Whose word put each person in force: the rows of people walked from the first, each held against who could sign then.

Pure. A row in the table is not enough to act: with a shell and the station's key anybody could append one, and the
log would carry it. So who may sign here is worked out anew each time, from the first row on:

1. While nobody here could ever sign as steward, a row needs no signature: the founding, recorded as such.
2. After that, a row needs signed decisions `set-person` about exactly this row: by one steward in a single-person
   home and while there was only one; by two, with two keys, as soon as there were two. Never by the person alone.
3. Or it stands so in a document of people that the origin signed, while this site follows that origin, and no newer
   edition has come in force here: an edition of before somebody left brings nobody back (`pipelines.people_ground`).
4. To take somebody out, one steward is enough: an error in this direction takes a right away and gives none.
5. Rows of before there was a choice carry no authority; those that the log told of before the home was upgraded to a
   release that asks for one count on (`Ground.unsigned`), until another row takes their place. No later one does.

A row that fails is passed over: what stood before it stands on. The number of stewards who ever were is what counts
in 2, so that sending others away leaves nobody with more power than before.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Any

from registry import people as documents
from registry.approvals import STEWARD
from registry.approvals import Person as Signer
from registry.decisions import ROLES, DecisionUnreadable, Kind, Request, authenticate
from registry.signed import NO_CARDS, CardIssuers, Signed
from signing.canonical import NotCanonical, canonical_bytes, parse_canonical
from signing.digests import sha256_hex
from signing.person_signature import (
    PersonSignatureUncheckable,
    PersonSignatureWrong,
    key_material,
    method_of,
)
from signing.times import from_rfc3339, rfc3339

FOUNDING = {"founding": True}
_MAX_AUTHORITY = 64 << 10  # bytes


@dataclass(frozen=True)
class Registered:
    """A row of the table of people, as `registry.entities.Person` holds it."""

    name: str
    position: int
    public_key: str
    roles: str  # comma-separated
    active: bool
    since: str
    until: str | None = None
    authority: str | None = None  # canonical JSON

    @property
    def method(self) -> str:
        """How this person signs, `ssh` or `piv`, as the key itself says."""
        return method_of(self.public_key)

    def acts(self, now: datetime) -> bool:
        """Whether this person may sign at a moment."""
        return self.active and (self.until is None or now < from_rfc3339(self.until))

    def details(self) -> dict[str, Any]:
        """What a `set-person` decision about this row says."""
        return {
            "position": self.position,
            "roles": sorted(self.roles.split(",")),
            "method": self.method,
            "public_key": self.public_key,
            "active": self.active,
            "until": self.until,
        }


@dataclass(frozen=True)
class Carried:
    """A document of people, and the origin that signed it: the caller has looked at the signatures."""

    root: str  # fingerprint of the root that the site was enrolled with
    body: bytes


@dataclass(frozen=True)
class Followed:
    """From when on an origin's people are followed, or no longer; said by who could say it then."""

    root: str
    since: str
    follow: bool


@dataclass(frozen=True)
class Ground:
    """What rows are held against."""

    home: str
    solo: bool  # one person holds every role, and their own word is enough
    decisions: tuple[Signed, ...] = ()  # of the kind `set-person`
    documents: tuple[
        Carried, ...
    ] = ()  # the documents of people that were taken in here and that an origin signed
    followed: tuple[Followed, ...] = ()  # in the order in which it was said
    cards: CardIssuers = NO_CARDS
    unsigned: frozenset[tuple[str, int]] = (
        frozenset()
    )  # name and position: of before rows carried an authority


@dataclass
class Standing:
    """Where the walk stands."""

    ground: Ground
    rows: dict[str, Registered] = field(default_factory=dict)  # the row of each person that counts now
    stewards: set[str] = field(default_factory=set)  # whoever could ever sign for others
    passed_over: list[tuple[Registered, str]] = field(default_factory=list)
    modern: bool = False  # a row that carries an authority was seen
    seen: Counter[str] = field(default_factory=Counter)  # rows of each person, passed over or not
    latest: str = (
        ""  # the latest moment of a row that gave a right: none after it is judged by an earlier one
    )
    editions: dict[str, int] = field(default_factory=dict)  # of each origin, the newest that a row rests on

    @property
    def founding(self) -> bool:
        """Whether nobody could ever have signed."""
        return not self.stewards

    @property
    def needed(self) -> int:
        """How many stewards have to sign what gives somebody a right."""
        return 1 if self.ground.solo else min(2, len(self.stewards))

    def acting(self, now: datetime) -> list[Registered]:
        """Who may sign at a moment, by name."""
        return [self.rows[name] for name in sorted(self.rows) if self.rows[name].acts(now)]

    def signers(self, now: datetime) -> list[Signer]:
        """The same people as decisions and approvals are judged by."""
        return [signer(row, solo=self.ground.solo) for row in self.acting(now)]

    def missing(self, row: Registered, names: Collection[str]) -> int:
        """How many signatures a row wants, after those of the people named."""
        if not row.active:
            return max(0, 1 - len(set(names)))
        alone = not self.ground.solo and not set(names) - {row.name}
        return max(self.needed - len(set(names)), int(alone))

    def take(self, row: Registered) -> None:
        """Go one row on; only the walk does."""
        self.seen[row.name] += 1
        why = self._refusal(row)
        self.modern = self.modern or row.authority is not None
        if why is not None:
            self.passed_over.append((row, why))
            return
        self.rows[row.name] = row
        self.latest = max(self.latest, row.since) if row.active else self.latest
        self._note_edition(row)
        if STEWARD in signer(row, solo=self.ground.solo).roles:
            self.stewards.add(row.name)

    def _refusal(self, row: Registered) -> str | None:
        """Why a row does not count; None when it does."""
        if not row.active and row.name in self.rows:
            return (
                None if self.rows[row.name].public_key == row.public_key else "changes the key as it ends it"
            )
        if row.position != self.seen[row.name]:  # else an old decision could make its row once more
            return "does not stand in its place"
        if row.authority is None:
            old = (row.name, row.position) in self.ground.unsigned and not self.modern
            return None if old else "nobody signed it"
        said = _read(row.authority)
        if said == FOUNDING:
            return None if self.founding else "was not signed, and there was somebody who could have"
        if "document" in said:
            return self._unsaid(row, said["document"])
        return self._unsigned(row, said.get("decisions"))

    def _unsigned(self, row: Registered, digests: Any) -> str | None:
        wanted = set(digests) if isinstance(digests, list) else set()
        found = [one for one in self.ground.decisions if one.digest in wanted]
        at = self._moment(row)  # whatever moment the row claims
        names = agreed(found, row, self.signers(at), self.ground, at=at)
        if missing := self.missing(row, names):
            return f"{missing} more signature(s) of stewards would have been needed"
        return None

    def _moment(self, row: Registered) -> datetime:
        return from_rfc3339(max(row.since, self.latest))

    def _unsaid(self, row: Registered, digest: Any) -> str | None:
        """Why a document does not put a row in force."""
        carried = _carried(self.ground, digest)
        said = None if carried is None else _document(carried.body)
        if carried is None or said is None:
            return "no document that an origin signed for says so"
        at = self._moment(row)
        states = [
            one.follow
            for one in self.ground.followed
            if one.root == carried.root and one.since <= rfc3339(at)
        ]
        if not states or not states[-1]:
            return "this home did not follow that origin's people"
        if said.version < self.editions.get(carried.root, 0):
            return "a newer edition has taken the place of that document"
        entry = next((one for one in said.people if one.name == row.name), None)
        key = entry.key(at) if entry is not None else None
        if entry is None or key is None or row.roles != ",".join(entry.roles):
            return "the document does not say so"
        return (
            None
            if (key.public_key, key.until) == (row.public_key, row.until)
            else "the document gives another key"
        )

    def _note_edition(self, row: Registered) -> None:
        carried = _carried(self.ground, _read(row.authority or "{}").get("document"))
        said = None if carried is None else _document(carried.body)
        if carried is not None and said is not None:
            self.editions[carried.root] = max(said.version, self.editions.get(carried.root, 0))


def signer(row: Registered, *, solo: bool) -> Signer:
    """A person as their signatures are judged. In a single-person home that person holds every role."""
    return Signer(
        name=row.name,
        public_key_line=row.public_key,
        roles=(*row.roles.split(","), *(ROLES if solo else ())),
        since=from_rfc3339(row.since),
    )


def walk(rows: Sequence[Registered], ground: Ground) -> Standing:
    """Return where the walk ends.

    Args:
        rows: all rows, in the order in which they were recorded.
    """
    return _walk(tuple(rows), ground)


@lru_cache(maxsize=8)  # a page of the gate asks for every pinned version
def _walk(rows: tuple[Registered, ...], ground: Ground) -> Standing:
    standing = Standing(ground)
    for row in rows:
        standing.take(row)
    return standing


def agreed(
    found: Sequence[Signed],
    row: Registered,
    signers: Sequence[Signer],
    ground: Ground,
    *,
    at: datetime | None = None,
) -> dict[str, str]:
    """Return who signed for exactly this row, each with the digest of their decision; one key counts once.

    Args:
        at: when their decisions have to stand; the row's own moment by default.
    """
    names: dict[str, str] = {}
    keys: set[str] = set()
    for one in found:
        request = authentic(one, signers, ground, at=at or from_rfc3339(row.since))
        if request is None or request.kind is not Kind.SET_PERSON or request.subject != row.name:
            continue
        if dict(request.details) != row.details() or request.person in names:
            continue
        line = next(who.public_key_line for who in signers if who.name == request.person)
        if (material := key_material(line)) not in keys:
            keys.add(material)
            names[request.person] = one.digest
    return names


def authentic(one: Signed, signers: Sequence[Signer], ground: Ground, *, at: datetime) -> Request | None:
    """Return what was decided, None when it did not stand at that moment."""
    try:
        request, _ = authenticate(one, signers, home=ground.home, now=at, cards=ground.cards)
    except (DecisionUnreadable, PersonSignatureWrong, PersonSignatureUncheckable):
        return None
    return request


def _read(authority: str) -> Mapping[str, Any]:
    try:
        said = parse_canonical(authority.encode(), max_bytes=_MAX_AUTHORITY, at="authority")
    except NotCanonical:
        return {}
    return said if isinstance(said, dict) else {}


def _carried(ground: Ground, digest: Any) -> Carried | None:
    return next((one for one in ground.documents if sha256_hex(one.body) == digest), None)


@lru_cache(maxsize=64)
def _document(body: bytes) -> documents.People | None:
    try:
        return documents.decode(body)
    except documents.PeopleRefused:
        return None


def authority(**said: Any) -> str:
    """How an authority is written into a row."""
    return canonical_bytes(said).decode()


def signed_by(row: Registered, people: Mapping[str, str]) -> str:
    """By whose word a row stands, for a person to read.

    Args:
        people: digest of each decision about people to who signed it.
    """
    if row.authority is None:
        return "nobody (before signatures)"
    said = _read(row.authority)
    if said == FOUNDING:
        return "nobody (founding)"
    if "document" in said:
        return f"the origin ({said.get('bundle', '?')})"
    return ", ".join(sorted({people.get(digest, "?") for digest in said.get("decisions", ())}))
