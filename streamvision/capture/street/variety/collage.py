"""Backgrounds that show no place: noise, patches, stripes and shapes of any colours."""

from __future__ import annotations

import cv2
import numpy as np

from streamvision.capture.drawn.camera import Camera
from streamvision.capture.drawn.inks import coloured
from streamvision.capture.street.variety.backdrop import Backdrop
from streamvision.capture.street.variety.places import UNKNOWN
from streamvision.capture.street.variety.textures import GROUNDS, NUMBERS, SIDE, clouds, ground_tile
from streamvision.capture.street.variety.walls import NUMBERS as WALLS
from streamvision.capture.street.variety.walls import OUTDOORS, wall
from streamvision.types import UInt8


def collage(rng: np.random.Generator, camera: Camera) -> Backdrop:
    """Return a backdrop that is no place; nothing is known of roads in it."""
    width, height = camera.size_wh
    picture = _patch(rng, width, height)
    for _ in range(int(rng.integers(0, 9))):
        wide, high = (int(side * rng.uniform(0.1, 0.8)) for side in (width, height))
        x, y = int(rng.integers(0, width - wide)), int(rng.integers(0, height - high))
        picture[y : y + high, x : x + wide] = _patch(rng, wide, high)
    for _ in range(int(rng.integers(0, 25))):
        _shape(rng, picture)
    if rng.random() < 0.3:
        picture = np.asarray(cv2.GaussianBlur(picture, (0, 0), float(rng.uniform(1, 4))), np.uint8)
    field = picture.astype(np.float32) * np.float32(rng.uniform(0.4, 1.1))
    flat = np.zeros((height, width), np.float32)
    unknown = np.full((height, width), UNKNOWN, np.uint8)
    return Backdrop(field, np.ones((height, width), np.bool_), flat, flat, flat, unknown, unknown.copy())


def _patch(rng: np.random.Generator, wide: int, high: int) -> UInt8:
    """Return a texture, a wall, a cloudy blend or a slope of two colours."""
    kind = rng.random()
    if kind < 0.4:
        tile = ground_tile(str(rng.choice(GROUNDS)), int(rng.integers(NUMBERS)))
    elif kind < 0.6:
        tile = wall(str(rng.choice(OUTDOORS)), int(rng.integers(WALLS)))
    else:
        first, second = (np.asarray(coloured(*rng.random(3)), np.float32) for _ in range(2))
        if kind < 0.8:
            share = np.clip(clouds(int(rng.integers(6))) * 0.3 + 0.5, 0, 1)
        else:
            share = np.tile(np.linspace(0, 1, SIDE, dtype=np.float32), (SIDE, 1))
            share = share.T if rng.random() < 0.6 else share
        tile = np.asarray(first * share[..., None] + second * (1 - share[..., None]), np.uint8)
    rows, columns = (max(8, int(side * rng.uniform(0.2, 1.0))) for side in tile.shape[:2])
    y, x = int(rng.integers(0, tile.shape[0] - rows + 1)), int(rng.integers(0, tile.shape[1] - columns + 1))
    return np.asarray(cv2.resize(tile[y : y + rows, x : x + columns], (max(wide, 1), max(high, 1)),
                                 interpolation=cv2.INTER_AREA), np.uint8)  # fmt: skip


def _shape(rng: np.random.Generator, picture: UInt8) -> None:
    height, width = picture.shape[:2]
    ink = coloured(*rng.random(3))
    spots = (rng.random((4, 2)) * [width, height]).astype(int)
    size = int(rng.uniform(3, height * 0.25))
    kind = int(rng.integers(4))
    if kind == 0:
        cv2.line(picture, tuple(spots[0].tolist()), tuple(spots[1].tolist()), ink, int(rng.integers(1, 7)), cv2.LINE_AA)
    elif kind == 1:
        cv2.ellipse(picture, tuple(spots[0].tolist()), (size, max(2, size // 2)), float(rng.uniform(0, 180)), 0, 360,
                    ink, -1, cv2.LINE_AA)  # fmt: skip
    elif kind == 2:
        near = spots[0] + ((rng.random((4, 2)) - 0.5) * 2 * size).astype(int)
        cv2.fillConvexPoly(picture, cv2.convexHull(near.astype(np.int32)), ink, cv2.LINE_AA)
    else:
        corner = spots[0] + [size, int(size * rng.uniform(0.3, 2))]
        cv2.rectangle(picture, tuple(spots[0].tolist()), tuple(corner.tolist()), ink, -1)
