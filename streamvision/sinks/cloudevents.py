"""Event -> CloudEvents 1.0 in JSON (cloudevents.io/spec 1.0, structured mode): the same text in every sink."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from streamvision.types import Attribute, Event, TrackRef

_PLACES = 3
_PIXEL_PLACES = 1


def type_of(event: Event) -> str:
    """Return the CloudEvents type, for example ``streamvision.zone.start``."""
    return f"streamvision.{event.kind}.{event.phase}"


def rfc3339(time: datetime) -> str:
    """Return an aware time as UTC with milliseconds and a ``Z``."""
    return time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def to_cloudevent(event: Event, host: str) -> dict[str, Any]:
    """Return the CloudEvent as JSON-ready values, keys in the contract's order."""
    return {
        "specversion": "1.0",
        "id": event.id,
        "source": f"streamvision/{host}/{event.stream}",
        "type": type_of(event),
        "time": rfc3339(event.time),
        "subject": f"{event.stream}/{event.rule}",
        "datacontenttype": "application/json",
        "data": _data(event),
    }


def to_json(event: Event, host: str) -> str:
    """Return the CloudEvent as one line of JSON without its newline.

    What UTF-8 cannot say, as in a file's name that was never text, becomes a question mark.
    """
    text = json.dumps(to_cloudevent(event, host), ensure_ascii=False, separators=(", ", ": "), allow_nan=False)
    return text.encode(errors="replace").decode()


def _data(event: Event) -> dict[str, Any]:
    data: dict[str, Any] = {
        "stream": event.stream,
        "rule": event.rule,
        "phase": str(event.phase),
        "event": event.happening,
        "media_s": _number(event.media_s),
        "clock": {"source": str(event.clock), "uncertainty_s": _number(event.uncertainty_s)},
    }
    if event.track is not None:
        data["track"] = _track(event.track)
        if event.track.polygon is not None:
            data["track"]["polygon"] = [[_number(at, _PIXEL_PLACES) for at in point] for point in event.track.polygon]
        if event.track.attributes:
            data["track"]["attributes"] = _attributes(event.track.attributes)
    data |= {str(key): _plain(value) for key, value in event.data.items() if value is not None and key not in data}
    data["evidence"] = _plain(event.evidence)
    return data


def _track(track: TrackRef) -> dict[str, Any]:
    return {
        "id": int(track.id),
        "class": track.class_name,
        "score": _number(track.score),
        "xyxy": [_number(value, _PIXEL_PLACES) for value in track.xyxy],
        "velocity": [_number(value, _PIXEL_PLACES) for value in track.velocity],
    }


def _attributes(attributes: Mapping[str, Attribute]) -> dict[str, Any]:
    return {
        name: {"value": said.value, "share": _number(said.share), "votes": said.votes}
        for name, said in attributes.items()
    }


def _number(value: float, places: int = _PLACES) -> float | None:
    """Round; what is not finite has no JSON and becomes null."""
    number = float(value)
    return round(number, places) + 0.0 if math.isfinite(number) else None


def _plain(value: Any) -> Any:
    """Return JSON-ready values: rules may quote numpy numbers and arrays, times, enumerations, tuples."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, datetime):
        return rfc3339(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items() if item is not None}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in value]
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    return str(value)
