"""What can be written into a configuration for the sink ``mqtt``, and where its events go."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamvision.interfaces import SinkContext
from streamvision.sinks.mqtt import MqttSink
from streamvision.sinks.mqtt.topics import Topics, checked, checked_topic, level
from tests.sinks.samples import said_of


@given(
    st.dictionaries(st.sampled_from(["stream", "rule", "phase", "class"]), st.text(max_size=20)), st.text(max_size=9)
)
def test_no_value_of_an_event_gets_out_of_its_level(values, kind):
    data = {"stream": "s", "rule": "r", "phase": "p"} | {key: value for key, value in values.items() if key != "class"}
    data["track"] = {"class": values.get("class", "")}
    topic = Topics("a/b", "me", "{prefix}/{stream}/{rule}/{type}/{kind}/{phase}/{class}").event(
        {"type": f"streamvision.{kind}", "data": data}
    )
    assert checked_topic(topic).count("/") == 7


@given(st.text(min_size=1, max_size=20), st.text(min_size=1, max_size=20))
def test_two_values_are_never_one_level(first, second):
    assert (level(first) == level(second)) == (first == second)


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("a/+/b", "wildcards"), ("a/#", "wildcards"), ("$SYS/x", r"begin with \$"), ("/a", "levels"), ("a/", "levels"),
        ("a//b", "levels"), ("", "levels"), ("{a", "brace"), ("{nothing}", "there is no {nothing}"),
        ("{stream.__class__}", "there is no"), ("{stream!r}", "there is no"), ("{stream:>9}", "there is no"),
        ("{}", "there is no"), ("a\0b", "control characters"), ("x" * 70_000, "not that long"),
    ],
)  # fmt: skip
def test_a_wrong_template_is_told(template, said):
    with pytest.raises(ValueError, match=said):
        checked(template)


CHECKED = [
    ("url: http://h", "expected a URL"),
    ("url: mqtts://", "expected a URL"),
    ("url: mqtts://u:p@h", "username and password"),
    ("url: mqtts://h/topic", "ends after"),
    ("url: mqtt://example.org", "unencrypted: true"),
    ("{url: mqtt://localhost, tls: {ca: a.pem}}", "not encrypted"),
    ("{url: mqtts://h, password: p}", "no username"),
    ("{url: mqtts://h, version: '3.1.1', expiry: 1h}", "version 5.0"),
    ("{url: mqtts://h, version: '4'}", "not one of the choices"),
    ("{url: mqtts://h, home_assistant: true, state: false}", "needs state"),
    ("{url: mqtts://h, topic: 'a/{zone}'}", "there is no {zone}"),
    ("{url: mqtts://h, prefix: 'a/#'}", "wildcards"),
    ("{url: mqtts://h, qos: 3}", "0, 1, 2"),
    ("{url: mqtts://h, topics: x}", "topic"),
]


@pytest.mark.parametrize(("given", "said"), CHECKED, ids=[given for given, _ in CHECKED])
def test_check_tells_a_mistake_at_its_place(tmp_path, given, said):
    assert said in said_of(tmp_path, "mqtt", given)


def test_daemons_of_one_machine_have_names_of_their_own_that_stay(tmp_path):
    def name(folder: str, sink: str = "out") -> str:
        context = SinkContext(sink, tmp_path / folder)
        return MqttSink(MqttSink.Options(url="mqtts://h"), context)._client_id

    names = {name("a"), name("b"), name("a", "other")}
    assert len(names) == 3
    assert name("a") in names
