"""The sink ``mqtt`` against a real Mosquitto."""

from __future__ import annotations

import json
import logging
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from streamvision.config import load_settings
from streamvision.errors import ConfigError, SinkError
from streamvision.interfaces import RuleInfo, SinkContext, StoredEvent
from streamvision.sinks.cloudevents import to_json, type_of
from streamvision.sinks.mqtt import MqttSink
from streamvision.sinks.mqtt.topics import Topics, checked, checked_topic, level
from streamvision.types import Phase
from tests.harness import free_port, wait_until
from tests.servers.mosquitto import PASSWORD, USER, Mosquitto, Subscriber
from tests.sinks.samples import event

pytestmark = pytest.mark.e2e

WAIT_S = 60.0
GATE = {"gate": (RuleInfo("intruder", "zone"), RuleInfo("fence", "line", lasting=False))}


def stored(*numbers: int, **changes) -> list[StoredEvent]:
    return [
        StoredEvent(number, one.id, one.stream, type_of(one), datetime.now(UTC), to_json(one, "h"))
        for number in numbers
        for one in [event(number, **changes)]
    ]


class Rig:
    """A sink, what it is told of streams, and a subscriber to everything."""

    def __init__(self, broker: Mosquitto, folder: Path, *, born: int = 0, **options) -> None:
        self.broker = broker
        self.streams = GATE
        if broker.tls:
            options.setdefault("tls", {"ca": str(broker.authority.ca)})
        given = {"url": broker.url, "username": USER, "password": PASSWORD, "client_id": "me", "timeout": 2} | options
        context = SinkContext("out", folder, lambda: self.streams, born=born)
        self.sink = MqttSink(MqttSink.Options(**given), context)

    def refused(self, *numbers: int) -> SinkError:
        with pytest.raises(SinkError) as caught:
            self.sink.deliver(stored(*(numbers or (1,))))
        return caught.value


@contextmanager
def brokered(tmp_path: Path, **given) -> Iterator[Mosquitto]:
    broker = Mosquitto(tmp_path, **given)
    broker.start()
    try:
        yield broker
    finally:
        broker.end(signal.SIGKILL)


@pytest.fixture
def broker(tmp_path) -> Iterator[Mosquitto]:
    with brokered(tmp_path) as started:
        yield started


@pytest.fixture
def rig(broker, tmp_path) -> Iterator[Callable[..., Rig]]:
    made: list[Rig] = []

    def make(**options) -> Rig:
        made.append(Rig(broker, tmp_path, **options))
        return made[-1]

    yield make
    for one in made:
        one.sink.close()


@pytest.fixture
def heard(broker) -> Iterator[Subscriber]:
    subscriber = Subscriber(broker, "#")
    yield subscriber
    subscriber.close()


def retained(broker: Mosquitto, name: str = "late") -> dict[str, str]:
    """What somebody finds who comes now."""
    late = Subscriber(broker, "#", name=name)
    late.settle()
    late.close()
    return {one.topic: one.payload.decode() for one in late.messages if one.retain}


def test_an_event_arrives_with_what_mqtt_5_says_about_it(rig, heard):
    rig(expiry="1h").sink.deliver(stored(1, 2))
    heard.settle()
    first, second = (one for one in heard.messages if one.topic == "streamvision/gate/intruder/start")
    assert first.payload.decode() == stored(1)[0].json
    assert json.loads(second.payload)["id"] == event(2).id
    said = first.properties
    assert said.ContentType == "application/cloudevents+json; charset=utf-8"
    assert said.PayloadFormatIndicator == 1
    assert said.UserProperty == [("id", event(1).id), ("type", "streamvision.zone.start")]
    assert said.CorrelationData == event(1).happening.encode()
    assert 0 < said.MessageExpiryInterval <= 3600
    assert not first.retain


@pytest.mark.parametrize("options", [{"version": "3.1.1"}, {"qos": 2}, {"qos": 0}, {"in_flight": 1}], ids=str)
def test_every_version_and_quality_delivers_in_order(rig, heard, options):
    one = rig(topic="{prefix}/all", **options)
    one.sink.deliver(stored(*range(1, 40)))
    one.sink.deliver(stored(*range(40, 50)))
    one.sink.close()
    heard.settle()
    assert heard.texts("streamvision/all") == [one.json for one in stored(*range(1, 50))]


