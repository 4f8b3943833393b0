"""Light from lamps: pools under street lamps and before headlamps."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from streamvision.capture.drawn.painter import Thing
from streamvision.capture.street.variety.backdrop import Backdrop
from streamvision.capture.street.variety.mood import Mood

Field = NDArray[np.float32]
_DRIVES = ("car", "truck", "bus", "motorcycle")


def glowing(
    rng: np.random.Generator, bgr: Field, behind: Backdrop, things: list[Thing], feel: Mood
) -> tuple[Field, list[Thing]]:
    """Light up the ground and the things near lamps; nothing changes by day."""
    if feel.lit <= 0:
        return bgr, things
    ink = np.array([0.55, 0.8, 1.05] if rng.random() < 0.5 else [1.0, 1.0, 0.95], np.float32)
    lamps = np.column_stack([rng.uniform(-30, 30, (7, 2)), rng.uniform(3, 9, 7)])
    strength = feel.lit * float(rng.uniform(1.5, 5.0))
    pools = np.zeros(bgr.shape[:2], np.float32)
    for x, y, size in lamps:
        pools += np.exp(-((behind.east - x) ** 2 + (behind.north - y) ** 2) / (2 * size**2))
    beams = np.zeros_like(pools)
    for thing in [one for one in things if one.name in _DRIVES and rng.random() < 0.6][:8]:
        beams += _beam(thing, behind)
    gain = 1 + strength * pools[..., None] * ink
    gain += (
        np.where(behind.ground, beams, 0)[..., None] * np.float32(4.0 * feel.lit) * np.array([0.9, 1, 1], np.float32)
    )
    lit = []
    for thing in things:
        x, y = thing.figure.place[:2]
        near = float(np.exp(-((lamps[:, 0] - x) ** 2 + (lamps[:, 1] - y) ** 2) / (2 * lamps[:, 2] ** 2)).sum())
        lit.append(replace(thing, gain=thing.gain * (1 + strength * near)))
    return np.asarray(bgr * gain, np.float32), lit


def _beam(thing: Thing, behind: Backdrop) -> Field:
    """Return how brightly a vehicle's headlamps light the ground (h,w)."""
    x, y, _, heading = thing.figure.place
    ahead = (
        (behind.east - x) * np.cos(heading) + (behind.north - y) * np.sin(heading) - thing.figure.bounds[:, 1, 0].max()
    )
    aside = -(behind.east - x) * np.sin(heading) + (behind.north - y) * np.cos(heading)
    wide = 0.8 + 0.22 * np.maximum(ahead, 0)
    return np.asarray(np.exp(-((aside / wide) ** 2)) * np.exp(-np.maximum(ahead, 0) / 8) * (ahead > 0), np.float32)
