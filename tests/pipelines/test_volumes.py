"""Media hold what they say, whole items stay together, and what is lost or bad comes back from parity."""

import itertools
import json
import random
import shutil
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.bundle import plan, reader
from pipelines.bundle.errors import (
    BundlesMixed,
    ChunksDamaged,
    ChunksMissing,
    FilesDamaged,
    MediumNotWhole,
    MediumUnknown,
    NotOurBundle,
    OutputUnusable,
    PlanUntrusted,
    VolumeMissing,
    VolumeTooSmall,
)
from pipelines.bundle.media import medium, parse_size
from pipelines.bundle.plan import PLAN_TYPE, decode_sums, encode_sums
from pipelines.bundle.tables import Chunk
from pipelines.custody import Medium
from pipelines.receive import Inspection, inspect
from registry.audit import compare
from registry.entities import Custody
from registry.home import Home
from signing.digests import sha256_hex
from signing.envelope import sign
from signing.refusals import NotEnrolled
from tests import world as homes
from tests.pipelines.gap import (
    NOON,
    World,
    make_world,
    medium_of,
    model_files,
    small_chunks,
    state_of,
    stored_files,
    tree_of,
    weights,
)

# Media -------------------------------------------------------------------------------------------------------

CAPACITY = {  # bytes, as the standards and the makers count them
    "dvd": 4_700_372_992,
    "bd25": 25_025_314_816,
    "bd50": 50_050_629_632,
    "bd100": 100_103_356_416,
    "fat32:64GB": 64 * 10**9,
    "fat32:128GiB": 128 * 2**30,
    "exfat:1TB": 10**12,
    "4700000000": 4_700_000_000,
    "4.7GB": 4_700_000_000,
    "4GiB": 4 << 30,
    " 700 MB ": 700_000_000,
}


@pytest.mark.parametrize("name", CAPACITY)
def test_a_medium_takes_almost_what_it_is_sold_as_and_never_more(name: str) -> None:
    taken = medium(name)
    assert 0.99 * CAPACITY[name] < taken.bytes <= CAPACITY[name]
    assert taken.bytes == CAPACITY[name] or taken.cluster > 1, "a file system takes its share"


def test_the_largest_fat32_is_two_tebibytes() -> None:
    assert 2**41 > medium("fat32").bytes > 0.99 * 2**41
    assert medium("fat32").bytes == medium("fat32:16TB").bytes


@pytest.mark.parametrize(
    "name", ["", "floppy", "fat32:big", "dvd:5", "dvd5", "-1", "1e9", "nan", "4.7XB", "4,7GB", "٣"]
)
def test_what_is_no_medium_is_called_so(name: str) -> None:
    with pytest.raises(MediumUnknown):
        medium(name)


@pytest.mark.parametrize("name", ["fat32:1k", "exfat:1MB", "0"])
def test_a_medium_that_its_file_system_fills_holds_nothing(name: str) -> None:
    assert 0 == medium(name).bytes


@given(st.integers(0, 10**15), st.sampled_from(["dvd", "fat32", "exfat", "1TB"]))
def test_a_file_takes_whole_clusters(size: int, name: str) -> None:
    taken = medium(name)
    assert size <= taken.room(size) < size + taken.cluster
    assert 0 == taken.room(size) % taken.cluster


@given(st.integers(0, 10**15))
def test_a_size_in_bytes_is_exact(size: int) -> None:
    assert size == parse_size(str(size))


# Division ----------------------------------------------------------------------------------------------------


def divided(items: Sequence[Sequence[int]], sizes: Sequence[int], room: int) -> list[list[int]]:
    chunks = [Chunk(f"{number:064x}", size) for number, size in enumerate(sizes)]
    return plan.split(items, chunks, medium=medium_of(room), small=0)


def test_what_belongs_together_lies_together() -> None:
    assert [[0, 1], [2, 3]] == divided([[0, 1], [2, 3]], [4, 4, 4, 4], 10)
    assert [[0, 1, 4], [2, 3]] == divided([[0, 1], [2, 3], [4]], [4, 4, 4, 4, 2], 10), "the gap is filled"
    assert [[0, 1], [2, 3], [4]] == divided([[0, 1, 2, 3, 4]], [4, 4, 4, 4, 4], 10), "too large for one"
    assert [[0, 1]] == divided([[0, 1], [1, 0]], [4, 4], 10), "what two need counts for the first"


