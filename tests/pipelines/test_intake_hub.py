"""`models fetch hf:…` against a real server: what becomes a version, what goes wrong, what is fetched twice."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub import constants
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines.intake import download
from pipelines.intake.errors import HubUnreachable, ScanBlocked, SourceChanged, SourceUnusable
from pipelines.intake.folder import add_folder
from pipelines.intake.hub import Hub as Client
from pipelines.intake.hub import fetch_hub
from pipelines.intake.record import Added
from pipelines.scan import Waiver
from pipelines.workplace import Workplace
from registry.errors import NameUnusable, SpaceShort
from registry.manifests import decode
from signing.digests import sha256_hex
from signing.errors import OperatorError
from signing.statements import read_statement
from tests.pipelines.hub_server import Hub, git_blob, serving, tiny_model

WEIGHTS = "model.safetensors"
LARGE = 256 << 10  # floats: 1 MiB of weights, several blocks on the wire


@pytest.fixture(autouse=True)
def client(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """huggingface_hub as on a fresh machine, its connections closed afterwards; no waiting between tries."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(download, "PAUSES", (0.0,) * 3)
    huggingface_hub.close_session()
    yield
    huggingface_hub.close_session()


@pytest.fixture
def hub() -> Iterator[Hub]:
    with serving(Hub()) as running:
        yield running


def fetch(work: Workplace, hub: Hub, revision: str | None = None, **options: Any) -> Added:
    return fetch_hub(work, hub.repo, revision, endpoint=hub.url, **options)


def quarantined(work: Workplace) -> list[str]:
    return sorted(path.name for path in work.home.quarantine.glob("*/*"))


def nothing_visible(work: Workplace) -> bool:
    with work.store.view() as view:
        return not view.versions() and not list(work.blobs.held())


def test_a_commit_becomes_a_version_with_its_revision(workplace: Workplace, hub: Hub) -> None:
    files = tiny_model()
    commit = hub.publish(files)
    done: list[int] = []
    expected: list[int] = []
    added = fetch(workplace, hub, progress=done.append, expect=expected.append)
    manifest = decode(added.version.manifest.encode())

    assert ("acme/tiny-llm", 1, "fetch") == (
        added.version.model,
        added.version.ordinal,
        added.version.brought_by,
    )
    assert commit == added.version.revision, "all of the commit's files, so the commit is the revision"
    assert sorted(files) == [entry.path for entry in manifest.files]
    for path, data in files.items():
        assert data == workplace.blobs.path(sha256_hex(data)).read_bytes(), path
        assert [0] == hub.fetched(path)
    assert manifest.upstream is not None
    assert (f"hf://{hub.repo}", commit, True) == (
        manifest.upstream.uri,
        manifest.upstream.commit,
        manifest.upstream.complete,
    )
    assert [manifest.size] == expected == [sum(done)]
    assert [] == list(workplace.home.quarantine.iterdir())
    assert not [path for path in hub.asked if "agent" in path], "no telemetry"


def test_provenance_names_commit_host_and_every_file(workplace: Workplace, hub: Hub) -> None:
    files = tiny_model()
    commit = hub.publish(files)
    added = fetch(workplace, hub, "main")
    with workplace.store.view() as view:
        row, _bill = view.statements(added.version.digest)
    predicate = read_statement(row.payload.encode()).predicate
    definition = predicate["buildDefinition"]
    host = hub.url.removeprefix("http://")
    asked = {"repository": hub.repo, "revision": "main", "hub": host, "model": "acme/tiny-llm", "leftOut": []}
    assert asked == definition["externalParameters"]
    found = {item["uri"]: item["digest"] for item in definition["resolvedDependencies"]}
    at = f"hf://{hub.repo}@{commit}"
    assert {"gitCommit": commit} == found.pop(at)
    assert {f"{at}/{path}" for path in files} == set(found)
    readme = files["README.md"]
    assert {"gitBlob": git_blob(readme), "sha256": sha256_hex(readme)} == found[f"{at}/README.md"]
    assert {"sha256": sha256_hex(files[WEIGHTS])} == found[f"{at}/{WEIGHTS}"]
    (byproduct,) = predicate["runDetails"]["byproducts"]
    assert "stated" == byproduct["annotations"]["licence"]["state"]


def test_the_same_commit_again_fetches_nothing(workplace: Workplace, hub: Hub) -> None:
    hub.publish(tiny_model())
    first = fetch(workplace, hub)
    before = len(hub.got)
    again = fetch(workplace, hub, first.version.revision)
    assert (False, first.version.digest) == (again.new, again.version.digest)
    assert before == len(hub.got)


