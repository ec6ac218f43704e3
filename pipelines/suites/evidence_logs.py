"""Logs of other evaluation programs, read as evidence: shown beside our own reports, never a gate's.

    Inspect AI                the log as `.json`, or as `.eval` (a zip; only `header.json` and `summaries.json` are read)
    lm-evaluation-harness     `results_*.json`, and `samples_*.jsonl`

Nobody here knows which bytes were served when such a log was made, so it says nothing that a gate could use.
The files are somebody else's: every one is bounded in bytes before it is parsed, and what has another shape
is refused with its place. Read off logs of Inspect AI 0.3.285 (format 2) and lm-evaluation-harness 0.4.13.
"""

import json
import stat
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, ClassVar
from zipfile import BadZipFile, ZipFile, ZipInfo

from pipelines.errors import JudgingRefused
from signing.digests import file_sha256

MAX_JSON = 32 << 20  # bytes of one JSON document; Inspect's `.eval` is the form for more
MAX_FILE = 1 << 30  # bytes of an `.eval` or of samples: only a part of them is held at a time
MAX_LINE = 1 << 20  # bytes of one sample
MAX_DIRECTORY = 8 << 20  # bytes of a zip's list of members
MAX_CASES = 2_000  # samples that are kept one by one; all of them are counted
MAX_METRICS = 500
MAX_NAME = 200  # characters

INSPECT, HARNESS = "Inspect AI", "lm-evaluation-harness"
_ANY_SCORE = 1e12  # a larger number is no score
_END_OF_ZIP = b"PK\x05\x06"
_STORED, _DEFLATED, _ZSTD = 0, 8, 93  # APPNOTE.TXT 4.4.5; Inspect writes the last of them today


class EvidenceUnreadable(JudgingRefused):
    """A file that is no log of a program that is known here, or a damaged one, or one without measure."""

    exit_code: ClassVar[int] = 210
    next_step: ClassVar[str] = (
        "Hand over a log of Inspect AI (.json or .eval), or results_*.json or samples_*.jsonl of "
        "lm-evaluation-harness, as the program wrote it; write it again there if it is damaged."
    )

    def __init__(self, problem: str, *, at: str) -> None:
        super().__init__(f"{at}: {problem}")
        self.problem, self.at = problem, at


@dataclass(frozen=True)
class Metric:
    """A figure as the log gives it: of which task, with its standard error if there is one. Decimals are texts."""

    task: str
    name: str
    value: str
    error: str | None


@dataclass(frozen=True)
class Sample:
    """One question of the log, by the name that it has there, and what each scorer gave it."""

    id: str
    scores: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class ForeignLog:
    """What a log says. `model` is the name that was asked for: nothing proves which files answered."""

    tool: str
    version: str
    model: str
    status: str  # as the log says; "success" of Inspect is a run that ended, not one that passed
    made_at: str
    metrics: tuple[Metric, ...]
    counted: int  # samples in all
    samples: tuple[Sample, ...]  # the first `MAX_CASES`
    sha256: str  # of the file
    size: int  # bytes

    def body(self) -> dict[str, Any]:
        """The report's part about the log: texts and whole numbers."""
        return {
            "tool": self.tool,
            "tool_version": self.version,
            "model_named": self.model,
            "status": self.status,
            "made_at": self.made_at,
            "file": {"sha256": self.sha256, "size": self.size},
            "metrics": [
                {"task": one.task, "name": one.name, "value": one.value, "error": one.error}
                for one in self.metrics
            ],
            "counted": self.counted,
            "samples": [{"id": one.id, "scores": dict(one.scores)} for one in self.samples],
        }


