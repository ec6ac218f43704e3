"""The words that encoder, decoder and chunk tables share. Imports neither numpy nor zstandard: readers of tables need it.

Source: airgap-bundles/encodings.md.
"""

from typing import Final, NamedTuple

FRAME: Final = 4 << 20  # bytes, the most raw bytes of one compact frame
BLOCK: Final = 1 << 20  # bytes, `planes` and `delta` cut a frame into blocks of so many raw bytes

_NUMBERS = {"bf16": 2, "f16": 2, "f32": 4, "u8": 1}
_GGUF_BLOCKS = {
    "q8_0": 34, "q4_0": 18, "q4_1": 20, "q5_0": 22, "q5_1": 24,
    "q2_k": 84, "q3_k": 110, "q4_k": 144, "q5_k": 176, "q6_k": 210,
}  # fmt: skip
UNITS: Final[dict[str, int]] = {"bytes": 1, **_NUMBERS, **_GGUF_BLOCKS}  # bytes of one element or block

# Where the exponent of a float starts, counted in bits from the lowest, and how many bits it has.
EXPONENTS: Final[dict[str, tuple[int, int]]] = {"bf16": (7, 8), "f16": (10, 5), "f32": (23, 8)}

KNOWN: Final = frozenset(
    {"raw", "zstd", "planes", "delta", "sparse", "exponent", "blocks", "blocks-delta"}
)  # every `encoding` that a chunk table may name
NEEDS_BASE: Final = frozenset(
    {"delta", "sparse", "exponent", "blocks-delta"}
)  # as many held bytes as raw ones

_APPLIES = {
    "planes": frozenset(_NUMBERS),
    "delta": frozenset(_NUMBERS),
    "sparse": frozenset(_NUMBERS),
    "exponent": frozenset(EXPONENTS),
    "blocks": frozenset(_GGUF_BLOCKS),
    "blocks-delta": frozenset(_GGUF_BLOCKS),
}


class Encoded(NamedTuple):
    """A frame as it is stored: the name of its encoding, and its bytes."""

    encoding: str
    data: bytes | memoryview


class FrameMalformed(Exception):
    """Stored bytes are no frame of their encoding. `problem` says why; the caller knows where they came from."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem


class EncodingBroken(Exception):
    """A frame that was just encoded did not give its bytes back: a fault of memory, of a library, or of ours."""


def unit_bytes(unit: str) -> int:
    """Return the bytes of one element or block of `unit`. A frame's size is a multiple of it. Raises `KeyError`."""
    return UNITS[unit]


def applies(encoding: str, unit: str) -> bool:
    """Whether frames of `unit` can be stored in `encoding`; `raw` and `zstd` know nothing of units."""
    if encoding not in KNOWN or unit not in UNITS:
        return False
    return encoding not in _APPLIES or unit in _APPLIES[encoding]
