"""What the tests of sinks that speak to servers have in common."""

from __future__ import annotations

import gc
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from streamvision import plugins
from streamvision.errors import SinkError
from streamvision.interfaces import Sink, SinkContext, StoredEvent
from streamvision.pipeline.parts import SINK_ALLOWANCE_S
from streamvision.sinks.cloudevents import to_json, type_of
from tests.harness import wait_until
from tests.sinks.samples import event

PASSWORD = "correct-horse-battery"
BOUND_S = 60.0


def stored(*numbers: int, stream: str = "gate", **changes: Any) -> list[StoredEvent]:
    """Return stored events whose ids tell their numbers."""
    made = [event(number, stream=stream, **changes) for number in numbers]
    return [
        StoredEvent(number, one.id, one.stream, type_of(one), datetime.now(UTC), to_json(one, "host"))
        for number, one in zip(numbers, made, strict=True)
    ]


def ids(*numbers: int) -> list[str]:
    return [event(number).id for number in numbers]


def built(kind: str, folder: Path, options: Mapping[str, Any]) -> Sink:
    """Return a sink as the daemon builds it."""
    plugin = plugins.load("sink", kind)
    sink: Sink = plugin(plugin.Options(**options), SinkContext("out", folder))
    return sink


def failure(sink: Sink, events: list[StoredEvent], *, secret: str = PASSWORD) -> SinkError:
    """Return how a delivery fails: in time, and without telling the secret."""
    began_s = time.monotonic()
    with pytest.raises(SinkError) as caught:
        sink.deliver(events)
    assert time.monotonic() - began_s < SINK_ALLOWANCE_S, "the heartbeat would be overdue"
    assert secret not in str(caught.value)
    return caught.value


def delivered_at_last(sink: Sink, events: list[StoredEvent]) -> None:
    """Deliver, however often that fails at first."""

    def done() -> bool:
        try:
            sink.deliver(events)
        except SinkError as error:
            if error.permanent:
                raise
            return False
        return True

    wait_until(done, BOUND_S)


@contextmanager
def never_answers() -> Iterator[int]:
    """Hold a port open to which everybody can connect, and where nobody is; yields it."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        yield int(listener.getsockname()[1])


def held() -> tuple[int, int]:
    """Return how many threads and descriptors this process has."""
    gc.collect()
    return threading.active_count() + native_threads(), len(os.listdir("/proc/self/fd"))


def native_threads() -> int:
    """Return how many threads the kernel knows, those of libraries too."""
    return len(os.listdir("/proc/self/task"))


def assert_nothing_leaks(fail: Callable[[], object], times: int = 5) -> None:
    """Fail once, for what is made only once; then again and again, and nothing may be left over."""
    fail()
    before = held()
    for _ in range(times):
        fail()
    wait_until(lambda: all(now <= then for now, then in zip(held(), before, strict=True)), BOUND_S)
