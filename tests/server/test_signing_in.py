"""Signing in, and everything that others try: guessing, planting, replaying, posing, flooding, listening."""

import itertools
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from starlette.testclient import TestClient

from registry.access import parse_grants
from registry.accounts import Accounts
from registry.audit import Entry, EventKind
from registry.entities import DoorAnswer
from registry.errors import StoreUnusable
from registry.home import Home
from registry.store_doors import DoorStore
from signing.digests import sha256_hex
from signing.hidden import Hidden
from signing.times import rfc3339
from tests import world
from tests.server_world import premises
from tidegate.server.accounts import first, limits, passwords
from tidegate.server.accounts.keeping import end_account, set_password
from tidegate.server.accounts.refusals import PasswordUnusable, TooMany
from tidegate.server.accounts.sessions import COOKIE
from tidegate.server.app import build
from tidegate.server.premises import Premises
from tidegate.server.settings import Limits, ServerSettings
from tidegate.server.sweeping import ANSWERS_KEPT, Sweeping, sweep

BEGAN = datetime.now(UTC).replace(microsecond=0)
SITE = "https://clinic"
WORD = "four unrelated words here"
PATIENT = Limits(sign_in_tries=3)


@dataclass
class Clock:
    now: datetime = BEGAN

    def __call__(self) -> datetime:
        return self.now

    def on(self, **time: float) -> None:
        self.now += timedelta(**time)


@dataclass
class Site:
    """A running site, its clock, and somebody at the machine."""

    at: Premises
    clock: Clock
    app: Any
    first: int = 0  # the log's size when the test began
    labels: Iterator[int] = field(default_factory=itertools.count)

    @property
    def machine(self) -> Accounts:
        return Accounts(self.at.store, actor="root", now=self.clock(), at_machine=True)

    def person(self, name: str, grants: str = "viewer", word: str = WORD) -> None:
        """Somebody with these grants and this password, whoever they were before."""
        with self.at.store.view() as view:
            held = view.account(name)
        if held is None or not held.active:
            self.machine.add(name, parse_grants(grants))
        self.machine.become(name, parse_grants(grants))
        set_password(self.machine, self.at.doors, name, Hidden(word.encode()), now=self.clock())

    def token(self, account: str, grants: str, *, days: int = 30) -> str:
        label = f"t{next(self.labels)}"
        return bytes(self.machine.new_token(account, label, parse_grants(grants), days=days).secret).decode()

    def browser(self, url: str = SITE, address: str = "10.0.0.1") -> "Browser":
        return Browser(TestClient(self.app, base_url=url, client=(address, 4711), follow_redirects=False))

    def events(self, kind: EventKind) -> list[Entry]:
        with self.at.store.view() as view:
            return [event for event in view.events(kind=kind) if event.position >= self.first]


@dataclass
class Browser:
    """What a browser sends by itself: cookies, and where a form comes from."""

    client: TestClient

    def form(self, path: str, *, origin: str | None = SITE, site: str | None = None, **fields: str) -> Any:
        said = {"origin": origin, "sec-fetch-site": site}
        return self.client.post(path, data=fields, headers={k: v for k, v in said.items() if v is not None})

    def sign_in(self, name: str, word: str = WORD, **more: Any) -> Any:
        return self.form("/sign-in", name=name, password=word, **more)

    def get(self, path: str = "/account", **headers: str) -> Any:
        return self.client.get(path, headers=headers)

    @property
    def csrf(self) -> str:
        found = re.search(r'name="csrf" value="([^"]+)"', self.get().text)
        assert found is not None
        return found[1]

    @property
    def known(self) -> bool:
        return bool(self.get().status_code == 200)


