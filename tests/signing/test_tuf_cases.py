"""What every TUF client has to get right, as far as a folder can show it, asked of our own walk.

The questions are those of the TUF project's conformance suite: chains of roots, thresholds, rollback, mix and match,
expiry, fields that nobody knows. Asked here of `verify`, in its words, with keys and documents of our own. Where our
answer is stricter than the specification demands, the test says so.
"""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, Timestamp

from signing.ceremony import Profile
from signing.digests import sha256_hex
from signing.trust import (
    BadRoot,
    BundleUntrusted,
    ExpiredBundle,
    ForkedBundle,
    Memory,
    MetadataTampered,
    OlderBundle,
    TooFewSignatures,
    TrustFileMissing,
    WrongKey,
    enrol,
    verify,
)
from tests.signing.trust_world import DAY, NOW, Origin, new_keys, restack, take, tampered

HANDS = dict(zip("abcdefghij", new_keys(10), strict=True))


def hands(letters: str) -> list[CryptoSigner]:
    return [HANDS[letter] for letter in letters]


@pytest.fixture(scope="module")
def solo() -> Origin:
    """One origin with one export; its documents are read only."""
    origin = Origin.founded(Profile.SOLO)
    origin.export("alpha", [origin.release()])
    return origin


@pytest.fixture
def origin() -> Origin:
    return Origin.founded(Profile.SOLO)


def root(before: bytes, number: int, keys: str, need: int, signed_by: str) -> bytes:
    """A root whose own keys are these hands, so many of which have to sign; signed by those who did."""

    def hand_over(signed: dict[str, Any]) -> None:
        signed["version"] = number
        signed["keys"] |= {h.public_key.keyid: h.public_key.to_dict() for h in hands(keys)}
        signed["roles"]["root"] = {"keyids": [h.public_key.keyid for h in hands(keys)], "threshold": need}

    return tampered(before, hand_over, hands(signed_by))


def laid(origin: Origin, folder: Path, roots: Iterable[bytes]) -> Path:
    bundle = origin.pack(folder, "exports/alpha/1.json")
    for number, data in enumerate(roots, start=1):
        (bundle / f"trust/{number}.root.json").write_bytes(data)
    return bundle


def trusting(data: bytes) -> Memory:
    return enrol(data, sha256_hex(data))


Chain = list[tuple[str, int, str]]  # keys, how many have to sign, who signed

GOOD_CHAINS: dict[str, Chain] = {
    "the only key is replaced": [("a", 1, "a"), ("b", 1, "ab"), ("b", 1, "b")],
    "any three of five": [("abcde", 3, "ace"), ("abcde", 3, "aeb"), ("abcde", 3, "abd"), ("abcde", 3, "cde")],
    "one of five leaves": [("abcde", 3, "ace"), ("abdef", 3, "aeb")],
    "the one that leaves signs a last time": [("abcde", 3, "ace"), ("abdef", 3, "acef"), ("abdef", 3, "aef")],
    "all of them at once": [("abcde", 3, "ace"), ("fghij", 3, "acefgh"), ("fghij", 3, "fgh")],
    "all of them, step by step": [
        ("abc", 2, "ab"),
        ("bcd", 2, "bc"),
        ("cde", 2, "cd"),
        ("def", 2, "de"),
    ],
    "one becomes two of three": [("abc", 1, "a"), ("abc", 2, "ab")],
    "two of three become one": [("abc", 2, "ab"), ("abc", 1, "ab"), ("abc", 1, "c")],
}

BAD_CHAINS: dict[str, tuple[Chain, type[Exception]]] = {
    "the old key did not sign": ([("a", 1, "a"), ("b", 1, "b")], WrongKey),
    "the new key did not sign": ([("a", 1, "a"), ("b", 1, "a")], WrongKey),
    "three new ones are two": ([("abcde", 3, "ace"), ("abdef", 3, "ace")], TooFewSignatures),
    "three old ones are two": ([("abcde", 3, "ace"), ("abdef", 3, "aef")], TooFewSignatures),
    "the new threshold is not reached": ([("abc", 1, "a"), ("abc", 2, "b")], TooFewSignatures),
    "the old threshold is not reached": ([("abc", 2, "ab"), ("abc", 1, "a")], TooFewSignatures),
    "nobody signed": ([("a", 1, "a"), ("a", 1, "")], WrongKey),
    "it breaks in the middle": ([("a", 1, "a"), ("b", 1, "b"), ("c", 1, "bc")], WrongKey),
    "more are needed than there are": ([("ab", 1, "a"), ("ab", 3, "ab")], TooFewSignatures),
    # stricter than TUF, which looks away: nothing may claim to be a signature that is none
    "strangers signed as well": ([("a", 1, "a"), ("b", 1, "abcd")], MetadataTampered),
}


