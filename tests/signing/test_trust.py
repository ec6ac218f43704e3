"""A courier, a thief of keys, a careless officer and a wound-back clock against the rules of `signing/trust.py`."""

import contextlib
import json
import os
import shutil
import socket
import tempfile
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tuf.api.exceptions import DownloadError, ExpiredMetadataError, UnsignedMetadataError
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, Timestamp
from tuf.api.serialization import DeserializationError, SerializationError
from tuf.ngclient import Updater

from signing.ceremony import Lifetimes, Profile, TrustState, establish, rekey
from signing.digests import sha256_hex
from signing.errors import OperatorError
from signing.stream import read_export
from signing.trust import (
    BadRoot,
    BundleUntrusted,
    ClockBehind,
    ExpiredBundle,
    ExportMalformed,
    FolderFetcher,
    ForeignBundle,
    ForkedBundle,
    Memory,
    MetadataTampered,
    NotEnrolled,
    NotInCatalogue,
    OlderBundle,
    RootFingerprintWrong,
    TooFewSignatures,
    TrustFileMissing,
    WrongKey,
    enrol,
    remember,
    verify,
)
from tests.signing.trust_world import (
    DAY,
    NOW,
    Origin,
    new_keys,
    public,
    restack,
    root_of,
    take,
    tampered,
)


@pytest.fixture
def origin() -> Origin:
    return Origin.founded(Profile.OFFICERS)


@pytest.fixture
def first(origin: Origin, tmp_path: Path) -> Path:
    """The first bundle for site alpha, with one release."""
    return origin.pack(tmp_path / "first", origin.export("alpha", [origin.release()]))


@pytest.fixture
def second(origin: Origin, first: Path, tmp_path: Path) -> Path:
    return origin.pack(tmp_path / "second", origin.export("alpha", [origin.release(ordinal=2)]))


def repack(origin: Origin, state: TrustState, folder: Path, export: str = "exports/alpha/1.json") -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    origin.state, before = state, origin.state
    try:
        return origin.pack(folder, export)
    finally:
        origin.state = before


# --- the honest road


@pytest.mark.parametrize("profile", list(Profile))
def test_a_site_takes_what_its_origin_sends_and_remembers_it(profile: Profile, tmp_path: Path) -> None:
    origin = Origin.founded(profile)
    bundle = origin.pack(
        tmp_path / "b", origin.export("alpha", [origin.release(), origin.release("meta/llama", 7)])
    )

    memory, verified = take(bundle, origin.enrolled())

    assert profile is verified.profile
    assert {"releases/qwen/coder/1.json", "releases/meta/llama/7.json"} == set(verified.releases)
    assert (False, [], 1, 1) == (
        verified.already,
        list(verified.gap),
        verified.sequence,
        verified.root_version,
    )
    assert NOW == verified.signed_time == memory.clock_floor
    assert NOW + timedelta(days=90) == verified.expires
    assert (1, {1: verified.export_sha256}) == (memory.sequence, memory.accepted)


def test_the_same_bundle_again_changes_nothing(origin: Origin, first: Path) -> None:
    memory, _ = take(first, origin.enrolled())
    again, verified = take(first, memory)
    assert verified.already
    assert memory == again


def test_a_bundle_accepted_before_is_recognised_behind_a_newer_one_and_after_its_time(
    origin: Origin, first: Path, second: Path
) -> None:
    memory, _ = take(first, origin.enrolled())
    memory, _ = take(second, memory)
    for now in (NOW, NOW + 400 * DAY):
        again, verified = take(first, memory, now=now)
        assert verified.already
        assert memory == again


def test_missing_numbers_are_reported_and_do_not_stop_the_import(
    origin: Origin, first: Path, tmp_path: Path
) -> None:
    memory, _ = take(first, origin.enrolled())
    origin.export()
    origin.export()
    _, verified = take(origin.pack(tmp_path / "fourth", origin.export()), memory)
    assert [2, 3] == list(verified.gap)


def test_a_site_that_starts_late_sees_what_it_never_got(origin: Origin, second: Path) -> None:
    _, verified = take(second, origin.enrolled())
    assert [1] == list(verified.gap)


