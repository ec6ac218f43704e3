"""Freezes bundles of the present release below `airgap-bundles/frozen/`: every later release has to take them in.

    python -m tests.make_frozen VERSION

Run once for each release that changed the format or an encoder. What is there already is never touched.
"""

import hashlib
import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from signing.times import rfc3339
from tests.pipelines.fine_tune import fine_tuned
from tests.pipelines.gap import SITE, World, make_world, model_files
from tests.pipelines.hostile import gguf_bytes, gguf_pair, gguf_tensor

FROZEN = Path(__file__).parents[1] / "airgap-bundles" / "frozen"
CARD = b"# A model that says nothing\n\n" + b"It was made to be carried. " * 200
BLOCKS = {"q8_0": (8, 34, (0,)), "q4_k": (12, 144, (0, 2)), "q6_k": (14, 210, (208,))}  # kind, bytes, halves


def gguf(step: int) -> bytes:
    """Tensors of 256 blocks each; one byte in twenty is `step` away from that of step 0."""
    random, tensors, data = np.random.default_rng(7), [], b""
    for unit, (kind, width, halves) in BLOCKS.items():
        raw = (random.standard_normal((256, width)) * 20).astype(np.int8).view(np.uint8)
        moved = random.random(raw.shape) < 0.05
        raw[moved] += np.uint8(step)
        for half in halves:
            scales = np.abs(random.normal(0.01, 0.001, (256, 1))).astype("<f2")
            raw[:, half : half + 2] = scales.view(np.uint8)
        elements = 256 * (32 if unit == "q8_0" else 256)
        tensors.append(gguf_tensor(unit, (elements // 32, 32), kind, len(data)))
        data += raw.tobytes() + bytes(-raw.size % 32)
    pairs = [gguf_pair("general.architecture", "llama"), gguf_pair("general.license", "apache-2.0")]
    return gguf_bytes(pairs, tensors, data)


def model(step: float, *, few: int = 0) -> dict[str, bytes]:
    """A fine-tune by `step`; with `few`, so many weights of its last tensor are others besides."""
    files = fine_tuned(step)
    data = bytearray(files["model.safetensors"])
    for place in range(few):
        data[-4 * (place * 40 + 1)] ^= 1
    return {**files, "model.safetensors": bytes(data), "tiny.gguf": gguf(int(step > 0)), "README.md": CARD}


def freeze(out: Path, base: Path) -> None:
    """Make the stream: a first bundle, a fine-tune on two media and a third of parity, a compact one with parity within."""
    gap = make_world(base / "world")
    shutil.copy(gap.origin.trust / "1.root.json", out / "root.json")
    stream: list[tuple[str, str, dict[str, bytes], dict[str, Any]]] = [
        ("1-first", "acme/tiny", model(0), {}),
        ("2-fine-tune", "acme/tiny", model(0.002, few=50), {"volume_bytes": 190_000, "parity": 1}),
        ("3-compact", "acme/tiny", model(0.002, few=90), {"compact": True, "parity": 2}),
        ("4-guard", "acme/small", model_files(), {"profile": "guard"}),
    ]
    for name, model_name, files, packing in stream:
        gap.add(model_name, files)
        gap.arrive(gap.ship(model_name, out=name, **packing))
        shutil.copytree(gap.base / name, out / name)
    (out / "expected.json").write_text(json.dumps(expected(gap), indent=2) + "\n")


def expected(gap: World) -> dict[str, object]:
    """What a site holds once all of it came in."""
    with gap.at(gap.site) as work, work.store.view() as view:
        versions = {f"{row.model}@{row.ordinal}": row.digest for row in view.versions()}
        return {
            "site": SITE,
            "fingerprint": hashlib.sha256((gap.origin.trust / "1.root.json").read_bytes()).hexdigest(),
            "clock": rfc3339(gap.now),
            "versions": versions,
            "blobs": sorted(work.blobs.held()),
        }


def tree_digest(folder: Path) -> str:
    """One digest over the names and bytes of all files."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        line = f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(folder).as_posix()}\n"
        digest.update(line.encode())
    return digest.hexdigest()


def main(version: str) -> int:
    out = FROZEN / version
    if out.exists():
        sys.stderr.write(f"{out} is there already; frozen bundles are never made anew\n")
        return 1
    with tempfile.TemporaryDirectory() as base:
        made = Path(base) / "frozen"
        made.mkdir()
        freeze(made, Path(base))
        shutil.copytree(made, out)
    sys.stdout.write(f"{version} {tree_digest(out)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
