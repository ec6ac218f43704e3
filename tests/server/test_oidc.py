"""Signing in with an identity provider: a real one, driven by a real browser, and providers that lie."""

import hmac
import http.server
import json
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest
from joserfc import jwt
from joserfc.jwk import KeySet, RSAKey

from registry.access import parse_grants
from registry.audit import EventKind
from registry.home import load
from tests import browser, server_world, world
from tests.conftest import NOON
from tests.oidc.setup import install
from tests.server import passkey_world as seen
from tidegate.server.accounts import oidc
from tidegate.server.accounts.passkey_refusals import IdentityRefused, ProviderFailed
from tidegate.server.accounts.passkeys import encoded
from tidegate.server.settings import OidcSettings, ServerSettings

if TYPE_CHECKING:
    from playwright.sync_api import Page
    from starlette.testclient import TestClient

ROLES = {"gate-stewards": ("steward:org",), "readers": ("viewer",)}


@pytest.fixture(scope="module")
def founded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return world.new_home(tmp_path_factory.mktemp("clinic") / "home", name="clinic", now=NOON).path


@contextmanager
def provider(**asked: Any) -> Iterator[str]:
    """npm's oidc-provider; yields its issuer. It ends when its input does."""
    words = [*map(str, install()), json.dumps(asked)]
    with subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as running:
        assert running.stdin
        assert running.stdout
        try:
            yield running.stdout.readline().strip()
        finally:
            running.stdin.close()
            running.wait(server_world.PATIENCE)


def free_port() -> int:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


def goes_through(page: "Page", name: str) -> None:
    """The provider's own pages: a name, any password, and consent."""
    page.goto("/sign-in")
    page.get_by_role("button", name="Sign in with your organisation").click()
    page.locator("input[name=login]").fill(name)
    page.locator("input[name=password]").fill("any")
    page.get_by_role("button", name="Sign-in").click()
    page.get_by_role("button", name="Continue").click()


@pytest.mark.parametrize("kind", ["secret", "public, claims at userinfo"])
def test_people_of_a_real_provider_come_in_with_what_their_groups_give(
    founded: Path, tmp_path: Path, kind: str
) -> None:
    """Alice is in a group of stewards; eve is in a group that means nothing here."""
    port, home = free_port(), world.new_home(tmp_path / "home", name="clinic", now=NOON).path
    url = f"http://localhost:{port}"
    asked: dict[str, Any] = {
        "callback": f"{url}{oidc.BACK}",
        "groups": {"alice": ["gate-stewards"], "eve": ["cooks"]},
    }
    secret = 'client_secret_file = "secret"\n' if kind == "secret" else ""
    asked |= {"secret": "s3cret of the client"} if secret else {"claims_at_userinfo": True}
    (home / "secret").write_text("s3cret of the client\n")
    with provider(**asked) as issuer:
        (home / "server.toml").write_text(
            f'[oidc]\nissuer = "{issuer}"\nclient_id = "tidegate"\n{secret}'
            '[oidc.roles]\ngate-stewards = ["steward:org"]\n'
        )
        with (
            server_world.served(home, "--listen", f"127.0.0.1:{port}"),
            browser.browser() as running,
        ):
            with browser.visit(running, url) as (page, _):
                goes_through(page, "alice")
                page.wait_for_url(f"{url}/")
                assert "alice" in page.locator(".who").inner_text()
            with browser.visit(running, url) as (page, _):
                goes_through(page, "eve")
                page.get_by_text("no group of 'eve' gives anybody anything here").wait_for()
    with world.at_work(load(home), actor="x", now=NOON) as work, work.store.view() as view:
        account = view.account("alice")
        assert account is not None
        assert view.account("eve") is None
        notes = [entry.note["method"] for entry in view.events(kind=EventKind.SIGNED_IN)]
        assert any(entry.subject == oidc.BACK for entry in view.events(kind=EventKind.DENIED))
    assert ("steward:org", "identity provider", ["oidc"]) == (account.grants, account.actor, notes)


# -- providers that lie -----------------------------------------------------------------------------------

KEY, OTHER = RSAKey.generate_key(2048, {"kid": "one"}), RSAKey.generate_key(2048, {"kid": "two"})
URL = "https://models.example"


