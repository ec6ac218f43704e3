"""Working memory that each thread keeps. Fresh pages cost a third of the time of encoding and decoding.

A buffer has a role, and one role is in use once at a time: whoever asks for the role again gets the same bytes. The
most that a thread ever holds is the sum over `_ROLES`.
"""

import threading
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pipelines.encodings.names import BLOCK, FRAME

Bytes = NDArray[np.uint8]
Words = NDArray[Any]  # unsigned little-endian integers, one per element

_ROLES: Final = {  # bytes
    "planes": FRAME,  # encoding: byte planes, until the frame is joined; decoding: free for what is put together
    "coded": FRAME,  # decoding: byte planes as they are read; encoding: free for what planes are cut from
    "check": FRAME,  # what a frame that was just encoded decodes to
    "places": FRAME,  # where elements sorted by exponent come from
    "words": BLOCK,  # elements between two steps
    "spare": BLOCK,
}
_kept = threading.local()


def buffer(role: str, size: int) -> Bytes:
    """Return `size` bytes of unknown content, this thread's own, valid until the role is asked for again."""
    whole: Bytes | None = getattr(_kept, role, None)
    if whole is None:
        whole = np.empty(_ROLES[role], np.uint8)
        setattr(_kept, role, whole)
    assert size <= whole.size, f"{role} is asked for {size} bytes"
    return whole[:size]
