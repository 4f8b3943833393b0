"""The sink ``jsonl`` begins new files and keeps old ones: all events, each once, in their order, whatever happens."""

from __future__ import annotations

import errno
import gzip
import os
import subprocess
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest
import structlog

from streamvision.config import load_settings
from streamvision.errors import ConfigError, SinkError
from streamvision.interfaces import SinkContext
from streamvision.sinks import jsonl
from streamvision.sinks.jsonl import JsonlSink, archive
from streamvision.sinks.jsonl.archive import Archive, compress
from streamvision.sinks.jsonl.options import Rotation
from tests.fakes import FakeClock
from tests.harness import wait_until
from tests.servers.disk import fill, mounted, small_disk
from tests.sinks.brokers import stored
from tests.sinks.samples import number_of

ROOT = Path(__file__).parents[2]
WAIT_S = 60.0
LINE_BYTES = len(stored(1)[0].json) + 1
DAY_S = 86_400.0
MORNING = datetime(2026, 1, 2, 8, tzinfo=UTC)


def mb(lines: float) -> float:
    """How many MB so many lines take."""
    return lines * LINE_BYTES / (1 << 20)


class Writer:
    """A sink with a clock that is moved by hand."""

    def __init__(self, folder: Path, clock: FakeClock | None = None, **rotate) -> None:
        self.clock = clock or FakeClock(utc=MORNING)
        options = JsonlSink.Options(path="events.jsonl", rotate=rotate or None)
        self.sink = JsonlSink(options, SinkContext("log", folder), utc_s=lambda: self.clock.utcnow().timestamp())

    def write(self, *numbers: int) -> None:
        self.sink.deliver(stored(*numbers))

    def close(self) -> None:
        self.sink.close()


def old(folder: Path) -> list[Path]:
    return sorted(folder.glob("events.jsonl.*Z*"))


def content(path: Path) -> list[int]:
    text = (gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()).decode()
    assert text == "" or text.endswith("\n")
    return [number_of(line) for line in text.splitlines()]


def contents(folder: Path) -> list[list[int]]:
    """What each file holds, the oldest first."""
    return [content(path) for path in [*old(folder), folder / "events.jsonl"]]


def wait_old(folder: Path, *names: str) -> None:
    wait_until(lambda: [path.name.removeprefix("events.jsonl.") for path in old(folder)] == list(names), WAIT_S)


def test_no_file_becomes_larger_than_it_may_and_no_event_is_divided(tmp_path):
    writer = Writer(tmp_path, max_mb=mb(3.5))
    writer.write(*range(8))
    writer.write(8)
    writer.write(9, 10)
    writer.close()
    assert contents(tmp_path) == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9, 10]]
    assert [path.name.removeprefix("events.jsonl.") for path in old(tmp_path)] == [
        "000001-20260102T080000Z", "000002-20260102T080000Z", "000003-20260102T080000Z",
    ]  # fmt: skip


def test_a_line_that_is_longer_than_a_file_may_be_has_one_of_its_own(tmp_path):
    writer = Writer(tmp_path, max_mb=mb(0.5))
    writer.write(1, 2)
    writer.close()
    assert contents(tmp_path) == [[1], [2]]


def test_each_day_has_its_file_also_after_a_restart_and_a_clock_that_was_set_back_begins_none(tmp_path):
    writer = Writer(tmp_path, every="1d")
    writer.write(1)
    writer.clock.advance(15 * 3600)
    writer.write(2)
    writer.clock.advance(3600)
    writer.write(3)
    writer.clock.advance(-3600)
    writer.write(4)
    writer.close()
    assert contents(tmp_path) == [[1, 2], [3, 4]]
    os.utime(tmp_path / "events.jsonl", (MORNING.timestamp(),) * 2)
    later = Writer(tmp_path, FakeClock(utc=MORNING), every="1d")
    later.write(5)
    later.close()
    later.clock.advance(DAY_S)
    os.utime(tmp_path / "events.jsonl", (MORNING.timestamp(),) * 2)
    later.write(6)
    later.close()
    assert contents(tmp_path) == [[1, 2], [3, 4, 5], [6]]


