"""Does the tokenizer write and read back: asked of a child process, because the file is large and somebody else's."""

import contextlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from typing import Any

from pipelines.files_check.shelf import TOKENIZER, Shelf
from pipelines.files_check.values import Findings, first_number
from pipelines.scan.files import MAX_TEXT_BYTES
from pipelines.scan.reading import quoted
from pipelines.scan.values import ScannedFile
from signing.canonical import NotCanonical, parse

LIMIT = 120.0  # seconds until the child is ended
MAX_ANSWER = 256 << 10  # bytes
_STEP = 1 << 20  # bytes copied at once
_SPECIAL = ("bos_token", "eos_token", "pad_token", "unk_token")
_OTHERS = ("tokenizer.model", "vocab.json", "tekken.json", "spiece.model", "vocab.txt")


def check_tokenizer(shelf: Shelf, found: Findings) -> str:
    """Look at tokenizer.json and at the tokenizer of each GGUF file. Returns by which means."""
    means = []
    if TOKENIZER in shelf.files:
        file = shelf.files[TOKENIZER]
        rows = first_number(shelf.text_config, "vocab_size")
        request = {"kind": "json", "size": file.size, "rows": rows, "model": None, "special": _special(shelf)}
        means += _judge(file, request, found)
    elif shelf.weights:
        other = next((name for name in _OTHERS if name in shelf.files), None)
        if other is None:
            found.wrong("tokenizer", TOKENIZER, "is missing")
        else:
            found.unknown(
                "tokenizer", other, f"is the only tokenizer; {TOKENIZER} is the form that is read here"
            )
    for path, header in sorted(shelf.ggufs.items()):
        if first_number(header.metadata, "split.no"):
            continue
        model = header.metadata.get("tokenizer.ggml.model")
        if not isinstance(model, str):
            found.wrong("tokenizer", path, "has no tokenizer")
            continue
        request = {"kind": "gguf", "size": header.data_start, "rows": None, "model": model, "special": []}
        means += _judge(shelf.files[path], request, found)
    return ", ".join(sorted(set(means))) or "not checked"


def _special(shelf: Shelf) -> list[list[str]]:
    """The special tokens that the configuration names; each is a text, or an object with one."""
    named: dict[str, str] = {}
    for path in ("special_tokens_map.json", "tokenizer_config.json"):
        document: Mapping[str, Any] = shelf.documents.get(path, {})
        for name in _SPECIAL:
            value = document.get(name)
            text = value.get("content") if isinstance(value, dict) else value
            if isinstance(text, str) and text:
                named[name] = text
    return [[name, text] for name, text in sorted(named.items())]


def _judge(file: ScannedFile, request: Mapping[str, Any], found: Findings) -> list[str]:
    if request["size"] > MAX_TEXT_BYTES:
        found.wrong("tokenizer", file.path, f"has {request['size']} bytes; at most {MAX_TEXT_BYTES} are read")
        return []
    answers, problem, last_words = _ask(file, request)
    understood = [answer for answer in answers if not answer["unknown"]]
    for answer in answers:
        for message in answer["wrong"]:
            found.wrong("tokenizer", file.path, f"{message} ({answer['by']})")
        for message in answer["unknown"] if not understood else ():
            found.unknown("tokenizer", file.path, f"{message} ({answer['by']})")
    if problem == "refused" and answers:
        found.wrong("tokenizer", file.path, f"the library tokenizers refuses it: {quoted(last_words)}")
    elif problem:
        found.unknown("tokenizer", file.path, f"looking at it {problem}: {quoted(last_words)}")
    return [answer["by"] for answer in answers]


def _ask(file: ScannedFile, request: Mapping[str, Any]) -> tuple[list[dict[str, Any]], str | None, str]:
    """Return the child's answers, how it ended if not well, and the last line that it said of that."""
    process = subprocess.Popen(
        [sys.executable, "-I", "-B", "-m", "pipelines.files_check.tokenizer_child"],
        env={"PATH": os.defpath, "LANG": "C.UTF-8", "TOKENIZERS_PARALLELISM": "false"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdin is not None and process.stdout is not None and process.stderr is not None  # noqa: PT018
    alarm = threading.Timer(LIMIT, process.kill)
    alarm.start()
    try:
        with process.stdin as sink, contextlib.suppress(BrokenPipeError):
            sink.write(json.dumps({**request, "parent": os.getpid()}).encode() + b"\n")
            for piece in _pieces(file, request["size"]):
                sink.write(piece)
        said = process.stdout.read(MAX_ANSWER)
        words = process.stderr.read(MAX_ANSWER).decode("utf-8", "replace").strip().splitlines()
        status = process.wait()  # the alarm still runs
    finally:
        alarm.cancel()
        if process.poll() is None:
            process.kill()
            process.wait()
        process.stdout.close()
        process.stderr.close()
    problem = None if status == 0 else "took too long or too much memory" if status < 0 else "refused"
    return list(_answers(said)), problem, words[-1] if words else f"status {status}"


def _pieces(file: ScannedFile, size: int) -> Iterator[bytes]:
    with file.open() as stream:
        left = size
        while left and (piece := stream.read(min(left, _STEP))):
            left -= len(piece)
            yield piece


def _answers(said: bytes) -> Iterator[dict[str, Any]]:
    for line in said.splitlines():
        try:
            value = parse(line, max_bytes=MAX_ANSWER)
        except NotCanonical:
            return
        if isinstance(value, dict) and value.keys() == {"by", "wrong", "unknown"}:
            yield value
