"""Does a piece of a tensor hold a NaN or an infinity, and is it all one value: asked of the bits.

Apart from the rest because it is the one place that touches every byte of the weights. No value is converted to a
float: a float of any width is not finite when its exponent bits are all ones, and then its bits, read as an unsigned
number, are above a threshold (negative ones) or, read as a signed number, above another (positive ones). So two
maxima answer for a whole block, without a byte of memory beside it.

Of GGUF's quantised blocks the scales are looked at: one bad scale spoils 32 to 256 weights, the rest are integers.
Source: IEEE 754; OCP OFP8 and OCP MX for the narrow ones; ggml-common.h for where a block has its scales.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np

UNITS: Final = {
    1: (np.uint8, np.int8),
    2: (np.uint16, np.int16),
    4: (np.uint32, np.int32),
    8: (np.uint64, np.int64),
}


@dataclass(frozen=True, slots=True)
class Float:
    """A kind of number: `width` bytes, `ones` its exponent bits (and what else has to be set) without the sign.

    `signless`: all bits are exponent. `zero_only`: NaN is the one pattern that a negative zero would have.
    """

    width: int
    ones: int
    signless: bool = False
    zero_only: bool = False
    infinity: bool = True  # whether the pattern `ones` alone is an infinity


@dataclass(frozen=True, slots=True)
class Form:
    """Where such numbers lie: from byte `start` of each `stride` bytes."""

    float: Float
    stride: int
    start: int = 0


F64: Final = Float(8, 0x7FF << 52)
F32: Final = Float(4, 0x7F800000)
F16: Final = Float(2, 0x7C00)
BF16: Final = Float(2, 0x7F80)
E5M2: Final = Float(1, 0x7C)
E4M3: Final = Float(1, 0x7F, infinity=False)
FNUZ: Final = Float(1, 0x80, zero_only=True, infinity=False)
E8M0: Final = Float(1, 0xFF, signless=True, infinity=False)

# safetensors' types. F4 and F6 have no NaN and no infinity.
PLAIN: Final = {
    "F64": F64, "F32": F32, "C64": F32, "F16": F16, "BF16": BF16, "F8_E5M2": E5M2, "F8_E4M3": E4M3,
    "F8_E4M3FNUZ": FNUZ, "F8_E5M2FNUZ": FNUZ, "F8_E8M0": E8M0,
}  # fmt: skip

# GGUF's types: bytes of a block, and where the scales lie in it.
_HALVES: Final = {
    "Q4_0": (18, 0), "Q4_1": (20, 0, 2), "Q5_0": (22, 0), "Q5_1": (24, 0, 2), "Q8_0": (34, 0), "Q8_1": (36, 0, 2),
    "Q2_K": (84, 80, 82), "Q3_K": (110, 108), "Q4_K": (144, 0, 2), "Q5_K": (176, 0, 2), "Q6_K": (210, 208),
    "IQ2_XXS": (66, 0), "IQ2_XS": (74, 0), "IQ3_XXS": (98, 0), "IQ1_S": (50, 0), "IQ4_NL": (18, 0),
    "IQ3_S": (110, 0), "IQ2_S": (82, 0), "IQ4_XS": (136, 0), "TQ1_0": (54, 52), "TQ2_0": (66, 64),
}  # fmt: skip
BLOCKS: Final[dict[str, tuple[Form, ...]]] = {
    **{
        name: tuple(Form(F16, stride, start) for start in starts)
        for name, (stride, *starts) in _HALVES.items()
    },
    "Q8_K": (Form(F32, 292),),
    "MXFP4": (Form(E8M0, 17),),
    "NVFP4": tuple(Form(E4M3, 36, start) for start in range(4)),
}


def forms_of(dtype: str) -> tuple[Form, ...]:
    """Return where a type, safetensors' or GGUF's, has floats; nothing for integers and for what is not known."""
    if dtype in PLAIN:
        return (Form(PLAIN[dtype], PLAIN[dtype].width),)
    return BLOCKS.get(dtype, ())


@dataclass(frozen=True, slots=True)
class Spoiled:
    """What is not finite in a piece: how many NaN and infinities, and the number of the first (0 is the first)."""

    nans: int
    infinities: int
    first: int


def numbers(piece: Any, form: Form) -> Any:
    """Return the form's numbers in a piece of bytes as unsigned integers. No copy.

    Args:
        piece: a contiguous array of uint8 that holds whole blocks.
    """
    unsigned, _ = UNITS[form.float.width]
    if form.stride == form.float.width:
        return piece.view(unsigned)
    return np.ndarray((len(piece) // form.stride,), unsigned, piece, form.start, (form.stride,))


def spoiled(values: Any, kind: Float) -> bool:
    """Whether any of these unsigned integers is the pattern of a NaN or an infinity."""
    if not len(values):
        return False
    _, signed = UNITS[kind.width]
    if kind.zero_only:
        return bool(values.view(signed).min() == -0x80)
    if kind.signless:
        return bool(values.max() >= kind.ones)
    negative = kind.ones | 1 << (kind.width * 8 - 1)
    return bool(values.max() >= negative or values.view(signed).max() >= kind.ones)


def locate(values: Any, kind: Float) -> Spoiled:
    """Count what `spoiled` saw. Slow, and only ever asked about what is spoiled."""
    unsigned, _ = UNITS[kind.width]
    if kind.zero_only or kind.signless:
        bad, endless = values == unsigned(kind.ones), np.zeros(len(values), bool)
    else:
        plain = values & unsigned((1 << (kind.width * 8 - 1)) - 1)
        bad = plain >= unsigned(kind.ones)
        endless = (plain == unsigned(kind.ones)) & kind.infinity
    infinities = int(endless.sum())
    return Spoiled(int(bad.sum()) - infinities, infinities, int(bad.argmax()))


def one_value(values: Any) -> int | None:
    """Return the value that all of these integers have, or None when two differ. Asks the cheap places first."""
    first = values[0]
    if (
        first != values[-1]
        or first != values[len(values) // 2]
        or first != values.max()
        or first != values.min()
    ):
        return None
    return int(first)
