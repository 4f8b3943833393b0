"""A real NATS server with JetStream on a free port."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pytest

from tests.e2e.delivery.receivers import Arrival, Fault
from tests.harness import free_port
from tests.servers.lag import Lag, LaggedProcess
from tests.servers.process import ServerProcess, listening, program

T = TypeVar("T")
STREAM = "EVENTS"


class NatsServer:
    """``config`` are lines of nats-server's configuration beyond those that every test has."""

    def __init__(self, folder: Path, *config: str) -> None:
        self.port = free_port()
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "nats.conf").write_text(
            f"listen: 127.0.0.1:{self.port}\njetstream: {{store_dir: '{folder}'}}\n" + "\n".join(config)
        )
        command = [program("nats-server", package="nats-server"), "-c", str(folder / "nats.conf")]
        self.process = ServerProcess(command, folder / "log", lambda: listening(self.port))

    def ask(self, work: Callable[[Any], Awaitable[T]], **given: Any) -> T:
        """Connect, run a coroutine with the JetStream context, and disconnect."""
        nats = pytest.importorskip("nats")

        async def run() -> T:
            client = await nats.connect(f"nats://127.0.0.1:{self.port}", connect_timeout=20, **given)
            try:
                return await work(client.jetstream(timeout=20))
            finally:
                await client.close()

        return asyncio.run(asyncio.wait_for(run(), 60))


async def read(jetstream: Any, stream: str, after: int) -> list[Any]:
    """Return the messages of a JetStream stream after a sequence number."""
    from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

    state = (await jetstream.stream_info(stream)).state
    found: list[Any] = []
    if state.last_seq <= after:
        return found
    config = ConsumerConfig(
        deliver_policy=DeliverPolicy.BY_START_SEQUENCE, opt_start_seq=after + 1, ack_policy=AckPolicy.NONE
    )
    subscription = await jetstream.pull_subscribe("", stream=stream, config=config)
    while not found or found[-1].metadata.sequence.stream < state.last_seq:
        found += await subscription.fetch(500, timeout=10)
    await subscription.unsubscribe()
    return found


class NatsReceiver(LaggedProcess):
    """NATS as the delivery tests break it."""

    faults: Sequence[Fault] = ("kill", "freeze", "slow", "reject")
    slow_s = 0.05  # each event waits for its own confirmation
    once = True  # within two minutes, which no fault here lasts

    def __init__(self, folder: Path) -> None:
        pytest.importorskip("nats")
        self._server = NatsServer(Path(tempfile.mkdtemp(dir=folder)))
        super().__init__(self._server.process, Lag(self._server.port))
        self._arrived: list[Arrival] = []
        self._last = 0

    def options(self) -> str:
        make = f"make_stream: {{name: {STREAM}, duplicates: 10m}}"
        return f"type: nats, servers: ['nats://127.0.0.1:{self._lag.port}'], {make}, timeout: 10s"

    def reject(self, on: bool) -> None:
        """The stream's limit of messages is what it has, and it refuses new ones."""

        async def limit(jetstream: Any) -> None:
            from nats.js.api import DiscardPolicy

            info = await jetstream.stream_info(STREAM)
            info.config.discard = DiscardPolicy.NEW
            info.config.max_msgs = info.state.messages if on else -1
            await jetstream.update_stream(info.config)

        self._server.ask(limit)

    def received(self) -> list[Arrival]:
        from nats.js.errors import NotFoundError

        try:
            messages = self._server.ask(lambda jetstream: read(jetstream, STREAM, self._last))
        except NotFoundError:
            return []
        for message in messages:
            self._last = message.metadata.sequence.stream
            self._arrived.append((message.headers["Nats-Msg-Id"], message.subject.split(".")[1]))
        return list(self._arrived)
