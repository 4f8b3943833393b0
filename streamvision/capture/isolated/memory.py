"""How much memory a decoder's process may take, and how much it takes.

A stream can make an honest decoder hold gigabytes: many reference pictures of the largest size. What counts is memory
of the process's own that is in use (RSS without files and shared pages), and what is in the files in memory that it
hands its pictures over in. RLIMIT_AS and RLIMIT_DATA are not used: they count what threads and libraries only reserve,
and decoders turn an allocation that fails into "broken video".
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable
from typing import Final

_PAGE: Final = os.sysconf("SC_PAGE_SIZE")
_BLOCK: Final = 512
"""The unit of ``st_blocks``, whatever the file system's own is: stat(3type)."""
MAX_MEMORY: Final = min(2 << 30, os.sysconf("SC_PHYS_PAGES") * _PAGE // 2)
"""In bytes. An 8K stream with 16 reference pictures takes 0.8 GiB; a small machine keeps half for everything else."""


def memory_file(max_bytes: int) -> int:
    """Return the descriptor of a new file in memory; nobody who has it can make it larger. See memfd_create(2)."""
    fd = os.memfd_create("streamvision-pictures", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(fd, max_bytes)  # it takes memory only where something was written
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
    except OSError:
        os.close(fd)
        raise
    return fd


def filled(files: Iterable[int]) -> int:
    """Return how many bytes of memory the files take."""
    return sum(os.fstat(fd).st_blocks * _BLOCK for fd in files)


def taken(pid: int) -> int:
    """Return how many bytes a process has for itself; 0 if it has gone. See statm in proc(5)."""
    try:
        with open(f"/proc/{pid}/statm", encoding="ascii") as statm:
            _, resident, shared, *_ = statm.read().split()
    except (OSError, ValueError):  # ValueError: it is being reaped
        return 0
    return (int(resident) - int(shared)) * _PAGE
