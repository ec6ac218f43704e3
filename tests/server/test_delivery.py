"""Bytes leave only of a file that was hashed: whatever happens to the disk before, between or while they are sent."""

import asyncio
import hashlib
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from fastapi import Depends, FastAPI
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request
from starlette.testclient import TestClient

from pipelines import blob_watch
from pipelines.blob_rounds import SCRUB_AFTER, Rounds
from pipelines.blob_watch import WHOLE, BlobWatch, ReadingStopped, mark_of
from registry.access import Principal, Right, parse_grants
from registry.entities import BlobSeen
from registry.errors import BlobDamaged, NotFound
from registry.home import Home
from registry.names import Ref
from signing.times import rfc3339
from tests.pipelines.test_materialise import pin
from tests.server.hub_world import DEMO, MODEL
from tests.server_world import premises
from tests.world import at_work, new_home
from tidegate.server import delivery
from tidegate.server.conditions import Asked, asked
from tidegate.server.delivery import PASSED_ON, BlobBeingProven, send_blob
from tidegate.server.guard import Desk, at_desk, needs, router
from tidegate.server.premises import Premises
from tidegate.server.problems import problem_json

NOW = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)
DATA = random.Random(6).randbytes(1_000_003)
NAME = hashlib.sha256(DATA).hexdigest()
AT_DESK = Depends(at_desk)


def _door() -> Any:
    doors = router(problem_json)

    @doors.api_route("/blob/{sha256}", methods=["GET", "HEAD"], response_model=None)
    @needs(Right.OPEN)
    def blob(sha256: str, desk: Desk = AT_DESK) -> Any:
        return send_blob(desk, sha256, headers={"X-Repo-Commit": "c" * 40}, filename="größe 1.bin")

    return doors


@dataclass
class Scene:
    home: Home
    open_home: Premises
    client: TestClient

    @property
    def watch(self) -> BlobWatch:
        return self.open_home.watch

    @property
    def path(self) -> Path:
        return self.open_home.blobs.path(NAME)

    def get(self, **headers: str) -> Any:
        return self.client.get(f"/blob/{NAME}", headers={k.replace("_", "-"): v for k, v in headers.items()})

    def rewrite(self, data: bytes, *, old_times: bool = True) -> None:
        """Somebody writes to the file, and puts its old times back."""
        times = self.path.stat()
        self.path.chmod(0o644)
        self.path.write_bytes(data)
        if old_times:
            os.utime(self.path, ns=(times.st_atime_ns, times.st_mtime_ns))

    def desk(self) -> Desk:
        scope = {"type": "http", "method": "GET", "headers": [], "path": "/", "query_string": b""}
        return Desk(Request(scope), self.open_home, Principal("vic", parse_grants("viewer"), "token"))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return new_home(
        tmp_path_factory.mktemp("home") / "home", name="clinic", roles=("origin", "site"), now=NOW
    )


@pytest.fixture
def scene(home: Home) -> Iterator[Scene]:
    with premises(home.path) as open_home:
        open_home.blobs.path(NAME).unlink(missing_ok=True)
        open_home.blobs.put(DATA)
        app = FastAPI()
        app.state.premises = open_home
        app.include_router(_door())
        with TestClient(app, base_url="http://127.0.0.1") as client:
            yield Scene(home, open_home, client)


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """The blob counts as a large one, of many blocks."""
    monkeypatch.setattr(delivery, "_SMALL", 0)
    monkeypatch.setattr(delivery, "BLOCK", 64 << 10)


def damaged(data: bytes) -> bytes:
    return data[:-5] + bytes([data[-5] ^ 1]) + data[-4:]


# --- what is asked for --------------------------------------------------------------------------------------------


def test_a_whole_file_with_what_clients_need_to_know(scene: Scene) -> None:
    answer = scene.get()

    assert (200, DATA) == (answer.status_code, answer.content)
    assert f'"{NAME}"' == answer.headers["etag"]
    assert "bytes" == answer.headers["accept-ranges"]
    assert "c" * 40 == answer.headers["x-repo-commit"]
    assert "attachment; filename*=UTF-8''gr%C3%B6%C3%9Fe%201.bin" == answer.headers["content-disposition"]


def test_no_browser_runs_what_a_stranger_put_into_a_model(scene: Scene) -> None:
    answer = scene.get()

    assert "sandbox" in answer.headers["content-security-policy"]
    assert "nosniff" == answer.headers["x-content-type-options"]


