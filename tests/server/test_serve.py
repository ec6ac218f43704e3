"""The process as an operator has it: started, asked, told to end, killed, attacked before anybody has said who they are."""

import asyncio
import hashlib
import http.client
import json
import os
import re
import signal
import socket
import ssl
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
import uvicorn
from starlette.testclient import TestClient

from registry.home import Home, load
from tests.cli import Prompt
from tests.server import hub_world
from tests.server.certificates import self_signed
from tests.server.hub_world import LARGE, MODEL, HubWorld
from tests.server_world import Served, premises, served, stop
from tidegate.errors import ServerSettingsWrong
from tidegate.server import ground, wire
from tidegate.server.app import DOORS, EARLY, build
from tidegate.server.ground import CannotListen, HomeOnNetwork
from tidegate.server.late import LateDoors
from tidegate.server.wire import Wire

SECONDS = 30  # within which everything here ends, however busy the machine is
CLIENTS = 200


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> HubWorld:
    return hub_world.build(tmp_path_factory.mktemp("serve"))


@pytest.fixture(scope="module")
def token(world: HubWorld) -> str:
    return world.token("vic", "viewer")


@pytest.fixture(scope="module")
def running(world: HubWorld) -> Iterator[Served]:
    with served(world.home) as found:
        yield found


@pytest.fixture
def settings(world: HubWorld) -> Iterator[Path]:
    """`server.toml`, gone afterwards."""
    path = world.home / "server.toml"
    yield path
    path.unlink(missing_ok=True)


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def ask(url: str, path: str, token: str | None = None, **headers: str) -> Answer:
    """One request over a connection of its own; every byte of the answer."""
    place = urlsplit(url)
    told = {name.replace("_", "-"): value for name, value in headers.items()}
    if token:
        told["Authorization"] = f"Bearer {token}"
    with closing(http.client.HTTPConnection(place.hostname or "", place.port, timeout=SECONDS)) as link:
        link.request("GET", path, headers=told)
        answer = link.getresponse()
        return Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())


def file_path(model: str, revision: str, path: str) -> str:
    return f"/{model}/resolve/{quote(revision)}/{quote(path)}"


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


# --- alive and ready ------------------------------------------------------------------------------------------------


def test_alive_and_ready_for_programs_and_without_secrets(running: Served, world: HubWorld) -> None:
    assert {"status": "alive"} == ask(running.url, "/healthz").json
    ready = ask(running.url, "/readyz")

    assert (200, "ready") == (ready.status, ready.json["status"])
    assert {"database", "store", "space", "files"} == set(ready.json["checks"])
    assert all(check["ok"] for check in ready.json["checks"].values())
    assert str(world.folder).encode() not in ready.body


def test_not_ready_when_the_store_or_the_database_is_away(world: HubWorld, running: Served) -> None:
    blobs = world.home / "store" / "blobs"
    blobs.rename(world.home / "away")
    try:
        ready = ask(running.url, "/readyz")
        assert (503, "not ready") == (ready.status, ready.json["status"])
        assert not ready.json["checks"]["store"]["ok"]
        assert ready.json["checks"]["database"]["ok"]
    finally:
        (world.home / "away").rename(blobs)
    assert 200 == ask(running.url, "/readyz").status


def test_what_is_pinned_is_hashed_soon_after_the_start(running: Served, world: HubWorld, token: str) -> None:
    """So that a resumed download of it, which begins with a range, waits for nothing."""
    deadline = time.monotonic() + SECONDS
    while ask(running.url, "/readyz").json["checks"]["files"]["waiting"] and time.monotonic() < deadline:
        time.sleep(0.05)
    answer = ask(running.url, file_path(LARGE, "team", "model.safetensors"), token, Range="bytes=10000000-")
    assert 206 == answer.status


# --- where it listens -----------------------------------------------------------------------------------------------


