"""Random masks that hide parts of a picture.

Petsiuk et al., "RISE: Randomized Input Sampling for Explanation of Black-box Models", arXiv:1806.07421, section 3.2: a
coarse grid of cells that are shown or hidden by chance, enlarged bilinearly and shifted by a random part of a cell, so
that no mask has hard borders and their grid lies nowhere.
"""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np

from streamvision.geometry import Letterbox
from streamvision.types import Float32, UInt8


def random_masks(size_wh: tuple[int, int], cells: int, keep: float, rng: np.random.Generator) -> Iterator[Float32]:
    """Give masks (h,w) float32 in [0,1] for ever: 1 is shown, 0 hidden.

    ``cells`` are along the longer side, and nearly square; each is shown with the probability ``keep``.
    """
    width, height = size_wh
    side = max(1, -(-max(size_wh) // cells))
    columns, rows = -(-width // side), -(-height // side)
    enlarged_wh = ((columns + 1) * side, (rows + 1) * side)
    while True:
        grid = (rng.random((rows + 1, columns + 1)) < keep).astype(np.float32)
        x, y = rng.integers(0, side, 2).tolist()
        whole = cv2.resize(grid, enlarged_wh, interpolation=cv2.INTER_LINEAR)
        yield np.ascontiguousarray(whole[y : y + height, x : x + width])


def inner(pixels: UInt8, letterbox: Letterbox) -> UInt8:
    """Return the part of a network's input that shows the picture, as a view."""
    (left, top), (width, height) = letterbox.offset_xy, letterbox.inner_wh
    return pixels[top : top + height, left : left + width]


def mixed(pixels: UInt8, base: UInt8, letterbox: Letterbox, shown: Float32) -> UInt8:
    """Return a network's input: ``pixels`` where ``shown`` (h,w of the picture's part) is 1, ``base`` where it is 0."""
    result = pixels.copy()
    weight = shown if pixels.ndim == 2 else shown[..., None]
    top, below = inner(pixels, letterbox).astype(np.float32), inner(base, letterbox).astype(np.float32)
    inner(result, letterbox)[:] = np.rint(below + weight * (top - below)).astype(np.uint8)
    return result
