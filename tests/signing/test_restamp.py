"""A bundle that lay too long: a few hundred bytes from the origin revive it, and can do nothing else."""

import dataclasses
import itertools
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tuf.api.metadata import Metadata, Timestamp

from pipelines import paper
from pipelines.spoken import LETTERS
from signing.ceremony import Lifetimes, Profile
from signing.refusals import RestampRefused
from signing.restamp import Restamped, read_carried, restamp
from signing.trust import (
    ExpiredBundle,
    ForeignBundle,
    ForkedBundle,
    Memory,
    MetadataTampered,
    OlderBundle,
    Verified,
    WrongKey,
    remember,
    verify,
)
from tests.signing.relay_world import FAR, Chain
from tests.signing.trust_world import DAY, NOW, Origin, new_keys, take, tampered

LATE = NOW + 100 * DAY  # ten days after the bundle's own timestamp ran out
PEOPLE = "identities/people.json"


@pytest.fixture
def origin() -> Origin:
    return Origin.founded(Profile.SOLO)


@pytest.fixture
def bundle(origin: Origin, tmp_path: Path) -> Path:
    return ship(origin, tmp_path / "one", "qwen/coder")


def ship(origin: Origin, folder: Path, *releases: str) -> Path:
    return origin.pack(folder, origin.export("alpha", [origin.release(name) for name in releases]))


def revive(
    origin: Origin, bundle: Path, *, number: int = 1, days: int | None = None, late: int = 100
) -> Restamped:
    """Make a fresh timestamp, and let the origin go on from there."""
    made = restamp(
        origin.state,
        read_carried(bundle, "alpha"),
        f"exports/alpha/{number}.json",
        origin.people["station"],
        now=NOW + late * DAY,
        days=days,
    )
    origin.state = made.state
    return made


def accept(bundle: Path, memory: Memory, timestamp: bytes, *, late: int = 100) -> tuple[Memory, Verified]:
    found = verify(bundle, memory, audience="alpha", now=NOW + late * DAY, timestamp=timestamp)
    return remember(memory, found), found


def test_an_expired_bundle_is_revived_by_a_fresh_timestamp(origin: Origin, bundle: Path) -> None:
    with pytest.raises(ExpiredBundle, match="timestamp"):
        take(bundle, origin.enrolled(), now=LATE)
    made = revive(origin, bundle)
    memory, seen = accept(bundle, origin.enrolled(), made.timestamp)
    assert {"releases/qwen/coder/1.json"} == set(seen.releases)
    assert made.expires == seen.expires
    assert 1 == memory.sequence
    assert made.timestamp == memory.metadata["timestamp"]


def test_it_is_small_enough_for_a_code_or_a_sheet_of_paper(origin: Origin, bundle: Path) -> None:
    made = revive(origin, bundle)
    assert len(made.timestamp) <= 600
    assert len(paper.to_paper(made.timestamp)) <= 7


def test_after_it_everything_goes_on_as_before(origin: Origin, bundle: Path, tmp_path: Path) -> None:
    memory, _ = accept(bundle, origin.enrolled(), revive(origin, bundle).timestamp)
    second = origin.pack(tmp_path / "two", origin.export("alpha", now=LATE))
    memory, seen = take(second, memory, now=LATE)
    assert 2 == memory.sequence
    assert () == seen.gap


def test_a_bundle_that_newer_ones_followed_can_be_revived_for_a_site_that_has_none(
    origin: Origin, bundle: Path, tmp_path: Path
) -> None:
    """The number on paper is never given out twice: what the origin packs next stands above it."""
    second = ship(origin, tmp_path / "two", "meta/llama")
    made = revive(origin, bundle)
    memory, _ = accept(bundle, origin.enrolled(), made.timestamp)
    third = origin.pack(tmp_path / "three", origin.export("alpha", now=LATE))
    memory, seen = take(third, memory, now=LATE)
    assert (2,) == seen.gap
    memory, seen = take(second, memory, now=LATE)
    assert seen.late
    assert made.version < Metadata[Timestamp].from_bytes(memory.metadata["timestamp"]).signed.version


def test_days_are_counted_and_what_cannot_hold_is_said(origin: Origin, bundle: Path) -> None:
    assert LATE + 30 * DAY == revive(origin, bundle, days=30).expires
    assert NOW + 180 * DAY == revive(origin, bundle).expires, "the site's role ends before 90 days are over"
    with pytest.raises(RestampRefused, match=r"its site-alpha holds until 2027-05-19 .*--days 80,"):
        revive(origin, bundle, days=81)
    with pytest.raises(RestampRefused, match="site-alpha holds until 2027-05-19 only"):
        revive(origin, bundle, late=180)