def chained(origin: Origin, chain: Chain) -> list[bytes]:
    first = origin.state.roots[0]
    return [root(first, n, keys, need, by) for n, (keys, need, by) in enumerate(chain, start=1)]


@pytest.mark.parametrize("chain", GOOD_CHAINS.values(), ids=GOOD_CHAINS)
def test_a_chain_of_roots_is_followed_to_its_end(chain: Chain, solo: Origin, tmp_path: Path) -> None:
    roots = chained(solo, chain)
    memory, seen = take(laid(solo, tmp_path / "b", roots), trusting(roots[0]))
    assert len(roots) == seen.root_version
    assert roots[-1] == memory.root
    for late in roots[1:]:  # and from wherever a site got to, or was enrolled
        assert roots[-1] == take(laid(solo, tmp_path / "b", roots), trusting(late))[0].root


@pytest.mark.parametrize(("chain", "refusal"), BAD_CHAINS.values(), ids=BAD_CHAINS)
def test_a_chain_that_breaks_is_followed_nowhere(
    chain: Chain, refusal: type[Exception], solo: Origin, tmp_path: Path
) -> None:
    roots = chained(solo, chain)
    with pytest.raises(refusal):
        take(laid(solo, tmp_path / "b", roots), trusting(roots[0]))


def test_a_root_that_was_left_out_is_missed(solo: Origin, tmp_path: Path) -> None:
    roots = chained(solo, GOOD_CHAINS["all of them, step by step"])
    bundle = laid(solo, tmp_path / "b", roots)
    (bundle / "trust/3.root.json").unlink()
    with pytest.raises(TrustFileMissing, match=r"3\.root"):
        take(bundle, trusting(roots[0]))


def test_a_root_that_jumps_a_number_is_refused(solo: Origin, tmp_path: Path) -> None:
    first, second = chained(solo, [("a", 1, "a"), ("a", 1, "a")])
    jumped = root(first, 3, "a", 1, "a")
    for roots in ([first, jumped], [first, second, second]):
        with pytest.raises((MetadataTampered, WrongKey)):
            take(laid(solo, tmp_path / str(len(roots)), roots), trusting(first))


def test_a_first_root_without_a_version_or_signature_is_not_installed(solo: Origin) -> None:
    value = json.loads(solo.state.roots[0])
    del value["signed"]["version"]
    no_version = json.dumps(value, separators=(",", ":"), sort_keys=True).encode()
    unsigned = root(solo.state.roots[0], 1, "a", 1, "")
    for data in (no_version, unsigned, b"{}", b""):
        with pytest.raises(BundleUntrusted):
            trusting(data)


def test_fields_that_nobody_knows_are_part_of_what_was_signed(solo: Origin, tmp_path: Path) -> None:
    def add(signed: dict[str, Any]) -> None:
        signed["version"] = 2
        signed["x-custom"] = {"a": [1, "two"]}
        keyid = signed["roles"]["root"]["keyids"][0]
        signed["keys"][keyid]["x-extra"] = "value"
        signed["roles"]["root"]["x-another"] = True

    second = tampered(solo.state.roots[0], add, solo.people["root"])
    memory, _ = take(laid(solo, tmp_path / "b", [solo.state.roots[0], second]), solo.enrolled())
    assert second == memory.root
    changed = second.replace(b'"x-extra":"value"', b'"x-extra":"valuf"')
    with pytest.raises(MetadataTampered):
        take(laid(solo, tmp_path / "c", [solo.state.roots[0], changed]), solo.enrolled())