@pytest.mark.parametrize(("sizes", "room", "least"), [([500], 499, 500), ([10] * 1000, 10, 20)])
def test_a_medium_that_cannot_do_says_which_would(sizes: list[int], room: int, least: int) -> None:
    with pytest.raises(VolumeTooSmall) as refusal:
        divided([list(range(len(sizes)))], sizes, room)
    assert refusal.value.least == least


# A bundle on media -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Packed:
    """A world whose origin made bundles of the same versions on other media each; folders of the volumes by name."""

    world: World
    volumes: dict[str, list[Path]]

    def copy(self, name: str, folder: Path) -> list[Path]:
        """The volumes again, where a test may damage them."""
        return [
            Path(shutil.copytree(path, folder / f"{number:02d}" / path.name))
            for number, path in enumerate(self.volumes[name], start=1)
        ]


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Packed:
    made = make_world(tmp_path_factory.mktemp("volumes") / "world")
    made.add("acme/tiny", model_files())
    made.add("acme/wide", {**model_files(), "model.safetensors": weights(7, 400_000)})
    both = ("acme/tiny@1", "acme/wide@1")
    with pytest.MonkeyPatch.context() as patched:
        small_chunks(patched, 40_000)
        volumes = {
            "one": made.volumes(*both, out="one"),
            "plain": made.volumes(*both, out="plain", volume_bytes=254_000),
            "p": made.volumes(*both, out="p", volume_bytes=254_000, parity=1),
            "pq": made.volumes(*both, out="pq", volume_bytes=254_000, parity=2),
        }
        volumes["again"] = made.resplit(*volumes["plain"], out="again", volume_bytes=274_000)
        small_chunks(patched, 2100)
        volumes["inner p"] = made.volumes("acme/tiny@1", out="inner-p", parity=1)
        volumes["inner pq"] = made.volumes("acme/tiny@1", out="inner-pq", parity=2)
    assert [1, 4, 5, 6, 3, 1, 1] == [len(folders) for folders in volumes.values()]
    return Packed(made, volumes)


@pytest.fixture
def gap(packed: Packed, tmp_path: Path) -> World:
    return packed.world.copied(tmp_path / "world")


def looked_at(gap: World, volumes: Collection[Path]) -> Inspection:
    with gap.at(gap.site) as work:
        return inspect(work, list(volumes))


def wanted(packed: Packed, folder: Path, name: str) -> dict[str, object]:
    """What the site is after all volumes of a bundle arrived."""
    reference = packed.world.copied(folder)
    reference.receive(*packed.volumes[name])
    return state_of(reference.site)


def lossy(count: int, lost: int) -> list[tuple[int, ...]]:
    return list(itertools.combinations(range(count), lost))


@pytest.mark.parametrize(
    ("name", "lost"), [("p", 1), ("pq", 1), pytest.param("pq", 2, marks=pytest.mark.slow)]
)
def test_any_volumes_may_be_lost(packed: Packed, tmp_path: Path, name: str, lost: int) -> None:
    """Every choice of them, what is left in an order of chance; the site is as if nothing had been lost."""
    volumes, chosen = packed.volumes[name], random.Random(20261120)
    whole = wanted(packed, tmp_path / "reference", name)
    for number, gone in enumerate(lossy(len(volumes), lost)):
        left = [path for index, path in enumerate(volumes) if index not in gone]
        chosen.shuffle(left)
        tried = packed.world.copied(tmp_path / f"try-{number}")
        done = tried.receive(*left)
        assert (done.rebuilt > 0) == any(stored(volumes[index], "chunks") for index in gone)
        assert whole == state_of(tried.site)
        shutil.rmtree(tried.base)


def stored(folder: Path, kind: str) -> list[Path]:
    return [path for path in stored_files(folder) if path.is_relative_to(folder / kind)]


