"""The row of houses along the far side, as one flat texture with windows, doors and shops."""

from __future__ import annotations

import cv2
import numpy as np

from streamvision.types import UInt8

Ink = tuple[float, float, float]
_WALLS: tuple[Ink, ...] = (
    (150, 182, 208), (128, 140, 178), (196, 206, 210), (140, 170, 186), (112, 124, 150), (176, 190, 188),
)  # fmt: skip
_AWNINGS: tuple[Ink, ...] = ((60, 60, 168), (92, 128, 66), (148, 92, 52), (60, 140, 206))
_GLASS: Ink = (112, 98, 84)


class _Wall:
    """A texture whose y is the height in metres."""

    def __init__(self, left_m: float, width_m: float, height_m: float, per_metre: float) -> None:
        self.left_m, self.height_m, self.per_metre = left_m, height_m, per_metre
        self.pixels: UInt8 = np.zeros((round(height_m * per_metre), round(width_m * per_metre), 3), np.uint8)

    def box(self, x0: float, x1: float, low: float, high: float, ink: Ink) -> None:
        def at(x: float, z: float) -> tuple[int, int]:
            return round((x - self.left_m) * self.per_metre), round((self.height_m - z) * self.per_metre)

        cv2.rectangle(self.pixels, at(x0, high), at(x1, low), ink, -1)


def houses(rng: np.random.Generator, x_m: tuple[float, float], height_m: float, per_metre: float) -> UInt8:
    """Paint house after house from left to right; row 0 is ``height_m`` above the ground."""
    wall = _Wall(x_m[0], x_m[1] - x_m[0], height_m, per_metre)
    x, number = x_m[0], int(rng.integers(len(_WALLS)))
    while x < x_m[1]:
        width = float(rng.uniform(7.0, 10.5))
        _house(rng, wall, x, width, number)
        x, number = x + width, number + 1
    grain = rng.normal(0, 2.5, wall.pixels.shape[:2]).astype(np.float32)[..., None]
    return np.asarray(np.clip(wall.pixels + grain, 0, 255), np.uint8)


def _house(rng: np.random.Generator, wall: _Wall, x: float, width: float, number: int) -> None:
    ink = _WALLS[number % len(_WALLS)]
    wall.box(x, x + width, 0, wall.height_m, ink)
    wall.box(x, x + width, 0, 0.45, _times(ink, 0.62))
    wall.box(x, x + width, 3.55, 3.75, _times(ink, 1.1))
    wall.box(x, x + width, 3.47, 3.55, _times(ink, 0.7))
    wall.box(x + width - 0.06, x + width, 0, wall.height_m, _times(ink, 0.75))
    (_shop if number % 2 else _entrance)(rng, wall, x, width, ink)
    count = int(width // 2.1)
    gap = width / count
    for floor in (4.35, 7.5):
        for index in range(count):
            _window(rng, wall, x + (index + 0.5) * gap, floor, 1.1, 1.7, ink)


def _times(ink: Ink, share: float) -> Ink:
    return min(ink[0] * share, 255.0), min(ink[1] * share, 255.0), min(ink[2] * share, 255.0)


def _window(rng: np.random.Generator, wall: _Wall, x: float, low: float, width: float, height: float, ink: Ink) -> None:
    """Paint frame, sill, two panes, a slanting reflection by a lighter lower half, and sometimes a curtain."""
    half = width / 2
    wall.box(x - half - 0.1, x + half + 0.1, low - 0.06, low + height + 0.1, _times(ink, 1.16))
    wall.box(x - half, x + half, low, low + height, _times(_GLASS, rng.uniform(0.8, 1.15)))
    wall.box(x - half, x + half, low, low + height * 0.4, _times(_GLASS, rng.uniform(1.2, 1.45)))
    if rng.random() < 0.4:
        wall.box(x - half, x - half + 0.28, low, low + height, (196, 204, 208))
        wall.box(x + half - 0.28, x + half, low, low + height, (190, 198, 202))
    wall.box(x - half, x + half, low + height - 0.12, low + height, _times(_GLASS, 0.55))
    wall.box(x - 0.04, x + 0.04, low, low + height, (226, 230, 232))
    wall.box(x - half, x + half, low + height * 0.64, low + height * 0.64 + 0.07, (226, 230, 232))
    wall.box(x - half - 0.18, x + half + 0.18, low - 0.16, low - 0.04, _times(ink, 0.86))


def _entrance(rng: np.random.Generator, wall: _Wall, x: float, width: float, ink: Ink) -> None:
    middle = x + width * rng.uniform(0.35, 0.65)
    wall.box(middle - 0.85, middle + 0.85, 0, 2.75, _times(ink, 1.16))
    door = _AWNINGS[int(rng.integers(len(_AWNINGS)))]
    wall.box(middle - 0.62, middle + 0.62, 0, 2.55, _times(door, 0.62))
    wall.box(middle - 0.5, middle - 0.06, 1.2, 2.2, _times(_GLASS, 0.8))
    wall.box(middle + 0.06, middle + 0.5, 1.2, 2.2, _times(_GLASS, 0.8))
    for offset in (-2.4, 2.4):
        if x + 0.9 < middle + offset < x + width - 0.9:
            _window(rng, wall, middle + offset, 1.05, 1.25, 1.55, ink)


def _shop(rng: np.random.Generator, wall: _Wall, x: float, width: float, ink: Ink) -> None:
    """Paint a shop window with things in it, a striped awning and a sign."""
    awning = _AWNINGS[int(rng.integers(len(_AWNINGS)))]
    left, right = x + 0.6, x + width - 0.6
    wall.box(left - 0.12, right + 0.12, 0.3, 2.5, _times(ink, 0.55))
    wall.box(left, right, 0.5, 2.4, _times(_GLASS, 1.05))
    for start in np.arange(left + 0.2, right - 0.5, 0.75):
        tone = _times(_AWNINGS[int(rng.integers(len(_AWNINGS)))], rng.uniform(0.7, 1.1))
        wall.box(
            start, start + rng.uniform(0.25, 0.55), 0.5, rng.uniform(0.8, 1.5), _times(tone, rng.uniform(0.7, 1.1))
        )
    for post in np.arange(left, right + 0.1, (right - left) / 3):
        wall.box(post - 0.05, post + 0.05, 0.3, 2.4, _times(ink, 0.5))
    wall.box(left, right, 2.75, 3.3, _times(awning, 0.55))
    wall.box(left + 0.8, right - 0.8, 2.92, 3.12, (226, 230, 232))
    for index, start in enumerate(np.arange(left - 0.2, right + 0.1, 0.4)):
        stripe = awning if index % 2 else (222.0, 226.0, 228.0)
        wall.box(start, min(start + 0.4, right + 0.2), 2.15, 2.7, stripe)
        wall.box(start, min(start + 0.4, right + 0.2), 2.08, 2.18, _times(stripe, 0.75))
