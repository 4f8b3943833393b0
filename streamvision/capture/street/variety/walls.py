"""Walls that stand around a place, as flat textures: houses, offices, sheds, hedges, shelves, posters."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import cv2
import numpy as np

from streamvision.capture.drawn.inks import DARK, coloured, dull, vivid
from streamvision.capture.drawn.parts import Ink, dim
from streamvision.capture.street.facade import houses
from streamvision.capture.street.variety.textures import ground_tile, noise
from streamvision.types import UInt8

PER_METRE = 20
NUMBERS = 10
"""How many walls of each kind there are."""


class _Sheet:
    """A texture whose x and z are metres, z = 0 at its lower edge."""

    def __init__(self, width_m: float, height_m: float, ink: Ink) -> None:
        self.width_m, self.height_m = width_m, height_m
        shape = (round(height_m * PER_METRE), round(width_m * PER_METRE), 3)
        self.pixels: UInt8 = np.full(shape, np.clip(ink, 0, 255), np.uint8)

    def at(self, x: float, z: float) -> tuple[int, int]:
        return round(x * PER_METRE), round((self.height_m - z) * PER_METRE)

    def box(self, x: float, z: float, width: float, height: float, ink: Ink) -> None:
        cv2.rectangle(self.pixels, self.at(x, z + height), self.at(x + width, z), ink, -1)

    def worn(self, rng: np.random.Generator, fine: float, broad: float) -> UInt8:
        """Return the pixels with grain and stains."""
        height, width = self.pixels.shape[:2]
        stains = noise(rng, 1.3, 128) * broad
        layer = cv2.resize(stains, (width, height), interpolation=cv2.INTER_LINEAR)
        layer += rng.normal(0, fine, (height, width)).astype(np.float32)
        return np.asarray(np.clip(self.pixels + layer[..., None], 0, 255), np.uint8)


def _houses(rng: np.random.Generator) -> UInt8:
    return houses(rng, (0.0, 30.0), 11.0, PER_METRE)


def _wall_ink(rng: np.random.Generator) -> Ink:
    return coloured(rng.choice([0.02, 0.06, 0.1, 0.12, 0.6]), rng.uniform(0.02, 0.4), rng.uniform(0.35, 0.92))


def _block(rng: np.random.Generator) -> UInt8:
    """Return a block of flats or offices: windows in rows."""
    sheet = _Sheet(30.0, float(rng.uniform(8, 18)), _wall_ink(rng))
    wide, tall = rng.uniform(0.8, 2.4), rng.uniform(1.1, 2.0)
    step, storey = wide + rng.uniform(0.3, 2.0), tall + rng.uniform(0.9, 1.6)
    frame, glass = dull(rng), coloured(0.6, rng.uniform(0.05, 0.4), rng.uniform(0.12, 0.5))
    lit = rng.uniform(0, 0.15)
    for z in np.arange(rng.uniform(0.9, 3.5), sheet.height_m - tall, storey):
        for x in np.arange(rng.uniform(0.2, 1.0), 30.0 - wide, step):
            sheet.box(x - 0.08, z - 0.08, wide + 0.16, tall + 0.16, frame)
            ink = coloured(0.13, 0.3, 0.9) if rng.random() < lit else dim(glass, rng.uniform(0.6, 1.5))
            sheet.box(x, z, wide, tall, ink)
            sheet.box(x, z, wide, tall * rng.uniform(0.1, 0.5), dim(ink, 1.25))
            sheet.box(x + wide / 2 - 0.04, z, 0.08, tall, frame)
    for x in np.arange(rng.uniform(1, 6), 28, rng.uniform(5, 12)):
        sheet.box(x, 0, 1.2, 2.3, dim(vivid(rng), 0.6))
    return sheet.worn(rng, 3, rng.uniform(3, 9))


def _glazed(rng: np.random.Generator) -> UInt8:
    sheet = _Sheet(30.0, float(rng.uniform(6, 16)), dull(rng))
    step, storey = rng.uniform(1.0, 2.5), rng.uniform(1.2, 3.4)
    for z in np.arange(0.1, sheet.height_m, storey):
        for x in np.arange(0.05, 30.0, step):
            share = z / sheet.height_m
            ink = coloured(0.58, rng.uniform(0.1, 0.35), 0.25 + 0.5 * share + rng.uniform(-0.1, 0.1))
            sheet.box(x, z, step - 0.1, storey - 0.12, ink)
    return sheet.worn(rng, 2, rng.uniform(4, 12))


def _shed(rng: np.random.Generator) -> UInt8:
    """Return a hall of corrugated metal with gates."""
    ink = coloured(rng.choice([0.6, 0.1, 0.35, 0.0]), rng.uniform(0.0, 0.35), rng.uniform(0.45, 0.9))
    sheet = _Sheet(30.0, float(rng.uniform(4, 9)), ink)
    for x in np.arange(0, 30.0, rng.uniform(0.2, 0.5)):
        sheet.box(x, 0, 0.1, sheet.height_m, dim(ink, rng.uniform(0.82, 0.95)))
    for x in np.arange(rng.uniform(0.5, 3), 26, rng.uniform(5, 9)):
        gate = dim(dull(rng), rng.uniform(0.7, 1.2))
        sheet.box(x, 0, 3.5, 3.6, dim(gate, 0.6))
        sheet.box(x + 0.12, 0, 3.26, 3.48, gate)
        for z in np.arange(0.3, 3.4, 0.4):
            sheet.box(x + 0.12, z, 3.26, 0.05, dim(gate, 0.8))
    sheet.box(0, 0, 30, 0.4, dim(ink, 0.6))
    return sheet.worn(rng, 2, rng.uniform(4, 10))


def _masonry(rng: np.random.Generator) -> UInt8:
    """Return bare brick, concrete or wood, with posters and graffiti."""
    tile = ground_tile(str(rng.choice(["brick", "concrete", "paving", "wood", "dirt"])), int(rng.integers(6)))
    small = cv2.resize(tile, (160, 160), interpolation=cv2.INTER_AREA)
    sheet = _Sheet(24.0, float(rng.uniform(2.2, 8)), (0, 0, 0))
    height, width = sheet.pixels.shape[:2]
    sheet.pixels = np.ascontiguousarray(np.tile(small, (height // 160 + 1, width // 160 + 1, 1))[:height, :width])
    for _ in range(int(rng.integers(0, 7))):
        x, z, wide, tall = rng.uniform(0, 22), rng.uniform(0.4, 2.0), rng.uniform(0.5, 2.5), rng.uniform(0.5, 1.6)
        sheet.box(x, z, wide, tall, vivid(rng))
        for _ in range(3):
            sheet.box(x + rng.uniform(0, wide * 0.5), z + rng.uniform(0, tall * 0.6), wide * 0.4, tall * 0.2, dull(rng))
    return sheet.worn(rng, 2, rng.uniform(2, 7))


def _hedge(rng: np.random.Generator) -> UInt8:
    """Return a row of trees or a hedge as seen from some way off: leaves, dark inside."""
    sheet = _Sheet(24.0, float(rng.uniform(1.5, 7)), dim(coloured(0.3, 0.5, 0.25), 1.0))
    height, width = sheet.pixels.shape[:2]
    blobs = sum(cv2.resize(noise(rng, slope, 256), (width, height)) * share for slope, share in ((0.6, 24), (1.2, 26)))
    ink = np.asarray(coloured(rng.uniform(0.2, 0.36), rng.uniform(0.3, 0.65), rng.uniform(0.25, 0.5)), np.float32)
    return np.asarray(np.clip(ink * (1 + np.asarray(blobs)[..., None] / 70), 0, 255), np.uint8)


def _shelves(rng: np.random.Generator) -> UInt8:
    """Return a shop's shelf: boards, and goods in many colours."""
    sheet = _Sheet(16.0, float(rng.uniform(1.8, 3.0)), dull(rng))
    board = dull(rng)
    storey = float(rng.uniform(0.3, 0.6))
    for z in np.arange(0.1, sheet.height_m - 0.2, storey):
        sheet.box(0, z, 16, storey, DARK)
        x = 0.0
        while x < 16:
            wide, count, ink = rng.uniform(0.08, 0.35), int(rng.integers(1, 6)), vivid(rng)
            tall = storey * rng.uniform(0.4, 0.9)
            for _ in range(count):
                sheet.box(x, z, wide - 0.02, tall, dim(ink, rng.uniform(0.8, 1.1)))
                sheet.box(x + wide * 0.2, z + tall * 0.3, wide * 0.5, tall * 0.3, (225, 225, 225))
                x += wide
            x += rng.uniform(0, 0.12)
        sheet.box(0, z - 0.05, 16, 0.06, board)
    return sheet.worn(rng, 3, 3)


