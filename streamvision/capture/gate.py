"""The motion gate: an inference is saved where nothing has changed since the last analysed picture.

It may open for nothing, but must never stay shut before a moving object: one cell that differs is enough.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from streamvision.types import UInt8

_CELL: Final = 4
"""Pixels of the network's input per cell and side: an object of 8x8 px fills at least one cell wherever it stands."""
_LEAST_CHANGE: Final = 8.0
_NOISE_FACTOR: Final = 8.0
"""Against the mean absolute difference; for Gaussian noise this is 6.4 standard deviations."""
_NOISE_CLIP: Final = 4.0
"""What a cell can add at most, so that an object passing by does not pass for noise."""
_NOISE_WEIGHT: Final = 0.02
_HOLD_S: Final = 1.0
_LONGEST_REST_S: Final = 0.5


class MotionGate:
    """Decide for one stream which prepared pictures are worth an inference. Times are media seconds.

    Every channel is averaged over cells of 4x4 px and compared with the last analysed picture, after taking away the
    change of the whole picture's mean (light, exposure). A cell counts as changed beyond 8 levels of any channel plus
    eight times its own usual noise. The gate stays open for a second after the last change, and opens twice a second in
    any case.
    """

    def __init__(self) -> None:
        self._reference: UInt8 | None = None
        self._noise: NDArray[np.float32] = np.empty((0, 0), np.float32)
        self._analysed_s = 0.0
        self._open_until_s = 0.0

    def wants(self, pixels: UInt8, media_s: float) -> bool:
        """Whether to analyse this picture; if so it is what later ones are compared with."""
        cells = self._cells(pixels)
        if self._reference is None or self._reference.shape != cells.shape:
            self._noise = np.zeros(cells.shape, np.float32)
            self._open_until_s = media_s + _HOLD_S
        elif self._changed(cells, self._reference):
            self._open_until_s = media_s + _HOLD_S
        elif media_s >= self._open_until_s and media_s - self._analysed_s < _LONGEST_REST_S:
            return False
        self._reference, self._analysed_s = cells, media_s
        return True

    def _cells(self, pixels: UInt8) -> UInt8:
        """Average over cells, by halving twice: that has a fast path in OpenCV, a quarter at once has none."""
        width, height = pixels.shape[1] // _CELL, pixels.shape[0] // _CELL
        whole = pixels[: height * _CELL, : width * _CELL]
        half = cv2.resize(whole, (width * 2, height * 2), interpolation=cv2.INTER_AREA)
        return np.asarray(cv2.resize(half, (width, height), interpolation=cv2.INTER_AREA))

    def _changed(self, cells: UInt8, reference: UInt8) -> bool:
        shift = [now - then for now, then in zip(cv2.mean(cells), cv2.mean(reference), strict=True)]
        change = cv2.absdiff(cv2.subtract(cells, reference, dtype=cv2.CV_32F), (*shift,))
        moved = bool((change > _NOISE_FACTOR * self._noise + _LEAST_CHANGE).any())
        cv2.accumulateWeighted(np.minimum(change, _NOISE_CLIP), self._noise, _NOISE_WEIGHT)
        return moved