def test_what_ran_out_beside_the_timestamp_is_not_revived(tmp_path: Path) -> None:
    origin = Origin.founded(Profile.SOLO, lifetimes=Lifetimes(targets=95 * DAY))
    bundle = ship(origin, tmp_path / "one", "qwen/coder")
    with pytest.raises(RestampRefused, match="its targets holds until"):
        revive(origin, bundle)


@pytest.mark.parametrize("role", ["root", "targets", "station"])
def test_keys_that_were_changed_since_are_never_kept_alive(role: str, tmp_path: Path) -> None:
    origin = Origin.founded(Profile.OFFICERS)
    bundle = ship(origin, tmp_path / "one", "qwen/coder")
    origin.rotate(role)
    with pytest.raises(RestampRefused, match="new root was signed"):
        revive(origin, bundle)


def test_a_list_of_people_that_was_changed_since_is_never_kept_alive(origin: Origin, tmp_path: Path) -> None:
    """Whoever left would come back to a site that sleeps."""
    origin.publish({PEOPLE: b'{"version":1}'})
    bundle = ship(origin, tmp_path / "one")
    origin.publish({PEOPLE: b'{"version":2}'})
    with pytest.raises(RestampRefused, match="people"):
        revive(origin, bundle)


def test_a_relay_cannot_speak_for_the_origin_behind_it(tmp_path: Path) -> None:
    """Its own signatures could go on; the first origin's word on the releases ends when it ends."""
    chain = Chain.founded(tmp_path)
    chain.to_hub("qwen/coder")
    packed = chain.relay("releases/qwen/coder/1.json", now=NOW + 30 * DAY)
    station = chain.hub.people["station"]
    carried = read_carried(packed, FAR)
    made = restamp(chain.hub.state, carried, f"exports/{FAR}/1.json", station, now=NOW + 80 * DAY, days=None)
    assert NOW + 90 * DAY == made.expires
    with pytest.raises(RestampRefused, match="its upstream timestamp holds until"):
        restamp(chain.hub.state, carried, f"exports/{FAR}/1.json", station, now=NOW + 90 * DAY, days=None)


