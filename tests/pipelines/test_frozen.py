"""Bundles of past releases are taken in for ever, whole or with what parity brings back."""

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from pipelines import enrol
from pipelines.receive import import_bundle
from registry.home import Home
from signing.times import from_rfc3339
from tests import second_reader, world
from tests.make_frozen import FROZEN, tree_digest

# Never changed; a release that adds a folder adds its line.
DIGESTS = {"0.1.0": "3944bd5a479345dfe8e883dba5171fea201d1bdb7ea67847ce60daab3f0b2c0f"}

every_release = pytest.mark.parametrize("release", sorted(DIGESTS))


@dataclass(frozen=True)
class Frozen:
    """One release's bundles and a fresh site that is enrolled with their origin."""

    folder: Path
    expected: dict[str, Any]
    site: Home
    clock: datetime

    @property
    def bundles(self) -> list[Path]:
        """In the order of their numbers."""
        return sorted(path for path in self.folder.iterdir() if path.is_dir())

    def receive(self, *folders: Path) -> int:
        """Import what lies there; returns how many chunks parity brought back."""
        with world.at_work(self.site, actor="ines", now=self.clock) as work:
            return import_bundle(work, folders).rebuilt

    def held(self) -> dict[str, object]:
        """What the site has, as `expected.json` says it."""
        with world.at_work(self.site, actor="ines", now=self.clock) as work, work.store.view() as view:
            versions = {f"{row.model}@{row.ordinal}": row.digest for row in view.versions()}
            blobs = sorted(work.blobs.held())
            assert all(
                hashlib.sha256(work.blobs.path(blob).read_bytes()).hexdigest() == blob for blob in blobs
            )
        return {"versions": versions, "blobs": blobs}


def thawed(release: str, base: Path) -> Frozen:
    folder = FROZEN / release
    expected = json.loads((folder / "expected.json").read_text())
    clock = from_rfc3339(expected["clock"])
    site = world.new_home(base / "site", name=expected["site"], roles=("site",), now=clock)
    with world.at_work(site, actor="ines", now=clock) as work:
        enrol.enrol(work, (folder / "root.json").read_bytes(), expected["fingerprint"])
    return Frozen(folder, expected, site, clock)


def test_every_release_is_known() -> None:
    assert set(DIGESTS) == {path.name for path in FROZEN.iterdir() if path.is_dir()}


@every_release
def test_nobody_edits_what_is_frozen(release: str) -> None:
    assert DIGESTS[release] == tree_digest(FROZEN / release)


@every_release
def test_all_of_it_is_taken_in(release: str, tmp_path: Path) -> None:
    site = thawed(release, tmp_path)
    for bundle in site.bundles:
        assert 0 == site.receive(bundle)
    assert site.held() == {name: site.expected[name] for name in ("versions", "blobs")}


@every_release
def test_a_lost_volume_is_brought_back(release: str, tmp_path: Path) -> None:
    site = thawed(release, tmp_path)
    for bundle in site.bundles:
        volumes = sorted(bundle.glob("volume-*"))
        rebuilt = site.receive(*(volumes[1:] or [bundle]))
        assert (rebuilt > 0) == bool(volumes)
    assert site.held() == {name: site.expected[name] for name in ("versions", "blobs")}


@every_release
def test_the_second_reader_takes_it_too(release: str, tmp_path: Path) -> None:
    site = thawed(release, tmp_path)
    expected = site.expected
    known = ["--root-fingerprint", expected["fingerprint"], "--site", expected["site"]]
    known += ["--now", expected["clock"], "--held", str(site.site.path / "store")]
    with second_reader.loaded() as modules:
        for bundle in site.bundles:
            given = ["bundle", str(bundle), *known, "--reader", str(second_reader.READER)]
            assert 0 == modules["verify"].main(given), bundle
            site.receive(bundle)
