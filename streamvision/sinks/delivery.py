"""One sink's thread: follows the event store from the sink's cursor and delivers in order, at least once."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Sequence
from typing import Protocol

import structlog

from streamvision.clock import Clock
from streamvision.errors import SinkError, StoreError
from streamvision.interfaces import Sink, StoredEvent
from streamvision.metrics import SinkStats

log = structlog.get_logger()

BATCH = 256
IDLE_S = 0.5
FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 60.0
LONGEST_PAUSE_AT_END_S = 0.5


class Outbox(Protocol):
    """What a delivery needs of the event store."""

    @property
    def position(self) -> int:
        """The newest stored position."""
        ...

    def register(self, sink: str) -> int:
        """Return the sink's cursor, a new one at the present end."""
        ...

    def advance(self, sink: str, position: int) -> None:
        """Remember that everything up to a position is delivered."""
        ...

    def bury(self, sink: str, event: StoredEvent, reason: str, what: str) -> None:
        """Keep an event that will never be delivered."""
        ...

    def after(self, position: int, limit: int) -> list[StoredEvent]:
        """Return events after a position, oldest first."""
        ...

    def wait_beyond(self, position: int, timeout_s: float) -> bool:
        """Wait for something newer than a position."""
        ...

    def stored_at_s(self, position: int) -> float:
        """Return when a position was stored (monotonic)."""
        ...


class Delivery:
    """Delivers one sink's events; its cursor moves only after `Sink.deliver` has returned.

    A failing sink is tried again for ever, with exponential back-off and full jitter. An event that a sink refuses
    for good goes to the dead letters, and its neighbours are delivered. ``crashed`` holds an unexpected exception
    that ended the thread early.
    """

    def __init__(
        self,
        name: str,
        sink: Sink,
        store: Outbox,
        stats: SinkStats,
        clock: Clock,
        beat: Callable[[str], None],
        *,
        batch: int = BATCH,
        random_unit: Callable[[], float] = random.random,
    ) -> None:
        """Register the sink's cursor, so that every event appended from now on reaches it. Raises `StoreError`."""
        self.stage = f"sink.{name}"
        self.crashed: BaseException | None = None
        self._name = name
        self._sink = sink
        self._store = store
        self._stats = stats
        self._clock = clock
        self._beat = beat
        self._batch = batch
        self._random_unit = random_unit
        self._cursor = store.register(name)
        self._pause_s = 0.0
        self._stopping = threading.Event()
        self._give_up_at_s = float("inf")
        self._thread = threading.Thread(target=self._guarded, name=self.stage, daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self, deadline_s: float) -> None:
        """Ask the thread to end once everything stored is delivered, or after ``deadline_s`` seconds."""
        self._give_up_at_s = self._clock.monotonic() + deadline_s
        self._stopping.set()

    def join(self, timeout_s: float) -> bool:
        """Wait for the thread's end; False if that took too long."""
        self._thread.join(max(0.0, timeout_s))
        return not self._thread.is_alive()

    @property
    def pending(self) -> int:
        """Stored events that the sink has not taken yet."""
        return max(0, self._store.position - self._cursor)

    def _guarded(self) -> None:
        try:
            if (opened := getattr(self._sink, "open", None)) is not None:
                opened()
            self._follow()
        except Exception as error:  # a thread's border: the supervisor ends the daemon
            self.crashed = error
            log.error("sink stopped", sink=self._name, error=str(error), exc_info=error)
        finally:
            self._sink.close()

    def _follow(self) -> None:
        while not self._done():
            self._tell()
            if not self._store.wait_beyond(self._cursor, IDLE_S if not self._stopping.is_set() else 0.0):
                continue
            try:
                self._deliver_next()
            except (SinkError, StoreError) as error:
                self._failed(error)
        self._tell()
        if self.pending:
            log.warning("sink ended before everything was delivered; the rest follows at the next start",
                        sink=self._name, pending=self.pending)  # fmt: skip

    def _done(self) -> bool:
        if not self._stopping.is_set():
            return False
        return self.pending == 0 or self._clock.monotonic() >= self._give_up_at_s

    def _deliver_next(self) -> None:
        events = self._store.after(self._cursor, self._batch)
        if not events:
            self._stopping.wait(IDLE_S)  # the store is closing or was pruned by hand; do not spin
            return
        try:
            self._sink.deliver(events)
            delivered = len(events)
        except SinkError as error:
            if not error.permanent:
                raise
            delivered = self._deliver_singly(events)
        self._advance(events[-1].position, delivered)

    def _deliver_singly(self, events: Sequence[StoredEvent]) -> int:
        """Find out which events of a refused batch are to blame; bury those; return how many were delivered."""
        delivered = 0
        for event in events:
            try:
                self._sink.deliver([event])
                delivered += 1
            except SinkError as error:
                if not error.permanent:
                    self._advance(event.position - 1, delivered)
                    raise
                self._bury(event, error)
        return delivered

    def _bury(self, event: StoredEvent, error: SinkError) -> None:
        self._store.bury(self._name, event, error.reason, error.what)
        self._stats.failures[error.reason] += 1
        self._stats.dead_letters += 1
        log.error("sink refuses an event for good", sink=self._name, id=event.id, reason=error.reason, error=str(error))

    def _advance(self, position: int, delivered: int) -> None:
        # In memory first: when only the store fails, the sink is not given the same events again in this run.
        self._cursor = position
        self._stats.delivered += delivered
        self._store.advance(self._name, position)
        if self._pause_s:
            log.info("sink takes events again", sink=self._name)
        self._pause_s = 0.0

    def _failed(self, error: SinkError | StoreError) -> None:
        reason = error.reason if isinstance(error, SinkError) else "store"
        self._stats.failures[reason] += 1
        if not self._pause_s:
            log.warning("sink fails; its events wait in the store", sink=self._name, reason=reason, error=str(error))
        self._pause_s = min(max(FIRST_PAUSE_S, self._pause_s * 2), LONGEST_PAUSE_S)
        self._rest(self._pause_s * self._random_unit())

    def _rest(self, pause_s: float) -> None:
        """Wait before the next attempt, with signs of life; the end of the daemon cuts it short."""
        until_s = self._clock.monotonic() + pause_s
        while not self._stopping.is_set() and (left_s := until_s - self._clock.monotonic()) > 0:
            self._stopping.wait(min(left_s, IDLE_S))
            self._tell()
        if self._stopping.is_set():
            left_s = self._give_up_at_s - self._clock.monotonic()
            threading.Event().wait(max(0.0, min(pause_s, left_s, LONGEST_PAUSE_AT_END_S)))

    def _tell(self) -> None:
        self._beat(self.stage)
        self._stats.pending = self.pending
        behind = self._clock.monotonic() - self._store.stored_at_s(self._cursor + 1) if self.pending else 0.0
        self._stats.lag_s = max(0.0, behind)
