"""A version's files as the checks see them: headers and small documents, read once and within limits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipelines.files_check.values import Findings
from pipelines.scan import gguf, safetensors
from pipelines.scan.documents import MAX_BYTES, MAX_INDEX_BYTES, ShardIndex, shard_index
from pipelines.scan.errors import MalformedDocument, MalformedGguf, MalformedSafetensors
from pipelines.scan.reading import parse_json, read_at_most
from pipelines.scan.values import ScannedFile

INDEX = "model.safetensors.index.json"
TOKENIZER = "tokenizer.json"
_DOCUMENTS = ("config.json", "generation_config.json", "tokenizer_config.json", "special_tokens_map.json")
_READ_BY = {
    "config.json": "complete", "generation_config.json": "generation", "tokenizer_config.json": "tokenizer",
    "special_tokens_map.json": "tokenizer",
}  # fmt: skip
TEMPLATE = "chat_template.jinja"
MAX_TEMPLATE = 1 << 20  # bytes


@dataclass
class Shelf:
    """What lies in a version. Paths are the version's; documents are objects, an unreadable one is a finding."""

    files: Mapping[str, ScannedFile]
    weights: dict[str, safetensors.SafetensorsHeader] = field(default_factory=dict)
    ggufs: dict[str, gguf.GgufHeader] = field(default_factory=dict)
    documents: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    index: ShardIndex | None = None
    template: str | None = None  # text of chat_template.jinja

    @property
    def headers(self) -> dict[str, safetensors.SafetensorsHeader | gguf.GgufHeader]:
        """Of every weight file, of either format."""
        return {**self.weights, **self.ggufs}

    @property
    def config(self) -> Mapping[str, Any] | None:
        """config.json, when there is one that can be read."""
        return self.documents.get("config.json")

    @property
    def text_config(self) -> Mapping[str, Any]:
        """The part of config.json that is about text: of models that also see or hear, an inner one."""
        config = self.config or {}
        for name in ("text_config", "llm_config", "language_config"):
            inner = config.get(name)
            if isinstance(inner, dict):
                return {**config, **inner}
        return config


def read_shelf(files: Sequence[ScannedFile], found: Findings) -> Shelf:
    """Read the headers and documents. What cannot be read is a finding of the check that needs it."""
    shelf = Shelf({file.path: file for file in files})
    for file in sorted(files, key=lambda item: item.path):
        if file.path.endswith(".safetensors"):
            _weights(file, shelf, found)
        elif file.path.endswith(".gguf"):
            _gguf(file, shelf, found)
        elif file.path in _DOCUMENTS:
            _document(file, shelf, found)
        elif file.path == INDEX:
            _index(file, shelf, found)
        elif file.path == TEMPLATE:
            _template(file, shelf, found)
    if not shelf.weights and not shelf.ggufs:
        found.wrong("complete", "", "there is no weight file that can be read")
    return shelf


def _weights(file: ScannedFile, shelf: Shelf, found: Findings) -> None:
    try:
        with file.open() as stream:
            shelf.weights[file.path] = safetensors.read_header(stream, file.size)
    except MalformedSafetensors as exc:
        found.wrong("complete", file.path, str(exc))


def _gguf(file: ScannedFile, shelf: Shelf, found: Findings) -> None:
    try:
        with file.open() as stream:
            shelf.ggufs[file.path] = gguf.read_header(stream, file.size)
    except MalformedGguf as exc:
        found.wrong("complete", file.path, str(exc))


def _document(file: ScannedFile, shelf: Shelf, found: Findings) -> None:
    check = _READ_BY[file.path]
    try:
        value = _json(file, MAX_BYTES)
    except MalformedDocument as exc:
        found.wrong(check, file.path, str(exc))
        return
    if isinstance(value, dict):
        shelf.documents[file.path] = value
    else:
        found.wrong(check, file.path, "not a JSON object")


def _index(file: ScannedFile, shelf: Shelf, found: Findings) -> None:
    try:
        shelf.index = shard_index(_json(file, MAX_INDEX_BYTES))
    except MalformedDocument as exc:
        found.wrong("complete", file.path, str(exc))
        return
    if shelf.index is None:
        found.wrong("complete", file.path, "not a map from tensor to a file of this folder")


def _template(file: ScannedFile, shelf: Shelf, found: Findings) -> None:
    with file.open() as stream:
        data = read_at_most(stream, MAX_TEMPLATE + 1)
    if len(data) > MAX_TEMPLATE:
        found.wrong("template", file.path, f"more than {MAX_TEMPLATE} bytes")
        return
    try:
        shelf.template = data.decode()
    except UnicodeDecodeError as exc:
        found.wrong("template", file.path, f"not UTF-8 near byte {exc.start}")


def _json(file: ScannedFile, most: int) -> Any:
    with file.open() as stream:
        return parse_json(read_at_most(stream, most + 1), max_bytes=most)
