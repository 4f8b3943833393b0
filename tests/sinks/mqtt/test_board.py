"""What the sink ``mqtt`` keeps retained at a real Mosquitto."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from streamvision.config import Settings, load_settings
from streamvision.errors import SinkError
from streamvision.interfaces import RuleInfo
from streamvision.options import sink_context
from streamvision.sinks.mqtt import MqttSink
from streamvision.types import Phase
from tests.harness import wait_until
from tests.servers.mosquitto import PASSWORD, USER
from tests.sinks.mqtt.rig import GATE, WAIT_S, Rig, retained, stored
from tests.sinks.samples import event

pytestmark = pytest.mark.e2e


def test_states_are_retained(rig, broker):
    one = rig()
    one.sink.open()
    wait_until(lambda: retained(broker).get("streamvision/daemon/me/availability") == "online", WAIT_S)
    assert retained(broker)["streamvision/gate/availability"] == "online"
    assert retained(broker)["streamvision/gate/intruder/state"] == "OFF"
    assert "streamvision/gate/fence/state" not in retained(broker)

    one.follow(stored(1, happening="a") + stored(2, happening="b"))
    assert retained(broker)["streamvision/gate/intruder/state"] == "ON"
    assert json.loads(retained(broker)["streamvision/gate/last"])["id"] == event(2).id
    one.follow(stored(3, happening="a", phase=Phase.END))
    assert retained(broker)["streamvision/gate/intruder/state"] == "ON"
    one.follow(stored(4, happening="b", phase=Phase.END))
    assert retained(broker)["streamvision/gate/intruder/state"] == "OFF"

    outage = {"rule": "outage", "kind": "outage", "track": None, "happening": "o"}
    one.follow(stored(5, **outage))
    assert retained(broker)["streamvision/gate/availability"] == "offline"
    one.follow(stored(6, phase=Phase.END, **outage))
    assert retained(broker)["streamvision/gate/availability"] == "online"

    one.sink.close()
    assert retained(broker)["streamvision/daemon/me/availability"] == "offline"


def test_what_an_earlier_run_began_switches_nothing_on(broker, tmp_path):
    one = Rig(broker, tmp_path, born=2)
    outage = {"rule": "outage", "kind": "outage", "track": None}
    one.follow(stored(1) + stored(2, **outage) + stored(3, rule="fence", phase=Phase.INSTANT))
    assert retained(broker)["streamvision/gate/intruder/state"] == "OFF"
    assert retained(broker)["streamvision/gate/availability"] == "online"
    one.sink.close()


def test_a_repetition_changes_no_state(rig, broker):
    one = rig()
    one.follow(stored(1, happening="a") + stored(2, happening="a", phase=Phase.END))
    one.sink._confirmed = type(one.sink._confirmed)()
    one.follow(stored(1, happening="a"))
    assert retained(broker)["streamvision/gate/intruder/state"] == "OFF"


def test_an_event_that_is_refused_still_changes_the_state(rig, broker):
    one = rig(max_bytes=2000, in_flight=1)
    one.follow(stored(1, happening="a"))
    end = stored(2, happening="a", phase=Phase.END, data={"zone": "z" * 5000})
    with pytest.raises(SinkError) as caught:
        one.follow([*end, *stored(3, rule="other")])
    assert caught.value.reason == "too_large"
    assert retained(broker)["streamvision/gate/intruder/state"] == "OFF"


def test_what_is_gone_is_removed_from_the_broker(rig, broker, tmp_path):
    one = rig(home_assistant=True)
    one.streams = GATE | {"yard": (RuleInfo("intruder", "zone"),)}
    one.follow(stored(1, stream="yard"))
    assert any("yard" in topic for topic in retained(broker))
    one.streams = GATE
    wait_until(lambda: not any("yard" in topic for topic in retained(broker)), WAIT_S)
    assert any("gate" in topic for topic in retained(broker))
    one.sink.close()

    other = Rig(broker, tmp_path)  # a restart with another configuration
    other.streams = {"porch": ()}
    other.follow(stored(2, stream="porch"))
    found = retained(broker)
    assert set(found) == {"streamvision/daemon/me/availability", "streamvision/porch/availability",
                          "streamvision/porch/last"}  # fmt: skip
    other.sink.close()


def test_a_stream_that_comes_is_announced(rig, broker):
    one = rig()
    one.sink.open()
    one.streams = GATE | {"new": (RuleInfo("intruder", "zone"),)}
    wait_until(lambda: retained(broker).get("streamvision/new/intruder/state") == "OFF", WAIT_S)


def test_without_state_only_the_daemon_is_retained(rig, broker):
    one = rig(state=False, retain=True)
    one.follow(stored(1))
    assert set(retained(broker)) == {"streamvision/daemon/me/availability", "streamvision/gate/intruder/start"}


OUTAGE = {"rule": "outage", "kind": "outage", "track": None, "happening": "o"}


def test_types_choose_events_and_no_states(rig, broker, heard):
    one = rig(home_assistant=True)
    one.follow(stored(1, happening="a") + stored(2, **OUTAGE), "zone.start")
    assert retained(broker)["streamvision/gate/intruder/state"] == "ON"
    assert retained(broker)["streamvision/gate/availability"] == "offline"
    one.follow(stored(3, phase=Phase.END, **OUTAGE) + stored(4, happening="a", phase=Phase.END), "zone.start")
    found = retained(broker)
    assert found["streamvision/gate/intruder/state"] == "OFF"
    assert found["streamvision/gate/availability"] == "online"
    assert json.loads(found["streamvision/gate/last"])["id"] == event(1).id
    heard.settle()
    assert [json.loads(text)["id"] for text in heard.texts("streamvision/gate/intruder/start")] == [event(1).id]
    assert not heard.texts("streamvision/gate/intruder/end")
    assert not heard.texts("streamvision/gate/outage/start")


def test_what_is_not_chosen_does_not_wait_for_a_broker_without_state(rig, broker):
    one = rig(state=False)
    broker.end(signal.SIGKILL)
    one.follow(stored(1, **OUTAGE), "zone")
    with pytest.raises(SinkError):
        one.follow(stored(2), "zone")


def test_a_dead_letter_changes_no_state(rig, broker, heard):
    one = rig()
    one.sink.deliver(stored(1))
    heard.settle()
    assert len(heard.texts("streamvision/gate/intruder/start")) == 1
    assert retained(broker)["streamvision/gate/intruder/state"] == "OFF"
    assert "streamvision/gate/last" not in retained(broker)


def test_a_sink_that_comes_later_knows_what_goes_on_and_leaves_the_last_event(rig, broker):
    one = rig()
    begun = [event(1, happening="a"), event(2, **OUTAGE)]
    one.happenings.note(begun)
    one.follow(stored(1, happening="a") + stored(2, **OUTAGE))
    one.sink.close()

    other = rig(qos=2)
    other.happenings.note(begun)
    other.sink.open()
    wait_until(lambda: retained(broker).get("streamvision/daemon/me/availability") == "online", WAIT_S)
    found = retained(broker)
    assert found["streamvision/gate/availability"] == "offline"
    assert found["streamvision/gate/intruder/state"] == "ON"
    assert json.loads(found["streamvision/gate/last"])["id"] == event(2).id
    other.follow(stored(3, happening="a", phase=Phase.END) + stored(4, phase=Phase.END, **OUTAGE))
    assert retained(broker)["streamvision/gate/intruder/state"] == "OFF"
    assert retained(broker)["streamvision/gate/availability"] == "online"
    other.streams = {}
    wait_until(lambda: not any("gate" in topic for topic in retained(broker)), WAIT_S)


def test_a_connection_tells_what_ended_while_there_was_none(rig, broker):
    """Its end may have been given up: more than the store holds."""
    one = rig()
    one.happenings.note([event(1, happening="a"), event(2, **OUTAGE)])
    one.follow(stored(1, happening="a") + stored(2, **OUTAGE))
    assert retained(broker)["streamvision/gate/intruder/state"] == "ON"
    broker.end(signal.SIGKILL)
    one.happenings.note([event(3, happening="a", phase=Phase.END), event(4, phase=Phase.END, **OUTAGE)])
    broker.start()
    wait_until(lambda: retained(broker).get("streamvision/gate/intruder/state") == "OFF", WAIT_S)
    assert retained(broker)["streamvision/gate/availability"] == "online"


def test_a_stream_that_moves_to_another_process_keeps_what_that_one_shows(broker, tmp_path):
    two = GATE | {"yard": (RuleInfo("intruder", "zone"),)}
    first = Rig(broker, tmp_path / "shard-1", client_id="first", home_assistant=True)
    first.streams = two
    first.follow(stored(1) + stored(2, stream="yard"))
    first.sink.close()

    second = Rig(broker, tmp_path / "shard-2", client_id="second", home_assistant=True)
    second.streams, second.elsewhere = {"yard": two["yard"]}, {"gate"}
    second.follow(stored(1, stream="yard"))
    shown = {topic: text for topic, text in retained(broker).items() if "yard" in topic}
    assert len([topic for topic in shown if topic.startswith("homeassistant/")]) == 3

    first = Rig(broker, tmp_path / "shard-1", client_id="first", home_assistant=True)
    first.elsewhere = {"yard"}
    first.follow(stored(3))
    assert {topic: text for topic, text in retained(broker).items() if "yard" in topic} == shown

    first.elsewhere = set()  # gone everywhere: each process empties what it has filled
    wait_until(lambda: not any("yard" in topic for topic in retained(broker)), WAIT_S)
    for one in (first, second):
        one.sink.close()


def test_the_sink_before_may_fill_more_after_its_successor_was_made(rig, broker):
    one = rig()
    successor = rig()  # a reload makes it while the one before still works
    one.streams = GATE | {"yard": ()}
    one.follow(stored(1, stream="yard"))
    one.sink.close()
    successor.follow(stored(2))
    assert not any("yard" in topic for topic in retained(broker))


def configured(folder: Path, *sinks: str) -> Settings:
    """Two streams, and sinks of which each text is a name and further options."""
    path = folder / "c.yaml"
    streams = "streams: [{id: gate, url: 'demo:street'}, {id: yard, url: 'demo:street'}]\nsinks:\n"
    path.write_text(streams + "".join(f"  - {{type: mqtt, name: {sink}}}\n" for sink in sinks))
    return load_settings(path)


def test_two_sinks_at_one_broker_leave_each_other_their_topics(broker, tmp_path):
    access = f"url: '{broker.url}', username: {USER}, password: {PASSWORD}, timeout: 2"
    if broker.tls:
        access += f", tls: {{ca: '{broker.authority.ca}'}}"

    def run(*sinks: str) -> list[MqttSink]:
        """Start what is configured, as a start of the daemon or a reload does."""
        now = configured(tmp_path, *(f"{sink}, {access}" for sink in sinks))
        made = [MqttSink(sink.options, sink_context(sink, lambda: now, str)) for sink in now.sinks]
        for sink in reversed(made):  # the one that has filled everything before comes last
            sink.open()
            wait_until(lambda sink=sink: retained(broker).get(sink._topics.daemon) == "online", WAIT_S)
        return made

    def shown() -> set[str]:
        return {topic for topic in retained(broker) if "/daemon/" not in topic}

    for sink in run("a, home_assistant: true"):
        sink.close()
    everything = shown()
    assert any("yard" in topic for topic in everything)
    for less in ("home_assistant: true, streams: [gate]", "streams: [gate]", "state: false"):
        for sink in run(f"a, {less}", "b, home_assistant: true, streams: [yard]"):
            sink.close()
        assert shown() >= {topic for topic in everything if "yard" in topic}
    for sink in run("a, streams: [gate]"):  # shown by nobody
        sink.close()
    assert not any("yard" in topic for topic in shown())
