"""A Mosquitto of its own for every test that asks for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.servers.mosquitto import Mosquitto, Subscriber
from tests.sinks.mqtt.rig import Rig, brokered


@pytest.fixture
def broker(tmp_path) -> Iterator[Mosquitto]:
    with brokered(tmp_path) as started:
        yield started


@pytest.fixture
def rig(broker, tmp_path) -> Iterator[Callable[..., Rig]]:
    made: list[Rig] = []

    def make(**options) -> Rig:
        made.append(Rig(broker, tmp_path, **options))
        return made[-1]

    yield make
    for one in made:
        one.sink.close()


@pytest.fixture
def heard(broker) -> Iterator[Subscriber]:
    subscriber = Subscriber(broker, "#")
    yield subscriber
    subscriber.close()
