"""How much memory a decoder's process may take, and how much it takes.

A stream can make an honest decoder hold gigabytes: many reference pictures of the largest size. What counts is memory
of the process's own that is in use (RSS without files and shared pages). RLIMIT_AS and RLIMIT_DATA are not used: they
count what threads and libraries only reserve, and decoders turn an allocation that fails into "broken video".
"""

from __future__ import annotations

import os
from typing import Final

_PAGE: Final = os.sysconf("SC_PAGE_SIZE")
MAX_MEMORY: Final = min(2 << 30, os.sysconf("SC_PHYS_PAGES") * _PAGE // 2)
"""In bytes. An 8K stream with 16 reference pictures takes 0.8 GiB; a small machine keeps half for everything else."""


def taken(pid: int) -> int:
    """Return how many bytes a process has for itself; 0 if it has gone. See statm in proc(5)."""
    try:
        with open(f"/proc/{pid}/statm", encoding="ascii") as statm:
            _, resident, shared, *_ = statm.read().split()
    except (OSError, ValueError):  # ValueError: it is being reaped
        return 0
    return (int(resident) - int(shared)) * _PAGE
