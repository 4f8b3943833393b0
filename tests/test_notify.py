"""The line to the service manager, against a real datagram socket."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from streamvision.notify import Notifier


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.settimeout(5)
        yield listener


def test_every_message_arrives_as_systemd_expects_it(manager: socket.socket):
    notifier = Notifier.from_environment({"NOTIFY_SOCKET": manager.getsockname()})
    notifier.ready()
    notifier.status("4 streams\nlive")
    notifier.alive()
    notifier.stopping()
    received = [manager.recv(200).decode() for _ in range(4)]
    assert received == ["READY=1", "STATUS=4 streams live", "WATCHDOG=1", "STOPPING=1"]


def test_an_abstract_address_is_understood():
    name = f"streamvision-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind("\0" + name)
        listener.settimeout(5)
        Notifier(f"@{name}", None).ready()
        assert listener.recv(200) == b"READY=1"


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_the_watchdog_is_ours_only_where_systemd_says_so(env: dict[str, str], expected: float | None):
    assert Notifier.from_environment(env).watchdog_s == expected


def test_without_a_service_manager_nothing_happens():
    assert Notifier.from_environment({}).ready() is None


def test_a_service_manager_that_is_gone_is_survived(tmp_path: Path):
    assert Notifier(str(tmp_path / "nobody"), None).alive() is None
