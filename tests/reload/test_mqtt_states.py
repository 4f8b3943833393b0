"""What an MQTT broker shows of streams stays true while the sink that tells it changes, or comes."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamvision.types import Phase
from tests.harness import free_port, running, wait_until
from tests.reload.scene import STREAMS, WAIT_S, ZONE, change, stream
from tests.servers.mosquitto import PASSWORD, USER, Mosquitto, Subscriber
from tests.sinks.samples import event

pytestmark = pytest.mark.e2e
AVAILABLE, STATE, DAEMON = ("gate/availability", "gate/intruder/state", "daemon/{}/availability")


def test_a_camera_that_is_away_and_what_goes_on_are_told_by_a_sink_that_begins_anew(tmp_path: Path):
    broker = Mosquitto(tmp_path / "broker")
    broker.start()
    heard = Subscriber(broker, "#")
    rules = f"{ZONE}, rules: [{{name: intruder, type: zone, zone: all}}]"
    base = STREAMS + stream("gate", f"rtsp://127.0.0.1:{free_port()}/none", rules, "transport: tcp") + "sinks:\n"

    def sink(name: str, more: str = "") -> str:
        return (
            f"  - {{name: {name}, type: mqtt, url: '{broker.url}', tls: {{ca: {broker.authority.ca}}},"
            f" username: {USER}, password: {PASSWORD}, client_id: {name}, prefix: {name}{more}}}\n"
        )

    def last(sink: str, topic: str) -> str | None:
        return (heard.texts(f"{sink}/{topic}") or [None])[-1]

    def shows(sink: str, topic: str, text: str) -> None:
        wait_until(lambda: last(sink, topic) == text, WAIT_S)

    begins = {"stream": "gate", "happening": "h"}
    try:
        with running(base + sink("first"), tmp_path) as pipeline:
            shows("first", AVAILABLE, "offline")
            pipeline.store.append([event(1, **begins)])
            shows("first", STATE, "ON")
            heard.settle()
            heard.messages.clear()
            change(pipeline, base + sink("first", ", qos: 2, types: [zone.start]") + sink("later"), tmp_path)
            for name in ("first", "later"):
                shows(name, DAEMON.format(name), "online")
                assert heard.texts(f"{name}/{AVAILABLE}") == ["offline"]
                assert heard.texts(f"{name}/{STATE}") == ["ON"]
            pipeline.store.append([event(2, phase=Phase.END, **begins)])
            for name in ("first", "later"):
                shows(name, STATE, "OFF")
    finally:
        heard.close()
        broker.end()
