"""Runs the doors: one process, on TCP and on a unix socket at once, until it is told to end.

The first SIGTERM or SIGINT closes the doors: nobody new comes in, who is being served has `limits.stop_seconds`.
A second one ends the process where it stands; nothing is lost by that, for whatever counts is a transaction.
"""

import asyncio
import logging
import os
import signal
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import uvicorn
import uvloop
from starlette.types import ASGIApp

from pipelines.blob_rounds import Rounds
from tidegate.errors import ServerSettingsWrong
from tidegate.server import ground
from tidegate.server.app import build
from tidegate.server.arrival import OverSocket
from tidegate.server.late import LateDoors
from tidegate.server.premises import Premises
from tidegate.server.settings import ServerSettings
from tidegate.server.sweeping import Sweeping
from tidegate.server.wire import Wire

Ready = Callable[[str], None]  # called with the address, once it is listened on
_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_PER_CLIENT = 2  # descriptors: the connection and the file that goes through it
_OWN = 128  # descriptors of the process itself
_KEEP_ALIVE = 75  # seconds; longer than nginx keeps its side, so that it never writes into a closing one


def serve(premises: Premises, *, ready: Ready) -> None:
    """Listen and answer until SIGTERM or SIGINT.

    Raises:
        HomeOnNetwork: the database is SQLite's, on a network file system.
        CannotListen: an address is taken.
        ServerSettingsWrong: the certificate or its key cannot be used.
    """
    settings = premises.settings
    logging.getLogger("uvicorn.error").addFilter(_is_news)
    ground.demand_local(premises.home)
    clients = max(16, (ground.raise_descriptors() - _OWN) // _PER_CLIENT)
    context = tls(settings)
    app = build(premises, background=True, late=True)
    rounds = app.state.rounds = Rounds(premises.watch, premises.store, premises.clock)
    sweeping = Sweeping(premises)
    listeners, addresses = _listeners(LateDoors(app), settings, context, clients)
    try:
        rounds.start()
        sweeping.start()
        uvloop.run(_until_told(listeners, lambda: ready(" and ".join(addresses))))
    finally:
        rounds.stop()
        sweeping.stop()
        premises.close()
        if settings.socket is not None:
            settings.socket.unlink(missing_ok=True)


def _listeners(
    app: ASGIApp, settings: ServerSettings, context: ssl.SSLContext | None, clients: int
) -> tuple[list["_Listener"], list[str]]:
    """Bind every address; return what listens there and what people call them."""
    found: list[_Listener] = []
    addresses: list[str] = []
    if settings.listen is not None:
        listener = ground.tcp(settings)
        addresses.append(_url(settings, listener.getsockname()[1]))
        found.append(_Listener(app, listener, clients, settings, context, first=True))
    if settings.socket is not None:
        addresses.append(f"unix:{settings.socket}")
        listener = ground.unix(settings.socket)
        found.append(_Listener(OverSocket(app), listener, clients, settings, None, first=not found))
    return found, addresses


class _Listener(uvicorn.Server):
    """uvicorn on one listening socket; the process's signals are not its business."""

    def __init__(
        self,
        app: ASGIApp,
        listener: socket.socket,
        clients: int,
        settings: ServerSettings,
        context: ssl.SSLContext | None,
        *,
        first: bool,
    ) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=Wire,
                ws="none",
                lifespan="on" if first else "off",  # the application begins and ends once
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                limit_concurrency=clients,
                timeout_keep_alive=_KEEP_ALIVE,
                timeout_graceful_shutdown=settings.limits.stop_seconds,
                ssl_context_factory=None if context is None else lambda _config, _default: context,
            )
        )
        self._listener = listener

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave them alone."""
        yield

    async def answer(self, up: Callable[[], None]) -> None:
        """Serve until `should_exit`; say so once it listens."""
        self._up = up
        await self.serve(sockets=[self._listener])

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen."""
        await super().startup(sockets)
        self._up()


def _is_news(record: logging.LogRecord) -> bool:
    """A download that was cut off because its time after the first signal was over is no bug to be traced."""
    return not (record.exc_info and isinstance(record.exc_info[1], asyncio.CancelledError))


async def _until_told(listeners: list[_Listener], ready: Callable[[], None]) -> None:
    loop = asyncio.get_running_loop()
    told: list[int] = []

    def tell(number: int) -> None:
        told.append(number)
        if len(told) > 1:
            os._exit(128 + number)
        for listener in listeners:
            listener.should_exit = True

    def up() -> None:
        if all(listener.started for listener in listeners):
            ready()

    for number in _SIGNALS:
        loop.add_signal_handler(number, tell, number)
    await asyncio.gather(*(listener.answer(up) for listener in listeners))


def tls(settings: ServerSettings) -> ssl.SSLContext | None:
    """TLS 1.2 with forward secrecy, or 1.3; None for plain HTTP. Raises `ServerSettingsWrong`."""
    if settings.certificate is None or settings.key is None:
        return None
    for path in (settings.certificate, settings.key):
        try:
            path.read_bytes()
        except OSError as exc:
            raise ServerSettingsWrong(str(path), exc.strerror or str(exc)) from exc
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("ECDHE+AESGCM:ECDHE+CHACHA20")
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    try:
        # An encrypted key would have OpenSSL ask in the terminal; a service has none.
        context.load_cert_chain(settings.certificate, settings.key, password=b"")
    except (OSError, ValueError) as exc:
        where = f"{settings.certificate} with {settings.key}"
        raise ServerSettingsWrong(
            where, f"no PEM certificate and key that belong together, or the key has a passphrase ({exc})"
        ) from exc
    return context


def _url(settings: ServerSettings, port: int) -> str:
    scheme = "http" if settings.certificate is None else "https"
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"{scheme}://{host}:{port}"
