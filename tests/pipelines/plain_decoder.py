"""A second decoder of frames, written from `airgap-bundles/encodings.md` alone: slow, plain, and without numpy.

It shares no line with the product. Where both give the same bytes, the page says what the code does.
"""

import struct

import zstandard

WIDTHS = {"bf16": 2, "f16": 2, "f32": 4, "u8": 1}
EXPONENTS = {"bf16": (7, 0xFF), "f16": (10, 0x1F), "f32": (23, 0xFF)}  # lowest bit, mask


def decode(encoding: str, unit: str, stored: bytes, size: int, base: bytes = b"") -> bytes:
    if encoding == "zstd":
        return zstandard.decompress(stored)
    width = WIDTHS[unit]
    held = [int.from_bytes(base[at : at + width], "little") for at in range(0, len(base), width)]
    frame = Frame(stored)
    if encoding == "sparse":
        elements = sparse(frame, held, width)
    elif encoding == "exponent":
        elements = exponent(frame, held, unit)
    else:
        per_block = (1 << 20) // width
        counts = [min(per_block, size // width - at) for at in range(0, size // width, per_block)]
        elements = [element for count in counts for element in frame.elements(count, width)]
        if encoding == "delta":
            elements = [unfold(element, below, width) for element, below in zip(elements, held, strict=True)]
        else:
            elements = [unrotate(element, width) for element in elements]
    assert frame.at == len(stored), "bytes are left over"
    return b"".join(element.to_bytes(width, "little") for element in elements)


class Frame:
    """Section 3: coded planes, one after the other."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def plane(self, count: int) -> bytes:
        kind, length = struct.unpack_from("<BI", self.data, self.at)
        body = self.data[self.at + 5 : self.at + 5 + length]
        self.at += 5 + length
        if kind >= 3:
            return unpack(Frame(body), count, {3: 1, 4: 2, 5: 4}[kind])
        plane = body * count if kind == 0 else body if kind == 1 else zstandard.decompress(body)
        assert count == len(plane)
        return plane

    def elements(self, count: int, width: int) -> list[int]:
        planes = [self.plane(count) for _ in range(width)]
        return [int.from_bytes(bytes(parts), "big") for parts in zip(*planes, strict=True)]


def unpack(body: Frame, count: int, bits: int) -> bytes:
    together = body.plane((count * bits + 7) // 8)
    escape = (1 << bits) - 1
    values = [together[i * bits // 8] >> (i * bits % 8) & escape for i in range(count)]
    escapes = values.count(escape)
    large = iter(body.plane(escapes) if escapes else b"")
    assert body.at == len(body.data)
    return bytes(next(large) if value == escape else value for value in values)


def unrotate(element: int, width: int) -> int:
    if width == 1:
        return element
    lower = 8 * width - 16
    upper = element >> lower
    return ((upper >> 1) | (upper & 1) << 15) << lower | element & ((1 << lower) - 1)


def unfold(folded: int, below: int, width: int) -> int:
    return (below + ((folded >> 1) ^ -(folded & 1))) % (1 << 8 * width)


def sparse(frame: Frame, held: list[int], width: int) -> list[int]:
    bitmap = frame.plane((len(held) + 7) // 8)
    changed = [i for i in range(len(held)) if bitmap[i // 8] >> i % 8 & 1]
    elements = list(held)
    for place, folded in zip(changed, frame.elements(len(changed), width) if changed else (), strict=True):
        elements[place] = unfold(folded, held[place], width)
    return elements


def exponent(frame: Frame, held: list[int], unit: str) -> list[int]:
    lowest, mask = EXPONENTS[unit]
    keys = [element >> lowest & mask for element in held]
    order = sorted(range(len(held)), key=keys.__getitem__)
    groups, size = [], 0
    for value in range(256):
        size += keys.count(value)
        if size >= 8192:
            groups.append(size)
            size = 0
    groups = [*groups[:-1], groups[-1] + size] if groups else [size]
    folded = [element for count in groups for element in frame.elements(count, WIDTHS[unit])]
    elements = list(held)
    for place, value in zip(order, folded, strict=True):
        elements[place] = unfold(value, held[place], WIDTHS[unit])
    return elements
