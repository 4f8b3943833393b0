"""A figure's parts as polygons in pixels: those that face the camera, cut where they come too near."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from streamvision.capture.drawn.camera import NEAR_M, Camera, Points
from streamvision.capture.drawn.parts import Figure

_SMALLEST_PX = 0.6
_ARC = 6
"""Corners on each of a limb's two round ends."""


@dataclass(frozen=True, slots=True, eq=False)
class Outlines:
    """parts: the rows that can be seen; polygons of all parts by row; lows, highs (P,2) px; low, high of all (2,)."""

    parts: NDArray[np.intp]
    polygons: list[Points]
    lows: Points
    highs: Points
    pixels: Points
    radii: Points
    depth: Points
    low: Points
    high: Points


def outlines(camera: Camera, figure: Figure) -> Outlines | None:
    """Project a figure; None where nothing of it can be in the picture."""
    pixels, depth = camera.project(figure.points)
    if depth.max() < NEAR_M:
        return None
    starts = figure.starts[:-1]
    nearest = np.minimum.reduceat(depth, starts)
    radii = figure.radii * camera.focal_px / np.maximum(depth, NEAR_M)
    polygons, around = _polygons(figure, pixels, radii)
    lows = np.minimum.reduceat(pixels - radii[:, None], starts)
    highs = np.maximum.reduceat(pixels + radii[:, None], starts)
    wanted = _facing(camera, figure) & (np.maximum.reduceat(depth, starts) > NEAR_M)
    for row in np.flatnonzero(wanted & (nearest < NEAR_M)).tolist():
        cut = _cut(camera, figure, row)
        wanted[row] = cut is not None
        if cut is not None:
            polygons[row] = cut
            lows[row], highs[row] = cut.min(axis=0), cut.max(axis=0)
    inside = (highs > 0).all(axis=1) & (lows < np.asarray(camera.size_wh)).all(axis=1)
    large = (highs - lows).max(axis=1) > _SMALLEST_PX
    parts = np.flatnonzero(wanted & inside & large)
    if not len(parts):
        return None
    middle = np.add.reduceat(depth, starts) / np.diff(figure.starts)
    return Outlines(parts, polygons, lows, highs, pixels, around, middle, lows[parts].min(axis=0),
                    highs[parts].max(axis=0))  # fmt: skip


def _facing(camera: Camera, figure: Figure) -> NDArray[np.bool_]:
    towards = np.asarray(camera.position) - figure.points[figure.starts[:-1]]
    ahead = (figure.normals * towards).sum(axis=1) > 0
    return np.asarray(ahead | figure.two_sided | ~figure.normals.any(axis=1))


def _polygons(figure: Figure, pixels: Points, radii: Points) -> tuple[list[Points], Points]:
    """Return every part's polygon; a limb's is what its two discs and all between them cover."""
    ends = figure.starts.tolist()
    polygons = [pixels[here:there] for here, there in pairwise(ends)]
    rows = np.flatnonzero(~figure.normals.any(axis=1) & (np.diff(figure.starts) == 2))
    if len(rows):
        for row, capsule in zip(rows.tolist(), _capsules(pixels, radii, figure.starts[rows]), strict=True):
            polygons[row] = capsule
    return polygons, radii


def _capsules(pixels: Points, radii: Points, first: NDArray[np.intp]) -> Points:
    """Return outlines (k, 2 * _ARC, 2) of limbs whose first points are given."""
    here, there = pixels[first], pixels[first + 1]
    along = there - here
    angle = np.arctan2(along[:, 1], along[:, 0])[:, None]
    half = np.linspace(-np.pi / 2, np.pi / 2, _ARC)
    spread = np.concatenate([angle + half, angle + half + np.pi], axis=1)
    centre = np.repeat(np.stack([there, here], axis=1), _ARC, axis=1)
    size = np.repeat(np.stack([radii[first + 1], radii[first]], axis=1), _ARC, axis=1)
    ended = np.hypot(*along.T) < 0.75 * np.maximum(radii[first], radii[first + 1])
    if ended.any():  # seen along its axis: only the larger disc
        larger = np.where(radii[first + 1] > radii[first], 1, 0)[ended]
        centre[ended] = np.where(larger[:, None, None] > 0, there[ended][:, None], here[ended][:, None])
        size[ended] = np.maximum(radii[first], radii[first + 1])[ended, None]
        spread[ended] = np.arange(2 * _ARC) * np.pi / _ARC
    return np.asarray(centre + np.stack([np.cos(spread), np.sin(spread)], axis=2) * size[..., None])


def _cut(camera: Camera, figure: Figure, row: int) -> Points | None:
    """Return a panel's polygon without what comes nearer than `NEAR_M`; None for limbs, and where nothing is left."""
    points = figure.points[figure.starts[row] : figure.starts[row + 1]]
    if len(points) == 2:
        return None
    depth = (points - camera.position) @ camera.axes[2]
    kept = []
    for at in range(len(points)):
        after = (at + 1) % len(points)
        if depth[at] >= NEAR_M:
            kept.append(points[at])
        if (depth[at] >= NEAR_M) != (depth[after] >= NEAR_M):
            share = (NEAR_M - depth[at]) / (depth[after] - depth[at])
            kept.append(points[at] + (points[after] - points[at]) * share)
    if len(kept) < 3:
        return None
    return np.clip(camera.project(np.array(kept))[0], -2e6, 2e6)
