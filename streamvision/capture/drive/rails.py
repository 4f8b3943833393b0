"""Barriers beside a road as flat pictures: steel rail, concrete, fence, railing, brick wall, striped blocks."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from streamvision.capture.drive.noise import TILE, blotches, grain
from streamvision.types import UInt8

_TALL = 64


def rail(variant: int) -> UInt8:
    """Return a stretch of barrier (64,256,4): ``variant`` modulo 6 is its kind, the rest its age and colour."""
    rng = np.random.default_rng([41, variant])
    picture = np.zeros((_TALL, TILE, 3), np.float32)
    alpha = np.zeros((_TALL, TILE), np.float32)
    _KINDS[variant % len(_KINDS)](rng, picture, alpha)
    picture *= 1 + 0.05 * grain()[:_TALL, :, None] + 0.07 * blotches()[:_TALL, :, None]
    return np.dstack([np.clip(picture, 0, 255) * (alpha[..., None] / 255), alpha]).astype(np.uint8)


Layer = NDArray[np.float32]


def _steel(rng: np.random.Generator, picture: Layer, alpha: Layer) -> None:
    ink = np.array([168, 166, 160]) * rng.uniform(0.6, 1.1)
    for x in range(8, TILE, 48):
        picture[14:, x : x + 5], alpha[14:, x : x + 5] = ink * 0.55, 255
    for row in range(6, 32):
        picture[row], alpha[row] = ink * (0.8 + 0.35 * np.sin((row - 6) / 26 * 4 * np.pi)), 255


def _concrete(rng: np.random.Generator, picture: Layer, alpha: Layer) -> None:
    ink = np.array([158, 166, 170]) * rng.uniform(0.6, 1.15)
    picture[:], alpha[:] = ink, 255
    picture[:6] *= 1.15
    picture[40:] *= 0.82
    picture[:, ::64] *= 0.7


def _fence(rng: np.random.Generator, picture: Layer, alpha: Layer) -> None:
    ink = np.array([80, 110, 140]) * rng.uniform(0.5, 1.3)
    for x in range(0, TILE, int(rng.integers(8, 16))):
        picture[:, x : x + 4], alpha[:, x : x + 4] = ink * rng.uniform(0.8, 1.2), 255
    for row in (12, 44):
        picture[row : row + 5], alpha[row : row + 5] = ink * 0.9, 255


def _railing(rng: np.random.Generator, picture: Layer, alpha: Layer) -> None:
    ink = np.array([90, 90, 86]) * rng.uniform(0.3, 1.9)
    for x in range(0, TILE, 10):
        picture[:, x : x + 2], alpha[:, x : x + 2] = ink, 255
    for row in (2, 54):
        picture[row : row + 4], alpha[row : row + 4] = ink * 1.1, 255


def _wall(rng: np.random.Generator, picture: Layer, alpha: Layer) -> None:
    ink = np.array([100, 126, 160]) * rng.uniform(0.5, 1.25)
    picture[:], alpha[:] = ink, 255
    for row in range(0, _TALL, 8):
        picture[row] *= 0.75
        start = 0 if (row // 8) % 2 else 8
        picture[row : row + 8, start::16] *= 0.78
    if rng.random() < 0.5:
        for _ in range(8):
            x, wide = int(rng.integers(0, TILE - 30)), int(rng.integers(8, 30))
            cv2.rectangle(picture, (x, 14), (x + wide, 48), rng.uniform(30, 220, 3).tolist(), -1)


def _striped(rng: np.random.Generator, picture: Layer, alpha: Layer) -> None:
    """Paint low kerb blocks in two colours, as they stand on medians in India."""
    inks = (np.array([210.0, 214, 216]), np.array([[50.0, 50, 50], [40, 160, 210], [60, 60, 190]][rng.integers(3)]))
    for number, x in enumerate(range(0, TILE, 32)):
        picture[:, x : x + 32] = inks[number % 2]
    alpha[:] = 255


_KINDS = (_steel, _concrete, _fence, _railing, _wall, _striped)