def test_a_day_without_events_makes_no_file(tmp_path):
    writer = Writer(tmp_path, every="1d")
    writer.write(1)
    writer.clock.advance(5 * DAY_S)
    writer.write(2)
    writer.close()
    assert contents(tmp_path) == [[1], [2]]


def test_a_year_in_the_future_and_back_does_not_end_rotation(tmp_path):
    writer = Writer(tmp_path, every="1d")
    writer.write(1)
    writer.clock.advance(366 * DAY_S)
    writer.write(2)
    writer.clock.advance(-366 * DAY_S)
    writer.write(3)
    writer.clock.advance(DAY_S)
    writer.write(4)
    writer.close()
    assert contents(tmp_path) == [[1], [2, 3], [4]]


def test_old_files_are_kept_by_number(tmp_path):
    writer = Writer(tmp_path, max_mb=mb(1.5), keep=2)
    writer.write(1, 2, 3, 4, 5)
    wait_old(tmp_path, "000003-20260102T080000Z", "000004-20260102T080000Z")
    writer.close()
    assert contents(tmp_path) == [[3], [4], [5]]


def test_old_files_are_kept_by_size_as_it_is_after_compression(tmp_path):
    writer = Writer(tmp_path, max_mb=mb(20.5), total_mb=mb(21), compress="gzip")
    writer.write(*range(200))
    wait_until(lambda: all(path.suffix == ".gz" for path in old(tmp_path)), WAIT_S)
    writer.write(200)
    writer.close()
    assert len(old(tmp_path)) > 1
    assert sum(path.stat().st_size for path in old(tmp_path)) <= 21 * LINE_BYTES
    numbers = [number for one in contents(tmp_path) for number in one]
    assert numbers == list(range(numbers[0], 201))


def test_the_newest_old_file_stays_whatever_its_size(tmp_path):
    one = Archive(tmp_path / "events.jsonl")
    for number in (1, 2):
        (tmp_path / f"events.jsonl.{number:06d}-20260102T080000Z").write_bytes(bytes(5000))
    one.tidy(Rotation(max_mb=0.001, total_mb=0.001))
    assert [path.name[13:19] for path in old(tmp_path)] == ["000002"]


def test_compressed_files_keep_time_and_rights(tmp_path):
    writer = Writer(tmp_path, max_mb=mb(1.5), compress="gzip")
    writer.write(1)
    (tmp_path / "events.jsonl").chmod(0o600)
    os.utime(tmp_path / "events.jsonl", (1e9, 1e9))
    writer.write(2)
    wait_old(tmp_path, "000001-20260102T080000Z.gz")
    writer.close()
    state = old(tmp_path)[0].stat()
    assert (state.st_mode & 0o777, state.st_mtime) == (0o600, 1e9)
    assert contents(tmp_path) == [[1], [2]]


def test_what_the_old_files_have_is_not_written_again(tmp_path):
    writer = Writer(tmp_path, max_mb=mb(2.5), compress="gzip")
    writer.write(*range(5))
    wait_old(tmp_path, "000001-20260102T080000Z.gz", "000002-20260102T080000Z.gz")
    writer.close()
    again = Writer(tmp_path, max_mb=mb(2.5))
    again.write(*range(7))  # the cursor stood at the beginning
    again.close()
    assert contents(tmp_path) == [[0, 1], [2, 3], [4, 5], [6]]


def test_the_newest_lines_are_found_across_files_and_damage(tmp_path):
    one = Archive(tmp_path / "events.jsonl")
    for number, ending in ((1, ".gz"), (2, ""), (3, ".gz"), (4, ".gz")):
        lines = "".join(f"{{{number}{letter}}}\n" for letter in "abc").encode()
        path = tmp_path / f"events.jsonl.{number:06d}-20260102T080000Z{ending}"
        path.write_bytes(gzip.compress(lines) if ending else lines)
    damaged = old(tmp_path)[3]
    damaged.write_bytes(damaged.read_bytes()[:10])
    assert one.tail(8) == b"{3c}\n"
    assert one.tail(1000).startswith(b"{1a}\n{1b}\n{1c}\n{2a}")
    assert one.tail(22) == b"{2c}\n{3a}\n{3b}\n{3c}\n"


