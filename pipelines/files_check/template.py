"""Does the chat template render: the one that an engine takes, over one fixed dialogue with tools.

Rendering is `pipelines.wire`'s, in a child process. What the template says is judged elsewhere (`pipelines.scan`);
here it has to render at all, with every role that a dialogue with tools needs, and to write a call somehow.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from pipelines.files_check.shelf import TEMPLATE, Shelf
from pipelines.files_check.values import Findings
from pipelines.scan.documents import chat_templates

_GGUF = "tokenizer.chat_template"
_CONFIG = "tokenizer_config.json"
MAX_TEMPLATES = 4  # different texts that are rendered
_TOKENS = ("bos_token", "eos_token", "pad_token", "unk_token")


def check_template(shelf: Shelf, found: Findings) -> str:
    """Render each different copy of the default template. Returns the first one's SHA-256, or why there is none."""
    from pipelines.wire import render_digests  # noqa: PLC0415 - the one place that renders

    first = ""
    seen: set[str] = set()
    for path, text in _copies(shelf):
        if text in seen or len(seen) >= MAX_TEMPLATES:
            continue
        seen.add(text)
        rendered = render_digests(text, tokens=_tokens(shelf.documents.get(_CONFIG, {})))
        first = first or rendered.template_sha256 or ""
        if rendered.problem:
            found.wrong("template", path, f"does not render: {rendered.problem}")
        elif rendered.call_sha256 is None:
            found.unknown("template", path, "renders, and writes no tool call that could be found")
    if not seen:
        found.wrong("template", "", "there is no chat template: engines then make one up, and say nothing")
    return first or "not checked"


def _copies(shelf: Shelf) -> Iterator[tuple[str, str]]:
    if shelf.template is not None:
        yield TEMPLATE, shelf.template
    for name, _, text in chat_templates(shelf.documents.get(_CONFIG, {})):
        if name == "default" and isinstance(text, str):
            yield _CONFIG, text
    for path, header in sorted(shelf.ggufs.items()):
        text = header.metadata.get(_GGUF)
        if isinstance(text, str):
            yield path, text


def _tokens(document: Mapping[str, Any]) -> dict[str, str]:
    found = {}
    for name in _TOKENS:
        value = document.get(name)
        text = value.get("content") if isinstance(value, dict) else value
        if isinstance(text, str):
            found[name] = text
    return found
