"""The document of people, and whose word puts somebody in force."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from registry.authority import FOUNDING, Ground, Registered, authority, signed_by, walk
from registry.decisions import NAMESPACE, ROLES, Kind, Request, payload
from registry.people import Entry, Key, People, PeopleRefused, compare, decode, encode
from registry.signed import Signed
from signing.canonical import canonical_bytes, parse
from signing.sshsig import public_key_line, sign
from signing.times import rfc3339

NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
NAMES = ("alice", "bob", "carol", "mallory")
KEYS = {
    name: Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32) for number, name in enumerate(NAMES, 1)
}
LINES = {name: public_key_line(key) for name, key in KEYS.items()}


def entry(name: str, *, active: bool = True, until: str | None = None, line: str | None = None) -> Entry:
    return Entry(
        name, ("steward",), (Key("ssh", line or LINES[name], "2026-01-01T00:00:00Z", until),), active, ""
    )


STAFF = People(3, rfc3339(NOON), (entry("alice"), entry("bob", until="2026-06-01T00:00:00Z")))


class TestTheDocument:
    def test_comes_back_as_it_was_written(self) -> None:
        assert STAFF == decode(encode(STAFF))

    def test_says_which_keys_are_over(self) -> None:
        gone = replace(STAFF, people=(entry("alice", active=False), *STAFF.people[1:]))
        assert {key.material for one in gone.people for key in one.keys} == gone.ended(NOON)
        assert {STAFF.people[1].keys[0].material} == STAFF.ended(NOON)

    def test_somebody_signs_with_the_newest_good_key(self) -> None:
        old, new = STAFF.people[0].keys[0], Key("ssh", LINES["carol"], "2026-05-01T00:00:00Z")
        assert new == replace(STAFF.people[0], keys=(old, new)).key(NOON)
        assert STAFF.people[1].key(NOON) is None

    @pytest.mark.parametrize(
        ("place", "value"),
        [
            (("version",), 0),
            (("version",), True),
            (("version",), "1"),
            (("format",), "tidegate-people/2"),
            (("issued_at",), "yesterday"),
            (("people",), []),
            (("people",), {}),
            (("people", 0), None),
            (("people", 0, "name"), "Alice"),
            (("people", 0, "name"), 7),
            (("people", 0, "name"), "zed"),  # not by name any more
            (("people", 0, "roles"), ["king"]),
            (("people", 0, "roles"), ["steward", "author"]),
            (("people", 0, "roles"), [{}]),
            (("people", 0, "active"), 1),
            (("people", 0, "note"), "x" * 501),
            (("people", 0, "keys"), []),
            (("people", 0, "keys", 0, "public_key"), "ssh-ed25519 AAAA"),
            (("people", 0, "keys", 0, "public_key"), LINES["bob"]),  # one key, two people
            (("people", 0, "keys", 0, "public_key"), LINES["carol"] + "\nmore"),
            (("people", 0, "keys", 0, "method"), "piv"),
            (("people", 0, "keys", 0, "method"), []),
            (("people", 0, "keys", 0, "from"), None),
            (("people", 0, "keys", 0, "until"), 0),
            (("critical",), ["more"]),
            (("critical",), [1]),
            (("critical",), None),
        ],
    )
    def test_with_anything_else_in_it_is_refused_at_its_place(
        self, place: tuple[Any, ...], value: Any
    ) -> None:
        raw: Any = parse(encode(STAFF), max_bytes=1 << 20)
        inner = raw
        for step in place[:-1]:
            inner = inner[step]
        inner[place[-1]] = value
        with pytest.raises(PeopleRefused) as refused:
            decode(canonical_bytes(raw))
        assert str(refused.value).startswith("people")

    def test_what_a_later_release_adds_is_passed_over_unless_it_is_critical(self) -> None:
        raw: Any = parse(encode(STAFF), max_bytes=1 << 20)
        raw["people"][0]["desk"] = raw["more"] = "third floor"
        assert STAFF == decode(canonical_bytes(raw | {"critical": ["people"]}))

    @given(st.binary(max_size=300))
    def test_any_other_bytes_are_refused(self, data: bytes) -> None:
        with pytest.raises(PeopleRefused):
            decode(data)

    @given(
        st.lists(st.sampled_from(NAMES), unique=True, min_size=1),
        st.integers(1, 2**53 - 1),
        st.sets(st.sampled_from(ROLES), min_size=1),
        st.booleans(),
        st.text(max_size=20).filter(lambda text: text.isprintable()),
    )
    def test_what_is_written_is_read(
        self, names: list[str], version: int, roles: set[str], active: bool, note: str
    ) -> None:
        people = tuple(
            replace(entry(name, active=active), roles=tuple(sorted(roles)), note=note)
            for name in sorted(names)
        )
        made = People(version, rfc3339(NOON), people)
        assert made == decode(encode(made))

    def test_what_a_newer_one_changes_is_said(self) -> None:
        alice, bob = STAFF.people
        fresh = Key("ssh", LINES["mallory"], rfc3339(NOON))
        new = People(4, rfc3339(NOON), (replace(alice, keys=(*alice.keys, fresh)), entry("carol")))
        found = [(item.name, item.what) for item in compare(STAFF, new)]
        assert [("alice", "key added"), ("bob", "left"), ("carol", "joined")] == found
        roles = replace(alice, roles=("author",))
        assert ["alice: roles: steward become author"] == [
            str(item) for item in compare(STAFF, People(4, rfc3339(NOON), (roles, bob)))
        ]
        assert [] == compare(STAFF, STAFF)


class Book:
    """A home's rows of people and the decisions about them, with every way to add one."""

    def __init__(self, *, solo: bool = False) -> None:
        self.rows: list[Registered] = []
        self.signed: list[Signed] = []
        self.solo, self.now = solo, NOON
        self.old: set[tuple[str, int]] = set()  # rows of before the upgrade

    def row(self, name: str, *, key: str | None = None, **changes: Any) -> Registered:
        """The next row of a person."""
        self.now += timedelta(hours=1)
        position = 1 + sum(one.name == name for one in self.rows)
        made = Registered(name, position, LINES[key or name], "steward", True, rfc3339(self.now))
        return replace(made, **changes)

    def decide(self, row: Registered, person: str, *, key: str | None = None, **changes: Any) -> str:
        """A person's signed decision about a row."""
        request = Request(
            Kind.SET_PERSON, row.name, "clinic", person, "as agreed", self.now, f"{len(self.signed):032x}",
            details=row.details(),
        )  # fmt: skip
        data = payload(replace(request, **changes))
        signed = Signed(data, sign(data, namespace=NAMESPACE, private_key=KEYS[key or person]), person)
        self.signed.append(signed)
        return signed.digest

    def put(self, row: Registered, *by: str) -> None:
        """Append a row with the signatures of these people; none at all is the founding."""
        said = (
            authority(decisions=sorted(self.decide(row, who) for who in by)) if by else authority(**FOUNDING)
        )
        self.rows.append(replace(row, authority=said))

    def acting(self) -> set[str]:
        ground = Ground("clinic", self.solo, tuple(self.signed), unsigned=frozenset(self.old))
        return {row.name for row in walk(self.rows, ground).acting(self.now)}

    def why(self) -> str:
        ground = Ground("clinic", self.solo, tuple(self.signed), unsigned=frozenset(self.old))
        return "; ".join(problem for _, problem in walk(self.rows, ground).passed_over)


