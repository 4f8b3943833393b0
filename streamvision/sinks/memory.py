"""The folder in memory where events wait while state_dir cannot be used, and how they come from there to the disk.

It always has the same name for the same place and outlives the process, so that the next start finds what a daemon has
left there that was ended, or killed, before the disk came back.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sqlite3
import stat
import tempfile
from contextlib import ExitStack, closing
from pathlib import Path

import structlog

from streamvision.clock import Clock
from streamvision.errors import StoreUnusable
from streamvision.paths import STORE_FILE
from streamvision.sinks.database import lock_folder, open_store
from streamvision.sinks.transactions import transaction

log = structlog.get_logger()

_MOVE = (
    # A sink that the disk does not know starts before what is moved; one that had everything goes on where it is here.
    "CREATE TEMP TABLE ends AS SELECT coalesce((SELECT seq FROM main.sqlite_sequence WHERE name = 'events'), 0) AS old",
    "INSERT OR IGNORE INTO main.cursors(sink, position) SELECT sink, (SELECT old FROM ends) FROM memory.cursors",
    # On the disk they are as old as what is stored there now: the two have lived through different times.
    """INSERT OR IGNORE INTO main.events(id, stream, type, time_us, lived_us, json)
       SELECT id, stream, type, time_us, (SELECT value FROM main.facts WHERE name = 'lived_us'), json
       FROM memory.events ORDER BY position""",
    """UPDATE main.cursors SET position = position + (SELECT count(*) FROM memory.events e
         WHERE e.position <= (SELECT c.position FROM memory.cursors c WHERE c.sink = main.cursors.sink))
       WHERE position = (SELECT old FROM ends) AND sink IN (SELECT sink FROM memory.cursors)""",
    """INSERT INTO main.track_ids(stream, following) SELECT stream, following FROM memory.track_ids WHERE true
       ON CONFLICT(stream) DO UPDATE SET following = max(following, excluded.following)""",
    """INSERT OR IGNORE INTO main.dead_letters(sink, position, id, reason, what, buried_us, json, retry, lived_us)
       SELECT sink, position, id, reason, what, buried_us, json, retry,
         (SELECT value FROM main.facts WHERE name = 'lived_us') FROM memory.dead_letters""",
)


class Memory:
    """One such folder, and the store in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / STORE_FILE

    @classmethod
    def of(cls, place: Path) -> Memory:
        """Return the folder that belongs to a store's place on the disk."""
        # systemd empties /dev/shm of what a dynamic user leaves there; the runtime directory it keeps, if told to.
        given = os.environ.get("RUNTIME_DIRECTORY", "").partition(":")[0]
        shared = next((one for one in (given, "/dev/shm") if one and os.access(one, os.W_OK)), tempfile.gettempdir())
        name = hashlib.sha256(os.path.realpath(place).encode(errors="surrogateescape")).hexdigest()[:16]
        return cls(Path(shared) / f"streamvision-{os.geteuid()}-{name}")

    def made(self) -> Memory:
        """Make the folder; return another one where somebody else has made it, for who can write may also lie."""
        self.folder.mkdir(mode=0o700, exist_ok=True)
        if self.ours:
            return self
        other = Memory(Path(tempfile.mkdtemp(prefix=f"{self.folder.name}-", dir=self.folder.parent)))
        log.warning("the folder in memory belongs to somebody else; one that no start will find again is used",
                    folder=str(self.folder), used=str(other.folder))  # fmt: skip
        return other

    @property
    def ours(self) -> bool:
        """Whether nobody else can have put there what is in the folder; others may write where it lies."""
        try:
            found = self.folder.lstat()
        except OSError:
            return False
        return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o077

    @property
    def size(self) -> int:
        """How much room the store takes, in bytes."""
        return sum(path.stat().st_size for path in self.folder.glob(f"{STORE_FILE}*"))

    def begun(self) -> bool:
        """Whether a store was laid out in it. Raises `sqlite3.Error` where it cannot be read."""
        if not self.file.is_file():
            return False
        with closing(sqlite3.connect(self.file)) as connection:
            return bool(connection.execute("PRAGMA user_version").fetchone()[0])

    def waiting(self) -> int:
        """Return how many events and dead letters there are. Raises `sqlite3.Error` where they cannot be read."""
        with closing(sqlite3.connect(self.file)) as connection:
            if (found := connection.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
                raise sqlite3.DatabaseError(found)
            counts = "SELECT (SELECT count(*) FROM events) + (SELECT count(*) FROM dead_letters)"
            return int(connection.execute(counts).fetchone()[0])

    def move_to(self, place: Path, clock: Clock) -> None:
        """Move everything to its place and remove the folder. Raises `StoreError`; everything is where it was then."""
        try:
            with ExitStack() as stack:
                stack.enter_context(lock_folder(place))
                open_store(self.file, clock).close()  # an older version may have left it
                connection = stack.enter_context(closing(open_store(place, clock)))
                connection.execute("ATTACH ? AS memory", (str(self.file),))
                with transaction(connection):
                    for statement in _MOVE:
                        connection.execute(statement)
        except sqlite3.Error as error:
            raise StoreUnusable(f"cannot be written: {error}", where=str(place)) from error
        self.remove()

    def remove(self) -> None:
        """Remove the folder with all that is in it."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def set_aside(self) -> Path:
        """Give the folder another name, under which people find it but no start does."""
        return self.folder.rename(tempfile.mkdtemp(prefix=f"{self.folder.name}-broken-", dir=self.folder.parent))
