"""One connection to a broker, from login to loss: publishes with a bounded number of messages in flight.

A connection is never repaired: whatever goes wrong ends it, with all that was in flight, and the outbox gives those
events again to the next one. So the session needs no memory at the broker: it starts clean and ends with the
connection.
"""

from __future__ import annotations

import contextlib
import queue
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, cast

import paho.mqtt.client as mqtt
import structlog
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from streamvision.errors import SinkError
from streamvision.sinks.mqtt.options import MqttOptions
from streamvision.sinks.tls import secret

log = structlog.get_logger()

CONTENT_TYPE = "application/cloudevents+json; charset=utf-8"
END_S = 2.0
HANDSHAKE_S = 10.0
"""For how long TLS is negotiated, at most; older clients wait for their keepalive."""
UNWANTED_S = 600.0
"""For how long a retained topic that was refused is not tried again."""
_FRAMING_BYTES = 16
_FAILURE = 0x80
"""From this on a reason code says that something failed."""
_FOR_GOOD = {0x87: "forbidden", 0x90: "bad_topic", 0x95: "too_large", 0x99: "refused", 0x9A: "refused", 0x9B: "refused"}
"""MQTT 5.0, table 2-6: what a PUBACK or PUBREC says about the message, and not about the moment."""
_LOGIN = {0x84: "version", 0x85: "client_id", 0x86: "auth", 0x87: "auth", 0x8C: "auth", 0x9B: "qos"}
_REMEDIES = {
    "auth": "check username, password and the certificate",
    "version": "set version: '3.1.1'",
    "client_id": "set client_id",
    "qos": "set qos: 0, if it is enough that most events arrive",
}


@dataclass(frozen=True, slots=True)
class Message:
    """What is published; ``event_id``, ``type`` and ``happening`` where it is an event."""

    topic: str
    payload: bytes
    retain: bool = False
    event_id: str | None = None
    type: str = ""
    happening: str = ""


class TidySocket(ssl.SSLSocket):
    """Negotiates in bounded time, and closes itself when that fails, which the client does not do."""

    def do_handshake(self, block: bool = False) -> None:
        """Negotiate. Raises `OSError`."""
        self.settimeout(min(self.gettimeout() or HANDSHAKE_S, HANDSHAKE_S))
        try:
            super().do_handshake(block)
        except BaseException:
            self.close()
            raise


