"""Whose people a site follows: said by its stewards, walked anew from the first word like the rows of people.

An origin's document of people takes rights away at every site. That it gives any is for each site to say
(`pipelines.people_carried`): with a signed decision `follow-origin`, or at the founding, when nobody could sign.
"""

from collections.abc import Sequence

from pipelines.decide import people, standing, take_decision
from pipelines.people_ground import FOLLOWING, ground
from pipelines.workplace import Workplace
from registry.audit import EventKind
from registry.decisions import Kind
from registry.entities import Document
from registry.errors import NotFound, PeopleUnsigned
from registry.signed import Signed
from registry.store import Change
from registry.views import View
from signing.canonical import canonical_bytes
from signing.digests import sha256_hex
from signing.times import rfc3339

_FORMAT = "tidegate-following/1"


def follows(work: Workplace, view: View) -> bool:
    """Whether this site takes in who joins at its origin: the root that it is enrolled with now.

    Walked anew from the first word about it, like the rows of people: what nobody had the right to say is passed over.
    """
    enrolment = view.enrolment()
    said = ground(work, view).followed if enrolment is not None else ()
    return [one.follow for one in said if enrolment is not None and one.root == enrolment.fingerprint][
        -1:
    ] == [True]


def follow_unsigned(work: Workplace) -> bool:
    """Follow the origin's people from now on, at the founding. Returns False when it was so already.

    Raises:
        PeopleUnsigned: somebody is here who could sign for it.
        NotFound: this site trusts no origin yet.
    """
    with work.store.change(actor=work.actor, now=work.now) as change:
        if follows(work, change):
            return False
        if not people(work, change).founding:
            raise PeopleUnsigned("the origin's people", "stewards of this home sign for following them")
        record_following(work, change, follow=True, decisions=())
    return True


def follow(work: Workplace, person: str, *, payload: bytes, signature: str) -> int:
    """Take in a steward's signature under following, or under no longer doing so. Returns how many are missing.

    Raises:
        PersonSignatureWrong, PersonSignatureUncheckable, DecisionUnreadable: see `registry.decisions.authenticate`.
        PeopleUnsigned: about the root of another origin.
    """
    with work.store.change(actor=work.actor, now=work.now) as change:
        found = people(work, change)
        _, request = take_decision(work, change, Signed(payload, signature, person))
        if request.kind is not Kind.FOLLOW_ORIGIN or request.subject != enrolled_root(change):
            raise PeopleUnsigned("the origin's people", "this is signed for something else")
        wanted = request.details["follow"]
        since = max((row.added_at for row in change.documents(FOLLOWING)), default="")
        agreed = {
            one.person: one.digest
            for one in standing(work, change, Kind.FOLLOW_ORIGIN)
            if one.subject == request.subject
            and one.details["follow"] == wanted
            and rfc3339(one.request.issued_at) >= since
        }
        missing = max(0, (found.needed if wanted else 1) - len(agreed))
        if missing == 0 and follows(work, change) != wanted:
            record_following(work, change, follow=wanted, decisions=sorted(agreed.values()))
    return missing


def enrolled_root(view: View) -> str:
    """SHA-256 of the root that this site is enrolled with. Raises `NotFound` where no origin is trusted yet."""
    enrolment = view.enrolment()
    if enrolment is None:
        raise NotFound("origin that this site trusts", "any")
    return enrolment.fingerprint


def home_document(work: Workplace, kind: str, name: str, body: bytes) -> Document:
    """A document that this home keeps for itself."""
    return Document(
        digest=sha256_hex(body), kind=kind, name=name, body=body.decode(), added_at=rfc3339(work.now), added_by=work.actor
    )  # fmt: skip


def record_following(work: Workplace, change: Change, *, follow: bool, decisions: Sequence[str]) -> None:
    said = {
        "format": _FORMAT,
        "root": enrolled_root(change),
        "follow": follow,
        "since": rfc3339(work.now),
        "decisions": list(decisions),
    }
    row = home_document(work, FOLLOWING, enrolled_root(change), canonical_bytes(said))
    change.record(EventKind.TRUST_CHANGED, row.digest, row, note={"follows the origin's people": follow})
