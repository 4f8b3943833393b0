"""A real Redis on a free port, which keeps what it has confirmed (append-only file)."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.delivery.receivers import Arrival, Fault
from tests.harness import free_port
from tests.servers.lag import Lag, LaggedProcess
from tests.servers.process import ServerProcess, listening, program

KEY = "events"


class RedisServer:
    """``config`` are lines of redis.conf beyond those that every test has."""

    def __init__(self, folder: Path, *config: str) -> None:
        self.port = free_port()
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        text = [f"dir {folder}", f"port {self.port}", "bind 127.0.0.1", "save ''", "appendonly yes", *config]
        (folder / "redis.conf").write_text("\n".join(text))
        command = [program("redis-server", package="redis-server"), str(folder / "redis.conf")]
        self.process = ServerProcess(command, folder / "log", lambda: listening(self.port) and self._loaded())

    def client(self, **given: Any) -> Any:
        """Return a client of the test's own."""
        redis = pytest.importorskip("redis")
        return redis.Redis(port=self.port, decode_responses=True, **given)

    def _loaded(self) -> bool:
        import redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        try:
            with self.client(socket_timeout=5.0, retry=Retry(NoBackoff(), 0)) as client:
                client.ping()
        except redis.AuthenticationError:
            return True
        except redis.RedisError:
            return False
        return True


class RedisReceiver(LaggedProcess):
    """Redis as the delivery tests break it."""

    faults: Sequence[Fault] = ("kill", "freeze", "slow", "reject")
    # The sink looks at the stream's end before it repeats, but that is a courtesy and no promise.
    once = False

    def __init__(self, folder: Path) -> None:
        pytest.importorskip("redis")
        self._server = RedisServer(Path(tempfile.mkdtemp(dir=folder)))
        super().__init__(self._server.process, Lag(self._server.port))
        self._arrived: list[Arrival] = []
        self._last = "-"

    def options(self) -> str:
        return f"type: redis, url: 'redis://127.0.0.1:{self._lag.port}/0', key: {KEY}, timeout: 3s"

    def reject(self, on: bool) -> None:
        """No memory left, by a limit that is below what it has."""
        with self._server.client() as client:
            client.config_set("maxmemory", "1mb" if on else "0")

    def received(self) -> list[Arrival]:
        with self._server.client() as client:
            while rows := client.xrange(KEY, min=self._last, count=2000):
                self._arrived += [(fields["id"], fields["stream"]) for _, fields in rows]
                self._last = f"({rows[-1][0]}"
        return list(self._arrived)
