"""What a layer, and a model around its layers, has to have: sets of partners that only work together. Pure.

A tensor that is missing from every layer alike is seen by no comparison between layers. But projections come in
sets: who has a query has a key and a value. A layer that holds a whole set of each needed sort is complete; one that
holds a part of a set and no whole one lacks the rest; one with names that are in no set is not understood.
"""

import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

# Each line is one way to write the same thing. Names are components of tensor names, as transformers and ggml use them.
MIXERS = (
    ("q_proj", "k_proj", "v_proj", "o_proj"), ("q_proj", "k_proj", "v_proj", "out_proj"),
    ("q_proj", "k_proj", "v_proj", "dense"), ("qkv_proj", "o_proj"), ("query_key_value", "dense"),
    ("c_attn", "c_proj"), ("Wqkv", "out_proj"), ("wq", "wk", "wv", "wo"), ("qkv", "proj"),
    ("q_proj", "kv_a_proj_with_mqa", "kv_b_proj", "o_proj"),
    ("q_a_proj", "q_b_proj", "kv_a_proj_with_mqa", "kv_b_proj", "o_proj"),
    ("in_proj_qkvz", "in_proj_ba", "conv1d", "A_log", "dt_bias", "out_proj"),
    ("in_proj_qkv", "in_proj_z", "conv1d", "A_log", "dt_bias", "out_proj"),
    ("in_proj", "conv1d", "A_log", "D", "out_proj"),
    ("attn_q", "attn_k", "attn_v", "attn_output"), ("attn_qkv", "attn_output"), ("attn_qkv", "ssm_out"),
    ("attn_q", "attn_kv_a_mqa", "attn_kv_b", "attn_output"),
    ("attn_q_a", "attn_q_b", "attn_kv_a_mqa", "attn_kv_b", "attn_output"),
    ("attn_q_a", "attn_q_b", "attn_kv_a_mqa", "attn_k_b", "attn_v_b", "attn_output"),
    ("ssm_in", "ssm_conv1d", "ssm_a", "ssm_out"),
)  # fmt: skip
FEEDERS = (
    ("gate_proj", "up_proj", "down_proj"), ("gate_up_proj", "down_proj"), ("w1", "w2", "w3"), ("fc1", "fc2"),
    ("c_fc", "c_proj"), ("dense_h_to_4h", "dense_4h_to_h"), ("linear_fc1", "linear_fc2"),
    ("ffn_gate", "ffn_up", "ffn_down"), ("ffn_up", "ffn_down"),
    ("ffn_gate_exps", "ffn_up_exps", "ffn_down_exps"), ("ffn_gate_up_exps", "ffn_down_exps"),
)  # fmt: skip
EMBEDDINGS = ("embed_tokens", "wte", "word_embeddings", "embed_in", "tok_embeddings", "token_embd")
HEADS = ("lm_head", "embed_out", "output")
NORMS = (
    "norm",
    "ln_f",
    "final_layernorm",
    "final_layer_norm",
    "norm_f",
    "final_norm",
    "output_norm",
    "embedding_norm",
)

_STORED = re.compile(r"_(?:blocks|scales|bias|weight|packed|scale|scale_inv)$")
_ATTENTION = re.compile(r"attn|attention|mixer|mamba|ssm|conv", re.IGNORECASE)


@dataclass(frozen=True)
class Lack:
    """What is missing of a set; `unknown` when nothing of any set is there."""

    what: str
    missing: tuple[str, ...]
    unknown: bool = False


def words(names: Iterable[str]) -> set[str]:
    """The components of tensor names, also without the ending that says how a weight is stored."""
    return {word for name in names for part in name.split(".") for word in (part, _STORED.sub("", part))}


def lacks(names: Collection[str]) -> Iterator[Lack]:
    """Say what a layer with these tensors lacks: something that mixes tokens, and something that feeds forward."""
    for what, sets, mine in (
        ("attention", MIXERS, words(name for name in names if _ATTENTION.search(name))),
        ("feed-forward", FEEDERS, words(names)),
    ):
        if lack := _lack(what, sets, mine):
            yield lack


def _lack(what: str, sets: Iterable[tuple[str, ...]], mine: set[str]) -> Lack | None:
    nearest: tuple[float, tuple[str, ...]] = (0.0, ())
    for partners in sets:
        there = sum(word in mine for word in partners)
        if there == len(partners):
            return None
        if there:
            nearest = max(nearest, (there / len(partners), tuple(w for w in partners if w not in mine)))
    return Lack(what, nearest[1], unknown=not nearest[1])


def has_norms(names: Iterable[str]) -> bool:
    """Whether a layer has tensors that normalise."""
    return any("norm" in name.lower() or name.startswith(("ln_", "ln1", "ln2")) for name in names)
