"""The site side opens no outside socket: every command of it runs where the first attempt would be an error."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.bundle.errors import ChunksMissing
from pipelines.repair import NothingToRepair
from tests.cli import Prompt

DEMO = Path(__file__).parents[2] / "demo"
MODEL = "demo/tiny-toolcaller"

# Python's own audit events see every socket that is connected, bound or looked up, whoever asks for it.
ALONE = """
import sys

def refuse(event, _arguments):
    if event in {"socket.connect", "socket.bind", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto"}:
        raise AssertionError(f"{event} on the site side")

sys.addaudithook(refuse)
from tidegate.cli.root import main
main(sys.argv[1:], prog_name="tidegate")
"""


def test_a_site_does_all_its_work_with_no_network(tmp_path: Path) -> None:
    origin = Prompt(tmp_path / "origin", "oda")
    root, identity, medium = tmp_path / "root.json", tmp_path / "clinic.json", tmp_path / "medium"
    passphrase = tmp_path / "passphrase.txt"

    def alone(*words: object, ends: int = 0, typed: str = "") -> None:
        environment = {
            "PATH": "/usr/bin:/bin",
            "TIDEGATE_HOME": str(tmp_path / "site"),
            "TIDEGATE_ACTOR": "ines",
        }
        environment["TIDEGATE_PASSPHRASE_FILE"] = str(passphrase)
        command = [sys.executable, "-c", ALONE, *map(str, words)]
        done = subprocess.run(
            command, env=environment, input=typed, capture_output=True, text=True, check=False, timeout=120
        )
        assert ends == done.returncode, f"{words} ended with {done.returncode}: {done.stdout}{done.stderr}"

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
