"""Events over HTTP: the newest, those after a position, and as they happen."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from streamvision.clock import SystemClock
from streamvision.errors import StoreError
from streamvision.interfaces import MAX_POSITION
from streamvision.sinks.store import EventStore
from tests.sinks.samples import event
from tests.web.answers import check, error_code
from tests.web.fakes import FakeBoard


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


@pytest.mark.parametrize("query", [f"after={MAX_POSITION}", f"after={MAX_POSITION - 1}", "after=1&type=nothing"])
def test_a_real_store_is_asked_for_any_position(
    client: httpx.Client, board: FakeBoard, query: str, tmp_path: Path
) -> None:
    store = EventStore(tmp_path / "events.db", SystemClock())
    try:
        store.append([event(1)])
        store.flush()
        board.events = store.visitors  # type: ignore[assignment]
        answer = client.get(f"/api/v1/events?{query}")
        assert (answer.status_code, answer.json()) == (200, [])
        assert answer.headers["streamvision-position"] == query.removeprefix("after=").partition("&")[0]
        assert len(client.get("/api/v1/events?after=0").json()) == 1
    finally:
        store.close()


@pytest.mark.parametrize("path", ["/api/v1/events", "/api/v1/events/stream"])
@pytest.mark.parametrize("position", [str(MAX_POSITION + 1), "9" * 25, "9" * 4000, "1e3", ""])
def test_a_position_that_is_none_is_refused(client: httpx.Client, path: str, position: str) -> None:
    answer = client.get(f"{path}?after={position}")
    assert (answer.status_code, error_code(path, answer)) == (400, "bad_parameter")


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


@pytest.mark.parametrize("last", ["x", "-1", "", "1.5", "9" * 25, "9" * 5000, str(MAX_POSITION), "77"])
@pytest.mark.parametrize(("query", "ids"), [("", ["2"]), ("?after=0", ["1", "2"])])
def test_a_last_event_id_that_the_store_never_gave_leaves_nobody_deaf(
    client: httpx.Client, board: FakeBoard, last: str, query: str, ids: list[str]
) -> None:
    """A browser keeps sending it, also to a store that has begun anew, and does not ask again where it is refused."""
    board.events.add()
    with client.stream("GET", f"/api/v1/events/stream{query}", headers={"Last-Event-ID": last}) as response:
        assert response.status_code == 200
        board.events.add("line", "instant")
        lines = lines_until(response, "E0002")
    beyond = last.isdecimal() and int(last[:20]) <= MAX_POSITION
    assert [line.removeprefix("id: ") for line in lines if line.startswith("id:")] == (["2"] if beyond else ids)
