"""The ``demo:`` sources: live cameras in worlds that the program draws, encodes and reads back."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import Annotated
from urllib.parse import parse_qsl, urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from streamvision.capture.demux import Demuxer, Medium
from streamvision.capture.film import FilmSpec, LiveFilm, Painter
from streamvision.clock import Clock
from streamvision.errors import CaptureError, EndOfStream, SourceNotFound, UsageError
from streamvision.interfaces import SourcePicture

_SCENES: dict[str, tuple[str, tuple[int, int]]] = {
    "street": ("streamvision.capture.street.render", (960, 540)),
    "drive": ("streamvision.capture.drive.journey", (640, 360)),
}
"""Each scene's module, which has its `Painter`, and the size that it is drawn in unless another is asked for."""
_SIZES = {"360p": (640, 360), "540p": (960, 540), "720p": (1280, 720), "1080p": (1920, 1080)}
_PROBE = {"probesize": "20000", "analyzeduration": "0"}
_OPEN_S, _READ_S = 30.0, 10.0
"""Painting what never moves takes a second or two before the first picture."""


class DemoOptions(BaseModel):
    """What a drawn world looks like and how it is filmed; the same keys may stand in the URL, where they win."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = 1
    size: tuple[int, int] | None = None
    """Picture size; None: the scene's own (street 960x540, drive 640x360)."""
    fps: Annotated[float, Field(ge=1, le=120)] = 12.5
    start: Annotated[float, Field(ge=0, le=1e7)] = 0.0
    """The world's own time of the first picture, in seconds."""

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
    def _filmable(cls, size: tuple[int, int] | None) -> tuple[int, int] | None:
        if size is not None and any(side % 2 or not 96 <= side <= 3840 for side in size):
            raise ValueError(f"both sides must be even and from 96 to 3840, not {size[0]}x{size[1]}")
        return size

    def spec(self, scene: str) -> FilmSpec:
        """Return what is to be filmed of a scene."""
        return FilmSpec(self.seed, self.size or _SCENES[scene][1], self.fps, self.start)


def parse_demo_url(url: str, options: DemoOptions | None = None) -> tuple[str, DemoOptions]:
    """Return the scene's name and the options of ``demo:street?seed=3&size=1280x720&fps=25``.

    Raises `SourceNotFound` for a scene that there is not, `UsageError` for a key or value that is wrong.
    """
    parts = urlsplit(url)
    if parts.path not in _SCENES:
        known = " or ".join(f"demo:{name}" for name in _SCENES)
        raise SourceNotFound(f"there is no scene called {parts.path!r}", where=url, remedy=f"write {known}")
    pairs = parse_qsl(parts.query, keep_blank_values=True)
    given = options.model_dump(exclude_unset=True) if options else {}
    try:
        return parts.path, DemoOptions.model_validate(given | dict(pairs))
    except ValidationError as error:
        raise UsageError(
            _complaint(error), where=url, remedy=f"known: {', '.join(DemoOptions.model_fields)}"
        ) from error


def _complaint(error: ValidationError) -> str:
    first = error.errors()[0]
    if first["type"] == "extra_forbidden":
        return f"{first['loc'][0]}: unknown key"
    return f"{first['loc'][0]}: {first['msg'].removeprefix('Value error, ')}"


def _painter(scene: str) -> Callable[[int, tuple[int, int]], Painter]:
    """Import and return a scene's painter."""
    made: Callable[[int, tuple[int, int]], Painter] = importlib.import_module(_SCENES[scene][0]).Painter
    return made


class DemoSource:
    """A live source; see `DemoOptions` for what the URL may say. What it films goes through a real demuxer."""

    Options = DemoOptions
    live = True

    @staticmethod
    def check_url(url: str, options: DemoOptions) -> None:
        """Raise a `UsageError` for a world that cannot be drawn, `SourceNotFound` for an unknown scene."""
        parse_demo_url(url, options)

    def __init__(self, url: str, options: DemoOptions, clock: Clock) -> None:
        self._scene, chosen = parse_demo_url(url, options)
        self._spec = chosen.spec(self._scene)
        self._clock = clock
        self._film: LiveFilm | None = None
        self._demuxer: Demuxer | None = None

    def open(self) -> None:
        """Start filming and find the video in what comes. Raises a `CaptureError`."""
        self.close()
        self._film = LiveFilm(self._scene, _painter(self._scene), self._spec, self._clock)
        medium = Medium(f"pipe:{self._film.reader}", _OPEN_S, _READ_S, live=True, format="matroska", options=_PROBE)
        self._demuxer = Demuxer(medium, self._clock)
        try:
            self._demuxer.open()
        except CaptureError:
            self.close()
            raise

    def read(self) -> Sequence[SourcePicture]:
        """Wait for the next picture. Raises `EndOfStream` when the source is closed, or a `CaptureError`."""
        if self._demuxer is None:
            raise EndOfStream(f"the {self._scene} is not being filmed", where=f"demo:{self._scene}")
        return self._demuxer.read()

    def close(self) -> None:
        """Stop filming; free the decoder, the pipe and the thread. Idempotent."""
        if self._demuxer is not None:
            self._demuxer.close()
            self._demuxer = None
        if self._film is not None:
            self._film.close()
            self._film = None
