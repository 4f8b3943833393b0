"""The hour and the weather of a drive: one draw decides sun, sky, haze, lamps, wetness and the camera's exposure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from streamvision.capture.drawn.light import BGR, Light
from streamvision.capture.drive.scene import Air
from streamvision.capture.drive.sky import Sky, Skyline

KINDS = ("clear", "bright", "overcast", "dusk", "night", "fog", "rain")
_SHARES = (0.3, 0.2, 0.24, 0.07, 0.06, 0.05, 0.08)


@dataclass(frozen=True, slots=True)
class Mood:
    """What `drawn` needs to light things, and `Air`; ``kind`` is one of `KINDS`."""

    kind: str
    light: Light
    sky: Sky
    air: Air


def mood(rng: np.random.Generator, kind: str | None = None, lit: bool = True, town: bool = False) -> Mood:
    """Draw the light and the weather."""
    kind = kind or str(rng.choice(KINDS, p=_SHARES))
    lamplight = float(rng.uniform(1.2, 3.0)) if town and kind == "night" else 1.0
    sun = _sun(rng, kind)
    zenith, near = _colours(rng, kind)
    haze = tuple(float(channel) for channel in np.array(near) * rng.uniform(0.82, 0.98))
    light = Light(
        to_sun=sun,
        sun=_scaled((0.46, 0.50, 0.53), _SUN[kind] * rng.uniform(0.75, 1.15)),
        sky=_scaled((0.60, 0.57, 0.54), _SKY[kind] * rng.uniform(0.85, 1.12) * lamplight),
        above=_scaled(zenith, 0.9),
        below=_scaled((80.0, 82.0, 86.0), max(_SKY[kind], 0.08)),
        lamps=_LAMPS[kind] if lit else 0.2,
        haze=(haze[0], haze[1], haze[2]),
        haze_per_m=_haze(rng, kind),
    )
    return Mood(kind, light, _sky(rng, kind, zenith, near, sun, town), _air(rng, kind))


_SUN = {"clear": 1.0, "bright": 0.7, "overcast": 0.05, "dusk": 0.28, "night": 0.0, "fog": 0.0, "rain": 0.0}
_SKY = {"clear": 0.85, "bright": 0.95, "overcast": 1.3, "dusk": 0.5, "night": 0.075, "fog": 1.2, "rain": 0.9}
_LAMPS = {"clear": 0.25, "bright": 0.25, "overcast": 0.35, "dusk": 0.8, "night": 1.0, "fog": 0.7, "rain": 0.7}


def _scaled(ink: BGR, share: float) -> BGR:
    return float(ink[0] * share), float(ink[1] * share), float(ink[2] * share)


def _sun(rng: np.random.Generator, kind: str) -> tuple[float, float, float]:
    elevation = rng.uniform(0.08, 0.3) if kind == "dusk" else rng.uniform(0.35, 1.35)
    azimuth = rng.uniform(-np.pi, np.pi)
    cos = np.cos(elevation)
    return float(np.sin(azimuth) * cos), float(np.cos(azimuth) * cos), float(np.sin(elevation))


def _haze(rng: np.random.Generator, kind: str) -> float:
    if kind == "fog":
        return float(np.exp(rng.uniform(np.log(0.008), np.log(0.04))))
    low, high = {"rain": (0.002, 0.008), "overcast": (0.0005, 0.003), "night": (0.0003, 0.001)}.get(kind, (3e-4, 2e-3))
    return float(rng.uniform(low, high))


def _colours(rng: np.random.Generator, kind: str) -> tuple[BGR, BGR]:
    """Return the sky's colours overhead and at the horizon."""
    if kind in ("clear", "bright"):
        deep = rng.uniform(0.7, 1.05)
        zenith = (215 * deep, 150 * deep * rng.uniform(0.85, 1.05), 95 * deep * rng.uniform(0.7, 1.2))
        near = (238 * rng.uniform(0.88, 1), 218 * rng.uniform(0.85, 1.05), 190 * rng.uniform(0.8, 1.15))
    elif kind == "dusk":
        zenith = (130 * rng.uniform(0.6, 1), 95 * rng.uniform(0.6, 1), 85 * rng.uniform(0.6, 1))
        near = (120 * rng.uniform(0.7, 1.3), 150 * rng.uniform(0.8, 1.1), 225 * rng.uniform(0.7, 1.05))
    elif kind == "night":
        zenith, near = _scaled((26, 18, 14), rng.uniform(0.3, 1.3)), _scaled((48, 46, 50), rng.uniform(0.4, 1.3))
    else:
        grey = rng.uniform(150, 250) * (0.75 if kind == "rain" else 1)
        zenith, near = _scaled((1.0, 0.98, 0.95), grey * rng.uniform(0.75, 1)), _scaled((1.0, 0.985, 0.965), grey)
    return (float(zenith[0]), float(zenith[1]), float(zenith[2])), (float(near[0]), float(near[1]), float(near[2]))


