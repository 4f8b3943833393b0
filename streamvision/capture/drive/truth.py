"""The drive's truth: what a perfect observer sees, where the own lane lies, how far and how soon the lead is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from streamvision.capture.drawn.camera import NEAR_M, Points
from streamvision.capture.drive.journey import OWN_LINES, Painter, camera_at, road_at
from streamvision.capture.drive.road import Line
from streamvision.capture.drive.world import LANE_M, Drive, lead_gap


@dataclass(frozen=True, slots=True)
class DriveBox:
    """One thing in the picture: xyxy px clipped to it, the share of its pixels in the picture that nothing hides."""

    id: int
    kind: str
    xyxy: tuple[float, float, float, float]
    visible: float


@dataclass(frozen=True, slots=True)
class Lead:
    """The vehicle ahead: metres from the camera to its rear along the road, how fast that shrinks, and the time until
    it is 0 if nobody changes speed (infinite while it grows)."""

    id: int
    distance_m: float
    closing_m_s: float
    ttc_s: float


class DriveTruth:
    """The truth of one drive for one picture size; times count from ``start_s``, the film's first picture."""

    def __init__(self, seed: int, size_wh: tuple[int, int], start_s: float = 0.0) -> None:
        self.seed = seed
        self.start_s = start_s
        self._drive = Drive.of(seed)
        self._size_wh = size_wh
        self._painter = Painter(seed, size_wh)

    def boxes(self, media_s: float) -> list[DriveBox]:
        """Return everything of a class that is in the picture."""
        drawn = self._painter.drawn(self.start_s + media_s)
        return [
            DriveBox(int(number), name, (float(box[0]), float(box[1]), float(box[2]), float(box[3])), float(share))
            for number, name, box, share in zip(drawn.ids, drawn.names, drawn.xyxy, drawn.visible, strict=True)
        ]

    def lanes(self, media_s: float, far_m: float = 60.0) -> tuple[Points, Points]:
        """Return the middles of the lines left and right of the own lane as pixels (n,2), nearest first."""
        left, right = (self.line(line, media_s, far_m) for line in OWN_LINES)
        return left, right

    def line(self, line: Line, media_s: float, far_m: float = 60.0) -> Points:
        """Return a line's middle as pixels (n,2) every half metre from 4 m on, nearest first; gaps are not left out."""
        t_s = self.start_s + media_s
        s = np.arange(4.0, far_m, 0.5)
        pixels, depth = camera_at(self._drive, t_s, self._size_wh).project(
            road_at(self._drive, t_s).way.point(s, line.d)
        )
        return np.asarray(pixels[depth > NEAR_M])

    def offset_m(self, media_s: float) -> float:
        """Return how far right of the own lane's middle the camera is."""
        return self._drive.offset(self.start_s + media_s)

    def speed_m_s(self, media_s: float) -> float:
        """Return the own speed."""
        return self._drive.speed(self.start_s + media_s)

    def departed(self, media_s: float, half_width_m: float = 0.9) -> bool:
        """Return whether a wheel of a vehicle of this half width is over a line of its lane."""
        return abs(self.offset_m(media_s)) + half_width_m > LANE_M / 2

    def lead(self, media_s: float) -> Lead:
        """Return the vehicle ahead."""
        t_s = self.start_s + media_s
        distance = lead_gap(self._drive, t_s)
        closing = (lead_gap(self._drive, t_s - 0.01) - lead_gap(self._drive, t_s + 0.01)) / 0.02
        return Lead(1, distance, closing, distance / closing if closing > 1e-6 else np.inf)
