"""The street at any time as a picture: the backdrop under the moment's light, shadows, actors, what hides them."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from streamvision.capture.street.backdrop import Occluder, backdrop
from streamvision.capture.street.bodies import body
from streamvision.capture.street.figures import Placed, paint, place, stencil
from streamvision.capture.street.scene import Actor, actors, sunlight
from streamvision.capture.street.view import View
from streamvision.types import UInt8

_NOISE_SIGMA = 2.2
_NOISE_FIELDS = 8
_Box = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Seen:
    """An actor in the picture: its box xyxy in px, clipped to the picture, and its figure in pixels."""

    actor: Actor
    xyxy: tuple[float, float, float, float]
    placed: Placed


def seen(seed: int, view: View, t_s: float) -> list[Seen]:
    """Return the actors whose boxes touch the picture, farthest first."""
    found = []
    for actor in actors(seed, t_s):
        placed = place(view, body(actor))
        if placed.depth.min() > 1 and (box := _clipped(placed.extent(), view.size_wh)) is not None:
            found.append(Seen(actor, box, placed))
    return sorted(found, key=lambda one: -one.placed.depth_m)


def _clipped(
    box: tuple[float, float, float, float], size_wh: tuple[int, int]
) -> tuple[float, float, float, float] | None:
    x1, y1 = max(0.0, box[0]), max(0.0, box[1])
    x2, y2 = min(float(size_wh[0]), box[2]), min(float(size_wh[1]), box[3])
    return (x1, y1, x2, y2) if x2 - x1 >= 1 and y2 - y1 >= 1 else None


class Painter:
    """Paints the street of one seed at one size; ``paint`` may be called for any times in any order."""

    def __init__(self, seed: int, size_wh: tuple[int, int]) -> None:
        self.seed = seed
        self.view = View(size_wh)
        self._backdrop = backdrop(seed, self.view)
        self.occluders = self._backdrop.occluders
        rng = np.random.default_rng([seed, 99])
        shape = (_NOISE_FIELDS, size_wh[1], size_wh[0])
        self._noise = np.clip(128 + rng.normal(0, _NOISE_SIGMA, shape), 0, 255).astype(np.uint8)

    def bgr(self, t_s: float) -> UInt8:
        """Return the picture at a time as (h,w,3) BGR, without camera noise."""
        sun = sunlight(self.seed, t_s)
        empty = cv2.addWeighted(self._backdrop.sunny, sun, self._backdrop.cloudy, 1 - sun, 0)
        canvas: UInt8 = empty.copy()
        crowd = seen(self.seed, self.view, t_s)
        for one in crowd:
            self._shadow(canvas, one, sun)
        for one in crowd:
            paint(canvas, one.placed, 0.84 + 0.26 * sun)
            self._hide(canvas, empty, one)
        return canvas

    def i420(self, t_s: float) -> UInt8:
        """Return the picture as planar YUV 4:2:0 (h*3/2, w), with camera noise on its luma."""
        planes: UInt8 = cv2.cvtColor(self.bgr(t_s), cv2.COLOR_BGR2YUV_I420)
        height = self.view.size_wh[1]
        luma = planes[:height]
        cv2.addWeighted(luma, 1, self._noise[hash(round(t_s * 1000)) % _NOISE_FIELDS], 1, -128, dst=luma)
        return planes

    def _shadow(self, canvas: UInt8, one: Seen, sun: float) -> None:
        """Darken the ground behind an actor, as far as the sun shines, and always a little right below it."""
        fallen = place(self.view, one.placed.figure.shadow())
        area = _pixels(fallen.extent(), self.view.size_wh, 3)
        if area is None:
            return
        part = canvas[area[1] : area[3], area[0] : area[2]]
        mask = np.zeros(part.shape[:2], np.uint8)
        stencil(mask, fallen, (area[0], area[1]), round(255 * (0.12 + 0.34 * sun)))
        light = 255 - cv2.GaussianBlur(mask, (5, 5), 0)
        cv2.multiply(part, cv2.merge([light] * 3), dst=part, scale=1 / 255)

    def _hide(self, canvas: UInt8, empty: UInt8, one: Seen) -> None:
        """Put the street's furniture back before an actor that walks behind it."""
        area = _pixels(one.xyxy, self.view.size_wh, 2)
        for occluder in self.occluders:
            if area is None or occluder.depth_m >= one.placed.depth_m:
                continue
            if (common := overlap(area, occluder)) is not None:
                x1, y1, x2, y2 = common
                alpha = occluder.cover[y1 - occluder.top : y2 - occluder.top, x1 - occluder.left : x2 - occluder.left]
                _blend(canvas[y1:y2, x1:x2], empty[y1:y2, x1:x2], alpha)


def _blend(below: UInt8, above: UInt8, alpha: UInt8) -> None:
    """Lay ``above`` over ``below`` in place, where alpha (h,w) covers it."""
    if alpha.any():
        share = alpha[..., None].astype(np.uint16)
        below[:] = (below * (255 - share) + above * share + 127) // 255


def _pixels(box: tuple[float, float, float, float], size_wh: tuple[int, int], margin: int) -> _Box | None:
    """Return whole pixels around a box inside the picture; None where nothing is left."""
    x1, y1 = max(0, int(box[0]) - margin), max(0, int(box[1]) - margin)
    x2, y2 = min(size_wh[0], int(box[2]) + 1 + margin), min(size_wh[1], int(box[3]) + 1 + margin)
    return (x1, y1, x2, y2) if x2 > x1 and y2 > y1 else None


def overlap(area: _Box, occluder: Occluder) -> _Box | None:
    """Return the pixels that an area and an occluder share."""
    height, width = occluder.cover.shape
    x1, y1 = max(area[0], occluder.left), max(area[1], occluder.top)
    x2, y2 = min(area[2], occluder.left + width), min(area[3], occluder.top + height)
    return (x1, y1, x2, y2) if x2 > x1 and y2 > y1 else None
