"""Bodies made of flat panels and tapered limbs, in metres, and how they become pixels.

A figure is a row of parts in painting order. Panels are one-sided: seen from behind they are not drawn, which is
all the hidden-surface removal that convex bodies seen from above need.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from streamvision.capture.street.view import Points, View
from streamvision.types import UInt8

Ink = tuple[float, float, float]
"""BGR, 0-255."""
SUN = np.array([-0.37, -0.2, 0.907])
"""Direction from the ground to the sun; shadows are short and fall to the right."""
_SHIFT = 4
_UNIT = 1 << _SHIFT


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """A panel (``radius_m`` empty: a polygon of points (n,3)) or a limb (two points with a radius at each)."""

    points: Points
    ink: Ink
    radius_m: tuple[float, float] | tuple[()] = ()
    two_sided: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Figure:
    """Parts in painting order, with all their points (n,3) and radii (n,) in metres, and each limb's first row."""

    parts: tuple[Part, ...]
    points: Points
    radii_m: Points
    limbs: NDArray[np.intp]

    @classmethod
    def of(cls, parts: Iterable[Part]) -> Figure:
        """Put parts together."""
        whole = tuple(parts)
        radii = np.concatenate([part.radius_m or np.zeros(len(part.points)) for part in whole])
        starts = np.cumsum([0, *(len(part.points) for part in whole[:-1])])
        limbs = starts[[bool(part.radius_m) for part in whole]]
        return cls(whole, np.concatenate([part.points for part in whole]), radii, limbs.astype(np.intp))

    def at(self, x: float, y: float, heading: float) -> Figure:
        """Turn a figure that looks along +x by a heading and put it on the ground at (x, y)."""
        cos, sin = np.cos(heading), np.sin(heading)
        turn = np.array([[cos, sin, 0.0], [-sin, cos, 0.0], [0.0, 0.0, 1.0]])
        return Figure(self.parts, self.points @ turn + [x, y, 0.0], self.radii_m, self.limbs)

    def shadow(self) -> Figure:
        """Return the figure flattened onto the ground along the sun's rays."""
        return Figure(self.parts, self.points - self.points[:, 2:] * (SUN / SUN[2]), self.radii_m, self.limbs)


@dataclass(frozen=True, slots=True, eq=False)
class Placed:
    """A figure in pixels: points (n,2), radii (n,), and depths (n,) in metres."""

    figure: Figure
    pixels: Points
    radii: Points
    depth: Points

    @property
    def depth_m(self) -> float:
        """Return the mean distance from the camera."""
        return float(self.depth.mean())

    def extent(self) -> tuple[float, float, float, float]:
        """Return xyxy in pixels around everything, also outside the picture."""
        low = (self.pixels - self.radii[:, None]).min(axis=0)
        high = (self.pixels + self.radii[:, None]).max(axis=0)
        return float(low[0]), float(low[1]), float(high[0]), float(high[1])


def place(view: View, figure: Figure) -> Placed:
    """Project a figure."""
    pixels, depth = view.project(figure.points)
    return Placed(figure, pixels, figure.radii_m * view.focal_px / depth, depth)


def paint(canvas: UInt8, placed: Placed, light: float) -> None:
    """Draw a figure anti-aliased on a BGR canvas."""
    inks = [tuple(channel * light for channel in part.ink) for part in placed.figure.parts]
    _draw(canvas, placed, inks, (0.0, 0.0), cv2.LINE_AA)


def stencil(mask: UInt8, placed: Placed, origin: tuple[float, float] = (0.0, 0.0), value: int = 255) -> None:
    """Draw a figure's silhouette, with hard edges, on a one-channel mask whose corner lies at ``origin``."""
    _draw(mask, placed, [(value,)] * len(placed.figure.parts), origin, cv2.LINE_8)


def _draw(canvas: UInt8, placed: Placed, inks: Sequence[Any], origin: tuple[float, float], kind: int) -> None:
    """Draw part after part; panels that face away only where the silhouette is wanted (hard edges)."""
    pixels = placed.pixels - origin
    fixed = _fixed(pixels)
    centres, radii = fixed.tolist(), (placed.radii * _UNIT).astype(np.int32).tolist()
    between = iter(_fixed(_hulls(pixels, placed.radii, placed.figure.limbs)))
    row = 0
    for part, ink in zip(placed.figure.parts, inks, strict=True):
        end = row + len(part.points)
        if part.radius_m:
            cv2.fillConvexPoly(canvas, next(between), ink, kind, _SHIFT)
            cv2.circle(canvas, centres[row], radii[row], ink, -1, kind, _SHIFT)
            cv2.circle(canvas, centres[row + 1], radii[row + 1], ink, -1, kind, _SHIFT)
        elif kind == cv2.LINE_8 or part.two_sided or cv2.contourArea(fixed[row:end], oriented=True) < 0:
            cv2.fillConvexPoly(canvas, fixed[row:end], ink, kind, _SHIFT)
        row = end


def _hulls(pixels: Points, radii: Points, limbs: NDArray[np.intp]) -> Points:
    """Return what lies between the two discs of each limb, as quadrangles (k,4,2)."""
    first, second = pixels[limbs], pixels[limbs + 1]
    along = second - first
    length = np.maximum(np.hypot(along[:, 0], along[:, 1]), 1e-6)
    across = np.column_stack([-along[:, 1], along[:, 0]]) / length[:, None]
    out_first, out_second = across * radii[limbs, None], across * radii[limbs + 1, None]
    return np.stack([first + out_first, second + out_second, second - out_second, first - out_first], axis=1)


def _fixed(pixels: Points) -> NDArray[np.int32]:
    return np.asarray(np.round((pixels - 0.5) * _UNIT), np.int32)


def panel(points: Any, ink: Ink, *, two_sided: bool = False) -> Part:
    """Make a polygon; its corners go counter-clockwise as seen from outside."""
    return Part(np.asarray(points, np.float64), ink, (), two_sided)


def limb(first: Any, second: Any, radius_m: tuple[float, float], ink: Ink) -> Part:
    """Make a tapered round limb between two points."""
    return Part(np.array([first, second], np.float64), ink, radius_m)


def lit(ink: Ink, normal: Any) -> Ink:
    """Return a paint's colour on a face: sky light from above plus sun."""
    direction = np.asarray(normal, np.float64)
    direction = direction / np.linalg.norm(direction)
    light = 0.56 + 0.14 * direction[2] + 0.42 * max(0.0, float(direction @ SUN))
    return ink[0] * light, ink[1] * light, ink[2] * light


def prism(outline: Points, low: float, high: float, ink: Ink, taper: Points | None = None) -> list[Part]:
    """Return walls and lid over a ground outline (n,2), counter-clockwise from above; ``taper``: the lid's own."""
    top = outline if taper is None else taper
    floor = np.column_stack([outline, np.full(len(outline), low)])
    lid = np.column_stack([top, np.full(len(top), high)])
    walls = []
    for here, there in zip(range(len(floor)), [*range(1, len(floor)), 0], strict=True):
        normal = np.cross(floor[there] - floor[here], lid[here] - floor[here])
        walls.append(panel([floor[here], floor[there], lid[there], lid[here]], lit(ink, normal)))
    return [*walls, panel(lid, lit(ink, (0, 0, 1)))]


@lru_cache(maxsize=64)
def disc(radius: float, corners: int = 14) -> Points:
    """Return a circle's corners (n,2), counter-clockwise."""
    angles = np.arange(corners) * 2 * np.pi / corners
    return np.column_stack([np.cos(angles), np.sin(angles)]) * radius
