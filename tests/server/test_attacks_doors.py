"""What was tried at the doors by strangers, by who holds a small token, by who stole one, by who spoils files meanwhile.

Each story says what somebody wants, what they send, and what they get. What the doors' own tests play already is not
played again: signing in, passkeys and providers in theirs; damaged files in `test_delivery`; forms of other sites,
rights address by address, and operations in theirs. The table of attackers is docs/explanation/threats.md.
"""

import asyncio
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit
from urllib.request import urlopen

import pytest
import uvicorn

from registry.access import parse_grants
from registry.accounts import Accounts
from registry.audit import EventKind
from registry.entities import DoorAnswer, DoorChallenge, DoorSession
from registry.home import load
from signing.digests import sha256_hex
from signing.times import rfc3339
from tests.server import hub_world
from tests.server.hub_world import LARGE, MODEL, SMALL, HubWorld
from tests.server.test_rights import table
from tests.server_world import Served, premises, served
from tidegate.server import delivery, wire
from tidegate.server.accounts.sessions import COOKIE
from tidegate.server.api import operations
from tidegate.server.api.performing import Done
from tidegate.server.app import build
from tidegate.server.premises import Premises
from tidegate.server.settings import Limits, ServerSettings
from tidegate.server.sweeping import sweep
from tidegate.server.wire import Wire

if TYPE_CHECKING:
    from starlette.testclient import TestClient

SECONDS = 30  # within which everything here ends
FLOOD = 48 << 20  # bytes: more than all buffers on the way hold
SITE = "http://localhost"
FORM = "application/x-www-form-urlencoded"
OPERATIONS = "/api/v1/operations"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> HubWorld:
    return hub_world.build(tmp_path_factory.mktemp("attacked"))


@pytest.fixture(scope="module")
def running(world: HubWorld) -> Iterator[Served]:
    with served(world.home) as found:
        with urlopen(f"{found.url}/sign-in", timeout=SECONDS) as page:
            assert 200 == page.status
        yield found


@pytest.fixture(scope="module")
def viewer(world: HubWorld) -> str:
    return world.token("vic", "viewer")


