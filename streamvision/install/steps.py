"""What an installation changes on the disk: each step knows whether it is needed, shows itself, and is taken.

Taking a step twice changes nothing the second time.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import unified_diff
from pathlib import Path
from typing import Protocol

from streamvision.files import write_whole


class Step(Protocol):
    """One change."""

    @property
    def path(self) -> Path:
        """What it changes."""
        ...

    @property
    def needed(self) -> bool:
        """Whether the disk is not yet as it should be."""
        ...

    def show(self) -> Iterator[str]:
        """Lines that say what would change."""
        ...

    def take(self) -> None:
        """Change it. Raises `OSError`."""
        ...


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder that is there, with these rights if it has to be made."""

    path: Path
    mode: int = 0o755

    @property
    def needed(self) -> bool:
        """Whether there is none."""
        return not self.path.is_dir()

    def show(self) -> Iterator[str]:
        """Name it."""
        yield f"make folder {self.path} ({self.mode:04o})"

    def take(self) -> None:
        """Make it, with what is above it."""
        self.path.mkdir(parents=True, exist_ok=True)
        self.path.chmod(self.mode)


@dataclass(frozen=True, slots=True)
class Text:
    """A file with this content; with ``keep`` an existing one stays, whatever is in it."""

    path: Path
    content: str
    keep: bool = False
    mode: int = 0o644

    @property
    def needed(self) -> bool:
        """Whether it is missing or differs."""
        before = _content(self.path)
        return before is None if self.keep else before != self.content

    def show(self) -> Iterator[str]:
        """Show the difference as a patch."""
        yield from difference(self.path, _content(self.path), self.content)

    def take(self) -> None:
        """Write it whole or not at all."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(self.path, self.content.encode())
        self.path.chmod(self.mode)


@dataclass(frozen=True, slots=True)
class Removal:
    """A file or link that is not there."""

    path: Path

    @property
    def needed(self) -> bool:
        """Whether it is there."""
        return os.path.lexists(self.path)

    def show(self) -> Iterator[str]:
        """Name it."""
        yield f"remove {self.path}"

    def take(self) -> None:
        """Remove it."""
        self.path.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class Link:
    """A symbolic link to ``target``."""

    path: Path
    target: str

    @property
    def needed(self) -> bool:
        """Whether it is missing or leads elsewhere."""
        return not (self.path.is_symlink() and os.readlink(self.path) == self.target)

    def show(self) -> Iterator[str]:
        """Name both ends."""
        yield f"link {self.path} -> {self.target}"

    def take(self) -> None:
        """Make it in place of whatever is there."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.unlink(missing_ok=True)
        self.path.symlink_to(self.target)


def difference(path: Path, before: str | None, after: str) -> Iterator[str]:
    """Return the lines of a patch from one content to another; None: there is no file."""
    old = "/dev/null" if before is None else str(path)
    lines = unified_diff((before or "").splitlines(), after.splitlines(), old, str(path), lineterm="")
    yield from lines


def _content(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, NotADirectoryError):
        return None