def test_without_encryption_on_this_machine(tmp_path):
    with brokered(tmp_path, tls=False) as broker:
        one, heard = Rig(broker, tmp_path), Subscriber(broker, "#")
        one.sink.deliver(stored(1))
        heard.settle()
        assert len(heard.texts("streamvision/gate/intruder/start")) == 1
        one.sink.close()
        heard.close()


def test_states_are_retained(rig, broker):
    one = rig()
    one.sink.open()
    wait_until(lambda: retained(broker).get("streamvision/daemon/me/availability") == "online", WAIT_S)
    assert retained(broker)["streamvision/gate/availability"] == "online"
    assert retained(broker)["streamvision/gate/intruder/state"] == "OFF"
    assert "streamvision/gate/fence/state" not in retained(broker)

    one.sink.deliver(stored(1, happening="a") + stored(2, happening="b"))
    assert retained(broker)["streamvision/gate/intruder/state"] == "ON"
    assert json.loads(retained(broker)["streamvision/gate/last"])["id"] == event(2).id
    one.sink.deliver(stored(3, happening="a", phase=Phase.END))
    assert retained(broker)["streamvision/gate/intruder/state"] == "ON"
    one.sink.deliver(stored(4, happening="b", phase=Phase.END))
    assert retained(broker)["streamvision/gate/intruder/state"] == "OFF"

    outage = {"rule": "outage", "kind": "outage", "track": None, "happening": "o"}
    one.sink.deliver(stored(5, **outage))
    assert retained(broker)["streamvision/gate/availability"] == "offline"
    one.sink.deliver(stored(6, phase=Phase.END, **outage))
    assert retained(broker)["streamvision/gate/availability"] == "online"

    one.sink.close()
    assert retained(broker)["streamvision/daemon/me/availability"] == "offline"


def test_what_an_earlier_run_began_switches_nothing_on(broker, tmp_path):
    one = Rig(broker, tmp_path, born=2)
    outage = {"rule": "outage", "kind": "outage", "track": None}
    one.sink.deliver(stored(1) + stored(2, **outage))
    assert retained(broker)["streamvision/gate/intruder/state"] == "OFF"
    assert retained(broker)["streamvision/gate/availability"] == "online"
    one.sink.close()


def test_a_repetition_changes_no_state(rig, broker):
    one = rig()
    one.sink.deliver(stored(1, happening="a") + stored(2, happening="a", phase=Phase.END))
    one.sink._confirmed = type(one.sink._confirmed)()
    one.sink.deliver(stored(1, happening="a"))
    assert retained(broker)["streamvision/gate/intruder/state"] == "OFF"


def test_the_last_will_is_executed_and_withdrawn(rig, heard):
    one = rig()
    one.sink.deliver(stored(1))
    one.sink._link.wire().cut()
    one.sink.deliver(stored(2))
    heard.settle()
    assert heard.texts("streamvision/daemon/me/availability") == ["online", "offline", "online"]


@pytest.mark.parametrize("version", ["5.0", "3.1.1"])
def test_a_broker_that_is_killed_and_forgets_everything_loses_nothing(rig, broker, heard, version):
    one = rig(version=version, topic="events/{stream}")
    one.sink.deliver(stored(1))
    heard.settle()
    heard.forget()
    broker.end(signal.SIGKILL)
    assert one.refused(2).reason in ("connect", "connection", "timeout")
    assert one.refused(2).reason == "connect"
    broker.start()
    heard.resubscribed()
    wait_until(lambda: took(one, 2, 3), WAIT_S)
    heard.settle()
    ids = [json.loads(text)["id"] for text in heard.texts("events/gate")]
    assert list(dict.fromkeys(ids)) == [event(number).id for number in (1, 2, 3)]
    assert retained(broker)["streamvision/gate/intruder/state"] == "ON"


def took(one: Rig, *numbers: int, **changes) -> bool:
    try:
        one.sink.deliver(stored(*numbers, **changes))
    except SinkError:
        return False
    return True


def test_a_broker_that_freezes_is_given_up_in_time_and_gets_everything_later(rig, broker, heard):
    one = rig(topic="events/{stream}", timeout=0.5, connect_timeout=0.5)
    one.sink.deliver(stored(1))
    broker.send(signal.SIGSTOP)
    assert one.refused(2, 3).reason == "timeout"
    assert one.refused(2, 3).reason == "timeout"
    broker.send(signal.SIGCONT)
    wait_until(lambda: took(one, 2, 3), WAIT_S)
    heard.settle()
    ids = [json.loads(text)["id"] for text in heard.texts("events/gate")]
    assert list(dict.fromkeys(ids)) == [event(number).id for number in (1, 2, 3)]


