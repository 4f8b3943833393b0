"""The whole flow, from pictures to a receiver of webhooks and to a broker."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from streamvision.capture.street.encode import write_street
from tests.harness import read_events, running, wait_until
from tests.servers.mosquitto import PASSWORD, USER, Mosquitto, Subscriber
from tests.servers.receiver import HttpReceiver

pytestmark = pytest.mark.e2e

CONFIG = """
models: {{m: {{manifest: motion}}}}
streams:
  - id: gate
    url: {street}
    zones: {{all: [[0, 0], [1, 0], [1, 1], [0, 1]]}}
    rules: [{{name: anyone, type: zone, zone: all}}]
sinks:
  - {{name: hook, {hook}}}
  - name: broker
    type: mqtt
    url: {broker}
    username: {user}
    password: {password}
    client_id: me
    home_assistant: true
    tls: {{ca: {ca}}}
"""


def test_what_happens_in_a_picture_arrives_at_both(tmp_path: Path):
    street = tmp_path / "street.mp4"
    write_street(street, seed=1, seconds=6.0, size_wh=(480, 270), fps=10.0)
    hook, broker = HttpReceiver(tmp_path), Mosquitto(tmp_path / "broker")
    hook.start()
    broker.start()
    heard = Subscriber(broker, "#")
    try:
        config = CONFIG.format(
            street=street, hook=hook.options(), broker=broker.url, user=USER, password=PASSWORD, ca=broker.authority.ca
        )
        with running(config, tmp_path) as pipeline:
            wait_until(lambda: pipeline.finished, 60, pipeline)
            wait_until(lambda: all(stats.pending == 0 for stats in pipeline.metrics.sinks.values()), 60, pipeline)
        heard.settle()
        happened = [event["id"] for event in read_events(tmp_path / "var")]
        assert happened
        assert list(dict.fromkeys(event["id"] for event in hook.events())) == happened
        events = [one for one in heard.messages if one.topic.startswith("streamvision/gate/anyone/") and not one.retain]
        assert [json.loads(one.payload)["id"] for one in events] == happened
        states = heard.texts("streamvision/gate/anyone/state")
        assert (states[0], "ON" in states, states[-1]) == ("OFF", True, "OFF")
        assert heard.texts("streamvision/daemon/me/availability") == ["online", "offline"]
        assert heard.texts("homeassistant/binary_sensor/streamvision_gate/rule_anyone/config")
    finally:
        heard.close()
        broker.end()
        hook.close()
