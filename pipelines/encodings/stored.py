"""Reading stored bytes from front to back. Nothing behind the end is read, and nothing may be left over."""

import struct

from pipelines.encodings.names import FrameMalformed


class Reader:
    """The stored bytes of one frame, and how far they are read."""

    __slots__ = ("_at", "_bytes")

    def __init__(self, stored: memoryview) -> None:
        self._bytes = stored
        self._at = 0

    def take(self, size: int) -> memoryview:
        """Return the next `size` bytes. Raises `FrameMalformed` when there are fewer."""
        end = self._at + size
        if end > len(self._bytes):
            raise FrameMalformed("it ends early")
        taken = self._bytes[self._at : end]
        self._at = end
        return taken

    def head(self) -> tuple[int, int]:
        """Return the kind and the length of the next coded plane (u8, u32 little-endian)."""
        kind, length = struct.unpack("<BI", self.take(5))
        return kind, length

    def finish(self) -> None:
        """Raises `FrameMalformed` when bytes are left over."""
        if self._at != len(self._bytes):
            raise FrameMalformed("bytes are left over behind its end")
