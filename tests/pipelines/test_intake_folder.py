"""`models add FOLDER`: what becomes a version, and every way in which a folder is refused."""

import json
import os
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest

from pipelines.intake import arrival, folder
from pipelines.intake.errors import ScanBlocked, SourceChanged, SourceUnusable
from pipelines.intake.folder import add_folder
from pipelines.intake.record import read_scan_report, republish_index, rescan
from pipelines.scan import Waiver
from pipelines.workplace import Workplace
from registry.errors import NameUnusable, SpaceShort
from registry.home import HomeBusy
from registry.manifests import decode
from registry.names import Ref
from signing.digests import file_sha256, sha256_hex
from signing.envelope import Envelope, verify
from signing.statements import PAYLOAD_TYPE, PROVENANCE, read_statement
from tests.pipelines.hub_server import tiny_model

MODEL = "acme/tiny-llm"


def laid_out(at: Path, files: dict[str, bytes]) -> Path:
    for path, data in files.items():
        (at / path).parent.mkdir(parents=True, exist_ok=True)
        (at / path).write_bytes(data)
    return at


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return laid_out(tmp_path / "source", tiny_model())


def held(work: Workplace) -> set[str]:
    return set(work.blobs.held())


def quiet(work: Workplace) -> bool:
    """Nothing waits in quarantine and nothing half-written in the store."""
    return not list(work.home.quarantine.iterdir()) and not list(work.blobs.tmp.iterdir())


def test_a_folder_becomes_a_version(workplace: Workplace, source: Path) -> None:
    done: list[int] = []
    expected: list[int] = []
    added = add_folder(workplace, MODEL, source, progress=done.append, expect=expected.append)
    manifest = decode(added.version.manifest.encode())

    assert added.new
    assert (MODEL, 1, "add", "ines") == (
        added.version.model,
        added.version.ordinal,
        added.version.brought_by,
        added.version.added_by,
    )
    assert sorted(tiny_model()) == [entry.path for entry in manifest.files]
    for path, data in tiny_model().items():
        assert data == workplace.blobs.path(sha256_hex(data)).read_bytes(), path
    assert ("stated", ("apache-2.0",)) == (
        manifest.licence.state,
        tuple(i.lower() for i in manifest.licence.ids),
    )
    assert manifest.digest == added.version.digest
    assert manifest.digest[:40] == added.version.revision
    assert [manifest.size] == expected
    assert manifest.size == sum(done)
    assert quiet(workplace)


def test_report_statement_and_event_come_with_the_version(workplace: Workplace, source: Path) -> None:
    added = add_folder(workplace, MODEL, source)
    with workplace.store.view() as view:
        (report,) = view.reports(added.version.digest, "scan")
        statement, bill = view.statements(added.version.digest)
        event, second = view.events(subject=added.version.digest)
    assert added.scan == read_scan_report(report)
    assert report.outcome in {"PASSED", "WARNED"}
    assert ["version added", "bill of materials made"] == [event.kind, second.kind]
    assert bill.digest != statement.digest
    assert {"version", "report", "statement", "model signature"} == {label for label, _ in event.rows}

    key = workplace.station.public_key
    envelope = Envelope.from_json(statement.signature.encode())
    verify(statement.payload.encode(), envelope, {key.keyid: key}, payload_type=PAYLOAD_TYPE)
    read = read_statement(statement.payload.encode())
    assert PROVENANCE == read.predicate_type
    assert ((f"{MODEL}@1", added.version.digest),) == read.subjects
    assert {"folder": "source", "model": MODEL, "leftOut": []} == read.predicate["buildDefinition"][
        "externalParameters"
    ]
    assert str(source) not in statement.payload, "a machine's paths are nobody's business at a site"


def test_the_store_is_an_oci_layout_that_names_the_version(workplace: Workplace, source: Path) -> None:
    added = add_folder(workplace, MODEL, source)
    index = json.loads((workplace.blobs.root / "index.json").read_bytes())
    (entry,) = index["manifests"]
    assert f"sha256:{added.version.modelpack}" == entry["digest"]
    assert f"{MODEL}:1" == entry["annotations"]["org.opencontainers.image.ref.name"]
    image = json.loads(workplace.blobs.path(added.version.modelpack).read_bytes())
    for layer in (image["config"], *image["layers"]):
        assert workplace.blobs.size(layer["digest"].removeprefix("sha256:")) == layer["size"]


def test_the_same_files_again_are_the_same_version(
    workplace: Workplace, source: Path, tmp_path: Path
) -> None:
    first = add_folder(workplace, MODEL, source)
    with workplace.store.view() as view:
        before = view.leaves()
    again = add_folder(workplace, MODEL, laid_out(tmp_path / "copy", tiny_model()))
    with workplace.store.view() as view:
        assert before == view.leaves()
    assert not again.new
    assert first.version.digest == again.version.digest


