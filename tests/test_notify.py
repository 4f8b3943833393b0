"""The line to the service manager, against a real datagram socket."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from streamvision.notify import Notifier
from tests.fakes import FakeClock


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.settimeout(5)
        yield listener


def test_every_message_arrives_as_systemd_expects_it(manager: socket.socket):
    notifier = Notifier.from_environment({"NOTIFY_SOCKET": manager.getsockname(), "WATCHDOG_USEC": "1000000"})
    notifier.ready()
    notifier.status("4 streams\nlive")
    notifier.alive()
    notifier.extend(2.5)
    notifier.stopping()
    received = [manager.recv(200).decode() for _ in range(5)]
    ready = f"READY=1\nMAINPID={os.getpid()}"
    assert received == [ready, "STATUS=4 streams live", "WATCHDOG=1", "EXTEND_TIMEOUT_USEC=2500000", "STOPPING=1"]


def test_a_reload_says_when_it_began(manager: socket.socket):
    before_us = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    Notifier(manager.getsockname(), None).reloading()
    first, second = manager.recv(200).decode().splitlines()
    assert first == "RELOADING=1"
    after_us = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    assert before_us <= int(second.removeprefix("MONOTONIC_USEC=")) <= after_us


def test_the_watchdog_is_fed_at_most_every_quarter_of_its_time(manager: socket.socket):
    clock = FakeClock()
    notifier = Notifier(manager.getsockname(), 4.0, clock.monotonic)
    for _ in range(9):
        notifier.alive()
        clock.advance(0.25)
    notifier.stopping()
    assert [manager.recv(200).decode() for _ in range(4)] == ["WATCHDOG=1"] * 3 + ["STOPPING=1"]


def test_without_a_watchdog_it_is_not_fed(manager: socket.socket):
    notifier = Notifier(manager.getsockname(), None)
    notifier.alive()
    notifier.stopping()
    assert manager.recv(200) == b"STOPPING=1"


def test_what_the_service_starts_cannot_speak_for_it():
    env = {"NOTIFY_SOCKET": "/run/x", "WATCHDOG_USEC": "1", "WATCHDOG_PID": str(os.getpid()), "HOME": "/"}
    Notifier.from_environment(env)
    assert env == {"HOME": "/"}


def test_an_abstract_address_is_understood():
    name = f"streamvision-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind("\0" + name)
        listener.settimeout(5)
        Notifier(f"@{name}", None).ready()
        assert listener.recv(200).startswith(b"READY=1\n")


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
    ],
)
def test_the_watchdog_is_ours_only_where_systemd_says_so(env: dict[str, str], expected: float | None):
    assert Notifier.from_environment(env).watchdog_s == expected


def test_without_a_service_manager_nothing_happens():
    assert Notifier.from_environment({}).ready() is None


def test_a_service_manager_that_is_gone_is_survived(tmp_path: Path):
    assert Notifier(str(tmp_path / "nobody"), None).alive() is None
