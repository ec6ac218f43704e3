"""Sends blobs: the one place where the bytes of a model leave, and only those of a file that was hashed.

1. A file whose mark is good (`pipelines.blob_watch`) goes out as it is. Its mark is looked at again after each block
   is read and before the block is sent: when anybody has touched the file, it is hashed before anything more goes.
2. A large whole file that nobody has hashed yet is hashed while it is sent; its last block is held back until the
   digest is known. Wrong: the connection is broken, so that no client takes what it has for the whole.
3. A small one, and a range of any, is sent only after the file was hashed. That takes long for a large one: who
   would wait too long is asked to come again.
4. Behind nginx (`accelerate`) the file is proven first, and nginx sends it.
"""

import asyncio
import hashlib
import logging
import os
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any, ClassVar
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from pipelines.blob_watch import BlobWatch, Opened, ReadingStopped
from registry.errors import BlobDamaged
from tidegate.errors import DoorRefusal
from tidegate.server.arrival import came_over_socket
from tidegate.server.conditions import Asked, asked
from tidegate.server.guard import Desk

BLOCK = 256 << 10  # bytes that one connection has in memory, at most twice
_SMALL = 8 << 20  # bytes that are hashed in the time of a database's answer
_PATIENCE = 8.0  # seconds; less than what clients wait for a first byte (10 by default in huggingface_hub)
_TOUCHED = 3  # times that a file may change while it is sent
_SAFE = {  # a blob is never a page: no browser may run what a stranger put into a model
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; sandbox",
}
# Every header that goes with a file: what nginx is told to put again when it sends the file itself.
PASSED_ON = (
    "Content-Security-Policy",
    "Docker-Content-Digest",
    "ETag",
    "Location",
    "Warning",
    "X-Content-Type-Options",
    "X-HF-Warning",
    "X-Repo-Commit",
    "X-Request-Id",
    "X-Tidegate-Version",
)
_log = logging.getLogger("tidegate.delivery")


class BlobBeingProven(DoorRefusal):
    """A large file that nobody has hashed since it came or was touched; a part of it cannot be sent before that."""

    exit_code: ClassVar[int] = 199
    next_step: ClassVar[str] = (
        "Ask again in a minute: the file is being read. `/readyz` counts the files that wait."
    )
    status: ClassVar[int] = 503
    headers: ClassVar[Mapping[str, str]] = {"Retry-After": "10"}

    def __init__(self, sha256: str) -> None:
        super().__init__(f"blob {sha256[:12]} is being hashed, and nothing of it is sent before that is done")
        self.sha256 = sha256


def send_blob(
    desk: Desk,
    sha256: str,
    *,
    media_type: str = "application/octet-stream",
    headers: Mapping[str, str] | None = None,
    filename: str | None = None,
) -> Response:
    """Answer GET or HEAD with a blob: whole, one range of it, or not at all if the client has it (`If-None-Match`).

    Args:
        headers: the door's own, of `PASSED_ON`; they go with every answer, 304 and 416 included.
        filename: what a browser calls the file that it saves.

    Raises:
        NotFound: the blob is not held.
        BlobDamaged: its file is not what its name says.
        BlobBeingProven: a part was asked for, and nobody has hashed the file yet.

    Source: RFC 9110 sections 13 and 14.
    """
    assert set(headers or ()) <= set(PASSED_ON), (
        "a header that would be lost behind nginx: add it to PASSED_ON"
    )
    request, watch = desk.request, desk.premises.watch
    prefix = desk.premises.settings.accelerate if came_over_socket(request) else None
    opened = watch.open(sha256)
    try:
        want = _wanted(request, opened)
        if _sends(request, want) and (prefix or want.status == 206 or opened.size <= _SMALL):
            opened = _proven(watch, opened, whole=want.status == 200 and not prefix)
            want = _wanted(request, opened)  # of the file that goes out: another one may lie there by now
        sends = _sends(request, want)
        shown = {**_SAFE, **(headers or {}), **_about(opened, want, filename)}
        if sends and not prefix:
            return _Blob(watch, opened, want, shown, media_type)
    except BaseException:
        opened.close()
        raise
    opened.close()
    return (
        _by_proxy(prefix + sha256, shown, media_type)
        if sends and prefix
        else Response(None, want.status, shown, media_type)
    )


def _wanted(request: Request, opened: Opened) -> Asked:
    return asked(request.headers, etag=f'"{opened.sha256}"', size=opened.size)


def _sends(request: Request, want: Asked) -> bool:
    """Whether bytes go out."""
    return want.status in (200, 206) and request.method != "HEAD"


