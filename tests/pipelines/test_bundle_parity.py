"""Lost volumes, lost discs, bad sectors: what parity brings back, and that it never brings back anything else."""

import hashlib
import random
import re
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path

import pytest

from pipelines.bundle import erasures, lanes, parity, rebuilding
from pipelines.bundle.erasures import can_rebuild
from pipelines.bundle.lanes import ParitySet, Reader, Scheme, Sized, Unreadable, across, slices, within
from pipelines.bundle.rebuilding import Rebuilt
from pipelines.bundle.stripes import MEMORY, STEP, stripe_bytes

KIB = 1 << 10


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces of 64 KiB, so that a few hundred kilobytes have as many as 16 GB would."""
    for module in (lanes, parity, rebuilding, erasures):
        monkeypatch.setattr(module, "PIECE", 64 * KIB)


@dataclass
class Medium:
    """Chunks and pieces by name, and a place where rebuilt ones appear."""

    folder: Path
    chunks: dict[str, bytes] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)
    reads: list[str] = field(default_factory=list)

    def volume(self, *sizes: int, seed: int = 0) -> list[Sized]:
        """Make chunks of random bytes."""
        made = []
        for number, size in enumerate(sizes):
            data = random.Random(f"{seed}/{number}").randbytes(size)
            made.append((hashlib.sha256(data).hexdigest(), size))
            self.chunks[made[-1][0]] = data
        return made

    def read(self, name: str, offset: int, view: memoryview) -> None:
        self.reads.append(name)
        if name in self.gone:
            raise Unreadable
        piece = self.folder / name[:2] / name
        data = self.chunks[name] if name in self.chunks else piece.read_bytes()
        view[:] = data[offset : offset + len(view)]

    def target(self, name: str) -> Path:
        return self.folder / f"rebuilt-{name}"

    def write(self, layout: ParitySet) -> ParitySet:
        return parity.write(layout, self.read, self.folder)

    def rebuild(
        self, sets: Sequence[ParitySet], lost: Iterable[str], *, without: Iterable[str] = ()
    ) -> Rebuilt:
        """Lose chunks and pieces, rebuild the chunks, and look at every byte of what came back."""
        lost = set(lost)
        self.gone = {*lost, *without}
        result = rebuilding.rebuild(sets, lost, self.read, self.target)
        assert result.done | result.lost == lost
        assert (result.done, result.lost) == can_rebuild(sets, lost, bad_pieces=self.gone - lost)
        for name in result.done:
            assert self.chunks[name] == self.target(name).read_bytes()
            self.target(name).unlink()
        assert not [path for path in self.folder.iterdir() if path.is_file()], "nothing half done stays"
        return result


@pytest.fixture
def medium(tmp_path: Path) -> Medium:
    return Medium(tmp_path)


def names(volume: Sequence[Sized]) -> set[str]:
    return {name for name, _ in volume}


def data_volumes(medium: Medium, count: int) -> list[list[Sized]]:
    """Volumes of different length with chunks of odd sizes; the last is hardly begun."""
    sizes = [(70_001 + 13 * n, 1, 33_333, 50_000 - 999 * n) for n in range(count - 1)]
    return [medium.volume(*row, seed=n) for n, row in enumerate([*sizes, (4_097,)])]


def test_any_one_of_five_volumes_may_be_lost(medium: Medium) -> None:
    """Four data volumes and one of parity: whichever stays behind, everything arrives."""
    volumes = data_volumes(medium, 4)
    sets = [medium.write(across(volumes, "p"))]

    for volume in volumes:
        assert names(volume) == medium.rebuild(sets, names(volume)).done
    assert not medium.rebuild(sets, (), without=sets[0].p).lost


def test_two_lost_volumes_are_more_than_one_sum_can_carry(medium: Medium) -> None:
    volumes = data_volumes(medium, 4)
    sets = [medium.write(across(volumes, "p"))]

    result = medium.rebuild(sets, names(volumes[0]) | names(volumes[1]))

    assert not result.done


def test_any_two_of_six_volumes_may_be_lost(medium: Medium) -> None:
    """Four data volumes, one with P, one with Q: every pair of the six, parity volumes among them."""
    volumes = data_volumes(medium, 4)
    sets = [medium.write(across(volumes, "pq"))]
    losses = [(names(volume), frozenset[str]()) for volume in volumes]
    losses += [(set[str](), frozenset(sets[0].p)), (set[str](), frozenset(sets[0].q))]

    for (first, one), (second, other) in combinations(losses, 2):
        assert first | second == medium.rebuild(sets, first | second, without=one | other).done


def test_p_and_q_can_stand_on_two_volumes(medium: Medium, tmp_path: Path) -> None:
    layout = across(data_volumes(medium, 3), "pq")

    made = parity.write(layout, medium.read, tmp_path / "five", q_folder=tmp_path / "six")

    assert {path.name for path in (tmp_path / "five").glob("??/*")} == set(made.p)
    assert {path.name for path in (tmp_path / "six").glob("??/*")} == set(made.q)


def test_a_little_damage_on_every_volume_is_rebuilt(medium: Medium) -> None:
    """Each of five discs has a bad chunk, and one sum is enough: no two of them share an offset."""
    volumes = [medium.volume(*[10_000] * 10, seed=n) for n in range(5)]
    sets = [medium.write(across(volumes, "p"))]
    bad = {volumes[disc][2 * disc][0] for disc in range(5)}

    assert bad == medium.rebuild(sets, bad).done


def test_bad_chunks_at_the_same_offset_are_named_and_the_rest_is_rebuilt(medium: Medium) -> None:
    volumes = [medium.volume(*[10_000] * 10, seed=n) for n in range(5)]
    sets = [medium.write(across(volumes, "p"))]
    clash = {volumes[0][4][0], volumes[3][4][0]}
    alone = {volumes[0][5][0], volumes[1][6][0]}

    result = medium.rebuild(sets, clash | alone)

    assert alone == result.done
    assert clash == result.lost


@pytest.mark.parametrize(("scheme", "losses"), [("p", 1), ("pq", 2)])
def test_a_single_disc_mends_its_own_bad_sectors(medium: Medium, scheme: Scheme, losses: int) -> None:
    """Any one bad file with P and any two with P and Q, whether they hold data or parity and wherever they lie."""
    volume = medium.volume(40_000, 7, 65_536, 12_345, 99_999, 1, 50_000, 65_537, 100_001, 3)
    sets = [medium.write(within(volume, scheme, share=6))]
    pieces = {*sets[0].p, *sets[0].q}

    for bad in combinations(sorted(names(volume) | pieces), losses):
        lost = names(volume) & set(bad)
        assert lost == medium.rebuild(sets, lost, without=pieces & set(bad)).done


def test_a_set_within_a_volume_opens_the_way_for_the_set_across(medium: Medium) -> None:
    """Two volumes are bad at the same offset: too much for P across, until the disc mends one of them itself."""
    volumes = [medium.volume(*[20_000] * 6, seed=n) for n in range(3)]
    inner = medium.write(within(volumes[0], "p", share=6))
    outer = medium.write(across(volumes, "p"))
    bad = {volumes[0][2][0], volumes[1][2][0]}

    assert not medium.rebuild([outer], bad).done
    assert bad == medium.rebuild([outer, inner], bad).done


def test_two_sets_may_each_give_one_half_of_a_chunk(medium: Medium) -> None:
    """The first chunk's first half comes from within its volume, the second from across; then all others follow."""
    first = medium.volume(20_000, 20_000, 20_000, seed=1)
    second = medium.volume(10_000, 30_000, 20_000, seed=2)
    inner = medium.write(ParitySet("p", tuple(slices(first, 30_000)), 30_000))
    outer = medium.write(across([first, second], "p"))
    bad = {first[0][0], first[2][0], second[0][0], second[2][0]}

    assert not medium.rebuild([inner], bad).done
    assert not medium.rebuild([outer], bad).done
    assert bad == medium.rebuild([inner, outer], bad).done
    assert bad == medium.rebuild([outer, inner], bad).done


