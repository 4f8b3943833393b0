"""A machine that boots without a network: the daemon starts at once, and says what is missing."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from tests.harness import wait_until
from tests.service.manager import BOUND_S, Manager, daemon

ALONE = ["unshare", "--net", "--", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"]
"""Runs a command where there is no network but the machine itself."""
CONFIG = """
state_dir: var
server: {listen: "127.0.0.1:8080"}
models: {motion: {manifest: motion}}
streams:
  - {id: by-number, url: "rtsp://192.0.2.11/stream1"}
  - {id: by-name, url: "rtsp://camera.example/stream1"}
  - {id: here, url: "demo:street", fps: 5}
"""


def can_be_alone() -> bool:
    if shutil.which("unshare") is None or shutil.which("ip") is None:
        return False
    return subprocess.run([*ALONE, "true"], capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not can_be_alone(), reason="this machine gives no network namespace")
def test_without_a_network_it_starts_and_says_which_cameras_are_away(tmp_path: Path, manager: Manager):
    with daemon(tmp_path, manager, config=CONFIG, within=ALONE) as process:
        manager.expect("READY=1")
        manager.expect("STATUS=1 of 3 streams live")
        manager.expect("WATCHDOG=1")
        log = tmp_path / "log"
        wait_until(lambda: {"by-number", "by-name"} <= away(log), BOUND_S)
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert process.wait(BOUND_S) == 0


def away(log: Path) -> set[str]:
    """Streams that the log says have failed to connect."""
    lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    return {line["stream"] for line in lines if line["event"] == "stream" and line["reason"] == "connect"}
