"""SHA-256 as the one name of bytes, and hashing while bytes move."""

import hashlib
import re
from pathlib import Path

# Bytes per read: large enough that Python's share of the work disappears, small enough that a block is still in a
# core's own cache when it is hashed and written (4 MiB took twice the CPU of it: docs/reference/figures.md).
BLOCK = 256 << 10
_HEX64 = re.compile(r"[0-9a-f]{64}")


def sha256_hex(data: bytes) -> str:
    """Return 64 lower-case hex digits."""
    return hashlib.sha256(data).hexdigest()


def is_sha256(text: object) -> bool:
    """Say whether `text` is exactly 64 lower-case hex digits."""
    return isinstance(text, str) and _HEX64.fullmatch(text) is not None


def file_sha256(path: Path) -> str:
    """Hash a file with constant memory. Raises `OSError` as the file system gives it."""
    digest, block = hashlib.sha256(), bytearray(BLOCK)
    view = memoryview(block)
    with path.open("rb", buffering=0) as stream:
        while count := stream.readinto(block):
            digest.update(view[:count])
    return digest.hexdigest()
