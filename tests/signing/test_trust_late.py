"""Bundles out of order: what comes late is taken in if it is still signed for, and lowers nothing."""

import itertools
import json
import shutil
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tuf.api.metadata import Metadata, Timestamp

from signing.ceremony import Lifetimes, Profile, rekey
from signing.digests import sha256_hex
from signing.trust import (
    BundleUntrusted,
    ExpiredBundle,
    ForeignBundle,
    ForkedBundle,
    Memory,
    MetadataTampered,
    NotInCatalogue,
    OlderBundle,
    TrustFileMissing,
    WrongKey,
    remember,
    verify,
)
from tests.signing.trust_world import DAY, NOW, Origin, new_keys, public, restack, take, tampered


@pytest.fixture
def origin() -> Origin:
    return Origin.founded(Profile.SOLO)


def ship(origin: Origin, folder: Path, *releases: str, **more: Any) -> Path:
    """The next bundle for alpha, with the metadata of its own time."""
    export = origin.export("alpha", [origin.release(name) for name in releases], **more)
    return origin.pack(folder / export.split("/")[-1].removesuffix(".json"), export)


@pytest.fixture
def stream(origin: Origin, tmp_path: Path) -> list[Path]:
    """Three bundles; the last is an empty one, and the catalogue went on between it and the second."""
    found = [ship(origin, tmp_path, "qwen/coder"), ship(origin, tmp_path, "meta/llama")]
    origin.release("for/beta")
    return [*found, ship(origin, tmp_path)]


def backup(origin: Origin) -> Origin:
    """The same people and keys, with what had been signed up to now."""
    return replace(
        origin, people=dict(origin.people), documents=dict(origin.documents), last=dict(origin.last)
    )


def lowered(before: Memory, after: Memory) -> list[str]:
    """What went down between two memories; always nothing."""
    found = [
        name for name in ("sequence", "clock_floor") if _less(getattr(after, name), getattr(before, name))
    ]
    found += [f"export {n}" for n, digest in before.accepted.items() if after.accepted.get(n) != digest]
    if before.root is not None and _version("root", after.root or b"") < _version("root", before.root):
        found.append("root")
    for role, data in before.metadata.items():
        if not role.endswith(".root") and _version(role, after.metadata[role]) < _version(role, data):
            found.append(role)
    return found


def _less(after: Any, before: Any) -> bool:
    return bool(before is not None and (after is None or after < before))


def _version(_role: str, data: bytes) -> int:
    return int(json.loads(data)["signed"]["version"])


# --- the honest road


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_any_order_ends_in_the_same_memory(
    order: tuple[int, ...], origin: Origin, stream: list[Path]
) -> None:
    straight = origin.enrolled()
    for bundle in stream:
        straight, _ = take(bundle, straight)
    memory, highest, here = origin.enrolled(), -1, set()
    for number in order:
        before = memory
        memory, verified = take(stream[number], before)
        here.add(number)
        assert [] == lowered(before, memory)
        assert (number < highest, False) == (verified.late, verified.already)
        highest = max(highest, number)
        assert tuple(n + 1 for n in range(highest) if n not in here) == verified.gap
    assert straight == memory


def test_a_late_bundle_adds_its_number_and_nothing_else(origin: Origin, stream: list[Path]) -> None:
    memory, _ = take(stream[2], origin.enrolled())
    after, verified = take(stream[0], memory)
    assert verified.late
    assert {"releases/qwen/coder/1.json"} == set(verified.releases)
    assert {"root": memory.root, **memory.metadata} == dict(verified.new_metadata)
    assert replace(memory, accepted=after.accepted) == after
    assert {1, 3} == set(after.accepted)


def test_what_is_still_missing_is_told_each_time(origin: Origin, stream: list[Path]) -> None:
    memory, verified = take(stream[2], origin.enrolled())
    assert (1, 2) == verified.gap
    memory, verified = take(stream[2], memory)
    assert (True, (1, 2)) == (verified.already, verified.gap)
    memory, verified = take(stream[0], memory)
    assert (2,) == verified.gap
    memory, verified = take(stream[1], memory)
    assert () == verified.gap


def test_a_late_bundle_again_changes_nothing(origin: Origin, stream: list[Path]) -> None:
    memory, _ = take(stream[2], origin.enrolled())
    memory, _ = take(stream[0], memory)
    again, verified = take(stream[0], memory, now=NOW + 400 * DAY)
    assert (True, False) == (verified.already, verified.late)
    assert memory == again


