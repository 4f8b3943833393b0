from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tests.harness import wait_until
from tests.servers.nats import NatsServer, read
from tests.servers.nats_accounts import Accounts
from tests.servers.process import certificates
from tests.sinks.brokers import (
    BOUND_S,
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
pytest.importorskip("nats")


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[NatsServer]:
    one = NatsServer(tmp_path_factory.mktemp("nats"), "max_payload: 20000")
    one.process.start()
    yield one
    one.process.kill()


@pytest.fixture(autouse=True)
def empty(server) -> None:
    async def clean(jetstream: Any) -> None:
        for info in await jetstream.streams_info():
            await jetstream.delete_stream(info.config.name)

    server.ask(clean)


def sink_of(server, tmp_path, **options):
    given: dict[str, Any] = {"servers": (f"nats://127.0.0.1:{server.port}",), "make_stream": {}, "timeout": 10}
    return built("nats", tmp_path, given | options)


def messages(server, stream: str = "STREAMVISION") -> list[Any]:
    return server.ask(lambda jetstream: read(jetstream, stream, 0))


def arrived(server) -> list[str]:
    return [message.headers["Nats-Msg-Id"] for message in messages(server)]


def change(server, **limits: Any) -> None:
    async def update(jetstream: Any) -> None:
        config = (await jetstream.stream_info("STREAMVISION")).config
        for name, value in limits.items():
            setattr(config, name, value)
        await jetstream.update_stream(config)

    server.ask(update)


def test_an_event_becomes_a_message(server, tmp_path):
    sink = sink_of(server, tmp_path)
    sink.deliver(stored(1, stream="gate.north"))
    sink.close()
    (message,) = messages(server)
    assert message.subject == "streamvision.gate_north.zone.start"
    assert message.headers["Content-Type"] == "application/cloudevents+json"
    assert json.loads(message.data)["id"] == message.headers["Nats-Msg-Id"] == ids(1)[0]


def test_the_stream_is_made_as_asked_and_one_that_is_there_is_left_alone(server, tmp_path):
    wanted = {"name": "EVENTS", "max_age": "1h", "max_mb": 3, "duplicates": "5m", "storage": "memory"}
    sink = sink_of(server, tmp_path, subject="sv.{stream}.x", make_stream=wanted)
    sink.deliver(stored(1))
    sink.close()
    again = sink_of(server, tmp_path, subject="sv.{stream}.x", make_stream=wanted | {"max_mb": 9})
    again.deliver(stored(2))
    again.close()
    config = server.ask(lambda jetstream: jetstream.stream_info("EVENTS")).config
    assert (config.subjects, config.max_age, config.max_bytes) == (["sv.*.x"], 3600.0, 3 << 20)
    assert (config.duplicate_window, config.storage) == (300.0, "memory")


def test_what_comes_twice_is_dropped_by_the_server(server, tmp_path):
    for numbers in ((1, 2), (1, 2, 3)):
        sink = sink_of(server, tmp_path)
        sink.deliver(stored(*numbers))
        sink.close()
    assert arrived(server) == ids(1, 2, 3)


def test_without_a_stream_the_events_wait_for_one(server, tmp_path):
    sink = sink_of(server, tmp_path, make_stream=None)
    error = failure(sink, stored(1))
    assert (error.reason, error.permanent) == ("no_stream", False)
    assert "make_stream" in str(error)
    server.ask(lambda jetstream: jetstream.add_stream(name="STREAMVISION", subjects=["streamvision.>"]))
    sink.deliver(stored(1))
    sink.close()
    assert arrived(server) == ids(1)


def test_a_full_stream_keeps_the_order_and_goes_on_where_it_stopped(server, tmp_path):
    sink = sink_of(server, tmp_path)
    sink.deliver(stored(1))
    change(server, max_msgs=3, discard="new")
    error = failure(sink, stored(2, 3, 4, 5))
    assert (error.reason, error.permanent) == ("full", False)
    change(server, max_msgs=-1)
    sink.deliver(stored(2, 3, 4, 5))
    sink.close()
    assert arrived(server) == ids(1, 2, 3, 4, 5)


def test_a_full_stream_holds_up_no_more_than_its_own_camera(server, tmp_path):
    async def add(jetstream: Any) -> None:
        await jetstream.add_stream(name="A", subjects=["streamvision.a.>"], max_msgs=1, discard="new")
        await jetstream.add_stream(name="STREAMVISION", subjects=["streamvision.b.>"])

    server.ask(add)
    sink = sink_of(server, tmp_path, make_stream=None)
    batch = [*stored(1, 2, stream="a"), *stored(3, 4, stream="b")]
    assert failure(sink, batch).reason == "full"
    sink.close()
    assert arrived(server) == ids(3, 4)


@pytest.mark.parametrize("limit", ["max_payload", "max_msg_size"])
def test_what_is_too_large_is_refused_for_good_and_the_rest_is_not_sent_twice(server, tmp_path, limit):
    sink = sink_of(server, tmp_path)
    sink.deliver(stored(0))
    if limit == "max_msg_size":
        change(server, max_msg_size=2000)
    size = 30_000 if limit == "max_payload" else 3_000
    batch = [*stored(1), *stored(2, data={"note": "x" * size}), *stored(3, stream="yard")]
    error = failure(sink, batch)
    assert (error.reason, error.permanent) == ("too_large", True)
    for one in batch:
        if one.position == 2:
            assert failure(sink, [one]).permanent
        else:
            sink.deliver([one])
    sink.close()
    assert sorted(arrived(server)) == ids(0, 1, 3)


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
    assert arrived(server) == ids(1, 2, 3)


def test_a_killed_server_is_found_again_with_what_it_had(server, tmp_path):
    sink = sink_of(server, tmp_path)
    sink.deliver(stored(1, 2))
    server.process.kill()
    assert failure(sink, stored(3)).reason == "connect"
    server.process.start()
    delivered_at_last(sink, stored(3))
    sink.close()
    wait_until(lambda: arrived(server) == ids(1, 2, 3), BOUND_S)


def test_nothing_leaks_from_connection_to_connection(server, tmp_path):
    with never_answers() as port:
        options = {"servers": (f"nats://127.0.0.1:{port}",), "timeout": 0.2}
        sink = built("nats", tmp_path, options)
        assert_nothing_leaks(lambda: failure(sink, stored(1)))

    def once() -> None:
        sink = sink_of(server, tmp_path)
        sink.deliver(stored(1))
        sink.close()

    assert_nothing_leaks(once)


def test_a_server_without_tls_is_told_nothing(tmp_path):
    """What somebody in between would say who strips the encryption off."""
    heard = bytearray()

    class Stripped(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.sendall(b'INFO {"server_id": "x", "max_payload": 1000000, "auth_required": true}\r\n')
            while data := self.request.recv(4096):
                heard.extend(data)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Stripped) as stripped:
        threading.Thread(target=stripped.serve_forever, daemon=True).start()
        servers = (f"nats://127.0.0.1:{stripped.server_address[1]}",)
        for login in ({"username": "sv", "password": PASSWORD}, {"token": PASSWORD}):
            sink = built("nats", tmp_path, {"servers": servers, "tls": {}, "timeout": 5, **login})
            assert failure(sink, stored(1)).reason == "tls"
            sink.close()
        stripped.shutdown()
    assert not heard


def test_login_and_tls(tmp_path, caplog):
    made = certificates(tmp_path)
    server = NatsServer(
        tmp_path / "server",
        f"tls: {{cert_file: '{made.certificate}', key_file: '{made.key}'}}",
        "authorization: {users: [",
        f"  {{user: sv, password: '{PASSWORD}'}}, {{user: mute, password: '{PASSWORD}', permissions: "
        "{publish: {deny: 'streamvision.>'}}}",
        "]}",
    )
    server.process.start()

    def sink(**options: Any):
        login = {"username": "sv", "password": PASSWORD, "tls": {"ca": str(made.ca)}}
        return sink_of(server, tmp_path, **{**login, "timeout": 5, **options})

    try:
        good = sink()
        good.deliver(stored(1))
        good.close()
        assert failure(sink(tls={}), stored(2)).reason == "tls"
        assert failure(sink(tls=None), stored(2)).reason == "tls"
        error = failure(sink(password="wrong-horse"), stored(2), secret="wrong-horse")
        assert (error.reason, error.permanent) == ("auth", False)
        mute = failure(sink(username="mute", timeout=2), stored(2))
        assert (mute.reason, mute.permanent) == ("auth", False)
        missing = failure(sink(username=None, password=None, credentials="none.creds"), stored(2))
        assert (missing.reason, missing.where) == ("auth", str(tmp_path / "none.creds"))
        assert not caplog.records
    finally:
        server.process.kill()


def test_a_users_credentials_file(tmp_path):
    accounts = Accounts()
    server = NatsServer(tmp_path / "server", *accounts.config)
    server.process.start()
    believed = accounts.credentials(tmp_path / "user.creds")
    strange = accounts.credentials(tmp_path / "stranger.creds", believed=False)
    try:
        sink = sink_of(server, tmp_path, credentials="user.creds")
        sink.deliver(stored(1, 2))
        sink.close()
        found = server.ask(lambda jetstream: read(jetstream, "STREAMVISION", 0), user_credentials=str(believed))
        assert [message.headers["Nats-Msg-Id"] for message in found] == ids(1, 2)
        seed = strange.read_text().splitlines()[5]
        error = failure(sink_of(server, tmp_path, credentials=str(strange), timeout=5), stored(3), secret=seed)
        assert (error.reason, error.permanent) == ("auth", False)
    finally:
        server.process.kill()
