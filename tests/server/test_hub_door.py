"""The Hub's door from within: headers, pages, hostile addresses, damaged bytes, and what is recorded of who is refused."""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.requests import Request

from registry.audit import EventKind
from registry.manifests import FileEntry
from tests.server import hub_world
from tests.server.hub_world import CLIENTS, LARGE, LARGE_BYTES, MODEL, SMALL, HubWorld, talk
from tests.server_world import PATIENCE, door, premises
from tidegate.server.hub import forms
from tidegate.server.hub.asked import place
from tidegate.server.hub.words import one_line
from tidegate.server.settings import ServerSettings

if TYPE_CHECKING:
    from starlette.testclient import TestClient


@pytest.fixture(scope="module")
def world(built_hub: HubWorld, tmp_path_factory: pytest.TempPathFactory) -> HubWorld:
    return built_hub.copied(tmp_path_factory.mktemp("hub"))


@pytest.fixture(scope="module")
def hub(world: HubWorld) -> Iterator["TestClient"]:
    with door(world.home, token=world.token("vic", "viewer")) as client:
        yield client


def of(model: str, what: str) -> str:
    return f"/api/models/{model}/{what}"


# -- what every answer carries --------------------------------------------------------------------------------


def test_each_answer_about_a_version_names_its_commit_and_none_speaks_of_xet(
    hub: "TestClient", world: HubWorld
) -> None:
    """Rules 1, 3 and 4."""
    paths = [of(MODEL, "revision/{}"), of(MODEL, "revision/{}?blobs=true"), of(MODEL, "tree/{}?expand=true"),
             of(MODEL, "commits/{}"), f"/{MODEL}/resolve/{{}}/config.json", f"/{MODEL}/resolve/{{}}/no.json"]  # fmt: skip
    for path in paths:
        for word in ("team", "2", f"sha256:{world.digest(2)[:8]}", world.commit(2)):
            found = hub.get(path.format(word), follow_redirects=False)
            assert found.status_code == (404 if "no.json" in path else 200)
            assert world.commit(2) == found.headers["X-Repo-Commit"]
            assert "xet" not in (found.text + str(dict(found.headers))).lower()
    found = hub.post(of(MODEL, "paths-info/team"), data={"paths": ["config.json"], "expand": "true"})
    assert world.commit(2) == found.headers["X-Repo-Commit"]
    assert world.commit(2) == found.json()[0]["lastCommit"]["id"]


def test_a_file_carries_its_digest_and_is_the_same_by_head_and_get(
    hub: "TestClient", world: HubWorld
) -> None:
    """Rules 6 and 7."""
    for path, sha256 in world.files(2).items():
        head, got = (hub.request(method, f"/{MODEL}/resolve/team/{path}") for method in ("HEAD", "GET"))
        assert [f'"{sha256}"'] * 2 == [answer.headers["ETag"] for answer in (head, got)]
        assert len(got.content) == int(head.headers["Content-Length"]) == int(got.headers["Content-Length"])
    part = hub.get(f"/{MODEL}/resolve/team/README.md", headers={"Range": "bytes=2-9"})
    assert (206, world.commit(2)) == (part.status_code, part.headers["X-Repo-Commit"])
    assert (hub_world.DEMO / "v2" / "README.md").read_bytes()[2:10] == part.content


def test_the_git_name_of_a_file_is_that_of_its_pointer(hub: "TestClient", world: HubWorld) -> None:
    """The pointer is what git-lfs writes; its name as `git hash-object` says it."""
    entry = FileEntry("a", 5, "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824")
    assert "d1ca116d6733584c13cb8bb50b21d5b5b81ee28f" == forms.git_name(entry)
    listed = {item["path"]: item for item in hub.get(of(MODEL, "tree/team")).json()}
    names = {
        item["rfilename"]: item for item in hub.get(of(MODEL, "revision/team?blobs=1")).json()["siblings"]
    }
    for path, sha256 in world.files(2).items():
        assert sha256 == listed[path]["lfs"]["oid"] == names[path]["lfs"]["sha256"]
        assert listed[path]["oid"] == names[path]["blobId"]


# -- who may not ----------------------------------------------------------------------------------------------


