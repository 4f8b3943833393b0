"""What bodies are made of: panels and limbs, put together to convex solids, and those to a figure.

Inks are BGR 0-255 as in white light; the painter lights them. Panels are one-sided: their corners go counter-clockwise
as seen from outside. A solid is convex, so that one-sided panels need no order; what lies on a panel (a window, a lamp)
comes after it in the same solid.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamvision.capture.drawn.camera import Points

Ink = tuple[float, float, float]
"""BGR, 0-255."""


class Stuff(IntEnum):
    """What a surface is made of: the painter gives each its own shine and grain."""

    PAINT = 0
    GLASS = 1
    RUBBER = 2
    CLOTH = 3
    SKIN = 4
    METAL = 5
    LEAF = 6
    WOOD = 7
    STONE = 8
    LAMP = 9
    PRINT = 10


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """A panel (``radius_m`` empty: a polygon of points (n,3)) or a limb (two points with a radius at each).

    ``glow`` 0..1 is how much of its ink it shines by itself.
    """

    points: Points
    ink: Ink
    stuff: Stuff = Stuff.PAINT
    radius_m: tuple[float, float] | tuple[()] = ()
    two_sided: bool = False
    glow: float = 0.0


Solid = tuple[Part, ...]
"""A convex body's parts, in painting order."""


@dataclass(frozen=True, slots=True, eq=False)
class Figure:
    """Solids as arrays over all their parts (P) and points (N,3), in metres; it looks along +x before `at`.

    starts (P+1,): each part's first point; solid (P,): the number of its solid; radii (N,): 0 on panels;
    normals (P,3): unit, outwards (0 on limbs); bounds (S,2,3): each solid's low and high corner, unturned;
    counted (S,): whether a solid belongs to what a detector frames (a sign's plate does, its post does not);
    place: x, y, z and heading where it stands.
    """

    points: Points
    radii: Points
    starts: NDArray[np.intp]
    solid: NDArray[np.intp]
    normals: Points
    inks: NDArray[np.float32]
    stuff: NDArray[np.int8]
    two_sided: NDArray[np.bool_]
    glow: NDArray[np.float32]
    bounds: Points
    counted: NDArray[np.bool_]
    place: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)

    @classmethod
    def of(cls, solids: Iterable[Sequence[Part]], uncounted: Iterable[Sequence[Part]] = ()) -> Figure:
        """Put solids together; empty ones are left out. ``uncounted``: those that no box goes around."""
        bodies = [solid for solid in solids if solid]
        counted = len(bodies)
        bodies += [solid for solid in uncounted if solid]
        parts = [part for body in bodies for part in body]
        points = np.concatenate([part.points for part in parts])
        return cls(
            points=points,
            radii=np.concatenate([part.radius_m or np.zeros(len(part.points)) for part in parts]),
            starts=np.cumsum([0, *(len(part.points) for part in parts)]),
            solid=np.repeat(np.arange(len(bodies)), [len(body) for body in bodies]),
            normals=_normals(parts),
            inks=np.array([part.ink for part in parts], np.float32),
            stuff=np.array([part.stuff for part in parts], np.int8),
            two_sided=np.array([part.two_sided for part in parts]),
            glow=np.array([part.glow for part in parts], np.float32),
            bounds=np.stack([_bounds(body) for body in bodies]),
            counted=np.arange(len(bodies)) < counted,
        )

    @property
    def size_m(self) -> Points:
        """Return length, width and height of what is not turned."""
        return np.asarray(self.bounds[:, 1].max(axis=0) - self.bounds[:, 0].min(axis=0))

    def at(self, x: float, y: float, heading: float, z: float = 0.0) -> Figure:
        """Turn a figure by a heading (rad, counter-clockwise from +x) and put it at (x, y, z)."""
        cos, sin = np.cos(heading), np.sin(heading)
        turn = np.array([[cos, sin, 0.0], [-sin, cos, 0.0], [0.0, 0.0, 1.0]])
        return replace(
            self, points=self.points @ turn + [x, y, z], normals=self.normals @ turn, place=(x, y, z, heading)
        )

    def footprint(self) -> Points:
        """Return the corners (4,2) of the ground that it covers where it stands, counter-clockwise."""
        low, high = self.bounds[:, 0].min(axis=0), self.bounds[:, 1].max(axis=0)
        corners = np.array([(low[0], low[1]), (high[0], low[1]), (high[0], high[1]), (low[0], high[1])])
        cos, sin = np.cos(self.place[3]), np.sin(self.place[3])
        return np.asarray(corners @ np.array([[cos, sin], [-sin, cos]]) + self.place[:2])

    def sized(self, scale: float) -> Figure:
        """Return the figure larger or smaller by a factor, unplaced."""
        return replace(self, points=self.points * scale, radii=self.radii * scale, bounds=self.bounds * scale)


def _normals(parts: Sequence[Part]) -> Points:
    """Return unit normals by Newell's sum, 0 for limbs."""
    counts = np.array([len(part.points) for part in parts])
    starts = np.cumsum(counts) - counts
    points = np.concatenate([part.points for part in parts]) - np.repeat(
        np.array([part.points[0] for part in parts]), counts, axis=0
    )
    after = np.arange(1, len(points) + 1)
    after[starts + counts - 1] = starts
    normals = np.add.reduceat(_cross(points, points[after]), starts)
    normals[[bool(part.radius_m) for part in parts]] = 0
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    return np.asarray(normals / np.maximum(length, 1e-12))


