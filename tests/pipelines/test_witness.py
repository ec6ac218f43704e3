"""Two homes watch each other's logs: what an administrator with the station key cannot do unseen any more."""

import json
import shutil
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from pipelines import receipts, witness
from pipelines.receipts import Acknowledged
from pipelines.witness import LogForked, LogRolledBack, Outcome
from registry.audit import EventKind
from registry.entities import CosignedHead, WitnessedHead
from registry.errors import NotFound
from registry.home import Home
from signing import checkpoint, cosignature
from tests.pipelines.gap import World, make_world, model_files
from tidegate import keyring, verifying


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> World:
    made = make_world(tmp_path_factory.mktemp("witness") / "world")
    for seed in (1, 2, 3):
        made.add("acme/tiny", model_files(seed))
    return made


@pytest.fixture
def gap(made: World, tmp_path: Path) -> World:
    return made.copied(tmp_path / "world")


def cross(gap: World, ref: str, out: str) -> Acknowledged:
    """A bundle goes to the site, and its receipt comes home."""
    done = gap.receive(gap.ship(ref, out=out), receipt_to=gap.base / f"{out}.json")
    assert done.receipt is not None
    return gap.acknowledge(done.receipt)


def witnessed(gap: World, home: Home) -> list[WitnessedHead]:
    with gap.at(home) as work, work.store.view() as view:
        return view.witnessed()


def cosigned(gap: World, home: Home) -> list[CosignedHead]:
    with gap.at(home) as work, work.store.view() as view:
        return view.cosigned()


def outcomes(gap: World, home: Home) -> list[str]:
    return [row.outcome for row in witnessed(gap, home)]


def something_happens(gap: World, home: Home, times: int = 1) -> None:
    with gap.at(home) as work, work.store.change(actor="ines", now=work.now) as change:
        for _ in range(times):
            change.record(EventKind.SCANNED, "7" * 64)


class Backup:
    """A copy of a home's database, as an administrator may keep one and put it back."""

    def __init__(self, gap: World, home: Home) -> None:
        self.database = Path(home.database.removeprefix("sqlite:///"))
        with gap.at(home):
            pass
        self.copy = gap.base / "backup.db"
        shutil.copy(self.database, self.copy)

    def restore(self) -> None:
        for stale in self.database.parent.glob(f"{self.database.name}-*"):
            stale.unlink()
        shutil.copy(self.copy, self.database)


def test_each_home_cosigns_the_others_log_as_media_travel(gap: World) -> None:
    for number in (1, 2, 3):
        cross(gap, f"acme/tiny@{number}", out=f"m{number}")
    assert ["FIRST", "CONSISTENT", "CONSISTENT"] == outcomes(gap, gap.site)
    assert ["FIRST", "CONSISTENT", "CONSISTENT"] == outcomes(gap, gap.origin)
    assert ["lab", "lab", "lab"] == [row.witness for row in cosigned(gap, gap.origin)]
    assert 2 == len(cosigned(gap, gap.site))  # the third travels with the next bundle
    for home, other in ((gap.origin, gap.site), (gap.site, gap.origin)):
        for row in cosigned(gap, home):
            key = keyring.station_signer(other).public_key
            witness_key = cosignature.cosigner_key(
                keyring.log_name(other), witness.Other(other.name, key).public
            )
            assert cosignature.verify(row.note, witness_key) > 0
            assert row.size == checkpoint.verify(row.note, keyring.log_verifier_key(home)).size
        with gap.at(home) as work:
            assert [] == verifying.verify(work.store, home)


def test_taking_the_same_in_again_records_nothing(gap: World) -> None:
    medium = gap.ship("acme/tiny@1", out="m1")
    done = gap.receive(medium, receipt_to=gap.base / "r.json")
    before = len(witnessed(gap, gap.site))
    gap.receive(medium)
    assert done.receipt is not None
    gap.acknowledge(done.receipt)
    gap.acknowledge(done.receipt)
    assert (before, 1) == (len(witnessed(gap, gap.site)), len(witnessed(gap, gap.origin)))


def test_an_origin_that_rewrote_its_log_is_found_and_nothing_is_held_back(gap: World) -> None:
    """A whole new history with good signatures: the database of before, and other events from there on."""
    backup = Backup(gap, gap.origin)
    cross(gap, "acme/tiny@1", out="m1")
    backup.restore()
    something_happens(gap, gap.origin, 30)
    done = gap.receive(gap.ship("acme/tiny@2", out="m2"))
    assert "acme/tiny" in {item.model for item in done.versions}
    assert done.witnessed is not None
    assert Outcome.FORK is done.witnessed.outcome
    with pytest.raises(LogForked) as refusal:
        done.witnessed.demand_whole()
    assert f"tidegate/{gap.origin.name}: its first" in str(refusal.value)
    assert ["FIRST", "FORK"] == outcomes(gap, gap.site)
    assert witnessed(gap, gap.site)[-1].cosignature is None


