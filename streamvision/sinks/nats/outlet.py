"""The connection of the sink ``nats``; see the package for what it promises."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import structlog
from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.errors import MaxPayloadError
from nats.js import JetStreamContext
from nats.js.api import StorageType, StreamConfig
from nats.js.errors import APIError, NoStreamResponseError, NotFoundError

from streamvision.errors import SinkError
from streamvision.interfaces import SinkContext, StoredEvent
from streamvision.redact import redact_values
from streamvision.sinks.bounded import LoopThread
from streamvision.sinks.confirmed import Confirmed
from streamvision.sinks.naming import all_of, filled
from streamvision.sinks.nats.options import MakeStream, NatsOptions
from streamvision.sinks.tls import demand_readable, secret

log = structlog.get_logger()


def _worth_telling(record: logging.LogRecord) -> bool:
    """Return False for what asyncio says whenever a TLS connection of the library ends, about the library's code."""
    return not record.getMessage().startswith("returning true from eof_received()")


logging.getLogger("asyncio").addFilter(_worth_telling)

_SIDE_BY_SIDE = 64
_CLOSE_S = 5.0
_HANG_UP_S = 0.5
# Of the server's errors.json.
_TOO_LARGE = 10054
_FULL = frozenset({10023, 10047, 10077})


class Outlet:
    """Publishes batches to JetStream and waits for every confirmation."""

    def __init__(self, options: NatsOptions, context: SinkContext) -> None:
        """Nothing is connected before the first `deliver`."""
        self._options = options
        self._context = context
        self._loop: LoopThread | None = None
        self._client: Client | None = None
        self._confirmed = Confirmed()
        self._told: Exception | None = None

    def deliver(self, events: Sequence[StoredEvent]) -> None:
        """Publish what is not confirmed yet. Raises `SinkError`; a permanent one where an event is too large."""
        if self._loop is None:
            self._loop = LoopThread(f"sink.{self._context.name}.io")
        self._told = None
        try:
            self._loop.call(self._publish(self._confirmed.missing(events)), self._options.timeout)
        except (NatsError, TimeoutError, OSError, ValueError) as error:
            failure = self._failure(error)
            if not failure.permanent:
                self.close()
            raise failure from error
        except SinkError:
            self.close()
            raise

    def close(self) -> None:
        """Release the connection and its thread; idempotent."""
        client, loop, self._client, self._loop = self._client, self._loop, None, None
        if loop is not None:
            if client is not None:
                with contextlib.suppress(NatsError, TimeoutError, OSError):
                    loop.call(client.close(), _CLOSE_S)
            loop.close()

    async def _publish(self, events: Sequence[StoredEvent]) -> None:
        if self._client is None or not self._client.is_connected:
            await self._connect()
        assert self._client is not None
        jetstream = self._client.jetstream(timeout=self._options.timeout)
        room = asyncio.Semaphore(_SIDE_BY_SIDE)
        lanes = [self._lane(jetstream, lane, room) for lane in _by_stream(events)]
        outcomes = await asyncio.gather(*lanes, return_exceptions=True)
        errors = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
        if errors:
            # What is not permanent first: the batch waits then, and its order with it.
            raise min(errors, key=lambda error: isinstance(error, Exception) and self._failure(error).permanent)

    async def _lane(self, jetstream: JetStreamContext, events: Sequence[StoredEvent], room: asyncio.Semaphore) -> None:
        """Publish one stream's events, one after the other."""
        async with room:
            for event in events:
                subject = filled(self._options.subject, event, lambda text: text.replace(".", "_"))
                headers = {"Nats-Msg-Id": event.id, "Content-Type": "application/cloudevents+json"}
                await jetstream.publish(subject, event.json.encode(), headers=headers)
                self._confirmed.add(event.id)

    async def _connect(self) -> None:
        self._client = None
        client = Client()
        settings = self._settings(client)
        try:
            await client.connect(**settings)
            self._demand_tls(client)
            if self._options.make_stream is not None:
                await self._make(client.jetstream(timeout=self._options.timeout), self._options.make_stream)
        except BaseException:
            with contextlib.suppress(NatsError, TimeoutError, OSError):
                await asyncio.wait_for(client.close(), _HANG_UP_S)  # after a failed handshake it never ends
            raise
        self._client = client

    async def _make(self, jetstream: JetStreamContext, wanted: MakeStream) -> None:
        try:
            await jetstream.stream_info(wanted.name)
        except NotFoundError:
            await jetstream.add_stream(
                StreamConfig(
                    name=wanted.name,
                    subjects=[_subjects(self._options.subject)],
                    storage=StorageType(wanted.storage),
                    num_replicas=wanted.replicas,
                    max_age=wanted.max_age or 0,
                    max_bytes=-1 if wanted.max_mb is None else wanted.max_mb << 20,
                    duplicate_window=min(wanted.duplicates, wanted.max_age or wanted.duplicates),
                )
            )
            log.info("made a JetStream stream", sink=self._context.name, stream=wanted.name)

    def _demand_tls(self, client: Client) -> None:
        """Raise where the server offers no TLS but the configuration asks for it: the library would go on without."""
        said: Any = getattr(client, "_server_info", None)
        if self._options.tls is not None and not (said and said.get("tls_required")):
            raise SinkError("the server does not offer TLS", where=self._where, reason="tls")

    @property
    def _where(self) -> str:
        return ", ".join(self._options.servers)

    def _settings(self, client: Client) -> dict[str, Any]:
        options, folder = self._options, self._context.state_dir

        def told(value: str | None) -> Callable[[], str] | None:
            """Give a secret away only when it is asked for, on a connection that is as it should be."""

            def tell() -> str:
                self._demand_tls(client)
                return str(value)

            return None if value is None else tell

        settings: dict[str, Any] = {
            "servers": list(options.servers),
            "name": f"streamvision-{self._context.name}",
            "connect_timeout": options.connect_timeout,
            # The delivery reconnects, with a back-off that tells.
            "allow_reconnect": False,
            "max_reconnect_attempts": 1,
            "reconnect_time_wait": 0.05,
            "error_cb": self._on_error,
            "user": told(options.username),
            "password": told(secret(options.password)),
            "token": told(secret(options.token)),
        }
        if options.credentials is not None:
            settings["user_credentials"] = str(folder / Path(options.credentials).expanduser())
            demand_readable(settings["user_credentials"], reason="auth")
        if options.tls is not None:
            options.tls.readable(folder)
            settings["tls"] = options.tls.context(folder)
        return settings

    async def _on_error(self, error: Exception) -> None:
        self._told = error

    def _failure(self, error: Exception) -> SinkError:
        told = self._told
        reason = _reason(error, told)
        what = str(error) or f"no answer within {self._options.timeout:g} s"
        if told is not None and str(told) and str(told) not in what:
            what = f"{what} ({told})"
        secrets = [text for text in (secret(self._options.password), secret(self._options.token)) if text]
        remedy = "make it, or write make_stream: {}" if reason == "no_stream" else None
        return SinkError(
            redact_values(what, secrets, everything=True),
            where=self._where,
            remedy=remedy,
            reason=reason,
            permanent=reason == "too_large",
        )


