"""A Kafka cluster for tests: librdkafka's own mock, in a process that can be frozen; and a consumer of it."""

from __future__ import annotations

import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.e2e.delivery.receivers import Arrival, Fault
from tests.servers.kafka_cluster import library
from tests.servers.process import freeze

ROOT = Path(__file__).parents[2]
TOPIC = "events"
PARTITIONS = 4
WAIT_S = 60.0
NOT_ENOUGH_REPLICAS = 19


class KafkaCluster:
    """The process with the cluster in it; `tell` gives it a line of `kafka_cluster`."""

    def __init__(self) -> None:
        pytest.importorskip("confluent_kafka")
        if library() is None:
            pytest.skip("this confluent-kafka has no librdkafka of its own: pip install confluent-kafka")
        self.process: subprocess.Popen[str] | None = None
        self.address = ""

    def start(self) -> None:
        """Start the process and learn the broker's address."""
        command = [sys.executable, "-m", "tests.servers.kafka_cluster"]
        self.process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        self.address = self._line()

    def tell(self, line: str) -> None:
        """Have a line obeyed."""
        assert self.process is not None
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        assert self._line() == "done"

    def freeze(self) -> None:
        """SIGSTOP."""
        assert self.process is not None
        freeze([psutil.Process(self.process.pid)])

    def thaw(self) -> None:
        """SIGCONT."""
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        """Kill the process; idempotent."""
        process, self.process = self.process, None
        if process is not None:
            process.kill()
            process.communicate(timeout=WAIT_S)

    def _line(self) -> str:
        assert self.process is not None
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], WAIT_S)
        assert ready, "the cluster does not answer"
        return self.process.stdout.readline().strip()


class Reader:
    """Consumes a topic from its beginning, in a thread, for as long as it is open."""

    def __init__(self, address: str, topic: str = TOPIC) -> None:
        from confluent_kafka import Consumer, TopicPartition

        self.messages: list[Any] = []
        self._consumer = Consumer(
            {"bootstrap.servers": address, "group.id": "test", "enable.auto.commit": False, "log_level": 0,
             "auto.offset.reset": "earliest", "fetch.wait.max.ms": 50, "reconnect.backoff.max.ms": 200,
             "allow.auto.create.topics": True}
        )  # fmt: skip
        # A second one, since asking for the ends blocks for ever while another thread polls.
        self._asking = Consumer({"bootstrap.servers": address, "group.id": "ends", "log_level": 0,
                                 "reconnect.backoff.max.ms": 200})  # fmt: skip
        self._partitions = [TopicPartition(topic, number, 0) for number in range(PARTITIONS)]
        self._consumer.assign(self._partitions)
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="kafka-reader", daemon=True)
        self._thread.start()

    def whole(self) -> list[Any]:
        """Return every message, when all that the cluster has at this moment are there."""
        until_s = time.monotonic() + WAIT_S
        while True:
            try:
                ends = sum(self._asking.get_watermark_offsets(one, timeout=5.0)[1] for one in self._partitions)
            except Exception:  # noqa: BLE001 - the broker has only just come back
                ends = None
            if ends is not None and len(self.messages) >= ends:
                return list(self.messages)
            assert time.monotonic() < until_s, f"{len(self.messages)} of {ends} read"
            time.sleep(0.02)

    def close(self) -> None:
        """End; idempotent."""
        self._closing.set()
        self._thread.join(WAIT_S)
        self._asking.close()

    def _run(self) -> None:
        while not self._closing.is_set():
            message = self._consumer.poll(0.1)
            if message is not None and message.error() is None:
                self.messages.append(message)
        self._consumer.close()


class KafkaReceiver:
    """The mock cluster as the delivery tests break it.

    Its log is in memory, so "kill" is what clients see of a kill -9: the port closes and every connection ends; the
    log is there when it is back, as a real broker's is.
    """

    faults: Sequence[Fault] = ("kill", "freeze", "slow", "reject")
    once = False

    def __init__(self, folder: Path) -> None:
        del folder
        self._cluster = KafkaCluster()
        self._reader: Reader | None = None

    def options(self) -> str:
        return f"type: kafka, servers: '{self._cluster.address}', topic: {TOPIC}, timeout: 3s, connect_timeout: 2s"

    def start(self) -> None:
        if self._cluster.process is None:
            self._cluster.start()
            self._cluster.tell(f"make {TOPIC}")
            self._reader = Reader(self._cluster.address)
        else:
            self._cluster.tell("up")

    def stop(self) -> None:
        self._cluster.tell("down")

    def kill(self) -> None:
        self._cluster.tell("down")

    def freeze(self) -> None:
        self._cluster.freeze()

    def thaw(self) -> None:
        self._cluster.thaw()

    def slow(self, on: bool) -> None:
        self._cluster.tell(f"rtt {200 if on else 0}")

    def reject(self, on: bool) -> None:
        self._cluster.tell(f"refuse {NOT_ENOUGH_REPLICAS}" if on else "take")

    def received(self) -> list[Arrival]:
        assert self._reader is not None
        return [(dict(one.headers())["id"].decode(), one.key().decode()) for one in self._reader.whole()]

    def close(self) -> None:
        if self._reader is not None:
            self._reader.close()
        self._cluster.close()
