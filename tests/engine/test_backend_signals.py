"""Signals still reach Python after engines have been closed: in a process of its own, which a fault would end."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import gc, signal
from streamvision.engine.build import build_engine
from streamvision.engine.manifest import load

engines = [build_engine(load("sv-street"), backend="openvino") for _ in range(2)]
while engines:
    engines.pop(0).close()
    gc.collect()
heard = []
signal.signal(signal.SIGTERM, lambda *_: heard.append(1))
signal.raise_signal(signal.SIGTERM)
print("heard", len(heard))
"""


def test_a_signal_is_heard_after_two_engines_were_closed():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "heard 1"
