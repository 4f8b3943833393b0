"""Events to an MQTT broker, each confirmed by it; beside them retained topics that tell how things are.

The payload is the CloudEvent (CloudEvents 1.0 binding for MQTT, structured mode).
"""

from __future__ import annotations

import hashlib
import json
import re
import socket
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, ClassVar

from streamvision.errors import SinkError
from streamvision.interfaces import SinkContext, StoredEvent
from streamvision.sinks.confirmed import Confirmed
from streamvision.sinks.mqtt.board import Board
from streamvision.sinks.mqtt.options import MqttOptions
from streamvision.sinks.mqtt.topics import Topics

if TYPE_CHECKING:
    from streamvision.sinks.mqtt.link import Link
    from streamvision.sinks.mqtt.wire import Message


class MqttSink:
    """Publishes events and returns when the broker has confirmed every one; an `interfaces.Sink`.

    What it has confirmed is not published again when the rest of a batch has to be.
    """

    Options: ClassVar[type[MqttOptions]] = MqttOptions
    requires: ClassVar[tuple[str, ...]] = ("paho",)

    def __init__(self, options: MqttOptions, context: SinkContext) -> None:
        """Nothing runs before `open`; events of earlier runs switch no state on."""
        self._options = options
        self._context = context
        self._client_id = options.client_id or _client_id(context)
        self._topics = Topics(options.prefix, self._client_id, options.topic)
        self._board = Board(
            self._topics,
            context.streams if options.state else dict,
            context.state_dir / f"mqtt-{context.name}.json",
            context.born,
            options.home_assistant_prefix if options.home_assistant else None,
        )
        self._confirmed = Confirmed()
        self._link: Link | None = None

    def open(self) -> None:
        """Begin to connect, so that the streams' availability is there before the first event."""
        from streamvision.sinks.mqtt.link import Link

        if self._link is None:
            folder = self._context.state_dir
            self._link = Link(
                self._options, self._context.name, self._client_id, self._topics, self._board, folder
            )  # fmt: skip

    def deliver(self, events: Sequence[StoredEvent]) -> None:
        """Publish what the broker has not confirmed yet.

        Raises `SinkError`; ``permanent`` for an event that is too large, or whose topic the broker refuses.
        """
        self.open()
        assert self._link is not None
        wire = self._link.wire()
        try:
            with self._link.turn:
                wire.publish(self._messages(self._confirmed.missing(events)), self._took)
        except SinkError as error:
            if not error.permanent:
                wire.cut()  # what is in flight on it must not arrive behind its own repetition
            raise

    def close(self) -> None:
        """Say goodbye and leave; idempotent."""
        link, self._link = self._link, None
        if link is not None:
            link.close()

    def _took(self, message: Message) -> None:
        if message.event_id is not None:
            self._confirmed.add(message.event_id)
        self._context.beat()

    def _messages(self, events: Sequence[StoredEvent]) -> Iterator[Message]:
        """Yield each event, and the retained topics that it changes."""
        from streamvision.sinks.mqtt.link import retained
        from streamvision.sinks.mqtt.wire import Message

        for stored in events:
            event = json.loads(stored.json)
            yield Message(
                self._topics.event(event), stored.json.encode(), self._options.retain,
                stored.id, stored.type, str(event["data"]["event"]),
            )  # fmt: skip
            yield from retained(self._board.apply(stored, event))


def _client_id(context: SinkContext) -> str:
    """Return a name that stays the same, and that daemons of one machine do not share."""
    host = re.sub(r"[^A-Za-z0-9-]", "-", socket.gethostname())[:24]
    own = hashlib.sha256(f"{context.state_dir}\0{context.name}".encode()).hexdigest()[:8]
    return f"streamvision-{host}-{own}"