def test_three_changes_of_keys_are_caught_up_in_one_bundle(
    origin: Origin, first: Path, tmp_path: Path
) -> None:
    memory, _ = take(first, origin.enrolled())
    for roles in (("root", "station"), ("targets",), ("root", "station")):
        origin.rotate(*roles)
    bundle = origin.pack(tmp_path / "later", origin.export())
    for before in (memory, origin.enrolled()):
        after, verified = take(bundle, before)
        assert 4 == verified.root_version
        assert origin.state.roots[-1] == after.root
    after, _ = take(bundle, after)  # and the chain behind a newer anchor is walked as well
    damaged = bundle / "trust/2.root.json"
    damaged.write_bytes(damaged.read_bytes().replace(b'"threshold":2', b'"threshold":1', 1))
    with pytest.raises(MetadataTampered):
        take(bundle, after)


def test_nothing_opens_a_socket_or_writes_to_the_medium(
    origin: Origin, first: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    before = {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in first.rglob("*") if p.is_file()}
    for place in (first, *first.rglob("*")):
        place.chmod(0o555 if place.is_dir() else 0o444)
    try:
        take(first, origin.enrolled())
    finally:
        for place in (first, *first.rglob("*")):
            place.chmod(0o755 if place.is_dir() else 0o644)
    assert before == {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in first.rglob("*") if p.is_file()}


# --- rule 1: enrolment


def test_a_site_that_is_not_enrolled_trusts_nothing(first: Path) -> None:
    with pytest.raises(NotEnrolled):
        verify(first, Memory(), audience="alpha", now=NOW)


def test_the_fingerprint_may_be_typed_as_people_type(origin: Origin) -> None:
    root = origin.state.roots[0]
    digits = sha256_hex(root).upper()
    grouped = " ".join(digits[i : i + 4] for i in range(0, 64, 4))
    for typed in (digits, grouped, grouped.replace(" ", ":"), f" {grouped}\n"):
        assert root == enrol(root, typed).root


def test_another_root_than_the_one_read_out_is_not_installed(origin: Origin) -> None:
    other = Origin.founded(Profile.OFFICERS)
    for typed in (sha256_hex(other.state.roots[0]), "", "0123"):
        with pytest.raises(RootFingerprintWrong):
            enrol(origin.state.roots[0], typed)


def test_a_root_that_its_own_keys_did_not_sign_is_not_installed(origin: Origin) -> None:
    data = origin.state.roots[0]
    for signers, refusal in (
        (new_keys(2), WrongKey),
        (origin.people["root"][:1], TooFewSignatures),
    ):
        forged = tampered(data, lambda signed: None, signers)
        with pytest.raises(refusal):
            enrol(forged, sha256_hex(forged))


def test_a_site_may_be_enrolled_with_a_later_root(origin: Origin, first: Path, tmp_path: Path) -> None:
    origin.rotate("root")
    newest = origin.state.roots[-1]
    _, verified = take(origin.pack(tmp_path / "b", origin.export()), enrol(newest, sha256_hex(newest)))
    assert 2 == verified.root_version


# --- rule 2: the clock


def test_a_clock_behind_the_last_signed_time_stops_the_import(
    origin: Origin, first: Path, second: Path
) -> None:
    memory, _ = take(first, origin.enrolled())
    with pytest.raises(ClockBehind) as refused:
        take(second, memory, now=NOW - timedelta(minutes=6))
    assert NOW == refused.value.signed
    take(second, memory, now=NOW - timedelta(minutes=4))


def test_a_clock_set_back_does_not_revive_an_expired_bundle(
    origin: Origin, first: Path, tmp_path: Path
) -> None:
    memory, _ = take(first, origin.enrolled())
    memory = replace(memory, clock_floor=NOW + 100 * DAY)
    with pytest.raises(ClockBehind):
        take(first, memory, now=NOW)
    late = replace(memory, accepted={}, sequence=None, export_sha256=None)
    with pytest.raises(ExpiredBundle):  # within the slack, the floor is the time that counts
        take(first, late, now=NOW + 100 * DAY - timedelta(minutes=4))


def test_an_export_of_the_future_says_that_this_clock_is_behind(origin: Origin, tmp_path: Path) -> None:
    bundle = origin.pack(tmp_path / "b", origin.export(issued_at="2026-11-25T08:00:00Z"))
    with pytest.raises(ClockBehind):
        take(bundle, origin.enrolled())


# --- rule 3: the root chain


def test_a_rogue_root_is_refused(origin: Origin, first: Path) -> None:
    evil = new_keys(2)

    def take_over(signed: dict[str, Any]) -> None:
        signed["version"] = 2
        signed["keys"] |= {key.keyid: key.to_dict() for key in public(evil)}
        signed["roles"]["root"]["keyids"] = [key.keyid for key in public(evil)]

    memory = origin.enrolled()
    for signers, refusal in (
        (evil, WrongKey),
        ([*evil, origin.people["root"][0]], TooFewSignatures),
        (origin.people["root"][:2], WrongKey),
    ):
        (first / "trust/2.root.json").write_bytes(tampered(origin.state.roots[0], take_over, signers))
        with pytest.raises(refusal):
            take(first, memory)


def test_one_key_under_two_ids_does_not_count_twice(origin: Origin, first: Path) -> None:
    """tuf alone accepts this root: it counts ids. Signed by the quorum, by mistake or malice."""

    def duplicate(signed: dict[str, Any]) -> None:
        signed["version"] = 2
        keyid = signed["roles"]["root"]["keyids"][0]
        signed["keys"]["f" * 64] = dict(signed["keys"][keyid])
        signed["roles"]["root"]["keyids"] = [keyid, "f" * 64]

    keyid = root_of(origin.state.roots[0]).roles["root"].keyids[0]
    holder = next(s for s in origin.people["root"] if s.public_key.keyid == keyid)
    other = next(s for s in origin.people["root"] if s is not holder)
    forged = json.loads(tampered(origin.state.roots[0], duplicate, [holder, other]))
    twin = next(dict(s) for s in forged["signatures"] if s["keyid"] == keyid) | {"keyid": "f" * 64}
    forged["signatures"].append(twin)
    data = json.dumps(forged, sort_keys=True, separators=(",", ":")).encode()
    metadata = Metadata[Root].from_bytes(data)
    metadata.signed.verify_delegate("root", metadata.signed_bytes, metadata.signatures)  # tuf is content

    (first / "trust/2.root.json").write_bytes(data)
    with pytest.raises(BadRoot, match="one and the same key"):
        take(first, origin.enrolled())


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda signed: signed["roles"]["targets"].update(threshold=1), "asks for 2"),
        (lambda signed: signed["roles"]["timestamp"].update(threshold=9), "needs 9 signatures"),
        (lambda signed: signed.update({"x-tidegate-profile": "solo"}), "officers to solo"),
        (lambda signed: signed.pop("x-tidegate-profile"), "no known profile"),
        (lambda signed: signed.update(consistent_snapshot=False), "consistent"),
        (lambda signed: signed["roles"].update(targets=dict(signed["roles"]["root"])), "one key serves both"),
        (lambda signed: signed["roles"]["targets"]["keyids"].append("0" * 64), "which is not here"),
    ],
)
def test_a_root_that_weakens_the_house_is_refused_though_the_quorum_signed(
    origin: Origin, first: Path, change: Callable[[dict[str, Any]], None], complaint: str
) -> None:
    def weaken(signed: dict[str, Any]) -> None:
        signed["version"] = 2
        change(signed)

    forged = tampered(origin.state.roots[0], weaken, origin.people["root"])
    (first / "trust/2.root.json").write_bytes(forged)
    with pytest.raises(BadRoot, match=complaint):
        take(first, origin.enrolled())