@pytest.fixture
def book() -> Book:
    """A home with two stewards."""
    made = Book()
    made.put(made.row("alice"))
    made.put(made.row("bob"), "alice")
    assert {"alice", "bob"} == made.acting()
    return made


class TestWhoseWordItIs:
    def test_two_stewards_let_a_third_in(self, book: Book) -> None:
        book.put(book.row("carol"), "alice", "bob")
        assert {"alice", "bob", "carol"} == book.acting()

    def test_in_a_single_person_home_one_is_enough(self) -> None:
        book = Book(solo=True)
        book.put(book.row("alice", roles="author"))
        book.put(book.row("bob"), "alice")
        book.put(book.row("alice", key="carol"), "alice")
        assert {"alice", "bob"} == book.acting()

    def test_a_new_key_takes_the_owners_word_and_another(self, book: Book) -> None:
        book.put(book.row("bob", key="carol"), "alice", "bob")
        assert "" == book.why()

    def test_until_then_and_not_after(self, book: Book) -> None:
        book.put(book.row("carol", until=rfc3339(NOON + timedelta(hours=9))), "alice", "bob")
        assert "carol" in book.acting()
        book.now = NOON + timedelta(hours=9)
        assert "carol" not in book.acting()

    def test_one_steward_takes_somebody_out(self, book: Book) -> None:
        book.put(book.row("bob", active=False), "alice")
        assert {"alice"} == book.acting()

    def test_it_is_told_by_whose_word(self, book: Book) -> None:
        names = {signed.digest: signed.person for signed in book.signed}
        assert ["nobody (founding)", "alice"] == [signed_by(row, names) for row in book.rows]
        assert "the origin (b-1)" == signed_by(
            replace(book.rows[0], authority=authority(document="0" * 64, bundle="b-1")), {}
        )

    def test_rows_of_before_count_until_the_first_that_says_by_whose_word(self) -> None:
        book = Book()
        book.rows = [book.row("alice"), book.row("bob")]
        assert set() == book.acting()
        book.old = {("alice", 1), ("bob", 1)}
        assert {"alice", "bob"} == book.acting()
        book.rows.append(book.row("mallory"))  # came after the upgrade, signed by nobody
        assert {"alice", "bob"} == book.acting()
        book.rows.pop()
        book.put(book.row("carol"), "alice", "bob")
        book.rows.append(book.row("mallory"))
        assert {"alice", "bob", "carol"} == book.acting()


