"""The JSON documents of a model: code that they ask an engine to run, claims, templates, and the index of shards.

An engine that is told not to trust repository code has run it all the same, three times (CVE-2025-66448,
CVE-2026-22807, CVE-2026-27893). So a document that names code is refused, whatever the engine's flags say.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

from pipelines.scan.files import encoded_payload
from pipelines.scan.reading import quoted, read_at_most

MAX_BYTES = 8 << 20  # of one parsed document; published ones stay under 1 MB, indexes aside
MAX_INDEX_BYTES = 32 << 20
MAX_CONTEXT = 1 << 31  # tokens; a larger claim is not one

# Read as text only: tens of megabytes of vocabulary, from which no engine takes code.
UNPARSED = frozenset(("tokenizer.json", "vocab.json"))

_CODE_KEYS = {
    "auto_map": "code.auto-map",
    "custom_pipelines": "code.custom-pipeline",
    "custom_pipeline": "code.custom-pipeline",
    "custom_generate": "code.custom-pipeline",
    "trust_remote_code": "code.trust-remote-code",
}
_PYTHON = re.compile(r"(?:^|[\w./\\-])\.py[cx]?(?:$|[:#?\s])")


@dataclass(frozen=True)
class DocumentNote:
    """One thing seen: the id of a rule, the place as a JSON path, and what stands there."""

    rule: str
    at: str
    message: str


@dataclass(frozen=True)
class ConfigFacts:
    """What config.json says of the model. None or empty where it says nothing."""

    architectures: tuple[str, ...] = ()
    model_type: str | None = None
    context_length: int | None = None


@dataclass(frozen=True)
class ShardIndex:
    """A `*.safetensors.index.json`: which file of the same folder holds each tensor; bytes in total, if stated."""

    weight_map: Mapping[str, str]
    total_size: int | None


def code_references(value: Any) -> Iterator[DocumentNote]:
    """Every place in a document that asks for program code. Without recursion, at any depth."""
    todo: list[tuple[str, Any]] = [("$", value)]
    while todo:
        at, node = todo.pop()
        if isinstance(node, dict):
            for key, child in node.items():
                place = f"{at}.{quoted(key, limit=60, quotes=False)}"
                if rule := _CODE_KEYS.get(key.lower().replace("-", "_")):
                    if _asks(child):
                        yield DocumentNote(
                            rule, place, f"asks the engine to run code: {quoted(str(child)[:400])}"
                        )
                    continue
                if _PYTHON.search(key):
                    yield DocumentNote("code.python-reference", place, f"names Python code: {quoted(key)}")
                todo.append((place, child))
        elif isinstance(node, list):
            todo.extend((f"{at}[{number}]", child) for number, child in enumerate(node))
        elif isinstance(node, str):
            yield from _in_text(at, node)


def _in_text(at: str, text: str) -> Iterator[DocumentNote]:
    if len(text) <= _MAX_NAME and _PYTHON.search(text):
        yield DocumentNote("code.python-reference", at, f"names Python code: {quoted(text)}")
    elif encoded_payload(text):
        message = f"holds {len(text)} characters of an encoded archive, program or pickle"
        yield DocumentNote("document.encoded-payload", at, message)


def code_keys(stream: BinaryIO) -> str | None:
    """Look for a key that asks for code in a document too large to be parsed; return it. Reads in blocks.

    The keys are looked for as written and with escapes, with a value that asks: a vocabulary may hold the word.
    """
    kept = b""
    while block := read_at_most(stream, 1 << 20):
        window = _ESCAPE.sub(lambda match: bytes([int(match[1], 16)]), kept + block)
        if found := _RAW_KEY.search(window):
            return found[1].decode()
        kept = (kept + block)[-_OVERLAP:]
    return None


_ESCAPE = re.compile(rb"\\u00([0-7][0-9a-fA-F])")
_OVERLAP = 1024  # bytes that two blocks have in common; an escaped key and its value begin within them
_RAW_KEY = re.compile(
    rb'"(auto_map|custom_pipelines?|custom_generate|trust_remote_code)"\s{0,64}:\s{0,64}(?:"|\[|\{\s{0,64}"|true)'
)

_MAX_NAME = 512  # characters; longer text is prose or a template, which has its own rules


def rule_of(key: str) -> str:
    """The rule that a key breaks which asks for code."""
    return _CODE_KEYS[key]


def _asks(value: Any) -> bool:
    """`"trust_remote_code": false` and empty maps ask for nothing; the text `"false"` does, to a careless reader."""
    return value not in (None, False, {}, [], "")


def config_facts(value: Any) -> tuple[ConfigFacts, list[DocumentNote]]:
    """Read config.json's claims. A claim of a wrong type is a note, not a fact."""
    notes: list[DocumentNote] = []

    def claim(at: str, expected: str) -> None:
        notes.append(DocumentNote("document.claim", at, f"is not {expected}"))

    if not isinstance(value, dict):
        return ConfigFacts(), [DocumentNote("document.claim", "$", "is not an object")]
    architectures, model_type = value.get("architectures"), value.get("model_type")
    if architectures is not None and not _names(architectures):
        claim("$.architectures", "a list of names")
        architectures = None
    if model_type is not None and not _names([model_type]):
        claim("$.model_type", "a name")
        model_type = None
    text = value.get("text_config")
    inner = text if isinstance(text, dict) else {}
    context = value.get("max_position_embeddings", inner.get("max_position_embeddings"))
    if context is not None and not is_context(context):
        claim("$.max_position_embeddings", f"a number of tokens below {MAX_CONTEXT}")
        context = None
    return ConfigFacts(tuple(architectures or ()), model_type, context), notes


def is_context(value: object) -> bool:
    """Whether this is a plausible number of tokens."""
    return type(value) is int and 0 < value < MAX_CONTEXT


def _names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) and _NAME.fullmatch(name) for name in value)


_NAME = re.compile(r"[A-Za-z0-9][\w.+-]{0,99}", re.ASCII)


def chat_templates(value: Any) -> Iterator[tuple[str, str, object]]:
    """The templates of a tokenizer_config.json or chat_template.json: name, place, and what stands there.

    The third is the text, or anything else where the document is wrong.
    """
    template = value.get("chat_template") if isinstance(value, dict) else None
    if isinstance(template, list):
        for number, entry in enumerate(template[:_MAX_TEMPLATES]):
            fields = entry if isinstance(entry, dict) else {}
            name = fields.get("name")
            yield name if isinstance(name, str) else "?", f"$.chat_template[{number}]", fields.get("template")
        if len(template) > _MAX_TEMPLATES:
            yield "?", "$.chat_template", None
    elif isinstance(template, dict):
        for name, text in list(template.items())[:_MAX_TEMPLATES]:
            yield name, f"$.chat_template.{quoted(name, quotes=False)}", text
    elif template is not None:
        yield "default", "$.chat_template", template


_MAX_TEMPLATES = 16  # of one document


def shard_index(value: Any) -> ShardIndex | None:
    """Read an index of shards; None where it is not one, or where it names a file outside its own folder."""
    if not isinstance(value, dict) or not isinstance(value.get("weight_map"), dict):
        return None
    weight_map = value["weight_map"]
    if not weight_map or not all(
        isinstance(name, str) and _SHARD.fullmatch(name) for name in weight_map.values()
    ):
        return None
    metadata = value.get("metadata")
    total = metadata.get("total_size") if isinstance(metadata, dict) else None
    return ShardIndex(weight_map, total if type(total) is int else None)


_SHARD = re.compile(r"[^/\\\0]{1,200}\.safetensors")
