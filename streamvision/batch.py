"""Many streams -> one `Batch`: the stream that waits longest first, at most one frame of each.

A batch closes when it is full, when every stream that is alive has given its frame, or when its first frame has
waited `BatchPolicy.max_wait_s`, whichever is first. A dead camera is an absent row: nobody waits for it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from streamvision.channel import Channel, Closed, Doorbell, Overflow
from streamvision.clock import Clock
from streamvision.types import Batch, Frame


@dataclass(frozen=True, slots=True)
class BatchPolicy:
    """Limits of one model's batches; ``max_age_s`` is how long a live frame may wait for its turn."""

    max_batch: int = 16
    max_wait_s: float = 0.02
    max_age_s: float = 0.5


@dataclass(slots=True, eq=False)
class _Row:
    channel: Channel[Frame]
    live: bool
    served_s: float = float("-inf")

    def waiting_since(self) -> float:
        """Return since when this stream waits for its turn; infinity if it has no frame.

        A file's frames lie ready long before their turn, so their own age says nothing: the turn before counts.
        """
        head = self.channel.peek()
        return float("inf") if head is None else max(head.ready_s, self.served_s)


LIVE_CAPACITY = 2
"""Live pictures waiting per stream: one to be taken next, and the newest; deeper queues only add latency."""

FILE_CAPACITY = 4


class Batcher:
    """The meeting point of one model's streams. Captures put, one runner collects."""

    def __init__(self, policy: BatchPolicy, clock: Clock, on_expired: Callable[[Frame], None]) -> None:
        """``on_expired`` is told of every live frame that grew too old, under the lock; it must be short."""
        self._policy = policy
        self._clock = clock
        self._on_expired = on_expired
        self._condition = Doorbell()
        self._rows: dict[str, _Row] = {}
        self._closed = False

    def add(self, stream: str, *, live: bool, on_overflow: Callable[[Frame], None]) -> Channel[Frame]:
        """Give a stream its row and return the channel that its capture fills."""
        channel = Channel[Frame](
            LIVE_CAPACITY if live else FILE_CAPACITY,
            Overflow.DROP_OLDEST if live else Overflow.BLOCK,
            on_drop=on_overflow,
            condition=self._condition,
        )
        with self._condition:
            if stream in self._rows and not self._rows[stream].channel.finished:
                raise ValueError(f"stream {stream!r} has a row already")
            self._rows[stream] = _Row(channel, live)
        return channel

    def resize(self, max_batch: int) -> None:
        """Make batches of at most ``max_batch`` from now on."""
        with self._condition:
            self._policy = replace(self._policy, max_batch=max_batch)

    def close(self) -> None:
        """Expect no further streams: once every channel is closed and drained, `collect` raises `Closed`."""
        with self._condition:
            self._closed = True
            self._condition.notify_all()

    def collect(self, timeout_s: float) -> Batch | None:
        """Return the next batch, or None if no frame came within ``timeout_s``.

        Raises `Closed` when nothing will come any more.
        """
        with self._condition:
            if not self._condition.wait_for(self._something_to_do, timeout_s):
                return None
            self._expire()
            if not self._pending():
                self._end_if_over()
                return None
            self._fill(self._clock.monotonic() + self._policy.max_wait_s)
            return self._take()

    def _something_to_do(self) -> bool:
        return bool(self._pending()) or self._over()

    def _over(self) -> bool:
        self._rows = {name: row for name, row in self._rows.items() if not row.channel.finished}
        return self._closed and not self._rows

    def _end_if_over(self) -> None:
        if self._over():
            raise Closed

    def _pending(self) -> list[_Row]:
        return [row for row in self._rows.values() if len(row.channel)]

    def _expire(self) -> None:
        oldest_s = self._clock.monotonic() - self._policy.max_age_s
        for row in self._rows.values():
            while row.live and (head := row.channel.peek()) is not None and head.ready_s < oldest_s:
                row.channel.take_nowait()
                self._on_expired(head)

    def _fill(self, until_s: float) -> None:
        """Wait until the batch cannot grow any more or its time is over."""

        def complete() -> bool:
            pending = len(self._pending())
            return pending >= self._policy.max_batch or pending >= len(self._rows)

        while not complete() and (left_s := until_s - self._clock.monotonic()) > 0:
            self._condition.wait(left_s)

    def _take(self) -> Batch | None:
        rows = sorted(self._pending(), key=_Row.waiting_since)[: self._policy.max_batch]
        now = self._clock.monotonic()
        for row in rows:
            row.served_s = now
        frames = [frame for row in rows if (frame := row.channel.take_nowait()) is not None]
        return Batch(tuple(frames)) if frames else None
