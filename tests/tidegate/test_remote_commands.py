"""The command line against a served site: the same words, the same answers, the same codes; nothing secret leaves."""

import base64
import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tests import server_world
from tests.tidegate import town as making
from tests.tidegate.town import DEMO, MODEL, Town
from tidegate.cli.root import main

V1, V2 = f"{MODEL}@1", f"{MODEL}@2"
CONTRACT = DEMO / "contracts" / "tool-contract-hermes.json"
STEWARD = "viewer,importer,validator,steward,auditor"


class Afar:
    """Somebody at a keyboard elsewhere: no home, a token in a file."""

    def __init__(self, url: str, folder: Path, token: str) -> None:
        self.url, self.file = url, folder / "token.txt"
        self.file.write_text(f"{token}\n")

    def type(self, *words: object, ends: int = 0, more: Mapping[str, str] = MappingProxyType({})) -> Result:
        environment = {
            "TIDEGATE_SERVER": self.url, "TIDEGATE_TOKEN_FILE": str(self.file), "TIDEGATE_HOME": None,
            "TIDEGATE_ACTOR": None, "TIDEGATE_PASSPHRASE_FILE": None, **more,
        }  # fmt: skip
        done = CliRunner(env=environment).invoke(main, [str(word) for word in words], catch_exceptions=False)
        assert ends == done.exit_code, done.output
        return done


@pytest.fixture(scope="module")
def site(built_serving: Town, tmp_path_factory: pytest.TempPathFactory) -> Town:
    return making.copy(built_serving, tmp_path_factory.mktemp("served") / "town")


@pytest.fixture(scope="module")
def afar(site: Town) -> Iterator[Afar]:
    token = server_world.token(site.site.home, "ines", STEWARD)
    with server_world.served(site.site.home) as served:
        yield Afar(served.url, site.folder, token)


def same(site: Town, afar: Afar, *words: object, ends: int = 0) -> None:
    """One command line, here and there."""
    here, there = site.site.type(*words, ends=ends), afar.type(*words, ends=ends)
    assert (here.stdout, here.stderr) == (there.stdout, there.stderr)


@pytest.mark.parametrize(
    ("words", "ends"),
    [
        (["pins"], 0),
        (["pins", "--history", "--json"], 0),
        (["models", "show", V1], 0),
        (["models", "show", "acme/none"], 41),
        (["models", "show", "acme/none", "--json"], 41),
        (["gate", V1, "--tier", "org"], 89),
        (["gate", V1, "--tier", "org", "--json"], 89),
        (["contracts", "compare", CONTRACT, "demo-router-v1"], 80),
        (["contracts", "tools", DEMO / "nothing.json"], 107),
        (["contracts", "show", CONTRACT], 41),
        (["audit", "transfers", "--csv"], 0),
        (["audit", "log", "--last", "3"], 0),
        (["audit", "verify"], 0),
        (["models", "list", "--nonsense"], 2),
    ],
    ids=lambda value: " ".join(str(word).rpartition("/")[2] for word in value) if isinstance(value, list) else str(value),
)  # fmt: skip
def test_a_command_line_means_the_same_here_and_there(
    site: Town, afar: Afar, words: list[object], ends: int
) -> None:
    same(site, afar, *words, ends=ends)


