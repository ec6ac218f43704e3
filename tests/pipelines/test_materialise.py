"""Handing files to engines: plain folders and hub caches, whole or not at all, and readable by the real clients."""

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from secrets import token_hex

import pytest

from pipelines import materialise
from pipelines.intake.folder import add_folder
from pipelines.materialise import FolderTaken, HandedOver, Layout, Withdrawn, hand_over
from pipelines.promote import withdraw
from pipelines.workplace import Workplace
from registry.audit import EventKind
from registry.entities import Pin, Version
from registry.errors import BlobDamaged, NotFound
from registry.names import Ref
from signing.digests import file_sha256
from signing.times import rfc3339
from tests.pipelines.gap import model_files

DEMO = Path(__file__).parents[2] / "demo" / "models"
MODEL = "demo/tiny-toolcaller"
VENV = Path(sys.executable).parent
FOLDERS = (Layout.PLAIN, Layout.HF_CACHE)  # images: test_ollama_layout.py


def add(work: Workplace, tmp_path: Path, seed: int, *, model: str = "acme/tiny") -> Version:
    """A small version with a file in a nested folder."""
    folder = tmp_path / f"source-{model.replace('/', '-')}-{seed}"
    for path, data in (
        model_files(seed) | {"extra/deep/config.json": b'{"model_type": "seed-%d"}' % seed}
    ).items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    return add_folder(work, model, folder).version


def pin(work: Workplace, version: Version, tier: str = "org") -> None:
    """The tier serves this from now on: a line of its history, as a promotion or a rollback appends it."""
    with work.store.change(actor="bob", now=work.now) as change:
        row = Pin(
            tier=tier,
            model=version.model,
            position=len(change.pin_history(tier, version.model)) + 1,
            kind="promote",
            version=version.digest,
            ordinal=version.ordinal,
            contract=None,
            profile=None,
            router=None,
            evidence="[]",
            reason="",
            since=rfc3339(work.now),
            actor="bob",
        )
        change.record(EventKind.PROMOTED, version.digest, row)


def plain(work: Workplace, what: str, folder: Path) -> list[HandedOver]:
    return hand_over(work, what, folder, layout=Layout.PLAIN)


def cached(work: Workplace, what: str, folder: Path) -> list[HandedOver]:
    return hand_over(work, what, folder, layout=Layout.HF_CACHE)


def files_of(version: Version) -> dict[str, str]:
    return {entry["path"]: entry["sha256"] for entry in json.loads(version.manifest)["files"]}


def digests(folder: Path) -> dict[str, str]:
    """What stands below a folder, links followed."""
    return {
        path.relative_to(folder).as_posix(): file_sha256(path)
        for path in folder.rglob("*")
        if not path.is_dir()
    }


def spoil(work: Workplace, sha256: str) -> None:
    blob = work.blobs.path(sha256)
    blob.chmod(0o644)
    blob.write_bytes(b"X" + blob.read_bytes()[1:])


