"""What never moves: ground, houses, trees, lamps, the bus shelter; painted once per picture size.

Flat surfaces are painted as textures in metres and warped into perspective; furniture is made of the same panels
and limbs as the actors. All of it exists twice, in sunshine and under clouds, and every frame is a mix of both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from streamvision.capture.street.facade import houses
from streamvision.capture.street.figures import (
    SUN,
    Figure,
    Part,
    disc,
    limb,
    lit,
    paint,
    panel,
    place,
    prism,
    stencil,
)
from streamvision.capture.street.ground import ground
from streamvision.capture.street.view import Points, View
from streamvision.types import UInt8

FACADE_Y = 17.2
_GROUND_X, _GROUND_Y = (-34.0, 42.0), (-12.0, 17.4)
_FACADE_HEIGHT = 12.0
_SUNSHINE = np.array([1.08, 1.14, 1.17], np.float32)
_CLOUDY = np.array([0.84, 0.80, 0.78], np.float32)
"""BGR share of the sunny picture that is left under a cloud."""
_SHADOW = np.array([0.62, 0.55, 0.50], np.float32)
"""BGR share of the sunlit ground that is left in a shadow."""


@dataclass(frozen=True, slots=True)
class Occluder:
    """Something that can stand before an actor: its cover (h,w) 0-255, where it lies, and how far away."""

    depth_m: float
    left: int
    top: int
    cover: UInt8


@dataclass(frozen=True, slots=True)
class Backdrop:
    """The empty street: in sunshine and under clouds (h,w,3 BGR), and what can hide an actor, nearest last."""

    sunny: UInt8
    cloudy: UInt8
    occluders: tuple[Occluder, ...]


def backdrop(seed: int, view: View) -> Backdrop:
    """Paint the empty street, at double size for smooth edges where that is affordable."""
    factor = 2 if view.size_wh[0] <= 1280 else 1
    large = View((view.size_wh[0] * factor, view.size_wh[1] * factor))
    rng = np.random.default_rng([seed, 77])
    picture = _surfaces(rng, large)
    furniture = _furniture(rng)
    shadow = _shadows(large, furniture)[..., None]
    lit_up = picture * _SUNSHINE
    sunny, cloudy = lit_up * (1 - shadow * (1 - _SHADOW)), lit_up * _CLOUDY * (1 - 0.22 * shadow)
    bright, grey = (np.clip(layer, 0, 255).astype(np.uint8) for layer in (sunny, cloudy))
    for figure in furniture:
        placed = place(large, figure)
        paint(bright, placed, 1.1)
        paint(grey, placed, 0.86)
    occluders = tuple(_occluder(large, figure, factor) for figure in furniture)
    return Backdrop(_shrunk(bright, view), _shrunk(grey, view), occluders)


def _shrunk(picture: UInt8, view: View) -> UInt8:
    return np.ascontiguousarray(cv2.resize(picture, view.size_wh, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _surfaces(rng: np.random.Generator, view: View) -> UInt8:
    """Return ground and houses in perspective."""
    per_metre = float(np.clip(view.size_wh[0] / 32, 20, 64))
    floor = ground(rng, _GROUND_X, _GROUND_Y, per_metre)
    wall = houses(rng, _GROUND_X, _FACADE_HEIGHT, per_metre)
    step = 1 / per_metre
    across = np.array([step, 0, 0])
    floor_map = view.plane(np.array([_GROUND_X[0], _GROUND_Y[1], 0.0]), across, np.array([0, -step, 0]))
    wall_map = view.plane(np.array([_GROUND_X[0], FACADE_Y, _FACADE_HEIGHT]), across, np.array([0, 0, -step]))
    picture = cv2.warpPerspective(floor, floor_map, view.size_wh, flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REPLICATE)
    cv2.warpPerspective(wall, wall_map, view.size_wh, dst=picture, flags=cv2.INTER_AREA,
                        borderMode=cv2.BORDER_TRANSPARENT)  # fmt: skip
    return np.asarray(picture, np.uint8)


def _shadows(view: View, furniture: Sequence[Figure]) -> NDArray[np.float32]:
    """Return how much of the sun every ground pixel misses, 0..1, with soft edges."""
    mask = np.zeros(view.size_wh[::-1], np.uint8)
    for figure in furniture:
        stencil(mask, place(view, figure.shadow()))
    ground_only = _above_ground_line(view)
    width = max(3, view.size_wh[0] // 320) | 1
    return np.asarray(cv2.GaussianBlur(mask, (width, width), 0) / np.float32(255) * ground_only, np.float32)


def _above_ground_line(view: View) -> NDArray[np.float32]:
    """Return 1 on the ground and 0.0 on the houses, whose walls do not take the ground's shadows."""
    corners = np.array([(x, FACADE_Y, z) for x, z in ((-60, 0), (60, 0), (60, 40), (-60, 40))], np.float64)
    mask = np.ones(view.size_wh[::-1], np.uint8)
    cv2.fillConvexPoly(mask, np.asarray(view.project(corners)[0], np.int32), (0,))
    return np.asarray(mask, np.float32)


