"""Arithmetic of parity: sums over GF(2^8), many bytes at a time.

Bytes are polynomials over GF(2) modulo x^8 + x^4 + x^3 + x^2 + 1 (0x11d); the generator is 2. Adding is XOR. Apart
from the rest because this alone needs numpy. Doubling, the only product that writing parity takes, is four passes
of byte operations over arrays that stay in the cache; a table of 256 products serves rebuilding, where it is rare.
Source: airgap-bundles/parity.md, which says it without numpy; H. P. Anvin, "The mathematics of RAID-6", 2004.
"""

from functools import cache

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint64]  # bytes, eight to a word; no operation here depends on their order
Octets = NDArray[np.uint8]

REDUCTION = 0x1D  # what x^8 is, without x^8
_REDUCTION = np.uint64(REDUCTION)


def double(values: Words, scratch: Words) -> None:
    """Multiply every byte by 2, in place. `scratch` is as long as `values` and is overwritten."""
    overflow = scratch[: len(values)]
    np.less(values.view(np.int8), 0, out=overflow.view(np.bool_))  # 1 where the top bit is set
    np.multiply(overflow, _REDUCTION, out=overflow)  # 0x1d there; no byte reaches its neighbour
    octets = values.view(np.uint8)
    np.add(octets, octets, out=octets)
    np.bitwise_xor(values, overflow, out=values)


def add(total: Words, values: Words) -> None:
    """Add `values` to `total`, in place."""
    np.bitwise_xor(total, values, out=total)


def times(coefficient: int, values: Octets) -> Octets:
    """Return `coefficient` times every byte. Copies: give it a block that fits the cache."""
    return np.frombuffer(values.tobytes().translate(_products(coefficient)), np.uint8)


@cache
def _products(coefficient: int) -> bytes:
    return bytes(multiply(coefficient, value) for value in range(256))


def multiply(left: int, right: int) -> int:
    """Return the product of two bytes, bit by bit."""
    product = 0
    while right:
        if right & 1:
            product ^= left
        left = (left << 1) ^ (REDUCTION | 0x100 if left & 0x80 else 0)
        right >>= 1
    return product


@cache
def power(exponent: int) -> int:
    """Return 2^exponent. The powers 0 to 254 differ from each other: hence at most 255 lanes."""
    value = 1
    for _ in range(exponent % 255):
        value = multiply(value, 2)
    return value


def inverse(value: int) -> int:
    """Return 1/value. `value` is not 0."""
    return next(other for other in range(1, 256) if multiply(value, other) == 1)


def one_from_q(lane: int, q: Octets) -> None:
    """Turn what is left of Q, where one lane is unknown, into that lane. In place."""
    q[:] = times(inverse(power(lane)), q)


def two(first: int, second: int, p: Octets, q: Octets) -> None:
    """Turn what is left of P and Q, where two lanes are unknown, into the first and the second. In place.

    With a and b for the lanes and i and j for their numbers: p = a + b, q = 2^i a + 2^j b.
    """
    weight = inverse(power(first) ^ power(second))
    a = times(multiply(power(second), weight), p) ^ times(weight, q)
    np.bitwise_xor(a, p, out=q)
    p[:] = a
