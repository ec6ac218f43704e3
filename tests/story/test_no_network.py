"""The site side opens no outside socket: every command of it runs where the first attempt would be an error."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import PIPE, Popen

import pytest

from pipelines.bundle.errors import ChunksMissing
from pipelines.repair import NothingToRepair
from tests.cli import Prompt
from tests.tidegate import town as making
from tests.tidegate.town import Town

DEMO = Path(__file__).parents[2] / "demo"
MODEL = "demo/tiny-toolcaller"

# Python's own audit events see every socket that is connected, bound or looked up, whoever asks for it. An exception
# could be caught by whoever asked; this ends the process. One call is known: urllib3, which python-tuf imports, asks the
# kernel whether it has IPv6 by binding a socket to the loopback. Nothing is sent, and no port is listened on.
# One process types every line, in the order in which they come: [words, what is typed] as JSON, [exit code, said] back.
ALONE = """
import json, os, sys

def refuse(event, arguments):
    if event == "socket.bind" and arguments[1] == ("::1", 0):
        return
    if event in {"socket.connect", "socket.bind", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto"}:
        os.write(2, f"{event} on the site side: {arguments}".encode())
        os._exit(99)

sys.addaudithook(refuse)
from click.testing import CliRunner
from tidegate.cli.root import main

for line in sys.stdin:
    words, typed = json.loads(line)
    done = CliRunner().invoke(main, words, input=typed)
    print(json.dumps([done.exit_code, done.output + str(done.exception or "")]), flush=True)
"""


@contextmanager
def where_no_socket_is(environment: dict[str, str]) -> Iterator["Popen[str]"]:
    """The process that `ALONE` is; what it refuses, it says on stderr before it ends."""
    with Popen(
        [sys.executable, "-c", ALONE], env=environment, stdin=PIPE, stdout=PIPE, stderr=PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def test_the_first_socket_ends_the_process(tmp_path: Path) -> None:
    """Else what follows would prove nothing."""
    token = tmp_path / "token"
    token.write_text("tdg_nobody\n")
    with where_no_socket_is({"PATH": "/usr/bin:/bin"}) as process:
        said, wrong = process.communicate(
            json.dumps([["models", "list", "--server", "http://127.0.0.1:9", "--token-file", str(token)], ""])
        )
    assert (99, "") == (process.returncode, said)
    assert "on the site side" in wrong


def test_a_site_does_all_its_work_with_no_network(tmp_path: Path) -> None:
    environment = {
        "PATH": "/usr/bin:/bin",
        "TIDEGATE_HOME": str(tmp_path / "site"),
        "TIDEGATE_ACTOR": "ines",
        "TIDEGATE_PASSPHRASE_FILE": str(tmp_path / "passphrase.txt"),
    }
    with where_no_socket_is(environment) as process:
        all_its_work(tmp_path, process)


def all_its_work(tmp_path: Path, process: "Popen[str]") -> None:
    origin = Prompt(tmp_path / "origin", "oda")
    root, identity, medium = tmp_path / "root.json", tmp_path / "clinic.json", tmp_path / "medium"
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    asking, answering, wrong = process.stdin, process.stdout, process.stderr

    def alone(*words: object, ends: int = 0, typed: str = "") -> None:
        asking.write(json.dumps([[str(word) for word in words], typed]) + "\n")
        asking.flush()
        line = answering.readline()
        assert line, f"{words}: {wrong.read()}"
        code, said = json.loads(line)
        assert ends == code, f"{words} ended with {code}: {said}"

    origin.type("init", "harbour", "--role", "origin")
    fingerprint = origin.ask("trust", "root", root)["fingerprint"]
    alone("init", "clinic", "--role", "site")
    alone("trust", "enrol", root, "--fingerprint", fingerprint)
    alone("trust", "identity", identity)
    origin.type("sites", "add", "clinic", "--identity", identity)
    origin.type("models", "add", DEMO / "models" / "v1", "--as", MODEL)
    origin.type("bundles", "create", MODEL, "--to", "clinic", "--out", medium)
    origin.type("bundles", "create", MODEL, "--to", "clinic", "--out", tmp_path / "second")
    origin.type("bundles", "create", "--to", "clinic", "--out", tmp_path / "third")
    damaged = shutil.copytree(medium, tmp_path / "damaged")
    next(path for path in damaged.rglob("chunks/*/*") if path.is_file()).unlink()

    alone("bundles", "inspect", medium, "--deep")
    alone("bundles", "verify", medium, "--serial", "VBTM-0042", "--carrier", "maria")
    alone("bundles", "repair-request", damaged, "--out", tmp_path / "request.json")
    alone("bundles", "import", damaged, ends=ChunksMissing.exit_code)
    alone("bundles", "import", medium, "--receipt", tmp_path / "receipt.json")
    alone(
        "bundles", "repair-request", medium, "--out", tmp_path / "again.json", ends=NothingToRepair.exit_code
    )
    alone("bundles", "import", tmp_path / "third")
    alone("bundles", "import", tmp_path / "second")  # late
    alone("bundles", "import", medium)  # again
    alone("bundles", "list")
    alone("receipts", "write", "--out", tmp_path / "full.json")
    alone("receipts", "write", "--digest-only", "--out", tmp_path / "digest.json")
    secret = origin.ask("receipts", "secret", "clinic")["secret"]
    alone("receipts", "secret", "--enter", typed=secret)
    alone("receipts", "speak")
    alone("gc", "--plan")
    alone("gc")
    alone("models", "list")
    alone("models", "scan", f"{MODEL}@1")
    alone("contracts", "add", DEMO / "contracts" / "tool-contract-hermes.json", "--for", f"{MODEL}@1")
    alone("contracts", "add", DEMO / "contracts" / "engine-profile-hermes.json")
    alone("contracts", "add", DEMO / "contracts" / "router-contract-v1.json")
    alone("contracts", "set-router", "team", "demo-router-v1", "--engine", "llama-server-hermes")
    alone("suites", "add", "--builtin", "tool-basics")
    alone("promote", f"{MODEL}@1", "--tier", "team", "--dry-run", ends=89)
    alone("materialise", f"{MODEL}@1", tmp_path / "served")
    alone("pins")
    alone("audit", "verify")
    alone("audit", "explain", f"{MODEL}@1")
    alone("doctor", "--deep")


def test_a_bundle_is_taken_in_where_there_is_no_network_at_all(tmp_path: Path) -> None:
    """The program as it is installed, in a network namespace that has nothing, not even a loopback that is up."""
    nowhere = ["unshare", "--net", "--"]
    if shutil.which("unshare") is None or subprocess.run([*nowhere, "true"], check=False).returncode:
        pytest.skip("needs the right to make a network namespace: run as root")
    origin, site = Prompt(tmp_path / "origin", "oda"), Prompt(tmp_path / "site", "ines")
    origin.type("init", "harbour", "--role", "origin")
    fingerprint = origin.ask("trust", "root", tmp_path / "root.json")["fingerprint"]
    site.type("init", "clinic", "--role", "site")
    site.type("trust", "enrol", tmp_path / "root.json", "--fingerprint", fingerprint)
    site.type("trust", "identity", tmp_path / "clinic.json")
    origin.type("sites", "add", "clinic", "--identity", tmp_path / "clinic.json")
    origin.type("models", "add", DEMO / "models" / "v1", "--as", MODEL)
    medium = tmp_path / "medium"
    origin.type("bundles", "create", MODEL, "--to", "clinic", "--out", medium)
    for words in (
        ["bundles", "inspect", str(medium), "--deep"],
        ["bundles", "import", str(medium), "--receipt", str(tmp_path / "receipt.json")],
        ["models", "show", f"{MODEL}@1"],
    ):
        environment = {"PATH": "/usr/bin:/bin", "TIDEGATE_HOME": str(site.home), "TIDEGATE_ACTOR": "ines"}
        command = [*nowhere, sys.executable, "-m", "tidegate", *words]
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, check=False, timeout=120
        )
        assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
    origin.type("bundles", "acknowledge", tmp_path / "receipt.json")


# -- below Python ------------------------------------------------------------------------------------------

VERIFIERS = Path(__file__).parents[2] / "airgap-bundles"
VERIFY, READER = VERIFIERS / "verifier" / "verify.py", VERIFIERS / "reader"
# One process types every line, so that a tracer follows one: [environment, words, exit code] as JSON.
DRIVER = """
import json, os, subprocess, sys
from click.testing import CliRunner
from tidegate.cli.root import main

for environment, words, ends in json.loads(sys.stdin.read()):
    if words[0] == "python3":
        done = subprocess.run([sys.executable, *words[1:]], capture_output=True, text=True)
        code, said = done.returncode, done.stdout + done.stderr
    else:
        done = CliRunner(env=environment).invoke(main, words)
        code, said = done.exit_code, done.output + str(done.exception or "")
    if code != ends:
        sys.exit(f"{words} ended with {code}: {said}")
"""
# What reaches beyond this machine, or another process of it, begins with one of these. A pair of sockets does not.
CALLS = re.compile(r"\b(socket|connect|bind|listen|accept4?|sendto|sendmsg)\((.*)")
# The C library asks a local name service for a user's name, where there is one.
LOCAL = re.compile(r"AF_UNIX|nscd")
# What urllib3 asks the kernel once, see `ALONE`.
HAS_IPV6 = (re.compile(r"socket\(AF_INET6, SOCK_STREAM"), re.compile(r'bind\(.*htons\(0\).*"::1"'))
NOWHERE = ["unshare", "--net", "--"]


def has(*command: str) -> bool:
    found = shutil.which(command[0]) is not None
    return found and not subprocess.run([*command, "true"], check=False, capture_output=True).returncode


HAS_TRACER, HAS_NAMESPACES = has("strace", "-o", "/dev/null"), has(*NOWHERE)


def traced(trace: Path) -> list[str]:
    """The command before which a program's calls to the network go to a file."""
    options = ["--follow-forks", "--seccomp-bpf", "--quiet=all", "-e", "trace=%network"]
    return ["strace", *options, "-o", str(trace)]


def outward(trace: Path) -> list[str]:
    """The calls that could reach another machine, by name."""
    lines = [line for line in trace.read_text().splitlines() if not any(one.search(line) for one in HAS_IPV6)]
    found = [CALLS.search(line) for line in lines]
    return [call[1] for call in found if call and not LOCAL.search(call[2])]


def everything_that_is_verified(town: Town) -> list[tuple[dict[str, str], list[str], int]]:
    """Each way in which Tidegate, or its independent verifier, is asked whether something is so."""
    lines: list[tuple[dict[str, str], list[str], int]] = []

    def at(home: Prompt, *words: object, ends: int = 0) -> None:
        environment = {
            "TIDEGATE_HOME": str(home.home),
            "TIDEGATE_ACTOR": home.actor,
            "TIDEGATE_PASSPHRASE_FILE": str(here / "passphrase.txt"),
        }
        lines.append((environment, [str(word) for word in words], ends))

    origin, site, here = town.origin, town.site, town.folder
    ref, second = f"{MODEL}@2", here / "second"
    name = origin.ask("bundles", "create", ref, "--to", "clinic", "--out", second)["bundle"]
    fingerprint = origin.ask("trust", "root", here / "root-again.json")["fingerprint"]
    at(origin, "trust", "restamp", name, "--out", here / "fresh.json", "--paper")
    at(origin, "trust", "lint", here / "root.json")
    at(site, "bundles", "inspect", second, "--deep", "--timestamp", here / "fresh.json")
    at(site, "bundles", "verify", second)
    at(site, "bundles", "import", second, "--timestamp", here / "fresh.json", "--receipt", here / "r.json")
    at(origin, "bundles", "acknowledge", here / "r.json")
    at(site, "approvals", "show", ref, "--tier", "team")
    signed = [
        "--tier",
        "team",
        "--person",
        "alice",
        "--key",
        town.key("alice"),
        "--reason",
        "read the report",
    ]
    at(site.as_("alice"), "approve", ref, *signed)
    at(site, "gate", ref, "--tier", "team")
    at(site.as_("bob"), "promote", ref, "--tier", "team")
    at(site, "materialise", ref, here / "files")
    at(site, "models", "verify-files", here / "files", ref)
    at(site, "models", "verify-signature", ref)
    at(site, "people", "list")
    at(site, "trust", "show")
    at(site, "doctor", "--deep")
    at(site, "audit", "verify", "--every-signature")
    at(site, "audit", "prove", "3", "--out", here / "3.tlog-proof")
    at(site, "audit", "check-proof", here / "3.tlog-proof")
    at(site, "audit", "why", "team", MODEL)
    at(site, "audit", "export", here / "audit")
    at(site, "python3", VERIFY, "audit", here / "audit")
    at(site, "python3", VERIFY, "promotion", here / "audit", "team", MODEL)
    [bundle] = [path.parent for path in town.medium.rglob("volume.json")]
    at(
        site,
        "python3",
        VERIFY,
        "bundle",
        bundle,
        "--root-fingerprint",
        fingerprint,
        "--site",
        "clinic",
        "--reader",
        READER,
    )
    return lines


@pytest.mark.skipif(not HAS_TRACER, reason="needs strace and the right to trace")
@pytest.mark.skipif(not HAS_NAMESPACES, reason="needs the right to make a network namespace: run as root")
def test_whatever_is_verified_opens_no_connection(tmp_path: Path) -> None:
    """In a namespace that has no interface, under a tracer that sees every call of every process and thread."""
    town = making.build(tmp_path)
    lines = everything_that_is_verified(town)
    trace = tmp_path / "trace"
    command = [*NOWHERE, *traced(trace), sys.executable, "-c", DRIVER]
    done = subprocess.run(
        command, input=json.dumps(lines), capture_output=True, text=True, check=False, timeout=280
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert [] == outward(trace)


@pytest.mark.skipif(not HAS_TRACER, reason="needs strace and the right to trace")
def test_the_tracer_would_have_seen_one(tmp_path: Path) -> None:
    """The proof has teeth: a library that calls home is in the trace, from a thread of a child process too."""
    trace = tmp_path / "trace"
    homeward = "import socket; s = socket.socket(); s.settimeout(1); s.connect_ex(('127.0.0.1', 9))"
    threaded = (
        f"import threading; t = threading.Thread(target=exec, args=({homeward!r},)); t.start(); t.join()"
    )
    child = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {threaded!r}])"
    subprocess.run([*traced(trace), sys.executable, "-c", child], check=True, timeout=60)
    assert ["socket", "connect"] == outward(trace)
