"""A state_dir that cannot be written: the daemon starts, says so, keeps events in memory, and heals.

Tests run as root, too, whom no permission stops: a file stands where the folder should be.
"""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest
import structlog

from streamvision.errors import StoreError, StoreUnusable
from streamvision.metrics import Metrics
from streamvision.paths import STORE_FILE
from streamvision.sinks.database import EventLog
from streamvision.sinks.memory import Memory
from streamvision.sinks.standin import StandInStore, can_be_used, open_or_stand_in, trouble
from streamvision.sinks.store import EventStore
from tests.fakes import FakeClock
from tests.harness import free_port, wait_until
from tests.service.manager import BOUND_S, CONFIG, Manager, daemon
from tests.sinks.samples import event as an_event


def opened(place: Path) -> EventStore:
    return open_or_stand_in(place, FakeClock(), metrics=Metrics(), beat=lambda _: None)


@pytest.fixture(autouse=True)
def memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What stands in lies where the test's other files lie."""
    (tmp_path / "run").mkdir()
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path / "run"))


@pytest.fixture
def blocked(tmp_path: Path) -> Path:
    """The place of a store whose folder is a file as yet."""
    (tmp_path / "var").touch()
    return tmp_path / "var" / STORE_FILE


def heal(place: Path) -> None:
    place.parent.unlink()


def test_a_folder_that_can_be_written_needs_no_stand_in(tmp_path: Path):
    store = opened(tmp_path / "var" / STORE_FILE)
    assert not isinstance(store, StandInStore)
    store.close()


def test_what_time_does_not_heal_is_refused(tmp_path: Path):
    first = opened(tmp_path / STORE_FILE)
    with pytest.raises(StoreError, match="another streamvision") as caught:
        opened(tmp_path / STORE_FILE)
    assert not isinstance(caught.value, StoreUnusable)
    first.close()


def test_it_always_says_why(blocked: Path):
    store = opened(blocked)
    assert isinstance(store, StandInStore)
    store.append([an_event(0)])
    store.flush()
    assert "events are kept in memory" in store.why
    assert trouble(store) == store.why
    store.close()
    with pytest.raises(StoreError, match="1 events stay in memory"):
        store.move(FakeClock())


@pytest.mark.parametrize("healed", [True, False])
def test_what_an_earlier_run_left_in_memory_is_taken_up(blocked: Path, healed: bool):
    script = f"""
import os
from pathlib import Path
from tests.service.test_standin import opened, an_event
store = opened(Path({str(blocked)!r}))
store.register("hook")
store.append([an_event(1), an_event(2)])
store.flush()
os.kill(os.getpid(), 9)
"""
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == -signal.SIGKILL
    if healed:
        heal(blocked)
    store = opened(blocked)
    assert isinstance(store, StandInStore) is not healed
    assert store.register("hook") == 0
    store.append([an_event(3)])
    store.flush()
    assert [each.id for each in store.after(0, 10)] == [an_event(number).id for number in (1, 2, 3)]
    store.close()
    if isinstance(store, StandInStore):
        heal(blocked)
        assert store.move(FakeClock()) == 3
    assert not Memory.of(blocked).folder.exists()


def left_in_memory(blocked: Path) -> Memory:
    """What a daemon leaves that has ended while the disk was not there."""
    store = opened(blocked)
    assert isinstance(store, StandInStore)
    store.append([an_event(1), an_event(2)])
    store.close()
    with pytest.raises(StoreError, match="2 events stay in memory"):
        store.move(FakeClock())
    return Memory.of(blocked)


def test_a_damaged_store_in_memory_is_moved_aside_and_never_removed(blocked: Path):
    memory = left_in_memory(blocked)
    with memory.file.open("r+b") as file:
        file.write(b"nonsense" * 1000)
    heal(blocked)
    with structlog.testing.capture_logs() as logs:
        store = opened(blocked)
    assert not isinstance(store, StandInStore)
    store.close()
    (told,) = (line for line in logs if "moved aside" in line["event"])
    assert (Path(told["moved_to"]) / STORE_FILE).read_bytes().startswith(b"nonsense")
    assert not memory.folder.exists()


def test_memory_that_cannot_be_read_now_is_left_for_the_next_start(blocked: Path, monkeypatch: pytest.MonkeyPatch):
    memory = left_in_memory(blocked)
    heal(blocked)

    def full(_: Memory) -> int:
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(Memory, "waiting", full)
        opened(blocked).close()
    assert memory.waiting() == 2
    store = opened(blocked)
    assert len(store.after(0, 10)) == 2
    store.close()


def test_a_disk_without_room_for_what_is_in_memory_cannot_be_used_yet(blocked: Path, monkeypatch: pytest.MonkeyPatch):
    memory = left_in_memory(blocked)
    heal(blocked)
    monkeypatch.setattr(Memory, "move_to", lambda *_: (_ for _ in ()).throw(StoreUnusable("no room", where="there")))
    store = opened(blocked)
    assert isinstance(store, StandInStore), "in order, and not behind what is new"
    assert len(store.after(0, 10)) == 2
    store.close()
    monkeypatch.undo()
    assert can_be_used(blocked, memory.size)
    assert not can_be_used(blocked, 1 << 60)


