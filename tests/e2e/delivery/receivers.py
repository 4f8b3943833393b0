"""What a delivery test needs of a receiver, and the table of those there are.

A receiver is a real server (or, for a file, the folder) together with whatever reads back what arrived there. To add
one: write a class with the attributes and methods of `Receiver` in tests/servers/, whose constructor takes the folder
where it may put its files (and calls ``pytest.skip`` with a reason where its program or library is missing), and add
a line to `RECEIVERS`. `tests/e2e/delivery/test_faults.py` then runs every fault that it names in ``faults``.

The rules:

- `start` returns when the receiver can take events; after `stop` or `kill` it starts again **at the same address, with
  what it had**: a broker needs its persistence switched on and synced, else the test would count its loss as ours.
- `kill` is SIGKILL of the server's process, by its id. `freeze` is SIGSTOP, `thaw` SIGCONT: connections stay open and
  nothing answers, so the sink's own time-out is what is tested (give it a short one in `options`).
- ``slow(True)`` makes every answer late, by about 0.2 s, not later than the sink's time-out; ``slow(False)`` ends it.
- ``reject(True)`` makes it refuse everything in a way that passes (503, not permitted, read-only, out of memory),
  ``reject(False)`` ends it. Permanent rejections of single events belong to the sink's own tests.
- What a server cannot do it leaves out of ``faults``, with a comment that says why; those methods then do nothing.
- `received` gives every arrival, also repeated ones, in order of arrival, as (id, stream), from the first start on,
  also across kills. It is called only while the receiver is started, thawed and not rejecting; it waits until
  everything acknowledged to the sink so far is in its answer.
- `close` is called once, at the end, in any state: end every process, by its id.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Literal, Protocol, cast

Fault = Literal["kill", "freeze", "slow", "reject"]
Arrival = tuple[str, str]


class Receiver(Protocol):
    """A receiver of events that can be broken and mended. Used by one thread; see the module's text for the rules."""

    faults: Sequence[Fault]
    """What can be done to it."""
    once: bool
    """Whether the receiver itself removes repeated ids (a unique key, a file that is searched): none may be seen."""

    def options(self) -> str:
        """Return the sink's configuration in YAML flow style without its name: ``type: mqtt, url: ...``."""
        ...

    def start(self) -> None:
        """Start it, at the first call or again after `stop` or `kill`."""
        ...

    def stop(self) -> None:
        """End it in an orderly way."""
        ...

    def kill(self) -> None:
        """End it with SIGKILL."""
        ...

    def freeze(self) -> None:
        """Stop its processes where they are (SIGSTOP)."""
        ...

    def thaw(self) -> None:
        """Let them go on."""
        ...

    def slow(self, on: bool) -> None:
        """Answer late, or in time again."""
        ...

    def reject(self, on: bool) -> None:
        """Refuse everything for now, or take it again."""
        ...

    def received(self) -> list[Arrival]:
        """Return (id, stream) of every arrival so far, in order."""
        ...

    def close(self) -> None:
        """Release everything; idempotent."""
        ...


RECEIVERS: dict[str, str] = {
    "jsonl": "tests.e2e.delivery.jsonl:JsonlReceiver",
    "webhook": "tests.servers.receiver:HttpReceiver",
    "mqtt": "tests.servers.mosquitto:MqttReceiver",
    "kafka": "tests.servers.kafka:KafkaReceiver",
    "redis": "tests.servers.redis:RedisReceiver",
    "nats": "tests.servers.nats:NatsReceiver",
    "postgresql": "tests.servers.postgresql:PostgresqlReceiver",
}
"""Sink -> "module:Class" of its receiver; imported only when its test runs."""


def receiver_of(sink: str, folder: Path) -> Receiver:
    """Build a sink's receiver; `STREAMVISION_TEST_SINKS` (names with commas) narrows a run to some."""
    module, _, name = RECEIVERS[sink].partition(":")
    return cast(Receiver, getattr(import_module(module), name)(folder))


def chosen() -> list[str]:
    """Return the sinks to test."""
    wanted = os.environ.get("STREAMVISION_TEST_SINKS")
    return [name for name in RECEIVERS if not wanted or name in wanted.split(",")]
