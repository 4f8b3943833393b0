"""Events as lines of JSON in a file: durable, safe against crashes in mid-line, rotated here or by logrotate."""

from __future__ import annotations

import fcntl
import json
import os
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import ClassVar

import structlog

from streamvision.errors import SinkError
from streamvision.interfaces import SinkContext, StoredEvent
from streamvision.sinks.jsonl.archive import Archive, Tidier, sync_folder
from streamvision.sinks.jsonl.options import JsonlOptions, Rotation

log = structlog.get_logger()

TAIL_BYTES = 4 << 20
"""How much of the newest lines is searched for events that were written but not yet remembered as delivered."""
ROTATE_AGAIN_S = 60.0
"""After how long a rotation that failed is tried again; the file goes on growing meanwhile."""


class JsonlSink:
    """Appends one line per event and syncs each batch to the disk.

    After a crash the torn last line is cut off, and events that reached the files already are not written again. A
    file that was moved away is replaced by a new one. An event is never torn between two files.
    """

    Options: ClassVar[type[JsonlOptions]] = JsonlOptions

    def __init__(self, options: JsonlOptions, context: SinkContext, *, utc_s: Callable[[], float] = time.time) -> None:
        """Nothing is opened before the first event; ``utc_s`` tells the time for ``rotate.every``."""
        self._path = options.written(context.state_dir)
        self._rotation = options.rotate
        self._name = context.name
        self._utc_s = utc_s
        self._archive = Archive(self._path)
        self._tidier: Tidier | None = None
        self._fd: int | None = None
        self._span = 0
        """The number of the span (`Rotation.span_of`) that the open file belongs to."""
        self._rotate_at_s = 0.0
        self._written: set[str] = set()
        """What the files had when they were opened: after a crash, the first batches hold some of it again."""

    def deliver(self, events: Sequence[StoredEvent]) -> None:
        """Append and sync. Raises `SinkError` (reason ``disk``); the next attempt repairs and goes on.

        A file that another process or sink writes, or that holds something else, is left alone (reason ``file``).
        """
        try:
            fd = self._current()
            lines = [f"{event.json}\n".encode() for event in events if event.id not in self._written]
            while lines:
                fd = self._rotated(fd, len(lines[0]))
                count = self._fitting(fd, lines)
                _write_all(fd, b"".join(lines[:count]))
                os.fdatasync(fd)
                del lines[:count]
        except OSError as error:
            self._release()
            raise SinkError(f"cannot write: {error.strerror}", where=str(self._path), reason="disk") from error

    def close(self) -> None:
        """Release the file and end the thread that tidies; idempotent."""
        self._release()
        tidier, self._tidier = self._tidier, None
        if tidier is not None:
            tidier.close()

    def _release(self) -> None:
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)

    def _current(self) -> int:
        """Return the open file, the one that the path names now."""
        if self._fd is not None and not _is_at(self._fd, self._path):
            log.info("the file was moved away; a new one is started", file=str(self._path))
            self._release()
        if self._fd is None:
            self._fd = self._open()
            self._claim(self._fd)
            tail = self._repaired_tail(self._fd)
            self._written = set(_ids(self._archive.tail(TAIL_BYTES - len(tail)) + tail))
        if self._rotation is not None and self._tidier is None:
            self._tidier = Tidier(self._archive, self._rotation, self._name)
        return self._fd

    def _open(self) -> int:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        fd = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
        try:
            sync_folder(self._path.parent)
        except OSError:
            os.close(fd)
            raise
        if self._rotation is not None:
            self._span = self._rotation.span_of(os.fstat(fd).st_mtime)
        return fd

    def _claim(self, fd: int) -> None:
        """Make sure that the open file is this sink's own; the lock ends with the descriptor."""
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return
        wrong = None
        if os.pread(fd, 1, 0).strip(b"\0{"):
            wrong = "holds something else than events"
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            wrong = "is written by another sink or daemon"
        except OSError as error:  # a file system without locks
            log.debug("the file cannot be locked", file=str(self._path), error=error.strerror)
        if wrong is not None:
            self._release()
            raise SinkError(wrong, where=str(self._path), remedy="give this sink a path of its own", reason="file")

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

    # Rotation

    def _rotated(self, fd: int, line_bytes: int) -> int:
        """Return the file for the next line: a new one where it is time for that, and possible."""
        rotation = self._rotation
        if rotation is None or not self._is_due(rotation, fd, line_bytes):
            return fd
        try:
            self._archive.take(self._utc_s())
        except OSError as error:
            # No event waits for it: the disk has no room for a name, or the folder cannot be written.
            log.warning("no new file can be begun; this one grows", file=str(self._path), cause=error.strerror)
            self._rotate_at_s = time.monotonic() + ROTATE_AGAIN_S
            return fd
        self._release()
        self._fd = self._open()
        self._claim(self._fd)
        assert self._tidier is not None
        self._tidier.wake()
        return self._fd

    def _is_due(self, rotation: Rotation, fd: int, line_bytes: int) -> bool:
        state = os.fstat(fd)
        now = rotation.span_of(self._utc_s())
        if state.st_size == 0 or now < self._span:  # a clock that was set back begins no file
            self._span = now
        if not stat.S_ISREG(state.st_mode) or state.st_size == 0 or time.monotonic() < self._rotate_at_s:
            return False
        return now > self._span or state.st_size + line_bytes > rotation.max_bytes

    def _fitting(self, fd: int, lines: Sequence[bytes]) -> int:
        """Return how many lines the file may take now, at least one."""
        if self._rotation is None or time.monotonic() < self._rotate_at_s:
            return len(lines)
        room = self._rotation.max_bytes - os.fstat(fd).st_size
        for count, line in enumerate(lines):
            room -= len(line)
            if room < 0:
                return max(1, count)
        return len(lines)


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


def _ids(lines: bytes) -> Iterator[str]:
    for line in lines.splitlines():
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict) and isinstance(event.get("id"), str):
            yield event["id"]
