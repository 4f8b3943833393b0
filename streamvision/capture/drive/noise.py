"""Small tileable textures that everything is made of, drawn once per process: grain, clouds, cracks, leaves."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from streamvision.types import UInt8

TILE = 256


def _wrapped(rng: np.random.Generator, sigma_px: float) -> NDArray[np.float32]:
    """Return smooth noise (TILE,TILE) of mean 0 and deviation 1 without seams."""
    field = rng.normal(size=(TILE, TILE)).astype(np.float32)
    if sigma_px:
        margin = int(4 * sigma_px) + 1
        field = np.pad(field, margin, mode="wrap")
        field = cv2.GaussianBlur(field, (0, 0), sigma_px)[margin:-margin, margin:-margin]
    return np.asarray((field - field.mean()) / field.std(), np.float32)


@lru_cache(maxsize=1)
def grain() -> NDArray[np.float32]:
    """Return fine noise in all octaves, most in the small ones; -3..3."""
    rng = np.random.default_rng(11)
    return np.asarray(sum(_wrapped(rng, s) * w for s, w in ((0.0, 0.55), (0.8, 0.6), (2.5, 0.45), (9.0, 0.35))))


@lru_cache(maxsize=1)
def blotches() -> NDArray[np.float32]:
    """Return coarse noise in large octaves; -3..3."""
    rng = np.random.default_rng(12)
    return np.asarray(sum(_wrapped(rng, s) * w for s, w in ((1.5, 0.25), (4.0, 0.4), (10.0, 0.6), (24.0, 0.7))))


@lru_cache(maxsize=1)
def cracks() -> NDArray[np.float32]:
    """Return a net of thin dark lines on 0 (1 where the crack is black)."""
    rng = np.random.default_rng(13)
    canvas = np.zeros((TILE, TILE), np.uint8)
    for _ in range(14):
        steps = rng.normal(0, 3.0, (40, 2)) + rng.normal(0, 2.6, 2)
        walk = rng.uniform(0, TILE, 2) + np.cumsum(steps, axis=0)
        for shift in ((0, 0), (TILE, 0), (0, TILE), (-TILE, 0), (0, -TILE)):
            cv2.polylines(canvas, [np.int32((walk + shift) * 16)], False, 255, 1, cv2.LINE_AA, 4)
    return np.asarray(canvas / np.float32(255))


@lru_cache(maxsize=1)
def leaves() -> NDArray[np.float32]:
    """Return the light under a tree: 1 in the shade, 0 where the sun comes through."""
    rng = np.random.default_rng(14)
    field = _wrapped(rng, 3.0) * 0.8 + _wrapped(rng, 14.0)
    return np.asarray(np.clip(field * 1.6 + 0.7, 0, 1), np.float32)


def sample(tile: NDArray[np.float32], u: NDArray[np.float32], v: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return a tile's values at places (h,w) in texels, within 30,000 of 0; it repeats for ever."""
    return np.asarray(cv2.remap(tile, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP))


def line_noise(rng: np.random.Generator, length: int, roughness: float = 1.0) -> NDArray[np.float64]:
    """Return a skyline (length,) of mean 0 and about -1..1: octaves whose height falls with their width."""
    total = np.zeros(length)
    at = np.linspace(0, 1, length)
    for octave in range(1, 8):
        knots = rng.normal(size=2**octave + 1)
        total += np.interp(at, np.linspace(0, 1, len(knots)), knots) * 0.5**octave ** (1 / max(roughness, 0.1))
    return total / max(float(np.abs(total).max()), 1e-6)


def as_bytes(values: NDArray[np.float32]) -> UInt8:
    """Return values cut to 0-255 as bytes."""
    return np.asarray(np.clip(values, 0, 255), np.uint8)
