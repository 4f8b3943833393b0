"""Where tracks have been in the last seconds."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamvision.types import Analysis


@dataclass(frozen=True, slots=True, eq=False)
class Trail:
    """A track's recent anchor points; ``rows`` are (media_s, x, y) in source px, oldest first.

    Arrays are made only when it is drawn, so that taking a snapshot costs the analysis thread next to nothing.
    """

    track_id: int
    now_s: float
    rows: tuple[tuple[float, float, float], ...]

    @property
    def points(self) -> NDArray[np.float32]:
        """The anchor points (N,2) in source px, oldest first."""
        return np.asarray([row[1:] for row in self.rows], np.float32)

    @property
    def age_s(self) -> NDArray[np.float32]:
        """How long ago each point was the present one, in seconds (N,)."""
        return np.asarray([self.now_s - row[0] for row in self.rows], np.float32)


class Trails:
    """The bottom centres of every visible track over the last ``keep_s`` seconds of media time. One stream's."""

    def __init__(self, keep_s: float = 3.0) -> None:
        self.keep_s = keep_s
        self._points: dict[int, deque[tuple[float, float, float]]] = {}
        self._now_s = 0.0

    def update(self, analysis: Analysis) -> None:
        """Take one picture's tracks and forget what is too old."""
        self._now_s = now_s = analysis.info.media_s
        tracks = analysis.tracks
        shown = tracks.visible & tracks.confirmed
        for track_id, (x1, _, x2, y2) in zip(tracks.ids[shown].tolist(), tracks.xyxy[shown].tolist(), strict=True):
            self._points.setdefault(track_id, deque()).append((now_s, (x1 + x2) / 2, y2))
        self._prune(now_s - self.keep_s)

    def _prune(self, before_s: float) -> None:
        for track_id, points in list(self._points.items()):
            while points and points[0][0] < before_s:
                points.popleft()
            if not points:
                del self._points[track_id]

    def snapshot(self) -> Sequence[Trail]:
        """Return every trail of at least two points, free to be used by another thread."""
        return [Trail(track_id, self._now_s, tuple(rows)) for track_id, rows in self._points.items() if len(rows) > 1]
