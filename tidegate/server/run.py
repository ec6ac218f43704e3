"""Runs the doors: one process, listening until it is told to end."""

import socket
from collections.abc import Callable

import uvicorn

from tidegate.server.app import build
from tidegate.server.premises import Premises

Ready = Callable[[str], None]  # called with the address, once it is listened on


def serve(premises: Premises, *, ready: Ready) -> None:
    """Listen and answer until SIGTERM or SIGINT."""
    settings = premises.settings
    listener = socket.create_server((settings.host, settings.port), backlog=1024, reuse_port=False)
    url = f"http://{settings.host}:{listener.getsockname()[1]}"
    config = uvicorn.Config(build(premises), log_level="warning", access_log=False, server_header=False)
    server = uvicorn.Server(config)
    ready(url)
    try:
        server.run(sockets=[listener])
    finally:
        premises.close()