def _room(rng: np.random.Generator) -> UInt8:
    """Return an inner wall: paint, doors, pictures, a skirting board."""
    ink = coloured(rng.random(), rng.uniform(0, 0.2), rng.uniform(0.6, 0.95))
    sheet = _Sheet(20.0, float(rng.uniform(2.6, 6)), ink)
    if rng.random() < 0.5:
        sheet.box(0, 0, 20, rng.uniform(0.8, 1.4), dim(coloured(rng.random(), 0.3, 0.6), 1.0))
    for x in np.arange(rng.uniform(0.5, 3), 18, rng.uniform(2.5, 6)):
        door = vivid(rng) if rng.random() < 0.3 else dull(rng)
        if rng.random() < 0.5:
            sheet.box(x - 0.08, 0, 1.16, 2.2, dim(ink, 0.7))
            sheet.box(x, 0, 1.0, 2.1, door)
        else:
            sheet.box(x, 1.1, rng.uniform(0.5, 1.8), rng.uniform(0.5, 1.2), door)
    sheet.box(0, 0, 20, 0.12, dim(ink, 0.55))
    return sheet.worn(rng, 2, rng.uniform(2, 6))


_MAKERS: dict[str, Callable[[np.random.Generator], UInt8]] = {
    "houses": _houses, "block": _block, "glazed": _glazed, "shed": _shed, "masonry": _masonry, "hedge": _hedge,
    "shelves": _shelves, "room": _room,
}  # fmt: skip
OUTDOORS = ("houses", "block", "glazed", "shed", "masonry", "hedge", "hedge")
INDOORS = ("room", "masonry", "shelves", "glazed", "shed")


@lru_cache(maxsize=96)
def wall(kind: str, number: int) -> UInt8:
    """Return a wall's texture (h,w,3) BGR, `PER_METRE` pixels to the metre; its lowest row is the ground."""
    return _MAKERS[kind](np.random.default_rng([list(_MAKERS).index(kind), number, 8]))
