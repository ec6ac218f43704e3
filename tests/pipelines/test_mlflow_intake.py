"""Models out of a real MLflow registry, and validations into it; then servers that lie, which a real one does not."""

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines import mlflow_server as mlflow_client
from pipelines.intake import mlflow_account
from pipelines.intake.errors import ScanBlocked, SourceChanged, SourceUnusable
from pipelines.intake.mlflow_source import Wanted, fetch_mlflow
from pipelines.intake.record import Added
from pipelines.mlflow_server import ArtifactsElsewhere, MlflowServer, MlflowUnreachable
from pipelines.questions.whence import whence
from pipelines.suites.mlflow_runs import RunNotRecorded
from pipelines.workplace import Workplace
from registry.errors import NameUnusable
from registry.manifests import decode
from registry.names import Ref
from signing.canonical import canonical_bytes
from signing.digests import file_sha256, sha256_hex
from signing.statements import read_statement
from tests.cli import Prompt
from tests.conftest import NOON
from tests.mlflow_world import QUIET, Running, mlflow_server
from tests.world import new_home

DEMO = Path(__file__).parents[2] / "demo"
V1 = DEMO / "models" / "v1"
NAME = "acme--tiny-llm"


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """As `tidegate.settings` has it for every command; nobody's own server is asked, and none a second time."""
    monkeypatch.setattr(mlflow_client, "TRIES", 0)
    for name, value in QUIET.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


# -- a real server ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Lab:
    """The server of those who train: version 1 of the model, and 2 with code beside it."""

    mlflow: Running
    run: str
    marker: Path  # written by whoever runs that code


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    folder = tmp_path_factory.mktemp("mlflow")
    with mlflow_server(folder) as running:
        made = running.seed(NAME, V1, marker=str(folder / "pwned"))
        yield Lab(running, made["run"], folder / "pwned")


def fetch(work: Workplace, lab: Lab, uri: str, **options: Any) -> Added:
    return fetch_mlflow(work, uri, address=lab.mlflow.url, **options)


def paths(added: Added) -> dict[str, str]:
    return {entry.path: entry.sha256 for entry in decode(added.version.manifest.encode()).files}


