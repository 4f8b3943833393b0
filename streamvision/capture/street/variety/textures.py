"""Textures that tile: what grounds are made of, and the noise under all of it. Each is made once in a process."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from streamvision.capture.drawn.inks import coloured
from streamvision.types import UInt8

Field = NDArray[np.float32]
SIDE = 512
"""Pixels of a tile's side."""
NUMBERS = 6
"""How many tiles of each ground there are."""


def noise(rng: np.random.Generator, slope: float, side: int = SIDE) -> Field:
    """Return noise (side,side) that tiles, of mean 0 and deviation 1; ``slope`` 0 is fine, 1 cloudy, 2 very broad."""
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None, :]) * side
    spectrum = np.fft.rfft2(rng.normal(size=(side, side))) / np.maximum(frequency, 1.0) ** slope
    spectrum[0, 0] = 0
    field = np.fft.irfft2(spectrum, s=(side, side)).astype(np.float32)
    return np.asarray(field / field.std(), np.float32)


@lru_cache(maxsize=8)
def clouds(number: int) -> Field:
    """Return one of a few broad noises for anything."""
    return noise(np.random.default_rng([81, number]), 1.6)


def _mixed(rng: np.random.Generator, ink: tuple[float, float, float], fine: float, broad: float) -> Field:
    """Return a colour with fine grain and broad stains (side,side,3)."""
    grain = fine * noise(rng, rng.uniform(0.0, 0.5)) + broad * noise(rng, rng.uniform(1.0, 1.5))
    tint = rng.normal(0, 0.15, 3).astype(np.float32) * noise(rng, 1.2)[..., None] * broad
    return np.asarray(np.asarray(ink, np.float32) + grain[..., None] + tint, np.float32)


def _asphalt(rng: np.random.Generator) -> Field:
    tile = _mixed(rng, coloured(rng.choice([0.1, 0.6]), rng.uniform(0, 0.1), rng.uniform(0.25, 0.58)),
                  rng.uniform(3, 10), rng.uniform(3, 9))  # fmt: skip
    cracks = np.abs(noise(rng, 1.4)) < rng.uniform(0.0, 0.03)
    tile[cracks] *= 0.75
    return tile


def _concrete(rng: np.random.Generator) -> Field:
    tile = _mixed(rng, coloured(0.1, rng.uniform(0, 0.12), rng.uniform(0.5, 0.82)), rng.uniform(2, 6),
                  rng.uniform(4, 10))  # fmt: skip
    if rng.random() < 0.7:
        _joints(tile, int(rng.choice([128, 256])), int(rng.choice([128, 256])), 2, 0.7)
    return tile


def _joints(tile: Field, across: int, along: int, width: int, share: float, shift: bool = False) -> None:
    """Darken the gaps of a grid, in place; ``shift``: every other row by half."""
    for number, row in enumerate(range(0, SIDE, along)):
        tile[row : row + width] *= share
        start = across // 2 if shift and number % 2 else 0
        for column in range(start, SIDE, across):
            tile[row : row + along, column : column + width] *= share