def read_log(path: Path) -> ForeignLog:
    """Read a log of either program; its content says which, its name does not matter. Raises `EvidenceUnreadable`."""
    try:
        held = path.stat()
        if not stat.S_ISREG(held.st_mode):  # a FIFO would wait for ever
            raise EvidenceUnreadable("not a plain file", at=str(path))
        size = held.st_size
        with path.open("rb") as stream:
            start = stream.read(4)
            stream.seek(0)
            if start == b"PK\x03\x04":
                raw = _inspect_zip(stream, size)
            elif size > MAX_FILE:
                raise EvidenceUnreadable(f"more than {MAX_FILE:,} bytes", at="the file")
            else:
                raw = _json_or_lines(stream, size)
    except OSError as exc:
        raise EvidenceUnreadable(f"cannot be read ({exc.strerror})", at=str(path)) from exc
    return ForeignLog(**raw, sha256=file_sha256(path), size=size)


def _json_or_lines(stream: BinaryIO, size: int) -> dict[str, Any]:
    first = stream.readline(MAX_LINE + 1)
    try:
        start = _parse(first, at="line 1") if first.endswith(b"\n") and len(first) <= MAX_LINE else None
    except EvidenceUnreadable:
        start = None  # the first line of a document that is spread over several
    stream.seek(0)
    if isinstance(start, dict) and "doc_id" in start:
        return _harness_samples(stream)
    if size > MAX_JSON:
        raise EvidenceUnreadable(f"more than {MAX_JSON:,} bytes of JSON", at="the file")
    document = _object(_parse(stream.read(MAX_JSON + 1), at="the log"), at="the log")
    if "doc_id" in document:  # one sample alone, its line not ended
        stream.seek(0)
        return _harness_samples(stream)
    if "eval" in document:
        return _inspect(document, document.get("samples") or [])
    if "lm_eval_version" in document or "n-samples" in document:
        return _harness_results(document)
    raise EvidenceUnreadable(f"neither a log of {INSPECT} nor results of {HARNESS}", at="the log")


# -- Inspect AI -----------------------------------------------------------------------------------------


def _inspect(log: Mapping[str, Any], samples: Any) -> dict[str, Any]:
    about = _object(log.get("eval"), at="eval")
    results = _object(log.get("results") or {}, at="results")
    packages = _object(about.get("packages") or {}, at="eval.packages")
    listed = _list(samples, at="samples")
    return {
        "tool": INSPECT,
        "version": _word(packages.get("inspect_ai", "unknown"), at="eval.packages.inspect_ai"),
        "model": _word(about.get("model"), at="eval.model"),
        "status": _word(log.get("status"), at="status"),
        "made_at": _word(about.get("created"), at="eval.created"),
        "metrics": tuple(_inspect_metrics(_word(about.get("task"), at="eval.task"), results))[:MAX_METRICS],
        "counted": len(listed),
        "samples": tuple(
            _inspect_sample(item, at=f"samples[{number}]") for number, item in enumerate(listed[:MAX_CASES])
        ),
    }


def _inspect_metrics(task: str, results: Mapping[str, Any]) -> Iterator[Metric]:
    for number, raw in enumerate(_list(results.get("scores") or [], at="results.scores")):
        at = f"results.scores[{number}]"
        score = _object(raw, at=at)
        metrics = _object(score.get("metrics") or {}, at=f"{at}.metrics")
        values = {
            name: _number(_object(item, at=f"{at}.metrics").get("value"), at=f"{at}.metrics")
            for name, item in metrics.items()
        }
        for name, value in values.items():
            if name != "stderr":
                label = f"{_word(score.get('name'), at=f'{at}.name')}/{name}"[:MAX_NAME]
                yield Metric(task, label, value, values.get("stderr"))


def _inspect_sample(raw: Any, *, at: str) -> Sample:
    item = _object(raw, at=at)
    name = f"{_word(item.get('id'), at=f'{at}.id')}#{_word(item.get('epoch', 1), at=f'{at}.epoch')}"
    scores = _object(item.get("scores") or {}, at=f"{at}.scores")
    return Sample(
        name,
        tuple(
            (_word(scorer, at=at), _value(_object(score, at=f"{at}.scores").get("value")))
            for scorer, score in list(scores.items())[:16]
        ),
    )