class TestAttacks:
    """Whoever carries the paper has the bytes and every bundle; whoever stole the station's key has that too."""

    def test_another_bundles_timestamp_does_not_fit(
        self, origin: Origin, bundle: Path, tmp_path: Path
    ) -> None:
        second = ship(origin, tmp_path / "two", "meta/llama")
        fresh = revive(origin, second, number=2)
        with pytest.raises(RestampRefused, match="for another bundle"):
            accept(bundle, origin.enrolled(), fresh.timestamp)

    def test_an_old_one_is_older_once_anything_newer_came(
        self, origin: Origin, bundle: Path, tmp_path: Path
    ) -> None:
        old = revive(origin, bundle)
        second = origin.pack(tmp_path / "two", origin.export("alpha", now=LATE))
        memory, _ = take(bundle, origin.enrolled())
        memory, _ = take(second, memory, now=LATE)
        again = verify(bundle, memory, audience="alpha", now=LATE, timestamp=old.timestamp)
        after = remember(memory, again)
        assert again.already
        assert memory == after, "it was seen before, and lowers nothing"
        never = dataclasses.replace(memory, accepted={2: memory.accepted[2]})
        late = verify(bundle, never, audience="alpha", now=LATE, timestamp=old.timestamp)
        assert late.late, "what this site remembers vouches for it, not the old paper"
        assert memory.metadata["timestamp"] == late.new_metadata["timestamp"]
        with pytest.raises(OlderBundle):
            forgotten = dataclasses.replace(never, metadata={"timestamp": memory.metadata["timestamp"]})
            verify(bundle, forgotten, audience="alpha", now=LATE, timestamp=old.timestamp)

    def test_one_that_ran_out_itself_revives_nothing(self, origin: Origin, bundle: Path) -> None:
        fresh = revive(origin, bundle, days=7)
        with pytest.raises(ExpiredBundle):
            accept(bundle, origin.enrolled(), fresh.timestamp, late=108)

    def test_it_opens_no_bundle_for_another_site(self, origin: Origin, bundle: Path) -> None:
        fresh = revive(origin, bundle)
        with pytest.raises(ForeignBundle):
            verify(bundle, origin.enrolled(), audience="beta", now=LATE, timestamp=fresh.timestamp)

    def test_a_strangers_signature_is_the_wrong_key(self, origin: Origin, bundle: Path) -> None:
        fresh = tampered(revive(origin, bundle).timestamp, lambda _signed: None, new_keys(1))
        with pytest.raises(WrongKey):
            accept(bundle, origin.enrolled(), fresh)

    def test_the_station_key_alone_changes_nothing_but_the_time(
        self, origin: Origin, bundle: Path, tmp_path: Path
    ) -> None:
        """A thief of the station's key prolongs what the officers signed, never beyond their own signatures."""
        thief = origin.people["station"]
        forever = tampered(
            origin.state.metadata["timestamp"],
            lambda signed: signed.update(version=99, expires="2036-01-01T00:00:00Z"),
            thief,
        )
        with pytest.raises(ExpiredBundle, match="site-alpha"):
            accept(bundle, origin.enrolled(), forever, late=200)

    def test_the_retired_station_key_revives_nothing_at_a_site_that_knows(self, tmp_path: Path) -> None:
        origin = Origin.founded(Profile.OFFICERS)
        bundle = ship(origin, tmp_path / "one", "qwen/coder")
        retired = origin.people["station"]
        origin.rotate("station")
        second = origin.pack(tmp_path / "two", origin.export("alpha"))
        memory, _ = take(second, origin.enrolled())
        forged = tampered(
            (bundle / "trust/timestamp.json").read_bytes(),
            lambda signed: signed.update(version=50, expires="2027-04-01T00:00:00Z"),
            retired,
        )
        for wiped in (memory, dataclasses.replace(memory, metadata={})):
            # bundle 1 is taken in late if the remembered metadata vouches for it, never by the forged timestamp
            try:
                late = verify(bundle, wiped, audience="alpha", now=NOW + DAY, timestamp=forged)
            except WrongKey:
                continue
            assert late.late
            assert wiped.metadata["timestamp"] == late.new_metadata["timestamp"]

    def test_a_twin_of_the_number_that_is_remembered_is_a_fork(self, origin: Origin, bundle: Path) -> None:
        memory, _ = take(bundle, origin.enrolled())
        version = Metadata[Timestamp].from_bytes(memory.metadata["timestamp"]).signed.version
        twin = tampered(
            memory.metadata["timestamp"],
            lambda signed: signed.update(version=version, expires="2027-04-01T00:00:00Z"),
            origin.people["station"],
        )
        with pytest.raises(ForkedBundle):
            accept(bundle, memory, twin)

    @pytest.mark.parametrize(
        "data", [b"", b"{}", b"{", b"null", b'{"signed":1,"signatures":[]}', b"[" * 9000]
    )
    def test_anything_else_is_not_what_was_signed(self, data: bytes, origin: Origin, bundle: Path) -> None:
        with pytest.raises(MetadataTampered):
            accept(bundle, origin.enrolled(), data)

    def test_any_changed_byte_is_refused(self, origin: Origin, bundle: Path) -> None:
        fresh = revive(origin, bundle).timestamp
        for at in range(0, len(fresh), 7):
            changed = fresh[:at] + bytes((fresh[at] ^ 1,)) + fresh[at + 1 :]
            with pytest.raises((MetadataTampered, WrongKey, RestampRefused, OlderBundle, ExpiredBundle)):
                accept(bundle, origin.enrolled(), changed)


@pytest.fixture(scope="module")
def typed(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, bytes, tuple[str, ...]]:
    """A fresh timestamp, the bundle's own, and the lines."""
    origin = Origin.founded(Profile.SOLO)
    bundle = ship(origin, tmp_path_factory.mktemp("typed") / "one", "qwen/coder")
    fresh = revive(origin, bundle).timestamp
    return fresh, (bundle / "trust/timestamp.json").read_bytes(), paper.to_paper(fresh)


