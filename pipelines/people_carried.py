"""People who travel: an origin's document of who may sign, published, carried by every bundle and taken in at a site.

The document is signed by the origin's targets role and verified by the trust walk before anything here reads it. Two
directions, two rules. What takes a right away acts at once at every site: a key that the origin says is no longer
good signs nowhere, whoever registered it. What gives a right acts only where the site said that it follows its
origin's people: stewards signed for it (`follow-origin`), or nobody was registered yet who could have.

People whom this site's own stewards registered or took out are theirs: a document changes neither their key nor
their roles, and brings nobody back whom they took out.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipelines.decide import people
from pipelines.people_following import enrolled_root, follows, home_document
from pipelines.people_ground import registered
from pipelines.workplace import Workplace
from registry import authority
from registry import people as documents
from registry.audit import EventKind
from registry.authority import Registered
from registry.entities import Person, Row
from registry.errors import NotFound
from registry.people import Difference, Entry, Key, People, PeopleRefused
from registry.store import Change
from registry.views import View
from signing.digests import sha256_hex
from signing.durable import write_durably
from signing.person_signature import key_material
from signing.repository import TrustRepository
from signing.roots import PEOPLE_PATH
from signing.times import rfc3339

_ROWS_PER_EVENT = 20  # a row with a certificate takes up to 3 KB of the leaf's 64
Publish = Callable[[Mapping[str, bytes]], None]  # signs documents as targets and saves the trust


@dataclass(frozen=True)
class Taken:
    """What a document of people changed here. Each name stands once."""

    version: int
    older: bool  # a newer one was taken in before: nothing was read from this
    ended: tuple[str, ...] = ()  # people whose key acts no more
    joined: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()  # would join if this site followed its origin's people
    kept: tuple[str, ...] = ()  # of whom this site's own stewards said otherwise


@dataclass(frozen=True)
class Published:
    """What `publish_people` signed."""

    version: int
    digest: str
    differences: tuple[Difference, ...]  # from the one before; none: nothing was signed anew


# -- at the origin --------------------------------------------------------------------------------------


def published(home_trust: Path) -> bytes | None:
    """The document as an origin published it last, for the next bundle; None when it never did."""
    place = home_trust / PEOPLE_PATH
    if not place.is_file():
        return None
    data = place.read_bytes()
    listed = TrustRepository(home_trust).load().targets.targets.get(PEOPLE_PATH)
    return data if listed is not None and listed.hashes.get("sha256") == sha256_hex(data) else None


def current(work: Workplace, view: View, *, version: int) -> People:
    """Everybody whom this home knows, with every key they ever had, as a document."""
    found = people(work, view)
    history: dict[str, list[Registered]] = {}
    for row in view.people_recorded():
        history.setdefault(row.name, []).append(registered(row))
    refused = {id_of(row) for row, _ in found.passed_over}
    entries = [
        _entry([row for row in rows if id_of(row) not in refused]) for _, rows in sorted(history.items())
    ]
    return People(version, rfc3339(work.now), tuple(entry for entry in entries if entry is not None))


def id_of(row: Registered) -> tuple[str, int]:
    """What names a row among all."""
    return row.name, row.position


def publish_people(work: Workplace, publish: Publish) -> Published:
    """Sign who the people of this origin are now, for every bundle from here on.

    Args:
        publish: signs `{path: bytes}` by the targets role and saves the trust.

    Raises:
        NotFound: nobody is registered. What `publish` raises: nothing was changed.
    """
    place = work.home.trust / PEOPLE_PATH
    with work.store.view() as view:
        before = _last(work, view)
        new = current(work, view, version=before.version + 1 if before else 1)
    if not new.people:
        raise NotFound("person", "anybody")
    if before is not None and before.people == new.people and published(work.home.trust):
        return Published(before.version, sha256_hex(documents.encode(before)), ())
    data = documents.encode(new)
    publish({PEOPLE_PATH: data})
    place.parent.mkdir(parents=True, exist_ok=True)
    write_durably(place, data)
    with work.store.change(actor=work.actor, now=work.now) as change:
        row = home_document(work, documents.KIND, work.home.name, data)
        change.record(EventKind.TRUST_CHANGED, row.digest, row, note={"people": new.version})
    return Published(new.version, row.digest, tuple(documents.compare(before, new)))


def _last(work: Workplace, view: View) -> People | None:
    """The newest document that this origin published."""
    held = [
        documents.decode(row.body.encode())
        for row in view.documents(documents.KIND)
        if row.name == work.home.name
    ]
    return max(held, key=lambda one: one.version, default=None)


def _entry(rows: Sequence[Registered]) -> Entry | None:
    """One person's rows as an entry: a key is good from the row that brought it to the one that ended it."""
    keys: dict[str, Key] = {}
    for at, row in enumerate(rows):
        after = rows[at + 1] if at + 1 < len(rows) else None
        ends = row.until
        if after is not None and (not after.active or after.public_key != row.public_key):
            ends = min(filter(None, (ends, after.since)))
        if not row.active:
            ends = min(filter(None, (ends, row.since)))
        material = key_material(row.public_key)
        first = keys[material].since if material in keys else row.since
        keys[material] = Key(row.method, row.public_key, first, ends)
    if not rows:
        return None
    last = rows[-1]
    ordered = sorted(keys.values(), key=lambda key: (key.since, key.public_key))
    return Entry(last.name, tuple(sorted(set(last.roles.split(",")))), tuple(ordered), last.active)