class TestAPlainFolder:
    def test_holds_exactly_the_files_under_their_own_paths(
        self, workplace: Workplace, tmp_path: Path
    ) -> None:
        version = add(workplace, tmp_path, 1)
        [done] = plain(workplace, "acme/tiny@1", tmp_path / "served")
        assert files_of(version) == digests(tmp_path / "served")
        assert "extra/deep/config.json" in files_of(version)
        assert (tmp_path / "served", 5, version.size) == (done.folder, done.files, done.size)

    def test_shares_the_bytes_where_the_file_system_can(self, workplace: Workplace, tmp_path: Path) -> None:
        add(workplace, tmp_path, 1)
        [done] = plain(workplace, "acme/tiny", tmp_path / "served")
        assert done.how in ("reflink", "hard link")

    def test_copies_to_another_file_system_and_reads_the_copy_back(
        self, workplace: Workplace, tmp_path: Path
    ) -> None:
        version = add(workplace, tmp_path, 1)
        with other_file_system() as folder:
            [done] = plain(workplace, "acme/tiny", folder / "served")
            assert "copy" == done.how
            assert files_of(version) == digests(folder / "served")

    def test_again_changes_nothing(self, workplace: Workplace, tmp_path: Path) -> None:
        add(workplace, tmp_path, 1)
        plain(workplace, "acme/tiny", tmp_path / "served")
        before = {path: path.stat().st_ino for path in (tmp_path / "served").rglob("*")}
        [again] = plain(workplace, "acme/tiny", tmp_path / "served")
        assert "already there" == again.how
        assert before == {path: path.stat().st_ino for path in (tmp_path / "served").rglob("*")}

    def test_again_reads_only_what_is_not_the_stores_own(
        self, workplace: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Weights of a hundred gigabytes are not read to hear that they lie where they lay."""
        version, served = add(workplace, tmp_path, 1), tmp_path / "served"
        plain(workplace, "acme/tiny", served)
        config, weights = served / "config.json", served / "model.safetensors"
        read: list[str] = []

        def counted(path: Path) -> str:
            read.append(path.name)
            return file_sha256(path)

        monkeypatch.setattr(materialise, "file_sha256", counted)
        monkeypatch.setattr("registry.blobs.file_sha256", counted)
        expected: list[int] = []
        hand_over(workplace, "acme/tiny", served, layout=Layout.PLAIN, expect=expected.append)
        assert ([], [0]) == (read, expected)

        of_another = shutil.copy(config, tmp_path / "copy")
        config.unlink()
        shutil.move(of_another, config)
        plain(workplace, "acme/tiny", served)
        assert ["config.json"] == read, "the same bytes in another file are read, and are the same"

        clone = tmp_path / "clone"  # as a file system that clones leaves it
        shutil.copy2(workplace.blobs.path(files_of(version)["model.safetensors"]), clone)
        weights.unlink()
        clone.rename(weights)
        plain(workplace, "acme/tiny", served)
        assert ["config.json"] * 2 == read
        weights.chmod(0o644)
        weights.write_bytes(b"X" + weights.read_bytes()[1:])
        with pytest.raises(FolderTaken, match=r"another model\.safetensors"):
            plain(workplace, "acme/tiny", served)

    @pytest.mark.parametrize("change", ["another file", "a changed file", "a missing file", "a link"])
    def test_with_anything_else_in_it_is_refused_and_left_alone(
        self, workplace: Workplace, tmp_path: Path, change: str
    ) -> None:
        add(workplace, tmp_path, 1)
        served = tmp_path / "served"
        plain(workplace, "acme/tiny", served)
        config = served / "config.json"
        if change == "another file":
            (served / "model.py").write_text("import os")
        elif change == "a changed file":
            data = config.read_bytes()
            config.unlink()
            config.write_bytes(data[:-1] + b" ")
        elif change == "a missing file":
            config.unlink()
        else:
            shutil.copy(config, tmp_path / "elsewhere.json")
            config.unlink()
            config.symlink_to(tmp_path / "elsewhere.json")
        before = sorted(str(path) for path in served.rglob("*"))
        with pytest.raises(FolderTaken) as refusal:
            plain(workplace, "acme/tiny", served)
        assert ("model.py" if change == "another file" else "config.json") in str(refusal.value)
        assert before == sorted(str(path) for path in served.rglob("*"))

    def test_of_a_tier_has_a_folder_for_each_model(self, workplace: Workplace, tmp_path: Path) -> None:
        one, two = add(workplace, tmp_path, 1), add(workplace, tmp_path, 2, model="acme/other")
        pin(workplace, one)
        pin(workplace, two)
        done = plain(workplace, "org", tmp_path / "served")
        assert {"acme/other@1", "acme/tiny@1"} == {item.ref for item in done}
        assert files_of(one) == digests(tmp_path / "served" / "acme" / "tiny")
        assert files_of(two) == digests(tmp_path / "served" / "acme" / "other")

    def test_is_never_made_where_a_file_or_a_link_stands(self, workplace: Workplace, tmp_path: Path) -> None:
        add(workplace, tmp_path, 1)
        (tmp_path / "real").mkdir()
        (tmp_path / "served").symlink_to(tmp_path / "real")
        with pytest.raises(FolderTaken):
            plain(workplace, "acme/tiny", tmp_path / "served")
        assert [] == list((tmp_path / "real").iterdir())


class TestNothingIsHandedOver:
    @pytest.mark.parametrize("layout", FOLDERS)
    def test_when_one_blob_of_one_model_is_damaged(
        self, workplace: Workplace, tmp_path: Path, layout: Layout
    ) -> None:
        one, two = add(workplace, tmp_path, 1), add(workplace, tmp_path, 2, model="acme/zebra")
        pin(workplace, one)
        pin(workplace, two)
        spoil(workplace, files_of(two)["model.safetensors"])
        with pytest.raises(BlobDamaged):
            hand_over(workplace, "org", tmp_path / "served", layout=layout)
        assert not (tmp_path / "served").exists(), "not even the model that is whole"

    def test_when_a_blob_is_gone(self, workplace: Workplace, tmp_path: Path) -> None:
        version = add(workplace, tmp_path, 1)
        workplace.blobs.path(files_of(version)["LICENSE"]).unlink()
        with pytest.raises(NotFound):
            cached(workplace, "acme/tiny", tmp_path / "hub")
        assert not (tmp_path / "hub").exists()

    @pytest.mark.parametrize("layout", FOLDERS)
    def test_when_a_model_of_the_tier_is_withdrawn(
        self, workplace: Workplace, tmp_path: Path, layout: Layout
    ) -> None:
        for seed, model in enumerate(("acme/tiny", "acme/zebra")):
            pin(workplace, add(workplace, tmp_path, seed, model=model))
        withdraw(workplace, Ref.parse("acme/zebra@1"), reason="licence recalled")
        with pytest.raises(Withdrawn, match="licence recalled"):
            hand_over(workplace, "org", tmp_path / "served", layout=layout)
        assert not (tmp_path / "served").exists()

    def test_when_the_place_of_the_second_model_is_taken(self, workplace: Workplace, tmp_path: Path) -> None:
        for seed, model in enumerate(("acme/tiny", "acme/zebra")):
            pin(workplace, add(workplace, tmp_path, seed, model=model))
        taken = tmp_path / "served" / "acme" / "zebra"
        taken.mkdir(parents=True)
        (taken / "mine.txt").write_text("mine")
        with pytest.raises(FolderTaken, match=r"mine\.txt"):
            plain(workplace, "org", tmp_path / "served")
        assert [taken] == list((tmp_path / "served" / "acme").iterdir())

    def test_for_a_tier_that_serves_nothing_or_is_unknown(self, workplace: Workplace, tmp_path: Path) -> None:
        for tier in ("edge", "nowhere"):
            with pytest.raises(NotFound):
                plain(workplace, tier, tmp_path / "served")

    def test_when_the_copy_comes_out_wrong(
        self, workplace: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A disk that takes fewer bytes than it says: the copy is read back and refused, not served."""
        add(workplace, tmp_path, 1)
        monkeypatch.setattr(os, "sendfile", lambda *_: 0)
        with other_file_system() as folder:
            with pytest.raises(BlobDamaged):
                plain(workplace, "acme/tiny", folder / "served")
            assert [] == list(folder.iterdir())


class TestAHubCache:
    def test_again_changes_nothing(self, workplace: Workplace, tmp_path: Path) -> None:
        pin(workplace, add(workplace, tmp_path, 1))
        cached(workplace, "org", tmp_path / "hub")
        before = digests(tmp_path / "hub")
        [again] = cached(workplace, "org", tmp_path / "hub")
        assert ("already there", before) == (again.how, digests(tmp_path / "hub"))

    def test_shows_every_path_of_the_version_nested_ones_too(
        self, workplace: Workplace, tmp_path: Path
    ) -> None:
        version = add(workplace, tmp_path, 1)
        [done] = cached(workplace, "acme/tiny", tmp_path / "hub")
        assert files_of(version) == digests(done.folder)

    def test_going_back_moves_the_ref_and_keeps_what_it_pointed_to(
        self, workplace: Workplace, tmp_path: Path
    ) -> None:
        first, second = add(workplace, tmp_path, 1), add(workplace, tmp_path, 2)
        other = add(workplace, tmp_path, 7, model="acme/other")
        hub = tmp_path / "hub"
        for version in (first, second, other):
            pin(workplace, version)
        cached(workplace, "org", hub)
        ref = hub / "models--acme--tiny" / "refs" / "org"
        other_ref = hub / "models--acme--other" / "refs" / "org"
        assert (second.revision, other.revision) == (ref.read_text(), other_ref.read_text())
        untouched = other_ref.stat().st_ino

        pin(workplace, first)  # what a rollback appends
        cached(workplace, "acme/tiny@1", hub)
        assert first.revision == ref.read_text()
        snapshots = hub / "models--acme--tiny" / "snapshots"
        assert {first.revision, second.revision} == {path.name for path in snapshots.iterdir()}
        assert files_of(second) == digests(snapshots / second.revision)
        assert untouched == other_ref.stat().st_ino

    def test_a_damaged_blob_in_it_is_replaced(self, workplace: Workplace, tmp_path: Path) -> None:
        version = add(workplace, tmp_path, 1)
        with other_file_system() as hub:
            [done] = cached(workplace, "acme/tiny", hub)
            weights = done.folder / "model.safetensors"
            weights.resolve().chmod(0o644)
            weights.resolve().write_bytes(b"not what it was")
            cached(workplace, "acme/tiny", hub)
            assert files_of(version) == digests(done.folder)

    def test_a_file_slipped_into_a_snapshot_is_refused(self, workplace: Workplace, tmp_path: Path) -> None:
        add(workplace, tmp_path, 1)
        [done] = cached(workplace, "acme/tiny", tmp_path / "hub")
        (done.folder / "modeling_tiny.py").write_text("import os")
        with pytest.raises(FolderTaken, match=r"modeling_tiny\.py"):
            cached(workplace, "acme/tiny", tmp_path / "hub")

    def test_a_link_turned_elsewhere_is_refused(self, workplace: Workplace, tmp_path: Path) -> None:
        add(workplace, tmp_path, 1)
        [done] = cached(workplace, "acme/tiny", tmp_path / "hub")
        (done.folder / "config.json").unlink()
        (done.folder / "config.json").symlink_to("/etc/passwd")
        with pytest.raises(FolderTaken, match=r"config\.json"):
            cached(workplace, "acme/tiny", tmp_path / "hub")


@pytest.mark.parametrize("layout", FOLDERS)
@pytest.mark.parametrize("files_done", [0, 1, 4])
def test_killed_half_way_nothing_half_is_visible(
    workplace: Workplace, tmp_path: Path, layout: Layout, files_done: int
) -> None:
    """A child is killed while it fills: no folder, no snapshot; the same command then finishes."""
    version = add(workplace, tmp_path, 1)
    pin(workplace, version)
    served = tmp_path / "served"
    code = f"""
        import os, signal
        from datetime import datetime
        from pathlib import Path
        from pipelines import materialise, placing
        from registry.home import load
        from tests.world import at_work

        done = 0

        def dying(source, target):
            global done
            if done == {files_done}:
                target.write_bytes(b"half")
                os.kill(os.getpid(), signal.SIGKILL)
            done += 1
            os.link(source, target)

        placing._clone = dying
        with at_work(load(Path({str(workplace.home.path)!r})), actor="ines", now=datetime.fromisoformat({workplace.now.isoformat()!r})) as work:
            materialise.hand_over(work, "org", Path({str(served)!r}), layout=materialise.Layout({layout.value!r}))
    """
    child = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], check=False, cwd=Path(__file__).parents[2]
    )
    assert -signal.SIGKILL == child.returncode
    place = (
        served / "acme" / "tiny" if layout is Layout.PLAIN else served / "models--acme--tiny" / "snapshots"
    )
    assert not place.exists()
    assert not (served / "models--acme--tiny" / "refs").exists()
    [done] = hand_over(workplace, "org", served, layout=layout)
    assert files_of(version) == digests(done.folder)