def test_a_site_whose_log_lost_its_end_is_found_by_its_receipt(gap: World) -> None:
    cross(gap, "acme/tiny@1", out="m1")
    backup = Backup(gap, gap.site)
    something_happens(gap, gap.site, 40)
    cross(gap, "acme/tiny@2", out="m2")
    backup.restore()
    again = cross(gap, "acme/tiny@3", out="m3")
    assert again.witnessed is not None
    assert Outcome.ROLLED_BACK is again.witnessed.outcome
    with pytest.raises(LogRolledBack):
        again.witnessed.demand_whole()
    assert again.newest  # what it holds is believed: its station signed it


def test_a_site_that_cut_off_events_and_wrote_others_forked(gap: World) -> None:
    cross(gap, "acme/tiny@1", out="m1")
    backup = Backup(gap, gap.site)
    cross(gap, "acme/tiny@2", out="m2")
    backup.restore()
    something_happens(gap, gap.site, 60)
    again = cross(gap, "acme/tiny@3", out="m3")
    assert again.witnessed is not None
    assert Outcome.FORK is again.witnessed.outcome


def test_a_person_may_go_on_from_a_restored_log_and_that_stays_on_record(gap: World) -> None:
    cross(gap, "acme/tiny@1", out="m1")
    backup = Backup(gap, gap.site)
    cross(gap, "acme/tiny@2", out="m2")
    backup.restore()
    cross(gap, "acme/tiny@3", out="m3")
    with gap.at(gap.origin) as work:
        witness.accept(work, "lab", reason="the disk died, backup of Friday")
    something_happens(gap, gap.site)
    assert cross(gap, "acme/tiny@1", out="m4").witnessed is not None
    assert "ACCEPTED" == outcomes(gap, gap.origin)[-2]
    assert "CONSISTENT" == outcomes(gap, gap.origin)[-1]
    with gap.at(gap.origin) as work:
        assert [] == verifying.verify(work.store, gap.origin)


def test_there_is_nothing_to_accept_of_a_log_that_only_grew(gap: World) -> None:
    cross(gap, "acme/tiny@1", out="m1")
    with gap.at(gap.origin) as work:
        for name in ("lab", "nowhere"):
            with pytest.raises(NotFound):
                witness.accept(work, name, reason="why not")


def test_two_receipts_before_the_next_bundle_are_both_proved(gap: World) -> None:
    """The second receipt proves from what the origin last named and from what the first one told."""
    done = gap.receive(gap.ship("acme/tiny@1", out="m1"), receipt_to=gap.base / "1.json")
    again = gap.receive(gap.ship("acme/tiny@2", out="m2"), receipt_to=gap.base / "2.json")
    assert done.receipt is not None
    assert again.receipt is not None
    gap.acknowledge(done.receipt)
    gap.acknowledge(again.receipt)
    assert ["FIRST", "CONSISTENT"] == outcomes(gap, gap.origin)


def test_an_older_receipt_that_comes_late_is_no_rollback(gap: World) -> None:
    first = gap.receive(gap.ship("acme/tiny@1", out="m1"), receipt_to=gap.base / "1.json").receipt
    second = gap.receive(gap.ship("acme/tiny@2", out="m2"), receipt_to=gap.base / "2.json").receipt
    assert first is not None
    assert second is not None
    gap.acknowledge(second)
    assert gap.acknowledge(first).witnessed is None
    assert ["FIRST"] == outcomes(gap, gap.origin)


def test_a_cosigned_head_convicts_the_home_that_rewrites_its_log(gap: World) -> None:
    """Nobody has to have kept anything by hand: the cosignature that came back is a kept head."""
    cross(gap, "acme/tiny@1", out="m1")
    cross(gap, "acme/tiny@2", out="m2")
    with gap.at(gap.site) as work:
        row = cosigned(gap, gap.site)[-1]
        database = Path(gap.site.database.removeprefix("sqlite:///"))
        assert row.size > 3
        with sqlite3.connect(database) as link:
            link.execute("DELETE FROM event WHERE position >= ?", (row.size - 1,))
            link.execute("DELETE FROM checkpoint WHERE size >= ?", (row.size,))
        problems = verifying.verify(work.store, gap.site)
    assert any("cosigned" in line and "the last ones are gone" in line for line in problems)


def test_older_homes_say_nothing_of_their_logs_and_are_read(gap: World) -> None:
    done = gap.receive(gap.ship("acme/tiny@1", out="m1"), receipt_to=gap.base / "1.json")
    assert done.receipt is not None
    with gap.at(gap.site) as work:
        told, _ = receipts.read(done.receipt.read_bytes())
        plain = receipts.write(replace(told, heads=None), work)
    assert "heads" not in json.loads(plain)["payload"]["log"]
    assert receipts.read(plain)[0].heads is None