@pytest.mark.parametrize(
    "roles",
    [("station",), ("root",), ("targets",), ("root", "station", "targets"), ("catalog",), ("site-alpha",)],
)
def test_keys_that_were_changed_since_do_not_keep_a_late_bundle_out(
    roles: tuple[str, ...], tmp_path: Path
) -> None:
    """What its own keys are worth by now does not matter: today's keys sign for the same export."""
    origin = Origin.founded(Profile.OFFICERS)
    late, taken = ship(origin, tmp_path, "qwen/coder"), ship(origin, tmp_path)
    memory, _ = take(taken, origin.enrolled())
    _change_keys(origin, roles)
    memory, _ = take(ship(origin, tmp_path), memory)
    after, verified = take(late, memory)
    assert verified.late
    assert [] == lowered(memory, after)
    assert (memory.root, memory.metadata) == (after.root, after.metadata)


def _change_keys(origin: Origin, roles: tuple[str, ...]) -> None:
    for role in roles:
        if role in ("catalog", "site-alpha"):
            origin.people[role] = list(new_keys(len(origin.people[role])))
            origin.state = rekey(origin.state, role, public(origin.people[role]), origin.room, now=NOW)
    if top := [role for role in roles if role in ("root", "station", "targets")]:
        origin.rotate(*top)


def test_a_late_bundle_of_a_time_long_gone_is_taken_in_while_this_sites_own_is_fresh(
    origin: Origin, stream: list[Path], tmp_path: Path
) -> None:
    then = NOW + 120 * DAY
    fresh = ship(origin, tmp_path, now=then)
    memory, _ = take(fresh, origin.enrolled(), now=then)
    after, verified = take(stream[0], memory, now=then)
    assert verified.late
    assert NOW == verified.signed_time
    assert then == memory.clock_floor == after.clock_floor
    assert then + Lifetimes().timestamp == verified.expires


def test_the_bundles_own_metadata_may_be_as_new_as_ours(origin: Origin, tmp_path: Path) -> None:
    """Packed again today, after the newer one: then both vouch for it."""
    first, second = origin.export("alpha", [origin.release()]), origin.export("alpha")
    origin.release(ordinal=9)
    memory, _ = take(origin.pack(tmp_path / "second", second), origin.enrolled())
    _, verified = take(origin.pack(tmp_path / "first", first), memory)
    assert verified.late


# --- what keeps a late bundle out


def test_what_this_site_remembers_has_run_out_too(origin: Origin, stream: list[Path], tmp_path: Path) -> None:
    memory, _ = take(stream[2], origin.enrolled())
    later = NOW + Lifetimes().timestamp + DAY
    with pytest.raises(ExpiredBundle, match="remembered timestamp"):
        take(stream[0], memory, now=later)
    memory, _ = take(ship(origin, tmp_path, now=later), memory, now=later)
    _, verified = take(stream[0], memory, now=later)
    assert verified.late


def test_an_export_that_the_site_role_no_longer_signs_for(
    origin: Origin, stream: list[Path], tmp_path: Path
) -> None:
    """Two officers took export 1 back; whoever kept the medium has nothing."""
    _take_out(origin, "site-alpha", "exports/alpha/1.json")
    memory, _ = take(ship(origin, tmp_path), origin.enrolled())
    with pytest.raises(OlderBundle):
        take(stream[0], memory)
    _, verified = take(stream[1], memory)
    assert verified.late


def test_a_release_that_the_catalogue_no_longer_signs_for(
    origin: Origin, stream: list[Path], tmp_path: Path
) -> None:
    _take_out(origin, "catalog", "releases/qwen/coder/1.json")
    memory, _ = take(ship(origin, tmp_path), origin.enrolled())
    with pytest.raises(NotInCatalogue, match="qwen/coder"):
        take(stream[0], memory)


def _take_out(origin: Origin, role: str, path: str) -> None:
    def without(signed: dict[str, Any]) -> None:
        del signed["targets"][path]
        signed["version"] += 1

    signers = origin.people[role]
    origin.state = restack(origin, {role: tampered(origin.state.metadata[role], without, signers)})


def test_after_the_cache_was_wiped_nothing_below_the_highest_is_taken_in(
    origin: Origin, stream: list[Path], tmp_path: Path
) -> None:
    memory, _ = take(stream[1], origin.enrolled())
    wiped = replace(memory, metadata={})
    with pytest.raises(OlderBundle, match="export 1, but 2 was"):
        take(stream[0], wiped)
    memory, _ = take(stream[2], wiped)  # what comes next fills the memory again
    _, verified = take(stream[0], memory)
    assert verified.late


def test_bundles_of_others_are_what_they_are(origin: Origin, stream: list[Path], tmp_path: Path) -> None:
    memory, _ = take(stream[2], origin.enrolled())
    stranger = Origin.founded(Profile.SOLO)
    with pytest.raises(WrongKey):
        take(ship(stranger, tmp_path / "stranger"), memory)
    with pytest.raises(ForeignBundle):
        take(origin.pack(tmp_path / "beta", origin.export("beta")), memory)


