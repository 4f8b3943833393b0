"""What a careful eye has seen in the real videos, as data, and how events are compared with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

FOLDER = Path(__file__).parent / "truth"


def load(name: str) -> dict[str, Any]:
    """The seen truth of a video."""
    found: dict[str, Any] = YAML(typ="safe").load(FOLDER / f"{name}.yaml")
    return found


def points(shape: Sequence[Sequence[float]]) -> str:
    """A zone or line as it stands in a configuration."""
    return str([list(point) for point in shape])


def assert_visits(events: Sequence[Mapping[str, Any]], truth: Mapping[str, Any], *, shift_s: float = 0.0) -> None:
    """Exactly the seen visits: as many starts as ends, one happening each, dwell within a second of what was seen."""
    starts = [event for event in events if event["type"] == "streamvision.zone.start"]
    ends = [event for event in events if event["type"] == "streamvision.zone.end"]
    visits = truth["visits"]
    assert [len(starts), len(ends)] == [len(visits), len(visits)]
    assert [event["data"]["event"] for event in starts] == [event["data"]["event"] for event in ends]
    for end, seen in zip(ends, visits, strict=True):
        assert end["data"]["track"]["class"] == "person"
        dwell_s = end["data"]["evidence"]["dwell_s"]
        assert abs(dwell_s - (seen["leave_s"] - seen["enter_s"])) <= 1.0, seen["who"]
        assert abs(end["data"]["media_s"] + shift_s - seen["leave_s"]) <= 1.5, seen["who"]