def test_a_connection_comes_back_without_an_event(rig, broker):
    one = rig()
    one.sink.open()
    wait_until(lambda: "streamvision/gate/availability" in retained(broker), WAIT_S)
    broker.end(signal.SIGKILL)
    broker.start()
    wait_until(lambda: retained(broker).get("streamvision/daemon/me/availability") == "online", WAIT_S)


def test_a_frozen_broker_does_not_hold_up_the_end(rig, broker):
    one = rig(timeout=0.5, connect_timeout=0.5)
    one.sink.deliver(stored(1))
    broker.send(signal.SIGSTOP)
    closer = threading.Thread(target=one.sink.close)
    closer.start()
    closer.join(WAIT_S)
    assert not closer.is_alive()
    broker.send(signal.SIGCONT)


def test_a_forbidden_topic_is_refused_for_good_and_the_neighbours_arrive(tmp_path):
    acl = tmp_path / "acl"
    acl.write_text(f"user {USER}\ntopic write good/#\nuser reader\ntopic #\n")
    acl.chmod(0o600)
    with brokered(tmp_path, more=f"acl_file {acl}\n") as broker:
        one, heard = Rig(broker, tmp_path, topic="{stream}/x"), Subscriber(broker, "#")
        one.streams = {}
        with structlog.testing.capture_logs() as logs:
            wait_until(lambda: took(one, 1, stream="good"), WAIT_S)
        # The daemon's availability may not be written, either: that is told, and no reason to stop.
        assert "a retained topic is refused" in [line["event"] for line in logs]
        with pytest.raises(SinkError) as caught:
            one.sink.deliver(stored(2, stream="good") + stored(3, stream="bad") + stored(4, stream="good"))
        assert (caught.value.permanent, caught.value.reason) == (True, "forbidden")
        for number in (2, 4):
            wait_until(lambda number=number: took(one, number, stream="good"), WAIT_S)
        heard.settle()
        ids = [json.loads(text)["id"] for text in heard.texts("good/x")]
        assert list(dict.fromkeys(ids)) == [event(1).id, event(2).id, event(4).id]
        one.sink.close()
        heard.close()


def test_too_large_is_refused_for_good(tmp_path):
    with brokered(tmp_path, more="max_packet_size 3000\n") as broker:
        by_broker = Rig(broker, tmp_path)
        large = stored(1, data={"zone": "z" * 5000})
        with pytest.raises(SinkError) as caught:
            by_broker.sink.deliver(large)
        assert (caught.value.permanent, caught.value.reason) == (True, "too_large")
        by_broker.sink.deliver(stored(2))
        by_broker.sink.close()
        by_us = Rig(broker, tmp_path, version="3.1.1", max_bytes=2000)
        with pytest.raises(SinkError) as caught:
            by_us.sink.deliver(large)
        assert (caught.value.permanent, caught.value.reason) == (True, "too_large")
        by_us.sink.deliver(stored(2))
        by_us.sink.close()


def test_an_event_that_is_refused_still_changes_the_state(rig, broker):
    one = rig(max_bytes=2000, in_flight=1)
    one.sink.deliver(stored(1, happening="a"))
    end = stored(2, happening="a", phase=Phase.END, data={"zone": "z" * 5000})
    with pytest.raises(SinkError) as caught:
        one.sink.deliver([*end, *stored(3, rule="other")])
    assert caught.value.reason == "too_large"
    assert retained(broker)["streamvision/gate/intruder/state"] == "OFF"


@pytest.mark.parametrize(("best", "wanted"), [(0, 1), (1, 2)])
def test_a_broker_that_confirms_less_than_is_asked_for_is_told(tmp_path, best, wanted):
    port = free_port()
    with brokered(tmp_path, more=f"listener {port} 127.0.0.1\nmax_qos {best}\n") as broker:
        one = Rig(broker, tmp_path, url=f"mqtt://127.0.0.1:{port}", tls=None, qos=wanted)
        error = one.refused()
        assert (error.permanent, error.reason) == (False, "qos")
        assert f"set qos: {best}" in str(error)
        one.sink.close()
        less = Rig(broker, tmp_path, url=f"mqtt://127.0.0.1:{port}", tls=None, qos=best)
        less.sink.deliver(stored(1))
        less.sink.close()


