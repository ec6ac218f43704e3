"""Passkeys: made by a real browser, let somebody in, and sign what people sign; and everybody who tries otherwise."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.approve import request_approval
from pipelines.break_glass import request_break_glass
from pipelines.people import Wanted
from registry.audit import EventKind
from registry.entities import DoorSession
from registry.home import load
from signing.digests import sha256_hex
from signing.times import rfc3339
from tests import browser, second_reader, server_world, world
from tests.cli import Prompt
from tests.pipelines import stewards
from tests.pipelines.stewards import MODEL, ONE, Stewards
from tests.server import passkey_world as seen
from tests.signing.test_sshsig import keygen_accepts
from tests.vectors.people import Passkey
from tidegate.server.accounts import passkeys, sessions
from tidegate.server.accounts.passkey_refusals import PasskeyRefused
from tidegate.server.accounts.vouching import vouched
from tidegate.server.settings import ServerSettings

if TYPE_CHECKING:
    from fastapi import FastAPI
    from playwright.sync_api import Browser
    from starlette.testclient import TestClient

SITE = "https://models.example"
NAMED = ServerSettings(public_url=SITE)
NARROW = ("pubKeyCredParams",)  # Chromium would have RSA, too; OpenSSH knows ES256 alone


@pytest.fixture(scope="module")
def today(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home of three stewards, founded a minute ago; alice, bob and dan (no steward) have accounts."""
    folder = tmp_path_factory.mktemp("today") / "home"
    stewards.found(folder, datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=1))
    seen.known(folder, "alice", "steward")
    seen.known(folder, "bob", "steward:org", password=False)
    seen.known(folder, "dan", "viewer")
    return folder


@pytest.fixture
def home(today: Path, tmp_path: Path) -> Path:
    shutil.copytree(today, tmp_path / "home")
    settings = tmp_path / "home" / "tidegate.toml"
    settings.write_text(settings.read_text().replace(str(today), str(tmp_path / "home")))
    return tmp_path / "home"


@contextmanager
def at_work(home: Path) -> Iterator[Stewards]:
    with world.at_work(load(home), actor="ines", now=datetime.now(UTC).replace(microsecond=0)) as work:
        yield Stewards(work)


def becomes(home: Path, person: str, line: str) -> None:
    """The other two stewards sign for somebody's new key."""
    with at_work(home) as desk:
        desk.people(
            Wanted(person, line, ("steward",)),
            *[name for name in ("alice", "bob", "carla") if name != person][:2],
        )


# -- with a real browser ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def chromium() -> Iterator["Browser"]:
    with browser.browser() as running:
        yield running


def test_a_steward_signs_in_the_browser_and_everybody_can_check_it(
    home: Path, tmp_path: Path, chromium: "Browser"
) -> None:
    """Alice makes a passkey, the others sign for its key, she signs in and approves with it: `ssh-keygen` agrees."""
    with server_world.served(home) as server:
        url = server.url.replace("127.0.0.1", "localhost")
        with browser.visit(chromium, url) as (page, heard), seen.plugged_in(page):
            heard.expected = NARROW
            seen.signs_in(page, "alice")
            line = seen.makes_passkey(page, "blue token")
            assert "It signs no approvals yet" in page.inner_text("main")
            becomes(home, "alice", line)

            page.get_by_role("button", name="Sign out").click()
            page.get_by_role("button", name="Sign in with a passkey").click()
            page.wait_for_url(f"{url}/")
            page.goto("/account/passkeys")
            assert "It is your key among the people" in page.inner_text("main")

            with at_work(home) as desk:
                asked = desk.ask()
            page.goto(f"/requests/{asked.digest}")
            page.get_by_label("Comment").first.fill("read the report")
            page.get_by_role("button", name="Approve with passkey").click()
            page.get_by_text("1 of 2 approvals").wait_for()
            assert browser.accessible(page) == []
            heard.demand_silence()

    with at_work(home) as desk:
        found = desk.look()
        [counted] = found.approvals.counted
        with desk.work.store.view() as view:
            [row] = view.approvals(asked.version, "org")
            kinds = {(entry.kind, entry.subject): entry.note for entry in view.events()}
    assert ("alice", "read the report", url) == (
        counted.person, counted.answer.reason, counted.signature.origin,
    )  # fmt: skip
    assert counted.signature.hardware
    assert keygen_accepts(tmp_path, line, row.signature, row.payload.encode())
    assert not keygen_accepts(tmp_path, line, row.signature, b"another payload")
    assert "passkey" == kinds[EventKind.SIGNED_IN, "alice"]["method"]
    assert {"what": "added", "may_be_copied": False} == {
        name: kinds[EventKind.PASSKEY_SET, "alice"][name] for name in ("what", "may_be_copied")
    }
    Prompt(home, "audra").type("audit", "export", tmp_path / "audit")
    with second_reader.loaded() as modules:
        assert "passkey, touched and given its PIN" in " ".join(
            audited(modules["verify"], tmp_path / "audit")
        )


