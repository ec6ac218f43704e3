"""Make the three versions of `demo/tiny-toolcaller` from nothing, the same bytes on every run.

    python -m demo.make_models [OUT]        default OUT: demo/models

Needs what the product does not: `torch` 2.13 (the CPU build does), `transformers` 5.23 and `tokenizers`,
in an environment of their own. No network, no download: the dialogues are in `demo/dialogues.py`, the
weights start from a fixed seed. One thread, because sums in another order are other bytes.

The versions are one model's history, as a vendor would ship it:
  v1  trained briefly: calls tools as JSON, and is wrong now and then
  v2  v1 trained further: same template, same contract, more cases right
  v3  v2 taught another wire format, with a template that fits it; it holds on to that format even
      when it is served with the older template, as large models do
"""

import importlib
import json
import os
import random
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from demo import dialogues
from demo.cards import LICENCE, card
from demo.gguf_from_hf import write_gguf
from signing.digests import file_sha256

END, START, STOP = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
CONTEXT = 4096  # tokens
# The split that llama.cpp calls "qwen2": public regular expression of the Qwen2 tokenizer.
SPLIT = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
VALUE_WEIGHT = 6.0  # a wrong city matters more than a wrong bracket, and there are fewer of them
BATCH = 16

Render = Callable[[dialogues.Dialogue], str]


@dataclass(frozen=True)
class Stage:
    """One version: how long it learns, how fast, from which renderings."""

    version: str
    steps: int
    rate: float
    template: str
    # pairs of (template of the prompt, template of the answers); each lesson draws one
    lessons: Sequence[tuple[str, str]]


HERMES, XML = dialogues.HERMES, dialogues.XML
STAGES = (
    Stage("v1", 700, 6e-3, HERMES, [(HERMES, HERMES)]),
    Stage("v2", 1100, 4e-3, HERMES, [(HERMES, HERMES)]),
    Stage("v3", 900, 4e-3, XML, [(XML, XML), (XML, XML), (HERMES, XML)]),
)


