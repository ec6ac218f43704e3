"""The benchmark's own pure parts: a figure that is computed wrongly is worse than none."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import bundle_cases, finetunes, tensors
from benchmarks.bitx import decode_piece, encode_piece
from benchmarks.bundle_page import page
from benchmarks.bundle_peers import PEERS, Peer, Rivals
from benchmarks.bundle_results import (
    BITX,
    COMPACT,
    FAST,
    Bar,
    Ceiling,
    CodecRow,
    ParityCost,
    Results,
    Row,
    Sent,
    bars,
    middle,
)
from benchmarks.measure import Cost
from benchmarks.tensors import Tensor
from pipelines.scan import gguf

QUICK = Cost(1.0, 1.5, 100 << 20)


def sent(size: int, cost: Cost = QUICK) -> Sent:
    return Sent(size, cost, cost, whole=size + 13_000)


def results(**parts: Any) -> Results:
    return Results("make bench-bundles", "2026-11-21", {"cores": "2"}, {"borg": "not installed"}, **parts)


def verdicts(found: Results) -> dict[str, str]:
    return {bar.aim: bar.verdict for bar in bars(found)}


def test_a_run_that_measured_nothing_claims_nothing() -> None:
    assert {"not measured"} == set(verdicts(results()).values())


def test_a_bar_is_met_on_its_line_and_missed_beyond() -> None:
    assert "met" == Bar("", 0.11, 0.11).verdict
    assert "**missed**" == Bar("", 0.11, 0.1101).verdict
    assert "met" == Bar("", 1.2, 1.2, at_most=False).verdict
    assert "**missed**" == Bar("", 1.2, 1.19, at_most=False).verdict


def test_a_fine_tune_is_held_against_its_rivals_on_the_same_pair() -> None:
    shipped: dict[str, Sent | str] = {
        FAST: sent(13_000_000),
        COMPACT: sent(10_000_000),
        BITX: sent(17_000_000),
        "restic, compression auto": sent(96_000_000),
        "restic, compression max": sent(60_000_000),
        "borg, zstd,3": "not installed",
        "casync": sent(74_000_000),
    }
    found = verdicts(results(rows=[Row(bundle_cases.FULL.name, 100_000_000, shipped)]))

    assert "met" == found["full fine-tune, compact: at most 0.11 of the file"]
    assert "met" == found["… at most 2/3 of a BitX-style delta of the same pair"]
    assert (
        "**missed**" == found["… fast, at least 5 times smaller than restic at its best"]
    )  # by its better one
    assert "not measured" == found["… fast, at least 5 times smaller than borg at its best"]
    assert "met" == found["… fast, at least 5 times smaller than casync at its best"]


def test_the_encode_rate_is_shown_with_its_check_and_without() -> None:
    row = CodecRow(
        bundle_cases.FIRST[1].name, FAST, 10**9, 6 * 10**8, encode=0.7, decode=0.3, checked=1.1, encodings={}
    )
    found = verdicts(results(codecs=[row]))

    assert "met" == found["… encode at least 1.2 GB/s per core, coding alone"]
    assert "**missed**" == found["… encode at least 1.2 GB/s per core, decoded again and compared"]


def test_time_is_linear_when_only_the_start_is_in_the_way() -> None:
    """A second of start and a second for each 100 MB: twice the bytes take no longer per byte."""
    small = Row("small", 100_000_000, {FAST: sent(1, Cost(2.0, 2.0, 1 << 20))})
    large = Row("large", 200_000_000, {FAST: sent(1, Cost(3.0, 3.0, 1 << 20))})
    tiny = Row("tiny", 1, {FAST: sent(1, Cost(1.0, 1.0, 1 << 20))})
    bar = next(
        bar
        for bar in bars(results(scaling=[small, large], start=tiny))
        if bar.aim.startswith("time per byte")
    )

    assert bar.found == pytest.approx(1.0)


def test_memory_is_ours_and_not_a_rival_s() -> None:
    greedy = Cost(1.0, 1.0, 1 << 40)
    row = Row("synthetic", 10**9, {FAST: sent(1), "zipnn": sent(1, greedy)})

    assert "met" == verdicts(results(rates=[row]))["at most 256 MiB resident: synthetic"]


def test_a_raw_import_is_compared_within_each_round() -> None:
    """The slower of disk and hashing is the ceiling; a round is compared with itself."""
    ceiling = Ceiling([2.0, 4.0, 2.0], hashing=[1.0, 1.0, 1.0], disks={"disk": [2.0, 2.0, 0.5]})

    assert 0.5 == ceiling.share("disk")  # 1.0, 0.5 and, limited by hashing, 0.5


def test_the_median_of_costs_keeps_the_highest_memory() -> None:
    rounds = [Cost(1.0, 5.0, 10), Cost(9.0, 1.0, 30), Cost(2.0, 3.0, 20)]

    assert Cost(2.0, 3.0, 30) == middle(rounds)


def test_a_page_tells_every_tool_that_is_missing_and_every_case() -> None:
    rows = [Row(case.name, 1000, {FAST: sent(500), "casync": "not installed"}) for case in bundle_cases.CASES]
    text = page(
        results(
            rows=rows,
            rates=rows[:1],
            raw=rows[0],
            scaling=rows[:2],
            parity=[ParityCost(1, 1.2, 1.1)],
            ceiling=Ceiling([1.0], [1.0], {"disk": [1.0]}),
            notes=["16 GiB"],
        )
    )

    assert all(case.name in text for case in bundle_cases.CASES)
    assert "not installed" in text
    assert "16 GiB" in text
    assert all(recipe.text() in text for recipe in finetunes.RECIPES.values())


def test_every_table_of_the_page_is_whole() -> None:
    """A row has as many cells as its head, whatever could not be measured."""
    rows = [Row("a case", 1000, {FAST: sent(500)}), Row("another", 1000, {COMPACT: "failed", "x": sent(1)})]
    columns = 0
    for line in page(results(rows=rows, rates=rows, scaling=rows[:1])).splitlines():
        if not line.startswith("|"):
            columns = 0
            continue
        columns = columns or line.count("|")
        assert columns == line.count("|"), line


def test_an_absent_peer_stays_in_the_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    rivals = Rivals(tmp_path / "rivals", None, quick=False)

    absent = {peer.name for peer, version in rivals.versions.items() if version is None}

    assert {peer.name for peer in PEERS} - {BITX} == absent


def test_a_peer_that_gives_other_bytes_back_stops_the_run(tmp_path: Path) -> None:
    from benchmarks.bundle_journey import NotTheSame

    forger = Peer("forger", "sh", "true", 'mkdir "$STORE"', 'mkdir "$TO" && echo forged > "$TO/weights"')
    target = tmp_path / "model"
    target.mkdir()
    (target / "weights").write_text("real\n")

    with pytest.raises(NotTheSame, match="forger"):
        Rivals(tmp_path / "rivals", None, quick=True).send(forger, target, None)


def test_written_tensors_are_read_in_the_order_they_were_given(tmp_path: Path) -> None:
    given = [
        Tensor("z", "BF16", (2, 3), bytes(12)),
        Tensor("a", "F32", (1,), b"abcd"),
        Tensor("m", "U8", (0,), b""),
    ]
    tensors.write(tmp_path / "x.safetensors", given)

    _header, found = tensors.read(tmp_path / "x.safetensors")

    assert [(one.name, one.dtype, one.shape, bytes(one.data)) for one in given] == [
        (one.name, one.dtype, one.shape, bytes(one.data)) for one in found
    ]


def test_the_product_reads_the_gguf_files_that_are_measured(tmp_path: Path) -> None:
    given = [Tensor("w", "q4_k", (2, 256), bytes(range(144)) * 2), Tensor("b", "f32", (3,), bytes(12))]
    path = tmp_path / "x.gguf"
    tensors.write_gguf(path, {"general.architecture": "bert", "general.file_type": 14}, given)

    with path.open("rb") as stream:
        header = gguf.read_header(stream, path.stat().st_size)

    assert [("w", "Q4_K", (256, 2)), ("b", "F32", (3,))] == [
        (t.name, t.type, t.shape) for t in header.tensors
    ]
    assert [given[0].data] == [bytes(data) for data in tensors.gguf_tensors(path, "q4_k")]


@given(st.sampled_from(["BF16", "F16", "F32", "I64"]), st.binary(max_size=400), st.booleans(), st.randoms())
def test_the_rival_s_delta_is_lossless_too(dtype: str, data: bytes, based: bool, random: Any) -> None:
    """A comparison with a codec that loses bytes would flatter nobody."""
    data = data[: len(data) // 8 * 8]
    base = random.randbytes(len(data)) if based else None

    assert data == decode_piece(encode_piece(data, dtype, base), len(data), dtype, base)


def test_bf16_is_read_as_its_float32() -> None:
    halves = np.array([0x3F80, 0xC000], np.uint16)

    assert [1.0, -2.0] == list(tensors.as_float32(Tensor("", "BF16", (2,), halves.tobytes())))
    assert [1.5] == list(tensors.as_float32(Tensor("", "F32", (1,), np.float32(1.5).tobytes())))


def test_every_case_is_made_of_what_is_trained_or_derived() -> None:
    derived = {
        "sharded",
        "renamed",
        "config",
        *(f"{name}-{kind}" for name in ("base", "full") for kind in ("q8_0", "q4_k")),
    }
    named = {name for case in bundle_cases.CASES for name in (case.target, case.base or case.target)}

    assert named <= {*finetunes.NAMES, *derived}


def test_a_cache_that_lacks_a_variant_is_trained_again(tmp_path: Path) -> None:
    assert list(finetunes.NAMES) == finetunes.missing(tmp_path)
