"""Colours as they are seen in streets: paints of vehicles, clothes, skins, hair, things. BGR 0-255."""

from __future__ import annotations

import colorsys

import numpy as np

from streamvision.capture.drawn.parts import Ink

DARK: Ink = (38, 36, 36)
TYRE: Ink = (42, 40, 40)
GLASS: Ink = (62, 56, 50)
CHROME: Ink = (186, 186, 186)
WHITE: Ink = (228, 230, 230)
HEADLAMP: Ink = (222, 232, 236)
TAILLAMP: Ink = (44, 36, 186)
AMBER: Ink = (40, 150, 240)


def coloured(hue: float, saturation: float, value: float) -> Ink:
    """Return a colour from hue, saturation and value, each 0..1."""
    red, green, blue = colorsys.hsv_to_rgb(hue % 1.0, min(max(saturation, 0.0), 1.0), min(max(value, 0.0), 1.0))
    return blue * 255, green * 255, red * 255


def car_paint(rng: np.random.Generator) -> Ink:
    """Return a paint: white, black, grey and silver as often as they are, and every other colour."""
    kind = rng.random()
    if kind < 0.22:
        return coloured(rng.random(), rng.uniform(0, 0.06), rng.uniform(0.86, 0.97))
    if kind < 0.40:
        return coloured(rng.random(), rng.uniform(0, 0.2), rng.uniform(0.07, 0.2))
    if kind < 0.68:
        return coloured(rng.choice([0.1, 0.6]), rng.uniform(0, 0.12), rng.uniform(0.25, 0.75))
    hue = rng.choice([0.0, 0.01, 0.6, 0.62, 0.58, 0.33, 0.08, 0.14]) + rng.normal(0, 0.025)
    return coloured(hue, rng.uniform(0.45, 0.95), rng.uniform(0.3, 0.85))


def vivid(rng: np.random.Generator) -> Ink:
    """Return any colour that is not grey."""
    return coloured(rng.random(), rng.uniform(0.4, 0.95), rng.uniform(0.35, 0.95))


def cloth(rng: np.random.Generator) -> Ink:
    """Return a colour of clothes: often dark or pale, sometimes vivid."""
    kind = rng.random()
    if kind < 0.35:
        return coloured(rng.random(), rng.uniform(0, 0.35), rng.uniform(0.08, 0.3))
    if kind < 0.55:
        return coloured(rng.random(), rng.uniform(0, 0.2), rng.uniform(0.6, 0.95))
    if kind < 0.72:
        return coloured(rng.uniform(0.55, 0.68), rng.uniform(0.3, 0.7), rng.uniform(0.25, 0.65))
    return coloured(rng.random(), rng.uniform(0.35, 0.95), rng.uniform(0.35, 0.9))


def trousers(rng: np.random.Generator) -> Ink:
    """Return jeans, black, khaki or anything."""
    kind = rng.random()
    if kind < 0.4:
        return coloured(rng.uniform(0.58, 0.64), rng.uniform(0.25, 0.6), rng.uniform(0.2, 0.55))
    if kind < 0.75:
        return coloured(rng.random(), rng.uniform(0, 0.25), rng.uniform(0.07, 0.25))
    if kind < 0.9:
        return coloured(0.1, rng.uniform(0.15, 0.4), rng.uniform(0.4, 0.8))
    return cloth(rng)


def skin(rng: np.random.Generator) -> Ink:
    """Return a skin from pale to dark."""
    return coloured(rng.uniform(0.04, 0.075), rng.uniform(0.3, 0.55), rng.uniform(0.3, 0.92))


def hair(rng: np.random.Generator) -> Ink:
    """Return black, brown, blond, red or grey."""
    kind = rng.random()
    if kind < 0.5:
        return coloured(0.07, rng.uniform(0.1, 0.5), rng.uniform(0.06, 0.22))
    if kind < 0.85:
        return coloured(rng.uniform(0.05, 0.1), rng.uniform(0.4, 0.65), rng.uniform(0.25, 0.75))
    return coloured(0.1, rng.uniform(0, 0.1), rng.uniform(0.5, 0.85))


def dull(rng: np.random.Generator) -> Ink:
    """Return the colour of some thing: grey, brown, greenish."""
    return coloured(rng.choice([0.08, 0.1, 0.3, 0.6]), rng.uniform(0.02, 0.4), rng.uniform(0.2, 0.85))
