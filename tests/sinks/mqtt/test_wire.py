from __future__ import annotations

import gc
import signal

import psutil
import pytest

from streamvision.errors import SinkError
from streamvision.sinks.mqtt.options import MqttOptions
from streamvision.sinks.mqtt.wire import Message, Wire
from tests.harness import free_port
from tests.servers.mosquitto import PASSWORD, USER, Mosquitto

pytestmark = pytest.mark.e2e


@pytest.mark.parametrize("answers", [True, False])
def test_a_connection_that_is_over_keeps_nothing(tmp_path, answers):
    broker = Mosquitto(tmp_path, tls=False)
    broker.start()
    port = broker.port if answers else free_port()
    options = MqttOptions(url=f"mqtt://127.0.0.1:{port}", username=USER, password=PASSWORD)
    gc.collect()
    gc.disable()
    try:
        before = psutil.Process().num_fds()
        for _ in range(5):
            try:
                Wire(options, "wire", None, Message("w/status", b"offline"), {}).drop()
            except SinkError:
                assert not answers
        assert psutil.Process().num_fds() == before
        assert not [one for one in gc.get_objects() if isinstance(one, Wire)]
    finally:
        gc.enable()
        broker.end(signal.SIGKILL)