def test_files_go_there_and_come_back(
    site: Town, afar: Afar, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for out in ("3.tlog-proof", "below/3.tlog-proof"):
        (tmp_path / "below").mkdir(exist_ok=True)
        same(site, afar, "audit", "prove", 3, "--out", out, "--open", "/actor")
        assert (tmp_path / out).is_file()
        assert (tmp_path / out).with_name("3.openings.json").is_file()
    same(site, afar, "receipts", "write", "--out", tmp_path / "below", "--digest-only")


def test_a_bill_of_materials_never_overwrites(afar: Afar, tmp_path: Path) -> None:
    afar.type("models", "bom", V1, "--out", tmp_path / "bom.json")
    written = (tmp_path / "bom.json").read_bytes()
    refused = afar.type("models", "bom", V1, "--out", tmp_path / "bom.json", ends=108)
    assert "File exists" in refused.stderr
    assert written == (tmp_path / "bom.json").read_bytes()


def test_a_day_of_a_steward_elsewhere(town: Town) -> None:
    """Two approve for org, each with the key on their own machine; one promotes, looks, goes back to nothing."""
    tokens = {name: server_world.token(town.site.home, name, "steward") for name in ("alice", "bob")}
    with server_world.served(town.site.home) as served:
        people = {name: Afar(served.url, town.folder, token) for name, token in tokens.items()}
        alice, bob = people["alice"], people["bob"]
        alice.file.write_text(tokens["alice"])
        asked = ["--tier", "team", "--reason", "read the report"]
        page = alice.type("approve", V1, "--person", "alice", "--key", town.key("alice"), *asked)
        assert page.stdout.startswith("May team of clinic serve")
        assert "alice approves" in page.stdout
        assert "alice's own" not in page.stdout
        bob.file.write_text(tokens["bob"])
        bob.type("promote", V1, "--tier", "team", "--reason", "for everybody")
        rejected = bob.type("reject", V2, "--person", "bob", "--key", town.key("bob"), *asked)
        assert "bob rejects" in rejected.stdout
    assert {"team": 1} == town.serves()
    acted = {(event["kind"], event["actor"]) for event in town.site.ask("audit", "log")}
    assert {("approved", "alice"), ("promoted", "bob"), ("rejected", "bob")} <= acted
    assert town.site.ask("audit", "verify")["ok"]


def test_what_is_signed_by_hand_travels_as_files(town: Town, tmp_path: Path) -> None:
    """A token elsewhere still: write the payload, sign it with ssh-keygen, bring both."""
    import subprocess

    payload = tmp_path / "what I sign"
    with server_world.served(town.site.home) as served:
        afar = Afar(served.url, town.folder, server_world.token(town.site.home, "alice", "steward"))
        who = ["approve", V1, "--tier", "team", "--person", "alice"]
        told = afar.type(*who, "--reason", "read it", "--write-payload", payload)
        assert "Wrote what alice is asked to sign" in told.stdout
        sign = [
            "ssh-keygen",
            "-Y",
            "sign",
            "-n",
            "approval@tidegate",
            "-f",
            str(town.key("alice")),
            str(payload),
        ]
        subprocess.run(sign, check=True, capture_output=True)
        afar.type(*who, "--payload", payload, "--signature", f"{payload}.sig")
    assert "alice" == town.site.ask("audit", "log", "--kind", "approved")[0]["actor"]


# --- what stays, and what is refused ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        ["init", "x", "--role", "site"],
        ["models", "add", ".", "--as", "a/b"],
        ["models", "fetch", "hf:a/b", "--endpoint", "http://x"],
        ["trust", "show", "."],
        ["serve"],
        ["validate", V1, "--tier", "team"],
    ],
    ids=" ".join,
)
def test_what_stays_on_the_machine_says_so_before_anything_is_sent(tmp_path: Path, words: list[str]) -> None:
    nobody = Afar("http://127.0.0.1:1", tmp_path, "tdg_x")
    assert "cannot be run at a server" in nobody.type(*words, ends=7).stderr


def test_what_needs_no_home_is_done_here_whichever_server_is_named(tmp_path: Path) -> None:
    nobody = Afar("http://127.0.0.1:1", tmp_path, "tdg_x")
    (tmp_path / "word").write_text("correct horse\n")
    nobody.type("keys", "create", tmp_path / "k.pem", "--passphrase-file", tmp_path / "word")


@pytest.mark.parametrize("flag", ["--home", "--actor"])
def test_a_home_here_and_a_server_there_are_two_things(tmp_path: Path, flag: str) -> None:
    nobody = Afar("", tmp_path, "tdg_x")
    assert (
        "leave it out with --server"
        in nobody.type("pins", "--server", "http://127.0.0.1:1", flag, "x", ends=2).stderr
    )


