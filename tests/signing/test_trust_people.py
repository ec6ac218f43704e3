"""The list of people rides in every bundle, signed by the targets role; the walk says whether it may be believed."""

from dataclasses import replace
from pathlib import Path

import pytest

from signing.ceremony import Profile
from signing.roots import PEOPLE_PATH
from signing.trust import (
    MetadataTampered,
    NotInCatalogue,
    OlderBundle,
    TrustFileMissing,
    WrongKey,
    remember,
    verify,
)
from tests.signing.test_trust_late import rolled_back
from tests.signing.trust_world import DAY, NOW, Origin, new_keys, restack, take, tampered

FIRST, SECOND = b'{"version":1}', b'{"version":2}'


@pytest.fixture
def origin() -> Origin:
    return Origin.founded(Profile.OFFICERS)


def ship(origin: Origin, folder: Path, people: bytes | None) -> Path:
    """The next bundle, with the list of people beside it."""
    if people is not None and origin.documents.get(PEOPLE_PATH) != people:
        origin.publish({PEOPLE_PATH: people})
    bundle = origin.pack(folder, origin.export("alpha", [origin.release(f"a/{folder.name}")]))
    if people is not None:
        lay(bundle, people)
    return bundle


def lay(bundle: Path, people: bytes) -> None:
    (bundle / PEOPLE_PATH).parent.mkdir(exist_ok=True)
    (bundle / PEOPLE_PATH).write_bytes(people)


def test_who_the_people_are_comes_with_the_bundle(origin: Origin, tmp_path: Path) -> None:
    memory, seen = take(ship(origin, tmp_path / "1", None), origin.enrolled())
    assert seen.people is None
    memory, seen = take(ship(origin, tmp_path / "2", FIRST), memory)
    assert FIRST == seen.people
    _, seen = take(ship(origin, tmp_path / "3", SECOND), memory)
    assert SECOND == seen.people


def test_a_late_bundle_tells_nothing_about_people(origin: Origin, tmp_path: Path) -> None:
    """Whoever left meanwhile does not come back with a disk from behind the radiator."""
    old, new = ship(origin, tmp_path / "1", FIRST), ship(origin, tmp_path / "2", SECOND)
    memory, _ = take(new, origin.enrolled())
    memory, late = take(old, memory)
    assert late.late
    assert late.people is None
    _, again = take(old, memory)
    assert again.already
    assert again.people is None


def test_a_list_that_was_changed_on_the_way_is_refused(origin: Origin, tmp_path: Path) -> None:
    bundle = ship(origin, tmp_path / "1", FIRST)
    lay(bundle, SECOND)
    with pytest.raises(MetadataTampered, match=PEOPLE_PATH):
        take(bundle, origin.enrolled())
    lay(bundle, FIRST + b" " * 100)
    with pytest.raises(MetadataTampered, match=PEOPLE_PATH):
        take(bundle, origin.enrolled())


def test_a_list_that_was_taken_out_is_missed(origin: Origin, tmp_path: Path) -> None:
    bundle = ship(origin, tmp_path / "1", FIRST)
    (bundle / PEOPLE_PATH).unlink()
    with pytest.raises(TrustFileMissing, match=PEOPLE_PATH):
        take(bundle, origin.enrolled())


@pytest.mark.parametrize("kind", ["file", "link", "folder"])
def test_a_list_that_nobody_signed_is_refused(kind: str, origin: Origin, tmp_path: Path) -> None:
    bundle = ship(origin, tmp_path / "1", None)
    if kind == "file":
        lay(bundle, FIRST)
    elif kind == "link":
        (bundle / PEOPLE_PATH).parent.mkdir()
        (bundle / PEOPLE_PATH).symlink_to("/nowhere")
    else:
        (bundle / PEOPLE_PATH).mkdir(parents=True)
    with pytest.raises(MetadataTampered, match="targets does not sign for it"):
        take(bundle, origin.enrolled())


def test_only_the_owners_of_targets_say_who_the_people_are(origin: Origin, tmp_path: Path) -> None:
    """Release managers, export officers and the station together cannot."""
    bundle = ship(origin, tmp_path / "1", FIRST)
    others = [key for role, who in origin.people.items() if role != "targets" for key in who]
    for signers in (others, new_keys(3)):
        forged = tampered(origin.state.metadata["targets"], lambda signed: signed.update(version=90), signers)
        state = origin.state
        origin.state = restack(origin, {"targets": forged})
        with pytest.raises(WrongKey):
            take(origin.pack(tmp_path / f"forged-{len(signers)}", "exports/alpha/1.json"), origin.enrolled())
        origin.state = state
    assert bundle.is_dir()


def test_the_catalogue_may_not_name_them(origin: Origin, tmp_path: Path) -> None:
    """A delegated role that signs for the list signs for nothing: it does not answer for that path."""
    bundle = ship(origin, tmp_path / "1", None)
    lay(bundle, FIRST)

    def claim(signed: dict[str, dict[str, object]]) -> None:
        signed["targets"][PEOPLE_PATH] = {"hashes": {"sha256": "0" * 64}, "length": len(FIRST)}

    forged = tampered(origin.state.metadata["catalog"], claim, origin.people["catalog"])
    origin.state = restack(origin, {"catalog": forged})
    repacked = origin.pack(tmp_path / "2", "exports/alpha/1.json")
    lay(repacked, FIRST)
    with pytest.raises((MetadataTampered, NotInCatalogue)):
        take(repacked, origin.enrolled())


def test_an_older_list_does_not_come_back_with_a_newer_export(origin: Origin, tmp_path: Path) -> None:
    """The thief of the station's key holds back who left: with the same keys of targets its number may not go down."""
    ship(origin, tmp_path / "1", FIRST)
    old = origin.state.metadata["targets"]
    memory, _ = take(ship(origin, tmp_path / "2", SECOND), origin.enrolled())
    export = origin.export("alpha", now=NOW + DAY)
    origin.state = restack(origin, {"targets": old})
    third = origin.pack(tmp_path / "3", export)
    lay(third, FIRST)
    with pytest.raises(OlderBundle):
        take(third, memory, now=NOW + DAY)
    origin.rotate("station")
    with pytest.raises(OlderBundle):
        take(rolled_back(origin, third, tmp_path / "4"), memory, now=NOW + DAY)


def test_after_the_cache_was_wiped_the_caller_compares_the_lists_numbers(
    origin: Origin, tmp_path: Path
) -> None:
    """Nothing here remembers them then: `registry.people` takes no list that is older than the one in force."""
    bundle = ship(origin, tmp_path / "1", FIRST)
    memory, _ = take(bundle, origin.enrolled())
    seen = verify(bundle, replace(memory, metadata={}), audience="alpha", now=NOW)
    assert seen.already
    assert FIRST == seen.people
    assert memory.accepted == remember(memory, seen).accepted
