"""The server binds, or says why not, and ends whatever it answers at that moment."""

from __future__ import annotations

import socket
import threading

import httpx
import pytest

from streamvision.errors import MissingError
from streamvision.web import WebServer, create_app
from tests.web.answers import bounded_wait
from tests.web.fakes import FakeBoard


def test_a_taken_port_is_named(board: FakeBoard) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        server = WebServer(create_app(board), "127.0.0.1", port)
        with pytest.raises(MissingError, match=str(port)) as caught:
            server.start()
    assert caught.value.exit_code == 3
    assert server.stop(1.0)


def test_an_address_that_is_not_this_machines_is_named(board: FakeBoard) -> None:
    with pytest.raises(MissingError, match=r"192\.0\.2\.77"):
        WebServer(create_app(board), "192.0.2.77", 0).start()


def test_what_breaks_at_the_start_is_told_itself(board: FakeBoard, monkeypatch: pytest.MonkeyPatch) -> None:
    server = WebServer(create_app(board), "127.0.0.1", 0)

    async def broken(sockets: list[socket.socket]) -> None:
        raise RuntimeError("no room for a loop")

    monkeypatch.setattr(server._server, "serve", broken)
    with pytest.raises(MissingError, match="did not start: no room for a loop"):
        server.start()
    assert isinstance(server.crashed, RuntimeError)


def test_stopping_ends_every_endless_answer(board: FakeBoard) -> None:
    server = WebServer(create_app(board), "127.0.0.1", 0)
    server.start()
    base = f"http://127.0.0.1:{server.port}"
    ended = []
    begun = threading.Barrier(4)

    def hold(path: str) -> None:
        with httpx.stream("GET", base + path, timeout=30) as response:
            begun.wait(20)
            for _ in response.iter_bytes():
                pass
        ended.append(path)

    paths = ["/live/gate", "/live/yard", "/api/v1/events/stream"]
    threads = [threading.Thread(target=hold, args=(path,)) for path in paths]
    for thread in threads:
        thread.start()
    begun.wait(20)
    assert server.stop(10.0)
    for thread in threads:
        thread.join(20)
    assert sorted(ended) == sorted(paths)
    assert not server.alive
    assert server.crashed is None


def test_stopping_sends_a_waiting_snapshot_home(board: FakeBoard) -> None:
    server = WebServer(create_app(board), "127.0.0.1", 0)
    server.start()
    found: list[httpx.Response] = []
    url = f"http://127.0.0.1:{server.port}/api/v1/streams/gate/snapshot.jpg?wait=10"
    thread = threading.Thread(target=lambda: found.append(httpx.get(url, timeout=30)))
    thread.start()
    bounded_wait(lambda: board.live.watchers() == 1)
    assert server.stop(10.0)
    thread.join(20)
    assert (found[0].status_code, found[0].json()["error"]["code"]) == (503, "stopping")
