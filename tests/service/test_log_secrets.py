"""Whatever the format, no log line shows a credential."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.service.manager import ROOT

PROGRAM = """
import sys, structlog
from streamvision.cli import logs
logs.set_up(logs.LogFormat(sys.argv[1]))
logs.hide({"hunter2-is-long", "abc"})
log = structlog.get_logger()
log.info("opening rtsp://me:first-word@host/a", urls=["rtsp://me:first-word@host/b"], more={"x": "hunter2-is-long"})
try:
    raise OSError("no answer from rtsp://me:first-word@host/a with hunter2-is-long")
except OSError as error:
    log.error("failed", error=str(error), exc_info=error)
"""


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_no_line_shows_a_credential(log_format: str):
    command = [sys.executable, "-c", PROGRAM, log_format]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=120, check=True)
    assert "first-word" not in done.stderr
    assert "hunter2" not in done.stderr
    assert "rtsp://***@host/a" in done.stderr
    assert "OSError: no answer" in done.stderr
