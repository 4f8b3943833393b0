"""Files that are there whole or not at all, and how a new one is noticed."""

from __future__ import annotations

import os
from pathlib import Path

Stamp = tuple[int, int, int]
"""A file's inode, time of change (ns) and size (bytes)."""


def stamp(path: str | os.PathLike[str]) -> Stamp | None:
    """Return what changes when a file is written anew or replaced; None while it cannot be seen."""
    try:
        seen = os.stat(path)
    except OSError:  # not there, at this very moment too, or in a folder that may not be entered
        return None
    return seen.st_ino, seen.st_mtime_ns, seen.st_size


def write_whole(path: Path, content: bytes, *, sync: bool = True) -> None:
    """Write a file beside ``path`` and let it take its place; with ``sync`` it has reached the disk before.

    A reader, also after a crash, finds the old file or the new one. Raises OSError.
    """
    draft = path.with_name(f".{path.name}.draft")
    with draft.open("wb") as file:
        file.write(content)
        if sync:
            file.flush()
            os.fsync(file.fileno())
    draft.replace(path)
