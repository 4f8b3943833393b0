"""Pictures as training needs them again and again: decoded, at a bounded size, kept in memory that processes share."""

from __future__ import annotations

import mmap
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from streamvision.dataset import Dataset, Example, label_map, rgb
from streamvision.train.data.sample import Stored
from streamvision.types import UInt8

_ZOOM = 1.5
"""Pictures are kept so large that zooming in by this much still finds detail."""


class Store:
    """The pictures of one set. With ``cache_bytes`` decoded ones are kept, as many as fit; all others are read again.

    Worker processes that are forked share what is kept.
    """

    def __init__(self, dataset: Dataset, size_wh: tuple[int, int], cache_bytes: int = 0) -> None:
        self.dataset = dataset
        self._size_wh = size_wh
        sizes = np.array([self._kept_wh(one) for one in dataset.examples], np.int64).reshape(-1, 2)
        ends = np.cumsum(sizes.prod(1) * 3)
        self._starts: NDArray[np.int64] = ends - sizes.prod(1) * 3
        fitting = int(np.searchsorted(ends, cache_bytes, side="right"))
        self._cached = fitting
        room = int(ends[fitting - 1]) if fitting else 0
        # Pages of an anonymous map take no memory before they are written.
        self._memory: UInt8 = np.frombuffer(mmap.mmap(-1, room + max(1, fitting)), np.uint8)
        self._full = self._memory[room:]

    def __len__(self) -> int:
        return len(self.dataset)

    def load(self, index: int) -> Stored:
        """Return one example. Raises `BrokenMedia` for a picture that cannot be decoded."""
        example = self.dataset.examples[index]
        maps = {
            name: label_map(self.dataset, example, name) for name in example.label_maps if name in self.dataset.maps
        }
        return Stored(self._pixels(index, example), example.size_wh, example.objects, maps, example.label)

    def _pixels(self, index: int, example: Example) -> UInt8:
        width, height = self._kept_wh(example)
        if index >= self._cached:
            return _scaled(rgb(example.path, (width, height)), (width, height))
        start = int(self._starts[index])
        place = self._memory[start : start + width * height * 3].reshape(height, width, 3)
        if not self._full[index]:
            place[:] = _scaled(rgb(example.path, (width, height)), (width, height))
            self._full[index] = 1  # only now: another process may read it from here on
        return place

    def _kept_wh(self, example: Example) -> tuple[int, int]:
        fill = max(model / source for model, source in zip(self._size_wh, example.size_wh, strict=True))
        scale = min(1.0, fill * _ZOOM)
        return _sides(example.size_wh, scale)


def _sides(size_wh: Sequence[int], scale: float) -> tuple[int, int]:
    return max(1, round(size_wh[0] * scale)), max(1, round(size_wh[1] * scale))


def _scaled(picture: UInt8, size_wh: tuple[int, int]) -> UInt8:
    if (picture.shape[1], picture.shape[0]) == size_wh:
        return picture
    return np.asarray(cv2.resize(picture, size_wh, interpolation=cv2.INTER_AREA), np.uint8)