def test_nobody_unknown_is_told_anything(world: HubWorld) -> None:
    with door(world.home) as nobody:
        for path in (
            "/api/models",
            of(MODEL, "revision/team"),
            of(MODEL, "refs"),
            f"/{MODEL}/resolve/team/README.md",
        ):
            found = nobody.get(path)
            assert (401, "RepoNotFound") == (found.status_code, found.headers["X-Error-Code"])
            assert "show who you are" in found.headers["X-Error-Message"]
        assert 200 == nobody.get("/api/agent-harnesses").status_code
        assert 401 == nobody.get("/api/whoami-v2").status_code
        assert 403 == nobody.post("/api/repos/create").status_code
    with door(world.home, ServerSettings(anonymous=("viewer:edge",), default_tier="edge")) as anybody:
        assert world.commit(2) == anybody.get(f"/api/models/{MODEL}").json()["sha"]
        assert 403 == anybody.get(of(LARGE, "revision/team")).status_code


def test_who_is_refused_a_version_stands_in_the_log(world: HubWorld) -> None:
    edge, judge = world.token("ed", "viewer:edge"), world.token("vera", "validator")
    for token, word in ((edge, "1"), (edge, "3")):
        with door(world.home, token=token) as client:
            found = client.get(f"/{MODEL}/resolve/{word}/config.json")
            assert (403, "GatedRepo") == (found.status_code, found.headers["X-Error-Code"])
            assert "Next: " in found.headers["X-Error-Message"]
    with door(world.home, token=judge) as client:
        assert 200 == client.get(f"/{MODEL}/resolve/3/config.json").status_code
    with premises(world.home) as home, home.store.view() as view:
        denied = [entry.note for entry in view.events(kind=EventKind.DENIED) if entry.actor == "ed"]
    assert [("pull", "team"), ("pull any", None)] == [(note["right"], note["tier"]) for note in denied]


def test_a_model_without_a_meant_version_is_there_but_has_to_be_asked_for(hub: "TestClient") -> None:
    found = hub.get(f"/api/models/{SMALL}")
    assert (403, "GatedRepo") == (found.status_code, found.headers["X-Error-Code"])
    assert "ask for edge (serves 1) or team (serves 2)" in found.headers["X-Error-Message"]
    assert LARGE == hub.get("/api/models/Acme/Large").json()["id"]  # one tier serves it: that is main
    assert LARGE == hub.get("/api/models/acme%2Flarge/revision/team").json()["id"]


# -- pages ----------------------------------------------------------------------------------------------------


def follow(hub: "TestClient", path: str) -> tuple[list[dict[str, str]], int]:
    """Everything that a list holds, as a client reads it, and in how many pages."""
    items: list[dict[str, str]] = []
    for count in range(1, 50):
        found = hub.get(path)
        assert 200 == found.status_code, found.text
        items += found.json()
        link = found.headers.get("Link")
        if link is None:
            return items, count
        path = re.fullmatch(r'<(http://[^>]+)>; rel="next"', link)[1]  # type: ignore[index]
    raise AssertionError("the pages do not end")


def test_lists_come_in_pages_and_are_whole(hub: "TestClient", monkeypatch: pytest.MonkeyPatch) -> None:
    tree = of(LARGE, "tree/team?recursive=true&expand=false")
    lists = [tree, of(MODEL, "commits/team"), "/api/models", "/api/models?search=a"]
    whole = [follow(hub, path) for path in lists]
    assert [1, 1, 1, 1] == [pages for _, pages in whole]
    for name, size in (("TREE_PAGE", 3), ("_COMMITS_PAGE", 1), ("_MODELS_PAGE", 1), ("_NAMES", 2)):
        monkeypatch.setattr(f"tidegate.server.hub.door.{name}", size)
    for path, (items, _) in zip(lists, whole, strict=True):
        found, pages = follow(hub, path)
        assert items == found
        assert pages > 1, path
    assert [LARGE] == [item["id"] for item in hub.get("/api/models?limit=1").json()]


def test_a_page_that_nobody_gave_is_the_first(hub: "TestClient") -> None:
    for cursor in ("-1", "x", "9" * 30, "%00", "%ff", "ä"):
        assert (
            8 == len(hub.get(of(LARGE, f"tree/team?recursive=true&cursor={cursor}")).json())
            or cursor == "9" * 30
        )
        assert 200 == hub.get(of(MODEL, f"commits/team?cursor={cursor}")).status_code
        assert 200 == hub.get(f"/api/models?cursor={cursor}&search=%00&author=%00&limit={cursor}").status_code


