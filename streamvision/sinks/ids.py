"""Ids of events: ULIDs (github.com/ulid/spec) that always grow, however the wall clock jumps."""

from __future__ import annotations

import secrets
import threading
from typing import Final

from ulid import ULID

from streamvision.clock import Clock

_RANDOM_BITS: Final = 80
_STEP_BITS: Final = 64
_HIGHEST: Final = (1 << 127) - 1
"""An id beyond the year 6000 is none of ours; nothing goes on from there."""


class EventIds:
    """Makes the ids of one store; for any thread.

    An id holds the time at which it was made. Where the clock is behind the newest id (it was set back, or starts at
    1970) the ids go on from that one, by random steps, so that two machines with the same past never make the same.
    """

    def __init__(self, clock: Clock, newest: str = "") -> None:
        """``newest`` is the last id that the store knows of; what is no ULID says nothing."""
        self._clock = clock
        self._lock = threading.Lock()
        self._last = _number(newest)

    def __call__(self) -> str:
        """Return an id that is greater than every one before."""
        made = max(0, int(self._clock.utcnow().timestamp() * 1000)) << _RANDOM_BITS
        with self._lock:
            following = self._last + 1 + secrets.randbits(_STEP_BITS)
            self._last = max(made | secrets.randbits(_RANDOM_BITS), following)
            return str(ULID(self._last.to_bytes(16, "big")))


def _number(text: str) -> int:
    try:
        number = int.from_bytes(ULID.from_str(text).bytes, "big")
    except ValueError:
        return 0
    return number if number <= _HIGHEST else 0
