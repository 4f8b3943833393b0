"""The harness of atheris runs, and finds nothing in its first texts."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.scale import scaled

RUNS = scaled(30, 50_000)
ROOT = Path(__file__).parents[2]


@pytest.mark.skipif(find_spec("atheris") is None, reason="atheris is not installed")
def test_configurations_led_by_coverage(tmp_path: Path):
    command = [sys.executable, "-m", "tests.fuzz.atheris_config", "--folder", str(tmp_path), "--runs", str(RUNS)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=3600, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    counted = re.search(r"Done (\d+) runs", done.stderr)
    assert counted is not None, done.stderr[-3000:]
    assert int(counted[1]) >= RUNS