def _slabs(rng: np.random.Generator, ink: tuple[float, float, float], across: int, along: int, spread: float,
           *, shift: bool = False, joint: float = 0.75) -> Field:  # fmt: skip
    """Return slabs that each have their own tone."""
    tile = _mixed(rng, ink, rng.uniform(1.5, 5), rng.uniform(2, 6))
    tones = rng.normal(0, spread, (SIDE // along, SIDE // across, 3)) * [0.7, 0.85, 1]
    full = tones.mean(axis=2, keepdims=True) * 0.8 + tones * 0.3
    layer = full.repeat(along, 0).repeat(across, 1).astype(np.float32)
    if shift:
        for row in range(along, SIDE, 2 * along):
            layer[row : row + along] = np.roll(layer[row : row + along], across // 2, axis=1)
    tile += layer
    _joints(tile, across, along, max(1, across // 24), joint, shift)
    return tile


def _paving(rng: np.random.Generator) -> Field:
    size = int(rng.choice([32, 64]))
    ink = coloured(rng.choice([0.08, 0.1, 0.6, 0.03]), rng.uniform(0.02, 0.25), rng.uniform(0.45, 0.8))
    return _slabs(rng, ink, size * int(rng.choice([1, 2])), size, rng.uniform(4, 14), shift=rng.random() < 0.5)


def _brick(rng: np.random.Generator) -> Field:
    ink = coloured(rng.uniform(0.0, 0.07), rng.uniform(0.25, 0.6), rng.uniform(0.35, 0.7))
    return _slabs(rng, ink, 32, 16, rng.uniform(8, 18), shift=True, joint=rng.uniform(0.6, 1.3))


def _tiles(rng: np.random.Generator) -> Field:
    ink = coloured(rng.random(), rng.uniform(0, 0.2), rng.uniform(0.55, 0.95))
    return _slabs(rng, ink, 64, 64, rng.uniform(1, 8), joint=rng.uniform(0.6, 0.9))


def _checks(rng: np.random.Generator) -> Field:
    first, second = (np.asarray(coloured(rng.random(), rng.uniform(0, 0.5), rng.uniform(0.2, 0.9))) for _ in range(2))
    rows, columns = np.mgrid[:SIDE, :SIDE] // 64
    board = ((rows + columns) % 2)[..., None]
    return np.asarray(board * first + (1 - board) * second + noise(rng, 0.8)[..., None] * 4, np.float32)


def _grass(rng: np.random.Generator) -> Field:
    tile = _mixed(rng, coloured(rng.uniform(0.17, 0.33), rng.uniform(0.3, 0.6), rng.uniform(0.3, 0.6)),
                  rng.uniform(8, 18), rng.uniform(6, 14))  # fmt: skip
    dry = np.clip(noise(rng, 1.4) * 0.5 + 0.2, 0, 1)[..., None] * rng.uniform(0, 0.6)
    return np.asarray(tile * (1 - dry) + np.asarray(coloured(0.12, 0.4, 0.62), np.float32) * dry, np.float32)


def _gravel(rng: np.random.Generator) -> Field:
    return _mixed(rng, coloured(rng.choice([0.08, 0.1, 0.6]), rng.uniform(0.02, 0.25), rng.uniform(0.4, 0.75)),
                  rng.uniform(14, 28), rng.uniform(3, 9))  # fmt: skip


def _dirt(rng: np.random.Generator) -> Field:
    return _mixed(rng, coloured(rng.uniform(0.05, 0.1), rng.uniform(0.2, 0.5), rng.uniform(0.3, 0.65)),
                  rng.uniform(3, 10), rng.uniform(10, 24))  # fmt: skip


def _carpet(rng: np.random.Generator) -> Field:
    return _mixed(rng, coloured(rng.random(), rng.uniform(0.1, 0.7), rng.uniform(0.2, 0.7)), rng.uniform(3, 9),
                  rng.uniform(1, 4))  # fmt: skip


def _wood(rng: np.random.Generator) -> Field:
    ink = coloured(rng.uniform(0.05, 0.1), rng.uniform(0.3, 0.6), rng.uniform(0.35, 0.8))
    return _slabs(rng, ink, 256, 16, rng.uniform(6, 16), shift=True, joint=0.7)


def _shiny(rng: np.random.Generator) -> Field:
    tile = _mixed(rng, coloured(rng.random(), rng.uniform(0, 0.15), rng.uniform(0.5, 0.9)), 1.0, rng.uniform(6, 16))
    _joints(tile, 128, 128, 1, 0.85)
    return tile


def _snow(rng: np.random.Generator) -> Field:
    tile = _mixed(rng, (232, 226, 220), rng.uniform(2, 5), rng.uniform(5, 12))
    slush = np.clip(noise(rng, 1.3) - rng.uniform(0.3, 1.2), 0, 1)[..., None]
    return np.asarray(tile * (1 - 0.5 * slush), np.float32)


_MAKERS: dict[str, Callable[[np.random.Generator], Field]] = {
    "asphalt": _asphalt, "concrete": _concrete, "paving": _paving, "brick": _brick, "tiles": _tiles,
    "checks": _checks, "grass": _grass, "gravel": _gravel, "dirt": _dirt, "carpet": _carpet, "wood": _wood,
    "shiny": _shiny, "snow": _snow,
}  # fmt: skip
GROUNDS = tuple(_MAKERS)


@lru_cache(maxsize=96)
def ground_tile(kind: str, number: int) -> UInt8:
    """Return the texture (SIDE,SIDE,3) BGR of a ground; 64 pixels are a metre."""
    rng = np.random.default_rng([GROUNDS.index(kind), number, 7])
    return np.asarray(np.clip(_MAKERS[kind](rng), 0, 255), np.uint8)


@lru_cache(maxsize=128)
def small_tile(kind: str, number: int, halvings: int) -> UInt8:
    """Return a tile that is halved a few times, for what lies far away."""
    side = SIDE >> halvings
    return np.asarray(cv2.resize(ground_tile(kind, number), (side, side), interpolation=cv2.INTER_AREA), np.uint8)
