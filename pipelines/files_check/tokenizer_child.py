"""The child process that looks at one tokenizer: somebody else's file of up to 256 MiB, parsed within limits.

Standard input: one line of JSON (`parent`, `kind`, `size`, `rows`, `model`, `special`), then `size` bytes. Standard
output: one line of JSON per means, `by`, `wrong`, `unknown`. First our own reading, then, where it is installed, the
library `tokenizers`; it raises bare exceptions, which end this process, and the parent takes its last words.
"""

import importlib.util
import json
import os
import resource
import struct
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from pipelines.files_check.bpe import SAMPLES, Vocabulary
from pipelines.scan.reading import quoted
from signing.canonical import NotCanonical, parse

MEMORY = 4 << 30  # bytes of address space; the library reserves far more than it uses
SECONDS = 90  # of CPU
MAX_BYTES = 256 << 20
MAX_VALUES = 8_000_000  # a vocabulary of 260 000 with its merges has about 1.8 million
_PR_SET_PDEATHSIG = 1  # <sys/prctl.h>
_SCALARS = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}  # GGUF type: bytes
_STRING, _ARRAY = 8, 9


def main() -> int:
    """Answer one request."""
    request = parse(sys.stdin.buffer.readline(1 << 20), max_bytes=1 << 20)
    _limit(request["parent"])
    data = sys.stdin.buffer.read(min(request["size"], MAX_BYTES))
    wrong, unknown = _ours(request, data)
    _say("our own reading", wrong, unknown)
    if request["kind"] == "json" and not wrong and importlib.util.find_spec("tokenizers") is not None:
        _say(*_library(data, request))
    return 0


def _limit(parent: int) -> None:
    import ctypes  # noqa: PLC0415 - here only
    import signal  # noqa: PLC0415

    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)
    limits = ((resource.RLIMIT_AS, MEMORY), (resource.RLIMIT_CPU, SECONDS), (resource.RLIMIT_FSIZE, 1 << 20))
    for what, most in (*limits, (resource.RLIMIT_NOFILE, 64), (resource.RLIMIT_CORE, 0)):
        _, hard = resource.getrlimit(what)
        least = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(what, (least, least))


def _say(by: str, wrong: list[str], unknown: list[str]) -> None:
    print(json.dumps({"by": by, "wrong": wrong[:40], "unknown": unknown[:40]}), flush=True)  # noqa: T201


def _ours(request: Mapping[str, Any], data: bytes) -> tuple[list[str], list[str]]:
    if request["kind"] == "gguf":
        return _gguf(request, data)
    try:
        value = parse(data, max_bytes=MAX_BYTES, at="tokenizer.json", max_values=MAX_VALUES)
    except NotCanonical as exc:
        return [f"cannot be read: {exc.problem}"], []
    model = value.get("model") if isinstance(value, dict) else None
    if not isinstance(model, dict):
        return ["has no model"], []
    ids, wrong = _ids(model.get("vocab"), value.get("added_tokens"))
    rows = request["rows"]
    if ids and rows is not None and max(ids.values()) >= rows:
        wrong.append(f"has a token with number {max(ids.values())}; the model's vocabulary has {rows}")
    wrong += [
        f"{name} is {quoted(text)}, which is no token" for name, text in request["special"] if text not in ids
    ]
    types = {*_types(value.get("pre_tokenizer")), *_types(value.get("decoder"))}
    more, unknown = _pairs(model, ids, byte_level="ByteLevel" in types)
    return wrong + more, unknown


def _pairs(
    model: Mapping[str, Any], ids: Mapping[str, int], *, byte_level: bool
) -> tuple[list[str], list[str]]:
    """Hold a byte-pair model against itself; of other kinds nothing is known here."""
    merges = model.get("merges")
    if model.get("type", "BPE") != "BPE" or not isinstance(merges, list):
        return [], [f"is of the kind {quoted(str(model.get('type')))}, which only the library reads"]
    if not byte_level and model.get("byte_fallback") is not True:
        return [], ["writes bytes in a way that is not known here"]
    pairs = [pair for item in merges if (pair := _pair(item))]
    if len(pairs) != len(merges):
        return ["has a merge that is no pair of texts"], []
    return list(Vocabulary(ids, pairs, byte_level).problems()), []