def test_a_damaged_piece_is_found_out_and_done_without(medium: Medium) -> None:
    """Somebody changed one byte of a piece of P. Q still knows; with P alone the loss is named, nothing is invented."""
    volumes = data_volumes(medium, 4)
    schemes: list[tuple[Scheme, bool]] = [("pq", True), ("p", False)]
    for scheme, mended in schemes:
        sets = [medium.write(across(volumes, scheme))]
        piece = medium.folder / sets[0].p[0][:2] / sets[0].p[0]
        data = bytearray(piece.read_bytes())
        data[17] ^= 1
        piece.write_bytes(data)

        lost = names(volumes[1])
        result = rebuilding.rebuild(sets, lost, medium.read, medium.target)

        assert {sets[0].p[0]} == result.unreadable
        assert (result.done == lost) is mended
        for name in result.done:
            assert medium.chunks[name] == medium.target(name).read_bytes()


def test_a_chunk_that_fails_on_the_way_is_one_more_loss(medium: Medium) -> None:
    """Two volumes are known to be bad; while they are rebuilt, a third stops reading at one place."""
    volumes = [medium.volume(*[50_000] * 4, seed=n) for n in range(5)]
    sets = [medium.write(across(volumes, "pq"))]
    lost = names(volumes[0]) | names(volumes[2])
    medium.gone = {*lost, volumes[4][3][0]}

    result = rebuilding.rebuild(sets, lost, medium.read, medium.target)

    assert {volumes[0][3][0], volumes[2][3][0]} == result.lost
    assert {volumes[4][3][0]} == result.unreadable