def _by_stream(events: Sequence[StoredEvent]) -> list[list[StoredEvent]]:
    lanes: dict[str, list[StoredEvent]] = {}
    for event in events:
        lanes.setdefault(event.stream, []).append(event)
    return list(lanes.values())


def _subjects(template: str) -> str:
    """Return the subjects that a template can become, as JetStream's wildcards; a type has several words."""
    head, found, _ = template.partition("{type}")
    return all_of(head, "*") + ">" if found else all_of(template, "*")


def _reason(error: Exception, told: Exception | None) -> str:
    """Return what is the matter, by the error itself and by what the server said beside it."""
    if isinstance(error, MaxPayloadError):
        return "too_large"
    if isinstance(error, NoStreamResponseError):
        return "no_stream"
    if isinstance(error, APIError):
        return _answered(error)
    texts = " ".join(f"{type(one).__name__} {one}".lower() for one in (error, told) if one is not None)
    if isinstance(error, ssl.SSLError) or isinstance(told, ssl.SSLError) or "secure" in texts or "tls" in texts:
        return "tls"
    if "authori" in texts or "authentication" in texts or "permissions violation" in texts or "credentials" in texts:
        return "auth"
    if isinstance(error, TimeoutError):
        return "timeout"
    return "connect"


def _answered(error: APIError) -> str:
    if error.err_code == _TOO_LARGE:
        return "too_large"
    if error.err_code in _FULL:
        return "full"
    return "unavailable" if error.code == 503 else "refused"
