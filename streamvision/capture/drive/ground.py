"""The ground that a camera sees, per pixel: where on the road each pixel lies, what colour it has, what it means."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from streamvision.capture.drawn.camera import Camera
from streamvision.capture.drive.camera import row, upright
from streamvision.capture.drive.noise import TILE, blotches, cracks, grain, sample
from streamvision.capture.drive.road import Crossing, Line, Road, Way
from streamvision.types import UInt8

Field = NDArray[np.float32]
_PER_ROW = 4
"""Steps of the tables over the picture's rows, per pixel."""
_NEAREST_M = 0.6
_PER_METRE, _REACH_M = 25, 60
"""Resolution and half width of the table of what lies across the road."""
_LINE_SEEN = 0.22
"""How much of a pixel's contrast a lane line must keep to count as visible."""
_GRAIN = {"asphalt": 0.055, "concrete": 0.045, "paving": 0.05, "grass": 0.17, "gravel": 0.11, "earth": 0.09,
          "kerb": 0.03}  # fmt: skip
_BLOTCH = {"asphalt": 0.035, "concrete": 0.03, "paving": 0.03, "grass": 0.16, "gravel": 0.07, "earth": 0.11,
           "kerb": 0.03}  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Lie:
    """Where the pixels of the picture's rows from ``top`` on lie (h,w): s, d and depth in metres.

    shown: where there is ground at all; fine, coarse: metres per pixel across and along the road.
    """

    top: int
    shown: NDArray[np.bool_]
    s: Field
    d: Field
    depth: Field
    fine: Field
    coarse: Field


def lie(camera: Camera, way: Way) -> Lie:
    """Find the ground of every pixel: the first that its ray meets, along the way's ups and downs."""
    across, below = upright(camera)
    rows, tables = _tables(camera, way)
    top = int(np.argmax((below > rows[0]).any(axis=1))) if (below > rows[0]).any() else len(below) - 1
    across, below = across[top:], below[top:]
    place = np.clip((below - rows[0]) * _PER_ROW, 0, len(rows) - 1).astype(np.int32)
    s, x, cos, depth, coarse, slant = (table[place] for table in tables)
    fine = depth / np.float32(camera.focal_px)
    d = (across * fine - x) * cos
    return Lie(top, below > rows[0], s, d, depth, np.hypot(fine, slant * coarse), coarse)


def _tables(camera: Camera, way: Way) -> tuple[NDArray[np.float64], list[Field]]:
    """Return the rows (px below the axis) and for each s, x, cos and depth, metres of s per pixel, and sin."""
    ahead = way.y > _NEAREST_M
    y, z, s, x, angle = way.y[ahead], way.z[ahead], way.s[ahead], way.x[ahead], way.heading[ahead]
    dense = np.concatenate([np.geomspace(_NEAREST_M, 60, 400)[:-1], np.linspace(60, y[-1], 600)])
    z, s, x, angle = (np.interp(dense, y, values) for values in (z, s, x, angle))
    below, depth = row(camera, dense, z)
    before = np.concatenate([[np.inf], np.minimum.accumulate(below)[:-1]])
    seen = below < before - 1e-6
    below, inverse = below[seen][::-1], (1 / depth[seen])[::-1]
    bottom = camera.size_wh[0] * abs(np.sin(camera.roll)) + camera.size_wh[1] / 2 + 2
    rows = np.arange(below[0], max(bottom, below[0] + 1), 1 / _PER_ROW)
    far = 1 / np.interp(rows, below, inverse)
    at = np.interp(far, depth[seen], np.arange(len(dense))[seen])
    s, x, angle = (np.interp(at, np.arange(len(dense)), values) for values in (s, x, angle))
    coarse = np.abs(np.gradient(s)) * _PER_ROW
    tables = (s, x, np.cos(angle), far, coarse, np.sin(np.abs(angle)))
    return rows, [np.asarray(table, np.float32) for table in tables]


def on_ground(tile: Field, where: Lie, offset_m: float, across: float, along: float, shift: float = 0.0) -> Field:
    """Return a tile's values (h,w) on the ground, so many texels a metre; it stays where it is as the offset grows."""
    start = (offset_m * along + shift) % TILE
    return sample(tile, where.d * np.float32(across), where.s * np.float32(along) + np.float32(start))


