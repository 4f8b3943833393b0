"""--shard of the commands that read a configuration."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamvision.cli import main
from streamvision.clock import SystemClock
from streamvision.config import load_settings
from streamvision.paths import STORE_FILE
from streamvision.sinks.store import EventStore
from tests.sinks.samples import event

CONFIG = """
state_dir: var
streams: [{id: cam-0, url: demo:street}, {id: cam-7, url: demo:street}]
sinks: [{name: hook, type: jsonl, path: "events-${STREAMVISION_SHARD}.jsonl"}]
"""
"""Of eight shards, the third has cam-0 and the eighth has cam-7."""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG)
    return path


def test_check_shows_what_a_shard_would_run(config: Path, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit, match="0"):
        main(["check", str(config), "--shard", "8/8"])
    shown = capsys.readouterr().out
    assert "shard 8/8: 1 stream\n" in shown
    assert "stream cam-7:" in shown
    assert "cam-0" not in shown
    assert "server 127.0.0.1:8087" in shown
    assert f"state in {config.parent}/var/shard-8" in shown


def test_what_must_differ_can_name_the_shard(config: Path):
    settings = load_settings(config, env={"STREAMVISION_SHARD": "8-8"})
    assert settings.sinks[0].options.path == "events-8-8.jsonl"  # type: ignore[attr-defined]


def test_check_without_a_shard_says_that_the_file_wants_one(config: Path, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit, match="2"):
        main(["check", str(config)])
    assert "${STREAMVISION_SHARD} is not set" in capsys.readouterr().err


def test_a_file_that_every_shard_would_write_ends_with_2(config: Path, capsys: pytest.CaptureFixture[str]):
    config.write_text(CONFIG.replace("events-${STREAMVISION_SHARD}.jsonl", f"{config.parent}/events.jsonl"))
    with pytest.raises(SystemExit, match="2"):
        main(["check", str(config), "--shard", "1/2"])
    assert f"{config}:4:41: every shard would write this file" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["run", "check"])
def test_a_shard_that_is_none_ends_with_2(command: str, config: Path, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit, match="2"):
        main([command, str(config), "--shard", "9/8"])
    assert "--shard: expected INDEX/COUNT, not '9/8'" in capsys.readouterr().err


def test_events_of_a_shard_are_read(config: Path, capsys: pytest.CaptureFixture[str]):
    store = EventStore(config.parent / "var" / "shard-8" / STORE_FILE, SystemClock())
    store.append([event(1)])
    store.close()
    with pytest.raises(SystemExit, match="0"):
        main(["events", "--config", str(config), "--shard", "8/8", "--json"])
    assert event(1).id in capsys.readouterr().out