def _occluder(view: View, figure: Figure, factor: int) -> Occluder:
    mask = np.zeros(view.size_wh[::-1], np.uint8)
    stencil(mask, place(view, figure))
    mask = np.asarray(cv2.resize(mask, (mask.shape[1] // factor, mask.shape[0] // factor),
                                 interpolation=cv2.INTER_AREA), np.uint8)  # fmt: skip
    left, top, width, height = cv2.boundingRect(mask)
    foot = figure.points[np.argmin(figure.points[:, 2])]
    depth = float(view.project(foot[None])[1][0])
    return Occluder(depth, left, top, np.ascontiguousarray(mask[top : top + height, left : left + width]))


def _furniture(rng: np.random.Generator) -> list[Figure]:
    """Return everything that stands in the street, farthest first."""
    trees = [_tree(rng, x, y, size) for x, y, size in
             ((-19.0, 6.5, 0.9), (-10.0, 6.5, 0.85), (9.0, 6.5, 0.95), (19.0, 6.5, 0.9), (29.0, 6.5, 0.9))]  # fmt: skip
    bushes = [_bush(rng, x, 6.5) for x in (-15.5, -13.6, -7.0, 4.6, 6.2, 12.0, 14.6, 23.0)]
    far = [_bollard(x, 13.1) for x in np.arange(-22.0, 40.0, 3.0)]
    near = [_lamp(5.6, -0.5), _bench(-11.6, -5.2), _planter(rng, 4.6, -6.6), _stop_sign(3.4, -0.7)]
    figures = [Figure.of(parts) for parts in (*trees, *bushes, *far, *near)]
    return sorted(figures, key=lambda figure: -float(figure.points[0, 1]))


def _tree(rng: np.random.Generator, x: float, y: float, size: float) -> list[Part]:
    trunk = [
        limb((x, y, 0.0), (x + 0.05, y, 2.3 * size), (0.15, 0.11), (58, 76, 96)),
        limb((x, y, 1.9 * size), (x - 0.6, y, 2.9 * size), (0.08, 0.05), (52, 70, 90)),
        limb((x, y, 1.9 * size), (x + 0.6, y + 0.1, 2.9 * size), (0.08, 0.05), (62, 82, 104)),
    ]
    return [*trunk, *_foliage(rng, np.array([x, y, 3.4 * size]), np.array([1.5, 1.4, 1.15]) * size, 420)]


def _bush(rng: np.random.Generator, x: float, y: float) -> list[Part]:
    return _foliage(rng, np.array([x, y, 0.42]), np.array([0.95, 0.5, 0.36]), 110, 0.14)


def _foliage(rng: np.random.Generator, centre: Points, radii: Points, count: int, leaf: float = 0.26) -> list[Part]:
    """Return leaves on and in an ellipsoid, dark inside and below, bright towards the sun."""
    directions = rng.normal(size=(count, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    share = rng.uniform(0.35, 1.0, count) ** 0.5
    light = directions @ SUN * share
    parts = []
    for index in np.argsort(light + share * 0.3 + rng.normal(0, 0.12, count)):
        spot = centre + directions[index] * radii * share[index]
        glow = 0.62 + 0.38 * float(light[index]) + float(rng.normal(0, 0.05))
        radius = leaf * rng.uniform(0.5, 1.0)
        ink = (52 * glow, 138 * glow, (88 + 22 * rng.random()) * glow)
        parts.append(limb(spot, spot + np.array([0.02, 0, 0.01]), (radius, radius), ink))
    return parts


def _bollard(x: float, y: float) -> list[Part]:
    return [limb((x, y, 0.0), (x, y, 0.75), (0.07, 0.07), (74, 70, 66)),
            limb((x, y, 0.66), (x, y, 0.7), (0.075, 0.075), (214, 214, 214))]  # fmt: skip


def _lamp(x: float, y: float) -> list[Part]:
    steel = (92, 88, 82)
    return [
        limb((x, y, 0.0), (x, y, 0.5), (0.14, 0.12), steel), limb((x, y, 0.4), (x, y, 7.0), (0.08, 0.055), steel),
        limb((x, y, 6.9), (x + 0.2, y + 1.8, 7.2), (0.05, 0.04), steel),
        limb((x + 0.15, y + 1.5, 7.15), (x + 0.22, y + 2.1, 7.18), (0.12, 0.1), (196, 210, 214)),
    ]  # fmt: skip


def _stop_sign(x: float, y: float) -> list[Part]:
    return [
        limb((x, y, 0.0), (x, y, 2.7), (0.045, 0.045), (110, 108, 104)),
        panel([(x - 0.3, y - 0.05, 2.0), (x + 0.3, y - 0.05, 2.0), (x + 0.3, y - 0.05, 2.7), (x - 0.3, y - 0.05, 2.7)],
              (150, 104, 40), two_sided=True),
        panel([(x - 0.2, y - 0.06, 2.25), (x + 0.2, y - 0.06, 2.25), (x + 0.2, y - 0.06, 2.45),
               (x - 0.2, y - 0.06, 2.45)], (240, 240, 240), two_sided=True),
    ]  # fmt: skip


def _bench(x: float, y: float) -> list[Part]:
    wood = (66, 104, 150)
    seat = np.array([(x, y), (x + 2.2, y), (x + 2.2, y + 0.55), (x, y + 0.55)], np.float64)
    legs = [limb((x + at, y + 0.1, 0), (x + at, y + 0.1, 0.42), (0.04, 0.04), (60, 56, 54)) for at in (0.2, 2.0)]
    slat = np.array([(x, y + 0.5), (x + 2.2, y + 0.5), (x + 2.2, y + 0.58), (x, y + 0.58)], np.float64)
    return [*legs, *prism(slat, 0.55, 0.95, wood), *prism(seat, 0.42, 0.5, wood)]


def _planter(rng: np.random.Generator, x: float, y: float) -> list[Part]:
    outline = disc(0.75, 16) + np.array([x, y])
    soil = panel(np.column_stack([disc(0.66, 16) + np.array([x, y]), np.full(16, 0.56)]), (48, 62, 78))
    pot = [*prism(outline - (outline - [x, y]) * 0.12, 0.0, 0.55, (150, 158, 166), outline), soil]
    leaves = _foliage(rng, np.array([x, y, 0.8]), np.array([0.62, 0.55, 0.3]), 90, 0.13)
    return [*pot, *leaves, *_blossoms(rng, x, y)]


def _blossoms(rng: np.random.Generator, x: float, y: float) -> list[Part]:
    spots: Any = rng.uniform(-0.5, 0.5, (16, 2))
    inks = ((90, 60, 224), (60, 170, 240), (222, 222, 236))
    return [
        limb((x + dx, y + dy, 1.06 - abs(dx) * 0.3), (x + dx, y + dy, 1.07), (0.05, 0.05), lit(inks[i % 3], (0, 0, 1)))
        for i, (dx, dy) in enumerate(spots)
    ]