def test_a_home_that_is_named_wins_over_the_server_of_the_environment(town: Town, tmp_path: Path) -> None:
    nobody = Afar("http://127.0.0.1:1", tmp_path, "tdg_x")
    nobody.type("pins", "--home", town.site.home)


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1:1", "https://127.0.0.1:1", "http://nobody.invalid", "ftp://x", "nonsense", "http://u:p@x", "http://x?y",
     "http://[::1", "http://x:99999", "http://x\r\nHost: y", "https://" + "x" * 300],
)  # fmt: skip
def test_where_nobody_answers(tmp_path: Path, url: str) -> None:
    assert "Refused" in Afar(url, tmp_path, "tdg_x").type("pins", ends=6).stderr


def test_a_token_goes_in_the_clear_to_this_machine_alone(tmp_path: Path) -> None:
    assert "in the clear" in Afar("http://models.example", tmp_path, "tdg_x").type("pins", ends=6).stderr


@pytest.mark.parametrize("token", ["", "two words", "x" * 600, "a\x01b", "ü"])
def test_a_file_without_a_token_is_named_and_not_shown(tmp_path: Path, token: str) -> None:
    said = Afar("http://127.0.0.1:1", tmp_path, token).type("pins", ends=107)
    assert "token.txt" in said.stderr
    assert not token or token not in said.stderr


def test_a_wrong_token_is_nobody(afar: Afar, tmp_path: Path) -> None:
    assert "no such token" in Afar(afar.url, tmp_path, "tdg_wrong").type("pins", ends=163).stderr


def test_a_certificate_that_nobody_vouches_for(tmp_path: Path) -> None:
    from tests.server.certificates import self_signed

    made = self_signed(tmp_path, "127.0.0.1")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*made)
    with answering(lambda _: (200, "application/json", said()), context) as url:
        wrong = Afar(url, tmp_path, "tdg_x").type("pins", ends=6)
        assert "its certificate is not good" in wrong.stderr
        Afar(url, tmp_path, "tdg_x").type("pins", "--ca-file", made[0])


# --- servers that lie ------------------------------------------------------------------------------------------


@contextmanager
def answering(
    answer: Callable[[dict[str, Any]], tuple[int, str, bytes]], tls: ssl.SSLContext | None = None
) -> Iterator[str]:
    """A server that answers whatever it is told to."""

    class Liar(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            status, kind, data = answer({"path": self.path, "body": body, "headers": dict(self.headers)})
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Liar)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http{'s' if tls else ''}://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def said(**content: Any) -> bytes:
    whole = {
        "command": "",
        "exit_code": 0,
        "document": None,
        "preface": "",
        "text": "",
        "notes": "",
        "files": [],
    }
    return json.dumps({**whole, **content}).encode()


@pytest.mark.parametrize(
    ("status", "kind", "data"),
    [
        (200, "text/html", b"<h1>Sign in to the network</h1>"),
        (302, "application/json", b"{}"),
        (200, "application/json", b"{"),
        (200, "application/json", b"[]"),
        (500, "application/problem+json", b'{"detail": "a fault \\u001b[2J"}'),
        (409, "application/problem+json", b'{"exit_code": 0}'),
        (409, "application/problem+json", b'{"exit_code": 99999}'),
        (200, "application/json", b'{"a":1,"a":2}'),
    ],
)
def test_what_is_no_answer_of_tidegate(tmp_path: Path, status: int, kind: str, data: bytes) -> None:
    with answering(lambda _: (status, kind, data)) as url:
        assert "\x1b" not in Afar(url, tmp_path, "tdg_x").type("pins", ends=8).stderr


def test_a_server_steers_nobodys_terminal(tmp_path: Path) -> None:
    with answering(
        lambda _: (200, "application/json", said(text="\x1b[2J", preface="\x1b]0;x", notes="\x9b"))
    ) as url:
        shown = Afar(url, tmp_path, "tdg_x").type("pins")
    assert not {"\x1b", "\x9b"} & set(shown.output)


