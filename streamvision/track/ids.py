"""Where track ids come from: small, growing, and never given twice."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from streamvision.interfaces import IdSource


def counting_ids(first: int = 1) -> IdSource:
    """Return a source of ``first``, ``first + 1``, ... that lives as long as the process; for files and tests."""
    following = first

    def take(count: int) -> NDArray[np.int64]:
        nonlocal following
        following += count
        return np.arange(following - count, following, dtype=np.int64)

    return take


class ReservedIds:
    """An `IdSource` that survives restarts: whole blocks are reserved before any id of them is used.

    ``reserve(n)`` must return the first of n consecutive ids that nobody will ever be given again, and see to it that
    this is on the disk no later than the first event with one of them. A crash wastes at most one block. One stream,
    one thread.
    """

    def __init__(self, reserve: Callable[[int], int], block: int = 64) -> None:
        if block < 1:
            raise ValueError(f"a block holds at least one id, not {block}")
        self._reserve = reserve
        self._block = block
        self._free = np.empty(0, np.int64)

    def __call__(self, count: int) -> NDArray[np.int64]:
        """Return ``count`` fresh ids."""
        missing = count - len(self._free)
        if missing > 0:
            size = max(missing, self._block)
            first = self._reserve(size)
            self._free = np.concatenate((self._free, np.arange(first, first + size, dtype=np.int64)))
        taken, self._free = self._free[:count], self._free[count:]
        return taken
