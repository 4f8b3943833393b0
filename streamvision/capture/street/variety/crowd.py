"""Who is where: pixels are chosen, the ground under them is looked up, and the place says what may stand there."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from streamvision.capture.drawn import CLASSES
from streamvision.capture.drawn.camera import Camera
from streamvision.capture.drawn.clutter import INDOORS, OUTDOORS, clutter
from streamvision.capture.drawn.figures import any_figure
from streamvision.capture.drawn.painter import Thing
from streamvision.capture.drawn.parts import Figure
from streamvision.capture.street.variety.places import Place, Zone

_LONGEST_M = 110.0
_SMALLEST_PX = 5.0
FACED = {"traffic light", "traffic sign"}
"""What has a face: it is turned to the camera."""


class Crowd:
    """Things that do not run into each other."""

    def __init__(self, rng: np.random.Generator, camera: Camera, where: Place) -> None:
        self._rng, self._camera, self._place = rng, camera, where
        self._spots: list[tuple[float, float, float]] = []
        self.things: list[Thing] = []

    def fill(self, attempts: int) -> None:
        """Try to put something at random pixels."""
        width, height = self._camera.size_wh
        favour = self._favourites()
        for _ in range(attempts):
            pixel = self._rng.uniform(-0.08, 1.08, 2) * [width, height * 1.15]
            at = self._camera.ground_at(float(pixel[0]), float(pixel[1]))
            if (
                at is not None
                and np.hypot(at[0] - self._camera.position[0], at[1] - self._camera.position[1]) < _LONGEST_M
            ):
                self._try(at, favour)

    def _favourites(self) -> Mapping[str, float]:
        """Return how much more often each class comes in this picture than the place alone would have it."""
        return dict(zip((*CLASSES, ""), self._rng.lognormal(0, 0.7, len(CLASSES) + 1).tolist(), strict=True))

    def _try(self, at: tuple[float, float], favour: Mapping[str, float]) -> None:
        zone = next((one for one in self._place.zones if _inside(one, at)), None)
        if zone is None:
            return
        names = list(zone.weights)
        weights = np.array([zone.weights[name] * favour[name] for name in names])
        name = names[int(self._rng.choice(len(names), p=weights / weights.sum()))]
        spot = self._snapped(zone, at)
        self.put(name, spot, self._heading(zone, name, spot))
        if name == "person":
            self._company(spot, zone)

    def _company(self, spot: tuple[float, float], zone: Zone) -> None:
        """People come in groups."""
        if self._rng.random() < 0.35:
            for _ in range(int(self._rng.geometric(0.45))):
                near = self._rng.normal(0, 0.9, 2)
                self.put("person", (spot[0] + near[0], spot[1] + near[1]), self._heading(zone, "person", spot))

    def _snapped(self, zone: Zone, at: tuple[float, float]) -> tuple[float, float]:
        x, y = at
        if not zone.snap:
            return x, y
        x0, x1, y0, y1 = zone.span
        off = float(self._rng.normal(0, 0.12 if zone.pitch else 0.25))
        if zone.snap == "y":
            x = round(x / zone.pitch) * zone.pitch + off if zone.pitch else x
            return x, (y0 + y1) / 2 + off
        y = round(y / zone.pitch) * zone.pitch + off if zone.pitch else y
        return (x0 + x1) / 2 + off, y

    def _heading(self, zone: Zone, name: str, spot: tuple[float, float]) -> float:
        if name in FACED:
            dx, dy = self._camera.position[0] - spot[0], self._camera.position[1] - spot[1]
            return float(np.arctan2(dy, dx) + self._rng.normal(0, 0.4))
        loose = name in ("person", "") and self._rng.random() < 0.5
        if not zone.headings or loose:
            return float(self._rng.uniform(0, 2 * np.pi))
        return float(self._rng.choice(zone.headings) + self._rng.normal(0, 0.04 if zone.snap else 0.3))

    def put(self, name: str, spot: tuple[float, float], heading: float) -> bool:
        """Put a thing of a class, or clutter (""), where there is room for it; tell whether there was."""
        figure = self._figure(name)
        placed = figure.at(spot[0], spot[1], heading)
        circles = _circles(placed)
        away = float(np.hypot(spot[0] - self._camera.position[0], spot[1] - self._camera.position[1]))
        size = float(np.max(figure.size_m[:2]))
        if away < size / 2 + 0.7 and self._camera.position[2] < float(figure.size_m[2]) + 0.6:
            return False
        if name and self._camera.focal_px * float(figure.size_m.max()) / max(away, 1.0) < _SMALLEST_PX:
            return False
        if any((x - a) ** 2 + (y - b) ** 2 < (r + s) ** 2 for x, y, r in circles for a, b, s in self._spots):
            return False
        self._spots += circles
        gain = float(np.clip(self._rng.normal(1.0, 0.1), 0.7, 1.3))
        self.things.append(Thing(placed, name, len(self.things) + 1, gain))
        return True

    def _figure(self, name: str) -> Figure:
        if name:
            return any_figure(name, self._rng)
        kinds = INDOORS if self._place.indoors else OUTDOORS
        return clutter(str(self._rng.choice(kinds)), self._rng)


def _inside(zone: Zone, at: tuple[float, float]) -> bool:
    x0, x1, y0, y1 = zone.span
    return x0 <= at[0] < x1 and y0 <= at[1] < y1


def _circles(figure: Figure) -> list[tuple[float, float, float]]:
    """Return circles (x, y, radius) that cover a footprint along its length; of posts only the foot."""
    foot = figure.footprint()
    if not figure.counted.all():
        return [(figure.place[0], figure.place[1], 0.3)]
    middle, along = foot.mean(axis=0), foot[1] - foot[0]
    across = foot[3] - foot[0]
    long, wide = float(np.linalg.norm(along)), float(np.linalg.norm(across))
    if wide > long:
        long, wide, along = wide, long, across
    radius = max(wide * 0.5, 0.15)
    count = max(1, int(np.ceil(long / max(wide, 0.3))))
    steps = (np.arange(count) - (count - 1) / 2) * (max(long - wide, 0.0) / max(count - 1, 1))
    unit = along / max(long, 1e-6)
    return [(float(middle[0] + unit[0] * step), float(middle[1] + unit[1] * step), radius * 0.95) for step in steps]
