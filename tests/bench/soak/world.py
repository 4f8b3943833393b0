"""The daemon, what it sees and whom it tells, and the actors that disturb them; every moment is drawn from a seed."""

from __future__ import annotations

import itertools
import json
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import psutil
import pytest

from tests.bench.soak.measure import Sample, used
from tests.bench.soak.settings import VIDEOS, VISITOR, Document, Scene, changed, circle
from tests.bench.soak.timetable import Actor
from tests.e2e.delivery.receivers import Receiver
from tests.harness import Daemon, wait_until
from tests.servers import RtspServer
from tests.servers.mosquitto import MqttReceiver
from tests.servers.receiver import HttpReceiver
from tests.servers.redis import RedisReceiver

RECEIVERS: Mapping[str, Callable[[Path], Receiver]] = {
    "webhook": HttpReceiver, "mqtt": MqttReceiver, "redis": RedisReceiver,
}  # fmt: skip
PATIENCE_S = 180.0
"""How long anything that must come about may take on a machine that does much else."""


@dataclass
class Tally:
    """What was done and seen."""

    samples: list[Sample] = field(default_factory=list)
    done: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    books: list[dict[str, Any]] = field(default_factory=list)
    visitor_pictures: int = 0
    reconnects: int = 0
    results: list[str] = field(default_factory=list)
    """What the log says of each reload, in order."""


@dataclass
class World:
    """Everything that a soak consists of. ``term`` and ``variant``: see `Sample`."""

    scene: Scene
    folder: Path
    cameras: RtspServer
    receivers: Mapping[str, Receiver]
    daemon: Daemon
    tally: Tally
    term: int = 0
    variant: str = "first"
    _log_read_to: int = 0

    def deeds(self) -> list[str]:
        """Return what must have happened at least once."""
        return ["storms", *(f"faults of {name}" for name in self.receivers), "reloads applied", "reloads refused"]

    def enough(self) -> bool:
        """Whether everything has happened at least once."""
        return all(self.tally.done[deed] for deed in self.deeds())

    def read_log(self) -> list[dict[str, Any]]:
        """Return the log's new lines, after taking from them what counts."""
        with self.daemon.log.open("rb") as file:
            file.seek(self._log_read_to)
            whole, newline, _ = file.read().rpartition(b"\n")
        self._log_read_to += len(whole + newline)
        lines = [self._parsed(line) for line in whole.splitlines()]
        self.tally.results += [line["result"] for line in lines if line["event"] == "reload" and "result" in line]
        self.tally.books += [line for line in lines if line["event"] == "books"]
        self.tally.wrong += [str(line) for line in lines if _alarming(line)]
        return lines

    def _parsed(self, line: bytes) -> dict[str, Any]:
        try:
            return dict(json.loads(line))
        except ValueError:  # the log is JSON, so this is a traceback or a library's own cry
            return {"event": f"not JSON: {line[:200]!r}", "level": "critical"}

    def value(self, name: str, **labels: str) -> float:
        """Return a metric, summed over everything with these labels."""
        told = [f'{key}="{value}"' for key, value in labels.items()]
        rows = [line for line in self.daemon.get("/metrics")[1].splitlines() if line.startswith(f"streamvision_{name}")]
        return sum(float(row.rpartition(" ")[2]) for row in rows if all(one in row for one in told))


def _alarming(line: Mapping[str, Any]) -> bool:
    expected = line["event"] == "reload" or "sink" in line or str(line.get("stage", "")).startswith("sink")
    return "exception" in line or "no sign of life" in line["event"] or (
        line.get("level") in ("error", "critical") and not expected
    )  # fmt: skip


@contextmanager
def world(scene_of: Callable[[RtspServer, Mapping[str, str]], Scene], videos: Path, folder: Path) -> Iterator[World]:
    """Start everything; sinks whose server is not installed are left out, and that is said."""
    with ExitStack() as stack:
        cameras = stack.enter_context(RtspServer({name: videos / file for name, (file, _) in VIDEOS.items()}))
        receivers: dict[str, Receiver] = {}
        for name, make in RECEIVERS.items():
            own = folder / f"server-{name}"  # each has its own authority in it
            own.mkdir()
            try:
                receiver = make(own)
            except pytest.skip.Exception as missing:
                print(f"without {name}: {missing}")
                continue
            stack.callback(receiver.close)
            receiver.start()
            receivers[name] = receiver
        sinks = {name: receiver.options() for name, receiver in receivers.items()}
        scene = scene_of(cameras, sinks | {"log": "type: jsonl, path: events.jsonl"})
        daemon = Daemon(scene.text(scene.first(), 0).replace("127.0.0.1:0", "127.0.0.1:{port}"), folder)
        stack.callback(_kill, daemon)
        daemon.wait_ready(PATIENCE_S)
        made = World(scene, folder, cameras, receivers, daemon, Tally())
        made.tally.visitor_pictures = pictures_in(videos / VISITOR)
        yield made


def _kill(daemon: Daemon) -> None:
    if daemon.process.poll() is None:
        daemon.end(signal.SIGKILL)
    assert daemon.process.stdout is not None
    daemon.process.stdout.close()


def pictures_in(video: Path) -> int:
    """Count a file's pictures by decoding it."""
    with av.open(str(video)) as container:
        return sum(1 for _ in container.decode(video=0))


