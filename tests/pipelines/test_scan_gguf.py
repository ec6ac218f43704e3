import io
import struct
import time
import tracemalloc

import pytest

from pipelines.scan.errors import MalformedGguf
from pipelines.scan.gguf import GgufArray, GgufHeader, GgufLongText, read_header
from tests.pipelines.hostile import (
    TEMPLATE,
    gguf_bomb,
    gguf_bytes,
    gguf_pair,
    gguf_tensor,
    gguf_text,
    good_gguf,
)


def read(data: bytes) -> GgufHeader:
    return read_header(io.BytesIO(data), len(data))


def array(kind: int, count: int, data: bytes = b"") -> bytes:
    return struct.pack("<IIQ", 9, kind, count) + data


def test_a_good_file_gives_its_facts_and_keeps_no_array() -> None:
    header = read(good_gguf())
    assert "qwen3" == header.metadata["general.architecture"]
    assert TEMPLATE == header.metadata["tokenizer.chat_template"]
    assert GgufArray(8, 2) == header.metadata["tokenizer.ggml.tokens"]
    assert [("a", "F32", 0, 8), ("b", "Q8_0", 32, 100)] == [
        (t.name, t.type, t.begin, t.end) for t in header.tensors
    ]
    assert len(good_gguf()) == header.data_start + 100


def test_version_2_an_own_alignment_and_final_padding_are_read() -> None:
    data = gguf_bytes(
        [gguf_pair("general.alignment", 64)], [gguf_tensor("a")], bytes(8 + 56), version=2, alignment=64
    )
    assert (2, 64) == (read(data).version, read(data).alignment)


def test_a_very_long_text_is_passed_over() -> None:
    header = read(gguf_bytes([gguf_pair("a", "x" * (1 << 20) + "x"), gguf_pair("b", 7)]))
    assert {"a": GgufLongText((1 << 20) + 1), "b": 7} == header.metadata


def test_a_stream_that_cannot_seek_is_read_too() -> None:
    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

    data = gguf_bytes([gguf_pair("a", array(0, 1 << 20, bytes(1 << 20))), gguf_pair("b", 7)])
    assert 7 == read_header(Pipe(data), len(data)).metadata["b"]


def test_the_bomb_of_49_bytes_costs_nothing() -> None:
    data, started = gguf_bomb(), time.process_time()
    assert 49 == len(data)
    tracemalloc.start()
    with pytest.raises(MalformedGguf, match="does not fit"):
        read(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20
    assert time.process_time() - started < 1


A = gguf_tensor("a")
ATTACKS: dict[str, tuple[bytes, str]] = {
    "another magic": (b"GGML" + good_gguf()[4:], "magic"),
    "version 1": (gguf_bytes(version=1), "version"),
    "big-endian": (gguf_bytes(version=3 << 24), "version"),
    "tensors that cannot fit": (gguf_bytes(counts=(1000, 0)), "counts"),
    "keys that cannot fit": (gguf_bytes(counts=(0, 1000)), "counts"),
    "2**63 tensors": (gguf_bytes(counts=(1 << 63, 0)), "counts"),
    "counts that overflow": (gguf_bytes(counts=((1 << 64) - 1, (1 << 64) - 1)), "counts"),
    "empty key": (gguf_bytes([gguf_pair("", 1)]), "key 1 of 1"),
    "key of a gigabyte": (gguf_bytes([struct.pack("<QIQ", 1 << 30, 0, 0)]), "key 1 of 1"),
    "key that is not UTF-8": (gguf_bytes([gguf_pair(b"\xff", 1)]), "key 1 of 1"),
    "text that is not UTF-8": (gguf_bytes([gguf_text("a") + struct.pack("<I", 8) + gguf_text(b"\xff")]), "'a'"),
    "key twice": (gguf_bytes([gguf_pair("a", 1), gguf_pair("a", 2)]), "'a'"),
    "unknown type": (gguf_bytes([gguf_pair("a", struct.pack("<IQ", 13, 0))]), "'a'"),
    "boolean of 2": (gguf_bytes([gguf_pair("a", struct.pack("<IB", 7, 2))]), "'a'"),
    "nested three deep": (gguf_bytes([gguf_pair("a", array(9, 1) + struct.pack("<IQIQ", 9, 1, 0, 0))]), "'a'"),
    "array of unknown type": (gguf_bytes([gguf_pair("a", array(77, 0))]), "'a'"),
    "array of texts that cannot fit": (gguf_bytes([gguf_pair("a", array(8, 1 << 40))]), "'a'"),
    "text longer than the file": (gguf_bytes([gguf_pair("a", struct.pack("<IQ", 8, 1 << 62))]), "'a'"),
    "alignment 0": (gguf_bytes([gguf_pair("general.alignment", 0)]), "general.alignment"),
    "alignment 48": (gguf_bytes([gguf_pair("general.alignment", 48)]), "general.alignment"),
    "alignment of text": (gguf_bytes([gguf_pair("general.alignment", "32")]), "general.alignment"),
    "alignment of a boolean": (
        gguf_bytes([gguf_pair("general.alignment", struct.pack("<IB", 7, 1))]), "general.alignment"
    ),
    "alignment of 2 GiB": (gguf_bytes([gguf_pair("general.alignment", 1 << 31)]), "general.alignment"),
    "tensor twice": (gguf_bytes([], [A, gguf_tensor("a", offset=32)], bytes(40)), "'a'"),
    "five dimensions": (gguf_bytes([], [gguf_tensor("a", (1, 1, 1, 1, 1))], bytes(8)), "'a'"),
    "no elements": (gguf_bytes([], [gguf_tensor("a", (0,))], bytes(8)), "'a'"),
    "dimensions that overflow": (gguf_bytes([], [gguf_tensor("a", (1 << 40, 1 << 40))], bytes(8)), "'a'"),
    "unknown tensor type": (gguf_bytes([], [gguf_tensor("a", kind=99)], bytes(8)), "'a'"),
    "withdrawn tensor type": (gguf_bytes([], [gguf_tensor("a", kind=4)], bytes(8)), "'a'"),
    "half a block": (gguf_bytes([], [gguf_tensor("a", (16,), 8)], bytes(34)), "'a'"),
    "offset off the alignment": (gguf_bytes([], [gguf_tensor("a", offset=1)], bytes(9)), "'a'"),
    "beyond the file": (gguf_bytes([], [gguf_tensor("a", (64,))], bytes(8)), "'a'"),
    "offset that overflows": (gguf_bytes([], [gguf_tensor("a", offset=(1 << 64) - 32)], bytes(8)), "'a'"),
    "overlap": (gguf_bytes([], [A, gguf_tensor("b")], bytes(8)), "'b'"),
    "hole": (gguf_bytes([], [A, gguf_tensor("b", offset=64)], bytes(72)), "'b'"),
    "trailing bytes": (gguf_bytes([], [A], bytes(8 + 32)), "end of file"),
}  # fmt: skip


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_hostile_header_is_refused_at_its_place(attack: str) -> None:
    data, place = ATTACKS[attack]
    with pytest.raises(MalformedGguf) as refusal:
        read(data)
    assert place in refusal.value.at


def test_every_truncation_is_refused() -> None:
    data = good_gguf()
    for length in range(len(data)):
        with pytest.raises(MalformedGguf):
            read(data[:length])


def test_walking_texts_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.scan.gguf.MAX_ARRAY_STEPS", 100)
    with pytest.raises(MalformedGguf, match="more than 100"):
        read(gguf_bytes([gguf_pair("a", array(8, 101, bytes(8 * 101)))]))