@pytest.mark.slow
class TestARealServer:
    def test_a_version_comes_in_by_number_and_alias_with_every_byte(
        self, workplace: Workplace, lab: Lab
    ) -> None:
        done: list[int] = []
        expected: list[int] = []
        by_number = fetch(workplace, lab, f"models:/{NAME}/1", progress=done.append, expect=expected.append)
        by_alias = fetch(workplace, lab, f"models:/{NAME}@champion")

        assert ("acme/tiny-llm", 1, "fetch") == (
            by_number.version.model,
            by_number.version.ordinal,
            by_number.version.brought_by,
        )
        assert {f"model/{path.name}": file_sha256(path) for path in V1.iterdir()} == paths(by_number)
        assert ("MLmodel", "conda.yaml", "requirements.txt") == by_number.left_out
        assert [by_number.version.size] == expected == [sum(done)]
        assert (by_number.new, by_alias.new) == (True, False), "the same files are the same version"
        assert [] == list(workplace.home.quarantine.iterdir())

    def test_a_folder_of_the_version_can_be_taken_alone(self, workplace: Workplace, lab: Lab) -> None:
        added = fetch(workplace, lab, f"models:/{NAME}@champion/model", model="acme/other")
        assert {path.name for path in V1.iterdir()} == set(paths(added))
        assert () == added.left_out

    def test_the_run_stands_in_the_signed_provenance(self, workplace: Workplace, lab: Lab) -> None:
        added = fetch(workplace, lab, f"models:/{NAME}/1")
        with workplace.store.view() as view:
            row = view.statements(added.version.digest)[0]
        definition = read_statement(row.payload.encode()).predicate["buildDefinition"]
        host = lab.mlflow.url.removeprefix("http://")
        assert (host, f"models:/{NAME}/1") == (
            definition["externalParameters"]["server"],
            definition["externalParameters"]["modelVersion"],
        )
        source, *files = definition["resolvedDependencies"]
        assert f"mlflow://{host}/{NAME}/1" == source["uri"]
        weights = next(one for one in files if one["uri"].endswith("/model/model.safetensors"))
        assert {"sha256": file_sha256(V1 / "model.safetensors")} == weights["digest"]

        run, card = source["annotations"]["run"], source["annotations"]["mlmodel"]
        assert (lab.run, "sft-7", "tuning", "FINISHED") == (
            run["run_id"],
            run["run_name"],
            run["experiment"],
            run["status"],
        )
        told = {
            name: {one["name"]: one["value"] for one in run[name]["entries"]}
            for name in ("params", "metrics", "tags")
        }
        assert {"lr": "2e-5", "epochs": "3", "Größe": "klein"} == told["params"]
        assert {"loss": "0.2"} == told["metrics"]
        assert "ops" == told["tags"]["team"]
        assert ["transformers"] == card["flavors"]
        assert [{"type": "string", "required": True}] == json.loads(card["signature"]["inputs"])
        with workplace.store.view() as view:
            (fetched,) = whence(workplace, view, Ref.parse("acme/tiny-llm@1")).fetched
        assert f"sft-7 ({lab.run}) of tuning" == fetched["run"]
        tags = source["annotations"]["modelVersion"]["tags"]["entries"]
        assert [{"name": "reviewed", "value": "yes"}] == tags

    def test_code_beside_the_model_is_refused_and_never_run(self, workplace: Workplace, lab: Lab) -> None:
        with pytest.raises(ScanBlocked, match=r"code/loader\.py"):
            fetch(workplace, lab, f"models:/{NAME}/latest")
        added = fetch(workplace, lab, f"models:/{NAME}/latest", leave_out=("code/*",))
        assert "code/loader.py" in added.left_out
        assert not lab.marker.exists()

    @pytest.mark.parametrize(
        ("uri", "named"),
        [
            (f"models:/{NAME}/9", "not found"),
            ("models:/no--such/1", "not found"),
            (f"models:/{NAME}@nobody", "nobody"),
        ],
    )
    def test_what_the_server_does_not_know_is_the_sources_fault(
        self, workplace: Workplace, lab: Lab, uri: str, named: str
    ) -> None:
        with pytest.raises(SourceUnusable, match=named):
            fetch(workplace, lab, uri)

    def test_the_command_speaks_to_this_address_alone(self, lab: Lab, tmp_path: Path) -> None:
        """Every connection that the process opens is written down, as the client's own telemetry would be."""
        new_home(tmp_path / "home", name="harbour", roles=("origin",), now=NOON)
        watched = (
            "import sys\n"
            "seen = open(sys.argv.pop(1), 'a')\n"
            "sys.addaudithook(lambda name, a: name in ('socket.connect', 'socket.getaddrinfo')"
            " and print(name, a[1] if name == 'socket.connect' else a[:2], file=seen, flush=True))\n"
            "from tidegate.__main__ import main\nmain()\n"
        )
        words = ["models", "fetch", f"mlflow:models:/{NAME}/1", "--home", str(tmp_path / "home")]
        done = subprocess.run(
            [sys.executable, "-c", watched, str(tmp_path / "seen"), *words, "--tracking-uri", lab.mlflow.url],
            capture_output=True,
            text=True,
            env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "TIDEGATE_ACTOR": "ines"},
            check=False,
        )
        assert 0 == done.returncode, done.stderr
        assert "acme/tiny-llm@1 is " in done.stdout
        port = lab.mlflow.url.rpartition(":")[2]
        seen = set((tmp_path / "seen").read_text().splitlines())
        assert {f"socket.connect ('127.0.0.1', {port})", f"socket.getaddrinfo ('127.0.0.1', {port})"} == seen

    def test_a_validation_becomes_a_run_once_and_later_if_the_server_was_away(
        self, lab: Lab, tmp_path: Path
    ) -> None:
        at = measured_home(tmp_path)
        words = ["suites", "run", "files", "demo/tiny-toolcaller@1", "--engine", "llama-server-hermes"]

        away = at.type(*words, "--mlflow", "http://127.0.0.1:1", ends=RunNotRecorded.exit_code)
        assert "PASSED" in away.output, "the result is shown"
        assert "is kept, and MLflow has no run of it" in away.output
        digest = kept_report(at)

        first = at.ask("suites", "report", digest, "--mlflow", lab.mlflow.url, "--experiment", "nightly")
        again = at.ask("suites", "report", digest, "--mlflow", lab.mlflow.url, "--experiment", "nightly")
        assert (True, False) == (first["mlflow"]["new"], again["mlflow"]["new"])
        assert first["mlflow"]["run"] == again["mlflow"]["run"]

        server = MlflowServer(lab.mlflow.url)
        run = server.ask("runs/get", run_id=first["mlflow"]["run"])["run"]
        metrics = {one["key"]: one["value"] for one in run["data"]["metrics"]}
        tags = {one["key"]: one["value"] for one in run["data"]["tags"]}
        assert (1, 6, 0) == (metrics["passed"], metrics["cases/passed"], metrics["cases/failed"])
        assert (digest, "PASSED") == (tags["tidegate.report"], tags["tidegate.outcome"])
        assert "FINISHED" == run["info"]["status"]
        place = server.place_of(run["info"]["artifact_uri"])
        assert {"report.html", "report.json"} == {one.name for one in server.folder(place)}
        with server.bytes_of(f"{place}/report.json") as blocks:
            assert digest == sha256_hex(b"".join(blocks)), "the very bytes that the digest is of"

    def test_an_experiment_that_lies_elsewhere_gets_the_figures_without_the_report(
        self, lab: Lab, tmp_path: Path
    ) -> None:
        server = MlflowServer(lab.mlflow.url)
        server.tell("experiments/create", {"name": "far", "artifact_location": "s3://bucket/far"})
        at = measured_home(tmp_path)
        words = ["suites", "run", "files", "demo/tiny-toolcaller@1", "--engine", "llama-server-hermes"]
        said = at.type(*words, "--mlflow", lab.mlflow.url, "--experiment", "far")
        assert "without the report itself" in said.output
        assert "s3:" in said.output


