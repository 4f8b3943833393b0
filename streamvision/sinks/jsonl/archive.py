"""Files that were rotated away: found, compressed, and in the end deleted.

``events.jsonl`` becomes ``events.jsonl.000017-20260102T030405Z`` in one rename: its number in the order of writing,
and when it was closed (UTC). Nothing is ever renamed a second time. A file is compressed into a draft; the draft is on
the disk before it becomes ``...Z.gz``, and only then the plain file goes. So whatever a crash leaves behind is known
by its name: a draft is worth nothing, and beside a plain file its ``.gz`` is not needed.
"""

from __future__ import annotations

import gzip
import os
import re
import shutil
import threading
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import structlog

from streamvision.sinks.jsonl.options import Rotation

log = structlog.get_logger()

CHUNK_BYTES = 256 << 10
LEVEL = 6
END_S = 5.0
"""How long a chunk may take to be written before its thread is left behind."""
AGAIN_S = 60.0
"""After how long what failed is tried again."""
_DRAFT = ".draft"


@dataclass(frozen=True, slots=True, order=True)
class Archived:
    """One rotated file; the order is that of writing."""

    number: int
    path: Path
    """The plain file, which may not be there any more."""

    @property
    def packed(self) -> Path:
        """Where it lies once it is compressed."""
        return self.path.with_name(f"{self.path.name}.gz")

    @property
    def bytes(self) -> int:
        """How much room it takes; 0 where it has gone meanwhile."""
        return sum(_size(path) for path in (self.path, self.packed))

    def remove(self) -> None:
        """Delete it. Raises OSError."""
        for path in (self.path, self.packed):
            path.unlink(missing_ok=True)


class Archive:
    """The rotated files of one ``path``. Safe for two threads, of which one adds and the other tidies."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._pattern = re.compile(re.escape(path.name) + r"\.(\d{6,})-\d{8}T\d{6}Z(\.gz)?")

    def files(self) -> list[Archived]:
        """Return what is there, the oldest first. Raises OSError."""
        found: set[Archived] = set()
        for name in self._names():
            if (match := self._pattern.fullmatch(name)) is not None:
                found.add(Archived(int(match[1]), self._path.with_name(name.removesuffix(match[2] or ""))))
        return sorted(found)

    def take(self, utc_s: float) -> None:
        """Rotate the current file away. Raises OSError."""
        files = self.files()
        number = files[-1].number + 1 if files else 1
        closed = datetime.fromtimestamp(utc_s, UTC)
        self._path.rename(self._path.with_name(f"{self._path.name}.{number:06d}-{closed:%Y%m%dT%H%M%S}Z"))

    def tidy(self, rotation: Rotation, stopped: Callable[[], bool] = lambda: False) -> None:
        """Bring the files into the state that ``rotation`` asks for; what was left half done is done anew.

        Raises OSError.
        """
        self._clear()
        if rotation.keep is not None:
            for one in self.files()[: -rotation.keep]:
                one.remove()
        try:
            if rotation.compress == "gzip":
                self._compress(stopped)
        finally:  # also without the room for a draft
            self._fit(rotation.total_bytes)

    def _clear(self) -> None:
        for name in self._names():
            if name.endswith(f".gz{_DRAFT}") and self._pattern.fullmatch(name.removeprefix(".").removesuffix(_DRAFT)):
                self._path.with_name(name).unlink(missing_ok=True)
        for one in self.files():
            if one.path.exists():
                one.packed.unlink(missing_ok=True)

    def _compress(self, stopped: Callable[[], bool]) -> None:
        for one in self.files():
            if one.path.exists() and not (stopped() or compress(one.path, one.packed, stopped)):
                return

    def _fit(self, most_bytes: float) -> None:
        files = self.files()
        room = sum(one.bytes for one in files)
        for one in files[:-1]:
            if room <= most_bytes:
                return
            room -= one.bytes
            one.remove()

    def _names(self) -> list[str]:
        try:
            return os.listdir(self._path.parent)
        except FileNotFoundError:
            return []

    def tail(self, most_bytes: int) -> bytes:
        """Return the last whole lines, of the newest files, about as many bytes as asked for. Raises OSError."""
        tail = b""
        for one in reversed(self.files()):
            if len(tail) >= most_bytes:
                break
            tail = _end_of(one, most_bytes - len(tail)) + tail
        return tail


class Tidier:
    """A thread that tidies whenever a file was added, so that no event waits for it."""

    def __init__(self, archive: Archive, rotation: Rotation, name: str) -> None:
        """Tidy once now, for what a former run has left."""
        self._archive = archive
        self._rotation = rotation
        self._name = name
        self._closing = threading.Event()
        self._wanted = threading.Semaphore(1)
        self._failing = False
        self._thread = threading.Thread(target=self._run, name=f"sink.{name}.tidy", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Tidy again."""
        self._wanted.release()

    def close(self) -> None:
        """End; what is half done is done anew at the next start. Idempotent."""
        self._closing.set()
        self._wanted.release()
        self._thread.join(END_S)

    def _run(self) -> None:
        while not self._closing.is_set():
            self._wanted.acquire(timeout=AGAIN_S if self._failing else None)
            if self._closing.is_set():
                return
            try:
                self._archive.tidy(self._rotation, self._closing.is_set)
                self._failing = False
            except OSError as error:
                if not self._failing:
                    log.warning("old files stay as they are for now", sink=self._name,
                                file=error.filename, cause=error.strerror)  # fmt: skip
                self._failing = True


def compress(plain: Path, packed: Path, stopped: Callable[[], bool]) -> bool:
    """Replace a file by its gzip form, by way of a draft; False if it was stopped before the end. Raises OSError."""
    draft = packed.with_name(f".{packed.name}{_DRAFT}")
    try:
        with plain.open("rb") as source, draft.open("wb") as target:
            os.fchmod(target.fileno(), os.fstat(source.fileno()).st_mode & 0o777)
            with gzip.GzipFile("", "wb", LEVEL, target, mtime=os.fstat(source.fileno()).st_mtime) as writer:
                while chunk := source.read(CHUNK_BYTES):
                    writer.write(chunk)
                    if stopped():
                        return False
            target.flush()
            os.fsync(target.fileno())
        shutil.copystat(plain, draft)
        draft.rename(packed)
        sync_folder(packed.parent)
        plain.unlink()
    finally:
        draft.unlink(missing_ok=True)
    return True


def sync_folder(folder: Path) -> None:
    """Make names in a folder durable, too. Raises OSError."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _end_of(one: Archived, most_bytes: int) -> bytes:
    """Return the end of a file, from a line's beginning on; nothing where it is gone or damaged."""
    with suppress(FileNotFoundError), one.path.open("rb") as file:
        start = max(0, os.fstat(file.fileno()).st_size - most_bytes)
        file.seek(start)
        return _from_line(file.read(), whole=start == 0)
    tail = b""
    cut = False
    with suppress(FileNotFoundError, gzip.BadGzipFile, EOFError, zlib.error), gzip.open(one.packed, "rb") as packed:
        while chunk := packed.read(CHUNK_BYTES):
            cut = cut or len(tail) + len(chunk) > most_bytes
            tail = (tail + chunk)[-most_bytes:]
    return _from_line(tail, whole=not cut)


def _from_line(data: bytes, *, whole: bool) -> bytes:
    return data if whole else data[data.find(b"\n") + 1 :]


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
