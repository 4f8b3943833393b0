"""How Home Assistant learns of streams: MQTT discovery (home-assistant.io/integrations/mqtt/#mqtt-discovery).

A device per stream: whether its camera is there (binary_sensor, connectivity); the last event (sensor); for every rule
whose happenings last, whether one goes on (binary_sensor); for every other rule, each event (event).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from streamvision import __version__
from streamvision.interfaces import RuleInfo
from streamvision.sinks.mqtt.topics import Topics

Config = dict[str, Any]
_KINDS = ("binary_sensor", "sensor", "event")


def announcements(prefix: str, topics: Topics, streams: Mapping[str, Sequence[RuleInfo]]) -> dict[str, str]:
    """Return the configuration topics and their JSON."""
    return {
        topic: json.dumps(config, ensure_ascii=False, separators=(",", ":"))
        for stream, rules in streams.items()
        for topic, config in _of_stream(prefix, topics, stream, rules).items()
    }


def device_in(topic: str) -> str:
    """Return which device a configuration topic is about, under whatever prefix; empty for another topic."""
    levels = topic.split("/")
    return levels[-3] if len(levels) > 4 and levels[-4] in _KINDS and levels[-1] == "config" else ""


def _of_stream(prefix: str, topics: Topics, stream: str, rules: Sequence[RuleInfo]) -> dict[str, Config]:
    node = device_of(topics, stream)
    daemon, camera = {"topic": topics.daemon}, {"topic": topics.available(stream)}
    device = {
        "identifiers": [node], "name": stream, "manufacturer": "streamvision", "model": "video analytics",
        "sw_version": __version__,
    }  # fmt: skip

    def entity(kind: str, name: str, own: Config, shown_as: str, *needs: Config) -> dict[str, Config]:
        head = {
            "name": shown_as, "unique_id": f"{node}_{_plain(name)}", "device": device, "qos": 1,
            "origin": {"name": "streamvision", "sw_version": __version__},
            "availability": list(needs), "availability_mode": "all",
        }  # fmt: skip
        return {f"{prefix}/{kind}/{node}/{_plain(name)}/config": head | own}

    entities = entity("binary_sensor", "camera", _camera(topics, stream), "Camera", daemon)
    entities |= entity("sensor", "last_event", _last(topics, stream), "Last event", daemon)
    for rule in rules:
        kind, own = ("binary_sensor", _lasting) if rule.lasting else ("event", _instant)
        entities |= entity(kind, f"rule_{rule.name}", own(topics, stream, rule), rule.name, daemon, camera)
    return entities


def device_of(topics: Topics, stream: str) -> str:
    """Return the name of a stream's device."""
    return _plain(f"{topics.prefix}_{stream}")


def _camera(topics: Topics, stream: str) -> Config:
    return {
        "state_topic": topics.available(stream), "payload_on": "online", "payload_off": "offline",
        "device_class": "connectivity", "entity_category": "diagnostic",
    }  # fmt: skip


def _last(topics: Topics, stream: str) -> Config:
    return {
        "state_topic": topics.last(stream), "icon": "mdi:cctv",
        "value_template": "{{ value_json.type | replace('streamvision.', '') }}",
        "json_attributes_topic": topics.last(stream), "json_attributes_template": "{{ value_json.data | tojson }}",
    }  # fmt: skip


def _lasting(topics: Topics, stream: str, rule: RuleInfo) -> Config:
    return {"state_topic": topics.state(stream, rule.name), "payload_on": "ON", "payload_off": "OFF"}


def _instant(topics: Topics, stream: str, rule: RuleInfo) -> Config:
    # The last event of the stream, where it is this rule's; Home Assistant passes over empty and retained ones.
    mine = f"value_json.data.rule == {json.dumps(rule.name)}"
    event = "{'event_type': value_json.data.phase, 'time': value_json.time, 'id': value_json.id}"
    return {
        "state_topic": topics.last(stream), "event_types": ["instant", "start", "update", "end"],
        "value_template": f"{{% if {mine} %}}{{{{ {event} | tojson }}}}{{% endif %}}",
    }  # fmt: skip


def _plain(name: str) -> str:
    """Return a name of the letters that Home Assistant takes; two names never become one."""
    plain = re.sub(r"[^A-Za-z0-9_-]", "_", name)
    return plain if plain == name else f"{plain}_{hashlib.sha256(name.encode()).hexdigest()[:6]}"
