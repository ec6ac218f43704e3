"""A receipt counts only when the site that it names has signed it, and only for a bundle that was made here."""

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from pipelines import answer, receipts
from pipelines.baseline import Assuming, AssumptionRefused, Baseline, assume_received, baseline
from pipelines.bundle import history
from pipelines.bundle.errors import (
    BaseMissing,
    MediumUnreadable,
    OutputUnusable,
    ReceiptForeign,
    ReceiptOnMedium,
    ReceiptWrong,
)
from pipelines.receipts import ReceiptInventoryDiffers
from registry.audit import EventKind
from registry.entities import Export
from registry.errors import NotFound
from signing.canonical import pretty_bytes
from tests.pipelines.gap import NOON, World, make_world, model_files, tree_of, weights
from tests.world import at_work, new_home


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> World:
    made = make_world(tmp_path_factory.mktemp("receipts") / "world")
    made.add("acme/tiny", model_files())
    made.add("acme/tiny", {**model_files(), "model.safetensors": weights(2, 9000)})
    return made


@pytest.fixture
def gap(made: World, tmp_path: Path) -> World:
    return made.copied(tmp_path / "world")


@pytest.fixture
def receipt(gap: World, tmp_path: Path) -> Path:
    done = gap.receive(gap.ship("acme/tiny@1", out="first"), receipt_to=tmp_path)
    assert done.receipt is not None
    return done.receipt


def test_a_receipt_says_what_the_site_holds(gap: World, receipt: Path) -> None:
    done = gap.acknowledge(receipt)
    assert (False, True) == (done.already, done.newest)
    assert frozenset(gap.site.blobs.held()) == done.receipt.holds
    assert gap.shipped[0].digest == done.receipt.export
    assert [("acme/tiny", 1, "imported", "PASSED")] == [
        (item.model, item.ordinal, item.outcome, item.scan) for item in done.receipt.items
    ]
    assert done.receipt.log_size > 0


def test_taking_it_in_again_changes_nothing(gap: World, receipt: Path) -> None:
    gap.acknowledge(receipt)
    assert gap.acknowledge(receipt).already
    with gap.at(gap.origin) as work, work.store.view() as view:
        assert 1 == len(view.receipts("lab"))


def test_the_next_bundle_builds_on_the_newest_receipt_whatever_comes_in_last(
    gap: World, tmp_path: Path
) -> None:
    first = gap.receive(gap.ship("acme/tiny@1", out="first"), receipt_to=tmp_path / "1.json").receipt
    second = gap.receive(gap.ship("acme/tiny@2", out="second"), receipt_to=tmp_path / "2.json").receipt
    assert first is not None
    assert second is not None
    assert gap.acknowledge(second).newest
    assert not gap.acknowledge(first).newest
    gap.ship("acme/tiny@2", out="third")
    assert (0, True) == (gap.shipped[-1].carried, gap.shipped[-1].left_out > 9000)


def test_what_is_only_sent_is_not_left_out(gap: World) -> None:
    gap.ship("acme/tiny@1", out="first")
    gap.ship("acme/tiny@1", out="second")
    assert 0 == gap.shipped[-1].left_out


def test_a_newer_receipt_that_names_less_counts(gap: World, receipt: Path, tmp_path: Path) -> None:
    """The site has cleaned up: what it gave away is sent again."""
    gap.acknowledge(receipt)
    lost = gap.site.blobs.path(max(gap.site.blobs.held(), key=gap.site.blobs.size))
    second = gap.ship("acme/tiny@2", out="second")
    lost_name = lost.name
    done = gap.receive(second, receipt_to=tmp_path / "2.json")
    lost.unlink()
    done = gap.receive(second, receipt_to=tmp_path / "2.json")
    assert done.receipt is not None
    gap.acknowledge(done.receipt)
    gap.ship("acme/tiny@1", out="third")
    with gap.at(gap.origin) as work, work.store.view() as view:
        export: Export = view.exports("lab")[-1]
    assert [lost_name] == [blob["sha256"] for blob in json.loads(export.body)["blobs"]]


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d["payload"]["holds"].append("f" * 64),
        lambda d: d["payload"].update(sequence=2),
        lambda d: d["payload"].update(unknown=1),
        lambda d: d["payload"].update(critical=["surprise"]),
        lambda d: d["payload"].update(format="tidegate-receipt/9"),
        lambda d: d["payload"].pop("log"),
        lambda d: d["payload"].pop("holds"),
        lambda d: d["payload"].update(inventory="a" * 64),
        lambda d: d["payload"].update(sequences="1-2"),
        lambda d: d["payload"].update(sequences="2"),
        lambda d: d["payload"].update(sequences="many"),
        lambda d: d["payload"].update(freshness="fine"),
        lambda d: d["signature"]["signatures"][0].update(sig="AAAA"),
        lambda d: d["signature"]["signatures"][0].update(keyid="0" * 64),
        lambda d: d["signature"].update(payloadType="text/plain"),
        lambda d: d.update(more=1),
        lambda d: d.pop("signature"),
    ],
)
def test_a_changed_receipt_is_refused(gap: World, receipt: Path, change: object) -> None:
    value = json.loads(receipt.read_bytes())
    change(value)  # type: ignore[operator]
    receipt.write_bytes(pretty_bytes(value))
    with pytest.raises(ReceiptWrong):
        gap.acknowledge(receipt)
    with gap.at(gap.origin) as work, work.store.view() as view:
        assert [] == view.receipts("lab")