@pytest.mark.parametrize(("name", "most"), [("plain", 0), ("p", 1), ("pq", 2)])
def test_every_subset_can_be_imported_or_says_what_is_missing(
    packed: Packed, gap: World, name: str, most: int
) -> None:
    """What parity cannot bring back is named by volume, and only that."""
    volumes = packed.volumes[name]
    holding = {number for number, path in enumerate(volumes) if stored(path, "chunks")}
    for count in range(1, len(volumes) + 1):
        for here in lossy(len(volumes), count):
            seen = looked_at(gap, [volumes[number] for number in here])
            gone = set(range(len(volumes))) - set(here)
            if len(gone) <= most or not gone & holding:
                assert () == seen.problems
            else:
                [problem] = seen.problems
                assert isinstance(problem, VolumeMissing)
                assert {number + 1 for number in gone & holding} == set(problem.missing)


def test_volumes_are_found_in_every_order(packed: Packed) -> None:
    volumes = packed.volumes["pq"]
    wanted = [folder.path for folder in reader.gather(volumes)]
    for order in itertools.permutations(volumes):
        if order[0] == volumes[0] or order[-1] == volumes[0]:  # a third of them; the rest are like these
            assert wanted == [folder.path for folder in reader.gather(order)]


@pytest.mark.parametrize(
    ("name", "lost"), [("inner p", 1), pytest.param("inner pq", 2, marks=pytest.mark.slow)]
)
def test_any_files_of_one_volume_may_be_bad(packed: Packed, tmp_path: Path, name: str, lost: int) -> None:
    """A bad sector, a file that is gone: every file and every pair of files, chunks and parity alike."""
    whole = wanted(packed, tmp_path / "reference", name)
    [medium] = packed.copy(name, tmp_path / "medium")
    for number, bad in enumerate(itertools.combinations(stored_files(medium), lost)):
        before = {path: path.read_bytes() for path in bad}
        for kind, path in enumerate(bad, start=number):
            _spoil(path, kind)
        tried = packed.world.copied(tmp_path / f"try-{number}")
        done = tried.receive(medium)
        chunks = [path for path in bad if path.is_relative_to(medium / "chunks")]
        assert len(chunks) == done.rebuilt
        assert whole == state_of(tried.site)
        for path, data in before.items():
            path.write_bytes(data)
        shutil.rmtree(tried.base)


def _spoil(path: Path, kind: int) -> None:
    data = path.read_bytes()
    if kind % 3 == 0:
        path.unlink()
    elif kind % 3 == 1:
        path.write_bytes(data[: len(data) // 2])
    else:
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))


@pytest.mark.parametrize("name", ["inner p", "inner pq"])
def test_more_bad_files_than_parity_are_named(packed: Packed, gap: World, tmp_path: Path, name: str) -> None:
    [medium] = packed.copy(name, tmp_path / "medium")
    bad = stored(medium, "chunks")
    for path in bad:
        path.write_bytes(bytes(path.stat().st_size))
    with pytest.raises(ChunksDamaged) as refusal:
        gap.receive(medium)
    named = {line.rpartition("/")[2].partition(":")[0] for line in refusal.value.problems}
    assert {max(bad, key=lambda path: path.stat().st_size).name} <= named <= {path.name for path in bad}
    assert [] == state_of(gap.site)["versions"]


def test_bad_places_that_do_not_meet_are_all_mended(packed: Packed, gap: World, tmp_path: Path) -> None:
    """One parity volume, a bad chunk on every other volume: different places of the volumes, so each can be rebuilt."""
    volumes = packed.copy("p", tmp_path / "media")
    holding = [path for path in volumes if stored(path, "chunks")]
    for number, folder in enumerate(holding[:3]):
        document = json.loads((folder / "plan.json").read_bytes())
        index = json.loads((folder / "volume.json").read_bytes())["index"]
        name = document["volumes"][index - 1]["chunks"][number]
        path = folder / "chunks" / name[:2] / name
        path.write_bytes(bytes(path.stat().st_size))
    assert 3 == gap.receive(*volumes).rebuilt


def test_a_lost_volume_and_a_bad_place_on_another_need_two(
    packed: Packed, gap: World, tmp_path: Path
) -> None:
    volumes = packed.copy("pq", tmp_path / "media")
    bad = stored(volumes[1], "chunks")[0]
    bad.write_bytes(bytes(bad.stat().st_size))
    done = gap.receive(*volumes[1:])
    assert len(stored(volumes[0], "chunks")) + 1 == done.rebuilt


