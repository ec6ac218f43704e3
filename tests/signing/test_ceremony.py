"""Founding, publishing, adding sites, changing keys: enough people, or nothing."""

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from securesystemslib.signer import CryptoSigner, SSlibKey
from tuf.api.metadata import Metadata, Root, Snapshot, Targets, Timestamp

from signing import durable, repository
from signing.ceremony import (
    AlreadyPublished,
    Lifetimes,
    NoSuchRole,
    Profile,
    RoleExpired,
    SiteNameRefused,
    TooFewSigners,
    TrustRepository,
    TrustState,
    add_site,
    create_root,
    establish,
    lint_root,
    publish,
    rekey,
    rotate_root,
)
from signing.profiles import Quorum
from signing.refusals import BadRoot, MetadataTampered, TrustFileMissing
from tests.signing.trust_world import DAY, NOW, Origin, new_keys, public, root_of, tampered

RELEASE = "releases/qwen/coder/1.json"


@pytest.fixture
def origin() -> Origin:
    return Origin.founded(Profile.OFFICERS)


def targets_of(state: TrustState, role: str = "targets") -> Targets:
    return Metadata[Targets].from_bytes(state.metadata[role]).signed


# --- founding


def test_the_officers_need_the_numbers_that_the_issue_names(origin: Origin) -> None:
    root, targets = origin.state.root, origin.state.targets
    assert targets.delegations is not None
    assert targets.delegations.roles is not None
    found = {
        role: Quorum(one.threshold, len(one.keyids))
        for role, one in (*root.roles.items(), *targets.delegations.roles.items())
    }
    two_of_three, two_of_two, one = Quorum(2, 3), Quorum(2, 2), Quorum(1, 1)
    assert {
        "root": two_of_three, "targets": two_of_three, "catalog": two_of_three,
        "site-alpha": two_of_two, "site-beta": two_of_two, "snapshot": one, "timestamp": one,
    } == found  # fmt: skip
    assert ("alpha", "beta") == origin.state.sites


def test_one_person_is_the_same_code_with_one_key() -> None:
    origin = Origin.founded(Profile.SOLO)
    assert {1} == {role.threshold for role in origin.state.root.roles.values()}
    assert 1 == len(origin.state.root.keys)
    assert [] == lint_root(origin.state.roots[0])


def test_the_lifetimes_are_the_ones_that_were_decided(origin: Origin) -> None:
    origin.export("alpha", [origin.release()])
    opened = {role: Metadata.from_bytes(data).signed for role, data in origin.state.metadata.items()}
    days = {role: (signed.expires - NOW).days for role, signed in opened.items()}
    assert {"targets": 365, "catalog": 365, "site-alpha": 180, "snapshot": 365, "timestamp": 90} == days
    assert 5 * 365 == (origin.state.root.expires - NOW).days


@pytest.mark.parametrize(
    ("role", "count", "refusal"),
    [("root", 2, BadRoot), ("targets", 2, BadRoot), ("snapshot", 0, BadRoot), ("catalog", 2, BadRoot)],
)
def test_too_few_keys_found_no_origin(
    role: str, count: int, refusal: type[Exception], origin: Origin
) -> None:
    keys = {name: public(who) for name, who in origin.people.items()}
    keys["snapshot"] = keys["timestamp"] = keys.pop("station")
    keys[role] = keys[role][:count]
    with pytest.raises(refusal, match=role):
        establish(Profile.OFFICERS, keys, origin.room, now=NOW)


def test_one_person_cannot_found_an_origin_of_officers(origin: Origin) -> None:
    keys = {name: public(who) for name, who in origin.people.items()}
    keys["snapshot"] = keys["timestamp"] = keys["station"]
    with pytest.raises(TooFewSigners) as refused:
        create_root(Profile.OFFICERS, keys, origin.people["root"][:1], now=NOW)
    assert ("root", 1, 2) == (refused.value.role, refused.value.have, refused.value.need)
    with pytest.raises(TooFewSigners):  # the same person twice is one person
        create_root(Profile.OFFICERS, keys, origin.people["root"][:1] * 2, now=NOW)


