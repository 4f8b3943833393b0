"""Everything beyond the road: sky, clouds, sun, hills and the far edge of woods or towns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamvision.capture.drawn.camera import Camera
from streamvision.capture.drawn.light import BGR, Light
from streamvision.capture.drive.camera import horizon, upright
from streamvision.capture.drive.noise import blotches, grain, line_noise, sample

Field = NDArray[np.float32]
_WIDE = 2048
"""Steps of a skyline, from azimuth -2 to 2 (tangents)."""


@dataclass(frozen=True, slots=True)
class Skyline:
    """A silhouette: its mean height and its ups and downs (tangents of elevation), ink, and how rough its edge is.

    kind: "hills", "wood" or "town".
    """

    height: float
    swing: float
    ink: BGR
    kind: str
    distance_m: float
    seed: int


@dataclass(frozen=True, slots=True)
class Sky:
    """zenith and horizon: BGR 0-255; clouds 0..1: how much of it they cover, in their ink; sun: azimuth and
    elevation (tangents) with its glare 0..1, or None; skylines, farthest first; turn: where the clouds stand."""

    zenith: BGR
    horizon: BGR
    clouds: float
    cloud_ink: BGR
    sun: tuple[float, float, float] | None
    skylines: tuple[Skyline, ...]
    turn: float = 0.0


def paint_sky(camera: Camera, sky: Sky, light: Light, rows: int, heading: float = 0.0) -> Field:
    """Return the picture (h,w,3) float32 with everything far in its upper ``rows``; ``heading`` pans it."""
    width, height = camera.size_wh
    canvas = np.zeros((height, width, 3), np.float32)
    across, below = (each[:rows] for each in upright(camera))
    focal = np.float32(camera.focal_px)
    azimuth = across / focal + np.float32(heading)
    elevation = (np.float32(horizon(camera)) - below) / focal
    part = canvas[:rows]
    share = np.sqrt(np.clip(elevation / 0.55, 0, 1))[..., None]
    part[:] = np.asarray(sky.horizon, np.float32) * (1 - share) + np.asarray(sky.zenith, np.float32) * share
    if sky.clouds > 0:
        _clouds(part, sky, azimuth, elevation)
    for line in sky.skylines:
        _skyline(part, line, azimuth, elevation, light)
    return canvas


def _clouds(part: Field, sky: Sky, azimuth: Field, elevation: Field) -> None:
    """Lay clouds on a plane overhead: small and dense towards the horizon."""
    flat = np.asarray(1 / (np.maximum(elevation, 0) + 0.14), np.float32)
    u, v = azimuth * flat * 22 + np.float32(sky.turn), flat * 34 + np.float32(sky.turn * 0.37)
    field = sample(blotches(), u, v) + 0.35 * sample(grain(), u * 2.2, v * 2.2)
    cover = np.clip((field + (sky.clouds - 0.5) * 4.4) * 0.75, 0, 1)
    ink = np.asarray(sky.cloud_ink, np.float32) * (1 - 0.12 * np.clip(field, -1, 1.5))[..., None]
    part += (ink - part) * (cover * np.clip(elevation * 9, 0.25, 1))[..., None]


def _skyline(part: Field, line: Skyline, azimuth: Field, elevation: Field, light: Light) -> None:
    rng = np.random.default_rng([71, line.seed])
    top = line.height + line.swing * _profile(rng, line.kind)
    first = int(np.argmax(elevation.min(axis=1) < float(top.max()) * 1.6))  # nothing stands out above that row
    part, azimuth, elevation = part[first:], azimuth[first:], elevation[first:]
    place = np.clip((azimuth + 2) * (_WIDE / 4), 0, _WIDE - 1).astype(np.int32)
    edge = top.astype(np.float32)[place]
    if line.kind == "wood":
        edge = edge + np.float32(line.height * 0.16) * sample(grain(), azimuth * 420, elevation * 420)
    cover = np.clip((edge - elevation) * 500, 0, 1)
    rough = 0.5 if line.kind == "wood" else 0.12
    tone = 1 + rough * 0.5 * sample(blotches(), azimuth * 300, elevation * 500)
    tone += rough * 0.4 * sample(grain(), azimuth * 300, elevation * 300)
    if line.kind == "town":
        grid = (azimuth * 150) % 1 < 0.55, (elevation * 170) % 1 < 0.5
        tone -= 0.14 * (grid[0] & grid[1])
    gain = np.asarray(light.sky, np.float32) + np.float32(0.6) * np.asarray(light.sun, np.float32)
    colour = np.asarray(line.ink, np.float32) * gain * np.clip(tone, 0.3, 1.8)[..., None]
    clear = np.float32(np.exp(-line.distance_m * max(light.haze_per_m, 4e-4)))
    colour = colour * clear + np.asarray(light.haze, np.float32) * (1 - clear)
    part += (colour - part) * cover[..., None]


def _profile(rng: np.random.Generator, kind: str) -> NDArray[np.float64]:
    """Return a skyline's ups and downs (_WIDE,), -1..1."""
    if kind != "town":
        return line_noise(rng, _WIDE, 1.0 if kind == "hills" else 0.5)
    profile = np.zeros(_WIDE)
    at = 0
    while at < _WIDE:
        wide = int(rng.integers(6, 60))
        profile[at : at + wide] = rng.uniform(-1, 1) ** 3
        at += wide
    return profile
