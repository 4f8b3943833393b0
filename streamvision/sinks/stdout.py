"""Events on standard output: a readable line for people, JSON for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from datetime import datetime
from typing import Any, ClassVar, Literal, TextIO

from pydantic import BaseModel, ConfigDict, Field

from streamvision.errors import SinkError
from streamvision.interfaces import SinkContext, StoredEvent

_ENVELOPE = frozenset({"stream", "rule", "phase", "event", "media_s", "clock", "track", "evidence"})
_COLOURS = {"start": "32", "update": "36", "end": "33", "instant": "35"}


class StdoutOptions(BaseModel):
    """Options of the sink ``stdout``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["auto", "json", "text"] = Field(
        "auto", description="text: a readable line; json: the CloudEvent; auto: text on a terminal, json elsewhere"
    )


class StdoutSink:
    """Writes each event as one line."""

    Options: ClassVar[type[StdoutOptions]] = StdoutOptions

    def __init__(self, options: StdoutOptions, context: SinkContext, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stdout
        self._text = options.format == "text" or (options.format == "auto" and self._stream.isatty())
        self._coloured = self._text and self._stream.isatty()

    def deliver(self, events: Sequence[StoredEvent]) -> None:
        """Write and flush. Raises `SinkError` (reason ``closed``) when nobody reads any more."""
        lines = (readable(event.json, coloured=self._coloured) if self._text else event.json for event in events)
        try:
            self._stream.write("".join(f"{line}\n" for line in lines))
            self._stream.flush()
        except (OSError, ValueError) as error:
            raise SinkError(f"standard output cannot be written: {error}", reason="closed") from error

    def close(self) -> None:
        """Leave standard output open for others."""


def readable(text: str, *, coloured: bool = False) -> str:
    """Return a CloudEvent as a line for people: local time, stream, rule, what, who, and what was measured.

    One that is not what it should be (a store that somebody else has written to) is shown as it stands.
    """
    try:
        return _line(json.loads(text), coloured=coloured)
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
        return _printable(text)


def _line(event: dict[str, Any], *, coloured: bool) -> str:
    data: dict[str, Any] = event["data"]
    what = event["type"].removeprefix("streamvision.")
    when = datetime.fromisoformat(event["time"]).astimezone().isoformat(" ", "milliseconds")
    subject = _printable(event["subject"])
    parts = [when[:23], f"{subject:<20}", _painted(f"{_printable(what):<12}", data["phase"], coloured=coloured)]
    if track := data.get("track"):
        parts.append(f"{_printable(track['class'])} #{track['id']} {track['score'] or 0:.2f}")
    details = {key: value for key, value in data.items() if key not in _ENVELOPE} | data["evidence"]
    parts += [f"{key}={_short(value)}" for key, value in details.items()]
    return "  ".join(parts)


def _painted(text: str, phase: str, *, coloured: bool) -> str:
    return f"\x1b[{_COLOURS.get(phase, '0')}m{text}\x1b[0m" if coloured else text


def _short(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else _printable(str(value))


def _printable(text: str) -> str:
    """Return a text without what would command the terminal: a class may have any name."""
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)