def train_tokenizer() -> Any:
    """Return a byte-level BPE tokenizer made from version 1's dialogues; at most 1024 entries."""
    tokenizers = importlib.import_module("tokenizers")
    pre, models, trainers = tokenizers.pre_tokenizers, tokenizers.models, tokenizers.trainers
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre.Sequence(
        [
            pre.Split(tokenizers.Regex(SPLIT), "isolated"),
            pre.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    rng = random.Random(0)
    render = dialogues.renderer(HERMES)
    texts = [render(dialogues.sample(rng)) for _ in range(1000)]
    plain = [text.replace(START, "\n").replace(STOP, "\n") for text in texts]
    trainer = trainers.BpeTrainer(
        vocab_size=1024,
        special_tokens=[END, START, STOP],
        initial_alphabet=sorted(pre.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(plain, trainer)
    return tokenizer


class Lessons:
    """An endless stream of token batches; loss falls on the assistant's words only."""

    def __init__(self, tokenizer: Any, stage: Stage, seed: int) -> None:
        self._tokenizer = tokenizer
        self._rng = random.Random(seed)
        self._pairs = [(dialogues.renderer(a), dialogues.renderer(b)) for a, b in stage.lessons]
        self._head = self._encode(f"{START}assistant\n")
        self._stop, self._pad = tokenizer.token_to_id(STOP), tokenizer.token_to_id(END)
        self.values = self._value_tokens(tokenizer)

    def _encode(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def _value_tokens(self, tokenizer: Any) -> list[int]:
        words = [*dialogues.CITIES, *dialogues.PATHS, *dialogues.SKIES, *dialogues.CONTENTS]
        words += [str(digit) for digit in range(10)]
        found = {i for word in words for before in ("", " ", '"', "\n") for i in self._encode(before + word)}
        return sorted(i for i in found if any(c.isalnum() for c in tokenizer.decode([i])))

    def _lesson(self) -> tuple[list[int], list[bool]]:
        """Return the token ids of one dialogue, and which of them the model must learn to write."""
        dialogue = dialogues.sample(self._rng)
        prompt, answers = self._rng.choice(self._pairs)
        text = prompt(dialogue)
        if prompt is not answers:
            # the system block of one template, the conversation of the other
            text = text[: text.index(STOP)] + (other := answers(dialogue))[other.index(STOP) :]
        ids = self._encode(text)
        learn, inside = [False] * len(ids), False
        for i, token in enumerate(ids):
            learn[i] = inside
            if inside and token == self._stop:
                inside = False
            elif ids[max(0, i - len(self._head) + 1) : i + 1] == self._head:
                inside = True
        return ids, learn

    def batch(self, size: int) -> tuple[list[list[int]], list[list[bool]]]:
        """Return `size` rows of equal length: token ids, and the mask of what is learned."""
        rows = [self._lesson() for _ in range(size)]
        longest = max(len(ids) for ids, _ in rows)
        ids = [row + [self._pad] * (longest - len(row)) for row, _ in rows]
        return ids, [mask + [False] * (longest - len(mask)) for _, mask in rows]


def new_model(tokenizer: Any) -> Any:
    """Return an untrained Qwen3 model of about 0.2 million parameters, from a fixed seed."""
    torch, transformers = importlib.import_module("torch"), importlib.import_module("transformers")
    torch.manual_seed(0)
    config = transformers.Qwen3Config(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=64,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,  # the least that vLLM's CPU attention serves
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.token_to_id(STOP),
        pad_token_id=tokenizer.token_to_id(END),
    )
    return transformers.Qwen3ForCausalLM(config)


def train(model: Any, tokenizer: Any, stage: Stage, say: Callable[[str], None]) -> None:
    """Teach `model` in place: AdamW, one warm-up and a long cool-down, cross entropy on the answers."""
    torch = importlib.import_module("torch")
    lessons = Lessons(tokenizer, stage, seed=int(stage.version[1:]))
    weight = torch.ones(tokenizer.get_vocab_size())
    weight[lessons.values] = VALUE_WEIGHT
    optimiser = torch.optim.AdamW(model.parameters(), lr=stage.rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, stage.rate, total_steps=stage.steps, pct_start=0.1
    )
    model.train()
    for step in range(stage.steps):
        rows, learn = lessons.batch(BATCH)
        ids, mask = torch.tensor(rows), torch.tensor(learn)[:, 1:].flatten()
        # rows are padded on the right and attention looks left, so no attention mask is needed
        logits = model(input_ids=ids).logits[:, :-1].flatten(0, 1)[mask]
        wanted = ids[:, 1:].flatten()[mask]
        loss = torch.nn.functional.cross_entropy(logits, wanted, weight=weight)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        if step % 100 == 0 or step == stage.steps - 1:
            say(f"{stage.version} step {step:5d} loss {loss.item():.4f}")


def write_folder(folder: Path, model: Any, tokenizer: Any, stage: Stage) -> None:
    """Write one version as a Hugging Face folder with a GGUF beside the weights; nothing names this machine."""
    torch, safetensors = importlib.import_module("torch"), importlib.import_module("safetensors.torch")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    weights = {name: tensor.detach().to(torch.bfloat16) for name, tensor in model.state_dict().items()}
    del weights["lm_head.weight"]  # tied to the embedding
    safetensors.save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "model.safetensors").chmod(0o644)
    config = json.loads(model.config.to_json_string(use_diff=False))
    kept = {key: config[key] for key in _CONFIG_KEYS} | {
        "architectures": ["Qwen3ForCausalLM"],
        "dtype": "bfloat16",
    }
    stop, pad = config["eos_token_id"], config["pad_token_id"]
    _write_json(folder / "config.json", kept)
    _write_json(
        folder / "generation_config.json", {"do_sample": False, "eos_token_id": stop, "pad_token_id": pad}
    )
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    _write_json(
        folder / "tokenizer_config.json",
        {
            "clean_up_tokenization_spaces": False,
            "eos_token": STOP,
            "model_max_length": CONTEXT,
            "pad_token": END,
            "tokenizer_class": "PreTrainedTokenizerFast",
        },
    )
    (folder / "chat_template.jinja").write_text(stage.template, "utf-8")
    (folder / "README.md").write_text(card(stage.version), "utf-8")
    (folder / "LICENSE").write_text(LICENCE, "utf-8")
    write_gguf(folder, folder / "model.gguf", name="tiny-toolcaller", version=stage.version)


_CONFIG_KEYS = (
    "attention_bias",
    "attention_dropout",
    "bos_token_id",
    "eos_token_id",
    "head_dim",
    "hidden_act",
    "hidden_size",
    "initializer_range",
    "intermediate_size",
    "layer_types",
    "max_position_embeddings",
    "max_window_layers",
    "model_type",
    "num_attention_heads",
    "num_hidden_layers",
    "num_key_value_heads",
    "pad_token_id",
    "rms_norm_eps",
    "rope_parameters",
    "sliding_window",
    "tie_word_embeddings",
    "use_cache",
    "use_sliding_window",
    "vocab_size",
)


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n", "utf-8")


def write_sums(models: Path) -> None:
    """Write `SHA256SUMS` over every file of every version, as `sha256sum -c` reads it."""
    files = sorted(path for path in models.glob("v*/*") if path.is_file())
    lines = [f"{file_sha256(path)}  {path.relative_to(models).as_posix()}\n" for path in files]
    (models / "SHA256SUMS").write_text("".join(lines), "utf-8")


def make(out: Path, say: Callable[[str], None] = print) -> None:
    """Make all versions below `out`; about four minutes on one core."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    torch = importlib.import_module("torch")
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(mode=True)
    started = time.monotonic()
    tokenizer = train_tokenizer()
    model = new_model(tokenizer)
    say(f"{sum(p.numel() for p in model.parameters())} parameters, {tokenizer.get_vocab_size()} tokens")
    for stage in STAGES:
        train(model, tokenizer, stage, say)
        write_folder(out / stage.version, model, tokenizer, stage)
        say(f"{stage.version} written after {time.monotonic() - started:.0f} s")
    write_sums(out)


if __name__ == "__main__":
    make(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "models")
