from __future__ import annotations

import json
import socketserver
import ssl
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.servers.kafka import KafkaCluster, Reader
from tests.servers.process import Certificates, certificates
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
pytest.importorskip("confluent_kafka")

MSG_SIZE_TOO_LARGE, TOPIC_EXCEPTION, NOT_ENOUGH_REPLICAS, TOPIC_AUTHORIZATION_FAILED = 10, 17, 19, 29


@pytest.fixture(scope="module")
def cluster() -> Iterator[KafkaCluster]:
    one = KafkaCluster()
    one.start()
    yield one
    one.close()


@pytest.fixture
def topic(cluster, request) -> Iterator[str]:
    """A topic of the test's own."""
    name = f"t{abs(hash(request.node.name))}"
    cluster.tell(f"make {name}")
    yield name
    cluster.tell("take")


def sink_of(cluster, folder, topic, **options):
    return built("kafka", folder, {"servers": cluster.address, "topic": topic, "timeout": 20} | options)


def messages(cluster, topic) -> list[Any]:
    reader = Reader(cluster.address, topic)
    try:
        return reader.whole()
    finally:
        reader.close()


def arrived(cluster, topic) -> list[str]:
    return [dict(one.headers())["id"].decode() for one in messages(cluster, topic)]


def test_an_event_becomes_a_message(cluster, tmp_path, topic):
    sink = sink_of(cluster, tmp_path, topic)
    sink.deliver(stored(1, 2))
    sink.close()
    first, second = messages(cluster, topic)
    assert first.key() == b"gate"
    assert dict(first.headers()) == {"id": ids(1)[0].encode(), "content-type": b"application/cloudevents+json"}
    assert json.loads(second.value())["id"] == ids(2)[0]


def test_every_way_to_compress_can_be_read(cluster, tmp_path, topic):
    ways = ("none", "gzip", "snappy", "lz4", "zstd")
    for number, compression in enumerate(ways):
        sink = sink_of(cluster, tmp_path, topic, compression=compression)
        sink.deliver(stored(*range(number * 10, number * 10 + 10)))
        sink.close()
    assert arrived(cluster, topic) == ids(*range(10 * len(ways)))


def test_a_stream_lies_in_one_partition_in_order(cluster, tmp_path, topic):
    sink = sink_of(cluster, tmp_path, topic)
    batch = [one for number in range(300) for one in stored(number, stream=f"s{number % 7}")]
    sink.deliver(batch)
    sink.close()
    found = messages(cluster, topic)
    assert len({one.partition() for one in found}) > 1
    for number in range(7):
        own = [one for one in found if one.key() == f"s{number}".encode()]
        assert len({one.partition() for one in own}) == 1
        assert [dict(one.headers())["id"].decode() for one in own] == ids(*range(number, 300, 7))


def test_what_is_too_large_is_refused_before_anything_is_sent(cluster, tmp_path, topic):
    sink = sink_of(cluster, tmp_path, topic, max_message_bytes=5000)
    large = stored(2, data={"note": "x" * 6000})
    batch = [*stored(1), *large, *stored(3)]
    error = failure(sink, batch)
    assert (error.reason, error.permanent) == ("too_large", True)
    assert arrived(cluster, topic) == []
    sink.deliver(stored(1))
    assert failure(sink, large).permanent
    sink.deliver(stored(3))
    sink.close()
    assert arrived(cluster, topic) == ids(1, 3)


@pytest.mark.parametrize(
    ("code", "reason", "permanent"),
    [
        (MSG_SIZE_TOO_LARGE, "too_large", True),
        (TOPIC_EXCEPTION, "topic", True),
        (TOPIC_AUTHORIZATION_FAILED, "auth", False),
    ],
)
def test_what_the_cluster_refuses(cluster, tmp_path, topic, code, reason, permanent):
    sink = sink_of(cluster, tmp_path, topic)
    sink.deliver(stored(1))
    cluster.tell(f"refuse {code}")
    error = failure(sink, stored(2, 3))
    assert (error.reason, error.permanent) == (reason, permanent)
    cluster.tell("take")
    sink.deliver(stored(2, 3))
    sink.close()
    assert arrived(cluster, topic) == ids(1, 2, 3)


def test_too_few_replicas_are_waited_for_within_the_deadline(cluster, tmp_path, topic):
    sink = sink_of(cluster, tmp_path, topic, timeout=1)
    cluster.tell(f"refuse {NOT_ENOUGH_REPLICAS}")
    error = failure(sink, stored(1, 2))
    assert (error.reason, error.permanent) == ("timeout", False)
    cluster.tell("take")
    delivered_at_last(sink, stored(1, 2, 3))
    sink.close()
    assert list(dict.fromkeys(arrived(cluster, topic))) == ids(1, 2, 3)


def test_a_topic_that_is_not_there_is_waited_for(cluster, tmp_path, topic):
    cluster.tell(f"topic {topic} 3")
    sink = sink_of(cluster, tmp_path, topic, timeout=2)
    error = failure(sink, stored(1))
    assert (error.reason, error.permanent) == ("no_topic", False)
    cluster.tell(f"topic {topic} 0")
    delivered_at_last(sink, stored(1))
    sink.close()
    assert set(arrived(cluster, topic)) == set(ids(1))