class Wire:
    """A connection that stands when it has been built; ``lost`` is set when it is no more."""

    def __init__(
        self,
        options: MqttOptions,
        client_id: str,
        tls: ssl.SSLContext | None,
        will: Message,
        unwanted: dict[str, float],
    ) -> None:
        """Connect and log in. Raises `SinkError` (``connect``, ``tls``, ``timeout``, ``auth``, ``refused``).

        ``unwanted``: retained topics that the broker has refused, and when (monotonic); they are left out for a while.
        """
        self.lost = threading.Event()
        self._options = options
        self._where = f"{options.host}:{options.port}"
        self._confirmations: queue.SimpleQueue[tuple[int, int]] = queue.SimpleQueue()
        self._answered = threading.Event()
        self._login: ReasonCode | None = None
        self._window = options.in_flight
        self._most_bytes = options.max_bytes
        self._retains = True
        self._best_qos = 2
        self._unwanted = unwanted
        self._client = self._new_client(client_id, tls, will)
        try:
            self._connect()
        except SinkError:
            self._let_go()
            raise

    def publish(self, messages: Iterable[Message], confirmed: Callable[[Message], None]) -> None:
        """Publish in order and wait for the broker's word for each, which is told to ``confirmed``.

        Raises `SinkError`; after one that is not ``permanent`` the connection is of no use. A refusal of what is no
        event is logged.
        """
        in_flight: dict[int, Message] = {}
        refusals: list[SinkError] = []
        try:
            for message in filter(self._wanted, messages):
                self._take(in_flight, self._window - 1, confirmed, refusals)
                if refusals and message.event_id is not None:  # what belongs to the event before goes out
                    break
                self._launch(message, in_flight, refusals)
            self._take(in_flight, 0, confirmed, refusals)
        except SinkError:
            # Mosquitto 2.0.11 ends the connection after a refusal; what it said before that still holds.
            self._hear_out(in_flight, confirmed, refusals)
            if not refusals:
                raise
            self.cut()
        if refusals:
            raise refusals[0]

    def end(self, goodbye: Message) -> None:
        """Say goodbye and leave in order, within seconds."""
        if not self.lost.is_set():
            self._client.publish(goodbye.topic, goodbye.payload, self._options.qos, retain=self._retains)
            self._client.disconnect()
            self.lost.wait(END_S)
        self.drop()

    def drop(self) -> None:
        """End the connection at once, and its thread; the broker executes the last will."""
        self.cut()
        self._client.loop_stop()
        if (sock := self._client.socket()) is not None:  # the client's thread has not come to it
            sock.close()
        self._let_go()

    def _let_go(self) -> None:
        """Let the client be freed at once, with its descriptors, and not when Python looks for circles next."""
        self._client.on_connect = self._client.on_disconnect = self._client.on_publish = None

    def cut(self) -> None:
        """End the connection at once, from whatever thread, with all that is in flight."""
        self.lost.set()
        if (sock := self._client.socket()) is not None:
            # The socket's own method: that of TLS would take the state away that another thread works with.
            with contextlib.suppress(OSError):  # it is closed already
                socket.socket.shutdown(cast(socket.socket, sock), socket.SHUT_RDWR)

    def _new_client(self, client_id: str, tls: ssl.SSLContext | None, will: Message) -> mqtt.Client:
        options = self._options
        client = mqtt.Client(
            CallbackAPIVersion.VERSION2, client_id,
            protocol=mqtt.MQTTv5 if options.version == "5.0" else mqtt.MQTTv311, reconnect_on_failure=False,
        )  # fmt: skip
        client.max_inflight_messages_set(0)  # `publish` counts them itself
        client.connect_timeout = options.connect_timeout
        client.on_connect, client.on_disconnect = self._on_connect, self._on_disconnect
        client.on_publish = self._on_publish
        client.will_set(will.topic, will.payload, qos=min(options.qos, 1), retain=True)
        if options.username is not None:
            client.username_pw_set(options.username.get_secret_value(), secret(options.password))
        if tls is not None:
            tls.sslsocket_class = TidySocket
            client.tls_set_context(tls)
        return client

    def _connect(self) -> None:
        options = self._options
        try:
            self._client.connect(options.host, options.port, keepalive=round(options.keepalive))
        except ssl.SSLCertVerificationError as error:
            raise self._error(f"its certificate is not believed: {error.verify_message}", "tls") from None
        except ssl.SSLError as error:
            raise self._error(f"TLS fails: {(error.reason or 'closed').lower().replace('_', ' ')}", "tls") from None
        except TimeoutError:
            raise self._error("the broker does not answer", "timeout") from None
        except (OSError, ValueError) as error:
            raise self._error(f"no connection: {getattr(error, 'strerror', None) or error}", "connect") from None
        self._client.loop_start()
        in_time = self._answered.wait(options.connect_timeout)
        if self._login is not None and not self._login.is_failure and not self.lost.is_set():
            if self._best_qos >= options.qos:
                return
            self.drop()
            what = f"the broker confirms only up to qos {self._best_qos}"
            raise self._error(what, "qos", f"set qos: {self._best_qos}")
        self.drop()
        if self._login is not None:
            reason = _LOGIN.get(self._login.value, "refused")
            raise self._error(f"the broker refuses: {self._login}", reason, _REMEDIES.get(reason))
        raise self._error(
            *(("it ends the connection", "connect") if in_time else ("no answer to the login", "timeout"))
        )

    def _take(
        self, in_flight: dict[int, Message], most: int, confirmed: Callable[[Message], None], refusals: list[SinkError]
    ) -> None:
        """Take confirmations until at most so many messages are in flight."""
        while len(in_flight) > most:
            self._heed(*self._confirmation(), in_flight, confirmed, refusals)

    def _hear_out(
        self, in_flight: dict[int, Message], confirmed: Callable[[Message], None], refusals: list[SinkError]
    ) -> None:
        """Take what has been confirmed or refused and not been looked at yet."""
        with contextlib.suppress(queue.Empty):
            while True:
                self._heed(*self._confirmations.get_nowait(), in_flight, confirmed, refusals)

    def _heed(
        self, mid: int, code: int, in_flight: dict[int, Message], confirmed: Callable[[Message], None],
        refusals: list[SinkError],
    ) -> None:  # fmt: skip
        message = in_flight.pop(mid, None)
        if message is not None and code < _FAILURE:
            confirmed(message)
        elif message is not None:
            self._refused(message, self._refusal(code, message), refusals)

    def _launch(self, message: Message, in_flight: dict[int, Message], refusals: list[SinkError]) -> None:
        try:
            in_flight[self._send(message)] = message
        except SinkError as error:
            if not error.permanent:
                raise
            self._refused(message, error, refusals)

    def _send(self, message: Message) -> int:
        """Hand a message to the client; return the number by which the broker confirms it."""
        size = len(message.topic.encode()) + len(message.payload) + _FRAMING_BYTES
        if size > self._most_bytes:
            what = f"the message has {size} bytes, and {self._most_bytes} are allowed"
            raise self._error(what, "too_large", "raise max_bytes, here or at the broker", permanent=True)
        try:
            info = self._client.publish(
                message.topic, message.payload, self._options.qos,
                retain=message.retain and self._retains, properties=self._properties(message),
            )  # fmt: skip
        except ValueError as error:
            raise self._error(f"this is no topic: {error}", "bad_topic", permanent=True) from None
        if info.rc != mqtt.MQTT_ERR_SUCCESS:
            raise self._error("the connection broke", "connection")
        return info.mid

    def _wanted(self, message: Message) -> bool:
        refused_s = None if message.event_id is not None else self._unwanted.get(message.topic)
        return refused_s is None or time.monotonic() - refused_s > UNWANTED_S

    def _properties(self, message: Message) -> Properties | None:
        if self._options.version != "5.0" or message.event_id is None:
            return None
        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        properties.PayloadFormatIndicator = 1
        properties.ContentType = CONTENT_TYPE
        properties.CorrelationData = message.happening.encode()
        properties.UserProperty = [("id", message.event_id), ("type", message.type)]
        if self._options.expiry is not None and not message.retain:
            properties.MessageExpiryInterval = round(self._options.expiry)
        return properties

    def _confirmation(self) -> tuple[int, int]:
        try:
            mid, code = self._confirmations.get(timeout=self._options.timeout)
        except queue.Empty:
            raise self._error("the broker does not confirm", "timeout") from None
        if mid < 0:
            raise self._error("the connection broke", "connection")
        return mid, code

    def _refusal(self, code: int, message: Message) -> SinkError:
        said = ReasonCode(PacketTypes.PUBACK, identifier=code)
        what = f"the broker refuses a message to {message.topic}: {said}"
        return self._error(what, _FOR_GOOD.get(code, "refused"), permanent=code in _FOR_GOOD)

    def _refused(self, message: Message, error: SinkError, refusals: list[SinkError]) -> None:
        if message.event_id is not None:
            refusals.append(error)
        else:  # a state that cannot be shown is no reason to give an event up
            self._unwanted[message.topic] = time.monotonic()
            log.warning("a retained topic is refused", topic=message.topic, cause=str(error))

    def _error(self, what: str, reason: str, remedy: str | None = None, *, permanent: bool = False) -> SinkError:
        return SinkError(what, where=self._where, remedy=remedy, reason=reason, permanent=permanent)

    # The rest runs in the client's thread.

    def _on_connect(self, _: Any, __: Any, ___: Any, code: ReasonCode, properties: Properties | None) -> None:
        self._login = code
        self._window = min(self._window, getattr(properties, "ReceiveMaximum", self._window))
        self._most_bytes = min(self._most_bytes, getattr(properties, "MaximumPacketSize", self._most_bytes))
        self._best_qos = getattr(properties, "MaximumQoS", 2)
        self._retains = bool(getattr(properties, "RetainAvailable", 1))
        self._answered.set()

    def _on_disconnect(self, *_: Any) -> None:
        self.lost.set()
        self._answered.set()
        self._confirmations.put((-1, 0))

    def _on_publish(self, _: Any, __: Any, mid: int, code: ReasonCode, ___: Any) -> None:
        self._confirmations.put((mid, code.value))
