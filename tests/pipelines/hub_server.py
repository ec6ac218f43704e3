"""A small Hugging Face hub on loopback: commits, branches, git and LFS digests, ranges; and everything that goes wrong.

Speaks what `huggingface_hub` asks for (revision with blobs, tree, resolve). Every request for a file's bytes is kept,
so that a test can say what was fetched twice. The address is a free port; leaving the context ends it.
"""

import hashlib
import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

import numpy as np
from safetensors.numpy import save

LFS = (".safetensors", ".gguf", ".bin")


def git_blob(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def tiny_model(seed: int = 0, *, floats: int = 1024, licence: str = "apache-2.0") -> dict[str, bytes]:
    """The files of a small repository as publishers lay them out; `floats` sets the size of the weights."""
    weights = np.random.default_rng(seed).standard_normal(floats).astype(np.float32)
    config = {"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "hidden_size": 64}
    return {
        ".gitattributes": b"*.safetensors filter=lfs diff=lfs merge=lfs -text\n",
        "README.md": f"---\nlicense: {licence}\n---\n# Tiny\n".encode(),
        "config.json": json.dumps(config).encode(),
        "generation_config.json": json.dumps({"seed": seed}).encode(),
        "model.safetensors": save({"model.embed": weights}, metadata={"format": "pt"}),
        "tokenizer.json": json.dumps({"version": "1.0", "model": {"type": "BPE", "vocab": {}}}).encode(),
    }


@dataclass(frozen=True)
class Got:
    """One request for bytes, as the server saw it."""

    path: str
    start: int
    token: str | None


@dataclass
class Hub:
    """What the hub holds and how it behaves. Tests change the fields between and during requests."""

    repo: str = "Acme/Tiny-LLM"
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)
    got: list[Got] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)  # every other request's path

    gated: bool = False
    status: int | None = None  # answer everything with this
    token: str | None = None  # who does not show it sees no repository
    answer: Any = None  # this instead of the model's facts
    drop: dict[str, int] = field(default_factory=dict)  # path to how often the line breaks at 7/8 of the rest
    busy: dict[str, int] = field(default_factory=dict)  # path to how often 503 is answered first
    corrupt: set[str] = field(default_factory=set)  # one bit differs, the length does not
    short: set[str] = field(default_factory=set)  # the last byte is missing, and the answer says so
    long: set[str] = field(default_factory=set)  # one byte more, for ever
    no_ranges: bool = False
    elsewhere: str | None = None  # large files are redirected to this address
    hold: dict[str, threading.Event] = field(default_factory=dict)  # path: stop half-way until set
    on_list: Any = None  # called after the files were listed

    url: str = ""

    def publish(self, files: Mapping[str, bytes], branch: str = "main") -> str:
        """Make a commit and move a branch to it."""
        text = json.dumps({path: git_blob(data) for path, data in sorted(files.items())})
        commit = hashlib.sha1(text.encode()).hexdigest()
        self.commits[commit], self.refs[branch] = dict(files), commit
        return commit

    def fetched(self, path: str) -> list[int]:
        """The offsets from which this file was asked for, in order."""
        return [got.start for got in self.got if got.path == path]

    def facts(self, commit: str) -> dict[str, Any]:
        siblings = [self.line(path, data) for path, data in self.commits[commit].items()]
        return {"id": self.repo, "sha": commit, "siblings": siblings, "tags": [], "private": False}

    @staticmethod
    def line(path: str, data: bytes) -> dict[str, Any]:
        if not path.endswith(LFS):
            return {"rfilename": path, "size": len(data), "blobId": git_blob(data)}
        sha = hashlib.sha256(data).hexdigest()
        pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha}\nsize {len(data)}\n".encode()
        lfs = {"sha256": sha, "size": len(data), "pointerSize": len(pointer)}
        return {"rfilename": path, "size": len(data), "blobId": git_blob(pointer), "lfs": lfs}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class calls it so
        pass

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        if self.hub.status is not None:
            return self.say(self.hub.status, {"error": "set by the test"})
        if self.hub.token and self.headers.get("Authorization") != f"Bearer {self.hub.token}":
            return self.refuse(401, "RepoNotFound", "Invalid username or password.")
        if match := re.fullmatch(r"/api/models/([^/]+/[^/]+?)(?:/revision/([^/]+))?", path):
            self.hub.asked.append(path)
            return self.facts(match[1], unquote(match[2] or "main"))
        if match := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            return self.file(match[2], unquote(match[3]))
        if match := re.fullmatch(r"/elsewhere/([^/]+)/(.+)", path):
            return self.content(unquote(match[2]), self.hub.commits[match[1]][unquote(match[2])])
        self.hub.asked.append(path)
        return self.say(404, {"error": "no such route"})

    def facts(self, repo: str, revision: str) -> None:
        if repo != self.hub.repo:
            return self.refuse(404, "RepoNotFound", "Repository not found")
        if self.hub.gated:
            return self.refuse(403, "GatedRepo", "You are not in the authorized list")
        commit = self.hub.refs.get(revision, revision)
        if commit not in self.hub.commits:
            return self.refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        self.say(200, self.hub.facts(commit) if self.hub.answer is None else self.hub.answer)
        if self.hub.on_list:
            self.hub.on_list()
        return None

    def file(self, commit: str, path: str) -> None:
        files = self.hub.commits.get(commit)
        if files is None or path not in files:
            return self.refuse(404, "EntryNotFound", "Entry not found")
        if self.hub.elsewhere and path.endswith(LFS):
            self.note(path)
            return self.say(302, {}, Location=f"{self.hub.elsewhere}/elsewhere/{commit}/{path}")
        return self.content(path, files[path])

    def note(self, path: str) -> int:
        wish = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        start = int(wish[1]) if wish and not self.hub.no_ranges else 0
        self.hub.got.append(Got(path, start, self.headers.get("Authorization")))
        return start

    def content(self, path: str, data: bytes) -> None:
        start, hub = self.note(path), self.hub
        if hub.busy.get(path, 0):
            hub.busy[path] -= 1
            return self.say(503, {"error": "busy"})
        if path in hub.corrupt:
            data = data[:-1] + bytes([data[-1] ^ 1])
        data = data[:-1] if path in hub.short else data
        data = data + b"\0" if path in hub.long else data
        if start and start >= len(data):
            return self.say(416, {"error": "range"})
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        return self.body(path, data[start:])

    def body(self, path: str, rest: bytes) -> None:
        if self.hub.drop.get(path, 0):
            self.hub.drop[path] -= 1
            self.wfile.write(rest[: len(rest) * 7 // 8])
            self.close_connection = True
        elif path in self.hub.hold:
            self.wfile.write(rest[: len(rest) // 2])
            self.wfile.flush()
            self.hub.hold[path].wait(60)
            self.close_connection = True
        else:
            self.wfile.write(rest)

    def refuse(self, status: int, code: str, message: str) -> None:
        self.say(status, {"error": message}, **{"X-Error-Code": code, "X-Error-Message": message})

    def say(self, status: int, body: Any, **headers: str) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that was killed is part of the story."""


@contextmanager
def serving(hub: Hub) -> Iterator[Hub]:
    """Serve on a free port of loopback until the block ends."""
    with _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub})) as server:
        hub.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield hub
        finally:
            for event in hub.hold.values():
                event.set()
            server.shutdown()
            thread.join()
