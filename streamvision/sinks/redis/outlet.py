"""The connection of the sink ``redis``; see the package for what it promises."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    BusyLoadingError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
)
from redis.exceptions import TimeoutError as RedisTimeout

from streamvision.errors import SinkError
from streamvision.interfaces import SinkContext, StoredEvent
from streamvision.sinks.bounded import LoopThread
from streamvision.sinks.idle import once_more
from streamvision.sinks.naming import filled
from streamvision.sinks.redis.options import RedisOptions
from streamvision.sinks.tls import secret, tls_error, without

TAIL = 1024
"""How many entries of a stream's end are searched for a batch whose fate is not known."""
_CLOSE_S = 5.0
_REASONS: tuple[tuple[type[RedisError], str], ...] = (
    (OutOfMemoryError, "full"),
    (AuthenticationError, "auth"),
    (AuthorizationError, "auth"),
    (NoPermissionError, "auth"),
    (BusyLoadingError, "loading"),
    (ReadOnlyError, "read_only"),
    (RedisTimeout, "timeout"),
)


class Outlet:
    """Writes batches to a Redis stream; all of a batch or nothing of it, so that the order holds."""

    def __init__(self, options: RedisOptions, context: SinkContext) -> None:
        """Nothing is connected before the first `deliver`."""
        self._options = options
        self._context = context
        self._client: Redis | None = None
        self._loop: LoopThread | None = None
        self._doubtful = True

    def deliver(self, events: Sequence[StoredEvent]) -> None:
        """Write the batch. Raises `SinkError`, never a permanent one."""
        once_more(partial(self._bounded, events), used=self._client is not None, beat=self._context.beat)

    def close(self) -> None:
        """Release the connection and its thread; idempotent."""
        client, loop, self._client, self._loop = self._client, self._loop, None, None
        self._doubtful = True
        if loop is not None:
            if client is not None:
                _close(client, loop)
            loop.close()

    def _bounded(self, events: Sequence[StoredEvent]) -> None:
        if self._loop is None:
            self._loop = LoopThread(f"sink.{self._context.name}.io")
        try:
            self._loop.call(self._write(events), self._options.timeout)
        except (RedisError, TimeoutError, OSError) as error:
            self.close()
            raise self._failure(error) from error
        except SinkError:
            self.close()
            raise

    async def _write(self, events: Sequence[StoredEvent]) -> None:
        client = self._client
        if client is None:
            client = self._client = self._connection()
        if self._doubtful:
            events = await self._absent(client, events)
        if events:
            await self._add(client, events)
        self._doubtful = False

    async def _add(self, client: Redis, events: Sequence[StoredEvent]) -> None:
        async with client.pipeline(transaction=True) as pipe:
            for event in events:
                fields: dict[Any, Any] = _fields(event)
                pipe.xadd(filled(self._options.key, event), fields, maxlen=self._options.max_length)
            await pipe.execute()

    async def _absent(self, client: Redis, events: Sequence[StoredEvent]) -> list[StoredEvent]:
        """Return the events that are not at the end of their Redis streams, in order."""
        there: set[bytes] = set()
        for key in {filled(self._options.key, event) for event in events}:
            rows: Any = await client.xrevrange(key, count=TAIL)
            there |= {fields.get(b"id", b"") for _, fields in rows}
        return [event for event in events if event.id.encode() not in there]

    def _connection(self) -> Redis:
        options = self._options
        return Redis.from_url(
            options.url,
            username=options.username,
            password=secret(options.password),
            socket_connect_timeout=options.connect_timeout,
            socket_timeout=options.timeout,
            max_connections=1,
            # The delivery tries again, with a back-off that tells; a library that does so in secret hides faults.
            retry=Retry(NoBackoff(), 0),
            client_name=f"streamvision-{self._context.name}",
            **self._tls(),
        )

    def _tls(self) -> dict[str, Any]:
        tls = self._options.tls
        if tls is None:
            return {}
        files = tls.readable(self._context.state_dir)
        return {
            "connection_class": _tls_connection(),
            "ssl_ca_certs": files.ca,
            "ssl_certfile": files.certificate,
            "ssl_keyfile": files.key,
            "ssl_password": tls.password,
            "ssl_cert_reqs": "required" if tls.verify else "none",
            "ssl_check_hostname": tls.verify,
        }

    def _failure(self, error: Exception) -> SinkError:
        reason = next((reason for kind, reason in _REASONS if isinstance(error, kind)), None) or _reason(error)
        what = str(error) or f"no answer within {self._options.timeout:g} s"
        return SinkError(without(what, self._options.password), where=self._options.url, reason=reason)


def _tls_connection() -> type[Any]:
    from redis.asyncio import SSLConnection

    return SSLConnection


def _fields(event: StoredEvent) -> dict[str, str]:
    return {
        "id": event.id,
        "stream": event.stream,
        "type": event.type,
        "time": event.time.isoformat(),
        "event": event.json,
    }


def _close(client: Redis, loop: LoopThread) -> None:
    try:
        loop.call(client.aclose(), _CLOSE_S)
    except (RedisError, TimeoutError, OSError):
        return  # the loop's end closes the socket


def _reason(error: BaseException) -> str:
    """Return the reason of what the library has no class for."""
    if isinstance(error, TimeoutError):
        return "timeout"
    if tls_error(error) is not None:
        return "tls"
    text = str(error)
    if text.startswith("MISCONF"):
        return "disk"
    return "connect" if isinstance(error, OSError | ConnectionError) or "onnect" in type(error).__name__ else "refused"
