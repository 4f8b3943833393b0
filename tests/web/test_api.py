"""Every path over a real socket, held against the OpenAPI document."""

from __future__ import annotations

import json
import re
import socket
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from jsonschema import Draft202012Validator
from prometheus_client.parser import text_string_to_metric_families
from starlette.routing import Route

from streamvision.errors import MissingError, StoreError
from streamvision.types import StreamState
from streamvision.web import Counts, EngineReadiness, EventExplanation, Tokens, WebServer, create_app, frame_age_s
from streamvision.web.openapi import document
from streamvision.web.security import HEADERS
from tests.web.fakes import FakeBoard, filming, serving, status

JPEG_START = b"\xff\xd8\xff"


@pytest.fixture
def board() -> FakeBoard:
    return FakeBoard(status("gate"), status("yard", state=StreamState.STALLED, cause="silent", size_wh=(0, 0)))


@pytest.fixture
def client(board: FakeBoard) -> Iterator[httpx.Client]:
    with serving(board) as base, httpx.Client(base_url=base, timeout=20) as client:
        yield client


def check(path: str, answer: httpx.Response) -> Any:
    """Return an answer's JSON after holding it against what OpenAPI says of that path and status."""
    described = document()["paths"][path]["get"]["responses"][str(answer.status_code)]
    (kind, content), *_ = described["content"].items()
    assert answer.headers["content-type"].split(";")[0] == kind
    schema = content["schema"] | {"components": document()["components"]}
    Draft202012Validator(schema).validate(answer.json())
    return answer.json()


def error_code(path: str, answer: httpx.Response) -> str:
    return str(check(path, answer)["error"]["code"])


def test_the_document_names_every_route_and_no_other(board: FakeBoard) -> None:
    app = create_app(board)
    routes = {route.path for route in app.routes if isinstance(route, Route) and route.include_in_schema}
    assert routes == set(document()["paths"])


def test_the_document_is_sound() -> None:
    text = json.dumps(document())
    names = [one["operationId"] for path in document()["paths"].values() for one in path.values()]
    assert len(names) == len(set(names))
    for schema in document()["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)
    for reference in set(text.split('"$ref": "#/components/schemas/')[1:]):
        assert reference.split('"')[0] in document()["components"]["schemas"]


def test_alive_and_ready(client: httpx.Client, board: FakeBoard) -> None:
    assert check("/healthz", client.get("/healthz"))["status"] == "ok"
    assert check("/readyz", client.get("/readyz"))["models"]["street"]["state"] == "ready"
    assert check("/api/v1/openapi.json", client.get("/api/v1/openapi.json"))["openapi"] == "3.1.0"


def test_an_explanation_is_there_or_coming_or_not(client: httpx.Client, board: FakeBoard) -> None:
    path = "/api/v1/events/{event}/explanation.jpg"
    board.explanations = {"01A": EventExplanation(JPEG_START + b"map"), "01B": EventExplanation(pending=True)}
    done = client.get("/api/v1/events/01A/explanation.jpg")
    assert (done.status_code, done.headers["content-type"], done.content) == (200, "image/jpeg", JPEG_START + b"map")
    coming = client.get("/api/v1/events/01B/explanation.jpg")
    assert coming.status_code == 202
    assert check(path, coming) == {"status": "pending", "event": "01B"}
    assert int(coming.headers["retry-after"]) > 0
    missing = client.get("/api/v1/events/01C/explanation.jpg")
    assert missing.status_code == 404
    assert error_code(path, missing) == "no_explanation"
    assert "nobody asked for it" in missing.json()["error"]["message"]


def test_a_silent_stage_is_not_healthy(client: httpx.Client, board: FakeBoard) -> None:
    board.silent = ["analysis"]
    answer = client.get("/healthz")
    assert answer.status_code == 503
    assert check("/healthz", answer)["silent"] == ["analysis"]


@pytest.mark.parametrize("state", ["loading", "building", "verifying", "failed"])
def test_a_cold_engine_is_not_ready(client: httpx.Client, board: FakeBoard, state: str) -> None:
    board.engine = EngineReadiness(state, detail="compiling")
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert check("/readyz", answer)["models"]["street"] == {"state": state, "description": "", "detail": "compiling"}


@pytest.mark.parametrize("state", ["building", "verifying", "fallback"])
def test_a_model_is_ready_while_any_engine_serves_it(client: httpx.Client, board: FakeBoard, state: str) -> None:
    board.engine = EngineReadiness(state, "yolox-nano on openvino (CPU, 2 requests)", "building tensorrt, 35%")
    answer = client.get("/readyz")
    assert answer.status_code == 200
    assert check("/readyz", answer)["models"]["street"]["detail"] == "building tensorrt, 35%"


def test_metrics_are_the_boards(client: httpx.Client, board: FakeBoard) -> None:
    board.metrics.stream("gate").decoded = 7
    answer = client.get("/metrics")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    found = {family.name: family for family in text_string_to_metric_families(answer.text)}
    assert found["streamvision_frames_decoded"].samples[0].value == 7


def test_streams_are_told_in_order_and_one_by_one(client: httpx.Client) -> None:
    streams = check("/api/v1/streams", client.get("/api/v1/streams"))
    assert [stream["id"] for stream in streams] == ["gate", "yard"]
    assert streams[0]["counts"]["in_flight"] == 1
    assert streams[1] == check("/api/v1/streams/{stream}", client.get("/api/v1/streams/yard"))
    assert streams[1]["size_wh"] is None


@pytest.mark.parametrize(
    "path", ["/api/v1/streams/{stream}", "/api/v1/streams/{stream}/snapshot.jpg", "/live/{stream}"]
)
def test_an_unknown_stream_is_not_found(client: httpx.Client, path: str) -> None:
    answer = client.get(path.format(stream="nowhere"))
    assert (answer.status_code, error_code(path, answer)) == (404, "unknown_stream")


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("/api/v1/events", "limit=0"),
        ("/api/v1/events", "limit=many"),
        ("/api/v1/events", "after=-1"),
        ("/api/v1/events/stream", "after=x"),
        ("/api/v1/streams/{stream}/snapshot.jpg", "width=9999"),
        ("/api/v1/streams/{stream}/snapshot.jpg", "annotated=yes"),
        ("/api/v1/streams/{stream}/snapshot.jpg", "wait=nan"),
        ("/live/{stream}", "width=1"),
    ],
)
def test_a_wrong_parameter_is_named(client: httpx.Client, path: str, query: str) -> None:
    answer = client.get(f"{path.format(stream='gate')}?{query}")
    assert (answer.status_code, error_code(path, answer)) == (400, "bad_parameter")
    assert answer.json()["error"]["message"].startswith(query.split("=")[0])