def test_a_chunk_that_rotted_unseen_spoils_nothing_but_itself(medium: Medium) -> None:
    """A reader that hands out wrong bytes costs the chunks made from them. None gets a name that it does not deserve."""
    volumes = [medium.volume(*[50_000] * 4, seed=n) for n in range(3)]
    sets = [medium.write(across(volumes, "p"))]
    rotten = volumes[1][1][0]
    medium.chunks[rotten] = b"x" + medium.chunks[rotten][1:]

    result = rebuilding.rebuild(sets, names(volumes[0]), medium.read, medium.target)

    assert {volumes[0][1][0]} == result.lost
    assert all(hashlib.sha256(medium.target(name).read_bytes()).hexdigest() == name for name in result.done)
    assert not medium.target(volumes[0][1][0]).exists()


def test_what_a_killed_rebuild_left_behind_does_no_harm(medium: Medium) -> None:
    volumes = data_volumes(medium, 3)
    sets = [medium.write(across(volumes, "p"))]
    name = volumes[0][0][0]
    (medium.folder / f".rebuilt-{name}.rebuilding").write_bytes(b"half" * 99_999)

    assert names(volumes[0]) == medium.rebuild(sets, names(volumes[0])).done


def test_only_what_is_wanted_is_rebuilt(medium: Medium) -> None:
    """A whole volume is bad, one model is asked for: its chunk is written and nothing else."""
    volumes = data_volumes(medium, 4)
    sets = [medium.write(across(volumes, "p"))]
    wanted, *others = names(volumes[0])
    medium.gone = names(volumes[0])

    result = rebuilding.rebuild(sets, [wanted], medium.read, medium.target, bad=others)

    assert {wanted} == result.done
    assert [medium.target(wanted)] == [path for path in medium.folder.iterdir() if path.is_file()]


def test_a_piece_over_a_single_chunk_is_that_chunk(medium: Medium) -> None:
    """One small chunk, one lane: P is a copy. Either file will do."""
    volume = medium.volume(5_000)
    sets = [medium.write(within(volume, "pq"))]
    name = volume[0][0]

    assert (sets[0].p, sets[0].q) == ((name,), (name,))
    assert {name} == can_rebuild(sets, {name}, bad_pieces=())[0]
    assert {name} == rebuilding.rebuild(sets, {name}, medium.read, medium.target).done


