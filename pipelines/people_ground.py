"""What rows about people are held against here: decisions, and documents of people that an origin truly signed.

Apart from `pipelines.decide` because nothing here believes a table. Whoever has SQL and the station's key can write a
document of people into it, an import that brought it, and the word that this home follows its origin. So the trust
metadata that the import remembered is looked at again, signature by signature, from the root that was enrolled; and
the words about following are walked from the first, each held against who could sign when it was said.
"""

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

from pipelines.workplace import Workplace
from registry import authority
from registry.audit import EventKind
from registry.authority import Carried, Followed, Ground, Registered
from registry.decisions import Kind
from registry.entities import Decision, Document, Person
from registry.people import KIND
from registry.signed import CardIssuers, Signed
from registry.views import View
from signing.canonical import NotCanonical, parse, parse_canonical
from signing.memory import people_vouched
from signing.times import from_rfc3339, rfc3339

CARD_LIST = "piv-crl"  # a kind of document, PEM
FOLLOWING = "people-following"  # a document of this home: whose people are followed
_MAX_METADATA = 64 << 20  # bytes


def ground(work: Workplace, view: View) -> Ground:
    """What rows about people are held against here."""
    found = Ground(
        home=work.home.name,
        solo=work.home.profile == "solo",
        decisions=tuple(signed(row) for row in view.decisions(str(Kind.SET_PERSON))),
        documents=tuple(_vouched(view)),
        cards=CardIssuers(crls=tuple(row.body.encode() for row in view.documents(CARD_LIST))),
        unsigned=_unsigned(view),
    )
    rows = [registered(row) for row in view.people_recorded()]
    for document in view.documents(FOLLOWING):
        said = parse_canonical(document.body.encode(), max_bytes=1 << 16, at="following")
        found = _following(view, found, rows, document, said)
    return found


def _following(
    view: View, found: Ground, rows: list[Registered], document: Document, said: Mapping[str, Any]
) -> Ground:
    """The ground with one more word about following; without, if nobody said it who could."""
    before = [one.since for one in found.followed if one.root == said["root"]]
    if before and said["since"] < before[-1]:
        return found
    earlier = [row for row in rows if row.since <= said["since"]]
    if not _justified(view, found, earlier, document, said, after=before[-1] if before else ""):
        return found
    more = Followed(said["root"], said["since"], said["follow"])
    return Ground(**{**vars(found), "followed": (*found.followed, more)})


def _justified(
    view: View,
    found: Ground,
    rows: list[Registered],
    document: Document,
    said: Mapping[str, Any],
    *,
    after: str,
) -> bool:
    """Whether a word about following rests on what it has to rest on.

    Args:
        after: when the one before it was said; a decision of before that brings nothing back.
    """
    if not said["decisions"]:
        return before_people(view, document.digest)
    at, names = from_rfc3339(said["since"]), set()
    walked = authority.walk(rows, found)
    for decision in view.decisions(str(Kind.FOLLOW_ORIGIN), said["root"]):
        request = authority.authentic(signed(decision), walked.signers(at), found, at=at)
        if decision.digest not in said["decisions"] or request is None:
            continue
        if request.details["follow"] == said["follow"] and rfc3339(request.issued_at) >= after:
            names.add(request.person)
    return len(names) >= (walked.needed if said["follow"] else 1)


def _vouched(view: View) -> Iterator[Carried]:
    """The documents on which a row about a person rests, and that the bundle's origin signed for."""
    named = {said for row in view.people_recorded() if (said := _rests_on(row)) is not None}
    held = {row.digest: row for row in view.documents(KIND)} if named else {}
    for digest, bundle in sorted(named):
        row, came = held.get(digest), view.import_of(bundle)
        if row is not None and came is not None and _vouches(came.metadata_body, row.name) == digest:
            yield Carried(row.name, row.body.encode())


def _rests_on(row: Person) -> tuple[str, str] | None:
    """The document of people that a row names, and the bundle that brought it."""
    try:
        said = parse((row.authority or "{}").encode(), max_bytes=1 << 16, at="authority")
    except NotCanonical:
        return None
    match said:
        case {"document": str(document), "bundle": str(bundle)}:
            return document, bundle
    return None


@lru_cache(maxsize=32)  # signatures cost time, and every page of the gate asks
def _vouches(metadata: str, root: str) -> str | None:
    try:
        value = parse(metadata.encode(), max_bytes=_MAX_METADATA, at="remembered trust metadata")
    except NotCanonical:
        return None
    texts = {role: data.encode() for role, data in value.items() if isinstance(data, str)}
    return people_vouched(texts, root)


def _unsigned(view: View) -> frozenset[tuple[str, int]]:
    """The rows about people that the log told of before this home was upgraded to a release that has them signed.

    By the place in the log, not by a moment: whoever can append a row can give it any moment.
    """
    if all(row.authority is not None for row in view.people_recorded()):
        return frozenset()
    upgrades = [entry.position for entry in view.events(kind=str(EventKind.UPGRADED))]
    told = [
        entry
        for entry in view.events(kind=str(EventKind.PERSON_SET))
        if entry.position < min(upgrades, default=0)
    ]
    rows = [row for entry in told for label, row in entry.rows if label == Person.label]
    return frozenset((str(row["name"]), int(row["position"])) for row in rows)


def before_people(view: View, digest: str) -> bool:
    """Whether the log told of a document before it told of any person: at the founding, when nobody could sign."""
    told = [entry.position for entry in view.events(subject=digest, kind=str(EventKind.TRUST_CHANGED))]
    people = [
        entry.position
        for kind in (EventKind.PERSON_SET, EventKind.PEOPLE_TAKEN)
        for entry in view.events(kind=str(kind))
        if any(label == Person.label for label, _ in entry.rows)
    ]
    return bool(told) and (not people or min(told) < min(people))


def registered(row: Person) -> Registered:
    """The row as it is judged."""
    return Registered(**{name: getattr(row, name) for name in Registered.__dataclass_fields__})


def signed(row: Decision) -> Signed:
    """The decision as it is judged."""
    return Signed(row.payload.encode(), row.signature, row.person)
