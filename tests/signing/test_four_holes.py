"""The four things that TUF leaves open to a sneakernet, attacked in every state that a site can be in.

Hole: an old export again, a clock set back, another site's bundle, a root that one person can fulfil. State: all is
remembered; the TUF cache was wiped; the origin changed its station's key, so that TUF forgets its numbers; both. The
thief has every old bundle and the station's newest key. What the site's log holds (numbers, digests, highest signed
time, the newest root) is never wiped here: whoever rewrites that is found by the audit log.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tuf.api.metadata import Metadata, Root

from signing.ceremony import Profile
from signing.digests import sha256_hex
from signing.trust import (
    BadRoot,
    BundleUntrusted,
    ClockBehind,
    ForeignBundle,
    ForkedBundle,
    Memory,
    MetadataTampered,
    OlderBundle,
    remember,
    verify,
)
from tests.signing.test_trust_late import lowered, rolled_back
from tests.signing.trust_world import DAY, NOW, Origin, restack, root_of, take, tampered

STATES = ("all remembered", "cache wiped", "station key changed", "cache wiped, station key changed")
TODAY = NOW + 30 * DAY


@dataclass
class Siege:
    """A site that has taken in three bundles, an origin, and what a thief makes of them."""

    origin: Origin
    memory: Memory
    bundles: list[Path]
    base: Path

    def fresh(self, site: str = "alpha") -> Path:
        """The next honest bundle, for the thief to change."""
        export = self.origin.export(site, now=TODAY)
        return self.origin.pack(self.base / f"fresh-{site}", export)

    def holds_against(
        self, bundle: Path, *refusals: type[Exception], days: int = 30, site: str = "alpha"
    ) -> None:
        with pytest.raises(refusals):
            verify(bundle, self.memory, audience=site, now=NOW + days * DAY)


@pytest.fixture(params=STATES)
def siege(request: pytest.FixtureRequest, tmp_path: Path) -> Siege:
    origin, memory, bundles = Origin.founded(Profile.OFFICERS), None, []
    for number, name in enumerate(("qwen/coder", "meta/llama", "acme/tiny"), start=1):
        if number == 3 and "station key changed" in request.param:
            origin.rotate("station")
        moment = NOW + 10 * (number - 1) * DAY
        export = origin.export("alpha", [origin.release(name)], now=moment)
        bundles.append(origin.pack(tmp_path / str(number), export))
        memory, _ = take(bundles[-1], memory or origin.enrolled(), now=moment)
    assert memory is not None
    if "cache wiped" in request.param:
        memory = replace(memory, metadata={})
    return Siege(origin, memory, bundles, tmp_path)


class TestAnOldExportAgain:
    def test_as_it_was_it_is_recognised_and_lowers_nothing(self, siege: Siege) -> None:
        for bundle in siege.bundles[:2]:
            after, seen = take(bundle, siege.memory, now=TODAY)
            assert seen.already
            assert [] == lowered(siege.memory, after)

    def test_under_numbers_that_start_anew_it_lowers_nothing(self, siege: Siege) -> None:
        replay = rolled_back(siege.origin, siege.bundles[0], siege.base / "replay")
        after, seen = take(replay, siege.memory, now=TODAY)
        assert seen.already, "by its digest: not a byte of it is taken in again"
        assert [] == lowered(siege.memory, after)
        assert (3, siege.memory.export_sha256) == (after.sequence, after.export_sha256)

    def test_one_that_never_came_is_not_taken_in_below_the_highest(self, siege: Siege) -> None:
        """A courier kept number 2 back. Only what this site remembers may vouch for it, and a thief has nothing."""
        accepted = {n: digest for n, digest in siege.memory.accepted.items() if n != 2}
        siege.memory = replace(siege.memory, accepted=accepted)
        replay = rolled_back(siege.origin, siege.bundles[1], siege.base / "replay")
        if siege.memory.metadata:
            late = verify(replay, siege.memory, audience="alpha", now=TODAY)
            assert late.late
            assert siege.memory.metadata["timestamp"] == late.new_metadata["timestamp"]
        else:
            siege.holds_against(replay, OlderBundle)

    def test_a_number_that_is_given_out_twice_is_a_fork(self, siege: Siege) -> None:
        """The officers themselves sign a second number 3, or an origin that came back from a backup."""
        siege.holds_against(_second(siege, "exports/alpha/3.json"), ForkedBundle)


def _second(siege: Siege, path: str) -> Path:
    """Another export under a number that is taken, signed by everybody who has to sign."""
    origin = siege.origin
    document = json.loads(origin.documents[path]) | {"issued_at": "2026-12-11T00:00:00Z"}
    data = json.dumps(document).encode()

    def exchange(signed: dict[str, Any]) -> None:
        signed["version"] += 1
        signed["targets"][path] = {"hashes": {"sha256": sha256_hex(data)}, "length": len(data)}

    role = tampered(origin.state.metadata["site-alpha"], exchange, origin.people["site-alpha"])
    origin.state = restack(origin, {"site-alpha": role})
    origin.documents[path] = data
    return origin.pack(siege.base / "second", path)


class TestAClockSetBack:
    @pytest.mark.parametrize("which", [0, 2])
    def test_an_expired_bundle_does_not_come_alive(self, which: int, siege: Siege) -> None:
        siege.holds_against(siege.bundles[which], ClockBehind, days=10)

    def test_nor_does_the_thief_of_the_station_key_set_it_back(self, siege: Siege) -> None:
        replay = rolled_back(siege.origin, siege.bundles[0], siege.base / "replay")
        siege.holds_against(replay, ClockBehind, days=10)

    def test_an_export_of_the_future_moves_no_floor(self, siege: Siege) -> None:
        bundle = siege.origin.pack(
            siege.base / "future", siege.origin.export("alpha", now=TODAY + timedelta(hours=1))
        )
        siege.holds_against(bundle, ClockBehind)


class TestAnotherSitesBundle:
    def test_it_is_foreign(self, siege: Siege) -> None:
        siege.holds_against(siege.fresh("beta"), ForeignBundle)

    def test_renamed_it_is_not_what_was_signed(self, siege: Siege) -> None:
        bundle = siege.fresh("beta")
        (bundle / "exports/alpha").mkdir()
        (bundle / "exports/beta/1.json").rename(bundle / "exports/alpha/4.json")
        with pytest.raises(BundleUntrusted):
            verify(bundle, siege.memory, audience="alpha", now=TODAY)

    def test_addressed_anew_it_is_not_what_was_signed(self, siege: Siege) -> None:
        bundle = siege.fresh()
        place = bundle / "exports/alpha/4.json"
        place.write_bytes(place.read_bytes().replace(b'"audience": "alpha"', b'"audience": "betaa"'))
        siege.holds_against(bundle, MetadataTampered, ForeignBundle)
        siege.holds_against(siege.fresh(), ForeignBundle, site="beta")


class TestARootThatOnePersonCanFulfil:
    @pytest.mark.parametrize(
        "change",
        [
            lambda signed: signed["roles"]["targets"].update(threshold=1),
            lambda signed: signed.update({"x-tidegate-profile": "solo"}),
            lambda signed: signed["roles"].update(targets=dict(signed["roles"]["root"])),
        ],
        ids=["one signature", "solo", "one key, two roles"],
    )
    def test_the_quorum_signed_it_and_it_is_refused(
        self, change: Callable[[dict[str, Any]], None], siege: Siege
    ) -> None:
        bundle, newest = siege.fresh(), siege.origin.state.roots[-1]

        def weaken(signed: dict[str, Any]) -> None:
            signed["version"] += 1
            change(signed)

        forged = tampered(newest, weaken, siege.origin.people["root"])
        number = root_of(newest).version + 1
        (bundle / f"trust/{number}.root.json").write_bytes(forged)
        siege.holds_against(bundle, BadRoot)

    def test_one_key_under_two_ids(self, siege: Siege) -> None:
        bundle, newest = siege.fresh(), siege.origin.state.roots[-1]
        number, keyid = root_of(newest).version + 1, root_of(newest).roles["root"].keyids[0]

        def duplicate(signed: dict[str, Any]) -> None:
            signed["version"] = number
            signed["keys"]["f" * 64] = dict(signed["keys"][keyid])
            signed["roles"]["root"]["keyids"].append("f" * 64)

        forged = tampered(newest, duplicate, siege.origin.people["root"])
        assert Metadata[Root].from_bytes(forged).signed.version == number
        (bundle / f"trust/{number}.root.json").write_bytes(forged)
        siege.holds_against(bundle, BadRoot)


def test_after_every_attack_the_next_honest_bundle_is_taken_in(siege: Siege) -> None:
    """What was refused left nothing behind, and what was recognised neither."""
    replay = rolled_back(siege.origin, siege.bundles[0], siege.base / "replay")
    memory = remember(siege.memory, verify(replay, siege.memory, audience="alpha", now=TODAY))
    siege.holds_against(siege.bundles[2], ClockBehind, days=1)
    memory, seen = take(siege.fresh(), memory, now=TODAY)
    assert (4, ()) == (memory.sequence, seen.gap)
