"""The daemon as a process: signals, kill -9, exit codes, readiness, and the unit file."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.harness import Daemon, read_events, wait_until

pytestmark = pytest.mark.e2e

STREETS = """
state_dir: ./state
server: {listen: "127.0.0.1:{port}"}
streams:
"""
STREET = """
  - id: street{number}
    url: demo:street?seed={number}&size=480x270&fps=10
    lines: {{across: [[0.5, 0.05], [0.5, 0.95]]}}
    rules: [{{name: passing, type: line, line: across}}]
"""
FATES = ("frames_analysed_total", "frames_skipped_total", "frames_dropped_total", "frames_in_flight")
SINKS = "sinks: [{name: log, type: jsonl, path: events.jsonl}]\n"


def streets(count: int) -> str:
    return STREETS + "".join(STREET.format(number=number) for number in range(1, count + 1)) + SINKS


def delivered(folder: Path) -> list[str]:
    path = folder / "state" / "events.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return [json.loads(line)["id"] for line in lines]


def metric(daemon: Daemon, name: str) -> dict[str, float]:
    """Samples of a metric summed by stream."""
    sums: dict[str, float] = {}
    for line in daemon.get("/metrics")[1].splitlines():
        if line.startswith(f"streamvision_{name}{{"):
            stream = line.split('stream="')[1].split('"')[0]
            sums[stream] = sums.get(stream, 0.0) + float(line.rsplit(" ", 1)[1])
    return sums


def test_sigterm_accounts_for_every_frame_and_keeps_every_event(tmp_path: Path):
    daemon = Daemon(streets(2), tmp_path)
    try:
        daemon.wait_ready()
        wait_until(lambda: daemon.alive() and len(delivered(tmp_path)) >= 2, 60)
        assert daemon.get("/healthz")[0] == 200
        code = daemon.end(signal.SIGTERM)
    finally:
        daemon.end(signal.SIGKILL)
    assert code == 0, daemon.log.read_text()
    last_words = [json.loads(line) for line in daemon.log.read_text().splitlines()]
    books = {line["stream"]: line for line in last_words if line["event"] == "books"}
    assert set(books) == {"street1", "street2"}
    for book in books.values():
        assert book["decoded"] == book["analysed"] + book["skipped"] + book["dropped"]
        assert book["decoded"] > 0
    stored = [event["id"] for event in read_events(tmp_path / "state")]
    assert delivered(tmp_path) == stored


def test_books_balance_while_it_runs(tmp_path: Path):
    daemon = Daemon(streets(1), tmp_path)
    try:
        daemon.wait_ready()
        wait_until(lambda: metric(daemon, "frames_analysed_total").get("street1", 0) > 20, 60)
        text = daemon.get("/metrics")[1]
    finally:
        daemon.end()
    totals = {
        name: sum(
            float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith(f"streamvision_{name}{{")
        )
        for name in (*FATES, "frames_decoded_total")
    }
    decoded = totals.pop("frames_decoded_total")
    assert decoded == sum(totals.values())


@pytest.mark.slow
def test_kill_9_loses_no_delivered_event_and_the_next_start_delivers_the_rest(tmp_path: Path):
    for _ in range(2):
        before = len(delivered(tmp_path))
        daemon = Daemon(streets(2), tmp_path)
        try:
            daemon.wait_ready()
            wait_until(lambda: daemon.alive() and len(delivered(tmp_path)) >= before + 2, 60)  # noqa: B023
        finally:
            daemon.end(signal.SIGKILL)
        stored = [event["id"] for event in read_events(tmp_path / "state")]
        assert set(delivered(tmp_path)) <= set(stored)
    daemon = Daemon(streets(1), tmp_path)
    daemon.wait_ready()
    assert daemon.end() == 0
    stored = [event["id"] for event in read_events(tmp_path / "state")]
    assert set(delivered(tmp_path)) == set(stored)
    ids = [event["data"]["track"]["id"] for event in read_events(tmp_path / "state") if "track" in event["data"]]
    assert len(ids) >= 4


def run_cli(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "streamvision", *arguments], capture_output=True, text=True, timeout=120, check=False
    )


def test_finite_sources_end_by_themselves_with_0(data: Path, tmp_path: Path):
    config = tmp_path / "c.yaml"
    video = data / "videos" / "bottle-detection.mp4"
    config.write_text(f"server: {{listen: '127.0.0.1:0'}}\nstreams: [{{id: belt, url: '{video}', fps: 5}}]\n")
    ended = run_cli("run", str(config))
    assert ended.returncode == 0, ended.stderr


def test_a_missing_file_ends_with_3_and_names_it(tmp_path: Path):
    config = tmp_path / "c.yaml"
    config.write_text("server: {listen: '127.0.0.1:0'}\nstreams: [{id: gone, url: ./nowhere.mp4}]\n")
    ended = run_cli("run", str(config))
    assert ended.returncode == 3
    assert "nowhere.mp4" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_wrong_configuration_ends_with_2(tmp_path: Path):
    config = tmp_path / "c.yaml"
    config.write_text("streems: []\n")
    ended = run_cli("run", str(config))
    assert ended.returncode == 2
    assert f"{config}:1:1" in ended.stderr
    assert "streams" in ended.stderr


def test_a_port_in_use_ends_with_3_and_names_it(tmp_path: Path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        config = tmp_path / "c.yaml"
        config.write_text(f"server: {{listen: '127.0.0.1:{port}'}}\nstreams: [{{id: s, url: 'demo:street'}}]\n")
        ended = run_cli("run", str(config))
    assert ended.returncode == 3
    assert str(port) in ended.stderr


def test_the_service_manager_hears_ready_alive_status_and_stopping(tmp_path: Path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(60)
        env = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "4000000"}
        daemon = Daemon(streets(1), tmp_path, env)
        heard: list[str] = []
        try:
            while not {"WATCHDOG=1", "STATUS=1 of 1 streams live, 0 events to deliver"} <= set(heard):
                heard.append(manager.recv(500).decode())
            assert heard[0] == f"READY=1\nMAINPID={daemon.process.pid}"
            daemon.process.send_signal(signal.SIGTERM)
            while heard[-1] != "STOPPING=1":
                heard.append(manager.recv(500).decode())
            daemon.process.communicate(timeout=40)
        finally:
            daemon.end(signal.SIGKILL)
    assert daemon.process.returncode == 0
