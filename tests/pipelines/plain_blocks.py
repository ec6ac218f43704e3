"""A second decoder of block frames, written from `airgap-bundles/encodings-blocks.md` alone: slow and plain.

It shares no line with the product (numpy gives it single precision, nothing else). Where both give the same bytes, the
page says what the code does.
"""

import struct
from collections.abc import Iterator

import numpy as np

from tests.pipelines.plain_decoder import Frame

FIELDS = {
    "q8_0": "half 0+2, bytes 2+32",
    "q4_0": "half 0+2, bytes 2+16",
    "q4_1": "half 0+2, half 2+2, bytes 4+16",
    "q5_0": "half 0+2, bytes 2+4, bytes 6+16",
    "q5_1": "half 0+2, half 2+2, bytes 4+4, bytes 8+16",
    "q2_k": "half 80+2, half 82+2, bytes 0+16, bytes 16+64",
    "q3_k": "half 108+2, sixes 96+12, bytes 0+32, bytes 32+64",
    "q4_k": "half 0+2, half 2+2, sixes 4+12, nibbles 16+128",
    "q5_k": "half 0+2, half 2+2, sixes 4+12, bytes 16+32, nibbles 48+128",
    "q6_k": "half 208+2, bytes 192+16, bytes 128+64, bytes 0+128",
}
BLOCK = {"q8_0": 34, "q4_0": 18, "q4_1": 20, "q5_0": 22, "q5_1": 24} | {
    "q2_k": 84, "q3_k": 110, "q4_k": 144, "q5_k": 176, "q6_k": 210
}  # fmt: skip
ROWS_K = ["0004", "2006", "1014", "2416"]
ROWS = {"q3_k": ["0020", "1022", "0424", "1426"], "q4_k": ROWS_K, "q5_k": ROWS_K}
MIDDLE = {"q4_k": 7.5, "q5_k": 15.5}
ENDS = [-48, -20, -8, -2, 1, 7, 19, 47, 127]  # the highest key of each class


