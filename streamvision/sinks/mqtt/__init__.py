"""Events to an MQTT broker, each confirmed by it; beside them retained topics that tell how things are.

The payload is the CloudEvent (CloudEvents 1.0 binding for MQTT, structured mode).
"""

from __future__ import annotations

import hashlib
import json
import re
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

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
        """Nothing runs before `open`; events of earlier runs change no state."""
        self._options = options
        self._context = context
        self._client_id = options.client_id or _client_id(context)
        self._topics = Topics(options.prefix, self._client_id, options.topic)
        known = context if options.state else replace(context, streams=dict)
        self._board = Board(self._topics, known, options.home_assistant_prefix if options.home_assistant else None)
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
        """Publish what the broker has not confirmed yet. How things are stays as it is: dead letters are old.

        Raises `SinkError`; ``permanent`` for an event that is too large, or whose topic the broker refuses.
        """
        self._publish(self._message(stored, json.loads(stored.json)) for stored in self._confirmed.missing(events))

    def follow(self, events: Sequence[StoredEvent], wanted: Callable[[StoredEvent], bool]) -> None:
        """Publish those that are wanted and that the broker has not confirmed yet, and what all of them change.

        Raises `SinkError` as `deliver` does.
        """
        if not self._options.state:
            events = list(filter(wanted, events))
        if events:
            self._publish(self._messages(self._confirmed.missing(events), wanted))

    def _publish(self, messages: Iterable[Message]) -> None:
        self.open()
        assert self._link is not None
        wire = self._link.wire()
        try:
            with self._link.turn:
                wire.publish(messages, self._took)
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

    def _messages(self, events: Sequence[StoredEvent], wanted: Callable[[StoredEvent], bool]) -> Iterator[Message]:
        """Yield each event that is wanted, and the retained topics that each one changes."""
        from streamvision.sinks.mqtt.link import retained

        for stored in events:
            event = json.loads(stored.json)
            if published := wanted(stored):
                yield self._message(stored, event)
            yield from retained(self._board.apply(stored, event, published=published))

    def _message(self, stored: StoredEvent, event: Mapping[str, Any]) -> Message:
        from streamvision.sinks.mqtt.wire import Message

        return Message(
            self._topics.event(event), stored.json.encode(), self._options.retain,
            stored.id, stored.type, str(event["data"]["event"]),
        )  # fmt: skip


def _client_id(context: SinkContext) -> str:
    """Return a name that stays the same, and that daemons of one machine do not share."""
    host = re.sub(r"[^A-Za-z0-9-]", "-", socket.gethostname())[:24]
    own = hashlib.sha256(f"{context.state_dir}\0{context.name}".encode()).hexdigest()[:8]
    return f"streamvision-{host}-{own}"
