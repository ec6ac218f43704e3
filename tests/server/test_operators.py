"""What operators have: numbers, lines, traces, and a log that is verified beside the server."""

import io
import json
import os
import re
import shutil
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from tests import world
from tests.server_world import door, premises, served, token
from tidegate.server.log_watch import LogWatch
from tidegate.server.logs import RequestLog, logger
from tidegate.server.metrics import Metrics
from tidegate.server.settings import ServerSettings
from tidegate.server.traces import Traces, traces_for

NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


@pytest.fixture(scope="module")
def clinic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return world.new_home(tmp_path_factory.mktemp("clinic") / "home", name="clinic", now=NOON).path


def sample(text: str, name: str) -> float:
    found = [line for line in text.splitlines() if line.startswith(name)]
    assert 1 == len(found), found
    return float(found[0].rpartition(" ")[2])


def test_numbers_are_for_who_may_look(clinic: Path) -> None:
    with door(clinic) as client:
        assert 401 == client.get("/metrics").status_code
        header = {"authorization": f"Bearer {token(clinic, 'prometheus', 'viewer')}"}
        answer = client.get("/metrics", headers=header)
        again = client.get("/metrics", headers=header)

    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert 1 == sample(again.text, 'tidegate_http_requests_total{method="GET",route="/metrics",status="401"}')
    assert 1 == sample(again.text, 'tidegate_http_requests_total{method="GET",route="/metrics",status="200"}')
    assert sample(answer.text, "tidegate_store_free_bytes") > 0
    assert 1 == sample(answer.text, 'tidegate_freshness{state="UNKNOWN"}')
    assert 0 == sample(answer.text, 'tidegate_promotions_pending{tier="org"}')
    assert 1 == sample(answer.text, 'tidegate_events_total{kind="home made"}')


def test_a_made_up_method_or_path_makes_no_new_series(clinic: Path) -> None:
    key = token(clinic, "prometheus", "viewer")
    with door(clinic, token=key) as client:
        for number in range(5):
            client.request(f"BREW{number}", f"/no/such/{number}")
        text = client.get("/metrics").text

    assert 5 == sample(text, 'tidegate_http_requests_total{method="other",route="none",status="404"}')
    assert "BREW" not in text


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


@contextmanager
def logged(clinic: Path, traces: Traces | None = None) -> Iterator[tuple[TestClient, io.StringIO]]:
    """A server with one address that answers and one that breaks."""

    def fine(_: Request) -> PlainTextResponse:
        return PlainTextResponse("fine")

    def broken(_: Request) -> PlainTextResponse:
        raise KeyError("the secret is hunter2")

    stream = io.StringIO()
    with premises(clinic) as home:
        metrics = Metrics(home, LogWatch(clinic, home.clock))
        wrapped = Middleware(
            RequestLog,
            log=logger(lambda: datetime.now(UTC), stream),
            metrics=metrics,
            traces=traces or Traces(),
        )
        app = Starlette(routes=[Route("/fine", fine), Route("/broken", broken)], middleware=[wrapped])
        yield TestClient(app, raise_server_exceptions=False), stream


def test_every_answer_bears_the_id_of_its_line_and_no_line_bears_a_secret(clinic: Path) -> None:
    with logged(clinic) as (client, stream):
        answer = client.get("/fine?token=tdg_secret", headers={"authorization": "Bearer tdg_secret"})
        given = client.get("/fine", headers={"x-request-id": "from-the-proxy-17"})
        forged = client.get("/fine", headers={"x-request-id": "a b\u00e9"[:3]})

    first, second, third = lines(stream)
    assert answer.headers["x-request-id"] == first["id"]
    assert "from-the-proxy-17" == given.headers["x-request-id"] == second["id"]
    assert third["id"] == forged.headers["x-request-id"] != "a b"
    assert ("/fine", 200, 4, False) == tuple(first[key] for key in ("path", "status", "bytes", "cut"))
    assert "tdg_secret" not in stream.getvalue()


def test_a_bug_is_logged_whole_and_answered_with_its_id_alone(clinic: Path) -> None:
    with logged(clinic) as (client, stream):
        answer = client.get("/broken")
        shown = client.get(
            "/broken", headers={"accept": "text/html,*/*;q=0.8", "x-request-id": "0123456789abcdef"}
        )

    assert (500, "text/html; charset=utf-8") == (shown.status_code, shown.headers["content-type"])
    assert "<code>0123456789abcdef</code>" in shown.text
    assert "hunter2" not in shown.text
    assert (500, "application/problem+json") == (answer.status_code, answer.headers["content-type"])
    assert "hunter2" not in answer.text
    assert answer.json()["request_id"] == answer.headers["x-request-id"]
    bug, request, *_ = lines(stream)
    assert ("bug", answer.headers["x-request-id"]) == (bug["event"], bug["id"])
    assert "KeyError" in str(bug["traceback"])
    assert 500 == request["status"]


class Collector(BaseHTTPRequestHandler):
    """A collector of traces, as small as one can be."""

    def do_POST(self) -> None:
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

        message = ExportTraceServiceRequest()
        message.ParseFromString(self.rfile.read(int(self.headers["content-length"])))
        self.server.got.append((self.path, message))  # type: ignore[attr-defined]
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def test_a_trace_goes_to_the_collector_that_is_named(clinic: Path) -> None:
    server = HTTPServer(("127.0.0.1", 0), Collector)
    server.got = []  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        traces = traces_for(f"http://127.0.0.1:{server.server_port}", service="clinic")
        with logged(clinic, traces) as (client, stream):
            parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
            client.get("/fine", headers={"traceparent": parent})
        traces.close()
    finally:
        server.shutdown()
        server.server_close()

    ((path, message),) = server.got  # type: ignore[attr-defined]
    (span,) = message.resource_spans[0].scope_spans[0].spans
    assert "/v1/traces" == path
    assert "0af7651916cd43dd8448eb211c80319c" == span.trace_id.hex()
    values = {item.key: item.value for item in span.attributes}
    assert 200 == values["http.response.status_code"].int_value
    assert lines(stream)[0]["id"] == values["tidegate.request_id"].string_value