def test_a_bundle_of_another_origin_is_signed_by_the_wrong_keys(origin: Origin, tmp_path: Path) -> None:
    stranger = Origin.founded(Profile.OFFICERS)
    bundle = stranger.pack(tmp_path / "b", stranger.export("alpha"))
    with pytest.raises(WrongKey):
        take(bundle, origin.enrolled())


def test_a_root_file_under_another_number_is_refused(origin: Origin, first: Path) -> None:
    shutil.copy(first / "trust/1.root.json", first / "trust/2.root.json")
    with pytest.raises(MetadataTampered, match="is root 1"):
        take(first, origin.enrolled())


def test_a_hole_in_the_root_chain_is_named(origin: Origin, first: Path, tmp_path: Path) -> None:
    origin.rotate("root")
    origin.rotate("root")
    bundle = origin.pack(tmp_path / "b", origin.export())
    (bundle / "trust/2.root.json").unlink()
    with pytest.raises(TrustFileMissing, match=r"2\.root\.json"):
        take(bundle, origin.enrolled())


# --- rules 4 to 6: freshness, signatures, form


def test_an_older_bundle_is_refused_after_the_cache_was_wiped(
    origin: Origin, first: Path, second: Path
) -> None:
    """Otherwise it may come late: tests/signing/test_trust_late.py."""
    memory, _ = take(second, origin.enrolled())
    with pytest.raises(OlderBundle) as refused:
        take(first, replace(memory, metadata={}))
    assert (1, 2) == (refused.value.found, refused.value.remembered)


