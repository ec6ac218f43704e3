"""A receipt counts only when the site that it names has signed it, and only for a bundle that was made here."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from pipelines import receipts
from pipelines.bundle.errors import MediumUnreadable, ReceiptForeign, ReceiptWrong
from registry.entities import Export
from signing.canonical import pretty_bytes
from tests.pipelines.gap import NOON, World, make_world, model_files, weights
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
    original, _payload, _envelope = receipts.read(receipt.read_bytes())
    stranger = new_home(tmp_path / "stranger", name="ward", roles=("site",), now=NOON)
    with at_work(stranger, actor="mallory", now=gap.now) as work:
        receipt.write_bytes(receipts.write(original, work))
        with pytest.raises(ReceiptWrong):
            gap.acknowledge(receipt)
        receipt.write_bytes(receipts.write(replace(original, site="ward"), work))
        with pytest.raises(ReceiptForeign):
            gap.acknowledge(receipt)


@pytest.mark.parametrize("changes", [{"sequence": 9}, {"export": "e" * 64}])
def test_a_receipt_for_a_bundle_that_was_not_made_here_is_refused(
    gap: World, receipt: Path, changes: dict[str, object]
) -> None:
    original, _payload, _envelope = receipts.read(receipt.read_bytes())
    with gap.at(gap.site) as work:
        receipt.write_bytes(receipts.write(replace(original, **changes), work))  # type: ignore[arg-type]
    with pytest.raises(ReceiptForeign):
        gap.acknowledge(receipt)


def test_a_receipt_that_cannot_be_read_is_said(gap: World, tmp_path: Path) -> None:
    with pytest.raises(MediumUnreadable):
        gap.acknowledge(tmp_path / "nowhere.json")
    (tmp_path / "large.json").write_bytes(b" " * (receipts.MAX_RECEIPT + 1))
    with pytest.raises(ReceiptWrong):
        gap.acknowledge(tmp_path / "large.json")
