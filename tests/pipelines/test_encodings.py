"""Frames of weights: what they weigh, that they come back bit by bit, and what hostile ones may not do."""

import struct
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import zstandard
from numpy.typing import NDArray

from pipelines.encodings import delta, exponent, ladder, planes, sparse, words
from pipelines.encodings.names import FRAME, KNOWN, UNITS, Encoded, EncodingBroken, FrameMalformed, applies
from tests.pipelines import plain_decoder

FLOATS = ["bf16", "f16", "f32"]
NUMBERS = [*FLOATS, "u8"]
COUNT = 200_000  # elements: more than one exponent group, less than a frame


def as_bf16(values: NDArray[np.float32]) -> NDArray[np.uint16]:
    return (values.view(np.uint32) >> 16).astype("<u2")


def stored_as(unit: str, values: NDArray[np.float32]) -> bytes:
    if unit == "bf16":
        return as_bf16(values).tobytes()
    if unit == "f16":
        return values.astype("<f2").tobytes()
    return values.astype("<f4").tobytes() if unit == "f32" else (values * 400).astype("i1").tobytes()


def a_matrix(seed: int = 1, count: int = COUNT) -> NDArray[np.float32]:
    return (np.random.default_rng(seed).standard_normal(count) * 0.02).astype(np.float32)


def fine_tuned(matrix: NDArray[np.float32], step: float, share: float = 1.0) -> NDArray[np.float32]:
    """After a little training: `share` of the weights moved by about `step` of their spread."""
    random = np.random.default_rng(99)
    moved = random.standard_normal(matrix.size) * 0.02 * step * (random.random(matrix.size) < share)
    return (matrix + moved).astype(np.float32)


def opened(frame: Encoded, unit: str, size: int, base: bytes | None = None) -> bytes:
    out = bytearray(b"\xaa" * size)
    held = None if base is None else memoryview(base)
    ladder.decode(frame.encoding, unit, memoryview(frame.data), memoryview(out), held)
    return bytes(out)


def packed(raw: bytes, unit: str, base: bytes | None = None, *, compact: bool = False) -> tuple[str, float]:
    """Encode, decode, compare; return the encoding and the share of the bytes that is left."""
    held = None if base is None else memoryview(base)
    frame = ladder.encode(memoryview(raw), unit, held, compact=compact)
    assert raw == opened(frame, unit, len(raw), base)
    return frame.encoding, len(frame.data) / len(raw)


@pytest.mark.parametrize(("unit", "bar"), [("bf16", 0.67), ("f16", 0.85), ("f32", 0.84)])
def test_a_first_shipment_of_floats_loses_what_exponents_waste(unit: str, bar: float) -> None:
    encoding, ratio = packed(stored_as(unit, a_matrix()), unit)
    assert "planes" == encoding
    assert ratio <= bar


def test_floats_that_were_bf16_pay_nothing_for_their_empty_half() -> None:
    raw = (as_bf16(a_matrix()).astype("<u4") << 16).tobytes()
    assert packed(raw, "f32")[1] < 0.34


@pytest.mark.parametrize(
    ("unit", "fast", "compact"), [("bf16", 0.21, 0.17), ("f16", 0.4, 0.34), ("f32", 0.61, 0.59)]
)
def test_a_fine_tune_of_a_held_base_weighs_a_fraction(unit: str, fast: float, compact: float) -> None:
    base = stored_as(unit, a_matrix())
    raw = stored_as(unit, fine_tuned(a_matrix(), 3e-3))
    encoding, ratio = packed(raw, unit, base)
    assert "delta" == encoding
    assert ratio < fast
    encoding, ratio = packed(raw, unit, base, compact=True)
    assert "exponent" == encoding
    assert ratio < compact


def test_bytes_of_eight_bit_weights_shrink_alone_and_against_a_base() -> None:
    base, raw = stored_as("u8", a_matrix()), stored_as("u8", fine_tuned(a_matrix(), 0.1))
    assert packed(raw, "u8")[0] == "planes"
    encoding, ratio = packed(raw, "u8", base)
    assert encoding in ("delta", "sparse")
    assert ratio < 0.3


