"""Every byte of a small bundle flipped, every file cut at every length, every file gone, strange or somewhere else.

Never does anything else come in than what was packed: either the refusal names volume and path, or the right bytes
come in because parity or another volume has them. What one file decides alone is tried for every byte; the import as
a whole for every n-th, and for all of them with `TIDEGATE_EXHAUSTIVE=1` (hours).
"""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from pipelines.bundle import opening, reader
from pipelines.bundle.lanes import Unreadable
from pipelines.bundle.plan import decode_label, decode_sums, encode_sums
from pipelines.bundle.shelf import Spot, digest_of
from pipelines.receive import Imported
from signing.digests import sha256_hex
from signing.errors import OperatorError
from tests.pipelines.compact_world import compact_world, in_volumes, quick_folder, small_everything
from tests.pipelines.gap import World, state_of

pytestmark = pytest.mark.slow
EXHAUSTIVE = bool(os.environ.get("TIDEGATE_EXHAUSTIVE"))


def every(step: int) -> int:
    """The step from one tried place to the next."""
    return 1 if EXHAUSTIVE else step


@dataclass
class Delivery:
    """A bundle on its volumes, the world it is for, and how the site should look afterwards."""

    world: World
    folders: list[Path]
    parity: bool
    before: dict[str, object]
    after: dict[str, object]

    def files(self) -> list[Path]:
        """Every file of every volume."""
        return sorted(path for folder in self.folders for path in folder.rglob("*") if path.is_file())

    def name(self, path: Path) -> tuple[str, str]:
        """What a refusal calls a file: volume and path."""
        number = next(n for n, folder in enumerate(self.folders, start=1) if path.is_relative_to(folder))
        return f"volume {number}", path.relative_to(self.folders[number - 1]).as_posix()


@pytest.fixture(scope="module", params=["plain", "parity"])
def delivery(request: pytest.FixtureRequest) -> Iterator[Delivery]:
    with pytest.MonkeyPatch.context() as patched, quick_folder() as folder:
        small_everything(patched)
        made = compact_world(folder / "a" / "world")
        parity = request.param == "parity"
        folders = in_volumes(made, "acme/tiny@2", out="second", parity=int(parity))
        before, whole = state_of(made.site), made.copied(made.base / "whole")
        whole.receive(*folders)
        yield Delivery(made, folders, parity, before, state_of(whole.site))


def small_files(delivery: Delivery) -> list[Path]:
    return [path for path in delivery.files() if path.parts[-3] not in ("chunks", "parity")]


def stored_files(delivery: Delivery) -> list[Path]:
    return [path for path in delivery.files() if path.parts[-3] in ("chunks", "parity")]


# -- what is done to files ---------------------------------------------------------------------------------


@contextmanager
def holding(path: Path, data: bytes) -> Iterator[None]:
    """A file holds other bytes for the time of a block."""
    was = path.read_bytes()
    _overwrite(path, data)
    try:
        yield
    finally:
        _overwrite(path, was)


def _overwrite(path: Path, data: bytes) -> None:
    with path.open("r+b", buffering=0) as stream:  # not emptied first: a disk would be asked to write at once
        stream.write(data)
        stream.truncate()


@contextmanager
def mended(folder: Path, path: Path) -> Iterator[None]:
    """SHA256SUMS of a volume lists the file as it is now: whoever changed it could do that too."""
    sums = folder / reader.SUMS
    listed = decode_sums(sums.read_bytes(), at=reader.SUMS)
    listed[path.relative_to(folder).as_posix()] = sha256_hex(path.read_bytes())
    with holding(sums, encode_sums(listed)):
        yield


def flipped(data: bytes, place: int) -> bytes:
    """The bytes with one bit turned, another one from place to place."""
    return data[:place] + bytes([data[place] ^ 1 << place % 8]) + data[place + 1 :]


def missing(path: Path) -> None:
    path.unlink()


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def renamed(path: Path) -> None:
    path.rename(path.with_name(path.name + ".bak"))


def shouted(path: Path) -> None:
    """As a medium that does not keep the case may give it back."""
    path.rename(path.with_name(path.name.swapcase()))


def apart(path: Path) -> Path:
    """A folder that is no part of the delivery."""
    return next(parent for parent in path.parents if parent.name == "world")


def linked(path: Path) -> None:
    """A link to the very bytes, somewhere else."""
    elsewhere = apart(path) / "elsewhere"
    shutil.copyfile(path, elsewhere)
    path.unlink()
    path.symlink_to(elsewhere)