def test_a_branch_that_moved_is_the_next_version_and_shares_blobs(workplace: Workplace, hub: Hub) -> None:
    hub.publish(tiny_model())
    fetch(workplace, hub)
    commit = hub.publish(tiny_model() | {"README.md": b"---\nlicense: mit\n---\nNew.\n"})
    second = fetch(workplace, hub)
    assert (2, commit) == (second.version.ordinal, second.version.revision)
    assert [0] == hub.fetched(WEIGHTS), "the blob store holds the weights already"


def test_a_branch_that_moves_after_the_listing_does_not_matter(workplace: Workplace, hub: Hub) -> None:
    commit = hub.publish(tiny_model())
    hub.on_list = lambda: hub.publish(tiny_model(seed=1))
    assert commit == fetch(workplace, hub).version.revision
    assert tiny_model()[WEIGHTS] == workplace.blobs.path(sha256_hex(tiny_model()[WEIGHTS])).read_bytes()


def test_a_folder_with_the_fetched_files_is_that_version(
    workplace: Workplace, hub: Hub, tmp_path: Path
) -> None:
    hub.publish(tiny_model())
    fetched = fetch(workplace, hub)
    for path, data in tiny_model().items():
        (tmp_path / "copy").mkdir(exist_ok=True)
        (tmp_path / "copy" / path).write_bytes(data)
    added = add_folder(workplace, "acme/tiny-llm", tmp_path / "copy")
    assert (False, fetched.version.digest) == (added.new, added.version.digest)


def test_tag_and_another_name(workplace: Workplace, hub: Hub) -> None:
    hub.publish(tiny_model(), branch="release/1.0")
    hub.publish(tiny_model(seed=1))
    added = fetch(workplace, hub, "release/1.0", model="house/guard")
    assert ("house/guard", hub.refs["release/1.0"]) == (added.version.model, added.version.revision)


def test_what_is_left_out_costs_the_upstream_revision(workplace: Workplace, hub: Hub) -> None:
    commit = hub.publish(tiny_model() | {"original/consolidated.00.pth": b"\x80\x02pickle"})
    with pytest.raises(ScanBlocked, match=r"original/consolidated\.00\.pth"):
        fetch(workplace, hub)
    assert [] == hub.got, "a name that is not allowed is refused before the download"
    added = fetch(workplace, hub, leave_out=["original/*"])
    assert ("original/consolidated.00.pth",) == added.left_out
    assert added.version.digest[:40] == added.version.revision != commit


def test_the_same_bytes_twice_in_a_repository_are_fetched_once(workplace: Workplace, hub: Hub) -> None:
    hub.publish(
        tiny_model() | {"LICENSE": b"Some licence.\n", "NOTICE": b"Some licence.\n", "LICENSE.txt": b""}
    )
    added = fetch(workplace, hub)
    assert 9 == len(decode(added.version.manifest.encode()).files)
    assert 1 == len(hub.fetched("LICENSE")) + len(hub.fetched("NOTICE"))
    assert [] == hub.fetched("LICENSE.txt"), "an empty file is known without asking"


def test_a_broken_line_goes_on_where_it_broke(workplace: Workplace, hub: Hub) -> None:
    files = tiny_model(floats=LARGE)
    hub.publish(files)
    hub.drop[WEIGHTS] = 6  # more often than there are tries: each of them brought something
    done: list[int] = []
    fetch(workplace, hub, progress=done.append)
    offsets = hub.fetched(WEIGHTS)
    assert 7 == len(offsets)
    assert sorted(set(offsets)) == offsets, "each begins behind the one before"
    assert sum(map(len, files.values())) == sum(done)


def test_a_hub_without_ranges_begins_again(workplace: Workplace, hub: Hub) -> None:
    files = tiny_model(floats=LARGE)
    hub.publish(files)
    hub.drop[WEIGHTS], hub.no_ranges = 1, True
    done: list[int] = []
    fetch(workplace, hub, progress=done.append)
    assert [0, 0] == hub.fetched(WEIGHTS)
    assert sum(map(len, files.values())) == sum(done), "what came for nothing was taken back"


def test_a_busy_hub_is_asked_again(workplace: Workplace, hub: Hub) -> None:
    hub.publish(tiny_model())
    hub.busy["config.json"] = 2
    assert fetch(workplace, hub).new
    assert 3 == len(hub.fetched("config.json"))


def test_a_hub_that_stays_busy_is_given_up_and_finished_files_are_kept(
    workplace: Workplace, hub: Hub
) -> None:
    hub.publish(tiny_model())
    hub.busy["tokenizer.json"] = 99
    with pytest.raises(HubUnreachable, match=r"tokenizer\.json: answers 503"):
        fetch(workplace, hub)
    assert nothing_visible(workplace)
    hub.busy.clear()
    kept = [name for name in quarantined(workplace) if not name.endswith(".part")]
    before = list(hub.got)
    assert fetch(workplace, hub).new
    again = {got.path for got in hub.got[len(before) :]}
    assert len(tiny_model()) == len(again) + len(kept), "what was whole is not fetched again"


