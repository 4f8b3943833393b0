"""Paths that a configuration gives for a folder of the service: inside it, or absolute and meant."""

from __future__ import annotations

import os
import os.path
from typing import Annotated, Final

from pydantic import AfterValidator, Field

STORE_FILE: Final = "events.db"
"""The event store's file in state_dir; SQLite and the store's lock have files beside it whose names begin like it."""


def can_be_path(text: str) -> bool:
    """Whether a file could have this name: the file system has bytes for it, none of them NUL."""
    try:
        return bool(text) and b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:
        return False


def _inside(path: str) -> str:
    if not can_be_path(path):
        raise ValueError("no file can have this name")
    plain = os.path.normpath(path)
    if not os.path.isabs(plain) and plain.split(os.sep)[0] == os.pardir:
        raise ValueError(f"{path!r} leads out of its folder; write an absolute path if that is meant")
    return path


InnerPath = Annotated[str, Field(min_length=1), AfterValidator(_inside)]
"""A relative path does not leave the folder that it lies in; one that shall lie elsewhere is absolute."""
