"""sRGB (IEC 61966-2-1) <-> linear light, by tables: light adds and scales only in linear values."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from streamvision.types import Float32, UInt8

_STEPS = 4096


def _decode(value: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def _encode(light: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)


_TO_LINEAR: Float32 = _decode(np.arange(256) / 255).astype(np.float32)
_TO_SRGB: UInt8 = np.round(_encode((np.arange(_STEPS) + 0.5) / _STEPS) * 255).astype(np.uint8)


def to_linear(rgb: UInt8) -> Float32:
    """Return light (h,w,3) float32 in [0,1] of an sRGB picture."""
    return np.asarray(cv2.LUT(rgb, _TO_LINEAR), np.float32)


def to_srgb(light: Float32) -> UInt8:
    """Return the sRGB picture of light; what is brighter than 1 is clipped, as by a sensor."""
    steps = np.clip(light * np.float32(_STEPS), 0, _STEPS - 1).astype(np.uint16)
    return np.asarray(_TO_SRGB[steps], np.uint8)


def by_table(rgb: UInt8, gain: float) -> UInt8:
    """Return an sRGB picture whose light is multiplied by ``gain``."""
    return np.asarray(cv2.LUT(rgb, to_srgb(_TO_LINEAR * np.float32(gain))), np.uint8)
