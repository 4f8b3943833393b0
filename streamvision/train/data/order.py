"""Which example comes when, by seed, epoch and place alone, so that every process and every resume agrees."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_ORDER, _PICTURE = 0, 1
"""Streams of random numbers that must not meet."""


def epoch_order(shown: NDArray[np.float64], seed: int, epoch: int) -> NDArray[np.int64]:
    """Return the examples (L,) of an epoch in their order; example i appears ``shown[i]`` times, on average if broken.

    L is the rounded sum in every epoch, at least 1. Systematic sampling (Madow, 1949): a comb with a random start is
    laid over the cumulative sum, so that nobody appears less than rounded down or more than rounded up.
    """
    rng = np.random.default_rng((seed, epoch, _ORDER))
    length = max(1, round(float(shown.sum())))
    mixed = rng.permutation(len(shown))
    ends = np.cumsum(shown[mixed])
    comb = (np.arange(length) + rng.random()) * (ends[-1] / length)
    drawn = mixed[np.searchsorted(ends, comb, side="right").clip(max=len(shown) - 1)]
    return np.asarray(rng.permutation(drawn), np.int64)


def picture_rng(seed: int, epoch: int, position: int) -> np.random.Generator:
    """Return the random numbers for the picture at a position of an epoch."""
    return np.random.default_rng((seed, epoch, _PICTURE, position))


def cut(count: int, batch: int, rank: int, world: int, *, wrap: bool) -> list[Sequence[int]]:
    """Return the positions of each batch of one process, of an epoch of ``count``.

    A step takes ``batch * world`` positions, ``batch`` of them in a row for each process. With ``wrap`` the last step
    goes on with the first positions of the epoch, so that every batch is full and every process has as many; without,
    it is smaller, or for some processes not there.
    """
    step = batch * world
    steps = -(-count // step)
    batches: list[Sequence[int]] = []
    for number in range(steps):
        start = number * step + rank * batch
        positions = range(start, start + batch) if wrap else range(start, min(start + batch, count))
        if len(positions):
            batches.append(positions)
    return batches