def test_other_files_are_the_next_version(workplace: Workplace, source: Path, tmp_path: Path) -> None:
    add_folder(workplace, MODEL, source)
    second = add_folder(workplace, MODEL, laid_out(tmp_path / "two", tiny_model(seed=1)))
    other = add_folder(workplace, "acme/other", source)
    assert (2, 1) == (second.version.ordinal, other.version.ordinal)
    assert 3 == len(json.loads((workplace.blobs.root / "index.json").read_bytes())["manifests"])


def test_an_index_lost_between_commit_and_writing_is_mended(workplace: Workplace, source: Path) -> None:
    add_folder(workplace, MODEL, source)
    index = workplace.blobs.root / "index.json"
    good = index.read_bytes()
    index.write_bytes(b'{"manifests":[],"schemaVersion":2}')
    assert not add_folder(workplace, MODEL, source).new
    assert good == index.read_bytes()
    stamp = index.stat().st_mtime_ns
    republish_index(workplace)
    assert stamp == index.stat().st_mtime_ns, "what is right is not written again"


def test_a_link_is_refused_not_followed(workplace: Workplace, source: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    (source / "LICENSE").symlink_to(tmp_path / "secret")
    with pytest.raises(SourceUnusable, match=r"LICENSE: is a link"):
        add_folder(workplace, MODEL, source)
    assert not held(workplace)


def test_a_linked_folder_inside_is_refused(workplace: Workplace, source: Path, tmp_path: Path) -> None:
    (source / "more").symlink_to(tmp_path)
    with pytest.raises(SourceUnusable, match="more: is a link"):
        add_folder(workplace, MODEL, source)


def test_a_pipe_is_refused_without_waiting_for_a_writer(workplace: Workplace, source: Path) -> None:
    os.mkfifo(source / "NOTICE")
    with pytest.raises(SourceUnusable, match="NOTICE: is no regular file"):
        add_folder(workplace, MODEL, source)


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        (b"LICENSE\xff", "not UTF-8"),
        (b"LICENSE.", "not a plain relative path"),
        (b"LICENSE:x", "some file system refuses"),
    ],
)
def test_a_name_that_is_not_the_same_everywhere_is_refused(
    workplace: Workplace, source: Path, name: bytes, problem: str
) -> None:
    Path(os.fsdecode(os.fsencode(source) + b"/" + name)).write_bytes(b"x")
    with pytest.raises(SourceUnusable, match=problem) as refused:
        add_folder(workplace, MODEL, source)
    str(refused.value).encode()  # fit for a terminal


@pytest.mark.parametrize("make", [lambda at: None, lambda at: at.mkdir(), lambda at: at.write_bytes(b"x")])
def test_no_folder_or_an_empty_one_is_refused(
    workplace: Workplace, tmp_path: Path, make: Callable[[Path], None]
) -> None:
    make(tmp_path / "nothing")
    with pytest.raises(SourceUnusable, match="nothing"):
        add_folder(workplace, MODEL, tmp_path / "nothing")


def test_a_bad_model_name_is_refused_first(workplace: Workplace, source: Path) -> None:
    with pytest.raises(NameUnusable):
        add_folder(workplace, "Acme/Tiny", source)


def test_surplus_files_are_named_before_anything_is_copied(workplace: Workplace, source: Path) -> None:
    laid_out(source, {".git/HEAD": b"ref: x", ".git/config": b"", "train.sh": b"#!/bin/sh"})
    copied: list[int] = []
    with pytest.raises(ScanBlocked) as refused:
        add_folder(workplace, MODEL, source, progress=copied.append)
    assert [".git/HEAD", ".git/config", "train.sh"] == [found.path for found in refused.value.findings]
    assert all(found.next_step in str(refused.value) for found in refused.value.findings)
    assert not copied
    assert not held(workplace)


def test_what_is_left_out_is_said(workplace: Workplace, source: Path) -> None:
    laid_out(source, {"original/train.sh": b"x", ".cache/huggingface/download/x.metadata": b"x"})
    added = add_folder(workplace, MODEL, source, leave_out=["original/*"])
    assert (".cache/huggingface/download/x.metadata", "original/train.sh") == added.left_out
    with workplace.store.view() as view:
        statement, _bill = view.statements(added.version.digest)
    assert "original/train.sh" in statement.payload


def test_a_blocked_scan_leaves_nothing(workplace: Workplace, source: Path) -> None:
    """A pickle under an allowed name: found by its content, and no byte of the version stays."""
    (source / "tokenizer.json").write_bytes(b"\x80\x04cos\nsystem\n.")
    with pytest.raises(ScanBlocked) as refused:
        add_folder(workplace, MODEL, source)
    assert {"tokenizer.json"} == {found.path for found in refused.value.findings}
    assert not held(workplace)
    assert quiet(workplace)
    with workplace.store.view() as view:
        assert [] == view.versions()


