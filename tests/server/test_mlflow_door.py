"""MLflow's clients as their users have them, against the real process; then the door's edges, asked directly.

The rules of the protocol (`tidegate.server.mlflow`) carry their numbers here too.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signing.digests import file_sha256
from tests.clients.setup import MLFLOW
from tests.command_lines import in_backticks, problems
from tests.mlflow_world import QUIET
from tests.server.hub_world import LARGE, MODEL, HubWorld
from tests.server_world import door, served
from tidegate.errors import RequestUnreadable
from tidegate.server.mlflow import refused
from tidegate.server.mlflow.filters import like, parse_filter
from tidegate.server.settings import ServerSettings

if TYPE_CHECKING:
    from starlette.testclient import TestClient

NAME, LARGE_NAME = MODEL.replace("/", "--"), LARGE.replace("/", "--")
TALK = Path(__file__).parents[1] / "clients" / "mlflow_talk.py"
CLIENTS = {"skinny": Path(sys.executable), "full": MLFLOW.executable}
API, STORE = "/api/2.0/mlflow", "/api/2.0/mlflow-artifacts"


@pytest.fixture(scope="module")
def world(built_hub: HubWorld, tmp_path_factory: pytest.TempPathFactory) -> HubWorld:
    return built_hub.copied(tmp_path_factory.mktemp("mlflow"))


# -- real clients -----------------------------------------------------------------------------------------

QUESTIONS: list[tuple[str, str, dict[str, Any]]] = [
    ("alias", "by_alias", {"name": NAME, "alias": "team"}),
    ("no alias", "by_alias", {"name": NAME, "alias": "champion"}),
    ("number", "by_number", {"name": NAME, "number": "3"}),
    ("superseded", "by_number", {"name": NAME, "number": "1"}),
    ("no number", "by_number", {"name": NAME, "number": "9"}),
    ("model", "model", {"name": NAME}),
    ("no model", "model", {"name": "no--such"}),
    ("no namespace", "model", {"name": "such"}),
    ("models", "models", {}),
    ("by pattern", "models", {"filter_string": "name ILIKE '%TINY%'"}),
    ("one by one", "models", {"max_results": 1}),
    ("versions", "versions", {"filter_string": f"name='{NAME}'"}),
    ("rising", "versions", {"filter_string": f"name='{NAME}'", "order_by": ["version_number ASC"]}),
    ("paged", "all_versions", {"filter_string": f"name='{NAME}'", "max_results": 2}),
    ("of a run", "versions", {"filter_string": "run_id='ab12'"}),
    ("by tag", "versions", {"filter_string": f"name='{NAME}' AND tags.`tidegate.state` = 'served'"}),
    ("listed", "listed", {"uri": f"models:/{LARGE_NAME}@team"}),
    ("folder", "listed", {"uri": f"models:/{LARGE_NAME}/1/onnx"}),
    ("by tier", "downloaded", {"uri": f"models:/{NAME}@team"}),
    ("as a stage", "downloaded", {"uri": f"models:/{NAME}/Team"}),
    ("latest", "downloaded", {"uri": f"models:/{NAME}/latest"}),
    ("earlier", "downloaded", {"uri": f"models:/{NAME}/1"}),
    ("folders", "downloaded", {"uri": f"models:/{LARGE_NAME}@team"}),
    ("not promoted", "downloaded", {"uri": f"models:/{NAME}/3"}),
    ("one file", "downloaded", {"uri": f"models:/{NAME}@team/config.json"}),
    ("no file", "downloaded", {"uri": f"models:/{NAME}@team/none.json"}),
    ("text", "text", {"uri": f"models:/{NAME}@team/config.json"}),
    ("bad filter", "versions", {"filter_string": "colour = 'red'"}),
    ("bad token", "versions", {"page_token": "later"}),
    *((method, "write", {"method": method, "arguments": list(arguments)}) for method, arguments in {
        "create_registered_model": ("new--one",), "rename_registered_model": (NAME, "new--one"),
        "update_registered_model": (NAME, "better"), "delete_registered_model": (NAME,),
        "set_registered_model_tag": (NAME, "a", "b"), "delete_registered_model_tag": (NAME, "a"),
        "set_registered_model_alias": (NAME, "team", "3"), "delete_registered_model_alias": (NAME, "team"),
        "create_model_version": (NAME, "s3://bucket/x"), "update_model_version": (NAME, "3", "better"),
        "delete_model_version": (NAME, "3"), "transition_model_version_stage": (NAME, "3", "Production"),
        "set_model_version_tag": (NAME, "3", "a", "b"), "delete_model_version_tag": (NAME, "3", "a"),
    }.items()),
]  # fmt: skip
WRITES = [name for name, function, _ in QUESTIONS if function == "write"]
OF_A_TRACKING_SERVER: list[tuple[str, str, dict[str, Any]]] = [
    ("experiments", "write", {"method": "search_experiments", "arguments": []}),
    ("new experiment", "write", {"method": "create_experiment", "arguments": ["x"]}),
    ("new run", "write", {"method": "create_run", "arguments": ["0"]}),
]


@dataclass(frozen=True)
class Talk:
    """One conversation of one client."""

    version: str
    answers: dict[str, dict[str, Any]]

    def said(self, name: str) -> Any:
        assert "said" in self.answers[name], self.answers[name]
        return self.answers[name]["said"]

    def refused(self, name: str) -> tuple[str, str]:
        assert "refused" in self.answers[name], self.answers[name]
        return self.answers[name]["refused"], self.answers[name]["text"]


def talk(client: str, questions: list[tuple[str, str, dict[str, Any]]], told: dict[str, str]) -> Talk:
    """Have a client ask everything. `told`: what its user sets; nothing else of MLflow's is in the environment."""
    assert CLIENTS[client].exists(), "no MLflow here: run `make clients`"
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    done = subprocess.run(
        [str(CLIENTS[client]), str(TALK)],
        input=json.dumps(questions),
        capture_output=True,
        text=True,
        env={**kept, **QUIET, **told},
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return Talk(**json.loads(done.stdout))


@pytest.fixture(scope="module")
def url(world: HubWorld) -> Iterator[str]:
    with served(world.home) as running:
        yield running.url


@pytest.fixture(scope="module")
def skinny(world: HubWorld, url: str) -> Talk:
    """A client that is told one address for everything, and shows a token."""
    told = {"MLFLOW_TRACKING_URI": url, "MLFLOW_TRACKING_TOKEN": world.token("vic", "viewer")}
    return talk("skinny", [*QUESTIONS, *OF_A_TRACKING_SERVER], told)


@pytest.fixture(scope="module")
def full(world: HubWorld, url: str) -> Talk:
    """A client with a tracking server of its own, which is away and not even asked (rule 3), and with a password."""
    told = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:1", "MLFLOW_REGISTRY_URI": url}
    shown = {"MLFLOW_TRACKING_USERNAME": "vic", "MLFLOW_TRACKING_PASSWORD": world.token("wes", "viewer")}
    return talk("full", QUESTIONS, told | shown)


@pytest.fixture(scope="module", params=list(CLIENTS))
def said(request: pytest.FixtureRequest) -> Talk:
    """What each of them was told."""
    found: Talk = request.getfixturevalue(request.param)
    return found


class TestUnmodifiedClients:
    def test_a_tier_is_an_alias_and_says_what_stands_about_its_version(
        self, said: Talk, world: HubWorld
    ) -> None:
        found = said.said("alias")
        assert (NAME, 2, "READY", ["edge", "team"]) == (
            found["name"],
            found["version"],
            found["status"],
            found["aliases"],
        )
        tags = found["tags"]
        assert (world.digest(2), world.commit(2), "apache-2.0", "served", "edge team") == tuple(
            tags[f"tidegate.{name}"] for name in ("digest", "revision", "licence", "state", "tiers")
        )
        assert world.digest(2) in found["description"]
        assert re.match(r"http://127\.0\.0\.1:\d+/api/2\.0/mlflow-artifacts/artifacts/", found["source"]), (
            "rule 3"
        )

    def test_an_unpromoted_version_is_seen_with_the_gates_reason_and_not_had(self, said: Talk) -> None:
        found = said.said("number")
        assert ("PENDING_REGISTRATION", "not promoted") == (found["status"], found["tags"]["tidegate.state"])
        assert "the version has no tool contract" in found["message"] == found["tags"]["tidegate.gate"]
        code, text = said.refused("not promoted")
        assert "PERMISSION_DENIED" == code
        assert "the version has no tool contract" in text

    def test_a_superseded_version_says_what_serves_instead(self, said: Talk) -> None:
        found = said.said("superseded")
        assert ("READY", "superseded") == (found["status"], found["tags"]["tidegate.state"])
        assert found["message"].startswith("superseded: team serves 2 since ")

    def test_every_way_of_naming_a_version_brings_its_very_bytes(self, said: Talk, world: HubWorld) -> None:
        for name in ("by tier", "as a stage", "latest"):
            assert world.files(2) == said.said(name), name
        assert world.files(1) == said.said("earlier")
        assert world.files(1, LARGE) == said.said("folders")
        assert {"config.json": world.files(2)["config.json"]} == said.said("one file")
        assert "Qwen3ForCausalLM" in said.said("text")

    def test_folders_are_listed_one_at_a_time(self, said: Talk) -> None:
        assert ["config.json", "größe +1%", "model.safetensors", "onnx"] == [
            one[0] for one in said.said("listed")
        ]
        assert [["onnx/config.json", False, 2], ["onnx/small", True, None]] == said.said("folder")

    def test_searches_filter_sort_and_page(self, said: Talk) -> None:
        assert [[NAME, 3], [NAME, 2], [NAME, 1]] == said.said("versions")["found"]
        assert [[NAME, 1], [NAME, 2], [NAME, 3]] == said.said("rising")["found"]
        assert [[3, 2], [1]] == said.said("paged")
        assert [] == said.said("of a run")["found"]
        assert [[NAME, 2]] == said.said("by tag")["found"]
        assert {LARGE_NAME, NAME} <= set(said.said("models")["names"])
        assert [NAME] == said.said("by pattern")["names"]
        assert ([LARGE_NAME], True) == (
            said.said("one by one")["names"],
            bool(said.said("one by one")["token"]),
        )
        assert {"name": NAME, "aliases": {"edge": "2", "team": "2"}, "latest": [2]} == said.said("model")

    @pytest.mark.parametrize(
        ("name", "code", "named"),
        [
            (
                "no alias",
                "INVALID_PARAMETER_VALUE",
                "Registered model alias champion not found: edge (serves 2)",
            ),
            ("no number", "RESOURCE_DOES_NOT_EXIST", f"{MODEL}@9"),
            ("no model", "RESOURCE_DOES_NOT_EXIST", "no/such"),
            ("no namespace", "RESOURCE_DOES_NOT_EXIST", "such"),
            ("bad filter", "INVALID_PARAMETER_VALUE", "'colour' is none of name"),
            ("bad token", "INVALID_PARAMETER_VALUE", "cursor"),
        ],
    )
    def test_what_is_not_there_is_said_in_mlflows_words(
        self, said: Talk, name: str, code: str, named: str
    ) -> None:
        assert code == said.refused(name)[0]
        assert named in said.refused(name)[1]

    def test_no_file_is_an_error_and_not_an_empty_folder(self, said: Talk) -> None:
        assert "holds no 'none.json'" in said.refused("no file")[1]

    @pytest.mark.parametrize("method", WRITES)
    def test_every_write_is_refused_with_the_command_that_does_it(self, said: Talk, method: str) -> None:
        code, text = said.refused(method)
        assert "PERMISSION_DENIED" == code
        assert "`tidegate " in text


def test_a_tracking_server_is_what_this_is_not(skinny: Talk) -> None:
    for name, code in (
        ("experiments", "ENDPOINT_NOT_FOUND"),
        ("new experiment", "PERMISSION_DENIED"),
        ("new run", "PERMISSION_DENIED"),
    ):
        found, text = skinny.refused(name)
        assert code == found
        assert "MLFLOW_REGISTRY_URI" in text


def test_the_command_line_downloads(world: HubWorld, url: str, tmp_path: Path) -> None:
    words = ["artifacts", "download", "--artifact-uri", f"models:/{NAME}@team", "--dst-path", str(tmp_path)]
    told = {"MLFLOW_TRACKING_URI": url, "MLFLOW_TRACKING_TOKEN": world.token("cli", "viewer")}
    done = subprocess.run(
        [str(Path(sys.executable).with_name("mlflow")), *words],
        env={**os.environ, **QUIET, **told},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert world.files(2) == {path.name: file_sha256(path) for path in tmp_path.iterdir()}


# -- the door itself --------------------------------------------------------------------------------------


@pytest.fixture
def viewer(world: HubWorld) -> Iterator["TestClient"]:
    with door(world.home, token=world.token("vera", "viewer")) as client:
        yield client


def error(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["error_code"]


class TestWhoMayWhat:
    def test_nobody_is_let_in_without_showing_who_they_are(self, world: HubWorld) -> None:
        with door(world.home) as client:
            for path in (f"{API}/registered-models/search", f"{STORE}/artifacts/{NAME}/2/config.json"):
                answer = client.get(path)
                assert (401, "UNAUTHENTICATED") == error(answer)
                assert answer.headers["www-authenticate"].startswith("Basic ")
            assert (401, "UNAUTHENTICATED") == error(client.post(f"{API}/registered-models/create", json={}))
            assert "OK" == client.get("/health").text

    def test_an_administrator_sees_and_gets_no_file(self, world: HubWorld) -> None:
        with door(world.home, token=world.token("root", "admin")) as client:
            assert (
                200
                == client.get(f"{API}/model-versions/get", params={"name": NAME, "version": "2"}).status_code
            )
            assert (403, "PERMISSION_DENIED") == error(client.get(f"{STORE}/artifacts/{NAME}/2/config.json"))

    def test_who_is_bound_to_a_tier_takes_what_it_serves_or_served(self, world: HubWorld) -> None:
        with door(world.home, token=world.token("eve", "viewer:edge")) as client:
            assert 200 == client.get(f"{STORE}/artifacts/{NAME}/2/config.json").status_code
            assert (403, "PERMISSION_DENIED") == error(client.get(f"{STORE}/artifacts/{NAME}/1/config.json"))
            latest = client.get(f"{API}/registered-models/get-latest-versions", params={"name": LARGE_NAME})
            assert (404, "RESOURCE_DOES_NOT_EXIST") == error(latest)

    def test_a_validator_takes_what_nobody_promoted(self, world: HubWorld) -> None:
        with door(world.home, token=world.token("val", "validator")) as client:
            assert 200 == client.get(f"{STORE}/artifacts/{NAME}/3/config.json").status_code

    def test_every_refused_write_needs_no_body_and_leaves_no_trace(
        self, world: HubWorld, viewer: "TestClient"
    ) -> None:
        for method, route in refused._REGISTRY:
            answer = viewer.request(method, f"{API}/{route}", content=b"\xff not json")
            assert (403, "PERMISSION_DENIED") == error(answer), route
        for method in ("PUT", "DELETE"):
            assert (403, "PERMISSION_DENIED") == error(
                viewer.request(method, f"{STORE}/artifacts/{NAME}/2/x")
            )
        assert (403, "PERMISSION_DENIED") == error(viewer.post(f"{STORE}/mpu/create/{NAME}/2/x"))
        assert (403, "PERMISSION_DENIED") == error(viewer.post(f"{API}/webhooks", json={}))
        assert (404, "ENDPOINT_NOT_FOUND") == error(viewer.get(f"{API}/webhooks"))
        assert (404, "ENDPOINT_NOT_FOUND") == error(viewer.get("/api/3.0/mlflow/server-info"))

    def test_the_pages_address_answers_the_same(self, viewer: "TestClient") -> None:
        query = {"name": NAME, "alias": "team"}
        answers = [
            viewer.get(f"/{root}/2.0/mlflow/registered-models/alias", params=query)
            for root in ("api", "ajax-api")
        ]
        assert answers[0].json() == answers[1].json()


def test_every_command_that_a_refusal_names_exists() -> None:
    sentences = [*refused._REGISTRY.values(), refused._RUNS, refused._WEBHOOKS, refused.ARTIFACTS]
    assert [] == [wrong for text in sentences for line in in_backticks(text) for wrong in problems(line)]


class TestWhatChanges:
    def test_a_moved_tier_is_seen_at_once_and_a_withdrawn_version_stops_the_client(
        self, hub_copy: HubWorld
    ) -> None:
        with door(hub_copy.home, token=hub_copy.token("vera", "viewer")) as client:
            alias = {"name": NAME, "alias": "team"}
            assert (
                "2"
                == client.get(f"{API}/registered-models/alias", params=alias).json()["model_version"][
                    "version"
                ]
            )
            hub_copy.pin(3, "team")
            found = client.get(f"{API}/registered-models/alias", params=alias).json()["model_version"]
            assert ("3", "READY") == (found["version"], found["status"])
            latest = client.post(f"{API}/registered-models/get-latest-versions", json={"name": NAME})
            assert (404, "RESOURCE_DOES_NOT_EXIST") == error(latest), "edge serves another one"
            assert "edge (serves 2) or team (serves 3)" in latest.json()["message"]

            hub_copy.withdraw(3, "refuses in German")
            found = client.get(f"{API}/registered-models/alias", params=alias).json()["model_version"]
            assert ("FAILED_REGISTRATION", "withdrawn") == (found["status"], found["tags"][3]["value"])
            assert "refuses in German" in found["status_message"]
            asked = client.get(
                f"{API}/model-versions/get-download-uri", params={"name": NAME, "version": "3"}
            )
            assert (404, "RESOURCE_DOES_NOT_EXIST") == error(asked)
            assert "refuses in German" in asked.json()["message"]

    def test_a_damaged_blob_is_refused_with_a_status_that_is_not_tried_again(
        self, hub_copy: HubWorld
    ) -> None:
        blob = hub_copy.home / "store" / "blobs" / "sha256" / hub_copy.files(2)["config.json"]
        blob.chmod(0o600)
        blob.write_bytes(blob.read_bytes().replace(b"Qwen3", b"Qwen4"))
        with door(hub_copy.home, token=hub_copy.token("vera", "viewer")) as client:
            assert (409, "DATA_LOSS") == error(client.get(f"{STORE}/artifacts/{NAME}/2/config.json"))

    def test_the_address_of_artifacts_is_the_public_one(self, world: HubWorld) -> None:
        settings = ServerSettings(public_url="https://models.example")
        with door(world.home, settings, token=world.token("vera", "viewer")) as client:
            query = {"name": NAME, "version": "2"}
            found = client.get(f"{API}/model-versions/get-download-uri", params=query).json()
        assert f"https://models.example{STORE}/artifacts/{NAME}/2" == found["artifact_uri"]


class TestWhatIsAskedWrongly:
    @pytest.mark.parametrize(
        ("route", "query"),
        [
            ("registered-models/get", {}),
            ("registered-models/alias", {"name": NAME}),
            ("registered-models/alias", {"name": NAME, "alias": "a\x00b"}),
            ("model-versions/get", {"name": NAME, "version": "three"}),
            ("model-versions/get", {"name": NAME, "version": "9" * 400}),
            ("model-versions/search", {"order_by": "run_id ASC"}),
            ("registered-models/search", {"order_by": "name DESC"}),
            ("model-versions/search", {"filter": "name = 'a" + "b" * 5_000}),
        ],
    )
    def test_it_is_named(self, viewer: "TestClient", route: str, query: dict[str, str]) -> None:
        assert (400, "INVALID_PARAMETER_VALUE") == error(viewer.get(f"{API}/{route}", params=query))

    @pytest.mark.parametrize(
        "body", [b"", b"[]", b"{", b"\xff", b'{"name": 3}', b'{"name": "a--b", "stages": "x"}', b" " * 70_000]
    )
    def test_a_posted_question_is_read_within_bounds(self, viewer: "TestClient", body: bytes) -> None:
        answer = viewer.post(f"{API}/registered-models/get-latest-versions", content=body)
        assert (400, "INVALID_PARAMETER_VALUE") == error(answer)

    @pytest.mark.parametrize(
        "place",
        [
            "",
            NAME,
            f"{NAME}/0",
            f"{NAME}/team",
            "x--y/1",
            "x/1",
            "a\x00--b/1/x",
        ],
    )
    def test_places_that_are_none_are_not_found(self, viewer: "TestClient", place: str) -> None:
        assert 404 == viewer.get(f"{STORE}/artifacts", params={"path": place}).status_code

    @pytest.mark.parametrize("path", ["nope", "../3/config.json", "/config.json"])
    def test_what_a_version_does_not_hold_is_an_empty_folder_and_no_file(
        self, viewer: "TestClient", path: str
    ) -> None:
        asked = {"path": f"{NAME}/2/{path}"}
        assert {"files": []} == viewer.get(f"{STORE}/artifacts", params=asked).json()
        assert 404 == viewer.get(f"{STORE}/artifacts/{NAME}/2/{path.replace('/', '%2F')}").status_code

    @pytest.mark.parametrize("name", ["a--b", "A--B--C", "such", "x" * 200, "..--..", "a\x00--b"])
    def test_names_that_no_model_has_are_not_found(self, viewer: "TestClient", name: str) -> None:
        assert (404, "RESOURCE_DOES_NOT_EXIST") == error(
            viewer.get(f"{API}/registered-models/get", params={"name": name})
        )
        searched = viewer.get(f"{API}/model-versions/search", params={"filter": f"name = '{name}'"})
        assert ([], "") == (searched.json()["model_versions"], searched.json()["next_page_token"])


# -- filters ----------------------------------------------------------------------------------------------


def meant(text: str, tags: dict[str, str] | None = None, **attributes: str) -> bool:
    return all(one.holds(attributes, tags or {}) for one in parse_filter(text))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", True),
        ("name = 'a--b'", True),
        ('attribute.name != "a--b"', False),
        ("name LIKE 'a%' and name ILIKE '%B'", True),
        ("name IN ('x', 'a--b')", True),
        ("name not  in ('x', \"a--b\")", False),
        ("version_number >= 3 AND version_number < 10", True),
        ("version_number = '3'", True),
        ("tags.`team` = 'ops'", True),
        ("tag.team != 'ops'", False),
        ("tags.absent = 'x'", False),
        ("tag.`mlflow.prompt.is_prompt` != 'true'", True),
        ("tags.`mlflow.prompt.is_prompt` = 'true'", False),
    ],
)
def test_a_filter_means_what_mlflow_means_by_it(text: str, expected: bool) -> None:
    assert expected == meant(text, {"team": "ops"}, name="a--b", version_number="3")


@pytest.mark.parametrize(
    "text",
    ["colour = 'red'", "name", "name = ", "name = 'a' OR name = 'b'", "name = 'a'; drop", "name > 'a'", "name IN 'a'",
     "version_number LIKE '3'", "version_number = 'three'", "name = 'a' AND", "name = ('a')", "' = 'a'",
     " AND ".join(["name = 'a'"] * 30), "name LIKE '" + "%" * 300 + "'"],
)  # fmt: skip
def test_what_is_no_filter_is_refused(text: str) -> None:
    with pytest.raises(RequestUnreadable, match="filter"):
        parse_filter(text)


@pytest.mark.property
@given(
    st.text(max_size=200)
    | st.from_regex(r"(name|tags\.`?\w*`?|version_number) ?(=|!=|LIKE|IN|>) ?[('\"\d].*")
)
def test_a_filter_is_read_or_refused(text: str) -> None:
    try:
        found = parse_filter(text)
    except RequestUnreadable:
        return
    for one in found:
        one.holds({"name": "a--b", "version_number": "3"}, {"team": "ops"})


@pytest.mark.property
@given(st.text(alphabet="ab_%", max_size=12), st.text(alphabet="ab%_", max_size=8))
def test_like_is_sqls(text: str, pattern: str) -> None:
    wild = {"%": ".*", "_": "."}
    expected = re.fullmatch(
        "".join(wild.get(letter, re.escape(letter)) for letter in pattern), text, re.DOTALL
    )
    assert like(text, pattern) == (expected is not None)


def test_like_takes_no_longer_than_both_lengths_multiplied() -> None:
    assert not like("a" * 5_000, "%a" * 120 + "b")