def test_any_flipped_byte_of_a_receipt_is_refused(gap: World, receipt: Path) -> None:
    data = receipt.read_bytes()
    for place in range(0, len(data), 7):
        receipt.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        with pytest.raises((ReceiptWrong, ReceiptForeign)):
            gap.acknowledge(receipt)


def test_a_receipt_of_a_stranger_is_refused(gap: World, receipt: Path, tmp_path: Path) -> None:
    """Another machine writes a receipt in the site's name, and one in its own."""
    original, _letter = receipts.read(receipt.read_bytes())
    stranger = new_home(tmp_path / "stranger", name="ward", roles=("site",), now=NOON)
    with at_work(stranger, actor="mallory", now=gap.now) as work:
        receipt.write_bytes(receipts.write(original, work))
        with pytest.raises(ReceiptWrong):
            gap.acknowledge(receipt)
        receipt.write_bytes(receipts.write(replace(original, site="ward"), work))
        with pytest.raises(ReceiptForeign):
            gap.acknowledge(receipt)


@pytest.mark.parametrize(
    "changes",
    [
        {"sequence": 9, "sequences": ()},
        {"export": "e" * 64},
        {"sequences": (range(1, 3),)},
        {"sequences": (range(1, 10**15),)},
    ],
)
def test_a_receipt_for_a_bundle_that_was_not_made_here_is_refused(
    gap: World, receipt: Path, changes: dict[str, object]
) -> None:
    original, _letter = receipts.read(receipt.read_bytes())
    with gap.at(gap.site) as work:
        receipt.write_bytes(receipts.write(replace(original, **changes), work))  # type: ignore[arg-type]
    with pytest.raises(ReceiptForeign):
        gap.acknowledge(receipt)


def test_a_receipt_from_the_future_is_refused(gap: World, receipt: Path) -> None:
    """It would stay the newest for as long as its clock was wrong."""
    original, _letter = receipts.read(receipt.read_bytes())
    with gap.at(gap.site) as work:
        receipt.write_bytes(receipts.write(replace(original, made_at="2031-01-01T00:00:00Z"), work))
    with pytest.raises(ReceiptWrong, match="in the future"):
        gap.acknowledge(receipt)


# --- written at any time, in two sizes -------------------------------------------------------------------------


def written(gap: World, place: Path, *, bundle: str | None = None, digest_only: bool = False) -> Path:
    """What `tidegate receipts write` writes at the site."""
    with gap.at(gap.site) as work:
        with work.store.view() as view:
            receipt = answer.compose(work, view, answer.taken_in(view, bundle))
            if digest_only:
                receipt = answer.digest_only(receipt, view)
        return answer.place_receipt(work, place, receipt, receipts.write(receipt, work))


