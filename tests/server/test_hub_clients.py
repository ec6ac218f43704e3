"""Clients as their users have them, three releases of them, against the real process: nothing on either side is replaced.

The rules of the protocol (`tidegate.server.hub`) carry their numbers here too.
"""

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from signing.digests import file_sha256
from tests.server import hub_world
from tests.server.hub_world import CLIENTS, LARGE, MODEL, SMALL, HubWorld, environment, talk, talking
from tests.server_world import served

HF = Path(sys.executable).with_name("hf")


@dataclass(frozen=True)
class Talk:
    """One conversation of one release: what it asked, in its own cache."""

    client: str
    answers: dict[str, dict[str, Any]]
    screen: str
    requests: list[str]  # method, path and status, in the server's order

    def said(self, name: str) -> Any:
        assert "said" in self.answers[name], self.answers[name]
        return self.answers[name]["said"]

    def refused(self, name: str) -> tuple[str, str]:
        assert "refused" in self.answers[name], self.answers[name]
        return self.answers[name]["refused"], self.answers[name]["text"]


@pytest.fixture(scope="module")
def world(built_hub: HubWorld, tmp_path_factory: pytest.TempPathFactory) -> HubWorld:
    return built_hub.copied(tmp_path_factory.mktemp("hub"))


@pytest.fixture(scope="module")
def url(world: HubWorld) -> Iterator[str]:
    with served(world.home) as running:
        yield running.url


@pytest.fixture(scope="module")
def viewer(world: HubWorld) -> str:
    return world.token("vic", "viewer")


def requests(world: HubWorld) -> list[str]:
    """What the server was asked, from its own log."""
    lines = [
        json.loads(line) for line in (world.folder / "serve.log").read_text().splitlines() if "{" in line
    ]
    return [
        f"{line['method']} {line['path']} {line['status']}"
        for line in lines
        if line.get("event") == "request"
    ]


