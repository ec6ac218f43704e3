"""What is shipped: each case is a folder that the site holds, or none, and the folder that is sent.

A program too (`python -m benchmarks.bundle_cases CACHE`), which makes the folders that need no training from those
that did: shards, other orders and names, another configuration, GGUF. Run apart, so that its memory is not the
benchmark's.
"""

import json
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import tensors
from benchmarks.finetunes import EDITION, WEIGHTS
from benchmarks.tensors import Tensor

_SHARDS = 4
_SUPER_BLOCK = 256  # values that Q4_K quantises together; this model's rows are 384 long
_FILE_TYPES = {"q8_0": 7, "q4_k": 14}  # GGUF's general.file_type: mostly Q8_0, mostly Q4_K (small)
_QUANTISED = ("base", "full")


@dataclass(frozen=True)
class Case:
    """One shipment."""

    name: str
    target: str  # folder below the edition's
    base: str | None = None  # the same; None: the site holds nothing


FIRST = (
    Case("first shipment, fp32", "base-f32"),
    Case("first shipment, bf16", "base-bf16"),
    Case("first shipment, fp16", "base-f16"),
    Case("first shipment, GGUF Q8_0", "base-q8_0"),
    Case("first shipment, GGUF Q4_K", "base-q4_k"),
)
FULL = Case("full fine-tune", "full", "base-bf16")
LAST = Case("last 2 of 6 layers", "last", "base-bf16")
LORA = Case("merged LoRA", "lora", "base-bf16")
VOCABULARY = Case("extended vocabulary", "vocabulary", "base-bf16")
CHECKPOINT = Case("next checkpoint", "full", "full-checkpoint")
SHARDED = Case("re-sharded", "sharded", "base-bf16")
RENAMED = Case("re-ordered, renamed", "renamed", "base-bf16")
CONFIG = Case("configuration only", "config", "base-bf16")
Q8_0 = Case("fine-tune's GGUF Q8_0", "full-q8_0", "base-q8_0")
Q4_K = Case("fine-tune's GGUF Q4_K", "full-q4_k", "base-q4_k")
CASES = (*FIRST, FULL, LAST, LORA, VOCABULARY, CHECKPOINT, SHARDED, RENAMED, CONFIG, Q8_0, Q4_K)


def ready(cache: Path) -> list[Case]:
    """The cases whose folders are there."""
    edition = cache / EDITION
    return [
        case
        for case in CASES
        if all((edition / name).is_dir() for name in (case.target, case.base or case.target))
    ]


def make(cache: Path) -> None:
    """Make what is missing; the trained variants are there."""
    edition = cache / EDITION
    header, held = tensors.read(edition / "base-bf16" / WEIGHTS)
    del header
    makers = {"sharded": _sharded, "renamed": _renamed, "config": _configured}
    for name, maker in makers.items():
        with _Folder(edition, name) as folder:
            if folder is not None:
                shutil.copy(edition / "base-bf16" / "config.json", folder)
                maker(folder, held)
    for variant in (
        name for name in _QUANTISED if (edition / ("base-bf16" if name == "base" else name)).is_dir()
    ):
        for kind in _FILE_TYPES:
            _quantised(edition, variant, kind)


class _Folder:
    """A folder that appears under its name only when it is whole; None where it is there already."""

    def __init__(self, edition: Path, name: str) -> None:
        self._final, self._work = edition / name, edition / f"{name}.unfinished"

    def __enter__(self) -> Path | None:
        if self._final.is_dir():
            return None
        shutil.rmtree(self._work, ignore_errors=True)
        self._work.mkdir()
        return self._work

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if kind is None and self._work.is_dir():
            self._work.rename(self._final)
        shutil.rmtree(self._work, ignore_errors=True)


def _sharded(folder: Path, held: Sequence[Tensor]) -> None:
    """Write the same tensors in four files and an index, as a large model has them."""
    weight_map: dict[str, str] = {}
    for number in range(_SHARDS):
        name = f"model-{number + 1:05}-of-{_SHARDS:05}.safetensors"
        part = held[number::_SHARDS]
        tensors.write(folder / name, part)
        weight_map |= {tensor.name: name for tensor in part}
    total = sum(len(tensor.data) for tensor in held)
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    (folder / f"{WEIGHTS}.index.json").write_text(json.dumps(index))


def _renamed(folder: Path, held: Sequence[Tensor]) -> None:
    """Write one file under another name, the tensors backwards and under other names."""
    tensors.write(
        folder / "pytorch_model.safetensors", [tensor.renamed(f"bert.{tensor.name}") for tensor in held[::-1]]
    )


def _configured(folder: Path, held: Sequence[Tensor]) -> None:
    """Keep the weights' bytes and change one value of the configuration."""
    del held
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 256}, indent=2))
    shutil.copy(folder.parent / "base-bf16" / WEIGHTS, folder)


def _quantised(edition: Path, variant: str, kind: str) -> None:
    """Write the variant as a GGUF file: matrices quantised, everything else as float32."""
    source = edition / ("base-bf16" if variant == "base" else variant)
    with _Folder(edition, f"{variant}-{kind}") as folder:
        if folder is None:
            return
        _header, held = tensors.read(source / WEIGHTS)
        metadata: dict[str, str | int] = {
            "general.architecture": "bert",
            "general.name": "all-MiniLM-L6-v2",
            "general.file_type": _FILE_TYPES[kind],
            "general.quantization_version": 2,
        }
        floats = [tensor for tensor in held if tensor.dtype == "BF16"]
        tensors.write_gguf(folder / "model.gguf", metadata, [_in_blocks(tensor, kind) for tensor in floats])


def _in_blocks(tensor: Tensor, kind: str) -> Tensor:
    """Quantise a matrix. Its rows are written as rows of 256 values, which Q4_K needs: the same values in a row."""
    from benchmarks.quantise import quantise

    values = tensors.as_float32(tensor)
    if len(tensor.shape) < 2:
        return Tensor(tensor.name, "f32", tensor.shape, values.tobytes())
    rows = values.reshape(-1, _SUPER_BLOCK)
    return Tensor(tensor.name, kind, rows.shape, quantise(rows, kind))


if __name__ == "__main__":
    make(Path(sys.argv[1]))