def _ids(vocab: Any, added: Any) -> tuple[dict[str, int], list[str]]:
    """Return every token's number, and what is wrong with the numbers."""
    if not isinstance(vocab, dict):
        pairs = vocab if isinstance(vocab, list) else []  # Unigram: a list of text and score
        vocab = {item[0]: number for number, item in enumerate(pairs) if isinstance(item, list) and item}
    ids = {text: number for text, number in vocab.items() if type(number) is int and number >= 0}
    wrong = [] if ids and len(ids) == len(vocab) else ["its vocabulary is no map from text to number"]
    if len(set(ids.values())) != len(ids):
        wrong.append("two tokens have the same number")
    texts = {number: text for text, number in ids.items()}
    for item in added if isinstance(added, list) else []:
        number, text = (item.get("id"), item.get("content")) if isinstance(item, dict) else (None, None)
        if type(number) is not int or not isinstance(text, str) or texts.get(number, text) != text:
            wrong.append(f"adds {quoted(str(text))} under a number that is another token's")
        elif ids.setdefault(text, number) != number:
            wrong.append(f"gives {quoted(text)} two numbers")
    return ids, wrong


def _types(value: Any) -> Iterator[str]:
    todo = [value]
    while todo:
        item = todo.pop()
        if isinstance(item, dict):
            if isinstance(item.get("type"), str):
                yield item["type"]
            todo.extend(item.values())
        elif isinstance(item, list):
            todo.extend(item)


def _pair(item: Any) -> tuple[str, str] | None:
    parts = item.split(" ") if isinstance(item, str) else item
    if isinstance(parts, list) and len(parts) == 2 and all(isinstance(part, str) for part in parts):
        return parts[0], parts[1]
    return None


def _library(data: bytes, request: Mapping[str, Any]) -> tuple[str, list[str], list[str]]:
    import tokenizers  # noqa: PLC0415 - an optional library; somebody else's code meets the file only in here

    reader = tokenizers.Tokenizer.from_str(data.decode())
    wrong, unknown = [], []
    for sample in SAMPLES:
        numbers = reader.encode(sample, add_special_tokens=False).ids
        said = reader.decode(numbers, skip_special_tokens=False)
        if request["rows"] is not None and any(number >= request["rows"] for number in numbers):
            wrong.append(f"writes {quoted(sample)} with a number beyond the model's vocabulary")
        if said == sample:
            continue
        if said.replace(" ", "").casefold() == sample.replace(" ", "").casefold():
            unknown.append(f"reads {quoted(sample)} back with other spaces or capitals")
        else:
            wrong.append(f"reads {quoted(sample)} back as {quoted(said)}")
    return f"tokenizers {tokenizers.__version__}", wrong, unknown


def _gguf(request: Mapping[str, Any], data: bytes) -> tuple[list[str], list[str]]:
    """Look at the tokenizer in a GGUF header, whose structure the strict reader has checked before."""
    arrays = dict(_texts(data))
    tokens = arrays.get("tokenizer.ggml.tokens", [])
    ids = {token: number for number, token in reversed(list(enumerate(tokens)))}
    wrong = [] if tokens else ["has no tokens"]
    if len(ids) != len(tokens):
        wrong.append("two tokens are the same text")
    if request["model"] not in ("gpt2", "llama"):
        return wrong, [f"is of the kind {quoted(str(request['model']))}, which is not known here"]
    pairs = [pair for item in arrays.get("tokenizer.ggml.merges", []) if (pair := _pair(item))]
    if request["model"] == "gpt2" and len(pairs) != len(arrays.get("tokenizer.ggml.merges", [])):
        wrong.append("has a merge that is no pair of texts")
    return wrong + list(Vocabulary(ids, pairs, request["model"] == "gpt2").problems()), []


def _texts(data: bytes) -> Iterator[tuple[str, list[str]]]:
    """Yield each array of texts in a GGUF header. Source: `pipelines.scan.gguf`."""
    place = 24
    for _ in range(int.from_bytes(data[16:24], "little")):
        key, place = _text(data, place)
        kind = int.from_bytes(data[place : place + 4], "little")
        place += 4
        if kind == _STRING:
            _, place = _text(data, place)
        elif kind != _ARRAY:
            place += _SCALARS[kind]
        else:
            inner, count = struct.unpack_from("<IQ", data, place)
            place += 12
            if inner == _ARRAY:
                return  # no file that is known has one; what stands behind is not looked at
            if inner != _STRING:
                place += count * _SCALARS[inner]
                continue
            found = []
            for _ in range(count):
                text, place = _text(data, place)
                found.append(text)
            yield key, found


def _text(data: bytes, place: int) -> tuple[str, int]:
    end = place + 8 + int.from_bytes(data[place : place + 8], "little")
    return data[place + 8 : end].decode("utf-8", "replace"), end


if __name__ == "__main__":
    sys.exit(main())