# -- at a site ------------------------------------------------------------------------------------------


def take_people(change: Change, work: Workplace, data: bytes, bundle: str) -> Taken:
    """Take in the document that came with a bundle, within the import's change. The trust walk verified its bytes.

    An older edition than the one that is held, as a late or replayed bundle carries it, changes nothing.

    Raises:
        PeopleRefused: not a document of people, or another one under a number that is held.
    """
    new, digest = documents.decode(data), sha256_hex(data)
    held = {
        row.digest: documents.decode(row.body.encode())
        for row in change.documents(documents.KIND)
        if row.name == enrolled_root(change)
    }
    newest = max((one.version for one in held.values()), default=0)
    if new.version < newest:
        return Taken(new.version, older=True)
    if new.version == newest and digest not in held:
        raise PeopleRefused(f"number {newest} is held with other people in it", at="people.version")
    plan = _Plan(work, people(work, change), new, digest, bundle, follow=follows(work, change))
    made: list[Row] = list(
        plan.rows()
    )  # of an edition that is held too: the site may have begun to follow since
    if digest not in held:
        made.insert(0, home_document(work, documents.KIND, enrolled_root(change), data))
    taken = plan.taken
    counts = {name: len(getattr(taken, name)) for name in ("ended", "joined", "waiting", "kept")}
    for start in range(0, len(made), _ROWS_PER_EVENT):
        rows = made[start : start + _ROWS_PER_EVENT]
        note = {"bundle": bundle, "version": new.version, **counts}
        change.record(EventKind.PEOPLE_TAKEN, digest, *rows, note=note)
    return taken


class _Plan:
    """Which rows a document makes here."""

    def __init__(
        self,
        work: Workplace,
        found: authority.Standing,
        new: People,
        digest: str,
        bundle: str,
        *,
        follow: bool,
    ) -> None:
        self.work, self.new, self.follow = work, new, follow
        self.held = dict(found.rows)
        self.position = {name: row.position for name, row in found.rows.items()}
        for row, _ in found.passed_over:
            self.position[row.name] = max(row.position, self.position.get(row.name, 0))
        self.authority = authority.authority(document=digest, bundle=bundle)
        self.ended: list[str] = []
        self.joined: list[str] = []
        self.waiting: list[str] = []
        self.kept: list[str] = []

    @property
    def taken(self) -> Taken:
        """What the rows come to."""
        return Taken(
            self.new.version,
            False,
            tuple(self.ended),
            tuple(self.joined),
            tuple(self.waiting),
            tuple(self.kept),
        )

    def rows(self) -> list[Person]:
        """Leavers and lost keys first, so that a key that moves to another name is free."""
        made = [self._end(row) for row in self.held.copy().values() if self._is_over(row)]
        for entry in self.new.people:
            key = entry.key(self.work.now)
            if key is not None and (row := self._join(entry, key)) is not None:
                made.append(row)
        return made

    def _is_over(self, row: Registered) -> bool:
        """Whether the document ends what a row says: its key, or the person who came with an earlier document."""
        if not row.active:
            return False
        if key_material(row.public_key) in self.new.ended(self.work.now):
            return True
        named = {entry.name for entry in self.new.people if entry.active}
        return _carried(row) and row.name not in named

    def _end(self, row: Registered) -> Person:
        self.ended.append(row.name)
        return self._row(row.name, row.public_key, row.roles, active=False, until=row.until)

    def _join(self, entry: Entry, key: Key) -> Person | None:
        """The row of somebody new, or of somebody who came with a document and has another key or other roles."""
        roles, held = ",".join(entry.roles), self.held.get(entry.name)
        if held is not None and (held.active, held.public_key, held.roles, held.until) == (
            True,
            key.public_key,
            roles,
            key.until,
        ):
            return None
        if held is not None and not _carried(held):
            self.kept.append(entry.name)
            return None
        taken = {
            key_material(row.public_key)
            for row in self.held.values()
            if row.active and row.name != entry.name
        }
        if key.material in taken:
            self.kept.append(entry.name)
            return None
        if not self.follow:
            self.waiting.append(entry.name)
            return None
        self.joined.append(entry.name)
        return self._row(entry.name, key.public_key, roles, active=True, until=key.until)

    def _row(self, name: str, public_key: str, roles: str, *, active: bool, until: str | None) -> Person:
        self.position[name] = self.position.get(name, 0) + 1
        found = Registered(
            name,
            self.position[name],
            public_key,
            roles,
            active,
            rfc3339(self.work.now),
            until,
            self.authority,
        )
        self.held[name] = found
        return Person(**vars(found), method=found.method, actor=self.work.actor)


def _carried(row: Registered) -> bool:
    """Whether a row came with a document, and not from people here."""
    return row.authority is not None and '"document"' in row.authority