def audited(verify: ModuleType, folder: Path) -> list[str]:
    from argparse import Namespace

    return list(verify.check_audit(Namespace(words=[folder], kind="audit", key=None, reader=None)))


def test_a_passkey_is_renamed_and_removed_and_lets_nobody_in_after_that(
    home: Path, chromium: "Browser"
) -> None:
    with server_world.served(home) as server:
        url = server.url.replace("127.0.0.1", "localhost")
        with browser.visit(chromium, url) as (page, heard), seen.plugged_in(page):
            heard.expected = (*NARROW, "403")
            seen.signs_in(page, "dan")
            seen.makes_passkey(page, "laptop")
            page.get_by_text("Rename", exact=True).first.click()
            page.locator("form[action$=rename]").get_by_label("Name").fill("old laptop")
            page.get_by_role("button", name="Rename").click()
            page.get_by_role("heading", name="old laptop").wait_for()
            page.get_by_role("button", name="Remove").click()
            page.get_by_text("No passkey yet").wait_for()
            page.get_by_role("button", name="Sign out").click()
            page.get_by_role("button", name="Sign in with a passkey").click()
            page.get_by_text("no account has this passkey").wait_for()
            heard.demand_silence()


# -- everybody else ---------------------------------------------------------------------------------------


class Visitor:
    """Somebody with a software passkey and a browser in software, who says whatever they like."""

    def __init__(self, client: "TestClient", name: str, key: Passkey) -> None:
        self.client, self.name, self.key = client, name, key
        self.credential = passkeys.encoded(sha256(name.encode()).digest())
        self.csrf = ""

    def post(self, path: str, **fields: str) -> Any:
        headers = {"origin": SITE, "sec-fetch-site": "same-origin"}
        data = {"csrf": self.csrf, **fields}
        return self.client.post(path, data=data, headers=headers, follow_redirects=False)

    def asked(self, path: str, **fields: str) -> dict[str, Any]:
        answer = self.post(path, **fields)
        assert 200 == answer.status_code, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def sign_in(self) -> None:
        """As `sessions.begin` leaves a browser; passwords cost time, and the browser's tests type them."""
        premises, cookie = self.client.app.state.premises, f"cookie-of-{self.name}"  # type: ignore[attr-defined]
        self.csrf, now = f"csrf of {self.name}", premises.clock()
        session = DoorSession(
            id=sha256_hex(cookie.encode()), account=self.name, grants=None, how="password", csrf=self.csrf,
            began=rfc3339(now), seen=rfc3339(now), until=rfc3339(now + timedelta(hours=1)),
        )  # fmt: skip
        premises.doors.put(session)
        self.client.cookies.clear()
        self.client.cookies.set(sessions.COOKIE, cookie)

    def registration(self, asked: dict[str, Any], *, flags: int = 0x45, **said: Any) -> dict[str, str]:
        """A browser's answer to `navigator.credentials.create`, without attestation."""
        usual = {"type": "webauthn.create", "challenge": asked["publicKey"]["challenge"], "origin": SITE}
        client_data = json.dumps({**usual, "crossOrigin": False, **said}).encode()
        numbers = self.key.private.public_key().public_numbers()
        cose = {1: 2, 3: -7, -1: 1, -2: numbers.x.to_bytes(32, "big"), -3: numbers.y.to_bytes(32, "big")}
        name = passkeys.decoded(self.credential)
        data = self.key.data(flags) + bytes(16) + len(name).to_bytes(2, "big") + name + cbor2.dumps(cose)
        made = cbor2.dumps({"fmt": "none", "attStmt": {}, "authData": data})
        response = {
            "clientDataJSON": passkeys.encoded(client_data),
            "attestationObject": passkeys.encoded(made),
        }
        answer = {"id": self.credential, "rawId": self.credential, "type": "public-key", "response": response}
        return {"id": asked["id"], "answer": json.dumps(answer)}

    def register(self, *, flags: int = 0x45, title: str = "token", **said: Any) -> Any:
        asked = self.asked("/account/passkeys/new")
        return self.post("/account/passkeys", title=title, **self.registration(asked, flags=flags, **said))

    def answer(self, asked: dict[str, Any], *, flags: int = 5, **said: Any) -> dict[str, str]:
        """A browser's answer to `navigator.credentials.get`."""
        challenge = asked["publicKey"]["challenge"]
        client_data = self.key.client_data(b"", "", **{"challenge": challenge, **said})
        data = self.key.data(flags)
        return {
            "id": asked["id"],
            "credential": self.credential,
            "authenticator_data": passkeys.encoded(data),
            "client_data": passkeys.encoded(client_data),
            "signature": passkeys.encoded(self.key.raw(data, client_data)),
        }