class Clock:
    """The doors' clock, which somebody moves on."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC).replace(microsecond=0)

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture(scope="module")
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="module")
def at(world: HubWorld, clock: Clock) -> Iterator[Premises]:
    with premises(world.home, ServerSettings(limits=Limits(sign_in_tries=3)), clock=clock) as found:
        yield found


@pytest.fixture
def stranger(at: Premises) -> Iterator["TestClient"]:
    """A browser that shows nothing, before the doors in this process."""
    from starlette.testclient import TestClient

    with TestClient(build(at), base_url=SITE, follow_redirects=False) as client:
        yield client


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


# --- strangers who send too much --------------------------------------------------------------------------------------


@contextmanager
def line(url: str) -> Iterator[socket.socket]:
    place = urlsplit(url)
    with socket.create_connection((place.hostname or "", place.port or 0), SECONDS) as link:
        yield link


def sent(url: str, head: str, piece: bytes) -> int:
    """How many bytes somebody got rid of before the connection broke: all of the flood, if nobody minds."""
    total = 0
    with line(url) as link, suppress(ConnectionError):
        link.sendall(head.encode())
        while total < FLOOD:
            link.sendall(piece)
            total += len(piece)
    return total


def memory(process: int) -> int:
    """MiB that a process holds."""
    held = Path(f"/proc/{process}/statm").read_text().split()[1]
    return int(held) * os.sysconf("SC_PAGESIZE") >> 20


BOUNDARY = '--b\r\nContent-Disposition: form-data; name="f"; filename="f"\r\n\r\n'
FLOODS = {
    "a form of many fields": (f"Content-Type: {FORM}\r\nContent-Length: {FLOOD}\r\n\r\n", b"x=" + b"a" * 900_000 + b"&"),
    "a file in a form": (f"Content-Type: multipart/form-data; boundary=b\r\nContent-Length: {FLOOD}\r\n\r\n{BOUNDARY}", b"a" * (1 << 20)),
    "headers behind the body": ("Transfer-Encoding: chunked\r\n\r\n0\r\n", b"X-More: " + b"a" * 60_000 + b"\r\n"),
    "one header behind the body": ("Transfer-Encoding: chunked\r\n\r\n0\r\nX-More: ", b"a" * 60_000),
    "what the sizes of pieces may say": ("Transfer-Encoding: chunked\r\n\r\n1;a=", b"a" * 60_000),
}  # fmt: skip


@pytest.mark.parametrize("how", FLOODS)
def test_a_stranger_fills_neither_the_memory_nor_the_disk(running: Served, how: str) -> None:
    """The sign-in page takes forms of anybody."""
    head, piece = FLOODS[how]
    before = memory(running.process.pid)
    total = sent(running.url, f"POST /sign-in HTTP/1.1\r\nHost: localhost\r\n{head}", piece)
    assert total < FLOOD // 2
    assert memory(running.process.pid) - before < 24


def test_a_form_that_is_too_long_is_said_to_be(stranger: "TestClient") -> None:
    answer = stranger.post("/sign-in", data={"name": "a" * 200_000}, headers={"origin": SITE})
    assert (413, True) == (answer.status_code, "131,072 bytes" in answer.text)


@pytest.mark.parametrize("charset", ["punycode", "undefined", "utf-7", "utf-16", "no-such"])
def test_a_form_in_a_strange_charset_breaks_nothing(stranger: "TestClient", charset: str) -> None:
    body = '--b\r\nContent-Disposition: form-data; name="name"\r\n\r\n+2AA-\\ud800é\r\n--b--\r\n'
    kind = f"multipart/form-data; boundary=b; charset={charset}"
    answer = stranger.post("/sign-in", content=body.encode(), headers={"content-type": kind, "origin": SITE})
    assert answer.status_code in (401, 422, 429)


def test_a_body_that_never_ends_is_sent_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """Byte by byte, whatever the endpoint does with it, a few hundred of them would take every place."""
    monkeypatch.setattr(wire, "_BODY_SECONDS", 0.3)

    async def patient(_scope: Any, receive: Any, send: Any) -> None:
        while (await receive()).get("more_body"):
            pass
        await asyncio.sleep(0.5)  # who has sent everything may wait for as long as it takes
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def said(port: int, drops: list[bytes]) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        with suppress(ConnectionError), closing(writer):
            writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 20\r\n\r\n")
            for drop in drops:
                writer.write(drop)
                await asyncio.sleep(0.1)
            return await reader.read(100)
        return b""

    async def talk() -> list[bytes]:
        config = uvicorn.Config(patient, http=Wire, ws="none", lifespan="off", log_config=None, port=0)
        server = uvicorn.Server(config)
        config.load()
        server.lifespan = config.lifespan_class(config)
        await server.startup()
        port = server.servers[0].sockets[0].getsockname()[1]
        found = await asyncio.gather(said(port, [b"a"] * 8), said(port, [b"a" * 20]))
        await server.shutdown()
        return list(found)

    slow, fair = asyncio.run(talk())
    assert (b"", b"HTTP/1.1 204") == (slow, fair[:12])


def test_what_strangers_leave_behind_is_cleared_away(
    stranger: "TestClient", at: Premises, clock: Clock
) -> None:
    """Each question for a passkey is a row; nobody may write many of them, and none stays."""
    answers = [stranger.post("/sign-in/passkey/new", headers={"origin": SITE}).status_code for _ in range(60)]
    assert {200, 429} == set(answers)
    at.doors.put(
        DoorChallenge(id="old", kind="sign in", body="{}", until=rfc3339(clock() + timedelta(minutes=5)))
    )
    clock.now += timedelta(minutes=11)
    sweep(at)
    assert at.doors.get(DoorChallenge, "old") is None


def test_who_may_only_look_leaves_no_answers_behind(
    stranger: "TestClient", at: Premises, viewer: str
) -> None:
    """An answer that is kept for who repeats it may have a megabyte."""
    headers = {**bearer(viewer), "idempotency-key": "k-1"}
    assert 200 == stranger.post(f"{OPERATIONS}/pins", json={}, headers=headers).status_code
    assert at.doors.get(DoorAnswer, "vic", "k-1") is None


def test_who_gives_many_slow_commands_holds_up_nobody_else(
    stranger: "TestClient", viewer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sixty at once, by somebody who may look: each would wait in a thread that a download needs."""
    over = threading.Event()

    def slow(*_: Any) -> Done:
        over.wait(SECONDS)
        return Done(0)

    monkeypatch.setattr(operations, "perform", slow)

    def give(_number: int) -> int:
        return stranger.post(f"{OPERATIONS}/pins", json={}, headers=bearer(viewer)).status_code

    with ThreadPoolExecutor(60) as together:
        given = [together.submit(give, number) for number in range(60)]
        deadline = time.monotonic() + SECONDS
        while sum(one.done() for one in given) < 44 and time.monotonic() < deadline:
            time.sleep(0.02)
        answered = stranger.get("/healthz").status_code
        began = over.is_set()
        over.set()
    statuses = [one.result() for one in given]
    assert (200, False) == (answered, began)
    assert (16, 44) == (statuses.count(200), statuses.count(429))