def test_an_unsigned_export_hidden_in_an_old_bundle(origin: Origin, stream: list[Path]) -> None:
    """Number 2 was never here; the courier writes one and puts it where number 1 lay."""
    memory, _ = take(stream[2], origin.enrolled())
    honest = json.loads((stream[1] / "exports/alpha/2.json").read_bytes())
    (stream[0] / "exports/alpha/2.json").write_text(json.dumps(honest | {"releases": []}))
    with pytest.raises(NotInCatalogue, match="site-alpha"):
        take(stream[0], memory)


def test_damage_on_the_way_is_no_fork(origin: Origin, stream: list[Path]) -> None:
    memory, _ = take(stream[2], origin.enrolled())
    for name in (
        "exports/alpha/1.json",
        "releases/qwen/coder/1.json",
        "trust/1.root.json",
        "trust/timestamp.json",
    ):
        honest = (stream[0] / name).read_bytes()
        for position in range(0, len(honest), max(1, len(honest) // 12)):
            damaged = bytearray(honest)
            damaged[position] ^= 1 << position % 8
            (stream[0] / name).write_bytes(damaged)
            with pytest.raises(MetadataTampered) as refused:
                take(stream[0], memory)
            assert name == refused.value.name, position
        (stream[0] / name).unlink()
        with pytest.raises(TrustFileMissing):
            take(stream[0], memory)
        (stream[0] / name).write_bytes(honest)
    take(stream[0], memory)


# --- two histories


def test_an_origin_that_came_back_from_a_backup_is_found_out_by_any_of_its_bundles(
    origin: Origin, tmp_path: Path
) -> None:
    first = ship(origin, tmp_path, "qwen/coder")
    restored = backup(origin)
    second, third = ship(origin, tmp_path), ship(origin, tmp_path)
    with_third, _ = take(third, take(first, origin.enrolled())[0])
    with_both, _ = take(second, with_third)
    other = ship(restored, tmp_path / "restored", note="the second time")
    for memory in (with_third, with_both):
        with pytest.raises(ForkedBundle) as refused:
            take(other, memory)
        assert refused.value.remembered == sha256_hex((second / "exports/alpha/2.json").read_bytes())
    same_numbers = ship(restored, tmp_path / "restored")
    with pytest.raises(ForkedBundle, match="timestamp"):
        take(same_numbers, with_both)
    # and when the other history is the longer one, with metadata that looks newer
    longer = [ship(restored, tmp_path / "restored") for _ in range(3)][-1]
    with pytest.raises(ForkedBundle, match="export 2"):
        take(longer, with_both)


def test_the_export_before_a_late_one_and_the_one_after_it_must_fit(
    origin: Origin, stream: list[Path], tmp_path: Path
) -> None:
    memory, _ = take(stream[0], origin.enrolled())
    memory, _ = take(stream[2], memory)
    second = sha256_hex((stream[1] / "exports/alpha/2.json").read_bytes())
    assert {2: second} == memory.awaited
    with pytest.raises(ForkedBundle, match="export 2"):
        take(stream[1], replace(memory, awaited={2: "0" * 64}))
    with pytest.raises(ForkedBundle, match="before number 2"):
        take(stream[1], replace(memory, accepted={**memory.accepted, 1: "0" * 64}))
    memory, _ = take(stream[1], memory)
    assert {} == memory.awaited


def test_a_history_with_a_page_exchanged_is_refused_though_the_page_never_came(
    origin: Origin, stream: list[Path], tmp_path: Path
) -> None:
    """The site role signs for another number 3 than the new export names as the one before it."""
    with pytest.raises(ForkedBundle, match="before number 4"):
        take(ship(origin, tmp_path, previous="0" * 64), origin.enrolled())


# --- a thief at the station


def rolled_back(origin: Origin, old: Path, folder: Path) -> Path:
    """The documents of an old bundle under a snapshot and timestamp of a station key that is new: number 1."""
    station = origin.people["station"][0]
    snapshot = Metadata[Any].from_bytes(next(old.glob("trust/*.snapshot.json")).read_bytes())
    snapshot.signed.version = 1
    snapshot.signatures.clear()
    snapshot.sign(station)
    stamp = Metadata[Timestamp].from_bytes(origin.state.metadata["timestamp"])
    stamp.signed.version = stamp.signed.snapshot_meta.version = 1
    stamp.signed.snapshot_meta.length = len(snapshot.to_bytes())
    stamp.signed.snapshot_meta.hashes = {"sha256": sha256_hex(snapshot.to_bytes())}
    stamp.sign(station)
    shutil.copytree(old, folder)
    for number, root in enumerate(origin.state.roots, start=1):
        (folder / f"trust/{number}.root.json").write_bytes(root)
    (folder / "trust/1.snapshot.json").write_bytes(snapshot.to_bytes())
    (folder / "trust/timestamp.json").write_bytes(stamp.to_bytes())
    return folder


def test_old_content_under_a_new_station_key_lowers_nothing(tmp_path: Path) -> None:
    """TUF forgets its numbers when the station's key is changed. The thief holds the new one."""
    origin = Origin.founded(Profile.OFFICERS)
    first, second = ship(origin, tmp_path, "qwen/coder"), ship(origin, tmp_path, "meta/llama")
    behind, _ = take(second, origin.enrolled())
    both, _ = take(first, behind)
    origin.rotate("station")
    replay = rolled_back(origin, first, tmp_path / "replay")
    for memory in (behind, both):
        after, verified = take(replay, memory)
        assert (memory is behind, memory is both) == (verified.late, verified.already)
        assert [] == lowered(memory, after)
        assert memory.metadata == after.metadata
        with pytest.raises(OlderBundle, match="export 1"):  # nothing but that metadata vouches for it
            take(replay, replace(memory, metadata={}, accepted={2: both.accepted[2]}))


def test_a_thief_of_the_new_station_key_cannot_bring_back_an_old_catalogue(tmp_path: Path) -> None:
    """The number is new, the catalogue old: its own keys have not changed, so its number may not go down."""
    origin = Origin.founded(Profile.OFFICERS)
    first, _ = ship(origin, tmp_path, "qwen/coder"), ship(origin, tmp_path, "meta/llama")
    third = ship(origin, tmp_path)
    memory, _ = take(third, origin.enrolled())
    origin.rotate("station")
    fourth = ship(origin, tmp_path)
    old = {"catalog": next(first.glob("trust/*.catalog.json")).read_bytes()}
    origin.state = restack(origin, old)
    shutil.rmtree(fourth)
    with pytest.raises(OlderBundle, match="catalog"):
        take(origin.pack(fourth, "exports/alpha/4.json"), memory)


# --- any courier at all


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> tuple[Origin, list[Path]]:
    """Five bundles of an origin that changed its keys twice, one of them withdrawn, and three bad media."""
    folder, origin = tmp_path_factory.mktemp("media"), Origin.founded(Profile.SOLO)
    good = [ship(origin, folder, "qwen/coder"), ship(origin, folder)]
    restored = backup(origin)
    origin.rotate("station")
    good += [ship(origin, folder, "meta/llama", now=NOW + DAY)]
    origin.rotate("root")
    good += [ship(origin, folder, now=NOW + 2 * DAY), ship(origin, folder, now=NOW + 80 * DAY)]
    bad = [
        ship(restored, folder / "restored", "evil/model"),
        rolled_back(origin, good[0], folder / "replay"),
        ship(Origin.founded(Profile.SOLO), folder / "stranger", "evil/model"),
    ]
    return origin, [*good, *bad]


@pytest.mark.property
@settings(max_examples=25, deadline=None)
@given(trips=st.lists(st.tuples(st.integers(0, 7), st.integers(0, 60)), max_size=7))
def test_no_courier_lowers_anything(media: tuple[Origin, list[Path]], trips: list[tuple[int, int]]) -> None:
    """Whatever is carried in whatever order, on a clock that goes on by so many days, twice, never or forged."""
    origin, bundles = media
    memory, now = origin.enrolled(), NOW + 80 * DAY
    histories: dict[int, str] = {}
    for which, days in trips:
        now += timedelta(days=days)
        try:
            verified = verify(bundles[which], memory, audience="alpha", now=now)
        except BundleUntrusted:
            continue
        after = remember(memory, verified)
        assert [] == lowered(memory, after)
        assert set(range(1, (after.sequence or 0) + 1)) - set(after.accepted) == set(verified.gap)
        histories[verified.sequence] = histories.get(verified.sequence, verified.export_sha256)
        assert histories[verified.sequence] == verified.export_sha256
        memory = after
    assert memory.accepted == histories


def test_the_memory_of_a_site_reads_as_metadata(origin: Origin, stream: list[Path]) -> None:
    """Whatever came, what is remembered is whole: the catalogue and all roots are in it."""
    memory, verified = take(stream[2], origin.enrolled())
    assert {"1.root", "timestamp", "snapshot", "targets", "catalog", "site-alpha"} == set(memory.metadata)
    assert memory.root == verified.new_metadata["1.root"]
    origin.rotate("root")
    memory, _ = take(ship(origin, stream[0].parent), memory)
    assert [*origin.state.roots] == [memory.metadata["1.root"], memory.metadata["2.root"]]
    assert memory.root == origin.state.roots[1]
    assert memory.origin is not None
    assert origin.state.roots == memory.origin.roots
    for name, data in origin.state.files(site="alpha").items():
        assert memory.origin.files()[name] == data
