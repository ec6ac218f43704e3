"""Ceremonies that travel: nobody alone, no edit unseen, no signature where it does not belong, no step twice."""

import json
import tempfile
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, Targets

from signing import draft_folder, draft_making, draft_words, drafts
from signing.drafts import CeremonyUnusable, Draft, KeyUnfit, PartialSignature, PartialSignatureRefused
from signing.keys import ALGORITHMS
from signing.lint import lint_root, lint_targets
from signing.profiles import Profile, Quorum, is_classical, person_of
from signing.refusals import BadRoot, NoSuchRole, RoleExpired, SiteNameRefused, TooFewSigners
from signing.repository import TrustState
from signing.roots import PEOPLE_PATH

NOW = datetime(2026, 11, 20, 8, 0, tzinfo=UTC)
DAY = timedelta(days=1)
ROLES = ("root", "targets", "catalog")
Keys = dict[tuple[str, str], list[CryptoSigner]]  # by person and role


def key(algorithm: str = "ed25519") -> CryptoSigner:
    return CryptoSigner(ALGORITHMS[algorithm]())


class World:
    """An origin's officers, each with their own keys, and what is published so far."""

    def __init__(self, profile: Profile, **quorums: Quorum) -> None:
        self.profile = profile
        self.station = [key(algorithm) for algorithm in profile.algorithms]
        self.keys: Keys = {}
        public = [one.public_key for one in self.station]
        self.first = draft_making.begin(profile, "harbour", public, now=NOW, quorums=quorums)
        people = max([3, *(quorum.of for quorum in quorums.values())])
        for role in ROLES:
            for person in ("alice", "bob", "carla", "dora", "eve")[:people]:
                self.first = self.join(self.first, role, person)
        self.state = TrustState(())

    def join(self, draft: Draft, role: str, person: str) -> Draft:
        self.keys[person, role] = [key(algorithm) for algorithm in self.profile.algorithms]
        for one in self.keys[person, role]:
            draft = draft_making.with_key(draft, role, person, one.public_key)
        return draft

    def signed(self, draft: Draft, *people: str, roles: tuple[str, ...] = ROLES) -> list[PartialSignature]:
        return [
            signature
            for person in people
            for role in roles
            if role in draft.documents or role == "root"
            for one in self.keys.get((person, role), [])
            for signature in drafts.sign(draft, one, now=NOW)
        ]

    def publish(self, draft: Draft, *people: str) -> None:
        signatures = self.signed(draft, *people, roles=tuple(draft.documents))
        self.state = drafts.finish(draft, self.state, signatures, self.station, now=NOW)

    def founded(self) -> "World":
        self.publish(self.first, "alice", "bob", "carla")
        return self

    def held(self, person: str, role: str) -> str:
        return self.keys[person, role][0].public_key.keyid


@pytest.fixture(scope="module")
def officers() -> World:
    return World(Profile.OFFICERS).founded()


@pytest.fixture(scope="module")
def hybrid() -> World:
    return World(Profile.HYBRID)


def refused(attempt: Callable[[], Any], *words: str) -> KeyUnfit:
    with pytest.raises(KeyUnfit) as found:
        attempt()
    for word in words:
        assert word in str(found.value)
    return found.value


# --- numbers that mean people and kinds


def test_four_of_six_are_two_people_and_both_kinds_whoever_signs(hybrid: World) -> None:
    """Every choice of keys that reaches a threshold is of two people at least, and of both kinds."""
    root, targets = hybrid.first.root, hybrid.first.targets
    assert targets.delegations is not None
    for role, keys in (
        (root.roles["root"], root.keys),
        (root.roles["targets"], root.keys),
        (drafts.delegated_roles(targets)["catalog"], targets.delegations.keys),
    ):
        assert (4, 6) == (role.threshold, len(role.keyids))
        for chosen in combinations(role.keyids, role.threshold):
            assert len({person_of(keys[keyid]) for keyid in chosen}) >= 2
            assert 2 == len({is_classical(keys[keyid]) for keyid in chosen})


