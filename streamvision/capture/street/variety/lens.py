"""What a camera adds: glare, rain, blur, exposure, colour cast, vignette, noise, sharpening, a caption."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from streamvision.capture.street.variety.mood import Mood
from streamvision.types import UInt8

Field = NDArray[np.float32]


def photograph(rng: np.random.Generator, bgr: Field, shine: Field, feel: Mood) -> UInt8:
    """Return the picture (h,w,3) that a camera of some quality takes of bgr (h,w,3) 0-255; shine (h,w): lamps."""
    picture = _glare(bgr, shine, feel.light.lamps)
    if feel.kind not in ("sunny", "indoors") and rng.random() < 0.16:
        picture = _rain(rng, picture)
    picture = _blurred(rng, picture)
    picture = _exposed(rng, picture, feel)
    if rng.random() < 0.25:
        picture = _sharpened(picture, rng.uniform(0.3, 1.5))
    picture = _noisy(rng, picture, feel)
    out = np.ascontiguousarray(np.clip(picture, 0, 255), np.uint8)
    if rng.random() < 0.08:
        _caption(rng, out)
    return out


def _glare(bgr: Field, shine: Field, lamps: float) -> Field:
    if lamps < 0.4 or not shine.any():
        return bgr
    height, width = shine.shape
    small = cv2.resize(bgr * np.minimum(shine, 2)[..., None], (width // 4, height // 4), interpolation=cv2.INTER_AREA)
    near, far = cv2.GaussianBlur(small, (0, 0), 1.5), cv2.GaussianBlur(small, (0, 0), 7)
    glow = cv2.resize(near * 0.8 + far * 0.9, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(bgr + glow * lamps, np.float32)


def _rain(rng: np.random.Generator, picture: Field) -> Field:
    height, width = picture.shape[:2]
    layer = np.zeros((height, width), np.uint8)
    lean, long = rng.normal(0, 0.25), rng.uniform(6, 30) * height / 288
    for x, y in rng.uniform(0, 1, (int(rng.integers(60, 350)), 2)) * [width, height]:
        cv2.line(layer, (int(x), int(y)), (int(x + lean * long), int(y + long)), int(rng.integers(40, 140)), 1)
    veil = cv2.GaussianBlur(layer, (3, 3), 0).astype(np.float32)[..., None] / np.float32(255)
    flat = picture.mean()
    picture = picture * 0.92 + flat * 0.08
    return np.asarray(picture * (1 - veil) + (flat * 0.5 + 120) * veil, np.float32)


def _blurred(rng: np.random.Generator, picture: Field) -> Field:
    kind, scale = rng.random(), picture.shape[1] / 512
    if kind < 0.3:
        return np.asarray(cv2.GaussianBlur(picture, (0, 0), float(rng.uniform(0.3, 1.1) * scale)), np.float32)
    if kind < 0.38:
        share = rng.uniform(0.45, 0.85)
        size = (round(picture.shape[1] * share), round(picture.shape[0] * share))
        small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
        return np.asarray(cv2.resize(small, picture.shape[1::-1], interpolation=cv2.INTER_LINEAR), np.float32)
    if kind < 0.42:
        long, angle = int(rng.integers(2, 6)), rng.uniform(0, np.pi)
        kernel = np.zeros((2 * long + 1, 2 * long + 1), np.float32)
        way = np.array([np.cos(angle), np.sin(angle)]) * long * 0.5
        cv2.line(
            kernel,
            tuple(np.round(long - way).astype(int).tolist()),
            tuple(np.round(long + way).astype(int).tolist()),
            1.0,
        )
        return np.asarray(cv2.filter2D(picture, -1, kernel / kernel.sum()), np.float32)
    return picture


def _exposed(rng: np.random.Generator, picture: Field, feel: Mood) -> Field:
    """Bring the picture to a brightness as an automatic exposure does, more or less, then bend its tones."""
    height, width = picture.shape[:2]
    target = rng.uniform(40, 105) if feel.kind in ("night", "dusk") else rng.uniform(68, 160)
    gain = (target / max(float(picture[::4, ::4].mean()), 4.0)) ** rng.uniform(0.5, 0.95)
    cast = gain * (1 + rng.normal(0, 0.045, 3))
    lift = rng.uniform(5, 45) if rng.random() < 0.1 else 0.0
    picture = cv2.transform(picture, np.column_stack([np.diag(cast), np.full(3, lift)]))
    if rng.random() < 0.3:
        y, x = np.ogrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
        shade = (1 - rng.uniform(0.1, 0.4) * (x * x + y * y) / 2).astype(np.float32)
        picture = cv2.multiply(picture, cv2.merge([shade] * 3))
    tones = np.linspace(0, 1, 256)
    bent = tones ** rng.uniform(0.75, 1.3) - rng.uniform(-0.03, 0.07) * np.sin(2 * np.pi * tones)
    table = np.clip(bent * 255, 0, 255).astype(np.float32)
    picture = cv2.LUT(cv2.convertScaleAbs(cv2.max(picture, 0.0)), table)
    grey_only = rng.random() < (0.3 if feel.kind == "night" else 0.03)
    vivid = 0.0 if grey_only else rng.uniform(0.5, 1.25)
    weights = np.tile([0.114, 0.587, 0.299], (3, 1))
    return np.asarray(cv2.transform(picture, weights * (1 - vivid) + np.eye(3) * vivid), np.float32)


def _sharpened(picture: Field, strength: float) -> Field:
    return np.asarray(picture + strength * (picture - cv2.GaussianBlur(picture, (0, 0), 1.1)), np.float32)


def _noisy(rng: np.random.Generator, picture: Field, feel: Mood) -> Field:
    sigma = rng.gamma(1.6, 1.8) * (2.0 if feel.kind == "night" else 1.0)
    field = _noise_bank()
    height, width = picture.shape[:2]
    if height > field.shape[0] - 64 or width > field.shape[1] - 64:
        field = np.tile(field, (height // field.shape[0] + 2, width // field.shape[1] + 2, 1))
    y, x = int(rng.integers(0, field.shape[0] - height)), int(rng.integers(0, field.shape[1] - width))
    grain = field[y : y + height, x : x + width]
    if rng.random() < 0.4:
        grain = cv2.GaussianBlur(grain, (3, 3), 0) * np.float32(1.8)
    share, sigma = rng.uniform(0.1, 0.5), min(sigma, 16.0)
    mix = np.eye(3) * share
    mix[:, 0] += 1 - share
    return np.asarray(picture + cv2.transform(grain, mix * sigma), np.float32)


@lru_cache(maxsize=1)
def _noise_bank() -> Field:
    return np.random.default_rng(9).normal(size=(700, 900, 3)).astype(np.float32)


def _caption(rng: np.random.Generator, picture: UInt8) -> None:
    """Write the date or the camera's name into a corner, as recorders do."""
    height, width = picture.shape[:2]
    text = f"CAM {rng.integers(1, 33):02d}" if rng.random() < 0.4 else (
        f"20{rng.integers(15, 27)}-{rng.integers(1, 13):02d}-{rng.integers(1, 29):02d} "
        f"{rng.integers(0, 24):02d}:{rng.integers(0, 60):02d}:{rng.integers(0, 60):02d}")  # fmt: skip
    scale = float(rng.uniform(0.3, 0.6) * width / 512)
    size = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)[0]
    x = int(rng.choice([6, max(6, width - size[0] - 6)]))
    y = int(rng.choice([size[1] + 6, height - 6]))
    cv2.putText(picture, text, (x + 1, y + 1), cv2.FONT_HERSHEY_SIMPLEX, scale, (10, 10, 10), 1, cv2.LINE_AA)
    cv2.putText(picture, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, scale, (240, 240, 240), 1, cv2.LINE_AA)