def _sky(
    rng: np.random.Generator, kind: str, zenith: BGR, near: BGR, sun: tuple[float, float, float], town: bool
) -> Sky:
    clouds = {"clear": rng.choice([0.0, 0.0, 0.25, 0.4]), "bright": rng.uniform(0.4, 0.75),
              "dusk": rng.uniform(0.2, 0.7), "overcast": rng.uniform(0.75, 1.0),
              "rain": rng.uniform(0.8, 1.0)}.get(kind, 0.0)  # fmt: skip
    ink = {"dusk": (120.0, 125.0, 165.0), "overcast": _scaled(near, 0.93), "rain": _scaled(near, 0.86)}.get(
        kind, (250.0, 247.0, 243.0)
    )
    seen = None
    if kind in ("clear", "bright", "dusk") and sun[1] > 0.3:
        seen = (sun[0] / sun[1], sun[2] / sun[1], float(rng.uniform(0.3, 1.0)))
    return Sky(zenith, near, float(clouds), ink, seen, _skylines(rng, town), float(rng.uniform(0, 200)))


def _skylines(rng: np.random.Generator, town: bool) -> tuple[Skyline, ...]:
    lines = []
    if rng.random() < 0.55 and not town:
        ink = _scaled((100.0, 112.0, 104.0), rng.uniform(0.6, 1.2))
        lines.append(_line(rng, (0.03, 0.1), 0.5, ink, "hills", rng.uniform(1500, 4000)))
    if rng.random() < 0.5 and not town:
        ink = (70.0 * rng.uniform(0.5, 1.3), 120.0 * rng.uniform(0.7, 1.2), 110.0 * rng.uniform(0.6, 1.4))
        lines.append(_line(rng, (0.015, 0.05), 0.6, ink, "hills", rng.uniform(400, 1200)))
    if rng.random() < (0.75 if town else 0.2):
        lines.append(_line(rng, (0.03, 0.09), 0.7, _scaled((150.0, 155.0, 160.0), rng.uniform(0.5, 1.1)), "town",
                           rng.uniform(200, 900)))  # fmt: skip
    if rng.random() < 0.7:
        ink = (44.0 * rng.uniform(0.6, 1.4), 74.0 * rng.uniform(0.7, 1.3), 62.0 * rng.uniform(0.6, 1.6))
        lines.append(_line(rng, (0.02, 0.07), 0.5, ink, "wood", rng.uniform(120, 400)))
    return tuple(lines)


def _line(
    rng: np.random.Generator, height: tuple[float, float], swing: float, ink: BGR, kind: str, distance_m: float
) -> Skyline:
    mean = float(rng.uniform(*height))
    return Skyline(mean, mean * swing, ink, kind, float(distance_m), int(rng.integers(2**31)))


def _air(rng: np.random.Generator, kind: str) -> Air:
    dark = kind in ("night", "dusk")
    cast, tint = rng.normal(0, 0.05, 2)
    wet = rng.uniform(0.3, 0.9) if kind == "rain" else rng.uniform(0.2, 0.7) * (rng.random() < 0.07)
    return Air(
        metered={"night": 30.0, "dusk": 62.0, "rain": 84.0}.get(kind, 98.0) * float(np.exp(rng.normal(0, 0.2))),
        gamma=float(np.exp(rng.normal(0.06, 0.16))),
        balance=(float(1 + cast), float(1 + tint * 0.4), float(1 - cast)),
        saturation=float(np.clip(rng.normal(1.0, 0.22), 0.45, 1.6)),
        contrast=float(np.clip(rng.normal(1.12, 0.16), 0.75, 1.6)),
        noise=float(rng.uniform(0.5, 3.5) * (2.2 if dark else 1.0)),
        blur=float(np.clip(rng.normal(0.35, 0.4), 0, 1.6)),
        rain=float(rng.uniform(0.2, 1.0)) if kind == "rain" else 0.0,
        wet=float(wet),
        headlights=float(rng.uniform(0.6, 1.2)) if kind == "night" else 0.3 if kind == "dusk" else 0.0,
        vignette=float(rng.uniform(0, 0.35) * (rng.random() < 0.5)),
    )
