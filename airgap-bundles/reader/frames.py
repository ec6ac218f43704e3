"""Frames of a bundle, decoded: written from `airgap-bundles/encodings.md` and `encodings-blocks.md`, for the strict reader.

Needs numpy and zstandard. Shares no line with the product; where both give the same bytes, the pages say what both do.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import zstandard

Bytes = npt.NDArray[np.uint8]
Numbers = npt.NDArray[Any]  # of 1, 2 or 4 unsigned bytes each

WIDTH = {"bf16": 2, "f16": 2, "f32": 4, "u8": 1}
EXPONENT = {"bf16": (7, 255), "f16": (10, 31), "f32": (23, 255)}  # lowest bit, mask
TYPE: dict[int, np.dtype[Any]] = {1: np.dtype("u1"), 2: np.dtype("<u2"), 4: np.dtype("<u4")}
BLOCK = {"q8_0": 34, "q4_0": 18, "q4_1": 20, "q5_0": 22, "q5_1": 24}
BLOCK |= {"q2_k": 84, "q3_k": 110, "q4_k": 144, "q5_k": 176, "q6_k": 210}
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
ROWS = {"q3_k": [(0, 0, 2, 0), (1, 0, 2, 2), (0, 4, 2, 4), (1, 4, 2, 6)]}
ROWS["q4_k"] = ROWS["q5_k"] = [(0, 0, 0, 4), (2, 0, 0, 6), (1, 0, 1, 4), (2, 4, 1, 6)]
CLASS_ENDS = (-48, -20, -8, -2, 1, 7, 19, 47, 127)


class Malformed(Exception):
    """Not a frame of that encoding."""


def demand(true: object, what: str) -> None:
    if not true:
        raise Malformed(what)


def decode(encoding: str, unit: str, stored: bytes, size: int, base: bytes | None) -> bytes:
    """Return `size` bytes. Raises `Malformed`."""
    if encoding == "zstd":
        return unzstd(stored, size)
    reader = Reader(stored)
    demand(unit in BLOCK if encoding.startswith("blocks") else unit in WIDTH, f"{encoding} of {unit}")
    width = BLOCK[unit] if encoding.startswith("blocks") else WIDTH[unit]
    demand(size % width == 0, "no whole elements")
    if encoding.startswith("blocks"):
        out = blocks(reader, unit, size // width, base)
    else:
        held = np.frombuffer(base or b"", TYPE[width])
        out = elements(encoding, reader, unit, size // width, held).astype(TYPE[width]).tobytes()
    demand(reader.at == len(stored), "bytes are left over")
    return out


def unzstd(data: bytes, size: int) -> bytes:
    """Section 1: exactly one frame of exactly `size` bytes."""
    try:
        about = zstandard.get_frame_parameters(data)
        at = zstandard.frame_header_size(data)
    except zstandard.ZstdError as exc:
        raise Malformed(str(exc)) from exc
    fine = data[:4] == zstandard.FRAME_HEADER and about.content_size == size and about.window_size <= 8 << 20
    demand(fine and not about.dict_id and not about.has_checksum, "zstd: another kind of frame")
    for _ in range(8 + size // 1024):
        head = int.from_bytes(data[at : at + 3], "little")
        at += 3 + (1 if head >> 1 & 3 == 1 else head >> 3)
        if head & 1:
            break
    demand(at == len(data), "zstd: does not end where its bytes end")
    out = bytearray(size)
    try:
        got = zstandard.ZstdDecompressor(max_window_size=8 << 20).stream_reader(data).readinto(out)
    except zstandard.ZstdError as exc:
        raise Malformed(str(exc)) from exc
    demand(got == size, "zstd: less than it states")
    return bytes(out)


class Reader:
    """Section 3: coded planes, one after the other."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def plane(self, count: int, kinds: str = "012") -> Bytes:
        demand(self.at + 5 <= len(self.data), "ends too early")
        kind = self.data[self.at]
        length = int.from_bytes(self.data[self.at + 1 : self.at + 5], "little")
        body = self.data[self.at + 5 : self.at + 5 + length]
        demand(len(body) == length and str(kind) in kinds, "a plane of another kind, or cut")
        self.at += 5 + length
        if kind == 0:
            demand(length == 1, "a constant of more than a byte")
            return np.full(count, body[0], np.uint8)
        if kind in (1, 2):
            plain = body if kind == 1 else unzstd(body, count)
            demand(len(plain) == count, "another number of bytes")
            return np.frombuffer(plain, np.uint8)
        inner = Reader(body)
        plane = gaps(inner, count) if kind == 6 else packed(inner, count, {3: 1, 4: 2, 5: 4}[kind])
        demand(inner.at == length, "bytes behind a plane's last part")
        return plane

    def numbers(self, count: int, width: int, kinds: str = "012") -> Numbers:
        """`width` planes, the most significant first."""
        total = np.zeros(count, TYPE[width])
        for _ in range(width):
            total = (total << 8 if width > 1 else total) | self.plane(count, kinds).astype(TYPE[width])
        return total


