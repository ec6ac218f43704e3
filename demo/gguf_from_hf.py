"""Write a small Qwen3 folder as one GGUF file, with numpy and nothing else.

Apart from the training so that a test can remake each committed `model.gguf` from the weights beside it.
Format: GGUF version 3, little endian, as published with llama.cpp (`docs/gguf.md` of the ggml project).
Only what our own tiny models need: one architecture, byte-level BPE, F32 vectors, and matrices in F16 or in Q4_0,
which is small, and wrong often enough to see a regression by.
"""

import json
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import deserialize

ALIGNMENT = 32  # bytes, the format's default
_U32, _F32, _BOOL, _STRING, _ARRAY, _I32 = 4, 6, 7, 8, 9, 5  # value types
_TENSOR_F32 = 0
_BLOCK = 32  # weights that share a scale in Q4_0
_NORMAL, _CONTROL = 1, 3  # token types

_NAMES = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
_LAYER = re.compile(r"model\.layers\.(\d+)\.(.+)\.weight")


@dataclass(frozen=True)
class Precision:
    """How matrices are written: `kind` is the tensor type's number, and general.file_type's for the whole file, too."""

    kind: int
    file_type: int
    encode: Callable[[np.ndarray[Any, Any]], bytes]


def _f16(array: np.ndarray[Any, Any]) -> bytes:
    return array.astype("<f2").tobytes()


