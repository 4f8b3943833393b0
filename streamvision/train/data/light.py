"""What happens to a picture's light, colours and surface; nothing in it moves. In place, numpy and cv2 only."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from streamvision.dataset import UNLABELLED
from streamvision.distort import KINDS, distort
from streamvision.geometry import iou_matrix
from streamvision.train.augmentation import Augmentation
from streamvision.train.data.sample import Sample
from streamvision.types import UInt8

Random = np.random.Generator

_TO_YIQ = np.array([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
_SMALL_SHARE = 0.01
"""An object is small that covers less of the picture: a 38 px square in 512x288."""
_MAX_COPIES = 3
_TRIES = 10
_MAX_ERASED = 0.06
_GONE = 0.7
"""An object of which more is erased is neither right nor wrong any more."""


def vary(sample: Sample, options: Augmentation, rng: Random) -> None:
    """Change light, colours, distortion and patches of a picture, as ``options`` allow and ``rng`` decides."""
    table = _tone(options, rng)
    if table is not None:
        sample.rgb = np.asarray(cv2.LUT(sample.rgb, table), np.uint8)
    matrix = _colours(options, rng)
    if matrix is not None:
        sample.rgb = np.asarray(cv2.transform(sample.rgb, matrix), np.uint8)
    if rng.random() < options.distort:
        kind = KINDS[int(rng.integers(len(KINDS)))]
        sample.rgb = distort(sample.rgb, kind, int(rng.integers(1, options.distort_strength + 1)), rng)
    if rng.random() < options.erase:
        _erase(sample, rng)


def _tone(options: Augmentation, rng: Random) -> UInt8 | None:
    """Return the new value (256,) of each grey level; None where nothing changes."""
    brightness, contrast, gamma = (
        float(rng.uniform(-1, 1)) * each for each in (options.brightness, options.contrast, options.gamma)
    )
    if not (options.brightness or options.contrast or options.gamma):
        return None
    level = (np.arange(256) / 255.0) ** np.exp(gamma)
    level = (level - 0.5) * (1 + contrast) + 0.5 + brightness * 0.5
    return np.asarray(np.round(level * 255).clip(0, 255), np.uint8)


def _colours(options: Augmentation, rng: Random) -> NDArray[np.float32] | None:
    """Return the matrix (3,3) that changes saturation and turns hues (in YIQ, where a turn leaves luma alone)."""
    saturation = 1 + float(rng.uniform(-1, 1)) * options.saturation
    turn = 2 * np.pi * float(rng.uniform(-1, 1)) * options.hue
    if rng.random() < options.gray:
        saturation = 0.0
    elif not (options.saturation or options.hue):
        return None
    cos, sin = np.cos(turn) * saturation, np.sin(turn) * saturation
    change = np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]])
    return np.asarray(np.linalg.inv(_TO_YIQ) @ change @ _TO_YIQ, np.float32)


def _erase(sample: Sample, rng: Random) -> None:
    """Fill a patch with noise; an object that it hides almost wholly is ignored from then on."""
    height, width = sample.rgb.shape[:2]
    area, ratio = rng.uniform(0.005, _MAX_ERASED) * width * height, np.exp(rng.uniform(-1, 1))
    across, down = min(width, int(np.sqrt(area * ratio)) + 1), min(height, int(np.sqrt(area / ratio)) + 1)
    x, y = int(rng.integers(0, width - across + 1)), int(rng.integers(0, height - down + 1))
    sample.rgb[y : y + down, x : x + across] = rng.integers(0, 256, (down, across, 3), dtype=np.uint8)
    for raster in sample.maps.values():
        raster[y : y + down, x : x + across] = UNLABELLED
    patch = np.array([x, y, x + across, y + down], np.float32)
    shared = np.minimum(sample.xyxy[:, 2:], patch[2:]) - np.maximum(sample.xyxy[:, :2], patch[:2])
    sides = sample.xyxy[:, 2:] - sample.xyxy[:, :2]
    hidden = shared.clip(min=0).prod(1) / np.maximum(sides.prod(1), 1e-6)
    sample.ignore |= hidden > _GONE


def copy_small(sample: Sample, rng: Random) -> None:
    """Show some small objects once more elsewhere, where they cover no other."""
    height, width = sample.rgb.shape[:2]
    sides = sample.xyxy[:, 2:] - sample.xyxy[:, :2]
    small = np.flatnonzero((sides.prod(1) < _SMALL_SHARE * width * height) & (sides.min(1) >= 4) & ~sample.ignore)
    for row in rng.permutation(small)[:_MAX_COPIES].tolist():
        left, top = np.floor(sample.xyxy[row, :2]).astype(int).tolist()
        right, bottom = np.ceil(sample.xyxy[row, 2:]).astype(int).tolist()
        for _ in range(_TRIES):
            x = int(rng.integers(0, width - (right - left) + 1))
            y = int(rng.integers(0, height - (bottom - top) + 1))
            moved = sample.xyxy[row] + np.array([x - left, y - top] * 2, np.float32)
            if not iou_matrix(moved[None], sample.xyxy).any():
                _paste(sample, row, (left, top, right, bottom), (x, y), moved)
                break


def _paste(sample: Sample, row: int, window: tuple[int, int, int, int], to_xy: tuple[int, int], box: UInt8) -> None:
    left, top, right, bottom = window
    target = (slice(to_xy[1], to_xy[1] + bottom - top), slice(to_xy[0], to_xy[0] + right - left))
    sample.rgb[target] = sample.rgb[top:bottom, left:right].copy()
    for raster in sample.maps.values():
        raster[target] = raster[top:bottom, left:right].copy()
    sample.xyxy = np.concatenate([sample.xyxy, box[None]])
    sample.labels = np.concatenate([sample.labels, sample.labels[row : row + 1]])
    sample.ignore = np.concatenate([sample.ignore, sample.ignore[row : row + 1]])
    if sample.masks is not None:
        mask = np.zeros_like(sample.masks[row])
        mask[target] = sample.masks[row, top:bottom, left:right]
        sample.masks[:, target[0], target[1]] = 0
        sample.masks = np.concatenate([sample.masks, mask[None]])
