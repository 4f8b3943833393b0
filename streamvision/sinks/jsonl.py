"""Events as lines of JSON in a file: durable, safe against crashes in mid-line, friendly to logrotate."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, ClassVar

import structlog
from pydantic import BaseModel, ConfigDict, Field

from streamvision.errors import SinkError
from streamvision.interfaces import SinkContext, StoredEvent
from streamvision.paths import InnerPath

log = structlog.get_logger()

TAIL_BYTES = 4 << 20
"""How much of the file's end is searched for events that were written but not yet remembered as delivered."""


class JsonlOptions(BaseModel):
    """Options of the sink ``jsonl``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: Annotated[InnerPath, Field(description="the file; a relative path lies in state_dir")]


class JsonlSink:
    """Appends one line per event and syncs each batch to the disk.

    After a crash the torn last line is cut off, and events that reached the file already are not written again. A
    file that was moved away is replaced by a new one.
    """

    Options: ClassVar[type[JsonlOptions]] = JsonlOptions

    def __init__(self, options: JsonlOptions, context: SinkContext) -> None:
        self._path = context.state_dir / Path(options.path).expanduser()
        self._fd: int | None = None
        self._written: set[str] = set()
        """What the file had when it was opened: after a crash, the first batches hold some of it again."""

    def deliver(self, events: Sequence[StoredEvent]) -> None:
        """Append and sync. Raises `SinkError` (reason ``disk``); the next attempt repairs and goes on."""
        try:
            fd = self._current()
            lines = "".join(f"{event.json}\n" for event in events if event.id not in self._written)
            _write_all(fd, lines.encode())
            os.fdatasync(fd)
        except OSError as error:
            self.close()
            raise SinkError(f"cannot write: {error.strerror}", where=str(self._path), reason="disk") from error

    def close(self) -> None:
        """Release the file; idempotent."""
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)

    def _current(self) -> int:
        """Return the open file, the one that the path names now."""
        if self._fd is not None and not _is_at(self._fd, self._path):
            log.info("the file was moved away; a new one is started", file=str(self._path))
            self.close()
        if self._fd is None:
            self._fd = self._open()
        return self._fd

    def _open(self) -> int:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        fd = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
        try:
            tail = self._repaired_tail(fd)
            _sync_folder(self._path.parent)
        except OSError:
            os.close(fd)
            raise
        self._written = set(_ids(tail))
        return fd

    def _repaired_tail(self, fd: int) -> bytes:
        """Cut off a torn last line; return the whole lines at the file's end."""
        size = os.fstat(fd).st_size
        start = max(0, size - TAIL_BYTES)
        tail = os.pread(fd, size - start, start)
        whole = tail.rfind(b"\n") + 1
        if whole < len(tail):
            log.warning("the last line was torn by a crash and is cut off", file=str(self._path))
            os.ftruncate(fd, start + whole)
        return tail[:whole]


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _is_at(fd: int, path: Path) -> bool:
    try:
        there = os.stat(path)
    except FileNotFoundError:
        return False
    return os.path.samestat(os.fstat(fd), there)


def _sync_folder(folder: Path) -> None:
    """Make a new file's name durable, too."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _ids(lines: bytes) -> Iterator[str]:
    for line in lines.splitlines():
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict) and isinstance(event.get("id"), str):
            yield event["id"]