@dataclass
class Liar:
    """A provider that says whatever a test puts in its mouth."""

    issuer: str = ""
    says: dict[str, Any] = field(default_factory=dict)  # in place of its own configuration
    keys: list[Any] = field(default_factory=lambda: [KEY])
    token: str = ""  # the ID token that a code is good for
    userinfo: dict[str, Any] = field(default_factory=dict)
    sent: list[dict[str, str]] = field(default_factory=list)  # what came to its token endpoint
    answer: bytes | None = None  # in place of all that

    def configuration(self) -> dict[str, Any]:
        names = {
            "authorization_endpoint": "auth",
            "token_endpoint": "token",
            "jwks_uri": "keys",
            "userinfo_endpoint": "me",
        }
        return {
            "issuer": self.issuer,
            **{name: f"{self.issuer}/{path}" for name, path in names.items()},
            **self.says,
        }

    def of(self, path: str, body: dict[str, str]) -> dict[str, Any]:
        if path.startswith("/.well-known"):
            return self.configuration()
        if path == "/keys":
            return dict(KeySet(self.keys).as_dict(private=False))
        if path == "/me":
            return self.userinfo
        self.sent.append(body)
        if len(self.sent) > 1 and self.sent[-1]["code"] in [one["code"] for one in self.sent[:-1]]:
            return {"error": "invalid_grant"}
        return {"access_token": "a", "token_type": "Bearer", "id_token": self.token}


