"""What crosses the gap arrives whole, in any order of media, once, and only from whom the site trusts."""

import itertools
import os
import shutil
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

import pipelines.suites
from pipelines import enrol
from pipelines.agreements import add_document
from pipelines.bundle import opening
from pipelines.bundle.errors import (
    BaseMissing,
    BundlesMixed,
    ChunksDamaged,
    ChunksMissing,
    MediumUnreadable,
    NotABundle,
    NotReady,
    OutputUnusable,
    PartlyImported,
    ReceiptOnMedium,
    UndeclaredFile,
    VolumeMissing,
)
from pipelines.receive import Imported, import_bundle, inspect
from pipelines.scan import ScannedFile, ScanResult, scan
from pipelines.suites.run import add_suite
from registry.audit import EventKind, compare
from registry.entities import Withdrawal
from registry.errors import BlobDamaged, SpaceShort, VersionConflict
from registry.home import HomeBusy
from registry.names import Ref
from registry.store import Store
from signing import summaries
from signing.digests import sha256_hex
from signing.refusals import EnrolledOtherwise, ExpiredBundle, ForeignBundle, ForkedBundle, NotEnrolled
from signing.repository import TrustRepository
from signing.trust import Memory
from tests import world
from tests.pipelines.gap import (
    NOON,
    SITE,
    World,
    make_world,
    model_files,
    small_chunks,
    state_of,
    tree_of,
    weights,
)

BASICS = Path(pipelines.suites.__file__).parent / "builtin" / "tool-basics"
CONTRACT = Path(__file__).parents[2] / "demo" / "contracts" / "tool-contract-hermes.json"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> World:
    made = make_world(tmp_path_factory.mktemp("gap") / "world")
    made.add("acme/tiny", model_files())
    made.add("acme/wide", {**model_files(), "model.safetensors": weights(7, 300_000)})
    return made


@pytest.fixture
def gap(made: World, tmp_path: Path) -> World:
    return made.copied(tmp_path / "world")