@pytest.mark.parametrize("profile", list(Profile))
def test_every_profile_is_founded_signed_and_clean(profile: Profile) -> None:
    world = World(profile).founded() if profile is not Profile.SOLO else World(Profile.SOLO)
    if profile is Profile.SOLO:
        world.publish(world.first, "alice")
    assert [] == lint_root(world.state.roots[0], now=NOW)
    assert [] == lint_targets(world.state.targets, world.state.root, now=NOW)
    assert {"snapshot", "timestamp", "targets"} == set(world.state.metadata)


@pytest.mark.parametrize(
    ("profile", "quorum"),
    [(Profile.OFFICERS, Quorum(1, 3)), (Profile.OFFICERS, Quorum(2, 2)), (Profile.OFFICERS, Quorum(4, 3)),
     (Profile.HYBRID, Quorum(3, 6)), (Profile.HYBRID, Quorum(4, 5))],
)  # fmt: skip
def test_a_threshold_is_raised_and_never_lowered(profile: Profile, quorum: Quorum) -> None:
    station = [key(algorithm).public_key for algorithm in profile.algorithms]
    refused(
        lambda: draft_making.begin(profile, "harbour", station, now=NOW, quorums={"root": quorum}), "below"
    )


def test_a_raised_threshold_is_demanded_and_kept() -> None:
    world = World(Profile.OFFICERS, root=Quorum(3, 5))
    with pytest.raises(TooFewSigners):
        world.publish(world.first, "alice", "bob")
    world.publish(world.first, "alice", "bob", "eve")
    later = draft_making.changing(world.state, "harbour", now=NOW, renew=["root"])
    assert 3 == later.root.roles["root"].threshold


# --- who may hold what


def test_a_person_has_one_key_of_a_kind_in_a_role_and_their_own_name(hybrid: World) -> None:
    draft = World(Profile.OFFICERS).first
    refused(lambda: draft_making.with_key(draft, "root", "alice", key().public_key), "more than one key")
    refused(
        lambda: draft_making.with_key(hybrid.first, "root", "bob", key("ml-dsa-65").public_key),
        "more than one ML-DSA",
    )
    for name in ("", "Alice", "a b", "x" * 40, "ä"):
        refused(lambda name=name: draft_making.with_key(draft, "root", name, key().public_key))  # type: ignore[misc]


def test_a_key_serves_one_role_and_nobody_both_vouches_and_ships(officers: World) -> None:
    draft = draft_making.adding_site(officers.state, "clinic", "harbour", now=NOW)
    refused(
        lambda: draft_making.with_key(draft, "site-clinic", "alice", key().public_key),
        "alice serves both catalog and the sites",
    )
    root_key = officers.keys["alice", "root"][0].public_key
    refused(lambda: draft_making.with_key(draft, "site-clinic", "frank", root_key), "already")
    refused(lambda: draft_making.with_key(draft, "snapshot", "frank", key().public_key), "station")
    with pytest.raises(NoSuchRole):
        draft_making.with_key(draft, "site-lab", "frank", key().public_key)


def test_each_profile_takes_its_own_kinds_of_keys(hybrid: World) -> None:
    draft = World(Profile.CNSA2).first
    for algorithm in ("ed25519", "ecdsa-p384", "ml-dsa-65"):
        refused(
            lambda algorithm=algorithm: draft_making.with_key(  # type: ignore[misc]
                draft, "root", "dora", key(algorithm).public_key
            ),
            "ML-DSA-87 alone",
        )
    added = draft_making.with_key(hybrid.first, "root", "dora", key("ecdsa-p256").public_key)
    assert ["the classical keys of root could sign without the others"] == drafts.problems(added, now=NOW)


