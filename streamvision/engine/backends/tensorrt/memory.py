"""Pinned memory that goes to the caller as arrays and comes back when nobody looks at them any more.

So answers are neither copied nor allocated anew: in a steady state the same few blocks go round.
"""

from __future__ import annotations

import ctypes
import threading
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray


def view(address: int, size: int) -> NDArray[np.uint8]:
    """Return ``size`` bytes at an address as an array that does not own them."""
    return np.frombuffer(memoryview((ctypes.c_uint8 * size).from_address(address)), np.uint8)


class Answers:
    """Blocks of pinned memory of one size. Any thread may take; arrays may be dropped by any thread."""

    def __init__(self, size: int, allocate: Callable[[int], int], free: Callable[[int], Any]) -> None:
        self._size = size
        self._allocate = allocate
        self._free = free
        self._idle: list[int] = []
        self._closed = False
        # Re-entrant: a collection of garbage inside may drop an array, and that comes here again.
        self._lock = threading.RLock()

    def take(self) -> tuple[int, NDArray[np.uint8]]:
        """Return a block's address, and its bytes: while any view of them lives, nobody else gets the block."""
        with self._lock:
            address = self._idle.pop() if self._idle else self._allocate(self._size)
        block = view(address, self._size)
        weakref.finalize(block, self._give_back, address).atexit = False
        return address, block

    def close(self) -> None:
        """Free what is idle, and the rest when it is dropped; idempotent."""
        with self._lock:
            self._closed = True
            while self._idle:
                self._free(self._idle.pop())

    def _give_back(self, address: int) -> None:
        with self._lock:
            if self._closed:
                self._free(address)
            else:
                self._idle.append(address)
