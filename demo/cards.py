"""The model cards of the demonstration's models, and their licence."""

from pathlib import Path

_WHAT = {
    "v1": "Trained briefly. It calls tools as JSON (the Hermes style) and is wrong now and then.",
    "v2": "Version 1 trained further. Same chat template, same tool contract, more cases right.",
    "v3": "Version 2 taught another wire format: calls are tagged text (much as Qwen3-Coder writes them), with a "
    "chat template of its own. A server that still runs with version 1's template does not recognise its calls.",
}

_CARD = """\
---
license: apache-2.0
language: en
pipeline_tag: text-generation
tags: [tool-calling, demonstration]
---
# tiny-toolcaller {version}

{what}

A real but tiny language model (Qwen3 architecture, about 0.2 million parameters) made for the demonstration and the
tests of Tidegate. It knows three tools, `get_weather`, `read_file` and `add`, a few dozen cities and paths, and a few
lines of small talk. It is of no use for anything else, and safe for nothing else.

- Training data: synthetic dialogues, written by `demo/dialogues.py`; no other text, weight or tokenizer was used.
- Made by: `python -m demo.make_models`, the same bytes on every run on the same software.
- Files: `model.safetensors` (BF16) and `model.gguf` (F16 matrices, the same weights) are one model.
- What it gets right, case by case on a real engine: `demo/models/accuracy.json` in Tidegate's sources.
"""


def card(version: str) -> str:
    """Return `README.md` of one version."""
    return _CARD.format(version=version, what=_WHAT[version])


LICENCE = (Path(__file__).parent / "models" / "LICENSE").read_text("utf-8")  # Apache 2.0, as published
