"""What keeps the daemon from starting is what its user reads, also where the event store is in memory meanwhile."""

from __future__ import annotations

import importlib.util
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers.disk import small_disk

pytestmark = pytest.mark.e2e


@pytest.fixture(params=["writable", "read-only"])
def disk(request, tmp_path) -> Iterator[Path]:
    if request.param == "writable":
        yield tmp_path
    else:
        with small_disk(tmp_path / "disk", "ro") as mounted:
            yield mounted


def run(folder: Path, state: Path, text: str) -> tuple[int, str]:
    path = folder / "config.yaml"
    path.write_text(f"state_dir: {state}/state\nstreams: [{{id: gate, url: 'demo:street'}}]\n{text}\n")
    command = [sys.executable, "-m", "streamvision", "run", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    said = done.stdout + done.stderr
    assert "Traceback" not in said
    assert "are lost" not in said
    return done.returncode, done.stderr.strip().splitlines()[-1]


def test_a_port_in_use_is_what_is_told(tmp_path, disk):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, said = run(tmp_path, disk, f"server: {{listen: '127.0.0.1:{port}'}}")
    assert code == 3
    assert str(port) in said


def test_a_backend_that_is_not_there_is_what_is_told(tmp_path, disk):
    if importlib.util.find_spec("tensorrt") is not None:
        pytest.skip("it is there")
    text = "server: {listen: '127.0.0.1:0'}\nmodels: {street: {manifest: yolox-nano, backend: tensorrt}}"
    code, said = run(tmp_path, disk, text)
    assert code == 3
    assert "tensorrt" in said
