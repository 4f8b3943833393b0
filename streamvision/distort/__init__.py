"""What weather, light, lenses, sensors and codecs do to a camera's picture, each in five strengths.

Used to harden networks in training and to measure how much of them is left.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from streamvision.distort import air, codecs, lens, sensor
from streamvision.types import UInt8

Distortion = Callable[[UInt8, int, np.random.Generator], UInt8]

_DISTORTIONS: dict[str, Distortion] = {
    "fog": air.fog,
    "rain": air.rain,
    "dark": sensor.dark,
    "exposure": sensor.exposure,
    "noise": sensor.noise,
    "blur": lens.blur,
    "compression": codecs.compression,
    "h264": codecs.h264,
}
KINDS: tuple[str, ...] = tuple(_DISTORTIONS)
STRENGTHS = (1, 2, 3, 4, 5)


def distort(rgb: UInt8, kind: str, strength: int, rng: np.random.Generator) -> UInt8:
    """Return a picture (h,w,3) uint8 RGB after one of `KINDS`, strength 1 (noticed) to 5 (hardly anything is left).

    The same ``rng`` state gives the same picture. Raises ValueError for another kind, strength or array.
    """
    if kind not in _DISTORTIONS:
        raise ValueError(f"there is no distortion {kind!r}, only {', '.join(KINDS)}")
    if strength not in STRENGTHS:
        raise ValueError(f"strength goes from 1 to 5, not {strength!r}")
    if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3 or 0 in rgb.shape:
        raise ValueError(f"expected uint8 (h, w, 3), got {rgb.dtype} {rgb.shape}")
    return _DISTORTIONS[kind](rgb, strength, rng)
