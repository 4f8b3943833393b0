"""Spans of time as people write them: ``500ms``, ``2s``, ``5m``, ``1h``, ``30d``."""

from __future__ import annotations

import math
import re
from typing import Annotated

from pydantic import BeforeValidator, Field, WithJsonSchema

_UNIT_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SPAN = re.compile(r"\s*(\d+(?:\.\d+)?|\.\d+)\s*(ms|s|m|h|d)\s*")
_PATTERN = r"^\s*([0-9]+(\.[0-9]+)?|\.[0-9]+)\s*(ms|s|m|h|d)\s*$"


def parse_seconds(text: str) -> float:
    """Return the seconds that a span such as ``500ms`` or ``1.5h`` stands for.

    Raises `ValueError`, which says what a span looks like.
    """
    found = _SPAN.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is not a span of time; write it like 500ms, 2s, 5m, 1h or 30d")
    return float(found[1]) * _UNIT_S[found[2]]


def format_seconds(seconds: float) -> str:
    """Return a span in the largest unit that gives a whole number, else in seconds."""
    for unit in ("d", "h", "m", "s", "ms"):
        count = seconds / _UNIT_S[unit]
        if count >= 1 and math.isclose(count, round(count), rel_tol=1e-9):
            return f"{round(count)}{unit}"
    return f"{seconds:g}s"


def _seconds(value: object) -> float:
    """Accept a span as text, or a number of seconds."""
    if isinstance(value, str):
        return parse_seconds(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("expected a span of time like 500ms, 2s or 5m")
    if not math.isfinite(value) or value < 0:
        raise ValueError(f"a span of time is finite and not negative, not {value}")
    return float(value)


Seconds = Annotated[
    float,
    BeforeValidator(_seconds),
    Field(description="a span of time: 500ms, 2s, 5m, 1h, 30d; a bare number is seconds"),
    WithJsonSchema({"anyOf": [{"type": "string", "pattern": _PATTERN}, {"type": "number", "minimum": 0}]}),
]
"""A span of time; written with its unit in a file, seconds as a float in the program."""

PositiveSeconds = Annotated[Seconds, Field(gt=0)]
"""A span of time that is not empty, such as a deadline."""
