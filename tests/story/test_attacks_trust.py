"""What attackers tried against people, approvals and evidence, each told as it happened: nothing of it may work.

Combinations above all: an administrator with the station's key who also holds somebody's old key, who waits, who was
here before. What one of them alone tries stands beside what it attacks; the table is docs/explanation/threats.md.
"""

from dataclasses import replace
from pathlib import Path

import pytest

from pipelines.people_following import enrolled_root, follow_unsigned, home_document
from registry import people as documents
from registry.audit import EventKind
from registry.authority import Registered, authority
from registry.entities import Person
from signing.digests import sha256_hex
from tests.pipelines.gap import make_world
from tests.pipelines.test_people_carried import LINES, Office


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Office:
    """A site that holds its origin's list of people, and where nobody is registered yet."""
    made = Office(make_world(tmp_path_factory.mktemp("followed") / "world"))
    made.open()
    made.arrive()
    return made


class TestAnAdministratorOfASiteThatFollows:
    """Root, SQL and the station's key at the site; no key of the origin, and no steward's that is good."""

    @pytest.fixture
    def office(self, known: Office, tmp_path: Path) -> Office:
        return Office(known.gap.copied(tmp_path / "world"))

    def begin_to_follow(self, office: Office) -> None:
        with office.gap.at(office.gap.site) as work:
            follow_unsigned(work)
        office.arrive()

    def append(self, office: Office, row: Registered) -> None:
        with office.gap.at(office.gap.site) as work, work.store.change(actor="root", now=work.now) as change:
            change.record(EventKind.PERSON_SET, row.name, Person(**vars(row), method="ssh", actor="root"))

    def test_writes_a_list_of_people_of_their_own(self, office: Office) -> None:
        """A document that says that the origin knows mallory: the home holds it, and the origin never signed it."""
        self.begin_to_follow(office)
        olaf = office.at_the_site()["olaf"]
        gap = office.gap
        with gap.at(gap.site) as work, work.store.change(actor="root", now=work.now) as change:
            held = change.documents(documents.KIND)[-1]
            said = documents.decode(held.body.encode())
            mallory = replace(
                said.people[0],
                name="mallory",
                keys=(replace(said.people[0].keys[0], public_key=LINES["bob"]),),
            )
            forged = documents.encode(replace(said, version=said.version + 1, people=(mallory, *said.people)))
            row = home_document(work, documents.KIND, enrolled_root(change), forged)
            change.record(EventKind.PEOPLE_TAKEN, row.digest, row)
        self.append(
            office,
            replace(
                olaf, name="mallory", position=1, public_key=LINES["bob"],
                authority=authority(document=sha256_hex(forged), bundle="b-9"),
            ),
        )  # fmt: skip
        assert "mallory" not in office.at_the_site()

    def test_lets_in_whom_the_origin_names_where_nobody_said_to_follow(self, office: Office) -> None:
        """olga of the origin is this site's administrator: the document that waits here names her."""
        office.join("alice")
        with office.gap.at(office.gap.site) as work, work.store.view() as view:
            [held] = view.documents(documents.KIND)
            [olga] = [one for one in documents.decode(held.body.encode()).people if one.name == "olga"]
        said = authority(document=held.digest, bundle="b-1")
        self.append(
            office,
            Registered("olga", 1, LINES["olga"], ",".join(olga.roles), True, olga.keys[0].since, None, said),
        )
        assert {"alice"} == set(office.at_the_site())

    def test_comes_back_by_the_edition_of_before_she_left(self, office: Office) -> None:
        self.begin_to_follow(office)
        before = office.at_the_site()["olga"]
        office.lose("olga")
        office.arrive()
        self.append(office, replace(before, position=3))
        assert {"olaf"} == set(office.at_the_site())

    def test_brings_a_lost_key_back_that_the_newest_edition_still_lists_as_ended(
        self, office: Office
    ) -> None:
        self.begin_to_follow(office)
        lost = office.at_the_site()["olga"]
        office.rekey("olga", "new")
        office.arrive()
        now = office.at_the_site()["olga"]
        assert LINES["new"] == now.public_key
        self.append(office, replace(now, position=now.position + 1, public_key=lost.public_key))
        assert LINES["new"] == office.at_the_site()["olga"].public_key
