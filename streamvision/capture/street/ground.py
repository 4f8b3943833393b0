"""The street's ground as one texture seen from straight above: paving, asphalt, markings, the green strip."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from streamvision.capture.street.scene import KERB_FAR, KERB_NEAR
from streamvision.types import UInt8

Ink = tuple[float, float, float]
_WHITE: Ink = (222, 226, 228)
_KERB: Ink = (176, 180, 184)


@dataclass(frozen=True, slots=True)
class _Sheet:
    """A texture with metres: column 0 is ``left_m``, row 0 is ``far_m``."""

    pixels: UInt8
    left_m: float
    far_m: float
    per_metre: float

    def at(self, x: float, y: float) -> tuple[int, int]:
        return round((x - self.left_m) * self.per_metre), round((self.far_m - y) * self.per_metre)

    def strip(self, near: float, far: float) -> UInt8:
        """Return the part between two distances, to be written to."""
        return self.pixels[max(0, self.at(0, far)[1]) : max(0, self.at(0, near)[1])]

    def box(self, x0: float, x1: float, y0: float, y1: float, ink: Ink) -> None:
        cv2.rectangle(self.pixels, self.at(x0, y1), self.at(x1, y0), ink, -1)


def ground(rng: np.random.Generator, x_m: tuple[float, float], y_m: tuple[float, float], per_metre: float) -> UInt8:
    """Paint the ground between two x and two y; row 0 is the far side."""
    size = (round((y_m[1] - y_m[0]) * per_metre), round((x_m[1] - x_m[0]) * per_metre), 3)
    sheet = _Sheet(np.zeros(size, np.uint8), x_m[0], y_m[1], per_metre)
    _pavement(rng, sheet, y_m[0], KERB_NEAR, (150, 160, 168), 0.6)
    _pavement(rng, sheet, KERB_FAR, y_m[1], (148, 156, 162), 0.45)
    _pavement(rng, sheet, y_m[0], -4.6, (132, 148, 166), 1.0)
    _asphalt(rng, sheet)
    _median(rng, sheet)
    _markings(sheet, x_m)
    return sheet.pixels


def _grain(rng: np.random.Generator, shape: tuple[int, ...], strength: float, cell: int) -> NDArray[np.float32]:
    """Return smooth random mottling (h,w,1) around 0; ``cell`` is its size in pixels."""
    coarse = rng.normal(0, strength, (shape[0] // cell + 2, shape[1] // cell + 2)).astype(np.float32)
    return np.asarray(cv2.resize(coarse, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC))[..., None]


def _fill(part: UInt8, ink: Ink, *grains: NDArray[np.float32]) -> None:
    part[:] = np.clip(np.asarray(ink, np.float32) + sum(grains), 0, 255)


def _pavement(rng: np.random.Generator, sheet: _Sheet, near: float, far: float, ink: Ink, slab_m: float) -> None:
    """Paint slabs that each have their own tone, with dark joints."""
    part = sheet.strip(near, far)
    slab = max(2, round(slab_m * sheet.per_metre))
    rows, columns = part.shape[0] // slab + 2, part.shape[1] // slab + 2
    tones = (
        rng.normal(0, 4.5, (rows, columns))
        .astype(np.float32)
        .repeat(slab, 0)
        .repeat(slab, 1)[: part.shape[0], : part.shape[1], None]
    )
    _fill(part, ink, tones, _grain(rng, part.shape, 3, 5), _grain(rng, part.shape, 3, 90))
    joint = max(1, slab // 24)
    for start in range(joint):
        part[start::slab] = part[start::slab] * 0.84
        part[:, start::slab] = part[:, start::slab] * 0.84


def _asphalt(rng: np.random.Generator, sheet: _Sheet) -> None:
    road = sheet.strip(KERB_NEAR, KERB_FAR)
    _fill(road, (108, 106, 104), _grain(rng, road.shape, 4, 2), _grain(rng, road.shape, 3, 60))
    for wheel in (2.8, 4.4, 8.5, 10.1):
        part = sheet.strip(wheel - 0.25, wheel + 0.25)
        part[:] = part * 0.94
    for near, far in ((0.15, 1.7), (11.1, 12.65)):
        part = sheet.strip(near, far)
        _fill(part, (86, 88, 142), _grain(rng, part.shape, 4, 2), _grain(rng, part.shape, 4, 70))
    for near in (KERB_NEAR - 0.18, KERB_FAR):
        sheet.strip(near, near + 0.18)[:] = _KERB
        part = sheet.strip(near - 0.05, near)
        part[:] = part * 0.7


def _median(rng: np.random.Generator, sheet: _Sheet) -> None:
    sheet.strip(5.35, 7.65)[:] = _KERB
    grass = sheet.strip(5.5, 7.5)
    _fill(grass, (62, 122, 96), _grain(rng, grass.shape, 9, 3), _grain(rng, grass.shape, 7, 30))
    part = sheet.strip(5.25, 5.35)
    part[:] = part * 0.75


def _markings(sheet: _Sheet, x_m: tuple[float, float]) -> None:
    for y in (1.78, 11.02):
        sheet.box(x_m[0], x_m[1], y - 0.06, y + 0.06, _WHITE)
    for x in np.arange(x_m[0], x_m[1], 3.0):
        sheet.box(x, x + 1.4, 5.08, 5.18, _WHITE)
        sheet.box(x, x + 1.4, 7.82, 7.92, _WHITE)
    for x, y, way in ((-13.0, 3.6, 1), (8.0, 3.6, 1), (-8.0, 9.3, -1), (15.0, 9.3, -1)):
        _arrow(sheet, x, y, way)
    for x, y in ((-7.0, 0.95), (11.0, 0.95), (-12.0, 11.85), (9.0, 11.85)):
        _bicycle(sheet, x, y)


def _arrow(sheet: _Sheet, x: float, y: float, way: int) -> None:
    sheet.box(min(x, x + way * 1.8), max(x, x + way * 1.8), y - 0.09, y + 0.09, _WHITE)
    corners = [(x + way * 1.8, y - 0.32), (x + way * 2.9, y), (x + way * 1.8, y + 0.32)]
    cv2.fillPoly(sheet.pixels, [np.array([sheet.at(*corner) for corner in corners])], _WHITE, cv2.LINE_AA)


def _bicycle(sheet: _Sheet, x: float, y: float) -> None:
    """Paint the sign of a bicycle lane: two wheels and a frame."""
    thick = max(1, round(0.07 * sheet.per_metre))
    for wheel in (x - 0.42, x + 0.42):
        cv2.circle(sheet.pixels, sheet.at(wheel, y - 0.12), round(0.26 * sheet.per_metre), _WHITE, thick, cv2.LINE_AA)
    frame = [(x - 0.42, y - 0.12), (x - 0.2, y + 0.25), (x + 0.25, y + 0.25), (x + 0.42, y - 0.12), (x, y - 0.12),
             (x - 0.2, y + 0.25)]  # fmt: skip
    cv2.polylines(sheet.pixels, [np.array([sheet.at(*p) for p in frame])], False, _WHITE, thick, cv2.LINE_AA)
