"""``streamvision collect``: a real run, a kill at any moment, and going on."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from streamvision.cli import app
from streamvision.dataset import read, rgb
from streamvision.errors import UsageError
from tests.explain.scenes import watching
from tests.harness import wait_until

DOUBTING = ("--low", "0.2", "--high", "0.95", "--every", "0s")


def lines(out: Path) -> int:
    path = out / "journal.jsonl"
    return path.read_bytes().count(b'"picture"') if path.exists() else 0


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(watching(tmp_path, 9, extra="sinks: [{name: log, type: jsonl, path: told.jsonl}]"))
    return path


def test_a_kill_leaves_a_readable_set_that_is_gone_on_with(config: Path, tmp_path: Path):
    out = tmp_path / "collected"
    command = [sys.executable, "-m", "streamvision", "collect", str(config), "--out", str(out), *DOUBTING]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            wait_until(lambda: lines(out) >= 3 and (out / "annotations.json").exists(), 90)
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait(30)
    before, kept = lines(out), read(out)
    assert 1 <= len(kept) <= before
    assert all(rgb(one.path)[96:, 168:].max() <= 8 for one in kept.examples)  # the privacy mask
    result = CliRunner().invoke(app, ["collect", str(config), "--out", str(out), *DOUBTING, "--limit", str(before + 2)])
    assert result.exit_code == 0, result.output
    assert f"{before + 2} in {out}" in result.stdout
    whole = read(out)
    assert len(whole) == before + 2
    assert whole.classes == ("cat", "dog")
    assert {one.group for one in whole.examples} == {"gate"}
    assert all(one.objects is not None and one.objects.class_id.tolist() == [1] for one in whole.examples)
    assert not (tmp_path / "state").exists()  # neither its events nor its sinks are the daemon's


def test_it_ends_when_its_time_is_over(config: Path, tmp_path: Path):
    out = tmp_path / "collected"
    result = CliRunner().invoke(app, ["collect", str(config), "--out", str(out), "--for", "1s", "--high", "0.3"])
    assert result.exit_code == 0, result.output
    assert lines(out) <= 3  # the event's own picture, and what followed it


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--low", "0.6"), "not below"),
        (("--for", "soon"), "--for"),
        (("--every", "2x"), "--every"),
        (("--streams", "gate,yard"), "no stream 'yard'"),
    ],
)
def test_what_cannot_be_is_said(config: Path, tmp_path: Path, arguments: tuple[str, ...], said: str):
    result = CliRunner().invoke(app, ["collect", str(config), "--out", str(tmp_path / "out"), *arguments])
    assert isinstance(result.exception, UsageError)
    assert said in str(result.exception)