def _inspect_zip(stream: BinaryIO, size: int) -> dict[str, Any]:
    if size > MAX_FILE:
        raise EvidenceUnreadable(f"more than {MAX_FILE:,} bytes", at="the file")
    _bounded_directory(stream, size)
    try:
        with ZipFile(stream) as archive:
            members = {info.filename: info for info in archive.infolist()}
    except (BadZipFile, ValueError, NotImplementedError, UnicodeDecodeError) as exc:
        raise EvidenceUnreadable(f"not a zip that can be read ({exc})", at="the file") from exc
    if "header.json" not in members:
        raise EvidenceUnreadable("holds no header.json: not a finished log", at="the file")
    header = _object(_member(stream, members["header.json"]), at="header.json")
    summaries = _member(stream, members["summaries.json"]) if "summaries.json" in members else []
    return _inspect(header, summaries)


def _bounded_directory(stream: BinaryIO, size: int) -> None:
    """Refuse a list of members that would fill the memory, before `zipfile` reads all of it."""
    stream.seek(max(0, size - (1 << 16) - 22))
    tail = stream.read()
    at = tail.rfind(_END_OF_ZIP)
    if at < 0 or len(tail) < at + 22:
        raise EvidenceUnreadable("its end is missing", at="the file")
    if int.from_bytes(tail[at + 12 : at + 16], "little") > MAX_DIRECTORY:
        raise EvidenceUnreadable(f"lists more than {MAX_DIRECTORY:,} bytes of members", at="the file")
    stream.seek(0)


def _member(stream: BinaryIO, info: ZipInfo) -> Any:
    """Read one member ourselves: Python's `zipfile` of 3.11 knows no zstd, and expands without a bound."""
    name = info.filename
    if info.flag_bits & 1 or info.compress_size > MAX_JSON:
        raise EvidenceUnreadable(f"encrypted, or more than {MAX_JSON:,} bytes", at=name)
    stream.seek(info.header_offset)
    local = stream.read(30)
    if len(local) < 30 or local[:4] != b"PK\x03\x04":
        raise EvidenceUnreadable("stands at no member's place", at=name)
    stream.seek(int.from_bytes(local[26:28], "little") + int.from_bytes(local[28:30], "little"), 1)
    data = _expand(stream.read(info.compress_size), info.compress_type, at=name)
    if len(data) > MAX_JSON:
        raise EvidenceUnreadable(f"more than {MAX_JSON:,} bytes", at=name)
    if zlib.crc32(data) != info.CRC:
        raise EvidenceUnreadable("is damaged: its check sum is another", at=name)
    return _parse(data, at=name)


def _expand(data: bytes, method: int, *, at: str) -> bytes:
    """Return at most one byte more than `MAX_JSON`."""
    if method == _STORED:
        return data
    try:
        if method == _DEFLATED:
            return zlib.decompressobj(-15).decompress(data, MAX_JSON + 1)
        if method == _ZSTD:
            import zstandard  # noqa: PLC0415 - costs time to import

            reader = zstandard.ZstdDecompressor(max_window_size=1 << 23).stream_reader(data)
            try:
                return bytes(reader.read(MAX_JSON + 1))
            except zstandard.ZstdError as exc:
                raise EvidenceUnreadable(f"does not expand ({exc})", at=at) from exc
    except zlib.error as exc:
        raise EvidenceUnreadable(f"does not expand ({exc})", at=at) from exc
    raise EvidenceUnreadable(f"compressed by method {method}, which is not known here", at=at)


# -- lm-evaluation-harness ------------------------------------------------------------------------------


def _harness_results(log: Mapping[str, Any]) -> dict[str, Any]:
    counts = _object(log.get("n-samples") or {}, at="n-samples")
    counted = 0
    for task, item in counts.items():
        effective = _object(item, at=f"n-samples.{task[:64]}").get("effective")
        counted += effective if type(effective) is int and 0 <= effective < 10**9 else 0
    return {
        "tool": HARNESS,
        "version": _word(log.get("lm_eval_version", "unknown"), at="lm_eval_version"),
        "model": _word(log.get("model_name") or log.get("model_source") or "unknown", at="model_name"),
        "status": "success",
        "made_at": _value(log.get("date")),
        "metrics": tuple(_harness_metrics(log))[:MAX_METRICS],
        "counted": counted,
        "samples": (),
    }