@pytest.fixture(scope="module", autouse=True)
def cheap() -> Iterator[None]:
    """Passwords that cost nothing, but for the tests that look at what they cost."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(passwords, "COST", passwords.Cost(passes=1, lanes=1, memory=8))
        yield


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return world.new_home(tmp_path_factory.mktemp("signing-in") / "site", name="clinic", now=BEGAN)


@contextmanager
def running(path: Path, clock: Clock, **settings: Any) -> Iterator[Site]:
    with premises(path, ServerSettings(**settings), clock=clock) as at:
        yield Site(at, clock, build(at))


@pytest.fixture(scope="module")
def one_site(home: Home) -> Iterator[Site]:
    with running(home.path, Clock(), limits=PATIENT) as found:
        yield found


@pytest.fixture
def site(one_site: Site) -> Site:
    """The site on another day, with carla on it."""
    one_site.clock.on(days=2)
    one_site.at.denials.settle(one_site.clock(), everything=True)
    with one_site.at.store.view() as view:
        head = view.head()
    one_site.first = head.size if head else 0
    one_site.person("carla")
    return one_site


class TestSigningIn:
    def test_a_person_signs_in_looks_and_signs_out(self, site: Site) -> None:
        browser = site.browser()
        assert "/sign-in?next=%2Faccount" == browser.get().headers["location"]

        done = browser.sign_in("carla", next="/account")

        assert (303, "/account") == (done.status_code, done.headers["location"])
        cookie = done.headers["set-cookie"]
        assert cookie.startswith(f"{COOKIE}=")
        for part in ("HttpOnly", "Secure", "SameSite=lax", "Path=/"):
            assert part in cookie
        assert "Domain" not in cookie
        assert "carla" in browser.get().text
        assert [("carla", "password")] == [
            (e.actor, e.note["method"]) for e in site.events(EventKind.SIGNED_IN)
        ]

        kept = dict(browser.client.cookies)
        assert 303 == browser.form("/sign-out", csrf=browser.csrf).status_code
        assert not browser.known
        browser.client.cookies.update(kept)
        assert not browser.known, "a copy of the cookie is worth nothing either"

    def test_one_time_code_lets_its_owner_choose_a_password_once(self, site: Site) -> None:
        site.machine.add("petra", parse_grants("viewer"))
        code = bytes(first.new_code(site.at.doors, "petra", site.clock())).decode()
        typed = code.lower().replace("-", " ")
        browser = site.browser()

        short = browser.form("/sign-in/first", code=typed, password="short", again="short")
        other = browser.form("/sign-in/first", code=typed, password=WORD, again=WORD + "x")
        assert (422, 422) == (short.status_code, other.status_code)
        assert 303 == browser.form("/sign-in/first", code=typed, password=WORD, again=WORD).status_code
        assert browser.known
        again = site.browser().form(
            "/sign-in/first", code=code, password="another long one", again="another long one"
        )
        assert 401 == again.status_code
        assert 303 == site.browser().sign_in("petra").status_code

    def test_a_code_ends_with_time_with_the_next_code_and_with_the_account(self, site: Site) -> None:
        doors = site.at.doors
        old = bytes(first.new_code(doors, "carla", site.clock())).decode()
        new = bytes(first.new_code(doors, "carla", site.clock())).decode()
        assert first.account_of(doors, old, site.clock()) is None
        assert "carla" == first.account_of(doors, new, site.clock())
        assert first.account_of(doors, new, site.clock() + timedelta(days=first.DAYS)) is None
        end_account(site.machine, doors, "carla")
        assert first.account_of(doors, new, site.clock()) is None

    @pytest.mark.parametrize(
        "to", ["//evil.example/", "https://evil.example/", "/\\evil.example", "javascript:alert(1)", "/x\r\nSet-Cookie: a=b", ""]
    )  # fmt: skip
    def test_it_leads_to_a_page_of_ours_and_to_no_other(self, site: Site, to: str) -> None:
        assert "/" == site.browser().sign_in("carla", next=to).headers["location"]

    def test_nobody_signs_in_where_others_can_read_along(self, site: Site) -> None:
        away = site.browser("http://clinic").sign_in("carla", origin="http://clinic")
        assert 403 == away.status_code
        assert "over http" in away.text
        here = site.browser("http://127.0.0.1:8765").sign_in("carla", origin="http://127.0.0.1:8765")
        assert 303 == here.status_code


class TestSessions:
    def test_a_cookie_that_was_planted_before_is_worth_nothing_after(self, site: Site) -> None:
        browser = site.browser()
        browser.client.cookies.set(COOKIE, "planted-by-somebody", domain="clinic.local", path="/")
        browser.sign_in("carla")
        assert browser.known
        assert "planted-by-somebody" != dict(browser.client.cookies)[COOKIE]
        thief = site.browser()
        thief.client.cookies.set(COOKIE, "planted-by-somebody")
        assert not thief.known

    def test_signing_in_again_makes_a_new_one_and_ends_the_old(self, site: Site) -> None:
        browser = site.browser()
        browser.sign_in("carla")
        old = dict(browser.client.cookies)
        browser.sign_in("carla")
        thief = site.browser()
        thief.client.cookies.update(old)
        assert (True, False) == (browser.known, thief.known)

    def test_the_database_does_not_hold_what_a_browser_shows(self, site: Site) -> None:
        browser = site.browser()
        browser.sign_in("carla")
        cookie = dict(browser.client.cookies)[COOKIE]
        [row] = site.at.doors.sessions("carla")
        assert cookie not in repr(row)
        thief = site.browser()
        thief.client.cookies.set(COOKIE, row.id)
        assert not thief.known

    def test_it_ends_idle_and_it_ends_however_busy(self, site: Site) -> None:
        idle, busy = site.browser(), site.browser()
        idle.sign_in("carla")
        busy.sign_in("carla")
        for _ in range(13):
            site.clock.on(minutes=55)
            assert busy.known
        assert not idle.known
        site.clock.on(minutes=6)
        assert not busy.known, "twelve hours after signing in"

    def test_it_ends_with_the_account_with_another_password_and_everywhere_at_once(self, site: Site) -> None:
        one, two = site.browser(), site.browser()
        one.sign_in("carla")
        two.sign_in("carla")
        changed = two.form(
            "/account/password",
            current=WORD,
            password="another long word",
            again="another long word",
            csrf=two.csrf,
        )
        assert 200 == changed.status_code
        assert (False, True) == (one.known, two.known)
        one.sign_in("carla", "another long word")
        assert 303 == two.form("/account/sessions/end", csrf=two.csrf).status_code
        assert (False, False) == (one.known, two.known)

        one.sign_in("carla", "another long word")
        end_account(site.machine, site.at.doors, "carla")
        assert not one.known
        assert 401 == one.sign_in("carla", "another long word").status_code
        site.machine.add("carla", parse_grants("viewer"))
        assert 401 == one.sign_in("carla", "another long word").status_code, "nor with what it had before"

    def test_the_password_of_now_is_asked_for_at_a_screen_that_was_left_open(self, site: Site) -> None:
        browser = site.browser()
        browser.sign_in("carla")
        new = {"password": "another long word", "again": "another long word"}
        for _ in range(PATIENT.sign_in_tries):
            assert 401 == browser.form("/account/password", current="?", csrf=browser.csrf, **new).status_code
        assert 429 == browser.form("/account/password", current=WORD, csrf=browser.csrf, **new).status_code

    def test_nobody_ends_the_session_of_somebody_else(self, site: Site) -> None:
        site.person("dora")
        carla, dora = site.browser(), site.browser()
        carla.sign_in("carla")
        dora.sign_in("dora")
        [row] = site.at.doors.sessions("carla")
        assert 404 == dora.form("/account/sessions/end", session=row.id[:12], csrf=dora.csrf).status_code
        assert carla.known


class TestSweeping:
    def test_what_has_ended_is_forgotten_and_the_rest_is_not(self, site: Site) -> None:
        doors, account = site.at.doors, limits.account_subject("carla")
        ended, going = site.browser(), site.browser()
        ended.sign_in("carla")
        ended.sign_in("carla", "wrong")
        code = first.new_code(doors, "carla", site.clock())
        doors.put(answer("old", site.clock()))
        site.clock.on(days=first.DAYS, seconds=1)
        going.sign_in("carla")
        going.sign_in("carla", "wrong")
        doors.put(answer("new", site.clock()))

        sweep(site.at)

        assert (1, 1) == (len(doors.sessions("carla")), doors.tries(account, rfc3339(BEGAN)))
        assert not first.take_code(doors, bytes(code).decode())
        kept = [doors.get(DoorAnswer, "carla", key) is not None for key in ("old", "new")]
        assert [False, True] == kept
        assert (False, True) == (ended.known, going.known)
        site.clock.on(seconds=ANSWERS_KEPT.total_seconds() - 1)
        sweep(site.at)
        assert doors.get(DoorAnswer, "carla", "new") is not None, "an answer is kept for a day"

    def test_it_goes_on_by_itself_also_when_the_database_was_away(
        self, site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        swept, real = threading.Event(), DoorStore.sweep

        def away_at_first(doors: DoorStore, **moments: str) -> None:
            if not caplog.records:
                raise StoreUnusable("sqlite", "it is away")
            real(doors, **moments)
            swept.set()

        monkeypatch.setattr(DoorStore, "sweep", away_at_first)
        sweeping = Sweeping(site.at, every=0.01)
        sweeping.start()
        try:
            assert swept.wait(30)
        finally:
            sweeping.stop()
        assert ["what has ended is not swept now"] == [
            line.getMessage().partition(":")[0] for line in caplog.records
        ]


def answer(key: str, at: datetime) -> DoorAnswer:
    return DoorAnswer(
        account="carla", key=key, request="0" * 64, status=200, headers="{}", body="", at=rfc3339(at)
    )


class TestOtherSites:
    """Cross-site request forgery, and pages that would like to be ours."""

    @pytest.mark.parametrize(
        ("origin", "fetch"),
        [
            ("https://evil.example", None), ("https://evil.example", "cross-site"), ("null", "cross-site"),
            ("null", None), (None, "cross-site"), (None, "same-site"), (None, None), ("http://clinic", None),
            ("https://clinic.evil.example", None), ("https://sub.clinic", "same-site"), ("https://clinic:444", None),
        ],
    )  # fmt: skip
    def test_their_forms_change_nothing(self, site: Site, origin: str | None, fetch: str | None) -> None:
        browser = site.browser()
        browser.sign_in("carla")
        token = browser.csrf
        answer = browser.form("/account/sessions/end", origin=origin, site=fetch, csrf=token)
        assert 403 == answer.status_code
        assert browser.known
        assert 403 == site.browser().sign_in("carla", origin=origin, site=fetch).status_code, (
            "nor sign one in"
        )
        assert "change something from that page" in [e.note["right"] for e in site.events(EventKind.DENIED)]

    @pytest.mark.parametrize(
        ("origin", "fetch"), [(SITE, None), (None, "same-origin"), ("null", "same-origin")]
    )
    def test_our_own_do(self, site: Site, origin: str | None, fetch: str | None) -> None:
        browser = site.browser()
        assert 303 == browser.sign_in("carla", origin=origin, site=fetch).status_code
        answer = browser.form("/account/sessions/end", origin=origin, site=fetch, csrf=browser.csrf)
        assert 303 == answer.status_code

    def test_a_form_holds_its_own_sessions_token(self, site: Site) -> None:
        site.person("mallory")
        carla, mallory = site.browser(), site.browser()
        carla.sign_in("carla")
        mallory.sign_in("mallory")
        for sent in ({}, {"csrf": ""}, {"csrf": mallory.csrf}, {"csrf": carla.csrf[:-1]}, {"csrf": "ключ"}):
            assert 403 == carla.form("/account/sessions/end", **sent).status_code
        assert carla.known

    @pytest.mark.parametrize("path", ["/account/sessions/end", "/tiers/team/demo/tiny/back", "/sign-in"])
    def test_no_browser_opens_its_own_box_for_a_password(self, site: Site, path: str) -> None:
        """It would keep what is typed there and send it everywhere; programs are still told how to show a token."""
        sent = site.browser().form(path, name="carla", password="wrong")
        assert 401 == sent.status_code
        assert "www-authenticate" not in sent.headers
        assert "Basic" in site.browser().get("/api/v1/models").headers["www-authenticate"]

    def test_a_scripts_header_counts_as_the_form_does(self, site: Site) -> None:
        browser = site.browser()
        browser.sign_in("carla")
        answer = browser.client.post(
            "/account/sessions/end", headers={"origin": SITE, "x-csrf-token": browser.csrf}
        )
        assert 303 == answer.status_code

    def test_a_browsers_kept_name_and_password_are_no_help_to_them(self, site: Site) -> None:
        """A browser that was once asked for a token sends it with every form, also with those of other sites."""
        token = site.token("carla", "viewer")
        for origin in ("https://evil.example", "null"):
            answer = site.browser().client.post(
                "/account/sessions/end", auth=("x", token), headers={"origin": origin}
            )
            assert 403 == answer.status_code

    @pytest.mark.parametrize(
        "host", ["evil.example", "clinic.evil.example:8765", "[", "127.0.0.1.evil.example"]
    )
    def test_we_do_not_answer_to_a_name_that_somebody_else_gave_us(self, site: Site, host: str) -> None:
        answer = site.browser().get("/sign-in", host=host)
        assert 403 == answer.status_code

    @pytest.mark.parametrize("host", ["clinic", "127.0.0.1:8765", "[::1]:8765", "10.0.0.7"])
    def test_names_that_no_other_site_can_have_are_fine(self, site: Site, host: str) -> None:
        assert 200 == site.browser().get("/sign-in", host=host).status_code

    def test_the_sites_own_name_is_the_one_of_its_settings(self, home: Home) -> None:
        with running(home.path, Clock(), public_url="https://models.example") as site:
            assert 200 == site.browser().get("/sign-in", host="models.example").status_code
            assert 403 == site.browser().get("/sign-in", host="models.example.evil.example").status_code


class TestGuessing:
    def test_a_right_password_is_refused_too_while_the_account_is_locked(self, site: Site) -> None:
        for number in range(PATIENT.sign_in_tries):
            assert 401 == site.browser(address=f"10.0.1.{number}").sign_in("carla", "wrong").status_code
        locked = site.browser().sign_in("carla")
        assert 429 == locked.status_code
        assert 850 <= int(locked.headers["retry-after"]) <= 901
        site.clock.on(minutes=14)
        assert 429 == site.browser().sign_in("carla").status_code
        site.clock.on(minutes=1, seconds=2)
        assert 303 == site.browser().sign_in("carla").status_code

    def test_knocking_on_does_not_keep_it_locked(self, site: Site) -> None:
        for _ in range(PATIENT.sign_in_tries):
            site.browser().sign_in("carla", "wrong")
        for minute in range(3):
            site.clock.on(minutes=5)
            if minute < 2:
                assert 429 == site.browser(address="10.0.9.9").sign_in("carla", "wrong").status_code
        site.clock.on(seconds=2)
        assert 303 == site.browser().sign_in("carla").status_code

    def test_a_restart_forgives_nobody_and_an_administrator_does(self, tmp_path: Path) -> None:
        made, clock = world.new_home(tmp_path / "site", name="clinic", now=BEGAN), Clock()
        with running(made.path, clock, limits=PATIENT) as site:
            site.person("carla")
            site.person("ada", "admin")
            for _ in range(PATIENT.sign_in_tries):
                site.browser().sign_in("carla", "wrong")
        with running(made.path, clock, limits=PATIENT) as site:
            assert 429 == site.browser(address="10.0.0.2").sign_in("carla").status_code
            ada = site.browser(address="10.0.0.3")
            ada.sign_in("ada")
            assert "locked" in ada.get("/account/all/carla").text
            assert 303 == ada.form("/account/all/carla/unlock", csrf=ada.csrf).status_code
            assert 303 == site.browser(address="10.0.0.2").sign_in("carla").status_code

    def test_one_address_guesses_no_further_under_many_names(self, site: Site) -> None:
        for number in range(PATIENT.sign_in_tries):
            assert 401 == site.browser().sign_in(f"name{number}", "wrong").status_code
        assert 429 == site.browser().sign_in("carla").status_code
        assert 303 == site.browser(address="10.0.0.2").sign_in("carla").status_code

    def test_an_ipv6_neighbourhood_is_one_address(self, site: Site) -> None:
        for number in range(PATIENT.sign_in_tries):
            site.browser(address=f"2001:db8:1:2::{number}").sign_in(f"name{number}", "wrong")
        assert 429 == site.browser(address="2001:db8:1:2:ffff::1").sign_in("carla").status_code
        assert 303 == site.browser(address="2001:db8:1:3::1").sign_in("carla").status_code

    def test_what_is_said_and_recorded_is_alike_for_names_that_exist_and_names_that_do_not(
        self, site: Site
    ) -> None:
        known, unknown = (
            site.browser(address=f"10.0.0.{n}").sign_in(name, "wrong")
            for n, name in ((1, "carla"), (2, "nobody"))
        )
        assert known.status_code == unknown.status_code
        assert known.text.replace("carla", "NAME") == unknown.text.replace("nobody", "NAME")
        assert ["carla", None] == [e.note["account"] for e in site.events(EventKind.DENIED)]
        for _ in range(PATIENT.sign_in_tries):
            site.browser(address="10.0.3.1").sign_in("nobody", "wrong")
        assert 429 == site.browser(address="10.0.3.2").sign_in("nobody", "wrong").status_code, (
            "locked as well"
        )

    def test_a_name_that_does_not_exist_costs_the_same_work(
        self, site: Site, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Counted, not timed: whoever measures on a busy machine measures the machine."""
        worked: list[str] = []
        real = Argon2id.verify_phc_encoded

        class Counting:
            @staticmethod
            def verify_phc_encoded(password: bytes, hashed: str) -> None:
                worked.append(hashed[: len(passwords.COST.prefix)])
                real(password, hashed)

        monkeypatch.setattr(passwords, "Argon2id", Counting)
        site.machine.add("unset", parse_grants("viewer"))
        site.machine.add("ended", parse_grants("viewer"))
        site.machine.deactivate("ended")
        for number, name in enumerate(("carla", "nobody", "unset", "ended", "", "x" * 1000)):
            site.browser(address=f"10.0.4.{number}").sign_in(name, "wrong")
        assert [passwords.COST.prefix] * 6 == worked

    def test_the_cost_is_that_of_rfc_9106(self) -> None:
        """The module's fixture makes it cheap for the other tests; this is what a process has that runs no tests."""
        program = "from tidegate.server.accounts.passwords import COST; print(COST.prefix)"
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        assert "$argon2id$v=19$m=65536,t=3,p=4$" == done.stdout.strip()

    def test_no_password_has_the_hash_that_is_nobodys(self) -> None:
        assert not passwords.matches(Hidden(b""), None)
        assert not passwords.matches(Hidden(b"x" * 10_000), None)


