"""A site passes releases on: it may send and withhold, and can neither invent nor exchange one."""

import json
import shutil
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from signing.ceremony import Lifetimes, Profile
from signing.digests import sha256_hex
from signing.errors import OperatorError
from signing.trust import (
    ForkedBundle,
    Memory,
    MetadataTampered,
    NothingToRelay,
    NotInCatalogue,
    OlderBundle,
    ReleaseContradicted,
    RootFingerprintWrong,
    TooFewSignatures,
    TrustFileMissing,
    UpstreamExpired,
    UpstreamNotEnrolled,
    WrongKey,
    enrol,
    enrol_upstream,
    relay_expires,
    relayable,
    upstream_files,
)
from tests.signing.relay_world import FAR, HUB, Chain, put
from tests.signing.trust_world import DAY, NOW, Origin, restack, take, tampered

CODER, LLAMA = "releases/qwen/coder/1.json", "releases/meta/llama/1.json"


@pytest.fixture
def chain(tmp_path: Path) -> Chain:
    """The origin has released one model, and the hub holds it."""
    chain = Chain.founded(tmp_path)
    chain.to_hub("qwen/coder")
    return chain


# --- the honest road


@pytest.mark.parametrize("profile", list(Profile))
def test_a_release_reaches_the_far_site_with_the_signatures_it_was_made_with(
    profile: Profile, tmp_path: Path
) -> None:
    chain = Chain.founded(tmp_path, profile)
    chain.to_hub("qwen/coder")
    verified = chain.arrive(chain.relay(CODER))
    assert {CODER} == verified.relayed
    assert chain.origin.documents[CODER] == verified.releases[CODER]
    assert chain.hub_memory.root == chain.far_memory.upstream_root
    assert chain.far_memory.upstream_metadata["catalog"] == chain.origin.state.metadata["catalog"]
    assert chain.far_memory.metadata["timestamp"] == chain.hub.state.metadata["timestamp"]
    assert "catalog" not in chain.hub.state.metadata, "the hub has signed for no release"


def test_own_and_relayed_releases_travel_together(chain: Chain) -> None:
    own = chain.hub.release("hub/tuned")
    verified = chain.arrive(chain.relay(CODER, own))
    assert {CODER, own} == set(verified.releases)
    assert {CODER} == verified.relayed


def test_what_both_sign_for_is_the_hubs_own(chain: Chain) -> None:
    chain.hub.publish({CODER: chain.origin.documents[CODER]})
    assert frozenset() == chain.arrive(chain.relay(CODER)).relayed


def test_later_releases_follow(chain: Chain) -> None:
    chain.arrive(chain.relay(CODER))
    chain.to_hub("meta/llama")
    verified = chain.arrive(chain.relay(CODER, LLAMA))
    assert {CODER, LLAMA} == verified.relayed
    assert chain.origin.state.metadata["timestamp"] == chain.far_memory.upstream_metadata["timestamp"]


def test_three_changes_of_the_origins_keys_are_caught_up(chain: Chain) -> None:
    """The hub keeps the whole chain of roots, also those that it never needed itself."""
    chain.arrive(chain.relay(CODER))
    for roles in (("root", "station"), ("targets",), ("root",)):
        chain.origin.rotate(*roles)
    newest = chain.origin.state.roots[-1]
    chain.hub_memory = enrol(newest, sha256_hex(newest))  # enrolled anew, with the newest alone
    chain.to_hub("meta/llama")
    bundle = chain.relay(LLAMA)
    assert {f"{number}.root.json" for number in range(1, 5)} == {
        place.name for place in (bundle / "upstream").glob("*.root.json")
    }
    chain.arrive(bundle)
    assert newest == chain.far_memory.upstream_root


def test_the_hub_changes_its_own_keys_meanwhile(chain: Chain) -> None:
    chain.arrive(chain.relay(CODER))
    chain.hub.rotate("root", "station")
    chain.to_hub("meta/llama")
    assert {LLAMA} == chain.arrive(chain.relay(LLAMA)).relayed


def test_a_late_relayed_bundle_is_taken_in_and_lowers_nothing(chain: Chain) -> None:
    first = chain.relay(CODER)
    chain.to_hub("meta/llama")
    chain.arrive(chain.relay(LLAMA))
    before = chain.far_memory
    verified = chain.arrive(first)
    assert verified.late
    assert {CODER} == verified.relayed
    assert replace(before, accepted=chain.far_memory.accepted, awaited={}) == chain.far_memory
    assert chain.arrive(first).already