# -- hostile ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [f"/{MODEL}/resolve/team/{word}" for word in (
        "", "..%2f..%2f..%2fetc%2fpasswd", "%2e%2e/config.json", "%00", "config.json%00", "%ff", "x" * 8000,
        "a%0d%0aX-Evil:%201", "//etc/passwd", "config.json/", "./config.json", "CONFIG.JSON")]
    + [f"/{MODEL}/resolve/{word}/config.json" for word in (
        "team%2f..", "%2e%2e", "%00", "te%00am", "%ff", "1%0d%0aX-Evil:%201", "x" * 8000, "refs%2fheads%2f..", "%20")]
    + [f"/api/models/{word}/revision/team" for word in (
        "demo/tiny%00", "demo/..", "../demo", "demo/tiny--toolcaller", "demo/a%0d%0aX-Evil:%201", f"demo/{'x' * 8000}",
        "ä/ö", "a%2fb%2fc")],
)  # fmt: skip
def test_an_address_that_means_nothing_is_not_found_and_nothing_worse(hub: "TestClient", path: str) -> None:
    found = hub.request("GET", path, follow_redirects=False)
    kept = path.endswith(
        ("config.json/", "/./config.json")
    )  # slashes around a path, and dots, are a client's to write
    assert found.status_code in ((200, 404) if kept else (404,)), found.text
    assert "x-evil" not in found.headers
    message = found.headers.get("X-Error-Message", "")
    assert message.isprintable()
    assert len(message) <= 1500
    assert "root:" not in found.text
    assert str(Path.cwd()) not in found.text


def test_a_form_is_read_as_far_as_it_may_be_long(hub: "TestClient") -> None:
    address = of(MODEL, "paths-info/team")
    long = hub.post(address, content=b"paths=" + b"x" * (5 << 20))
    many = hub.post(address, content=b"&".join([b"paths=x"] * 20_001))
    other = hub.post(address, content=b"\xff\xfe", headers={"content-type": "application/json"})
    assert [422, 422, 422] == [long.status_code, many.status_code, other.status_code]
    assert [] == hub.post(address).json()
    twice = hub.post(address, data={"paths": ["README.md", "/README.md/", "", "..", "README.md"]}).json()
    assert ["README.md"] == [item["path"] for item in twice]


def test_a_damaged_file_is_refused_and_its_bytes_stay_here(hub_copy: HubWorld) -> None:
    with door(hub_copy.home, token=hub_copy.token("vic", "viewer")) as hub:
        for path, spoil in (
            ("README.md", lambda data: data[:-1] + b"!"),
            ("LICENSE", lambda data: data[:-1]),
            ("tokenizer.json", lambda _data: None),
        ):
            blob = hub_copy.home / "store" / "blobs" / "sha256" / hub_copy.files(2)[path]
            data = blob.read_bytes()
            spoilt = spoil(data)
            blob.unlink()
            if spoilt is not None:
                blob.write_bytes(spoilt)
            for headers in ({}, {"Range": "bytes=0-99"}):
                found = hub.get(f"/{MODEL}/resolve/team/{path}", headers=headers)
                assert found.status_code >= 400
                assert found.headers["X-Error-Message"]
                assert data[:100] not in found.content
        assert 200 == hub.get(f"/{MODEL}/resolve/team/config.json").status_code


def test_a_withdrawn_version_is_in_no_list(hub_copy: HubWorld) -> None:
    hub_copy.withdraw(2, "wrong")
    with door(hub_copy.home, token=hub_copy.token("vic", "viewer")) as hub:
        for path in (
            of(MODEL, "revision/team"),
            of(MODEL, "tree/2"),
            f"/{MODEL}/resolve/{hub_copy.commit(2)}/a",
        ):
            found = hub.get(path)
            assert (404, "RevisionNotFound") == (found.status_code, found.headers["X-Error-Code"])
        listed = hub.get(of(MODEL, "refs")).json()
        assert [[], ["v1"]] == [[ref["name"] for ref in listed[kind]] for kind in ("branches", "tags")]
        assert [f"{MODEL}@1"] == [commit["title"] for commit in hub.get(of(MODEL, "commits/1")).json()]


# -- above the ceiling ----------------------------------------------------------------------------------------


