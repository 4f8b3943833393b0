from __future__ import annotations

import io
import json
import re
from pathlib import Path

import pytest

from streamvision.errors import SinkError
from streamvision.interfaces import SinkContext
from streamvision.sinks.stdout import StdoutSink, readable
from tests.sinks.test_jsonl import stored

CONTEXT = SinkContext("terminal", Path("/nowhere"))


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def written(format_: str, stream: io.StringIO) -> str:
    StdoutSink(StdoutSink.Options(format=format_), CONTEXT, stream).deliver(stored(1, 2))
    return stream.getvalue()


@pytest.mark.parametrize(
    ("format_", "stream", "is_json", "is_coloured"),
    [
        ("auto", io.StringIO, True, False),
        ("auto", Terminal, False, True),
        ("json", Terminal, True, False),
        ("text", io.StringIO, False, False),
    ],
)
def test_formats(format_, stream, is_json, is_coloured):
    text = written(format_, stream())
    assert len(text.splitlines()) == 2
    assert ("\x1b[" in text) == is_coloured
    assert text.startswith("{") == is_json
    if is_json:
        assert [json.loads(line)["specversion"] for line in text.splitlines()] == ["1.0", "1.0"]


def test_a_readable_line():
    line = readable(stored(1)[0].json)
    assert re.match(r"2026-01-0\d \d\d:\d\d:06\.678  gate/intruder +zone.start +person #17 0.83  ", line)
    assert line.endswith("zone=yard  dwell_s=2.04  min_dwell_s=2")


def test_nobody_reads():
    stream = io.StringIO()
    sink = StdoutSink(StdoutSink.Options(), CONTEXT, stream)
    stream.close()
    with pytest.raises(SinkError):
        sink.deliver(stored(1))
    sink.close()