def test_one_key_in_two_roles_or_under_two_ids_founds_nothing(origin: Origin) -> None:
    keys = {name: public(who) for name, who in origin.people.items()}
    keys["snapshot"] = keys["timestamp"] = keys["station"]
    shared = keys | {"targets": [*keys["targets"][:2], keys["root"][0]]}
    with pytest.raises(BadRoot, match="serves both root and targets"):
        create_root(Profile.OFFICERS, shared, origin.room, now=NOW)
    first = keys["root"][0]
    twin = SSlibKey("f" * 64, first.keytype, first.scheme, dict(first.keyval))
    with pytest.raises(BadRoot, match="one and the same key"):
        create_root(Profile.OFFICERS, keys | {"root": [*keys["root"][:2], twin]}, origin.room, now=NOW)
    with pytest.raises(BadRoot, match="1 were given"):
        create_root(Profile.OFFICERS, keys | {"root": [first] * 3}, origin.room, now=NOW)
    with pytest.raises(BadRoot, match="1 were given"):
        add_site(origin.state, "gamma", public(new_keys(1)) * 2, origin.room, now=NOW)
    for role in ("root", "targets", "station", "catalog"):
        with pytest.raises(BadRoot, match="serves both"):
            who = [*new_keys(1), origin.people[role][0]]
            add_site(origin.state, "gamma", public(who), origin.room, now=NOW)


def test_mixed_kinds_of_keys_work_together() -> None:
    people = [CryptoSigner.generate_ed25519(), CryptoSigner.generate_ecdsa(), CryptoSigner.generate_mldsa()]
    keys = {"root": public(people), "targets": public(new_keys(3))}
    keys["snapshot"] = keys["timestamp"] = public(new_keys(1))
    data = create_root(Profile.OFFICERS, keys, people[1:], now=NOW)
    opened = Metadata[Root].from_bytes(data)
    opened.signed.verify_delegate("root", opened.signed_bytes, opened.signatures)


def test_the_lint_reads_anything() -> None:
    for junk in (b"", b"{}", b"[]", b"\xff", b"[" * 100_000, json.dumps({"signed": {}}).encode()):
        assert 1 == len(lint_root(junk))


# --- publishing


def test_each_document_is_signed_by_its_role_and_numbers_grow_by_one(origin: Origin) -> None:
    origin.release()
    before = origin.state
    origin.export("beta", [RELEASE])
    assert [RELEASE] == list(targets_of(origin.state, "catalog").targets)
    assert ["exports/beta/1.json"] == list(targets_of(origin.state, "site-beta").targets)
    assert before.metadata["catalog"] == origin.state.metadata["catalog"]
    assert before.metadata["targets"] == origin.state.metadata["targets"]
    for role in ("snapshot", "timestamp"):
        assert before.opened(role).signed.version + 1 == origin.state.opened(role).signed.version


def test_nothing_new_is_a_fresh_timestamp_by_the_station_alone(origin: Origin) -> None:
    origin.export("alpha", [origin.release()])
    later = publish(origin.state, {}, origin.people["station"], now=NOW + 30 * DAY)
    assert (NOW + 120 * DAY) == later.opened("timestamp").signed.expires
    assert origin.state.metadata["site-alpha"] == later.metadata["site-alpha"]


def test_the_same_document_again_needs_no_new_signature(origin: Origin) -> None:
    origin.publish({RELEASE: b"{}"})
    again = publish(origin.state, {RELEASE: b"{}"}, origin.people["station"], now=NOW)
    assert origin.state.metadata["catalog"] == again.metadata["catalog"]


def test_a_published_document_never_changes(origin: Origin) -> None:
    origin.publish({RELEASE: b"{}"})
    with pytest.raises(AlreadyPublished):
        origin.publish({RELEASE: b"[]"})


@pytest.mark.parametrize(
    ("path", "missing", "have"),
    [
        (RELEASE, "catalog", 1),
        ("exports/alpha/1.json", "site-alpha", 1),
        (RELEASE, "station", 0),
    ],
)
def test_too_few_in_the_room_publish_nothing(path: str, missing: str, have: int, origin: Origin) -> None:
    gone = origin.people[missing][have:]
    with pytest.raises(TooFewSigners) as refused:
        publish(origin.state, {path: b"{}"}, [one for one in origin.room if one not in gone], now=NOW)
    assert have == refused.value.have


@pytest.mark.parametrize(
    "path",
    [
        "exports/gamma/1.json",
        "weights/1.bin",
        "releases/a/b/c/1.json",
        "releases/../b/1.json",
        "releases/a/b/x",
        "",
    ],
)
def test_a_path_that_no_role_answers_for_is_refused(path: str, origin: Origin) -> None:
    with pytest.raises(NoSuchRole):
        origin.publish({path: b"{}"})