@contextmanager
def listening(world: HubWorld) -> Iterator[str]:
    """The same application behind a real socket, in this process: its ceiling can be lowered."""
    import uvicorn

    from tidegate.server.app import build

    with premises(world.home) as home:
        server = uvicorn.Server(uvicorn.Config(build(home), port=0, log_config=None, lifespan="off"))
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        while not server.started and thread.is_alive():
            thread.join(0.01)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
        server.should_exit = True
        thread.join(PATIENCE)


@pytest.mark.parametrize("client", list(CLIENTS))
def test_a_file_above_the_clients_ceiling(
    client: str, world: HubWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rule 5, with the ceiling of both sides lowered from 50 GB to 10 MB: 1.x and 2.x download it, 0.36 says its own reason."""
    monkeypatch.setattr("tidegate.server.hub.door.NO_LENGTH_ABOVE", 10_000_000)
    asked = {"size": 10_000_000, "repo_id": LARGE, "filename": "model.safetensors", "revision": "team"}
    viewer = world.token("vic", "viewer")
    with listening(world) as url:
        said, _ = talk(client, url, tmp_path, [("file", "small ceiling", asked)], token_text=viewer)
    if client == "0.36":
        assert (
            "The file is too large to be downloaded using the regular download method" in said["file"]["text"]
        )
    else:
        assert LARGE_BYTES < Path(said["file"]["said"]).stat().st_size


def test_only_a_head_above_the_ceiling_has_no_length(
    hub: "TestClient", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tidegate.server.hub.door.NO_LENGTH_ABOVE", 10_000_000)
    large, small = f"/{LARGE}/resolve/team/model.safetensors", f"/{LARGE}/resolve/team/config.json"
    assert "Content-Length" not in hub.head(large).headers
    assert "Content-Length" in hub.head(large, headers={"User-Agent": "unknown/None; hf_hub/0.36.2"}).headers
    assert "Content-Length" in hub.head(small).headers
    assert "Content-Length" in hub.get(large, headers={"Range": "bytes=0-9"}).headers


# -- laws -------------------------------------------------------------------------------------------------------

_SEGMENT = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="/"), min_size=1, max_size=8
)
_SEGMENT = _SEGMENT.filter(lambda text: text not in (".", ".."))
_PATHS = st.lists(st.lists(_SEGMENT, min_size=1, max_size=4).map("/".join), unique=True, max_size=12)


def _as_files(paths: list[str]) -> list[FileEntry]:
    """Those that can be files beside each other: none is another's folder."""
    kept = [path for path in paths if not any(other.startswith(f"{path}/") for other in paths)]
    return [FileEntry(path, 1, "0" * 64) for path in sorted(kept)]


@given(_PATHS)
def test_a_tree_lists_every_file_and_every_folder_once(paths: list[str]) -> None:
    files = _as_files(paths)
    listed = list(forms.tree(files, "", recursive=True))
    folders = {
        path.path.rsplit("/", depth)[0] for path in files for depth in range(1, path.path.count("/") + 1)
    }
    assert files == [item for item in listed if isinstance(item, FileEntry)]
    assert sorted(folders) == sorted(item for item in listed if isinstance(item, str))
    for folder in ("", *folders):
        names = [
            item if isinstance(item, str) else item.path
            for item in forms.tree(files, folder, recursive=False)
        ]
        depth = folder.count("/") + 1 if folder else 0
        assert len(names) == len(set(names))
        assert all(name.count("/") == depth for name in names)
        below = [*folders, *(entry.path for entry in files)]
        inside = {
            name for name in below if name.startswith(f"{folder}/" if folder else "") and name != folder
        }
        assert {name for name in inside if name.count("/") == depth} == set(names)


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=20), st.lists(_SEGMENT, max_size=4))
def test_an_address_is_read_as_the_client_meant_it(revision: str, parts: list[str]) -> None:
    path = "/".join(parts)
    raw = f"/ns/name/resolve/{quote(revision, safe='')}/{quote(path)}".encode()
    found = place(Request({"type": "http", "raw_path": raw + b"?x=/y", "headers": []}), before=3)
    assert path == found.path
    full = re.fullmatch("refs/(?:heads|tags)/(.+)", revision)
    assert (full[1] if full else revision) == found.revision


@given(st.text(max_size=3000))
@settings(max_examples=50)
def test_a_sentence_becomes_one_line_that_a_header_can_hold(text: str) -> None:
    line = one_line(text)
    assert line.isascii()
    assert line.isprintable()
    assert len(line) <= 1500
    assert line == one_line(line)
