"""Privacy masks: parts of the picture that nothing outside the capture ever sees.

They are painted black into the pixels for the network and into every picture that leaves, snapshot and live view
included. A border pixel that is partly hidden is hidden.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

import cv2
import numpy as np

from streamvision.capture.picture import ArrayPicture, encode_jpeg
from streamvision.geometry import Letterbox
from streamvision.interfaces import ScalablePicture
from streamvision.types import Crop, InputSpec, UInt8

Polygon = Sequence[tuple[float, float]]
"""Corners (x, y) in 0-1 of the upright picture, origin top left."""

_KEPT_SIZES: Final = 8
_SUBPIXEL_BITS: Final = 4


class PrivacyMasks:
    """Polygons to paint over, rasterised once per picture size. Safe for several threads."""

    def __init__(self, polygons: Mapping[str, Polygon]) -> None:
        """Raises `ValueError` for a polygon of fewer than three corners or with corners that are no numbers."""
        for name, polygon in polygons.items():
            if len(polygon) < 3 or not all(math.isfinite(value) for corner in polygon for value in corner):
                raise ValueError(f"privacy mask {name!r}: expected at least three corners (x, y), got {list(polygon)}")
        self._polygons = [np.asarray(polygon, np.float64) for polygon in polygons.values()]
        self._visible: dict[tuple[int, int, int], UInt8] = {}

    def paint(self, pixels: UInt8) -> None:
        """Blacken what is hidden in an array (h,w,3) or (h,w) that shows the whole picture, in place."""
        cv2.bitwise_and(pixels, self._visible_bits(pixels.shape), dst=pixels)

    def paint_prepared(self, pixels: UInt8, letterbox: Letterbox) -> None:
        """Blacken what is hidden in a network's input, in place; padding keeps its value."""
        (left, top), (width, height) = letterbox.offset_xy, letterbox.inner_wh
        self.paint(pixels[top : top + height, left : left + width])

    def _visible_bits(self, shape: tuple[int, ...]) -> UInt8:
        """Return 255 where the picture may be seen and 0 where not, in the shape of the pixels."""
        height, width, channels = (*shape, 1)[:3]
        bits = self._visible.get((width, height, channels))
        if bits is None:
            if len(self._visible) >= _KEPT_SIZES:
                self._visible = {}
            bits = np.broadcast_to(self._rasterise(width, height).reshape(*shape[:2], 1), (height, width, channels))
            bits = np.ascontiguousarray(bits).reshape(shape)
            self._visible[width, height, channels] = bits
        return bits

    def _rasterise(self, width: int, height: int) -> UInt8:
        hidden = np.zeros((height, width), np.uint8)
        for polygon in self._polygons:
            corners = np.clip(polygon, -1, 2) * (width, height) * (1 << _SUBPIXEL_BITS)
            cv2.fillPoly(hidden, [np.round(corners).astype(np.int32)], (255,), shift=_SUBPIXEL_BITS)
        hidden = cv2.dilate(hidden, np.ones((3, 3), np.uint8))
        return np.asarray(cv2.bitwise_not(hidden))


class MaskedPicture:
    """A picture whose hidden parts cannot be had by any way."""

    __slots__ = ("_inner", "_masks")

    def __init__(self, inner: ScalablePicture, masks: PrivacyMasks) -> None:
        self._inner = inner
        self._masks = masks

    @property
    def size_wh(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self._inner.size_wh

    def rgb(self, size_wh: tuple[int, int] | None = None) -> UInt8:
        """Return an (height, width, 3) RGB array, scaled to ``size_wh`` if given; a copy of its own."""
        pixels = self._inner.rgb(size_wh)
        self._masks.paint(pixels)
        return pixels

    def jpeg(self, quality: int = 85, size_wh: tuple[int, int] | None = None) -> bytes:
        """Return the picture as a JPEG file."""
        return encode_jpeg(self.rgb(size_wh)[..., ::-1].copy(), quality)

    def prepare(self, spec: InputSpec) -> tuple[UInt8, Letterbox]:
        """Return (h,w,3) or (h,w) pixels as ``spec`` asks for, and their map to the source picture."""
        pixels, letterbox = self._inner.prepare(spec)
        self._masks.paint_prepared(pixels, letterbox)
        return pixels, letterbox

    def crop(self, window: tuple[int, int, int, int], spec: InputSpec) -> Crop:
        """Return a part of the picture as a network wants it; what is hidden is painted before it is scaled."""
        return ArrayPicture(self.rgb()).crop(window, spec)