def _cross(one: Points, other: Points) -> Points:
    """Return the cross products of rows (n,3); numpy's own takes far longer for few."""
    (ax, ay, az), (bx, by, bz) = one.T, other.T
    return np.column_stack([ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx])


def _bounds(body: Sequence[Part]) -> Points:
    low = np.min([part.points.min(axis=0) - max(part.radius_m or (0.0,)) for part in body], axis=0)
    high = np.max([part.points.max(axis=0) + max(part.radius_m or (0.0,)) for part in body], axis=0)
    return np.stack([low, high])


def panel(points: Any, ink: Ink, stuff: Stuff = Stuff.PAINT, *, two_sided: bool = False, glow: float = 0.0) -> Part:
    """Make a polygon; its corners go counter-clockwise as seen from outside."""
    return Part(np.asarray(points, np.float64), ink, stuff, (), two_sided, glow)


def limb(first: Any, second: Any, radius_m: tuple[float, float], ink: Ink, stuff: Stuff = Stuff.CLOTH) -> Part:
    """Make a tapered round limb between two points."""
    return Part(np.array([first, second], np.float64), ink, stuff, radius_m)


def loft(rings: Sequence[Points], ink: Ink, stuff: Stuff = Stuff.PAINT, *, lid: bool = True,
         bottom: bool = False) -> list[Part]:  # fmt: skip
    """Return walls between rings (n,3), counter-clockwise from above and lowest first, and the lid of the last."""
    parts = []
    if bottom:
        parts.append(Part(rings[0][::-1], ink, stuff))
    for low, high in pairwise(rings):
        quads = np.stack([low, np.roll(low, -1, axis=0), np.roll(high, -1, axis=0), high], axis=1)
        parts += [Part(quad, ink, stuff) for quad in quads]
    if lid:
        parts.append(Part(rings[-1], ink, stuff))
    return parts


def box(low: Sequence[float], high: Sequence[float], ink: Ink, stuff: Stuff = Stuff.PAINT) -> list[Part]:
    """Return the six sides of an upright box between two corners."""
    (x0, y0, z0), (x1, y1, z1) = low, high
    ring = np.array([(x0, y0, z0), (x1, y0, z0), (x1, y1, z0), (x0, y1, z0)], np.float64)
    top = ring + np.array([0, 0, z1 - z0])
    return loft([ring, top], ink, stuff, bottom=True)


def level(outline: Points, z: float) -> Points:
    """Lift an outline (n,2) to a height: (n,3)."""
    return np.column_stack([outline, np.full(len(outline), z)])


def rounded(front: float, back: float, half_width: float, corner: float) -> Points:
    """Return a rectangle's outline (12,2) with its corners cut twice, counter-clockwise."""
    cut = np.array([[0.0, corner], [corner * 0.3, corner * 0.3], [corner, 0.0]])
    points = []
    for index, (sx, sy) in enumerate(((1, 1), (-1, 1), (-1, -1), (1, -1))):
        x = front if sx > 0 else back
        points.append(np.array([x, sy * half_width]) + (cut if index % 2 == 0 else cut[::-1]) * [-sx, -sy])
    return np.concatenate(points)


@lru_cache(maxsize=64)
def disc(radius: float, corners: int = 14) -> Points:
    """Return a circle's corners (n,2), counter-clockwise."""
    angles = np.arange(corners) * 2 * np.pi / corners
    return np.column_stack([np.cos(angles), np.sin(angles)]) * radius


def on_wall(wall: Points, across: tuple[float, float], up: tuple[float, float], lift: float = 0.004) -> Points:
    """Return a rectangle (4,3) on a wall (4,3: foot left, foot right, top right, top left), a little before it."""
    (u0, u1), (v0, v1) = across, up
    u, v = np.array([[u0], [u1], [u1], [u0]]), np.array([[v0], [v0], [v1], [v1]])
    low, high = wall[0] + (wall[1] - wall[0]) * u, wall[3] + (wall[2] - wall[3]) * u
    normal = _cross((wall[1] - wall[0])[None], (wall[3] - wall[0])[None])[0]
    out = normal / max(float(np.sqrt(normal @ normal)), 1e-9) * lift
    return np.asarray(low + (high - low) * v + out)


def facing(axis: str, at: float, centre: tuple[float, float], outline: Points) -> Points:
    """Return an outline (n,2: right, up as seen from outside) on an upright plane that faces +x, -x, +y or -y.

    ``at``: where on its axis the plane stands; ``centre``: the other ground axis and z.
    """
    across, up = outline[:, 0], outline[:, 1] + centre[1]
    level_at = np.full(len(outline), at)
    if axis == "+x":
        return np.column_stack([level_at, centre[0] + across, up])
    if axis == "-x":
        return np.column_stack([level_at, centre[0] - across, up])
    if axis == "+y":
        return np.column_stack([centre[0] - across, level_at, up])
    return np.column_stack([centre[0] + across, level_at, up])


def rectangle(width: float, height: float) -> Points:
    """Return a rectangle (4,2) around 0, counter-clockwise."""
    return np.array([(-width, -height), (width, -height), (width, height), (-width, height)]) / 2


def pair(part_at: Any) -> Iterator[Part]:
    """Yield what a function makes for the left (1) and the right (-1) side."""
    for side in (1, -1):
        yield part_at(side)


def dim(ink: Ink, share: float) -> Ink:
    """Return an ink lighter or darker by a factor."""
    return min(ink[0] * share, 255.0), min(ink[1] * share, 255.0), min(ink[2] * share, 255.0)
