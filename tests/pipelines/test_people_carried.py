"""The people of an origin, at a site: who leaves acts at once, who joins where the site follows, old news nowhere."""

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from pipelines import held_documents
from pipelines.decide import people_now
from pipelines.decide import request_decision as ask
from pipelines.people import Published, publish_people, take_people
from pipelines.people_carried import Taken
from pipelines.people_following import (
    enrolled_root,
    follow,
    follow_unsigned,
    follows,
    record_following,
)
from pipelines.people_ground import FOLLOWING
from registry import people as documents
from registry.audit import EventKind
from registry.authority import Registered
from registry.decisions import NAMESPACE, Kind
from registry.entities import Person
from registry.errors import DocumentRefused, PeopleUnsigned
from registry.people import PeopleRefused
from signing import ceremony
from signing.repository import TrustRepository
from signing.sshsig import public_key_line, sign
from tests.people import retire_person, set_person
from tests.pipelines.gap import World, make_world

MODEL = "acme/tiny"
NAMES = ("alice", "bob", "olaf", "olga", "new")
KEYS = {
    name: Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32) for number, name in enumerate(NAMES, 1)
}
LINES = {name: public_key_line(key) for name, key in KEYS.items()}
ALICE, OLAF = {"alice": KEYS["alice"]}, {"olaf": KEYS["olaf"]}


class Office:
    """An origin whose people are olaf and olga, and a site."""

    def __init__(self, gap: World) -> None:
        self.gap = gap

    def open(self) -> None:
        gap = self.gap
        gap.add(MODEL, {"README.md": b"---\nlicense: mit\n---\n", "config.json": b"{}"})
        with gap.at(gap.origin) as work:
            set_person(work, "olaf", public_key=LINES["olaf"])
        with gap.at(gap.origin) as work:
            set_person(work, "olga", public_key=LINES["olga"], roles=["reviewer"], by=OLAF)

    def publish(self) -> Published:
        repository = TrustRepository(self.gap.origin.trust)
        with self.gap.at(self.gap.origin) as work:

            def signed(found: Mapping[str, bytes]) -> None:
                everyone = [work.station, *self.gap.officer]
                repository.save(ceremony.publish(repository.load(), found, everyone, now=work.now))

            return publish_people(work, signed)

    def lose(self, name: str) -> None:
        with self.gap.at(self.gap.origin) as work:
            retire_person(work, name, by=OLAF)

    def rekey(self, name: str, key: str) -> None:
        with self.gap.at(self.gap.origin) as work:
            set_person(work, name, public_key=LINES[key], roles=["reviewer"], by=OLAF)

    def ship(self) -> Path:
        return self.gap.ship(MODEL, out=f"medium-{len(self.gap.shipped)}", self_contained=True)

    def arrive(self) -> Taken | None:
        """Publish, ship and import."""
        self.publish()
        return self.gap.receive(self.ship()).people

    def at_the_site(self) -> dict[str, Registered]:
        with self.gap.at(self.gap.site) as work, work.store.view() as view:
            return {row.name: row for row in people_now(work, view)}

    def join(self, name: str, *, key: str | None = None, **by: Ed25519PrivateKey) -> None:
        """Somebody joins at the site."""
        with self.gap.at(self.gap.site) as work:
            set_person(work, name, public_key=LINES[key or name], by=by)

    def follow(self, *by: str, stop: bool = False) -> int:
        missing = 0
        for name in by:
            with self.gap.at(self.gap.site) as work:
                with work.store.view() as view:
                    root = enrolled_root(view)
                asked = ask(work, Kind.FOLLOW_ORIGIN, root, name, reason="x", details={"follow": not stop})
                made = sign(asked, namespace=NAMESPACE, private_key=KEYS[name])
                missing = follow(work, name, payload=asked, signature=made)
        return missing

    def follows(self) -> bool:
        with self.gap.at(self.gap.site) as work, work.store.view() as view:
            return follows(work, view)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Office:
    made = Office(make_world(tmp_path_factory.mktemp("people") / "world"))
    made.open()
    return made


@pytest.fixture
def office(built: Office, tmp_path: Path) -> Office:
    return Office(built.gap.copied(tmp_path / "world"))


def test_a_site_that_follows_has_the_people_of_its_origin(office: Office) -> None:
    with office.gap.at(office.gap.site) as work:
        assert follow_unsigned(work)
        assert not follow_unsigned(work)
    taken = office.arrive()
    assert taken is not None
    assert ("olaf", "olga") == taken.joined
    found = office.at_the_site()
    assert {"olaf": "steward", "olga": "reviewer"} == {name: row.roles for name, row in found.items()}
    assert '"document"' in str(found["olaf"].authority)


def test_one_that_does_not_follow_only_hears_of_them(office: Office) -> None:
    taken = office.arrive()
    assert taken is not None
    assert ((), ("olaf", "olga")) == (taken.joined, taken.waiting)
    assert {} == office.at_the_site()


def test_who_begins_to_follow_has_them_with_the_next_bundle(office: Office) -> None:
    office.arrive()
    with office.gap.at(office.gap.site) as work:
        follow_unsigned(work)
    taken = office.arrive()  # the same edition
    assert taken is not None
    assert (1, ("olaf", "olga")) == (taken.version, taken.joined)
    again = office.arrive()
    assert again is not None
    assert () == again.joined


def test_a_lost_key_acts_nowhere_from_the_next_bundle_on(office: Office) -> None:
    """olga signs at the site too, registered there by alice under another name; the site follows nobody."""
    office.join("alice")
    office.join("gast", key="olga", **ALICE)
    office.lose("olga")
    taken = office.arrive()
    assert taken is not None
    assert ("gast",) == taken.ended
    assert {"alice"} == set(office.at_the_site())


