"""Which pictures of a stream are wanted, and which of these show nothing new."""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass

import cv2
import numpy as np

from streamvision.config.settings import CollectSettings
from streamvision.geometry import iou_matrix
from streamvision.types import Detections, Float32, Frame, Int32

EVENT, DOUBTFUL, SAMPLE = "event", "doubtful", "sample"
"""Why a picture is wanted."""

_REMEMBERED = 64
"""Pictures of a stream that a new one is compared with."""
_SAME_BOX = 0.8
"""Boxes of one class that share so much are one."""


class Choice:
    """One stream's choice. ``rng`` draws the sample."""

    def __init__(self, settings: CollectSettings, rng: random.Random) -> None:
        self._settings = settings
        self._rng = rng
        self._last_s = float("-inf")
        self._follow_s: float | None = None
        self._sample_s: float | None = None

    def reason(self, detections: Detections, media_s: float, *, event: bool) -> str | None:
        """Return why a picture is wanted, None for one that is not."""
        sampled = self._sampled(media_s)
        if event or (self._follow_s is not None and media_s >= self._follow_s):
            self._follow_s = media_s + self._settings.every if event else None
            return EVENT
        if media_s - self._last_s >= self._settings.every and self._doubtful(detections):
            return DOUBTFUL
        return SAMPLE if sampled else None

    def kept(self, media_s: float) -> None:
        """Note that a picture was kept."""
        self._last_s = media_s

    def _doubtful(self, detections: Detections) -> bool:
        score = detections.score
        return bool(((score >= self._settings.low) & (score < self._settings.high)).any())

    def _sampled(self, media_s: float) -> bool:
        """Draw by chance, evenly over media time: the gaps of a Poisson process."""
        if not self._settings.sample:
            return False
        due = self._sample_s is not None and media_s >= self._sample_s
        if due or self._sample_s is None:
            self._sample_s = media_s + self._rng.expovariate(1 / self._settings.sample)
        return due


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """What a picture looks like: a difference hash of 64 bits, and the boxes that are written down of it."""

    hash: int
    xyxy: Float32
    class_id: Int32


class Memory:
    """The last pictures that were kept of a stream."""

    def __init__(self, duplicates: int) -> None:
        self._duplicates = duplicates
        self._kept: deque[Look] = deque(maxlen=_REMEMBERED)

    def add(self, look: Look) -> None:
        """Remember a picture that is kept."""
        self._kept.append(look)

    def knows(self, look: Look) -> bool:
        """Tell whether a picture is like one before: its hash, and the boxes in it, class by class.

        The boxes matter because a hash of 64 bits does not see a person who crosses a yard.
        """
        return any(self._alike(look, other) for other in self._kept)

    def _alike(self, one: Look, other: Look) -> bool:
        if (one.hash ^ other.hash).bit_count() > self._duplicates or len(one.xyxy) != len(other.xyxy):
            return False
        if not len(one.xyxy):
            return True
        same = (iou_matrix(one.xyxy, other.xyxy) >= _SAME_BOX) & (one.class_id[:, None] == other.class_id)
        return bool(same.any(0).all() and same.any(1).all())


def difference_hash(frame: Frame) -> int:
    """Return the difference hash of a frame, from the pixels that were prepared for the network anyway.

    Each bit tells whether one of 9 x 8 means is brighter than its left neighbour (Krawetz, "Kind of Like That", 2013).
    """
    (left, top), (width, height) = frame.letterbox.offset_xy, frame.letterbox.inner_wh
    part = cv2.resize(frame.pixels[top : top + height, left : left + width], (9, 8), interpolation=cv2.INTER_AREA)
    means = part.astype(np.float32).reshape(8, 9, -1).mean(2)
    bits = (means[:, 1:] > means[:, :-1]).ravel()
    return int.from_bytes(np.packbits(bits).tobytes())
