"""Where the fields of GGUF's quantised blocks lie.

Apart from `blocks.py` because it is data: the published byte layout (`airgap-bundles/encodings-blocks.md`) is this
table in words. Offsets and sizes in bytes.

Source: ggml-common.h (`block_q4_0` … `block_q6_K`) and the packing loops of ggml-quants.c, as in llama-cpp-python 0.3.36.
"""

from dataclasses import dataclass
from typing import Final, Literal

from pipelines.encodings.names import UNITS

Six = tuple[int, int, int, int]  # word of the lower four bits, how far up; word of the upper two, how far up


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a block.

    `half` is a float16; `sixes` are 16 numbers of six bits in three 32-bit words; `nibbles` are numbers of four bits,
    64 to 32 bytes: one sub-block of 32 in the lower halves, the next in the upper ones; `bytes` is anything else.
    """

    kind: Literal["half", "sixes", "nibbles", "bytes"]
    start: int
    size: int
    sixes: tuple[Six, ...] = ()
    middle: float = 0.0  # of `nibbles`: the middle of the numbers, together with bits that lie elsewhere


def _bytes(start: int, size: int) -> Field:
    return Field("bytes", start, size)


def _half(start: int) -> Field:
    return Field("half", start, 2)


# Scales 0-3 and 4-7, minima 0-3 and 4-7: `get_scale_min_k4`.
_SIXES_K: Final = Field("sixes", 4, 12, ((0, 0, 0, 4), (2, 0, 0, 6), (1, 0, 1, 4), (2, 4, 1, 6)))
# Scales 0-3, 4-7, 8-11, 12-15: `quantize_row_q3_K_ref`.
_SIXES_3: Final = Field("sixes", 96, 12, ((0, 0, 2, 0), (1, 0, 2, 2), (0, 4, 2, 4), (1, 4, 2, 6)))

# In the order in which the fields are stored: first what scales, then what is scaled.
LAYOUTS: Final[dict[str, tuple[Field, ...]]] = {
    "q8_0": (_half(0), _bytes(2, 32)),
    "q4_0": (_half(0), _bytes(2, 16)),
    "q4_1": (_half(0), _half(2), _bytes(4, 16)),
    "q5_0": (_half(0), _bytes(2, 4), _bytes(6, 16)),
    "q5_1": (_half(0), _half(2), _bytes(4, 4), _bytes(8, 16)),
    "q2_k": (_half(80), _half(82), _bytes(0, 16), _bytes(16, 64)),
    "q3_k": (_half(108), _SIXES_3, _bytes(0, 32), _bytes(32, 64)),
    "q4_k": (_half(0), _half(2), _SIXES_K, Field("nibbles", 16, 128, middle=7.5)),
    "q5_k": (_half(0), _half(2), _SIXES_K, _bytes(16, 32), Field("nibbles", 48, 128, middle=15.5)),
    "q6_k": (_half(208), _bytes(192, 16), _bytes(128, 64), _bytes(0, 128)),
}

for _unit, _fields in LAYOUTS.items():  # a gap or an overlap would lose bytes
    assert UNITS[_unit] == sum(_field.size for _field in _fields)
