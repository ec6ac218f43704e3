"""Accounts and tokens: who is known, what they may do, until when, and that every change stays to be seen."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from registry.access import cut, grants_text, parse_grant, parse_grants
from registry.accounts import Accounts, AccountUnfit, OwnAccountKept, TokenUnfit, in_tier
from registry.audit import EventKind
from registry.entities import AccessToken, DoorSession
from registry.errors import NameUnusable, NotFound
from registry.home import Home
from registry.store import Store
from registry.store_doors import DoorStore
from signing.digests import sha256_hex
from signing.times import rfc3339
from tests import world
from tests.conftest import NOON
from tidegate import keyring

VIEWER, STEWARD = parse_grants("viewer"), parse_grants("steward:org")


@pytest.fixture
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    """A new home's; on both databases for the tests that are marked so."""
    home: Home = request.getfixturevalue("site_home" if "database" in request.fixturenames else "sqlite_home")
    opened = Store(home.database, sign_head=keyring.head_signer(home))
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def founded(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return world.new_home(tmp_path_factory.mktemp("founded") / "site", name="clinic", now=NOON)


@pytest.fixture
def sqlite_home(founded: Home, tmp_path: Path) -> Home:
    return world.copied(founded, tmp_path / "site")


on_both = pytest.mark.usefixtures("database")


@pytest.fixture
def machine(store: Store) -> Accounts:
    """Root at the machine."""
    return Accounts(store, actor="root", now=NOON, at_machine=True)


def door(store: Store, name: str) -> Accounts:
    """Somebody who came in by a door."""
    return Accounts(store, actor=name, now=NOON, at_machine=False)


class TestAccounts:
    @on_both
    def test_each_change_is_a_row_and_an_event_that_says_what_it_was(
        self, store: Store, machine: Accounts
    ) -> None:
        machine.add("carla", VIEWER)
        machine.grant("carla", STEWARD)
        machine.revoke("carla", VIEWER)
        machine.note("carla", "password set")
        machine.deactivate("carla")
        machine.add("carla", VIEWER)

        with store.view() as view:
            said = [
                (e.note["what"], len(e.rows))
                for e in view.events()
                if e.kind == EventKind.ACCOUNT_SET and e.subject == "carla"
            ]
            now = view.account("carla")
        assert [
            ("added", 1), ("granted", 1), ("revoked", 1), ("password set", 0), ("deactivated", 1), ("added", 1),
        ] == said  # fmt: skip
        assert now is not None
        assert ("viewer", True, 5) == (now.grants, now.active, now.position)

    @pytest.mark.parametrize(
        "name", ["anonymous", "Carla", "carla smith", "main", "", "a" * 40, "carla\n", "../x", "карла"]
    )
    def test_a_name_that_no_person_could_have_is_refused(self, machine: Accounts, name: str) -> None:
        with pytest.raises(NameUnusable):
            machine.add(name, VIEWER)
        with pytest.raises(NameUnusable):
            machine.become(name, VIEWER)

    def test_what_would_change_nothing_is_said(self, machine: Accounts) -> None:
        machine.add("carla", VIEWER)
        with pytest.raises(AccountUnfit, match="there already"):
            machine.add("carla", STEWARD)
        with pytest.raises(AccountUnfit, match="nothing to change: it has viewer"):
            machine.grant("carla", VIEWER)
        with pytest.raises(AccountUnfit, match="nothing to change"):
            machine.revoke("carla", STEWARD)
        with pytest.raises(NotFound, match="nobody"):
            machine.grant("nobody", VIEWER)

    def test_an_account_that_ended_is_changed_by_nothing_but_being_added(self, machine: Accounts) -> None:
        machine.add("carla", VIEWER)
        machine.deactivate("carla")
        changes: list[Callable[[], object]] = [
            lambda: machine.grant("carla", STEWARD),
            lambda: machine.revoke("carla", VIEWER),
            lambda: machine.deactivate("carla"),
            lambda: machine.note("carla", "password set"),
            lambda: machine.become("carla", STEWARD),
            lambda: machine.new_token("carla", "x", VIEWER, days=1),
        ]
        for change in changes:
            with pytest.raises(AccountUnfit, match="ended"):
                change()

    def test_through_the_doors_nobody_changes_what_they_may_do(self, store: Store, machine: Accounts) -> None:
        machine.add("ada", parse_grants("admin"))
        machine.add("carla", VIEWER)
        ada = door(store, "ada")
        ada.grant("carla", STEWARD)
        changes: list[Callable[[], object]] = [
            lambda: ada.grant("ada", STEWARD),
            lambda: ada.revoke("ada", parse_grants("admin")),
            lambda: ada.deactivate("ada"),
        ]
        for change in changes:
            with pytest.raises(OwnAccountKept):
                change()
        with store.view() as view:
            held = view.account("ada")
        assert held is not None
        assert ("admin", True, 1) == (held.grants, held.active, held.position)

    def test_who_is_vouched_for_elsewhere_becomes_what_is_said_and_no_row_too_many(
        self, store: Store
    ) -> None:
        provider = door(store, "carla")
        assert 1 == provider.become("carla", VIEWER).position
        assert 1 == provider.become("carla", VIEWER).position
        assert (2, "steward:org") == (
            (row := provider.become("carla", STEWARD)).position,
            row.grants,
        )


class TestTokens:
    @on_both
    def test_only_its_digest_is_kept(self, store: Store, machine: Accounts) -> None:
        machine.add("ci", VIEWER)
        made = machine.new_token("ci", "nightly", VIEWER, days=30)
        secret = bytes(made.secret).decode()

        assert secret.startswith("tdg_")
        assert 43 == len(secret) - len("tdg_")
        assert secret not in repr(made)
        with store.view() as view:
            row = view.access_token(sha256_hex(secret.encode()))
            everything = repr([view.access_tokens(), view.events()])
        assert row is not None
        assert ("ci/nightly", "ci", rfc3339(NOON + timedelta(days=30))) == (row.name, row.account, row.until)
        assert secret not in everything

    @pytest.mark.parametrize(
        ("grants", "days", "problem"),
        [
            ("steward:org", 30, "more than its account may"),
            ("viewer", 30, "more than its account may"),
            ("viewer:org", 30, "more than its account may"),
            ("viewer:team,auditor", 30, "auditor is more"),
            ("", 30, "grant nothing"),
            ("viewer:team", 0, "days"),
            ("viewer:team", 731, "days"),
            ("viewer:team", -1, "days"),
        ],
    )
    def test_none_does_more_than_its_account_or_lasts_for_ever(
        self, machine: Accounts, grants: str, days: int, problem: str
    ) -> None:
        machine.add("ci", parse_grants("viewer:team"))
        with pytest.raises(TokenUnfit, match=problem):
            machine.new_token("ci", "nightly", parse_grants(grants), days=days)

    @on_both
    def test_a_label_is_free_again_when_its_token_has_ended(self, store: Store, machine: Accounts) -> None:
        machine.add("ci", VIEWER)
        first = machine.new_token("ci", "nightly", VIEWER, days=30)
        with pytest.raises(TokenUnfit, match="revoke it first"):
            machine.new_token("ci", "nightly", VIEWER, days=30)
        machine.revoke_token("ci/nightly")
        second = machine.new_token("ci", "nightly", VIEWER, days=30)

        assert (1, 3) == (first.row.position, second.row.position)
        assert not standing(store, first.row).active
        assert standing(store, second.row).active

    def test_a_label_whose_token_ran_out_is_free_and_the_old_one_stays_over(
        self, store: Store, machine: Accounts
    ) -> None:
        machine.add("ci", VIEWER)
        first = machine.new_token("ci", "nightly", VIEWER, days=1)
        later = Accounts(store, actor="root", now=NOON + timedelta(days=2), at_machine=True)
        later.new_token("ci", "nightly", VIEWER, days=1)
        assert standing(store, first.row).until < rfc3339(NOON + timedelta(days=2))

    def test_nobody_ends_a_token_of_somebody_else_or_learns_that_there_is_one(
        self, store: Store, machine: Accounts
    ) -> None:
        machine.add("carla", VIEWER)
        machine.add("dora", VIEWER)
        made = machine.new_token("carla", "nightly", VIEWER, days=1)
        with pytest.raises(NotFound) as there:
            door(store, "dora").revoke_token("carla/nightly", of="dora")
        with pytest.raises(NotFound) as not_there:
            door(store, "dora").revoke_token("carla/other", of="dora")
        assert str(there.value).replace("nightly", "other") == str(not_there.value)
        assert standing(store, made.row).active

    @on_both
    def test_they_end_with_their_account_and_do_not_come_back_with_it(
        self, store: Store, machine: Accounts
    ) -> None:
        machine.add("ci", VIEWER)
        made = machine.new_token("ci", "nightly", VIEWER, days=30)
        machine.deactivate("ci")
        assert not standing(store, made.row).active
        machine.add("ci", VIEWER)
        assert not standing(store, made.row).active
        with pytest.raises(TokenUnfit, match="was revoked"):
            machine.revoke_token("ci/nightly")

    @pytest.mark.parametrize("label", ["", "Nightly", "a/b", "a b", "latest", "x" * 32])
    def test_a_label_that_no_list_could_show_is_refused(self, machine: Accounts, label: str) -> None:
        machine.add("ci", VIEWER)
        with pytest.raises(NameUnusable):
            machine.new_token("ci", label, VIEWER, days=1)

    def test_a_tier_binds_what_names_none(self) -> None:
        assert "steward:org,viewer:team" == grants_text(in_tier(parse_grants("viewer,steward:org"), "team"))
        assert VIEWER == in_tier(VIEWER, None)
        with pytest.raises(NameUnusable):
            in_tier(parse_grants("admin"), "team")

    def test_cutting_is_by_what_the_account_may_today(self) -> None:
        assert {parse_grant("viewer:team")} == cut(VIEWER, parse_grants("viewer:team"))
        assert frozenset() == cut(STEWARD, VIEWER)


@on_both
class TestTheStateOfTheDoors:
    def test_tries_are_counted_forgiven_and_taken_back_one_by_one(self, store: Store) -> None:
        doors = DoorStore(store)
        moments = [rfc3339(NOON + timedelta(minutes=minute)) for minute in range(4)]
        numbers = [doors.tried("sign-in account carla", at) for at in moments]
        doors.tried("sign-in account dora", moments[0])

        assert 3 == doors.tries("sign-in account carla", moments[1])
        assert moments[:0:-1] == doors.newest_tries("sign-in account carla", moments[1], most=10)
        assert moments[:1:-1] == doors.newest_tries("sign-in account carla", moments[1], most=2)
        doors.take_back(numbers[3])
        assert 3 == doors.tries("sign-in account carla", moments[0])
        doors.forgive("sign-in account carla")
        assert 0 == doors.tries("sign-in account carla", moments[0])
        assert 1 == doors.tries("sign-in account dora", moments[0])

    def test_sessions_end_one_by_one_or_all_but_the_one_at_hand(self, store: Store) -> None:
        doors = DoorStore(store)
        doors.put(*[session(name, "carla") for name in ("a", "b", "c")], session("d", "dora"))

        doors.end_sessions("carla", but="b")
        assert ["b"] == [row.id for row in doors.sessions("carla")]
        assert doors.take(DoorSession, "d") is not None
        assert doors.take(DoorSession, "d") is None


def session(name: str, account: str) -> DoorSession:
    now = rfc3339(NOON)
    return DoorSession(
        id=name, account=account, grants=None, how="password", csrf="x", began=now, seen=now,
        until=rfc3339(NOON + timedelta(hours=12)),
    )  # fmt: skip


def standing(store: Store, row: AccessToken) -> AccessToken:
    with store.view() as view:
        found = view.access_token(row.digest)
    assert found is not None
    return found