def measured_home(folder: Path) -> Prompt:
    """A home with one version, its contract, an engine profile, and the suite that looks at files alone."""
    at = Prompt(folder / "home", "vera")
    at.type("init", "lab", "--role", "site", "--profile", "solo")
    at.type("models", "add", V1, "--as", "demo/tiny-toolcaller")
    contracts = DEMO / "contracts"
    at.type("contracts", "add", contracts / "tool-contract-hermes.json", "--for", "demo/tiny-toolcaller@1")
    at.type("contracts", "add", contracts / "engine-profile-hermes.json")
    at.type("suites", "add", "--builtin", "files")
    return at


def kept_report(at: Prompt) -> str:
    """The digest of the one validation that this home holds."""
    from tests.server_world import premises

    with premises(at.home) as home, home.store.view() as view:
        version = view.version(Ref("demo/tiny-toolcaller", ordinal=1))
        (row,) = view.reports(version.digest, "validation")
        return row.digest


# -- servers that lie -------------------------------------------------------------------------------------

Answer = tuple[int, bytes, dict[str, str]]
VERSION = {"name": NAME, "version": "1", "status": "READY", "run_id": ""}


class Liar:
    """A server that answers as MLflow does, but for what a test says of one route."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.answers: dict[str, Callable[[dict[str, str]], Any]] = {
            "/api/2.0/mlflow/model-versions/get": lambda _: {"model_version": VERSION},
            "/api/2.0/mlflow/model-versions/get-download-uri": lambda _: {
                "artifact_uri": "mlflow-artifacts:/1"
            },
            "/api/2.0/mlflow-artifacts/artifacts": self.listing,
        }
        self.files = {path.name: path.read_bytes() for path in V1.iterdir()}

    def listing(self, query: dict[str, str]) -> Any:
        return {"files": [file(name, len(data)) for name, data in self.files.items()]}

    def reply(self, path: str, query: dict[str, str]) -> Answer:
        self.asked.append(path)
        name = path.rpartition("/")[2]
        if path in self.answers:
            found = self.answers[path](query)
            return found if isinstance(found, tuple) else (200, json.dumps(found).encode(), {})
        if name in self.files:
            return 200, self.files[name], {}
        return 404, b'{"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "no"}', {}


def file(name: str, size: object) -> dict[str, Any]:
    return {"path": name, "is_dir": False, "file_size": size}


@contextmanager
def serving(liar: Liar) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(parts.query).items()}
            status, data, headers = liar.reply(parts.path, query)
            self.send_response(status)
            for name, value in ({"Content-Length": str(len(data))} | headers).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        do_POST = do_GET  # noqa: N815 - as the base class calls it

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def liar() -> Liar:
    return Liar()


@pytest.fixture
def address(liar: Liar) -> Iterator[str]:
    with serving(liar) as url:
        yield url


def nothing_came(work: Workplace) -> bool:
    with work.store.view() as view:
        return (
            not view.versions() and not list(work.blobs.held()) and not list(work.home.quarantine.iterdir())
        )


def test_without_a_lie_the_same_server_is_believed(workplace: Workplace, liar: Liar, address: str) -> None:
    added = fetch_mlflow(workplace, f"models:/{NAME}/1", address=address)
    assert {path.name: file_sha256(path) for path in V1.iterdir()} == paths(added)


@pytest.mark.parametrize(
    "uri",
    ["file:///etc", "s3://bucket/model", "/etc", "mlflow-artifacts://elsewhere:80/1", "http://elsewhere/1", "",
     "mlflow-artifacts:/1/../../etc", None, "mlflow-artifacts:", "dbfs:/x"],
)  # fmt: skip
def test_artifacts_that_lie_elsewhere_are_not_gone_for(
    workplace: Workplace, liar: Liar, address: str, uri: str | None
) -> None:
    liar.answers["/api/2.0/mlflow/model-versions/get-download-uri"] = lambda _: {"artifact_uri": uri}
    with pytest.raises(SourceUnusable, match="not behind itself"):
        fetch_mlflow(workplace, f"models:/{NAME}/1", address=address)
    assert nothing_came(workplace)


LISTINGS: dict[str, tuple[list[Any], type[Exception]]] = {
    "a way out": ([file("..", 1)], MlflowUnreachable),
    "a path for a name": ([file("a/b", 1)], MlflowUnreachable),
    "no name": ([{"is_dir": False, "file_size": 1}], MlflowUnreachable),
    "no size": ([{"path": "config.json", "is_dir": False}], MlflowUnreachable),
    "a negative size": ([file("config.json", -1)], MlflowUnreachable),
    "a size beyond any disk": ([file("config.json", 1 << 60)], MlflowUnreachable),
    "no entry": (["config.json"], MlflowUnreachable),
    "a name that is none": ([file("con\x00fig.json", 1)], SourceUnusable),
    "folders without end": ([{"path": "a", "is_dir": True}], SourceUnusable),
    "a pickle": ([file("model.pkl", 5)], ScanBlocked),
    "nothing": ([], SourceUnusable),
}


@pytest.mark.parametrize("lie", LISTINGS)
def test_a_listing_that_cannot_be_is_refused(
    workplace: Workplace, liar: Liar, address: str, lie: str
) -> None:
    files, refusal = LISTINGS[lie]
    liar.answers["/api/2.0/mlflow-artifacts/artifacts"] = lambda _: {"files": files}
    with pytest.raises(refusal):
        fetch_mlflow(workplace, f"models:/{NAME}/1", address=address)
    assert nothing_came(workplace)


@pytest.mark.parametrize("by", [-1, 1, 1 << 20])
def test_another_length_than_was_listed_is_refused(
    workplace: Workplace, liar: Liar, address: str, by: int
) -> None:
    data = liar.files["tokenizer.json"]
    sizes = {name: len(found) for name, found in liar.files.items()}
    liar.answers["/api/2.0/mlflow-artifacts/artifacts"] = lambda _: {
        "files": [file(name, size) for name, size in sizes.items()]
    }
    liar.files["tokenizer.json"] = data[:by] if by < 0 else data + b" " * by
    with pytest.raises(SourceChanged, match=r"tokenizer\.json"):
        fetch_mlflow(workplace, f"models:/{NAME}/1", address=address)
    assert nothing_came(workplace)


def test_a_folder_that_is_written_to_meanwhile_is_refused(
    workplace: Workplace, liar: Liar, address: str
) -> None:
    def growing(query: dict[str, str]) -> Any:
        found = liar.listing(query)
        if any(path.endswith("/model.safetensors") for path in liar.asked):
            found["files"].append(file("adapter.safetensors", 8))
        return found

    liar.answers["/api/2.0/mlflow-artifacts/artifacts"] = growing
    with pytest.raises(SourceChanged, match="adapter"):
        fetch_mlflow(workplace, f"models:/{NAME}/1", address=address)
    assert nothing_came(workplace)


ANSWERS: dict[str, tuple[Answer, str]] = {
    "a password is wanted": ((401, b"{}", {}), "let this user in"),
    "somebody is sent away": ((302, b"", {"Location": "http://169.254.169.254/"}), "another address"),
    "a page": ((200, b"<html>", {}), "no JSON"),
    "a list": ((200, b"[]", {}), "no JSON object"),
    "a name twice": ((200, b'{"a": 1, "a": 2}', {}), "no JSON"),
    "deep": ((200, b'{"a":' * 500 + b"1" + b"}" * 500, {}), "no JSON"),
    "too much": ((200, b" " * (17 << 20), {}), "more than"),
    "a bug of theirs": ((400, b"{}", {}), "answers 400"),
    "another program": ((200, b'{"model_version": {"version": 7}}', {}), "as an MLflow registry does"),
}


@pytest.mark.parametrize("lie", ANSWERS)
def test_an_answer_that_is_none_says_what_is_wrong(
    workplace: Workplace, liar: Liar, address: str, lie: str
) -> None:
    answer, named = ANSWERS[lie]
    liar.answers["/api/2.0/mlflow/model-versions/get"] = lambda _: answer
    with pytest.raises(MlflowUnreachable, match=named):
        fetch_mlflow(workplace, f"models:/{NAME}/1", address=address)
    assert nothing_came(workplace)


def test_a_run_that_cannot_be_read_is_no_reason_to_stop(
    workplace: Workplace, liar: Liar, address: str
) -> None:
    liar.answers["/api/2.0/mlflow/model-versions/get"] = lambda _: {
        "model_version": VERSION | {"run_id": "ab12"}
    }
    added = fetch_mlflow(workplace, f"models:/{NAME}/1", address=address)
    with workplace.store.view() as view:
        payload = view.statements(added.version.digest)[0].payload
    source = read_statement(payload.encode()).predicate["buildDefinition"]["resolvedDependencies"][0]
    assert {"run_id": "ab12", "unread": "no"} == source["annotations"]["run"]


@pytest.mark.parametrize(
    "address",
    ["databricks", "sqlite:///x.db", "ftp://host", "http://", "http://[", "http://ann:secret@host:1"],
)
def test_what_is_no_address_is_refused_before_anything_is_asked(workplace: Workplace, address: str) -> None:
    with pytest.raises(MlflowUnreachable) as refused:
        fetch_mlflow(workplace, f"models:/{NAME}/1", address=address)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    "uri",
    ["", "models:/", "models:/a--b", "models:/a--b/", "models:/a--b/x", "models:/a--b/0", "models:/a--b@", "runs:/a/b",
     "models:/a--b@x y", "models:/a--b/1/../2", "models:/a--b/1//x", "models:/" + "a" * 300 + "/1"],
)  # fmt: skip
def test_what_names_no_version_is_refused(uri: str) -> None:
    with pytest.raises(SourceUnusable, match="write mlflow:models:/NAME/VERSION"):
        Wanted.parse(uri)


def test_a_name_without_namespace_has_to_be_given_one() -> None:
    assert "acme/tiny-llm" == Wanted.parse(f"models:/{NAME}/1").local_name
    with pytest.raises(NameUnusable, match="--as NAMESPACE/NAME"):
        _ = Wanted.parse("models:/Fraud detector/1").local_name


# -- laws -------------------------------------------------------------------------------------------------

ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=30,
)
NAMED = st.dictionaries(
    st.sampled_from(
        [
            "info",
            "data",
            "inputs",
            "params",
            "metrics",
            "tags",
            "key",
            "value",
            "run_id",
            "start_time",
            "aliases",
            "name",
        ]
    ),
    ANY_JSON,
)


@pytest.mark.property
@given(NAMED | st.dictionaries(st.text(), ANY_JSON))
def test_whatever_a_server_says_can_be_signed(found: dict[str, Any]) -> None:
    for said in (mlflow_account.run_said(found, None), mlflow_account.version_said(found)):
        assert len(canonical_bytes(said)) < 1 << 20


@pytest.mark.property
@given(
    st.binary(max_size=400) | st.text(max_size=400).map(lambda text: text.encode("utf-8", "surrogatepass"))
)
def test_whatever_an_mlmodel_holds_can_be_signed(data: bytes) -> None:
    assert sha256_hex(data) == mlflow_account.mlmodel_said(data)["sha256"]
    canonical_bytes(mlflow_account.mlmodel_said(data))


@pytest.mark.parametrize(
    "data",
    [
        b"a: &x [1]\nb: *x\n",
        b"- 1\n",
        b"!!python/object/apply:os.system ['id']",
        b"? [a]\n: 1\n",
        b"a: " * 2000,
    ],
)
def test_yaml_that_could_grow_or_run_is_named_and_not_read(data: bytes) -> None:
    assert "unread" in mlflow_account.mlmodel_said(data)


def test_a_flood_of_parameters_is_cut_and_counted() -> None:
    raw = [{"key": f"p{number:05}", "value": "x" * 10_000} for number in range(5_000)]
    kept = mlflow_account.pairs(raw)
    assert (mlflow_account.MAX_ENTRIES, 5_000 - mlflow_account.MAX_ENTRIES) == (
        len(kept["entries"]),
        kept["leftOut"],
    )
    assert mlflow_account.MAX_TEXT + 1 == len(kept["entries"][0]["value"])


@pytest.mark.property
@settings(max_examples=200)
@given(st.text(max_size=60) | st.text(max_size=40).map(lambda text: f"mlflow-artifacts:/{text}"))
def test_a_place_never_leads_out_of_the_store(uri: str) -> None:
    try:
        place = MlflowServer("http://127.0.0.1:1").place_of(uri)
    except ArtifactsElsewhere:
        return
    assert not any(part in ("", ".", "..") for part in place.split("/"))
