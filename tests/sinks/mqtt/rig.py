"""A sink ``mqtt``, what it is told, and what lies at its broker."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from streamvision.errors import SinkError
from streamvision.interfaces import RuleInfo, SinkContext, StoredEvent
from streamvision.sinks.cloudevents import to_json, type_of
from streamvision.sinks.happenings import Happenings
from streamvision.sinks.mqtt import MqttSink
from streamvision.sinks.wanted import Wanted
from tests.servers.mosquitto import PASSWORD, USER, Mosquitto, Subscriber
from tests.sinks.samples import event

WAIT_S = 60.0
GATE = {"gate": (RuleInfo("intruder", "zone"), RuleInfo("fence", "line", lasting=False))}


def stored(*numbers: int, **changes) -> list[StoredEvent]:
    return [
        StoredEvent(number, one.id, one.stream, type_of(one), datetime.now(UTC), to_json(one, "h"))
        for number in numbers
        for one in [event(number, **changes)]
    ]


class Rig:
    """A sink, and what it is told of streams, of other processes' streams, and of what goes on."""

    def __init__(self, broker: Mosquitto, folder: Path, *, born: int = 0, **options) -> None:
        self.broker = broker
        self.streams = GATE
        self.elsewhere: set[str] = set()
        self.happenings = Happenings()
        if broker.tls:
            options.setdefault("tls", {"ca": str(broker.authority.ca)})
        given = {"url": broker.url, "username": USER, "password": PASSWORD, "client_id": "me", "timeout": 2} | options
        context = SinkContext(
            "out", folder, lambda: self.streams, born=born, elsewhere=lambda: set(self.elsewhere),
            ongoing=self.happenings.ongoing,
        )  # fmt: skip
        self.sink = MqttSink(MqttSink.Options(**given), context)

    def follow(self, events: Sequence[StoredEvent], *types: str) -> None:
        """Let the sink take events as a delivery does; ``types`` are those that are chosen for it."""
        self.sink.follow(events, Wanted(types=types).fits)

    def refused(self, *numbers: int) -> SinkError:
        with pytest.raises(SinkError) as caught:
            self.follow(stored(*(numbers or (1,))))
        return caught.value


@contextmanager
def brokered(tmp_path: Path, **given) -> Iterator[Mosquitto]:
    broker = Mosquitto(tmp_path, **given)
    broker.start()
    try:
        yield broker
    finally:
        broker.end(signal.SIGKILL)


def retained(broker: Mosquitto, name: str = "late") -> dict[str, str]:
    """What somebody finds who comes now."""
    late = Subscriber(broker, "#", name=name)
    late.settle()
    late.close()
    return {one.topic: one.payload.decode() for one in late.messages if one.retain}


def took(one: Rig, *numbers: int, **changes) -> bool:
    try:
        one.follow(stored(*numbers, **changes))
    except SinkError:
        return False
    return True
