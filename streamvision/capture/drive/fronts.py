"""House fronts as flat pictures: brick, plaster, concrete, glass; windows, shops, doors, signs, balconies."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from streamvision.capture.drive.noise import TILE, blotches, grain
from streamvision.types import UInt8

Ink = tuple[float, float, float]
WIDE, TALL = 256, 192
_WALLS: tuple[Ink, ...] = (
    (96, 116, 158), (70, 88, 136), (150, 170, 190), (176, 196, 206), (200, 208, 212), (130, 138, 142), (110, 140, 176),
    (150, 178, 210), (104, 112, 120), (168, 150, 132), (88, 96, 104), (142, 160, 148), (120, 150, 200), (190, 186, 176),
)  # fmt: skip
_SHOPS: tuple[Ink, ...] = ((40, 40, 160), (120, 60, 30), (50, 100, 40), (30, 130, 200), (60, 50, 50), (160, 140, 60),
                           (200, 200, 200), (90, 40, 110))  # fmt: skip


def front(variant: int) -> UInt8:
    """Return house front ``variant`` (TALL,WIDE,4), its foot at the bottom row."""
    rng = np.random.default_rng([21, variant])
    wall = np.array(_WALLS[variant % len(_WALLS)], np.float32) * rng.uniform(0.75, 1.15)
    picture = np.tile(wall, (TALL, WIDE, 1)).astype(np.float32)
    _texture(rng, picture)
    storeys = int(rng.integers(1, 7))
    ground = TALL / (storeys + 0.25 * float(rng.random()))
    _windows(rng, picture, storeys, ground)
    if rng.random() < 0.6:
        _shops(rng, picture, ground)
    else:
        _doors(rng, picture, ground)
    alpha = np.full((TALL, WIDE), 255, np.float32)
    _roof(rng, picture, alpha)
    return np.dstack([np.clip(picture, 0, 255) * (alpha[..., None] / 255), alpha]).astype(np.uint8)


def _texture(rng: np.random.Generator, picture: NDArray[np.float32]) -> None:
    rough = grain()[:TALL, :WIDE] * 0.03 + blotches()[:TALL, :WIDE] * rng.uniform(0.02, 0.07)
    picture *= 1 + rough[..., None]
    if rng.random() < 0.5:
        for y in range(0, TALL, 3):
            picture[y] *= 0.92
    picture[-10:] *= np.linspace(1, 0.75, 10, dtype=np.float32)[:, None, None]


def _windows(rng: np.random.Generator, picture: NDArray[np.float32], storeys: int, ground: float) -> None:
    columns = int(rng.integers(3, 10))
    wide, tall = WIDE / columns, ground
    w, h = wide * rng.uniform(0.35, 0.85), tall * rng.uniform(0.4, 0.75)
    frame = np.array([215, 218, 220], np.float32) * rng.choice([0.25, 0.6, 1.0])
    for storey in range(storeys):
        top = TALL - (storey + 1) * tall + (tall - h) * 0.45
        for column in range(columns):
            left = column * wide + (wide - w) / 2
            box = (left, top, left + w, top + h)
            _pane(rng, picture, box, frame)
        if rng.random() < 0.3:
            _strip(picture, top + h + 2, 3, frame * 0.8)


def _pane(
    rng: np.random.Generator, picture: NDArray[np.float32], box: tuple[float, ...], frame: NDArray[np.float32]
) -> None:
    x1, y1, x2, y2 = (round(side) for side in box)
    cv2.rectangle(picture, (x1, y1), (x2, y2), frame.tolist(), -1)
    glass = np.array([96, 84, 74]) * rng.uniform(0.35, 1.35)
    if rng.random() < 0.12:
        glass = np.array([150, 170, 180]) * rng.uniform(0.6, 1.0)
    cv2.rectangle(picture, (x1 + 1, y1 + 1), (x2 - 1, y2 - 1), glass.tolist(), -1)
    if x2 - x1 > 8:
        cv2.line(picture, ((x1 + x2) // 2, y1), ((x1 + x2) // 2, y2), frame.tolist(), 1)
    cv2.line(picture, (x1 - 1, y2 + 1), (x2 + 1, y2 + 1), (frame * 0.7).tolist(), 1)


def _strip(picture: NDArray[np.float32], top: float, height: int, ink: NDArray[np.float32]) -> None:
    picture[max(0, round(top)) : max(0, round(top)) + height] = ink


def _shops(rng: np.random.Generator, picture: NDArray[np.float32], ground: float) -> None:
    top = round(TALL - min(ground, TALL * 0.8))
    height = TALL - top
    at = 0
    while at < WIDE:
        wide = int(rng.integers(30, 90))
        ink = np.array(_SHOPS[rng.integers(len(_SHOPS))], np.float32)
        board = round(top + height * 0.22)
        cv2.rectangle(picture, (at, top), (at + wide, TALL), (ink * 0.5).tolist(), -1)
        cv2.rectangle(picture, (at, top), (at + wide, board), ink.tolist(), -1)
        for letter in range(at + 6, at + wide - 8, 6):
            if rng.random() < 0.8:
                y1 = top + max(1, height // 18)
                cv2.rectangle(picture, (letter, y1), (letter + 3, max(y1 + 1, board - 2)), (225, 228, 230), -1)
        glass = np.array([80, 76, 70]) * rng.uniform(0.5, 2.0)
        cv2.rectangle(picture, (at + 3, board + 2), (at + wide - 3, TALL - 6), glass.tolist(), -1)
        for x in range(at + 3, at + wide - 6, 9):
            shade = glass * rng.uniform(0.5, 1.7) + rng.normal(0, 12, 3)
            cv2.rectangle(picture, (x, board + 6), (x + 6, TALL - 8), np.clip(shade, 0, 255).tolist(), -1)
        at += wide


def _doors(rng: np.random.Generator, picture: NDArray[np.float32], ground: float) -> None:
    for _ in range(int(rng.integers(1, 4))):
        x, wide = int(rng.integers(0, WIDE - 24)), int(rng.integers(10, 22))
        ink = np.array(_SHOPS[rng.integers(len(_SHOPS))]) * 0.7
        cv2.rectangle(picture, (x, round(TALL - ground * 0.7)), (x + wide, TALL), ink.tolist(), -1)


def _roof(rng: np.random.Generator, picture: NDArray[np.float32], alpha: NDArray[np.float32]) -> None:
    """Give the front a gable, a tiled roof, or a plain edge."""
    kind = rng.random()
    if kind < 0.35:
        depth = round(TALL * rng.uniform(0.12, 0.25))
        tiles = np.array([62, 74, 104]) * rng.uniform(0.6, 1.3)
        picture[:depth] = tiles * (1 + 0.05 * grain()[:depth, :WIDE, None])
        picture[depth : depth + 3] *= 0.5
    elif kind < 0.6:
        depth = round(TALL * rng.uniform(0.15, 0.3))
        gable = np.array([(0, depth), (WIDE // 2, 0), (WIDE, depth), (WIDE, 0), (0, 0)], np.int32)
        cv2.fillPoly(alpha, [gable], 0)
    else:
        picture[:4] *= 0.7


assert max(WIDE, TALL) <= TILE
