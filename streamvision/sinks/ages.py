"""How old what the store holds is, without believing the wall clock.

Everything in the store is stamped with ``lived_us``: for how long a daemon had this store open on a machine that was
awake. CLOCK_MONOTONIC counts it, the file remembers it, and nobody can set it. What a sink still lacks, and dead
letters, age by nothing else: time in which nobody could deliver them does not count against them.

What every sink has delivered ages by real time. The rest of that is the time *away*: the machine slept, which
CLOCK_BOOTTIME tells, or no daemon ran, which only the wall clock tells. The latter is therefore entered when that clock
can be trusted (see `timesync.TrustedTime`): how much later it is than at the last moment, in an earlier run, when it
was trusted as well. While a daemon runs no jump of the wall clock makes anything older.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import structlog

from streamvision.clock import Clock, SleepWatch
from streamvision.errors import StoreError
from streamvision.sinks.database import microseconds
from streamvision.timesync import JUMP_S, TrustedTime

log = structlog.get_logger()

_LIVED, _TRUSTED_LIVED, _TRUSTED_WALL = "lived_us", "trusted_lived_us", "trusted_wall_us"
_FACTS: Final = "SELECT name, CAST(value AS INTEGER) FROM facts"
_AWAY: Final = "SELECT at_us, CAST(us AS INTEGER) FROM away"
SAVE_EVERY_S: Final = 600.0
"""What a crash may cost of the store's age: it stays younger by at most this."""


@dataclass(frozen=True, slots=True)
class Age:
    """The present moment on the store's own clock; ``away`` maps a stamp to the absence after it; microseconds."""

    lived_us: int
    away: Mapping[int, int] = field(default_factory=dict)

    def awaited_before_us(self, age_s: float) -> int:
        """Return before which stamp lies what is older than ``age_s`` seconds and still to be delivered."""
        return self.lived_us - round(age_s * 1_000_000)

    def delivered_before_us(self, age_s: float) -> int:
        """Return before which stamp lies what is older than ``age_s`` seconds and delivered."""
        left_us, after_us = round(age_s * 1_000_000), self.lived_us
        for at_us in sorted(self.away, reverse=True):
            if after_us - at_us >= left_us:
                break
            left_us -= after_us - at_us + self.away[at_us]
            after_us = at_us
            if left_us <= 0:  # what was stamped at this very moment came before the absence
                return at_us + 1
        return after_us - left_us


class Ages:
    """The clock of one store's file; `look` and `write` are for the store's writer, `lived_us` for any thread."""

    def __init__(self, clock: Clock, connection: sqlite3.Connection) -> None:
        """Go on where the file says that an earlier run has ended. Raises `StoreError`."""
        try:
            facts: dict[str, int] = dict(connection.execute(_FACTS).fetchall())
            self._away: dict[int, int] = dict(connection.execute(_AWAY).fetchall())
        except sqlite3.Error as error:
            raise StoreError(f"its age cannot be read: {error}") from error
        self._clock = clock
        self._began_us = facts.get(_LIVED, 0) - _us(clock.monotonic())
        self._sleep = SleepWatch(clock)
        self._looked_us = self.lived_us
        self._time = TrustedTime(clock)
        self._trusted: tuple[int, int] | None = None
        if _TRUSTED_LIVED in facts and _TRUSTED_WALL in facts:
            self._trusted = facts[_TRUSTED_LIVED], facts[_TRUSTED_WALL]
        self._caught_up = False
        self._written_us: int | None = None

    @property
    def lived_us(self) -> int:
        """The present stamp."""
        return self._began_us + _us(self._clock.monotonic())

    def look(self) -> Age:
        """Return the present moment, after a look at what the other clocks say."""
        if slept_s := self._sleep.look():
            self._enter(self._looked_us, _us(slept_s))
        self._looked_us = lived_us = self.lived_us
        if (now := self._time.now()) is not None:
            self._catch_up(lived_us, microseconds(now))
            self._trusted = lived_us, microseconds(now)
        return Age(lived_us, dict(self._away))

    def write(self, connection: sqlite3.Connection, forget_us: int, *, at_once: bool = False) -> None:
        """Write down what `look` has found, and forget absences before a stamp; part of the caller's transaction.

        Not more often than every `SAVE_EVERY_S`, so that a store in which nothing happens writes next to nothing.
        """
        if not at_once and self._written_us is not None and self._looked_us - self._written_us < _us(SAVE_EVERY_S):
            return
        self._written_us = self._looked_us
        facts = {_LIVED: self._looked_us}
        if self._trusted is not None:
            facts |= {_TRUSTED_LIVED: self._trusted[0], _TRUSTED_WALL: self._trusted[1]}
        connection.executemany("INSERT OR REPLACE INTO facts VALUES(?, ?)", list(facts.items()))
        self._away = {at_us: us for at_us, us in self._away.items() if at_us >= forget_us}
        connection.execute("DELETE FROM away WHERE at_us < ?", (forget_us,))
        connection.executemany("INSERT OR REPLACE INTO away VALUES(?, ?)", list(self._away.items()))

    def _catch_up(self, lived_us: int, wall_us: int) -> None:
        """Enter, once in a run, the time that no daemon has lived through since the clock was trusted last."""
        if self._trusted is not None and not self._caught_up:
            since_us, then_us = self._trusted
            known_us = lived_us - since_us + sum(us for at_us, us in self._away.items() if at_us >= since_us)
            off_us = wall_us - then_us - known_us
            if off_us > _us(JUMP_S):
                self._enter(since_us, off_us)
        self._caught_up = True

    def _enter(self, at_us: int, us: int) -> None:
        self._away[at_us] = self._away.get(at_us, 0) + us
        self._written_us = None
        log.info("events that were delivered before have become older", seconds=round(us / 1_000_000))


def _us(seconds: float) -> int:
    return round(seconds * 1_000_000)