@pytest.mark.parametrize("healed", [True, False])
def test_a_folder_of_somebody_else_is_not_believed(blocked: Path, healed: bool):
    folder = Memory.of(blocked).folder
    folder.mkdir()
    folder.chmod(0o777)
    (folder / STORE_FILE).write_bytes(b"a trap")
    if healed:
        heal(blocked)
    store = opened(blocked)
    assert isinstance(store, StandInStore) is not healed
    store.append([an_event(1)])
    store.close()
    assert (folder / STORE_FILE).read_bytes() == b"a trap"
    if isinstance(store, StandInStore):
        heal(blocked)
        assert store.move(FakeClock()) == 1


def test_everything_moves_to_a_new_store(blocked: Path):
    store = opened(blocked)
    assert isinstance(store, StandInStore)
    first = store.register("hook")
    events = [an_event(number) for number in range(5)]
    store.append(events)
    store.flush()
    store.advance("hook", first + 2)
    ids = store.reserve_ids("gate", 10)
    store.close()
    heal(blocked)
    assert can_be_used(blocked)
    assert store.move(FakeClock()) == 5
    after = EventStore(blocked, FakeClock())
    assert [each.id for each in after.after(0, 100)] == [each.id for each in events]
    assert [each.id for each in after.after(after.register("hook"), 100)] == [each.id for each in events[2:]]
    assert after.reserve_ids("gate", 1) >= ids + 10
    after.close()


def test_what_the_disk_held_comes_first_and_is_still_delivered(tmp_path: Path):
    place = tmp_path / "var" / STORE_FILE
    old = EventStore(place, FakeClock())
    old.register("behind")
    old.register("level")
    old.append([an_event(number) for number in range(3)])
    old.flush()
    old.advance("level", old.position)
    old.close()
    away = tmp_path / "away"
    place.parent.rename(away)
    place.parent.touch()
    store = opened(place)
    assert isinstance(store, StandInStore)
    for sink in ("behind", "level", "new"):
        store.register(sink)
    store.append([an_event(number) for number in range(3, 6)])
    store.flush()
    for sink in ("behind", "level"):
        store.advance(sink, store.position - 1)
    store.close()
    heal(place)
    away.rename(place.parent)
    assert store.move(FakeClock()) == 3
    after = EventStore(place, FakeClock())
    waiting = {
        sink: [each.id for each in after.after(after.register(sink), 100)] for sink in ("behind", "level", "new")
    }
    all_of_them = [an_event(number).id for number in range(6)]
    assert waiting == {"behind": all_of_them, "level": all_of_them[5:], "new": all_of_them[3:]}
    after.close()


def test_no_track_gets_a_number_that_the_disk_may_know(blocked: Path):
    store = opened(blocked)
    assert store.reserve_ids("gate", 1) >= FakeClock().utcnow().timestamp() - 1
    store.close()
    heal(blocked)
    assert isinstance(store, StandInStore)
    store.move(FakeClock())


def readyz(port: int) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()
    except OSError as error:
        return 0, str(error)


def test_the_daemon_starts_says_so_and_heals(tmp_path: Path, manager: Manager):
    (tmp_path / "var").touch()
    port = free_port()
    config = CONFIG.format(port=port, folder=tmp_path).replace(
        "type: told, folder: " + str(tmp_path), "type: zone, zone: all, min_dwell: 0s"
    ).replace("fps: 5,", "fps: 5, zones: {all: [[0, 0], [1, 0], [1, 1], [0, 1]]},")  # fmt: skip
    with daemon(tmp_path, manager, config=config) as process:
        manager.expect("READY=1")
        status = manager.hear_until(lambda said: said.startswith("STATUS=") and "kept in memory" in said)
        assert status is not None, manager.heard
        assert "cannot be written" in status
        code, text = readyz(port)
        assert code == 503
        assert "cannot be written" in text
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/events", timeout=30) as answer:
            json.loads(answer.read())
        wait_until(lambda: seen(port) > 0, BOUND_S)
        (tmp_path / "var").unlink()
        manager.heard.clear()
        manager.expect("READY=1")
        assert "STOPPING=1" not in manager.heard
        assert process.poll() is None
        wait_until(lambda: readyz(port)[0] == 200, BOUND_S)
        log = EventLog(tmp_path / "var" / STORE_FILE)
        assert log.after(0, 10)
        log.close()
        process.send_signal(signal.SIGTERM)
        assert process.wait(BOUND_S) == 0
    said = (tmp_path / "log").read_text()
    assert "events are kept in memory until it can" in said
    assert "events moved from memory to the disk" in said


def seen(port: int) -> int:
    """How many events there were."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
        lines = answer.read().decode().splitlines()
    return sum(int(line.rsplit(" ", 1)[1]) for line in lines if line.startswith("streamvision_events_total{"))