# --- requests in requests ---------------------------------------------------------------------------------------------

INNER = "GET /version HTTP/1.1\r\nHost: localhost\r\n\r\n"
SMUGGLED = {
    "both lengths": f"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{INNER}",
    "two lengths": f"Content-Length: 0\r\nContent-Length: {len(INNER)}\r\n\r\n{INNER}",
    "a coding that is none": f"Transfer-Encoding: xchunked\r\nContent-Length: 0\r\n\r\n{INNER}",
    "a coding behind a blank": f"Transfer-Encoding : chunked\r\nContent-Length: {len(INNER)}\r\n\r\n{INNER}",
    "lines without a return": "X-A: b\n\n" + INNER,
    "a folded line": f"X-A: b\r\n Content-Length: 3\r\n\r\n{INNER}",
    "a zero byte": f"X-A: b\0c\r\n\r\n{INNER}",
    "a length below nothing": f"Content-Length: -1\r\n\r\n{INNER}",
}


@pytest.mark.parametrize("how", SMUGGLED)
def test_a_request_that_could_be_read_in_two_ways_is_not_read(running: Served, how: str) -> None:
    """A proxy before us that reads it the other way would pass on somebody else's request."""
    with line(running.url) as link:
        link.sendall(f"POST /healthz HTTP/1.1\r\nHost: localhost\r\n{SMUGGLED[how]}".encode())
        said = b""
        with suppress(ConnectionError):
            while piece := link.recv(65536):
                said += piece
    assert said.startswith(b"HTTP/1.1 400")
    assert 1 == said.count(b"HTTP/1.1 ")


def test_a_name_behind_the_body_is_nobodys(running: Served, viewer: str) -> None:
    """A header that comes last would be read by whoever looks late."""
    body = "2\r\n{}\r\n0\r\n"
    head = f"POST {OPERATIONS}/pins HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n"
    shown = f"Authorization: Bearer {viewer}\r\n"
    with line(running.url) as link:
        link.sendall(f"{head}\r\n{body}{shown}\r\n".encode())
        assert b"HTTP/1.1 401" in link.recv(65536)
    with line(running.url) as link:
        link.sendall(f"{head}{shown}\r\n{body}\r\n".encode())
        assert b"HTTP/1.1 200" in link.recv(65536)


# --- who holds a token for one tier -----------------------------------------------------------------------------------


def test_a_token_for_one_tier_gets_no_byte_of_another_by_any_door(
    stranger: "TestClient", world: HubWorld
) -> None:
    """`edge` serves the first of the small ones; of the second, which `team` serves, every digest is known."""
    mine, theirs = world.files(1, SMALL), world.files(2, SMALL)
    path = next(path for path in theirs if theirs[path] not in mine.values())
    headers, digest = bearer(world.token("eddy", "viewer:edge")), world.digest(2, SMALL)
    named = SMALL.replace("/", "--")
    refused = [
        f"/{SMALL}/resolve/team/{path}",
        f"/{SMALL}/resolve/2/{path}",
        f"/{SMALL}/resolve/{world.commit(2, SMALL)}/{path}",
        f"/{SMALL}/resolve/sha256:{digest}/{path}",
        f"/api/models/{SMALL}/tree/2",
        f"/api/2.0/mlflow-artifacts/artifacts/{named}/2/{path}",
        f"/api/2.0/mlflow-artifacts/artifacts?path={named}/2",
        f"/v2/{SMALL}/manifests/2",
        f"/v2/{SMALL}/manifests/team",
        f"/v2/{SMALL}/blobs/sha256:{theirs[path]}",
        f"/v2/{MODEL}/blobs/sha256:{theirs[path]}",  # through a model that they may have
        f"/v2/{LARGE}/blobs/sha256:{theirs[path]}",
    ]
    for address in refused:
        answer = stranger.get(address, headers=headers)
        assert answer.status_code in (403, 404), f"{address}: {answer.status_code}"
        assert theirs[path] != sha256_hex(answer.content)
    assert 200 == stranger.get(f"/v2/{SMALL}/blobs/sha256:{mine[path]}", headers=headers).status_code


@pytest.mark.parametrize(
    ("grants", "addresses"),
    [
        ("auditor:edge", ["/api/v1/events", "/api/v1/events/1", "/api/v1/log/head"]),
        ("steward:edge", ["/api/v1/events", f"/versions/{'a' * 64}/withdraw"]),
        ("admin:edge", ["/account/all", "/account/all/vic"]),
    ],
)
def test_a_grant_for_one_tier_opens_nothing_that_is_the_whole_homes(
    stranger: "TestClient", world: HubWorld, viewer: str, grants: str, addresses: list[str]
) -> None:
    """The log speaks of every tier, and who keeps the accounts gives out every right."""
    assert viewer, "vic is known"
    headers = bearer(world.token(f"one-{grants.partition(':')[0]}", grants))
    assert [403] * len(addresses) == [stranger.get(path, headers=headers).status_code for path in addresses]


