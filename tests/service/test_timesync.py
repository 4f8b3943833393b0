"""A clock that nobody has set: who is asked, and what events, metrics and the log say."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest

from streamvision import timesync
from streamvision.clock import MediaTimeline, SystemClock
from streamvision.metrics import Metrics
from streamvision.timesync import TRUSTED_S, UNSET_S, TimeSync, TimeSyncWatch, time_sync
from tests.fakes import FakeClock
from tests.harness import wait_until

Kernel = Callable[[object], int]


def with_kernel(monkeypatch: pytest.MonkeyPatch, state: int, maxerror_us: int = 0) -> None:
    """Let adjtimex return a state, as the kernel would."""

    def adjtimex(pointer: object) -> int:
        pointer._obj.maxerror = maxerror_us  # type: ignore[attr-defined]
        return state

    monkeypatch.setattr(timesync.ctypes, "CDLL", lambda *_, **__: SimpleNamespace(adjtimex=adjtimex))


def with_timedatectl(monkeypatch: pytest.MonkeyPatch, folder: Path, script: str) -> None:
    program = folder / "timedatectl"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


def test_the_kernel_is_asked_and_the_struct_fits():
    found = time_sync()
    assert found.synchronised in (True, False, None)
    assert 0 <= found.error_s <= UNSET_S


def test_a_synchronised_clock_has_the_kernels_own_bound(monkeypatch: pytest.MonkeyPatch):
    with_kernel(monkeypatch, 0, maxerror_us=25_000)
    assert time_sync() == TimeSync(True, 0.025)


def test_an_unsynchronised_clock_may_be_off_by_a_day(monkeypatch: pytest.MonkeyPatch):
    with_kernel(monkeypatch, 5, maxerror_us=16_000_000)
    assert time_sync() == TimeSync(False, UNSET_S)


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("echo yes", TimeSync(True, TRUSTED_S)),
        ("echo no", TimeSync(False, UNSET_S)),
        ("echo Failed to connect to bus >&2; exit 1", TimeSync(None, 0.0)),
    ],
)
def test_where_the_kernel_may_not_be_asked_systemd_is(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: str, expected: TimeSync
):
    with_kernel(monkeypatch, -1)
    with_timedatectl(monkeypatch, tmp_path, script)
    assert time_sync() == expected


def test_where_there_is_nobody_to_ask_nothing_is_claimed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    with_kernel(monkeypatch, -1)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert time_sync() == TimeSync(None, 0.0)


def test_pictures_say_how_unsure_their_time_is():
    clock = FakeClock()
    timeline = MediaTimeline(clock, live=True)
    before = timeline.stamp(0.0, clock.monotonic(), None).uncertainty_s
    clock.error_s = UNSET_S
    clock.advance(0.04)
    after = timeline.stamp(0.04, clock.monotonic(), None).uncertainty_s
    assert before < 2
    assert after >= UNSET_S


def watched(answers: Sequence[TimeSync]) -> tuple[SystemClock, list[TimeSync]]:
    """Let a watch look once per answer."""
    clock, told, left = SystemClock(), [], list(answers)
    watch = TimeSyncWatch(clock, told.append, lambda: left.pop(0) if len(left) > 1 else left[0], every_s=0.001)
    watch.start()
    wait_until(lambda: len(told) >= len(answers), 60)
    assert watch.stop(60)
    assert watch.crashed is None
    return clock, told


def test_it_heals_when_the_clock_is_set():
    clock, told = watched([TimeSync(False, UNSET_S), TimeSync(True, 0.02)])
    assert told[:2] == [TimeSync(False, UNSET_S), TimeSync(True, 0.02)]
    assert clock.uncertainty_s() == 0.02


def test_only_news_are_logged(capsys: pytest.CaptureFixture[str]):
    watched([TimeSync(False, UNSET_S)] * 3 + [TimeSync(True, 0.02)] * 3)
    said = capsys.readouterr()
    lines = [line for line in (said.out + said.err).splitlines() if "synchronised" in line]
    assert len(lines) == 2


def test_a_watch_that_breaks_is_told_to_the_supervisor():
    def broken() -> TimeSync:
        raise ValueError("no struct")

    watch = TimeSyncWatch(SystemClock(), lambda _: None, broken)
    watch.start()
    wait_until(lambda: watch.crashed is not None, 60)
    assert watch.stop(60)


@pytest.mark.parametrize(("state", "value"), [(True, "1"), (False, "0")])
def test_a_metric_says_so(state: bool, value: str):
    metrics = Metrics()
    assert b"clock_synchronised" not in metrics.render()
    metrics.clock_synchronised = state
    assert f"streamvision_clock_synchronised {value}\n".encode() in metrics.render()
