"""Every path over a real socket, held against the OpenAPI document."""

from __future__ import annotations

import json
import re
import socket

import httpx
import pytest
from jsonschema import Draft202012Validator
from prometheus_client.parser import text_string_to_metric_families
from starlette.routing import Route

from streamvision.web import Counts, EngineReadiness, EventExplanation, create_app, frame_age_s
from streamvision.web.openapi import document
from tests.web.answers import bounded_wait, check, error_code
from tests.web.fakes import FakeBoard, filming, serving, status

JPEG_START = b"\xff\xd8\xff"


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


def test_the_pages_files_are_sent_again_only_when_they_have_changed(client: httpx.Client) -> None:
    first = client.get("/static/page.js")
    again = client.get("/static/page.js", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_the_page_refers_to_nothing_outside(client: httpx.Client) -> None:
    for path in ("/", *(f"/static/{name}" for name in ("page.js", "events.js", "words.js", "page.css", "icon.svg"))):
        text = client.get(path).text.replace("http://www.w3.org/2000/svg", "")  # the name of a language, not a place
        assert not re.search(r"""https?:|wss?:|["'(]//|@import""", text)


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