def _proven(watch: BlobWatch, opened: Opened, *, whole: bool) -> Opened:
    """Have a file hashed, and open it anew. Of one that is touched all the time nothing but the whole can be sent."""
    for _ in range(_TOUCHED):
        if opened.proven:
            break
        opened.close()
        try:
            watch.proof(opened.sha256).result(_PATIENCE)
        except TimeoutError as exc:
            raise BlobBeingProven(opened.sha256) from exc
        opened = watch.open(opened.sha256)
    if not (opened.proven or whole):
        opened.close()
        raise BlobBeingProven(opened.sha256)
    return opened


def _about(opened: Opened, want: Asked, filename: str | None) -> dict[str, str]:
    about = {
        "ETag": f'"{opened.sha256}"',
        "Accept-Ranges": "bytes",
        "Content-Disposition": "attachment"
        if filename is None
        else f"attachment; filename*=UTF-8''{quote(filename, safe='')}",
        "Content-Length": str(want.stop - want.first),
    }
    if want.status == 206:
        about["Content-Range"] = f"bytes {want.first}-{want.stop - 1}/{opened.size}"
    if want.status == 416:
        about["Content-Range"] = f"bytes */{opened.size}"
    if want.status == 304:
        del about["Content-Length"]  # it would be the whole file's, and a client may wait for it
    return about


def _by_proxy(place: str, shown: dict[str, str], media_type: str) -> Response:
    """Have nginx send the file: it knows the request's range, and puts length and extent itself."""
    own = {name: value for name, value in shown.items() if name not in ("Content-Length", "Content-Range")}
    return Response(None, 200, {**own, "X-Accel-Redirect": place}, media_type)


class _Blob(Response):
    """The bytes, block by block; memory is two blocks, whatever the file's size."""

    def __init__(
        self, watch: BlobWatch, opened: Opened, want: Asked, shown: Mapping[str, str], media_type: str
    ) -> None:
        super().__init__(None, want.status, shown, media_type)
        self._watch, self._opened, self._want = watch, opened, want

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send, until all is sent, the client is gone, or the file turns out wrong."""
        gone = asyncio.ensure_future(_left(receive))
        blocks = self._proven() if self._opened.proven else self._hashing()
        try:
            await send(
                {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
            )
            async with aclosing(blocks):
                async for block in blocks:
                    if gone.done():
                        return
                    await send({"type": "http.response.body", "body": block, "more_body": True})
                    # Waits until the client has taken the block: only then the next one is read.
                    await send({"type": "http.response.body", "body": b"", "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        except (BlobDamaged, ReadingStopped) as refusal:
            # Nothing can be said any more: an answer that ends early is one that no client takes for whole.
            _log.error("download broken off: %s", refusal)
        finally:
            gone.cancel()
            self._opened.close()

    async def _proven(self) -> AsyncGenerator[bytes | bytearray]:
        """Rule 1."""
        offset, touched = self._want.first, 0
        while offset < self._want.stop:
            block = await _block(self._opened.handle, offset, min(BLOCK, self._want.stop - offset))
            if not block or not self._opened.same():
                touched += 1
                await self._prove_again(touched)
                continue
            yield block
            offset += len(block)

    async def _prove_again(self, touched: int) -> None:
        """A link that was made or removed also counts as a touch, so the file may well be whole."""
        sha256 = self._opened.sha256
        if touched > _TOUCHED or os.fstat(self._opened.handle).st_size != self._opened.size:
            raise BlobDamaged(str(self._watch.blobs.path(sha256)), expected=sha256, actual="moving bytes")
        self._opened = await asyncio.to_thread(self._watch.prove, self._watch.again(self._opened))

    async def _hashing(self) -> AsyncGenerator[bytes]:
        """Rule 2."""
        digest, held, offset = hashlib.sha256(), b"", 0
        while block := await asyncio.to_thread(self._hashed, digest, offset):
            if held:
                yield held
            held, offset = block, offset + len(block)
        await asyncio.to_thread(self._watch.settle, self._opened, digest.hexdigest())
        yield held

    def _hashed(self, digest: Any, offset: int) -> bytes:
        block = os.pread(self._opened.handle, min(BLOCK, self._want.stop - offset), offset)
        digest.update(block)
        return block


async def _block(handle: int, offset: int, count: int) -> bytes | bytearray:
    """Read at once what is in memory; only what has to come from the disk takes a thread."""
    space = bytearray(count)
    try:
        found = os.preadv(handle, [space], offset, os.RWF_NOWAIT)
    except OSError:  # not in memory, or a file system that cannot tell
        return await asyncio.to_thread(os.pread, handle, count, offset)
    del space[found:]
    return space


async def _left(receive: Receive) -> None:
    """End when the client does."""
    while (await receive())["type"] != "http.disconnect":
        pass
