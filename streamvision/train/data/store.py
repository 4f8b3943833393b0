"""Pictures as training needs them again and again: decoded, at a bounded size, kept in memory that processes share."""

from __future__ import annotations

import mmap

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
        sizes = np.array([self._bytes(one) for one in dataset.examples], np.int64)
        ends = np.cumsum(sizes)
        self._starts: NDArray[np.int64] = ends - sizes
        self._cached = int(np.searchsorted(ends, cache_bytes, side="right"))
        room = int(ends[self._cached - 1]) if self._cached else 0
        # Pages of an anonymous map take no memory before they are written.
        memory = np.frombuffer(mmap.mmap(-1, room + self._cached + 1), np.uint8)
        self._memory, self._full = memory[:room], memory[room:]

    def __len__(self) -> int:
        return len(self.dataset)

    def load(self, index: int) -> Stored:
        """Return one example. Raises `BrokenMedia` for a picture that cannot be decoded."""
        example = self.dataset.examples[index]
        width, height = self._kept_wh(example)
        if index >= self._cached:
            return self._read(example)
        names = self._maps(example)
        start, area = int(self._starts[index]), width * height
        place = self._memory[start : start + area * (3 + len(names))]
        if not self._full[index]:
            read = self._read(example)
            place[:] = np.concatenate([read.rgb.ravel(), *(read.maps[name].ravel() for name in names)])
            self._full[index] = 1  # only now: another process may read it from here on
        picture = place[: area * 3].reshape(height, width, 3)
        rasters = place[area * 3 :].reshape(len(names), height, width)
        return Stored(
            picture, example.size_wh, example.objects, dict(zip(names, rasters, strict=True)), example.label
        )  # fmt: skip

    def _read(self, example: Example) -> Stored:
        kept_wh = self._kept_wh(example)
        picture = _scaled(rgb(example.path, kept_wh), kept_wh, cv2.INTER_AREA)
        maps = {name: _scaled(label_map(self.dataset, example, name), kept_wh, cv2.INTER_NEAREST)
                for name in self._maps(example)}  # fmt: skip
        return Stored(picture, example.size_wh, example.objects, maps, example.label)

    def _maps(self, example: Example) -> list[str]:
        return [name for name in self.dataset.maps if name in example.label_maps]

    def _bytes(self, example: Example) -> int:
        width, height = self._kept_wh(example)
        return width * height * (3 + len(self._maps(example)))

    def _kept_wh(self, example: Example) -> tuple[int, int]:
        fill = max(model / source for model, source in zip(self._size_wh, example.size_wh, strict=True))
        scale = min(1.0, fill * _ZOOM)
        return max(1, round(example.size_wh[0] * scale)), max(1, round(example.size_wh[1] * scale))


def _scaled(raster: UInt8, size_wh: tuple[int, int], how: int) -> UInt8:
    if (raster.shape[1], raster.shape[0]) == size_wh:
        return raster
    return np.asarray(cv2.resize(raster, size_wh, interpolation=how), np.uint8)
