"""Bundles on the file systems that media have: FAT32, exFAT, ISO 9660. Real images, made by the system's own tools.

A medium is mounted by the kernel where it knows the file system and we may, else through FUSE, else its files are
copied out by mtools or isoinfo: one of them always runs where the packages of `.ci/run` are installed.

Two things are proved. What comes off such a medium, read-only, is the bundle that was written. And a bundle that was
made for a size really fits on a file system of exactly that size: `pipelines.bundle.media` against the real tools'
geometry, for volumes filled to the brim.
"""

import contextlib
import hashlib
import os
import shutil
import struct
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from pipelines.bundle import plan
from pipelines.bundle.errors import NotABundle
from pipelines.bundle.media import Medium, medium
from pipelines.bundle.tables import GUARD_CHUNK, Chunk
from pipelines.errors import BundleRefused
from tests.pipelines.gap import World, make_world, model_files, small_chunks, tree_of, weights

MIB = 1 << 20


def program(*names: str) -> str:
    """The first of these programs that is here; else the test is skipped, naming what it needs."""
    found = [
        path for name in names if (path := shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin"))
    ]
    if not found:
        pytest.skip(f"needs {' or '.join(names)}")
    return found[0]


def run(*words: object) -> str:
    done = subprocess.run([*map(str, words)], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
    return done.stdout


def blank(image: Path, size: int) -> Path:
    with image.open("wb") as stream:
        stream.truncate(size)
    return image


@contextmanager
def mounted(image: Path, place: Path, kind: str, *, writable: bool = False) -> Iterator[Path | None]:
    """Yield the place where an image is mounted, by the kernel or through FUSE; None where neither can."""
    place.mkdir()
    mode = "rw" if writable else "ro"
    with contextlib.ExitStack() as after:
        ways = [["mount", "-t", kind, "-o", f"loop,{mode}", str(image), str(place)]]
        if kind == "iso9660" and shutil.which("fuseiso"):
            ways.append(["fuseiso", str(image), str(place)])
        if kind == "exfat" and (fuse := shutil.which("mount.exfat-fuse", path="/usr/sbin:/sbin")):
            ways.append([fuse, "-o", mode, loop_device(image, after), str(place)])
        if any(answered(way) for way in ways):
            after.callback(run, "umount", place)
            yield place
        else:
            yield None


def loop_device(image: Path, after: contextlib.ExitStack) -> str:
    """A block device that is the image: exFAT through FUSE wants one. An empty name where there is none to be had."""
    done = subprocess.run(["losetup", "--find", "--show", image], capture_output=True, text=True, check=False)
    if done.returncode == 0:
        after.callback(run, "losetup", "--detach", done.stdout.strip())
    return done.stdout.strip()


def answered(command: Sequence[str]) -> bool:
    with contextlib.suppress(OSError):
        return subprocess.run(command, capture_output=True, check=False, timeout=60).returncode == 0
    return False


@contextmanager
def iso_files(image: Path, place: Path, names: str) -> Iterator[Path]:
    """The files of an ISO image: mounted, or taken out by isoinfo. `names`: `-R`, `-J`, or nothing for plain names."""
    with mounted(image, place, "iso9660") as top:
        if top is not None:
            yield top
            return
    options = [names] if names else []
    for line in run(program("isoinfo"), "-i", image, *options, "-f").splitlines():
        inside = line.removesuffix(";1")
        target = place / (inside if names else inside.lower()).lstrip("/")
        found = subprocess.run(
            ["isoinfo", "-i", image, *options, "-x", line], capture_output=True, check=True
        )
        if not target.is_dir():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(found.stdout)
    yield place


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> tuple[World, Path]:
    """A world and a bundle of three versions, on no medium yet."""
    world = make_world(tmp_path_factory.mktemp("media") / "world")
    for seed in range(3):
        world.add(f"acme/m{seed}", model_files(seed, 200_000))
    return world, world.ship("acme/m0", "acme/m1", "acme/m2", parity=1)


def taken_in(world: World, base: Path, medium: Path) -> None:
    """Import at a copy of the site; nothing may be written to the medium."""
    copy, before = world.copied(base), tree_of(medium)
    assert 3 == len(copy.receive(medium, receipt_to=base / "receipt.json").versions)
    assert tree_of(medium) == before


# Reading back ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [["-R"], ["-J", "-joliet-long"]], ids=" ".join)
def test_a_disc_is_read(scene: tuple[World, Path], tmp_path: Path, options: list[str]) -> None:
    image = tmp_path / "disc.iso"
    run(program("genisoimage"), "-quiet", "-o", image, *options, scene[1])
    burnt = hashlib.sha256(image.read_bytes()).hexdigest()
    with iso_files(image, tmp_path / "disc", options[0]) as top:
        taken_in(scene[0], tmp_path / "world", top)
    assert hashlib.sha256(image.read_bytes()).hexdigest() == burnt


@pytest.mark.parametrize("level", [1, 3])
def test_a_disc_whose_names_were_cut_is_refused(
    scene: tuple[World, Path], tmp_path: Path, level: int
) -> None:
    """ISO 9660 alone has names of 8.3 or 31 letters; genisoimage warns, and some people burn anyway."""
    image = tmp_path / "disc.iso"
    run(program("genisoimage"), "-quiet", "-o", image, "-iso-level", level, scene[1])
    world = scene[0].copied(tmp_path / "world")
    with iso_files(image, tmp_path / "disc", "") as top, pytest.raises(BundleRefused):
        world.receive(top)


def test_a_medium_with_names_in_capitals_is_refused(scene: tuple[World, Path], tmp_path: Path) -> None:
    loud = tmp_path / "LOUD"
    for path in scene[1].rglob("*"):
        if path.is_file():
            target = loud / str(path.relative_to(scene[1])).upper()
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
    with pytest.raises(NotABundle):
        scene[0].copied(tmp_path / "world").receive(loud)


def test_a_fat32_stick_is_read(scene: tuple[World, Path], tmp_path: Path) -> None:
    image = blank(tmp_path / "stick.img", 64 * 10**6)
    run(program("mkfs.vfat"), "-F", "32", image)
    run(program("mcopy"), "-s", "-i", image, *scene[1].iterdir(), "::")
    with mounted(image, tmp_path / "stick", "vfat") as top:
        if top is None:
            run("mcopy", "-s", "-i", image, "::*", top := tmp_path / "stick")
        taken_in(scene[0], tmp_path / "world", top)


def test_an_exfat_stick_is_read(scene: tuple[World, Path], tmp_path: Path) -> None:
    image = blank(tmp_path / "stick.img", 64 * 10**6)
    run(program("mkfs.exfat"), image)
    with mounted(image, tmp_path / "stick", "exfat", writable=True) as top:
        if top is None:
            pytest.skip("neither the kernel nor exfat-fuse mounts exFAT here")
        shutil.copytree(scene[1], top, dirs_exist_ok=True, copy_function=shutil.copyfile)
    with mounted(image, tmp_path / "again", "exfat") as top:
        assert top is not None
        with pytest.raises(OSError, match="Read-only"):
            (top / "x").write_bytes(b"")
        taken_in(scene[0], tmp_path / "world", top)


# What fits ---------------------------------------------------------------------------------------------------


def test_no_chunk_is_larger_than_a_file_of_fat32_may_be() -> None:
    assert GUARD_CHUNK < 1 << 32


def test_a_brimful_bundle_for_a_stick_fits_on_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Really copied; what clusters of another size come to is counted below."""
    image = blank(tmp_path / "stick.img", 64 * 10**6)
    run(program("mkfs.vfat"), "-F", "32", image)
    for number, volume in enumerate(brimful(tmp_path, "fat32:64MB", monkeypatch)):
        target = tmp_path / f"{number}.img"
        shutil.copyfile(image, target)
        run(program("mcopy"), "-s", "-i", target, volume, "::")
        run(program("fsck.vfat"), "-n", target)


def test_a_brimful_bundle_for_an_exfat_stick_fits_on_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = blank(tmp_path / "stick.img", 128 * 10**6)
    run(program("mkfs.exfat"), "-c", "128K", image)
    for number, volume in enumerate(brimful(tmp_path, "exfat:128MB", monkeypatch)):
        target = tmp_path / f"{number}.img"
        shutil.copyfile(image, target)
        with mounted(target, tmp_path / f"stick-{number}", "exfat", writable=True) as top:
            if top is None:
                pytest.skip("neither the kernel nor exfat-fuse mounts exFAT here")
            shutil.copytree(volume, top, dirs_exist_ok=True, copy_function=shutil.copyfile)


def brimful(base: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The volumes of a bundle that does not fit on one medium; the first is full."""
    small_chunks(monkeypatch, 2 * MIB)
    world = make_world(base / "world")
    size = medium(name).bytes + 6 * MIB
    world.add("acme/large", {**model_files(), "model.safetensors": weights(5, size)})
    volumes = world.volumes("acme/large", medium=medium(name))
    assert 2 == len(volumes)
    assert sum(p.stat().st_size for p in volumes[0].rglob("*") if p.is_file()) > 0.75 * (size - 6 * MIB)
    return volumes


# A full volume, file by file: what one really has, at every size that is sold. The chunks are the smallest that
# `media` counts on, and as large as they get; the documents are those of a hundred versions.
DOCUMENTS = [
    *(f"documents/{number:064x}.json" for number in range(400)),
    *(f"statements/{number:064x}{end}" for number in range(300) for end in (".json", ".sig.json")),
    *(f"releases/acme/m{number}/1.json" for number in range(100)),
    *(f"trust/{number}.json" for number in range(30)),
    *(
        "plan.json",
        "plan.sig.json",
        "volume.json",
        "SHA256SUMS",
        "README.txt",
        "chunks.jsonl",
        "history.jsonl",
    ),
    "exports/lab/1.json",
]
SMALL = 3000  # bytes of each


def full_volume(taken: Medium, chunk: int) -> dict[str, int]:
    """Path to bytes of what `plan.split` puts on the first volume."""
    small = taken.documents(SMALL * len(DOCUMENTS), DOCUMENTS)
    sizes = [chunk] * (taken.bytes // chunk + 2)
    chunks = [Chunk(hashlib.sha256(b"%d" % n).hexdigest(), size) for n, size in enumerate(sizes)]
    first = plan.split([list(range(len(chunks)))], chunks, medium=taken, small=small)[0]
    files = {chunks[number].path: chunks[number].size for number in first}
    rest = taken.bytes - small - sum(map(taken.room, files.values()))
    if (last := rest // taken.cluster * taken.cluster) > 0:
        files[f"chunks/ff/{'f' * 64}"] = last  # to the brim
    return files | dict.fromkeys(DOCUMENTS, SMALL)


def clusters_needed(files: dict[str, int], cluster: int, entry: int) -> int:
    """Clusters of all files, and of all folders with so many bytes for each entry."""
    folders: dict[str, set[str]] = {"": set()}
    for path in files:
        parts = path.split("/")
        for depth in range(len(parts)):
            folders.setdefault("/".join(parts[:depth]), set()).add(parts[depth])
    listed = sum(-(-(entry * (len(inside) + 2)) // cluster) for inside in folders.values())
    return sum(-(-size // cluster) for size in files.values()) + listed


@pytest.mark.parametrize("chunk", [MIB, 16 * MIB, 64 * MIB])
@pytest.mark.parametrize("size", ["1GB", "8GB", "32GB", "64GB"])
def test_fat32_of_every_size_takes_a_full_volume(tmp_path: Path, size: str, chunk: int) -> None:
    taken = medium(f"fat32:{size}")
    image = blank(tmp_path / "stick.img", int(size[:-2]) * 10**9)
    run(program("mkfs.vfat"), "-F", "32", image)
    files = full_volume(taken, chunk)
    for sectors in (None, 64):  # as it comes, and with the clusters of a camera's format
        if sectors is not None:
            run("mkfs.vfat", "-F", "32", "-s", sectors, image)
        with image.open("rb") as stream:
            boot = stream.read(512)
        per, reserved, tables = boot[13], struct.unpack_from("<H", boot, 14)[0], boot[16]
        whole, length = struct.unpack_from("<I", boot, 32)[0], struct.unpack_from("<I", boot, 36)[0]
        there = (whole - reserved - tables * length) // per
        assert clusters_needed(files, per * 512, entry=6 * 32) + 1 <= there  # the root folder has one


@pytest.mark.parametrize("chunk", [MIB, 16 * MIB, 64 * MIB])
@pytest.mark.parametrize("size", ["1GB", "32GB", "64GB"])
def test_exfat_of_every_size_takes_a_full_volume(tmp_path: Path, size: str, chunk: int) -> None:
    image = blank(tmp_path / "stick.img", int(size[:-2]) * 10**9)
    run(program("mkfs.exfat"), image)
    with image.open("rb") as stream:
        boot = stream.read(512)
    cluster, there = 1 << (boot[108] + boot[109]), struct.unpack_from("<I", boot, 92)[0]
    own = -(-(there // 8 + 1) // cluster) + -(-6000 // cluster) + 1  # bitmap, table of capitals, root folder
    files = full_volume(medium(f"exfat:{size}"), chunk)
    assert clusters_needed(files, cluster, entry=(2 + 5) * 32) + own <= there


@pytest.mark.parametrize(("name", "chunk"), [("dvd", MIB), ("dvd", 16 * MIB), ("bd25", 16 * MIB)])
def test_a_disc_takes_a_full_volume(tmp_path: Path, name: str, chunk: int) -> None:
    """With all three tables of names: ISO 9660 with Rock Ridge, Joliet and UDF. The files are holes of their sizes."""
    sectors = {"dvd": 2_295_104, "bd25": 12_219_392}
    top = tmp_path / "volume"
    for path, size in full_volume(medium(name), chunk).items():
        (top / path).parent.mkdir(parents=True, exist_ok=True)
        blank(top / path, size)
    options = ["-R", "-J", "-joliet-long", "-udf", "-quiet", "-print-size"]
    assert int(run(program("genisoimage"), *options, top).split()[-1]) <= sectors[name]
