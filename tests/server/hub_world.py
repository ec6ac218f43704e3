"""A home whose models are pulled by real clients, and one way to have a client of any release talk to a server.

`demo/tiny-toolcaller`: team served 1 and serves 2, edge serves 2, nobody promoted 3. `acme/large`: one version above
the 10 MiB in which clients take a file, in folders, served by team. `acme/small`: edge serves 1 and team 2.
"""

import json
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from pipelines.intake.folder import add_folder
from pipelines.promote import withdraw
from registry.home import load
from registry.names import Ref
from tests.clients import hub_talk
from tests.clients.setup import HUB036, HUB1
from tests.pipelines.gap import model_files
from tests.pipelines.test_materialise import pin
from tests.server_world import token
from tests.world import at_work, copied, new_home

MODEL, LARGE, SMALL = "demo/tiny-toolcaller", "acme/large", "acme/small"
NOW = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)
DEMO = Path(__file__).parents[2] / "demo" / "models"
LARGE_BYTES = 24 << 20
CLIENTS: Mapping[str, Path] = {
    "2.4": Path(sys.executable),
    "1.33": HUB1.executable,
    "0.36": HUB036.executable,
}


@dataclass(frozen=True)
class HubWorld:
    """The home, and what its versions are."""

    folder: Path

    @property
    def home(self) -> Path:
        """The home's folder."""
        return self.folder / "home"

    @cached_property
    def versions(self) -> dict[str, dict[str, Any]]:
        """By `model@number`: commit, digest, and files by path."""
        found: dict[str, dict[str, Any]] = json.loads((self.folder / "versions.json").read_text())
        return found

    def commit(self, ordinal: int, model: str = MODEL) -> str:
        """The 40 hex digits of a version."""
        return str(self.versions[f"{model}@{ordinal}"]["commit"])

    def digest(self, ordinal: int, model: str = MODEL) -> str:
        """The manifest's digest of a version."""
        return str(self.versions[f"{model}@{ordinal}"]["digest"])

    def files(self, ordinal: int, model: str = MODEL) -> dict[str, str]:
        """Path to SHA-256."""
        return dict(self.versions[f"{model}@{ordinal}"]["files"])

    def token(self, account: str, grants: str) -> str:
        """A token of somebody with these grants."""
        return token(self.home, account, grants)

    def pin(self, ordinal: int, tier: str) -> None:
        """The tier serves this version from now on."""
        with at_work(load(self.home), actor="bob", now=NOW) as work:
            with work.store.view() as view:
                version = view.version(Ref(MODEL, ordinal=ordinal))
            pin(work, version, tier)

    def withdraw(self, ordinal: int, reason: str) -> None:
        """Take a version out of service."""
        with at_work(load(self.home), actor="bob", now=NOW) as work:
            withdraw(work, Ref(MODEL, ordinal=ordinal), reason=reason)

    def copied(self, folder: Path) -> "HubWorld":
        """The same home somewhere else, for who changes it."""
        copied(load(self.home), folder / "home")
        shutil.copy(self.folder / "versions.json", folder)
        return HubWorld(folder)


def build(folder: Path) -> HubWorld:
    """Make the home; under a second."""
    home = new_home(folder / "home", name="harbour", roles=("origin", "site"), now=NOW)
    with at_work(home, actor="ines", now=NOW) as work:
        rows = [add_folder(work, MODEL, DEMO / f"v{number}").version for number in (1, 2, 3)]
        rows.append(add_folder(work, LARGE, _large(folder / "large")).version)
        rows += [add_folder(work, SMALL, _small(folder / "small", seed)).version for seed in (1, 2)]
        for number, tier in ((0, "team"), (1, "team"), (1, "edge"), (3, "team"), (4, "edge"), (5, "team")):
            pin(work, rows[number], tier)
    told = {
        f"{row.model}@{row.ordinal}": {
            "commit": row.revision,
            "digest": row.digest,
            "files": {item["path"]: item["sha256"] for item in json.loads(row.manifest)["files"]},
        }
        for row in rows
    }
    (folder / "versions.json").write_text(json.dumps(told))
    return HubWorld(folder)


def _small(folder: Path, seed: int) -> Path:
    made = folder / str(seed)
    made.mkdir(parents=True)
    for path, data in model_files(seed).items():
        (made / path).write_bytes(data)
    return made


def _large(folder: Path) -> Path:
    """Weights of 24 MiB, and files in folders beside them."""
    for place in ("onnx/small", "größe +1%"):
        (folder / place).mkdir(parents=True)
    (folder / "config.json").write_text('{"model_type": "llama"}')
    (folder / "onnx" / "config.json").write_text("{}")
    (folder / "onnx" / "small" / "config.json").write_text('{"small": true}')
    (folder / "größe +1%" / "config.json").write_text("{}")
    header = json.dumps(
        {"weight": {"dtype": "U8", "shape": [LARGE_BYTES], "data_offsets": [0, LARGE_BYTES]}}
    ).encode()
    data = bytes(range(251)) * (LARGE_BYTES // 251 + 1)
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + data[:LARGE_BYTES])
    return folder


Question = tuple[str, str, dict[str, Any]]


def environment(url: str, cache: Path, token_text: str | None) -> dict[str, str]:
    """What a user is told to set; nothing else of Hugging Face's is in the environment."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
    told = {
        "HF_ENDPOINT": url,
        "HF_HOME": str(cache),
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_UPDATE_CHECK": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "NO_PROXY": "127.0.0.1",
    }
    return {**kept, **told, **({"HF_TOKEN": token_text} if token_text else {})}


@contextmanager
def talking(
    client: str, url: str, cache: Path, *, token_text: str | None
) -> Iterator[Callable[[Sequence[Question]], dict[str, dict[str, Any]]]]:
    """A client that goes on running while things change; call what is given with each list of questions."""
    with subprocess.Popen(
        [str(CLIENTS[client]), str(hub_talk.__file__)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment(url, cache, token_text),
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        asking, answering = process.stdin, process.stdout

        def ask(questions: Sequence[Question]) -> dict[str, dict[str, Any]]:
            asking.write(f"{json.dumps(questions)}\n")
            asking.flush()
            answers: dict[str, dict[str, Any]] = json.loads(answering.readline())
            return answers

        try:
            yield ask
        finally:
            process.kill()


def talk(
    client: str, url: str, cache: Path, questions: Sequence[Question], *, token_text: str | None
) -> tuple[dict[str, dict[str, Any]], str]:
    """Have a client of a release ask everything; its answers by their names, and what it wrote to the screen."""
    assert CLIENTS[client].exists(), f"no huggingface_hub {client} here: run `make clients`"
    done = subprocess.run(
        [str(CLIENTS[client]), str(hub_talk.__file__)],
        input=json.dumps(questions),
        capture_output=True,
        text=True,
        env=environment(url, cache, token_text),
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answers: dict[str, dict[str, Any]] = json.loads(done.stdout)
    return answers, done.stderr
