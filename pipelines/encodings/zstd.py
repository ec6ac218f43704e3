"""zstd in the three ways in which frames use it, and the one way in which they are opened.

As a pure Huffman coder: with its fastest strategy, the smallest hash table and long matches it finds next to none, and
what is left is a four-stream Huffman coder of 1 GB/s whose output any zstd reads.

python-zstandard ignores `max_output_size` where a frame states its size (32 KiB can ask for 1 GiB), and by default
does not mind bytes behind a frame. So `expand` reads the frame's header and block lengths itself before anything is
decoded, and decodes into memory that is there already.
"""

import threading
from typing import Final

import zstandard

from pipelines.encodings.names import FrameMalformed
from pipelines.encodings.scratch import Bytes

MAX_WINDOW: Final = 8 << 20  # bytes
_HUFFMAN = {
    "strategy": zstandard.STRATEGY_FAST, "min_match": 7, "hash_log": 6, "chain_log": 6, "search_log": 1,
    "window_log": 20, "target_length": 0,
}  # fmt: skip
_HEADER = 18  # bytes, the longest header of a frame: RFC 8878, section 3.1.1
_RLE = 1
_RESERVED = 3


class _Contexts(threading.local):
    """zstd's own working memory: one set for each thread, made when it first needs one."""

    def __init__(self) -> None:
        parameters = zstandard.ZstdCompressionParameters(
            **_HUFFMAN, write_content_size=True, write_checksum=False
        )
        self.huffman = zstandard.ZstdCompressor(compression_params=parameters)
        self.light = zstandard.ZstdCompressor(level=1, write_checksum=False, write_content_size=True)
        self.common = zstandard.ZstdCompressor(level=3, write_checksum=False, write_content_size=True)
        self.reader = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW)


_contexts = _Contexts()


def huffman(plane: Bytes) -> bytes:
    """One zstd frame that holds next to nothing but Huffman-coded literals."""
    return _contexts.huffman.compress(plane.data)


def light(plane: Bytes) -> bytes:
    """One zstd frame of level 1: for planes that are nearly all zeros."""
    return _contexts.light.compress(plane.data)


def common(raw: memoryview) -> bytes:
    """One zstd frame of level 3: for everything that is no weight."""
    return _contexts.common.compress(raw)


def expand(frame: memoryview, out: memoryview) -> None:
    """Fill `out` with exactly what `frame` holds: one zstd frame that states its size and ends where `frame` does.

    Raises `FrameMalformed`. Costs zstd's own tables (about 160 KiB, kept per thread) and no other memory.
    """
    size = len(out)
    try:
        _check_header(frame, size)
        _check_blocks(frame, size)
        got = _contexts.reader.stream_reader(frame, closefd=False).readinto(out)
    except zstandard.ZstdError as error:
        raise FrameMalformed(f"zstd: {error}") from error
    if got != size:
        raise FrameMalformed("zstd: the frame holds less than it states")


def _check_header(frame: memoryview, size: int) -> None:
    header = frame[:_HEADER]
    if header[:4] != zstandard.FRAME_HEADER:
        raise FrameMalformed("zstd: no frame begins here")
    stated = zstandard.get_frame_parameters(header)
    if stated.content_size != size:
        raise FrameMalformed(f"zstd: the frame does not state {size} bytes")
    if stated.dict_id or stated.has_checksum or stated.window_size > MAX_WINDOW:
        raise FrameMalformed("zstd: a dictionary, a checksum, or a window above 8 MiB")


def _check_blocks(frame: memoryview, size: int) -> None:
    """Add up the blocks, as RFC 8878 section 3.1.1.2 writes them: the last one ends where the stored bytes end."""
    at = zstandard.frame_header_size(frame[:_HEADER])
    for _ in range(8 + size // 1024):  # zstd's blocks stand for 8 KiB and more, the last one apart
        head = int.from_bytes(frame[at : at + 3], "little")
        kind = head >> 1 & 3
        at += 3 + (1 if kind == _RLE else head >> 3)
        if kind == _RESERVED or at > len(frame):
            break
        if head & 1 and at == len(frame):
            return
        if head & 1:
            break
    raise FrameMalformed("zstd: the frame does not end where its bytes end")
