from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from streamvision.errors import SinkError
from streamvision.interfaces import SinkContext, StoredEvent
from streamvision.sinks.cloudevents import to_json, type_of
from streamvision.sinks.jsonl import JsonlSink
from tests.sinks.samples import event, number_of


def stored(*numbers: int) -> list[StoredEvent]:
    return [
        StoredEvent(number, one.id, one.stream, type_of(one), datetime.now(UTC), to_json(one, "h"))
        for number in numbers
        for one in [event(number)]
    ]


def sink_at(folder: Path, path: str = "logs/events.jsonl") -> JsonlSink:
    return JsonlSink(JsonlSink.Options(path=path), SinkContext("log", folder))


def lines(path: Path) -> list[int]:
    text = path.read_text("utf-8")
    assert text == "" or text.endswith("\n")
    return [number_of(line) for line in text.splitlines()]


def test_events_become_lines(tmp_path):
    sink = sink_at(tmp_path)
    sink.deliver(stored(1, 2))
    sink.deliver(stored(3))
    sink.close()
    sink.close()
    assert lines(tmp_path / "logs/events.jsonl") == [1, 2, 3]


def test_an_absolute_path_is_left_alone(tmp_path):
    sink = sink_at(tmp_path / "state", str(tmp_path / "a.jsonl"))
    sink.deliver(stored(1))
    sink.close()
    assert lines(tmp_path / "a.jsonl") == [1]


@pytest.mark.parametrize(
    "torn", ['{"specversion": "1.0", "id": "01K0', '{"a": "ü'.encode()[:-1].decode("latin-1"), "\x00\x00\x00"]
)
def test_a_torn_line_is_cut_off_and_what_was_written_is_not_repeated(tmp_path, torn):
    path = tmp_path / "events.jsonl"
    sink = sink_at(tmp_path, "events.jsonl")
    sink.deliver(stored(1, 2, 3))
    sink.close()
    with path.open("a", encoding="latin-1") as file:
        file.write(torn)

    again = sink_at(tmp_path, "events.jsonl")
    again.deliver(stored(2, 3, 4, 5))  # the cursor stood at 1 when the power failed
    again.close()
    assert lines(path) == [1, 2, 3, 4, 5]


def test_a_line_that_lost_its_newline_is_written_again(tmp_path):
    path = tmp_path / "events.jsonl"
    path.write_text(stored(1)[0].json + "\n" + stored(2)[0].json)
    sink = sink_at(tmp_path, "events.jsonl")
    sink.deliver(stored(2, 3))
    sink.close()
    assert lines(path) == [1, 2, 3]


def test_a_rotated_file_is_replaced(tmp_path):
    path = tmp_path / "events.jsonl"
    sink = sink_at(tmp_path, "events.jsonl")
    sink.deliver(stored(1))
    os.rename(path, tmp_path / "events.jsonl.1")
    sink.deliver(stored(2))
    path.unlink()
    sink.deliver(stored(3))
    sink.close()
    assert lines(tmp_path / "events.jsonl.1") == [1]
    assert lines(path) == [3]


def test_a_truncated_file_goes_on_at_its_new_end(tmp_path):
    path = tmp_path / "events.jsonl"
    sink = sink_at(tmp_path, "events.jsonl")
    sink.deliver(stored(1, 2))
    os.truncate(path, 0)
    sink.deliver(stored(3))
    sink.close()
    assert lines(path) == [3]


def test_a_full_disk_is_a_failure_and_then_goes_on(tmp_path):
    full = sink_at(tmp_path, "/dev/full")
    with pytest.raises(SinkError) as caught:
        full.deliver(stored(1))
    assert caught.value.reason == "disk"
    assert not caught.value.permanent

    (tmp_path / "state").write_text("in the way")
    sink = sink_at(tmp_path / "state")
    with pytest.raises(SinkError):
        sink.deliver(stored(1))
    (tmp_path / "state").unlink()
    sink.deliver(stored(1))
    sink.close()
    assert lines(tmp_path / "state/logs/events.jsonl") == [1]


@pytest.mark.parametrize("content", [b"SQLite format 3\x00 and so on", b"\n", b"name;value\n1;2"])
def test_a_file_of_something_else_is_left_alone(tmp_path, content):
    path = tmp_path / "events.jsonl"
    path.write_bytes(content)
    sink = sink_at(tmp_path, "events.jsonl")
    with pytest.raises(SinkError, match="something else than events") as caught:
        sink.deliver(stored(1))
    assert (caught.value.reason, caught.value.permanent) == ("file", False)
    assert path.read_bytes() == content
    path.unlink()
    sink.deliver(stored(1))
    sink.close()
    assert lines(path) == [1]


def test_two_sinks_never_write_one_file(tmp_path):
    path = tmp_path / "events.jsonl"
    first, second = sink_at(tmp_path, "events.jsonl"), sink_at(tmp_path, str(path))
    first.deliver(stored(1))
    with path.open("ab") as file:
        file.write(b'{"half')  # what the second would take for a torn line
    with pytest.raises(SinkError, match="another sink or daemon"):
        second.deliver(stored(2))
    assert path.read_bytes().endswith(b'{"half')
    first.close()
    second.deliver(stored(2))
    second.close()
    assert lines(path) == [1, 2]
