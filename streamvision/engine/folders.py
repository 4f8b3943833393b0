"""Folders of the user's own models, besides those that ship with the program."""

from __future__ import annotations

import os
from pathlib import Path

SEARCH_PATH = "STREAMVISION_MODELS"
"""The environment variable that names more folders, separated like PATH."""


def pull_folder() -> Path:
    """Return where `pull` and `adopt` put files: the service's cache directory under systemd, else the user's."""
    service = os.environ.get("CACHE_DIRECTORY", "").split(":")[0]
    if service:
        return Path(service) / "models"
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "streamvision" / "models"


def user_folders() -> list[Path]:
    """Return the folders of ``$STREAMVISION_MODELS`` and the pull folder, first choice first, each once."""
    named = [Path(part) for part in os.environ.get(SEARCH_PATH, "").split(os.pathsep) if part]
    return list(dict.fromkeys([*named, pull_folder()]))
