"""One changed byte anywhere in a bundle is refused, also when whoever changed it mended SHA256SUMS."""

import hashlib
import os
import random
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pipelines.bundle import reader
from pipelines.bundle.errors import ChunksDamaged, FilesDamaged, PlanUntrusted
from pipelines.bundle.plan import PLAN_TYPE, decode_sums, encode_sums
from pipelines.receive import inspect
from signing.envelope import sign
from signing.errors import OperatorError
from tests.pipelines.gap import World, make_world, model_files, state_of

KINDS = (
    "README.txt", "SHA256SUMS", "chunks.jsonl", "history.jsonl", "plan.json", "plan.sig.json", "volume.json", "exports/*/*",
    "releases/*/*/*", "documents/*", "statements/*", "trust/*", "chunks/*/*",
)  # fmt: skip


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    made = make_world(tmp_path_factory.mktemp("damage") / "world")
    made.add("acme/tiny", model_files(size=400))
    made.ship(out="before")  # so that there is a history to damage
    made.ship("acme/tiny")
    return made


@pytest.fixture(scope="module")
def bundle(world: World) -> Path:
    return world.base / "medium" / "20261120-02"


def refused(world: World, bundle: Path) -> OperatorError:
    """Import must refuse. What was good is forgotten again: the next try has to look at every file itself."""
    with pytest.raises(OperatorError) as refusal:
        world.receive(bundle)
    for waiting in world.site.quarantine.iterdir():
        shutil.rmtree(waiting)
    return refusal.value


@contextmanager
def flipped(path: Path, place: int, mask: int) -> Iterator[None]:
    """One byte of a file is another for the time of a block."""
    with path.open("r+b", buffering=0) as stream:
        was = os.pread(stream.fileno(), 1, place)
        os.pwrite(stream.fileno(), bytes([was[0] ^ mask]), place)
        try:
            yield
        finally:
            os.pwrite(stream.fileno(), was, place)


def files(bundle: Path, kind: str) -> list[Path]:
    return sorted(path for path in bundle.glob(kind) if path.is_file())


def test_every_file_of_a_bundle_is_of_one_of_the_kinds(bundle: Path) -> None:
    everything = {path for path in bundle.rglob("*") if path.is_file()}
    assert everything == {path for kind in KINDS for path in files(bundle, kind)}


@pytest.mark.parametrize("kind", [kind for kind in KINDS if not kind.startswith("chunks/")])
def test_any_flipped_byte_of_a_small_file_is_seen_before_anything_is_believed(
    bundle: Path, kind: str
) -> None:
    """Every byte of every small file; the flipped bit changes from byte to byte."""
    volume = reader.gather([bundle])[0]
    for path in files(bundle, kind):
        for place in range(path.stat().st_size):
            with flipped(path, place, 1 << place % 8), pytest.raises(OperatorError):
                _read_again(volume, path, bundle)


def _read_again(volume: reader.VolumeFolder, path: Path, bundle: Path) -> None:
    """What an import does first, for the one file that changed; the others are as they were."""
    if path.name == "volume.json":
        reader.gather([bundle])
    name = path.relative_to(bundle).as_posix()
    if name == reader.SUMS:
        small = reader.read_small(volume)
        if small.problems:
            raise FilesDamaged(small.problems)
    sums = decode_sums(volume.read(reader.SUMS), at="SHA256SUMS")
    if hashlib.sha256(volume.read(name)).hexdigest() != sums[name]:
        raise FilesDamaged([name])


@pytest.mark.parametrize("kind", KINDS)
def test_a_flipped_byte_is_refused_by_the_whole_import(world: World, bundle: Path, kind: str) -> None:
    chosen, state = random.Random(kind), state_of(world.site)
    for path in files(bundle, kind)[:6]:
        place = chosen.randrange(path.stat().st_size)
        with flipped(path, place, 1 << chosen.randrange(8)):
            refusal = refused(world, bundle)
        assert path.name in str(refusal) or kind == "SHA256SUMS", str(refusal)
    assert state == state_of(world.site)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "SHA256SUMS"])
def test_a_flipped_byte_is_refused_although_the_sums_were_mended(
    world: World, bundle: Path, kind: str
) -> None:
    """Whoever changes a file can also write SHA256SUMS anew: then a signature or a pinned digest says no."""
    chosen = random.Random(kind)
    sums = bundle / "SHA256SUMS"
    original = sums.read_bytes()
    for path in files(bundle, kind)[:6]:
        for _attempt in range(2):
            place = chosen.randrange(path.stat().st_size)
            with flipped(path, place, 1 << chosen.randrange(8)):
                mended = decode_sums(original, at="SHA256SUMS")
                mended[path.relative_to(bundle).as_posix()] = hashlib.sha256(path.read_bytes()).hexdigest()
                sums.write_bytes(encode_sums(mended))
                try:
                    refused(world, bundle)
                finally:
                    sums.write_bytes(original)
    assert [] == state_of(world.site)["versions"]


def test_every_flipped_byte_of_every_chunk_is_found_by_a_deep_look(world: World, bundle: Path) -> None:
    for path in files(bundle, "chunks/*/*"):
        size = path.stat().st_size
        for place in {0, size // 3, size - 1}:
            with flipped(path, place, 0x10), world.at(world.site) as work:
                [problem] = inspect(work, [bundle], deep=True).problems
            assert isinstance(problem, ChunksDamaged)
            assert path.name in str(problem)


@pytest.mark.parametrize("kind", KINDS)
def test_a_truncated_or_missing_file_is_refused(world: World, bundle: Path, kind: str) -> None:
    chosen = random.Random(kind)
    for path in files(bundle, kind)[:4]:
        data = path.read_bytes()
        cuts = {0, len(data) - 1, chosen.randrange(len(data))}
        if path.name == "SHA256SUMS":
            cuts.add(data.index(b"\n") + 1)  # at the end of a line: still a list, but not of everything
        for cut in sorted(cuts):
            path.write_bytes(data[:cut])
            refused(world, bundle)
        path.unlink()
        refused(world, bundle)
        path.write_bytes(data)
    assert [] == state_of(world.site)["versions"]


def test_a_plan_that_somebody_else_signed_is_refused(world: World, bundle: Path) -> None:
    """Re-splitting needs the packer's key, and only that: another machine's will not do."""
    plan, signature, sums = (bundle / name for name in ("plan.json", "plan.sig.json", "SHA256SUMS"))
    before = {path: path.read_bytes() for path in (signature, sums)}
    with world.at(world.site) as work:
        signature.write_bytes(sign(plan.read_bytes(), PLAN_TYPE, work.station).to_json())
    mended = decode_sums(before[sums], at="SHA256SUMS")
    mended["plan.sig.json"] = hashlib.sha256(signature.read_bytes()).hexdigest()
    sums.write_bytes(encode_sums(mended))
    try:
        assert isinstance(refused(world, bundle), PlanUntrusted)
    finally:
        for path, data in before.items():
            path.write_bytes(data)
