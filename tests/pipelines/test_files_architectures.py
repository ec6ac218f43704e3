"""The general rules about layers meet the architectures that people serve: whole ones pass, cut ones are named.

Names and configs are written down as the published checkpoints have them, with few layers and made-up widths.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from pipelines.files_check.complete import check_complete
from pipelines.files_check.shelf import Shelf
from pipelines.files_check.values import FileFinding, Findings
from pipelines.scan.gguf import GgufArray, GgufHeader, GgufTensor
from pipelines.scan.safetensors import SafetensorsHeader, TensorInfo

HIDDEN, ROWS = 64, 1000
BASE = {"vocab_size": ROWS, "hidden_size": HIDDEN, "tie_word_embeddings": False}
NORMS = "input_layernorm post_attention_layernorm"
MLP = "mlp.gate_proj mlp.up_proj mlp.down_proj"
QKVO = "self_attn.q_proj self_attn.k_proj self_attn.v_proj self_attn.o_proj"
EXPERTS = " ".join(f"mlp.experts.{n}.{part}_proj" for n in range(3) for part in ("gate", "up", "down"))
MLA = (
    "self_attn.q_a_proj self_attn.q_b_proj self_attn.kv_a_proj_with_mqa self_attn.kv_b_proj self_attn.o_proj"
)


@dataclass(frozen=True)
class Model:
    """`layers`: for each layer, the names of its weights. `around`: full names beside the layers."""

    name: str
    config: Mapping[str, Any]
    layers: tuple[str, ...]
    prefix: str = "model.layers"
    around: str = "model.embed_tokens.weight model.norm.weight lm_head.weight"
    extra: tuple[str, ...] = field(default=())  # full names of further tensors

    def tensors(self) -> dict[str, tuple[int, ...]]:
        names: dict[str, tuple[int, ...]] = {
            f"{self.prefix}.{number}.{name}": (HIDDEN, HIDDEN)
            for number, layer in enumerate(self.layers)
            for name in layer.split()
        }
        full = {
            (name if "." in name.rsplit(".", 2)[-1] else f"{name}.weight"): shape
            for name, shape in names.items()
        }
        full = {name: (HIDDEN,) if "norm" in name else shape for name, shape in full.items()}
        for name in self.around.split():
            full[name] = (HIDDEN,) if "norm" in name or "ln_f" in name else (ROWS, HIDDEN)
        return full | dict.fromkeys(self.extra, (HIDDEN, HIDDEN))


MODELS = (
    Model("llama", BASE | {"num_hidden_layers": 4}, (f"{NORMS} {QKVO} {MLP}",) * 4),
    Model(
        "gemma: shared output, four norms, alternating windows",
        BASE
        | {"num_hidden_layers": 4, "tie_word_embeddings": True}
        | {"layer_types": ["sliding_attention", "full_attention"] * 2},
        (f"{NORMS} pre_feedforward_layernorm post_feedforward_layernorm {QKVO} {MLP}",) * 4,
        around="model.embed_tokens.weight model.norm.weight",
    ),
    Model(
        "phi: fused projections",
        BASE | {"num_hidden_layers": 3},
        (f"{NORMS} self_attn.qkv_proj self_attn.o_proj mlp.gate_up_proj mlp.down_proj",) * 3,
    ),
    Model(
        "deepseek: latent attention, dense first, one layer behind the last",
        BASE | {"num_hidden_layers": 4, "first_k_dense_replace": 1, "num_nextn_predict_layers": 1},
        (
            f"{NORMS} {MLA} {MLP}",
            *((f"{NORMS} {MLA} mlp.gate {EXPERTS}",) * 3),
            f"{NORMS} {MLA} mlp.gate {EXPERTS} eh_proj enorm hnorm",
        ),
    ),
    Model(
        "qwen next: three linear layers, then one full",
        BASE | {"num_hidden_layers": 8, "full_attention_interval": 4},
        (
            *(
                f"{NORMS} linear_attn.in_proj_qkvz linear_attn.in_proj_ba linear_attn.conv1d linear_attn.A_log "
                f"linear_attn.dt_bias linear_attn.norm linear_attn.out_proj mlp.gate {EXPERTS}",
            )
            * 3,
            f"{NORMS} {QKVO} mlp.gate {EXPERTS}",
        )
        * 2,
    ),
    Model(
        "gpt-oss: experts in blocks, sinks",
        BASE | {"num_hidden_layers": 2},
        (f"{NORMS} {QKVO} mlp.router mlp.experts.gate_up_proj_blocks mlp.experts.down_proj_blocks",) * 2,
    ),
    Model(
        "gpt-2: no prefix, other words",
        {"vocab_size": ROWS, "n_embd": HIDDEN, "n_layer": 2, "tie_word_embeddings": True},
        ("ln_1 ln_2 attn.c_attn attn.c_proj mlp.c_fc mlp.c_proj",) * 2,
        prefix="h",
        around="wte.weight ln_f.weight",
    ),
    Model(
        "one that sees: the text's config is an inner one",
        {"text_config": BASE | {"num_hidden_layers": 2}, "vision_config": {"depth": 3}},
        (f"{NORMS} {QKVO} {MLP}",) * 2,
        prefix="model.language_model.layers",
        around="model.language_model.embed_tokens.weight model.language_model.norm.weight lm_head.weight",
        extra=tuple(
            f"model.visual.blocks.{n}.{part}.weight"
            for n in range(3)
            for part in ("attn.qkv", "attn.proj", "norm1")
        ),
    ),
)
ids = [model.name.split(":")[0] for model in MODELS]


def found_in(config: Mapping[str, Any], tensors: Mapping[str, tuple[int, ...]]) -> tuple[FileFinding, ...]:
    infos = tuple(TensorInfo(name, "BF16", shape, 0, 0) for name, shape in tensors.items())
    shelf = Shelf({}, weights={"model.safetensors": SafetensorsHeader(infos, {}, 0)})
    shelf.documents["config.json"] = config
    found = Findings()
    check_complete(shelf, found)
    return found.all()


@pytest.mark.parametrize("model", MODELS, ids=ids)
def test_a_whole_one_passes(model: Model) -> None:
    assert () == found_in(model.config, model.tensors())


@pytest.mark.parametrize("model", MODELS, ids=ids)
def test_a_last_layer_that_is_gone_is_missed(model: Model) -> None:
    last = f"{model.prefix}.{len(model.layers) - 1 - model.config.get('num_nextn_predict_layers', 0)}."
    kept = {name: shape for name, shape in model.tensors().items() if not name.startswith(last)}
    assert any(
        "is missing" in finding.message and not finding.unknown for finding in found_in(model.config, kept)
    )


@pytest.mark.parametrize("model", MODELS, ids=ids)
def test_no_single_tensor_of_a_text_layer_can_go_unnoticed(model: Model) -> None:
    """But of a layer behind the last: there is one of its kind, and nothing says what belongs to it."""
    whole = model.tensors()
    counted = len(model.layers) - model.config.get("num_nextn_predict_layers", 0)
    for gone in [
        name for name in whole if name.startswith(tuple(f"{model.prefix}.{n}." for n in range(counted)))
    ]:
        kept = {name: shape for name, shape in whole.items() if name != gone}
        assert found_in(model.config, kept), gone


@pytest.mark.parametrize("model", MODELS, ids=ids)
def test_nothing_around_the_layers_can_go_unnoticed(model: Model) -> None:
    whole = model.tensors()
    for gone in model.around.split():
        kept = {name: shape for name, shape in whole.items() if name != gone}
        assert any(not finding.unknown for finding in found_in(model.config, kept)), gone


def gguf(layers: int, without: str = "", more: Mapping[str, Any] | None = None) -> tuple[FileFinding, ...]:
    parts = [
        "attn_norm",
        "attn_q",
        "attn_k",
        "attn_v",
        "attn_output",
        "ffn_norm",
        "ffn_gate",
        "ffn_up",
        "ffn_down",
    ]
    names = [f"blk.{n}.{part}.weight" for n in range(layers) for part in parts]
    names += ["token_embd.weight", "output_norm.weight"]
    tensors = tuple(
        GgufTensor(name, "Q8_0", (HIDDEN, ROWS) if name == "token_embd.weight" else (HIDDEN,), 0, 0)
        for name in names
        if name != without
    )
    metadata: dict[str, Any] = {
        "general.architecture": "any", "any.block_count": 3, "any.embedding_length": HIDDEN,
        "tokenizer.ggml.tokens": GgufArray(8, ROWS),
    } | dict(more or {})  # fmt: skip
    shelf = Shelf({}, ggufs={"model.gguf": GgufHeader(3, metadata, tensors, 32, 0)})
    found = Findings()
    check_complete(shelf, found)
    return found.all()


def test_a_gguf_file_needs_no_config() -> None:
    assert () == gguf(3)
    assert "layer 2 of 3 is missing: no tensor blk.2.*" in gguf(2)[0].message
    assert "blk.1.ffn_up.weight" in gguf(3, without="blk.1.ffn_up.weight")[0].message
    assert "there is no embedding" in gguf(3, without="token_embd.weight")[0].message
    assert "vocab_size is 999" in gguf(3, more={"tokenizer.ggml.tokens": GgufArray(8, 999)})[0].message


def test_a_gguf_file_that_says_something_of_each_layer_that_is_not_read_is_not_called_wrong() -> None:
    heads = {"any.attention.head_count_kv": GgufArray(5, 3)}
    found = gguf(3, without="blk.1.attn_norm.weight", more=heads)
    assert [True] == [finding.unknown for finding in found]


def test_a_part_of_a_split_gguf_file_is_missed() -> None:
    found = gguf(3, more={"split.count": 2, "split.tensors.count": 40})
    assert {"is one of 2 files; 1 are there", "its files hold 29 tensors; split.tensors.count is 40"} == {
        finding.message for finding in found
    }
