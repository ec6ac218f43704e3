"""Other programs' logs as evidence: real ones are read, and every damaged or hostile one ends in our refusal.

The logs in `foreign_logs` were written by Inspect AI 0.3.285 (its mock model) and lm-evaluation-harness 0.4.13
(its dummy model), two samples each.
"""

import contextlib
import io
import json
import os
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines.suites import evidence_logs
from pipelines.suites.evidence import take_evidence
from pipelines.suites.evidence_logs import EvidenceUnreadable, Metric, Sample, read_log
from pipelines.workplace import Workplace
from signing.canonical import canonical_bytes
from signing.digests import file_sha256
from tests.pipelines.test_suite_run import version_of

LOGS = Path(__file__).parent / "foreign_logs"
NAMES = ["inspect.json", "inspect.eval", "results_weather.json", "samples_weather.jsonl"]


@pytest.mark.parametrize("name", ["inspect.json", "inspect.eval"])
def test_a_log_of_inspect_says_the_same_in_both_its_forms(name: str) -> None:
    log = read_log(LOGS / name)
    assert ("Inspect AI", "0.3.285", "mockllm/model", "success") == (
        log.tool,
        log.version,
        log.model,
        log.status,
    )
    assert Metric("weather", "includes/accuracy", "0.5", "0.5") in log.metrics
    assert Sample("oslo#1", (("includes", "C"), ("match", "C"))) == log.samples[0]
    assert (2, file_sha256(LOGS / name)) == (log.counted, log.sha256)


def test_results_and_samples_of_the_harness() -> None:
    log = read_log(LOGS / "results_weather.json")
    assert ("lm-evaluation-harness", "0.4.13", 2) == (log.tool, log.version, log.counted)
    assert (Metric("weather", "exact_match,none", "0", "0"),) == log.metrics
    samples = read_log(LOGS / "samples_weather.jsonl")
    assert (2, "unknown", Sample("1", (("exact_match", "0"),))) == (
        samples.counted,
        samples.model,
        samples.samples[1],
    )


@pytest.mark.parametrize("name", NAMES)
def test_a_log_is_noted_and_gates_nothing(workplace: Workplace, tmp_path: Path, name: str) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.gguf").write_bytes(b"GGUF one")
    version = version_of(tmp_path / "model")
    row, _ = take_evidence(workplace, version, LOGS / name)
    assert ("evidence", "NOTED", None, None) == (row.kind, row.outcome, row.suite, row.statement)
    assert file_sha256(LOGS / name) == json.loads(row.body)["log"]["file"]["sha256"]
    with workplace.store.view() as view:
        assert [row.digest] == [one.digest for one in view.reports(version.digest)]
        assert [] == view.reports(version.digest, "validation")
        assert "evidence taken in" == view.events()[-1].kind


# -- refused ----------------------------------------------------------------------------------------------


def packed(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return made.getvalue()


HEADER = json.dumps({"status": "success", "eval": {"task": "t", "model": "m", "created": "today"}}).encode()


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_older_logs_are_stored_or_deflated(tmp_path: Path, method: int) -> None:
    (tmp_path / "log.eval").write_bytes(packed({"header.json": HEADER}, method))
    assert ("m", 0) == (read_log(tmp_path / "log.eval").model, read_log(tmp_path / "log.eval").counted)


def zstd_member(name: str, plain: bytes, *, crc: int | None = None) -> bytes:
    """A zip of one member, compressed with zstd: what Python's `zipfile` here cannot write."""
    data = zstandard.compress(plain)
    check, encoded = zlib.crc32(plain) if crc is None else crc, name.encode()
    common = struct.pack("<HHHHHLLLHH", 20, 0, 93, 0, 0, check, len(data), len(plain), len(encoded), 0)
    local = b"PK\x03\x04" + common + encoded
    central = b"PK\x01\x02" + struct.pack("<H", 20) + common + struct.pack("<HHHLL", 0, 0, 0, 0, 0) + encoded
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 1, 1, len(central), len(local) + len(data), 0)
    return local + data + central + end


def changed(name: str, change: Callable[[Any], Any]) -> bytes:
    value = json.loads((LOGS / name).read_bytes())
    change(value)
    return json.dumps(value).encode()