def test_the_people_are_signed_by_the_targets_role_and_a_new_edition_takes_the_old_ones_place(
    origin: Origin,
) -> None:
    path = "identities/people.json"
    origin.publish({path: b'{"version":1}'})
    origin.publish({path: b'{"version":2}'})
    assert [path] == list(targets_of(origin.state).targets)
    assert 13 == targets_of(origin.state).targets[path].length
    assert "targets" not in role_names_of_delegations(origin.state)
    with pytest.raises(TooFewSigners, match="targets"):
        room = [one for one in origin.room if one not in origin.people["targets"][1:]]
        publish(origin.state, {path: b"{}"}, room, now=NOW)


def role_names_of_delegations(state: TrustState) -> list[str]:
    delegations = state.targets.delegations
    return list(delegations.roles or {}) if delegations else []


def test_what_runs_out_is_renewed_by_its_own_people_before_anything_else(origin: Origin) -> None:
    origin.release()
    late = NOW + 366 * DAY
    with pytest.raises(RoleExpired) as refused:
        publish(origin.state, {}, origin.people["station"], now=late)
    assert "targets" == refused.value.role
    renewed = publish(origin.state, {}, origin.room, now=late, renew=["targets", "catalog"])
    assert late + timedelta(days=365) == renewed.opened("catalog").signed.expires
    assert [RELEASE] == list(targets_of(renewed, "catalog").targets)
    with pytest.raises(NoSuchRole):
        publish(origin.state, {}, origin.room, now=NOW, renew=["site-gamma"])


def test_under_an_expired_root_nothing_is_signed(origin: Origin) -> None:
    with pytest.raises(RoleExpired, match="root"):
        publish(origin.state, {}, origin.room, now=NOW + 6 * 365 * DAY)


# --- sites and changes of keys


@pytest.mark.parametrize("site", ["", "Alpha", "a/b", "..", "-a", "a-", "a" * 64, "a_b", "ä", "*"])
def test_a_site_has_a_name_that_fits_everywhere(site: str, origin: Origin) -> None:
    with pytest.raises(SiteNameRefused):
        add_site(origin.state, site, public(new_keys(2)), origin.room, now=NOW)


def test_a_site_is_added_once(origin: Origin) -> None:
    origin.add_site("gamma")
    assert ("alpha", "beta", "gamma") == origin.state.sites
    with pytest.raises(SiteNameRefused, match="taken"):
        origin.add_site("gamma")
    with pytest.raises(BadRoot, match="takes 2 keys"):
        add_site(origin.state, "delta", public(new_keys(1)), origin.room, now=NOW)


def test_a_lost_key_of_a_site_is_replaced_and_its_document_signed_anew(origin: Origin) -> None:
    origin.export("alpha", [origin.release()])
    old, fresh = origin.people["site-alpha"], new_keys(2)
    room = [one for one in origin.room if one not in old]
    with pytest.raises(TooFewSigners):
        rekey(origin.state, "site-alpha", public(fresh), room, now=NOW)
    state = rekey(origin.state, "site-alpha", public(fresh), [*room, *fresh], now=NOW)
    opened = Metadata[Targets].from_bytes(state.metadata["site-alpha"])
    assert {key.keyid for key in public(fresh)} == set(opened.signatures)
    assert 2 == opened.signed.version
    assert state.targets.delegations is not None
    assert not {key.keyid for key in public(old)} & set(state.targets.delegations.keys)
    with pytest.raises(NoSuchRole):
        rekey(origin.state, "site-gamma", public(fresh), origin.room, now=NOW)


def test_a_new_root_needs_enough_old_and_enough_new_keys(origin: Origin) -> None:
    old, fresh = origin.people["root"], new_keys(3)
    for room in ([*old, fresh[0]], [old[0], *fresh]):
        with pytest.raises(TooFewSigners):
            rotate_root(origin.state, {"root": public(fresh)}, [*room, *origin.people["station"]], now=NOW)
    state = rotate_root(
        origin.state, {"root": public(fresh)}, [*old[:2], *fresh[:2], *origin.people["station"]], now=NOW
    )
    opened = Metadata[Root].from_bytes(state.roots[1])
    for delegator in (origin.state.root, opened.signed):
        delegator.verify_delegate("root", opened.signed_bytes, opened.signatures)
    with pytest.raises(NoSuchRole):
        rotate_root(origin.state, {"catalog": public(fresh)}, origin.room, now=NOW)


def test_a_bad_new_root_is_thrown_away(origin: Origin) -> None:
    with pytest.raises(BadRoot, match="serves both"):
        rotate_root(origin.state, {"targets": public(origin.people["root"])}, origin.room, now=NOW)
    with pytest.raises(BadRoot, match="needs 2 signatures and has 1 keys"):
        rotate_root(origin.state, {"targets": public(new_keys(1))}, origin.room, now=NOW)


