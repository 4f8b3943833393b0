"""What goes on at this moment, for sinks that come, or begin anew, while something does."""

from __future__ import annotations

import threading
from collections.abc import Collection, Sequence

from streamvision.interfaces import Ongoing
from streamvision.types import Event, Phase


class Happenings:
    """What has begun in this run of the daemon and has not ended. Safe for any number of threads.

    It is kept in memory: the store may have deleted the start of what has lasted for long, and no happening goes on
    over a restart.
    """

    def __init__(self) -> None:
        self._ongoing: dict[Ongoing, None] = {}
        self._lock = threading.Lock()

    def note(self, events: Sequence[Event]) -> None:
        """Take events, in order."""
        with self._lock:
            for event in events:
                one = Ongoing(event.stream, event.rule, event.happening)
                if event.phase is Phase.END:
                    self._ongoing.pop(one, None)
                elif event.phase is not Phase.INSTANT:
                    self._ongoing[one] = None

    def ongoing(self) -> Collection[Ongoing]:
        """Return what goes on, in the order in which it began."""
        with self._lock:
            return tuple(self._ongoing)