def test_the_far_site_passes_the_first_origins_word_on_again(chain: Chain, tmp_path: Path) -> None:
    chain.arrive(chain.relay(CODER))
    second = Chain.founded(tmp_path / "second")
    second.origin, second.hub_memory = chain.origin, chain.far_memory
    second.hub.documents |= chain.taken[0].releases
    second.far_memory = second.trusting_both()
    assert {CODER: sha256_hex(chain.origin.documents[CODER])} == relayable(chain.far_memory)
    assert {CODER} == second.arrive(second.relay(CODER)).relayed


# --- what the hub cannot do


def test_whoever_has_the_hubs_export_keys_cannot_invent_a_model(chain: Chain) -> None:
    evil = "releases/evil/model/1.json"
    chain.hub.documents[evil] = b'{"model": "evil"}'
    with pytest.raises(NotInCatalogue, match="evil"):
        chain.arrive(chain.relay(evil))


def test_a_catalogue_of_their_own_as_the_upstream_is_signed_by_the_wrong_keys(chain: Chain) -> None:
    stranger = Chain.founded(chain.base / "stranger")
    stranger.to_hub("evil/model")
    chain.hub.documents |= stranger.hub.documents
    with pytest.raises(WrongKey, match="upstream/"):
        chain.arrive(chain.relay("releases/evil/model/1.json", memory=stranger.hub_memory))


def test_the_hubs_own_metadata_as_the_upstream_is_signed_by_the_wrong_keys(chain: Chain) -> None:
    bundle = chain.relay(CODER)
    shutil.rmtree(bundle / "upstream")
    shutil.copytree(bundle / "trust", bundle / "upstream")
    with pytest.raises(WrongKey):
        chain.arrive(bundle)


@pytest.mark.parametrize("how", ["with upstream", "without upstream", "long after"])
def test_the_hubs_catalogue_cannot_overwrite_a_release(how: str, chain: Chain) -> None:
    """Also when the thief leaves the upstream's word out, or waits until it has run out."""
    chain.arrive(chain.relay(CODER))
    now = NOW + 200 * DAY if how == "long after" else NOW
    chain.hub.publish({CODER: b'{"model": "exchanged"}'}, now=now)
    bundle = chain.relay(CODER, now=now)
    if how == "without upstream":
        shutil.rmtree(bundle / "upstream")
    with pytest.raises(ReleaseContradicted) as refused:
        chain.arrive(bundle, now=now)
    assert sha256_hex(chain.origin.documents[CODER]) == refused.value.upstream


def test_an_export_that_names_other_bytes_than_the_origin_released(chain: Chain) -> None:
    chain.hub.documents[CODER] = b'{"model": "exchanged"}'
    with pytest.raises(NotInCatalogue, match="upstream catalog"):
        chain.arrive(chain.relay(CODER))


def test_a_release_document_that_was_exchanged_on_the_way(chain: Chain) -> None:
    bundle = chain.relay(CODER)
    (bundle / CODER).write_bytes((bundle / CODER).read_bytes().replace(b"qwen", b"evil"))
    with pytest.raises(MetadataTampered, match="qwen/coder"):
        chain.arrive(bundle)


def test_a_withdrawn_release_does_not_come_back_with_old_metadata(chain: Chain) -> None:
    """The origin took the release out; a courier puts the upstream's old word into the hub's newest bundle."""
    old = upstream_files(chain.hub_memory)
    chain.arrive(chain.relay())

    def without(signed: dict[str, Any]) -> None:
        del signed["targets"][CODER]
        signed["version"] += 1

    changed = tampered(chain.origin.state.metadata["catalog"], without, chain.origin.people["catalog"])
    chain.origin.state = restack(chain.origin, {"catalog": changed})
    chain.to_hub("meta/llama")
    chain.arrive(chain.relay(LLAMA))
    before = chain.far_memory
    bundle = chain.relay(CODER)
    for files in ({}, old):
        shutil.rmtree(bundle / "upstream", ignore_errors=True)
        put(bundle, files)
        with pytest.raises(NotInCatalogue):
            chain.arrive(bundle)
    assert before == chain.far_memory


def test_old_metadata_of_the_upstream_lowers_nothing(chain: Chain) -> None:
    old = upstream_files(chain.hub_memory)
    chain.to_hub("meta/llama")
    chain.arrive(chain.relay(LLAMA))
    newest = dict(chain.far_memory.upstream_metadata)
    bundle = chain.relay(CODER, LLAMA)
    shutil.rmtree(bundle / "upstream")
    put(bundle, old)
    assert {CODER, LLAMA} == chain.arrive(bundle).relayed
    assert newest == chain.far_memory.upstream_metadata


