"""The hash tree under the audit log: RFC 6962 section 2.1, with proofs checked per RFC 9162.

Pure values: a `Frontier` is the right edge of a growing tree and fits in one database column, so appending
an event costs O(log n) and reads no other leaf. Whoever holds all the leaf hashes can build proofs; whoever
holds two roots can check them. Signed roots are `signing.checkpoint`'s business.
"""

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from signing.canonical import NotCanonical

HASH_BYTES = 32
MAX_SIZE = 2**63 - 1  # leaves: what a signed 64-bit database column and C2SP tlog tiles can both count
EMPTY_ROOT = hashlib.sha256(b"").digest()  # RFC 6962 section 2.1: the hash of an empty list
_TEXT = re.compile(r"(0|[1-9][0-9]{0,18}):((?:[0-9a-f]{64})*)", re.ASCII)


def leaf_hash(data: bytes) -> bytes:
    """Return the 32-byte hash of one leaf: SHA-256(0x00 || data)."""
    return hashlib.sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the 32-byte hash of an inner node: SHA-256(0x01 || left || right), so that no leaf passes for one."""
    return hashlib.sha256(b"\x01" + left + right).digest()


@dataclass(frozen=True)
class Frontier:
    """The right edge of a tree: the roots of its perfect subtrees, largest (leftmost) first.

    Attributes:
        size: leaves so far, 0 to 2**63 - 1.
        peaks: one 32-byte hash per 1-bit of `size`.

    Raises:
        NotCanonical: when size and peaks do not belong together.
    """

    size: int = 0
    peaks: tuple[bytes, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.size <= MAX_SIZE:
            raise NotCanonical(f"{self.size} leaves; 0 to {MAX_SIZE} can be counted", at="frontier")
        if len(self.peaks) != self.size.bit_count():
            expected = self.size.bit_count()
            raise NotCanonical(
                f"{self.size} leaves need {expected} hashes, not {len(self.peaks)}", at="frontier"
            )
        for number, peak in enumerate(self.peaks):
            if len(peak) != HASH_BYTES:
                raise NotCanonical(f"{len(peak)} bytes; a hash has {HASH_BYTES}", at=f"frontier[{number}]")

    def append(self, leaf: bytes) -> "Frontier":
        """Return the tree with one more leaf, given as its 32-byte `leaf_hash`."""
        peaks, carry, remaining = list(self.peaks), leaf, self.size
        while remaining & 1:  # each trailing 1-bit is a perfect subtree as large as the one being carried
            carry = node_hash(peaks.pop(), carry)
            remaining >>= 1
        return Frontier(self.size + 1, (*peaks, carry))

    def root(self) -> bytes:
        """Return the 32-byte Merkle tree hash; of the empty tree, `EMPTY_ROOT`."""
        return folded(self.peaks) if self.peaks else EMPTY_ROOT

    def to_hex(self) -> str:
        """Return `<size>:<64 hex digits per peak>`, the one text form of this value."""
        return f"{self.size}:{b''.join(self.peaks).hex()}"

    @classmethod
    def from_hex(cls, text: str) -> "Frontier":
        """Return the value that `to_hex` wrote. Raises `NotCanonical` for any other text."""
        if len(text) > 20 + 64 * 63 or (match := _TEXT.fullmatch(text)) is None:
            raise NotCanonical("not '<size>:<hashes in lower-case hex>'", at="frontier")
        joined = bytes.fromhex(match[2])
        peaks = tuple(joined[start : start + HASH_BYTES] for start in range(0, len(joined), HASH_BYTES))
        return cls(int(match[1]), peaks)


def root_of(leaves: Iterable[bytes]) -> bytes:
    """Return the 32-byte root over leaf hashes in their order; O(n) hashes, O(log n) memory."""
    peaks: list[bytes] = []
    for index, leaf in enumerate(leaves):
        carry, remaining = leaf, index
        while remaining & 1:
            carry = node_hash(peaks.pop(), carry)
            remaining >>= 1
        peaks.append(carry)
    return folded(peaks) if peaks else EMPTY_ROOT


def inclusion_proof(leaves: Sequence[bytes], index: int) -> tuple[bytes, ...]:
    """Return the audit path of leaf `index` in the tree over `leaves` (leaf hashes), lowest sibling first.

    Raises:
        IndexError: there is no such leaf.
    """
    return tuple(root_of(leaves[start:end]) for start, end in inclusion_ranges(index, len(leaves)))


def consistency_proof(leaves: Sequence[bytes], old_size: int) -> tuple[bytes, ...]:
    """Return the proof that the first `old_size` leaves are a prefix of the tree over `leaves`.

    Empty for `old_size` 0 and for the whole tree: nothing stands between these and their roots.

    Raises:
        IndexError: the old tree is larger than the new one.
    """
    return tuple(root_of(leaves[start:end]) for start, end in consistency_ranges(old_size, len(leaves)))


def inclusion_ranges(index: int, size: int) -> tuple[tuple[int, int], ...]:
    """Return the ranges of leaves [start, end) whose roots are the audit path of leaf `index`, lowest first.

    Apart from the proof, so that whoever keeps inner nodes need not look at every leaf.

    Raises:
        IndexError: there is no such leaf.

    Source: RFC 9162 section 2.1.3.1.
    """
    if not 0 <= index < size:
        raise IndexError(f"leaf {index} of a tree of {size}")
    found: list[tuple[int, int]] = []
    start, end = 0, size
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            found.append((middle, end))
            end = middle
        else:
            found.append((start, middle))
            start = middle
    return tuple(reversed(found))


def consistency_ranges(old_size: int, size: int) -> tuple[tuple[int, int], ...]:
    """Return the ranges of leaves [start, end) whose roots are the proof that the old tree is a prefix of the new.

    Raises:
        IndexError: the old tree is larger than the new one.

    Source: RFC 9162 section 2.1.4.1.
    """
    if not 0 <= old_size <= size:
        raise IndexError(f"a tree of {old_size} inside a tree of {size}")
    if old_size == 0:
        return ()
    found: list[tuple[int, int]] = []
    start, end, whole = 0, size, True
    while old_size != end:
        middle = start + _split(end - start)
        if old_size <= middle:
            found.append((middle, end))
            end = middle
        else:
            found.append((start, middle))
            start, whole = middle, False
    if not whole:  # the old tree's last subtree; when it is the whole old tree, the checker has its root
        found.append((start, end))
    return tuple(reversed(found))


def perfect_subtrees(start: int, end: int) -> tuple[tuple[int, int], ...]:
    """Return the perfect subtrees that leaves [start, end) fall into, leftmost first, as (height, index).

    Height 0 is a leaf; subtree (h, i) covers leaves [i * 2**h, (i + 1) * 2**h). `start` is where a proof's range
    starts, a multiple of the largest of them: so they shrink from left to right, like a frontier's peaks.
    """
    found: list[tuple[int, int]] = []
    while start < end:
        height = (end - start).bit_length() - 1
        found.append((height, start >> height))
        start += 1 << height
    return tuple(found)


def folded(peaks: Sequence[bytes]) -> bytes:
    """Return the root over perfect subtrees, largest first, at least one: each is hashed with all that stand right of it."""
    root = peaks[-1]
    for peak in reversed(peaks[:-1]):
        root = node_hash(peak, root)
    return root


def verify_inclusion(leaf: bytes, *, index: int, size: int, proof: Sequence[bytes], root: bytes) -> bool:
    """Say whether `leaf` (a leaf hash) stands at `index` of the tree of `size` leaves with this root.

    Never raises on hostile values. Source: RFC 9162 section 2.1.3.2.
    """
    if not 0 <= index < size or not _all_hashes((leaf, root, *proof)):
        return False
    position, last, running = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            return False
        if position & 1 or position == last:
            running = node_hash(sibling, running)
            while not position & 1 and position:
                position, last = position >> 1, last >> 1
        else:
            running = node_hash(running, sibling)
        position, last = position >> 1, last >> 1
    return last == 0 and running == root


def verify_consistency(
    *, old_size: int, new_size: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]
) -> bool:
    """Say whether the new tree only appended to the old one.

    An empty old tree is a prefix of every tree, provided that its root is the empty one.
    Never raises on hostile values. Source: RFC 9162 section 2.1.4.2.
    """
    if not 0 <= old_size <= new_size or not _all_hashes((old_root, new_root, *proof)):
        return False
    if old_size == new_size:
        return not proof and old_root == new_root and (old_size > 0 or old_root == EMPTY_ROOT)
    if old_size == 0:
        return not proof and old_root == EMPTY_ROOT
    # An old tree that is one perfect subtree of the new one is its own first hash; the proof leaves it out.
    path = [old_root, *proof] if old_size & (old_size - 1) == 0 else list(proof)
    return bool(proof) and _walk_consistency(old_size, new_size, path) == (old_root, new_root)


def _walk_consistency(old_size: int, new_size: int, path: Sequence[bytes]) -> tuple[bytes, bytes] | None:
    """Return the old and the new root that a consistency path leads to, or None if it is of the wrong length."""
    position, last = old_size - 1, new_size - 1
    while position & 1:
        position, last = position >> 1, last >> 1
    old = new = path[0]
    for sibling in path[1:]:
        if last == 0:
            return None
        if position & 1 or position == last:
            old, new = node_hash(sibling, old), node_hash(sibling, new)
            while not position & 1 and position:
                position, last = position >> 1, last >> 1
        else:
            new = node_hash(new, sibling)
        position, last = position >> 1, last >> 1
    return (old, new) if last == 0 else None


def _split(size: int) -> int:
    """The largest power of two smaller than `size`, which is at least 2 (RFC 6962 section 2.1)."""
    return 1 << ((size - 1).bit_length() - 1)


def _all_hashes(values: Iterable[bytes]) -> bool:
    return all(len(value) == HASH_BYTES for value in values)
