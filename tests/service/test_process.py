"""A real daemon under a service manager's eyes: a real datagram socket, real signals, stages that hang and break."""

from __future__ import annotations

import os
import signal
import time
import urllib.request
from pathlib import Path

from tests.harness import free_port
from tests.service.manager import BOUND_S, CONFIG, ROOT, Manager, daemon


def test_a_hung_stage_is_not_covered_up(tmp_path: Path):
    manager = Manager(f"@streamvision-{os.getpid()}-{time.monotonic_ns()}")
    with daemon(tmp_path, manager, config=CONFIG.format(port=free_port(), folder=tmp_path)) as process:
        assert manager.expect("READY=1") == f"READY=1\nMAINPID={process.pid}"
        manager.expect("STATUS=1 of 1 streams live, 0 events to deliver")
        manager.expect("WATCHDOG=1")
        (tmp_path / "hang").touch()
        status = manager.hear_until(lambda said: "no sign of life from analysis" in said)
        assert status is not None, manager.heard
        assert manager.hear_until(lambda said: said == "WATCHDOG=1", bound_s=4.0) is None  # twice the watchdog's time
        (tmp_path / "hang").unlink()
        manager.expect("WATCHDOG=1")
        manager.expect("STATUS=1 of 1 streams live, 0 events to deliver")
        process.send_signal(signal.SIGTERM)
        manager.expect("EXTEND_TIMEOUT_USEC=")
        manager.expect("STOPPING=1")
        assert process.wait(BOUND_S) == 0
    manager.close()


def test_the_watchdogs_abort_leaves_every_threads_stack(tmp_path: Path, manager: Manager):
    with daemon(tmp_path, manager, config=CONFIG.format(port=free_port(), folder=tmp_path)) as process:
        (tmp_path / "hang").touch()
        manager.expect("READY=1")
        assert manager.hear_until(lambda said: "no sign of life from analysis" in said) is not None
        process.send_signal(signal.SIGABRT)  # what systemd sends when the watchdog is not fed
        assert process.wait(BOUND_S) == -signal.SIGABRT
    assert "told.py" in (tmp_path / "log").read_text()


def test_a_broken_stage_ends_the_daemon_with_1(tmp_path: Path, manager: Manager):
    with daemon(tmp_path, manager, config=CONFIG.format(port=free_port(), folder=tmp_path)) as process:
        manager.expect("READY=1")
        (tmp_path / "break").touch()
        manager.expect("STOPPING=1")
        assert process.wait(BOUND_S) == 1
    assert "rule fell over" in (tmp_path / "log").read_text()


def test_a_wrong_configuration_ends_with_2_and_is_never_ready(tmp_path: Path, manager: Manager):
    with daemon(tmp_path, manager, config="streams: [{id: gate}]\n") as process:
        assert process.wait(BOUND_S) == 2
    assert manager.hear_until(lambda _: True, bound_s=0.2) is None
    assert "RestartPreventExitStatus=2\n" in (ROOT / "systemd" / "streamvision.service").read_text()


def test_a_shard_without_streams_is_ready_and_idle(tmp_path: Path, manager: Manager):
    port = free_port()
    config = CONFIG.format(port=port - 1, folder=tmp_path)
    with daemon(tmp_path, manager, "--shard", "2-2", config=config) as process:  # street belongs to shard 1 of 2
        manager.expect("READY=1")
        manager.expect("STATUS=shard 2/2: 0 of 0 streams live")
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=BOUND_S) as answer:
            assert 'shard="2/2"} 1' in answer.read().decode()
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=BOUND_S) as answer:
            assert answer.status == 200
        assert (tmp_path / "var" / "shard-2" / "events.db").is_file()
        process.send_signal(signal.SIGTERM)
        assert process.wait(BOUND_S) == 0
