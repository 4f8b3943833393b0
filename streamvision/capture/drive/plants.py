"""Trees, bushes and hedges as flat pictures with transparent gaps."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from streamvision.capture.drive.noise import TILE, blotches, grain
from streamvision.types import UInt8

_SIDE = 192
_GREENS = ((48, 92, 72), (40, 74, 62), (56, 108, 92), (44, 84, 84), (60, 104, 128), (34, 62, 50), (70, 112, 110))


def tree(variant: int) -> UInt8:
    """Return tree ``variant`` (192,192,4), its foot in the middle of the bottom row.

    Every fifth is bare, every fifth a conifer, every seventh a palm, every sixth a bush.
    """
    rng = np.random.default_rng([31, variant])
    picture = np.zeros((_SIDE, _SIDE, 3), np.float32)
    alpha = np.zeros((_SIDE, _SIDE), np.float32)
    bark = np.array([52, 66, 80]) * rng.uniform(0.5, 1.2)
    if variant % 6 == 5:
        _crown(rng, picture, alpha, (0.5, 0.62), (0.44, 0.36))
    elif variant % 5 == 4:
        _branches(rng, picture, alpha, bark, depth=7)
    elif variant % 5 == 3:
        _trunk(picture, alpha, bark, 0.5, 0.03)
        _conifer(rng, picture, alpha)
    elif variant % 7 == 6:
        _palm(rng, picture, alpha, bark)
    else:
        _branches(rng, picture, alpha, bark, depth=4)
        high = rng.uniform(0.34, 0.46)
        _crown(rng, picture, alpha, (0.5, high), (rng.uniform(0.26, 0.47), high * rng.uniform(0.75, 0.98)))
    return np.dstack([np.clip(picture, 0, 255) * (alpha[..., None] / 255), alpha]).astype(np.uint8)


def hedge(variant: int) -> UInt8:
    """Return a stretch of hedge, wood's edge or high grass (96,256,4) with a ragged top."""
    rng = np.random.default_rng([32, variant])
    rows, columns = 96, TILE
    field = blotches()[:rows] * 0.6 + grain()[40 : 40 + rows] * 0.5
    ragged = 14 + 12 * blotches()[120 + variant % 60] + 5 * grain()[variant % 200]
    height = np.arange(rows)[:, None] - np.clip(ragged, 0, 60)[None, :]
    alpha = np.clip((height + 4 * field) * 90, 0, 255)
    ink = np.array(_GREENS[variant % len(_GREENS)], np.float32) * rng.uniform(0.7, 1.2)
    light = 1.15 - 0.6 * np.clip(height / rows, 0, 1) + 0.3 * field
    picture = ink * np.clip(light, 0.2, 2)[..., None]
    return (
        np.dstack([np.clip(picture, 0, 255) * (alpha[..., None] / 255), alpha])
        .reshape(rows, columns, 4)
        .astype(np.uint8)
    )


