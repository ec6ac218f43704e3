"""Memory computed before anything is loaded: exact where the files say it, said where they do not."""

import io
import json
from typing import Any

import pytest

from pipelines.engines.footprint import Footprint, needed, requests_at_once
from registry.contracts import EngineProfile
from registry.manifests import FileEntry, Manifest
from tests.engines.launching import MODELS, manifest_of, profile

GIB = 1 << 30
# Published shapes of models that people serve.
LLAMA_70B = {
    "num_hidden_layers": 80, "hidden_size": 8192, "num_attention_heads": 64, "num_key_value_heads": 8,
    "intermediate_size": 28672, "vocab_size": 128256, "torch_dtype": "bfloat16",
}  # fmt: skip


def of_config(
    config: Any, *flags: str, context: int = 1000, concurrency: int | None = None, size: int = 1000
) -> Footprint:
    data = config if isinstance(config, bytes) else json.dumps(config).encode()
    files = (FileEntry("config.json", len(data), "0" * 64), FileEntry("model.safetensors", size, "0" * 64))
    return needed(
        Manifest("demo/x", files),
        lambda _entry: io.BytesIO(data),
        context=context,
        profile=profile("vllm", *flags),
        concurrency=concurrency,
    )


def of_demo(what: EngineProfile, context: int = 1024) -> Footprint:
    folder = MODELS / "v1"
    return needed(
        manifest_of(folder), lambda entry: (folder / entry.path).open("rb"), context=context, profile=what
    )


def test_a_large_model_takes_what_its_publishers_say() -> None:
    """Seventy billion parameters with eight groups: 320 KiB for each token, ten gigabytes for 32,768 of them."""
    found = of_config(LLAMA_70B, context=32_768, size=141 * 10**9)
    assert found.kv_cache == 80 * 2 * 8 * 128 * 2 * 32_768 == 10 * GIB
    assert found.weights == 141 * 10**9
    assert found.overhead is not None
    assert found.total == found.weights + found.kv_cache + found.overhead
    assert any("1 requests of 32768 tokens in 80 layers" in line for line in found.how)


def test_twice_the_requests_or_twice_the_context_is_twice_the_cache() -> None:
    one = of_config(LLAMA_70B).kv_cache
    assert one is not None
    assert (
        2 * one == of_config(LLAMA_70B, concurrency=2).kv_cache == of_config(LLAMA_70B, context=2000).kv_cache
    )
    assert 4 * one == of_config(LLAMA_70B, "--max-num-seqs", "4").kv_cache
    assert one == 2 * (of_config(LLAMA_70B, "--kv-cache-dtype", "fp8").kv_cache or 0)


def test_another_type_of_numbers_changes_the_weights_too() -> None:
    wide = of_config(LLAMA_70B, "--dtype", "float32")
    assert 2000 == wide.weights
    assert wide.kv_cache == 2 * (of_config(LLAMA_70B).kv_cache or 0)
    packed = of_config(LLAMA_70B | {"quantization_config": {}}, "--dtype", "float32")
    assert 1000 == packed.weights, "packed weights stay packed"


def test_a_window_and_compressed_keys_make_the_cache_smaller() -> None:
    full = of_config(LLAMA_70B).kv_cache or 0
    kinds = ["sliding_attention", "full_attention"] * 40
    half = of_config(LLAMA_70B | {"model_type": "gemma3", "layer_types": kinds, "sliding_window": 100})
    assert full * (40 * 100 + 40 * 1000) // (80 * 1000) == half.kv_cache
    compressed = of_config(
        LLAMA_70B | {"model_type": "deepseek_v3", "kv_lora_rank": 512, "qk_rope_head_dim": 64}
    )
    assert 80 * 576 * 2 * 1000 == compressed.kv_cache
    odd = of_config(LLAMA_70B | {"layer_types": ["linear_attention"] * 80})
    assert full == odd.kv_cache
    assert any("rather too much" in line for line in odd.how)


def test_the_text_part_of_a_model_that_also_sees_is_what_counts() -> None:
    assert of_config(LLAMA_70B).kv_cache == of_config({"text_config": LLAMA_70B, "hidden_size": 1}).kv_cache


@pytest.mark.parametrize(
    "config",
    [b"", b"{", b"[]", b"{}", {"num_hidden_layers": "many"}, LLAMA_70B | {"num_hidden_layers": 10**9},
     LLAMA_70B | {"num_hidden_layers": True}, LLAMA_70B | {"hidden_size": -1}],
)  # fmt: skip
def test_what_cannot_be_read_is_unknown_and_not_little(config: Any) -> None:
    found = of_config(config)
    assert (1000, None, None, None) == (found.weights, found.kv_cache, found.overhead, found.total)
    assert "cannot be read" in found.how[-1]


def test_a_gguf_file_says_its_shape_itself() -> None:
    found = of_demo(profile("llama-server", "--parallel", "2"))
    assert 2 * 1024 * 2 * 2 * (32 + 32) * 2 == found.kv_cache == 1 << 20
    assert (MODELS / "v1" / "model.gguf").stat().st_size == found.weights
    packed = of_demo(profile("llama-server", "--parallel", "2", "-ctk", "q8_0", "-ctv", "q4_0"))
    assert 2 * 1024 * 2 * 2 * 32 * (34 + 18) // 32 == packed.kv_cache
    assert 4 == requests_at_once(profile("llama-server")) == requests_at_once(profile("llama.cpp"))


def test_a_gguf_file_that_is_none_is_unknown() -> None:
    files = (FileEntry("model.gguf", 9, "0" * 64),)
    for manifest in (Manifest("demo/x", files), Manifest("demo/x", ())):
        found = needed(
            manifest, lambda _entry: io.BytesIO(b"not a gguf"), context=9, profile=profile("llama-server")
        )
        assert (None, None) == (found.kv_cache, found.total)


def test_the_same_model_takes_the_same_cache_in_either_form() -> None:
    gguf = of_demo(profile("llama-server", "--parallel", "1"))
    folder = of_demo(profile("vllm", "--max-num-seqs", "1"))
    assert gguf.kv_cache == folder.kv_cache
    assert folder.overhead is not None
    assert gguf.overhead is not None
    assert folder.overhead > gguf.overhead, "another engine, another share of its own"
