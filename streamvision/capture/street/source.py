"""The ``demo:street`` source: a live camera above a street that the program draws, encodes and reads back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated
from urllib.parse import parse_qsl, urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from streamvision.capture.demux import Demuxer, Medium
from streamvision.capture.street.encode import LiveStreet, StreetSpec
from streamvision.clock import Clock
from streamvision.errors import CaptureError, EndOfStream, SourceNotFound, UsageError
from streamvision.interfaces import SourcePicture

_SIZES = {"360p": (640, 360), "540p": (960, 540), "720p": (1280, 720), "1080p": (1920, 1080)}
_PROBE = {"probesize": "20000", "analyzeduration": "0"}
_OPEN_S, _READ_S = 30.0, 10.0
"""Painting the empty street takes a second or two before the first picture."""


class StreetOptions(BaseModel):
    """What the street looks like and how it is filmed; the same keys may stand in the URL, where they win."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = 1
    size: tuple[int, int] = (960, 540)
    fps: Annotated[float, Field(ge=1, le=120)] = 12.5
    start: Annotated[float, Field(ge=0, le=1e7)] = 0.0
    """The street's own time of the first picture, in seconds."""

    @field_validator("size", mode="before")
    @classmethod
    def _sides(cls, value: object) -> object:
        if isinstance(value, str):
            sides = _SIZES.get(value) or tuple(value.lower().split("x"))
            if len(sides) != 2 or not all(str(side).isdigit() for side in sides):
                raise ValueError(f"a size is WIDTHxHEIGHT or one of {', '.join(_SIZES)}, not {value!r}")
            return tuple(int(side) for side in sides)
        return value

    @field_validator("size")
    @classmethod
    def _filmable(cls, size: tuple[int, int]) -> tuple[int, int]:
        if any(side % 2 or not 96 <= side <= 3840 for side in size):
            raise ValueError(f"both sides must be even and from 96 to 3840, not {size[0]}x{size[1]}")
        return size

    def spec(self) -> StreetSpec:
        """Return what is to be filmed."""
        return StreetSpec(self.seed, self.size, self.fps, self.start)


def parse_street_url(url: str, options: StreetOptions | None = None) -> StreetOptions:
    """Return the options of ``demo:street?seed=3&size=1280x720&fps=25``.

    Raises `SourceNotFound` for another scene than the street, `UsageError` for a key or value that is wrong.
    """
    parts = urlsplit(url)
    if parts.path != "street":
        raise SourceNotFound(f"there is no scene called {parts.path!r}", where=url, remedy="write demo:street")
    pairs = parse_qsl(parts.query, keep_blank_values=True)
    given = options.model_dump(exclude_unset=True) if options else {}
    try:
        return StreetOptions.model_validate(given | dict(pairs))
    except ValidationError as error:
        raise UsageError(
            _complaint(error), where=url, remedy=f"known: {', '.join(StreetOptions.model_fields)}"
        ) from error


def _complaint(error: ValidationError) -> str:
    first = error.errors()[0]
    if first["type"] == "extra_forbidden":
        return f"{first['loc'][0]}: unknown key"
    return f"{first['loc'][0]}: {first['msg'].removeprefix('Value error, ')}"


class StreetSource:
    """A live source; see `StreetOptions` for what the URL may say. What it films goes through a real demuxer."""

    Options = StreetOptions
    live = True

    @staticmethod
    def check_url(url: str, options: StreetOptions) -> None:
        """Raise a `UsageError` for a street that cannot be drawn, `SourceNotFound` for another scene."""
        parse_street_url(url, options)

    def __init__(self, url: str, options: StreetOptions, clock: Clock) -> None:
        self._spec = parse_street_url(url, options).spec()
        self._clock = clock
        self._street: LiveStreet | None = None
        self._demuxer: Demuxer | None = None

    def open(self) -> None:
        """Start filming and find the video in what comes. Raises a `CaptureError`."""
        self.close()
        self._street = LiveStreet(self._spec, self._clock)
        medium = Medium(f"pipe:{self._street.reader}", _OPEN_S, _READ_S, live=True, format="matroska", options=_PROBE)
        self._demuxer = Demuxer(medium, self._clock)
        try:
            self._demuxer.open()
        except CaptureError:
            self.close()
            raise

    def read(self) -> Sequence[SourcePicture]:
        """Wait for the next picture. Raises `EndOfStream` when the source is closed, or a `CaptureError`."""
        if self._demuxer is None:
            raise EndOfStream("the street is not being filmed", where="demo:street")
        return self._demuxer.read()

    def close(self) -> None:
        """Stop filming; free the decoder, the pipe and the thread. Idempotent."""
        if self._demuxer is not None:
            self._demuxer.close()
            self._demuxer = None
        if self._street is not None:
            self._street.close()
            self._street = None
