"""A background model of one fixed camera's colour pictures: which pixels belong to something that moved.

A running mean and a running mean deviation per pixel, both learnt in seconds of media time, as in Wren et al.,
Pfinder (PAMI 1997), with three things that real cameras need: exposure changes of the whole picture are divided
out; what is foreground is not learnt until it has stood still for long (so a waiting person stays an object);
and a hole that something left behind is told from a thing that stands there by where the edges are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from streamvision.types import UInt8

_DEVIATIONS = 4.5
"""How many mean deviations of a pixel are still background."""
_FLICKER = 16.0
"""Gray levels of change that count as the background's own, so that what passes early on does not blind a pixel."""
_LONGEST_STEP_S = 1.0
"""A gap in time teaches no more than this many seconds would."""
_WARM_UP_S = 1.5
"""At the start everything is learnt: what moves then leaves no lasting trace."""
_UPHEAVAL = 0.6
"""If more than this share of the picture differs, the camera has moved or the light has been switched."""
_SHADOW_DARKEST, _SHADOW_BRIGHTEST = 0.45, 0.97
_SHADOW_ROUGHNESS = 0.045
"""Within a shadow the ratio to the background is this even (standard deviation within a small window)."""
_SHADOW_TINT = 12
"""How many gray levels a shadow may differ in colour from the darkened background."""
_GREEN = 1
"""The channel that stands for brightness, in BGR and in RGB."""
_SMALLEST_SHADOW = 48
"""In pixels of the bounding box."""
_TREMBLE = 0.35
"""How much of an edge's height may come and go with half a pixel of trembling."""
_GLARE = 0.04
"""Compression moves bright pixels by more gray levels than dark ones; a change of exposure all the more, because
cameras bend their curves for it."""
_SQUARE = np.ones((3, 3), np.uint8)