def test_a_new_key_and_new_roles_ride_the_same_way(office: Office) -> None:
    with office.gap.at(office.gap.site) as work:
        follow_unsigned(work)
    office.arrive()
    office.rekey("olga", "new")
    taken = office.arrive()
    assert taken is not None
    assert (("olga",), ("olga",)) == (taken.ended, taken.joined)
    assert LINES["new"] == office.at_the_site()["olga"].public_key


def test_who_is_named_no_more_is_gone(office: Office) -> None:
    """An edition that says nothing of somebody who came with an earlier one."""
    with office.gap.at(office.gap.site) as work:
        follow_unsigned(work)
    office.arrive()
    with office.gap.at(office.gap.site) as work, work.store.change(actor="ines", now=work.now) as change:
        held = documents.decode(change.documents(documents.KIND)[-1].body.encode())
        less = documents.People(held.version + 1, held.issued_at, held.people[:1])
        assert ("olga",) == take_people(change, work, documents.encode(less), "b-9").ended
    assert {"olaf"} == set(office.at_the_site())


def test_a_document_moves_nobody_whom_the_site_itself_put_in_or_out(office: Office) -> None:
    with office.gap.at(office.gap.site) as work:
        follow_unsigned(work)
    office.join("olga", key="bob")
    taken = office.arrive()
    assert taken is not None
    assert (("olaf",), ("olga",)) == (taken.joined, taken.kept)
    assert LINES["bob"] == office.at_the_site()["olga"].public_key
    with office.gap.at(office.gap.site) as work:
        retire_person(work, "olaf", by={"olga": KEYS["bob"]})
    office.rekey("olga", "new")
    office.arrive()
    assert {"olga"} == set(office.at_the_site())


class TestACourier:
    def test_who_brings_an_old_medium_again_brings_nobody_back(self, office: Office) -> None:
        with office.gap.at(office.gap.site) as work:
            follow_unsigned(work)
        office.publish()
        old = office.ship()
        office.gap.receive(old)
        office.lose("olga")
        office.arrive()
        again = office.gap.receive(old).people
        assert again is None or again.older
        assert {"olaf"} == set(office.at_the_site())

    def test_with_an_edition_that_was_never_the_newest_changes_nothing(self, office: Office) -> None:
        office.arrive()
        office.lose("olga")
        office.arrive()
        with office.gap.at(office.gap.site) as work, work.store.change(actor="ines", now=work.now) as change:
            first, newest = (row.body.encode() for row in change.documents(documents.KIND))
            assert take_people(change, work, first, "b-9").older
            other = documents.decode(first)
            forged = documents.encode(documents.People(1, other.issued_at, other.people[:1]))
            assert take_people(change, work, forged, "b-9").older
            twin = documents.decode(newest)
            with pytest.raises(PeopleRefused, match="other people"):
                take_people(
                    change,
                    work,
                    documents.encode(documents.People(twin.version, twin.issued_at, other.people)),
                    "b",
                )


class TestFollowing:
    def test_takes_as_many_as_a_joiner_and_one_to_stop(self, office: Office) -> None:
        office.join("alice")
        with office.gap.at(office.gap.site) as work, pytest.raises(PeopleUnsigned):
            follow_unsigned(work)
        assert 0 == office.follow("alice")
        assert office.follows()
        assert 0 == office.follow("alice", stop=True)
        assert not office.follows()

    def test_is_not_had_by_writing_it_down(self, office: Office) -> None:
        """An administrator appends the document that says so, with and without a decision that nobody made."""
        office.join("alice")
        for decisions in ([], ["0" * 64]):
            with office.gap.at(office.gap.site) as work, work.store.change(actor="x", now=work.now) as change:
                record_following(work, change, follow=True, decisions=decisions)
            assert not office.follows()

    def test_does_not_come_back_by_a_decision_of_before_it_was_stopped(self, office: Office) -> None:
        office.join("alice")
        office.follow("alice")
        with office.gap.at(office.gap.site) as work, work.store.view() as view:
            [old] = [row.digest for row in view.decisions(str(Kind.FOLLOW_ORIGIN))]
        office.follow("alice", stop=True)
        with office.gap.at(office.gap.site) as work, work.store.change(actor="x", now=work.now) as change:
            record_following(work, change, follow=True, decisions=[old])
        assert not office.follows()

    def test_a_row_that_says_it_came_with_a_document_has_to_be_in_one(self, office: Office) -> None:
        with office.gap.at(office.gap.site) as work:
            follow_unsigned(work)
        office.arrive()
        row = office.at_the_site()["olaf"]
        forged = {**vars(row), "name": "mallory", "position": 1, "public_key": LINES["bob"]}
        with office.gap.at(office.gap.site) as work, work.store.change(actor="x", now=work.now) as change:
            change.record(EventKind.PERSON_SET, "mallory", Person(**forged, method="ssh", actor="x"))
        assert "mallory" not in office.at_the_site()

    def test_a_bundle_cannot_bring_what_only_this_home_says(self, office: Office) -> None:
        """The thief of an export key ships a document of the kind that says whose people are followed."""
        for kind in (FOLLOWING, documents.KIND, "piv-anchor", "piv-crl"):
            with pytest.raises(DocumentRefused, match="comes with no bundle"):
                held_documents.read(kind, b"{}")


def test_an_edition_is_made_only_when_something_changed(office: Office) -> None:
    first, again = office.publish(), office.publish()
    assert (1, 1, ()) == (first.version, again.version, again.differences)
    office.lose("olga")
    second = office.publish()
    assert (2, ["olga: left"]) == (second.version, [str(item) for item in second.differences])
    office.gap.now += timedelta(days=1)
    assert 2 == office.publish().version
