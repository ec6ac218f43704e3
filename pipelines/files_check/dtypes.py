"""Are the weights stored as the config says: float types, quantised ones, and their scales. Pure.

1. config.json names a float type: most of the matrices are of it; the others may be F32 or F64, which lose nothing.
2. It says nothing of a quantisation: then no matrix is of a narrower type. It says one: then some are.
3. A matrix of eight-bit floats has a scale beside it.
4. A GGUF file that states its kind holds tensors of that kind.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from pipelines.files_check.complete import SHOWN
from pipelines.files_check.shelf import Shelf
from pipelines.files_check.values import Findings
from pipelines.scan.gguf import GgufHeader
from pipelines.scan.reading import quoted
from pipelines.scan.safetensors import TensorInfo

_NAMED = {
    "float64": "F64",
    "float32": "F32",
    "float": "F32",
    "bfloat16": "BF16",
    "float16": "F16",
    "half": "F16",
}
_FLOATS = ("F64", "F32", "F16", "BF16")
_LOSSLESS = ("F64", "F32")
_NARROW = re.compile(r"F8_.*|F6_.*|F4|U8|I8|I32|U32|I16|U16")
_BUFFERS = re.compile(
    r"(?:position_ids|num_batches_tracked|inv_freq|relative_position_index|masked_bias|attn\.bias)$"
)
_SCALE = ("_scale_inv", "_scale", "_scales")

# llama.cpp's `enum llama_ftype`: what most tensors of such a file are.
FILE_TYPES = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1", 10: "Q2_K", 11: "Q3_K", 12: "Q3_K",
    13: "Q3_K", 14: "Q4_K", 15: "Q4_K", 16: "Q5_K", 17: "Q5_K", 18: "Q6_K", 19: "IQ2_XXS", 20: "IQ2_XS", 21: "Q2_K",
    22: "IQ3_XXS", 23: "IQ3_XXS", 24: "IQ1_S", 25: "IQ4_NL", 26: "IQ3_S", 27: "IQ3_S", 28: "IQ2_XS", 29: "IQ2_S",
    30: "IQ4_XS", 31: "IQ1_M", 32: "BF16", 36: "TQ1_0", 37: "TQ2_0", 38: "MXFP4",
}  # fmt: skip


def check_dtypes(shelf: Shelf, found: Findings) -> None:
    """Hold the stored types against what config.json and the GGUF headers say."""
    if shelf.weights and shelf.config is None:
        found.unknown(
            "dtypes", "config.json", "is missing or cannot be read, so nobody says of which type weights are"
        )
    elif shelf.weights:
        _safetensors(shelf, shelf.text_config, found)
    for path, header in sorted(shelf.ggufs.items()):
        _gguf(path, header, found)


def _safetensors(shelf: Shelf, config: Mapping[str, Any], found: Findings) -> None:
    quantised = "quantization_config" in config or "hf_quant_config.json" in shelf.files
    matrices = [
        (path, tensor)
        for path, header in sorted(shelf.weights.items())
        for tensor in header.tensors
        if len(tensor.shape) > 1 and not _BUFFERS.search(tensor.name)
    ]
    narrow = [(path, tensor) for path, tensor in matrices if _NARROW.fullmatch(tensor.dtype)]
    if narrow and not quantised:
        _say(narrow, "and config.json says nothing of a quantisation", found)
    if quantised and not narrow:
        found.wrong("dtypes", "config.json", "says that the weights are quantised, and none of them is")
    _scales(shelf, narrow, found)
    _floats(config, [(path, tensor) for path, tensor in matrices if tensor.dtype in _FLOATS], found)


def _floats(config: Mapping[str, Any], matrices: Sequence[tuple[str, TensorInfo]], found: Findings) -> None:
    said = config.get("dtype", config.get("torch_dtype"))
    wanted = _NAMED.get(said.removeprefix("torch.")) if isinstance(said, str) else None
    if wanted is None:
        shown = "does not say" if said is None else f"says {quoted(str(said))}, which is not known here:"
        found.unknown("dtypes", "config.json", f"{shown} of which type the weights are (dtype)")
        return
    if not matrices:
        return
    share: Counter[str] = Counter()
    for _, tensor in matrices:
        share[tensor.dtype] += tensor.elements
    most, count = share.most_common(1)[0]
    if most != wanted:
        part = 100 * count / share.total()
        found.wrong(
            "dtypes", "", f"{part:.0f} % of the weights are {most}; config.json says {quoted(str(said))}"
        )
        return
    if other := [(path, t) for path, t in matrices if t.dtype != wanted and t.dtype not in _LOSSLESS]:
        _say(other, f"and config.json says {quoted(str(said))}", found)


def _scales(shelf: Shelf, narrow: Sequence[tuple[str, TensorInfo]], found: Findings) -> None:
    """Rule 3. Scales may lie in another shard."""
    eights = [(path, tensor) for path, tensor in narrow if tensor.dtype.startswith("F8_E4M3")]
    if not eights:
        return
    names = {tensor.name for header in shelf.weights.values() for tensor in header.tensors}
    for path, tensor in eights:
        stems = (tensor.name, tensor.name.removesuffix(".weight"), tensor.name.removesuffix("_blocks"))
        ends = (*_SCALE, ".weight_scale", ".weight_scale_inv", ".scale")
        if not any(f"{stem}{end}" in names for stem in stems for end in ends):
            found.wrong("dtypes", path, f"{quoted(tensor.name)} is {tensor.dtype} and has no scale beside it")


def _say(tensors: Sequence[tuple[str, TensorInfo]], why: str, found: Findings) -> None:
    for path, tensor in tensors[:SHOWN]:
        found.wrong("dtypes", path, f"{quoted(tensor.name)} is {tensor.dtype}, {why}")
    if len(tensors) > SHOWN:
        found.wrong("dtypes", "", f"and {len(tensors) - SHOWN} tensors more, {why}")


def _gguf(path: str, header: GgufHeader, found: Findings) -> None:
    """Rule 4. The types themselves stand at each tensor; only the statement about the whole can be wrong."""
    said = header.metadata.get("general.file_type")
    if said is None or "split.no" in header.metadata:  # a part of a split file need not hold any
        return
    wanted = FILE_TYPES.get(said) if isinstance(said, int) else None
    if wanted is None:
        found.unknown("dtypes", path, f"says general.file_type {quoted(str(said))}, which is not known here")
    elif wanted not in {tensor.type for tensor in header.tensors if len(tensor.shape) > 1}:
        found.wrong("dtypes", path, f"says that it is {wanted} (general.file_type {said}), and no matrix is")
