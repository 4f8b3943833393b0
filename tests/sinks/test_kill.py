"""kill -9 at any moment: nothing that was delivered is missing from the store, nothing is lost, little is repeated."""

from __future__ import annotations

import gzip
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from streamvision.clock import SystemClock
from streamvision.sinks.database import EventLog
from streamvision.sinks.store import EventStore
from tests.scale import scaled
from tests.sinks.samples import number_of

KILLS = scaled(4, 50)
ROOT = Path(__file__).parents[2]


def start(folder: Path, last: int, max_mb: float) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tests.sinks.writer_to_kill", str(folder), str(last), str(max_mb)]
    return subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE)


def files(folder: Path) -> list[Path]:
    """Every file of events, the oldest first; a compressed one only where the plain one has gone."""
    old = {path.name.removesuffix(".gz"): path for path in sorted(folder.glob("events.jsonl.*Z*"), reverse=True)}
    return [*(old[name] for name in sorted(old)), folder / "events.jsonl"]


def lines(folder: Path) -> list[int]:
    """The number of every whole line, in the order of the files; only the newest may be torn."""
    found: list[bytes] = []
    for path in files(folder):
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        assert path.name == "events.jsonl" or data.endswith(b"\n"), "no event is divided between two files"
        found += data.splitlines(keepends=True)
    return [number_of(line.decode()) for line in found if line.endswith(b"\n")]


def wait_for_bytes(folder: Path, process: subprocess.Popen[bytes], count: int) -> None:
    """Wait until the newest file has grown by so much, or another one has taken its place."""
    path = folder / "events.jsonl"
    before = path.stat() if path.exists() else None
    until = time.monotonic() + 60
    while time.monotonic() < until and process.poll() is None:
        try:
            now = path.stat()
        except FileNotFoundError:
            continue
        if now.st_size > count + (before.st_size if before is not None and before.st_ino == now.st_ino else 0):
            return
        time.sleep(0.001)
    raise AssertionError("the writer wrote nothing")


@pytest.mark.parametrize("max_mb", [0, 0.02], ids=["one-file", "rotated"])
def test_killed_at_any_moment(tmp_path, max_mb):
    chance = random.Random(7)
    ids: list[int] = []
    for _ in range(KILLS):
        process = start(tmp_path, 10**9, max_mb)
        try:
            wait_for_bytes(tmp_path, process, chance.randrange(15_000 if max_mb else 60_000))
            time.sleep(chance.random() * 0.1)
        finally:
            process.kill()
            _, errors = process.communicate(timeout=30)
        assert b"Traceback" not in errors, errors.decode()
        store = EventStore(tmp_path / "events.db", SystemClock())
        kept = {number_of(one.json) for one in store.after(0, 10**6)}
        ids.append(store.reserve_ids("gate", 1))
        store.close()
        if (tmp_path / "events.jsonl").exists():
            assert set(lines(tmp_path)) <= kept

    assert ids == sorted(set(ids))
    last = max(kept) + 100
    process = start(tmp_path, last, max_mb)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors.decode()
    log = EventLog(tmp_path / "events.db")
    stored = [number_of(one.json) for one in log.after(0, 10**6)]
    log.close()
    assert stored == list(range(len(stored))), "nothing is lost, the order is kept"
    assert lines(tmp_path) == stored, "the files hold every event once, whenever their writer was killed"
    assert (len(files(tmp_path)) > 2) == bool(max_mb)
