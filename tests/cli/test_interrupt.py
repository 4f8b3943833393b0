"""Foreground commands end when they are told to, and complete what they write."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import av
import pytest


def start(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "streamvision", *arguments]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("command", ["probe", "detect"])
def test_ctrl_c_is_heard_while_a_camera_is_silent(command: str):
    with socket.create_server(("127.0.0.1", 0)) as camera:
        camera.settimeout(60)
        process = start(command, f"rtsp://127.0.0.1:{camera.getsockname()[1]}/x")
        connection, _ = camera.accept()
        with connection:
            connection.recv(1)
            began = time.monotonic()
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=60)
    assert time.monotonic() - began < 8  # FFmpeg itself waits for 10 s
    assert process.returncode == 130
    assert "Traceback" not in said


def test_a_video_is_completed_on_sigterm(tmp_path: Path):
    out = tmp_path / "out.mp4"
    lines = tmp_path / "out.jsonl"
    process = start("detect", "demo:street?size=320x180&fps=10", "--video", str(out), "--json", str(lines))
    deadline = time.monotonic() + 60
    while not (out.exists() and out.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    time.sleep(0.1)  # so that they are two; timeout(1) signals a process and its group
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 0, said
    with av.open(out) as container:
        assert sum(1 for _ in container.decode(video=0)) == len(lines.read_text().splitlines())
