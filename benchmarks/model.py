"""Makes a model of a wished size: valid safetensors shards of bytes that nothing can compress.

Run as a program (`python -m benchmarks.model FOLDER BYTES`), so that its memory is not the benchmark's.
"""

import json
import struct
import sys
from pathlib import Path

SHARDS = 8
_TENSOR = 16 << 20  # bytes of one tensor, at most
_BLOCK = 4 << 20  # bytes written at once
_INDEX = "model.safetensors.index.json"
_SMALL = {
    "config.json": {"architectures": ["LlamaForCausalLM"], "model_type": "llama"},
    "tokenizer.json": {"version": "1.0", "model": {"type": "BPE", "vocab": {}, "merges": []}},
}


def make(folder: Path, size: int) -> None:
    """Write the model: `size` bytes of tensors in `SHARDS` files, and the small files that a model has."""
    folder.mkdir(parents=True)
    weight_map: dict[str, str] = {}
    for number in range(SHARDS):
        name = f"model-{number + 1:05}-of-{SHARDS:05}.safetensors"
        data = size // SHARDS // 4 * 4
        tensors = _tensors(number, data)
        _write_shard(folder / name, tensors, data, seed=number)
        weight_map |= dict.fromkeys(tensors, name)
    for path, document in _SMALL.items():
        (folder / path).write_text(json.dumps(document))
    total = size // SHARDS // 4 * 4 * SHARDS
    (folder / _INDEX).write_text(json.dumps({"metadata": {"total_size": total}, "weight_map": weight_map}))
    (folder / "LICENSE").write_text("Apache License\nVersion 2.0, January 2004\n")


def _tensors(shard: int, data: int) -> dict[str, dict[str, object]]:
    """Return the header's entries: tensors one behind the other, without a gap."""
    return {
        f"layers.{shard}.{begin // _TENSOR}.weight": {
            "dtype": "F32",
            "shape": [(min(begin + _TENSOR, data) - begin) // 4],
            "data_offsets": [begin, min(begin + _TENSOR, data)],
        }
        for begin in range(0, data, _TENSOR)
    }


def _write_shard(path: Path, tensors: dict[str, dict[str, object]], data: int, *, seed: int) -> None:
    import numpy as np

    header = json.dumps(tensors).encode()
    header += b" " * (-len(header) % 8)
    generator = np.random.Generator(np.random.PCG64(seed))
    with path.open("xb", buffering=0) as target:
        target.write(struct.pack("<Q", len(header)) + header)
        for begin in range(0, data, _BLOCK):
            target.write(generator.bytes(min(_BLOCK, data - begin)))


if __name__ == "__main__":
    make(Path(sys.argv[1]), int(sys.argv[2]))
