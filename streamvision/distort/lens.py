"""Blur: a lens out of focus, or a camera or scene that moves while the shutter is open."""

from __future__ import annotations

import cv2
import numpy as np

from streamvision.types import Float32, UInt8

_DEFOCUS_PX = (1.2, 2.0, 3.0, 4.2, 6.0)
_MOTION_PX = (5.0, 8.0, 12.0, 17.0, 24.0)
_REFERENCE_PX = 512.0
_FINE = 8


def blur(rgb: UInt8, strength: int, rng: np.random.Generator) -> UInt8:
    """Return the picture out of focus (a disc) or in motion (a line): which, and in which direction, is ``rng``'s."""
    scale = max(rgb.shape[:2]) / _REFERENCE_PX
    if rng.random() < 0.5:
        kernel = _disc(_DEFOCUS_PX[strength - 1] * scale)
    else:  # mostly level: vehicles and panning cameras move that way
        kernel = _line(_MOTION_PX[strength - 1] * scale, float(rng.normal(0, 0.3)))
    return np.asarray(cv2.filter2D(rgb, -1, kernel, borderType=cv2.BORDER_REFLECT), np.uint8)


def _disc(radius: float) -> Float32:
    """Return a disc of light that sums to 1, its border shared among the pixels that it crosses."""
    reach = int(np.ceil(radius))
    steps = (np.arange((2 * reach + 1) * _FINE) + 0.5) / _FINE - reach - 0.5
    inside = (np.hypot(steps[:, None], steps[None]) <= radius).astype(np.float32)
    return _pooled(inside, 2 * reach + 1)


def _line(length: float, angle: float) -> Float32:
    """Return a line of light that sums to 1."""
    side = 2 * int(np.ceil(length / 2)) + 1
    steps = np.linspace(-length / 2, length / 2, int(length * _FINE) + 1)
    cells = np.stack([steps * np.sin(angle), steps * np.cos(angle)]) + side / 2
    kernel = np.zeros((side, side), np.float32)
    rows, columns = np.floor(cells).astype(int).clip(0, side - 1)
    np.add.at(kernel, (rows, columns), 1)
    return np.asarray(kernel / kernel.sum(), np.float32)


def _pooled(fine: Float32, side: int) -> Float32:
    cells = fine.reshape(side, _FINE, side, _FINE).sum((1, 3))
    return np.asarray(cells / cells.sum(), np.float32)