def test_two_histories_under_one_number_are_a_fork(origin: Origin, first: Path, tmp_path: Path) -> None:
    memory, _ = take(first, origin.enrolled())
    stamp = tampered(
        origin.state.metadata["timestamp"],
        lambda signed: signed.update(expires="2030-01-01T00:00:00Z"),
        origin.people["station"],
    )
    (first / "trust/timestamp.json").write_bytes(stamp)
    with pytest.raises(ForkedBundle):
        take(first, memory)


def test_a_bundle_by_a_retired_station_key_is_signed_by_the_wrong_key(
    origin: Origin, first: Path, second: Path, tmp_path: Path
) -> None:
    """Unless what this site remembers signs for the same export: tests/signing/test_trust_late.py."""
    memory, _ = take(first, origin.enrolled())
    origin.rotate("station")
    memory, _ = take(origin.pack(tmp_path / "third", origin.export()), memory)
    without = {role: data for role, data in memory.metadata.items() if role != "site-alpha"}
    with pytest.raises(WrongKey):
        take(second, replace(memory, metadata=without))


@pytest.mark.parametrize("role", ["targets", "catalog", "site-alpha"])
def test_too_few_signatures_are_counted(role: str, origin: Origin, first: Path) -> None:
    short = tampered(origin.state.metadata[role], lambda signed: None, origin.people[role][:1])
    repack(origin, restack(origin, {role: short}), first)
    with pytest.raises(TooFewSignatures) as refused:
        take(first, origin.enrolled())
    assert (role, 1, 2) == (refused.value.role, refused.value.have, refused.value.need)


@pytest.mark.parametrize("role", ["targets", "catalog", "site-alpha", "snapshot", "timestamp"])
def test_a_strangers_signature_is_the_wrong_key(role: str, origin: Origin, first: Path) -> None:
    forged = tampered(origin.state.metadata[role], lambda signed: None, new_keys(2))
    if role == "timestamp":
        (first / "trust/timestamp.json").write_bytes(forged)
    elif role == "snapshot":
        stamp = Metadata[Timestamp].from_bytes(origin.state.metadata["timestamp"])
        stamp.signed.snapshot_meta.length = len(forged)
        stamp.signed.snapshot_meta.hashes = {"sha256": sha256_hex(forged)}
        stamp.sign(origin.people["station"][0])
        (first / f"trust/{stamp.signed.snapshot_meta.version}.snapshot.json").write_bytes(forged)
        (first / "trust/timestamp.json").write_bytes(stamp.to_bytes())
    else:
        repack(origin, restack(origin, {role: forged}), first)
    with pytest.raises(WrongKey) as refused:
        take(first, origin.enrolled())
    assert role == refused.value.role


def test_mixing_documents_of_two_bundles_is_refused(origin: Origin, first: Path, second: Path) -> None:
    newest = max(second.glob("trust/*.snapshot.json")).name
    shutil.copy(next(first.glob("trust/*.snapshot.json")), second / "trust" / newest)
    with pytest.raises(MetadataTampered):
        take(second, origin.enrolled())


@pytest.mark.parametrize(
    ("role", "days"), [("timestamp", 91), ("site-alpha", 181), ("targets", 366), ("root", 5 * 365 + 1)]
)
def test_each_role_that_runs_out_is_named(role: str, days: int, origin: Origin, first: Path) -> None:
    fresh = Lifetimes(*[timedelta(days=9999)] * 6)
    lifetimes = replace(
        fresh, **{"site" if role == "site-alpha" else role: getattr(Lifetimes(), role, timedelta(180))}
    )
    origin = Origin.founded(Profile.OFFICERS, lifetimes=lifetimes)
    origin.publish({"releases/a/b/1.json": b"{}"}, lifetimes=lifetimes)
    document = json.dumps({"format": "tidegate-export/1", "audience": "alpha", "sequence": 1, "previous": None,
                           "issued_at": "2026-11-20T08:00:00Z", "releases": []}).encode()  # fmt: skip
    origin.publish({"exports/alpha/1.json": document}, lifetimes=lifetimes)
    repack(origin, origin.state, first)
    take(first, origin.enrolled(), now=NOW + timedelta(days=days - 2))
    with pytest.raises(ExpiredBundle) as refused:
        take(first, origin.enrolled(), now=NOW + timedelta(days=days))
    assert role == refused.value.role