class TestPasswords:
    @pytest.mark.parametrize(
        "word", ["", "short", "eleven char", "aaaaaaaaaaaaaaaa", "abababababababab", "x" * 257, "carla-carla-1", "tidegate-carla"]
    )  # fmt: skip
    def test_one_that_is_easy_to_guess_is_refused(self, word: str) -> None:
        with pytest.raises(PasswordUnusable):
            passwords.demand_good(Hidden(word.encode()), "carla")

    def test_it_is_the_same_on_every_keyboard(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(passwords, "COST", passwords.Cost(passes=3, lanes=4, memory=65536))
        kept = passwords.kept(Hidden("Grüße aus der Klinik".encode()))
        assert kept.startswith("$argon2id$v=19$m=65536,t=3,p=4$")
        assert passwords.matches(Hidden("Gru\u0308ße aus der Klinik".encode()), kept)
        assert not passwords.matches(Hidden(b"Grusse aus der Klinik"), kept)
        assert not passwords.outdated(kept)
        assert passwords.outdated(kept.replace("m=65536", "m=19456"))

    def test_too_many_at_once_are_turned_away_and_hold_no_threads(self) -> None:
        for _ in range(passwords._QUEUE):
            passwords._places.acquire()
        try:
            with pytest.raises(TooMany):
                passwords.matches(Hidden(b"x"), None)
        finally:
            passwords._places.release(passwords._QUEUE)

    def test_none_stands_in_a_log_an_event_a_page_or_the_database(
        self, site: Site, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
    ) -> None:
        typed = ("a very secret password", "an other secret password")
        browser = site.browser()
        pages = [browser.sign_in("carla", typed[0]).text]
        pages += [browser.sign_in(typed[1], "x").text.replace(f'value="{typed[1]}"', "")]
        browser.sign_in("carla")
        pages += [
            browser.form(
                "/account/password", current=typed[0], password=typed[1], again="?", csrf=browser.csrf
            ).text
        ]
        pages += [browser.form("/sign-in", name="carla", password=typed[0] * 200).text]
        seen = capfd.readouterr()
        database = b"".join(file.read_bytes() for file in site.at.home.path.rglob("*") if file.is_file())
        for word in typed:
            assert word not in seen.out + seen.err + caplog.text + "".join(pages)
            assert word.encode() not in database
        assert WORD.encode() not in database


class TestTokens:
    def test_it_does_what_it_says_by_both_ways_of_showing_it(self, site: Site) -> None:
        token = site.token("carla", "viewer")
        for headers in ({"authorization": f"Bearer {token}"}, {"authorization": f"bearer {token}"}):
            assert 200 == site.browser().get(**headers).status_code
        assert 200 == site.browser().client.get("/account", auth=("whoever", token)).status_code

    def test_it_loses_what_its_account_loses(self, site: Site) -> None:
        site.machine.grant("carla", parse_grants("admin"))
        headers = {"authorization": f"Bearer {site.token('carla', 'admin')}"}
        assert 200 == site.browser().get("/account/all", **headers).status_code
        site.machine.revoke("carla", parse_grants("admin"))
        assert 403 == site.browser().get("/account/all", **headers).status_code

    @pytest.mark.parametrize("how", ["ended", "revoked", "account ended", "never was"])
    def test_one_that_is_no_good_is_refused_in_words_and_recorded(self, site: Site, how: str) -> None:
        token = site.token("carla", "viewer", days=1)
        if how == "ended":
            site.clock.on(days=1)
        elif how == "revoked":
            with site.at.store.view() as view:
                [row] = [
                    row for row in view.access_tokens("carla") if row.digest == sha256_hex(token.encode())
                ]
            site.machine.revoke_token(row.name)
        elif how == "account ended":
            site.machine.deactivate("carla")
        else:
            token = token[:-4] + "AAAA"
        answer = site.browser().get("/api/v1/operations", authorization=f"Bearer {token}")
        assert 401 == answer.status_code
        assert re.search("ended at|was revoked at|no such token", answer.text)
        assert 1 == len(site.events(EventKind.DENIED))
        assert 200 == site.browser().get("/healthz", authorization=f"Bearer {token}").status_code

    def test_one_bound_to_a_tier_is_nothing_elsewhere(self, site: Site) -> None:
        site.machine.grant("carla", parse_grants("steward"))
        headers = {"authorization": f"Bearer {site.token('carla', 'steward:org')}"}
        asked = {"model": "acme/guard", "tier": "team", "reason": "x"}
        answer = site.browser().client.post("/api/v1/operations/rollback", headers=headers, json=asked)
        assert 403 == answer.status_code
        assert "may not roll back in team" in answer.text
        answer = site.browser().client.post(
            "/api/v1/operations/rollback", headers=headers, json=asked | {"tier": "org"}
        )
        assert 403 != answer.status_code

    @pytest.mark.parametrize(
        "header", ["Bearer", "Bearer ", "Basic", "Basic ====", "Basic " + "A" * 4000, "Digest x", "Bearer " + "x" * 9000, "Basic /////w=="]
    )  # fmt: skip
    def test_what_is_no_token_of_ours_is_nobody(self, site: Site, header: str) -> None:
        assert 303 == site.browser().get(authorization=header).status_code

    def test_when_it_was_used_is_kept_to_the_minute(self, site: Site) -> None:
        token = site.token("carla", "viewer")
        headers = {"authorization": f"Bearer {token}"}
        site.browser().get(**headers)
        site.clock.on(minutes=3)
        site.browser().get(**headers)
        used = site.at.doors.last_uses()[sha256_hex(token.encode())]
        assert used.startswith(site.clock().strftime("%Y-%m-%dT%H:%M"))

    def test_one_that_is_too_fast_is_slowed_and_the_others_are_not(self, home: Home) -> None:
        with running(home.path, Clock(), limits=Limits(token_requests_per_second=2)) as site:
            for name in ("fast", "slow"):
                site.machine.become(name, parse_grants("viewer"))
            fast, slow = (
                {"authorization": f"Bearer {site.token(name, 'viewer')}"} for name in ("fast", "slow")
            )
            codes = [site.browser().get("/metrics", **fast).status_code for _ in range(12)]
            assert 429 in codes
            assert 429 != site.browser().get("/metrics", **slow).status_code

    def test_it_makes_no_token_and_changes_no_password(self, site: Site) -> None:
        site.machine.grant("carla", parse_grants("admin"))
        headers = {"authorization": f"Bearer {site.token('carla', 'viewer,admin')}"}
        for path in ("/account/tokens", "/account/password", "/account/sessions/end", "/account/all"):
            answer = site.browser().client.post(
                path, headers=headers, data={"label": "x", "grants": "viewer"}
            )
            assert 403 == answer.status_code


class TestPosing:
    @pytest.mark.parametrize(
        "header",
        ["x-remote-user", "remote-user", "x-forwarded-user", "x-client-verify", "x-client-dn", "x-ssl-client-s-dn", "x-tidegate-user"],
    )  # fmt: skip
    def test_a_header_that_says_who_somebody_is_says_nothing(self, site: Site, header: str) -> None:
        site.person("ada", "admin")
        said = {
            header: "ada",
            "x-client-verify": "SUCCESS",
            "x-remote-groups": "admins",
            "x-real-ip": "127.0.0.1",
        }
        assert 303 == site.browser().get("/account", **said).status_code

    def test_a_header_that_says_where_somebody_is_forgives_no_guess(self, site: Site) -> None:
        for number in range(PATIENT.sign_in_tries):
            site.browser().client.post(
                "/sign-in",
                data={"name": f"n{number}", "password": "x"},
                headers={
                    "origin": SITE,
                    "x-real-ip": f"10.9.9.{number}",
                    "x-forwarded-for": f"10.9.9.{number}",
                },
            )
        assert 429 == site.browser().sign_in("carla").status_code


class TestDenials:
    def test_each_is_an_event_and_those_alike_stand_in_one(self, site: Site) -> None:
        browser = site.browser()
        for _ in range(50):
            browser.get("/models")
        assert [1] == [e.note["count"] for e in site.events(EventKind.DENIED)]
        site.clock.on(seconds=61)
        browser.get("/healthz")
        events = site.events(EventKind.DENIED)
        assert [1, 49] == [e.note["count"] for e in events]
        assert {("anonymous", "/models", "look", "10.0.0.1")} == {
            (e.actor, e.subject, e.note["right"], e.note["address"]) for e in events
        }

    def test_a_flood_from_everywhere_does_not_fill_the_log(self, site: Site) -> None:
        before = len(site.events(EventKind.DENIED))
        for number in range(120):
            site.browser(address=f"10.1.0.{number}").get("/models")
        site.at.denials.settle(site.clock() + timedelta(minutes=1))
        events = site.events(EventKind.DENIED)[before:]
        assert 120 == sum(e.note["count"] for e in events)
        assert 102 == len(events), "a hundred addresses, then all others, at first and at last"

    def test_a_flood_of_strangers_hides_nobody_who_is_known(self, site: Site) -> None:
        for number in range(101):
            site.browser(address=f"10.2.0.{number}").get("/models")
        headers = {"authorization": f"Bearer {site.token('carla', 'viewer')}"}
        site.browser().get("/account/all", **headers)
        assert ["carla"] == [e.actor for e in site.events(EventKind.DENIED) if e.actor != "anonymous"]

    def test_what_was_counted_is_written_when_the_doors_close(self, tmp_path: Path) -> None:
        made = world.new_home(tmp_path / "site", name="clinic", now=BEGAN)
        with running(made.path, Clock()) as site:
            for _ in range(5):
                site.browser().get("/models")
        with running(made.path, Clock()) as site:
            assert 5 == sum(e.note["count"] for e in site.events(EventKind.DENIED))


class TestAdministrators:
    def test_they_make_an_account_whose_password_they_never_know(self, site: Site) -> None:
        site.person("ada", "admin")
        ada = site.browser()
        ada.sign_in("ada")
        made = ada.form("/account/all", name="emil", grants="steward:org", csrf=ada.csrf)
        code = re.search(r'class="secret">([A-Z2-7-]+)<', made.text)
        assert code is not None
        emil = site.browser()
        assert 303 == emil.form("/sign-in/first", code=code[1], password=WORD, again=WORD).status_code
        assert "steward:org" in emil.get().text
        assert 403 == emil.get("/account/all").status_code

    def test_what_outlives_a_session_takes_one_that_began_lately(self, site: Site) -> None:
        """A cookie that was stolen at noon is no way in tomorrow."""
        site.person("ada", "admin,viewer")
        site.person("dora", "viewer,auditor")
        ada = site.browser()
        ada.sign_in("ada")
        assert 200 == ada.form("/account/tokens", label="one", grants="viewer", csrf=ada.csrf).status_code
        site.clock.on(minutes=16)
        lasting: list[tuple[str, dict[str, str]]] = [
            ("/account/tokens", {"label": "two", "grants": "viewer"}),
            ("/account/passkeys/new", {}),
            ("/account/all", {"name": "emil", "grants": "viewer"}),
            ("/account/all/dora/grants", {"grants": "admin"}),
            ("/account/all/dora/code", {}),
            ("/account/all/dora/tokens", {"label": "x", "grants": "viewer"}),
        ]
        for path, fields in lasting:
            answer = ada.form(path, csrf=ada.csrf, **fields)
            assert (403, True) == (answer.status_code, "too long ago" in answer.text), path
        assert 303 == ada.form("/account/all/dora/grants", revoke="auditor", csrf=ada.csrf).status_code
        ada.sign_in("ada")
        assert 200 == ada.form("/account/tokens", label="two", grants="viewer", csrf=ada.csrf).status_code

    def test_they_grant_revoke_and_end(self, site: Site) -> None:
        site.person("ada", "admin")
        ada = site.browser()
        ada.sign_in("ada")
        one = "/account/all/carla"
        token = ada.csrf
        assert 303 == ada.form(f"{one}/grants", grants="auditor", csrf=token).status_code
        assert 303 == ada.form(f"{one}/grants", revoke="viewer", csrf=token).status_code
        made = ada.form(f"{one}/tokens", label="nightly", grants="auditor", days="5", csrf=token)
        assert "tdg_" in made.text
        assert "tdg_" not in ada.get(one).text, "shown once"
        assert 422 == ada.form(f"{one}/tokens", label="x", grants="viewer", csrf=token).status_code
        assert 303 == ada.form(f"{one}/tokens/revoke", name="carla/nightly", csrf=token).status_code
        assert 303 == ada.form(f"{one}/deactivate", csrf=token).status_code
        with site.at.store.view() as view:
            held = view.account("carla")
        assert held is not None
        assert (False, "auditor", "ada") == (held.active, held.grants, held.actor)

    def test_they_do_not_make_themselves_stewards(self, site: Site) -> None:
        site.person("ada", "admin")
        ada = site.browser()
        ada.sign_in("ada")
        for path, fields in (("grants", {"grants": "steward"}), ("deactivate", {}), ("code", {})):
            assert 403 == ada.form(f"/account/all/ada/{path}", csrf=ada.csrf, **fields).status_code
        made = ada.form("/account/tokens", label="x", grants="steward", csrf=ada.csrf)
        assert 422 == made.status_code


def test_names_and_labels_are_shown_as_they_are(site: Site) -> None:
    """Nothing that somebody types becomes a part of a page."""
    site.person("ada", "admin")
    ada = site.browser()
    ada.sign_in("ada")
    nasty = '"><script>alert(1)</script>'
    for answer in (
        ada.form("/account/all", name=nasty, grants=nasty, csrf=ada.csrf),
        ada.form("/account/tokens", label=nasty, grants=nasty, csrf=ada.csrf),
        site.browser().sign_in(nasty, nasty),
        site.browser().get(f"/sign-in?next=/{nasty}"),
    ):
        assert "<script>alert" not in answer.text
