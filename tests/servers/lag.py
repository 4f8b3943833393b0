"""A way to a server that can be made slow: what the server answers is held back for a while."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
import time
from collections import deque

from tests.servers.process import ServerProcess


class Lag:
    """Forwards connections to a port of the loopback; with ``delay_s`` above 0, answers come that much later."""

    def __init__(self, target: int) -> None:
        self.delay_s = 0.0
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = int(self._listener.getsockname()[1])
        self._selector = selectors.DefaultSelector()
        self._peers: dict[socket.socket, socket.socket] = {}
        self._upstream: set[socket.socket] = set()
        self._held: deque[tuple[float, socket.socket, bytes]] = deque()
        self._closing = threading.Event()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._run, name="lag", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Cut everything; idempotent."""
        self._closing.set()
        self._thread.join(10)

    def _run(self) -> None:
        while not self._closing.is_set():
            for key, _ in self._selector.select(0.005 if self._held else 0.05):
                one = key.fileobj
                assert isinstance(one, socket.socket)
                if one is self._listener:
                    self._accept()
                elif one in self._peers:
                    self._forward(one)
            self._release()
        for one in [*self._peers, self._listener]:
            one.close()
        self._selector.close()

    def _accept(self) -> None:
        client, _ = self._listener.accept()
        try:
            server = socket.create_connection(("127.0.0.1", self._target), timeout=2.0)
        except OSError:
            client.close()
            return
        for one, other in ((client, server), (server, client)):
            one.settimeout(2.0)
            self._peers[one] = other
            self._selector.register(one, selectors.EVENT_READ)
        self._upstream.add(server)

    def _forward(self, one: socket.socket) -> None:
        try:
            data = one.recv(1 << 16)
        except OSError:
            data = b""
        if not data:
            self._cut(one)
        elif one in self._upstream and (self.delay_s or self._held):
            self._held.append((time.monotonic() + self.delay_s, self._peers[one], data))
        else:
            self._send(self._peers[one], data)

    def _release(self) -> None:
        while self._held and self._held[0][0] <= time.monotonic():
            _, to, data = self._held.popleft()
            self._send(to, data)

    def _send(self, to: socket.socket, data: bytes) -> None:
        if to not in self._peers:
            return
        try:
            to.sendall(data)
        except OSError:  # a frozen server no longer reads: this connection is lost
            self._cut(to)

    def _cut(self, one: socket.socket) -> None:
        other = self._peers.pop(one)
        self._peers.pop(other, None)
        for side in (one, other):
            self._upstream.discard(side)
            with contextlib.suppress(KeyError, ValueError):
                self._selector.unregister(side)
            side.close()


class LaggedProcess:
    """The part of a receiver that is the same for every server that is one process, reached through a `Lag`."""

    slow_s = 0.2

    def __init__(self, process: ServerProcess, lag: Lag) -> None:
        self._process = process
        self._lag = lag

    def start(self) -> None:
        self._process.start()

    def stop(self) -> None:
        self._process.stop()

    def kill(self) -> None:
        self._process.kill()

    def freeze(self) -> None:
        self._process.freeze()

    def thaw(self) -> None:
        self._process.thaw()

    def slow(self, on: bool) -> None:
        self._lag.delay_s = self.slow_s if on else 0.0

    def close(self) -> None:
        self._lag.close()
        self._process.kill()