def test_a_spelling_that_tuf_does_not_notice_is_refused(origin: Origin, first: Path) -> None:
    """tuf re-encodes before it checks: a date with a space, a signature in capitals, a surplus field."""
    place = first / "trust/timestamp.json"
    honest = place.read_bytes()
    value = json.loads(honest)
    capitals = json.loads(honest)
    capitals["signatures"][0]["sig"] = capitals["signatures"][0]["sig"].upper()
    noted = value | {"note": "not signed"}
    stranger = json.loads(honest)
    stranger["signatures"].append({"keyid": "0" * 64, "sig": "00" * 64})
    for changed in (capitals, noted, stranger):
        place.write_bytes(json.dumps(changed, sort_keys=True, separators=(",", ":")).encode())
        with pytest.raises(MetadataTampered):
            take(first, origin.enrolled())
    place.write_bytes(honest.replace(b'"expires":"2027-02-18', b'"expires":"2027-2-18'))
    assert place.read_bytes() != honest
    with pytest.raises(MetadataTampered):
        take(first, origin.enrolled())


def test_every_missing_file_is_missed_also_when_it_is_remembered(origin: Origin, first: Path) -> None:
    memory, _ = take(first, origin.enrolled())
    for place in sorted(path for path in first.rglob("*") if path.is_file()):
        data = place.read_bytes()
        place.unlink()
        for remembered in (origin.enrolled(), memory):
            with pytest.raises(TrustFileMissing):
                take(first, remembered)
        place.write_bytes(data)
    take(first, memory)


def test_links_pipes_and_folders_are_no_trust_files(origin: Origin, first: Path, tmp_path: Path) -> None:
    for name in (
        "trust/timestamp.json",
        "trust/1.root.json",
        "exports/alpha/1.json",
        "releases/qwen/coder/1.json",
    ):
        place, aside = first / name, tmp_path / "aside"
        place.rename(aside)
        for make in (partial(os.symlink, aside), os.mkfifo, os.mkdir):
            make(place)
            with pytest.raises(TrustFileMissing):
                take(first, origin.enrolled())
            place.rmdir() if place.is_dir() else place.unlink()
        aside.rename(place)
    (first / "trust").rename(tmp_path / "elsewhere")
    (first / "trust").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(TrustFileMissing):
        take(first, origin.enrolled())


def test_a_trust_file_without_end_is_not_read_to_its_end(origin: Origin, first: Path) -> None:
    for place in sorted((first / "trust").iterdir()):
        honest = place.read_bytes()
        with place.open("r+b") as stream:
            stream.truncate(1 << 33)  # sparse
        with pytest.raises(MetadataTampered):
            take(first, origin.enrolled())
        place.write_bytes(honest)


def test_the_fetcher_stays_in_its_folder(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "secret").write_text("secret")
    fetcher = FolderFetcher(tmp_path / "in", max_bytes=100)
    for url in ("bundle:///../secret", "bundle:///%2e%2e/secret", "file:///etc/passwd", "bundle://host/x"):
        with pytest.raises(DownloadError) as refused:
            b"".join(fetcher.fetch(url))
        assert "inside the bundle" in f"{refused.value} {refused.value.__cause__}"


# --- rules 7 to 10: audience, sequence, catalogue


def test_another_sites_bundle_is_foreign(origin: Origin, first: Path, tmp_path: Path) -> None:
    beta = origin.pack(tmp_path / "beta", origin.export("beta"))
    with pytest.raises(ForeignBundle) as refused:
        take(beta, origin.enrolled())
    assert ("alpha", "beta") == (refused.value.audience, refused.value.found)
    with pytest.raises(ForeignBundle):  # and a label that says otherwise does not help
        verify(beta, origin.enrolled(), audience="gamma", now=NOW, export_path="exports/gamma/1.json")


def test_a_document_for_one_site_signed_by_another_is_foreign(origin: Origin, tmp_path: Path) -> None:
    bundle = origin.pack(tmp_path / "b", origin.export("alpha", audience="beta"))
    with pytest.raises(ForeignBundle):
        take(bundle, origin.enrolled())


def test_a_site_added_later_can_be_served(origin: Origin, first: Path, tmp_path: Path) -> None:
    origin.add_site("gamma")
    _, verified = take(origin.pack(tmp_path / "g", origin.export("gamma")), origin.enrolled(), site="gamma")
    assert "gamma" == verified.audience


