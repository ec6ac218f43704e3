"""The chat template of a version that is held: found where engines look for it, with the tokenizer's own tokens."""

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from pipelines.errors import JudgingRefused
from pipelines.scan import gguf
from pipelines.scan.documents import chat_templates
from pipelines.scan.errors import MalformedDocument, MalformedGguf
from pipelines.scan.reading import parse_json
from pipelines.wire.parent import MAX_TEMPLATE, SECONDS, render_digests
from registry.blobs import BlobStore
from registry.manifests import FileEntry, Manifest
from registry.template_rules import WireDigests

MAX_CONFIG = 16 << 20  # bytes of tokenizer_config.json; those with many added tokens have about 1 MB
_GGUF_KEY = "tokenizer.chat_template"
_PREFERRED = ("tool_use", "default")  # transformers takes the first of these when tools are given


class TemplateUnusable(JudgingRefused):
    """A version whose chat template is missing, or cannot be rendered, so that nobody knows what it emits."""

    exit_code: ClassVar[int] = 202
    next_step: ClassVar[str] = (
        "Choose a version with a chat template that renders; or write the tool contract by hand, from what the served "
        "model was seen to emit."
    )

    def __init__(self, ref: str, problem: str) -> None:
        super().__init__(f"{ref}: {problem}")
        self.ref, self.problem = ref, problem


@dataclass(frozen=True)
class HeldTemplate:
    """A template's text, the file (and place) that it stands in, and the special tokens by name."""

    text: str
    source: str
    tokens: dict[str, str]


def held_template(blobs: BlobStore, manifest: Manifest) -> HeldTemplate | None:
    """Return the template that engines would take, or None where no file of the version has one.

    chat_template.jinja goes before tokenizer_config.json, as in transformers; a GGUF file's own comes last. That
    copies agree is the scan's business.
    """
    files = {entry.path: entry for entry in manifest.files if blobs.has(entry.sha256)}
    config = _json(blobs, files.get("tokenizer_config.json"))
    tokens = _tokens(config)
    own = files.get("chat_template.jinja")
    if own is not None and own.size <= MAX_TEMPLATE:
        text = blobs.read(own.sha256, max_bytes=MAX_TEMPLATE).decode("utf-8", "replace")
        return HeldTemplate(text, own.path, tokens)
    named = {name: text for name, _, text in chat_templates(config) if isinstance(text, str)}
    for name in _PREFERRED:
        if name in named:
            return HeldTemplate(named[name], "tokenizer_config.json", tokens)
    return next(_in_gguf(blobs, files, tokens), None)


def rendered(
    blobs: BlobStore, manifest: Manifest, *, template: str | None = None, seconds: int = SECONDS
) -> WireDigests | None:
    """Render the version's own template; None where it has none. The same template is rendered once per process.

    Args:
        template: another one that takes its place, such as the companions'.
    """
    found = held_template(blobs, manifest)
    if template is not None:
        found = HeldTemplate(template, "companions", found.tokens if found else {})
    return None if found is None else _rendered(found.text, tuple(sorted(found.tokens.items())), seconds)


@functools.lru_cache(maxsize=64)
def _rendered(text: str, tokens: tuple[tuple[str, str], ...], seconds: int) -> WireDigests:
    return render_digests(text, tokens=dict(tokens), seconds=seconds)


def _in_gguf(blobs: BlobStore, files: dict[str, FileEntry], tokens: dict[str, str]) -> Iterator[HeldTemplate]:
    for path, entry in sorted(files.items()):
        if not path.endswith(".gguf"):
            continue
        try:
            with blobs.open(entry.sha256) as stream:
                text = gguf.read_header(stream, entry.size).metadata.get(_GGUF_KEY)
        except MalformedGguf:
            continue  # the scan says so
        if isinstance(text, str):
            yield HeldTemplate(text, path, tokens)


def _json(blobs: BlobStore, entry: FileEntry | None) -> Any:
    if entry is None or entry.size > MAX_CONFIG:
        return None
    try:
        return parse_json(blobs.read(entry.sha256, max_bytes=MAX_CONFIG), max_bytes=MAX_CONFIG)
    except MalformedDocument:
        return None  # the scan says so


def _tokens(config: Any) -> dict[str, str]:
    """`bos_token` and so on: text, or an object whose `content` is the text."""
    found = {}
    for name, value in config.items() if isinstance(config, dict) else ():
        text = value.get("content") if isinstance(value, dict) else value
        if name.endswith("_token") and isinstance(text, str):
            found[name] = text
    return found
