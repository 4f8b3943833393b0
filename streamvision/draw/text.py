"""Anti-aliased text on rounded labels.

OpenCV 5 draws with a real typeface; before that there are only stroked letters, used there at twice the size and
shrunk. A label's pixels are cached, because names and numbers come back picture after picture.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from streamvision.draw.palette import RGB
from streamvision.types import UInt8

_WEIGHT = 500
_RENDERING = threading.Lock()


def text_px(size_wh: tuple[int, int]) -> int:
    """Return the text height in pixels that suits a picture, 320x240 up to 4K."""
    return round(min(max(min(size_wh) / 42, 10), 52))


@cache
def _typeface() -> Any:
    """Return OpenCV's own sans-serif typeface, None before OpenCV 5."""
    return cv2.FontFace("sans") if hasattr(cv2, "FontFace") else None


def _typeset(text: str, px: int, face: Any) -> UInt8:
    """Return the coverage (h,w) of a text set in a typeface; every text of one size has the same height."""
    width = cv2.getTextSize((0, 0), text, (0, 0), face, px, _WEIGHT)[2]
    canvas = np.zeros((round(px * 1.5), width + px, 3), np.uint8)
    end, _ = cv2.putText(canvas, text, (px // 8, round(px * 1.1)), (255, 255, 255), face, px, _WEIGHT)
    return np.ascontiguousarray(canvas[:, : max(1, min(end[0] + px // 8, canvas.shape[1])), 0])


def _stroked(text: str, px: int) -> UInt8:
    """Return the coverage (h,w) of a text in stroked ASCII letters."""
    plain = text.encode("ascii", "replace").decode()
    scale, thick = px / 15, max(1, px // 6)
    (width, height), _ = cv2.getTextSize(plain, cv2.FONT_HERSHEY_DUPLEX, scale, thick)
    canvas = np.zeros((px * 3, width + px // 2), np.uint8)
    origin = (px // 4, (px * 3 + height) // 2)
    cv2.putText(canvas, plain, origin, cv2.FONT_HERSHEY_DUPLEX, scale, 255, thick, cv2.LINE_AA)
    return np.asarray(cv2.resize(canvas, (max(1, canvas.shape[1] // 2), round(px * 1.5)), interpolation=cv2.INTER_AREA))


@lru_cache(maxsize=512)
def coverage(text: str, px: int) -> UInt8:
    """Return how much each pixel (h,w) is covered by a text of ``px`` pixels' height, 0-255."""
    with _RENDERING:  # a typeface keeps state while it draws
        face = _typeface()
        return _stroked(text, px) if face is None else _typeset(text, px, face)


@dataclass(frozen=True, slots=True, eq=False)
class _Label:
    pixels: UInt8
    weight: NDArray[np.float32]
    rest: NDArray[np.float32]


@lru_cache(maxsize=256)
def _label(text: str, px: int, ink: RGB, fill: RGB, opacity: float) -> _Label:
    """Return a rounded label: colours (h,w,3) and how much of them is seen (h,w), with its complement."""
    words = coverage(text, px)
    pad = max(2, px // 3)
    share = np.pad(words, ((0, 0), (pad, pad))).astype(np.float32)[..., None] / 255
    pixels = (np.asarray(fill, np.float32) * (1 - share) + np.asarray(ink, np.float32) * share).astype(np.uint8)
    plate = _rounded(pixels.shape[1], pixels.shape[0], max(2, px // 4))
    weight = np.maximum(plate * np.float32(opacity / 255), share[..., 0] * (plate > 0)).astype(np.float32)
    return _Label(pixels, weight, 1 - weight)


def _rounded(width: int, height: int, radius: int) -> NDArray[np.float32]:
    """Return the coverage (height,width) of a rounded rectangle, 0-255, smoothed by drawing it at twice the size."""
    big = np.zeros((height * 2, width * 2), np.uint8)
    r, right, low = radius * 2, width * 2 - 1, height * 2 - 1
    cv2.rectangle(big, (r, 0), (right - r, low), 255, -1)
    cv2.rectangle(big, (0, r), (right, low - r), 255, -1)
    for centre in ((r, r), (right - r, r), (r, low - r), (right - r, low - r)):
        cv2.circle(big, centre, r, 255, -1)
    return np.asarray(cv2.resize(big, (width, height), interpolation=cv2.INTER_AREA), np.float32)


def label_wh(text: str, px: int) -> tuple[int, int]:
    """Return the width and height in pixels that `put_label` covers."""
    height, width = coverage(text, px).shape
    return width + 2 * max(2, px // 3), height


def put_label(
    canvas: UInt8, text: str, xy: tuple[int, int], px: int, *, ink: RGB, fill: RGB, opacity: float = 0.85
) -> None:
    """Draw a rounded label with its top left corner at ``xy``, in place; what lies outside the picture is cut."""
    if not text:
        return
    label = _label(text, px, ink, fill, opacity)
    (height, width), (x, y) = label.weight.shape, xy
    x0, y0, x1, y1 = max(x, 0), max(y, 0), min(x + width, canvas.shape[1]), min(y + height, canvas.shape[0])
    if x0 >= x1 or y0 >= y1:
        return
    part = np.s_[y0 - y : y1 - y, x0 - x : x1 - x]
    under = canvas[y0:y1, x0:x1]
    under[:] = cv2.blendLinear(label.pixels[part], under, label.weight[part], label.rest[part])
