"""The whole daemon is killed with -9 at random moments of a run, and started anew each time.

Real decoding, tracking and rules, real receivers. Short: 4 kills; full (STREAMVISION_TEST_SCALE=full): 50.
"""

from __future__ import annotations

import json
import random
import shutil
import signal
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.e2e.delivery.campaign import IN_FLIGHT
from tests.e2e.delivery.ledger import Ledger
from tests.e2e.delivery.receivers import Receiver, receiver_of
from tests.harness import Daemon, wait_until
from tests.scale import scaled

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

KILLS = scaled(4, 50)
BOUND_S = 120.0
SINKS = ("webhook", "mqtt", "redis")
HEAD = "state_dir: ./state\nserver: {listen: '127.0.0.1:{port}'}\nmodels: {m: {manifest: motion}}\nstreams:\n"
BUSY = """
  - id: ID
    url: 'VIDEO'
    loop: true
    fps: 10
    isolation: ISOLATION
    zones: {all: [[0.1, 0.1], [0.9, 0.1], [0.9, 0.9], [0.1, 0.9]]}
    lines: {half: [[0.5, 0], [0.5, 1]], across: [[0, 0.6], [1, 0.6]]}
    rules:
      - {name: inside, type: zone, zone: all, update_every: 500ms}
      - {name: half, type: line, line: half}
      - {name: across, type: line, line: across}
"""
QUIET = "  - {id: quiet, url: 'demo:street?size=320x180&fps=5'}\n"


@pytest.fixture
def receivers(tmp_path: Path) -> Iterator[dict[str, Receiver]]:
    """Those whose server is installed; the webhook always is."""
    built: dict[str, Receiver] = {}
    try:
        for name in SINKS:
            try:
                built[name] = receiver_of(name, folder_for(tmp_path / name))
            except pytest.skip.Exception:
                continue
            built[name].start()
        yield built
    finally:
        for receiver in built.values():
            receiver.close()


def folder_for(path: Path) -> Path:
    """Make a folder: each receiver has its own authority in it."""
    path.mkdir()
    return path


@dataclass
class Life:
    """The daemon's lives so far: at each kill, how far the store was, and how much each receiver had."""

    folder: Path
    receivers: Mapping[str, Receiver]
    config: str
    positions: list[int] = field(default_factory=list)
    had: list[dict[str, int]] = field(default_factory=list)

    def live_and_die(self, chance: random.Random) -> None:
        """Start it, let it come to some point between its first step and dozens of events, and kill it."""
        before = len(self.receivers["webhook"].received())
        daemon = Daemon(self.config, self.folder)
        try:
            if news := chance.choice((0, 1, 5, 20, 40)):
                wait_until(
                    lambda: daemon.alive() and len(self.receivers["webhook"].received()) >= before + news, BOUND_S
                )
            time.sleep(chance.random() * (0.3 if news else 3.0))  # between any two steps
            assert daemon.alive()
            family = psutil.Process(daemon.process.pid).children(recursive=True)
        finally:
            daemon.end(signal.SIGKILL)
        left = psutil.wait_procs(family, timeout=BOUND_S)[1]
        assert not left, "a decoder's process outlives the daemon that started it"
        self.positions.append(self._as_it_was_left())
        self.had.append({name: len(receiver.received()) for name, receiver in self.receivers.items()})

    def _as_it_was_left(self) -> int:
        """Check a copy of the store, so that the next life finds it as the kill left it; return its last position."""
        copy = self.folder / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        copy.mkdir()
        for file in (self.folder / "state").glob("events.db*"):
            if not file.name.endswith("-shm"):
                shutil.copy(file, copy)
        if not (copy / "events.db").exists() or not (copy / "events.db").stat().st_size:
            return 0
        with closing(sqlite3.connect(copy / "events.db")) as connection:
            assert connection.execute("pragma integrity_check").fetchall() == [("ok",)]
            tables = {name for (name,) in connection.execute("select name from sqlite_master")}
            last = connection.execute("select max(position) from events").fetchone() if "events" in tables else (None,)
        return int(last[0] or 0)

    def life_of(self, position: int) -> int:
        """Return in which life an event was stored."""
        return sum(position > end for end in self.positions)


def test_a_killed_daemon_loses_nothing_and_repeats_only_around_the_kill(data: Path, receivers, tmp_path: Path):
    videos = {"yard": ("car-detection.mp4", "thread"), "square": ("night-square.mp4", "process")}
    streams = [
        BUSY.replace("ID", name, 1).replace("VIDEO", str(data / "videos" / file)).replace("ISOLATION", isolation)
        for name, (file, isolation) in videos.items()
    ]
    sinks = "sinks:\n" + "".join(f"  - {{name: {name}, {one.options()}}}\n" for name, one in receivers.items())
    life, chance = Life(tmp_path, receivers, HEAD + "".join(streams) + sinks), random.Random(23)
    for _ in range(KILLS):
        life.live_and_die(chance)
    last = Daemon(HEAD + QUIET + sinks, tmp_path)
    try:
        last.wait_ready(BOUND_S)
        wait_until(lambda: last.alive() and pending(last, receivers) == 0, BOUND_S)
        assert last.end() == 0, last.log.read_text()
    finally:
        last.end(signal.SIGKILL)
    judge(life, stored(tmp_path / "state"))


def stored(state_dir: Path) -> list[tuple[int, dict[str, Any]]]:
    """Return every event with its position, in order."""
    with closing(sqlite3.connect(state_dir / "events.db")) as connection:
        return [
            (at, json.loads(text)) for at, text in connection.execute("select position, json from events order by 1")
        ]


def pending(daemon: Daemon, receivers: Mapping[str, Receiver]) -> float:
    """How many events lack at a sink; -1 before every sink is known."""
    rows = [line for line in daemon.get("/metrics")[1].splitlines() if line.startswith("streamvision_sink_pending{")]
    return sum(float(row.rpartition(" ")[2]) for row in rows) if len(rows) == len(receivers) else -1


def judge(life: Life, events: list[tuple[int, dict[str, Any]]]) -> None:
    """Nothing is missing, made up or out of order; ids are unique; only around a kill does anything come twice."""
    due = [(event["id"], event["data"]["stream"]) for _, event in events]
    assert len(set(due)) == len(due) >= KILLS
    for name, receiver in life.receivers.items():
        ledger = Ledger(due, receiver.received())
        kills = [had[name] for had in life.had]
        print(f"{KILLS} kills, {name}: {ledger}")
        assert ledger.holds, f"{name}: {ledger}"
        for first, again in ledger.repeats():
            near = [kill for kill in kills if first < kill <= again and again - first <= IN_FLIGHT]
            assert near, f"{name}: arrival {again} repeats {first}, with no kill in between; kills at {kills}"
    lives: dict[tuple[str, int], set[int]] = {}
    for position, event in events:
        if "track" in event["data"]:
            track = event["data"]["stream"], event["data"]["track"]["id"]
            lives.setdefault(track, set()).add(life.life_of(position))
    assert lives
    assert not {track: seen for track, seen in lives.items() if len(seen) > 1}, "a track's id was given again"
    log = [json.loads(line) for line in (life.folder / "daemon.log").read_text().splitlines()]
    assert not [line for line in log if line.get("level") in ("error", "critical")]