@dataclass(frozen=True, slots=True, eq=False)
class Paved:
    """The painted ground: bgr (h,w,3) float32 in even light; drivable and lane (h,w) 0/1; hard: 1 on made surfaces."""

    bgr: Field
    drivable: UInt8
    lane: UInt8
    hard: UInt8


def pave(camera: Camera, road: Road, where: Lie) -> Paved:
    """Paint the road and what lies beside it."""
    tables = _across(road)
    offset = road.offset_m
    spots = on_ground(blotches(), where, offset, 5, 5) * np.clip(1.6 - where.coarse * 0.8, 0, 1)
    wander = where.d
    if road.ragged_m:
        wander = wander + np.float32(road.ragged_m) * on_ground(blotches(), where, offset, 9, 9)
    index = np.clip((wander + _REACH_M) * _PER_METRE, 0, 2 * _REACH_M * _PER_METRE - 1).astype(np.int32)
    for crossing in road.crossings:
        index[_inside(road, crossing, where)] = len(tables.ink) - 1
    texture = on_ground(grain(), where, offset, 22, 22) * np.clip(1.4 - where.coarse * 6, 0, 1)
    texture += 0.7 * on_ground(grain(), where, offset, 3.1, 1.7, 40) * np.clip(1.5 - where.coarse * 0.5, 0, 1)
    tone = 1 + texture * tables.grain[index] + spots * tables.blotch[index]
    if tables.cracked:
        tone -= tables.cracked * on_ground(cracks(), where, offset, 24, 24, 91) * np.clip(1.3 - where.fine * 30, 0, 1)
    bgr = tables.ink[index] * tone[..., None]
    drivable = tables.drivable[index] & where.shown
    lane = _paint(camera, road, where, bgr)
    return Paved(bgr, drivable.astype(np.uint8), (lane & where.shown).astype(np.uint8), tables.hard[index])


@dataclass(frozen=True, slots=True, eq=False)
class _Across:
    ink: Field
    drivable: NDArray[np.bool_]
    hard: UInt8
    grain: Field
    blotch: Field
    cracked: float


def _across(road: Road) -> _Across:
    """Return tables over d; their last entry is the surface of a crossing road."""
    count = 2 * _REACH_M * _PER_METRE
    d = (np.arange(count) + 0.5) / _PER_METRE - _REACH_M
    starts = np.array([band.left for band in road.bands])
    which = np.clip(np.searchsorted(starts, d, side="right") - 1, 0, len(road.bands) - 1)
    middle = next(number for number, band in enumerate(road.bands) if band.drivable)
    which = np.append(which, middle)
    bands = [road.bands[number] for number in range(len(road.bands))]
    ink = np.array([band.ink for band in bands], np.float32)[which]
    rng = np.random.default_rng([road.seed, 5])
    drivable = np.array([band.drivable for band in bands])[which]
    streaks = cv2.GaussianBlur(rng.normal(0, 1, (len(d), 1)).astype(np.float32), (1, 31), 7)[:, 0] * 0.06
    ink[:-1] *= np.where(drivable[:-1], 1 + streaks, 1)[:, None]
    hard = np.array([band.surface in ("asphalt", "concrete", "paving", "kerb") for band in bands], np.uint8)[which]
    grains, spots = (np.array([of[band.surface] for band in bands], np.float32)[which] for of in (_GRAIN, _BLOTCH))
    return _Across(ink, drivable, hard, grains, spots, float(rng.choice([0.0, 0.0, 0.0, 0.15, 0.35])))


def _edges(road: Road) -> tuple[float, float]:
    """Return the carriageway's left and right edges."""
    lanes = [band for band in road.bands if band.drivable]
    return min(band.left for band in lanes), max(band.right for band in lanes)


def _inside(road: Road, crossing: Crossing, where: Lie) -> NDArray[np.bool_]:
    """Return which pixels lie on the crossing road, its corners rounded."""
    left, right = _edges(road)
    beside = np.maximum(left - where.d, where.d - right)
    toward = np.clip(crossing.corner_m - beside, 0, crossing.corner_m)
    widen = crossing.corner_m - np.sqrt(np.maximum(crossing.corner_m**2 - toward**2, 0))
    inside = (where.s > crossing.near - widen) & (where.s < crossing.far + widen)
    return np.asarray(inside & (beside > -0.05))


