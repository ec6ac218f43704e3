"""How much memory a version needs where it is served: weights, cache of keys and values, and what the engine adds.

Computed from the headers and the config alone, before anything is loaded, so that a tier that is too small is known
before the box swaps or the other slot is killed. Weights and cache are exact for what the files say; the engine's own
share is an estimate on the safe side, and `how` tells each figure's source.
Sources: llama.cpp `llama-kv-cache.cpp` (cells x layers x heads x width), ggml-common.h (bytes of a block); vLLM
docs/features and `config/cache.py`; transformers `configuration_utils.py` (names of the config's fields).
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, BinaryIO

from pipelines.engines import flags, llama_server
from pipelines.scan import gguf
from registry.contracts import EngineProfile
from registry.manifests import FileEntry, Manifest
from signing.canonical import NotCanonical, parse
from signing.errors import OperatorError

Open = Callable[[FileEntry], BinaryIO]

_MAX_CONFIG = 4 << 20
_GGUF_ENGINES = ("llama-server", "llama.cpp", "llama-cpp-python", "ollama", "lm-studio")
# Bytes of one element. Source of the blocks: ggml-common.h.
_CACHE_TYPES = {
    "f32": Fraction(4), "f16": Fraction(2), "bf16": Fraction(2), "q8_0": Fraction(34, 32), "q5_1": Fraction(24, 32),
    "q5_0": Fraction(22, 32), "q4_1": Fraction(20, 32), "q4_0": Fraction(18, 32), "iq4_nl": Fraction(18, 32),
}  # fmt: skip
_DTYPES = {
    "float32": 4, "float": 4, "bfloat16": 2, "float16": 2, "half": 2, "fp8": 1, "fp8_e4m3": 1, "fp8_e5m2": 1,
    "float8_e4m3fn": 1,
}  # fmt: skip
# Families whose code reads what makes a cache smaller. The config of any other may say so, and the engine does not
# look: taken at its word, a publisher's two fields would let any model into any tier.
_COMPRESSED = frozenset(
    (
        *("deepseek_v2", "deepseek_v3", "deepseek_v32", "deepseek_vl_v2", "kimi_k2", "kimi_vl"),
        *("minicpm3", "longcat_flash", "glm4_moe_lite"),
    )
)
_WINDOWED = frozenset(
    (
        *(
            "gemma2",
            "gemma3",
            "gemma3_text",
            "gemma3n",
            "gemma3n_text",
            "gpt_oss",
            "cohere2",
            "olmo3",
            "exaone4",
        ),
        *("qwen2", "qwen2_moe", "qwen3", "qwen3_moe", "smollm3", "mistral", "ministral", "afmoe", "phi3"),
    )
)
# What a process of the engine takes before it has loaded anything, bytes; seen on CPU, rounded up generously.
_BASE = {"vllm": 3 << 30, "transformers": 1 << 30, "llama-cpp-python": 192 << 20}
_BASE_OTHER = 64 << 20
_BATCH = {"vllm": 8192}  # tokens that are computed at once
_BATCH_OTHER = 512
_SLACK = Fraction(1, 20)  # of the weights: padding, copies while loading, fragments


@dataclass(frozen=True)
class Footprint:
    """Bytes. None where it cannot be computed, and then `total` is None too: unknown is not little."""

    weights: int
    kv_cache: int | None
    overhead: int | None
    total: int | None
    how: tuple[str, ...]


@dataclass(frozen=True)
class _Shape:
    """What the cache and the buffers are made of. `cells`: values per token in each layer, and that layer's window."""

    layers: tuple[tuple[int, int, int | None], ...]  # width of keys, width of values, window in tokens
    hidden: int
    inner: int
    vocabulary: int
    notes: tuple[str, ...] = ()


