"""By what light a scene is seen, and how surfaces answer to it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamvision.capture.drawn.camera import Points
from streamvision.capture.drawn.parts import Stuff

BGR = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Light:
    """The light of one moment.

    to_sun: unit direction from the ground to the sun (or moon). sun, sky: BGR gains of direct light and of light from
    all around (a white panel towards the sun shows sun + sky). above, below: BGR 0-255 that shiny surfaces mirror.
    lamps 0..1: how brightly lamps shine beside all else. haze: BGR 0-255 and its density per metre.
    """

    to_sun: tuple[float, float, float] = (-0.37, -0.2, 0.907)
    sun: BGR = (0.44, 0.48, 0.5)
    sky: BGR = (0.6, 0.57, 0.54)
    above: BGR = (235.0, 215.0, 195.0)
    below: BGR = (90.0, 92.0, 95.0)
    lamps: float = 0.3
    haze: BGR = (205.0, 200.0, 196.0)
    haze_per_m: float = 0.0


# Per stuff: share of grain, texels of grain per metre, which grain, mirrored share seen from ahead, and at its edge.
_STUFF = {
    Stuff.PAINT: (0.05, 18.0, 1, 0.07, 0.5), Stuff.GLASS: (0.16, 10.0, 1, 0.16, 0.75),
    Stuff.RUBBER: (0.12, 90.0, 0, 0.0, 0.05), Stuff.CLOTH: (0.16, 60.0, 1, 0.0, 0.05),
    Stuff.SKIN: (0.06, 60.0, 1, 0.02, 0.1), Stuff.METAL: (0.12, 60.0, 1, 0.12, 0.5),
    Stuff.LEAF: (0.34, 70.0, 0, 0.0, 0.1), Stuff.WOOD: (0.14, 60.0, 2, 0.0, 0.08),
    Stuff.STONE: (0.12, 40.0, 1, 0.0, 0.04), Stuff.LAMP: (0.1, 90.0, 1, 0.1, 0.4),
    Stuff.PRINT: (0.1, 12.0, 1, 0.02, 0.3),
}  # fmt: skip
_TABLE = np.array([_STUFF[stuff] for stuff in Stuff], np.float32)
GRAIN, TEXELS, KIND, MIRROR, MIRROR_EDGE = _TABLE.T


def surface(
    light: Light, inks: NDArray[np.float32], stuff: NDArray[np.int8], normals: Points, towards: Points
) -> NDArray[np.float32]:
    """Return BGR (n,3) 0-255 of surfaces with inks (n,3), unit normals (n,3) and unit directions to the camera."""
    to_sun = np.asarray(light.to_sun)
    direct = np.maximum(normals @ to_sun, 0)[:, None].astype(np.float32)
    around = (0.72 + 0.28 * normals[:, 2:]).astype(np.float32)
    gain = direct * np.asarray(light.sun, np.float32) + around * np.asarray(light.sky, np.float32)
    facing = np.clip((normals * towards).sum(axis=1), 0, 1)
    mirrored = 2 * facing * normals[:, 2] - towards[:, 2]
    share = (MIRROR[stuff] + MIRROR_EDGE[stuff] * (1 - facing) ** 4).astype(np.float32)[:, None]
    up = np.clip(mirrored * 1.6 + 0.35, 0, 1).astype(np.float32)[:, None]
    seen = up * np.asarray(light.above, np.float32) + (1 - up) * np.asarray(light.below, np.float32)
    return np.asarray(inks * gain * (1 - share) + seen * share, np.float32)