def test_a_damaged_paper_is_forgiven_where_parity_covers_its_volume(
    packed: Packed, gap: World, tmp_path: Path
) -> None:
    for name in ("plain", "p"):
        volumes = packed.copy(name, tmp_path / name)
        paper = volumes[1] / "README.txt"
        paper.write_bytes(paper.read_bytes().replace(b"t", b"T", 1))
        if name == "plain":
            with pytest.raises(FilesDamaged):
                gap.receive(*volumes)
            continue
        done = gap.receive(*volumes)
        assert done.rebuilt
        [note] = done.notes
        assert note.startswith("volume 2, README.txt: not the bytes that SHA256SUMS lists")


# Twice, mixed, resplit ---------------------------------------------------------------------------------------


def test_of_a_volume_given_twice_the_good_copy_is_read(packed: Packed, gap: World, tmp_path: Path) -> None:
    for copies in (packed.copy("plain", tmp_path / "a"), packed.copy("plain", tmp_path / "z")):
        spoiled = stored(copies[1], "chunks")
        half = spoiled[::2] if copies[0].is_relative_to(tmp_path / "a") else spoiled[1::2]
        for path in half:
            path.write_bytes(bytes(path.stat().st_size))
    assert 2 == len(gap.receive(tmp_path / "a" / "02", tmp_path / "z" / "02", *packed.volumes["plain"][:1],
                                *packed.volumes["plain"][2:]).versions)  # fmt: skip


def test_volumes_of_two_bundles_are_refused_everywhere(packed: Packed, gap: World) -> None:
    mixed = [packed.volumes["plain"][0], packed.volumes["p"][1]]
    with pytest.raises(BundlesMixed):
        gap.receive(*mixed)
    with pytest.raises(BundlesMixed):
        looked_at(gap, mixed)
    with pytest.raises(BundlesMixed):
        gap.resplit(*mixed, out="x")
    with pytest.raises(BundlesMixed):
        gap.read_back(*mixed)
    with pytest.raises(BundlesMixed):
        gap.ask_for_repair(*mixed)


def chunks_on(folder: Path) -> set[str]:
    return {path.name for path in stored(folder, "chunks")}


def test_volumes_of_two_plans_complete_each_other(packed: Packed, gap: World) -> None:
    """The bundle was divided anew; whatever is here of the old media and the new ones counts together."""
    volumes = [*packed.volumes["plain"], *packed.volumes["again"]]
    everything = set().union(*map(chunks_on, packed.volumes["plain"]))
    assert everything == set().union(*map(chunks_on, packed.volumes["again"]))
    for here in itertools.product((False, True), repeat=len(volumes)):
        given = [path for path, chosen in zip(volumes, here, strict=True) if chosen]
        if given:
            covered = everything == set().union(*map(chunks_on, given))
            assert covered == (looked_at(gap, given).problems == ())
    cross = [packed.volumes["plain"][0], packed.volumes["plain"][3], *packed.volumes["again"][:2]]
    if everything == set().union(*map(chunks_on, cross)):
        assert 2 == len(gap.receive(*cross).versions)


def test_resplitting_signs_no_document_anew(packed: Packed) -> None:
    """The officer is not there: only what says where things lie may change."""
    before, after = packed.volumes["plain"][0], packed.volumes["again"][0]
    own = {"plan.json", "plan.sig.json", "volume.json", "SHA256SUMS"}
    papers = [
        {
            path: digest
            for path, (_size, _time, digest) in tree_of(folder).items()
            if not path.startswith("chunks/")
        }
        for folder in (before, after)
    ]
    assert papers[0].keys() == papers[1].keys()
    assert own == {path for path in papers[0] if papers[0][path] != papers[1][path]}