def test_head_says_the_same_without_bytes(scene: Scene) -> None:
    whole, head = scene.get(), scene.client.head(f"/blob/{NAME}")

    assert b"" == head.content
    assert dict(whole.headers) == dict(head.headers)


@pytest.mark.parametrize(
    ("spoken", "first", "stop"),
    [("bytes=0-0", 0, 1), ("bytes=5-99", 5, 100), ("bytes=1000000-", 1_000_000, 1_000_003), ("bytes=-3", 1_000_000, 1_000_003),
     ("bytes=0-99999999999", 0, 1_000_003), ("bytes=-99999999", 0, 1_000_003)],
)  # fmt: skip
def test_one_range(scene: Scene, spoken: str, first: int, stop: int) -> None:
    answer = scene.get(Range=spoken)

    assert (206, DATA[first:stop]) == (answer.status_code, answer.content)
    assert f"bytes {first}-{stop - 1}/{len(DATA)}" == answer.headers["content-range"]
    assert str(stop - first) == answer.headers["content-length"]


@pytest.mark.parametrize("spoken", ["bytes=1000003-", "bytes=9999999-99999999", "bytes=-0"])
def test_a_range_beyond_the_end(scene: Scene, spoken: str) -> None:
    answer = scene.get(Range=spoken)

    assert (416, b"") == (answer.status_code, answer.content)
    assert f"bytes */{len(DATA)}" == answer.headers["content-range"]


@pytest.mark.parametrize(
    "spoken", ["bytes=0-1,4-5", "bytes=9-2", "items=0-1", "bytes=-", "bytes=a-b", "bytes=0-1;", ""]
)
def test_what_is_no_single_range_is_answered_with_everything(scene: Scene, spoken: str) -> None:
    assert (200, len(DATA)) == ((answer := scene.get(Range=spoken)).status_code, len(answer.content))


def test_a_resume_goes_on_only_with_the_file_that_it_began_with(scene: Scene) -> None:
    assert 206 == scene.get(Range="bytes=5-", If_Range=f'"{NAME}"').status_code
    for other in ('"' + "0" * 64 + '"', f'W/"{NAME}"', "Sun, 01 Nov 2026 12:00:00 GMT"):
        assert 200 == scene.get(Range="bytes=5-", If_Range=other).status_code, other


def test_who_has_the_file_is_not_sent_it_again(scene: Scene) -> None:
    for tag in (f'"{NAME}"', f'W/"{NAME}"', f'"x", "{NAME}"', "*"):
        answer = scene.get(If_None_Match=tag)
        assert (304, b"") == (answer.status_code, answer.content), tag
        assert f'"{NAME}"' == answer.headers["etag"]
    assert 200 == scene.get(If_None_Match='"x"').status_code
    assert 412 == scene.get(If_Match='"x"').status_code
    assert 200 == scene.get(If_Match=f'"{NAME}"').status_code


@pytest.mark.property
@given(
    size=st.integers(0, 50),
    text=st.one_of(st.text(max_size=20), st.from_regex(r"bytes=\d{0,3}-\d{0,3}", fullmatch=True)),
)
def test_whatever_is_asked_stays_within_the_file(size: int, text: str) -> None:
    found = asked({"range": text}, etag='"x"', size=size)

    assert found.status in (200, 206, 416)
    assert 0 <= found.first <= found.stop <= size
    assert (found.stop > found.first) or found.status != 206
    assert found.status != 200 or found == Asked(200, 0, size)