DEEP = b"[" * 100_000
REFUSED: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "not readable as JSON"),
    "another-program": (b'{"results": []}', "neither a log of"),
    "no-object": (b"[1, 2]", "an object is expected"),
    "not-utf-8": (b'{"eval": "\xff"}', "not readable as JSON"),
    "too-deep": (DEEP, "not readable as JSON"),
    "a-name-twice": (b'{"eval": {}, "eval": {}}', "stands twice"),
    "a-huge-number": (b'{"eval": ' + b"9" * 5000 + b"}", "not readable as JSON"),
    "no-model": (changed("inspect.json", lambda log: log["eval"].pop("model")), "a text is expected"),
    "samples-that-are-none": (changed("inspect.json", lambda log: log.update(samples={"a": 1})), "a list is expected"),
    "scores-that-are-none": (
        changed("inspect.json", lambda log: log["samples"][0].update(scores=[1])),
        "an object is expected",
    ),
    "no-number": (
        changed("results_weather.json", lambda log: log["results"]["weather"].update({"exact_match,none": [1]})),
        "a number is expected",
    ),
    "half-a-log": ((LOGS / "inspect.json").read_bytes()[:20_000], "not readable as JSON"),
    "half-a-zip": ((LOGS / "inspect.eval").read_bytes()[:4_000], "its end is missing"),
    "a-zip-of-something-else": (packed({"model.safetensors": b"x"}), "holds no header.json"),
    "a-member-that-is-no-json": (packed({"header.json": b"<html>"}), "header.json: not readable"),
    "a-bomb": (packed({"header.json": b" " * (40 << 20)}), "header.json: more than"),
    "a-zstd-bomb": (zstd_member("header.json", b" " * (40 << 20)), "header.json: more than"),
    "a-wrong-sum": (zstd_member("header.json", HEADER, crc=1), "check sum"),
    "a-sample-without-a-name": (b'{"doc_id": null, "metrics": []}\n{"doc_id": 1}\n', "doc_id"),
    "a-line-too-long": (b'{"doc_id": 1, "metrics": []}\n' + b"x" * (2 << 20), "line 2: more than"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_log_is_refused_with_its_place(tmp_path: Path, name: str) -> None:
    data, problem = REFUSED[name]
    (tmp_path / "log").write_bytes(data)
    with pytest.raises(EvidenceUnreadable, match=problem):
        read_log(tmp_path / "log")


def test_a_list_of_members_that_would_fill_the_memory_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evidence_logs, "MAX_DIRECTORY", 1_000)
    (tmp_path / "log").write_bytes(packed({f"samples/{number}.json": b"{}" for number in range(50)}))
    with pytest.raises(EvidenceUnreadable, match="of members"):
        read_log(tmp_path / "log")


def test_what_is_no_plain_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path, tmp_path / "missing"):
        with pytest.raises(EvidenceUnreadable):
            read_log(path)


def test_more_samples_than_are_kept_are_counted(tmp_path: Path) -> None:
    lines = [json.dumps({"doc_id": number, "metrics": ["acc"], "acc": number % 2}) for number in range(2_500)]
    (tmp_path / "log").write_text("\n".join(lines))
    log = read_log(tmp_path / "log")
    assert (2_500, 2_000, Metric("samples", "acc", "0.5", None)) == (
        log.counted,
        len(log.samples),
        log.metrics[0],
    )


def test_scores_that_are_no_numbers_are_texts_and_infinite_ones_do_no_harm(tmp_path: Path) -> None:
    def spoil(log: Any) -> None:
        log["samples"][0]["scores"]["includes"]["value"] = float("nan")
        log["samples"][1]["scores"]["includes"]["value"] = {"a": [1, None]}
        log["results"]["scores"][0]["metrics"]["accuracy"]["value"] = float("inf")

    (tmp_path / "log").write_bytes(changed("inspect.json", spoil))
    log = read_log(tmp_path / "log")
    assert ("NaN", '{"a": [1, null]}') == (log.samples[0].scores[0][1], log.samples[1].scores[0][1])
    assert "Infinity" == log.metrics[0].value
    canonical_bytes(log.body())


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    name=st.sampled_from(NAMES), at=st.floats(0, 1), put=st.binary(min_size=1, max_size=6), cut=st.booleans()
)
def test_whatever_was_done_to_a_log_it_is_read_or_refused(
    tmp_path: Path, name: str, at: float, put: bytes, cut: bool
) -> None:
    data = (LOGS / name).read_bytes()
    place = int(at * len(data))
    (tmp_path / "log").write_bytes(data[:place] + put + (b"" if cut else data[place + len(put) :]))
    with contextlib.suppress(EvidenceUnreadable):
        canonical_bytes(read_log(tmp_path / "log").body())
