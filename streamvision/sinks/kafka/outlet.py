"""The connection of the sink ``kafka``; see the package for what it promises."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Producer

from streamvision.errors import SinkError
from streamvision.interfaces import SinkContext, StoredEvent
from streamvision.sinks.confirmed import Confirmed
from streamvision.sinks.kafka.options import KafkaOptions
from streamvision.sinks.naming import filled
from streamvision.sinks.tls import secret, without

_POLL_S = 0.1
_LINGER_MS = 5
_BATCH_BYTES = 128 << 10
"""Small, so that a cluster that takes less than we think refuses single events rather than whole batches."""
_OVERHEAD_BYTES = 512
_SILENT = logging.Logger("librdkafka")  # what it has to say comes in errors, too
_SILENT.addHandler(logging.NullHandler())

_REASONS = {
    KafkaError.MSG_SIZE_TOO_LARGE: "too_large",
    KafkaError.RECORD_LIST_TOO_LARGE: "too_large",
    KafkaError.TOPIC_EXCEPTION: "topic",
    KafkaError.UNKNOWN_TOPIC_OR_PART: "no_topic",
    KafkaError._UNKNOWN_TOPIC: "no_topic",
    KafkaError._UNKNOWN_PARTITION: "no_topic",
    KafkaError.TOPIC_AUTHORIZATION_FAILED: "auth",
    KafkaError.CLUSTER_AUTHORIZATION_FAILED: "auth",
    KafkaError.SASL_AUTHENTICATION_FAILED: "auth",
    KafkaError._AUTHENTICATION: "auth",
    KafkaError._SSL: "tls",
    KafkaError._TRANSPORT: "connect",
    KafkaError._RESOLVE: "connect",
    KafkaError._ALL_BROKERS_DOWN: "connect",
    KafkaError._TIMED_OUT: "timeout",
    KafkaError._MSG_TIMED_OUT: "timeout",
    KafkaError._TIMED_OUT_QUEUE: "timeout",
    KafkaError.NOT_ENOUGH_REPLICAS: "unavailable",
    KafkaError.NOT_ENOUGH_REPLICAS_AFTER_APPEND: "unavailable",
    KafkaError.LEADER_NOT_AVAILABLE: "unavailable",
}
_PERMANENT = frozenset({"too_large", "topic"})
# The first word says most about why nothing arrived: a wrong password also ends in "all brokers are down".
_TELLING = ("auth", "tls", "no_topic", "unavailable", "refused", "connect")


class Outlet:
    """Produces batches and waits for the report on every event.

    A producer that failed once is thrown away with all that it holds. So nothing of a batch is on its way when the
    rest of it is tried again, and the order holds.
    """

    def __init__(self, options: KafkaOptions, context: SinkContext) -> None:
        """Nothing is connected before the first `deliver`."""
        self._options = options
        self._context = context
        self._producer: Producer | None = None
        self._confirmed = Confirmed()
        self._refusals: list[KafkaError] = []
        self._complaints: list[KafkaError] = []

    def deliver(self, events: Sequence[StoredEvent]) -> None:
        """Produce what is not confirmed yet. Raises `SinkError`; a permanent one where an event itself is refused."""
        self._refuse_large(events)
        self._refusals.clear()
        self._complaints.clear()
        try:
            self._produce(self._confirmed.missing(events))
        except (KafkaException, BufferError) as error:
            self.close()
            raise self._failure(error.args[0] if isinstance(error, KafkaException) else None) from error

    def close(self) -> None:
        """Throw the producer away with what it still holds; idempotent."""
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.purge()
            producer.flush(_POLL_S)
            producer.close()

    def _produce(self, events: Sequence[StoredEvent]) -> None:
        if self._producer is None:
            self._producer = Producer(self._settings(), logger=_SILENT)
        for event in events:
            self._producer.produce(
                filled(self._options.topic, event),
                value=event.json.encode(),
                key=event.stream.encode(),
                headers={"id": event.id.encode(), "content-type": b"application/cloudevents+json"},
                timestamp=round(event.time.timestamp() * 1000),
                on_delivery=self._reported(event.id),
            )
        self._wait(self._producer)

    def _wait(self, producer: Producer) -> None:
        """Wait for the reports; the first bad one, or the deadline, ends it. Raises `KafkaException`."""
        until_s = time.monotonic() + self._options.timeout
        while len(producer) > 0 and not self._refusals and time.monotonic() < until_s:
            producer.poll(_POLL_S)
        if self._refusals:
            raise KafkaException(self._refusals[0])
        if len(producer) > 0:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))

    def _reported(self, event_id: str) -> Any:
        def on_delivery(error: KafkaError | None, _: object) -> None:
            if error is None:
                self._confirmed.add(event_id)
            else:
                self._refusals.append(error)

        return on_delivery

    def _refuse_large(self, events: Sequence[StoredEvent]) -> None:
        """Refuse before anything is sent, so that the others keep their order."""
        limit = self._options.max_message_bytes - _OVERHEAD_BYTES
        for event in events:
            if (size := len(event.json.encode())) > limit:
                raise SinkError(
                    f"an event of {size} bytes does not fit into max_message_bytes {self._options.max_message_bytes}",
                    where=self._options.servers, reason="too_large", permanent=True,
                )  # fmt: skip

    def _settings(self) -> dict[str, Any]:
        options = self._options
        return {
            "bootstrap.servers": options.servers,
            "client.id": f"streamvision-{self._context.name}",
            "enable.idempotence": True,
            "acks": "all",
            "partitioner": "murmur2",  # as Java's clients do, so that both put a key into the same partition
            "compression.type": options.compression,
            "message.max.bytes": options.max_message_bytes,
            "batch.size": min(_BATCH_BYTES, options.max_message_bytes),
            "linger.ms": _LINGER_MS,
            # This sink has the deadline; the library's own lies behind it, for it would let later events pass.
            "message.timeout.ms": round(options.timeout * 2000),
            "topic.metadata.propagation.max.ms": round(options.timeout * 500),
            "socket.connection.setup.timeout.ms": round(options.connect_timeout * 1000),
            "socket.timeout.ms": round(options.timeout * 1000),
            "reconnect.backoff.ms": 100,
            "reconnect.backoff.max.ms": 2000,
            "error_cb": self._complaints.append,
            **_security(options, self._context.state_dir),
        }

    def _failure(self, error: KafkaError | None) -> SinkError:
        reason, what = ("full", "the queue is full") if error is None else (_reason(error), error.str())
        if reason == "timeout" and self._complaints:
            error = min(self._complaints, key=lambda one: _rank(_reason(one)))
            reason, what = _reason(error), error.str()
        elif reason == "timeout":
            what = f"no confirmation within {self._options.timeout:g} s"
        what = without(what, self._options.sasl.password if self._options.sasl else None)
        return SinkError(what, where=self._options.servers, reason=reason, permanent=reason in _PERMANENT)


def _reason(error: KafkaError) -> str:
    return _REASONS.get(error.code(), "unavailable" if error.retriable() else "refused")


def _rank(reason: str) -> int:
    return _TELLING.index(reason) if reason in _TELLING else len(_TELLING)


def _security(options: KafkaOptions, folder: Path) -> dict[str, Any]:
    protocol = ("sasl_" if options.sasl else "") + ("ssl" if options.tls else "plaintext")
    settings: dict[str, Any] = {"security.protocol": protocol}
    if options.sasl is not None:
        settings["sasl.mechanism"] = options.sasl.mechanism
        settings["sasl.username"] = options.sasl.username
        settings["sasl.password"] = secret(options.sasl.password)
    if options.tls is not None:
        files = options.tls.readable(folder)
        given = {
            "ssl.ca.location": files.ca,
            "ssl.certificate.location": files.certificate,
            "ssl.key.location": files.key or files.certificate,
            "ssl.key.password": secret(options.tls.key_password),
        }
        settings |= {name: value for name, value in given.items() if value is not None}
        settings["enable.ssl.certificate.verification"] = options.tls.verify
        settings["ssl.endpoint.identification.algorithm"] = "https" if options.tls.verify else "none"
    return settings
