"""No room, no right to write, no name server: the daemon says so, goes on, and heals when the cause goes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.capture.media import encode
from tests.harness import Daemon, read_events, wait_until
from tests.servers import RtspServer, requires_rtsp
from tests.servers.disk import fill, mounted, small_disk

pytestmark = pytest.mark.e2e
WAIT_S = 90.0

CONFIG = """
state_dir: ./disk/state
server: {listen: "127.0.0.1:{port}"}
streams:
  - id: street
    url: demo:street?seed=3&size=480x270&fps=10
    lines: {across: [[0.5, 0.05], [0.5, 0.95]]}
    rules: [{name: passing, type: line, line: across, explain: true}]
collect: {every: 0s, sample: 1s, low: 0.1, high: 0.9, duplicates: 0}
sinks: [{name: log, type: jsonl, path: events.jsonl}]
"""


def delivered(disk: Path) -> list[str]:
    path = disk / "state" / "events.jsonl"
    lines = path.read_text().split("\n")[:-1] if path.exists() else []
    return [json.loads(line)["id"] for line in lines]


def analysed(daemon: Daemon) -> int:
    return int(daemon.streams()["street"]["counts"]["analysed"])


def counted_events(daemon: Daemon) -> int:
    rows = [line for line in daemon.get("/metrics")[1].splitlines() if line.startswith("streamvision_events_total{")]
    return round(sum(float(line.rsplit(" ", 1)[1]) for line in rows))


def test_a_full_disk_is_told_and_nothing_that_happened_meanwhile_is_lost(tmp_path: Path):
    with small_disk(tmp_path / "disk") as disk:
        daemon = Daemon(CONFIG, tmp_path)
        try:
            daemon.wait_ready(WAIT_S)
            wait_until(lambda: daemon.alive() and len(delivered(disk)) >= 2, WAIT_S)
            filler = fill(disk)
            wait_until(lambda: daemon.alive() and bool(fill(disk)) and daemon.get("/readyz")[0] == 503, WAIT_S)
            assert "full" in daemon.get("/readyz")[1]
            assert daemon.get("/healthz")[0] == 200
            seen, happened = analysed(daemon), counted_events(daemon)
            wait_until(lambda: daemon.alive() and counted_events(daemon) >= happened + 2, WAIT_S)
            assert analysed(daemon) > seen
            filler.unlink()
            wait_until(lambda: daemon.alive() and daemon.get("/readyz")[0] == 200, WAIT_S)
            wait_until(lambda: daemon.alive() and len(delivered(disk)) >= happened + 2, WAIT_S)
            assert daemon.end(signal.SIGTERM) == 0, daemon.log.read_text()
        finally:
            daemon.end(signal.SIGKILL)
        stored = [event["id"] for event in read_events(disk / "state")]
        assert delivered(disk) == stored
        assert len(stored) >= happened + 2
    assert "full" in daemon.log.read_text()
    assert "Traceback" not in daemon.log.read_text()


def test_a_disk_that_cannot_be_written_at_the_start_is_used_when_it_can(tmp_path: Path):
    with small_disk(tmp_path / "disk", "ro") as disk:
        daemon = Daemon(CONFIG, tmp_path)
        try:
            wait_until(lambda: daemon.alive() and daemon.get("/readyz")[0] == 503, WAIT_S)
            wait_until(lambda: daemon.alive() and "Read-only" in daemon.get("/readyz")[1], WAIT_S)
            wait_until(lambda: daemon.alive() and counted_events(daemon) >= 2, WAIT_S)
            mounted("-o", "remount,rw", str(disk))
            wait_until(lambda: daemon.alive() and daemon.get("/readyz")[0] == 200, WAIT_S)
            wait_until(lambda: daemon.alive() and len(delivered(disk)) >= 3, WAIT_S)
            assert daemon.end(signal.SIGTERM) == 0, daemon.log.read_text()
        finally:
            daemon.end(signal.SIGKILL)
        assert delivered(disk) == [event["id"] for event in read_events(disk / "state")]


@requires_rtsp
def test_a_name_that_nobody_knows_yet_is_asked_for_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    if os.geteuid() != 0 or subprocess.run(["unshare", "-m", "true"], check=False, capture_output=True).returncode:
        pytest.skip("only root may give a process a file of host names of its own")
    hosts, python = tmp_path / "hosts", tmp_path / "python"
    hosts.write_text("127.0.0.1 localhost\n")
    resolver = tmp_path / "resolv.conf"
    resolver.write_text("nameserver 127.0.0.1\noptions timeout:1 attempts:1\n")
    binds = f"mount --bind {hosts} /etc/hosts && mount --bind {resolver} /etc/resolv.conf"
    python.write_text(f'#!/bin/sh\nexec unshare -m sh -c \'{binds} && exec {sys.executable} "$@"\' python "$@"\n')
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    clip = encode(tmp_path / "clip.mp4", [(160, 96)] * 50)
    with RtspServer({"gate": clip}) as server:
        url = server.url("gate").replace("127.0.0.1", "camera-7.test")
        config = (
            'server: {listen: "127.0.0.1:{port}"}\nmodels: {default: {manifest: motion}}\n'
            f"streams: [{{id: street, url: '{url}'}}]\n"
        )
        daemon = Daemon(config, tmp_path)
        try:
            daemon.wait_ready(WAIT_S)
            wait_until(lambda: daemon.alive() and "no host called" in daemon.streams()["street"]["cause"], WAIT_S)
            assert daemon.streams()["street"]["state"] == "backing_off"
            with hosts.open("a") as file:
                file.write("127.0.0.1 camera-7.test\n")
            wait_until(lambda: daemon.alive() and analysed(daemon) > 3, WAIT_S)
            assert daemon.end(signal.SIGTERM) == 0
        finally:
            daemon.end(signal.SIGKILL)