@pytest.mark.parametrize("unit", NUMBERS)
def test_where_few_weights_moved_only_those_travel(unit: str) -> None:
    base = stored_as(unit, a_matrix())
    raw = stored_as(unit, fine_tuned(a_matrix(), 0.3, share=0.01))
    encoding, ratio = packed(raw, unit, base)
    assert "sparse" == encoding
    assert ratio < 0.035


@pytest.mark.parametrize(("unit", "bar"), [("bf16", 0.012), ("f16", 0.025), ("f32", 0.04)])
def test_the_next_checkpoint_is_next_to_nothing(unit: str, bar: float) -> None:
    base = stored_as(unit, a_matrix())
    raw = stored_as(unit, fine_tuned(a_matrix(), 0.001, share=0.03))
    assert packed(raw, unit, base, compact=True)[1] < bar


def test_what_did_not_change_costs_some_bytes() -> None:
    base = stored_as("bf16", a_matrix())
    assert packed(base, "bf16", base)[1] < 1e-4
    assert packed(base, "bf16", base, compact=True)[1] < 1e-3


def test_an_unrelated_base_does_no_harm() -> None:
    base, raw = stored_as("bf16", a_matrix(1)), stored_as("bf16", a_matrix(2) * np.float32(7))
    encoding, ratio = packed(raw, "bf16", base)
    assert "planes" == encoding
    assert ratio <= 0.67


def test_text_is_zstd_and_noise_is_left_alone() -> None:
    assert packed(b'{"vocab": {"a": 1}}' * 500, "bytes")[0] == "zstd"
    noise = memoryview(np.random.default_rng(5).bytes(100_000))
    for unit in ("bytes", *NUMBERS):
        frame = ladder.encode(noise, unit)
        assert "raw" == frame.encoding
        assert frame.data is noise, "raw costs no copy"
        assert noise.tobytes() == opened(frame, unit, len(noise))


@pytest.mark.parametrize("compact", [False, True])
@pytest.mark.parametrize("unit", ["bytes", *NUMBERS])
@pytest.mark.parametrize("size", [0, 1, 2, 3, 4, 5, 63, 4097, 16_386])
def test_any_size_travels_also_where_it_does_not_fit_the_unit(unit: str, size: int, compact: bool) -> None:
    whole = stored_as("bf16", a_matrix(count=10_000))
    raw, base = whole[:size], whole[2 : 2 + size]
    frame = ladder.encode(memoryview(raw), unit, memoryview(base), compact=compact)
    assert raw == opened(frame, unit, size, base)
    if not size:
        assert "raw" == frame.encoding


@pytest.mark.parametrize("unit", NUMBERS)
def test_addresses_need_not_fit_the_unit(unit: str) -> None:
    raw, base = stored_as(unit, fine_tuned(a_matrix(), 3e-3)), stored_as(unit, a_matrix())
    askew_raw, askew_base = memoryview(b"x" + raw)[1:], memoryview(b"xxx" + base)[3:]
    for held in (None, askew_base):
        for compact in (False, True):
            frame = ladder.encode(askew_raw, unit, held, compact=compact)
            out = bytearray(len(raw) + 1)
            ladder.decode(frame.encoding, unit, memoryview(b"y" + frame.data)[1:], memoryview(out)[1:], held)
            assert raw == out[1:]


@pytest.mark.parametrize("unit", FLOATS)
def test_every_bit_pattern_survives_every_encoding(unit: str) -> None:
    """NaN payloads, -0, infinities, subnormals: the arithmetic is that of integers."""
    patterns = np.arange(1 << 16, dtype="<u2")
    width = UNITS[unit]
    halves = [patterns] if width == 2 else [patterns, patterns[::-1]]
    raw = np.stack(halves, axis=1).tobytes()
    numbers, base = words.of(memoryview(raw), width), np.roll(words.of(memoryview(raw), width), 12_345)
    frames = {
        "planes": planes.encode(numbers),
        "delta": delta.encode(numbers, base),
        "sparse": sparse.encode(numbers, base),
        "exponent": exponent.encode(numbers, base, unit),
    }
    for encoding, stored in frames.items():
        out = np.zeros_like(numbers)
        if encoding == "planes":
            planes.decode(memoryview(stored), out)
        elif encoding == "exponent":
            exponent.decode(memoryview(stored), out, base, unit)
        else:
            {"delta": delta, "sparse": sparse}[encoding].decode(memoryview(stored), out, base)
        assert raw == out.tobytes(), encoding