class TestPaper:
    def test_what_is_typed_is_what_was_signed(self, typed: tuple[bytes, bytes, Sequence[str]]) -> None:
        fresh, own, lines = typed
        assert fresh == paper.from_paper("\n".join(lines), own)

    def test_people_type_as_people_type(self, typed: tuple[bytes, bytes, Sequence[str]]) -> None:
        fresh, own, lines = typed
        careless = "\n\n".join(
            line.lower().replace("-", " ")[:3]
            + line[3:].lower().replace("0", "o").replace("1", "i").replace("-", " ")
            for line in lines
        )
        assert fresh == paper.timestamp_of(careless.encode(), own)

    def test_every_wrong_letter_is_found_in_its_line(self, typed: tuple[bytes, bytes, Sequence[str]]) -> None:
        _, own, lines = typed
        for number, line in enumerate(lines):
            for at in (place for place in range(4, len(line)) if line[place] in LETTERS):
                other = LETTERS[(LETTERS.index(line[at]) + 1 + at) % 32]
                if other == line[at]:
                    continue
                wrong = [*lines[:number], line[:at] + other + line[at + 1 :], *lines[number + 1 :]]
                with pytest.raises(RestampRefused, match=f"line {number + 1} is mistyped"):
                    paper.from_paper("\n".join(wrong), own)

    def test_neighbours_that_changed_places_are_found(
        self, typed: tuple[bytes, bytes, Sequence[str]]
    ) -> None:
        _, own, lines = typed
        for number, line in enumerate(lines):
            places = [at for at in range(4, len(line)) if line[at] in LETTERS]
            for one, two in itertools.pairwise(places):
                if line[one] == line[two]:
                    continue
                letters = list(line)
                letters[one], letters[two] = letters[two], letters[one]
                wrong = [*lines[:number], "".join(letters), *lines[number + 1 :]]
                with pytest.raises(RestampRefused, match=f"line {number + 1} is mistyped"):
                    paper.from_paper("\n".join(wrong), own)

    def test_lines_that_are_missing_or_out_of_order_are_named(
        self, typed: tuple[bytes, bytes, Sequence[str]]
    ) -> None:
        _, own, lines = typed
        for text, complaint in (
            ([*lines[:2], *lines[3:]], "line 3 is missing"),
            ([lines[1], lines[0], *lines[2:]], "line 1 is missing"),
            (lines[:-1], rf"{len(lines) - 1} lines were given; it has {len(lines)}"),
            ([*lines, lines[0]], f"line {len(lines) + 1} is missing"),
            ([], "not the lines"),
            (["hello"], "line 1 is missing"),
        ):
            with pytest.raises(RestampRefused, match=complaint):
                paper.from_paper("\n".join(text), own)

    def test_lines_for_another_bundle_say_so(
        self, typed: tuple[bytes, bytes, Sequence[str]], origin: Origin, bundle: Path
    ) -> None:
        _, _, lines = typed
        with pytest.raises(RestampRefused, match="another bundle"):
            paper.from_paper("\n".join(lines), (bundle / "trust/timestamp.json").read_bytes())

    def test_a_damaged_timestamp_on_the_medium_is_named(
        self, typed: tuple[bytes, bytes, Sequence[str]]
    ) -> None:
        with pytest.raises(RestampRefused, match="that is damaged"):
            paper.from_paper("\n".join(typed[2]), b"{}")

    def test_a_signature_that_is_too_long_goes_as_a_file(self, origin: Origin) -> None:
        data = tampered(origin.state.metadata["timestamp"], lambda _signed: None, new_keys(2))
        with pytest.raises(RestampRefused, match="carry it as a file"):
            paper.to_paper(data)

    @given(st.binary(max_size=400))
    def test_any_bytes_meet_our_refusal_only(self, data: bytes) -> None:
        with pytest.raises(RestampRefused):
            paper.timestamp_of(b" " + data.replace(b"{", b""), b"{}")

    @settings(max_examples=60)
    @given(
        version=st.integers(1, 2**32 - 1),
        seconds=st.integers(0, 253_402_300_799),
        signature=st.binary(min_size=64, max_size=paper.MOST_SIGNATURE),
    )
    def test_any_number_and_moment_come_back(self, version: int, seconds: int, signature: bytes) -> None:
        value = json.loads(TEMPLATE)
        moment = datetime.fromtimestamp(seconds, UTC)
        if moment.year < 1000:
            return
        value["signed"] |= {"version": version, "expires": moment.strftime("%Y-%m-%dT%H:%M:%SZ")}
        value["signatures"][0]["sig"] = signature.hex()
        data = json.dumps(value, separators=(",", ":"), sort_keys=True).encode()
        assert data == paper.from_paper("\n".join(paper.to_paper(data)), TEMPLATE)


TEMPLATE = (
    b'{"signatures":[{"keyid":"%s","sig":"%s"}],"signed":{"_type":"timestamp","expires":"2026-11-20T08:00:00Z",'
    b'"meta":{"snapshot.json":{"hashes":{"sha256":"%s"},"length":10,"version":3}},"spec_version":"1.0.31",'
    b'"version":3}}' % (b"a" * 64, b"b" * 128, b"c" * 64)
)
