"""A model of some kilobytes whose weights look like weights, and a fine-tune of it: what compact encodings are made for."""

import json
import struct

import numpy as np

from tests.pipelines.gap import model_files


def fine_tuned(step: float) -> dict[str, bytes]:
    """bf16, f16 and f32 tensors, some moved by `step`, one not; with what a model has beside them; `step` 0 is the base."""
    noise = np.random.default_rng(1).standard_normal(30_000).astype("<f4") * 0.02
    moved = noise + np.float32(step) * np.random.default_rng(2).standard_normal(30_000).astype("<f4")
    tensors = {
        "a": ("BF16", (moved.view("<u4") >> 16).astype("<u2").tobytes()),
        "b": ("F32", moved[:20_000].tobytes()),
        "c": ("F16", moved.astype("<f2").tobytes()),
        "d": ("F32", noise[:9000].tobytes()),
    }
    header, data = {}, b""
    for name, (dtype, raw) in tensors.items():
        shape = [len(raw) // (4 if dtype == "F32" else 2)]
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    head = json.dumps(header).encode()
    return {**model_files(), "model.safetensors": struct.pack("<Q", len(head)) + head + data}