@pytest.fixture
def liar() -> Iterator[Liar]:
    found = Liar()

    class Answering(http.server.BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_POST(self) -> None:
            size = int(self.headers.get("content-length", 0))
            body = {name: one[0] for name, one in parse_qs(self.rfile.read(size).decode()).items()}
            self.say(found.answer or json.dumps(found.of(self.path, body)).encode())

        def do_GET(self) -> None:
            self.say(found.answer or json.dumps(found.of(self.path, {})).encode())

        def say(self, data: bytes) -> None:
            refused = b'"error"' in data
            self.send_response(400 if refused else 200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answering) as server:
        found.issuer = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield found
        server.shutdown()


class Coming:
    """A browser that was sent to the liar, and comes back with whatever it says."""

    def __init__(self, client: "TestClient", liar: Liar) -> None:
        self.client, self.liar = client, liar

    def leave(self, going: str = "/") -> Any:
        headers = {"origin": URL, "sec-fetch-site": "same-origin"}
        return self.client.post(
            "/sign-in/oidc", data={"next": going}, headers=headers, follow_redirects=False
        )

    def sent(self) -> dict[str, str]:
        """The parameters that it carries to the provider."""
        page = self.leave().text
        address = page.partition("url=")[2].partition('"')[0].replace("&amp;", "&")
        assert address.startswith(f"{self.liar.issuer}/auth?")
        return {name: one[0] for name, one in parse_qs(urlsplit(address).query).items()}

    def back(self, **said: str) -> Any:
        return self.client.get("/sign-in/oidc/done", params={"code": "c1", **said}, follow_redirects=False)

    def through(self, *, key: Any = KEY, header: dict[str, Any] | None = None, **claims: Any) -> Any:
        """All the way, with these claims in place of honest ones."""
        asked, now = self.sent(), int(time.time())
        usual = {
            "iss": self.liar.issuer, "aud": "tidegate", "sub": "1", "iat": now, "exp": now + 60,
            "nonce": asked["nonce"], "preferred_username": "alice", "groups": ["gate-stewards", "cooks"],
        }  # fmt: skip
        said = {name: value for name, value in {**usual, **claims}.items() if value is not None}
        self.liar.token = jwt.encode(
            header or {"alg": "RS256", "kid": key.kid}, said, key, algorithms=["RS256", "RS512"]
        )
        return self.back(state=asked["state"])


@pytest.fixture
def coming(founded: Path, tmp_path: Path, liar: Liar) -> Iterator[Coming]:
    import shutil

    from starlette.testclient import TestClient

    from tidegate.server.app import build

    home = tmp_path / "home"
    shutil.copytree(founded, home)
    (home / "tidegate.toml").write_text((home / "tidegate.toml").read_text().replace(str(founded), str(home)))
    settings = ServerSettings(public_url=URL, oidc=OidcSettings(liar.issuer, "tidegate", roles=ROLES))
    with server_world.premises(home, settings) as premises:
        yield Coming(TestClient(build(premises), base_url=URL), liar)


def who(client: "TestClient") -> str | None:
    page = client.get("/account").text
    return page.partition('class="who"><b>')[2].partition("<")[0] or None


def refused(answer: Any) -> bool:
    return answer.status_code == 403 and "__Host-tidegate=" not in answer.headers.get("set-cookie", "")


class TestAnHonestAnswer:
    def test_signs_in_with_what_the_groups_give(self, coming: Coming) -> None:
        answer = coming.through()
        assert (303, "/") == (answer.status_code, answer.headers["location"])
        assert "alice" == who(coming.client)
        [sent] = coming.liar.sent
        assert ("authorization_code", f"{URL}/sign-in/oidc/done") == (
            sent["grant_type"],
            sent["redirect_uri"],
        )

    def test_proves_that_it_was_us_who_asked(self, coming: Coming) -> None:
        """PKCE: the challenge went with the browser, the verifier goes past it."""
        asked = coming.sent()
        coming.back(state=asked["state"])
        digest = sha256(coming.liar.sent[0]["code_verifier"].encode()).digest()
        assert "S256" == asked["code_challenge_method"]
        assert asked["code_challenge"] == encoded(digest)

    def test_opens_no_page_elsewhere(self, coming: Coming) -> None:
        coming.leave("https://evil.example")
        assert "/" == coming.through().headers["location"]

    def test_names_the_groups_at_the_userinfo_endpoint(self, coming: Coming) -> None:
        coming.liar.userinfo = {"sub": "1", "groups": ["readers"]}
        assert 303 == coming.through(groups=None).status_code
        coming.client.cookies.clear()
        coming.liar.userinfo = {"sub": "2", "groups": ["gate-stewards"]}
        assert refused(coming.through(groups=None))

    def test_is_signed_by_a_key_that_came_since(self, coming: Coming) -> None:
        coming.sent()
        coming.liar.keys = [KEY, OTHER]
        assert 303 == coming.through(key=OTHER).status_code


LIES: tuple[dict[str, Any], ...] = (
    {"nonce": "another"}, {"nonce": None}, {"aud": "somebody"}, {"aud": ["tidegate", "somebody"]},
    {"aud": ["tidegate"], "azp": "somebody"}, {"iss": "https://evil.example"}, {"exp": 1}, {"exp": None},
    {"iat": None}, {"iat": 99999999999}, {"sub": None}, {"sub": ""}, {"preferred_username": None},
    {"preferred_username": 7}, {"preferred_username": "../root"}, {"preferred_username": "anonymous"},
    {"groups": ["cooks"]}, {"groups": []}, {"groups": {"gate-stewards": 1}}, {"groups": [["gate-stewards"]]},
)  # fmt: skip
OF_ITSELF: tuple[dict[str, Any], ...] = (
    {"issuer": "https://evil.example"},
    {"token_endpoint": "http://evil.example/token"},
    {"jwks_uri": "file:///etc/passwd"},
    {"authorization_endpoint": "javascript:alert(1)"},
    {"authorization_endpoint": 7},
)


class TestALie:
    def test_in_what_is_signed_lets_nobody_in(self, coming: Coming) -> None:
        for number, claims in enumerate(LIES):
            coming.liar.sent = []
            assert refused(coming.through(**claims)), (number, claims)
            assert who(coming.client) is None

    def test_in_who_signed_it_lets_nobody_in(self, coming: Coming) -> None:
        assert refused(coming.through(key=OTHER))
        assert refused(coming.through(header={"alg": "RS512", "kid": "one"}))

    def test_with_the_public_key_as_a_shared_secret_lets_nobody_in(self, coming: Coming) -> None:
        coming.through()
        coming.client.cookies.clear()
        asked = coming.sent()
        body = coming.liar.token.split(".")[1]
        said = encoded(b'{"alg":"HS256","kid":"one"}') + "." + body
        for secret in (KEY.as_pem(private=False), b"tidegate", b""):
            made = hmac.digest(secret, said.encode(), "sha256")
            coming.liar.token, coming.liar.sent = f"{said}.{encoded(made)}", []
            assert refused(coming.back(state=asked["state"]))
            asked = coming.sent()

    def test_without_a_signature_lets_nobody_in(self, coming: Coming) -> None:
        coming.through()
        coming.client.cookies.clear()
        head, body, _ = coming.liar.token.split(".")
        none = encoded(b'{"alg":"none"}')
        for token in (f"{none}.{body}.", f"{head}.{body}.", f"{head}.{body}", "", "a.b.c", "é"):
            asked = coming.sent()
            coming.liar.token, coming.liar.sent = token, []
            assert refused(coming.back(state=asked["state"]))

    def test_about_the_state_lets_nobody_in(self, coming: Coming) -> None:
        coming.sent()
        assert refused(coming.back(state="another"))
        assert refused(coming.back())
        assert coming.liar.sent == []

    def test_from_another_browser_lets_nobody_in(self, coming: Coming) -> None:
        """Somebody begins a sign-in as themselves, and has alice's browser end it."""
        asked = coming.sent()
        coming.client.cookies.clear()
        assert refused(coming.back(state=asked["state"]))
        assert coming.liar.sent == []

    def test_told_twice_lets_nobody_in(self, coming: Coming) -> None:
        asked = coming.sent()
        coming.back(state=asked["state"])
        assert refused(coming.back(state=asked["state"]))
        assert refused(coming.through())  # the code was used

    def test_by_another_issuer_lets_nobody_in(self, coming: Coming) -> None:
        asked = coming.sent()
        assert refused(coming.back(state=asked["state"], iss="https://evil.example"))
        assert refused(coming.back(state=coming.sent()["state"], error="access_denied"))

    def test_about_itself_is_refused_at_once(self, coming: Coming) -> None:
        for says in OF_ITSELF:
            coming.liar.says = says
            assert 502 == coming.leave().status_code, says

    def test_that_is_no_answer_is_refused(self, coming: Coming) -> None:
        for answer in (b"no json", b"[]", b"{" * 200, b" " * (600 << 10)):
            coming.liar.answer = answer
            assert 502 == coming.leave().status_code, answer[:9]
        coming.liar.answer = None
        for answer in (b"no json", b"[]", b"{" * 200, b" " * (600 << 10)):
            coming.liar.answer = None
            asked = coming.sent()
            coming.liar.answer = answer
            assert coming.back(state=asked["state"]).status_code in (403, 502), answer[:9]


class TestAnAccountThatIsKeptHere:
    def test_is_not_taken_over_by_who_bears_its_name(self, coming: Coming, tmp_path: Path) -> None:
        seen.known(tmp_path / "home", "alice", "admin", password=False)
        assert refused(coming.through())

    def test_that_ended_stays_ended(self, coming: Coming, tmp_path: Path) -> None:
        from tests.cli import Prompt

        coming.through()
        Prompt(tmp_path / "home", "root").type("accounts", "deactivate", "alice")
        assert who(coming.client) is None
        assert refused(coming.through())

    def test_does_less_when_its_groups_say_less(self, coming: Coming) -> None:
        coming.through()
        coming.client.cookies.clear()
        coming.liar.sent = []
        coming.through(groups=["readers"])
        with coming.client.app.state.premises.store.view() as view:  # type: ignore[attr-defined]
            account = view.account("alice")
        assert account is not None
        assert parse_grants("viewer") == parse_grants(account.grants)


def test_a_provider_that_is_not_there_is_said(founded: Path) -> None:
    settings = ServerSettings(
        public_url=URL, oidc=OidcSettings(f"http://localhost:{free_port()}", "tidegate", roles=ROLES)
    )
    with server_world.premises(founded, settings) as premises:
        with pytest.raises(ProviderFailed, match="does not answer"):
            oidc.leave(premises, URL, "/")


def test_without_a_provider_nothing_is_asked(founded: Path) -> None:
    with server_world.premises(founded, ServerSettings(public_url=URL)) as premises:
        with pytest.raises(IdentityRefused, match="no identity provider"):
            oidc.leave(premises, URL, "/")