def test_a_collector_that_is_away_holds_nothing_up(clinic: Path) -> None:
    """With the library's defaults the farewell took ten seconds."""
    traces = traces_for("http://127.0.0.1:9", service="clinic")
    with logged(clinic, traces) as (client, _):
        assert 200 == client.get("/fine").status_code
    began = time.monotonic()
    traces.close()
    assert time.monotonic() - began < 8


def test_without_a_collector_nothing_of_it_is_loaded() -> None:
    program = "import sys, tidegate.server.traces as t; t.traces_for(None, service='x'); print('opentelemetry' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "False" == done.stdout.strip()


def test_the_log_is_verified_beside_the_server(clinic: Path, tmp_path: Path) -> None:
    watch = LogWatch(clinic, lambda: NOON)
    watch.look()
    assert watch.last is not None
    assert watch.last.holds
    assert watch.last.at == NOON
    assert watch.last.events > 0

    edited = world.new_home(tmp_path / "home", name="edited", now=NOON)
    with sqlite3.connect(edited.path / "registry.db") as link:
        link.execute("UPDATE tierpolicy SET rank = 99 WHERE tier = 'org'")
    watch = LogWatch(edited.path, lambda: NOON)
    watch.look()
    assert watch.last is not None
    assert not watch.last.holds
    assert "tier policy" in watch.last.problems[0]
    with premises(edited.path, ServerSettings()) as home:
        assert 0 == sample(Metrics(home, watch).text().decode(), "tidegate_log_holds")


# -- the files beside the product ---------------------------------------------------------------------------

OPERATOR = Path(__file__).resolve().parents[2] / "docs" / "operator"
_NUMBER = re.compile(r"tidegate_[a-z_]+")


def families(text: str) -> set[str]:
    return {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")}


@pytest.fixture(scope="module")
def numbers(clinic: Path) -> set[str]:
    with door(clinic, token=token(clinic, "prometheus", "viewer")) as client:
        return families(client.get("/metrics").text) | {
            "tidegate_bundle_age_seconds"
        }  # once a bundle came in


def test_the_page_names_every_number_and_no_other(numbers: set[str]) -> None:
    rows = [
        line for line in (OPERATOR / "metrics.md").read_text().splitlines() if line.startswith("| `tidegate_")
    ]
    assert numbers == {row.split("`")[1] for row in rows}


@pytest.mark.parametrize("file", ["grafana-dashboard.json", "alerts.yml"])
def test_dashboard_and_alerts_ask_for_numbers_that_there_are(file: str, numbers: set[str]) -> None:
    asked = {name.removesuffix("_bucket") for name in _NUMBER.findall((OPERATOR / file).read_text())}
    assert len(asked) >= 9
    assert set() == asked - numbers


def test_the_dashboard_is_one() -> None:
    board = json.loads((OPERATOR / "grafana-dashboard.json").read_text())
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
    assert all(panel["targets"] for panel in board["panels"] if panel["type"] != "row")


def tool(name: str) -> str:
    """A program of the system; CI has it, a developer's machine may not."""
    found = shutil.which(name)
    if found is None:
        assert "CI" not in os.environ, f"{name} is not installed"
        pytest.skip(f"no {name} on this machine")
    return found


def test_prometheus_takes_the_alerts() -> None:
    done = subprocess.run(
        [tool("promtool"), "check", "rules", str(OPERATOR / "alerts.yml")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert 0 == done.returncode, done.stdout + done.stderr


def test_a_real_prometheus_scrapes_us_with_a_token(clinic: Path, tmp_path: Path) -> None:
    program, key = tool("prometheus"), tmp_path / "token"
    key.write_text(token(clinic, "prometheus", "viewer"))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with served(clinic) as site:
        (tmp_path / "prometheus.yml").write_text(
            "global: {scrape_interval: 1s}\nscrape_configs:\n  - job_name: tidegate\n"
            f"    authorization: {{credentials_file: {key}}}\n"
            f"    static_configs: [{{targets: ['{site.url.removeprefix('http://')}']}}]\n"
        )
        command = [
            program, f"--config.file={tmp_path / 'prometheus.yml'}", f"--storage.tsdb.path={tmp_path / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
        ]  # fmt: skip
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            found = asked(f"http://127.0.0.1:{port}/api/v1/query?query=tidegate_store_free_bytes")
        finally:
            process.terminate()
            process.wait()
    assert float(found[0]["value"][1]) > 0


def asked(url: str) -> list[dict[str, Any]]:
    """What Prometheus answers, once it has an answer."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                found: list[dict[str, Any]] = json.load(answer)["data"]["result"]
        except OSError:
            found = []
        if found:
            return found
        time.sleep(0.2)
    raise AssertionError("Prometheus found nothing in 30 seconds")


def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    unit = (
        (OPERATOR / "tidegate.service").read_text().replace("/opt/tidegate/.venv/bin/tidegate", "/bin/true")
    )
    (tmp_path / "tidegate.service").write_text(unit.replace("User=tidegate\nGroup=tidegate\n", ""))
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd-analyze on this machine")
    done = subprocess.run(
        ["systemd-analyze", "verify", str(tmp_path / "tidegate.service")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "" == "".join(line for line in done.stderr.splitlines(True) if "tidegate.service" in line)
