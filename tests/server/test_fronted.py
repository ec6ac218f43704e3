"""Who asks by the word of the proxy: a real nginx with a client CA and a sign-on, and people who write its headers."""

import http.client
import socket
import ssl
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from registry.audit import EventKind
from registry.home import load
from tests import server_world, world
from tests.cli import Prompt
from tests.conftest import NOON
from tests.server import passkey_world as seen
from tests.server.certificates import Authority
from tests.server.test_serve_nginx import nginx

SETTINGS = """\
public_url = "https://models.example"
socket = "{socket}"
[fronted]
certificates = true
user_header = "X-Tidegate-User"
groups_header = "X-Tidegate-Groups"
[fronted.roles]
gate-stewards = ["steward:org"]
readers = ["viewer"]
[fronted.names]
"CN=alice" = "alice"
"sha256:{bob}" = "bob"
"CN=gone" = "gone"
"""


@dataclass(frozen=True)
class Front:
    """A running nginx before a running `tidegate serve`."""

    home: Path
    authority: Authority
    people: dict[str, tuple[Path, Path]]
    port: int  # nginx
    url: str  # the process itself, over TCP

    def asks(
        self, path: str = "/account/passkeys", person: str | None = None, **headers: str
    ) -> tuple[int, str]:
        """Through nginx: the status, and who the page is for."""
        context = ssl.create_default_context(cafile=str(self.authority.certificate))
        if person is not None:
            context.load_cert_chain(*self.people[person])
        link = http.client.HTTPSConnection("127.0.0.1", self.port, context=context, timeout=30)
        return answer(link, path, headers)

    def asks_directly(self, path: str = "/account/passkeys", **headers: str) -> tuple[int, str]:
        """Over TCP, past nginx."""
        return answer(http.client.HTTPConnection(self.url.partition("://")[2], timeout=30), path, headers)


def answer(link: http.client.HTTPConnection, path: str, headers: dict[str, str]) -> tuple[int, str]:
    with closing(link):
        link.request("GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        found = link.getresponse()
        page = found.read().decode()
        return found.status, page.partition('class="who"><b>')[2].partition("<")[0]


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    folder = tmp_path_factory.mktemp("fronted")
    home = world.new_home(folder / "home", name="clinic", now=NOON).path
    authority, doors = Authority(folder, "127.0.0.1"), folder / "doors.sock"
    people = {name: authority.client(name) for name in ("alice", "bob", "carla", "gone")}
    bob = x509.load_pem_x509_certificate(people["bob"][0].read_bytes()).fingerprint(hashes.SHA256()).hex()
    (home / "server.toml").write_text(SETTINGS.format(socket=doors, bob=bob))
    for name in ("alice", "bob", "kept"):
        seen.known(home, name, "viewer", password=False)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    told = Prompt(home, "ines").type(
        "server", "nginx", "--name", "127.0.0.1", "--port", port, "--certificate", authority.certificate,
        "--key", authority.key_file(), "--client-ca", authority.certificate,
    ).stdout.replace(f"listen {port}", f"listen 127.0.0.1:{port}")  # fmt: skip
    # In place of a sign-on's auth_request: what it would say comes in two cookies of the test's own.
    told = told.replace('X-Tidegate-User ""', "X-Tidegate-User $cookie_user").replace(
        'X-Tidegate-Groups ""', "X-Tidegate-Groups $cookie_groups"
    )
    with server_world.served(home) as server, nginx(folder / "nginx", told, port):
        yield Front(home, authority, people, port, server.url)


def test_a_certificate_lets_in_the_account_that_it_is_given(front: Front) -> None:
    assert (200, "alice") == front.asks(person="alice")
    assert (200, "bob") == front.asks(person="bob")  # by its fingerprint


def test_a_certificate_that_nobody_was_given_lets_nobody_in(front: Front) -> None:
    """Carla's is of the same issuer; gone's account is not there."""
    assert 403 == front.asks(person="carla")[0]
    assert 403 == front.asks(person="gone")[0]
    assert 303 == front.asks()[0]  # to the sign-in page


def test_a_page_that_is_open_to_all_stays_so(front: Front) -> None:
    assert 200 == front.asks("/healthz", person="carla")[0]


def test_a_sign_on_says_who_asks_and_in_which_groups(front: Front) -> None:
    assert (200, "erin") == front.asks(Cookie="user=erin; groups=readers,cooks")
    with world.at_work(load(front.home), actor="x", now=NOON) as work, work.store.view() as view:
        account = view.account("erin")
    assert account is not None
    assert ("viewer", "identity provider") == (account.grants, account.actor)


@pytest.mark.parametrize(
    "cookie",
    ["user=fred; groups=cooks", "user=fred", "user=kept; groups=readers", "user=../root; groups=readers"],
)
def test_who_may_nothing_or_bears_a_name_that_is_kept_here_is_not_let_in(front: Front, cookie: str) -> None:
    assert 403 == front.asks(Cookie=cookie)[0]
    with world.at_work(load(front.home), actor="x", now=NOON) as work, work.store.view() as view:
        assert view.account("fred") is None


FORGED = [
    {"X_Tidegate_User": "alice", "X_Tidegate_Groups": "gate-stewards"},
    {"X_Client_Verify": "SUCCESS", "X_Client_DN": "CN=alice", "X_Client_Cert": "see below"},
    {"x_tidegate_user": "alice", "X_TIDEGATE_GROUPS": "readers", "X_Forwarded_Proto": "https"},
]


@pytest.mark.parametrize("headers", FORGED, ids=("sign-on", "certificate", "spelt otherwise"))
def test_headers_that_a_client_writes_are_nobodys_word(front: Front, headers: dict[str, str]) -> None:
    """Over nginx they are overwritten; over TCP they are not looked at."""
    pem = front.people["alice"][0].read_text()
    told = {name: value.replace("see below", escaped(pem)) for name, value in headers.items()}
    assert 303 == front.asks(**told)[0]
    assert 303 == front.asks_directly(**told)[0]
    assert (200, "bob") == front.asks(person="bob", **told)


def escaped(pem: str) -> str:
    from urllib.parse import quote

    return quote(pem, safe="")


def test_over_the_socket_two_of_a_header_are_nobodys_word(front: Front) -> None:
    """Whoever may open the socket is the proxy; one that passes a client's header on beside its own is misconfigured."""
    with socket.socket(socket.AF_UNIX) as link:
        link.connect(str(front.home.parent / "doors.sock"))
        said = "X-Tidegate-User: alice\r\nX-Tidegate-User: erin\r\nX-Tidegate-Groups: readers\r\n"
        link.sendall(
            f"GET /account/passkeys HTTP/1.1\r\nHost: models.example\r\n{said}Connection: close\r\n\r\n".encode()
        )
        assert link.recv(4096).startswith(b"HTTP/1.1 403")


def test_a_refusal_is_recorded(front: Front) -> None:
    front.asks(person="carla")
    with world.at_work(load(front.home), actor="x", now=NOON) as work, work.store.view() as view:
        assert any(entry.subject == "/account/passkeys" for entry in view.events(kind=EventKind.DENIED))


def test_certificates_that_are_none_meet_our_refusal() -> None:
    from tidegate.server.accounts.fronted import _read
    from tidegate.server.accounts.passkey_refusals import IdentityRefused

    for text in (
        "",
        "%",
        "-----BEGIN CERTIFICATE-----",
        "%00" * 40,
        "-----BEGIN%20CERTIFICATE-----%0AAAAA%0A-----END%20CERTIFICATE-----",
    ):
        with pytest.raises(IdentityRefused):
            _read(text)
