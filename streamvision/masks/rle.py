"""COCO's run lengths: columns from left to right, each from top to bottom, background first.

The format is pycocotools' (Lin et al., "Microsoft COCO: Common Objects in Context", 2014; maskApi.c): as numbers, or
as text in which every run after the third is the difference from the run two before, in groups of five bits, lowest
first, with a sixth bit for "more follow", each printed as one character from "0" on.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streamvision.masks.raster import Patch

Int64 = NDArray[np.int64]

_BITS = 5
_MORE = 1 << _BITS
_SIGN = 1 << (_BITS - 1)
_ZERO = 48


def rle(patch: Patch) -> dict[str, object]:
    """Return a bitmap as COCO results carry it, ready for JSON: ``{"size": [height, width], "counts": text}``."""
    return {"size": list(patch.size_wh[::-1]), "counts": to_text(run_lengths(patch))}


def run_lengths(patch: Patch) -> Int64:
    """Return the lengths of a bitmap's runs, background first (0 where its first pixel is inside); the sum is h*w."""
    width, height = patch.size_wh
    edges = _edges(patch)
    lengths = np.diff(edges, prepend=0, append=width * height)
    return lengths if lengths[-1] else lengths[:-1]


def _edges(patch: Patch) -> Int64:
    """Return at which pixels, counted down the columns of the whole bitmap, object and background change over."""
    (x, y), (rows, columns) = patch.origin_xy, patch.pixels.shape
    column = np.zeros((columns, rows + 2), np.int8)
    column[:, 1:-1] = patch.pixels.T
    at, down = np.nonzero(np.diff(column, axis=1))
    edges = (at + x) * patch.size_wh[1] + down + y
    # An object that leaves a column at the bottom and goes on at the top of the next is one run.
    ends = np.flatnonzero(edges[1:-1:2] == edges[2::2]) * 2 + 1
    return np.delete(edges, np.concatenate((ends, ends + 1)))


def to_text(lengths: Int64) -> str:
    """Return run lengths as COCO's compressed text."""
    rest = lengths.astype(np.int64)
    rest[3:] -= lengths[1:-2]
    groups: list[NDArray[np.int64]] = []
    going = np.ones(len(rest), np.bool_)
    while going.any():
        low = rest & (_MORE - 1)
        rest >>= _BITS
        more = np.where(low & _SIGN, rest != -1, rest != 0)
        groups.append(np.where(going, (low | np.where(more, _MORE, 0)) + _ZERO, 0))
        going &= more
    letters = np.stack(groups, axis=1).astype(np.uint8).ravel() if groups else np.zeros(0, np.uint8)
    return letters[letters > 0].tobytes().decode("ascii")


def from_text(text: str) -> Int64:
    """Return the run lengths of COCO's compressed text. Raises ValueError for text that is none."""
    groups = np.frombuffer(text.encode("utf-8"), np.uint8).astype(np.int64) - _ZERO
    if not len(groups):
        return np.zeros(0, np.int64)
    more = groups & _MORE != 0
    if more[-1] or (groups < 0).any() or (groups >= 2 * _MORE).any():
        raise ValueError("these are not COCO's run lengths as text")
    ends = np.flatnonzero(~more)
    starts = np.concatenate(([0], ends[:-1] + 1))
    place = np.arange(len(groups)) - np.repeat(starts, ends - starts + 1)
    if place.max() > 6:
        raise ValueError("a run is longer than any picture")
    lengths = np.add.reduceat((groups & (_MORE - 1)) << (_BITS * place), starts)
    negative = groups[ends] & _SIGN != 0
    lengths -= np.where(negative, np.int64(1) << (_BITS * (place[ends] + 1)), 0)
    for first in (1, 2):  # every run after the third is the difference from the run two before
        lengths[first::2] = np.cumsum(lengths[first::2])
    return lengths