def test_leftovers_of_a_crash_are_known_and_other_files_left_alone(tmp_path):
    plain = tmp_path / "events.jsonl.000001-20260102T080000Z"
    plain.write_text(stored(1)[0].json + "\n")
    plain.with_name(plain.name + ".gz").write_bytes(b"half of it")
    (tmp_path / f".{plain.name}.gz.draft").write_bytes(b"half of it")
    strangers = ("events.jsonl.1", "events.jsonl.2.gz", "events.jsonl-20260102", "other.jsonl.000001-20260102T080000Z",
                 ".other.jsonl.000001-20260102T080000Z.gz.draft")  # fmt: skip
    for name in strangers:
        (tmp_path / name).write_text("of somebody else")
    writer = Writer(tmp_path, max_mb=mb(100), compress="gzip", keep=1)
    writer.write(1, 2)
    wait_old(tmp_path, plain.name.removeprefix("events.jsonl.") + ".gz")
    writer.close()
    assert contents(tmp_path) == [[1], [2]]
    left = {path.name for path in tmp_path.iterdir()} - {"events.jsonl", plain.name + ".gz"}
    assert left == set(strangers)


def test_half_a_compressed_file_beside_the_plain_one_goes_also_where_nothing_is_compressed_any_more(tmp_path):
    plain = tmp_path / "events.jsonl.000001-20260102T080000Z"
    plain.write_text(stored(1)[0].json + "\n")
    plain.with_name(plain.name + ".gz").write_bytes(b"half of it")
    Archive(tmp_path / "events.jsonl").tidy(Rotation(max_mb=1))
    assert old(tmp_path) == [plain]


def test_logrotate_may_do_it_as_well(tmp_path):
    writer = Writer(tmp_path, max_mb=mb(2.5))
    writer.write(1, 2, 3)
    (tmp_path / "events.jsonl").rename(tmp_path / "events.jsonl.1")
    writer.write(4)
    os.truncate(tmp_path / "events.jsonl", 0)
    writer.write(5, 6, 7)
    writer.close()
    assert contents(tmp_path) == [[1, 2], [5, 6], [7]]
    assert content(tmp_path / "events.jsonl.1") == [3]


def test_an_end_interrupts_compression_and_the_next_start_does_it(tmp_path):
    plain, packed = tmp_path / "plain", tmp_path / "packed.gz"
    plain.write_bytes(os.urandom(3 * archive.CHUNK_BYTES))
    asked: list[None] = []

    def stopped() -> bool:
        asked.append(None)
        return len(asked) > 1

    assert not compress(plain, packed, stopped)
    assert len(asked) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["plain"]
    assert compress(plain, packed, lambda: False)
    assert [path.name for path in tmp_path.iterdir()] == ["packed.gz"]


def test_without_room_for_a_new_file_the_old_one_grows_and_is_told_once(tmp_path, monkeypatch):
    def refuse(self: Path, target: Path) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(self))

    writer = Writer(tmp_path, max_mb=mb(1.5))
    with monkeypatch.context() as patched, structlog.testing.capture_logs() as logs:
        patched.setattr(Path, "rename", refuse)
        writer.write(1, 2)
        writer.write(3)
    assert [one["event"] for one in logs] == ["no new file can be begun; this one grows"]
    monkeypatch.setattr(jsonl, "ROTATE_AGAIN_S", 0.0)
    writer.sink._rotate_at_s = 0.0
    writer.write(4, 5)
    writer.close()
    assert contents(tmp_path) == [[1, 2, 3], [4], [5]]


def test_what_cannot_be_compressed_stays_and_is_told_once(tmp_path, monkeypatch):
    tried = threading.Semaphore(0)
    whole = archive.compress

    def refuse(plain: Path, packed: Path, stopped) -> bool:
        tried.release()
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(packed))

    monkeypatch.setattr(archive, "compress", refuse)
    writer = Writer(tmp_path, max_mb=mb(1.5), compress="gzip")
    with structlog.testing.capture_logs() as logs:
        writer.write(1)
        for number in (2, 3):
            writer.write(number)
            assert tried.acquire(timeout=WAIT_S)
        writer.close()
    assert [one["cause"] for one in logs] == ["No space left on device"]
    monkeypatch.setattr(archive, "compress", whole)
    later = Writer(tmp_path, max_mb=mb(1.5), compress="gzip")
    later.write(4)
    wait_old(tmp_path, *(f"00000{number}-20260102T080000Z.gz" for number in (1, 2, 3)))
    later.close()
    assert contents(tmp_path) == [[1], [2], [3], [4]]


