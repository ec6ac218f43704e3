"""Which encoding a frame gets, and the way in and out of all of them.

A sample of one element in 61 decides the order in which encodings are tried; the first that is worth it is kept, after
it has been decoded again and compared. `compact` begins with `exponent`, which is smaller than the others and slower.
"""

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from pipelines.encodings import delta, exponent, planes, scratch, sparse, words, zstd
from pipelines.encodings.names import (
    FRAME,
    NEEDS_BASE,
    UNITS,
    Encoded,
    EncodingBroken,
    FrameMalformed,
    applies,
)
from pipelines.encodings.scratch import Words

_FEW = (
    0.4  # share of changed elements below which writing those alone is smaller, and faster both ways together
)
_STEP = 61  # one element in so many is looked at; odd, so that it meets every column of a matrix
_WORTH = 0.98  # of the raw size; what is not below is stored raw, which costs nobody anything


def encode(raw: memoryview, unit: str, base: memoryview | None = None, *, compact: bool = False) -> Encoded:
    """Return the first form of one frame that is worth it on the ladder; `raw` itself when none is.

    Args:
        raw: at most FRAME bytes. Size and address need not fit the unit.
        unit: a key of `UNITS`: what the bytes are made of.
        base: as many bytes that the site holds already.
        compact: a third smaller where there is a base, at a third of the speed.

    Raises:
        EncodingBroken: the frame does not decode to `raw`. Nothing may be written.
    """
    assert len(raw) <= FRAME, "frames are cut before they are encoded"
    assert base is None or len(base) == len(raw), "a base is as long as what it is the base of"
    for found in _ladder(raw, unit, base, compact=compact) if raw else ():
        if len(found.data) < len(raw) * _WORTH:
            _check(found, raw, unit, base)
            return found
    return Encoded("raw", raw)


def decode(
    encoding: str, unit: str, stored: memoryview, out: memoryview, base: memoryview | None = None
) -> None:
    """Fill `out` with the frame's bytes, all of it.

    Raises:
        FrameMalformed: whatever the stored bytes are; `out` then holds anything. Never more than a few FRAMEs of
            memory, nor more time than grows with `len(stored) + len(out)`.
    """
    if not applies(encoding, unit):
        raise FrameMalformed(f"no encoding {encoding} of {unit}")
    if encoding == "raw":
        _copy(stored, out)
        return
    if not len(stored) < len(out) <= FRAME or (len(out) % UNITS[unit] and encoding != "zstd"):
        raise FrameMalformed(f"{len(stored)} stored bytes cannot be {len(out)} bytes of {unit}")
    if encoding in NEEDS_BASE and (base is None or len(base) != len(out)):
        raise FrameMalformed("its base is not as long as it is")
    _decode(encoding, unit, stored, out, base)


def _ladder(raw: memoryview, unit: str, base: memoryview | None, *, compact: bool) -> Iterator[Encoded]:
    """Encode in the order of the ladder, one after the other, for as long as the caller asks."""
    if unit == "bytes" or len(raw) % UNITS[unit]:
        yield Encoded("zstd", zstd.common(raw))
    elif applies("planes", unit):
        yield from _numbers(raw, unit, base, compact=compact)
    else:
        yield from _blocks(raw, unit, base)


def _numbers(raw: memoryview, unit: str, base: memoryview | None, *, compact: bool) -> Iterator[Encoded]:
    numbers = words.of(raw, UNITS[unit])
    if base is None:
        yield Encoded("planes", planes.encode(numbers))
        return
    held = words.of(base, UNITS[unit])
    if compact and applies("exponent", unit):
        yield Encoded("exponent", exponent.encode(numbers, held, unit))
    encoders: dict[str, Callable[[Words], bytes]] = {
        "planes": planes.encode,
        "delta": partial(delta.encode, base=held),
        "sparse": partial(sparse.encode, base=held),
    }
    for encoding in _order(numbers, held):
        yield Encoded(encoding, encoders[encoding](numbers))


def _order(numbers: Words, held: Words) -> list[str]:
    """What to try, the likeliest first, by a sample."""
    step = _STEP if numbers.size > _STEP * _STEP else 1
    sample, before = numbers[::step], held[::step]
    changed = int(np.count_nonzero(sample != before))
    if changed < _FEW * sample.size:
        return ["sparse", "delta", "planes"]
    if delta.bits(sample, before) < planes.bits(sample):
        return ["delta", "planes"]
    return ["planes"]


def _decode(encoding: str, unit: str, stored: memoryview, out: memoryview, base: memoryview | None) -> None:
    if encoding == "zstd":
        zstd.expand(stored, out)
    elif unit.startswith("q"):
        from pipelines.encodings import blocks  # noqa: PLC0415 - only who meets GGUF blocks needs their layouts

        blocks.decode_blocks(encoding, unit, stored, out, base)
    else:
        _decode_numbers(encoding, unit, stored, words.of(out, UNITS[unit]), base)


def _decode_numbers(
    encoding: str, unit: str, stored: memoryview, out: Words, base: memoryview | None
) -> None:
    if base is None or encoding == "planes":
        planes.decode(stored, out)
        return
    held = words.of(base, UNITS[unit])
    if encoding == "exponent":
        exponent.decode(stored, out, held, unit)
    elif encoding == "sparse":
        sparse.decode(stored, out, held)
    else:
        delta.decode(stored, out, held)


def _blocks(raw: memoryview, unit: str, base: memoryview | None) -> Iterator[Encoded]:
    from pipelines.encodings import blocks  # noqa: PLC0415 - only who meets GGUF blocks needs their layouts

    found = blocks.encode_blocks(raw, unit, base)
    if found is not None:
        yield found


def _copy(stored: memoryview, out: memoryview) -> None:
    if len(stored) != len(out):
        raise FrameMalformed(f"{len(stored)} stored bytes are not {len(out)}")
    out[:] = stored


def _check(kept: Encoded, raw: memoryview, unit: str, base: memoryview | None) -> None:
    """Decode what is about to be stored, and compare."""
    again = scratch.buffer("check", len(raw))
    again.fill(0)
    try:
        decode(kept.encoding, unit, memoryview(kept.data), again.data, base)
    except FrameMalformed as error:
        raise EncodingBroken(f"{kept.encoding} of {unit}: {error.problem}") from error
    if not _same(again, np.frombuffer(raw, np.uint8)):
        raise EncodingBroken(f"{kept.encoding} of {unit} gave other bytes back")


def _same(one: scratch.Bytes, other: scratch.Bytes) -> bool:
    """`np.array_equal` in steps of eight bytes, so that its answer per step stays small."""
    whole = one.size // 8 * 8
    return np.array_equal(one[:whole].view(np.uint64), other[:whole].view(np.uint64)) and np.array_equal(
        one[whole:], other[whole:]
    )
