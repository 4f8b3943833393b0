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
    """A track's recent anchor points (N,2) float32 in source px, oldest first, and their age_s (N,) float32."""

    track_id: int
    points: NDArray[np.float32]
    age_s: NDArray[np.float32]


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
        found = []
        for track_id, points in self._points.items():
            if len(points) > 1:
                rows = np.asarray(points, np.float64)
                age_s = (self._now_s - rows[:, 0]).astype(np.float32)
                found.append(Trail(track_id, rows[:, 1:].astype(np.float32), age_s))
        return found