@pytest.mark.parametrize(
    ("parameter", "path"),
    [
        ("out", "../../evil"), ("out", "/tmp/evil"), ("out", ".bashrc"), ("out", "head.txt/x"), ("other", "head.txt"),
        ("out", ""), ("out", "a\0b"), ("out", "headlong"),
    ],
)  # fmt: skip
def test_a_server_writes_no_file_that_nobody_asked_for(tmp_path: Path, parameter: str, path: str) -> None:
    files = [{"parameter": parameter, "path": path, "content": base64.b64encode(b"x").decode()}]
    out = tmp_path / "mine" / "head.txt"
    out.parent.mkdir()
    with answering(lambda _: (200, "application/json", said(files=files))) as url:
        Afar(url, tmp_path, "tdg_x").type("audit", "head", "--out", out, ends=8)
    assert ["mine", "token.txt"] == sorted(path.name for path in tmp_path.iterdir())
    assert [] == list(out.parent.iterdir())


def test_what_is_signed_is_what_was_typed_and_shown(town: Town, tmp_path: Path) -> None:
    """A server that has another page, version, tier, person or reason signed gets no signature."""
    payload = tmp_path / "payload"
    who = [V1, "--tier", "team", "--person", "alice"]
    page = town.site.type("approve", *who, "--reason", "read it", "--write-payload", payload).stdout
    shown, true = page[: page.index("Wrote what")], json.loads(payload.read_text())
    assert "approve" == true["decision"]
    asked: list[dict[str, Any]] = []

    def lie(wanted: dict[str, Any], page: str = shown) -> Callable[[dict[str, Any]], tuple[int, str, bytes]]:
        from signing.canonical import canonical_bytes

        content = base64.b64encode(canonical_bytes({**true, **wanted})).decode()
        files = [{"parameter": "write_payload", "path": "payload", "content": content}]

        def answer(request: dict[str, Any]) -> tuple[int, str, bytes]:
            asked.append(request)
            wanted = "write_payload" in request["body"]
            return 200, "application/json", said(preface=page, files=files) if wanted else said()

        return answer

    lies: list[tuple[dict[str, Any], str]] = [
        ({"person": "bob"}, shown), ({"reason": "something else"}, shown), ({"tier": "org"}, shown),
        ({"ordinal": 2}, shown), ({"model": "demo/other"}, shown), ({"decision": "reject"}, shown),
        ({"shown_sha256": "0" * 64}, shown), ({}, shown.replace("ok ", "OK ")), ({}, ""), ({"format": "x"}, shown),
    ]  # fmt: skip
    command = ["approve", *who, "--reason", "read it", "--key", town.key("alice")]
    for wanted, page in lies:
        with answering(lie(wanted, page)) as url:
            Afar(url, tmp_path, "tdg_x").type(*command, ends=8)
    assert len(lies) == len(asked), "nobody was asked twice: nothing was signed"
    with answering(lie({})) as url:
        Afar(url, tmp_path, "tdg_x").type(*command)
    assert "signature" in asked[-1]["body"]
    assert not {"key", "passphrase_file"} & set(asked[-1]["body"])


def test_a_line_that_breaks_is_tried_again_with_the_same_key(tmp_path: Path) -> None:
    seen: list[str] = []

    def serve(listener: socket.socket) -> None:
        for turn in range(2):
            line, _ = listener.accept()
            with line:
                request = b""
                while b"\r\n\r\n{}" not in request:
                    request += line.recv(65536)
                seen.extend(
                    row.split(": ")[1]
                    for row in request.decode().split("\r\n")
                    if row.lower().startswith("idempotency-key")
                )
                if turn:
                    data = said(text="once")
                    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
                    line.sendall(head.encode() + data)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        done = Afar(f"http://127.0.0.1:{listener.getsockname()[1]}", tmp_path, "tdg_x").type("pins")
        thread.join()
    assert "once\n" == done.stdout
    assert 2 == len(seen)
    assert 1 == len(set(seen))


def test_no_proxy_of_the_environment_sees_the_token(afar: Afar) -> None:
    proxies = {
        "http_proxy": "http://127.0.0.1:1",
        "HTTPS_PROXY": "http://127.0.0.1:1",
        "ALL_PROXY": "http://127.0.0.1:1",
    }
    afar.type("pins", more=proxies)
