"""The list of people on media: it is on every volume, survives dividing and mending, and no courier changes it."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from pipelines.bundle.errors import FilesDamaged
from registry import people as documents
from registry.people import Entry, Key, People
from signing import ceremony
from signing.errors import OperatorError
from signing.refusals import MetadataTampered, TrustFileMissing
from signing.repository import TrustRepository
from signing.roots import PEOPLE_PATH
from signing.sshsig import public_key_line
from tests.pipelines.gap import World, make_world, model_files

MODEL = "acme/tiny@1"


@pytest.fixture
def gap(tmp_path: Path) -> World:
    world = make_world(tmp_path / "world")
    world.add("acme/tiny", model_files(1, 900_000))
    return world


def people(number: int) -> bytes:
    """A list of one person, under this number."""
    line = public_key_line(Ed25519PrivateKey.from_private_bytes(bytes(32)))
    key = Key("ssh", line, "2026-11-20T12:00:00Z", None)
    olga = Entry("olga", ("steward",), (key,), active=True, note="")
    return documents.encode(People(number, "2026-11-20T12:00:00Z", (olga,)))


def publish(gap: World, number: int) -> bytes:
    """The targets role signs a list."""
    data = people(number)
    repository = TrustRepository(gap.origin.trust)
    with gap.at(gap.origin) as work:
        signers = [*work.publishers, *gap.officer]
        repository.save(ceremony.publish(repository.load(), {PEOPLE_PATH: data}, signers, now=work.now))
    place = gap.origin.trust / PEOPLE_PATH
    place.parent.mkdir(exist_ok=True)
    place.write_bytes(data)
    return data


def listed_anew(volume: Path, path: str, data: bytes | None) -> None:
    """A courier who knows coreutils: the file and its line in SHA256SUMS."""
    place, sums = volume / path, volume / "SHA256SUMS"
    lines = [line for line in sums.read_text().splitlines() if not line.endswith(f"  {path}")]
    if data is None:
        place.unlink()
    else:
        place.parent.mkdir(exist_ok=True)
        place.write_bytes(data)
        lines.append(f"{hashlib.sha256(data).hexdigest()}  {path}")
    sums.write_text("\n".join(sorted(lines, key=lambda line: line[66:])) + "\n")


def test_it_is_on_every_volume_and_is_taken_in(gap: World) -> None:
    data = publish(gap, 1)
    volumes = gap.volumes(MODEL, volume_bytes=400_000, parity=1)
    assert len(volumes) > 1
    assert {data} == {(volume / PEOPLE_PATH).read_bytes() for volume in volumes}
    taken = gap.receive(*volumes[1:]).people
    assert taken is not None
    assert 1 == taken.version


def test_a_bundle_that_is_divided_anew_or_mended_carries_it(gap: World) -> None:
    data = publish(gap, 1)
    volumes = gap.volumes(MODEL)
    again = gap.resplit(*volumes, out="again", volume_bytes=1_500_000)
    assert {data} == {(volume / PEOPLE_PATH).read_bytes() for volume in again}
    for chunk in volumes[0].glob("chunks/*/*"):
        chunk.write_bytes(b"x" * chunk.stat().st_size)
    mended = gap.repair(gap.ask_for_repair(*volumes))
    assert data == (mended[0] / PEOPLE_PATH).read_bytes()
    assert gap.receive(*volumes, *mended).people is not None


def test_the_origin_reads_its_media_back(gap: World) -> None:
    publish(gap, 1)
    assert all(not back.problems for back in gap.read_back(*gap.volumes(MODEL)))


def test_a_home_whose_list_is_not_the_signed_one_ships_nothing(gap: World) -> None:
    publish(gap, 1)
    (gap.origin.trust / PEOPLE_PATH).write_bytes(b"{}")
    with pytest.raises(MetadataTampered, match=PEOPLE_PATH):
        gap.ship(MODEL)
    (gap.origin.trust / PEOPLE_PATH).unlink()
    with pytest.raises(TrustFileMissing, match=PEOPLE_PATH):
        gap.ship(MODEL)


@pytest.mark.parametrize(
    ("change", "refusal"),
    [
        (lambda volume: (volume / PEOPLE_PATH).write_bytes(b"{}"), FilesDamaged),
        (lambda volume: listed_anew(volume, PEOPLE_PATH, b"{}"), MetadataTampered),
        (lambda volume: listed_anew(volume, PEOPLE_PATH, None), TrustFileMissing),
    ],
    ids=["changed", "changed, with its sum", "taken out, with its line"],
)
def test_a_courier_changes_nobody(
    change: Callable[[Path], object], refusal: type[OperatorError], gap: World
) -> None:
    publish(gap, 1)
    [volume] = gap.volumes(MODEL)
    change(volume)
    with pytest.raises(refusal):
        gap.receive(volume)


def test_a_courier_adds_nobody(gap: World) -> None:
    """The targets role signs for no list, and one lies there all the same."""
    [volume] = gap.volumes(MODEL)
    listed_anew(volume, PEOPLE_PATH, people(1))
    with pytest.raises(MetadataTampered, match="targets does not sign for it"):
        gap.receive(volume)


def test_a_late_bundle_brings_no_older_list(gap: World) -> None:
    publish(gap, 1)
    late = gap.ship(MODEL, out="late")
    publish(gap, 2)
    taken = gap.receive(gap.ship(out="newest")).people
    assert taken is not None
    assert 2 == taken.version
    done = gap.receive(late)
    assert done.late
    assert done.people is None
