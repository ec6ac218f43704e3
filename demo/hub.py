"""A Hugging Face hub on this machine, for a demo that needs no internet. It is the one that the tests attack."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.pipelines.hub_server import Hub, serving


@contextmanager
def serve_hub(repo: str, folder: Path) -> Iterator[str]:
    """Serve a folder's files as one commit of `repo`; yields the hub's address."""
    files = {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    hub = Hub(repo=repo)
    hub.publish(files)
    with serving(hub):
        yield hub.url
