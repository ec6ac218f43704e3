"""`people` as stewards type it, and as an administrator with a shell would like to."""

import json
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from registry.audit import EventKind
from registry.authority import authority
from registry.decisions import DecisionUnreadable
from registry.entities import Person
from registry.errors import DocumentRefused, NotFound, PeopleUnsigned
from registry.home import Home, load
from signing.person_signature import PersonSignatureUncheckable, PersonSignatureWrong
from signing.sshsig import load_private, sign
from signing.times import rfc3339
from tests import world
from tests.cli import Prompt
from tests.signing.test_piv import Issuer, card, entry
from tests.tidegate.town import MODEL, Town, new_ssh_key
from tidegate.errors import AuditBroken, DoctorFoundProblems
from tidegate.wiring import App

NOW = datetime.now(UTC).replace(microsecond=0)


class Site:
    """A site of officers, with the keys of people below one folder."""

    def __init__(self, folder: Path, *, profile: str = "officers") -> None:
        self.folder, self.at = folder, Prompt(folder / "site", "root")
        self.at.type("init", "clinic", "--role", "site", "--profile", profile)

    @property
    def home(self) -> Home:
        return load(self.at.home)

    def key(self, name: str) -> Path:
        place = self.folder / f"{name}.key"
        if not place.exists():
            new_ssh_key(place)
        return place

    def public(self, name: str) -> Path:
        return self.key(name).with_suffix(".pub")

    def signs(self, name: str, *, key: str | None = None) -> list[object]:
        return ["--person", name, "--reason", "as agreed", "--key", self.key(key or name)]

    def add(self, name: str, *by: object, key: str | None = None, ends: int = 0) -> Any:
        words = ["people", "add", name, "--public-key", self.public(key or name), *by]
        return self.at.ask(*words) if ends == 0 else self.at.ask_refused(*words, ends=ends)

    def acting(self) -> set[str]:
        return {row["name"] for row in self.at.ask("people", "list") if row["acts"]}

    def append(self, row: Person, kind: EventKind = EventKind.PERSON_SET) -> None:
        """As root would, with the database and the station's key: the log carries it."""
        with (
            world.at_work(self.home, actor="root", now=NOW) as work,
            work.store.change(actor="root", now=NOW) as c,
        ):
            c.record(kind, row.name, row)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """Two stewards, alice and bob."""
    made = Site(tmp_path)
    made.add("alice")
    made.add("bob", *made.signs("alice"))
    return made


