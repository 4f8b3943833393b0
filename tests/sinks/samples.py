"""Events and sinks for the tests of this folder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from streamvision.config import load_settings
from streamvision.errors import ConfigError
from streamvision.interfaces import StoredEvent
from streamvision.types import ClockSource, Event, Phase, TrackRef

START = datetime(2026, 1, 2, 3, 4, 5, 678000, UTC)


def event(number: int, **changes: Any) -> Event:
    """Return an event whose id tells its number."""
    given: dict[str, Any] = {
        "id": f"01K{number:023d}",
        "kind": "zone",
        "phase": Phase.START,
        "stream": "gate",
        "rule": "intruder",
        "happening": f"01K{number:023d}",
        "media_s": 12.48,
        "time": START + timedelta(seconds=number),
        "clock": ClockSource.RTCP,
        "uncertainty_s": 0.02,
        "track": TrackRef(17, "person", 0.83, (100.0, 80.5, 160.2, 240.0), (3.1, -0.2)),
        "data": {"zone": "yard"},
        "evidence": {"dwell_s": 2.04, "min_dwell_s": 2.0},
    }
    return Event(**(given | changes))


def number_of(text: str) -> int:
    """Return the number in the id of a CloudEvent in JSON."""
    return int(json.loads(text)["id"].removeprefix("01K"))


def said_of(folder: Path, kind: str, options: str) -> str:
    """Return what check says, at its place, of the one mistake in a sink's options, with braces or without."""
    options = options[1:-1] if options.startswith("{") else options
    path = folder / "c.yaml"
    path.write_text(f"streams: [{{id: a, url: 'demo:street'}}]\nsinks:\n  - {{name: h, type: {kind}, {options}}}\n")
    with pytest.raises(ConfigError) as caught:
        load_settings(path)
    [problem] = caught.value.problems
    assert problem.line == 3
    return f"{problem.message} {problem.remedy}"


class ScriptedSink:
    """Takes events, or raises the next error of its script first."""

    def __init__(self, script: Sequence[Exception | None] = ()) -> None:
        self.taken: list[int] = []
        self.batches: list[int] = []
        self.closed = False
        self._script = list(script)

    def deliver(self, events: Sequence[StoredEvent]) -> None:
        trouble = self._script.pop(0) if self._script else None
        if trouble is not None:
            raise trouble
        self.taken += [number_of(one.json) for one in events]
        self.batches.append(len(events))

    def close(self) -> None:
        self.closed = True