def serve(world: HubWorld, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """A process that is expected to end by itself."""
    command = [sys.executable, "-m", "tidegate", "serve", "--home", str(world.home), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)


def test_a_port_that_is_taken_is_a_refusal_of_its_own(world: HubWorld) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        done = serve(world, "--listen", address)

    assert CannotListen.exit_code == done.returncode
    assert f"cannot listen on {address}" in done.stderr
    assert CannotListen.next_step in done.stderr
    assert "" == done.stdout


@pytest.mark.parametrize("listen", ["256.0.0.1:80", "nowhere.invalid:80", "203.0.113.7:80"])
def test_an_address_that_is_not_ours(listen: str) -> None:
    from tidegate.server.settings import ServerSettings

    with pytest.raises(CannotListen, match=listen):
        ground.tcp(ServerSettings(listen=listen))


def over_socket(path: Path, target: str) -> bytes:
    with socket.socket(socket.AF_UNIX) as link:
        link.settimeout(SECONDS)
        link.connect(str(path))
        link.sendall(f"GET {target} HTTP/1.1\r\nHost: doors\r\nConnection: close\r\n\r\n".encode())
        return b"".join(iter(lambda: link.recv(65536), b""))


def test_a_socket_that_a_killed_process_left_is_taken_over_and_nothing_else_is(tmp_path: Path) -> None:
    path = tmp_path / "doors.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with ground.unix(path):
        pass
    path.unlink()
    path.write_text("somebody's file")
    with pytest.raises(CannotListen, match="another file lies there"):
        ground.unix(path)
    assert "somebody's file" == path.read_text()
    for impossible in (tmp_path / "none" / "doors.sock", path / "doors.sock", tmp_path / ("x" * 300)):
        with pytest.raises(CannotListen, match=re.escape(str(impossible))):
            ground.unix(impossible)


MOUNTS = r"""
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw
40 27 0:40 / /srv rw - nfs4 files:/srv rw,vers=4.2
41 40 0:41 / /srv/local rw - xfs /dev/vdb rw
42 27 0:42 / /mnt/with\040space rw - cifs //files/x rw
""".strip()


@pytest.mark.parametrize(
    ("place", "kind"),
    [
        ("/srv/home", "nfs4"),
        ("/mnt/with space/home", "cifs"),
        ("/srv/local/home", None),
        ("/var/lib/tidegate", None),
    ],
)
def test_sqlite_on_a_network_file_system_is_refused(place: str, kind: str | None) -> None:
    home = Home(Path(place), "x", ("site",), f"sqlite:///{place}/registry.db", "solo")
    if kind is None:
        ground.demand_local(home, MOUNTS)
        return
    with pytest.raises(HomeOnNetwork, match=kind):
        ground.demand_local(home, MOUNTS)
    elsewhere = Home(home.path, "x", ("site",), "postgresql+psycopg://db/x", "solo")
    ground.demand_local(elsewhere, MOUNTS)


# --- TLS ------------------------------------------------------------------------------------------------------------


def test_tls_by_files_and_beside_it_a_socket_for_the_proxy_alone(world: HubWorld, settings: Path) -> None:
    certificate, key = self_signed(world.folder, "127.0.0.1")
    path = world.folder / "doors.sock"
    settings.write_text(f'certificate = "{certificate}"\nkey = "{key}"\nsocket = "{path}"\n')
    with served(world.home) as found:
        assert {"status": "alive"} == json.loads(over_tls(found.url, certificate))
        _demand_no_old_tls(found.url)
        assert stat.S_ISSOCK(path.stat().st_mode)
        assert 0o660 == stat.S_IMODE(path.stat().st_mode)
        assert b"alive" in over_socket(path, "/healthz")
        with pytest.raises(CannotListen, match="another process listens there"):
            ground.unix(path)
    assert not path.exists()


def over_tls(url: str, certificate: Path) -> bytes:
    place, context = urlsplit(url), ssl.create_default_context(cafile=str(certificate))
    assert "https" == place.scheme
    link = http.client.HTTPSConnection(place.hostname or "", place.port, context=context, timeout=SECONDS)
    with closing(link):
        link.request("GET", "/healthz")
        return link.getresponse().read()


def _demand_no_old_tls(url: str) -> None:
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
    old.set_ciphers("AES128-SHA:AES256-SHA:@SECLEVEL=0")  # no forward secrecy
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    place = urlsplit(url)
    with (
        socket.create_connection((place.hostname or "", place.port or 0), SECONDS) as link,
        pytest.raises(ssl.SSLError),
    ):
        old.wrap_socket(link)


@pytest.mark.parametrize("harm", ["no such file", "another key", "no PEM", "an encrypted key"])
def test_a_certificate_that_cannot_be_used_is_said_before_anything_opens(
    world: HubWorld, settings: Path, tmp_path: Path, harm: str
) -> None:
    certificate, key = self_signed(tmp_path, "127.0.0.1")
    if harm == "no such file":
        key.unlink()
    elif harm == "another key":
        (tmp_path / "other").mkdir()
        key = self_signed(tmp_path / "other", "127.0.0.1")[1]
    elif harm == "no PEM":
        certificate.write_bytes(b"\x00" * 100)
    else:
        _, key = self_signed(tmp_path, "127.0.0.1", passphrase=b"correct horse")
    settings.write_text(f'certificate = "{certificate}"\nkey = "{key}"\n')

    from tidegate.server.run import tls
    from tidegate.server.settings import load as read

    with pytest.raises(ServerSettingsWrong, match=re.escape(str(certificate if harm == "no PEM" else key))):
        tls(read(world.home))


# --- being told to end ------------------------------------------------------------------------------------------------


@dataclass
class SlowDownload:
    """A client that has begun, and takes the rest only when it is told to."""

    link: socket.socket
    taken: bytes

    def rest(self) -> bytes:
        while block := self.link.recv(1 << 20):
            self.taken += block
        return self.taken.partition(b"\r\n\r\n")[2]


def begin(url: str, token: str) -> SlowDownload:
    place = urlsplit(url)
    link = socket.socket()
    link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    link.settimeout(SECONDS)
    link.connect((place.hostname, place.port))
    path = file_path(LARGE, "team", "model.safetensors")
    link.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n".encode())
    return SlowDownload(link, link.recv(1000))


def test_who_is_being_served_may_finish_and_nobody_new_comes_in(world: HubWorld, token: str) -> None:
    with served(world.home) as found:
        slow = begin(found.url, token)
        found.process.send_signal(signal.SIGTERM)
        _until_closed(found.url)
        assert found.process.poll() is None
        whole = slow.rest()
        slow.link.close()
        assert 0 == found.process.wait(SECONDS)
    assert world.files(1, LARGE)["model.safetensors"] == sha256(whole)


def _until_closed(url: str) -> None:
    place = urlsplit(url)
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        try:
            socket.create_connection((place.hostname or "", place.port or 0), 1).close()
        except ConnectionRefusedError:
            return
        time.sleep(0.02)
    raise AssertionError("still lets people in")


def test_who_takes_nothing_does_not_keep_the_process(world: HubWorld, settings: Path, token: str) -> None:
    log = world.folder / "serve.log"
    log.touch()
    before = len(log.read_text())
    settings.write_text("[limits]\nstop_seconds = 1\n")
    with served(world.home) as found:
        slow = begin(found.url, token)
        began = time.monotonic()
        found.process.send_signal(signal.SIGINT)
        assert 0 == found.process.wait(SECONDS)
        assert time.monotonic() - began < 10
        slow.link.close()
    assert "Traceback" not in log.read_text()[before:]


def test_a_second_signal_ends_it_where_it_stands(world: HubWorld, token: str) -> None:
    with served(world.home) as found:
        slow = begin(found.url, token)
        found.process.send_signal(signal.SIGTERM)
        _until_closed(found.url)
        found.process.send_signal(signal.SIGTERM)
        assert 128 + signal.SIGTERM == found.process.wait(5)
        slow.link.close()


# --- doors that are opened late ---------------------------------------------------------------------------------------

HEAVY = [
    "alembic",
    "huggingface_hub",
    "jinja2",
    "jsonschema",
    "mlflow",
    "numpy",
    "pytest",
    "requests",
    "tuf",
    "webauthn",
]


def test_a_process_that_only_hands_files_out_is_small() -> None:
    """The bar is 100 MB resident while 2 GiB are sent: what files do not need is not imported for them."""
    code = (
        "import importlib, sys\n"
        "import tidegate.server.run, tidegate.keyring\n"
        "from tidegate.server.app import EARLY\n"
        "for module, _ in EARLY: importlib.import_module(module)\n"
        f"print([name for name in {HEAVY} if name in sys.modules])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=SECONDS, check=True
    )
    assert "[]" == done.stdout.strip()


def test_the_first_who_knocks_elsewhere_opens_every_door(world: HubWorld, token: str) -> None:
    with premises(world.home) as home:
        whole = build(home)
        app = build(home, late=True)
        with TestClient(LateDoors(app), base_url="http://127.0.0.1") as client:
            assert 200 == client.get("/healthz").status_code
            assert (
                200
                == client.get(
                    f"/api/models/{MODEL}", headers={"Authorization": f"Bearer {token}"}
                ).status_code
            )
            assert len(EARLY) == len(app.router.routes)
            with ThreadPoolExecutor(4) as together:
                found = list(together.map(lambda _: client.get("/sign-in").status_code, range(4)))
            assert [200] * 4 == found
            assert len(DOORS) == len(app.router.routes) == len(whole.router.routes)
            assert 404 == client.get("/nothing-of-ours/at-all").status_code
            assert 200 == client.get("/healthz").status_code


# --- strangers --------------------------------------------------------------------------------------------------------


def test_a_head_without_end_is_cut_off(running: Served) -> None:
    place = urlsplit(running.url)
    with socket.create_connection((place.hostname or "", place.port or 0), SECONDS) as link:
        link.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Long: ")
        with suppress(ConnectionError):
            for _ in range(64):
                link.sendall(b"a" * 65536)
        with suppress(ConnectionError):
            assert b"400" in link.recv(100)
    assert 200 == ask(running.url, "/healthz").status


def test_a_large_head_that_is_none_too_large(running: Served) -> None:
    assert 200 == ask(running.url, "/healthz", X_Long="a" * 30_000).status


def test_a_body_is_no_head(running: Served) -> None:
    """A request with a body of any size, and another one over the same connection."""
    place = urlsplit(running.url)
    with closing(http.client.HTTPConnection(place.hostname or "", place.port, timeout=SECONDS)) as link:
        for _ in range(2):
            link.request("GET", "/healthz", body=b"x" * 200_000)
            answer = link.getresponse()
            answer.read()
            assert 200 == answer.status


def test_who_asks_nothing_is_sent_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor who begins to ask, one byte after the other; who is being answered may take their time."""
    monkeypatch.setattr(wire, "_HEAD_SECONDS", 0.2)

    async def slow_answer(_scope: Any, _receive: Any, send: Any) -> None:
        await asyncio.sleep(0.5)
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def said(port: int, *parts: bytes) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            for part in parts:
                writer.write(part)
                await asyncio.sleep(0.05)
            return await reader.read(100)
        except ConnectionError:
            return b""
        finally:
            writer.close()

    async def talk() -> list[bytes]:
        config = uvicorn.Config(slow_answer, http=Wire, ws="none", lifespan="off", log_config=None, port=0)
        server = uvicorn.Server(config)
        config.load()
        server.lifespan = config.lifespan_class(config)
        await server.startup()
        port = server.servers[0].sockets[0].getsockname()[1]
        whole = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
        drops = [bytes([byte]) for byte in whole]
        found = await asyncio.gather(said(port), said(port, *drops), said(port, whole))
        await server.shutdown()
        return list(found)

    nothing, drop_by_drop, fair = asyncio.run(talk())
    assert (b"", b"") == (nothing, drop_by_drop)
    assert fair.startswith(b"HTTP/1.1 204")


# --- under load -------------------------------------------------------------------------------------------------------

MOVER = """
import sys
from pathlib import Path
from pipelines.rollback import roll_back
from registry.home import load
from tests.server.hub_world import MODEL, NOW, HubWorld
from tests.world import at_work

world = HubWorld(Path(sys.argv[1]))
moves = 0
print("moving", flush=True)
while not Path(sys.argv[2]).exists():
    world.pin(2, "team")
    with at_work(load(world.home), actor="bob", now=NOW) as work:
        roll_back(work, MODEL, "team", reason="again")
    moves += 2
print(moves, flush=True)
"""


def test_two_hundred_download_while_pins_move_and_nothing_is_mixed(
    world: HubWorld, running: Served, token: str, tmp_path: Path
) -> None:
    """Each asks what the tier serves, then takes files of that commit; a tier's file says which version it is of."""
    end = tmp_path / "enough"
    command = [sys.executable, "-c", MOVER, str(world.folder), str(end)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as mover:
        assert mover.stdout is not None
        try:
            assert "moving\n" == mover.stdout.readline()
            with ThreadPoolExecutor(CLIENTS) as clients:
                found = list(clients.map(lambda n: _download(world, running.url, token, n), range(CLIENTS)))
        finally:
            end.touch()
        moves = int(mover.stdout.readline())
    assert moves >= 4, "the pins moved meanwhile"
    assert {world.commit(1), world.commit(2)} >= set(found)


def _download(world: HubWorld, url: str, token: str, number: int) -> str:
    told = ask(url, f"/api/models/{MODEL}/revision/team", token)
    assert 200 == told.status, told.body
    commit = str(told.json["sha"])
    ordinal = next(n for n in (1, 2) if world.commit(n) == commit)
    files = world.files(ordinal)
    names = sorted(files)[number % 3 :: 3]
    assert {item["rfilename"] for item in told.json["siblings"]} == set(files)
    for name in names:
        got = ask(url, file_path(MODEL, commit, name), token)
        assert (200, commit) == (got.status, got.headers["x-repo-commit"])
        assert files[name] == sha256(got.body), name
    by_tier = ask(url, file_path(MODEL, "team", names[0]), token)
    version = next(n for n in (1, 2) if world.commit(n) == by_tier.headers["x-repo-commit"])
    assert world.files(version)[names[0]] == sha256(by_tier.body)
    return commit


def test_killed_and_started_again_under_load_no_download_ends_wrong(world: HubWorld, token: str) -> None:
    """Clients resume with a range, as they do; what they have in the end is the file."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    command = [sys.executable, "-m", "tidegate", "serve", "--home", str(world.home), "--listen", address]
    process = _started(command)
    stopping = threading.Event()
    try:
        with ThreadPoolExecutor(8) as clients:
            done = [clients.submit(_resume_until_whole, address, token, stopping) for _ in range(8)]
            time.sleep(0.3)
            process.send_signal(signal.SIGKILL)
            stop(process)
            process = _started(command)
            found = [one.result() for one in done]
    finally:
        stopping.set()
        stop(process)
    assert {world.files(1, LARGE)["model.safetensors"]} == {digest for digest, _ in found}
    assert any(broken for _, broken in found), "somebody was interrupted"


def _started(command: list[str]) -> "subprocess.Popen[str]":
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    assert "http" in process.stdout.readline()
    return process


def _resume_until_whole(address: str, token: str, stopping: threading.Event) -> tuple[str, int]:
    data, broken, size = b"", 0, 1
    while len(data) < size and not stopping.is_set():
        try:
            with closing(http.client.HTTPConnection(address, timeout=SECONDS)) as link:
                headers = {"Authorization": f"Bearer {token}", "Range": f"bytes={len(data)}-"}
                link.request("GET", file_path(LARGE, "team", "model.safetensors"), headers=headers)
                answer = link.getresponse()
                if answer.status != 206:
                    time.sleep(0.1)
                    continue
                size = int(answer.getheader("Content-Range", "/1").rpartition("/")[2])
                while block := answer.read(1 << 20):
                    data += block
                    time.sleep(0.02)
        except (OSError, http.client.HTTPException):
            broken += 1
            time.sleep(0.05)
    return sha256(data), broken


# --- what server.toml says --------------------------------------------------------------------------------------------


def test_the_settings_in_words(world: HubWorld, settings: Path) -> None:
    settings.write_text(
        'anonymous = ["viewer:edge"]\ndefault_tier = "team"\npublic_url = "https://models.example"\n'
    )
    shown = Prompt(world.home, "ines").type("server", "check").stdout

    assert "this machine alone can connect" in shown
    assert "viewer:edge" in shown
    assert "what `main` means" in shown
    assert "wrong" not in shown


def test_what_would_not_work_is_said_before_the_doors_open(world: HubWorld, settings: Path) -> None:
    settings.write_text(
        'listen = "0.0.0.0:8765"\nsocket = "/nowhere/doors.sock"\ndefault_tier = "moon"\nanonymous = ["viewer:mars"]\n'
        'certificate = "none.pem"\nkey = "none.key"\n[fronted]\n'
    )
    lines = Prompt(world.home, "ines").ask("server", "check", ends=ServerSettingsWrong.exit_code)["lines"]

    assert {"socket", "default_tier", "anonymous", "certificate", "fronted"} == {
        line["setting"] for line in lines if line["wrong"]
    }


def test_what_is_wrong_and_opens_all_the_same_is_said_when_it_opens(world: HubWorld, settings: Path) -> None:
    settings.write_text('default_tier = "moon"\n')
    before = len(log.read_text()) if (log := world.home.parent / "serve.log").exists() else 0
    with served(world.home, "--listen", "0.0.0.0:0"):
        deadline = time.monotonic() + SECONDS
        while "Note:" not in log.read_text()[before:] and time.monotonic() < deadline:
            time.sleep(0.05)
    said = log.read_text()[before:]
    assert "Note: listen: without a certificate, tokens and models cross the network in the clear" in said
    assert "Note: default_tier: moon: which this home does not have" in said


def test_the_doors_need_their_packages_and_nothing_else_does(world: HubWorld) -> None:
    """A site without the extra: `serve` says what to install; the rest works."""
    code = (
        "import importlib.util, sys\n"
        "real = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *rest: None if name in ('uvicorn', 'fastapi') else real(name, *rest)\n"
        "from tidegate.cli.root import main\n"
        "main(sys.argv[1:])\n"
    )
    command = [sys.executable, "-c", code, "serve", "--home", str(world.home)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=SECONDS, check=False, env=os.environ
    )
    assert ServerSettingsWrong.exit_code == done.returncode
    assert "tidegate[serve]" in done.stderr


def test_a_wrong_line_in_server_toml_opens_nothing(world: HubWorld, settings: Path) -> None:
    settings.write_text("listne = 1\n")
    done = serve(world)
    assert ServerSettingsWrong.exit_code == done.returncode
    assert "listne" in done.stderr
    assert load(world.home).name in str(load(world.home))