def test_a_broker_that_goes_and_comes_is_found_again(cluster, tmp_path, topic):
    sink = sink_of(cluster, tmp_path, topic, timeout=1)
    delivered_at_last(sink, stored(1))
    cluster.tell("down")
    assert failure(sink, stored(2)).reason == "connect"
    cluster.tell("up")
    delivered_at_last(sink, stored(2, 3))
    sink.close()
    assert list(dict.fromkeys(arrived(cluster, topic))) == ids(1, 2, 3)


def test_a_frozen_broker_is_given_up_in_time_and_found_again(cluster, tmp_path, topic):
    sink = sink_of(cluster, tmp_path, topic, timeout=1)
    delivered_at_last(sink, stored(1))
    cluster.freeze()
    try:
        assert failure(sink, stored(2)).reason == "timeout"
    finally:
        cluster.thaw()
    delivered_at_last(sink, stored(2, 3))
    sink.close()
    assert list(dict.fromkeys(arrived(cluster, topic))) == ids(1, 2, 3)


def test_nothing_leaks_from_connection_to_connection(cluster, tmp_path, topic):
    with never_answers() as port:
        silent = built("kafka", tmp_path, {"servers": f"127.0.0.1:{port}", "timeout": 1})
        assert_nothing_leaks(lambda: failure(silent, stored(1)), times=2)
    sink = sink_of(cluster, tmp_path, topic)
    numbers = iter(range(1000))

    def once() -> None:
        sink.deliver(stored(next(numbers)))
        sink.close()

    assert_nothing_leaks(once, times=2)


@contextmanager
def tls_port(made: Certificates, shown: list[Any]) -> Iterator[int]:
    """A TLS server that notes the client's certificate and hangs up: enough to see whom a client believes."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made.certificate, made.key)
    context.load_verify_locations(made.ca)
    context.verify_mode = ssl.CERT_OPTIONAL

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            try:
                with context.wrap_socket(self.request, server_side=True) as connection:
                    shown.append(connection.getpeercert())
            except OSError:
                return

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True

    with Server(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield int(server.server_address[1])
        server.shutdown()


def test_tls_believes_only_whom_it_should(tmp_path):
    made = certificates(tmp_path)
    shown: list[Any] = []
    with tls_port(made, shown) as port:

        def reason(**options: Any) -> str:
            sink = built("kafka", tmp_path, {"servers": f"127.0.0.1:{port}", "timeout": 1, **options})
            return failure(sink, stored(1)).reason

        assert reason(tls={}) == "tls"
        assert reason(tls={"ca": str(made.ca)}) == "connect"  # believed, and then it hangs up
        assert reason(tls={"verify": False}) == "connect"
        assert not any(shown)
        assert reason(tls={"ca": str(made.ca), "certificate": str(made.certificate), "key": str(made.key)}) == "connect"
        assert shown[-1]["subject"] == ((("commonName", "127.0.0.1"),),)
        assert reason(tls={"ca": "none.pem"}) == "tls"


class Doorman(socketserver.StreamRequestHandler):
    """As much of a broker as lets nobody in: it says which versions it speaks and refuses every login.

    https://kafka.apache.org/protocol: ApiVersions (18) version 3, SaslHandshake (17), SaslAuthenticate (36).
    """

    def handle(self) -> None:
        while len(head := self.rfile.read(4)) == 4:
            request = self.rfile.read(struct.unpack(">i", head)[0])
            key, _, number = struct.unpack(">hhi", request[:8])
            answer = struct.pack(">i", number) + {18: self.versions, 17: self.handshake, 36: self.refusal}[key]()
            self.wfile.write(struct.pack(">i", len(answer)) + answer)

    def versions(self) -> bytes:
        spoken = ((0, 0, 7), (1, 0, 11), (3, 0, 5), (17, 0, 1), (18, 0, 3), (22, 0, 1), (36, 0, 0))
        rows = b"".join(struct.pack(">hhhB", *one, 0) for one in spoken)
        return struct.pack(">hB", 0, len(spoken) + 1) + rows + struct.pack(">iB", 0, 0)

    def handshake(self) -> bytes:
        return struct.pack(">hih", 0, 1, 5) + b"PLAIN"

    def refusal(self) -> bytes:
        """A talkative one, which repeats what it was told."""
        said = f"sv with {PASSWORD} is not known here".encode()
        return struct.pack(">hh", 58, len(said)) + said + struct.pack(">i", 0)


def test_a_login_that_is_refused_waits_and_tells_no_secret(tmp_path):
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Doorman) as broker:
        threading.Thread(target=broker.serve_forever, daemon=True).start()
        sasl = {"mechanism": "PLAIN", "username": "sv", "password": PASSWORD}
        servers = f"127.0.0.1:{broker.server_address[1]}"
        error = failure(built("kafka", tmp_path, {"servers": servers, "sasl": sasl, "timeout": 2}), stored(1))
        broker.shutdown()
    assert (error.reason, error.permanent) == ("auth", False)
    assert "is not known here" in str(error)