class MotionOptions(BaseModel):
    """The ``options`` of a manifest of kind ``motion``."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    learn: Annotated[float, Field(gt=0, le=600)] = 4.0
    """Seconds within which the background follows slow changes."""
    absorb: Annotated[float, Field(gt=0, le=86400)] = 120.0
    """Seconds after which something that stands still becomes background."""
    min_contrast: Annotated[float, Field(ge=2, le=128)] = 12.0
    """Gray levels by which an object must differ from the background."""
    min_area: Annotated[float, Field(gt=0, lt=1)] = 0.0006
    """Smallest object as a share of the picture."""
    shadows: bool = True
    """Whether cast shadows are left out."""


@dataclass(frozen=True, slots=True, eq=False)
class Foreground:
    """``mask`` and ``solid`` (h,w) 0 or 255: what differs, and what of it is no shadow; ``contrast`` (h,w) uint8."""

    mask: UInt8
    solid: UInt8
    contrast: UInt8


class Background:
    """The model of one stream; pictures are (h,w,3) uint8 of one size."""

    def __init__(self, pixels: UInt8, media_s: float, options: MotionOptions) -> None:
        self._options = options
        self._last_s = media_s
        self._restart(_smooth(pixels), media_s)

    def update(self, pixels: UInt8, media_s: float) -> Foreground:
        """Compare a picture with the background, then learn from it."""
        picture = _smooth(pixels)
        step_s = min(max(media_s - self._last_s, 0.0), _LONGEST_STEP_S)
        self._last_s = max(media_s, self._last_s)
        exposure = self._exposure(picture)
        expected = cv2.convertScaleAbs(self._mean, alpha=exposure)
        contrast = _strongest(cv2.absdiff(picture, expected))
        mask = self._differs(contrast, expected, _GLARE + abs(exposure - 1))
        if cv2.countNonZero(mask) > _UPHEAVAL * mask.size:
            self._restart(picture, media_s)
            mask[:] = 0
        solid = self._without_shadows(picture, expected, mask) if self._options.shadows else mask
        self._learn(picture, contrast, mask, step_s)
        return Foreground(mask, solid, contrast)

    @property
    def shape(self) -> tuple[int, ...]:
        """Height, width and channels of the pictures."""
        return self._mean.shape

    def absorb(self, area: tuple[slice, slice], mask: UInt8) -> None:
        """Take what is seen now in a part of the picture, where ``mask`` is set, for background."""
        chosen = mask > 0
        self._mean[area][chosen] = self._seen[area][chosen]
        self._age[area][chosen] = 0.0

    def standing_s(self, area: tuple[slice, slice], mask: UInt8) -> float:
        """Return for how long the pixels of a part have differed, in the mean."""
        return float(cv2.mean(self._age[area], mask)[0])

    def is_hole(self, area: tuple[slice, slice], mask: UInt8) -> bool:
        """Whether the outline is an edge of the background and not of what is seen now: something has left."""
        outline = cv2.morphologyEx(mask, cv2.MORPH_GRADIENT, _SQUARE)
        now = _edges(self._seen[area][..., _GREEN].astype(np.float32), outline)
        before = _edges(self._mean[area][..., _GREEN], outline)
        return before > 1.6 * now + 2.0

    def _restart(self, picture: UInt8, media_s: float) -> None:
        self._mean = picture.astype(np.float32)
        self._deviation = np.full(picture.shape[:2], 2.0, np.float32)
        self._age = np.zeros(picture.shape[:2], np.float32)
        self._seen = picture
        self._mask = np.zeros(picture.shape[:2], np.uint8)
        self._since_s = self._last_s = media_s

    def _exposure(self, picture: UInt8) -> float:
        """Return by how much the whole picture is brighter than its background: a median, so objects don't count."""
        now, before = picture[4::8, 4::8, _GREEN], self._mean[4::8, 4::8, _GREEN]
        quiet = self._mask[4::8, 4::8] == 0
        if np.count_nonzero(quiet) < 50:
            return 1.0
        return float(np.clip(np.median(now[quiet] / np.maximum(before[quiet], 8.0)), 0.4, 2.5))

    def _differs(self, contrast: UInt8, expected: UInt8, glare: float) -> UInt8:
        """Ask for more where the picture flickers, is bright (exposure), or has an edge (the camera trembles)."""
        limit = cv2.convertScaleAbs(self._deviation, alpha=_DEVIATIONS)
        limit = cv2.max(limit, np.float64(self._options.min_contrast))
        light = cv2.extractChannel(expected, _GREEN)
        edges = cv2.morphologyEx(light, cv2.MORPH_GRADIENT, _SQUARE)
        limit = cv2.addWeighted(limit, 1.0, edges, _TREMBLE, 0.0)
        limit = cv2.scaleAdd(light, glare, limit)
        return np.asarray(cv2.compare(contrast, limit, cv2.CMP_GT), np.uint8)

    def _without_shadows(self, picture: UInt8, expected: UInt8, mask: UInt8) -> UInt8:
        """Drop pixels that are evenly darker than the background: its own pattern shows through a shadow."""
        solid = mask.copy()
        blobs, _ = cv2.findContours(cv2.dilate(mask, _SQUARE), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
        for blob in blobs:
            x, y, width, height = cv2.boundingRect(blob)
            if width * height < _SMALLEST_SHADOW:
                continue
            part = slice(y, y + height), slice(x, x + width)
            solid[part][_shaded(picture[part], expected[part])] = 0
        return solid

    def _learn(self, picture: UInt8, contrast: UInt8, mask: UInt8, step_s: float) -> None:
        rate = step_s / (step_s + self._options.learn)
        if self._last_s - self._since_s < _WARM_UP_S:
            quiet: Any = None
            rate = max(rate, step_s / (step_s + self._last_s - self._since_s + 1e-6))
        else:
            quiet = cv2.bitwise_not(cv2.dilate(mask, _SQUARE))
        cv2.accumulateWeighted(picture, self._mean, rate, quiet)
        cv2.accumulateWeighted(cv2.min(contrast, _FLICKER), self._deviation, rate, quiet)
        self._grow_old(mask, step_s)
        self._seen, self._mask = picture, mask

    def _grow_old(self, mask: UInt8, step_s: float) -> None:
        """Count how long each pixel has differed; a pixel that flickers forgets four times as fast as it ages."""
        cv2.add(self._age, step_s, dst=self._age, mask=mask)
        cv2.subtract(self._age, 4 * step_s, dst=self._age, mask=cv2.bitwise_not(mask))
        cv2.threshold(self._age, 0.0, 0.0, cv2.THRESH_TOZERO, dst=self._age)


def _shaded(picture: UInt8, expected: UInt8) -> NDArray[np.bool_]:
    """Return where a picture (h,w,3) is its background (h,w,3), evenly darkened and of the same colour."""
    now, before = cv2.extractChannel(picture, _GREEN), cv2.extractChannel(expected, _GREEN)
    ratio = cv2.divide(now, cv2.max(before, 8.0), dtype=cv2.CV_32F)
    mean, square = cv2.boxFilter(ratio, -1, (5, 5)), cv2.sqrBoxFilter(ratio, -1, (5, 5))
    even = square - mean * mean < _SHADOW_ROUGHNESS**2
    tint = _strongest(cv2.absdiff(picture, np.asarray(expected * np.minimum(ratio, 1)[..., None], np.uint8)))
    darker = (ratio > _SHADOW_DARKEST) & (ratio < 1) & (tint < _SHADOW_TINT)
    core = even & (mean > _SHADOW_DARKEST) & (mean < _SHADOW_BRIGHTEST) & darker
    # At its own edge a shadow is not even: the window reaches over it by two pixels.
    reach = cv2.dilate(core.astype(np.uint8), np.ones((5, 5), np.uint8))
    return np.asarray((reach > 0) & darker)


def _strongest(picture: UInt8) -> UInt8:
    """Return the largest channel (h,w) of each pixel."""
    first, second, third = cv2.split(picture)
    return np.asarray(cv2.max(cv2.max(first, second), third), np.uint8)


def _smooth(pixels: UInt8) -> UInt8:
    return np.asarray(cv2.GaussianBlur(pixels, (3, 3), 0), np.uint8)


def _edges(picture: NDArray[np.float32], where: UInt8) -> float:
    """Return the mean strength of edges along an outline."""
    across, down = cv2.Sobel(picture, cv2.CV_32F, 1, 0), cv2.Sobel(picture, cv2.CV_32F, 0, 1)
    return float(cv2.mean(cv2.magnitude(across, down), where)[0])
