"""Makes two models of a wished size, one a fine-tune of the other: for rates and memory, never for ratios of interest.

    python -m benchmarks.synthetic FOLDER BYTES [--base-only]

Tensors of llama's shapes in bf16, normally distributed; the fine-tune adds noise of 3/1000 of a weight's deviation,
which is where the really trained ones are. Real models of gigabytes are not in any package; these are not them.
A program, so that its memory is not the benchmark's.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.tensors import Tensor, write

_HIDDEN, _INNER = 2048, 5632
_SHAPES = {
    "self_attn.q_proj": (_HIDDEN, _HIDDEN),
    "self_attn.k_proj": (_HIDDEN // 8, _HIDDEN),
    "self_attn.v_proj": (_HIDDEN // 8, _HIDDEN),
    "self_attn.o_proj": (_HIDDEN, _HIDDEN),
    "mlp.gate_proj": (_INNER, _HIDDEN),
    "mlp.up_proj": (_INNER, _HIDDEN),
    "mlp.down_proj": (_HIDDEN, _INNER),
}
_LAYER = sum(2 * rows * columns for rows, columns in _SHAPES.values())  # bytes, 88 MB
_DEVIATION, _STEP = 0.02, 3e-3
_LAYERS_PER_FILE = 3
_CONFIG = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": _HIDDEN}
BASE, TUNED = "base", "tuned"


def make(folder: Path, size: int, *, base_only: bool) -> None:
    """Write the folders `base` and `tuned`, each of about `size` bytes."""
    names = (BASE,) if base_only else (BASE, TUNED)
    layers = max(1, round(size / _LAYER))
    for name in names:
        (folder / name).mkdir(parents=True)
        (folder / name / "config.json").write_text(json.dumps({**_CONFIG, "num_hidden_layers": layers}))
    generator = np.random.Generator(np.random.SFC64(layers))
    for first in range(0, layers, _LAYERS_PER_FILE):
        made = [
            pair
            for layer in range(first, min(layers, first + _LAYERS_PER_FILE))
            for pair in _layer(layer, generator)
        ]
        for place, name in enumerate(names):
            write(folder / name / f"model-{first:05}.safetensors", [pair[place] for pair in made])


def _layer(number: int, generator: Any) -> Iterator[tuple[Tensor, Tensor]]:
    for name, shape in _SHAPES.items():
        weights = generator.standard_normal(shape, np.float32) * np.float32(_DEVIATION)
        before = _bf16(weights)
        noise = generator.standard_normal(shape, np.float32) * np.float32(_DEVIATION * _STEP)
        after = _bf16((before.astype(np.uint32) << 16).view(np.float32) + noise)
        full = f"model.layers.{number}.{name}.weight"
        yield tuple(Tensor(full, "BF16", shape, memoryview(one).cast("B")) for one in (before, after))  # type: ignore[misc]


def _bf16(values: Any) -> Any:
    """Round to the nearest bf16, ties to even."""
    bits = values.view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


if __name__ == "__main__":
    make(Path(sys.argv[1]), int(sys.argv[2]), base_only="--base-only" in sys.argv)