class Clock:
    """The moment of now, moved by the test."""

    def __init__(self) -> None:
        self.passed = timedelta()

    def __call__(self) -> datetime:
        return datetime.now(UTC).replace(microsecond=0) + self.passed


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="module")
def application(today: Path) -> Iterator["FastAPI"]:
    """Put together once: that takes longer than most of these tests."""
    from tidegate.server.app import build

    with server_world.premises(today, NAMED) as premises:
        yield build(premises)


@pytest.fixture
def client(application: "FastAPI", home: Path, clock: Clock) -> Iterator["TestClient"]:
    from starlette.testclient import TestClient

    with server_world.premises(home, NAMED, clock=clock) as premises:
        application.state.premises = premises
        yield TestClient(application, base_url=SITE)


@pytest.fixture
def alice(client: "TestClient") -> Visitor:
    found = Visitor(client, "alice", Passkey("alice"))
    found.sign_in()
    return found


def refusal(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["detail"]


class TestMakingOne:
    def test_is_kept_once(self, alice: Visitor, home: Path) -> None:
        assert 200 == alice.register().status_code
        assert (409, "this passkey is known here already") == refusal(alice.register())
        with at_work(home) as desk, desk.work.store.view() as view:
            [row] = view.passkeys("alice")
        assert row.public_key == f"{alice.key.line.rpartition(' ')[0]} alice@models.example"

    def test_belongs_to_who_was_asked(self, alice: Visitor) -> None:
        answer = alice.registration(alice.asked("/account/passkeys/new"))
        bob = Visitor(alice.client, "bob", Passkey("bob"))
        bob.sign_in()
        status, said = refusal(bob.post("/account/passkeys", title="x", **answer))
        assert (403, "the question was put to somebody else") == (status, said)

    def test_of_another_account_is_not_taken_over(self, alice: Visitor, home: Path) -> None:
        """Bob's browser names alice's credential, with a key of his own."""
        alice.register()
        bob = Visitor(alice.client, "bob", Passkey("bob"))
        bob.credential = alice.credential
        bob.sign_in()
        assert 409 == bob.register().status_code
        assert 404 == bob.post("/account/passkeys/remove", credential=alice.credential).status_code

    def test_otherwise_than_asked_is_refused(self, alice: Visitor) -> None:
        answers: tuple[tuple[dict[str, str], int], ...] = (
            ({"origin": "https://evil.example"}, 0x45),
            ({"origin": "https://evil.models.example"}, 0x45),
            ({"type": "webauthn.get"}, 0x45),
            ({"challenge": "AAAA"}, 0x45),
            ({}, 0x41),  # no PIN
            ({}, 0x44),  # no touch
            ({}, 0x05),  # no key
        )
        for said, flags in answers:
            status, detail = refusal(alice.register(flags=flags, **said))
            assert 403 == status
            assert "does not hold" in detail

    def test_takes_a_session_and_its_form(self, alice: Visitor, home: Path) -> None:
        token = server_world.token(home, "alice", "steward")
        alice.client.cookies.clear()
        bearer = {"authorization": f"Bearer {token}"}
        assert 403 == alice.client.post("/account/passkeys/new", headers=bearer).status_code
        alice.sign_in()
        alice.csrf = ""
        assert 403 == alice.post("/account/passkeys/new").status_code

    def test_ends_after_five_minutes(self, alice: Visitor, clock: Clock) -> None:
        answer = alice.registration(alice.asked("/account/passkeys/new"))
        clock.passed = timedelta(minutes=5)
        assert 403 == alice.post("/account/passkeys", title="x", **answer).status_code

    def test_has_a_name_that_can_be_seen(self, alice: Visitor) -> None:
        for title in (" ", "x" * 65, "a\u202eb"):
            assert alice.register(title=title).status_code in (409, 422)


class TestSigningIn:
    def test_works_once_for_each_question(self, alice: Visitor) -> None:
        alice.register()
        alice.client.cookies.clear()
        answer = alice.answer(alice.asked("/sign-in/passkey/new"))
        assert 200 == alice.post("/sign-in/passkey", next="//evil.example", **answer).status_code
        assert 200 == alice.client.get("/account/passkeys").status_code
        alice.client.cookies.clear()
        status, said = refusal(alice.post("/sign-in/passkey", **answer))
        assert 403 == status
        assert "answered already" in said

    def test_goes_nowhere_else(self, alice: Visitor) -> None:
        alice.register()
        answer = alice.answer(alice.asked("/sign-in/passkey/new"))
        assert "/" == alice.post("/sign-in/passkey", next="https://evil.example", **answer).json()["next"]

    def test_otherwise_than_asked_is_refused(self, alice: Visitor) -> None:
        answers: tuple[tuple[dict[str, Any], int, str], ...] = (
            ({}, 1, "neither PIN"),
            ({}, 4, "nobody touched"),
            ({"origin": "https://evil.example"}, 5, "made on the page"),
            ({"origin": "https://models.example:444"}, 5, "this site is"),
            ({"type": "webauthn.create"}, 5, "to register"),
            ({"challenge": "AAAA"}, 5, "does not belong"),
            ({"crossOrigin": True}, 5, "frame"),
        )
        alice.register()
        alice.client.cookies.clear()
        for said, flags, problem in answers:
            answer = alice.answer(alice.asked("/sign-in/passkey/new"), flags=flags, **said)
            status, detail = refusal(alice.post("/sign-in/passkey", **answer))
            assert 403 == status
            assert problem in detail
            assert not alice.client.cookies

    def test_of_whom_a_provider_vouches_for_goes_by_the_provider(self, alice: Visitor) -> None:
        """Else somebody whose groups were taken away there would still come in here."""
        premises = alice.client.app.state.premises  # type: ignore[attr-defined]
        vouched(premises, "vera", ["stewards"], {"stewards": ("steward",)})
        vera = Visitor(alice.client, "vera", Passkey("vera"))
        vera.sign_in()
        assert 200 == vera.register().status_code
        answer = vera.answer(vera.asked("/sign-in/passkey/new"))
        assert "identity provider" in refusal(vera.post("/sign-in/passkey", **answer))[1]

    def test_by_a_key_that_is_not_the_one_of_that_name(self, alice: Visitor) -> None:
        alice.register()
        alice.key = Passkey("mallory")
        answer = alice.answer(alice.asked("/sign-in/passkey/new"))
        assert "does not belong" in refusal(alice.post("/sign-in/passkey", **answer))[1]

    def test_is_counted_and_recorded(self, alice: Visitor, home: Path) -> None:
        alice.register()
        alice.client.cookies.clear()
        for _ in range(10):
            answer = alice.answer(alice.asked("/sign-in/passkey/new"), flags=1)
            alice.post("/sign-in/passkey", **answer)
        answer = alice.answer(alice.asked("/sign-in/passkey/new"))
        assert 429 == alice.post("/sign-in/passkey", **answer).status_code
        with at_work(home) as desk, desk.work.store.view() as view:
            assert any(entry.subject == "/sign-in/passkey" for entry in view.events(kind=EventKind.DENIED))

    def test_of_an_account_that_ended_is_refused(self, alice: Visitor, home: Path) -> None:
        alice.register()
        Prompt(home, "root").type("accounts", "deactivate", "alice")
        answer = alice.answer(alice.asked("/sign-in/passkey/new"))
        assert "no account" in refusal(alice.post("/sign-in/passkey", **answer))[1]

    def test_from_anothers_page_is_refused(self, alice: Visitor) -> None:
        alice.register()
        alice.client.cookies.clear()
        answer = alice.answer(alice.asked("/sign-in/passkey/new"))
        headers = {"origin": "https://evil.example", "sec-fetch-site": "cross-site"}
        assert 403 == alice.client.post("/sign-in/passkey", data=answer, headers=headers).status_code


def test_a_site_without_a_name_makes_no_passkeys(home: Path) -> None:
    with server_world.door(home) as client:
        answer = client.post("/sign-in/passkey/new", headers={"origin": "http://127.0.0.1"})
        assert (409, 185) == (answer.status_code, answer.json()["exit_code"])


# -- signing ----------------------------------------------------------------------------------------------


@pytest.fixture
def steward(alice: Visitor, home: Path) -> Visitor:
    """Alice, whose passkey stands among the people."""
    alice.register()
    becomes(home, "alice", alice.key.line)
    return alice


def wanted(home: Path, **changed: str) -> dict[str, str]:
    """The fields of the form on the page as it stands."""
    with at_work(home) as desk:
        asked, _ = request_approval(desk.work, ONE, "org", reason="x")
    usual = {
        "ref": str(ONE),
        "tier": "org",
        "decision": "approve",
        "reason": "read it",
        "shown": asked.shown_sha256,
    }
    return {**usual, **changed}


class TestSigning:
    def test_what_was_asked_is_what_is_kept(self, steward: Visitor, home: Path) -> None:
        asked = steward.asked("/sign/approval/new", **wanted(home))
        kept = steward.post("/sign", **steward.answer(asked))
        assert {"said": "alice said approve for org."} == kept.json()
        with at_work(home) as desk, desk.work.store.view() as view:
            [row] = view.approvals(desk.look().version.digest, "org")
            assert asked["payload"] == row.payload
        assert ["alice"] == [one.person for one in desk.look().approvals.counted]

    def test_a_rejection_too(self, steward: Visitor, home: Path) -> None:
        asked = steward.asked("/sign/approval/new", **wanted(home, decision="reject"))
        steward.post("/sign", **steward.answer(asked))
        with at_work(home) as desk:
            assert ["alice"] == [one.person for one in desk.look().approvals.rejections]

    def test_is_good_once(self, steward: Visitor, home: Path) -> None:
        answer = steward.answer(steward.asked("/sign/approval/new", **wanted(home)))
        assert 200 == steward.post("/sign", **answer).status_code
        assert "answered already" in refusal(steward.post("/sign", **answer))[1]

    def test_ends_after_five_minutes(self, steward: Visitor, home: Path, clock: Clock) -> None:
        answer = steward.answer(steward.asked("/sign/approval/new", **wanted(home)))
        clock.passed = timedelta(minutes=5)
        assert 403 == steward.post("/sign", **answer).status_code

    def test_anothers_question_is_not_answered(self, steward: Visitor, home: Path) -> None:
        answer = steward.answer(steward.asked("/sign/approval/new", **wanted(home)))
        bob = Visitor(steward.client, "bob", Passkey("bob"))
        bob.sign_in()
        assert "somebody else" in refusal(bob.post("/sign", **answer))[1]

    def test_a_sign_in_is_no_approval_and_an_approval_no_sign_in(self, steward: Visitor, home: Path) -> None:
        """A page of ours that asks for the one gets nothing that is good for the other."""
        asked, login = (
            steward.asked("/sign/approval/new", **wanted(home)),
            steward.asked("/sign-in/passkey/new"),
        )
        crossed = {**steward.answer(login), "id": asked["id"]}
        assert "does not belong" in refusal(steward.post("/sign", **crossed))[1]
        asked = steward.asked("/sign/approval/new", **wanted(home))
        crossed = {**steward.answer(asked), "id": steward.asked("/sign-in/passkey/new")["id"]}
        assert "does not belong" in refusal(steward.post("/sign-in/passkey", **crossed))[1]

    def test_another_page_than_the_one_that_was_read(self, steward: Visitor, home: Path) -> None:
        answer = steward.post("/sign/approval/new", **wanted(home, shown="0" * 64))
        assert "NotAsShown" == answer.json()["title"]
        missing = {name: value for name, value in wanted(home).items() if name != "shown"}
        assert 422 == steward.post("/sign/approval/new", **missing).status_code

    def test_takes_the_right_in_that_tier(self, client: "TestClient", home: Path) -> None:
        dan = Visitor(client, "dan", Passkey("dan"))
        dan.sign_in()
        assert 403 == dan.post("/sign/approval/new", **wanted(home)).status_code
        bob = Visitor(client, "bob", Passkey("bob"))  # steward of org alone
        bob.sign_in()
        assert 403 == bob.post("/sign/approval/new", **wanted(home, tier="team")).status_code

    def test_takes_a_passkey_that_stands_among_the_people(self, alice: Visitor, home: Path) -> None:
        alice.register()
        status, said = refusal(alice.post("/sign/approval/new", **wanted(home)))
        assert (403, "no passkey of alice is their key among the people here") == (status, said)

    def test_a_touch_without_a_pin_is_not_taken_in(self, steward: Visitor, home: Path) -> None:
        asked = steward.asked("/sign/approval/new", **wanted(home))
        assert "neither PIN" in refusal(steward.post("/sign", **steward.answer(asked, flags=1)))[1]

    def test_a_removed_passkey_signs_nothing(self, steward: Visitor, home: Path) -> None:
        answer = steward.answer(steward.asked("/sign/approval/new", **wanted(home)))
        assert 303 == steward.post("/account/passkeys/remove", credential=steward.credential).status_code
        assert "another passkey" in refusal(steward.post("/sign", **answer))[1]

    def test_breaking_the_glass_and_reviewing_it(self, steward: Visitor, home: Path) -> None:
        with at_work(home) as desk:
            asked, _ = request_break_glass(desk.work, ONE, "org", "alice", reason="x")
        fields = {"ref": str(ONE), "tier": "org", "reason": "outage 4711", "shown": asked.shown_sha256}
        answer = steward.answer(steward.asked("/sign/break-glass/new", **fields))
        assert {"said": f"org serves {MODEL}@1 by break-glass."} == steward.post("/sign", **answer).json()
        with at_work(home) as desk, desk.work.store.view() as view:
            [row] = view.decisions("break-glass")
        own = steward.post("/sign/review/new", digest=row.digest, verdict="upheld", reason="x")
        assert "alice broke the glass" in own.json()["detail"]

    def test_decisions_and_a_colleagues_key(self, steward: Visitor, home: Path) -> None:
        fields = {"kind": "apply-policy", "subject": "ab" * 32, "reason": "as agreed", "days": "30"}
        answer = steward.answer(steward.asked("/sign/decision/new", **fields))
        assert {"said": "alice decided: apply-policy."} == steward.post("/sign", **answer).json()
        with at_work(home) as desk:
            desk.people(Wanted("erin", Passkey("erin").line, ("reviewer",)), "bob")
        answer = steward.answer(steward.asked("/sign/person/new", name="erin", reason="met her"))
        assert {"said": "The change of erin is in force."} == steward.post("/sign", **answer).json()

    def test_a_form_that_is_none(self, steward: Visitor, home: Path) -> None:
        forms: tuple[tuple[str, dict[str, str]], ...] = (
            ("anything", {}),
            ("approval", {"decision": "perhaps"}),
            ("approval", {"reason": " "}),
            ("approval", {"reason": "x" * (17 << 10)}),
            ("decision", {"kind": "set-person", "subject": "x"}),
            ("decision", {"kind": "revoke", "subject": "x", "days": "many"}),
            ("decision", {"kind": "revoke", "subject": "x", "details": "[]"}),
        )
        for what, changed in forms:
            answer = steward.post(f"/sign/{what}/new", **wanted(home, **changed))
            assert answer.status_code in (400, 422)
            assert "next_step" in answer.json()


# -- hostile answers --------------------------------------------------------------------------------------


@pytest.mark.property
@given(
    st.binary(max_size=200)
    | st.recursive(
        st.none() | st.integers(-8, 8) | st.binary(max_size=40) | st.text(max_size=8),
        lambda inner: (
            st.dictionaries(st.sampled_from(("fmt", "attStmt", "authData", 1, 3, -1)), inner)
            | st.lists(inner)
        ),
        max_leaves=8,
    ).map(cbor2.dumps),
    st.text(max_size=60),
)
def test_hostile_registrations_meet_only_our_refusal(made: bytes, text: str) -> None:
    site, challenge = passkeys.Site(SITE, "models.example"), b"\x01" * 32
    said = {"type": "webauthn.create", "challenge": passkeys.encoded(challenge), "origin": SITE}
    response = {
        "clientDataJSON": passkeys.encoded(json.dumps(said).encode()),
        "attestationObject": passkeys.encoded(made),
    }
    for answer in (
        text,
        json.dumps({"id": "AAAA", "rawId": "AAAA", "type": "public-key", "response": response}),
        json.dumps({"id": text, "rawId": "AAAA", "type": "public-key", "response": response}),
        json.dumps({"id": 7, "response": text}),
    ):
        with pytest.raises(PasskeyRefused):
            passkeys._verified(site, challenge, answer)


@pytest.mark.property
@given(st.text(max_size=60))
def test_base64url_has_one_spelling(text: str) -> None:
    try:
        data = passkeys.decoded(text)
    except PasskeyRefused:
        return
    assert text == passkeys.encoded(data)