def test_a_name_that_is_none_and_a_file_that_is_no_plain_file(scene: Scene, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(DATA)
    scene.path.unlink()
    scene.path.symlink_to(tmp_path / "secret")
    assert 404 == scene.get().status_code
    scene.path.unlink()
    scene.path.mkdir()
    assert 404 == scene.get().status_code
    scene.path.rmdir()
    os.mkfifo(scene.path)
    assert 404 == scene.get().status_code
    scene.path.unlink()
    for name in ("0" * 64, "..%2f..%2fkeys", "A" * 64, NAME[:-1]):
        assert 404 == scene.client.get(f"/blob/{name}").status_code, name


def test_a_doors_header_that_nginx_would_lose_is_a_bug(scene: Scene) -> None:
    with pytest.raises(AssertionError, match="PASSED_ON"):
        send_blob(scene.desk(), NAME, headers={"X-New": "1"})
    assert len(set(PASSED_ON)) == len(PASSED_ON)


# --- a damaged file -----------------------------------------------------------------------------------------------


def _replace(scene: Scene) -> None:
    other = scene.path.with_name("other")
    other.write_bytes(damaged(DATA))
    os.utime(other, ns=(scene.path.stat().st_atime_ns, scene.path.stat().st_mtime_ns))
    other.rename(scene.path)


HARM: dict[str, Callable[[Scene], None]] = {
    "a byte changed, the old times put back": lambda scene: scene.rewrite(damaged(DATA)),
    "cut short": lambda scene: scene.rewrite(DATA[:-1]),
    "grown": lambda scene: scene.rewrite(DATA + b"x"),
    "emptied": lambda scene: scene.rewrite(b""),
    "replaced by another file": _replace,
}
harmed = pytest.mark.parametrize("harm", HARM)


@harmed
@pytest.mark.parametrize("before", ["never hashed", "found whole before"])
@pytest.mark.parametrize("how", ["whole", "range"])
def test_a_damaged_file_is_refused_and_counted(scene: Scene, harm: str, before: str, how: str) -> None:
    """Also in a process that starts later, also when only HEAD or a range without the damage is asked for."""
    if before == "found whole before":
        scene.watch.proof(NAME).result()
        assert 200 == scene.get().status_code
    HARM[harm](scene)

    answer = scene.get() if how == "whole" else scene.get(Range="bytes=0-0")
    if answer.status_code != 416:  # an empty file has no first byte
        assert 500 == answer.status_code
        assert "BlobDamaged" == answer.json()["title"]
        assert scene.watch.counts.damaged
    assert DATA[:100] not in answer.content

    scene.get()
    assert 500 == scene.client.head(f"/blob/{NAME}").status_code
    assert (NAME,) == scene.watch.damaged()
    assert (NAME,) == BlobWatch(scene.open_home.blobs, scene.open_home.doors, scene.open_home.clock).damaged()


@pytest.mark.parametrize("harm", [name for name in HARM if name != "emptied"])
def test_a_large_one_breaks_off_before_its_last_block(scene: Scene, large: None, harm: str) -> None:
    """Hashed while it is sent: what was promised is never completed, so no client takes it for whole."""
    HARM[harm](scene)

    answer = scene.get()

    assert 200 == answer.status_code
    assert len(answer.content) < int(answer.headers["content-length"])
    assert 1 == scene.watch.counts.damaged


def test_a_repaired_file_is_sent_again(scene: Scene) -> None:
    scene.rewrite(damaged(DATA))
    assert 500 == scene.get().status_code

    scene.path.unlink()
    scene.open_home.blobs.put(DATA)

    assert (200, DATA) == ((answer := scene.get()).status_code, answer.content)
    assert () == scene.watch.damaged()


# --- marks --------------------------------------------------------------------------------------------------------


def test_a_file_is_hashed_once_and_then_believed_in_every_later_process(scene: Scene) -> None:
    scene.get()
    scene.get()
    scene.get(Range="bytes=7-8")
    assert 1 == scene.watch.counts.verified

    later = BlobWatch(scene.open_home.blobs, scene.open_home.doors, scene.open_home.clock)
    opened = later.open(NAME)
    opened.close()
    assert opened.proven
    assert later.checked_at(NAME) is not None


def test_a_mark_is_not_believed_of_a_file_written_a_moment_ago(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Times are as coarse as a tick: another write in the same tick would leave them as they are."""
    opened = scene.watch.open(NAME)
    scene.watch.settle(opened, NAME)
    assert not scene.watch.is_proven(opened)

    monkeypatch.setattr(blob_watch, "_SETTLED", 0.0)
    scene.watch.settle(opened, NAME)
    assert scene.watch.is_proven(opened)
    opened.close()


def test_a_file_that_changes_while_it_is_hashed_proves_nothing(scene: Scene) -> None:
    opened = scene.watch.open(NAME)
    time.sleep(0.03)
    scene.rewrite(DATA)
    scene.watch.settle(opened, NAME)  # the bytes that were read were right; the file is another

    assert not scene.watch.is_proven(opened)
    assert scene.watch.checked_at(NAME) is None
    opened.close()


def test_many_who_ask_for_one_file_share_one_reading(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    reading, begun = BlobWatch._digest, threading.Event()

    def slow(self: BlobWatch, *rest: Any) -> str:
        begun.set()
        time.sleep(0.1)
        return reading(self, *rest)

    monkeypatch.setattr(BlobWatch, "_digest", slow)
    proofs = [scene.watch.proof(NAME) for _ in range(20)]
    for proof in proofs:
        proof.result()
    assert 1 == scene.watch.counts.verified


def test_who_would_wait_too_long_for_a_part_is_asked_to_come_again(
    scene: Scene, large: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = threading.Event()
    reading = BlobWatch._digest
    monkeypatch.setattr(BlobWatch, "_digest", lambda self, *rest: (done.wait(20), reading(self, *rest))[1])
    monkeypatch.setattr(delivery, "_PATIENCE", 0.05)

    answer = scene.get(Range="bytes=0-9")
    assert (BlobBeingProven.status, "10") == (answer.status_code, answer.headers["retry-after"])
    assert BlobBeingProven.exit_code == answer.json()["exit_code"]

    done.set()
    scene.watch.proof(NAME).result()
    assert DATA[:10] == scene.get(Range="bytes=0-9").content


def test_a_process_that_ends_waits_for_no_reading(scene: Scene) -> None:
    scene.watch.stop()
    with pytest.raises(ReadingStopped):
        scene.watch.proof(NAME).result()


# --- what happens while bytes are sent ------------------------------------------------------------------------------


def sent_while(scene: Scene, meddle: Callable[[], None]) -> tuple[bytes, bool]:
    """What went out, and whether the answer came to its end; `meddle` is called after the first block."""
    blocks: list[bytes] = []
    ended: list[bool] = []

    async def send(message: Any) -> None:
        if message["type"] == "http.response.body":
            if message["body"]:
                blocks.append(bytes(message["body"]))
                if len(blocks) == 1:
                    meddle()
            ended.append(not message["more_body"])

    async def receive() -> Any:
        await asyncio.sleep(60)

    answer = send_blob(scene.desk(), NAME)
    asyncio.run(answer({"type": "http", "method": "GET"}, receive, send))
    return b"".join(blocks), ended[-1:] == [True]


@pytest.fixture
def proven(scene: Scene, large: None) -> Scene:
    scene.watch.proof(NAME).result()
    return scene


@pytest.mark.parametrize("harm", ["a byte changed, the old times put back", "cut short", "grown", "emptied"])
def test_a_file_that_is_written_to_while_it_is_sent_ends_the_answer(proven: Scene, harm: str) -> None:
    out, ended = sent_while(proven, lambda: HARM[harm](proven))

    assert not ended
    assert DATA.startswith(out), "no byte of the new content went out"


def test_a_file_that_is_removed_while_it_is_sent_is_sent_to_its_end(proven: Scene) -> None:
    """Space is freed while somebody still downloads: the open file is what it was."""
    assert (DATA, True) == sent_while(proven, proven.path.unlink)


def test_a_file_that_is_handed_over_meanwhile_is_sent_to_its_end(proven: Scene, tmp_path: Path) -> None:
    """`materialise` links the file, which changes its mark and no byte."""
    assert (DATA, True) == sent_while(proven, lambda: os.link(proven.path, tmp_path / "handed over"))


def test_a_file_replaced_while_it_is_sent_does_not_mix(proven: Scene) -> None:
    assert (DATA, True) == sent_while(proven, lambda: _replace(proven))


def test_a_file_that_is_touched_again_and_again_is_given_up(
    proven: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blob_watch.Opened, "same", lambda _self: False)
    assert not sent_while(proven, lambda: None)[1]


def test_who_leaves_is_not_read_for(proven: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks: list[bytes] = []

    async def send(message: Any) -> None:
        blocks.append(message.get("body", b""))
        await asyncio.sleep(0)

    async def receive() -> Any:
        return {"type": "http.disconnect"}

    asyncio.run(send_blob(proven.desk(), NAME)({"type": "http", "method": "GET"}, receive, send))
    assert len(b"".join(blocks)) < len(DATA)


def test_a_disk_that_gives_a_sector_up_is_damage(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> int:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "preadv", broken)
    with pytest.raises(BlobDamaged, match="unreadable"):
        scene.watch.proof(NAME).result()
    monkeypatch.undo()
    assert DATA == scene.get().content, "the next try may go well"


# --- beside the requests --------------------------------------------------------------------------------------------


@pytest.fixture
def pinned(home: Home, scene: Scene) -> tuple[Scene, Rounds, list[dict[str, str]]]:
    from pipelines.intake.folder import add_folder

    with at_work(home, actor="ines", now=NOW) as work:
        with work.store.view() as view:
            held = view.versions(MODEL)
        rows = held or [add_folder(work, MODEL, DEMO / f"v{number}").version for number in (1, 2)]
        for row in rows:
            for name in _files(row.manifest):
                scene.path.with_name(name).chmod(0o444)  # another mark: nothing is known of it
        if not held:
            pin(work, rows[0], "team")
    files = [dict.fromkeys(_files(row.manifest), "") for row in rows]
    return scene, Rounds(scene.watch, scene.open_home.store, lambda: NOW), files


def _files(manifest: str) -> list[str]:
    from registry.manifests import decode

    return [entry.sha256 for entry in decode(manifest.encode()).files]


def test_what_is_pinned_is_hashed_at_the_start_and_what_is_pinned_later_soon_after(
    pinned: tuple[Scene, Rounds, list[dict[str, str]]], home: Home
) -> None:
    scene, rounds, (first, second) = pinned
    rounds.prove_pinned()
    assert all(scene.watch.checked_at(name) for name in first)
    only_second = set(second) - set(first)
    assert only_second
    assert not any(scene.watch.checked_at(name) for name in only_second)

    with at_work(home, actor="bob", now=NOW) as work:
        with work.store.view() as view:
            version = view.version(Ref(MODEL, ordinal=2))
        pin(work, version, "team")
    rounds.prove_pinned()
    assert all(scene.watch.checked_at(name) for name in only_second)
    done = scene.watch.counts.verified
    rounds.prove_pinned()
    assert done == scene.watch.counts.verified


def test_rot_is_found_by_reading_again(scene: Scene) -> None:
    """A disk that gives other bytes back than were written leaves the mark alone; here the mark is set to match."""
    scene.watch.proof(NAME).result()
    scene.rewrite(damaged(DATA))
    long_ago = rfc3339(NOW - SCRUB_AFTER - timedelta(days=1))
    scene.open_home.doors.put(
        BlobSeen(digest=NAME, mark=mark_of(scene.path.stat()), checked_at=long_ago, outcome=WHOLE)
    )
    watch = BlobWatch(scene.open_home.blobs, scene.open_home.doors, lambda: NOW)
    assert watch.checked_at(NAME) == long_ago

    rounds = Rounds(watch, scene.open_home.store, lambda: NOW)
    while rounds.scrub_one():
        pass

    assert 1 == watch.counts.damaged
    assert watch.counts.scrubbed
    assert (NAME,) == watch.damaged()
    with pytest.raises(BlobDamaged):
        watch.open(NAME)


def test_what_was_read_lately_is_left_alone(scene: Scene) -> None:
    watch = scene.watch
    for name in list(scene.open_home.blobs.held()):
        watch.proof(name).result()
    rounds = Rounds(watch, scene.open_home.store, lambda: NOW)
    assert [] == rounds._due()
    assert not rounds.scrub_one()


def test_the_rounds_end_when_they_are_told_to(scene: Scene) -> None:
    rounds = Rounds(scene.watch, scene.open_home.store, lambda: NOW, look=0.01)
    rounds.start()
    time.sleep(0.05)
    rounds.stop()
    assert not rounds._thread.is_alive()


def test_a_store_that_is_away_for_a_while_does_not_end_the_rounds(scene: Scene) -> None:
    blobs = scene.path.parent
    rounds = Rounds(scene.watch, scene.open_home.store, lambda: NOW, look=0.01)
    blobs.rename(blobs.with_name("away"))
    try:
        rounds.start()
        time.sleep(0.05)
        assert rounds._thread.is_alive()
    finally:
        blobs.with_name("away").rename(blobs)
        rounds.stop()


def test_nothing_is_said_of_a_name_that_is_not_held(scene: Scene) -> None:
    assert scene.watch.checked_at("0" * 64) is None
    with pytest.raises(NotFound):
        scene.watch.proof("0" * 64).result()
