"""The street as a film with its truth."""

from __future__ import annotations

from pathlib import Path

from streamvision.capture.film import FilmSpec, write_film
from streamvision.capture.street.render import Painter
from streamvision.capture.street.truth import StreetTruth


def write_street(
    path: str | Path, seed: int = 1, seconds: float = 60.0, size_wh: tuple[int, int] = (960, 540), fps: float = 15.0,
    start_s: float = 0.0,
) -> StreetTruth:  # fmt: skip
    """Film a street into an MP4 file as fast as possible; return the truth of what it shows."""
    write_film(path, Painter(seed, size_wh), FilmSpec(seed, size_wh, fps, start_s), seconds)
    return StreetTruth(seed, size_wh, start_s)
