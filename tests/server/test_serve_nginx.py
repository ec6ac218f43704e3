"""nginx in front, as `tidegate server nginx` writes it: a real one, with TLS, that sends the files itself."""

import http.client
import http.server
import json
import os
import shutil
import socket
import socketserver
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from signing.digests import sha256_hex
from tests.cli import Prompt
from tests.server import hub_world
from tests.server.certificates import Authority
from tests.server.hub_world import LARGE, HubWorld
from tests.server_world import served
from tidegate.errors import ServerSettingsWrong

SECONDS = 30
FILE = f"/{LARGE}/resolve/team/model.safetensors"
SETTINGS = """\
public_url = "https://models.example"
socket = "{socket}"
accelerate = "/tidegate-blobs/"
[fronted]
certificates = true
user_header = "X-Remote-User"
groups_header = "X-Remote-Groups"
"""


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True)
class Front:
    """A running nginx."""

    world: HubWorld
    port: int
    authority: Authority

    def ask(
        self,
        path: str,
        token: str | None = None,
        *,
        method: str = "GET",
        person: str | None = None,
        **headers: str,
    ) -> Answer:
        context = ssl.create_default_context(cafile=str(self.authority.certificate))
        if person is not None:
            context.load_cert_chain(*self.authority.client(person))
        told = {name.replace("_", "-"): value for name, value in headers.items()}
        if token is not None:
            told["Authorization"] = f"Bearer {token}"
        with closing(
            http.client.HTTPSConnection("127.0.0.1", self.port, context=context, timeout=SECONDS)
        ) as link:
            link.request(method, path, headers=told)
            answer = link.getresponse()
            return Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> HubWorld:
    found = hub_world.build(tmp_path_factory.mktemp("nginx"))
    (found.home / "server.toml").write_text(SETTINGS.format(socket=found.folder / "doors.sock"))
    return found


@pytest.fixture(scope="module")
def front(world: HubWorld) -> Iterator[Front]:
    with in_front(world, world.folder / "doors.sock") as found:
        yield found


@contextmanager
def in_front(world: HubWorld, doors: Path) -> Iterator[Front]:
    """nginx as the command writes it, in front of a socket."""
    authority = Authority(world.folder, "127.0.0.1")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    told = Prompt(world.home, "ines").type(
        "server", "nginx", "--name", "127.0.0.1", "--port", port, "--certificate", authority.certificate,
        "--key", authority.key_file(), "--client-ca", authority.certificate,
    ).stdout  # fmt: skip
    told = told.replace(f"listen {port}", f"listen 127.0.0.1:{port}")
    told = told.replace(str(world.folder / "doors.sock"), str(doors))
    with nginx(world.folder / f"nginx-{doors.stem}", told, port):
        yield Front(world, port, authority)


