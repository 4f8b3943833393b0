"""What a running systemd is told, recorded by a stand-in for systemctl."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from streamvision.errors import MissingError
from streamvision.install import Choice, Removal, Step, Text, installation, manager
from streamvision.install.units import SERVICE, TARGET, UNITS

UNIT = Text(UNITS / SERVICE, "[Service]\n")
OTHER = Text(Path("/etc/streamvision/config.yaml"), "streams: []\n")


@pytest.fixture
def systemctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A systemctl that writes down how it is called, and for which nothing is active."""
    program = tmp_path / "systemctl"
    program.write_text(f'#!/bin/sh\necho "$@" >>{tmp_path}/calls\n[ "$1" != is-active ] || exit 3\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(manager, "RUNS", tmp_path)
    return program


def test_new_units_are_read_and_with_now_started(systemctl: Path):
    assert manager.after_change([UNIT, OTHER], SERVICE, now=False) == [["systemctl", "daemon-reload"]]
    assert manager.after_change([UNIT], TARGET, now=True) == [
        ["systemctl", "daemon-reload"],
        ["systemctl", "restart", TARGET],
    ]


def test_nothing_new_needs_nothing(systemctl: Path):
    assert manager.after_change([], SERVICE, now=False) == []
    assert manager.after_change([OTHER], SERVICE, now=False) == []


def test_what_stands_still_is_started_and_what_runs_is_left_alone(systemctl: Path):
    assert manager.after_change([], SERVICE, now=True) == [["systemctl", "restart", SERVICE]]
    systemctl.write_text("#!/bin/sh\nexit 0\n")
    assert manager.after_change([], SERVICE, now=True) == []


def test_what_is_removed_is_stopped_before(systemctl: Path):
    assert manager.before_removal([Removal(UNITS / SERVICE)]) == [["systemctl", "stop", SERVICE]]
    assert manager.before_removal([]) == []


def test_shards_of_another_count_are_stopped_before_the_new_ones_start(systemctl: Path, tmp_path: Path):
    def install(shards: int) -> list[Step]:
        return [step for step in installation(Choice(("/x",), "", shards=shards), tmp_path) if step.needed]

    for step in install(2):
        step.take()
    old = ["streamvision@1-2.service", "streamvision@2-2.service"]
    assert manager.before_removal(install(3)) == [["systemctl", "stop", *old]]
    assert manager.before_removal(install(0)) == [["systemctl", "stop", TARGET, *old]]


def test_where_systemd_does_not_run_nothing_is_called(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(manager, "RUNS", tmp_path / "nowhere")
    assert manager.after_change([UNIT], SERVICE, now=True) == []
    assert manager.before_removal([Removal(UNITS / SERVICE)]) == []


def test_a_command_is_run(systemctl: Path):
    manager.run(["systemctl", "daemon-reload"])
    assert systemctl.with_name("calls").read_text() == "daemon-reload\n"


def test_a_command_that_fails_says_what_systemd_said(systemctl: Path):
    systemctl.write_text("#!/bin/sh\necho Unit not found. >&2\nexit 5\n")
    with pytest.raises(MissingError, match=r"Unit not found.*journalctl") as caught:
        manager.run(["systemctl", "restart", SERVICE])
    assert caught.value.exit_code == 3


def test_a_machine_without_systemctl_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingError, match="is systemd at work here"):
        manager.run(["systemctl", "daemon-reload"])
