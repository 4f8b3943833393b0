"""The HTTP server: uvicorn with its own loop in its own thread."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable

import structlog
import uvicorn
from starlette.types import ASGIApp

from streamvision.errors import MissingError
from streamvision.web.limits import MAX_HEAD_BYTES
from streamvision.web.patience import PatientProtocol
from streamvision.web.tls import LOOK_EVERY_S, Certificate, TlsFiles

log = structlog.get_logger()

_START_S = 10.0


class _Server(uvicorn.Server):
    """uvicorn, saying when it is ready."""

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_ready()


class WebServer:
    """Serves an ASGI application until it is stopped; a server is started once."""

    def __init__(
        self,
        app: ASGIApp,
        host: str,
        port: int,
        *,
        tls: TlsFiles | None = None,
        on_stop: Callable[[], None] | None = None,
    ) -> None:
        """``on_stop`` is called in the server's loop when it is asked to stop, to end what never ends by itself.

        By default that is the application's own ``state.end``, as `streamvision.web.create_app` sets it. Raises
        `MissingError` for a certificate that cannot be used.
        """
        self._host = host
        self._port = port
        self._on_stop = on_stop or getattr(getattr(app, "state", None), "end", None)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._started = threading.Event()
        self.crashed: BaseException | None = None
        config = uvicorn.Config(
            app, lifespan="off", ws="none", http=PatientProtocol, loop="asyncio", log_config=None, access_log=False,
            server_header=False, proxy_headers=False, timeout_graceful_shutdown=2, timeout_keep_alive=20,
            h11_max_incomplete_event_size=MAX_HEAD_BYTES,
        )  # fmt: skip
        self._certificate = Certificate(tls) if tls is not None else None
        self._client_ca = tls.client_ca if tls is not None else None
        if self._certificate is not None:
            config.load()
            config.ssl = self._certificate.context
        self._server = _Server(config, self._started.set)
        self._thread = threading.Thread(target=self._guarded, name="web", daemon=True)

    @property
    def port(self) -> int:
        """The port that is bound; with port 0 known after `start`."""
        return self._port

    @property
    def alive(self) -> bool:
        """Whether requests are served."""
        return self._started.is_set() and self._thread.is_alive()

    def start(self) -> None:
        """Bind and serve; returns when requests are answered.

        Raises `MissingError` if the address cannot be bound.
        """
        listener = self._bind()
        self._port = listener.getsockname()[1]
        self._listener = listener
        self._thread.start()
        if not self._started.wait(_START_S) or self.crashed:
            raise MissingError(f"the HTTP server did not start: {self.crashed}", where=self._where)
        log.info("serving", address=self._where)

    def stop(self, deadline_s: float) -> bool:
        """End open streams, finish what is being answered, close; False if that took longer than the deadline."""
        loop = self._loop
        if loop is None:
            return True
        with contextlib.suppress(RuntimeError):  # the loop has ended by itself
            loop.call_soon_threadsafe(self._end)
        self._thread.join(max(0.0, deadline_s))
        if self._thread.is_alive():
            self._server.force_exit = True
            self._thread.join(1.0)
        return not self._thread.is_alive()

    @property
    def _where(self) -> str:
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"{'http' if self._certificate is None else 'https'}://{host}:{self._port}"

    def _bind(self) -> socket.socket:
        try:
            family, kind, protocol, _, address = socket.getaddrinfo(
                self._host, self._port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )[0]
            listener = socket.socket(family, kind, protocol)
        except OSError as error:
            raise MissingError(f"cannot listen on {self._host}:{self._port}: {error}", where="server.listen") from error
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(128)
        except OSError as error:
            listener.close()
            raise MissingError(
                f"cannot listen on {self._host}:{self._port}: {error.strerror or error}",
                where="server.listen",
                remedy=f"is another program using port {self._port}? stop it, or choose another port",
            ) from error
        return listener

    def _guarded(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:  # a thread's border: `start` or the supervisor reports it
            self.crashed = _alone(error)
            log.error("HTTP server stopped", error=str(self.crashed), exc_info=self.crashed)
        finally:
            self._started.set()
            self._listener.close()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as tasks:  # if one of them breaks, that is told, and both end
            renewals = tasks.create_task(self._renew())
            await self._server.serve(sockets=[self._listener])
            renewals.cancel()

    async def _renew(self) -> None:
        """Look from time to time whether the certificate's files have changed."""
        while self._certificate is not None:
            await asyncio.sleep(LOOK_EVERY_S)
            if self._client_ca in self._certificate.refresh():
                self._hang_up()

    def _hang_up(self) -> None:
        """Close every connection: whoever is still trusted comes again, by the authority that counts now."""
        log.info(
            "clients have to show their certificates again", connections=len(self._server.server_state.connections)
        )
        for connection in list(self._server.server_state.connections):
            connection.transport.close()

    def _end(self) -> None:
        if self._on_stop is not None:
            self._on_stop()
        self._server.should_exit = True


def _alone(error: BaseException) -> BaseException:
    """Return what a group of one error holds: a group's own text does not say what went wrong."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error