def _nobody(book: Book, row: Registered) -> Mapping[str, Any]:
    return FOUNDING


def _one(book: Book, row: Registered) -> Mapping[str, Any]:
    return {"decisions": [book.decide(row, "alice")]}


def _one_twice(book: Book, row: Registered) -> Mapping[str, Any]:
    return {"decisions": [book.decide(row, "alice"), book.decide(row, "alice", reason="again")]}


def _under_anothers_name(book: Book, row: Registered) -> Mapping[str, Any]:
    return {"decisions": [book.decide(row, "alice"), book.decide(row, "bob", key="alice")]}


def _themselves(book: Book, row: Registered) -> Mapping[str, Any]:
    return {"decisions": [book.decide(row, "alice"), book.decide(row, "mallory")]}


def _of_another_home(book: Book, row: Registered) -> Mapping[str, Any]:
    return {"decisions": [book.decide(row, "alice"), book.decide(row, "bob", home="harbour")]}


def _about_another_key(book: Book, row: Registered) -> Mapping[str, Any]:
    other = replace(row, public_key=LINES["carol"])
    return {"decisions": [book.decide(row, "alice"), book.decide(other, "bob")]}


def _about_another_person(book: Book, row: Registered) -> Mapping[str, Any]:
    return {"decisions": [book.decide(row, "alice"), book.decide(row, "bob", subject="carol")]}


def _over(book: Book, row: Registered) -> Mapping[str, Any]:
    return {"decisions": [book.decide(row, "alice"), book.decide(row, "bob", expires_at=book.now)]}


def _not_held(book: Book, row: Registered) -> Mapping[str, Any]:
    return {"decisions": [book.decide(row, "alice"), "0" * 64]}


def _a_document_that_is_not_here(book: Book, row: Registered) -> Mapping[str, Any]:
    return {"document": "0" * 64, "bundle": "b-1"}


def _nonsense(book: Book, row: Registered) -> Mapping[str, Any]:
    return {"decisions": 7}


@pytest.mark.parametrize(
    "forged",
    [
        _nobody,
        _one,
        _one_twice,
        _under_anothers_name,
        _themselves,
        _of_another_home,
        _about_another_key,
        _about_another_person,
        _over,
        _not_held,
        _a_document_that_is_not_here,
        _nonsense,
    ],
)
def test_a_row_that_an_administrator_appended_is_passed_over(book: Book, forged: Any) -> None:
    """With the database and the station's key at hand: the row is there, the log carries it, and nobody acts on it."""
    row = book.row("mallory")
    book.rows.append(replace(row, authority=authority(**forged(book, row))))
    assert {"alice", "bob"} == book.acting()
    assert book.why()


def test_a_row_without_an_authority_is_passed_over(book: Book) -> None:
    book.rows.append(book.row("mallory"))
    assert "nobody signed it" == book.why()


def test_an_administrator_does_not_put_their_key_under_anothers_name(book: Book) -> None:
    """alice's row of before stands on, with her key."""
    row = book.row("alice", key="mallory")
    book.rows.append(replace(row, authority=authority(decisions=[book.decide(row, "bob")])))
    ground = Ground("clinic", False, tuple(book.signed))
    assert LINES["alice"] == walk(book.rows, ground).rows["alice"].public_key


def test_who_sends_the_others_away_has_no_more_power_than_before(book: Book) -> None:
    book.put(book.row("alice", active=False), "bob")
    book.put(book.row("mallory"), "bob")
    assert {"bob"} == book.acting()
    assert "1 more signature" in book.why()


def test_a_decision_makes_its_row_once(book: Book) -> None:
    """carol was let in and taken out; the decisions that let her in bring her back no more."""
    book.put(book.row("carol"), "alice", "bob")
    old = book.rows[-1]
    book.put(book.row("carol", active=False), "alice")
    back = replace(book.row("carol"), authority=old.authority)
    book.rows.append(back)
    assert "carol" not in book.acting()
    book.rows[-1] = replace(back, position=1)  # nor under the number that they were made for
    assert "carol" not in book.acting()


def test_an_end_never_brings_another_key(book: Book) -> None:
    book.rows.append(book.row("bob", key="mallory", active=False))
    assert "changes the key" in book.why()
