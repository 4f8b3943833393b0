"""Flat pictures that stand in the scene: house fronts, trees, hedges, barriers; drawn far to near with their depth."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from streamvision.capture.drawn.camera import Camera, Points
from streamvision.capture.drawn.light import BGR, Light
from streamvision.capture.drive.fronts import front
from streamvision.capture.drive.plants import hedge, tree
from streamvision.capture.drive.rails import rail
from streamvision.types import UInt8

Field = NDArray[np.float32]
NEAR_M = 0.7
_MAKERS: dict[str, Callable[[int], UInt8]] = {"front": front, "tree": tree, "hedge": hedge, "rail": rail}


@dataclass(frozen=True, slots=True, eq=False)
class Card:
    """An upright rectangle: the foot's two ends (2,3) in metres as seen from the road, its height, its picture.

    ``kind`` and ``variant`` name the picture; across: which part of its width is shown; tint: BGR gains.
    """

    foot: Points
    height_m: float
    kind: str
    variant: int
    tint: BGR = (1.0, 1.0, 1.0)
    across: tuple[float, float] = (0.0, 1.0)


@lru_cache(maxsize=256)
def _pyramid(kind: str, variant: int) -> tuple[UInt8, ...]:
    """Return a picture (h,w,4: BGR times alpha, alpha) at full, half, quarter ... size."""
    levels = [_MAKERS[kind](variant)]
    while min(levels[-1].shape[:2]) >= 8:
        levels.append(np.asarray(cv2.resize(levels[-1], None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), np.uint8))
    return tuple(levels)


def stand(camera: Camera, cards: Iterable[Card], canvas: Field, depth: Field, light: Light) -> None:
    """Draw cards onto a BGR canvas (h,w,3) float32; set ``depth`` (h,w) metres where they cover it."""
    placed = [one for card in cards if (one := _place(camera, card)) is not None]
    for one in sorted(placed, key=lambda each: -each.depth_m):
        _lay(camera, one, canvas, depth, light)


@dataclass(frozen=True, slots=True, eq=False)
class _Placed:
    card: Card
    corners: Points
    depth_m: float


def _place(camera: Camera, card: Card) -> _Placed | None:
    foot = np.asarray(card.foot, np.float64)
    depth = (foot - camera.position) @ camera.axes[2]
    across = np.array(card.across)
    if depth.max() < NEAR_M * 1.5:
        return None
    near = int(np.argmin(depth))
    if depth[near] < NEAR_M:
        share = (NEAR_M - depth[near]) / (depth[1 - near] - depth[near])
        foot, across = foot.copy(), across.copy()
        foot[near] += (foot[1 - near] - foot[near]) * share
        across[near] += (across[1 - near] - across[near]) * share
    top = foot + np.array([0, 0, card.height_m])
    pixels, _ = camera.project(np.concatenate([foot, top[::-1]]))
    low, high = pixels.min(axis=0), pixels.max(axis=0)
    if (high < 0).any() or (low > np.asarray(camera.size_wh)).any() or (high - low).min() < 0.5:
        return None
    whole = Card(foot, card.height_m, card.kind, card.variant, card.tint, (float(across[0]), float(across[1])))
    return _Placed(whole, pixels, float(np.maximum(depth, NEAR_M).mean()))


def _lay(camera: Camera, one: _Placed, canvas: Field, depth: Field, light: Light) -> None:
    height, width = depth.shape
    low, high = np.floor(one.corners.min(axis=0)).astype(int), np.ceil(one.corners.max(axis=0)).astype(int)
    x1, y1, x2, y2 = max(0, low[0]), max(0, low[1]), min(width, high[0] + 1), min(height, high[1] + 1)
    if x2 <= x1 or y2 <= y1:
        return
    levels = _pyramid(one.card.kind, one.card.variant)
    span = max(float(np.abs(one.corners[1, 0] - one.corners[0, 0])), 1.0)
    tall = max(float(np.abs(one.corners[2:, 1] - one.corners[1::-1, 1]).max()), 1.0)
    shown = abs(one.card.across[1] - one.card.across[0])
    wanted = np.log2(max(levels[0].shape[1] * shown / span, levels[0].shape[0] / tall, 1.0))
    picture = levels[min(int(wanted), len(levels) - 1)]
    rows, columns = picture.shape[:2]
    left, right = one.card.across[0] * columns, one.card.across[1] * columns
    source = np.array([(left, rows), (right, rows), (right, 0), (left, 0)], np.float32)
    matrix = cv2.getPerspectiveTransform(source, (one.corners - [x1, y1]).astype(np.float32))
    shape = (x2 - x1, y2 - y1)
    drawn = cv2.warpPerspective(picture, matrix, shape, flags=cv2.INTER_LINEAR, borderValue=(0, 0, 0, 0))
    _mix(canvas[y1:y2, x1:x2], depth[y1:y2, x1:x2], drawn, one, light)


def _mix(canvas: Field, depth: Field, drawn: UInt8, one: _Placed, light: Light) -> None:
    clear = float(np.exp(-one.depth_m * light.haze_per_m))
    gain = np.array(one.card.tint) * (np.array(light.sky) + 0.75 * np.array(light.sun)) * clear
    veil = np.array(light.haze) * ((1 - clear) / 255)
    colour = cv2.transform(drawn.astype(np.float32), np.column_stack([np.diag(gain), veil]))
    canvas *= (1 - drawn[..., 3] * np.float32(1 / 255))[..., None]
    canvas += colour
    depth[drawn[..., 3] > 127] = one.depth_m
