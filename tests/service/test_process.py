"""A real daemon under a service manager's eyes: a real datagram socket, real signals, stages that hang and break."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.harness import free_port

ROOT = Path(__file__).parents[2]
BOUND_S = 120.0

PROGRAM = """
import sys
from streamvision.pipeline import running
running.STAGE_ALLOWANCE_S = 5.0
from streamvision.cli import main
main(sys.argv[1:])
"""
"""The daemon, with a stage counted as hung after seconds instead of a third of a minute."""

PLUGIN = """
import os, time
from pydantic import BaseModel

class Told:
    '''Hangs while a file called hang is there, breaks when there is one called break.'''
    class Options(BaseModel):
        folder: str
    def __init__(self, options, context):
        self.folder = options.folder
    def update(self, scene):
        if os.path.exists(self.folder + "/break"):
            raise RuntimeError("rule fell over")
        while os.path.exists(self.folder + "/hang"):
            time.sleep(0.05)
        return []
    def close(self, info, reason):
        return []
"""

CONFIG = """
state_dir: var
server: {{listen: "127.0.0.1:{port}"}}
models: {{motion: {{manifest: motion}}}}
streams:
  - {{id: street, url: "demo:street", fps: 5, rules: [{{name: told, type: told, folder: {folder}}}]}}
"""


class Manager:
    """A service manager as far as a service can tell: it hears what is said at NOTIFY_SOCKET."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.heard: list[str] = []
        self.process: subprocess.Popen[str] | None = None
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("\0" + address[1:] if address.startswith("@") else address)

    def hear_until(self, condition: Callable[[str], bool], bound_s: float = BOUND_S) -> str | None:
        """Listen until a message fits; None if none does in time."""
        until_s = time.monotonic() + bound_s
        while (left_s := until_s - time.monotonic()) > 0:
            self._socket.settimeout(min(left_s, 0.5))
            try:
                message = self._socket.recv(4096).decode()
            except TimeoutError:
                if self.process is not None and self.process.poll() is not None:
                    break
                continue
            self.heard.append(message)
            if condition(message):
                return message
        return None

    def expect(self, beginning: str) -> str:
        """Listen until a message begins so; fail loudly if none does."""
        message = self.hear_until(lambda said: said.startswith(beginning))
        assert message is not None, f"not heard: {beginning}; but {self.heard}"
        return message

    def close(self) -> None:
        self._socket.close()


@contextmanager
def daemon(folder: Path, manager: Manager, *arguments: str, config: str = CONFIG) -> Iterator[subprocess.Popen[str]]:
    """Run `streamvision run` with the test's rule installed and a watchdog of 2 s; it is gone after the block."""
    site = folder / "site"
    info = site / "told-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "told.py").write_text(PLUGIN)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: told\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[streamvision.rule]\ntold = told:Told\n")
    (folder / "config.yaml").write_text(config)
    env = os.environ | {
        "PYTHONPATH": f"{site}:{ROOT}", "NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "2000000",
    }  # fmt: skip
    command = [sys.executable, "-c", PROGRAM, "run", str(folder / "config.yaml"), "--log-format", "json", *arguments]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, env=env, stderr=log, text=True)
    manager.process = process
    try:
        yield process
    finally:
        process.kill()
        process.wait(BOUND_S)


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


def test_the_watchdogs_abort_leaves_every_threads_stack(tmp_path: Path):
    manager = Manager(str(tmp_path / "notify"))
    with daemon(tmp_path, manager, config=CONFIG.format(port=free_port(), folder=tmp_path)) as process:
        (tmp_path / "hang").touch()
        manager.expect("READY=1")
        assert manager.hear_until(lambda said: "no sign of life from analysis" in said) is not None
        process.send_signal(signal.SIGABRT)  # what systemd sends when the watchdog is not fed
        assert process.wait(BOUND_S) == -signal.SIGABRT
    assert "told.py" in (tmp_path / "log").read_text()
    manager.close()


def test_a_broken_stage_ends_the_daemon_with_1(tmp_path: Path):
    manager = Manager(str(tmp_path / "notify"))
    with daemon(tmp_path, manager, config=CONFIG.format(port=free_port(), folder=tmp_path)) as process:
        manager.expect("READY=1")
        (tmp_path / "break").touch()
        manager.expect("STOPPING=1")
        assert process.wait(BOUND_S) == 1
    assert "rule fell over" in (tmp_path / "log").read_text()
    manager.close()


def test_a_wrong_configuration_ends_with_2_and_is_never_ready(tmp_path: Path):
    manager = Manager(str(tmp_path / "notify"))
    with daemon(tmp_path, manager, config="streams: [{id: gate}]\n") as process:
        assert process.wait(BOUND_S) == 2
    assert manager.hear_until(lambda _: True, bound_s=0.2) is None
    assert "RestartPreventExitStatus=2\n" in (ROOT / "systemd" / "streamvision.service").read_text()
    manager.close()


def test_a_shard_without_streams_is_ready_and_idle(tmp_path: Path):
    manager, port = Manager(str(tmp_path / "notify")), free_port()
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
    manager.close()