def test_a_root_that_names_people_is_not_followed_by_one_that_does_not(officers: World) -> None:
    def forgets(signed: dict[str, Any]) -> None:
        signed["version"] = 2
        del signed["x-tidegate-persons"]

    def nameless(signed: dict[str, Any]) -> None:
        signed["version"] = 2
        keyid = signed["roles"]["root"]["keyids"][0]
        del signed["keys"][keyid]["x-tidegate-person"]

    first = officers.state.roots[0]
    assert ["no longer says whose its keys are, as the root before it did"] == lint_root(
        edited(first, forgets), previous=first
    )
    (problem,) = lint_root(edited(first, nameless), previous=first)
    assert "does not say whose it is" in problem


def test_a_profile_only_becomes_stricter_in_band() -> None:
    def weaker(signed: dict[str, Any]) -> None:
        signed["x-tidegate-profile"] = "officers"

    cnsa2 = World(Profile.CNSA2)
    (problem,) = lint_root(
        edited(cnsa2.first.documents["root"], weaker), previous=cnsa2.first.documents["root"]
    )
    assert "new enrolment" in problem


@pytest.mark.parametrize(("days", "word"), [(-1, "was valid until"), (3700, "ten years")])
def test_a_root_of_the_past_and_one_for_ever_are_refused(days: int, word: str, officers: World) -> None:
    def until(signed: dict[str, Any]) -> None:
        signed["expires"] = (NOW + days * DAY).strftime("%Y-%m-%dT%H:%M:%SZ")

    (problem,) = lint_root(edited(officers.state.roots[0], until), now=NOW)
    assert word in problem


def edited(data: bytes, change: Callable[[dict[str, Any]], None]) -> bytes:
    document = json.loads(data)
    change(document["signed"])
    return Metadata.from_bytes(json.dumps(document).encode()).to_bytes()


# --- signatures


def test_what_is_published_is_what_enough_people_signed_and_nothing_less(officers: World) -> None:
    draft = draft_making.changing(officers.state, "harbour", now=NOW, renew=["root", "targets"])
    one = officers.signed(draft, "alice", roles=("root", "targets"))
    for some in ([], one, one * 2):
        with pytest.raises(TooFewSigners):
            drafts.finish(draft, officers.state, some, officers.station, now=NOW)
    both = [*one, *officers.signed(draft, "bob", roles=("root", "targets"))]
    state = drafts.finish(draft, officers.state, both, officers.station, now=NOW)
    assert 2 == state.root.version == state.targets.version
    assert drafts.in_force(draft, state)
    with pytest.raises(TooFewSigners):  # without the station nothing is published either
        drafts.finish(draft, officers.state, both, [], now=NOW)


def test_a_signature_that_does_not_belong_here_is_named(officers: World) -> None:
    draft = draft_making.changing(officers.state, "harbour", now=NOW, renew=["root"])
    other = draft_making.changing(officers.state, "harbour", now=NOW + DAY, renew=["root"])
    (good,) = officers.signed(draft, "alice", roles=("root",))
    (elsewhere,) = officers.signed(other, "alice", roles=("root",))
    stranger = key()
    forged = stranger.sign(draft.signed_bytes("root")).signature
    for bad, word in (
        (elsewhere, "another document"),
        (replace(good, sig=forged), "does not belong"),
        (replace(good, sig=elsewhere.sig), "does not belong"),
        (replace(good, keyid=stranger.public_key.keyid, sig=forged), "may not sign"),
        (replace(good, role="targets"), "no new targets"),
        (replace(good, keyid=officers.held("bob", "root")), "does not belong"),
    ):
        with pytest.raises(PartialSignatureRefused, match=word):
            drafts.waiting(draft, [bad])
    with pytest.raises(PartialSignatureRefused, match="nothing to sign"):
        drafts.sign(draft, stranger, now=NOW)


def test_a_lost_key_goes_from_everywhere_and_so_does_what_it_signed() -> None:
    """All three signed targets; when one of them is replaced, a site would refuse that signature: it is made anew."""
    world = World(Profile.OFFICERS).founded()
    old = world.held("carla", "targets")
    new = draft_making.owned(key().public_key, "carla")
    draft = draft_making.changing(world.state, "harbour", now=NOW, replaced={old: new})
    assert {"root", "targets"} == set(draft.documents)
    world.publish(draft, "alice", "bob")
    assert old not in Metadata[Targets].from_bytes(world.state.metadata["targets"]).signatures
    assert old not in world.state.root.keys