@pytest.mark.parametrize("path", [WEIGHTS, "config.json"])
def test_a_changed_byte_is_refused_by_name(workplace: Workplace, hub: Hub, path: str) -> None:
    """LFS files by their SHA-256, small ones by git's own name: the client itself would accept both."""
    hub.publish(tiny_model())
    hub.corrupt.add(path)
    with pytest.raises(SourceChanged) as refused:
        fetch(workplace, hub)
    assert path == refused.value.path
    assert nothing_visible(workplace)
    hub.corrupt.clear()
    assert fetch(workplace, hub).new, "nothing wrong was kept"


@pytest.mark.parametrize("how", ["short", "long"])
def test_another_length_than_listed_is_refused(workplace: Workplace, hub: Hub, how: str) -> None:
    hub.publish(tiny_model())
    getattr(hub, how).add(WEIGHTS)
    with pytest.raises(SourceChanged, match=WEIGHTS):
        fetch(workplace, hub)
    assert nothing_visible(workplace)


def test_a_part_that_rotted_in_quarantine_is_found_out(workplace: Workplace, hub: Hub) -> None:
    files = tiny_model(floats=LARGE)
    commit = hub.publish(files)
    room = workplace.home.quarantine / f"fetch-{commit}"
    room.mkdir()
    part = room / f"{sha256_hex(files[WEIGHTS])}.part"
    part.write_bytes(b"rot" + files[WEIGHTS][3:5000])
    with pytest.raises(SourceChanged, match=WEIGHTS):
        fetch(workplace, hub)
    assert [5000] == hub.fetched(WEIGHTS)
    assert fetch(workplace, hub).new, "the second try begins afresh"


def test_blocked_content_stays_in_quarantine_for_a_try_with_a_waiver(workplace: Workplace, hub: Hub) -> None:
    config = json.dumps({"model_type": "x", "auto_map": {"AutoModel": "modeling_x.X"}}).encode()
    hub.publish(tiny_model() | {"config.json": config})
    with pytest.raises(ScanBlocked) as refused:
        fetch(workplace, hub)
    assert {"config.json"} == {found.path for found in refused.value.findings}
    assert nothing_visible(workplace)
    before = len(hub.got)
    waivers = [
        Waiver(rule, sha256_hex(config), "nora", "the engine has its own code for it")
        for rule in {found.rule for found in refused.value.findings}
    ]
    assert fetch(workplace, hub, waivers=waivers).new
    assert before == len(hub.got)


def test_unknown_gated_private(workplace: Workplace, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.publish(tiny_model())
    with pytest.raises(SourceUnusable, match="shows no such model"):
        fetch_hub(workplace, "acme/nothing", endpoint=hub.url)
    with pytest.raises(SourceUnusable, match="no such revision"):
        fetch(workplace, hub, "v9")
    hub.gated = True
    with pytest.raises(SourceUnusable, match=r"gated.*accept its terms.*hf auth login"):
        fetch(workplace, hub)
    hub.gated, hub.token = False, "hf_secret"
    with pytest.raises(SourceUnusable, match="for a private one, log in"):
        fetch(workplace, hub)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    added = fetch(workplace, hub)
    assert {"Bearer hf_secret"} == {got.token for got in hub.got}
    with workplace.store.view() as view:
        assert all(b"hf_secret" not in leaf for _, leaf in view.leaves())
        assert all("hf_secret" not in row.payload for row in view.statements(added.version.digest))


def test_the_token_does_not_follow_a_redirect_to_another_host(
    workplace: Workplace, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    hub.publish(tiny_model())
    with serving(Hub(commits=hub.commits)) as store:
        hub.elsewhere = store.url
        assert fetch(workplace, hub).new
    assert [None] == [got.token for got in store.got]
    assert {"Bearer hf_secret"} == {got.token for got in hub.got}


def test_no_hub_at_the_address(workplace: Workplace, hub: Hub) -> None:
    with serving(Hub()) as gone:
        pass
    with pytest.raises(HubUnreachable, match=r"127\.0\.0\.1:\d+: cannot be reached"):
        fetch(workplace, gone)
    hub.status = 500
    with pytest.raises(HubUnreachable, match="answers 500"):
        fetch(workplace, hub)
    hub.status = 418
    with pytest.raises(SourceUnusable, match="answers 418"):
        fetch(workplace, hub)


def test_offline_by_order(workplace: Workplace, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(HubUnreachable, match="HF_HUB_OFFLINE"):
        fetch(workplace, hub)


@pytest.mark.parametrize("repo", ["tiny", "a/b/c", "a/../b", "a/b?x", "", "a b/c"])
def test_what_is_no_repository_is_not_asked_for(workplace: Workplace, hub: Hub, repo: str) -> None:
    with pytest.raises((SourceUnusable, NameUnusable)):
        fetch_hub(workplace, repo, endpoint=hub.url)
    assert [] == hub.asked


def test_a_list_larger_than_the_disk_is_refused_before_a_byte(workplace: Workplace, hub: Hub) -> None:
    commit = hub.publish(tiny_model())
    line = Hub.line("model-2.safetensors", b"") | {"size": 1 << 44}
    hub.answer = hub.facts(commit) | {"siblings": [line]}
    with pytest.raises(SpaceShort):
        fetch(workplace, hub)
    assert [] == hub.got


GOOD = Hub.line("config.json", b"{}")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"rfilename": "../../etc/passwd"}, "not a plain relative path"),
        ({"rfilename": "/etc/passwd"}, "not a plain relative path"),
        ({"rfilename": "a\nb"}, "some file system refuses"),
        ({"size": None}, "lists no size"),
        ({"size": -1}, "lists no size"),
        ({"size": True}, "lists no size"),
        ({"blobId": "../x"}, "lists no digest"),
        ({"blobId": None}, "lists no digest"),
        ({"lfs": {"sha256": "no", "size": 2, "pointerSize": 3}}, "lists no digest"),
    ],
)
def test_a_hostile_list_is_refused_at_its_place(
    workplace: Workplace, hub: Hub, change: dict[str, Any], problem: str
) -> None:
    commit = hub.publish(tiny_model())
    hub.answer = hub.facts(commit) | {"siblings": [Hub.line("README.md", b"x"), GOOD | change]}
    with pytest.raises((SourceUnusable, HubUnreachable), match=rf"files\[1\].*{problem}"):
        fetch(workplace, hub)
    assert [] == hub.got


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=10,
)