def _paint(camera: Camera, road: Road, where: Lie, bgr: Field) -> NDArray[np.bool_]:
    """Paint marks and lane lines on the ground; return where a lane line shows."""
    for ink, wear, cover in _marks(camera, road, where):
        _blend(bgr, cover * _worn(road, where, wear), ink)
    lane = np.zeros(where.d.shape, bool)
    for line in road.lines:
        cover = _line(line, road, where)
        for crossing in road.crossings:
            cover *= (where.s < crossing.near - 0.5) | (where.s > crossing.far + 0.5)
        cover *= _worn(road, where, line.wear)
        _blend(bgr, cover, line.ink)
        lane |= cover > _LINE_SEEN
    return lane


def _line(line: Line, road: Road, where: Lie) -> Field:
    """Return how much (0..1) of each pixel a lane line covers."""
    aside = np.abs(where.d - np.float32(line.d))
    cover = np.clip((line.width_m / 2 - aside) / where.fine + 0.5, 0, 1)
    cover *= np.minimum(1, line.width_m / where.fine)
    if line.dash_m:
        on, off = line.dash_m
        phase = (where.s + np.float32(road.offset_m % (on + off))) % np.float32(on + off)
        edge = np.minimum(phase, on - phase) / where.coarse + 0.5
        share = np.float32(on / (on + off))
        sharp = np.clip((on + off) / where.coarse / 2 - 1, 0, 1)
        cover *= np.clip(edge, 0, 1) * sharp + share * (1 - sharp)
    if line.span[0] > -1e3 or line.span[1] < 1e3:
        cover *= (where.s > line.span[0]) & (where.s < line.span[1])
    return np.asarray(cover, np.float32)


def _worn(road: Road, where: Lie, wear: float) -> Field | float:
    """Return what is left (0..1) of paint that has worn off in blotches."""
    if wear <= 0:
        return 1.0
    spots = on_ground(grain(), where, road.offset_m, 14, 9) * np.float32(0.35)
    spots += on_ground(blotches(), where, road.offset_m, 4, 4) * np.float32(0.4)
    return np.asarray(np.clip(1.25 - 1.3 * wear + spots * min(1.0, 2 * wear), 0, 1), np.float32)


def _marks(camera: Camera, road: Road, where: Lie) -> list[tuple[tuple[float, float, float], float, Field]]:
    """Return ink, wear and cover (h,w) of the marks, one for each ink and wear."""
    groups: dict[tuple[tuple[float, float, float], float], UInt8] = {}
    for mark in road.marks:
        corners = _dense(mark.corners)
        corners = corners[corners[:, 0] > _NEAREST_M]
        if len(corners) < 3:
            continue
        pixels, depth = camera.project(road.way.point(corners[:, 0], corners[:, 1]))
        if depth.min() < _NEAREST_M / 2 or depth.max() > 120:
            continue
        layer = groups.setdefault((mark.ink, mark.wear), np.zeros(where.d.shape, np.uint8))
        fixed = np.round((pixels - [0.5, 0.5 + where.top]) * 16).astype(np.int32)
        cv2.fillPoly(layer, [fixed], 255, cv2.LINE_AA, 4)
    return [(ink, wear, np.asarray(layer / np.float32(255), np.float32)) for (ink, wear), layer in groups.items()]


def _dense(corners: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a polygon with points between its corners, so that the near plane and a bend cut it rightly."""
    shares = np.linspace(0, 1, 6)[:-1, None]
    return np.concatenate([a + (b - a) * shares for a, b in zip(corners, np.roll(corners, -1, axis=0), strict=True)])


def _blend(bgr: Field, cover: Field, ink: tuple[float, float, float]) -> None:
    """Lay an ink over the ground in place."""
    rows = np.flatnonzero(cover.max(axis=1) > 0)
    if len(rows):
        part = slice(rows[0], rows[-1] + 1)
        share = cover[part][..., None]
        bgr[part] += (np.asarray(ink, np.float32) - bgr[part]) * share