def piped(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def turned_into_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def doubled(path: Path) -> None:
    """A copy beside it that no document knows."""
    shutil.copyfile(path, path.with_name(path.name + "~"))


def grown(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\n")


HAPPENINGS: tuple[Callable[[Path], None], ...] = (
    missing, emptied, renamed, shouted, linked, piped, turned_into_a_folder, doubled, grown,
)  # fmt: skip


@contextmanager
def happening(what: Callable[[Path], None], path: Path) -> Iterator[None]:
    """It happened to the file, for the time of a block."""
    keep = apart(path) / "kept"
    shutil.copy2(path, keep)
    before = set(path.parent.iterdir())
    try:
        what(path)
        yield
    finally:
        for entry in set(path.parent.iterdir()) - before | {path}:
            if entry.is_dir() and not entry.is_symlink():
                entry.rmdir()
            else:
                entry.unlink(missing_ok=True)
        shutil.copy2(keep, path)


# -- what has to come of it --------------------------------------------------------------------------------


def outcome(delivery: Delivery) -> OperatorError | Imported:
    """Import it all. What was refused has changed nothing; what came in is what was packed."""
    tried = delivery.world.copied(delivery.world.base / "tried")
    try:
        done = tried.receive(*delivery.folders)
    except OperatorError as refusal:
        assert delivery.before == {**state_of(tried.site), "quarantine": []}
        return refusal
    else:
        assert delivery.after == state_of(tried.site)
        return done
    finally:
        shutil.rmtree(tried.base)


def demand_named(text: str, volume: str, path: str) -> None:
    """A refusal says which file of which volume. Of volume.json it says the folder: which volume, nobody can know."""
    if path == reader.SUMS:
        assert volume in text
    elif path == reader.LABEL:
        assert volume.replace(" ", "-0") in text or volume in text
        assert path in text or "missing" in text
    else:
        assert f"{volume}, {path}".lower() in text.lower()


def demand_right(delivery: Delivery, path: Path) -> None:
    """Import with something done to one file: refused by its name, or all right and said so."""
    volume, relative = delivery.name(path)
    done = outcome(delivery)
    if isinstance(done, OperatorError):
        demand_named(str(done), volume, relative)
    else:
        assert delivery.parity
        mine = [note for note in done.notes if note.startswith(f"{volume}, ")]
        said = any(relative in note for note in mine) or (mine and relative == reader.SUMS)
        idle = volume == "volume 3" and relative.startswith(("parity/", reader.LABEL))  # nobody needed it
        assert said or done.rebuilt or idle


# -- the proof ---------------------------------------------------------------------------------------------


def test_the_bundle_has_everything_in_it(delivery: Delivery) -> None:
    lines = (delivery.folders[0] / reader.TABLE).read_text()
    for kind in ('"delta"', '"planes"', '"raw"', '"from"', '"zstd"'):
        assert kind in lines
    assert (3 if delivery.parity else 2) == len(delivery.folders)
    assert delivery.before != delivery.after


def test_any_flipped_byte_of_a_small_file_is_named(delivery: Delivery) -> None:
    _seen_by_its_volume(delivery, lambda data: (flipped(data, place) for place in range(len(data))))


def test_a_small_file_that_is_cut_anywhere_is_named(delivery: Delivery) -> None:
    _seen_by_its_volume(delivery, lambda data: (data[:length] for length in range(len(data))))


@dataclass(frozen=True)
class Remembered(reader.VolumeFolder):
    """A volume whose small files are in memory, so that only what is decided about them takes time."""

    small_bytes: dict[str, bytes] = field(default_factory=dict)

    def read(self, path: str) -> bytes:
        """Return what is remembered; what is not there is what the real one refuses."""
        return self.small_bytes[path] if path in self.small_bytes else super().read(path)


def _remembered(folder: reader.VolumeFolder) -> Remembered:
    known = {path: folder.read(path) for path in folder.small()}
    return Remembered(folder.path, folder.label, folder.files, folder.strange, None, known)


def _seen_by_its_volume(delivery: Delivery, changed: Callable[[bytes], Iterator[bytes]]) -> None:
    """Reading the volume's small files names it. A list that is cut between two lines is seen by the import."""
    for number, volume in enumerate(map(_remembered, reader.gather(delivery.folders)), start=1):
        cuts = 0
        for path, whole in list(volume.small_bytes.items()):
            for data in changed(whole):
                volume.small_bytes[path] = data
                problems = _problems(volume, path)
                if problems:
                    demand_named(problems, f"volume {number}", path)
                    continue
                assert path == reader.SUMS
                cuts += 1
                if cuts % every(5) == 0:
                    with holding(volume.path / path, data):
                        demand_right(delivery, volume.path / path)
            volume.small_bytes[path] = whole


def _problems(volume: Remembered, path: str) -> str:
    at = f"{volume.name}, {path}"
    try:
        if path == reader.LABEL and decode_label(volume.small_bytes[path], at=at) != volume.label:
            return at  # `reader.read_plan` compares it with the signed plan
        return " ".join(reader.read_small(volume).problems)
    except OperatorError as refusal:
        return str(refusal)


def test_a_changed_small_file_with_a_mended_list_is_still_not_believed(delivery: Delivery) -> None:
    """On one volume alone it differs from the other; on all of them nobody vouches for it."""
    with delivery.world.at(delivery.world.site) as work, work.store.view() as view:
        memory = opening.remembered(view)
        whole = opening.open_bundle(reader.gather(delivery.folders), memory, work)
        for path in small_files(delivery):
            volume, relative = delivery.name(path)
            if relative == reader.SUMS or volume != "volume 1":
                continue
            own = relative in reader.OWN_FILES
            copies = [path] if own else [folder / relative for folder in delivery.folders]
            data = path.read_bytes()
            for place in range(len(relative) % 5, len(data), every(127)):
                with _everywhere(delivery, copies, flipped(data, place)):
                    try:
                        opened = opening.open_bundle(reader.gather(delivery.folders), memory, work)
                    except OperatorError:
                        continue
                    if not any(relative in note or volume in note for note in opened.notes):
                        _demand_same(whole, opened)


@contextmanager
def _everywhere(delivery: Delivery, copies: list[Path], data: bytes) -> Iterator[None]:
    if not copies:
        yield
        return
    path, folder = copies[0], next(f for f in delivery.folders if copies[0].is_relative_to(f))
    with holding(path, data), mended(folder, path), _everywhere(delivery, copies[1:], data):
        yield


def _demand_same(whole: opening.Opened, opened: opening.Opened) -> None:
    """A signature may be written in another way and still be one; what it vouches for is the same to the byte."""
    assert whole.bundle.digest == opened.bundle.digest
    assert (whole.bundle.table, whole.bundle.manifests) == (opened.bundle.table, opened.bundle.manifests)
    assert [volume.plan for volume in whole.volumes] == [volume.plan for volume in opened.volumes]
    assert whole.verified.releases == opened.verified.releases


def test_a_mended_change_on_one_volume_is_named_by_the_import(delivery: Delivery) -> None:
    for number, path in enumerate(small_files(delivery)):
        volume, relative = delivery.name(path)
        folder = next(folder for folder in delivery.folders if path.is_relative_to(folder))
        if relative == reader.SUMS or number % every(3):
            continue
        data = path.read_bytes()
        with holding(path, flipped(data, len(data) // 2)), mended(folder, path):
            done = outcome(delivery)
            text = str(done) if isinstance(done, OperatorError) else " ".join(done.notes)
            # of a plan and its signature nobody can say which of them is wrong
            either = (relative, reader.PLAN) if relative == reader.PLAN_SIGNATURE else (relative,)
            assert volume in text or volume.replace(" ", "-0") in text
            assert any(path in text for path in either)


def test_any_flipped_byte_of_a_stored_file_is_seen_before_it_is_used(delivery: Delivery) -> None:
    for path in stored_files(delivery):
        data = path.read_bytes()
        for place in range(len(data)):
            with holding(path, flipped(data, place)):
                assert path.name != digest_of(Spot(path, ""), len(data))
        for length in range(len(data)):
            with holding(path, data[:length]), pytest.raises(Unreadable, match=f"ends after {length} bytes"):
                digest_of(Spot(path, ""), len(data))


def test_flipped_and_cut_stored_files_are_named_or_rebuilt_by_the_import(delivery: Delivery) -> None:
    for number, path in enumerate(stored_files(delivery)):
        data = path.read_bytes()
        for place in range(number, len(data), every(1300)):
            with holding(path, flipped(data, place)):
                demand_right(delivery, path)
            with holding(path, data[:place]):
                demand_right(delivery, path)


def test_flipped_small_files_are_named_by_the_import(delivery: Delivery) -> None:
    for number, path in enumerate(small_files(delivery)):
        data = path.read_bytes()
        for place in range(number * 37 % len(data), len(data), every(4000)):
            with holding(path, flipped(data, place)):
                demand_right(delivery, path)


@pytest.mark.parametrize("what", HAPPENINGS, ids=lambda what: what.__name__)
def test_whatever_becomes_of_a_file_it_is_named_or_done_without(
    delivery: Delivery, what: Callable[[Path], None]
) -> None:
    turn = HAPPENINGS.index(what)
    for number, path in enumerate(delivery.files()):
        if (number + turn) % every(5) or (what is shouted and path.name == path.name.swapcase()):
            continue
        with happening(what, path):
            if what is doubled:
                volume, relative = delivery.name(path)
                refusal = outcome(delivery)
                assert isinstance(refusal, OperatorError)
                assert f"{volume}, {relative}~" in str(refusal)
            else:
                demand_right(delivery, path)


def test_reading_a_medium_back_names_every_file_that_is_not_as_it_was_packed(delivery: Delivery) -> None:
    for number, path in enumerate(delivery.files()):
        volume, relative = delivery.name(path)
        if number % every(3):
            continue
        data = path.read_bytes()
        with holding(path, flipped(data, len(data) - 1)), pytest.raises(OperatorError) as refusal:
            delivery.world.read_back(*delivery.folders)
        text = str(refusal.value)
        assert volume in text if relative == reader.SUMS else True
        demand_named(text, volume, relative)