def test_two_words_of_the_upstream_under_one_number_are_a_fork(chain: Chain) -> None:
    chain.arrive(chain.relay(CODER))
    bundle = chain.relay(CODER)
    twin = tampered(
        chain.origin.state.metadata["timestamp"],
        lambda signed: signed.update(expires="2030-01-01T00:00:00Z"),
        chain.origin.people["station"],
    )
    (bundle / "upstream/timestamp.json").write_bytes(twin)
    with pytest.raises(ForkedBundle, match="upstream timestamp"):
        chain.arrive(bundle)


def test_too_few_of_the_origins_people_signed(tmp_path: Path) -> None:
    chain = Chain.founded(tmp_path, Profile.OFFICERS)
    chain.to_hub("qwen/coder")
    short = tampered(
        chain.origin.state.metadata["catalog"], lambda signed: None, chain.origin.people["catalog"][:1]
    )
    state = restack(chain.origin, {"catalog": short})
    bundle = chain.relay(CODER)
    shutil.rmtree(bundle / "upstream")
    put(bundle, {f"upstream/{name}": data for name, data in state.files(site=HUB).items()})
    with pytest.raises(TooFewSignatures):
        chain.arrive(bundle)


# --- enrolment


def test_a_site_that_knows_only_the_hub_is_told_how_to_enrol(chain: Chain) -> None:
    chain.far_memory = chain.hub.enrolled()
    bundle = chain.relay(CODER)
    with pytest.raises(UpstreamNotEnrolled, match="qwen/coder"):
        chain.arrive(bundle)
    root = chain.origin.state.roots[0]
    chain.far_memory = enrol_upstream(chain.far_memory, root, sha256_hex(root).upper())
    chain.arrive(bundle)


def test_such_a_site_takes_what_is_the_hubs_own(chain: Chain) -> None:
    chain.far_memory = chain.hub.enrolled()
    assert frozenset() == chain.arrive(chain.relay(chain.hub.release("hub/tuned"))).relayed
    assert {} == chain.far_memory.upstream_metadata
    assert chain.far_memory.upstream_root is None


def test_the_upstreams_fingerprint_is_compared_too(chain: Chain) -> None:
    before = chain.hub.enrolled()
    with pytest.raises(RootFingerprintWrong):
        enrol_upstream(before, chain.origin.state.roots[0], sha256_hex(before.root or b""))


def test_enrolling_with_another_upstream_forgets_the_one_before(chain: Chain) -> None:
    chain.arrive(chain.relay(CODER))
    root = Origin.founded(Profile.SOLO).state.roots[0]
    other = enrol_upstream(chain.far_memory, root, sha256_hex(root))
    assert ({}, root) == (other.upstream_metadata, other.upstream_root)
    assert chain.far_memory.metadata == other.metadata
    chain.far_memory = other
    with pytest.raises(WrongKey):
        chain.arrive(chain.relay(CODER))


# --- time


def test_an_old_word_of_the_upstream_is_renewed_by_way_of_the_hub(chain: Chain) -> None:
    chain.arrive(chain.relay(CODER))
    assert NOW + Lifetimes().timestamp == relay_expires(chain.hub_memory)
    then = NOW + Lifetimes().timestamp + DAY
    with pytest.raises(UpstreamExpired, match="remembered timestamp"):
        chain.arrive(chain.relay(CODER, now=then), now=then)
    own = chain.hub.release("hub/tuned")
    assert (2,) == chain.arrive(chain.relay(own, now=then), now=then).gap, "what needs no upstream goes on"
    chain.to_hub("meta/llama", now=then)
    assert {LLAMA} == chain.arrive(chain.relay(LLAMA, now=then), now=then).relayed
    assert then + Lifetimes().timestamp == relay_expires(chain.hub_memory)


def test_a_far_site_that_never_heard_the_upstream_in_time(chain: Chain) -> None:
    then = NOW + Lifetimes().timestamp + timedelta(hours=1)
    with pytest.raises(UpstreamExpired, match="upstream timestamp"):
        chain.arrive(chain.relay(CODER, now=then), now=then)


# --- damage


