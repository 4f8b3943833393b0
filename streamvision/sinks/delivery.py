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
from streamvision.sinks.wanted import EVERYTHING, Wanted

log = structlog.get_logger()

BATCH = 256
READ = 1024
"""Events read at once where a sink takes more than `BATCH`, or only some of them."""
IDLE_S = 0.5
LETTERS_EVERY_S = 1.0
"""How often is looked whether somebody asked for another attempt at a dead letter."""
LONGEST_RETRY_AFTER_S = 3600.0
"""What a receiver may ask for with ``retry_after_s``; it may be wrong about its clock."""
FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 60.0
LONGEST_PAUSE_AT_END_S = 0.5
PATIENCE_AT_END_S = 3.0
"""For how long a sink that takes nothing is still asked at the end."""
ATTEMPT_AT_END_S = 1.0
"""How much later an attempt from which nothing has come is left behind."""


Done = Callable[[Sequence[StoredEvent], int], None]
"""Called with events that are settled, and how many of them were delivered."""
Follow = Callable[[Sequence[StoredEvent], Callable[[StoredEvent], bool]], None]
"""See `Sink`."""


class Outbox(Protocol):
    """What a delivery needs of the event store."""

    @property
    def position(self) -> int:
        """The newest stored position."""
        ...

    @property
    def floor(self) -> int:
        """The position up to which events were deleted, delivered or not."""
        ...

    def register(self, sink: str, wanted: Wanted) -> int:
        """Return the sink's cursor, a new one at the present end."""
        ...

    def advance(self, sink: str, position: int) -> None:
        """Remember that everything up to a position is delivered."""
        ...

    def letters(self, sink: str, limit: int) -> tuple[int, list[StoredEvent]]:
        """Return the number of dead letters, and those for which another attempt was asked."""
        ...

    def settle(self, sink: str, events: Sequence[StoredEvent]) -> None:
        """Take dead letters away that have been delivered."""
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

    A failing sink is tried again for ever, with exponential back-off and full jitter, and not before the time that
    its receiver asked for. Nothing overtakes: a later event is not offered before every earlier one is delivered or
    buried, so the order per stream is kept. Of a batch that a sink refuses for good the halves are tried, and theirs,
    until the guilty event alone is found; it goes to the dead letters, and its neighbours are delivered. Dead letters
    for which somebody asked another attempt are delivered between two batches; where they fail once more they
    wait longer and longer, and what is new goes on. ``crashed`` holds an unexpected exception that ended the thread.

    Back-off: https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
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
        wanted: Wanted = EVERYTHING,
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
        self._wanted = wanted
        self._follow: Follow | None = getattr(sink, "follow", None)
        self._batch = batch
        self._random_unit = random_unit
        self._cursor = store.register(name, wanted)
        self._letters_at_s = 0.0
        self._letters_pause_s = 0.0
        self._pause_s = 0.0
        self._stopping = threading.Event()
        self._give_up_at_s = float("inf")
        self._moved_at_s = float("inf")
        self.left_behind = False
        """Whether the thread still waits for its receiver although nobody waits for the thread any more."""
        self._thread = threading.Thread(target=self._guarded, name=self.stage, daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self, deadline_s: float) -> None:
        """Ask the thread to end: once all is delivered, after ``deadline_s`` seconds, or when the sink takes nothing.

        What a sink takes nothing of for `PATIENCE_AT_END_S` seconds stays in the store for the next start.
        """
        self._moved_at_s = self._clock.monotonic()
        self._give_up_at_s = self._moved_at_s + deadline_s
        self._stopping.set()

    def join(self, timeout_s: float) -> bool:
        """Wait for the thread's end; False if that took too long."""
        self._thread.join(max(0.0, timeout_s))
        return not self._thread.is_alive()

    def see_off(self, timeout_s: float) -> bool:
        """Wait for the end of the process's last delivery; False if that took too long.

        A receiver that is frozen may hold an attempt for longer than an end may take. The thread is left behind then:
        what is not confirmed stays in the store, and comes again at the next start.
        """
        until_s = self._clock.monotonic() + timeout_s
        while not self.join(min(LONGEST_PAUSE_AT_END_S / 5, until_s - self._clock.monotonic())):
            now_s = self._clock.monotonic()
            if now_s >= self._moved_at_s + PATIENCE_AT_END_S + ATTEMPT_AT_END_S:
                self.left_behind = True
                log.warning("left behind while it waits for its receiver; its events stay in the store",
                            sink=self._name, pending=self.pending)  # fmt: skip
                return True
            if now_s >= until_s:
                return False
        return True

    @property
    def pending(self) -> int:
        """Stored events that the sink has not taken yet."""
        return max(0, self._store.position - self._cursor)

    def _guarded(self) -> None:
        try:
            if (opened := getattr(self._sink, "open", None)) is not None:
                opened()
            self._run()
        except Exception as error:  # a thread's border: the supervisor ends the daemon
            self.crashed = error
            log.error("sink stopped", sink=self._name, error=str(error), exc_info=error)
        finally:
            self._sink.close()

    def _run(self) -> None:
        while not self._done():
            self._tell()
            try:
                self._deliver_letters_if_due()
                if self._store.wait_beyond(self._cursor, IDLE_S if not self._stopping.is_set() else 0.0):
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
        give_up_at_s = min(self._give_up_at_s, self._moved_at_s + PATIENCE_AT_END_S)
        return self.pending == 0 or self._clock.monotonic() >= give_up_at_s

    def _deliver_next(self) -> None:
        self._cursor = max(self._cursor, self._store.floor)
        found = self._store.after(self._cursor, max(READ, self._batch) if not self._wanted.everything else self._batch)
        if not found:
            self._stopping.wait(IDLE_S)  # the store is closing or was pruned by hand; do not spin
            return
        events = found if self._follow is not None else self._wanted.of(found)
        for start in range(0, len(events), self._batch):
            self._deliver(events[start : start + self._batch], self._advance)
        if not events or events[-1] is not found[-1]:
            self._advance(found[-1:], 0)

    def _deliver_letters_if_due(self) -> None:
        if self._stopping.is_set() or self._clock.monotonic() < self._letters_at_s:
            return
        self._letters_at_s = self._clock.monotonic() + LETTERS_EVERY_S
        kept, events = self._store.letters(self._name, self._batch)
        self._stats.letters_kept = kept
        if not events:
            return
        try:
            self._deliver(events, self._settle)
        except SinkError as error:
            self._letters_failed(error)
        else:
            self._letters_at_s = self._letters_pause_s = 0.0  # there may be more

    def _letters_failed(self, error: SinkError) -> None:
        """Let dead letters wait: a receiver that stumbles over one of them may well take what is new."""
        asked_s = min(error.retry_after_s or 0.0, LONGEST_RETRY_AFTER_S)
        self._letters_pause_s = min(max(FIRST_PAUSE_S, self._letters_pause_s * 2), LONGEST_PAUSE_S)
        # Beyond any pause of the whole sink that this error asks for: then it is the new events' turn.
        self._letters_at_s = self._clock.monotonic() + asked_s + self._letters_pause_s
        if asked_s:
            raise error
        self._stats.failures[error.reason] += 1
        log.warning("dead letters fail again; they wait", sink=self._name, reason=error.reason, error=str(error))

    def _deliver(self, events: Sequence[StoredEvent], done: Done) -> None:
        """Deliver in order; bury what is refused for good; call ``done`` with each part that is settled."""
        try:
            delivered = self._offer(events, new=done == self._advance)
        except SinkError as error:
            if not error.permanent:
                raise
            if len(events) > 1:
                half = len(events) // 2
                self._deliver(events[:half], done)
                self._deliver(events[half:], done)
                return
            self._bury(events[0], error)
            if done == self._advance:
                self._advance(events, 0)
        else:
            done(events, delivered)

    def _offer(self, events: Sequence[StoredEvent], *, new: bool) -> int:
        """Let the sink take events; return how many of them it delivers. ``new``: they are no dead letters."""
        if self._follow is None or not new:
            self._sink.deliver(events)
            return len(events)
        self._follow(events, self._wanted.fits)
        return sum(map(self._wanted.fits, events))

    def _bury(self, event: StoredEvent, error: SinkError) -> None:
        self._store.bury(self._name, event, error.reason, error.what)
        self._stats.failures[error.reason] += 1
        self._stats.dead_letters += 1
        self._letters_at_s = 0.0
        log.error("sink refuses an event for good", sink=self._name, id=event.id, reason=error.reason, error=str(error))

    def _advance(self, events: Sequence[StoredEvent], delivered: int) -> None:
        # In memory first: when only the store fails, the sink is not given the same events again in this run.
        self._cursor = events[-1].position
        self._count(delivered)
        self._store.advance(self._name, self._cursor)

    def _settle(self, events: Sequence[StoredEvent], delivered: int) -> None:
        self._count(delivered)
        self._store.settle(self._name, events)
        log.info("dead letters delivered", sink=self._name, events=len(events))

    def _count(self, delivered: int) -> None:
        self._stats.delivered += delivered
        if self._stopping.is_set():
            self._moved_at_s = self._clock.monotonic()
        if self._pause_s:
            log.info("sink takes events again", sink=self._name)
        self._pause_s = 0.0

    def _failed(self, error: SinkError | StoreError) -> None:
        reason = error.reason if isinstance(error, SinkError) else "store"
        self._stats.failures[reason] += 1
        if not self._pause_s:
            log.warning("sink fails; its events wait in the store", sink=self._name, reason=reason, error=str(error))
        self._pause_s = min(max(FIRST_PAUSE_S, self._pause_s * 2), LONGEST_PAUSE_S)
        asked_s = (error.retry_after_s if isinstance(error, SinkError) else None) or 0.0
        self._rest(max(self._pause_s * self._random_unit(), min(asked_s, LONGEST_RETRY_AFTER_S)))

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
