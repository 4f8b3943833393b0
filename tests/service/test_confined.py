"""The daemon under the unit's own system-call filter, installed as systemd would: all works, the rest is refused."""

from __future__ import annotations

import ctypes.util
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.service.confined import allowed
from tests.service.manager import BOUND_S, ROOT, Manager, daemon

UNIT = ROOT / "systemd" / "streamvision.service"
CONFINED = [sys.executable, "-m", "tests.service.confined", str(UNIT)]
CONFIG = """
state_dir: var
server: {listen: "127.0.0.1:0"}
streams: [{id: street, url: "demo:street", fps: 5}]
sinks: [{name: log, type: jsonl, path: events.jsonl}]
"""

pytestmark = [
    pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed"),
    pytest.mark.skipif(ctypes.util.find_library("seccomp") is None, reason="libseccomp is not installed"),
]


def confined(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*CONFINED, *command], capture_output=True, text=True, cwd=ROOT, timeout=BOUND_S, check=False)


def test_the_filter_is_the_units_own():
    calls = allowed(UNIT.read_text())
    assert {"read", "sendmsg", "memfd_create", "execve"} <= calls
    assert calls.isdisjoint({"mount", "setuid", "sched_setaffinity", "adjtimex", "bpf", "ptrace"})


def test_what_the_unit_forbids_is_forbidden():
    done = confined(sys.executable, "-c", "import os; os.sched_setaffinity(0, os.sched_getaffinity(0))")
    assert "PermissionError" in done.stderr


def test_the_daemon_needs_nothing_that_the_unit_forbids(tmp_path: Path, manager: Manager):
    """With the default model: what OpenVINO, OpenCV and the decoders ask of the kernel is in the filter, too."""
    with daemon(tmp_path, manager, config=CONFIG, within=CONFINED) as process:
        manager.expect("READY=1")
        manager.expect("STATUS=1 of 1 streams live")
        manager.expect("WATCHDOG=1")
        process.send_signal(signal.SIGTERM)
        manager.expect("STOPPING=1")
        assert process.wait(BOUND_S) == 0
    assert "Operation not permitted" not in (tmp_path / "log").read_text()