def decode(unit: str, stored: bytes, size: int, base: bytes | None = None) -> bytes:
    frame, width, out = Frame(stored), BLOCK[unit], b""
    step = -(-2_097_152 // width) * width
    for at in range(0, size, step):
        length = min(step, size - at)
        held = None if base is None else [base[i : i + width] for i in range(at, at + length, width)]
        out += b"".join(cut(frame, unit, length // width, held))
    assert frame.at == len(stored), "bytes are left over"
    return out


def cut(frame: Frame, unit: str, count: int, held: list[bytes] | None) -> list[bytes]:
    blocks = [bytearray(BLOCK[unit]) for _ in range(count)]
    for field in FIELDS[unit].split(", "):
        kind, place = field.split()
        start, size = map(int, place.split("+"))
        before = None if held is None else [block[start : start + size] for block in held]
        if kind == "half":
            values = halves(frame, count, before)
        elif kind == "sixes":
            values = sixes(frame, count, before, unit)
        elif kind == "nibbles":
            keys = None if held is None else list(shifts(blocks, held, unit))
            values = nibbles(frame, count, before, keys)
        else:
            plane = added(coded(frame, count * size), b"".join(before) if before else None)
            values = [plane[i : i + size] for i in range(0, len(plane), size)]
        for block, value in zip(blocks, values, strict=True):
            block[start : start + size] = value
    return [bytes(block) for block in blocks]


def coded(frame: Frame, count: int) -> bytes:
    """Section 2: a coded plane, kind 6 too."""
    kind, length = struct.unpack_from("<BI", frame.data, frame.at)
    if kind != 6:
        return frame.plane(count)
    body = Frame(frame.data[frame.at + 5 : frame.at + 5 + length])
    frame.at += 5 + length
    (step_count,) = struct.unpack_from("<I", body.data)
    assert 1 <= step_count <= count // 2 + count // 255
    body.at = 4
    steps = body.plane(step_count)
    values = body.plane(sum(step < 255 for step in steps))
    assert body.at == len(body.data)
    out, at, left = bytearray(count), 0, iter(values)
    for step in steps:
        at += step
        if step < 255:
            folded = (next(left) + 1) % 256
            out[at] = (folded >> 1 ^ -(folded & 1)) % 256
            at += 1
    return bytes(out)


def added(difference: bytes, before: bytes | None) -> bytes:
    if before is None:
        return difference
    return bytes((one + other) % 256 for one, other in zip(difference, before, strict=True))


def halves(frame: Frame, count: int, before: list[bytes] | None) -> list[bytes]:
    upper, lower = coded(frame, count), coded(frame, count)
    numbers = [high << 8 | low for high, low in zip(upper, lower, strict=True)]
    if before is not None:
        held = [int.from_bytes(value, "little") for value in before]
        numbers = [(was + (f >> 1 ^ -(f & 1))) % 65536 for f, was in zip(numbers, held, strict=True)]
    return [number.to_bytes(2, "little") for number in numbers]


def unpacked(field: bytes, unit: str) -> list[int]:
    """The four words of 32 bits of one block, each with four numbers of six bits."""
    w = struct.unpack("<3I", field)
    plans = [tuple(map(int, row)) for row in ROWS[unit]]
    return [w[a] >> b & 0x0F0F0F0F | (w[c] >> d & 0x03030303) << 4 for a, b, c, d in plans]


def sixes(frame: Frame, count: int, before: list[bytes] | None, unit: str) -> list[bytes]:
    plane = coded(frame, 16 * count)
    if before is not None:
        rows = zip(*(unpacked(value, unit) for value in before), strict=True)
        plane = added(plane, b"".join(number.to_bytes(4, "little") for row in rows for number in row))
    out = []
    for block in range(count):
        w = [0, 0, 0]
        for row, plan in enumerate(ROWS[unit]):
            a, b, c, d = map(int, plan)
            number = int.from_bytes(plane[4 * (row * count + block) :][:4], "little")
            w[a] |= (number & 0x0F0F0F0F) << b
            w[c] |= (number >> 4 & 0x03030303) << d
        out.append(struct.pack("<3I", *w))
    return out


def items(fields: list[bytes]) -> list[bytes]:
    """Section 1: even sub-blocks of all blocks, then odd ones."""
    groups = [field[at : at + 32] for field in fields for at in range(0, 128, 32)]
    even = [bytes(x[i] & 15 | (x[i + 16] & 15) << 4 for i in range(16)) for x in groups]
    return even + [bytes(x[i] >> 4 | x[i + 16] & 0xF0 for i in range(16)) for x in groups]


def nibbles(frame: Frame, count: int, before: list[bytes] | None, keys: list[int] | None) -> list[bytes]:
    total = 8 * count
    if before is None or keys is None:
        plane = coded(frame, 16 * total)
        whole = [plane[at : at + 16] for at in range(0, len(plane), 16)]
    else:
        whole, held, order = [b""] * total, items(before), sorted(range(total), key=keys.__getitem__)
        low = -128
        for high in ENDS:
            places = [place for place in order if low < keys[place] <= high]
            plane = coded(frame, 16 * len(places)) if places else b""
            for number, place in enumerate(places):
                whole[place] = added(plane[16 * number : 16 * number + 16], held[place])
            low = high
    even, odd = whole[: total // 2], whole[total // 2 :]
    groups = []
    for one, two in zip(even, odd, strict=True):
        first = bytes(one[i] & 15 | (two[i] & 15) << 4 for i in range(16))
        groups.append(first + bytes(one[i] >> 4 | two[i] & 0xF0 for i in range(16)))
    return [b"".join(groups[at : at + 4]) for at in range(0, len(groups), 4)]


def grid(block: bytes | bytearray, unit: str) -> list[tuple[np.float32, np.float32]]:
    """Scale and minimum of each of the eight sub-blocks."""
    d, dmin = (np.float32(number) for number in np.frombuffer(bytes(block[:4]), "<f2"))
    rows = [number.to_bytes(4, "little") for number in unpacked(bytes(block[4:16]), unit)]
    scales, minima = rows[0] + rows[1], rows[2] + rows[3]
    return [(d * np.float32(scales[i]), dmin * np.float32(minima[i])) for i in range(8)]


def shifts(blocks: list[bytearray], held: list[bytes], unit: str) -> Iterator[int]:
    """Section 4, in the order of the items."""
    with np.errstate(all="ignore"):
        new, old = ([grid(block, unit) for block in side] for side in (blocks, held))
        for odd in (0, 1):
            for block in range(len(blocks)):
                for sub in range(odd, 8, 2):
                    (s, m), (s_was, m_was) = new[block][sub], old[block][sub]
                    shift = ((s_was - s) * np.float32(MIDDLE[unit]) + (m - m_was)) / s * np.float32(64)
                    yield 127 if np.isnan(shift) else int(max(-127.0, min(127.0, float(shift))))
