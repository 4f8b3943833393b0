"""By what light and weather a picture is taken."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from streamvision.capture.drawn.inks import coloured
from streamvision.capture.drawn.light import BGR, Light

KINDS = ("sunny", "cloudy", "hazy", "dusk", "night", "indoors")


@dataclass(frozen=True, slots=True)
class Mood:
    """Light, and the sky's colours above and at the horizon; ``lit``: 0..1, how much street lamps light up."""

    kind: str
    light: Light
    zenith: BGR
    horizon: BGR
    cloudiness: float
    lit: float = 0.0


def mood(rng: np.random.Generator, indoors: bool) -> Mood:
    """Return a light of any kind that the place allows."""
    if indoors:
        return _indoors(rng)
    kind = str(rng.choice(KINDS[:5], p=[0.36, 0.3, 0.1, 0.1, 0.14]))
    return {"sunny": _sunny, "cloudy": _cloudy, "hazy": _hazy, "dusk": _dusk, "night": _night}[kind](rng)


def _times(share: float, ink: BGR) -> BGR:
    return ink[0] * share, ink[1] * share, ink[2] * share


def _direction(rng: np.random.Generator, low: float, high: float) -> BGR:
    azimuth, height = rng.uniform(0, 2 * np.pi), np.deg2rad(rng.uniform(low, high))
    return (float(np.cos(azimuth) * np.cos(height)), float(np.sin(azimuth) * np.cos(height)), float(np.sin(height)))


def _sunny(rng: np.random.Generator) -> Mood:
    strength, warm = rng.uniform(0.4, 0.8), rng.uniform(0.0, 0.14)
    light = Light(
        to_sun=_direction(rng, 18, 75),
        sun=_times(strength, (1 - warm, 1 - warm * 0.4, 1.0)),
        sky=_times(rng.uniform(0.36, 0.56), (1.06, 1.0, 0.94)),
        above=coloured(0.58, rng.uniform(0.1, 0.45), rng.uniform(0.75, 0.98)),
        lamps=0.12,
        haze=(225.0, 215.0, 205.0),
        haze_per_m=float(rng.choice([0.0, 0.0, rng.uniform(0.0005, 0.004)])),
    )
    return Mood("sunny", light, coloured(0.59, rng.uniform(0.35, 0.7), rng.uniform(0.6, 0.9)),
                coloured(0.57, rng.uniform(0.05, 0.25), rng.uniform(0.85, 0.98)), rng.uniform(0, 0.7))  # fmt: skip


def _cloudy(rng: np.random.Generator) -> Mood:
    tone = rng.uniform(0.7, 0.97)
    light = Light(
        to_sun=_direction(rng, 40, 80),
        sun=_times(rng.uniform(0.0, 0.16), (1.0, 1.0, 1.0)),
        sky=_times(rng.uniform(0.6, 0.95), (1.03, 1.0, 0.97)),
        above=(tone * 235, tone * 228, tone * 222),
        lamps=0.2,
        haze=(tone * 225, tone * 220, tone * 215),
        haze_per_m=float(rng.choice([0.0, rng.uniform(0.0005, 0.006)])),
    )
    return Mood("cloudy", light, (tone * 215, tone * 205, tone * 198), (tone * 240, tone * 236, tone * 232), 0.9)


def _hazy(rng: np.random.Generator) -> Mood:
    tone = rng.uniform(0.6, 0.92)
    grey = (tone * 225, tone * 222, tone * 218)
    light = Light(
        to_sun=_direction(rng, 40, 80), sun=(0.02, 0.02, 0.02), sky=_times(rng.uniform(0.55, 0.85), (1.02, 1.0, 0.98)),
        above=grey, lamps=0.5, haze=grey, haze_per_m=float(np.exp(rng.uniform(np.log(0.008), np.log(0.05)))),
    )  # fmt: skip
    return Mood("hazy", light, grey, grey, 0.2)


def _dusk(rng: np.random.Generator) -> Mood:
    level = rng.uniform(0.2, 0.45)
    light = Light(
        to_sun=_direction(rng, 8, 25), sun=_times(rng.uniform(0.0, 0.3), (0.55, 0.75, 1.0)),
        sky=_times(level, (rng.uniform(0.95, 1.3), 1.0, rng.uniform(0.85, 1.1))),
        above=_times(level * 2, coloured(rng.choice([0.62, 0.08]), 0.4, 0.9)), below=(40.0, 40.0, 42.0), lamps=0.75,
        haze=(90.0, 85.0, 90.0), haze_per_m=float(rng.choice([0.0, 0.003])),
    )  # fmt: skip
    glow = coloured(rng.choice([0.05, 0.08, 0.6]), 0.45, 0.75)
    return Mood("dusk", light, coloured(0.63, 0.5, level + 0.15), glow, 0.7, rng.uniform(0.2, 0.7))


def _night(rng: np.random.Generator) -> Mood:
    level = rng.uniform(0.1, 0.26)
    tint = (0.75, 0.9, 1.1) if rng.random() < 0.6 else (1.1, 1.0, 0.9)
    light = Light(
        to_sun=_direction(rng, 40, 80), sun=(0.0, 0.0, 0.0), sky=_times(level, tint),
        above=_times(level, (70, 80, 100)), below=(16.0, 16.0, 18.0), lamps=1.0,
        haze=(30.0, 30.0, 34.0), haze_per_m=float(rng.choice([0.0, 0.004])),
    )  # fmt: skip
    return Mood("night", light, (24.0, 18.0, 14.0), (44.0, 38.0, 36.0), 0.5, rng.uniform(0.6, 1.0))


def _indoors(rng: np.random.Generator) -> Mood:
    level, warm = rng.uniform(0.45, 0.95), rng.normal(0, 0.08)
    light = Light(
        to_sun=_direction(rng, 55, 88), sun=_times(rng.uniform(0.0, 0.15), (1.0, 1.0, 1.0)),
        sky=_times(level, (1 - warm, 1.0, 1 + warm)), above=(200.0, 205.0, 210.0), below=(110.0, 115.0, 120.0),
        lamps=0.3,
    )  # fmt: skip
    return Mood("indoors", light, _times(level, (190, 195, 200)), _times(level, (170, 175, 180)), 0.0)
