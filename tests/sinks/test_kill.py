"""kill -9 at any moment: nothing that was delivered is missing from the store, nothing is lost, little is repeated."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from streamvision.clock import SystemClock
from streamvision.sinks.database import EventLog
from streamvision.sinks.store import EventStore
from tests.sinks.samples import number_of

KILLS = 8
ROOT = Path(__file__).parents[2]


def start(folder: Path, last: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.sinks.writer_to_kill", str(folder), str(last)], cwd=ROOT, stderr=subprocess.PIPE
    )


def wait_for_lines(path: Path, process: subprocess.Popen[bytes], size: int) -> None:
    until = time.monotonic() + 30
    while time.monotonic() < until and process.poll() is None:
        if path.exists() and path.stat().st_size > size:
            return
        time.sleep(0.001)
    raise AssertionError("the writer wrote nothing")


def test_killed_at_any_moment(tmp_path):
    path = tmp_path / "events.jsonl"
    chance = random.Random(7)
    ids: list[int] = []
    for _ in range(KILLS):
        process = start(tmp_path, 10**9)
        try:
            wait_for_lines(path, process, (path.stat().st_size if path.exists() else 0) + chance.randrange(60_000))
        finally:
            process.kill()
            _, errors = process.communicate(timeout=30)
        assert b"Traceback" not in errors, errors.decode()
        store = EventStore(tmp_path / "events.db", SystemClock())
        kept = {number_of(one.json) for one in store.after(0, 10**6)}
        ids.append(store.reserve_ids("gate", 1))
        store.close()
        whole = path.read_bytes().rpartition(b"\n")[0].decode().splitlines()
        assert {number_of(line) for line in whole} <= kept

    assert ids == sorted(set(ids))
    last = max(kept) + 100
    process = start(tmp_path, last)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors.decode()
    log = EventLog(tmp_path / "events.db")
    stored = [number_of(one.json) for one in log.after(0, 10**6)]
    log.close()
    delivered = [number_of(line) for line in path.read_text().splitlines()]
    assert stored == list(range(len(stored))), "nothing is lost, the order is kept"
    assert delivered == stored, "the file holds every event once, whenever its writer was killed"
    assert max(Counter(delivered).values()) == 1
