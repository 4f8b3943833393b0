"""SIGTERM while a receiver is frozen: the daemon ends with 0; what was not confirmed arrives after its next start."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.e2e.delivery.receivers import Receiver, chosen
from tests.harness import Daemon, read_events, wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

WAIT_S = 120.0
CONFIG = """
state_dir: ./state
server: {listen: "127.0.0.1:{port}"}
streams:
  - id: street
    url: demo:street?seed=3&size=480x270&fps=10
    lines: {across: [[0.5, 0.05], [0.5, 0.95]]}
    rules: [{name: passing, type: line, line: across}]
sinks: [{name: out, OPTIONS}]
"""


def pending(daemon: Daemon) -> float:
    lines = daemon.get("/metrics")[1].splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith("streamvision_sink_pending{"))


@pytest.mark.parametrize("receiver", [name for name in chosen() if name != "jsonl"], indirect=True)
def test_sigterm_while_the_receiver_is_frozen(receiver: Receiver, tmp_path: Path):
    receiver.start()
    config = CONFIG.replace("OPTIONS", receiver.options())
    daemon = Daemon(config, tmp_path)
    try:
        daemon.wait_ready(WAIT_S)
        wait_until(lambda: daemon.alive() and bool(receiver.received()), WAIT_S)
        receiver.freeze()
        wait_until(lambda: daemon.alive() and pending(daemon) >= 1, WAIT_S)
        assert daemon.end(signal.SIGTERM) == 0, daemon.log.read_text()
    finally:
        daemon.end(signal.SIGKILL)
        receiver.thaw()
    assert "Traceback" not in daemon.log.read_text()
    before = {event["id"] for event in read_events(tmp_path / "state")}
    daemon = Daemon(config, tmp_path)
    try:
        daemon.wait_ready(WAIT_S)
        wait_until(lambda: daemon.alive() and before <= {one for one, _ in receiver.received()}, WAIT_S)
        assert daemon.end(signal.SIGTERM) == 0, daemon.log.read_text()
    finally:
        daemon.end(signal.SIGKILL)
