"""How the C library's heap is laid out for a process that runs for years."""

from __future__ import annotations

import ctypes
import os
import threading
from typing import Final

ARENAS: Final = 2
"""Heaps that threads share; glibc's own limit is eight per processor."""
_M_ARENA_MAX: Final = -8
GIVE_BACK_EVERY_S: Final = 60.0


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


def give_back_regularly(every_s: float = GIVE_BACK_EVERY_S) -> None:
    """Have the C library return free pages to the machine from time to time, where it is glibc (malloc_trim(3)).

    By itself it returns only what is free at a heap's top. A 1080p stream that ends leaves some forty megabytes below
    what its neighbours have asked for since, and the next such stream is given others.
    """
    if (malloc_trim := getattr(ctypes.CDLL(None), "malloc_trim", None)) is None:
        return

    def keep_on() -> None:
        while not never.wait(every_s):
            malloc_trim(0)

    never = threading.Event()
    threading.Thread(target=keep_on, name="heap", daemon=True).start()