class TestJoining:
    def test_the_founding_is_told_as_such(self, site: Site) -> None:
        words = {row["name"]: row["word"] for row in site.at.ask("people", "list")}
        assert {"alice": "nobody (founding)", "bob": "alice"} == words
        assert "founding" in site.at.type("people", "list").output

    def test_two_stewards_sign_and_the_second_sees_what(self, site: Site) -> None:
        proposed = site.add("carol", "--role", "auditor", "--until", "2099-01-01", *site.signs("alice"))
        assert (1, ["alice"]) == (proposed["missing"], proposed["signed_by"])
        assert {"alice", "bob"} == site.acting()
        [waiting] = site.at.ask("people", "pending")
        assert ("carol", "auditor", 1) == (waiting["name"], waiting["roles"], waiting["missing"])
        assert "alice (" in site.at.type("people", "pending").output
        shown = site.at.type("people", "confirm", "carol", *site.signs("bob"))
        assert "You sign: carol may act as auditor with SHA256:" in shown.output
        assert "In force" in shown.output
        assert {"alice", "bob", "carol"} == site.acting()
        assert [] == site.at.ask("people", "pending")
        site.at.type("audit", "verify")

    def test_who_stands_so_already_is_not_proposed_again(self, site: Site) -> None:
        said = site.at.type(
            "people", "add", "bob", "--public-key", site.public("bob"), *site.signs("alice")
        ).output
        assert "Nothing to change: bob may act as steward" in said
        assert [] == site.at.ask("people", "pending")

    @pytest.mark.parametrize("until", ["yesterday", "2020-01-01", "2020-01-01T08:30:00Z"])
    def test_a_day_that_is_over_or_none_is_refused(self, site: Site, until: str) -> None:
        words = ["people", "add", "carol", "--public-key", site.public("carol"), *site.signs("alice")]
        assert "--until" in site.at.type(*words, "--until", until, ends=2).output
        assert [] == site.at.ask("people", "pending")

    def test_the_same_steward_twice_is_one(self, site: Site) -> None:
        site.add("carol", *site.signs("alice"))
        assert 1 == site.at.ask("people", "confirm", "carol", *site.signs("alice"))["missing"]

    def test_a_new_key_takes_its_owner_and_another(self, site: Site) -> None:
        assert 1 == site.add("bob", *site.signs("bob"), key="bob-2")["missing"]
        assert 0 == site.at.ask("people", "confirm", "bob", *site.signs("alice"))["missing"]
        site.add("carol", *site.signs("bob"), ends=PersonSignatureWrong.exit_code)
        site.add("carol", *site.signs("bob", key="bob-2"))

    def test_a_proposal_that_is_revoked_or_over_waits_no_more(self, site: Site) -> None:
        proposed = site.add("carol", *site.signs("alice"))
        assert proposed["missing"]
        [digest] = site.at.ask("people", "pending")[0]["signed_by"].values()
        site.at.type("decisions", "revoke", digest, *site.signs("bob"))
        site.at.type("people", "confirm", "carol", *site.signs("bob"), ends=NotFound.exit_code)

    def test_of_two_proposals_one_is_named(self, site: Site) -> None:
        site.add("carol", *site.signs("alice"))
        site.add("carol", *site.signs("bob"), key="dora")
        confirm = ["people", "confirm", "carol"]
        site.at.type(*confirm, *site.signs("bob"), ends=NotFound.exit_code)
        [chosen] = [one for one in site.at.ask("people", "pending") if "alice" in one["signed_by"]]
        digest = chosen["signed_by"]["alice"][:12]
        assert site.at.ask(*confirm, "--decision", digest, *site.signs("bob"))["missing"] == 0
        assert [] == site.at.ask("people", "pending")  # the other one was for a state that is past

    def test_signed_elsewhere(self, site: Site) -> None:
        """The bytes go to the token and come back."""
        file = site.folder / "change.json"
        words = ["people", "add", "carol", "--public-key", site.public("carol"), "--person", "alice"]
        asked = site.at.ask(*words, "--reason", "x", "--write-payload", file)
        assert "decision@tidegate" in asked["sign_with"]
        assert "set-person" == json.loads(file.read_text())["kind"]
        assert [] == site.at.ask("people", "pending")

    def test_in_a_single_person_home_one_is_enough(self, tmp_path: Path) -> None:
        site = Site(tmp_path, profile="solo")
        site.add("alice")
        site.add("bob", ends=PeopleUnsigned.exit_code)
        site.add("bob", *site.signs("alice"))
        site.add("carol", *site.signs("bob"))
        assert {"alice", "bob", "carol"} == site.acting()

    def test_after_its_day_a_key_signs_nothing(self, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
        site.add("carol", "--until", "2099-01-01", *site.signs("alice"))
        site.at.type("people", "confirm", "carol", *site.signs("bob"))
        monkeypatch.setattr(
            App.__init__, "__kwdefaults__", {"clock": lambda: datetime(2099, 1, 2, tzinfo=UTC)}
        )
        assert {"alice", "bob"} == site.acting()
        assert "over, or not in force" in site.at.type("people", "list").output
        site.add("dora", *site.signs("carol"), ends=NotFound.exit_code)

    def test_one_key_is_asked_for(self, site: Site) -> None:
        site.at.type("people", "add", "carol", *site.signs("alice"), ends=2)


class TestLeaving:
    def test_one_steward_is_enough_and_it_acts_at_once(self, site: Site) -> None:
        assert site.at.ask("people", "remove", "bob", *site.signs("alice"))["missing"] == 0
        assert {"alice"} == site.acting()

    def test_nobody_is_taken_out_without_a_signature(self, site: Site) -> None:
        site.at.type("people", "remove", "bob", ends=PeopleUnsigned.exit_code)
        assert {"alice", "bob"} == site.acting()

    def test_who_sends_the_other_away_lets_nobody_in_alone(self, site: Site) -> None:
        site.at.type("people", "remove", "bob", *site.signs("alice"))
        assert 1 == site.add("mallory", *site.signs("alice"))["missing"]
        assert 1 == site.add("bob", *site.signs("alice"), key="bob-2")["missing"]


class TestAnAdministratorWithAShell:
    """Has every file of the site and the station's key; no steward's."""

    def test_adds_no_second_person_of_their_own(self, site: Site) -> None:
        site.add("mallory", ends=PeopleUnsigned.exit_code)
        site.add("mallory", *site.signs("alice", key="mallory"), ends=PersonSignatureWrong.exit_code)
        site.add("mallory", *site.signs("mallory"), ends=NotFound.exit_code)
        assert {"alice", "bob"} == site.acting()

    def row(self, site: Site, name: str, key: str, position: int, said: str | None) -> Person:
        line = site.public(key).read_text().strip()
        return Person(
            name=name, position=position, public_key=line, roles="steward", active=True, since=rfc3339(NOW),
            actor="root", method="ssh", authority=said,
        )  # fmt: skip

    @pytest.mark.parametrize("said", [None, authority(founding=True), authority(decisions=["0" * 64])])
    def test_appends_a_row_that_the_log_carries_and_nobody_acts_on_it(
        self, site: Site, said: str | None
    ) -> None:
        site.append(self.row(site, "mallory", "mallory", 1, said))
        site.append(self.row(site, "alice", "mallory", 2, said))
        assert {"alice", "bob"} == site.acting()
        assert "Does not count: mallory" in site.at.type("people", "list").output
        site.add("eve", *site.signs("mallory"), ends=NotFound.exit_code)
        site.add("eve", *site.signs("alice", key="mallory"), ends=PersonSignatureWrong.exit_code)
        refused = site.at.ask_refused("audit", "verify", ends=AuditBroken.exit_code)
        assert "row 1 of mallory does not count" in refused["message"]
        found = {one["check"]: one for one in site.at.ask("doctor", ends=DoctorFoundProblems.exit_code)}
        assert "row 2 of alice does not count" in found["people"]["message"]

    def test_edits_the_table_and_the_log_says_so(self, site: Site) -> None:
        line = site.public("mallory").read_text().strip()
        with closing(sqlite3.connect(site.at.home / "registry.db")) as database, database:
            database.execute("UPDATE person SET public_key = ? WHERE name = 'bob'", (line,))
        refused = site.at.ask_refused("audit", "verify", ends=AuditBroken.exit_code)
        assert "person: a row is not in the log" in refused["message"]
        assert "row 1 of bob does not count" in refused["message"]
        assert {"alice"} == site.acting()

    def test_hands_in_an_old_decision_again(self, site: Site) -> None:
        """carol was let in and taken out: what was signed for her then is no way back."""
        site.add("carol", *site.signs("alice"))
        site.at.type("people", "confirm", "carol", *site.signs("bob"))
        with closing(sqlite3.connect(site.at.home / "registry.db")) as database:
            payload, signature, digests = database.execute(
                "SELECT payload, signature, (SELECT authority FROM person WHERE name = 'carol') "
                "FROM decision WHERE subject = 'carol' AND person = 'alice'"
            ).fetchone()
        site.at.type("people", "remove", "carol", *site.signs("bob"))
        file = site.folder / "old.json"
        file.write_text(payload)
        file.with_suffix(".sig").write_text(signature)
        words = ["--person", "alice", "--payload", file, "--signature", file.with_suffix(".sig")]
        site.at.ask_refused(
            "people",
            "add",
            "carol",
            "--public-key",
            site.public("carol"),
            *words,
            ends=PeopleUnsigned.exit_code,
        )
        site.append(self.row(site, "carol", "carol", 3, digests))
        assert "carol" not in site.acting()

    def test_makes_a_decision_of_another_kind_no_change_of_people(self, site: Site) -> None:
        file = site.folder / "other.json"
        site.at.type("decisions", "accept-licence", "mit", "--person", "alice", "--reason", "x", "--write-payload", file,
                     ends=0)  # fmt: skip
        made = sign(
            file.read_bytes(),
            namespace="decision@tidegate",
            private_key=load_private(site.key("alice"), passphrase=lambda _: b""),
        )
        file.with_suffix(".sig").write_text(made)
        words = ["--person", "alice", "--payload", file, "--signature", file.with_suffix(".sig")]
        site.at.ask_refused("people", "remove", "bob", *words, ends=DecisionUnreadable.exit_code)


class TestCards:
    CA = Issuer("Clinic cards")

    def file(self, site: Site, name: str, data: bytes) -> Path:
        place = site.folder / name
        place.write_bytes(data)
        return place

    def issuer(self, site: Site) -> Path:
        return self.file(site, "issuer.pem", self.CA.pem)

    def anchors(self, site: Site, at: datetime = NOW) -> int:
        from pipelines.decide import card_issuers

        with world.at_work(site.home, actor="x", now=at) as work, work.store.view() as view:
            return len(card_issuers(work, view).anchors)

    def test_an_issuer_counts_by_the_word_of_two(self, site: Site) -> None:
        issuer = self.issuer(site)
        site.at.type("people", "card-issuer", issuer, ends=PeopleUnsigned.exit_code)
        assert not site.at.ask("people", "card-issuer", issuer, *site.signs("alice"))["counts"]
        assert 0 == self.anchors(site)
        assert site.at.ask("people", "card-issuer", issuer, *site.signs("bob"))["counts"]

    def test_before_anybody_is_registered_it_needs_nobody(self, tmp_path: Path) -> None:
        site = Site(tmp_path)
        assert site.at.ask("people", "card-issuer", self.issuer(site))["counts"]
        site.add("alice")
        assert 1 == self.anchors(site, NOW + timedelta(minutes=5))

    def test_a_person_is_registered_by_their_certificate(self, site: Site) -> None:
        file = self.file(site, "dora.der", card(issuer=self.CA).certificate.public_bytes(Encoding.DER))
        site.at.type("people", "add", "dora", "--certificate", file, *site.signs("alice"))
        done = site.at.ask("people", "confirm", "dora", *site.signs("bob"))
        assert ("piv", True) == (done["method"], done["fingerprint"].startswith("x509:"))
        assert "dora" in site.acting()

    def test_a_persons_certificate_is_no_issuer(self, site: Site) -> None:
        file = self.file(site, "dora.pem", card(issuer=self.CA).certificate.public_bytes(Encoding.PEM))
        site.at.type("people", "card-issuer", file, *site.signs("alice"), ends=DocumentRefused.exit_code)

    def test_lists_are_carried_in_the_newest_counts(self, tmp_path: Path) -> None:
        site = Site(tmp_path)
        site.at.type("people", "card-issuer", self.issuer(site))
        day = timedelta(days=1)
        old = self.file(site, "old.crl", self.CA.revokes(made=NOW - 2 * day, until=NOW + day))
        new = self.file(
            site, "new.crl", self.CA.revokes(entry(NOW - day), made=NOW - day, until=NOW + 9 * day)
        )
        assert site.at.ask("people", "card-list", new)["taken"]
        assert not site.at.ask("people", "card-list", old)["taken"]
        ahead = self.file(site, "ahead.crl", self.CA.revokes(made=NOW + day, until=NOW + 9 * day))
        site.at.type("people", "card-list", ahead, ends=DocumentRefused.exit_code)
        other = self.file(site, "other.crl", Issuer("Clinic cards").revokes(made=NOW, until=NOW + day))
        site.at.type("people", "card-list", other, ends=NotFound.exit_code)
        junk = self.file(site, "junk.crl", b"junk")
        site.at.type("people", "card-list", junk, ends=PersonSignatureUncheckable.exit_code)


def test_officers_elsewhere_sign_who_the_people_are(town: Town) -> None:
    new_ssh_key(town.key("olaf"))
    town.origin.type("people", "add", "olaf", "--public-key", town.key("olaf").with_suffix(".pub"))
    folder = town.folder / "ceremony"
    town.origin.type("people", "publish", "--draft", folder)
    town.origin.type("trust", "sign", folder, "--key", town.origin.home / "keys" / "officer.pem")
    town.origin.type("trust", "publish", folder)
    assert "Nothing changed" in town.origin.type("people", "publish").output
    medium = town.folder / "people"
    town.origin.type("bundles", "create", f"{MODEL}@1", "--to", "clinic", "--out", medium)
    assert list(medium.rglob("identities/people.json"))


def test_the_people_of_the_origin_ride_in_a_bundle(town: Town) -> None:
    """olga loses her key; she signs at the site too. The site follows its origin later, and then has olaf."""
    for name in ("olaf", "olga"):
        new_ssh_key(town.key(name))
    add = ["people", "add", "olaf", "--public-key", town.key("olaf").with_suffix(".pub")]
    town.origin.type(*add)
    add = ["people", "add", "olga", "--public-key", town.key("olga").with_suffix(".pub"), *town.signs("olaf")]
    town.origin.type(*add)
    assert ["joined", "joined"] == [
        one["what"] for one in town.origin.ask("people", "publish")["differences"]
    ]
    assert "Nothing changed" in town.origin.type("people", "publish").output
    town.site.type(
        "people", "add", "gast", "--public-key", town.key("olga").with_suffix(".pub"), *town.signs("alice")
    )
    town.site.type("people", "confirm", "gast", *town.signs("bob"))
    town.origin.type("people", "remove", "olga", *town.signs("olaf"))
    assert "olga: left" in town.origin.type("people", "publish").output
    town.site.type("people", "follow-origin", ends=PeopleUnsigned.exit_code)
    assert 1 == town.site.ask("people", "follow-origin", *town.signs("alice"))["missing"]
    assert 0 == town.site.ask("people", "follow-origin", *town.signs("bob"))["missing"]
    medium = town.folder / "people"
    town.origin.type("bundles", "create", f"{MODEL}@1", "--to", "clinic", "--out", medium)
    town.site.type("bundles", "import", medium)
    standing = {row["name"]: row["acts"] for row in town.site.ask("people", "list")}
    assert {"alice": True, "bob": True, "gast": False, "olaf": True} == standing
    town.site.type("audit", "verify")
    town.site.type("people", "follow-origin", "--stop", ends=2)
    assert "no longer" in town.site.type("people", "follow-origin", "--stop", *town.signs("bob")).output
