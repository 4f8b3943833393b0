from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.harness import free_port
from tests.servers.mosquitto import PASSWORD, USER, Mosquitto

pytestmark = pytest.mark.e2e

COUNT = """
import gc, sys
import psutil
from streamvision.errors import SinkError
from streamvision.sinks.mqtt.options import MqttOptions
from streamvision.sinks.mqtt.wire import Message, Wire

url, user, password = sys.argv[1:]
options = MqttOptions(url=url, username=user, password=password)

def connect():
    try:
        Wire(options, "wire", None, Message("w/status", b"offline"), {}).drop()
    except SinkError:
        return "refused"
    return "connected"

connect()  # what a first connection makes for good
gc.collect()
gc.disable()
before = psutil.Process().num_fds()
outcomes = {connect() for _ in range(5)}
kept = sum(isinstance(one, Wire) for one in gc.get_objects())
print(*outcomes, psutil.Process().num_fds() - before, kept)
"""


@pytest.mark.parametrize("answers", [True, False])
def test_a_connection_that_is_over_keeps_nothing(tmp_path: Path, answers: bool):
    broker = Mosquitto(tmp_path, tls=False)
    broker.start()
    url = f"mqtt://127.0.0.1:{broker.port if answers else free_port()}"
    try:
        # In a process of its own: others have connections, too.
        done = subprocess.run(
            [sys.executable, "-c", COUNT, url, USER, PASSWORD], capture_output=True, text=True, timeout=60, check=False
        )
    finally:
        broker.end(signal.SIGKILL)
    assert (done.stdout.split(), done.stderr) == (["connected" if answers else "refused", "0", "0"], "")