# --- who was somebody -------------------------------------------------------------------------------------------------


def test_who_came_by_a_provider_loses_at_once_what_an_administrator_takes(
    stranger: "TestClient", at: Premises, clock: Clock
) -> None:
    """The provider said it twelve hours ago, and the session remembers."""
    machine = Accounts(at.store, actor="root", now=clock(), at_machine=True)
    machine.become("olga", parse_grants("viewer,auditor"))
    moment, cookie = rfc3339(clock()), "a-cookie-that-somebody-has"
    at.doors.put(
        DoorSession(
            id=sha256_hex(cookie.encode()), account="olga", grants="auditor,viewer", how="oidc", csrf="c",
            began=moment, seen=moment, until=rfc3339(clock() + timedelta(hours=12)),
        )
    )  # fmt: skip
    shown = {"cookie": f"{COOKIE}={cookie}"}
    assert 200 == stranger.get("/api/v1/events", headers=shown).status_code
    machine.revoke("olga", parse_grants("auditor"))
    assert 403 == stranger.get("/api/v1/events", headers=shown).status_code
    assert 200 == stranger.get("/api/v1/pins", headers=shown).status_code


def test_a_password_in_the_wrong_field_is_not_kept_for_ever(stranger: "TestClient", at: Premises) -> None:
    """The log forgets nothing, and people type what they know by heart; over the limit of tries, too."""
    typed = "my own secret words"
    form = urlencode({"name": typed, "password": "x"})
    headers = {"content-type": FORM, "origin": SITE}
    statuses = [stranger.post("/sign-in", content=form, headers=headers).status_code for _ in range(6)]
    assert 429 == statuses[-1]
    at.denials.settle(at.clock(), everything=True)
    with at.store.view() as view:
        assert typed not in json.dumps([dict(event.note) for event in view.events(kind=EventKind.DENIED)])


def test_one_who_knocks_at_every_door_writes_little_into_the_log(
    stranger: "TestClient", at: Premises
) -> None:
    """The log forgets nothing, so whoever is turned away could make it as long as they like."""
    at.denials.settle(at.clock(), everything=True)
    with at.store.view() as view:
        before = len(list(view.events(kind=EventKind.DENIED)))
    for word in table():
        path = word[1].replace("{rest:path}", "x").replace("{at:path}", "x")
        stranger.request(word[0], path, headers={"origin": SITE})
    at.denials.settle(at.clock(), everything=True)
    with at.store.view() as view:
        more = len(list(view.events(kind=EventKind.DENIED))) - before
    assert more <= 2 * 21, "of each kind the first, and how many like it came; all others as one"


# --- who touches files while they are sent ----------------------------------------------------------------------------


@contextmanager
def touching(path: Path) -> Iterator[None]:
    """Somebody makes links to a file and removes them, as materialising does; its bytes stay what they are."""
    over = threading.Event()

    def go() -> None:
        beside = path.with_name("link-of-the-test")
        while not over.wait(0.001):
            os.link(path, beside)
            beside.unlink()

    thread = threading.Thread(target=go)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def test_a_part_of_a_file_that_is_touched_is_that_part_or_nothing(
    stranger: "TestClient", world: HubWorld, viewer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that goes on with a download checks no digest: bytes from another place would stay in its file."""
    monkeypatch.setattr(delivery, "_PATIENCE", 2.0)
    name = world.files(1, LARGE)["model.safetensors"]
    path = load(world.home).blobs.path(name)
    data, first = path.read_bytes(), 5_000_000
    headers = {**bearer(viewer), "range": f"bytes={first}-{first + 999_999}"}
    address = f"/{LARGE}/resolve/team/model.safetensors"
    with touching(path):
        found = [stranger.get(address, headers=headers) for _ in range(3)]
    assert {answer.status_code for answer in found} <= {206, 503}
    assert all(data[first : first + 1_000_000] == one.content for one in found if one.status_code == 206)

    deadline = time.monotonic() + SECONDS
    while (
        answer := stranger.get(address, headers=headers)
    ).status_code == 503 and time.monotonic() < deadline:
        time.sleep(0.1)
    assert (206, data[first : first + 1_000_000]) == (answer.status_code, answer.content)