@pytest.fixture
def three(gap: World, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """A bundle on three volumes."""
    small_chunks(monkeypatch, 4096)
    medium = gap.ship("acme/tiny@1", "acme/wide@1", volume_bytes=240_000)
    volumes = sorted(medium.iterdir())
    assert ["volume-01", "volume-02", "volume-03"] == [path.name for path in volumes]
    return volumes


def test_a_version_arrives_with_its_identity_and_is_scanned_here(gap: World) -> None:
    done = gap.receive(gap.ship("acme/tiny"))

    assert (False, 1, 4308) == (done.already, done.sequence, done.bytes)
    with gap.at(gap.origin) as there, there.store.view() as sent, gap.at(gap.site) as here:
        with here.store.view() as got:
            version, original = got.version(Ref("acme/tiny")), sent.version(Ref("acme/tiny"))
            assert (original.ordinal, original.digest, original.modelpack) == (
                version.ordinal,
                version.digest,
                version.modelpack,
            )
            assert done.bundle == version.brought_by
            assert ["PASSED"] == [report.outcome for report in got.reports(version.digest)]
            # The origin's own record that the bundle left was made once it had.
            went = [s.digest for s in sent.statements(version.digest) if s.predicate != summaries.EXPORT]
            assert went == [claim.statement for claim in got.claims(version.digest)]
            assert [] == compare(got.events(), dict(got.recorded()))
        assert here.blobs.has(version.modelpack)
        for blob in here.blobs.held():
            here.blobs.verify(blob)
        assert version.modelpack.encode() in (here.blobs.root / "index.json").read_bytes()


def test_the_medium_is_never_written_to(gap: World) -> None:
    medium = gap.ship("acme/tiny")
    before = tree_of(medium)
    (medium / "20261120-01").chmod(0o555)
    with gap.at(gap.site) as work:
        inspect(work, [medium], deep=True)
    gap.receive(medium)
    gap.receive(medium)
    assert before == tree_of(medium)


def test_inspecting_writes_nothing_at_home(gap: World) -> None:
    medium = gap.ship("acme/tiny")
    blobs = tree_of(gap.site.path / "store")
    state = state_of(gap.site)
    with gap.at(gap.site) as work:
        seen = inspect(work, [medium], deep=True)
    assert (True, False, (), 1, SITE, "harbour") == (
        seen.trusted,
        seen.already,
        seen.problems,
        seen.sequence,
        seen.audience,
        seen.origin,
    )
    assert {"catalog", "site-lab"} == set(seen.signed_by)
    assert 4308 == seen.bytes_needed
    assert blobs == tree_of(gap.site.path / "store")
    assert state == state_of(gap.site)


def test_importing_again_changes_nothing(gap: World) -> None:
    medium = gap.ship("acme/tiny")
    gap.receive(medium)
    state = state_of(gap.site)
    with gap.at(gap.site) as work, work.store.view() as view:
        events = len(view.events())
    again = gap.receive(medium)
    assert again.already
    assert 0 == again.bytes
    assert ["imported"] == [item.outcome for item in again.versions], "this bundle brought it"
    assert state == state_of(gap.site)
    with gap.at(gap.site) as work, work.store.view() as view:
        assert events == len(view.events())
    with gap.at(gap.site) as work:
        assert inspect(work, [medium]).already


def test_importing_again_mends_a_blob_that_rotted_here(gap: World) -> None:
    medium = gap.ship("acme/tiny")
    gap.receive(medium)
    with gap.at(gap.site) as work:
        name = max(work.blobs.held(), key=work.blobs.size)
        place = work.blobs.path(name)
        place.chmod(0o644)
        place.write_bytes(bytes(place.stat().st_size))
    assert 0 < gap.receive(medium).bytes
    with gap.at(gap.site) as work:
        work.blobs.verify(name)


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_volumes_are_taken_in_any_order(gap: World, three: list[Path], order: tuple[int, ...]) -> None:
    assert 2 == len(gap.receive(*(three[number] for number in order)).versions)


@pytest.mark.parametrize("missing", [m for n in (1, 2) for m in itertools.combinations((1, 2, 3), n)])
def test_missing_volumes_are_named_before_anything_is_copied(
    gap: World, three: list[Path], missing: tuple[int, ...]
) -> None:
    state = state_of(gap.site)
    given = [path for number, path in enumerate(three, start=1) if number not in missing]
    with pytest.raises(VolumeMissing) as refusal:
        gap.receive(*given)
    assert missing == refusal.value.missing
    assert state == state_of(gap.site)
    with gap.at(gap.site) as work:
        assert missing == inspect(work, given).missing
    assert 2 == len(gap.receive(*three).versions)


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_with_one_drive_the_volumes_come_one_after_the_other(
    gap: World, three: list[Path], order: tuple[int, ...]
) -> None:
    for number in order[:2]:
        with pytest.raises((VolumeMissing, PartlyImported)):
            gap.receive(three[number], collecting=True)
        assert "acme/wide" not in {version[0] for version in state_of(gap.site)["versions"]}  # type: ignore[attr-defined]
    assert 2 == len(gap.receive(three[order[2]], collecting=True).versions)
    assert [] == state_of(gap.site)["quarantine"]


def test_a_volume_given_twice_is_taken_once(gap: World, three: list[Path], tmp_path: Path) -> None:
    shutil.copytree(three[0], tmp_path / "second copy")
    assert 2 == len(gap.receive(tmp_path / "second copy", *three).versions)


def test_volumes_of_two_bundles_are_not_mixed(gap: World) -> None:
    first = gap.ship("acme/tiny", out="first")
    second = gap.ship("acme/tiny", out="second")
    with pytest.raises(BundlesMixed) as refusal:
        gap.receive(first, second)
    assert {"20261120-01", "20261120-02"} == {
        line.split("bundle ")[1].rstrip(")") for line in refusal.value.found
    }


@pytest.mark.parametrize("place", ["nowhere", "empty", "file"])
def test_what_is_no_bundle_is_called_so(gap: World, tmp_path: Path, place: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("volume.json")
    with pytest.raises(NotABundle):
        gap.receive(tmp_path / place)


def test_all_that_stands_in_the_way_is_said_at_once(gap: World, three: list[Path]) -> None:
    """Volume 3 is not here, a chunk of volume 1 is gone, one of volume 2 is short, and a stranger left a file."""
    first, second = (max((volume / "20261120-01" / "chunks").rglob("*")) for volume in three[:2])
    first.unlink()
    os.truncate(second, 5)
    (three[0] / "20261120-01" / "autorun.inf").write_text("[autorun]")
    with pytest.raises(NotReady) as refusal:
        gap.receive(*three[:2])
    assert {VolumeMissing, ChunksMissing, UndeclaredFile} == {type(p) for p in refusal.value.problems}
    text = str(refusal.value)
    assert first.name in text
    assert f"{second.name}: 5 bytes instead of" in text
    assert "volume 1, autorun.inf" in text
    with gap.at(gap.site) as work:
        assert {VolumeMissing, ChunksMissing, UndeclaredFile} == {
            type(p) for p in inspect(work, three[:2]).problems
        }


@pytest.mark.parametrize("kind", ["file", "deep file", "folder", "link", "pipe", "link to folder"])
def test_what_nobody_declared_is_refused(gap: World, kind: str) -> None:
    bundle = gap.ship("acme/tiny") / "20261120-01"
    if kind == "file":
        (bundle / "autorun.inf").write_text("x")
    elif kind == "deep file":
        (bundle / "chunks" / "da" / "x").write_text("x")
    elif kind == "folder":
        (bundle / "empty").mkdir()
    elif kind == "link":
        (bundle / "extra.json").symlink_to("plan.json")
    elif kind == "pipe":
        os.mkfifo(bundle / "pipe")
    else:
        (bundle / "more").symlink_to("chunks", target_is_directory=True)
    with pytest.raises(UndeclaredFile):
        gap.receive(bundle)
    assert [] == state_of(gap.site)["versions"]


def test_a_link_in_place_of_a_chunk_is_not_followed(gap: World, tmp_path: Path) -> None:
    bundle = gap.ship("acme/tiny") / "20261120-01"
    chunk = next(path for path in (bundle / "chunks").rglob("*") if path.is_file())
    shutil.move(chunk, tmp_path / "elsewhere")
    chunk.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(NotReady) as refusal:
        gap.receive(bundle)
    assert {ChunksMissing, UndeclaredFile} == {type(problem) for problem in refusal.value.problems}


def test_chunks_that_changed_names_are_all_reported_and_good_ones_kept(gap: World) -> None:
    bundle = gap.ship("acme/tiny") / "20261120-01"
    chunks = [path for path in (bundle / "chunks").rglob("*") if path.is_file()]
    good = {path: path.read_bytes() for path in chunks}
    for path in chunks[:2]:
        path.write_bytes(bytes(len(good[path])))
    with gap.at(gap.site) as work:
        [problem] = inspect(work, [bundle], deep=True).problems
    assert isinstance(problem, ChunksDamaged)
    with pytest.raises(ChunksDamaged) as refusal:
        gap.receive(bundle)
    assert sorted(path.name for path in chunks[:2]) == sorted(
        line.split("/")[-1].split(":")[0] for line in refusal.value.problems
    )
    assert [] == state_of(gap.site)["versions"]
    for path, data in good.items():
        path.write_bytes(data)
    for path in chunks[2:]:
        path.write_bytes(bytes(len(good[path])))  # what was good the first time is not read again
    assert not gap.receive(bundle).already


def test_a_bad_sector_is_named_and_the_rest_is_copied(
    gap: World, three: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = next(path for path in (three[1] / "20261120-01" / "chunks").rglob("*") if path.is_file())
    inode, real = bad.stat().st_ino, os.preadv

    def failing(handle: int, buffers: list[memoryview], offset: int) -> int:
        if os.fstat(handle).st_ino == inode:
            raise OSError(5, "Input/output error")
        return real(handle, buffers, offset)

    with monkeypatch.context() as patched:
        patched.setattr(os, "preadv", failing)
        with pytest.raises(PartlyImported) as refusal:
            gap.receive(*three)
    [damaged] = refusal.value.problems
    assert isinstance(damaged, ChunksDamaged)
    assert [
        f"volume 2, chunks/{bad.parent.name}/{bad.name}: cannot be read at byte 0 (Input/output error)"
    ] == list(damaged.problems)
    assert (("acme/tiny@1",), ("acme/wide@1",)) == (refusal.value.visible, refusal.value.waiting)
    assert 2 == len(gap.receive(*three).versions)


def test_a_full_disk_is_said_before_copying(gap: World, monkeypatch: pytest.MonkeyPatch) -> None:
    medium = gap.ship("acme/tiny")
    monkeypatch.setattr("pipelines.bundle.opening.free_bytes", lambda _work: 1000)
    with pytest.raises(SpaceShort) as refusal:
        gap.receive(medium)
    assert refusal.value.free == 1000
    assert [] == state_of(gap.site)["quarantine"]


def test_a_disk_that_fills_half_way_leaves_nothing_visible_and_the_next_try_goes_on(
    gap: World, three: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    real, written = os.pwrite, 0

    def filling(handle: int, data: bytes, offset: int) -> int:
        nonlocal written
        written += len(data)
        if written > 100_000:
            raise OSError(28, "No space left on device")
        return real(handle, data, offset)

    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", filling)
        with pytest.raises(SpaceShort):
            gap.receive(*three)
    assert [] == state_of(gap.site)["versions"]
    assert 2 == len(gap.receive(*three).versions)


def test_a_second_bundle_leaves_out_what_the_receipt_proves(gap: World, tmp_path: Path) -> None:
    done = gap.receive(gap.ship("acme/tiny", out="first"), receipt_to=tmp_path)
    assert done.receipt is not None
    gap.acknowledge(done.receipt)
    gap.add("acme/tiny", {**model_files(), "config.json": b'{"model_type": "llama"}'})
    second = gap.ship("acme/tiny@2", out="second")
    assert gap.shipped[-1].left_out > 4000 > gap.shipped[-1].carried
    assert ["imported"] == [item.outcome for item in gap.receive(second).versions]
    with gap.at(gap.site) as work:
        for blob in work.blobs.held():
            work.blobs.verify(blob)


def test_a_base_that_is_gone_or_rotten_is_noticed(gap: World, tmp_path: Path) -> None:
    done = gap.receive(gap.ship("acme/tiny", out="first"), receipt_to=tmp_path)
    assert done.receipt is not None
    gap.acknowledge(done.receipt)
    gap.add("acme/tiny", {**model_files(), "config.json": b'{"model_type": "llama"}'})
    second = gap.ship("acme/tiny@2", out="second")
    base = gap.site.blobs.path(max(gap.site.blobs.held(), key=gap.site.blobs.size))
    data = base.read_bytes()
    base.chmod(0o644)
    base.write_bytes(bytes(len(data)))
    with pytest.raises(BlobDamaged):
        gap.receive(second)
    base.unlink()
    with pytest.raises(BaseMissing) as refusal:
        gap.receive(second)
    assert (base.name,) == refusal.value.missing
    base.write_bytes(data)
    gap.receive(second)


def test_a_gap_is_shown_and_closed_by_the_bundle_that_comes_late(gap: World) -> None:
    media = [gap.ship("acme/tiny", out=out) for out in ("first", "second", "third")]
    assert (1, 2) == absent(gap.receive(media[2]))
    first = gap.receive(media[0])
    assert (2,) == absent(first), "though its own history ends before it"
    assert first.late
    gap.now += timedelta(days=100)
    with pytest.raises(ExpiredBundle, match="remembered"):
        gap.receive(media[1])
    fresh = gap.receive(gap.ship("acme/tiny", out="fresh"))
    assert (2,) == absent(fresh)
    [missing] = fresh.missing
    assert ("20261120-02", ("acme/tiny@1",), "2026-11-20") == (
        missing.bundle,
        missing.items,
        str(missing.issued_at)[:10],
    )
    late = gap.receive(media[1])
    assert ((), False, True) == (late.missing, late.already, late.late)
    assert gap.receive(media[0]).already


def absent(done: Imported) -> tuple[int, ...]:
    """The numbers that never arrived."""
    return tuple(one.sequence for one in done.missing)


def test_a_late_bundle_lowers_nothing_that_is_remembered(gap: World) -> None:
    first, second = gap.ship("acme/tiny", out="first"), gap.ship("acme/tiny", out="second")
    gap.receive(second)
    before = _memory(gap)
    gap.receive(first)
    after = _memory(gap)
    assert {1, 2} == set(after.accepted)
    assert {} == after.awaited
    assert before.clock_floor is not None
    assert after.clock_floor is not None
    assert before.clock_floor < after.clock_floor, "time goes on"
    assert (
        replace(after, accepted=before.accepted, awaited=before.awaited, clock_floor=before.clock_floor)
        == before
    )


def _memory(gap: World) -> Memory:
    with gap.at(gap.site) as work, work.store.view() as view:
        return opening.remembered(view)


def test_a_bundle_for_another_site_is_refused_and_can_be_inspected(gap: World, tmp_path: Path) -> None:
    medium = gap.ship("acme/tiny")
    other = world.new_home(tmp_path / "other", name="ward", roles=("site",), now=NOON)
    with world.at_work(other, actor="ines", now=gap.now) as work:
        with pytest.raises(NotEnrolled):
            import_bundle(work, [medium])
        seen = inspect(work, [medium])
    assert not seen.trusted
    assert "acme/tiny" == seen.items[0].model
    root = TrustRepository(gap.origin.trust).load().roots[0]
    with world.at_work(other, actor="ines", now=gap.now) as work:
        enrol.enrol(work, root, sha256_hex(root))
        with pytest.raises(ForeignBundle):
            import_bundle(work, [medium])


def test_a_site_leaves_its_origin_only_when_it_says_so(gap: World, tmp_path: Path) -> None:
    """Somebody enrols the root of the origin behind ours, and forgets to say that it is that."""
    other = world.new_home(tmp_path / "other", name="upriver", roles=("origin",), now=NOON)
    root = TrustRepository(other.trust).load().roots[0]
    before = _memory(gap)
    with gap.at(gap.site) as work:
        with pytest.raises(EnrolledOtherwise) as refusal:
            enrol.enrol(work, root, sha256_hex(root))
        assert "--upstream" in refusal.value.next_step
        assert before.root == _memory(gap).root
        enrol.enrol(work, root, sha256_hex(root), replace=True)
    assert root == _memory(gap).root


def test_a_fork_is_refused(gap: World, tmp_path: Path) -> None:
    """The origin is restored from a backup and uses number 1 again."""
    backup = tmp_path / "backup"
    shutil.copytree(gap.origin.path, backup)
    gap.receive(gap.ship("acme/tiny", out="first"))
    shutil.rmtree(gap.origin.path)
    shutil.copytree(backup, gap.origin.path)
    with pytest.raises(ForkedBundle):
        gap.receive(gap.ship("acme/tiny", out="second"))


def test_a_number_is_never_pointed_at_other_files(gap: World) -> None:
    medium = gap.ship("acme/tiny")
    gap.origin = gap.site
    gap.add("acme/tiny", {**model_files(), "config.json": b"{}"})
    with pytest.raises(VersionConflict):
        gap.receive(medium)


def test_documents_contracts_and_withdrawals_travel(gap: World) -> None:
    gone = "ab" * 32
    with gap.at(gap.origin) as work:
        suite = add_suite(work, BASICS)
        add_document(work, CONTRACT.read_bytes(), ref=Ref("acme/tiny"))
    with gap.at(gap.origin) as work, work.store.change(actor="ines", now=work.now) as change:
        row = Withdrawal(version=gone, reason="leaks\nsecrets", since=change.now, actor="ines")
        change.record(EventKind.WITHDRAWN, gone, row)
    done = gap.receive(gap.ship("acme/tiny", documents=[suite.digest]))
    assert 1 == done.withdrawals
    with gap.at(gap.site) as work, work.store.view() as view:
        held = view.document_by_digest(suite.digest)
        assert held is not None
        assert ("suite", "tool-basics") == (held.kind, held.name)
        withdrawal = view.withdrawal(gone)
        assert withdrawal is not None
        assert "leaks secrets" == withdrawal.reason
        bound = view.binding(view.version(Ref("acme/tiny")).digest)
        assert bound is not None
        assert bound.contract == view.document("tool-contract", "demo-hermes").digest
        assert [] == compare(view.events(), dict(view.recorded()))


def test_a_version_that_this_sites_scanner_blocks_arrives_and_is_marked(
    gap: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The origin's scanner let it pass; ours has the last word, and the gate reads it."""
    medium = gap.ship("acme/tiny")

    def strict(files: Sequence[ScannedFile], **_waivers: object) -> ScanResult:
        return scan([replace(files[0], path="pytorch_model.bin"), *files[1:]])

    monkeypatch.setattr("pipelines.bundle.landing.scan", strict)
    done = gap.receive(medium)
    assert ["FAILED"] == [item.scan for item in done.versions]


def test_the_receipt_never_goes_onto_the_medium(gap: World, tmp_path: Path) -> None:
    medium = gap.ship("acme/tiny")
    bundle = medium / "20261120-01"
    (tmp_path / "way in").symlink_to(medium)
    places = (medium / "receipt.json", bundle / "receipt.json", medium, tmp_path / "way in" / "r.json")
    for place, given in itertools.product(places, (medium, bundle)):
        with pytest.raises(ReceiptOnMedium):
            gap.receive(given, receipt_to=place)
    with pytest.raises(OutputUnusable):
        gap.receive(medium, receipt_to=tmp_path / "nowhere" / "r.json")
    assert [] == state_of(gap.site)["versions"]


def test_two_imports_at_once_do_not_meet(gap: World) -> None:
    medium = gap.ship("acme/tiny")
    with gap.site.busy("import"), pytest.raises(HomeBusy):
        gap.receive(medium)
    gap.receive(medium)


def test_a_database_that_fails_at_the_end_leaves_nothing_visible(
    gap: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    medium = gap.ship("acme/tiny")
    with monkeypatch.context() as patched:
        patched.setattr(Store, "change", lambda *_a, **_k: (_ for _ in ()).throw(RuntimeError("power")))
        with pytest.raises(RuntimeError):
            gap.receive(medium)
    assert [] == state_of(gap.site)["versions"]
    assert not gap.receive(medium).already


def test_a_folder_that_cannot_be_listed_is_said(gap: World, monkeypatch: pytest.MonkeyPatch) -> None:
    medium, listing = gap.ship("acme/tiny"), os.scandir

    def refuse(path: str) -> object:
        if str(path).startswith(str(medium)):
            raise OSError(5, "Input/output error")
        return listing(path)

    with monkeypatch.context() as patched:
        patched.setattr(os, "scandir", refuse)
        with pytest.raises(MediumUnreadable):
            gap.receive(medium)


def test_bytes_needed_shrinks_with_what_is_in_quarantine(gap: World, three: list[Path]) -> None:
    with gap.at(gap.site) as work:
        whole = inspect(work, three).bytes_needed
    with pytest.raises(PartlyImported):
        gap.receive(three[0], three[1], collecting=True)
    with gap.at(gap.site) as work:
        assert inspect(work, three).bytes_needed < whole


def test_time_that_passed_does_not_undo_an_import(gap: World) -> None:
    medium = gap.ship("acme/tiny")
    gap.receive(medium)
    gap.now += timedelta(days=4000)
    assert gap.receive(medium).already


def test_a_site_on_either_database_takes_two_bundles(tmp_path: Path, database: str | None) -> None:
    gap = make_world(tmp_path / "world", database=database)
    gap.add("acme/tiny", model_files())
    first = gap.ship("acme/tiny", out="first")
    done = gap.receive(first, receipt_to=tmp_path)
    assert done.receipt is not None
    assert gap.acknowledge(done.receipt).newest
    gap.add("acme/tiny", {**model_files(), "config.json": b'{"model_type": "llama"}'})
    assert ["imported"] == [
        item.outcome for item in gap.receive(gap.ship("acme/tiny@2", out="second")).versions
    ]
    assert gap.receive(first).already
    assert [1, 2] == [ordinal for _model, ordinal, *_rest in state_of(gap.site)["versions"]]  # type: ignore[attr-defined]
