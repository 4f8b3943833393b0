"""Runs the whole daemon, minus the terminal: configuration text in, events and books out."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from streamvision.clock import SystemClock
from streamvision.config import load_settings
from streamvision.engine.build import Workshop
from streamvision.health import Heartbeats
from streamvision.interfaces import Viewer
from streamvision.metrics import Metrics, StreamStats
from streamvision.pipeline import Pipeline
from streamvision.sinks.store import EventStore
from streamvision.types import Analysis, Frame

TICK_S = 0.05


@dataclass(frozen=True)
class Watched:
    """What a run came to: every event as CloudEvents JSON, in order, and the books."""

    events: Sequence[Mapping[str, Any]]
    metrics: Metrics

    def of(self, kind: str, stream: str | None = None) -> list[Mapping[str, Any]]:
        """Events of a type prefix, for example ``zone.start``."""
        return [
            event
            for event in self.events
            if event["type"].startswith(f"streamvision.{kind}") and stream in (None, event["data"]["stream"])
        ]


class NoViewer:
    """Nobody watches."""

    def wanted(self, stream: str) -> bool:
        return False

    def show(self, frame: Frame, analysis: Analysis, min_score: float) -> None:
        raise AssertionError("nobody asked")

    def tick(self) -> None:
        pass


def assert_balanced(stats: StreamStats) -> None:
    """Decoded = analysed + skipped + dropped, exactly."""
    fates = stats.analysed + sum(stats.skipped.values()) + sum(stats.dropped.values())
    assert stats.decoded == fates, f"{stats.stream}: {stats.decoded} decoded, {fates} accounted for"


def read_events(state_dir: Path) -> list[dict[str, Any]]:
    """Everything in the store of a daemon that has ended."""
    store = EventStore(state_dir / "events.db", SystemClock())
    try:
        return [json.loads(stored.json) for stored in store.after(0, 1_000_000)]
    finally:
        store.close()


@contextmanager
def running(
    config: str, folder: Path, *, stop_s: float = 30.0, workshop: Workshop | None = None, viewer: Viewer | None = None
) -> Iterator[Pipeline]:
    """Run a configuration's pipeline in this process; leaving the block drains it."""
    path = folder / "config.yaml"
    path.write_text(config, encoding="utf-8")
    settings = load_settings(path)
    clock, metrics = SystemClock(), Metrics()
    store = EventStore(settings.state_dir / "events.db", clock)
    pipeline = Pipeline(settings, store, metrics, Heartbeats(clock), viewer or NoViewer(), clock, workshop=workshop)
    try:
        pipeline.start()
        yield pipeline
    finally:
        drained = pipeline.stop(stop_s)
        store.close()
    assert pipeline.crashed is None
    assert drained


def wait_until(condition: Callable[[], bool], timeout_s: float, pipeline: Pipeline | None = None) -> None:
    """Tick until a condition holds; fail loudly when it does not in time."""
    until_s = time.monotonic() + timeout_s
    while not condition():
        if pipeline is not None:
            pipeline.tick()
            assert pipeline.crashed is None
        assert time.monotonic() < until_s, f"not within {timeout_s} s"
        select.select([], [], [], TICK_S)


def watch(
    config: str, folder: Path, *, timeout_s: float, until: Callable[[Pipeline], bool] = lambda one: one.finished
) -> Watched:
    """Run until the sources are done (or ``until`` holds), drain, and return what happened."""
    with running(config, folder) as pipeline:
        wait_until(lambda: until(pipeline), timeout_s, pipeline)
    for stats in pipeline.metrics.streams.values():
        assert_balanced(stats)
    return Watched(read_events(pipeline.settings.state_dir), pipeline.metrics)


class Daemon:
    """A real ``streamvision run`` process."""

    def __init__(
        self,
        config: str,
        folder: Path,
        env: Mapping[str, str] | None = None,
        command: Sequence[str] = (),
    ) -> None:
        """``{port}`` in the text becomes a free port, where the API is served; ``command`` is what to run."""
        self.port = free_port()
        self.config = folder / "config.yaml"
        self.config.write_text(config.replace("{port}", str(self.port)), encoding="utf-8")
        self.log = folder / "daemon.log"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*(command or (sys.executable, "-m", "streamvision")), "run", str(self.config), "--log-format", "json"],
                stdout=subprocess.PIPE, stderr=log, env=os.environ | dict(env or {}), text=True,
            )  # fmt: skip

    def get(self, path: str) -> tuple[int, str]:
        """Ask the API; (0, reason) where it does not answer."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()
        except OSError as error:
            return 0, str(error)

    def post(self, path: str, token: str | None = None, timeout_s: float = 90.0) -> tuple[int, dict[str, Any]]:
        """Send an order to the API; return the status and the answer."""
        headers = {"content-type": "application/json"} | ({"authorization": f"Bearer {token}"} if token else {})
        url = f"http://127.0.0.1:{self.port}{path}"
        request = urllib.request.Request(url, method="POST", headers=headers, data=b"{}")
        try:
            with urllib.request.urlopen(request, timeout=timeout_s) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)

    def rewrite(self, config: str) -> None:
        """Replace the configuration as a careful person does: the daemon never sees half of it."""
        fresh = self.config.with_suffix(".new")
        fresh.write_text(config.replace("{port}", str(self.port)), encoding="utf-8")
        os.replace(fresh, self.config)

    def wait_ready(self, timeout_s: float = 60.0) -> None:
        """Wait until /readyz says so."""
        wait_until(lambda: self.alive() and self.get("/readyz")[0] == 200, timeout_s)

    def alive(self) -> bool:
        """Whether the process runs; fails with its log when it has ended."""
        assert self.process.poll() is None, self.log.read_text()
        return True

    def streams(self) -> dict[str, dict[str, Any]]:
        """/api/v1/streams by id."""
        found = json.loads(self.get("/api/v1/streams")[1])
        rows = found["streams"] if isinstance(found, dict) else found
        return {row["id"]: row for row in rows}

    def end(self, number: signal.Signals = signal.SIGTERM, timeout_s: float = 40.0) -> int:
        """Send a signal and return the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        self.process.communicate(timeout=timeout_s)
        return self.process.returncode


def free_port() -> int:
    """A TCP port that nobody listens on."""
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
