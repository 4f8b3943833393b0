"""Events of the sink ``mqtt`` over a connection to a real Mosquitto that breaks, refuses, or forgets."""

from __future__ import annotations

import json
import logging
import signal
import threading

import pytest
import structlog

from streamvision.errors import SinkError
from tests.harness import free_port, wait_until
from tests.servers.mosquitto import PASSWORD, USER, Subscriber
from tests.sinks.mqtt.rig import WAIT_S, Rig, brokered, retained, stored, took
from tests.sinks.samples import event

pytestmark = pytest.mark.e2e


def test_an_event_arrives_with_what_mqtt_5_says_about_it(rig, heard):
    rig(expiry="1h").follow(stored(1, 2))
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
    one.follow(stored(*range(1, 40)))
    one.follow(stored(*range(40, 50)))
    one.sink.close()
    heard.settle()
    assert heard.texts("streamvision/all") == [one.json for one in stored(*range(1, 50))]


def test_without_encryption_on_this_machine(tmp_path):
    with brokered(tmp_path, tls=False) as broker:
        one, heard = Rig(broker, tmp_path), Subscriber(broker, "#")
        one.follow(stored(1))
        heard.settle()
        assert len(heard.texts("streamvision/gate/intruder/start")) == 1
        one.sink.close()
        heard.close()


def test_the_last_will_is_executed_and_withdrawn(rig, heard):
    one = rig()
    one.follow(stored(1))
    one.sink._link.wire().cut()
    one.follow(stored(2))
    heard.settle()
    assert heard.texts("streamvision/daemon/me/availability") == ["online", "offline", "online"]


@pytest.mark.parametrize("version", ["5.0", "3.1.1"])
def test_a_broker_that_is_killed_and_forgets_everything_loses_nothing(rig, broker, heard, version):
    one = rig(version=version, topic="events/{stream}")
    one.follow(stored(1))
    heard.settle()
    heard.forget()
    broker.end(signal.SIGKILL)
    assert one.refused(2).reason in ("connect", "connection", "timeout")
    assert one.refused(2).reason == "connect"
    one.happenings.note([event(1), event(2), event(3)])
    broker.start()
    heard.resubscribed()
    wait_until(lambda: took(one, 2, 3), WAIT_S)
    heard.settle()
    ids = [json.loads(text)["id"] for text in heard.texts("events/gate")]
    assert list(dict.fromkeys(ids)) == [event(number).id for number in (1, 2, 3)]
    assert retained(broker)["streamvision/gate/intruder/state"] == "ON"


def test_a_broker_that_freezes_is_given_up_in_time_and_gets_everything_later(rig, broker, heard):
    one = rig(topic="events/{stream}", timeout=0.5, connect_timeout=0.5)
    one.follow(stored(1))
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
    one.follow(stored(1))
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
            one.follow(stored(2, stream="good") + stored(3, stream="bad") + stored(4, stream="good"))
        assert (caught.value.permanent, caught.value.reason) == (True, "forbidden")
        for number in (2, 4):
            wait_until(lambda number=number: took(one, number, stream="good"), WAIT_S)
        heard.settle()
        ids = [json.loads(text)["id"] for text in heard.texts("good/x")]
        assert list(dict.fromkeys(ids)) == [event(1).id, event(2).id, event(4).id]
        one.sink.close()
        heard.close()


def test_what_the_broker_said_before_the_connection_broke_holds(rig, broker):
    one = rig()
    one.sink.open()
    wire = one.sink._link.wire()
    send = wire._send

    def breaking(message):
        if message.event_id == event(2).id:
            wait_until(lambda: wire._confirmations.qsize() > 0, WAIT_S)
            raise SinkError("the connection broke", reason="connection")
        return send(message)

    wire._send = breaking
    assert one.refused(1, 2).reason == "connection"
    assert [each.position for each in one.sink._confirmed.missing(stored(1, 2))] == [2]


def test_too_large_is_refused_for_good(tmp_path):
    with brokered(tmp_path, more="max_packet_size 3000\n") as broker:
        by_broker = Rig(broker, tmp_path)
        large = stored(1, data={"zone": "z" * 5000})
        with pytest.raises(SinkError) as caught:
            by_broker.follow(large)
        assert (caught.value.permanent, caught.value.reason) == (True, "too_large")
        by_broker.follow(stored(2))
        by_broker.sink.close()
        by_us = Rig(broker, tmp_path, version="3.1.1", max_bytes=2000)
        with pytest.raises(SinkError) as caught:
            by_us.follow(large)
        assert (caught.value.permanent, caught.value.reason) == (True, "too_large")
        by_us.follow(stored(2))
        by_us.sink.close()


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
        less.follow(stored(1))
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
        rig(tls={"verify": False}).follow(stored(1))
    assert any(one["log_level"] == "warning" and "not checked" in one["event"] for one in logs)


def test_a_client_certificate_is_shown(tmp_path):
    with brokered(tmp_path, clients=True) as broker:
        ca = {"ca": str(broker.authority.ca)}
        anonymous = Rig(broker, tmp_path)
        assert not anonymous.refused().permanent
        anonymous.sink.close()
        certificate, key = broker.authority.issue("me")
        shown = Rig(broker, tmp_path, tls=ca | {"certificate": str(certificate), "key": str(key)})
        shown.follow(stored(1))
        shown.sink.close()


def test_a_bug_in_the_link_reaches_the_delivery(rig):
    one = rig()

    def broken() -> dict[str, str]:
        raise ZeroDivisionError

    one.sink._board.all = broken
    with pytest.raises(ZeroDivisionError):
        one.follow(stored(1))


def test_no_secret_is_ever_shown(rig, broker, caplog):
    one = rig()
    with caplog.at_level(logging.DEBUG), structlog.testing.capture_logs() as logs:
        one.follow(stored(1))
        broker.end(signal.SIGKILL)
        said = [str(one.refused(2)), repr(one.refused(2).args)]
    said += [repr(one.sink._options), str(logs), *(record.getMessage() for record in caplog.records)]
    assert not any(PASSWORD in text or "camera" in text for text in said)