def test_who_left_is_in_no_role_and_the_numbers_are_made_up_before_anybody_signs(officers: World) -> None:
    draft = draft_making.changing(officers.state, "harbour", now=NOW, retired=["alice"])
    with pytest.raises(BadRoot, match="2 were given"):
        drafts.sign(draft, officers.keys["bob", "root"][0], now=NOW)
    for role in ROLES:
        draft = draft_making.with_key(draft, role, "zoe", key().public_key)
    assert [] == drafts.problems(draft, now=NOW)
    everyone = {*draft.root.keys.values(), *(draft.targets.delegations.keys.values())}  # type: ignore[union-attr]
    assert "alice" not in {person_of(one) for one in everyone}
    words = "\n".join(draft_words.changes(draft))
    assert 3 == words.count("out   alice") == words.count("in    zoe")
    for unknown in ({"retired": ["mallory"]}, {"renew": ["site-lab"]}, {"renew": ["timestamp"]}, {}):
        with pytest.raises(NoSuchRole):
            draft_making.changing(officers.state, "harbour", now=NOW, **unknown)  # type: ignore[arg-type]


def test_an_origin_that_missed_its_year_renews_first(officers: World) -> None:
    late = NOW + 400 * DAY
    with pytest.raises(RoleExpired, match="targets"):
        draft_making.changing(officers.state, "harbour", now=late, renew=["root"])
    draft = draft_making.changing(officers.state, "harbour", now=late, renew=["root", "targets"])
    assert [] == drafts.problems(draft, now=late)
    with pytest.raises(
        BadRoot, match="was valid until"
    ):  # a folder that lay about until it was worth nothing
        drafts.sign(draft, officers.keys["bob", "targets"][0], now=late + 400 * DAY)


def test_the_list_of_people_is_signed_with_its_bytes_in_the_folder(officers: World) -> None:
    data = b'{"people":[]}'
    draft = draft_making.publishing(officers.state, {PEOPLE_PATH: data}, "harbour", now=NOW)
    assert ["targets"] == list(draft.documents)
    assert [] == drafts.problems(draft, now=NOW)
    for payloads in ({}, {PEOPLE_PATH: b'{"people":["mallory"]}'}):
        (problem,) = drafts.problems(replace(draft, payloads=payloads), now=NOW)
        assert PEOPLE_PATH in problem
    signatures = officers.signed(draft, "alice", "bob", roles=("targets",))
    state = drafts.finish(draft, officers.state, signatures, officers.station, now=NOW)
    assert [PEOPLE_PATH] == list(state.targets.targets)


def test_a_site_begins_with_the_office_of_the_one_before_it() -> None:
    world = World(Profile.HYBRID).founded()
    draft = draft_making.adding_site(world.state, "clinic", "harbour", now=NOW)
    for person in ("erin", "frank"):
        draft = world.join(draft, "site-clinic", person)
    world.publish(draft, "alice", "bob")
    role = drafts.delegated_roles(world.state.targets)["site-clinic"]
    assert (3, 4) == (role.threshold, len(role.keyids))
    next_one = draft_making.adding_site(world.state, "lab", "harbour", now=NOW)
    assert [] == drafts.problems(next_one, now=NOW)
    assert role.keyids == drafts.delegated_roles(next_one.targets)["site-lab"].keyids
    for taken in ("clinic", "Lab"):
        with pytest.raises(SiteNameRefused):
            draft_making.adding_site(world.state, taken, "harbour", now=NOW)


# --- the folder


@pytest.fixture
def folder(officers: World, tmp_path: Path) -> Path:
    draft = draft_making.changing(officers.state, "harbour", now=NOW, renew=["root"])
    draft_folder.create(tmp_path / "c", draft)
    return tmp_path / "c"


