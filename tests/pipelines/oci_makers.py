"""OCI layouts as others make them, honest and not; and a registry just large enough that ORAS can push to it."""

import gzip
import io
import json
import tarfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import zstandard

from signing.digests import sha256_hex

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
MODELPACK = "application/vnd.cncf.model."
KITOPS = "application/vnd.kitops.modelkit."
FILEPATH, TITLE = "org.cncf.model.filepath", "org.opencontainers.image.title"
REF_NAME = "org.opencontainers.image.ref.name"

Raw = dict[str, Any]


@dataclass
class Maker:
    """Writes one layout."""

    folder: Path

    def __post_init__(self) -> None:
        (self.folder / "blobs" / "sha256").mkdir(parents=True)
        (self.folder / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')

    def blob(self, data: bytes) -> str:
        """Keep bytes under their digest."""
        (self.folder / "blobs" / "sha256" / sha256_hex(data)).write_bytes(data)
        return sha256_hex(data)

    def describe(self, media_type: str, data: bytes, **annotations: str) -> Raw:
        """Keep bytes and name them."""
        found: Raw = {"mediaType": media_type, "digest": f"sha256:{self.blob(data)}", "size": len(data)}
        return {**found, "annotations": annotations} if annotations else found

    def layer(self, media_type: str, data: bytes, path: str | None = None, key: str = FILEPATH) -> Raw:
        """Keep a layer, with the path of its file if it has one."""
        return self.describe(media_type, data, **({key: path} if path is not None else {}))

    def image(self, layers: Sequence[Raw], /, **more: Any) -> bytes:
        """Return an image's manifest; it is kept."""
        config = self.describe(f"{MODELPACK}config.v1+json", b'{"descriptor":{}}')
        body = {"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": list(layers)} | more
        data = json.dumps(body).encode()
        self.blob(data)
        return data

    def index(self, *images: tuple[bytes, str | None], **more: Any) -> Path:
        """Write `index.json` and return the layout's folder."""
        listed = [
            self.describe(MANIFEST, data, **({REF_NAME: tag} if tag is not None else {}))
            for data, tag in images
        ]
        body = {"schemaVersion": 2, "mediaType": INDEX, "manifests": listed} | more
        (self.folder / "index.json").write_text(json.dumps(body))
        return self.folder


def raw(maker: Maker, files: Mapping[str, bytes]) -> list[Raw]:
    """ModelPack layers of files as they are."""
    return [maker.layer(f"{MODELPACK}weight.v1.raw", data, path) for path, data in files.items()]


def packed(files: Mapping[str, bytes], *, form: int = tarfile.PAX_FORMAT) -> bytes:
    """An archive of plain files, as any tar program makes it."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as archive:
        for path, data in files.items():
            entry = tarfile.TarInfo(path)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return out.getvalue()


def entry(name: str, kind: bytes, *, link: str = "", data: bytes = b"") -> bytes:
    """An archive with one entry of any kind."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        made = tarfile.TarInfo(name)
        made.type, made.linkname, made.size = kind, link, len(data)
        archive.addfile(made, io.BytesIO(data))
    return out.getvalue()


def gzipped(data: bytes) -> bytes:
    """Compressed as KitOps and ORAS do."""
    return gzip.compress(data, mtime=0)


def zstd(data: bytes) -> bytes:
    """Compressed as modctl does."""
    return zstandard.ZstdCompressor().compress(data)


@contextmanager
def registry() -> Iterator[str]:
    """A registry that keeps what is pushed, in memory. Yields its host:port."""
    kept: dict[str, tuple[str, bytes]] = {}

    class Registry(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            media_type, data = kept.get(self.path.rpartition("/")[2], ("", b""))
            self._answer(200 if media_type else 404, data, {"Content-Type": media_type or "text/plain"})

        def do_POST(self) -> None:
            self._answer(202, b"", {"Location": "/v2/upload"})

        def do_PUT(self) -> None:
            data = self.rfile.read(int(self.headers["Content-Length"]))
            digest = f"sha256:{sha256_hex(data)}"
            told = (self.headers.get("Content-Type", "application/octet-stream"), data)
            kept[digest] = told
            if "/manifests/" in self.path:
                kept[self.path.rpartition("/")[2]] = told
            self._answer(201, b"", {"Location": f"/v2/x/{digest}", "Docker-Content-Digest": digest})

        def _answer(self, status: int, data: bytes, headers: dict[str, str]) -> None:
            self.send_response(status)
            digest = {"Docker-Content-Digest": f"sha256:{sha256_hex(data)}"} if data else {}
            for name, value in (digest | headers | {"Content-Length": str(len(data))}).items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

        def log_message(self, *_words: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Registry) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()