@pytest.mark.parametrize("parity", [0, 1, 2])
@pytest.mark.parametrize("room", [None, 200_000])
def test_a_resplit_bundle_arrives(
    packed: Packed, gap: World, tmp_path: Path, parity: int, room: int | None
) -> None:
    volumes = gap.resplit(*packed.volumes["one"], out="new", volume_bytes=room, parity=parity)
    if room is not None:
        assert len(volumes) > 2 + parity
        for folder in volumes:
            assert room >= sum(size for size, _time, _digest in tree_of(folder).values())
    whole = wanted(packed, tmp_path / "reference", "one")
    gap.receive(*volumes[min(parity, len(volumes) - 1) :])
    assert whole == state_of(gap.site)


def test_resplitting_needs_every_chunk_and_each_as_it_was(packed: Packed, gap: World, tmp_path: Path) -> None:
    volumes = packed.copy("plain", tmp_path / "media")
    with pytest.raises(VolumeMissing) as missing:
        gap.resplit(*volumes[:2], out="x")
    assert (3, 4) == missing.value.missing
    gone, cut, wrong = stored(volumes[1], "chunks")[:3]
    data = wrong.read_bytes()
    wrong.write_bytes(bytes(len(data)))
    with pytest.raises(ChunksDamaged) as damaged:
        gap.resplit(*volumes, out="x")
    assert [True] == [wrong.name in line for line in damaged.value.problems]
    wrong.write_bytes(data)
    cut.write_bytes(b"x")
    gone.unlink()
    with pytest.raises(ChunksMissing) as absent:
        gap.resplit(*volumes, out="x")
    assert {gone.name, cut.name} == {line.rpartition("/")[2] for line in absent.value.problems}
    assert not (gap.base / "x").exists() or [] == list((gap.base / "x").iterdir())
    spare = packed.volumes["plain"][1]
    assert 1 == len(gap.resplit(*volumes, spare, out="x")), "another copy of the volume will do"


def test_only_the_station_that_packed_it_may_divide_it(packed: Packed, gap: World, tmp_path: Path) -> None:
    stranger = homes.new_home(tmp_path / "other", name="harbour", roles=("origin",), now=NOON)
    gap.origin = stranger
    with pytest.raises(NotOurBundle):
        gap.resplit(*packed.volumes["one"], out="x")
    assert not (gap.base / "x").exists()


def test_dividing_never_replaces_what_is_there(packed: Packed, gap: World) -> None:
    (gap.base / "x" / "volume-01").mkdir(parents=True)
    with pytest.raises(OutputUnusable):
        gap.resplit(*packed.volumes["one"], out="x", volume_bytes=200_000)
    with pytest.raises(VolumeTooSmall):
        gap.resplit(*packed.volumes["one"], out="y", volume_bytes=20_000)
    assert [] == list((gap.base / "y").iterdir())


def test_a_plan_signed_by_another_machine_is_refused(packed: Packed, gap: World, tmp_path: Path) -> None:
    """Whoever can write the medium divides it anew, correctly, and signs with a key of their own."""
    [medium] = packed.copy("one", tmp_path / "medium")
    with gap.at(gap.site) as work:
        signature = sign((medium / "plan.json").read_bytes(), PLAN_TYPE, work.station).to_json()
    (medium / "plan.sig.json").write_bytes(signature)
    sums = decode_sums((medium / "SHA256SUMS").read_bytes(), at="x")
    (medium / "SHA256SUMS").write_bytes(encode_sums({**sums, "plan.sig.json": sha256_hex(signature)}))
    with pytest.raises(PlanUntrusted):
        gap.receive(medium)
    with pytest.raises(PlanUntrusted):
        gap.resplit(medium, out="x")


# Reading back ------------------------------------------------------------------------------------------------

SPOKEN = Medium(serial="VBTM-0042", seal="7781", carrier="maria")


def kept(home: Home) -> list[Custody]:
    with homes.at_work(home, actor="auditor", now=NOON) as work, work.store.view() as view:
        assert [] == compare(view.events(), dict(view.recorded()))
        return view.custody()