def needed(
    manifest: Manifest,
    open_file: Open,
    *,
    context: int,
    profile: EngineProfile,
    concurrency: int | None = None,
) -> Footprint:
    """Compute what serving a version takes.

    Args:
        open_file: opens one of the manifest's files at its first byte; only headers and config.json are read.
        context: tokens of one request, answer included.
        concurrency: requests at once that fill their whole context; by default what the profile lets run.
    """
    at_once = concurrency or requests_at_once(profile)
    if profile.engine in _GGUF_ENGINES:
        weights, shape, widths, source = _of_gguf(manifest, open_file, profile)
    else:
        weights, shape, widths, source = _of_config(manifest, open_file, profile)
    if shape is None:
        return Footprint(
            weights, None, None, None, (f"weights: {source}", "the model's shape cannot be read")
        )
    cache = sum(_layer(layer, context, widths) for layer in shape.layers) * at_once
    batch = _BATCH.get(profile.engine, _BATCH_OTHER)
    buffers = batch * (shape.vocabulary + 4 * shape.hidden + 2 * shape.inner) * 4
    base = _BASE.get(profile.engine, _BASE_OTHER)
    overhead = math.ceil(weights * _SLACK) + buffers + base
    how = (
        f"weights: {source}",
        f"cache: {at_once} requests of {context} tokens in {len(shape.layers)} layers",
        f"engine: {base:,} bytes for itself, {buffers:,} for {batch} tokens at once, 5 % of the weights; an estimate",
        *shape.notes,
    )
    return Footprint(weights, cache, overhead, weights + cache + overhead, how)


def requests_at_once(profile: EngineProfile) -> int:
    """Return how many requests the profile's engine works on at once."""
    if profile.engine in ("llama-server", "llama.cpp"):
        return llama_server.parallel(profile)
    told = flags.value_of(profile.flags, "--max-num-seqs")
    return int(told) if told is not None and told.isdigit() and int(told) > 0 else 1


def _layer(layer: tuple[int, int, int | None], context: int, widths: tuple[Fraction, Fraction]) -> int:
    keys, values, window = layer
    cells = context if window is None else min(context, window)
    return math.ceil(cells * (keys * widths[0] + values * widths[1]))


# --------------------------------------------------------------------------------------------------- GGUF files

_Read = tuple[int, _Shape | None, tuple[Fraction, Fraction], str]


def _of_gguf(manifest: Manifest, open_file: Open, profile: EngineProfile) -> _Read:
    named = profile.extra.get("x-file")
    entries = [e for e in manifest.files if e.path.endswith(".gguf") and named in (None, e.path)]
    weights = sum(entry.size for entry in entries)
    widths = tuple(
        _CACHE_TYPES.get((flags.value_of(profile.flags, *names) or "f16").lower(), Fraction(4))
        for names in (("--cache-type-k", "-ctk"), ("--cache-type-v", "-ctv"))
    )
    source = f"{len(entries)} GGUF files as they lie on disk"
    shape = _gguf_shape(entries[0], open_file) if entries else None
    return weights, shape, (widths[0], widths[1]), source