def test_a_receipt_can_be_written_at_any_time(gap: World, tmp_path: Path) -> None:
    gap.receive(gap.ship("acme/tiny@1", out="first"))
    gap.receive(gap.ship("acme/tiny@2", out="second", next_expected_by=NOON + timedelta(days=3)))
    gap.now += timedelta(days=2)
    about_the_first = gap.acknowledge(written(gap, tmp_path, bundle="1")).receipt
    newest = gap.acknowledge(written(gap, tmp_path / "again.json")).receipt
    assert ((1, "acme/tiny", 1), (2, "acme/tiny", 2)) == tuple(
        (one.sequence, one.items[0].model, one.items[0].ordinal) for one in (about_the_first, newest)
    )
    assert (range(1, 3),) == about_the_first.sequences == newest.sequences
    assert "FRESH" == newest.freshness
    assert 1 in newest.arrivals
    assert 3 not in newest.arrivals
    assert ("imported", "PASSED") == (newest.items[0].outcome, newest.items[0].scan)
    gap.now += timedelta(days=9)
    assert "DUE" == gap.acknowledge(written(gap, tmp_path / "late.json")).receipt.freshness


def test_what_was_not_taken_in_has_no_receipt(gap: World, tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        written(gap, tmp_path)
    gap.receive(gap.ship("acme/tiny@1", out="first"))
    with pytest.raises(NotFound):
        written(gap, tmp_path, bundle="2")


@pytest.mark.parametrize("place", ["medium", "medium/receipt.json", "medium/{bundle}/receipt.json"])
def test_a_receipt_is_never_written_beside_or_into_a_bundle(gap: World, place: str) -> None:
    medium = gap.ship("acme/tiny@1")
    gap.receive(medium)
    before = tree_of(medium)
    with pytest.raises(ReceiptOnMedium):
        written(gap, gap.base / place.format(bundle=gap.shipped[0].bundle))
    assert before == tree_of(medium)


def test_a_receipt_for_a_folder_that_is_not_there_is_said(gap: World, tmp_path: Path) -> None:
    gap.receive(gap.ship("acme/tiny@1"))
    with pytest.raises(OutputUnusable):
        written(gap, tmp_path / "nowhere" / "receipt.json")


def test_a_digest_only_receipt_proves_as_much_and_names_no_file(gap: World, tmp_path: Path) -> None:
    gap.receive(gap.ship("acme/tiny@1", out="first"))
    receipt = written(gap, tmp_path, digest_only=True)
    assert receipt.stat().st_size <= 1024
    assert "tiny" not in receipt.read_text()
    done = gap.acknowledge(receipt)
    assert done.newest
    gap.ship("acme/tiny@1", out="second")
    assert (0, True) == (gap.shipped[-1].carried, gap.shipped[-1].left_out > 4000)


def test_a_digest_only_receipt_of_a_site_that_lost_a_file_is_not_believed(gap: World, tmp_path: Path) -> None:
    """A full one says which; the next bundle then brings it again."""
    gap.receive(gap.ship("acme/tiny@1", out="first"))
    gap.site.blobs.path(max(gap.site.blobs.held(), key=gap.site.blobs.size)).unlink()
    with pytest.raises(ReceiptInventoryDiffers):
        gap.acknowledge(written(gap, tmp_path / "small.json", digest_only=True))
    with gap.at(gap.origin) as work, work.store.view() as view:
        assert [] == view.receipts("lab")
    gap.acknowledge(written(gap, tmp_path / "full.json"))
    gap.ship("acme/tiny@1", out="second")
    assert gap.shipped[-1].carried > 4000


def test_a_digest_only_receipt_of_another_list_of_bundles_is_not_believed(gap: World, tmp_path: Path) -> None:
    gap.receive(gap.ship("acme/tiny@1", out="first"))
    gap.ship("acme/tiny@2", out="lost")
    small, _letter = receipts.read(written(gap, tmp_path, digest_only=True).read_bytes())
    with gap.at(gap.site) as work:
        claims_more = replace(small, sequences=(range(1, 3),))
        (tmp_path / "more.json").write_bytes(receipts.write(claims_more, work))
    with pytest.raises(ReceiptInventoryDiffers):
        gap.acknowledge(tmp_path / "more.json")


# --- a person's word -------------------------------------------------------------------------------------------


def assume(
    gap: World, sequence: int, *, person: str = "maria", reason: str | None = "signed for"
) -> Assuming:
    with gap.at(gap.origin) as work:
        return assume_received(work, "lab", sequence, person=person, reason=reason)


def known(gap: World) -> Baseline:
    with gap.at(gap.origin) as work, work.store.view() as view:
        return baseline(view, "lab")


def test_a_persons_word_is_recorded_once_and_counts(gap: World) -> None:
    gap.ship("acme/tiny@1", out="first")
    assert not assume(gap, 1).already
    assert assume(gap, 1, person="jo").already
    found = known(gap)
    assert [(1, "maria", "signed for")] == [(a.sequence, a.by, a.reason) for a in found.assumptions]
    assert found.assumed == found.held
    assert found.held
    with gap.at(gap.origin) as work, work.store.view() as view:
        assert ["ines"] == [row.actor for row in view.assumptions("lab")]
        assert [EventKind.ASSUMED] == [entry.kind for entry in view.events(kind=EventKind.ASSUMED)]


def test_what_a_receipt_proves_needs_nobodys_word(gap: World, receipt: Path) -> None:
    gap.acknowledge(receipt)
    assert assume(gap, 1).acknowledged
    with gap.at(gap.origin) as work, work.store.view() as view:
        assert [] == view.assumptions("lab")


@pytest.mark.parametrize(
    ("sequence", "person", "reason"),
    [
        (2, "maria", "signed for"),
        (1, "", "signed for"),
        (1, "m\n", "signed for"),
        (1, "m" * 65, "signed for"),
        (1, "maria", None),
        (1, "maria", "  "),
        (1, "maria", "x" * 1001),
        (1, "maria", "\x1b[2J"),
    ],
)
def test_a_word_without_a_bundle_a_name_or_a_reason_is_refused(
    gap: World, sequence: int, person: str, reason: str | None
) -> None:
    gap.ship("acme/tiny@1", out="first")
    with pytest.raises(AssumptionRefused):
        assume(gap, sequence, person=person, reason=reason)
    assert frozenset() == known(gap).held


def test_a_stranger_is_nobodys_site(gap: World) -> None:
    with gap.at(gap.origin) as work, pytest.raises(NotFound):
        assume_received(work, "nowhere", 1, person="maria", reason="x")


def test_a_lost_bundle_is_healed_by_the_next(gap: World, receipt: Path, tmp_path: Path) -> None:
    """The courier lost bundle 2; bundle 3 leans on nothing of it and comes in whole."""
    gap.acknowledge(receipt)
    gap.ship("acme/tiny@2", out="lost")
    done = gap.receive(gap.ship("acme/tiny@2", out="third"))
    assert ["imported"] == [item.outcome for item in done.versions]
    gap.acknowledge(written(gap, tmp_path / "third.json"))
    assert ["ACKNOWLEDGED", "EXPORTED", "ACKNOWLEDGED"] == [one.state for one in known(gap).bundles]


def test_a_wrong_word_is_found_at_the_site_before_anything_is_copied(
    gap: World, receipt: Path, tmp_path: Path
) -> None:
    """And a fresh receipt ends it: the bundle after that brings what was missing."""
    gap.acknowledge(receipt)
    gap.ship("acme/tiny@2", out="lost")
    assume(gap, 2)
    with pytest.raises(BaseMissing):
        gap.receive(gap.ship("acme/tiny@2", out="third"))
    gap.receive(gap.ship(out="empty"))
    gap.acknowledge(written(gap, tmp_path / "empty.json"))
    assert () == known(gap).assumptions
    assert ["imported"] == [
        item.outcome for item in gap.receive(gap.ship("acme/tiny@2", out="fifth")).versions
    ]


# --- the history of the stream ---------------------------------------------------------------------------------


def test_the_history_of_a_stream_is_told_from_the_bundles_made(gap: World) -> None:
    gap.ship("acme/tiny@1", "acme/tiny@2", out="first")
    gap.ship(out="second")
    with gap.at(gap.origin) as work, work.store.view() as view:
        told = history.of(view.exports("lab"))
    assert told == history.decode(history.encode(told), below=3)
    assert [(1, ("acme/tiny@1", "acme/tiny@2")), (2, ())] == [(one.sequence, one.items) for one in told]
    assert [gap.shipped[0].digest, gap.shipped[1].digest] == [one.export for one in told]
    assert [gap.shipped[0].carried, 0] == [one.bytes for one in told]
    assert [1] == [one.sequence for one in history.gaps(told, {2: gap.shipped[1].digest})]


def test_a_receipt_that_cannot_be_read_is_said(gap: World, tmp_path: Path) -> None:
    with pytest.raises(MediumUnreadable):
        gap.acknowledge(tmp_path / "nowhere.json")
    (tmp_path / "large.json").write_bytes(b" " * (receipts.MAX_RECEIPT + 1))
    with pytest.raises(ReceiptWrong):
        gap.acknowledge(tmp_path / "large.json")