@pytest.mark.parametrize(("method", "path", "code"), [("GET", "/nothing", 404), ("POST", "/api/v1/streams", 405)])
def test_what_is_not_there_is_told_in_json(client: httpx.Client, method: str, path: str, code: int) -> None:
    answer = client.request(method, path)
    assert answer.status_code == code
    assert set(answer.json()["error"]) == {"code", "message"}


def test_events_newest_first_and_after_a_position(client: httpx.Client, board: FakeBoard) -> None:
    for phase in ("start", "update", "end"):
        board.events.add("zone", phase)
    board.events.add("line", "instant", stream="yard")
    newest = client.get("/api/v1/events?limit=2")
    assert [one["id"] for one in check("/api/v1/events", newest)] == ["E0004", "E0003"]
    assert newest.headers["streamvision-position"] == "4"
    later = client.get("/api/v1/events?after=1&limit=2")
    assert [one["id"] for one in check("/api/v1/events", later)] == ["E0002", "E0003"]
    assert later.headers["streamvision-position"] == "3"


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ("stream=yard", ["E0002"]),
        ("type=streamvision.zone", ["E0001"]),
        ("type=zone", ["E0001"]),
        ("after=0&type=line", ["E0002"]),
        ("after=0&type=streamvision.line", ["E0002"]),
        ("after=0&stream=door", []),
    ],
)
def test_events_are_chosen_by_stream_and_type(
    client: httpx.Client, board: FakeBoard, query: str, ids: list[str]
) -> None:
    board.events.add("zone", "start", stream="gate")
    board.events.add("line", "instant", stream="yard")
    answer = client.get(f"/api/v1/events?{query}")
    assert [one["id"] for one in answer.json()] == ids
    assert answer.headers["streamvision-position"] == ("1" if query.startswith("type") else "2")