@pytest.mark.parametrize("version", ["5.0", "3.1.1"])
def test_a_wrong_password_waits(rig, version):
    error = rig(password="wr0ng-password", version=version).refused()
    assert (error.permanent, error.reason) == (False, "auth")
    assert "wr0ng-password" not in str(error)


def test_an_unknown_authority_is_not_believed(rig):
    error = rig(tls=None).refused()
    assert (error.permanent, error.reason) == (False, "tls")
    assert "not believed" in str(error)
    assert rig(tls={"ca": "missing.pem"}).refused().reason == "tls"


def test_unchecked_certificates_are_never_silent(rig):
    with structlog.testing.capture_logs() as logs:
        rig(tls={"verify": False}).sink.deliver(stored(1))
    assert any(one["log_level"] == "warning" and "not checked" in one["event"] for one in logs)


def test_daemons_of_one_machine_have_names_of_their_own_that_stay(tmp_path):
    def name(folder: str, sink: str = "out") -> str:
        context = SinkContext(sink, tmp_path / folder)
        return MqttSink(MqttSink.Options(url="mqtts://h"), context)._client_id

    names = {name("a"), name("b"), name("a", "other")}
    assert len(names) == 3
    assert name("a") in names


def test_a_client_certificate_is_shown(tmp_path):
    with brokered(tmp_path, clients=True) as broker:
        ca = {"ca": str(broker.authority.ca)}
        anonymous = Rig(broker, tmp_path)
        assert not anonymous.refused().permanent
        anonymous.sink.close()
        certificate, key = broker.authority.issue("me")
        shown = Rig(broker, tmp_path, tls=ca | {"certificate": str(certificate), "key": str(key)})
        shown.sink.deliver(stored(1))
        shown.sink.close()


def test_a_bug_in_the_link_reaches_the_delivery(rig):
    one = rig()

    def broken() -> dict[str, str]:
        raise ZeroDivisionError

    one.sink._board.all = broken
    with pytest.raises(ZeroDivisionError):
        one.sink.deliver(stored(1))


def test_home_assistant_finds_a_device_per_stream(rig, broker):
    one = rig(home_assistant=True)
    one.streams = GATE | {"hof.süd": (RuleInfo("intruder", "zone"),)}
    one.sink.deliver(stored(1))
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
    one.sink.deliver(stored(1, rule="fence", phase=Phase.INSTANT, kind="line"))
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
    one.sink.deliver(stored(2))
    found = retained(broker)
    assert shown("event/streamvision_gate/rule_fence") == ""


def test_what_is_gone_is_removed_from_the_broker(rig, broker, tmp_path):
    one = rig(home_assistant=True)
    one.streams = GATE | {"yard": (RuleInfo("intruder", "zone"),)}
    one.sink.deliver(stored(1, stream="yard"))
    assert any("yard" in topic for topic in retained(broker))
    one.streams = GATE
    wait_until(lambda: not any("yard" in topic for topic in retained(broker)), WAIT_S)
    assert any("gate" in topic for topic in retained(broker))
    one.sink.close()

    other = Rig(broker, tmp_path)  # a restart with another configuration
    other.streams = {"porch": ()}
    other.sink.deliver(stored(2, stream="porch"))
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
    one.sink.deliver(stored(1))
    assert set(retained(broker)) == {"streamvision/daemon/me/availability", "streamvision/gate/intruder/start"}


def test_no_secret_is_ever_shown(rig, broker, caplog):
    one = rig()
    with caplog.at_level(logging.DEBUG), structlog.testing.capture_logs() as logs:
        one.sink.deliver(stored(1))
        broker.end(signal.SIGKILL)
        said = [str(one.refused(2)), repr(one.refused(2).args)]
    said += [repr(one.sink._options), str(logs), *(record.getMessage() for record in caplog.records)]
    assert not any(PASSWORD in text or "camera" in text for text in said)


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
    path = tmp_path / "c.yaml"
    options = given if given.startswith("{") else f"{{{given}}}"
    path.write_text(f"streams: [{{id: a, url: 'demo:street'}}]\nsinks:\n  - {{name: h, type: mqtt, {options[1:]}\n")
    with pytest.raises(ConfigError) as caught:
        load_settings(path)
    [problem] = caught.value.problems
    assert problem.line == 3
    assert said in f"{problem.message} {problem.remedy}"