def test_one_number_is_one_export(origin: Origin, first: Path, tmp_path: Path) -> None:
    """The origin was restored from a backup and gave number 1 out again."""
    memory, _ = take(first, origin.enrolled())
    memory = replace(memory, metadata={}, accepted={1: "0" * 64}, export_sha256="0" * 64)
    with pytest.raises(ForkedBundle):
        take(first, memory)


def test_the_export_before_must_be_the_one_that_was_accepted(
    origin: Origin, first: Path, tmp_path: Path
) -> None:
    memory, _ = take(first, origin.enrolled())
    forked = origin.pack(tmp_path / "b", origin.export(previous="0" * 64))
    with pytest.raises(ForkedBundle, match="before number 2"):
        take(forked, memory)


@pytest.mark.parametrize(
    "changes",
    [
        {"format": "tidegate-export/2"},
        {"sequence": 2},
        {"sequence": True},
        {"sequence": 0},
        {"previous": "0" * 64},
        {"audience": 7},
        {"issued_at": "yesterday"},
        {"issued_at": None},
        {"releases": [{"path": "releases/../etc/1.json", "sha256": "0" * 64}]},
        {"releases": [{"path": "releases/a/b/1.json", "sha256": "0"}]},
        {"releases": [{"path": "releases/a/b/1.json", "sha256": "0" * 64}] * 2},
    ],
)
def test_a_signed_export_that_is_none_is_refused(
    changes: dict[str, Any], origin: Origin, tmp_path: Path
) -> None:
    document = {"format": "tidegate-export/1", "audience": "alpha", "sequence": 1, "previous": None,
                "issued_at": "2026-11-20T08:00:00Z", "releases": []} | changes  # fmt: skip
    path = "exports/alpha/1.json"
    origin.publish({path: json.dumps(document).encode()})
    bundle = origin.pack(tmp_path / "b", path)
    with pytest.raises(ExportMalformed):
        take(bundle, origin.enrolled())


def test_the_export_officers_alone_cannot_invent_a_model(origin: Origin, tmp_path: Path) -> None:
    origin.release()
    invented = [{"path": "releases/evil/model/1.json", "sha256": sha256_hex(b"{}")}]
    bundle = origin.pack(tmp_path / "b", _invent(origin, invented))
    (bundle / "releases/evil/model").mkdir(parents=True)
    (bundle / "releases/evil/model/1.json").write_bytes(b"{}")
    with pytest.raises(NotInCatalogue):
        take(bundle, origin.enrolled())


def _invent(origin: Origin, releases: list[dict[str, str]]) -> str:
    document = {"format": "tidegate-export/1", "audience": "alpha", "sequence": 1, "previous": None,
                "issued_at": "2026-11-20T08:00:00Z", "releases": releases}  # fmt: skip
    origin.publish({"exports/alpha/1.json": json.dumps(document).encode()})
    return "exports/alpha/1.json"


def test_catalogue_and_export_must_name_the_same_bytes(origin: Origin, tmp_path: Path) -> None:
    path = origin.release()
    bundle = origin.pack(tmp_path / "b", _invent(origin, [{"path": path, "sha256": "0" * 64}]))
    with pytest.raises(NotInCatalogue, match="another digest"):
        take(bundle, origin.enrolled())


def test_an_origin_without_any_release_has_no_catalogue(origin: Origin, tmp_path: Path) -> None:
    bundle = origin.pack(
        tmp_path / "b", _invent(origin, [{"path": "releases/a/b/1.json", "sha256": "0" * 64}])
    )
    with pytest.raises(NotInCatalogue, match="nothing yet"):
        take(bundle, origin.enrolled())


def test_release_managers_alone_cannot_push_to_a_site(origin: Origin, first: Path) -> None:
    document = (first / "exports/alpha/1.json").read_bytes().replace(b'"sequence": 1', b'"sequence": 2')
    (first / "exports/alpha/2.json").write_bytes(document)
    with pytest.raises(NotInCatalogue, match="site-alpha"):
        take(first, origin.enrolled())