def test_a_store_that_fails_is_unavailable_and_says_why(client: httpx.Client, board: FakeBoard) -> None:
    board.events.fault = StoreError("the disk is full")
    answer = client.get("/api/v1/events")
    assert (answer.status_code, error_code("/api/v1/events", answer)) == (503, "unavailable")
    assert "the disk is full" in answer.text


def test_a_bug_is_told_without_its_details(client: httpx.Client, board: FakeBoard) -> None:
    board.events.fault = ValueError("rtsp://user:secret@192.0.2.1")
    answer = client.get("/api/v1/events")
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "internal")
    assert "secret" not in answer.text
    assert answer.headers["x-content-type-options"] == "nosniff"


def lines_until(response: httpx.Response, wanted: str) -> list[str]:
    lines = []
    for line in response.iter_lines():
        lines.append(line)
        if wanted in line:
            break
    return lines


def test_events_are_sent_as_they_happen_and_resumed_where_they_were_left(
    client: httpx.Client, board: FakeBoard
) -> None:
    board.events.add()
    with client.stream("GET", "/api/v1/events/stream") as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        board.events.add("line", "instant")
        lines = lines_until(response, "E0002")
    assert "id: 2" in lines
    assert not any("E0001" in line for line in lines), "a new listener hears only what is new"
    with client.stream("GET", "/api/v1/events/stream", headers={"Last-Event-ID": "0"}) as response:
        lines = lines_until(response, "E0002")
    assert [line for line in lines if line.startswith("id:")] == ["id: 1", "id: 2"]


def test_a_listener_hears_only_what_it_asked_for(client: httpx.Client, board: FakeBoard) -> None:
    for stream in ("yard", "gate", "yard"):
        board.events.add(stream=stream)
    with client.stream("GET", "/api/v1/events/stream?after=0&stream=yard") as response:
        lines = lines_until(response, "E0003")
    assert [line for line in lines if line.startswith("id:")] == ["id: 1", "id: 3"]


@pytest.mark.parametrize("annotated", [0, 1])
def test_a_snapshot_is_the_next_analysed_picture(client: httpx.Client, board: FakeBoard, annotated: int) -> None:
    with filming(board, "gate"):
        answer = client.get(f"/api/v1/streams/gate/snapshot.jpg?annotated={annotated}")
    assert answer.headers["content-type"] == "image/jpeg"
    assert answer.content.startswith(JPEG_START)
    assert float(answer.headers["streamvision-media-time"]) > 0
    assert board.live.watchers() == 0


def test_a_snapshot_of_a_dead_stream_ends_in_time(client: httpx.Client, board: FakeBoard) -> None:
    path = "/api/v1/streams/{stream}/snapshot.jpg"
    answer = client.get(path.format(stream="yard") + "?wait=0.1")
    assert (answer.status_code, error_code(path, answer)) == (504, "no_picture")
    assert "stalled" in answer.text
    assert board.live.watchers() == 0


def test_live_is_a_row_of_jpeg_files_and_is_encoded_only_while_watched(client: httpx.Client, board: FakeBoard) -> None:
    with filming(board, "gate") as published:
        with client.stream("GET", "/live/gate?width=320") as response:
            assert response.headers["content-type"].startswith("multipart/x-mixed-replace; boundary=")
            boundary = response.headers["content-type"].partition("boundary=")[2].encode()
            data = b""
            for chunk in response.iter_bytes():
                data += chunk
                if data.count(b"--" + boundary) > 4:
                    break
        parts = data.split(b"--" + boundary + b"\r\n")[1:4]
        for part in parts:
            head, _, body = part.partition(b"\r\n\r\n")
            assert b"Content-Type: image/jpeg" in head
            assert body.startswith(JPEG_START)
            assert len(body) == int(head.partition(b"Content-Length: ")[2]) + 2
        assert len(set(parts)) == 3
        bounded_wait(lambda: board.live.watchers() == 0)
        before = len(published)
        client.get("/healthz")
        assert len(published) <= before + 1


def bounded_wait(condition: Any) -> None:
    pause = threading.Event()
    for _ in range(400):
        if condition():
            return
        pause.wait(0.05)
    pytest.fail("it did not come to that in time")


def test_a_watcher_that_reads_nothing_keeps_nobody_waiting(board: FakeBoard) -> None:
    with serving(board) as base, filming(board, "gate"), httpx.Client(base_url=base, timeout=20) as client:
        port = httpx.URL(base).port
        assert port
        with socket.create_connection(("127.0.0.1", port)) as lazy:
            lazy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
            lazy.sendall(b"GET /live/gate HTTP/1.1\r\nHost: localhost\r\n\r\n")
            bounded_wait(lambda: board.live.watchers() == 1)
            for _ in range(3):
                assert client.get("/api/v1/streams/gate/snapshot.jpg").status_code == 200