@contextmanager
def nginx(folder: Path, text: str, port: int) -> Iterator[None]:
    """Run it in the foreground; ended by its own process id."""
    program = shutil.which("nginx") or "/usr/sbin/nginx"
    folder.mkdir()
    (folder / "tidegate.conf").write_text(text)
    places = "".join(
        f"{name}_temp_path {folder / name};\n"
        for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (folder / "nginx.conf").write_text(
        f"{'user root;' if os.geteuid() == 0 else ''}\nworker_processes 1;\npid {folder / 'pid'};\n"
        f"error_log {folder / 'error.log'};\nevents {{}}\n"
        f"http {{\naccess_log off;\n{places}include {folder / 'tidegate.conf'};\n}}\n"
    )
    command = [program, "-p", str(folder), "-e", str(folder / "error.log"), "-c", str(folder / "nginx.conf")]
    tested = subprocess.run([*command, "-t"], capture_output=True, text=True, check=False)
    assert 0 == tested.returncode, tested.stderr
    assert "[warn]" not in tested.stderr, tested.stderr
    with subprocess.Popen([*command, "-g", "daemon off;"]) as process:
        try:
            _until_open(port)
            yield
        finally:
            process.terminate()
            process.wait(SECONDS)


def _until_open(port: int) -> None:
    deadline = time.monotonic() + SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except ConnectionRefusedError:
            assert time.monotonic() < deadline, "nginx does not listen"
            time.sleep(0.02)
        else:
            return


# --- files ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def doors(world: HubWorld, front: Front) -> Iterator[str]:
    """The process behind it; a viewer's token."""
    with served(world.home):
        yield world.token("vic", "viewer")


def sent_by_us(world: HubWorld) -> list[int]:
    """The bytes that the process itself sent for each file, from its log."""
    lines = [
        json.loads(line) for line in (world.folder / "serve.log").read_text().splitlines() if line[:1] == "{"
    ]
    return [line["bytes"] for line in lines if line.get("path") == FILE]


def test_nginx_sends_the_file_once_it_is_hashed(front: Front, doors: str, world: HubWorld) -> None:
    whole = front.ask(FILE, doors)

    assert 200 == whole.status
    assert world.files(1, LARGE)["model.safetensors"] == sha256_hex(whole.body)
    assert [0] == sent_by_us(world)
    assert world.commit(1, LARGE) == whole.headers["x-repo-commit"]
    assert f'"{world.files(1, LARGE)["model.safetensors"]}"' == whole.headers["etag"]
    assert "sandbox" in whole.headers["content-security-policy"]
    assert "attachment" in whole.headers["content-disposition"]
    assert "x-request-id" in whole.headers
    assert "last-modified" not in whole.headers, "a date is no name of bytes"

    part = front.ask(FILE, doors, Range="bytes=1000-1999")
    assert (206, whole.body[1000:2000]) == (part.status, part.body)
    assert f"bytes 1000-1999/{len(whole.body)}" == part.headers["content-range"]
    assert world.commit(1, LARGE) == part.headers["x-repo-commit"]

    etag = whole.headers["etag"]
    assert 206 == front.ask(FILE, doors, Range="bytes=0-9", If_Range=etag).status
    assert 200 == front.ask(FILE, doors, Range="bytes=0-9", If_Range='"x"').status
    assert 304 == front.ask(FILE, doors, If_None_Match=etag).status
    assert 416 == front.ask(FILE, doors, Range=f"bytes={len(whole.body)}-").status
    head = front.ask(FILE, doors, method="HEAD")
    assert (200, etag, b"") == (head.status, head.headers["etag"], head.body)


def test_nobody_gets_a_file_past_the_process(front: Front, doors: str, world: HubWorld) -> None:
    digest = world.files(1, LARGE)["model.safetensors"]
    for path in (
        f"/tidegate-blobs/{digest}",
        f"//tidegate-blobs/{digest}",
        f"/tidegate-blobs/../tidegate-blobs/{digest}",
    ):
        assert front.ask(path, doors).status in (401, 403, 404), path
    assert 401 == front.ask(FILE).status
    assert front.ask("/tidegate-blobs/../../../registry.db").status in (400, 401, 403, 404)


def test_a_damaged_file_is_refused_behind_nginx_too(front: Front, doors: str, world: HubWorld) -> None:
    path = world.home / "store" / "blobs" / "sha256" / world.files(1, LARGE)["config.json"]
    held = path.read_bytes()
    path.chmod(0o644)
    path.write_bytes(b"x" * len(held))
    try:
        answer = front.ask(f"/{LARGE}/resolve/team/config.json", doors)
        assert 500 == answer.status
        assert b"xxxx" not in answer.body
    finally:
        path.write_bytes(held)


# --- who asks ---------------------------------------------------------------------------------------------------------


class _Echo(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = json.dumps({k.lower(): v for k, v in self.headers.items()}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def address_string(self) -> str:
        return "socket"

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def heard(world: HubWorld) -> Iterator[Front]:
    """In place of the process: something that says which headers reach it."""
    path = world.folder / "echo.sock"
    with socketserver.ThreadingUnixStreamServer(str(path), _Echo) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with in_front(world, path) as found:
            yield found
        server.shutdown()


SPOOFED = {
    "X-Client-Verify": "SUCCESS", "X-Client-DN": "CN=root", "X-Client-Cert": "whatever", "X-Remote-User": "root",
    "X-Remote-Groups": "admins", "X-Real-IP": "10.0.0.1", "X-Forwarded-Proto": "http", "X-Forwarded-For": "10.0.0.1",
    "Forwarded": "for=10.0.0.1", "X_Client_Verify": "SUCCESS", "X_Remote_User": "root",
}  # fmt: skip


def test_what_a_client_says_of_itself_never_arrives(heard: Front) -> None:
    arrived = json.loads(heard.ask("/", **{k: v for k, v in SPOOFED.items() if "_" not in k}).body)

    assert "NONE" == arrived["x-client-verify"]
    assert ("127.0.0.1", "https") == (arrived["x-real-ip"], arrived["x-forwarded-proto"])
    said = {
        "x-client-dn",
        "x-client-cert",
        "x-remote-user",
        "x-remote-groups",
        "x-forwarded-for",
        "forwarded",
    }
    assert not said & set(arrived), "an empty header is not sent on at all"


def test_a_header_spelt_with_underscores_does_not_arrive_either(heard: Front) -> None:
    context = ssl.create_default_context(cafile=str(heard.authority.certificate))
    with socket.create_connection(("127.0.0.1", heard.port), SECONDS) as raw:
        with context.wrap_socket(raw, server_hostname="127.0.0.1") as link:
            lines = "".join(f"{k}: {v}\r\n" for k, v in SPOOFED.items())
            link.sendall(f"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{lines}\r\n".encode())
            body = b"".join(iter(lambda: link.recv(65536), b"")).partition(b"\r\n\r\n")[2]
    arrived = json.loads(body)
    assert not {"x_client_verify", "x_remote_user", "x-remote-user"} & set(arrived)


def test_a_client_certificate_is_what_nginx_says_it_is(heard: Front) -> None:
    arrived = json.loads(heard.ask("/", person="ines", **{"X-Client-DN": "CN=root"}).body)

    assert "SUCCESS" == arrived["x-client-verify"]
    assert "CN=ines" == arrived["x-client-dn"]
    assert arrived["x-client-cert"].startswith("-----BEGIN%20CERTIFICATE")


# --- writing it ---------------------------------------------------------------------------------------------------------


def test_what_nginx_could_not_be_told_is_refused(world: HubWorld, tmp_path: Path) -> None:
    told = Prompt(world.home, "ines")
    settings = world.home / "server.toml"
    kept = settings.read_text()
    plain = ("server", "nginx", "--certificate", "c.pem", "--key", "c.key")
    wrong = ServerSettingsWrong.exit_code
    assert "no name of a server" in told.type(*plain, "--name", "x; } server { listen 1", ends=wrong).stderr
    assert (
        "cannot be told"
        in told.type("server", "nginx", "--certificate", 'a"b', "--key", "k", ends=wrong).stderr
    )
    try:
        settings.write_text("")
        assert "nginx needs a socket" in told.type(*plain, "--name", "x", ends=wrong).stderr
        assert "--name is missing" in told.type(*plain, ends=2).stderr
    finally:
        settings.write_text(kept)
    out = tmp_path / "tidegate.conf"
    assert f"Written: {out}" in told.type(*plain, "--out", out).stdout
    assert "server_name models.example;" in out.read_text()
    assert "listen 443 ssl" in out.read_text()
