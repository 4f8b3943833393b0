"""What a configuration cannot say: protocols of FFmpeg, ways out of the service's folder, streams without number."""

from __future__ import annotations

import os
import shutil
import sqlite3
from pathlib import Path

import pytest

from streamvision.clock import SystemClock
from streamvision.config import load_settings
from streamvision.config.lint import MAX_STREAMS
from streamvision.errors import ConfigError, StoreError
from streamvision.sinks.database import EventLog
from streamvision.sinks.store import EventStore
from tests.sinks.samples import event

STREAM = "streams: [{id: a, url: 'demo:street'}]\n"


def refused(folder: Path, text: str, match: str) -> None:
    path = folder / "config.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=match):
        load_settings(path)


@pytest.mark.parametrize(
    "url",
    ["concat:/etc/passwd|/etc/hosts", "subfile,,start,0,end,9,,:/etc/passwd", "crypto:/etc/passwd", "async:/etc/passwd",
     "cache:/etc/passwd", "data:text/plain,x", "pipe:0", "fd:0", "tcp://127.0.0.1:1", "udp://127.0.0.1:1", "rtp://127.0.0.1:1",
     "srt://127.0.0.1:1", "ftp://127.0.0.1/a.mp4", "gopher://127.0.0.1/", "unix:/run/x", "lavfi:testsrc", "hls+http://127.0.0.1/x",
     "rtmp://127.0.0.1/x", "javascript:alert(1)", "FILE+x:/etc/passwd"],
)  # fmt: skip
def test_schemes_are_those_on_the_list(tmp_path: Path, url: str):
    path = tmp_path / "config.yaml"
    path.write_text(f'streams: [{{id: a, url: "{url}"}}]\n', encoding="utf-8")
    if url.startswith("subfile,"):  # no scheme has a comma: this names a file, and is opened as one
        assert load_settings(path).streams[0].url == str(tmp_path / url.removeprefix("/"))
        return
    with pytest.raises(ConfigError, match=r"there is no source for .*: URLs"):
        load_settings(path)


@pytest.mark.parametrize(
    "text",
    ["sinks: [{name: log, type: jsonl, path: ../events.jsonl}]",
     "sinks: [{name: log, type: jsonl, path: a/../../events.jsonl}]",
     "sinks: [{name: log, type: jsonl, path: ..}]", "collect: {folder: ../pictures}"],
)  # fmt: skip
def test_what_is_written_stays_in_state_dir(tmp_path: Path, text: str):
    refused(tmp_path, STREAM + text, r"config\.yaml:2:\d+: .*leads out of its folder; write an absolute path")


@pytest.mark.parametrize(
    "path", ["events.jsonl", "a/b.jsonl", "a/../b.jsonl", "..events", "/var/log/events.jsonl", "./x"]
)
def test_paths_inside_and_absolute_ones_are_right(tmp_path: Path, path: str):
    config = tmp_path / "config.yaml"
    config.write_text(f"{STREAM}sinks: [{{name: log, type: jsonl, path: {path}}}]\n", encoding="utf-8")
    assert load_settings(config).sinks[0].options.path == path


def test_streams_are_bounded(tmp_path: Path):
    many = "".join(f"  - {{id: s{number}, url: 'demo:street'}}\n" for number in range(MAX_STREAMS + 1))
    refused(tmp_path, f"streams:\n{many}", f"there are more than {MAX_STREAMS} streams")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that was left by a kill: events in the main file, more of them in the log beside it."""
    folder = tmp_path_factory.mktemp("store")
    kept = EventStore(folder / "events.db", SystemClock())
    for number in range(40):
        kept.append([event(number)])
    kept.flush(60)
    left = folder / "left"
    left.mkdir()
    for path in folder.glob("events.db*"):
        if not path.name.endswith(".lock"):
            shutil.copy(path, left)
    kept.close()
    assert (left / "events.db-wal").stat().st_size > 0
    return left


def opened(folder: Path) -> list[str]:
    """Open a store as the daemon does, add an event, and return the ids that it has."""
    kept = EventStore(folder / "events.db", SystemClock())
    try:
        kept.append([event(999)])
        kept.flush(60)
        return [one.id for one in kept.after(0, 1000)]
    finally:
        kept.close()


def test_a_log_that_was_left_is_taken_up(tmp_path: Path, store: Path):
    shutil.copytree(store, tmp_path, dirs_exist_ok=True)
    assert len(opened(tmp_path)) == 41


def test_a_damaged_log_costs_its_own_events_at_most(tmp_path: Path, store: Path):
    """SQLite believes a log as far as its checksums hold; the store goes on whatever stands behind that."""
    whole = (store / "events.db-wal").read_bytes()
    for number, damaged in enumerate(
        [
            whole[: len(whole) // 2],
            b"\0" * len(whole),
            os.urandom(len(whole)),
            whole[:100] + b"\xff" * 64 + whole[164:],
            b"x",
        ]
    ):
        folder = tmp_path / str(number)
        shutil.copytree(store, folder)
        (folder / "events.db-wal").write_bytes(damaged)
        (folder / "events.db-shm").unlink(missing_ok=True)
        found = opened(folder)
        assert found[-1] == event(999).id
        with sqlite3.connect(folder / "events.db") as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        connection.close()


@pytest.mark.parametrize("where", [0, 16, 60, 100, 4096, 5000])
def test_a_damaged_main_file_is_put_aside_or_right(tmp_path: Path, store: Path, where: int):
    shutil.copytree(store, tmp_path, dirs_exist_ok=True)
    with sqlite3.connect(tmp_path / "events.db") as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    body = bytearray((tmp_path / "events.db").read_bytes())
    body[where : where + 60] = b"\xaa" * 60
    (tmp_path / "events.db").write_bytes(body)
    found = opened(tmp_path)
    aside = [path for path in tmp_path.iterdir() if ".broken-" in path.name]
    assert found[-1] == event(999).id
    assert len(found) == 41 or (aside and bytes(body) in [path.read_bytes() for path in aside])


def test_a_layout_that_is_no_text_is_put_aside_and_told(tmp_path: Path, store: Path):
    """SQLite quotes the damaged words in its error, which Python cannot decode: that is no traceback either."""
    shutil.copytree(store, tmp_path, dirs_exist_ok=True)
    with sqlite3.connect(tmp_path / "events.db") as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    body = (tmp_path / "events.db").read_bytes().replace(b"CREATE TABLE events(", b"CREATE T\xf9BLE \xf9vents(")
    (tmp_path / "events.db").write_bytes(body)
    with pytest.raises(StoreError, match="cannot be read"):
        EventLog(tmp_path / "events.db")
    assert opened(tmp_path) == [event(999).id]
    assert any(path.read_bytes() == body for path in tmp_path.iterdir() if ".broken-" in path.name)


def test_a_file_without_events_is_told(tmp_path: Path):
    sqlite3.connect(tmp_path / "events.db").close()
    (tmp_path / "events.db").touch()
    with pytest.raises(StoreError, match="cannot be read: no such table"):
        EventLog(tmp_path / "events.db")