def test_the_owners_of_targets_cannot_sign_in_the_place_of_others(origin: Origin, first: Path) -> None:
    entry = json.loads(origin.state.metadata["site-alpha"])["signed"]["targets"]
    direct = tampered(
        origin.state.metadata["targets"],
        lambda signed: signed["targets"].update(entry),
        origin.people["targets"],
    )
    repack(origin, restack(origin, {"targets": direct}), first)
    with pytest.raises(NotInCatalogue, match="targets does"):
        take(first, origin.enrolled())


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda role: role.update(paths=["*/*/*"]), "should for"),
        (lambda role: role.update(threshold=1), "asks for 2"),
        (lambda role: role.update(terminating=False), "should for"),
        (lambda role: role.update(name="everything"), "neither catalog nor a site"),
    ],
)
def test_delegations_that_reach_too_far_are_refused(
    change: Callable[[dict[str, Any]], None], complaint: str, origin: Origin, first: Path
) -> None:
    wide = tampered(
        origin.state.metadata["targets"],
        lambda signed: change(signed["delegations"]["roles"][-1]),
        origin.people["targets"],
    )
    repack(origin, restack(origin, {"targets": wide}), first)
    with pytest.raises(BadRoot, match=complaint):
        take(first, origin.enrolled())


def test_new_catalogue_keys_take_over(origin: Origin, first: Path, tmp_path: Path) -> None:
    memory, _ = take(first, origin.enrolled())
    fresh = new_keys(3)
    origin.people["catalog"] = fresh
    origin.state = rekey(origin.state, "catalog", public(fresh), origin.room, now=NOW)
    take(origin.pack(tmp_path / "b", origin.export("alpha", [origin.release(ordinal=2)])), memory)


# --- all of it: one byte, anywhere


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[Origin, Path]:
    origin = Origin.founded(Profile.SOLO)
    folder = tmp_path_factory.mktemp("small")
    return origin, origin.pack(folder, origin.export("alpha", [origin.release()]))


FILES = (
    "trust/1.root.json",
    "trust/timestamp.json",
    "trust/3.snapshot.json",
    "trust/1.targets.json",
    "trust/1.catalog.json",
    "trust/1.site-alpha.json",
    "exports/alpha/1.json",
    "releases/qwen/coder/1.json",
)


def test_the_list_of_files_below_is_complete(small: tuple[Origin, Path]) -> None:
    _, bundle = small
    assert set(FILES) == {p.relative_to(bundle).as_posix() for p in bundle.rglob("*") if p.is_file()}


@pytest.mark.parametrize("name", FILES)
def test_any_flipped_byte_is_refused_by_name(name: str, small: tuple[Origin, Path], tmp_path: Path) -> None:
    origin, pristine = small
    bundle, memory = shutil.copytree(pristine, tmp_path / "b"), origin.enrolled()
    seen, _ = take(bundle, memory)
    honest = (bundle / name).read_bytes()
    for position in range(len(honest)):
        damaged = bytearray(honest)
        damaged[position] ^= 1 << position % 8
        (bundle / name).write_bytes(damaged)
        with pytest.raises(MetadataTampered) as refused:
            take(bundle, seen if position % 2 else memory)
        assert name == refused.value.name, position


@pytest.mark.parametrize("name", FILES)
def test_any_truncation_is_refused(name: str, small: tuple[Origin, Path], tmp_path: Path) -> None:
    origin, pristine = small
    bundle, memory = shutil.copytree(pristine, tmp_path / "b"), origin.enrolled()
    honest = (bundle / name).read_bytes()
    for length in range(0, len(honest), 37):
        (bundle / name).write_bytes(honest[:length])
        with pytest.raises(MetadataTampered):
            take(bundle, memory)


# --- whatever is signed, even by the whole quorum: our refusal or a sound bundle, never a crash


ODD: list[Any] = [None, True, 0, 5, -1, 1.5, 2**70, "", "x", "ä", "\ud800", [], {}, [5], [[]], {"a": 1}]


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, child in inner for place in _places(child, (*path, key)))]


def _with(value: Any, path: tuple[Any, ...], odd: Any) -> Any:
    if not path:
        return odd
    copy: Any = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = _with(copy[path[0]], path[1:], odd)
    return copy


