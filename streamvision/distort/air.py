"""Fog and rain: what is between the camera and the scene.

Fog by Koschmieder's law (1924): light = scene * t + airlight * (1 - t), t = exp(-extinction * distance). A single
picture tells no distances; cameras over ground see farther the higher they look, up to the horizon.
"""

from __future__ import annotations

import cv2
import numpy as np

from streamvision.distort.linear import to_linear, to_srgb
from streamvision.types import Float32, UInt8

_FOG = (0.35, 0.65, 1.05, 1.6, 2.4)
"""The optical depth of half the way to the horizon."""
_AIRLIGHT = (0.55, 0.75)
_HORIZON = (0.2, 0.45)
_NEAREST = 0.35
_CLOUDS = (6, 10)
_PATCHY = 0.25

_DROPS = (0.0008, 0.0016, 0.0028, 0.0045, 0.007)
"""Streaks per pixel of a picture 512 px wide."""
_VEIL = (0.04, 0.08, 0.13, 0.19, 0.27)
_STREAK = (0.35, 0.42, 0.5, 0.58, 0.66)
_REFERENCE_PX = 512.0


def fog(rgb: UInt8, strength: int, rng: np.random.Generator) -> UInt8:
    """Return the picture in fog that gets thicker towards the horizon and is not the same everywhere."""
    height, width = rgb.shape[:2]
    horizon, airlight = rng.uniform(*_HORIZON), rng.uniform(*_AIRLIGHT)
    rows = (np.arange(height) + 0.5) / height
    below = np.clip((rows - horizon) / (1 - horizon), 0, 1)
    distance = (_NEAREST + (1 - _NEAREST) * (1 - below) ** 2).astype(np.float32)
    patches = 1 + np.float32(_PATCHY) * _clouds(height, width, rng)
    through = np.exp(np.float32(-_FOG[strength - 1]) * distance[:, None] * patches)[..., None]
    return to_srgb(to_linear(rgb) * through + np.float32(airlight) * (1 - through))


def _clouds(height: int, width: int, rng: np.random.Generator) -> Float32:
    """Return a smooth random field (h,w) in [-1,1]."""
    coarse = rng.uniform(-1, 1, _CLOUDS).astype(np.float32)
    field = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.asarray(field.clip(-1, 1), np.float32)


def rain(rgb: UInt8, strength: int, rng: np.random.Generator) -> UInt8:
    """Return the picture in rain: bright streaks of one direction, near ones longer, and a grey veil behind them."""
    height, width = rgb.shape[:2]
    scale = max(width, height) / _REFERENCE_PX
    lean = rng.uniform(-0.35, 0.35)
    count = round(_DROPS[strength - 1] * width * height / scale**2)
    streaks = np.zeros((height, width), np.uint8)
    x, y = rng.uniform(0, width, count), rng.uniform(-0.1, 1, count) * height
    length = rng.uniform(6, 26, count) * scale
    ends = np.stack([np.stack([x, y], 1), np.stack([x + lean * length, y + length], 1)], 1)
    thick = max(1, round(scale))
    for bright, part in enumerate(np.array_split(ends, 3)):
        cv2.polylines(streaks, list(part.round().astype(np.int32)), False, 130 + 55 * bright, thick, cv2.LINE_AA)
    wet = cv2.GaussianBlur(streaks, (3, 3), 0).astype(np.float32)[..., None] * np.float32(_STREAK[strength - 1] / 255)
    veil = np.float32(_VEIL[strength - 1])
    behind = rgb * (1 - veil) + veil * np.float32(165)
    return np.asarray(behind * (1 - wet) + np.float32(235) * wet, np.uint8)
