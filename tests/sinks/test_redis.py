from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.servers.process import certificates
from tests.servers.redis import RedisServer
from tests.sinks.brokers import (
    PASSWORD,
    assert_nothing_leaks,
    built,
    delivered_at_last,
    failure,
    ids,
    never_answers,
    stored,
)

pytestmark = pytest.mark.e2e
pytest.importorskip("redis")


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[RedisServer]:
    one = RedisServer(tmp_path_factory.mktemp("redis"))
    one.process.start()
    yield one
    one.process.kill()


@pytest.fixture(autouse=True)
def empty(server) -> None:
    with server.client() as client:
        client.flushall()
        client.config_set("maxmemory", "0")


def sink_of(server, tmp_path, **options):
    return built("redis", tmp_path, {"url": f"redis://127.0.0.1:{server.port}/0", "timeout": 10} | options)


def entries(server, key: str = "streamvision") -> list[dict[str, str]]:
    with server.client() as client:
        return [fields for _, fields in client.xrange(key)]


def test_an_event_becomes_an_entry(server, tmp_path):
    sink = sink_of(server, tmp_path, key="sv:{stream}:{type}")
    sink.deliver(stored(1, 2))
    sink.close()
    first, second = entries(server, "sv:gate:zone.start")
    assert list(first) == ["id", "stream", "type", "time", "event"]
    assert (first["id"], first["stream"], first["type"]) == (*ids(1), "gate", "streamvision.zone.start")
    assert json.loads(second["event"])["id"] == second["id"]


def test_the_stream_stays_about_as_long_as_it_may(server, tmp_path):
    sink = sink_of(server, tmp_path, max_length=100)
    sink.deliver(stored(*range(1000)))
    sink.close()
    assert 100 <= len(entries(server)) < 300
    assert entries(server)[-1]["id"] == ids(999)[0]


def test_what_arrived_before_an_interruption_is_not_written_again(server, tmp_path):
    sink = sink_of(server, tmp_path)
    sink.deliver(stored(1, 2, 3))
    sink.close()
    sink.deliver(stored(2, 3, 4))
    sink.close()
    assert [entry["id"] for entry in entries(server)] == ids(1, 2, 3, 4)


def test_without_memory_a_batch_waits_as_a_whole(server, tmp_path):
    sink = sink_of(server, tmp_path)
    sink.deliver(stored(1))
    with server.client() as client:
        client.config_set("maxmemory", "1mb")
    error = failure(sink, stored(2, 3))
    assert (error.reason, error.permanent) == ("full", False)
    with server.client() as client:
        client.config_set("maxmemory", "0")
    sink.deliver(stored(2, 3))
    sink.close()
    assert [entry["id"] for entry in entries(server)] == ids(1, 2, 3)


def test_a_key_of_another_kind_is_refused_and_waits(server, tmp_path):
    with server.client() as client:
        client.set("streamvision", "something else")
    sink = sink_of(server, tmp_path)
    error = failure(sink, stored(1))
    assert (error.reason, error.permanent) == ("refused", False)
    with server.client() as client:
        client.delete("streamvision")
    sink.deliver(stored(1))
    sink.close()
    assert len(entries(server)) == 1


def test_an_idle_connection_that_the_server_closed_is_no_failure(server, tmp_path):
    sink = sink_of(server, tmp_path)
    sink.deliver(stored(1))
    with server.client() as client:
        client.client_kill_filter(_type="normal", skipme=True)
    sink.deliver(stored(2))
    sink.close()
    assert [entry["id"] for entry in entries(server)] == ids(1, 2)


def test_a_frozen_server_is_given_up_in_time_and_found_again(server, tmp_path):
    sink = sink_of(server, tmp_path, timeout=1)
    sink.deliver(stored(1))
    server.process.freeze()
    try:
        assert failure(sink, stored(2)).reason == "timeout"
        assert failure(sink, stored(2)).reason == "timeout"
    finally:
        server.process.thaw()
    delivered_at_last(sink, stored(2, 3))
    sink.close()
    assert list(dict.fromkeys(entry["id"] for entry in entries(server))) == ids(1, 2, 3)


def test_nothing_leaks_from_connection_to_connection(server, tmp_path):
    with never_answers() as port:
        sink = built("redis", tmp_path, {"url": f"redis://127.0.0.1:{port}/0", "timeout": 0.2})
        assert_nothing_leaks(lambda: failure(sink, stored(1)))

    def once() -> None:
        sink = sink_of(server, tmp_path)
        sink.deliver(stored(1))
        sink.close()

    assert_nothing_leaks(once)


def test_password_and_tls(tmp_path):
    made = certificates(tmp_path)
    server = RedisServer(tmp_path / "server")
    tls = RedisServer(
        tmp_path / "tls", f"requirepass {PASSWORD}", "tls-auth-clients yes", "tls-port {port}",
        f"tls-cert-file {made.certificate}", f"tls-key-file {made.key}", f"tls-ca-cert-file {made.ca}",
    )  # fmt: skip
    assert server.port != tls.port
    path = tls.folder / "redis.conf"
    secure = server.port  # a second free port
    path.write_text(path.read_text().replace("{port}", str(secure)))
    tls.process.start()
    url = f"redis://127.0.0.1:{secure}/0"
    own = {"certificate": str(made.certificate), "key": str(made.key)}
    try:
        good = built("redis", tmp_path, {"url": url, "password": PASSWORD, "tls": {"ca": str(made.ca), **own}})
        good.deliver(stored(1))
        good.close()
        stranger = built("redis", tmp_path, {"url": url, "password": PASSWORD, "tls": own})
        assert failure(stranger, stored(1)).reason == "tls"
        nameless = built("redis", tmp_path, {"url": url, "password": PASSWORD, "tls": {"ca": str(made.ca)}})
        assert failure(nameless, stored(1)).reason in ("tls", "connect")  # the alert may come with a reset
        wrong = built("redis", tmp_path, {"url": url, "password": "wrong-horse", "tls": {"verify": False, **own}})
        error = failure(wrong, stored(1), secret="wrong-horse")
        assert (error.reason, error.permanent) == ("auth", False)
        with tls.client(password=PASSWORD) as client:
            assert client.xlen("streamvision") == 1
    finally:
        tls.process.kill()