@pytest.mark.property
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    answer=JSON
    | st.fixed_dictionaries(
        {"id": JSON, "sha": st.just("a" * 40) | JSON, "siblings": JSON | st.lists(JSON, max_size=2)},
    )
    | st.fixed_dictionaries(
        {
            "id": st.just("a/b"),
            "sha": st.just("a" * 40),
            "siblings": st.lists(
                st.fixed_dictionaries({"rfilename": JSON, "size": JSON, "blobId": JSON, "lfs": JSON}),
                max_size=2,
            ),
        }
    )
)
def test_whatever_a_hub_answers_only_a_refusal_comes_of_it(hub: Hub, answer: Any) -> None:
    hub.answer = answer
    try:
        commit = Client(hub.url).resolve(hub.repo, None)
    except OperatorError as refusal:
        assert refusal.next_step  # noqa: PT017 - a refusal is one of the two right answers
        str(refusal).encode()
    else:
        assert 40 == len(commit.id)


CHILD = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from pipelines.intake.hub import fetch_hub
from registry.home import load
from tests import world
with world.at_work(load(Path(sys.argv[1])), actor="ines", now=datetime.now(UTC)) as work:
    fetch_hub(work, sys.argv[3], endpoint=sys.argv[2])
"""


def test_a_fetch_killed_in_the_middle_is_finished_by_the_same_command(workplace: Workplace, hub: Hub) -> None:
    files = tiny_model(floats=4 * LARGE)
    hub.publish(files)
    hub.hold[WEIGHTS] = threading.Event()
    root = Path(__file__).parents[2]
    arguments = [sys.executable, "-c", CHILD, str(workplace.home.path), hub.url, hub.repo]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    with subprocess.Popen(arguments, cwd=root, env=environment) as child:
        half = len(files[WEIGHTS]) // 2
        wait_for(lambda: half_way(workplace, len(files) - 1, half) or child.poll() is not None)
        assert child.poll() is None
        child.send_signal(signal.SIGKILL)
    assert nothing_visible(workplace)

    hub.hold.pop(WEIGHTS).set()
    added = fetch(workplace, hub)
    assert added.new
    for path in files:
        assert [0] == hub.fetched(path) or path == WEIGHTS, "what was whole was not fetched twice"
    assert [0, half] == hub.fetched(WEIGHTS), "and the rest began where it was cut"
    assert hashlib.sha256(files[WEIGHTS]).hexdigest() in set(workplace.blobs.held())
    assert [] == list(workplace.home.quarantine.iterdir())


def half_way(work: Workplace, whole: int, half: int) -> bool:
    places = list(work.home.quarantine.glob("*/*"))
    parts = [path for path in places if path.suffix == ".part"]
    return len(places) - len(parts) == whole and len(parts) == 1 and parts[0].stat().st_size >= half


def wait_for(condition: Any, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)
