"""`trust restamp` at the origin: whose bundle, from what was kept, and drawn as a code."""

import sys
from pathlib import Path

import pytest

from pipelines import enrol
from pipelines.bundle.errors import NotOurBundle
from pipelines.bundle.office import office
from pipelines.paper import timestamp_of
from pipelines.restamp import MOST_QR, Revived, qr_svg, restamp_bundle
from pipelines.ship import create_bundle
from signing.keys import public_key_json
from signing.refusals import MetadataTampered, RestampRefused
from signing.repository import TrustRepository
from tests import world
from tests.pipelines.gap import NOON, SITE, World, make_world
from tidegate import founding, keyring


@pytest.fixture
def gap(tmp_path: Path) -> World:
    return make_world(tmp_path / "world")


def revive(gap: World, named: str, site: str | None = None) -> Revived:
    with gap.at(gap.origin) as work:
        return restamp_bundle(work, named, site=site)


def test_a_name_that_two_sites_have_is_asked_for(gap: World) -> None:
    gap.ship()
    other = world.new_home(gap.base / "ward", name="ward", roles=("site",), now=NOON)
    with gap.at(gap.origin) as work:
        identity = public_key_json(keyring.station_signer(other))
        enrol.add_site(
            work,
            "ward",
            identity,
            publish=lambda: founding.add_site(gap.origin, "ward", signers=gap.officer, now=gap.now),
        )
        create_bundle(work, site="ward", refs=[], out=gap.base / "w", signers=gap.officer)
    [name] = {made.bundle for made in gap.shipped}
    with pytest.raises(RestampRefused, match="--site \\(lab, ward\\)"):
        revive(gap, name)
    assert ("lab", "ward") == (revive(gap, name, SITE).site, revive(gap, name, "ward").site)


def test_every_restamp_uses_up_a_number_and_the_next_bundle_stands_above(gap: World) -> None:
    gap.ship(out="one")
    name = gap.shipped[0].bundle
    numbers = [revive(gap, name).version, revive(gap, name).version]
    gap.ship(out="two")
    numbers += [revive(gap, name).version, revive(gap, name).version]
    assert sorted(set(numbers)) == numbers
    stamp = TrustRepository(gap.origin.trust).load().opened("timestamp").signed
    assert numbers[-1] < stamp.version
    gap.receive(gap.base / "one", timestamp=revive(gap, name).timestamp)
    gap.receive(gap.ship(out="three"))


def test_what_was_kept_and_is_damaged_makes_none(gap: World) -> None:
    gap.ship()
    name = gap.shipped[0].bundle
    kept = office(gap.origin, SITE, name) / "trust/timestamp.json"
    kept.write_bytes(kept.read_bytes().replace(b'"version":', b'"version": ', 1))
    with pytest.raises(MetadataTampered):
        revive(gap, name)


def test_a_folder_of_another_origins_bundle_is_none_of_ours(gap: World, tmp_path: Path) -> None:
    stranger = make_world(tmp_path / "stranger")
    medium = stranger.ship()
    with pytest.raises(NotOurBundle):
        revive(gap, str(medium))


def test_a_code_is_drawn_and_what_is_too_long_goes_as_a_file(
    gap: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    gap.ship()
    stamp = revive(gap, gap.shipped[0].bundle).timestamp
    drawn = qr_svg(stamp)
    assert drawn.startswith(b"<svg xmlns=")
    assert drawn == qr_svg(stamp)
    with pytest.raises(RestampRefused, match="carry it as a file"):
        qr_svg(b"x" * (MOST_QR + 1))
    monkeypatch.setitem(sys.modules, "segno", None)
    with pytest.raises(RestampRefused, match="takes the package segno"):
        qr_svg(stamp)


@pytest.mark.parametrize("given", [b"\n\n", b"hello", b"\xff\xfe", b"1 \xc3\xa9", b"x" * (17 << 10)])
def test_what_is_no_timestamp_is_none(given: bytes) -> None:
    with pytest.raises(RestampRefused):
        timestamp_of(given, b"{}")
