"""From the lit scene to what the sensor delivers: headlights, mirrors of wet asphalt, glare, rain, exposure, noise."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from streamvision.capture.drive.camera import horizon
from streamvision.capture.drive.ground import Lie, Paved, on_ground
from streamvision.capture.drive.noise import blotches
from streamvision.capture.drive.scene import Air, Scene
from streamvision.types import UInt8

Field = NDArray[np.float32]
_GLARE_SHARE = 4
"""Glare is computed at a quarter of the size: it is smooth."""


def through_air(
    scene: Scene, picture: UInt8, depth: Field, shine: Field, where: Lie, paved: Paved, rng: np.random.Generator
) -> UInt8:
    """Return the picture (h,w,3) as the camera sees it; depth (h,w) m, shine (h,w) 0..1 of lamps."""
    air = scene.air
    canvas = picture.astype(np.float32)
    if air.wet > 0:
        _mirror(scene, canvas, where, paved)
    if air.headlights > 0:
        _headlights(scene, canvas, depth)
    _glare(scene, canvas, shine)
    if air.rain > 0:
        _rain(canvas, air.rain, rng)
    if air.blur > 0.3:
        canvas = cv2.GaussianBlur(canvas, (0, 0), air.blur * canvas.shape[1] / 640)
    return _sensor(canvas, air, rng)


def _mirror(scene: Scene, canvas: Field, where: Lie, paved: Paved) -> None:
    """Let wet ground mirror what stands above it, upside down around the horizon, drawn out downwards."""
    height = canvas.shape[0]
    middle = round(height / 2 + horizon(scene.camera))
    rows = np.clip(2 * middle - np.arange(where.top, height), 0, height - 1)
    stretch = max(3, height // 14) | 1
    mirrored = cv2.blur(canvas[rows], (3, stretch))
    puddles = 0.55 + 0.45 * np.clip(on_ground(blotches(), where, scene.road.offset_m, 6, 4) + 0.2, -1, 1)
    grazing = np.clip(1 - scene.camera.position[2] / np.maximum(where.depth, 1) * 1.6, 0.15, 1)
    share = scene.air.wet * puddles * grazing * paved.hard * where.shown
    ground = canvas[where.top :]
    ground += (mirrored - ground * 0.6) * (share * np.float32(0.8))[..., None]


def _headlights(scene: Scene, canvas: Field, depth: Field) -> None:
    """Light up what the own headlights reach: a wide cone that fades with distance."""
    height, width = canvas.shape[:2]
    across = (np.arange(width, dtype=np.float32) - width / 2)[None, :] / scene.camera.focal_px
    above = (np.arange(height, dtype=np.float32) - height / 2 - horizon(scene.camera))[:, None] / scene.camera.focal_px
    cone = np.exp(-((across / 0.45) ** 2)) * np.clip(1.1 + above * 14, 0.05, 1)
    reach = np.clip(depth / 5, 0, 1) ** 1.5 / (1 + (np.minimum(depth, 500) / 22) ** 2)
    power = np.float32(15.0 * scene.air.headlights) * cone * reach
    canvas *= 1 + power[..., None] * np.array([0.86, 0.97, 1.0], np.float32)


def _glare(scene: Scene, canvas: Field, shine: Field) -> None:
    """Let lamps and the sun glow beyond their edges."""
    height, width = shine.shape
    small = (max(1, width // _GLARE_SHARE), max(1, height // _GLARE_SHARE))
    glow = np.zeros((small[1], small[0], 3), np.float32)
    strength = float(np.clip(scene.light.lamps, 0, 1))
    if strength > 0.35 and shine.any():
        lamps = canvas * shine[..., None] * strength
        near = cv2.resize(lamps, small, interpolation=cv2.INTER_AREA)
        glow += cv2.GaussianBlur(near, (0, 0), 1.2) * 1.6 + cv2.GaussianBlur(near, (0, 0), 6) * 3.0
    if scene.sky.sun is not None:
        glow += _sun(scene, small)
    if glow.any():
        canvas += cv2.resize(glow, (width, height), interpolation=cv2.INTER_LINEAR)


def _sun(scene: Scene, size_wh: tuple[int, int]) -> Field:
    if scene.sky.sun is None:
        return np.zeros((size_wh[1], size_wh[0], 3), np.float32)
    azimuth, elevation, strength = scene.sky.sun
    focal = scene.camera.focal_px / _GLARE_SHARE
    x = size_wh[0] / 2 + (azimuth - scene.heading) * focal
    y = size_wh[1] / 2 + horizon(scene.camera) / _GLARE_SHARE - elevation * focal
    across = (np.arange(size_wh[0], dtype=np.float32) - x)[None, :] / focal
    down = (np.arange(size_wh[1], dtype=np.float32) - y)[:, None] / focal
    away = across**2 + down**2
    veil = 260 * np.exp(-away / 0.002) + 110 * np.exp(-away / 0.03) + 60 * np.exp(-away / 0.35)
    return np.asarray(veil[..., None] * np.array([0.78, 0.93, 1.0], np.float32) * np.float32(strength))


def _rain(canvas: Field, strength: float, rng: np.random.Generator) -> None:
    """Draw falling streaks, and drops on the windscreen that blur what is behind them."""
    height, width = canvas.shape[:2]
    streaks = np.zeros((height, width), np.uint8)
    starts = rng.uniform(0, 1, (int(180 * strength), 2)) * [width, height]
    lean = rng.normal(0, 0.12)
    for (x, y), length in zip(starts, rng.uniform(0.02, 0.07, len(starts)) * height, strict=True):
        end = (round(x + lean * length), round(y + length))
        cv2.line(streaks, (round(x), round(y)), end, int(rng.integers(40, 110)), 1, cv2.LINE_AA)
    canvas += (215 - canvas) * (streaks * np.float32(0.5 * strength / 255))[..., None]
    soft = cv2.blur(canvas, (max(3, width // 50), max(3, height // 50)))
    drops = np.zeros((height, width), np.uint8)
    for _ in range(int(rng.integers(0, 1 + int(110 * strength)))):
        centre = (int(rng.integers(0, width)), int(rng.integers(0, height)))
        cv2.circle(drops, centre, max(1, round(width * rng.uniform(0.001, 0.006))), 200, -1, cv2.LINE_AA)
    canvas += (soft * 1.06 + 4 - canvas) * (drops * np.float32(1 / 255))[..., None]


def _sensor(canvas: Field, air: Air, rng: np.random.Generator) -> UInt8:
    """Expose, balance and digitise: gain, gamma, contrast, saturation, a darker rim, noise."""
    height, width = canvas.shape[:2]
    if air.vignette > 0:
        across = np.linspace(-1, 1, width, dtype=np.float32)[None, :] ** 2
        rim = 1 - air.vignette * (across + np.linspace(-1, 1, height, dtype=np.float32)[:, None] ** 2) / 2
        canvas *= rim[..., None]
    grey = np.outer(np.ones(3), [0.114, 0.587, 0.299])
    mixed = air.saturation * np.eye(3) + (1 - air.saturation) * grey
    mixed *= np.asarray(air.balance)[:, None] * (air.gain * _exposure(canvas, air.metered))
    flat: UInt8 = cv2.LUT(cv2.convertScaleAbs(np.maximum(cv2.transform(canvas, mixed), 0)), _curve(air))
    if air.noise <= 0:
        return flat
    top, left, way = (int(rng.integers(0, side)) for side in (256, 256, 2))
    noise = _noise(height, width, air.noise)[top : top + height, left : left + width][:: 1 - 2 * way]
    return np.asarray(cv2.add(flat, noise, dtype=cv2.CV_8U), np.uint8)


def _noise(height: int, width: int, sigma: float) -> NDArray[np.int16]:
    """Return a sensor's noise, larger than a picture by 256 pixels: fine in brightness, coarser in colour."""
    return _noise_of(height + 256, width + 256, max(1, round(sigma * 2)))


