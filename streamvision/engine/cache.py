"""Compiled engines on this machine's disk: found by everything that they depend on, believed only when whole.

An entry is a folder, named by the digest of its key, with the engine and ``meta.json``. It is written beside its place
and moved there in one step, so that nobody sees half of it. Builders of one key take turns by a lock that the kernel
frees when its holder dies. A folder that cannot be written to costs one warning and a build at each start, no more.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final

import structlog

from streamvision.engine.models import sha256_of

FORMAT: Final = 1
"""What an entry looks like; part of every key, so that another program version never misreads one."""
LIMIT_BYTES: Final = 10_000_000_000
"""What the folder may hold before the engine that was not used for longest has to go."""
SEARCH_PATH: Final = "STREAMVISION_ENGINES"
"""The environment variable that names folders of engines to be read but never written, separated like PATH."""
ENGINE: Final = "engine.bin"
META: Final = "meta.json"
_PART: Final = ".part-"

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Key:
    """All that an entry depends on, by name; ``model`` is for people and not part of it."""

    model: str
    parts: Mapping[str, str]

    @property
    def digest(self) -> str:
        """The entry's name: 32 hexadecimal digits of a sha256 over the parts."""
        text = json.dumps({"format": str(FORMAT), **self.parts}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing in the cache. ``meta`` holds the key's parts, the engine's size and sha256, and ``facts``."""

    folder: Path
    meta: Mapping[str, Any]

    @property
    def digest(self) -> str:
        """The digest of the entry's key."""
        return self.folder.name

    @property
    def engine(self) -> Path | None:
        """The engine's file; None for an entry that only remembers facts."""
        return self.folder / ENGINE if self.meta["engine"] else None

    @property
    def size(self) -> int:
        """The engine's bytes."""
        return int(self.meta["engine"]["bytes"]) if self.meta["engine"] else 0

    @property
    def facts(self) -> Mapping[str, Any]:
        """What the builder noted: seconds, parity."""
        facts: Mapping[str, Any] = self.meta["facts"]
        return facts


def default_folder() -> Path:
    """Return where engines are kept: the service's cache directory under systemd, else the user's."""
    service = os.environ.get("CACHE_DIRECTORY", "").split(":")[0]
    if service:
        return Path(service) / "engines"
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "streamvision" / "engines"


def named_folders() -> tuple[Path, ...]:
    """Return the folders of ``$STREAMVISION_ENGINES``."""
    return tuple(Path(part) for part in os.environ.get(SEARCH_PATH, "").split(os.pathsep) if part)


class EngineCache:
    """A folder of entries, and more folders that are only read. Safe for several threads and processes."""

    def __init__(
        self, folder: Path | None = None, extra: Sequence[Path] | None = None, limit_bytes: int = LIMIT_BYTES
    ) -> None:
        self.folder = (folder or default_folder()).absolute()
        self._extra = [each.absolute() for each in (named_folders() if extra is None else extra)]
        self._limit_bytes = limit_bytes
        self._complained = False

    def find(self, key: Key) -> Entry | None:
        """Return the whole, unaltered entry of a key, or None; a damaged one is removed."""
        for folder in (self.folder, *self._extra):
            place = folder / key.digest
            if not place.is_dir():
                continue
            if (entry := _read(place)) is not None and _whole(entry):
                with contextlib.suppress(OSError):
                    os.utime(place)  # used just now: the last to be removed
                return entry
            _log.warning("cached_engine_damaged", model=key.model, path=str(place))
            if folder == self.folder:
                shutil.rmtree(place, ignore_errors=True)
        return None

    def store(self, key: Key, fill: Callable[[Path], None] | None, facts: Mapping[str, Any]) -> Entry | None:
        """Write an entry in one step and return it; None, after one warning, where that cannot be done.

        ``fill`` writes the engine into the file that it is given; without it the entry only remembers ``facts``.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with _part(self.folder) as part:
                self._write(part, key, fill, facts)
                self._move(part, self.folder / key.digest)
        except OSError as error:
            self._complain(error)
            return None
        self.prune(keep=key.digest)
        return _read(self.folder / key.digest)

    def note(self, entry: Entry, **facts: Any) -> Entry:
        """Add facts to an entry, on disk where that can be written; returns the entry with them.

        Of an entry in a folder that is only read, a copy with the facts is kept in the own one.
        """
        meta = {**entry.meta, "facts": {**entry.facts, **facts}}
        if entry.folder.parent != self.folder:
            fill = partial(_copy, entry.engine) if entry.engine else None
            return self.store(Key(meta["model"], meta["key"]), fill, meta["facts"]) or Entry(entry.folder, meta)
        try:
            _write_meta(entry.folder, meta)
        except OSError as error:
            self._complain(error)
        return Entry(entry.folder, meta)

    def drop(self, entry: Entry) -> None:
        """Remove an entry; one of a folder that is only read stays."""
        if entry.folder.parent == self.folder:
            shutil.rmtree(entry.folder, ignore_errors=True)

    @contextlib.contextmanager
    def building(self, key: Key) -> Iterator[None]:
        """Be the only builder of a key, in all threads and processes that share the folder; waits for its turn."""
        path = self.folder / f".lock-{key.digest}"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = _locked(path, key.model)
        except OSError as error:
            self._complain(error)
            yield
            return
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                path.unlink()  # while it is held: whoever waits for it sees that it is gone, and takes a new one
            os.close(lock)

    def entries(self) -> list[Entry]:
        """Return every readable entry, the one used last first; the engines are not verified."""
        found = []
        for folder in (self.folder, *self._extra):
            places = sorted(folder.glob("[0-9a-f]*"), key=_used_s, reverse=True) if folder.is_dir() else []
            found += [entry for place in places if (entry := _read(place)) is not None]
        return found

    def prune(self, keep: str = "") -> None:
        """Remove what was not used for longest until the folder holds no more than it may; never ``keep``."""
        for part in self.folder.glob(f"{_PART}*"):
            _remove_orphan(part)
        places = sorted(self.folder.glob("[0-9a-f]*"), key=_used_s)
        sizes = {place: _bytes_in(place) for place in places}
        excess = sum(sizes.values()) - self._limit_bytes
        for place in places:
            if excess <= 0:
                return
            if place.name != keep:
                _log.info("cached_engine_removed", path=str(place), bytes=sizes[place])
                shutil.rmtree(place, ignore_errors=True)
                excess -= sizes[place]

    def _write(self, part: Path, key: Key, fill: Callable[[Path], None] | None, facts: Mapping[str, Any]) -> None:
        engine = None
        if fill is not None:
            fill(part / ENGINE)
            _sync(part / ENGINE)
            engine = {"bytes": (part / ENGINE).stat().st_size, "sha256": sha256_of(part / ENGINE)}
        written = datetime.now(UTC).isoformat(timespec="seconds")
        meta = {"format": FORMAT, "model": key.model, "key": dict(key.parts), "written": written}
        _write_meta(part, {**meta, "engine": engine, "facts": dict(facts)})
        part.chmod(0o755)  # temporary folders are for their owner alone; an engine may be built by another user

    def _move(self, part: Path, place: Path) -> None:
        if place.exists():
            aside = part.with_name(f"{part.name}-old")
            os.replace(place, aside)
            shutil.rmtree(aside, ignore_errors=True)
        os.replace(part, place)
        _sync(self.folder)

    def _complain(self, error: OSError) -> None:
        if not self._complained:
            self._complained = True
            _log.warning(
                "engine_cache_not_written", path=str(self.folder), error=error.strerror or str(error),
                consequence="engines are used from memory and built again at the next start",
            )  # fmt: skip


def _read(place: Path) -> Entry | None:
    """Return an entry whose description can be read, None for anything else."""
    try:
        meta = json.loads((place / META).read_bytes())
    except (OSError, ValueError):
        return None
    wanted = isinstance(meta, dict) and meta.get("format") == FORMAT and isinstance(meta.get("facts"), dict)
    return Entry(place, meta) if wanted and "engine" in meta and isinstance(meta.get("key"), dict) else None


def _whole(entry: Entry) -> bool:
    """Return whether key and engine are what was written."""
    if Key("", entry.meta["key"]).digest != entry.digest:
        return False
    try:
        return entry.engine is None or sha256_of(entry.engine) == entry.meta["engine"]["sha256"]
    except (OSError, KeyError, TypeError):
        return False


def _copy(source: Path, target: Path) -> None:
    shutil.copyfile(source, target)


def _write_meta(folder: Path, meta: Mapping[str, Any]) -> None:
    """Replace an entry's description in one step."""
    handle, name = tempfile.mkstemp(prefix=_PART, dir=folder)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(meta, file, indent=2, sort_keys=True)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)
        os.replace(name, folder / META)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise


