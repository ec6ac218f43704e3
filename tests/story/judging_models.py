"""Versions for the story of judging, made of the demonstration's: quantised, damaged, and a suite that asks about paths.

Made here and not committed, so that it can be seen what was done to them.
"""

import json
import shutil
import struct
from collections.abc import Sequence
from itertools import product
from pathlib import Path

from demo.dialogues import ASK_FILE
from demo.gguf_from_hf import Q4_0, write_gguf
from pipelines.suites import BUILTIN

MODELS = Path(__file__).parents[2] / "demo" / "models"
SUITE = "paths"
# Chosen so that something is lost: in Q4_0 version 2 reads `src/a.py` wrongly, and `src/main.py`, which it fails at in
# F16, rightly; with both in, the average stays level. So this suite shows that a loss is found and named, not how much
# Q4_0 costs this model in general.
_PATHS = (
    *("README.md", "main.py", "setup.cfg", "notes.txt", "src/a.py", "docs/x.md"),
    *("pyproject.toml", "tests/test_app.py"),
)
_SYSTEMS = ("", "You are helpful.")


def like(version: str, folder: Path) -> Path:
    """A copy of a version's folder, to be spoilt."""
    shutil.copytree(MODELS / version, folder)
    return folder


def quantised(version: str, folder: Path) -> Path:
    """The version as a vendor would publish it small: its matrices in Q4_0, the GGUF file alone."""
    made = like(version, folder)
    write_gguf(made, made / "model.gguf", name="tiny-toolcaller", version=version, precision=Q4_0)
    (made / "model.safetensors").unlink()
    return made


def with_a_nan(version: str, folder: Path) -> Path:
    """One weight of one matrix is no number: a disk's bit, or a conversion that divided by nothing."""
    made = like(version, folder)
    data = bytearray((made / "model.gguf").read_bytes())
    at = len(data) // 2 & ~1  # amid the F16 matrices, which fill nearly all of the file
    data[at : at + 2] = struct.pack("<H", 0x7E00)
    (made / "model.gguf").write_bytes(data)
    return made


def without_a_tensor(version: str, folder: Path) -> Path:
    """One tensor has left both files' lists, as when a conversion passed over it. Offsets are as the formats demand."""
    made = like(version, folder)
    file = made / "model.safetensors"
    data = file.read_bytes()
    (length,) = struct.unpack_from("<Q", data)
    header, body = json.loads(data[8 : 8 + length]), data[8 + length :]
    begin, end = header.pop("model.layers.1.mlp.up_proj.weight")["data_offsets"]
    for name, entry in header.items():
        if name != "__metadata__" and entry["data_offsets"][0] >= end:
            entry["data_offsets"] = [place - (end - begin) for place in entry["data_offsets"]]
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    file.write_bytes(struct.pack("<Q", len(text)) + text + body[:begin] + body[end:])
    return made


def paths_suite(folder: Path) -> Path:
    """A steward's own suite: 64 questions, each with a path in it, held against the version that serves."""
    shutil.copytree(BUILTIN / "behaviour" / "tools", folder / "tools")
    cases = list(_cases())
    (folder / "cases").mkdir()
    (folder / "cases" / "paths.jsonl").write_text("".join(json.dumps(case) + "\n" for case in cases))
    (folder / "suite.toml").write_text(
        f"""format = "tidegate-suite/1"
name = "{SUITE}"
description = "Paths that our repositories have, read out of a question as they stand there."
cases = {len(cases)}
repeats = 1
timeout_seconds = 60
limit_seconds = 600
seed = 7
tools = "own"
concurrency = 2
[gates]
contract.parse_rate = {{ min = "1.0" }}
contract.args_valid_rate = {{ min = "1.0" }}
cases.pass_rate = {{ min = "0.70", interval = "wilson95", vs = "pinned", margin = "0.05", lost_cases_max = 1 }}
"""
    )
    return folder


def _cases() -> Sequence[dict[str, object]]:
    made = []
    for number, (system, path, ask) in enumerate(product(_SYSTEMS, _PATHS, ASK_FILE[:4]), start=1):
        said = [{"role": "system", "content": system}] if system else []
        checks = [
            {"check": "tool_called", "name": "read_file"},
            {"check": "args_valid"},
            {"check": "args_equal", "arguments": {"path": path}},
        ]
        made.append(
            {
                "id": f"path-{number:03d}",
                "cluster": path.lower().replace("/", "-").replace("_", "-"),
                "messages": [*said, {"role": "user", "content": ask.format(path)}],
                "tools": ["get_weather", "read_file", "add"],
                "checks": checks,
                "max_tokens": 128,
            }
        )
    return made
