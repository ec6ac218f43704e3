"""What pages are made of beside their words: style, scripts, fonts. Held in memory, served from this host alone.

`SHA256SUMS` lists every file; a test holds the folder against it, so that what was vendored stays what it was.
"""

import functools
import hashlib
from pathlib import Path

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from registry.access import Right
from registry.errors import NotFound
from tidegate.server.guard import needs, router
from tidegate.server.problems import problem_json

FOLDER = Path(__file__).parent.parent / "static"
SUMS = "SHA256SUMS"
TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".woff2": "font/woff2",
    ".LICENSE": "text/plain; charset=utf-8",
}
static: APIRouter = router(problem_json, include_in_schema=False)


@functools.cache
def held() -> dict[str, tuple[bytes, str]]:
    """Every file by name, with its SHA-256 in hex."""
    files = {path.name: path.read_bytes() for path in FOLDER.iterdir() if path.suffix in TYPES}
    return {name: (data, hashlib.sha256(data).hexdigest()) for name, data in files.items()}


def address(name: str) -> str:
    """Where a file is: its address changes with its bytes, so browsers keep it for good."""
    return f"/static/{name}?v={held()[name][1][:12]}"


@static.get("/static/{name}")
@needs(Right.OPEN)
def send(name: str, request: Request) -> Response:
    """One file."""
    if name not in held():
        raise NotFound("page asset", name)
    data, digest = held()[name]
    tag = f'"{digest}"'
    good_for = 31536000 if request.query_params.get("v") else 3600  # seconds
    headers = {
        "Cache-Control": f"public, max-age={good_for}",
        "ETag": tag,
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": "default-src 'none'; style-src 'self'; sandbox",
    }
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    return Response(data, headers=headers, media_type=TYPES[Path(name).suffix])
