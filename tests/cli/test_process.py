"""How the program's process ends: with the command's exit code, whatever native threads do at that moment."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

CRASHES_LATER = """
import atexit, ctypes, os, threading
from streamvision.cli._process import whole_process

class Last:
    def __del__(self):
        os.kill(os.getpid(), 11)  # as a library does that is taken apart under its threads

last = Last()

def command():
    atexit.register(print, "registered")
    print("done")
    {end}

whole_process(command)
"""


@pytest.mark.parametrize(
    ("end", "code"),
    [("pass", 0), ("raise SystemExit(3)", 3), ("raise SystemExit", 0), ("raise SystemExit('why')", 1), ("1 / 0", 1)],
)
def test_the_exit_code_is_the_commands(end, code):
    done = subprocess.run(
        [sys.executable, "-c", CRASHES_LATER.format(end=end)], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (code, "done\nregistered\n")
    assert ("why" in done.stderr, "ZeroDivisionError" in done.stderr) == ("why" in end, "1 / 0" in end)


def test_a_reader_that_has_gone_is_no_failure():
    script = "from streamvision.cli._process import whole_process; whole_process(lambda: print('x'))"
    reading, writing = os.pipe()
    os.close(reading)
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    with open(writing, "wb") as gone:
        done = subprocess.run(
            [sys.executable, "-c", script], stdout=gone, stderr=subprocess.PIPE, env=buffered, timeout=60, check=False
        )
    assert (done.returncode, done.stderr) == (0, b"")
