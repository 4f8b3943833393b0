"""What a sensor makes of the light: too little, too much, and noise.

Photons arrive by Poisson's law, approximated by a normal one, and reading them out adds noise of its own (Foi et al.,
"Practical Poissonian-Gaussian noise modeling and fitting for single-image raw-data", 2008).
"""

from __future__ import annotations

import numpy as np

from streamvision.distort.linear import by_table, to_linear, to_srgb
from streamvision.types import Float32, UInt8

_DARK_STOPS = (1.2, 2.0, 2.9, 3.8, 4.8)
_DARK_ELECTRONS = (3000.0, 2000.0, 1300.0, 900.0, 600.0)
_NIGHT = np.array([0.92, 1.0, 1.06], np.float32)
"""Lamps are off, what is left of the sky is blue."""

_EXPOSURE_STOPS = (0.7, 1.2, 1.7, 2.3, 3.0)
_NOISE_ELECTRONS = (900.0, 400.0, 180.0, 80.0, 35.0)
"""How many electrons white is."""
_READ_ELECTRONS = 3.0


def dark(rgb: UInt8, strength: int, rng: np.random.Generator) -> UInt8:
    """Return the picture with a fraction of the light, and the noise that then shows."""
    light = to_linear(rgb) * (_NIGHT * np.float32(2.0 ** -_DARK_STOPS[strength - 1]))
    return to_srgb(_exposed(light, _DARK_ELECTRONS[strength - 1], rng))


def exposure(rgb: UInt8, strength: int, rng: np.random.Generator) -> UInt8:
    """Return the picture over- or underexposed: the direction is ``rng``'s."""
    sign = 1 if rng.random() < 0.5 else -1
    return by_table(rgb, 2.0 ** (sign * _EXPOSURE_STOPS[strength - 1]))


def noise(rgb: UInt8, strength: int, rng: np.random.Generator) -> UInt8:
    """Return the picture of a small or warm sensor: as bright as before, and noisy."""
    return to_srgb(_exposed(to_linear(rgb), _NOISE_ELECTRONS[strength - 1], rng))


def _exposed(light: Float32, electrons: float, rng: np.random.Generator) -> Float32:
    """Return light as a sensor counts it for which white is so many electrons."""
    sigma = np.sqrt(light * np.float32(1 / electrons) + np.float32((_READ_ELECTRONS / electrons) ** 2))
    sigma *= rng.standard_normal(light.shape, np.float32)
    sigma += light
    return np.asarray(sigma, np.float32)