@pytest.fixture(scope="module", params=list(CLIENTS))
def said(
    request: pytest.FixtureRequest,
    world: HubWorld,
    url: str,
    viewer: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Talk:
    """One conversation of each release, about everything."""
    before = len(requests(world))
    questions: list[hub_world.Question] = [("first", "snapshot", {"repo_id": MODEL, "revision": "team"})]
    questions += [
        (f"as {word}", "file", {"repo_id": MODEL, "filename": "config.json", "revision": word})
        for word in _spellings(world, 2)
    ]
    questions += [
        ("large", "snapshot", {"repo_id": LARGE, "revision": "team"}),
        ("upstream's case", "file", {"repo_id": "Acme/Large", "filename": "config.json", "revision": "team"}),
        ("superseded", "file", {"repo_id": MODEL, "filename": "config.json", "revision": "v1"}),
        ("who", "whoami", {}),
        ("info", "info", {"model": MODEL, "revision": "team"}),
        ("tree", "tree", {"model": LARGE, "revision": "team"}),
        ("top", "tree", {"model": LARGE, "revision": "team", "recursive": False}),
        ("folder", "tree", {"model": LARGE, "revision": "team", "folder": "onnx"}),
        ("no folder", "tree", {"model": LARGE, "revision": "team", "folder": "nowhere"}),
        ("paths", "paths", {"model": LARGE, "revision": "team", "names": ["onnx", "config.json", "no", "größe +1%/config.json"]}),
        ("refs", "refs", {"model": MODEL}),
        ("commits", "commits", {"model": MODEL, "revision": "team"}),
        ("models", "models", {}),
        ("searched", "models", {"search": "Tiny", "author": "demo", "limit": 5}),
        ("authors", "models", {"author": "dem"}),
        ("tensors", "tensors", {"model": LARGE, "revision": "team"}),
        ("looked", "looked", {"path": f"{MODEL}@team/config.json", "start": 0, "end": 20}),
        ("repo", "repo exists", {"repo_id": SMALL}),
        ("no repo", "repo exists", {"repo_id": "no/such"}),
        ("old repo", "repo exists", {"repo_id": "gpt2"}),
        ("data set", "repo exists", {"repo_id": MODEL, "repo_type": "dataset"}),
        ("revision", "revision exists", {"repo_id": MODEL, "revision": "edge"}),
        ("no revision", "revision exists", {"repo_id": MODEL, "revision": "nowhere"}),
        ("file", "file exists", {"repo_id": MODEL, "filename": "config.json", "revision": "team"}),
        ("no file", "file exists", {"repo_id": MODEL, "filename": "nothing.json", "revision": "team"}),
        ("unpromoted", "snapshot", {"repo_id": MODEL, "revision": "3"}),
        ("unpromoted file", "file", {"repo_id": MODEL, "filename": "config.json", "revision": "3"}),
        ("main", "file", {"repo_id": MODEL, "filename": "config.json"}),
        ("unclear", "snapshot", {"repo_id": SMALL}),
        ("create", "create", {"repo_id": "acme/new"}),
        ("upload", "upload", {"repo_id": MODEL}),
    ]  # fmt: skip
    cache = tmp_path_factory.mktemp("cache")
    answers, screen = talk(request.param, url, cache, questions, token_text=viewer)
    return Talk(request.param, answers, screen, requests(world)[before:])


def _spellings(world: HubWorld, ordinal: int) -> list[str]:
    digest = world.digest(ordinal)
    return ["team", "edge", str(ordinal), f"v{ordinal}", f"sha256:{digest[:12]}", digest[:9], digest,
            world.commit(ordinal), "refs/heads/team"]  # fmt: skip


def _digests(folder: str) -> dict[str, str]:
    root = Path(folder)
    files = [path for path in root.rglob("*") if path.is_file()]
    return {path.relative_to(root).as_posix(): file_sha256(path) for path in files}


def test_a_pin_is_downloaded_whole(said: Talk, world: HubWorld) -> None:
    assert said.said("first").endswith(f"/snapshots/{world.commit(2)}")
    assert world.files(2) == _digests(said.said("first"))
    assert world.files(1, LARGE) == _digests(said.said("large"))


def test_the_requests_are_the_ones_that_the_protocol_is_known_by(said: Talk, world: HubWorld) -> None:
    """Two for the snapshot and two for each file; the listing is read once for a commit (rule 2)."""
    commit = world.commit(2)
    asked = [line for line in said.requests if "agent-harnesses" not in line and "telemetry" not in line]
    files = sorted(
        f"{method} /{MODEL}/resolve/{commit}/{path} 200"
        for path in world.files(2)
        for method in ("GET", "HEAD")
    )
    first = asked[: asked.index(files[0]) + len(files)] if files[0] in asked else asked
    assert f"GET /api/models/{MODEL}/revision/team 200" == asked[0]
    assert set(files) <= set(first)
    assert 1 >= sum(f"/{MODEL}/tree/{commit} " in line for line in asked if line.startswith("GET"))
    assert not [line for line in asked if "xet" in line or line.endswith(" 500")]


def test_every_way_to_name_a_version_leads_to_the_same_file(said: Talk, world: HubWorld) -> None:
    """Rule 1: whatever the revision is called, the snapshot has the version's one commit."""
    found = {said.said(f"as {word}") for word in _spellings(world, 2)}
    assert 1 == len(found)
    assert f"/snapshots/{world.commit(2)}/" in found.pop()
    assert said.said("upstream's case").endswith(f"/{world.commit(1, LARGE)}/config.json")


def test_a_superseded_version_is_served_and_the_client_says_so(said: Talk) -> None:
    assert "/config.json" in said.said("superseded")
    if said.client != "0.36":  # knows no X-HF-Warning
        assert f"{MODEL}@1 is superseded: team serves 2 since 2026-11-01T12:00:00Z" in said.screen


def test_the_catalogue(said: Talk, world: HubWorld) -> None:
    assert "vic" == said.said("who")
    assert [LARGE, SMALL, MODEL] == said.said("models")
    assert [MODEL] == said.said("searched")
    assert [] == said.said("authors")
    name, commit, files = said.said("info")
    assert (MODEL, world.commit(2)) == (name, commit)
    assert {path: (hub_world.DEMO / "v2" / path).stat().st_size for path in world.files(2)} == dict(files)


def test_files_and_folders(said: Talk) -> None:
    deep = ["config.json", "größe +1%", "größe +1%/config.json", "model.safetensors"]
    deep += ["onnx", "onnx/config.json", "onnx/small", "onnx/small/config.json"]
    assert sorted(deep) == sorted(path for path, _ in said.said("tree"))
    assert {"config.json", "größe +1%", "model.safetensors", "onnx"} == {path for path, _ in said.said("top")}
    assert ["onnx/config.json", "onnx/small", "onnx/small/config.json"] == [p for p, _ in said.said("folder")]
    assert said.refused("no folder")[0] in ("EntryNotFoundError", "RemoteEntryNotFoundError")
    assert {"onnx", "config.json", "größe +1%/config.json"} == set(said.said("paths"))


def test_tiers_are_branches_and_versions_are_tags(said: Talk, world: HubWorld) -> None:
    branches, tags = said.said("refs")
    assert [["edge", world.commit(2)], ["team", world.commit(2)]] == branches
    assert [["v2", world.commit(2)], ["v1", world.commit(1)]] == tags
    assert [[world.commit(2), f"{MODEL}@2"], [world.commit(1), f"{MODEL}@1"]] == said.said("commits")


def test_parts_of_files_are_read_where_they_lie(said: Talk) -> None:
    assert {"model.safetensors": 1} == said.said("tensors")
    listed, size, begins, found = said.said("looked")
    assert f"{MODEL}@team/model.safetensors" in listed
    assert ((hub_world.DEMO / "v2" / "config.json").stat().st_size, '{\n  "architectures":') == (size, begins)
    assert f"{MODEL}@team/tokenizer.json" in found


def test_what_there_is_and_what_not(said: Talk) -> None:
    there = [said.said(name) for name in ("repo", "revision", "file")]
    not_there = [said.said(name) for name in ("no repo", "old repo", "data set", "no revision", "no file")]
    assert ([True] * 3, [False] * 5) == (there, not_there)


def test_an_unpromoted_version_is_refused_with_the_gates_reason(said: Talk) -> None:
    for name in ("unpromoted", "unpromoted file"):
        kind, text = said.refused(name)
        assert "GatedRepoError" == kind
        assert f"{MODEL}@3 is not promoted: for edge, " in text
        assert "the version has no tool contract" in text
        assert "Next: " in text


def test_main_is_what_all_tiers_agree_on_and_else_not_guessed(said: Talk) -> None:
    assert said.said("main") == said.said("as team")
    kind, text = said.refused("unclear")
    assert "RevisionNotFoundError" == kind
    assert "ask for edge (serves 1) or team (serves 2)" in text


def test_uploads_are_refused_by_a_sentence_that_names_the_command(said: Talk) -> None:
    for name in ("create", "upload"):
        assert "`tidegate models add FOLDER --as NAMESPACE/NAME`" in said.refused(name)[1]


# -- what changes while clients have a copy ---------------------------------------------------------------


def test_a_withdrawal_stops_whoever_has_it_already(hub_copy: HubWorld, tmp_path: Path) -> None:
    """Rule 8: any other answer, and the client goes on with its cache without a word."""
    viewer = hub_copy.token("vic", "viewer")
    asked: list[hub_world.Question] = [
        ("tier", "snapshot", {"repo_id": MODEL, "revision": "team"}),
        ("file", "file", {"repo_id": MODEL, "filename": "config.json", "revision": "team"}),
    ]
    with served(hub_copy.home) as running, ExitStack() as stack:
        clients = {
            client: stack.enter_context(talking(client, running.url, tmp_path / client, token_text=viewer))
            for client in CLIENTS
        }
        before = {client: ask(asked) for client, ask in clients.items()}
        hub_copy.withdraw(2, "leaks the training data\r\nX-Evil: 1 — see ticket")
        after = {client: ask(asked) for client, ask in clients.items()}
    for client in CLIENTS:
        assert hub_copy.files(2) == _digests(before[client]["tier"]["said"])
        for name in ("tier", "file"):
            assert "RevisionNotFoundError" == after[client][name].get("refused"), after
            said = (
                f"{MODEL}@2 is withdrawn since 2026-11-01T12:00:00Z: leaks the training data X-Evil: 1 ? see"
            )
            assert said in after[client][name]["text"]


def test_the_command_line_of_the_client(world: HubWorld, url: str, viewer: str, tmp_path: Path) -> None:
    """`hf download` prints the registry's reasons; `hf cache verify` compares what came with the SHA-256 of the list."""

    def hf(*words: str, ends: int = 0, token: str | None = viewer) -> str:
        done = subprocess.run(
            [str(HF), *words],
            capture_output=True,
            text=True,
            env=environment(url, tmp_path / "cache", token),
            timeout=60,
            check=False,
        )
        assert ends == done.returncode, done.stdout + done.stderr
        return done.stdout + done.stderr

    assert f"snapshots/{world.commit(2)}" in hf("download", MODEL, "--revision", "team")
    hf("cache", "verify", MODEL, "--revision", world.commit(2))
    assert "is not promoted" in hf("download", MODEL, "--revision", "3", ends=1)
    assert "ask for edge (serves 1) or team (serves 2)" in hf("download", SMALL, ends=1)
    assert "show who you are" in hf("download", LARGE, "--revision", "team", ends=1, token=None)


def test_a_token_for_one_tier(world: HubWorld, url: str, tmp_path: Path) -> None:
    """It takes what its tier serves or served, `main` means its tier, and it is told nothing else is there to take."""
    edge = world.token("ed", "viewer:edge")
    asked: list[hub_world.Question] = [
        ("main", "file", {"repo_id": MODEL, "filename": "config.json"}),
        ("number", "file", {"repo_id": MODEL, "filename": "config.json", "revision": "2"}),
        ("other", "file", {"repo_id": MODEL, "filename": "config.json", "revision": "1"}),
        ("large", "snapshot", {"repo_id": LARGE, "revision": "team"}),
        ("models", "models", {}),
        ("refs", "refs", {"model": MODEL}),
    ]
    said, _ = talk("2.4", url, tmp_path / "cache", asked, token_text=edge)
    assert said["main"]["said"] == said["number"]["said"]
    assert "GatedRepoError" == said["other"]["refused"]
    assert "GatedRepoError" == said["large"]["refused"]
    assert [SMALL, MODEL] == said["models"]["said"]
    assert [[["edge", world.commit(2)]], [["v2", world.commit(2)]]] == said["refs"]["said"]


# -- the wire ---------------------------------------------------------------------------------------------


class Wire:
    """Carries bytes to a server and back; the first answer longer than `cuts_after` bytes breaks off there."""

    def __init__(self, url: str, *, cuts_after: int) -> None:
        target = urlsplit(url)
        self._server = str(target.hostname), int(target.port or 0)
        self._cuts_after = cuts_after
        self.cut = threading.Event()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        threading.Thread(target=self._wait, daemon=True).start()

    def close(self) -> None:
        self._listening.close()

    def _wait(self) -> None:
        with suppress(OSError):  # closed
            while True:
                client, _ = self._listening.accept()
                there = socket.create_connection(self._server)
                for pair in ((client, there, False), (there, client, True)):
                    threading.Thread(target=self._carry, args=pair, daemon=True).start()

    def _carry(self, reading: socket.socket, writing: socket.socket, back: bool) -> None:
        count = 0
        with suppress(OSError):
            while data := reading.recv(65536):
                count += len(data)
                if back and count > self._cuts_after and not self.cut.is_set():
                    self.cut.set()
                    break
                writing.sendall(data)
        for end in (reading, writing):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


@pytest.mark.parametrize("client", ["2.4", "0.36"])  # 1.33 has the code of 2.4
def test_a_dropped_connection_is_resumed(
    client: str, world: HubWorld, url: str, viewer: str, tmp_path: Path
) -> None:
    """Rule 6: the client asks for the rest by its range, and has the same file."""
    asked: list[hub_world.Question] = [
        (name, "file", {"repo_id": LARGE, "filename": "model.safetensors", "revision": "team"})
        for name in ("first", "file")  # 0.36 goes on in the next call, the others within the first
    ]
    wire = Wire(url, cuts_after=15 << 20)
    said, _ = talk(client, wire.url, tmp_path / "cache", asked, token_text=viewer)
    wire.close()
    assert wire.cut.is_set(), "the file came in one piece"
    assert ("said" in said["first"]) is (client != "0.36")
    assert world.files(1, LARGE)["model.safetensors"] == file_sha256(Path(said["file"]["said"]))
    assert any(line.endswith(" 206") and "model.safetensors" in line for line in requests(world))


def test_transformers_takes_a_model_by_its_tier(
    world: HubWorld, url: str, viewer: str, tmp_path: Path
) -> None:
    program = (
        "from transformers import AutoConfig, AutoTokenizer\n"
        f"config = AutoConfig.from_pretrained({MODEL!r}, revision='team')\n"
        f"tokenizer = AutoTokenizer.from_pretrained({MODEL!r}, revision='team')\n"
        "print(config.model_type, tokenizer.decode(tokenizer('read a file')['input_ids']))\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program],
        capture_output=True,
        text=True,
        env=environment(url, tmp_path / "cache", viewer)
        | {"PYTHONHASHSEED": os.environ.get("PYTHONHASHSEED", "0")},
        timeout=120,
        check=False,
    )
    assert 0 == done.returncode, done.stderr
    assert "qwen3 read a file" == done.stdout.strip()