@pytest.mark.parametrize("name", ["one", "plain", "pq", "inner pq", "again"])
def test_a_whole_medium_is_recorded_with_who_carries_it(packed: Packed, gap: World, name: str) -> None:
    volumes = packed.volumes[name]
    found = gap.read_back(*volumes, medium=SPOKEN)
    rows = kept(gap.origin)
    assert ["WHOLE"] * len(volumes) == [row.outcome for row in rows] == [one.outcome for one in found]
    assert [("VBTM-0042", "7781", "maria", "ines")] * len(volumes) == [
        (row.serial, row.seal, row.carrier, row.actor) for row in rows
    ]
    assert [(number, len(volumes)) for number in range(1, len(volumes) + 1)] == [
        (r.volume, r.of) for r in rows
    ]
    assert [sha256_hex((folder / "SHA256SUMS").read_bytes()) for folder in volumes] == [
        row.sums for row in rows
    ]
    for one, folder in zip(found, volumes, strict=True):
        assert one.bytes == sum(path.stat().st_size for path in stored_files(folder))


def test_a_site_reads_back_what_arrived_and_imports_nothing(packed: Packed, gap: World) -> None:
    gap.read_back(*packed.volumes["pq"][:2], home=gap.site, medium=SPOKEN)
    assert [1, 2] == [row.volume for row in kept(gap.site)]
    assert [] == state_of(gap.site)["versions"]


def spoil_one(folder: Path, kind: str) -> str:
    """Do something to a medium; returns what a person has to be told."""
    if kind == "parity":
        piece = stored(folder, "parity")[0]
        piece.write_bytes(bytes(piece.stat().st_size))
        return piece.name
    chunk = stored(folder, "chunks")[0]
    if kind == "flipped byte":
        data = chunk.read_bytes()
        chunk.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    elif kind == "gone":
        chunk.unlink()
    elif kind == "cut":
        chunk.write_bytes(b"x")
    elif kind == "surplus":
        (folder / "autorun.inf").write_text("[autorun]")
        return "autorun.inf"
    elif kind == "link":
        chunk.rename(folder.parent / "elsewhere")
        chunk.symlink_to(folder.parent / "elsewhere")
    else:
        (folder / "README.txt").write_text("hello")
        return "README.txt"
    return chunk.name


@pytest.mark.parametrize("kind", ["flipped byte", "gone", "cut", "surplus", "link", "parity", "paper"])
@pytest.mark.parametrize("at", ["origin", "site"])
def test_what_is_wrong_with_a_medium_is_named_and_recorded(
    packed: Packed, gap: World, tmp_path: Path, kind: str, at: str
) -> None:
    """Although parity would bring it back: a medium is handed over whole or not at all."""
    volumes = packed.copy("p", tmp_path / "media")
    number = 4 if kind == "parity" else 1
    named = spoil_one(volumes[number], kind)
    home = gap.site if at == "site" else gap.origin
    with pytest.raises(MediumNotWhole) as refusal:
        gap.read_back(*volumes, home=home, medium=SPOKEN)
    assert any(named in line and f"volume {number + 1}" in line for line in refusal.value.problems)
    rows = kept(home)
    outcomes = {row.volume: row.outcome for row in rows}
    assert {index: "DAMAGED" if index == number + 1 else "WHOLE" for index in range(1, 6)} == outcomes
    [body] = [row.body for row in rows if row.outcome == "DAMAGED"]
    assert named in body


@pytest.mark.parametrize("kind", ["flipped byte", "surplus", "paper"])
def test_without_parity_the_same_is_named(packed: Packed, gap: World, tmp_path: Path, kind: str) -> None:
    volumes = packed.copy("plain", tmp_path / "media")
    named = spoil_one(volumes[0], kind)
    with pytest.raises((MediumNotWhole, FilesDamaged)) as refusal:
        gap.read_back(*volumes)
    assert named in str(refusal.value)


def test_a_strangers_bundle_is_not_vouched_for(packed: Packed, gap: World, tmp_path: Path) -> None:
    """An origin reads back what it made, a site what it may believe."""
    stranger = make_world(tmp_path / "stranger")
    stranger.add("acme/tiny", model_files())
    [theirs] = stranger.volumes("acme/tiny")
    with pytest.raises(NotOurBundle):
        gap.read_back(theirs)
    nobody = homes.new_home(tmp_path / "nobody", name="ward", roles=("site",), now=NOON)
    with pytest.raises(NotEnrolled):
        gap.read_back(theirs, home=nobody)
    assert [] == kept(gap.origin) == kept(nobody)