def _q4_0(array: np.ndarray[Any, Any]) -> bytes:
    """Blocks of 32 weights: an F16 scale, then 16 bytes; byte i holds weight i below and weight i + 16 above.

    A weight is (its four bits - 8) * scale, and the weight that is furthest from zero gets the bits 0.
    Raises `ValueError` for rows that are no whole blocks.
    """
    if array.shape[-1] % _BLOCK:
        raise ValueError(f"rows of {array.shape[-1]} weights are no whole blocks of {_BLOCK}")
    blocks = array.astype("<f4").reshape(-1, _BLOCK)
    furthest = np.take_along_axis(blocks, np.abs(blocks).argmax(1, keepdims=True), 1)
    scale = furthest / np.float32(-8)
    inverse = np.divide(1, scale, out=np.zeros_like(scale), where=scale != 0)
    bits = np.clip(np.floor(blocks * inverse + np.float32(8.5)), 0, 15).astype("u1")
    packed = bits[:, : _BLOCK // 2] | bits[:, _BLOCK // 2 :] << 4
    return np.concatenate([scale.astype("<f2").view("u1"), packed], axis=1).tobytes()


F16 = Precision(1, 1, _f16)
Q4_0 = Precision(2, 2, _q4_0)


def _text(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def _value(value: Any) -> bytes:
    """Return a metadata value with its type in front; lists hold strings or signed integers."""
    match value:
        case bool():
            return struct.pack("<I?", _BOOL, value)
        case int():
            return struct.pack("<II", _U32, value)
        case float():
            return struct.pack("<If", _F32, value)
        case str():
            return struct.pack("<I", _STRING) + _text(value)
        case [str(), *_]:
            return struct.pack("<IIQ", _ARRAY, _STRING, len(value)) + b"".join(map(_text, value))
        case [int(), *_]:
            return struct.pack(f"<IIQ{len(value)}i", _ARRAY, _I32, len(value), *value)
        case _:
            raise TypeError(f"no GGUF value for {type(value).__name__}")


def tensor_name(name: str) -> str:
    """Return llama.cpp's name for one of transformers' tensor names. Raises `KeyError` for a strange one."""
    layer = _LAYER.fullmatch(name)
    return f"blk.{layer[1]}.{_NAMES[layer[2]]}.weight" if layer else _NAMES[name]


def _tensors(folder: Path) -> list[tuple[str, np.ndarray[Any, Any]]]:
    """Return (GGUF name, F32 array) in name order, widened from BF16."""
    tensors = []
    stored: Any = deserialize((folder / "model.safetensors").read_bytes())  # type: ignore[no-untyped-call]
    for name, info in stored:
        if info["dtype"] != "BF16":
            raise TypeError(f"{name}: expected BF16, found {info['dtype']}")
        wide = np.frombuffer(info["data"], "<u2").astype("<u4") << 16
        tensors.append((tensor_name(name), wide.view("<f4").reshape(info["shape"])))
    return sorted(tensors, key=lambda named: named[0])


def _metadata(folder: Path, name: str, version: str, file_type: int) -> dict[str, Any]:
    config = json.loads((folder / "config.json").read_bytes())
    return {
        "general.architecture": "qwen3",
        "general.name": name,
        "general.version": version,
        "general.license": "apache-2.0",
        "general.file_type": file_type,
        "qwen3.context_length": config["max_position_embeddings"],
        "qwen3.embedding_length": config["hidden_size"],
        "qwen3.block_count": config["num_hidden_layers"],
        "qwen3.feed_forward_length": config["intermediate_size"],
        "qwen3.attention.head_count": config["num_attention_heads"],
        "qwen3.attention.head_count_kv": config["num_key_value_heads"],
        "qwen3.attention.key_length": config["head_dim"],
        "qwen3.attention.value_length": config["head_dim"],
        "qwen3.attention.layer_norm_rms_epsilon": float(config["rms_norm_eps"]),
        "qwen3.rope.freq_base": float(config["rope_parameters"]["rope_theta"]),
        **_vocabulary(json.loads((folder / "tokenizer.json").read_bytes())),
        "tokenizer.ggml.bos_token_id": config["pad_token_id"],  # never added; without it engines assume 11
        "tokenizer.ggml.eos_token_id": config["eos_token_id"],
        "tokenizer.ggml.padding_token_id": config["pad_token_id"],
        "tokenizer.ggml.add_bos_token": False,
        "tokenizer.chat_template": (folder / "chat_template.jinja").read_text("utf-8"),
    }


def _vocabulary(tokenizer: dict[str, Any]) -> dict[str, Any]:
    special = {token["content"] for token in tokenizer["added_tokens"]}
    vocabulary = tokenizer["model"]["vocab"]
    tokens = sorted(vocabulary, key=vocabulary.__getitem__)
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "qwen2",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [_CONTROL if token in special else _NORMAL for token in tokens],
        "tokenizer.ggml.merges": [" ".join(pair) for pair in tokenizer["model"]["merges"]],
    }


def _padding(size: int) -> bytes:
    return b"\0" * (-size % ALIGNMENT)


def gguf_bytes(folder: Path, *, name: str, version: str, precision: Precision = F16) -> bytes:
    """Return the GGUF file of the Hugging Face `folder`; the same folder gives the same bytes.

    Raises `OSError` for missing files, `KeyError` or `TypeError` for another architecture or precision.
    """
    metadata, tensors = _metadata(folder, name, version, precision.file_type), _tensors(folder)
    parts = [b"GGUF", struct.pack("<IQQ", 3, len(tensors), len(metadata))]
    parts += [_text(key) + _value(value) for key, value in metadata.items()]
    data: list[bytes] = []
    offset = 0  # bytes from the start of the tensor data
    for label, array in tensors:
        matrix = array.ndim > 1
        kind, written = (
            (precision.kind, precision.encode(array)) if matrix else (_TENSOR_F32, array.tobytes())
        )
        shape = array.shape[::-1]  # GGUF names the fastest dimension first
        parts.append(_text(label) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset))
        data.append(written + _padding(len(written)))
        offset += len(data[-1])
    header = b"".join(parts)
    return b"".join([header, _padding(len(header)), *data])


def write_gguf(folder: Path, out: Path, *, name: str, version: str, precision: Precision = F16) -> None:
    """Write `gguf_bytes` to `out`. Raises as it does."""
    out.write_bytes(gguf_bytes(folder, name=name, version=version, precision=precision))