def _sync(path: Path) -> None:
    """Wait until a file or folder is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def _part(folder: Path) -> Iterator[Path]:
    """Give a folder to build in, which is locked as long as its builder lives, and removed at the end."""
    part, handle = _locked_part(folder)
    try:
        yield part
    finally:
        shutil.rmtree(part, ignore_errors=True)
        os.close(handle)


def _locked_part(folder: Path) -> tuple[Path, int]:
    while True:
        part = Path(tempfile.mkdtemp(prefix=_PART, dir=folder))
        handle = os.open(part, os.O_RDONLY | os.O_DIRECTORY)
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(handle, fcntl.LOCK_SH)
        if _same_file(handle, part):
            return part, handle
        os.close(handle)  # somebody has taken it for an orphan before it was locked


def _remove_orphan(part: Path) -> None:
    """Remove what a builder that was killed has left; the folder of one that is at work is locked."""
    with contextlib.suppress(OSError):
        handle = os.open(part, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(part, ignore_errors=True)
        finally:
            os.close(handle)


def _locked(path: Path, model: str) -> int:
    """Return the handle of a lock file that nobody else holds; waits for it."""
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                _log.info("engine_is_being_built_elsewhere", model=model)
                fcntl.flock(handle, fcntl.LOCK_EX)
            if _same_file(handle, path):
                return handle
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)


def _same_file(handle: int, path: Path) -> bool:
    """Return whether a path still leads to the file that is open; its last holder removes it."""
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


def _used_s(place: Path) -> float:
    try:
        return place.stat().st_mtime
    except OSError:
        return 0.0


def _bytes_in(place: Path) -> int:
    total = 0
    for path in place.glob("*"):
        with contextlib.suppress(OSError):
            total += path.stat().st_size
    return total