def _trunk(picture: NDArray[np.float32], alpha: NDArray[np.float32], ink: NDArray[np.float64], at: float,
           wide: float) -> None:  # fmt: skip
    x, half = round(at * _SIDE), max(1, round(wide * _SIDE / 2))
    for offset in range(-half, half + 1):
        picture[_SIDE // 3 :, x + offset] = ink * (1.1 - 0.5 * (offset + half) / (2 * half + 1))
        alpha[_SIDE // 3 :, x + offset] = 255


def _branches(rng: np.random.Generator, picture: NDArray[np.float32], alpha: NDArray[np.float32],
              ink: NDArray[np.float64], depth: int) -> None:  # fmt: skip
    """Draw a trunk that forks again and again."""
    todo = [(np.array([_SIDE / 2, _SIDE - 1.0]), -np.pi / 2, _SIDE * rng.uniform(0.2, 0.3), _SIDE * 0.035, depth)]
    while todo:
        start, angle, length, thick, left = todo.pop()
        end = start + length * np.array([np.cos(angle), np.sin(angle)])
        ends = np.round(np.stack([start, end]) * 16).astype(int).tolist()
        cv2.line(picture, ends[0], ends[1], (ink * rng.uniform(0.8, 1.2)).tolist(), max(1, round(thick)), cv2.LINE_8, 4)
        cv2.line(alpha, ends[0], ends[1], 255, max(1, round(thick)), cv2.LINE_8, 4)
        if left:
            for side in (-1, 1, 0)[: 2 + (rng.random() < 0.5)]:
                turn = side * rng.uniform(0.25, 0.7) + rng.normal(0, 0.1)
                todo.append((end, angle + turn, length * rng.uniform(0.62, 0.85), thick * 0.62, left - 1))


def _crown(rng: np.random.Generator, picture: NDArray[np.float32], alpha: NDArray[np.float32],
           centre: tuple[float, float], radii: tuple[float, float]) -> None:  # fmt: skip
    """Draw foliage: clumps of leaves, lit from above on one side, with gaps where the sky comes through."""
    y, x = np.mgrid[0:_SIDE, 0:_SIDE] / _SIDE
    spots = rng.uniform(-1, 1, (26, 2))
    spots = spots[np.hypot(*spots.T) < 1] * np.array(radii) * 0.72 + centre
    clump = np.min([np.hypot((x - sx) / radii[0], (y - sy) / radii[1]) for sx, sy in spots], axis=0)
    shift = rng.integers(0, 60, 2)
    rough = grain()[shift[0] : shift[0] + _SIDE, shift[1] : shift[1] + _SIDE]
    mottled = blotches()[shift[1] : shift[1] + _SIDE, shift[0] : shift[0] + _SIDE]
    inside = (rng.uniform(0.34, 0.44) - clump) * 900 + 90 * rough + 40 * mottled
    ink = np.array(_GREENS[rng.integers(len(_GREENS))], np.float32) * rng.uniform(0.65, 1.25)
    side = rng.choice([-0.5, 0.5])
    light = 0.95 - 0.75 * (y - centre[1]) / radii[1] + side * (x - centre[0]) / radii[0] * 0.5 - 0.7 * clump
    foliage = ink * np.clip(light + 0.22 * rough + 0.15 * mottled, 0.18, 2.2)[..., None]
    share = np.clip(inside, 0, 255) / 255
    picture += (foliage - picture) * share[..., None]
    np.maximum(alpha, share * 255, out=alpha)


def _conifer(rng: np.random.Generator, picture: NDArray[np.float32], alpha: NDArray[np.float32]) -> None:
    y, x = np.mgrid[0:_SIDE, 0:_SIDE] / _SIDE
    rough = grain()[:_SIDE, 30 : 30 + _SIDE]
    tiers = 0.75 + 0.25 * np.abs(np.sin(y * rng.uniform(16, 28)))
    reach = np.clip(y - 0.03, 0, 1) * rng.uniform(0.24, 0.4) * tiers
    share = np.clip((reach - np.abs(x - 0.5)) * 60 + rough, 0, 1) * (y < 0.92)
    ink = np.array([44, 66, 40]) * rng.uniform(0.6, 1.3)
    foliage = ink * np.clip(1.05 - 0.8 * (x - 0.4) + 0.3 * rough, 0.2, 2)[..., None]
    picture += (foliage - picture) * share[..., None]
    np.maximum(alpha, share * 255, out=alpha)


def _palm(rng: np.random.Generator, picture: NDArray[np.float32], alpha: NDArray[np.float32],
          bark: NDArray[np.float64]) -> None:  # fmt: skip
    top = np.array([_SIDE * rng.uniform(0.45, 0.55), _SIDE * 0.24])
    for canvas, ink in ((picture, bark.tolist()), (alpha, (255,))):
        cv2.line(canvas, (_SIDE // 2, _SIDE - 1), top.astype(int).tolist(), ink, 5)
    for angle in np.linspace(0, 2 * np.pi, 15):
        at = np.linspace(0, 1, 8)
        bend = np.stack([np.cos(angle) * at, np.sin(angle) * 0.5 * at + 0.55 * at**2 - 0.25 * at], axis=1)
        leaf = np.int32((top + bend * _SIDE * rng.uniform(0.25, 0.36)) * 16)
        green = (np.array([52, 104, 84]) * rng.uniform(0.6, 1.3)).tolist()
        cv2.polylines(picture, [leaf], False, green, 4, cv2.LINE_8, 4)
        cv2.polylines(alpha, [leaf], False, 255, 4, cv2.LINE_8, 4)
