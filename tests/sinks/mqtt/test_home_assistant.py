"""What Home Assistant finds at a real Mosquitto."""

from __future__ import annotations

import json

import pytest

from streamvision.interfaces import RuleInfo
from streamvision.types import Phase
from tests.sinks.mqtt.rig import GATE, retained, stored
from tests.sinks.samples import event

pytestmark = pytest.mark.e2e


def test_home_assistant_finds_a_device_per_stream(rig, broker):
    one = rig(home_assistant=True)
    one.streams = GATE | {"hof.süd": (RuleInfo("intruder", "zone"),)}
    one.follow(stored(1))
    found = retained(broker)
    configs = {topic: json.loads(text) for topic, text in found.items() if topic.startswith("homeassistant/")}
    node = "streamvision_gate"
    assert {topic for topic in configs if node in topic} == {
        f"homeassistant/binary_sensor/{node}/camera/config",
        f"homeassistant/sensor/{node}/last_event/config",
        f"homeassistant/binary_sensor/{node}/rule_intruder/config",
        f"homeassistant/event/{node}/rule_fence/config",
    }
    assert len(configs) == 7
    assert len({one["unique_id"] for one in configs.values()}) == 7
    assert len({one["device"]["identifiers"][0] for one in configs.values()}) == 2
    intruder = configs[f"homeassistant/binary_sensor/{node}/rule_intruder/config"]
    assert found[intruder["state_topic"]] == intruder["payload_on"]
    assert [found[one["topic"]] for one in intruder["availability"]] == ["online", "online"]
    last = configs[f"homeassistant/sensor/{node}/last_event/config"]
    assert json.loads(found[last["state_topic"]])["id"] == event(1).id


def test_home_assistant_templates_give_what_they_promise(rig, broker):
    jinja2 = pytest.importorskip("jinja2")
    one = rig(home_assistant=True)
    one.follow(stored(1, rule="fence", phase=Phase.INSTANT, kind="line"))
    found = retained(broker)
    environment = jinja2.Environment()
    environment.filters["tojson"] = json.dumps

    def shown(topic: str, field: str = "value_template") -> str:
        config = json.loads(found[f"homeassistant/{topic}/config"])
        text = found[config["state_topic"]]
        return environment.from_string(config[field]).render(value=text, value_json=json.loads(text))

    assert shown("sensor/streamvision_gate/last_event") == "line.instant"
    assert json.loads(shown("sensor/streamvision_gate/last_event", "json_attributes_template"))["rule"] == "fence"
    assert json.loads(shown("event/streamvision_gate/rule_fence"))["event_type"] == "instant"
    one.follow(stored(2))
    found = retained(broker)
    assert shown("event/streamvision_gate/rule_fence") == ""