def test_a_folder_that_goes_and_a_file_that_cannot_be_written_are_failures_that_heal(tmp_path):
    folder = tmp_path / "state"
    folder.mkdir()
    writer = Writer(folder, max_mb=mb(1.5), compress="gzip", keep=3)
    writer.write(1, 2)
    folder.rename(tmp_path / "away")
    writer.write(3)
    assert contents(folder) == [[3]]
    (folder / "events.jsonl").rename(tmp_path / "aside")
    (folder / "events.jsonl").mkdir()
    with pytest.raises(SinkError) as caught:
        writer.write(4)
    assert (caught.value.reason, caught.value.permanent) == ("disk", False)
    (folder / "events.jsonl").rmdir()
    writer.write(4, 5)
    wait_old(folder, "000001-20260102T080000Z.gz")
    writer.close()
    assert contents(folder) == [[4], [5]]


def test_a_full_disk_tears_no_event(tmp_path, monkeypatch):
    writer = Writer(tmp_path, max_mb=mb(2.5))
    writer.write(1)
    write, room = os.write, [int(LINE_BYTES * 2.5)]

    def bounded(fd: int, data) -> int:
        if not room[0]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        count = write(fd, data[: room[0]])
        room[0] -= count
        return count

    monkeypatch.setattr(os, "write", bounded)
    for _ in range(3):
        with pytest.raises(SinkError, match="No space left"):
            writer.write(2, 3, 4, 5)
    room[0] = 1 << 20
    writer.write(2, 3, 4, 5)
    writer.close()
    assert contents(tmp_path) == [[1, 2], [3, 4], [5]]


def test_killed_at_every_step(tmp_path):
    """kill -9 before each step on the disk and in the middle of each write: see `tests.sinks.rotation_to_kill`."""
    command = [sys.executable, "-m", "tests.sinks.rotation_to_kill", str(tmp_path / "files")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.splitlines()[-1]) > 40


@pytest.mark.parametrize(
    ("rotate", "said"),
    [
        ("{keep: 3}", "when does a new file begin? give max_mb or every"),
        ("{max_mb: 0}", "greater than 0"),
        ("{every: 1s}", "greater than or equal to 60"),
        ("{every: daily}", "is not a span of time"),
        ("{max_mb: 10, keep: 0}", "greater than or equal to 1"),
        ("{max_mb: 10, total_mb: 5}", "total_mb 5 has no room for one file of max_mb 10"),
        ("{max_mb: 10, compress: zip}", "is not one of the choices"),
        ("{max_mb: 10, keeep: 3}", "did you mean 'keep'?"),
        ("daily", "config.yaml:3:"),
    ],
)
def test_a_mistake_is_told_at_its_place(tmp_path, rotate, said):
    path = tmp_path / "config.yaml"
    sink = f"{{name: log, type: jsonl, path: e.jsonl, rotate: {rotate}}}"
    path.write_text(f"streams: [{{id: gate, url: 'demo:street'}}]\nsinks:\n  - {sink}\n")
    with pytest.raises(ConfigError) as caught:
        load_settings(path)
    assert said in str(caught.value)
    assert "config.yaml:3:" in str(caught.value)


def test_a_disk_that_is_full_and_then_read_only(tmp_path):
    with small_disk(tmp_path / "disk") as disk:
        writer = Writer(disk, max_mb=mb(2.5), compress="gzip")
        writer.write(1, 2, 3)
        wait_old(disk, "000001-20260102T080000Z.gz")
        filler = fill(disk)
        with pytest.raises(SinkError, match="No space left"):
            writer.write(*range(4, 40))
        filler.unlink()
        writer.write(*range(4, 40))
        writer.close()
        mounted("-o", "remount,ro", str(disk))
        with pytest.raises(SinkError, match="Read-only"):
            writer.write(40)
        mounted("-o", "remount,rw", str(disk))
        writer.write(40)
        writer.close()
        assert [number for one in contents(disk) for number in one] == list(range(1, 41))