@pytest.mark.property
@settings(max_examples=60, deadline=None)
@given(data=st.data())
@pytest.mark.parametrize("role", ["root", "timestamp", "snapshot", "targets", "catalog", "site-alpha"])
def test_odd_values_in_any_signed_document_meet_our_refusal(
    role: str, small: tuple[Origin, Path], data: st.DataObject
) -> None:
    origin, pristine = small
    honest = json.loads(origin.state.roots[0] if role == "root" else origin.state.metadata[role])
    path = data.draw(st.sampled_from(_places(honest["signed"])))
    changed = honest | {"signed": _with(honest["signed"], path, data.draw(st.sampled_from(ODD)))}
    raw = json.dumps(changed, sort_keys=True, separators=(",", ":")).encode()
    with contextlib.suppress(DeserializationError, UnsignedMetadataError, SerializationError):
        metadata = Metadata[Any].from_bytes(raw)
        metadata.sign(origin.people["root"][0])
        raw = metadata.to_bytes()
    with tempfile.TemporaryDirectory() as place:
        bundle = shutil.copytree(pristine, Path(place) / "b")
        memory = origin.enrolled()
        if role == "root":
            (bundle / "trust/1.root.json").write_bytes(raw)
            memory = Memory(root=raw) if data.draw(st.booleans()) else memory
        elif role in ("timestamp", "snapshot"):
            name = "timestamp.json" if role == "timestamp" else "3.snapshot.json"
            (bundle / "trust" / name).write_bytes(raw)
            _pin(bundle, origin, role)
        else:
            (bundle / f"trust/1.{role}.json").write_bytes(raw)
            _pin(bundle, origin, role)
        with contextlib.suppress(OperatorError):
            take(bundle, memory)


def _pin(bundle: Path, origin: Origin, role: str) -> None:
    """Make the documents above say the length and hash of the changed one, signed as they should be."""
    station = origin.people["station"][0]
    stamp = Metadata[Timestamp].from_bytes(origin.state.metadata["timestamp"])
    place = bundle / "trust/3.snapshot.json"
    if role == "timestamp":
        return
    if role != "snapshot":
        snapshot = Metadata[Snapshot].from_bytes(origin.state.metadata["snapshot"])
        below = (bundle / f"trust/1.{role}.json").read_bytes()
        snapshot.signed.meta[f"{role}.json"] = MetaFile.from_data(1, below, ["sha256"])
        snapshot.sign(station)
        place.write_bytes(snapshot.to_bytes())
    stamp.signed.snapshot_meta = MetaFile.from_data(3, place.read_bytes(), ["sha256"])
    stamp.sign(station)
    (bundle / "trust/timestamp.json").write_bytes(stamp.to_bytes())


@pytest.mark.property
@given(st.binary() | st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.just("tidegate-export/1"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["format", "audience", "sequence", "previous", "issued_at", "releases", "path"]), inner),
).map(lambda value: json.dumps(value).encode()))  # fmt: skip
def test_any_bytes_as_an_export_meet_our_refusal_only(data: bytes) -> None:
    with pytest.raises(ExportMalformed):
        read_export(data, at="export")


@pytest.mark.property
@given(st.binary())
def test_any_bytes_as_a_root_meet_our_refusal_only(data: bytes) -> None:
    with pytest.raises(MetadataTampered):
        enrol(data, sha256_hex(data))


# --- what tuf may not change behind our back (docs/decisions/0004)


def test_tuf_still_takes_its_reference_time_from_us(origin: Origin, first: Path, tmp_path: Path) -> None:
    updater = Updater(
        str(tmp_path), "bundle:///trust/", fetcher=FolderFetcher(first, max_bytes=1 << 20),
        bootstrap=origin.state.roots[0],
    )  # fmt: skip
    assert hasattr(updater._trusted_set, "reference_time"), "read docs/decisions/0004 before updating tuf"
    updater._trusted_set.reference_time = NOW + 91 * DAY
    with pytest.raises(ExpiredMetadataError):
        updater.refresh()


def test_a_refusal_names_a_next_step_and_a_number_of_its_own() -> None:
    todo, numbers = [BundleUntrusted], []
    while todo:
        kind = todo.pop()
        todo += kind.__subclasses__()
        if "exit_code" in vars(kind):
            numbers.append(kind.exit_code)
            assert len(kind.next_step) > 30
    assert len(numbers) == len(set(numbers))


def test_memory_never_goes_down(origin: Origin, first: Path, second: Path) -> None:
    memory, verified = take(first, origin.enrolled())
    later = replace(memory, clock_floor=NOW + timedelta(minutes=4))
    again = remember(later, replace(verified, already=False))
    assert NOW + timedelta(minutes=4) == again.clock_floor


def test_a_profile_of_one_is_called_by_its_name() -> None:
    one = new_keys(1)
    keys = dict.fromkeys(("root", "targets", "snapshot", "timestamp"), public(one))
    state = establish(Profile.SOLO, keys, one, now=NOW)
    assert "solo" == root_of(state.roots[0]).unrecognized_fields["x-tidegate-profile"]