def test_killed_between_links_no_snapshot_is_visible(
    workplace: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = add(workplace, tmp_path, 1)
    made: list[Path] = []
    real = Path.symlink_to

    def dying(self: Path, target: str) -> None:
        if len(made) == 2:
            raise KeyboardInterrupt
        made.append(self)
        real(self, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "symlink_to", dying)
        with pytest.raises(KeyboardInterrupt):
            cached(workplace, "acme/tiny", tmp_path / "hub")
    snapshots = tmp_path / "hub" / "models--acme--tiny" / "snapshots"
    assert [] == list(snapshots.iterdir())
    [done] = cached(workplace, "acme/tiny", tmp_path / "hub")
    assert files_of(version) == digests(done.folder)


def test_two_at_once_agree(workplace: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody else fills the folder between the look and the rename: theirs stays whole, ours says so."""
    version = add(workplace, tmp_path, 1)
    served = tmp_path / "served"
    real = materialise._appear

    def late(partial: Path, folder: Path) -> None:
        monkeypatch.setattr(materialise, "_appear", real)
        plain(workplace, "acme/tiny", folder)
        real(partial, folder)

    monkeypatch.setattr(materialise, "_appear", late)
    with pytest.raises(FolderTaken):
        plain(workplace, "acme/tiny", served)
    assert files_of(version) == digests(served)
    assert [] == [path for path in tmp_path.iterdir() if path.name.startswith(".served")]


class TestUnmodifiedClients:
    """`hf` and `transformers`, as they come, offline, in processes of their own."""

    @pytest.fixture
    def hub(self, workplace: Workplace, tmp_path: Path) -> tuple[Path, Version, Version]:
        first = add_folder(workplace, MODEL, DEMO / "v1").version
        later = replace_now(workplace)
        second = add_folder(later, MODEL, DEMO / "v2").version
        pin(later, first, "org")
        pin(later, second, "team")
        for tier in ("org", "team"):
            cached(later, tier, tmp_path / "hub")
        return tmp_path / "hub", first, second

    def test_hf_download_gives_each_tier_its_version(self, hub: tuple[Path, Version, Version]) -> None:
        folder, first, second = hub
        for tier, version in (("org", first), ("team", second)):
            done = offline(
                folder, str(VENV / "hf"), "download", MODEL, "--revision", tier, "--format", "quiet"
            )
            assert 0 == done.returncode, done.stderr
            snapshot = Path(done.stdout.strip().splitlines()[-1])
            assert version.revision == snapshot.name
            assert files_of(version) == digests(snapshot)

    def test_hf_download_of_a_tier_that_serves_nothing_fails(
        self, hub: tuple[Path, Version, Version]
    ) -> None:
        assert 0 != offline(hub[0], str(VENV / "hf"), "download", MODEL, "--revision", "edge").returncode
        assert 0 != offline(hub[0], str(VENV / "hf"), "download", MODEL).returncode, (
            "no main: only what is pinned"
        )

    def test_hf_download_sees_that_a_file_is_missing(self, hub: tuple[Path, Version, Version]) -> None:
        folder, first, _ = hub
        (
            folder / f"models--{MODEL.replace('/', '--')}" / "snapshots" / first.revision / "config.json"
        ).unlink()
        assert 0 != offline(folder, str(VENV / "hf"), "download", MODEL, "--revision", "org").returncode

    def test_transformers_loads_configuration_and_tokenizer(self, hub: tuple[Path, Version, Version]) -> None:
        code = f"""
            import json
            from transformers import AutoConfig, AutoTokenizer

            config = AutoConfig.from_pretrained({MODEL!r}, revision="org")
            tokenizer = AutoTokenizer.from_pretrained({MODEL!r}, revision="org")
            ids = tokenizer.encode("get_weather", add_special_tokens=False)
            print(json.dumps([config.model_type, tokenizer.decode(ids)]))
        """
        done = offline(hub[0], sys.executable, "-c", textwrap.dedent(code))
        assert 0 == done.returncode, done.stderr
        found = json.loads(done.stdout.strip().splitlines()[-1])
        wanted = json.loads((DEMO / "v1" / "config.json").read_text())["model_type"]
        assert [wanted, "get_weather"] == found


def replace_now(work: Workplace) -> Workplace:
    """A minute later."""
    return replace(work, now=work.now + timedelta(minutes=1))


def offline(hub: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a client that may only look into this cache."""
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(hub.parent),
        "HF_HUB_CACHE": str(hub),
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_UPDATE_CHECK": "1",
    }
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)


@contextmanager
def other_file_system() -> Iterator[Path]:
    """A folder in memory; no link can lead there from a disk."""
    folder = Path("/dev/shm") / f"tidegate-test-{token_hex(6)}"
    folder.mkdir()
    try:
        assert folder.stat().st_dev != Path(__file__).stat().st_dev
        yield folder
    finally:
        shutil.rmtree(folder)