def packed(body: Reader, count: int, bits: int) -> Bytes:
    together = body.plane(-(-count * bits // 8))
    each = np.arange(8 // bits, dtype=np.uint8) * bits
    values = ((together[:, None] >> each) & ((1 << bits) - 1)).reshape(-1)[:count].astype(np.uint8)
    escaped = values == (1 << bits) - 1
    if escaped.any():
        values[escaped] = body.plane(int(escaped.sum()))
    return values


def gaps(body: Reader, count: int) -> Bytes:
    many = int.from_bytes(body.data[:4], "little")
    demand(1 <= many <= count // 2 + count // 255, "steps")
    body.at = 4
    steps = body.plane(many).astype(np.int64)
    lands = steps < 255
    values = body.plane(int(lands.sum()), "012345") + np.uint8(1)
    places = np.cumsum(steps + lands)[lands] - 1
    demand(lands[-1] and places[-1] < count, "steps behind the end")
    out = np.zeros(count, np.uint8)
    out[places] = unfold(values)
    return out


def unfold(folded: Numbers) -> Numbers:
    one = folded.dtype.type(1)
    found: Numbers = (folded >> one) ^ (~(folded & one) + one)
    return found


def elements(encoding: str, reader: Reader, unit: str, count: int, held: Numbers) -> Numbers:
    """Sections 4 to 7."""
    width = WIDTH[unit]
    demand(encoding == "planes" or len(held) == count, "a base of another size")
    if encoding in ("planes", "delta"):
        step = (1 << 20) // width
        found = [reader.numbers(min(step, count - at), width) for at in range(0, count, step)]
        numbers = np.concatenate(found)
        return unrotate(numbers, width) if encoding == "planes" else unfold(numbers) + held
    if encoding == "sparse":
        bits = np.unpackbits(reader.plane(-(-count // 8)), bitorder="little")
        demand(not bits[count:].any(), "a bit behind the last element")
        out, changed = held.copy(), np.flatnonzero(bits[:count])
        if len(changed):
            out[changed] += unfold(reader.numbers(len(changed), width))
        return out
    demand(encoding == "exponent" and unit in EXPONENT, f"{encoding} of {unit}")
    lowest, mask = EXPONENT[unit]
    keys = (held >> held.dtype.type(lowest)) & held.dtype.type(mask)
    out, order = held.copy(), np.argsort(keys, kind="stable")
    start = 0
    for size in groups(np.bincount(keys, minlength=256)):
        places = order[start : start + size]
        out[places] += unfold(reader.numbers(size, width, "012345"))
        start += size
    return out


def groups(counts: npt.NDArray[np.intp]) -> list[int]:
    found, size = list[int](), 0
    for count in counts.tolist():
        size += count
        if size >= 8192:
            found.append(size)
            size = 0
    return [*found[:-1], found[-1] + size] if found else [size]


def unrotate(numbers: Numbers, width: int) -> Numbers:
    if width == 1:
        return numbers
    kind, low = numbers.dtype.type, 8 * width - 16
    upper = numbers >> kind(low)
    upper = (upper >> kind(1)) | ((upper & kind(1)) << kind(15))
    found: Numbers = (upper << kind(low)) | (numbers & kind((1 << low) - 1))
    return found


# -- encodings-blocks.md -----------------------------------------------------------------------------------------------


def blocks(reader: Reader, unit: str, count: int, base: bytes | None) -> bytes:
    width = BLOCK[unit]
    held = None if base is None else np.frombuffer(base, np.uint8).reshape(-1, width)
    demand(held is None or len(held) == count, "a base of another size")
    out = np.zeros((count, width), np.uint8)
    step = -(-(2 << 20) // width)
    for at in range(0, count, step):
        cut(reader, unit, out[at : at + step], None if held is None else held[at : at + step])
    return out.tobytes()


def cut(reader: Reader, unit: str, out: Bytes, held: Bytes | None) -> None:
    count = len(out)
    for field in FIELDS[unit].split(", "):
        kind, place = field.split()
        start, size = map(int, place.split("+"))
        before = None if held is None else held[:, start : start + size]
        if kind == "half":
            numbers = reader.numbers(count, 2, "0123456")
            if before is not None:
                numbers = unfold(numbers) + np.ascontiguousarray(before).view("<u2")[:, 0]
            found = numbers.astype("<u2").view(np.uint8).reshape(count, 2)
        elif kind == "sixes":
            rows = reader.plane(16 * count, "0123456").reshape(4, count, 4)
            found = from_rows(rows if before is None else rows + to_rows(before, unit), unit)
        elif kind == "nibbles":
            found = nibbles(reader, count, before, None if held is None else keys_of(out, held, unit))
        else:
            found = reader.plane(count * size, "0123456").reshape(count, size)
            found = found if before is None else found + before
        out[:, start : start + size] = found


def to_rows(field: Bytes, unit: str) -> Bytes:
    """4 rows of (blocks, 4) numbers of six bits."""
    w = np.ascontiguousarray(field).view("<u4")
    rows = [(w[:, a] >> b & 0x0F0F0F0F) | (w[:, c] >> d & 0x03030303) << 4 for a, b, c, d in ROWS[unit]]
    return np.stack([row.astype("<u4").view(np.uint8).reshape(-1, 4) for row in rows])


def from_rows(rows: Bytes, unit: str) -> Bytes:
    w = np.zeros((rows.shape[1], 3), "<u4")
    for row, (a, b, c, d) in zip(rows, ROWS[unit], strict=True):
        number = np.ascontiguousarray(row).view("<u4")[:, 0]
        w[:, a] |= (number & 0x0F0F0F0F) << b
        w[:, c] |= (number >> 4 & 0x03030303) << d
    return w.view(np.uint8)


def to_items(field: Bytes) -> Bytes:
    """Items of 16 bytes: the even sub-blocks of all blocks, then the odd ones."""
    x = np.ascontiguousarray(field).reshape(-1, 32)
    even = (x[:, :16] & 15) | (x[:, 16:] & 15) << 4
    odd = (x[:, :16] >> 4) | (x[:, 16:] & 0xF0)
    return np.concatenate([even, odd])


def from_items(items: Bytes) -> Bytes:
    even, odd = items[: len(items) // 2], items[len(items) // 2 :]
    first = (even & 15) | (odd & 15) << 4
    second = (even >> 4) | (odd & 0xF0)
    return np.concatenate([first, second], axis=1).reshape(-1, 128)


def nibbles(reader: Reader, count: int, before: Bytes | None, keys: npt.NDArray[np.int64] | None) -> Bytes:
    if before is None or keys is None:
        return from_items(reader.plane(128 * count, "0123456").reshape(-1, 16))
    items, order, low = to_items(before), np.argsort(keys, kind="stable"), -128
    ordered = keys[order]
    for high in CLASS_ENDS:
        places = order[(ordered > low) & (ordered <= high)]
        if len(places):
            items[places] += reader.plane(16 * len(places), "0123456").reshape(-1, 16)
        low = high
    return from_items(items)


def grid(side: Bytes, unit: str) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """(blocks, 8) scales and minima in single precision."""
    halves = np.ascontiguousarray(side[:, :4]).view("<f2").astype(np.float32)
    rows = to_rows(side[:, 4:16], unit).astype(np.float32)
    scales, minima = np.concatenate(rows[:2], axis=1), np.concatenate(rows[2:], axis=1)
    return halves[:, :1] * scales, halves[:, 1:] * minima


def keys_of(out: Bytes, held: Bytes, unit: str) -> npt.NDArray[np.int64]:
    """Section 4: how far each sub-block's grid moved, in the order of the items."""
    middle = np.float32({"q4_k": 7.5, "q5_k": 15.5}[unit])
    with np.errstate(all="ignore"):
        (s, m), (s_was, m_was) = grid(out, unit), grid(held, unit)
        shift = ((s_was - s) * middle + (m - m_was)) / s * np.float32(64)
        keys = np.where(np.isnan(shift), np.float32(127), np.clip(shift, -127, 127)).astype(np.int64)
    return np.concatenate([keys[:, 0::2].reshape(-1), keys[:, 1::2].reshape(-1)])
