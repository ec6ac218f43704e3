"""Do generation_config.json and the special tokens say something that can be. Pure.

A token number beyond the vocabulary, or no token that ends an answer, shows only when somebody waits for the end.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from pipelines.files_check.shelf import Shelf
from pipelines.files_check.values import Findings, first_number, whole_number
from pipelines.scan.gguf import GgufArray, GgufHeader
from pipelines.scan.reading import quoted

_TOKENS = ("bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id", "sep_token_id")
_GGUF_TOKENS = ("bos", "eos", "eot", "eom", "unknown", "padding", "seperator", "separator", "mask")
# Field: least, most, whether the bounds themselves are allowed.
_RANGES = {
    "temperature": (0.0, 100.0, True),
    "top_p": (0.0, 1.0, True),
    "min_p": (0.0, 1.0, True),
    "typical_p": (0.0, 1.0, True),
    "repetition_penalty": (0.0, 100.0, False),
}
_COUNTS = ("top_k", "max_length", "max_new_tokens", "num_beams", "min_length", "min_new_tokens")


def check_generation(shelf: Shelf, found: Findings) -> None:
    """Look at config.json, generation_config.json and each GGUF header."""
    generation = shelf.documents.get("generation_config.json", {})
    if shelf.weights:
        vocabulary = first_number(shelf.text_config, "vocab_size")
        if vocabulary is None:
            found.unknown("generation", "config.json", "does not say how large the vocabulary is")
        documents = {"config.json": shelf.text_config, "generation_config.json": generation}
        for path, document in documents.items():
            _tokens(path, document, vocabulary, found)
        if not any(list(_ids(document.get("eos_token_id"))) for document in documents.values()):
            found.wrong(
                "generation", "", "no eos_token_id in config.json or generation_config.json ends an answer"
            )
    _settings(generation, found)
    for path, header in sorted(shelf.ggufs.items()):
        _gguf(path, header, found)


def _ids(value: Any) -> Iterator[Any]:
    if isinstance(value, list):
        yield from value
    elif value is not None:
        yield value


def _tokens(path: str, document: Mapping[str, Any], vocabulary: int | None, found: Findings) -> None:
    for key in _TOKENS:
        for value in _ids(document.get(key)):
            number = whole_number(value)
            if number is None or number < 0:
                if not (
                    key == "pad_token_id" and number == -1
                ):  # some publishers' way to say that there is none
                    found.wrong(
                        "generation", path, f"{key} is {quoted(str(value))}, which is no token's number"
                    )
            elif vocabulary is not None and number >= vocabulary:
                found.wrong("generation", path, f"{key} is {number}; the vocabulary has {vocabulary}")


def _settings(document: Mapping[str, Any], found: Findings) -> None:
    path = "generation_config.json"
    for key, (least, most, inclusive) in _RANGES.items():
        value = document.get(key)
        if value is None:
            continue
        number = value if isinstance(value, int | float) and not isinstance(value, bool) else None
        if number is None or not least <= number <= most or (number == least and not inclusive):
            found.wrong(
                "generation", path, f"{key} is {quoted(str(value))}; {least:g} to {most:g} makes sense"
            )
    for key in _COUNTS:
        value = document.get(key)
        if value is not None and (whole_number(value) is None or value < 0):
            found.wrong("generation", path, f"{key} is {quoted(str(value))}, which is no count")


def _gguf(path: str, header: GgufHeader, found: Findings) -> None:
    if first_number(header.metadata, "split.no"):  # only the first part of a split file has the tokenizer
        return
    tokens = header.metadata.get("tokenizer.ggml.tokens")
    if not isinstance(tokens, GgufArray):
        found.unknown("generation", path, "has no list of tokens")
        return
    for name in _GGUF_TOKENS:
        key = f"tokenizer.ggml.{name}_token_id"
        number = whole_number(header.metadata.get(key))
        if number is not None and not 0 <= number < tokens.count and number != 0xFFFFFFFF:
            found.wrong("generation", path, f"{key} is {number}; there are {tokens.count} tokens")
    if whole_number(header.metadata.get("tokenizer.ggml.eos_token_id")) is None:
        found.wrong("generation", path, "no tokenizer.ggml.eos_token_id ends an answer")
