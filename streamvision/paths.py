"""Paths that a configuration gives for a folder of the service: inside it, or absolute and meant."""

from __future__ import annotations

import os.path
from typing import Annotated, Final

from pydantic import AfterValidator, Field

STORE_FILE: Final = "events.db"
"""The event store's file in state_dir; SQLite and the store's lock have files beside it whose names begin like it."""


def _inside(path: str) -> str:
    if "\0" in path:
        raise ValueError("a path holds no NUL")
    plain = os.path.normpath(path)
    if not os.path.isabs(plain) and plain.split(os.sep)[0] == os.pardir:
        raise ValueError(f"{path!r} leads out of its folder; write an absolute path if that is meant")
    return path


InnerPath = Annotated[str, Field(min_length=1), AfterValidator(_inside)]
"""A relative path does not leave the folder that it lies in; one that shall lie elsewhere is absolute."""