def test_any_damage_to_the_upstreams_word_is_named(chain: Chain) -> None:
    bundle = chain.relay(CODER)
    heard, _ = take(bundle, chain.far_memory, site=FAR)
    places = sorted((bundle / "upstream").iterdir())
    assert 5 == len(places)
    for place in places:
        honest, name = place.read_bytes(), f"upstream/{place.name}"
        for position in range(0, len(honest), max(1, len(honest) // 15)):
            damaged = bytearray(honest)
            damaged[position] ^= 1 << position % 8
            place.write_bytes(damaged)
            with pytest.raises(MetadataTampered) as refused:
                take(bundle, _unheard(heard) if position % 2 else chain.far_memory, site=FAR)
            assert name == refused.value.name, position
        place.unlink()
        with pytest.raises(TrustFileMissing, match=place.name):
            take(bundle, chain.far_memory, site=FAR)
        place.symlink_to("/dev/zero")
        with pytest.raises(TrustFileMissing, match=place.name):
            take(bundle, chain.far_memory, site=FAR)
        place.unlink()
        place.write_bytes(honest)
    chain.arrive(bundle)


def _unheard(memory: Memory) -> Memory:
    """A site that has the upstream's metadata, and has not taken this bundle in."""
    return replace(memory, sequence=None, export_sha256=None, accepted={})


# --- any couriers at all


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> tuple[Chain, list[Path]]:
    """Six bundles of a hub whose origin and own keys change meanwhile, and one with an old word put in."""
    chain = Chain.founded(tmp_path_factory.mktemp("media"))
    chain.to_hub("qwen/coder")
    old = upstream_files(chain.hub_memory)
    bundles = [chain.relay(CODER), chain.relay()]
    chain.origin.rotate("station")
    chain.to_hub("meta/llama", now=NOW + DAY)
    bundles.append(chain.relay(LLAMA, now=NOW + DAY))
    chain.hub.rotate("root", "station")
    bundles.append(chain.relay(chain.hub.release("hub/tuned"), now=NOW + DAY))
    chain.origin.rotate("root")
    chain.to_hub(now=NOW + 60 * DAY)
    bundles += [chain.relay(CODER, LLAMA, now=NOW + day * DAY) for day in (60, 70)]
    put(bundles[4], old)
    return chain, bundles


@pytest.mark.property
@settings(max_examples=20, deadline=None)
@given(trips=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 40)), max_size=7))
def test_no_courier_lowers_the_upstreams_word(
    media: tuple[Chain, list[Path]], trips: list[tuple[int, int]]
) -> None:
    chain, bundles = media
    memory, now = chain.trusting_both(), NOW + 70 * DAY
    for which, days in trips:
        now += timedelta(days=days)
        try:
            after, verified = take(bundles[which], memory, site=FAR, now=now)
        except OperatorError:
            continue
        for path, data in verified.releases.items():
            assert data == chain.hub.documents[path]
        for role, known in memory.upstream_metadata.items():
            if role in ("targets", "catalog"):
                assert _version(known) <= _version(after.upstream_metadata[role])
        assert _version(memory.upstream_root or b"") <= _version(after.upstream_root or b"")
        memory = after


def _version(data: bytes) -> int:
    return int(json.loads(data)["signed"]["version"])


# --- what the hub has to hold


def test_a_home_with_nothing_to_pass_on_says_so(chain: Chain) -> None:
    for memory in (Memory(), chain.origin.enrolled()):
        with pytest.raises(NothingToRelay):
            upstream_files(memory)
        with pytest.raises(NothingToRelay):
            relay_expires(memory)
        assert {} == relayable(memory)


def test_a_hub_that_never_saw_the_first_root_waits_for_the_next_bundle(tmp_path: Path) -> None:
    """Enrolled with root 2, it takes a bundle that was packed when there was only root 1."""
    chain = Chain.founded(tmp_path)
    export = chain.origin.export(HUB, [chain.origin.release()])
    bundle = chain.origin.pack(tmp_path / "early", export)
    chain.origin.rotate("root")
    newest = chain.origin.state.roots[-1]
    chain.hub_memory, _ = take(bundle, enrol(newest, sha256_hex(newest)), site=HUB)
    with pytest.raises(NothingToRelay, match="roots"):
        upstream_files(chain.hub_memory)
    chain.to_hub()
    assert chain.origin.state.roots[0] == upstream_files(chain.hub_memory)["upstream/1.root.json"]


def test_the_hub_passes_on_nothing_that_was_for_itself(chain: Chain) -> None:
    assert not [name for name in upstream_files(chain.hub_memory) if "site-" in name]


def test_an_origin_that_has_released_nothing_has_nothing_to_pass_on(tmp_path: Path) -> None:
    chain = Chain.founded(tmp_path)
    chain.to_hub()
    with pytest.raises(NothingToRelay, match="catalog"):
        upstream_files(chain.hub_memory)


def test_the_upstreams_word_may_not_stand_in_for_the_hubs(chain: Chain) -> None:
    """The origin's keys say nothing about what is shipped to the far site."""
    bundle = chain.relay(CODER)
    shutil.rmtree(bundle / "trust")
    put(bundle, {f"trust/{name}": data for name, data in chain.origin.state.files().items()})
    with pytest.raises((WrongKey, OlderBundle)):
        chain.arrive(bundle)
