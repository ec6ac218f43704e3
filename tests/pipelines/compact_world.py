"""The smallest bundle with everything in it: deltas, references, frames, raw parts, two volumes, a third with parity."""

import hashlib
import json
import os
import shutil
import struct
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pytest

from pipelines.bundle import alignment, cargo, tables
from pipelines.bundle.errors import VolumeTooSmall
from tests.pipelines.gap import World, make_world

Bits: TypeAlias = npt.NDArray[np.uint16]  # of bf16 numbers
LICENCE = b"Apache License\nVersion 2.0, January 2004\n"


@contextmanager
def quick_folder() -> Iterator[Path]:
    """A folder in memory where the system has that: thousands of imports wait for no disk."""
    memory = Path("/dev/shm")
    place = Path(tempfile.mkdtemp(dir=memory if os.access(memory, os.W_OK) else None))
    try:
        yield place
    finally:
        shutil.rmtree(place)


def small_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of two kilobytes, and tensors of a few hundred bytes that are sought on their own."""
    monkeypatch.setattr(tables, "CHUNK", 2048)
    monkeypatch.setattr(tables, "COMPACT_CHUNK", 2048)
    monkeypatch.setattr(alignment, "SMALL", 64)
    monkeypatch.setattr(cargo, "_LEAST_BASE", 64)


def bf16(seed: int, count: int) -> Bits:
    """Weights as a training leaves them."""
    drawn = (np.random.default_rng(seed).standard_normal(count) * 0.02).astype(np.float32)
    return (drawn.view(np.uint32) >> 16).astype(np.uint16)


def tuned(weights: Bits, seed: int) -> Bits:
    """The same after a little more training."""
    steps = np.random.default_rng(seed).integers(-2, 3, weights.size)
    return (weights.astype(np.int32) + steps).astype(np.uint16)


def tensors(**named: tuple[str, bytes]) -> bytes:
    """A safetensors file of one-dimensional tensors: name to (dtype, bytes)."""
    header, data = {}, b""
    for name, (dtype, raw) in named.items():
        count = len(raw) // (2 if dtype == "BF16" else 1)
        header[name] = {"dtype": dtype, "shape": [count], "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data


KEPT, BASE = bf16(1, 400), bf16(2, 500)
FIRST = {
    "config.json": b'{"architectures": ["LlamaForCausalLM"], "model_type": "llama"}',
    "model.safetensors": tensors(kept=("BF16", KEPT.tobytes()), trained=("BF16", BASE.tobytes())),
    "LICENSE": LICENCE,
}
SECOND = {
    **FIRST,
    "model.safetensors": tensors(
        kept=("BF16", KEPT.tobytes()),
        trained=("BF16", tuned(BASE, 3).tobytes()),
        fresh=("BF16", bf16(4, 600).tobytes()),
    ),
    "head.safetensors": tensors(raw=("U8", hashlib.shake_256(b"head").digest(3000))),
}


def compact_world(base: Path) -> World:
    """A site that holds version 1; the origin knows that, and has version 2."""
    made = make_world(base)
    made.add("acme/tiny", FIRST)
    made.arrive(made.ship("acme/tiny", out="first"))
    made.add("acme/tiny", SECOND)
    return made


def in_volumes(world: World, *refs: str, out: str, parity: int = 0) -> list[Path]:
    """Pack for the smallest medium that there can be; returns the bundle folder of every volume, in order."""
    try:
        return world.volumes(*refs, out=out, volume_bytes=1, parity=parity)
    except VolumeTooSmall as refusal:
        return world.volumes(*refs, out=out, volume_bytes=refusal.least, parity=parity)
