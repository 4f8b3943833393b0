"""Who asks too much is told when to come back; guesses are not answered for ever; slow clients are cut off."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import httpx
import pytest

from streamvision.web import Tokens, WebServer, create_app, limits, patience
from streamvision.web.limits import REQUESTS, WRONG_TOKENS, Allowance, Buckets, client_of
from tests.fakes import FakeClock
from tests.web.fakes import FakeBoard, status

ADMIN, READ = "admin-0123456789abcdef", "read-0123456789abcdef"


@contextmanager
def serving(clock: FakeClock, tokens: Tokens | None = None, hosts: tuple[str, ...] = ()) -> Iterator[httpx.Client]:
    server = WebServer(create_app(FakeBoard(status("gate")), tokens, hosts=hosts, clock=clock), "127.0.0.1", 0)
    server.start()
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{server.port}", timeout=60) as client:
            yield client
    finally:
        assert server.stop(10)


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def test_a_bucket_empties_and_fills_again():
    clock = FakeClock()
    buckets = Buckets(Allowance(burst=2, per_second=0.5), clock)
    assert buckets.wait_s("a") == 0
    buckets.spend("a")
    buckets.spend("a")
    assert buckets.wait_s("a") == 2
    assert buckets.wait_s("b") == 0
    clock.advance(1.0)
    assert buckets.wait_s("a") == 1
    clock.advance(100.0)
    buckets.spend("a")
    assert buckets.wait_s("a") == 0


def test_memory_is_bounded_and_the_longest_silent_is_forgotten():
    buckets = Buckets(Allowance(burst=1, per_second=0.001), FakeClock(), max_clients=2)
    for client in ("a", "b", "a", "c"):
        buckets.spend(client)
    assert buckets.wait_s("a") > 0
    assert buckets.wait_s("c") > 0
    assert buckets.wait_s("b") == 0


@pytest.mark.parametrize(
    ("host", "client"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.7", "::ffff:192.0.2.7"),
        ("", ""),
    ],
)
def test_clients_are_addresses(host: str, client: str):
    assert client_of({"client": (host, 1)}) == client


def test_too_many_requests_are_told_when_to_come_back():
    clock = FakeClock()
    with serving(clock) as client:
        answers = [client.get("/healthz") for _ in range(int(REQUESTS.burst) + 1)]
        assert {answer.status_code for answer in answers[:-1]} == {200}
        assert answers[-1].status_code == 429
        assert int(answers[-1].headers["retry-after"]) >= 1
        clock.advance(2.0)
        assert client.get("/healthz").status_code == 200


def test_who_guesses_is_told_nothing_for_a_while_but_locks_nobody_out():
    clock = FakeClock()
    with serving(clock, Tokens(ADMIN, READ)) as client:
        guesses = [client.get("/metrics", headers=bearer(f"guess{n}")).status_code for n in range(12)]
        assert guesses == [401] * int(WRONG_TOKENS.burst) + [429, 429]
        for token in (READ, ADMIN):
            assert client.get("/metrics", headers=bearer(token)).status_code == 200, "others may have this address too"
        assert client.get("/healthz").status_code == 200, "probes need no token"
        assert client.get("/metrics").status_code == 401, "no token is no guess"
        assert client.get("/metrics", headers=bearer("guess")).status_code == 429
        clock.advance(1 / WRONG_TOKENS.per_second)
        assert client.get("/metrics", headers=bearer("guess")).status_code == 401


def test_requests_without_a_token_use_up_nothing_of_those_with_one():
    with serving(FakeClock(), Tokens(ADMIN, READ)) as client:
        flood = [client.get("/healthz").status_code for _ in range(int(REQUESTS.burst) + 1)]
        assert (flood[0], flood[-1]) == (200, 429)
        answers = [client.get("/metrics", headers=bearer(READ)) for _ in range(int(REQUESTS.burst) + 1)]
        assert {answer.status_code for answer in answers[:-1]} == {200}
        assert answers[-1].status_code == 429, "whoever has a token is bounded too"


def test_asking_without_a_token_is_no_guess():
    with serving(FakeClock(), Tokens(ADMIN, READ)) as client:
        assert {client.get("/metrics").status_code for _ in range(30)} == {401}
        assert client.get("/metrics", headers=bearer(READ)).status_code == 200


def test_the_reading_token_changes_nothing():
    with serving(FakeClock(), Tokens(ADMIN, READ)) as client:
        json = {"content-type": "application/json"}
        assert client.post("/api/v1/reload", headers={**bearer(READ), **json}).status_code == 403
        assert client.post("/api/v1/reload", headers=json).status_code == 401
        assert client.post("/api/v1/reload", headers={**bearer(ADMIN), **json}).status_code == 404
        assert client.post(f"/live/gate?token={ADMIN}", headers=json).status_code == 401, "none in a URL that changes"


def test_a_name_that_another_site_has_led_here_is_refused():
    with serving(FakeClock(), hosts=("cameras.example",)) as client:
        port = client.base_url.port
        for host, code in [
            ("evil.example", 403), (f"evil.example:{port}", 403), ("localhost", 200), (f"[::1]:{port}", 200),
            ("cameras.example:443", 200), ("[", 403), ("127.0.0.1.evil.example", 403),
        ]:  # fmt: skip
            assert client.get("/api/v1/streams", headers={"host": host}).status_code == code, host
        assert client.get("/healthz", headers={"host": "evil.example"}).status_code == 200


def test_oversized_requests_are_refused():
    with serving(FakeClock()) as client:
        long = "x" * limits.MAX_TARGET_BYTES
        assert client.get(f"/healthz?{long}").status_code == 414
        many = [(f"x-{n}", "y") for n in range(limits.MAX_HEADERS)]
        assert client.get("/healthz", headers=many).status_code == 431
        big = b" " * (limits.MAX_BODY_BYTES + 1)
        assert client.post("/api/v1/reload", content=big).status_code == 413
        assert client.get("/healthz", headers={"x-long": "y" * 20_000}).status_code in (400, 431)


def raw(client: httpx.Client) -> socket.socket:
    port = client.base_url.port
    assert port
    return socket.create_connection(("127.0.0.1", port), timeout=60)


@pytest.mark.parametrize("begun", [b"", b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Slow: "])
def test_a_request_that_does_not_come_to_its_end_is_cut_off(begun: bytes, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(patience, "REQUEST_S", 0.05)
    with serving(FakeClock()) as client, raw(client) as slow:
        slow.sendall(begun)
        with suppress(ConnectionResetError):
            assert slow.recv(1) == b""


def test_one_address_has_a_bounded_number_of_connections(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(patience, "MAX_PER_CLIENT", 3)
    with serving(FakeClock()) as client:
        held = [raw(client) for _ in range(3)]
        assert all(_answers(each) for each in held)
        with raw(client) as one_more:
            assert not _answers(one_more)
        for each in held:
            each.close()


def _answers(connection: socket.socket) -> bool:
    try:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        return connection.recv(12).startswith(b"HTTP/1.1 200")
    except OSError:
        return False