def test_a_waiver_for_the_very_file_lets_it_pass(workplace: Workplace, source: Path) -> None:
    (source / "notes.yaml").write_bytes(b"a: 1\n")
    waiver = Waiver("file.not-allowed", file_sha256(source / "notes.yaml"), "nora", "read it")
    added = add_folder(workplace, MODEL, source, waivers=[waiver])
    assert "waived" in {found.severity for found in added.scan.findings}
    with workplace.store.view() as view:
        (report,) = view.reports(added.version.digest)
    assert "WARNED" == report.outcome
    assert "nora" in report.body


def meddled(change: Callable[[], object]) -> Callable[[int], None]:
    """A progress callback that lets somebody write into the folder once, in the middle of the work."""
    once = threading.Lock()

    def progress(_count: int) -> None:
        if once.acquire(blocking=False):
            change()

    return progress


@pytest.mark.parametrize("change", ["grown", "written", "added", "gone", "replaced"])
def test_a_folder_that_changes_while_it_is_read_is_refused(
    workplace: Workplace, source: Path, change: str
) -> None:
    weights = source / "model.safetensors"

    def grown() -> None:
        with (source / "README.md").open("ab") as stream:
            stream.write(b"more")

    def replaced() -> None:
        (source / "new").write_bytes(weights.read_bytes())
        (source / "new").rename(weights)

    changes = {
        "grown": grown,
        "written": lambda: os.utime(weights, ns=(1, 1)),
        "added": lambda: (source / "LICENSE").write_bytes(b"MIT"),
        "gone": (source / "README.md").unlink,
        "replaced": replaced,
    }
    with pytest.raises((SourceChanged, SourceUnusable)):
        add_folder(workplace, MODEL, source, progress=meddled(changes[change]))
    assert not held(workplace)
    assert quiet(workplace)
    assert add_folder(workplace, MODEL, source).new, "at rest it is taken"


def test_a_file_swapped_for_a_link_after_the_listing_is_not_read(source: Path, tmp_path: Path) -> None:
    (seen,) = [item for item in folder.list_folder(source) if item.path == "README.md"]
    (tmp_path / "secret").write_bytes(b"secret")
    (source / "README.md").unlink()
    (source / "README.md").symlink_to(tmp_path / "secret")
    with pytest.raises(SourceUnusable, match="cannot be opened"):
        folder._open(source, seen)


def test_a_short_disk_is_named_before_the_copy(
    workplace: Workplace, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _path: SimpleNamespace(free=10))
    with pytest.raises(SpaceShort, match="short"):
        add_folder(workplace, MODEL, source)


def test_two_at_once_do_not_step_on_each_other(workplace: Workplace, source: Path) -> None:
    with workplace.home.busy("add"), pytest.raises(HomeBusy):
        add_folder(workplace, MODEL, source)


def test_what_a_killed_run_left_is_cleared(workplace: Workplace, source: Path) -> None:
    left = workplace.home.quarantine / "add-dead"
    laid_out(left, {"0": b"half"})
    add_folder(workplace, MODEL, source)
    assert quiet(workplace)


def test_many_files_are_copied_at_once(
    workplace: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {f"LICENSE.{number}": b"text %d\n" % number for number in range(200)}
    monkeypatch.setattr(folder, "cores", lambda: 8)
    added = add_folder(workplace, MODEL, laid_out(tmp_path / "many", tiny_model() | files))
    assert 206 == len(decode(added.version.manifest.encode()).files)


def test_the_first_failure_stops_the_rest() -> None:
    meter = arrival.Meter(lambda _count: None)
    waited = threading.Event()

    def work(number: int) -> None:
        if number == 1:
            raise SourceUnusable("one", "broken")
        while True:  # a copy that would go on for ever
            meter.pause(0.001)
            waited.set()

    with pytest.raises(SourceUnusable, match="one: broken"):
        arrival.in_parallel([0, 1, 2], work, workers=2, meter=meter)


def test_a_rescan_with_the_same_waivers_is_kept(workplace: Workplace, source: Path) -> None:
    (source / "notes.yaml").write_bytes(b"a: 1\n")
    waiver = Waiver("file.not-allowed", file_sha256(source / "notes.yaml"), "nora", "read it")
    added = add_folder(workplace, MODEL, source, waivers=[waiver])
    later = replace(workplace, now=workplace.now + timedelta(days=1))
    report, result = rescan(later, Ref(MODEL), waivers=[waiver])
    assert added.scan == result
    assert "WARNED" == report.outcome
    with workplace.store.view() as view:
        assert 2 == len(view.reports(added.version.digest, "scan"))
