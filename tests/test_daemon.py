"""The life of the service: real signals, the watchdog, the exit codes."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from streamvision.daemon import TOGETHER_S, Signals, serve
from streamvision.notify import Notifier
from tests.fakes import FakeClock


class FakeService:
    """Does on each tick what the script says."""

    def __init__(self, *script: Callable[[FakeService], None]) -> None:
        self.script = list(script)
        self.finished = False
        self.crashed: BaseException | None = None
        self.silent: list[str] = []
        self.drains = True
        self.calls: list[str] = []
        self.summary = "fine"

    def start(self) -> None:
        self.calls.append("start")

    def tick(self) -> None:
        self.script.pop(0)(self) if self.script else setattr(self, "finished", True)

    def stop(self, deadline_s: float) -> bool:
        assert deadline_s > 0
        self.calls.append("stop")
        return self.drains


class Recorder(Notifier):
    """Keeps what would be sent; asks for a quick watchdog so that ticks are short."""

    def __init__(self) -> None:
        super().__init__(None, watchdog_s=0.004)
        self.sent: list[str] = []

    def _send(self, message: str) -> None:
        self.sent.append(message)


def run(service: FakeService, signals: Signals | None = None) -> tuple[int, list[str], list[str]]:
    reloads: list[str] = []
    notifier = Recorder()
    code = serve(service, notifier, signals or Signals(), lambda: reloads.append("reload"))
    assert service.calls == ["start", "stop"]
    return code, notifier.sent, reloads


def test_finite_work_ends_with_0():
    code, sent, _ = run(FakeService())
    assert code == 0
    assert sent[0].startswith("READY=1\n")
    assert sent[-1] == "STOPPING=1"
    assert "STATUS=fine" in sent


def in_a_process_of_its_own(script: str) -> str:
    """Run a script with this module's names; real signals have no business in the test runner's own process."""
    code = f"import os, signal\nfrom tests.test_daemon import FakeService, run\n{script}"
    root = Path(__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=root, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_signal_ends_it_in_good_order(name: str):
    script = f"""
service = FakeService(lambda _: os.kill(os.getpid(), signal.{name}), *[lambda _: None] * 1000)
print(run(service)[0], len(service.script) > 900)
"""
    assert in_a_process_of_its_own(script) == "0 True"


def test_a_second_signal_ends_at_once():
    forced: list[int] = []
    clock = FakeClock()
    signals = Signals(forced.append, clock.monotonic)
    signals.handle(signal.SIGTERM, None)
    clock.advance(TOGETHER_S + 0.1)
    signals.handle(signal.SIGTERM, None)
    assert forced == [128 + signal.SIGTERM]


def test_a_signal_that_comes_twice_at_once_is_one():
    forced: list[int] = []
    clock = FakeClock()
    signals = Signals(forced.append, clock.monotonic)
    for _ in range(3):
        signals.handle(signal.SIGTERM, None)
        clock.advance(TOGETHER_S / 4)
    assert signals.stop.is_set()
    assert not forced


def test_hangup_asks_for_a_reload():
    script = """
hang_up = lambda _: os.kill(os.getpid(), signal.SIGHUP)
print(run(FakeService(hang_up, lambda _: None, lambda _: None))[2])
"""
    assert in_a_process_of_its_own(script) == "['reload']"


def test_former_handlers_come_back():
    before = signal.getsignal(signal.SIGTERM)
    run(FakeService())
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_broken_stage_ends_with_1():
    service = FakeService(lambda one: setattr(one, "crashed", RuntimeError("tracker fell over")))
    assert run(service)[0] == 1


def test_a_drain_that_takes_too_long_ends_with_1():
    service = FakeService()
    service.drains = False
    assert run(service)[0] == 1


def test_the_watchdog_is_fed_only_while_every_stage_is_alive():
    def hang(one: FakeService) -> None:
        one.silent = ["analysis"]

    assert "WATCHDOG=1" in run(FakeService(lambda _: None))[1]
    assert "WATCHDOG=1" not in run(FakeService(hang))[1]