def storms(world: World, gap_s: float, chance: random.Random) -> Actor:
    """All cameras die, freeze or stutter at once, and come back at once."""
    cameras = world.cameras
    try:
        while True:
            yield chance.uniform(0.3, 1.0) * gap_s
            kind = chance.choice(("killed", "frozen", "stuttering"))
            if kind == "frozen":
                cameras.freeze()
                yield chance.uniform(0.1, 0.5) * gap_s
                cameras.thaw()
            for _ in range({"killed": 1, "frozen": 0, "stuttering": 3}[kind]):
                cameras.kill()
                yield chance.uniform(0.02, 0.4 if kind == "killed" else 0.1) * gap_s
                cameras.start()
                yield chance.uniform(0.02, 0.1) * gap_s
            world.tally.done["storms"] += 1
    finally:
        if cameras.pid is None:
            cameras.start()
        cameras.thaw()


def flaps(world: World, sink: str, gap_s: float, chance: random.Random) -> Actor:
    """A receiver dies, freezes, slows down or refuses, and recovers."""
    receiver = world.receivers[sink]
    ends = {
        "kill": (receiver.kill, receiver.start), "freeze": (receiver.freeze, receiver.thaw),
        "slow": (lambda: receiver.slow(True), lambda: receiver.slow(False)),
        "reject": (lambda: receiver.reject(True), lambda: receiver.reject(False)),
    }  # fmt: skip
    while True:
        yield chance.uniform(0.3, 1.0) * gap_s
        begin, end = ends[chance.choice(receiver.faults)]
        begin()
        try:
            yield chance.uniform(0.1, 0.6) * gap_s
        finally:
            end()
        world.tally.done[f"faults of {sink}"] += 1


def reloads(world: World, rest_s: float) -> Actor:
    """The configuration is changed and read again, by a signal and over HTTP in turn."""
    changes = circle(world.scene.videos)
    for number in itertools.count():
        yield rest_s
        name, change = changes[number % len(changes)]
        if world.variant == "visitor":
            yield from until(world, lambda: _visited(world), "the file was read to its end")
        document: Document = changed(world.scene.first(), change)
        world.daemon.rewrite(world.scene.text(document, world.daemon.port))
        world.read_log()
        results, before = world.tally.results, len(world.tally.results)
        if (number + number // len(changes)) % 2 == 0:
            world.daemon.process.send_signal(signal.SIGHUP)
        else:
            world.daemon.post("/api/v1/reload", timeout_s=PATIENCE_S)
        yield from until(world, lambda: _grown(world, before), "the reload was heard")  # noqa: B023
        result = results[-1] if len(results) > before else "unheard"
        right = "refused" if name == "wrong" else "applied"
        world.tally.done[f"reloads {result}"] += 1
        if result != right:
            world.tally.wrong.append(f"reload to {name!r} came to {result!r}, not {right!r}")
        if right == "applied":
            world.variant = name
        world.term += 1


def _visited(world: World) -> bool:
    row = world.daemon.streams().get("visitor")  # a reload that is under way may have taken it away already
    return row is None or bool(row["state"] == "stopped" and _in_flight(row["counts"]) == 0)


def _grown(world: World, before: int) -> bool:
    world.read_log()
    return len(world.tally.results) > before


def until(world: World, condition: Callable[[], bool], what: str) -> Actor:
    """Rest until something holds; what takes too long is written down as wrong."""
    for _ in range(int(PATIENCE_S / 0.2)):
        if condition():
            return
        yield 0.2
    world.tally.wrong.append(f"not within {PATIENCE_S:g} s: {what}")


def looks(world: World, every_s: float, told: Callable[[Sample], None]) -> Actor:
    """Look at the daemon, again and again."""
    process, began_s = psutil.Process(world.daemon.process.pid), time.monotonic()
    while True:
        world.daemon.alive()
        world.read_log()
        rows = world.daemon.streams().values()
        rss, children, threads, descriptors = used(process)
        sample = Sample(
            time.monotonic() - began_s, world.term, world.variant, rss, children, threads, descriptors,
            live=sum(row["state"] == "live" for row in rows),
            in_flight=max(_in_flight(row["counts"]) for row in rows),
            age_s=max((row["frame_age_s"] or 0.0) for row in rows if row["state"] == "live") if rows else 0.0,
        )  # fmt: skip
        world.tally.samples.append(sample)
        if world.daemon.get("/healthz")[0] != 200:
            world.tally.wrong.append(f"/healthz: {world.daemon.get('/healthz')}")
        told(sample)
        yield every_s


def _in_flight(counts: Mapping[str, Any]) -> int:
    return int(counts["decoded"] - counts["analysed"] - counts["skipped"] - counts["dropped"])


def settle(world: World) -> None:
    """Wait until every camera is seen again and every sink has everything; then end the daemon in good order."""
    if world.variant == "visitor":  # unless a reload that was not heard before the end has removed it
        wait_until(lambda: "visitor" not in world.daemon.streams() or _visited(world), PATIENCE_S)
    last = world.scene.first()
    world.daemon.rewrite(world.scene.text(last, world.daemon.port))
    result = world.daemon.post("/api/v1/reload", timeout_s=PATIENCE_S)[1]["result"]
    if result not in ("applied", "unchanged"):
        world.tally.wrong.append(f"the last reload came to {result!r}")
    wait_until(lambda: world.daemon.alive() and _all_live(world), PATIENCE_S)
    wait_until(lambda: world.daemon.alive() and world.value("sink_pending") <= 20, PATIENCE_S)
    for name in ("sink_dead_letters_total", "outbox_given_up_total", "outbox_lost_total"):
        if count := world.value(name):
            world.tally.wrong.append(f"{name} is {count:g}")
    world.tally.reconnects = int(world.value("stream_reconnects_total"))
    if (code := world.daemon.end(timeout_s=PATIENCE_S)) != 0:
        world.tally.wrong.append(f"the daemon ended with {code}")
    world.read_log()


def _all_live(world: World) -> bool:
    return all(row["state"] == "live" for row in world.daemon.streams().values())