def test_what_is_written_is_read(officers: World, folder: Path) -> None:
    draft = draft_folder.read(folder)
    assert (
        draft.documents == draft_making.changing(officers.state, "harbour", now=NOW, renew=["root"]).documents
    )
    (one,) = officers.signed(draft, "alice", roles=("root",))
    draft_folder.add_signature(folder, one)
    assert [one] == draft_folder.signatures(folder)
    assert "root 1 becomes root 2" in (folder / "WHAT.txt").read_text()
    with pytest.raises(CeremonyUnusable, match="is there already"):
        draft_folder.create(folder, draft)


def test_any_one_file_changed_or_gone_is_noticed(officers: World, folder: Path) -> None:
    """Whatever a courier does to one file: refused, or read as exactly the same ceremony (snapshot, timestamp)."""
    honest = draft_folder.read(folder)
    for file in sorted(path for path in folder.rglob("*.json")):
        data = file.read_bytes()
        for changed in (b"", b"{}", b"[" * 5000, data[:-2], data.replace(b"2", b"3"), data + b" ", None):
            file.unlink()
            if changed is not None:
                file.write_bytes(changed)
            try:
                found = draft_folder.read(folder)
            except CeremonyUnusable:
                pass
            else:
                assert (honest.documents, honest.base.roots) == (found.documents, found.base.roots)
                with pytest.raises(CeremonyUnusable):
                    drafts.demand_base(found, replace(officers.state, roots=()))
            file.write_bytes(data)


def test_a_forged_trust_around_an_honest_document_is_not_signed(officers: World, folder: Path) -> None:
    """The courier puts their own key into the old root, so that it would show as one that stays: no signatures fit."""
    mallory = draft_making.owned(key().public_key, "mallory")

    def plant(signed: dict[str, Any]) -> None:
        signed["keys"][mallory.keyid] = mallory.to_dict()
        signed["roles"]["root"]["keyids"].append(mallory.keyid)

    for place in (folder / "trust/1.root.json", folder / "documents/2.root.json"):
        place.write_bytes(edited(place.read_bytes(), plant))
    draft = draft_making.changing(officers.state, "harbour", now=NOW, renew=["root"])
    assert mallory.keyid not in draft.root.keys
    with pytest.raises(CeremonyUnusable, match="signature"):
        draft_folder.read(folder)


def test_links_pipes_and_strange_names_are_not_followed(folder: Path, tmp_path: Path) -> None:
    document = folder / "documents/2.root.json"
    outside = tmp_path / "elsewhere.json"
    document.rename(outside)
    document.symlink_to(outside)
    with pytest.raises(CeremonyUnusable):
        draft_folder.read(folder)
    document.unlink()
    outside.rename(document)
    for name in ("3.root.json", "x.txt", "2.Root.json"):
        (folder / "documents" / name).write_bytes(document.read_bytes())
        with pytest.raises(CeremonyUnusable):
            draft_folder.read(folder)
        (folder / "documents" / name).unlink()
    place = folder / "signatures/root"
    place.mkdir(parents=True)
    (place / f"{'a' * 64}.json").write_bytes(b'{"format":"tidegate-partial-signature/1"}')
    with pytest.raises(PartialSignatureRefused):
        draft_folder.signatures(folder)


@given(st.binary(max_size=600))
def test_a_hostile_ceremony_raises_only_our_refusal(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        (place / "ceremony.json").write_bytes(data)
        with pytest.raises(CeremonyUnusable):
            draft_folder.read(place)


def test_a_ceremony_of_another_state_is_refused(officers: World) -> None:
    draft = draft_making.changing(officers.state, "harbour", now=NOW, renew=["targets"])
    moved = drafts.finish(
        draft,
        officers.state,
        officers.signed(draft, "alice", "bob", roles=("targets",)),
        officers.station,
        now=NOW,
    )
    with pytest.raises(CeremonyUnusable, match="has changed"):
        drafts.demand_base(draft, moved)
    only_stamp = draft_making.changing(officers.state, "harbour", now=NOW, renew=["root"])
    drafts.demand_base(only_stamp, officers.state)
