"""How the C library's heap is laid out for a process that runs for years."""

from __future__ import annotations

import ctypes
import os
from typing import Final

ARENAS: Final = 2
"""Heaps that threads share; glibc's own limit is eight per processor."""
_M_ARENA_MAX: Final = -8


def few_arenas() -> None:
    """Let threads share a few heaps instead of each filling its own, where the C library is glibc.

    Decoders come and go with their cameras, each on a thread of its own, and what they leave behind in one heap cannot
    be used from another: resident memory creeps up for hours (mallopt(3), M_ARENA_MAX). Who has set MALLOC_ARENA_MAX
    knows better. Call it before there are threads.
    """
    if "MALLOC_ARENA_MAX" in os.environ:
        return
    if (mallopt := getattr(ctypes.CDLL(None), "mallopt", None)) is not None:
        mallopt(_M_ARENA_MAX, ARENAS)