# --- thresholds of the other roles


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets"])
@pytest.mark.parametrize(
    ("who", "refusal"),
    [
        (("b", 1, "b"), None),
        (("abcde", 3, "ace"), None),
        (("abcde", 3, "cde"), None),
        (("b", 1, "a"), WrongKey),
        (("abdef", 3, "ace"), TooFewSignatures),
        (("abdef", 3, "ae"), TooFewSignatures),
        (
            ("ab", 3, "ab"),
            BadRoot,
        ),  # a threshold that nobody can reach is refused with the root that states it
    ],
)
def test_every_role_is_counted_by_the_newest_root(
    role: str,
    who: tuple[str, int, str],
    refusal: type[Exception] | None,
    origin: Origin,
    tmp_path: Path,
) -> None:
    keys, need, by = who
    origin.export("alpha", [origin.release()])

    def appoint(signed: dict[str, Any]) -> None:
        signed["version"] = 2
        signed["keys"] |= {h.public_key.keyid: h.public_key.to_dict() for h in hands(keys)}
        signed["roles"][role] = {"keyids": [h.public_key.keyid for h in hands(keys)], "threshold": need}

    second = tampered(origin.state.roots[0], appoint, origin.people["root"])
    bundle = laid(origin, tmp_path / "b", [origin.state.roots[0], second])
    sign_anew(bundle, role, hands(by), origin)
    if refusal is None:
        assert 2 == take(bundle, origin.enrolled())[1].root_version
    else:
        with pytest.raises(refusal):
            take(bundle, origin.enrolled())


def sign_anew(bundle: Path, role: str, by: Iterable[CryptoSigner], origin: Origin) -> None:
    """Sign one document by these hands, and those above it by the station."""
    state = origin.state
    if role == "targets":
        role_bytes = tampered(state.metadata["targets"], lambda signed: signed.update(version=9), by)
        state = restack(origin, {"targets": role_bytes})
    metadata = dict(state.metadata)
    if role == "snapshot":
        metadata["snapshot"] = tampered(metadata["snapshot"], lambda signed: signed.update(version=9), by)
        station = origin.people["station"]
        metadata["timestamp"] = tampered(metadata["timestamp"], pointing(metadata["snapshot"]), station)
    if role == "timestamp":
        metadata["timestamp"] = tampered(metadata["timestamp"], lambda signed: signed.update(version=9), by)
    for name, data in metadata.items():
        number = "" if name == "timestamp" else f"{json.loads(data)['signed']['version']}."
        (bundle / f"trust/{number}{name}.json").write_bytes(data)


def pointing(snapshot: bytes) -> Callable[[dict[str, Any]], None]:
    """Make a timestamp stand for this snapshot."""
    meta = MetaFile.from_data(json.loads(snapshot)["signed"]["version"], snapshot, ["sha256"])

    def change(signed: dict[str, Any]) -> None:
        signed["version"] += 1
        signed["meta"]["snapshot.json"] = meta.to_dict()

    return change


def test_ten_ids_of_one_key_are_one_signature(origin: Origin, tmp_path: Path) -> None:
    origin.export("alpha")

    def repeat(signed: dict[str, Any]) -> None:
        signed["version"] = 2
        ids = [f"{n}" * 64 for n in range(1, 7)]
        signed["keys"] |= {one: HANDS["a"].public_key.to_dict() for one in ids}
        signed["roles"]["snapshot"] = {"keyids": ids, "threshold": 6}

    second = tampered(origin.state.roots[0], repeat, origin.people["root"])
    with pytest.raises(BadRoot, match="one and the same key"):
        take(laid(origin, tmp_path / "b", [origin.state.roots[0], second]), origin.enrolled())


# --- rollback, mix and match


def bundles(origin: Origin, folder: Path, count: int) -> list[Path]:
    return [origin.pack(folder / str(n), origin.export("alpha")) for n in range(1, count + 1)]