def _harness_metrics(log: Mapping[str, Any]) -> Iterator[Metric]:
    for task, raw in _object(log.get("results"), at="results").items():
        values = _object(raw, at=f"results.{task[:64]}")
        for key, value in values.items():
            name, comma, kept = key.partition(",")  # "exact_match,none": the metric and the answers' filter
            if not comma or name.endswith("_stderr"):
                continue
            error = values.get(f"{name}_stderr,{kept}")
            yield Metric(
                _word(task, at="results"),
                _word(key, at="results"),
                _number(value, at=f"results.{task[:64]}"),
                _value(error) if isinstance(error, int | float) else None,
            )


def _harness_samples(stream: BinaryIO) -> dict[str, Any]:
    counted, kept, sums = 0, [], dict[str, tuple[float, int]]()
    while line := stream.readline(MAX_LINE + 1):
        at = f"line {counted + 1}"
        if len(line) > MAX_LINE:
            raise EvidenceUnreadable(f"more than {MAX_LINE:,} bytes", at=at)
        item = _object(_parse(line, at=at), at=at)
        names = [_word(name, at=f"{at}: metrics") for name in _list(item.get("metrics"), at=f"{at}: metrics")]
        for name in names[:16]:
            value = item.get(name)
            if isinstance(value, int | float) and abs(value) < _ANY_SCORE:
                total, number = sums.get(name, (0.0, 0))
                sums[name] = (total + value, number + 1)
        if counted < MAX_CASES:
            scores = tuple((name, _value(item.get(name))) for name in names[:16])
            kept.append(Sample(_word(item.get("doc_id"), at=f"{at}: doc_id"), scores))
        counted += 1
        if len(sums) > MAX_METRICS:
            raise EvidenceUnreadable(f"more than {MAX_METRICS} metrics", at=at)
    return {
        "tool": HARNESS,
        "version": "unknown",
        "model": "unknown",  # samples do not say it
        "status": "samples",
        "made_at": "unknown",
        "metrics": tuple(
            Metric("samples", name, _value(total / number), None) for name, (total, number) in sums.items()
        ),
        "counted": counted,
        "samples": tuple(kept),
    }


# -- small decoders -------------------------------------------------------------------------------------


def _parse(data: bytes, *, at: str) -> Any:
    try:
        return json.loads(data, parse_constant=str, object_pairs_hook=_once)
    except (ValueError, RecursionError) as exc:  # bytes that are no UTF-8 are a ValueError too
        raise EvidenceUnreadable(f"not readable as JSON ({exc})"[:300], at=at) from exc


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice in an object")
    return found


def _object(value: Any, *, at: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise EvidenceUnreadable("an object is expected", at=at)
    return value


def _list(value: Any, *, at: str) -> list[Any]:
    if not isinstance(value, list):
        raise EvidenceUnreadable("a list is expected", at=at)
    return value


def _word(value: Any, *, at: str) -> str:
    if type(value) is int and abs(value) < 10**15:
        return str(value)
    if not isinstance(value, str) or not value:
        raise EvidenceUnreadable("a text is expected", at=at)
    return _plain(value)


def _number(value: Any, *, at: str) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise EvidenceUnreadable("a number is expected", at=at)
    return _value(value)


def _value(value: Any) -> str:
    """A score as a text: the number to six figures, the letter that it was given, or the start of whatever it is."""
    if isinstance(value, float):
        return f"{value:.6g}"
    return _plain(value if isinstance(value, str) else json.dumps(value))


def _plain(text: str) -> str:
    return text[:MAX_NAME].encode("utf-8", "replace").decode()
