from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from streamvision.cli import app
from streamvision.clock import SystemClock
from streamvision.errors import StoreError, UsageError
from streamvision.sinks.store import EventStore
from tests.sinks.samples import event, number_of


@pytest.fixture
def store(tmp_path) -> Iterator[EventStore]:
    """A store that a daemon has open: ten events, one per ten minutes, the last one now."""
    opened, now = EventStore(tmp_path / "events.db", SystemClock(), host="h"), datetime.now(UTC)
    kinds = ("zone", "line")
    opened.append(
        [event(n, kind=kinds[n % 2], stream=f"s{n % 3}", time=now - timedelta(minutes=10 * (9 - n))) for n in range(10)]
    )
    opened.flush()
    yield opened
    opened.close()


def shown(*arguments: str | Path) -> list[int]:
    result = CliRunner().invoke(app, ["events", "--json", *map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return [number_of(line) for line in result.stdout.splitlines()]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((), list(range(10))),
        (("--limit", "3"), [7, 8, 9]),
        (("--limit", "0"), []),
        (("--since", "25m"), [7, 8, 9]),
        (("--since", "25m", "--limit", "1"), [9]),
        (("--type", "line"), [1, 3, 5, 7, 9]),
        (("--type", "streamvision.zone.start", "-n", "2"), [6, 8]),
        (("--type", "zone.end"), []),
        (("--stream", "s1", "--since", "1h"), [4, 7]),
    ],
)
def test_a_live_store_is_read(store, tmp_path, arguments, expected):
    assert shown("--state-dir", tmp_path, *arguments) == expected


def test_the_store_is_found_through_the_configuration(store, tmp_path):
    config = tmp_path / "c.yaml"
    config.write_text("state_dir: .\nstreams: [{id: a, url: 'rtsp://${NOT_SET_HERE}@x/'}]\n")
    assert shown("--config", config, "-n", "1") == [9]


def test_lines_for_people(store, tmp_path):
    result = CliRunner().invoke(app, ["events", "--state-dir", str(tmp_path), "-n", "1"], catch_exceptions=False)
    assert "s0/intruder" in result.stdout
    assert "line.start" in result.stdout
    assert "person #17" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("--since", "yesterday"), UsageError),
        (("--config", "a", "--state-dir", "b"), UsageError),
        (("--state-dir", "/nonexistent"), StoreError),
    ],
)
def test_what_cannot_be_served(arguments, error):
    with pytest.raises(error):
        shown(*arguments)


def test_following_shows_what_is_new_until_ctrl_c(store, tmp_path):
    reader = subprocess.Popen(
        [sys.executable, "-m", "streamvision", "events", "--state-dir", str(tmp_path), "--json", "-n", "1", "--follow"],
        stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2], env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    assert reader.stdout is not None
    try:
        assert number_of(reader.stdout.readline()) == 9
        store.append([event(10), event(11)])
        assert [number_of(reader.stdout.readline()) for _ in range(2)] == [10, 11]
        reader.send_signal(signal.SIGINT)
        assert reader.wait(30) == 0
    finally:
        reader.kill()
        reader.communicate()


def test_json_lines_are_the_stored_events(store, tmp_path):
    result = CliRunner().invoke(app, ["events", "--json", "--state-dir", str(tmp_path)], catch_exceptions=False)
    assert [json.loads(line)["specversion"] for line in result.stdout.splitlines()] == ["1.0"] * 10
