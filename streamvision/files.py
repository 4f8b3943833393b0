"""Files that are there whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path


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