def test_a_folder_without_chunks_needs_no_parity(medium: Medium) -> None:
    for layout in (within([], "pq"), across([[], []], "pq")):
        made = medium.write(layout)
        assert (made.p, made.q, made.problem()) == ((), (), None)


@pytest.mark.parametrize("at_once", [1, 2, 3, 4, 8, 12])
def test_memory_does_not_grow_with_the_cores(at_once: int) -> None:
    """P and Q of every thread, what it reads into and what it scratches on."""
    stripe = stripe_bytes(at_once)

    assert at_once * (2 * stripe + 2 * STEP) <= MEMORY
    assert stripe >= 4 * STEP
    assert stripe % STEP == 0


def test_pieces_are_named_by_their_digest_and_no_longer_than_said(medium: Medium) -> None:
    made = medium.write(across([medium.volume(150_000), medium.volume(64 * KIB, seed=2)], "pq"))

    for index, name in enumerate(made.p):
        data = (medium.folder / name[:2] / name).read_bytes()
        assert name == hashlib.sha256(data).hexdigest()
        assert made.piece_bytes(index) == len(data)
    assert [64 * KIB, 64 * KIB, 150_000 - 128 * KIB] == [made.piece_bytes(index) for index in range(3)]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"scheme": "r"}, "not known"),
        ({"length": 150_001}, "longest lane"),
        ({"p": ("a" * 64,) * 2}, "do not fit"),
        ({"q": ()}, "do not fit"),
        ({"lanes": (lanes.Lane((), 0, 0),) * 256}, "can be told apart"),
    ],
)
def test_a_plan_with_impossible_parity_is_noticed(
    medium: Medium, wrong: dict[str, object], said: str
) -> None:
    layout = across([medium.volume(150_000)], "pq")
    fields = {
        "scheme": "pq", "lanes": layout.lanes, "length": layout.length, "p": ("a" * 64,) * 3, "q": ("b" * 64,) * 3,
    }  # fmt: skip

    assert ParitySet(**fields).problem() is None  # type: ignore[arg-type]
    assert said in str(ParitySet(**{**fields, **wrong}).problem())  # type: ignore[arg-type]


def test_the_published_example_is_what_is_written(medium: Medium) -> None:
    """Section 5 of airgap-bundles/parity.md, byte for byte."""
    page = (Path(__file__).parents[2] / "airgap-bundles" / "parity.md").read_text()
    shown = dict(re.findall(r"^(\w+) +=((?: [0-9a-f]{2})+)(?: |$)", page, re.MULTILINE))
    row = []
    for lane in range(3):
        data = bytes.fromhex(shown[f"D_{lane}"])
        row.append([(hashlib.sha256(data).hexdigest(), len(data))])
        medium.chunks[row[-1][0][0]] = data

    made = medium.write(across(row, "pq"))

    for name, key in ((made.p[0], "P"), (made.q[0], "Q")):
        assert bytes.fromhex(shown[key]) == (medium.folder / name[:2] / name).read_bytes()
    assert not medium.rebuild([made], names(row[0]) | names(row[2])).lost


def test_a_full_disk_leaves_no_half_piece(medium: Medium, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_stream: object, _data: memoryview) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(parity, "write_all", full)
    with pytest.raises(OSError, match="No space"):
        medium.write(across([medium.volume(150_000)], "p"))
    assert not [path for path in medium.folder.rglob("*") if path.is_file()]


def test_what_preflight_needs_is_light() -> None:
    """To say what parity could bring back costs no numpy."""
    program = "import sys; import pipelines.bundle.erasures; sys.exit('numpy' in sys.modules)"

    assert 0 == subprocess.run([sys.executable, "-c", program], check=False).returncode


def refuses(_name: str, _offset: int, _view: memoryview) -> None:
    raise Unreadable


def test_with_nothing_readable_everything_is_lost(medium: Medium) -> None:
    volumes = data_volumes(medium, 3)
    sets = [medium.write(across(volumes, "pq"))]
    reader: Reader = refuses

    assert names(volumes[0]) == rebuilding.rebuild(sets, names(volumes[0]), reader, medium.target).lost