def test_the_yearly_signature_changes_nothing_but_the_time(origin: Origin) -> None:
    later = NOW + 300 * DAY
    state = rotate_root(origin.state, {}, origin.room, now=later)
    assert (2, later + timedelta(days=5 * 365)) == (state.root.version, state.root.expires)
    assert origin.state.root.keys == state.root.keys
    assert origin.state.metadata["targets"] == state.metadata["targets"]


# --- the folder


def test_what_is_saved_is_loaded(origin: Origin, tmp_path: Path) -> None:
    store = TrustRepository(tmp_path / "trust")
    for step in (lambda: None, origin.release, origin.export, lambda: origin.rotate("root", "station")):
        step()
        store.save(origin.state)
        assert (origin.state.roots, dict(origin.state.metadata)) == (
            store.load().roots,
            dict(store.load().metadata),
        )
    names = {place.name for place in (tmp_path / "trust").iterdir()}
    assert {"1.root.json", "2.root.json", "timestamp.json", "1.catalog.json", "1.snapshot.json"} <= names
    assert not [name for name in names if name.startswith(".")]


def test_a_root_alone_is_a_state_too(origin: Origin, tmp_path: Path) -> None:
    TrustRepository(tmp_path).save(TrustState(origin.state.roots))
    assert {} == TrustRepository(tmp_path).load().metadata
    with pytest.raises(TrustFileMissing):
        TrustRepository(tmp_path).load().opened("targets")


def test_a_bundle_gets_what_its_site_needs_and_no_other_sites_list(origin: Origin) -> None:
    origin.export("alpha", [origin.release()])
    origin.export("beta")
    assert "1.site-beta.json" in origin.state.files()
    names = list(origin.state.files(site="alpha"))
    assert "1.site-alpha.json" in names
    assert "1.site-beta.json" not in names
    assert "timestamp.json" == names[-1]


def test_killed_at_any_write_the_folder_reads_as_before_or_after(
    origin: Origin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = TrustRepository(tmp_path)
    origin.release()
    store.save(origin.state)
    before = origin.state
    origin.export("alpha", [RELEASE])
    honest, allowed = durable.write_durably, 0

    class Killed(BaseException):
        pass

    def until(place: Path, data: bytes) -> None:
        nonlocal allowed
        if allowed == 0:
            raise Killed
        allowed -= 1
        honest(place, data)

    monkeypatch.setattr(repository, "write_durably", until)
    for count in range(9):
        allowed = count
        try:
            store.save(origin.state)
        except Killed:
            assert dict(before.metadata) == dict(store.load().metadata)
        else:
            break
    assert dict(origin.state.metadata) == dict(store.load().metadata)


def test_a_damaged_folder_says_which_file(origin: Origin, tmp_path: Path) -> None:
    store = TrustRepository(tmp_path)
    with pytest.raises(TrustFileMissing, match=r"1\.root\.json"):
        store.load()
    origin.export("alpha", [origin.release()])
    origin.rotate("root")
    store.save(origin.state)
    current = set(origin.state.files()) - {
        "timestamp.json",
        "2.root.json",
    }  # without these it reads as before
    for name in sorted(current):
        honest = (tmp_path / name).read_bytes()
        (tmp_path / name).unlink()
        with pytest.raises(TrustFileMissing, match=name):
            store.load()
        (tmp_path / name).write_bytes(honest)
    (tmp_path / "timestamp.json").write_bytes(b"{")
    with pytest.raises(MetadataTampered, match="timestamp"):
        store.load()


def test_short_lifetimes_can_be_chosen(origin: Origin) -> None:
    short = replace(Lifetimes(), timestamp=DAY)
    state = publish(origin.state, {}, origin.room, now=NOW, lifetimes=short)
    assert NOW + DAY == Metadata[Timestamp].from_bytes(state.metadata["timestamp"]).signed.expires
    assert NOW + 365 * DAY == Metadata[Snapshot].from_bytes(state.metadata["snapshot"]).signed.expires


def test_weakened_delegations_are_not_published_over(origin: Origin) -> None:
    weak = tampered(
        origin.state.metadata["targets"],
        lambda signed: signed["delegations"]["roles"][0].update(threshold=1),
        origin.people["targets"],
    )
    state = TrustState(origin.state.roots, {**origin.state.metadata, "targets": weak})
    with pytest.raises(BadRoot):
        publish(state, {}, origin.room, now=NOW)
    assert 2 == root_of(origin.state.roots[0]).roles["root"].threshold
