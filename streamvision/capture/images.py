"""Folders of pictures, as if they were a video."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Final, Literal

import cv2
import numpy as np
import structlog
from pydantic import BaseModel, ConfigDict, Field

from streamvision.capture.allowed import MAX_PIXELS
from streamvision.capture.picture import ArrayPicture
from streamvision.clock import Clock
from streamvision.config.sources import local_path
from streamvision.errors import EndOfStream, SourceNotFound
from streamvision.header import read_header, tiff_wh
from streamvision.interfaces import SourcePicture
from streamvision.types import UInt8

log = structlog.get_logger()

SUFFIXES: Final = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"})

_UNREADABLE: Final = ArrayPicture(np.zeros((1, 1, 3), np.uint8))


class ImageFolderSource:
    """The pictures of a folder, of a glob such as ``shots/*.png``, or a single one, in natural order (2 before 10).

    Every picture is one frame, 8 bits per channel and turned upright by its EXIF data. One that cannot be read is a
    corrupt frame, not the end.
    """

    class Options(BaseModel):
        """``rate``: how many pictures make a second of media time; ``loop`` and ``pace`` as for video files."""

        model_config = ConfigDict(frozen=True, extra="forbid")

        rate: float = Field(default=1.0, gt=0, le=1000)
        loop: bool = False
        pace: Literal["realtime", "fast"] = "fast"

    live: ClassVar[bool] = False

    def __init__(self, url: str, options: Options, clock: Clock) -> None:
        """``url``: a path or glob, or the same behind ``file:`` or ``images:``."""
        self.paths: tuple[Path, ...] = ()
        """The pictures in their order, known after `open`."""
        self._place = str(local_path(url))
        self._options = options
        self._clock = clock
        self._next = 0

    def open(self) -> None:
        """List the pictures. Raises `SourceNotFound` if there are none."""
        try:
            self.paths = find_pictures(self._place)
        except (OSError, ValueError) as error:  # ValueError: a name that no file can have
            why = getattr(error, "strerror", None) or str(error)
            raise SourceNotFound(f"it cannot be looked into: {why}", where=self._place) from error
        self._next = 0
        if not self.paths:
            kinds = ", ".join(sorted(SUFFIXES))
            raise SourceNotFound("there are no pictures", where=self._place, remedy=f"expected files in {kinds}")

    def read(self) -> Sequence[SourcePicture]:
        """Return the next picture. Raises `EndOfStream` after the last one."""
        if self._next >= len(self.paths):
            raise EndOfStream("all pictures have been read", where=self._place)
        index, self._next = self._next, self._next + 1
        received_s = self._clock.monotonic()
        rgb = read_picture(self.paths[index])
        if rgb is None:
            log.warning("unreadable picture", path=str(self.paths[index]))
        picture = _UNREADABLE if rgb is None else ArrayPicture(rgb)
        return [SourcePicture(picture, index / self._options.rate, received_s, corrupt=rgb is None)]

    def close(self) -> None:
        """Nothing is held open."""


def find_pictures(place: str) -> tuple[Path, ...]:
    """Return the picture files of a folder, a glob or a single path, in natural order."""
    if os.path.isdir(place):
        found = [entry.path for entry in os.scandir(place)]
    elif os.path.exists(place):
        found = [place]
    else:
        found = glob.glob(place, recursive=True)
    pictures = (Path(path) for path in found if Path(path).suffix.lower() in SUFFIXES and os.path.isfile(path))
    return tuple(sorted(pictures, key=_natural))


def read_picture(path: Path) -> UInt8 | None:
    """Return a picture file as (h,w,3) RGB, upright; None if it cannot be read or decoded, or is absurdly large."""
    if _claimed_pixels(path) > MAX_PIXELS:  # asked before a decoder believes it: the memory would be gone
        return None
    try:
        bgr = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR)
    except (OSError, cv2.error):
        return None
    return None if bgr is None else np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB))


def _claimed_pixels(path: Path) -> int:
    header = read_header(path)
    width, height = header.size_wh if header else tiff_wh(path) or (0, 0)
    return width * height


def _natural(path: Path) -> tuple[tuple[int, str], ...]:
    """Return a sort key in which numbers count as numbers."""
    parts = re.findall(r"(\d+)|(\D+)", str(path))
    return tuple((int(number) if number else -1, text.lower()) for number, text in parts)