def test_whole_frames_of_several_blocks_come_back() -> None:
    matrix = a_matrix(count=FRAME // 2)
    raw, base = stored_as("bf16", fine_tuned(matrix, 2e-3)), stored_as("bf16", matrix)
    assert FRAME == len(raw)
    assert packed(raw, "bf16")[1] <= 0.67
    assert packed(raw, "bf16", base)[1] < 0.18
    assert packed(raw, "bf16", base, compact=True)[1] < 0.13


def test_a_frame_that_does_not_give_its_bytes_back_is_never_handed_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    raw = memoryview(stored_as("bf16", a_matrix()))
    sound = planes.encode(words.of(raw, 2))
    damaged = bytearray(sound)
    damaged[-1] ^= 1
    for broken in (bytes(damaged), sound[:-1]):
        monkeypatch.setattr(planes, "encode", lambda _numbers, broken=broken: broken)
        with pytest.raises(EncodingBroken, match="planes of bf16"):
            ladder.encode(raw, "bf16")


def test_threads_do_not_share_their_working_memory() -> None:
    jobs = [(stored_as("bf16", a_matrix(seed)), stored_as("bf16", a_matrix(seed + 1))) for seed in range(8)]

    def work(job: tuple[bytes, bytes]) -> list[bytes]:
        raw, base = memoryview(job[0]), memoryview(job[1])
        frames = [ladder.encode(raw, "bf16"), ladder.encode(raw, "bf16", base, compact=True)]
        return [bytes(frame.data) for frame in frames]

    with ThreadPoolExecutor(4) as pool:
        assert list(map(work, jobs)) == list(pool.map(work, jobs))


def test_the_vocabulary_costs_no_numpy() -> None:
    program = "import sys; from pipelines.encodings import names; print(sorted({'numpy', 'zstandard'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "[]\n" == done.stdout


@pytest.mark.parametrize("unit", NUMBERS)
def test_a_stranger_who_read_the_page_decodes_the_same(unit: str) -> None:
    """`plain_decoder` is written from airgap-bundles/encodings.md and from nothing else."""
    matrix = a_matrix(count=30_001)
    base = stored_as(unit, matrix)
    for step, share in ((3e-3, 1.0), (0.3, 0.01), (0.02, 0.1), (0.1, 1.0)):
        raw = stored_as(unit, fine_tuned(matrix, step, share))
        for held in (b"", base):
            for compact in (False, True):
                below = memoryview(held) if held else None
                frame = ladder.encode(memoryview(raw), unit, below, compact=compact)
                again = plain_decoder.decode(frame.encoding, unit, bytes(frame.data), len(raw), held)
                assert raw == again, frame.encoding


def test_a_stranger_finds_the_blocks_of_a_frame() -> None:
    raw = stored_as("bf16", a_matrix(count=(1 << 19) + 5))
    frame = ladder.encode(memoryview(raw), "bf16")
    assert raw == plain_decoder.decode("planes", "bf16", bytes(frame.data), len(raw))
    text = b"vocabulary " * 900
    frame = ladder.encode(memoryview(text), "bytes")
    assert text == plain_decoder.decode("zstd", "bytes", bytes(frame.data), len(text))


# ---- hostile frames

TEXT = b"weights and words, " * 5000  # what a well-behaved frame of the same size would hold
LIMIT = zstandard.ZstdCompressionParameters


def zstd_frame(data: bytes, **options: int) -> bytes:
    options = {"write_content_size": 1, "write_checksum": 0, **options}
    return zstandard.ZstdCompressor(compression_params=LIMIT.from_level(3, **options)).compress(data)


def skippable(size: int) -> bytes:
    return struct.pack("<II", 0x184D2A50, size) + bytes(size)


def forged_size(size: int) -> bytes:
    """The header of a frame that states `size` bytes in one segment, with a good frame's blocks behind it."""
    good = zstd_frame(TEXT)
    return good[:4] + b"\xe0" + struct.pack("<Q", size) + good[zstandard.frame_header_size(good) :]


def with_dictionary() -> bytes:
    dictionary = zstandard.train_dictionary(1024, [b"%d weights and words" % i for i in range(500)])
    compressor = zstandard.ZstdCompressor(dict_data=dictionary, write_checksum=False)
    return compressor.compress(TEXT)


def wide_window() -> bytes:
    """A window of 16 MiB, twice what is allowed, around a size that is right."""
    good = zstd_frame(TEXT)
    assert len(TEXT) == zstandard.frame_content_size(good)
    return (
        good[:4]
        + b"\x80"
        + bytes([14 << 3])
        + struct.pack("<I", len(TEXT))
        + good[zstandard.frame_header_size(good) :]
    )


def unsized() -> bytes:
    compressor = zstandard.ZstdCompressor(write_content_size=False, write_checksum=False).compressobj()
    return compressor.compress(TEXT) + compressor.flush()


HOSTILE: dict[str, Callable[[], bytes]] = {
    "a thousand times more than stated": lambda: forged_size(len(TEXT) // 1000),
    "sixteen MiB of zeros": lambda: zstd_frame(bytes(1 << 24)),
    "a tebibyte, as it says": lambda: forged_size(1 << 40),
    "more than 2^63": lambda: forged_size((1 << 64) - 2),
    "one byte more": lambda: zstd_frame(TEXT + b"x"),
    "one byte less": lambda: zstd_frame(TEXT[1:]),
    "no stated size": unsized,
    "a dictionary": with_dictionary,
    "a checksum": lambda: zstd_frame(TEXT, write_checksum=1),
    "a window of 16 MiB": wide_window,
    "a byte behind the end": lambda: zstd_frame(TEXT) + b"\0",
    "two frames": lambda: zstd_frame(TEXT[:1000]) + zstd_frame(TEXT[1000:]),
    "an empty frame behind it": lambda: zstd_frame(TEXT) + zstd_frame(b""),
    "a skippable frame before it": lambda: skippable(4) + zstd_frame(TEXT),
    "a skippable frame behind it": lambda: zstd_frame(TEXT) + skippable(4),
    "nothing but a skippable frame": lambda: skippable(len(TEXT) - 9),
    "an end too early": lambda: zstd_frame(TEXT)[:-1],
    "a header alone": lambda: zstd_frame(TEXT)[:6],
    "nothing": lambda: b"",
    "half a magic number": lambda: b"\x28\xb5",
    "a thousand empty blocks": lambda: zstd_frame(TEXT)[:9] + bytes(3) * 1000 + b"\1\0\0",
}  # fmt: skip


def test_the_well_behaved_frame_is_accepted() -> None:
    assert TEXT == opened(Encoded("zstd", zstd_frame(TEXT)), "bytes", len(TEXT))


@pytest.mark.parametrize("attack", HOSTILE)
def test_a_zstd_frame_is_exactly_one_of_exactly_the_stated_size(attack: str) -> None:
    stored = HOSTILE[attack]()
    with pytest.raises(FrameMalformed):
        opened(Encoded("zstd", stored), "bytes", len(TEXT))
    plane = struct.pack("<BI", 2, len(stored)) + stored
    with pytest.raises(FrameMalformed):
        opened(Encoded("planes", plane), "u8", len(TEXT))


def test_a_bomb_finds_no_memory_to_take() -> None:
    """32 KiB that ask for 1 GiB, in a process that may not grow by more than 48 MiB."""
    program = """
import resource, zstandard, struct
from pipelines.encodings import ladder, names
blocks = [(1 << 17 << 3 | 1 << 1).to_bytes(3, "little") + b"z"] * (1 << 13)
blocks[-1] = (1 << 17 << 3 | 1 << 1 | 1).to_bytes(3, "little") + b"z"
bomb = zstandard.FRAME_HEADER + b"\\xa0" + struct.pack("<I", 1 << 30) + b"".join(blocks)
assert len(bomb) < 1 << 16 and zstandard.frame_content_size(bomb) == 1 << 30
out = memoryview(bytearray(names.FRAME))
held = memoryview(bytes(names.FRAME))
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (48 << 20), used + (48 << 20)))
plane = struct.pack("<BI", 2, len(bomb)) + bomb
packed = struct.pack("<BI", 3, len(plane)) + plane
for encoding, stored in (("zstd", bomb), ("planes", plane), ("delta", plane), ("sparse", plane), ("exponent", packed)):
    try:
        ladder.decode(encoding, "bytes" if encoding == "zstd" else "bf16", memoryview(stored), out, held)
    except names.FrameMalformed as error:
        print(encoding, error.problem)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert 5 == done.stdout.count("the frame does not state"), done.stdout


@pytest.mark.parametrize("encoding", sorted(KNOWN))
@pytest.mark.parametrize("unit", ["bytes", *NUMBERS, "q4_k", "unheard-of"])
def test_an_encoding_says_which_units_it_is_for(encoding: str, unit: str) -> None:
    if applies(encoding, unit):
        return
    with pytest.raises(FrameMalformed, match=f"no encoding {encoding} of {unit}"):
        opened(Encoded(encoding, b"x"), unit, 288)


def test_stored_bytes_are_fewer_and_frames_are_limited() -> None:
    frame = planes.encode(words.of(memoryview(stored_as("bf16", a_matrix())), 2))
    for size in (0, 2 * COUNT - 1, len(frame) - len(frame) % 2, FRAME + 2, 2 * COUNT - 2, 2 * COUNT + 2):
        with pytest.raises(FrameMalformed):
            opened(Encoded("planes", frame), "bf16", size)


def test_a_base_of_another_size_is_none() -> None:
    raw, base = stored_as("bf16", a_matrix()), stored_as("bf16", a_matrix(2))
    for encoding in ("delta", "sparse", "exponent"):
        for held in (None, base[:-2]):
            with pytest.raises(FrameMalformed, match="base"):
                opened(Encoded(encoding, b"x"), "bf16", len(raw), held)


def test_a_bitmap_may_not_name_elements_behind_the_last() -> None:
    base = bytes(26)
    frame = struct.pack("<BI2s", 1, 2, b"\x00\x20")  # bit 13 of 13
    with pytest.raises(FrameMalformed, match="behind the last"):
        opened(Encoded("sparse", frame), "bf16", 26, base)


@pytest.mark.parametrize("encoding", ["planes", "delta", "sparse", "exponent"])
def test_every_shortened_frame_is_refused_and_every_lengthened_one(encoding: str) -> None:
    stored, raw, base = small_frame(encoding)
    assert raw == opened(Encoded(encoding, stored), "bf16", len(raw), base)
    for end in range(len(stored)):
        with pytest.raises(FrameMalformed):
            opened(Encoded(encoding, stored[:end]), "bf16", len(raw), base)
    with pytest.raises(FrameMalformed):
        opened(Encoded(encoding, stored + b"\0"), "bf16", len(raw), base)


@pytest.mark.parametrize("encoding", ["planes", "delta", "sparse", "exponent"])
def test_a_flipped_bit_gives_a_refusal_or_always_the_same_wrong_bytes(encoding: str) -> None:
    """Wrong bytes are found by the blob's digest; nothing else may come out of a decoder, nor old memory."""
    stored, raw, base = small_frame(encoding)
    for place in range(0, len(stored) * 8, 3):
        flipped = bytearray(stored)
        flipped[place // 8] ^= 1 << place % 8
        first, second = bytearray(b"\x55" * len(raw)), bytearray(b"\xaa" * len(raw))
        try:
            ladder.decode(encoding, "bf16", memoryview(flipped), memoryview(first), memoryview(base))
        except FrameMalformed:
            continue
        ladder.decode(encoding, "bf16", memoryview(flipped), memoryview(second), memoryview(base))
        assert first == second


def small_frame(encoding: str) -> tuple[bytes, bytes, bytes]:
    """A frame of some hundred stored bytes, what it holds, and its base."""
    matrix = a_matrix(count=700)
    raw, base = stored_as("bf16", fine_tuned(matrix, 3e-3)), stored_as("bf16", matrix)
    numbers, held = words.of(memoryview(raw), 2), words.of(memoryview(base), 2)
    made = {
        "planes": lambda: planes.encode(numbers),
        "delta": lambda: delta.encode(numbers, held),
        "sparse": lambda: sparse.encode(numbers, held),
        "exponent": lambda: exponent.encode(numbers, held, "bf16"),
    }
    return made[encoding](), raw, base