def test_a_full_house_is_said_so() -> None:
    board = FakeBoard(status("gate"), max_watchers=1)
    taken = board.live.watch("gate")
    with serving(board) as base:
        for path in ("/live/{stream}", "/api/v1/streams/{stream}/snapshot.jpg"):
            answer = httpx.get(base + path.format(stream="gate"), timeout=20)
            assert (answer.status_code, error_code(path, answer)) == (503, "too_many")
    taken.close()


PRIVATE = (
    "/metrics",
    "/api/v1/streams",
    "/api/v1/events",
    "/live/gate",
    "/api/v1/streams/gate/snapshot.jpg",
    "/nothing",
)
TOKENS = Tokens(admin="alpha", read="beta")


@pytest.fixture(scope="module")
def locked() -> Iterator[str]:
    board = FakeBoard(status("gate"))
    with serving(board, TOKENS) as base, filming(board, "gate"):
        yield base


@pytest.mark.parametrize("path", PRIVATE)
@pytest.mark.parametrize("header", [None, "Bearer gamma", "Bearer", "Basic beta", "beta"])
def test_without_the_right_token_there_is_nothing_to_see(locked: str, path: str, header: str | None) -> None:
    answer = httpx.get(locked + path, headers={"Authorization": header} if header else {}, timeout=20)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.json()["error"]["code"] == "unauthorized"
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("token", ["alpha", "beta"])
def test_either_token_opens_the_reading_side(locked: str, token: str) -> None:
    bearer = {"Authorization": f"Bearer {token}"}
    assert httpx.get(f"{locked}/api/v1/streams", headers=bearer, timeout=20).status_code == 200
    assert httpx.get(f"{locked}/api/v1/streams/gate/snapshot.jpg?token={token}", timeout=20).status_code == 200
    assert httpx.get(f"{locked}/api/v1/streams?token={token}", timeout=20).status_code == 401, "images only"


@pytest.mark.parametrize("path", ["/", "/healthz", "/readyz", "/static/page.js", "/api/v1/openapi.json"])
def test_probes_and_the_empty_page_need_no_token(locked: str, path: str) -> None:
    assert httpx.get(locked + path, timeout=20).status_code == 200


def test_tokens_are_not_told_by_their_repr() -> None:
    assert "alpha" not in repr(TOKENS)
    assert "beta" not in repr(TOKENS)


@pytest.mark.parametrize("path", ["/", "/api/v1/streams", "/nothing", "/static/page.css"])
def test_every_answer_carries_the_security_headers(client: httpx.Client, path: str) -> None:
    headers = client.get(path).headers
    for name, value in HEADERS.items():
        assert headers[name] == value
    assert "server" not in headers


def test_the_pages_files_are_sent_again_only_when_they_have_changed(client: httpx.Client) -> None:
    first = client.get("/static/page.js")
    again = client.get("/static/page.js", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_the_page_refers_to_nothing_outside(client: httpx.Client) -> None:
    for path in ("/", *(f"/static/{name}" for name in ("page.js", "events.js", "words.js", "page.css", "icon.svg"))):
        text = client.get(path).text.replace("http://www.w3.org/2000/svg", "")  # the name of a language, not a place
        assert not re.search(r"""https?:|wss?:|["'(]//|@import""", text)


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


def test_the_frame_age_grows_after_a_camera_has_died(board: FakeBoard) -> None:
    stats = board.metrics.stream("gate")
    assert frame_age_s(stats, 100.0) is None
    stats.last_analysed_s, stats.last_age_s = 100.0, 0.2
    assert frame_age_s(stats, 100.1) == pytest.approx(0.3)
    assert frame_age_s(stats, 160.0) == pytest.approx(60.2)


def test_counts_balance() -> None:
    stats = FakeBoard().metrics.stream("gate")
    stats.decoded, stats.analysed = 10, 4
    stats.skip("rate")
    stats.drop("batch", "late")
    assert Counts.of(stats).as_json() == {"decoded": 10, "analysed": 4, "skipped": 1, "dropped": 1, "in_flight": 4}