@lru_cache(maxsize=24)
def _noise_of(height: int, width: int, half_sigma: int) -> NDArray[np.int16]:
    rng = np.random.default_rng([51, half_sigma])
    bright = rng.standard_normal((height, width), np.float32)[..., None] * (half_sigma / 2)
    tinted = rng.standard_normal((height // 2, width // 2, 3), np.float32) * (half_sigma * 0.3)
    return np.asarray(np.round(bright + cv2.resize(tinted, (width, height))), np.int16)


def _exposure(canvas: Field, target: float) -> float:
    """Return the gain of an automatic exposure that looks mostly at the road: its mean comes near a target."""
    mean = float(canvas[canvas.shape[0] * 2 // 5 :: 4, ::4].mean())
    return float(np.clip((target / max(mean, 1.0)) ** 0.75, 0.35, 2.6))


def _curve(air: Air) -> UInt8:
    """Return the sensor's response (256,): gamma, then contrast around the middle grey; highlights roll off."""
    value = (np.arange(256) / 255) ** air.gamma
    value = 0.45 + (value - 0.45) * air.contrast
    value = np.where(value > 0.85, 0.85 + 0.15 * np.tanh((value - 0.85) / 0.15), value)
    return np.asarray(np.clip(value * 255, 0, 255), np.uint8)