def _gguf_shape(entry: FileEntry, open_file: Open) -> _Shape | None:
    try:
        with open_file(entry) as stream:
            header = gguf.read_header(stream, entry.size)
    except OperatorError:
        return None
    facts = header.metadata
    family = facts.get("general.architecture")

    def number(name: str, otherwise: int | None = None) -> int | None:
        value = facts.get(f"{family}.{name}")
        return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else otherwise

    layers, hidden, heads = number("block_count"), number("embedding_length"), number("attention.head_count")
    if layers is None or hidden is None or heads is None or layers > 10_000:
        return None
    key = number("attention.key_length", hidden // heads) or 1
    value = number("attention.value_length", hidden // heads) or 1
    per_layer = facts.get(f"{family}.attention.head_count_kv")
    uneven = isinstance(per_layer, gguf.GgufArray)
    notes = ("heads differ from layer to layer; every layer is counted with all heads",) if uneven else ()
    groups = number("attention.head_count_kv", heads) or heads
    words = facts.get("tokenizer.ggml.tokens")
    vocabulary = words.count if isinstance(words, gguf.GgufArray) else number("vocab_size", 0) or 0
    inner = number("feed_forward_length", 4 * hidden) or 4 * hidden
    return _Shape(((groups * key, groups * value, None),) * layers, hidden, inner, vocabulary, notes)


# -------------------------------------------------------------------------------------------------- config.json


def _of_config(manifest: Manifest, open_file: Open, profile: EngineProfile) -> _Read:
    entries = [entry for entry in manifest.files if entry.path.endswith(".safetensors")]
    weights = sum(entry.size for entry in entries)
    config = _config(manifest, open_file)
    stored = str(config.get("dtype") or config.get("torch_dtype") or "").removeprefix("torch.")
    told = flags.value_of(profile.flags, "--dtype")
    used = stored if told in (None, "auto") else str(told)
    source = f"{len(entries)} safetensors files as they lie on disk"
    if used != stored and used in _DTYPES and stored in _DTYPES and "quantization_config" not in config:
        weights = weights * _DTYPES[used] // _DTYPES[stored]
        source += f", turned from {stored} into {used}"
    cache = flags.value_of(profile.flags, "--kv-cache-dtype")
    width = Fraction(_DTYPES.get(used if cache in (None, "auto") else str(cache), 4))
    inner = config.get("text_config")
    meant = [config, {**config, **inner}] if isinstance(inner, dict) else [config]
    shapes = [shape for one in meant if (shape := _config_shape(one)) is not None]
    # Of two parts that could be meant the one that takes more: engines of a text model do not look at the inner one.
    largest = max(
        shapes, key=lambda shape: sum(keys + values for keys, values, _ in shape.layers), default=None
    )
    return weights, largest, (width, width), source


def _config(manifest: Manifest, open_file: Open) -> Mapping[str, Any]:
    """config.json, with the type of numbers that its text part states; empty if it cannot be read."""
    entry = next((entry for entry in manifest.files if entry.path == "config.json"), None)
    if entry is None:
        return {}
    with open_file(entry) as stream:
        data = stream.read(_MAX_CONFIG + 1)
    try:
        value = parse(data, max_bytes=_MAX_CONFIG, at="config.json")
    except NotCanonical:
        return {}
    if not isinstance(value, dict):
        return {}
    inner = value.get("text_config")
    kept = (
        {name: inner[name] for name in ("dtype", "torch_dtype") if name in inner}
        if isinstance(inner, dict)
        else {}
    )
    return {**value, **kept}


def _config_shape(config: Mapping[str, Any]) -> _Shape | None:
    def number(name: str, otherwise: int | None = None) -> int | None:
        value = config.get(name)
        return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else otherwise

    layers, hidden, heads = (
        number("num_hidden_layers"),
        number("hidden_size"),
        number("num_attention_heads"),
    )
    if layers is None or hidden is None or heads is None or layers > 10_000:
        return None
    width = (number("num_key_value_heads", heads) or heads) * (
        number("head_dim", hidden // heads) or hidden // heads
    )
    compressed = number("kv_lora_rank")
    keys, values, notes = width, width, []
    family = config.get("model_type")
    if compressed is not None and family in _COMPRESSED:
        keys, values = compressed + (number("qk_rope_head_dim", 0) or 0), 0
        notes.append("keys and values are kept compressed (kv_lora_rank)")
    kinds = config.get("layer_types")
    kinds = kinds if isinstance(kinds, list) and len(kinds) == layers else ["full_attention"] * layers
    window = number("sliding_window")
    if not {"full_attention", "sliding_attention"} >= {str(kind) for kind in kinds}:
        notes.append("layers of other kinds than attention are counted as attention: rather too much")
    if window is not None and "sliding_attention" in kinds and family not in _WINDOWED:
        window = None
        notes.append(f"nobody here knows that {str(family)[:40]} keeps to a window: it is counted whole")
    rows = tuple((keys, values, window if kind == "sliding_attention" else None) for kind in kinds)
    inner = number("intermediate_size", 4 * hidden) or 4 * hidden
    return _Shape(rows, hidden, inner, number("vocab_size", 0) or 0, tuple(notes))
