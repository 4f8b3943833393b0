"""What keeps the sun from the ground: figures, cards, bridges, and leaves overhead."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from streamvision.capture.drawn.camera import NEAR_M
from streamvision.capture.drawn.painter import shadows
from streamvision.capture.drive.cards import Card
from streamvision.capture.drive.ground import Lie, on_ground
from streamvision.capture.drive.noise import leaves
from streamvision.capture.drive.scene import Scene

Field = NDArray[np.float32]


def shaded(scene: Scene, where: Lie) -> Field:
    """Return how much of the sun (h,w,2: direct, around) every pixel of the ground's rows misses, 0..1."""
    shadow = shadows(scene.camera, scene.things, scene.light)[where.top :]
    direct, around = np.ascontiguousarray(shadow[..., 0]), np.ascontiguousarray(shadow[..., 1])
    if max(scene.light.sun) > 0.08:
        _cards(scene, where, direct)
        _overhead(scene, where, direct)
    width = max(3, scene.camera.size_wh[0] // 160) | 1
    direct = cv2.GaussianBlur(direct, (3, 3), 0)
    around = cv2.GaussianBlur(around, (width, width), 0)
    for near, far in scene.shade.bands:
        around = np.maximum(around, _band(where, near, far) * np.float32(0.7))
    return np.dstack([direct, around])


def _overhead(scene: Scene, where: Lie, direct: Field) -> None:
    shade = scene.shade
    for near, far in shade.bands:
        np.maximum(direct, _band(where, near, far), out=direct)
    if shade.dapple <= 0:
        return
    dark = on_ground(leaves(), where, scene.road.offset_m, 11, 8) * np.float32(shade.dapple)
    soft = np.float32(1 / 1.5)
    reach = np.zeros_like(dark)
    rough = on_ground(leaves(), where, scene.road.offset_m, 2, 2.4) * 3
    if shade.left_d is not None:
        reach = np.maximum(reach, np.clip((shade.left_d + rough - where.d) * soft, 0, 1))
    if shade.right_d is not None:
        reach = np.maximum(reach, np.clip((where.d + rough - shade.right_d) * soft, 0, 1))
    np.maximum(direct, dark * reach, out=direct)


def _band(where: Lie, near: float, far: float) -> Field:
    return np.asarray(np.clip(np.minimum(where.s - near, far - where.s) * 1.5 + 0.5, 0, 1), np.float32)


def _cards(scene: Scene, where: Lie, direct: Field) -> None:
    """Let house fronts and barriers throw their shadows, and trees one of a round crown."""
    sun = np.asarray(scene.light.to_sun)
    mask = np.zeros(direct.shape, np.uint8)
    for card in scene.cards:
        outline = _crown(card) if card.kind == "tree" else _sheet(card)
        height = outline[:, 2:] - card.foot[:, 2].min()
        fallen = outline - height * (sun / max(float(sun[2]), 0.15))
        pixels, depth = scene.camera.project(fallen)
        if depth.min() > NEAR_M:
            fixed = np.round(np.clip(pixels - [0.5, 0.5 + where.top], -30000, 30000) * 16).astype(np.int32)
            cv2.fillConvexPoly(mask, cv2.convexHull(fixed), 255, cv2.LINE_8, 4)
    np.maximum(direct, mask * np.float32(0.92 / 255), out=direct)


def _sheet(card: Card) -> NDArray[np.float64]:
    lift = np.array([0, 0, card.height_m * 0.9])
    return np.concatenate([card.foot, card.foot[::-1] + lift])


def _crown(card: Card) -> NDArray[np.float64]:
    centre = card.foot.mean(axis=0) + np.array([0, 0, card.height_m * 0.62])
    angles = np.linspace(0, 2 * np.pi, 10, endpoint=False)
    radius = card.height_m * 0.27
    ring = np.stack([np.cos(angles), np.sin(angles), 0.4 * np.sin(angles + 1)], axis=1) * radius
    return np.asarray(centre + ring)
