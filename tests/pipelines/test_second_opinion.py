"""Outputs of other scanners: real ones, damaged ones, hostile ones. Evidence, never a decision."""

import json
import os
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.intake.folder import add_folder
from pipelines.second_opinion import MAX_BYTES, MAX_REMARKS, OpinionUnreadable, read_opinion, take_opinion
from pipelines.workplace import Workplace
from registry.errors import NotFound
from registry.names import Ref
from tests.pipelines.hostile import good_model
from tests.pipelines.test_intake_folder import laid_out

OUTPUTS = Path(__file__).parent / "second_opinions"
MODEL = "acme/tiny-llm"


def output(name: str) -> bytes:
    return (OUTPUTS / name).read_bytes()


@pytest.mark.parametrize(
    ("name", "tool", "found", "complete", "scanned", "remarks"),
    [
        ("picklescan.txt", "picklescan", True, False, 3, 3),
        ("picklescan-clean.txt", "picklescan", False, True, 1, 0),
        ("fickling.json", "fickling", True, True, 1, 3),
        ("fickling-clean.json", "fickling", False, True, 1, 0),
        ("modelaudit.json", "modelaudit", True, False, 3, 6),
        ("modelaudit-clean.json", "modelaudit", False, True, 2, 0),
    ],
)
def test_what_the_programs_write_is_read(
    name: str, tool: str, *, found: bool, complete: bool, scanned: int, remarks: int
) -> None:
    opinion = read_opinion(output(name))
    assert (tool, found, complete, scanned, remarks) == (
        opinion.tool, opinion.found, opinion.complete, opinion.scanned, opinion.counted,
    )  # fmt: skip


def test_a_remark_keeps_severity_place_and_words() -> None:
    first = read_opinion(output("picklescan.txt")).remarks[0]
    assert ("dangerous", "/models/fx/os_system.pkl") == (first.severity, first.place)
    audited = read_opinion(output("modelaudit.json")).remarks[0]
    assert ("critical", "/models/fx/broken.pkl (pos 45)") == (audited.severity, audited.place)


def changed(name: str, **fields: Any) -> bytes:
    return json.dumps(json.loads(output(name)) | fields).encode()


WRONG = {
    "empty": b"",
    "prose": b"all is well",
    "a summary without counts": b"----------- SCAN SUMMARY -----------\nall is well\n",
    "another program": b'{"results": []}',
    "cut": output("modelaudit.json")[:-20],
    "a key twice": b'{"severity": "LIKELY_SAFE", "severity": "x", "analysis": "", "detailed_results": {}}',
    "deep": b'{"issues": ' + b"[" * 100_000,
    "too large": b"{" + b" " * MAX_BYTES + b"}",
    "not text": b"{\xff\xfe}",
    "severity a number": changed("fickling.json", severity=1),
    "analysis missing": changed("fickling.json", analysis=None),
    "issues a text": changed("modelaudit.json", issues="none"),
    "issue a text": changed("modelaudit.json", issues=["bad"]),
    "issue without words": changed("modelaudit.json", issues=[{"severity": "critical"}]),
    "files below nothing": changed("modelaudit.json", files_scanned=-1),
    "metadata a list": changed("modelaudit.json", file_metadata=[]),
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_has_another_shape_is_refused(kind: str) -> None:
    with pytest.raises(OpinionUnreadable) as refused:
        read_opinion(WRONG[kind])
    assert 232 == refused.value.exit_code


def test_foreign_text_cannot_rewrite_the_report() -> None:
    issue = {"severity": "\x1b[2Jok", "message": "\u202eevil\r\n", "location": "a\x00b"}
    (remark,) = read_opinion(changed("modelaudit.json", issues=[issue])).remarks
    assert not any(letter in f"{remark}" for letter in "\x1b\u202e\r\n\x00")


def test_a_flood_is_counted() -> None:
    issues = [{"severity": "critical", "message": "x"}] * (MAX_REMARKS + 7)
    opinion = read_opinion(changed("modelaudit.json", issues=issues))
    assert (MAX_REMARKS, MAX_REMARKS + 7) == (len(opinion.remarks), opinion.counted)


def test_an_unknown_severity_counts_as_a_finding() -> None:
    assert read_opinion(changed("fickling.json", severity="FINE")).found
    issue = {"severity": "whatever", "message": "x"}
    assert read_opinion(changed("modelaudit.json", issues=[issue])).found


@given(
    st.binary(max_size=300) | st.binary(max_size=200).map(lambda tail: output("fickling.json")[:200] + tail)
)
def test_hostile_bytes_raise_only_our_error(data: bytes) -> None:
    try:
        read_opinion(data)
    except OpinionUnreadable:
        return


# beside a version ---------------------------------------------------------------------------------------------------


@pytest.fixture
def home(workplace: Workplace, tmp_path: Path) -> Workplace:
    add_folder(workplace, MODEL, laid_out(tmp_path / "source", good_model()))
    return workplace


def test_it_is_noted_once_and_is_no_scan(home: Workplace, tmp_path: Path) -> None:
    row, _ = take_opinion(home, Ref(MODEL), OUTPUTS / "picklescan.txt")
    assert ("evidence", "NOTED") == (row.kind, row.outcome)
    later = replace(home, now=home.now + timedelta(days=1))
    assert row.digest == take_opinion(later, Ref(MODEL), OUTPUTS / "picklescan.txt")[0].digest
    file = tmp_path / "audit.json"
    with home.store.view() as view:
        ours = json.loads(view.version(Ref(MODEL)).manifest)["files"][0]["sha256"]
    named = {path: {"file_hashes": {"sha256": digest}} for path, digest in (("/x", ours), ("/y", "0" * 64))}
    file.write_bytes(changed("modelaudit-clean.json", file_metadata=named))
    other, _ = take_opinion(later, Ref(MODEL), file)
    assert 1 == json.loads(other.body)["files_of_the_version"]
    with home.store.view() as view:
        version = view.version(Ref(MODEL))
        assert [row.digest, other.digest] == [
            held.digest for held in view.reports(version.digest, "evidence")
        ]
        assert ["PASSED"] == [held.outcome for held in view.reports(version.digest, "scan")]


def test_nothing_is_noted_of_what_cannot_be_read(home: Workplace, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path, tmp_path / "gone"):
        with pytest.raises(OpinionUnreadable):
            take_opinion(home, Ref(MODEL), path)
    with pytest.raises(NotFound):
        take_opinion(home, Ref("acme/other"), OUTPUTS / "picklescan.txt")
    with home.store.view() as view:
        assert [] == view.reports(view.version(Ref(MODEL)).digest, "evidence")