def test_an_older_timestamp_snapshot_or_targets_is_never_put_in_a_newer_ones_place(
    origin: Origin, tmp_path: Path
) -> None:
    first, second = bundles(origin, tmp_path, 2)
    memory, _ = take(second, origin.enrolled())
    third = origin.export("alpha")
    honest = origin.state
    for role in ("catalog", "targets", "site-alpha"):
        if role not in honest.metadata:
            continue
        [old] = sorted(first.glob(f"trust/*.{role}.json"))[:1]
        if old.read_bytes() == memory.metadata[role]:
            continue
        origin.state = honest
        origin.state = restack(origin, {role: old.read_bytes()})
        with pytest.raises((OlderBundle, BundleUntrusted)):
            verify(origin.pack(tmp_path / f"old-{role}", third), memory, audience="alpha", now=NOW)


def test_a_snapshot_below_the_remembered_one_is_refused_though_the_timestamp_is_new(
    origin: Origin, tmp_path: Path
) -> None:
    first, second = bundles(origin, tmp_path, 2)
    memory, _ = take(second, origin.enrolled())
    old = next(first.glob("trust/*.snapshot.json"))
    third = origin.pack(tmp_path / "third", origin.export("alpha"))
    newest = (third / "trust/timestamp.json").read_bytes()
    (third / "trust" / old.name).write_bytes(old.read_bytes())
    forged = tampered(newest, pointing(old.read_bytes()), origin.people["station"])
    (third / "trust/timestamp.json").write_bytes(forged)
    with pytest.raises(OlderBundle, match="snapshot"):
        take(third, memory)


def test_numbers_and_hashes_in_the_document_above_must_be_those_of_the_document_below(
    origin: Origin, tmp_path: Path
) -> None:
    [bundle] = bundles(origin, tmp_path, 1)
    station = origin.people["station"]
    snapshot = next(bundle.glob("trust/*.snapshot.json"))
    stamp = (bundle / "trust/timestamp.json").read_bytes()

    def bump(signed: dict[str, Any]) -> None:
        signed["version"] += 1

    newer = tampered(snapshot.read_bytes(), bump, station)
    number = json.loads(newer)["signed"]["version"]
    (bundle / f"trust/{number}.snapshot.json").write_bytes(newer)

    def named_only(signed: dict[str, Any]) -> None:
        signed["meta"]["snapshot.json"]["version"] = number

    for change in (
        named_only,
        lambda signed: signed["meta"]["snapshot.json"]["hashes"].update(sha256="0" * 64),
    ):
        (bundle / "trust/timestamp.json").write_bytes(tampered(stamp, change, station))
        with pytest.raises(MetadataTampered):
            take(bundle, origin.enrolled())


def test_another_timestamp_of_the_same_number_is_a_fork(origin: Origin, tmp_path: Path) -> None:
    """TUF keeps the one that it has and says nothing. Here two documents of one number are two histories."""
    [bundle] = bundles(origin, tmp_path, 1)
    memory, _ = take(bundle, origin.enrolled())
    twin = tampered(
        memory.metadata["timestamp"],
        lambda signed: signed.update(expires="2027-01-01T00:00:00Z"),
        origin.people["station"],
    )
    (bundle / "trust/timestamp.json").write_bytes(twin)
    unknown = Memory(root=memory.root, metadata=memory.metadata)
    with pytest.raises(ForkedBundle):
        verify(bundle, unknown, audience="alpha", now=NOW)


def test_numbers_that_ran_far_ahead_are_recovered_by_a_change_of_the_stations_key(
    origin: Origin, tmp_path: Path
) -> None:
    """A thief had signed number 99999. After the change of keys TUF counts anew; the exports' numbers go on."""
    ahead = tampered(
        origin.state.metadata["timestamp"],
        lambda signed: signed.update(version=99_999),
        origin.people["station"],
    )
    [bundle] = bundles(origin, tmp_path, 1)
    stolen = json.loads((bundle / "trust/timestamp.json").read_bytes())["signed"]["meta"]
    ahead = tampered(ahead, lambda signed: signed.update(meta=stolen), origin.people["station"])
    (bundle / "trust/timestamp.json").write_bytes(ahead)
    memory, _ = take(bundle, origin.enrolled())
    honest = origin.pack(tmp_path / "2", origin.export("alpha"))
    with pytest.raises(OlderBundle, match="timestamp"):
        take(honest, memory)
    origin.rotate("station")
    after, seen = take(origin.pack(tmp_path / "3", origin.export("alpha")), memory)
    assert (3, (2,)) == (after.sequence, seen.gap)
    assert Metadata[Timestamp].from_bytes(after.metadata["timestamp"]).signed.version < 99_999


# --- expiry


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets", "catalog", "site-alpha"])
def test_what_has_run_out_is_named(role: str, origin: Origin, tmp_path: Path) -> None:
    origin.export("alpha", [origin.release()])
    past = "2026-11-19T00:00:00Z"
    holder = origin.people["station" if role in ("timestamp", "snapshot") else role]

    def end(signed: dict[str, Any]) -> None:
        signed |= {"expires": past, "version": signed["version"] + 1}

    metadata = dict(origin.state.metadata)
    if role in ("targets", "catalog", "site-alpha"):
        metadata = dict(restack(origin, {role: tampered(metadata[role], end, holder)}).metadata)
    else:
        metadata[role] = tampered(metadata[role], end, holder)
        if role == "snapshot":
            metadata["timestamp"] = tampered(metadata["timestamp"], pointing(metadata["snapshot"]), holder)
    origin.state = type(origin.state)(origin.state.roots, metadata)
    with pytest.raises(ExpiredBundle, match=role):
        take(origin.pack(tmp_path / "b", "exports/alpha/1.json"), origin.enrolled())


def test_an_expired_root_in_the_middle_of_the_chain_is_walked_over(origin: Origin, tmp_path: Path) -> None:
    """Only the newest has to be of today: a site that slept for years catches up."""

    def end(signed: dict[str, Any]) -> None:
        signed |= {"expires": "2026-11-19T00:00:00Z", "version": 2}

    def go_on(signed: dict[str, Any]) -> None:
        signed |= {"expires": "2031-11-19T00:00:00Z", "version": 3}

    first = origin.state.roots[0]
    second = tampered(first, end, origin.people["root"])
    third = tampered(second, go_on, origin.people["root"])
    origin.export("alpha")
    with pytest.raises(ExpiredBundle, match="root"):
        take(laid(origin, tmp_path / "two", [first, second]), origin.enrolled())
    memory, _ = take(laid(origin, tmp_path / "three", [first, second, third]), origin.enrolled())
    assert third == memory.root


def test_remembered_metadata_that_ran_out_is_no_hindrance(origin: Origin, tmp_path: Path) -> None:
    (first,) = bundles(origin, tmp_path, 1)
    memory, _ = take(first, origin.enrolled())
    late = NOW + 100 * DAY
    second = origin.pack(tmp_path / "2", origin.export("alpha", now=late))
    memory, _ = take(second, memory, now=late)
    assert 2 == memory.sequence
    assert 2 < Metadata[Snapshot].from_bytes(memory.metadata["snapshot"]).signed.version


# --- names that need quoting


@pytest.mark.parametrize("name", ["../root", "a%2fb", "a/b", "ü", "?x", "#x", "%"])
def test_a_delegation_whose_name_leads_elsewhere_is_none(name: str, origin: Origin, tmp_path: Path) -> None:
    origin.export("alpha")

    def rename(signed: dict[str, Any]) -> None:
        signed["version"] += 1
        signed["delegations"]["roles"][0]["name"] = name

    forged = tampered(origin.state.metadata["targets"], rename, origin.people["targets"])
    origin.state = restack(origin, {"targets": forged})
    with pytest.raises(BundleUntrusted):
        take(origin.pack(tmp_path / "b", "exports/alpha/1.json"), origin.enrolled())


def test_roots_read_as_roots_only(solo: Origin, tmp_path: Path) -> None:
    """A document of another kind under a root's name, signed by the root's own keys."""
    other = tampered(
        solo.state.metadata["targets"], lambda signed: signed.update(version=2), solo.people["root"]
    )
    with pytest.raises(MetadataTampered):
        take(laid(solo, tmp_path / "b", [solo.state.roots[0], other]), solo.enrolled())
    assert 1 == Metadata[Root].from_bytes(solo.state.roots[0]).signed.version
